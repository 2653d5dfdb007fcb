//! Kuhn poker (Kuhn 1950) and Leduc poker (Southey et al. 2005), two players each.

use super::extensive::{Game, Position};

/// Kuhn poker: three cards 0 < 1 < 2, an ante of 1, one bet of 1. Actions: 0 pass, 1 bet.
///
/// Information is the own card followed by the moves so far, `p` or `b`: `0pb`. The game is worth −1/18 to the
/// first player.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kuhn;

/// Cards dealt so far, and the moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KuhnState {
    cards: Vec<usize>,
    moves: Vec<usize>,
}

impl Game for Kuhn {
    type State = KuhnState;

    fn root(&self) -> KuhnState {
        KuhnState::default()
    }

    fn position(&self, state: &KuhnState) -> Position {
        let KuhnState { cards, moves } = state;
        if cards.len() < 2 {
            let left: Vec<usize> = (0..3).filter(|c| !cards.contains(c)).collect();
            let p = 1.0 / left.len() as f64;
            return Position::Chance(left.into_iter().map(|c| (c, p)).collect());
        }
        let showdown = if cards[0] > cards[1] { 1.0 } else { -1.0 };
        let first = match moves.as_slice() {
            [0, 0] => showdown,
            [1, 1] | [0, 1, 1] => 2.0 * showdown,
            [1, 0] => 1.0,
            [0, 1, 0] => -1.0,
            _ => {
                let player = moves.len() % 2;
                let history: String = moves.iter().map(|m| if *m == 0 { 'p' } else { 'b' }).collect();
                let information = format!("{}{history}", cards[player]);
                return Position::Decision { player, actions: vec![0, 1], information };
            }
        };
        Position::End([first, -first])
    }

    fn next(&self, state: &KuhnState, action: usize) -> KuhnState {
        let mut next = state.clone();
        match next.cards.len() < 2 {
            true => next.cards.push(action),
            false => next.moves.push(action),
        }
        next
    }

    /// `[own card 3, first move 2, second move 2]`, one-hot.
    fn encode(&self, state: &KuhnState, player: usize) -> Vec<f32> {
        let mut out = vec![0.0; 7];
        if let Some(&card) = state.cards.get(player) {
            out[card] = 1.0;
        }
        state.moves.iter().take(2).enumerate().for_each(|(k, &m)| out[3 + 2 * k + m] = 1.0);
        out
    }

    fn actions(&self) -> usize {
        2
    }
}

/// Leduc poker: six cards of three ranks in two suits, an ante of 1, two rounds with raises of 2 and then 4, at
/// most two raises each, one public card between them. A pair with the public card wins, else the higher rank.
/// Actions: 0 fold, 1 call (or check), 2 raise; folding is legal when there is something to call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leduc;

/// A hand of Leduc poker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeducState {
    private: Vec<usize>,
    public: Option<usize>,
    /// Moves of the two rounds.
    moves: [Vec<usize>; 2],
    /// Chips in the pot.
    paid: [u32; 2],
    folded: Option<usize>,
}

impl LeducState {
    fn round(&self) -> usize {
        usize::from(self.public.is_some())
    }

    fn raises(&self) -> usize {
        self.moves[self.round()].iter().filter(|&&m| m == 2).count()
    }

    /// A round is over when a raise was called or both checked.
    fn settled(&self, round: usize) -> bool {
        let moves = &self.moves[round];
        moves.len() >= 2 && moves.last() == Some(&1)
    }

    fn player(&self) -> usize {
        self.moves[self.round()].len() % 2
    }

    fn winner(&self) -> Option<usize> {
        let rank = |card: usize| card / 2;
        let public = self.public.map(rank);
        let strength = |p: usize| (public == Some(rank(self.private[p])), rank(self.private[p]));
        match strength(0).cmp(&strength(1)) {
            std::cmp::Ordering::Greater => Some(0),
            std::cmp::Ordering::Less => Some(1),
            std::cmp::Ordering::Equal => None,
        }
    }

    fn end(&self) -> Option<[f64; 2]> {
        let winner = match self.folded {
            Some(folder) => Some(1 - folder),
            None if self.public.is_some() && self.settled(1) => self.winner(),
            None => return None,
        };
        Some(winner.map_or([0.0; 2], |w| {
            let won = f64::from(self.paid[1 - w]);
            if w == 0 { [won, -won] } else { [-won, won] }
        }))
    }
}

impl Game for Leduc {
    type State = LeducState;

    fn root(&self) -> LeducState {
        LeducState {
            private: Vec::new(),
            public: None,
            moves: [Vec::new(), Vec::new()],
            paid: [1, 1],
            folded: None,
        }
    }

    fn position(&self, state: &LeducState) -> Position {
        if let Some(returns) = state.end() {
            return Position::End(returns);
        }
        if state.private.len() < 2 || (state.public.is_none() && state.settled(0)) {
            let left: Vec<usize> = (0..6).filter(|c| !state.private.contains(c)).collect();
            let p = 1.0 / left.len() as f64;
            return Position::Chance(left.into_iter().map(|c| (c, p)).collect());
        }
        let player = state.player();
        let mut actions = vec![1];
        if state.paid[player] < state.paid[1 - player] {
            actions.insert(0, 0);
        }
        if state.raises() < 2 {
            actions.push(2);
        }
        let text = |moves: &[usize]| moves.iter().map(|m| ['f', 'c', 'r'][*m]).collect::<String>();
        let public = state.public.map_or(String::new(), |c| c.to_string());
        let history = format!("{}/{public}/{}", text(&state.moves[0]), text(&state.moves[1]));
        Position::Decision { player, actions, information: format!("{}/{history}", state.private[player]) }
    }

    fn next(&self, state: &LeducState, action: usize) -> LeducState {
        let mut next = state.clone();
        if next.private.len() < 2 {
            next.private.push(action);
        } else if next.public.is_none() && next.settled(0) {
            next.public = Some(action);
        } else {
            let (player, round) = (next.player(), next.round());
            match action {
                0 => next.folded = Some(player),
                1 => next.paid[player] = next.paid[1 - player],
                _ => next.paid[player] = next.paid[1 - player] + if round == 0 { 2 } else { 4 },
            }
            next.moves[round].push(action);
        }
        next
    }

    /// `[own card 6, public card 6, moves of round 1 (4 × 2), of round 2 (4 × 2)]`, moves as (call, raise).
    fn encode(&self, state: &LeducState, player: usize) -> Vec<f32> {
        let mut out = vec![0.0; 28];
        if let Some(&card) = state.private.get(player) {
            out[card] = 1.0;
        }
        if let Some(card) = state.public {
            out[6 + card] = 1.0;
        }
        for (round, moves) in state.moves.iter().enumerate() {
            for (k, &m) in moves.iter().take(4).enumerate().filter(|(_, m)| **m > 0) {
                out[12 + 8 * round + 2 * k + m - 1] = 1.0;
            }
        }
        out
    }

    fn actions(&self) -> usize {
        3
    }
}

#[cfg(test)]
mod tests {
    use super::super::extensive::GameTree;
    use super::*;

    #[test]
    fn kuhn_facts() {
        let tree = GameTree::build(&Kuhn).unwrap();
        assert_eq!(tree.sets().len(), 12);
        assert!((tree.nash_conv(&tree.uniform()).unwrap() - 11.0 / 12.0).abs() < 1e-12);
        // The first player's equilibria: bet the jack with α, the king with 3α.
        let alpha = 0.2;
        let bet = |key: &str| match key {
            "0" => alpha,
            "2" => 3.0 * alpha,
            "1pb" => alpha + 1.0 / 3.0,
            "0p" | "1b" => 1.0 / 3.0,
            "2p" | "2b" | "2pb" => 1.0,
            _ => 0.0,
        };
        let policy = tree.policy(|key, a| if a == 1 { bet(key) } else { 1.0 - bet(key) });
        assert!(tree.nash_conv(&policy).unwrap().abs() < 1e-15);
        assert!((tree.value(&policy).unwrap()[0] + 1.0 / 18.0).abs() < 1e-15);
    }

    #[test]
    fn leduc_facts() {
        let tree = GameTree::build(&Leduc).unwrap();
        assert_eq!(tree.sets().len(), 936);
        assert!((tree.nash_conv(&tree.uniform()).unwrap() - 4.747222).abs() < 1e-6);
    }
}
