//! Games of players who cannot talk, and the best classical strategy by enumeration.
//!
//! Shared randomness only mixes deterministic strategies, so the best of these is the classical value (Cleve et al. 2004, §2).

use crate::error::{Error, Result};

/// Enumeration stops here: this many strategies of all players but the last.
pub const MAX_STRATEGIES: usize = 1 << 22;

/// What is asked together, and which joint answers win it.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// `[player]`, the question each is told; it knows no other.
    pub questions: Vec<usize>,
    /// `[joint answer]`, player 0's answer changing fastest.
    pub wins: Vec<bool>,
}

/// A game: its rounds are drawn equally often, each player answers its own question.
#[derive(Clone, Debug, PartialEq)]
pub struct Game {
    questions: Vec<usize>,
    answers: Vec<usize>,
    rounds: Vec<Round>,
}

/// The best classical strategy.
#[derive(Clone, Debug, PartialEq)]
pub struct Classical {
    /// Its winning probability.
    pub value: f64,
    /// `[player][question]`, the answer.
    pub strategy: Vec<Vec<usize>>,
}

impl Game {
    /// A game from the number of questions and answers per player, the question sets that are asked, and the rule
    /// `wins(questions, answers)`.
    ///
    /// # Errors
    /// When there is no player or no round, or a question does not exist.
    pub fn new(
        questions: Vec<usize>,
        answers: Vec<usize>,
        asked: &[Vec<usize>],
        wins: impl Fn(&[usize], &[usize]) -> bool,
    ) -> Result<Self> {
        let players = questions.len();
        if players == 0 || asked.is_empty() || answers.len() != players || answers.contains(&0) {
            return Err(Error::shape(
                "game",
                "at least one player, answer and round",
                format!("{players} players, answers {answers:?}, {} rounds", asked.len()),
            ));
        }
        if let Some(bad) =
            asked.iter().find(|q| q.len() != players || q.iter().zip(&questions).any(|(q, n)| q >= n))
        {
            return Err(Error::shape("game", format!("questions below {questions:?}"), format!("{bad:?}")));
        }
        let joint: usize = answers.iter().product();
        let rounds = asked
            .iter()
            .map(|q| Round {
                questions: q.clone(),
                wins: (0..joint).map(|a| wins(q, &digits(a, &answers))).collect(),
            })
            .collect();
        Ok(Self { questions, answers, rounds })
    }

    /// The number of players.
    pub fn players(&self) -> usize {
        self.questions.len()
    }

    /// The number of questions of each player.
    pub fn questions(&self) -> &[usize] {
        &self.questions
    }

    /// The number of answers of each player.
    pub fn answers(&self) -> &[usize] {
        &self.answers
    }

    /// What is asked, each equally often.
    pub fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// The winning probability of deterministic answers `[player][question]`.
    pub fn deterministic_value(&self, strategy: &[Vec<usize>]) -> f64 {
        let won = self.rounds.iter().filter(|round| {
            let answers: Vec<usize> =
                strategy.iter().zip(&round.questions).map(|(s, q)| s.get(*q).copied().unwrap_or(0)).collect();
            round.wins.get(joint(&answers, &self.answers)).copied().unwrap_or(false)
        });
        won.count() as f64 / self.rounds.len() as f64
    }

    /// max over deterministic strategies of the winning probability: every strategy of all players but the last is tried, and the
    /// last answers each of its questions as well as it can.
    ///
    /// # Errors
    /// When more than [`MAX_STRATEGIES`] would have to be tried.
    pub fn classical(&self) -> Result<Classical> {
        let (last, others) = (self.players() - 1, &self.answers[..self.players() - 1]);
        // A digit per (player, question); its radix is the player's number of answers.
        let radices: Vec<usize> =
            others.iter().zip(&self.questions).flat_map(|(a, q)| std::iter::repeat_n(*a, *q)).collect();
        let first: Vec<usize> = self.questions[..last]
            .iter()
            .scan(0, |sum, q| {
                *sum += q;
                Some(*sum - q)
            })
            .collect();
        let count =
            radices.iter().try_fold(1usize, |n, r| n.checked_mul(*r).filter(|n| *n <= MAX_STRATEGIES));
        let Some(count) = count else {
            return Err(Error::shape(
                "classical value",
                format!("at most {MAX_STRATEGIES} strategies"),
                "more",
            ));
        };
        let stride: usize = others.iter().product();
        let responses = self.answers[last];
        let (mut best, mut best_digits, mut best_response) = (0, vec![0; radices.len()], vec![]);
        let mut chosen = vec![0; radices.len()];
        // [question of the last player][its answer]: rounds won.
        let mut won = vec![0u32; self.questions[last] * responses];
        for k in 0..count {
            won.fill(0);
            for round in &self.rounds {
                let own = |p: usize| chosen[first[p] + round.questions[p]];
                let given = (0..last).rev().fold(0, |a, p| a * others[p] + own(p));
                for r in 0..responses {
                    won[round.questions[last] * responses + r] += u32::from(round.wins[given + stride * r]);
                }
            }
            let total: u32 = won.chunks(responses).map(|w| w.iter().max().copied().unwrap_or(0)).sum();
            if k == 0 || total > best {
                best = total;
                best_digits.clone_from(&chosen);
                best_response = won.chunks(responses).map(first_largest).collect();
            }
            increment(&mut chosen, &radices);
        }
        let mut strategy: Vec<Vec<usize>> =
            (0..last).map(|p| best_digits[first[p]..][..self.questions[p]].to_vec()).collect();
        strategy.push(best_response);
        Ok(Classical { value: f64::from(best) / self.rounds.len() as f64, strategy })
    }
}

fn first_largest(w: &[u32]) -> usize {
    (0..w.len()).fold(0, |best, k| if w[k] > w[best] { k } else { best })
}

/// The next number in mixed radix, lowest digit first; the last is followed by 0.
fn increment(digits: &mut [usize], radices: &[usize]) {
    for (d, r) in digits.iter_mut().zip(radices) {
        *d += 1;
        if *d < *r {
            return;
        }
        *d = 0;
    }
}

/// The digits of `k` in mixed radix, lowest first.
pub(super) fn digits(mut k: usize, radices: &[usize]) -> Vec<usize> {
    radices
        .iter()
        .map(|r| {
            let digit = k % r;
            k /= r;
            digit
        })
        .collect()
}

/// The number with these digits in mixed radix, lowest first.
pub(super) fn joint(digits: &[usize], radices: &[usize]) -> usize {
    digits.iter().zip(radices).rev().fold(0, |k, (d, r)| k * r + d)
}
