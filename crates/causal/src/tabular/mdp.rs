//! Finite Markov decision processes: value iteration and Q-learning.
//!
//! Bellman (1957); Watkins & Dayan, *Q-learning* (1992). Terminal states have value 0 and end an episode.

use crate::error::{Error, Result};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// A finite Markov decision process with known tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Mdp {
    /// Number of states S.
    pub states: usize,
    /// Number of actions A.
    pub actions: usize,
    /// P(s′ | s, a), `[S, A, S]` row-major.
    pub transition: Vec<f64>,
    /// E\[r | s, a\], `[S, A]` row-major.
    pub reward: Vec<f64>,
    /// States that end an episode, `[S]`.
    pub terminal: Vec<bool>,
    /// Discount γ in [0, 1).
    pub discount: f64,
}

/// Optimal values.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// V*, `[S]`.
    pub v: Vec<f64>,
    /// Q*, `[S, A]` row-major.
    pub q: Vec<f64>,
}

impl Mdp {
    /// Checks the tables.
    ///
    /// # Errors
    /// [`Error::Shape`] for a table of another size, [`Error::Data`] for a row of P that does not sum to 1 or a reward
    /// that is not finite, [`Error::Config`] for γ.
    pub fn validate(&self) -> Result<()> {
        let (s, a) = (self.states, self.actions);
        check_len("Mdp.transition", s * a * s, self.transition.len())?;
        check_len("Mdp.reward", s * a, self.reward.len())?;
        check_len("Mdp.terminal", s, self.terminal.len())?;
        if s == 0 || a == 0 {
            return Err(Error::shape("Mdp", "at least one state and one action", format!("{s} and {a}")));
        }
        check_rows("Mdp.transition", &self.transition, s)?;
        if self.reward.iter().any(|r| !r.is_finite()) {
            return Err(Error::data("Mdp.reward", "holds a value that is not finite"));
        }
        if !(0.0..1.0).contains(&self.discount) {
            return Err(Error::config("mdp", "discount", self.discount, "in [0, 1)"));
        }
        Ok(())
    }

    /// P(· | s, a).
    pub fn next(&self, s: usize, a: usize) -> &[f64] {
        &self.transition[(s * self.actions + a) * self.states..][..self.states]
    }

    /// r(s, a) + γ Σ P(s′ | s, a) v(s′).
    pub fn backup(&self, s: usize, a: usize, v: &[f64]) -> f64 {
        let ahead: f64 = self.next(s, a).iter().zip(v).map(|(p, v)| p * v).sum();
        self.reward[s * self.actions + a] + self.discount * ahead
    }

    /// V* and Q* by value iteration until no value changes by more than `tolerance`.
    ///
    /// # Errors
    /// As [`Mdp::validate`]; [`Error::Config`] for a tolerance that is not positive.
    pub fn solve(&self, tolerance: f64) -> Result<Values> {
        self.validate()?;
        if !(tolerance > 0.0 && tolerance.is_finite()) {
            return Err(Error::config("mdp", "tolerance", tolerance, "positive"));
        }
        let mut values = Values { v: vec![0.0; self.states], q: vec![0.0; self.states * self.actions] };
        loop {
            let mut change = 0.0f64;
            for s in (0..self.states).filter(|&s| !self.terminal[s]) {
                let row: Vec<f64> = (0..self.actions).map(|a| self.backup(s, a, &values.v)).collect();
                let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                change = change.max((best - values.v[s]).abs());
                values.v[s] = best;
                values.q[s * self.actions..][..self.actions].copy_from_slice(&row);
            }
            if change <= tolerance {
                return Ok(values);
            }
        }
    }

    /// The value of the deterministic policy `policy[s]`, by iteration to `tolerance`.
    ///
    /// # Errors
    /// As [`Mdp::solve`]; [`Error::Shape`] for a policy of another length or with an action that does not exist.
    pub fn evaluate(&self, policy: &[usize], tolerance: f64) -> Result<Vec<f64>> {
        check_len("Mdp::evaluate", self.states, policy.len())?;
        if let Some(a) = policy.iter().find(|&&a| a >= self.actions) {
            return Err(Error::shape("Mdp::evaluate", format!("actions below {}", self.actions), a));
        }
        let mut fixed = Self { actions: 1, transition: Vec::new(), reward: Vec::new(), ..self.clone() };
        for (s, &a) in policy.iter().enumerate() {
            fixed.transition.extend_from_slice(self.next(s, a));
            fixed.reward.push(self.reward[s * self.actions + a]);
        }
        Ok(fixed.solve(tolerance)?.v)
    }

    /// One transition: the next state.
    pub fn step(&self, s: usize, a: usize, rng: &mut impl Rng) -> usize {
        draw(self.next(s, a), rng)
    }
}

/// A draw from a discrete law.
pub(super) fn draw(law: &[f64], rng: &mut impl Rng) -> usize {
    let mut left = rng.random::<f64>();
    let hit = law.iter().position(|p| {
        left -= p;
        left < 0.0
    });
    hit.or_else(|| law.iter().rposition(|p| *p > 0.0)).unwrap_or(0)
}

pub(super) fn check_len(operation: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got { Ok(()) } else { Err(Error::shape(operation, format!("{expected} entries"), got)) }
}

pub(super) fn check_rows(what: &'static str, table: &[f64], width: usize) -> Result<()> {
    let is_law = |row: &[f64]| (row.iter().sum::<f64>() - 1.0).abs() < 1e-9 && row.iter().all(|p| *p >= 0.0);
    match table.chunks(width).position(|row| !is_law(row)) {
        Some(row) => Err(Error::data(what, format!("row {row} is no distribution: it must sum to 1"))),
        None => Ok(()),
    }
}

/// The first action of the largest value.
pub(super) fn greedy(row: &[f64]) -> usize {
    row.iter()
        .enumerate()
        .fold((0, f64::NEG_INFINITY), |best, (a, &q)| if q > best.1 { (a, q) } else { best })
        .0
}

/// The first action of the largest value in every state, from Q as `[S, A]`.
pub fn greedy_policy(q: &[f64], actions: usize) -> Vec<usize> {
    q.chunks(actions.max(1)).map(greedy).collect()
}

/// One of the actions of the largest value, at random: the first of equals would make a plain learner look worse than it is.
fn one_of_the_best(row: &[f64], rng: &mut impl Rng) -> usize {
    let most = row[greedy(row)];
    let best: Vec<usize> = (0..row.len()).filter(|&a| row[a] == most).collect();
    if best.len() == 1 { best[0] } else { best[rng.random_range(0..best.len())] }
}

/// Settings of [`q_learning`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QLearningConfig {
    /// Step size in (0, 1].
    pub learning_rate: f64,
    /// Probability of a random action in [0, 1].
    pub exploration: f64,
    /// Episodes.
    pub episodes: usize,
    /// Steps after which an episode is cut off; at least 1.
    pub max_steps: usize,
}

impl Default for QLearningConfig {
    fn default() -> Self {
        Self { learning_rate: 0.5, exploration: 0.1, episodes: 200, max_steps: 200 }
    }
}

impl QLearningConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let bad = |field, value, allowed| Err(Error::config("q_learning", field, value, allowed));
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return bad("learning_rate", self.learning_rate, "in (0, 1]");
        }
        if !(0.0..=1.0).contains(&self.exploration) {
            return bad("exploration", self.exploration, "in [0, 1]");
        }
        if self.max_steps == 0 {
            return bad("max_steps", 0.0, "at least 1");
        }
        Ok(())
    }
}

/// What Q-learning leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Learning {
    /// Q, `[S, A]` row-major.
    pub q: Vec<f64>,
    /// Steps of every episode.
    pub steps: Vec<usize>,
}

/// Q-learning from `start`, with values that begin at `q` (zeros, or those of an earlier task).
/// `potential` (zeros for none) adds F = γ Φ(s′) − Φ(s) to the reward. Ties are broken at random.
///
/// # Errors
/// As [`Mdp::validate`] and [`QLearningConfig::validate`]; [`Error::Shape`] for tables of another size.
pub fn q_learning(
    mdp: &Mdp,
    start: usize,
    mut q: Vec<f64>,
    potential: &[f64],
    config: &QLearningConfig,
    rng: &mut impl Rng,
) -> Result<Learning> {
    mdp.validate()?;
    config.validate()?;
    let actions = mdp.actions;
    check_len("q_learning: q", mdp.states * actions, q.len())?;
    check_len("q_learning: potential", mdp.states, potential.len())?;
    if start >= mdp.states {
        return Err(Error::Node { operation: "q_learning", node: start, count: mdp.states });
    }
    let mut learning = Learning { q: Vec::new(), steps: Vec::with_capacity(config.episodes) };
    for _ in 0..config.episodes {
        let (mut s, mut steps) = (start, 0);
        while !mdp.terminal[s] && steps < config.max_steps {
            let explore = rng.random::<f64>() < config.exploration;
            let a = if explore {
                rng.random_range(0..actions)
            } else {
                one_of_the_best(&q[s * actions..][..actions], rng)
            };
            let next = mdp.step(s, a, rng);
            let ahead = if mdp.terminal[next] {
                0.0
            } else {
                q[next * actions..][..actions].iter().copied().fold(f64::NEG_INFINITY, f64::max)
            };
            let shaping = super::shaping_reward(mdp, potential, s, next);
            let target = mdp.reward[s * actions + a] + shaping + mdp.discount * ahead;
            q[s * actions + a] += config.learning_rate * (target - q[s * actions + a]);
            s = next;
            steps += 1;
        }
        learning.steps.push(steps);
    }
    learning.q = q;
    Ok(learning)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 → 1 → goal 2 by action 1 at cost 1; action 0 stays at cost 1.
    fn corridor() -> Mdp {
        let mut transition = vec![0.0; 3 * 2 * 3];
        for (s, a, to) in [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2), (2, 0, 2), (2, 1, 2)] {
            transition[(s * 2 + a) * 3 + to] = 1.0;
        }
        let (reward, terminal) = (vec![-1.0; 6], vec![false, false, true]);
        Mdp { states: 3, actions: 2, transition, reward, terminal, discount: 0.5 }
    }

    #[test]
    fn values_by_hand() {
        let mdp = corridor();
        let values = mdp.solve(1e-12).unwrap();
        assert_eq!(values.v, [-1.5, -1.0, 0.0]);
        assert_eq!(values.q[..4], [-1.75, -1.5, -1.5, -1.0]);
        assert!((mdp.evaluate(&[0, 1, 0], 1e-12).unwrap()[0] + 2.0).abs() < 1e-9, "waiting for ever costs 2");
        let mut rng = rl_core::SeedStream::new(1).stream("corridor", 0);
        let config = QLearningConfig { episodes: 100, max_steps: 20, ..Default::default() };
        let learned = q_learning(&mdp, 0, vec![0.0; 6], &[0.0; 3], &config, &mut rng).unwrap();
        let value = mdp.evaluate(&greedy_policy(&learned.q, 2), 1e-12).unwrap()[0];
        assert!((value + 1.5).abs() < 1e-9 && learned.steps.len() == 100);
    }

    #[test]
    fn wrong_tables_are_errors() {
        let good = corridor();
        assert!(Mdp { discount: 1.0, ..good.clone() }.validate().is_err());
        assert!(Mdp { reward: vec![0.0; 5], ..good.clone() }.validate().is_err());
        assert!(Mdp { transition: vec![0.3; 18], ..good.clone() }.validate().is_err());
        assert!(good.evaluate(&[0, 2, 0], 1e-6).is_err() && good.solve(0.0).is_err());
        let config = QLearningConfig { learning_rate: 0.0, ..Default::default() };
        assert!(config.validate().is_err());
    }
}
