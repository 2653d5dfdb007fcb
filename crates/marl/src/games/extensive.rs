//! Games in which players move in turn under imperfect information: two players, zero or general sum, chance moves,
//! perfect recall. A game is unfolded once into a flat tree that all algorithms walk.

use crate::{Error, Result};
use std::collections::HashMap;

/// What a state of a game asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Position {
    /// Chance draws one of these outcomes with these probabilities.
    Chance(Vec<(usize, f64)>),
    /// A player chooses.
    Decision {
        /// 0 or 1.
        player: usize,
        /// What is legal, ascending.
        actions: Vec<usize>,
        /// What the player knows: states with the same text cannot be told apart.
        information: String,
    },
    /// The game is over.
    End([f64; 2]),
}

/// A two-player game.
pub trait Game {
    /// The full state, hidden parts included.
    type State: Clone;

    /// The state before the first move.
    fn root(&self) -> Self::State;

    /// What the state asks for.
    fn position(&self, state: &Self::State) -> Position;

    /// The state after an action of a player or an outcome of chance.
    fn next(&self, state: &Self::State, action: usize) -> Self::State;

    /// What a player knows, as numbers for a network; always of the same length.
    fn encode(&self, state: &Self::State, player: usize) -> Vec<f32>;

    /// Size of the action space.
    fn actions(&self) -> usize;
}

/// A node of a [`GameTree`]; children are indices of nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Outcomes `(probability, child)`.
    Chance {
        /// The outcomes.
        outcomes: Vec<(f64, usize)>,
    },
    /// A player moves.
    Decision {
        /// 0 or 1.
        player: usize,
        /// Index of the information set.
        information: usize,
        /// `(action, child)`.
        children: Vec<(usize, usize)>,
    },
    /// The game is over.
    End {
        /// Returns of both players.
        returns: [f64; 2],
    },
}

/// What a player knows at a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct InformationSet {
    /// Who moves.
    pub player: usize,
    /// The player's knowledge as text.
    pub key: String,
    /// Legal actions.
    pub actions: Vec<usize>,
    /// The nodes that look alike.
    pub nodes: Vec<usize>,
}

/// A game, unfolded; node 0 is the root and children come after their parents.
#[derive(Clone, Debug, PartialEq)]
pub struct GameTree {
    nodes: Vec<Node>,
    sets: Vec<InformationSet>,
    /// `[node][player][encoding]`, flat.
    encodings: Vec<f32>,
    encoding_len: usize,
    actions: usize,
}

/// Behaviour strategies of both players: per information set, a probability for each of its actions.
pub type Policy = Vec<Vec<f64>>;

impl GameTree {
    /// Unfolds a game.
    ///
    /// # Errors
    /// [`Error::Shape`] when the game has more than two million nodes or a player is not 0 or 1.
    pub fn build<G: Game>(game: &G) -> Result<Self> {
        let root = game.root();
        let encoding_len = game.encode(&root, 0).len();
        let empty = Vec::new;
        let mut tree = Self {
            nodes: empty(),
            sets: Vec::new(),
            encodings: Vec::new(),
            encoding_len,
            actions: game.actions(),
        };
        let mut keys = HashMap::new();
        tree.unfold(game, &root, &mut keys)?;
        Ok(tree)
    }

    fn unfold<G: Game>(
        &mut self,
        game: &G,
        state: &G::State,
        keys: &mut HashMap<(usize, String), usize>,
    ) -> Result<usize> {
        const MOST: usize = 2_000_000;
        let id = self.nodes.len();
        if id >= MOST {
            return Err(Error::shape("game tree", format!("at most {MOST} nodes"), "more"));
        }
        self.nodes.push(Node::End { returns: [0.0; 2] });
        for player in 0..2 {
            let mut encoding = game.encode(state, player);
            encoding.resize(self.encoding_len, 0.0);
            self.encodings.extend(encoding);
        }
        let node = match game.position(state) {
            Position::End(returns) => Node::End { returns },
            Position::Chance(outcomes) => {
                let mut children = Vec::with_capacity(outcomes.len());
                for (action, p) in outcomes {
                    children.push((p, self.unfold(game, &game.next(state, action), keys)?));
                }
                Node::Chance { outcomes: children }
            }
            Position::Decision { player, actions, information } => {
                if player > 1 || actions.is_empty() {
                    return Err(Error::shape(
                        "game tree",
                        "player 0 or 1 with an action",
                        format!("player {player}"),
                    ));
                }
                let set = *keys.entry((player, information.clone())).or_insert(self.sets.len());
                if set == self.sets.len() {
                    let actions = actions.clone();
                    self.sets.push(InformationSet { player, key: information, actions, nodes: Vec::new() });
                }
                self.sets[set].nodes.push(id);
                let mut children = Vec::with_capacity(actions.len());
                for action in actions {
                    children.push((action, self.unfold(game, &game.next(state, action), keys)?));
                }
                Node::Decision { player, information: set, children }
            }
        };
        self.nodes[id] = node;
        Ok(id)
    }

    /// A node; ends with zero returns stand for nodes that do not exist.
    pub fn node(&self, index: usize) -> &Node {
        const NOWHERE: &Node = &Node::End { returns: [0.0; 2] };
        self.nodes.get(index).unwrap_or(NOWHERE)
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: a tree has a root.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The information sets of both players, in order of appearance.
    pub fn sets(&self) -> &[InformationSet] {
        &self.sets
    }

    /// Size of the action space.
    pub fn actions(&self) -> usize {
        self.actions
    }

    /// Length of an encoding.
    pub fn encoding_len(&self) -> usize {
        self.encoding_len
    }

    /// What a player knows at a node; empty outside the tree.
    pub fn encoding(&self, node: usize, player: usize) -> &[f32] {
        let start = (2 * node + player) * self.encoding_len;
        self.encodings.get(start..start + self.encoding_len).unwrap_or_default()
    }

    /// All actions equally likely.
    pub fn uniform(&self) -> Policy {
        self.sets.iter().map(|set| vec![1.0 / set.actions.len() as f64; set.actions.len()]).collect()
    }

    /// The policy given by a function from (key, action) to probability.
    pub fn policy(&self, probability: impl Fn(&str, usize) -> f64) -> Policy {
        self.sets.iter().map(|set| set.actions.iter().map(|&a| probability(&set.key, a)).collect()).collect()
    }

    fn check(&self, policy: &Policy) -> Result<()> {
        let fits = policy.len() == self.sets.len()
            && policy.iter().zip(&self.sets).all(|(p, set)| p.len() == set.actions.len());
        match fits {
            true => Ok(()),
            false => {
                Err(Error::shape("policy", format!("{} information sets", self.sets.len()), policy.len()))
            }
        }
    }

    /// Expected returns of both players.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn value(&self, policy: &Policy) -> Result<[f64; 2]> {
        self.check(policy)?;
        Ok(self.value_at(policy, 0))
    }

    fn value_at(&self, policy: &Policy, node: usize) -> [f64; 2] {
        let mix = |parts: &mut dyn Iterator<Item = (f64, usize)>| {
            parts.fold([0.0; 2], |sum, (p, child)| {
                let v = self.value_at(policy, child);
                [sum[0] + p * v[0], sum[1] + p * v[1]]
            })
        };
        match self.node(node) {
            Node::End { returns } => *returns,
            Node::Chance { outcomes } => mix(&mut outcomes.iter().copied()),
            Node::Decision { information, children, .. } => {
                mix(&mut policy[*information].iter().copied().zip(children.iter().map(|c| c.1)))
            }
        }
    }

    /// What a player gets with a best response to the other's part of a policy.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn best_response_value(&self, policy: &Policy, player: usize) -> Result<f64> {
        self.check(policy)?;
        let mut search = BestResponse {
            tree: self,
            policy,
            player: player.min(1),
            reach: vec![0.0; self.nodes.len()],
            values: vec![f64::NAN; self.nodes.len()],
            choice: vec![usize::MAX; self.sets.len()],
        };
        search.spread(0, 1.0);
        Ok(search.value(0))
    }

    /// A best response of a player, as a pure policy in the player's information sets; the other's are copied.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn best_response(&self, policy: &Policy, player: usize) -> Result<Policy> {
        self.check(policy)?;
        let (nodes, sets) = (self.nodes.len(), self.sets.len());
        let (reach, values, choice) = (vec![0.0; nodes], vec![f64::NAN; nodes], vec![usize::MAX; sets]);
        let mut search = BestResponse { tree: self, policy, player: player.min(1), reach, values, choice };
        search.spread(0, 1.0);
        let mut response = policy.clone();
        let own = search.player;
        for (i, set) in self.sets.iter().enumerate().filter(|(_, set)| set.player == own) {
            let best = search.choose(i);
            response[i] = (0..set.actions.len()).map(|a| f64::from(u8::from(a == best))).collect();
        }
        Ok(response)
    }

    /// NashConv: the sum of both players' gains from a best response. Exploitability is half of it.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn nash_conv(&self, policy: &Policy) -> Result<f64> {
        let [row, column] = self.value(policy)?;
        Ok(self.best_response_value(policy, 0)? - row + self.best_response_value(policy, 1)? - column)
    }
}

/// Best response by recursion over information sets, which perfect recall keeps free of cycles.
struct BestResponse<'a> {
    tree: &'a GameTree,
    policy: &'a Policy,
    player: usize,
    /// Probability that chance and the opponent lead here.
    reach: Vec<f64>,
    values: Vec<f64>,
    choice: Vec<usize>,
}

impl BestResponse<'_> {
    fn spread(&mut self, node: usize, reach: f64) {
        self.reach[node] = reach;
        match &self.tree.nodes[node] {
            Node::End { .. } => {}
            Node::Chance { outcomes } => {
                outcomes.iter().for_each(|&(p, child)| self.spread(child, reach * p))
            }
            Node::Decision { player, information, children } => {
                for (k, &(_, child)) in children.iter().enumerate() {
                    let p = if *player == self.player { 1.0 } else { self.policy[*information][k] };
                    self.spread(child, reach * p);
                }
            }
        }
    }

    fn value(&mut self, node: usize) -> f64 {
        if !self.values[node].is_nan() {
            return self.values[node];
        }
        let value = match &self.tree.nodes[node] {
            Node::End { returns } => returns[self.player],
            Node::Chance { outcomes } => outcomes.iter().map(|&(p, child)| p * self.value(child)).sum(),
            Node::Decision { player, information, children } if *player == self.player => {
                let best = self.choose(*information);
                self.value(children[best].1)
            }
            Node::Decision { information, children, .. } => {
                let policy = &self.policy[*information];
                policy.iter().zip(children).map(|(p, &(_, child))| p * self.value(child)).sum()
            }
        };
        self.values[node] = value;
        value
    }

    fn choose(&mut self, set: usize) -> usize {
        if self.choice[set] != usize::MAX {
            return self.choice[set];
        }
        let tree = self.tree;
        let gain = |search: &mut Self, k: usize| -> f64 {
            let nodes = tree.sets[set].nodes.iter();
            nodes
                .map(|&node| match &tree.nodes[node] {
                    Node::Decision { children, .. } => search.reach[node] * search.value(children[k].1),
                    _ => 0.0,
                })
                .sum()
        };
        let gains: Vec<f64> = (0..tree.sets[set].actions.len()).map(|k| gain(self, k)).collect();
        let best = super::argmax(gains);
        self.choice[set] = best;
        best
    }
}
