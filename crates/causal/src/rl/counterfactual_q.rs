//! Q-learning that also learns from the actions not taken: each transition is replayed with its own noise under every
//! other action.
//!
//! Buesing et al., *Woulda, coulda, shoulda* (ICLR 2019); Lu, Huang, Wang, Hernández-Lobato, Zhang & Schölkopf,
//! *Sample-efficient reinforcement learning via counterfactual-based data augmentation* (2020); the update is Watkins'.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of [`CounterfactualQ`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CounterfactualQConfig {
    /// Step size α.
    pub learning_rate: f64,
    /// Discount γ.
    pub discount: f64,
}

impl Default for CounterfactualQConfig {
    fn default() -> Self {
        Self { learning_rate: 0.1, discount: 0.95 }
    }
}

/// What a step led to, or would have led to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Reward.
    pub reward: f64,
    /// The next state; `None` at the end of an episode.
    pub next: Option<usize>,
}

/// A table of action values.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterfactualQ {
    config: CounterfactualQConfig,
    values: Vec<Vec<f64>>,
}

impl CounterfactualQ {
    /// All values 0.
    ///
    /// # Errors
    /// [`Error::Config`] for a learning rate outside (0, 1] or a discount outside [0, 1]; [`Error::Shape`] without actions.
    pub fn new(states: usize, actions: usize, config: CounterfactualQConfig) -> Result<Self> {
        if !(config.learning_rate > 0.0 && config.learning_rate <= 1.0) {
            return Err(Error::config(
                "counterfactual_q",
                "learning_rate",
                config.learning_rate,
                "in (0, 1]",
            ));
        }
        if !(0.0..=1.0).contains(&config.discount) {
            return Err(Error::config("counterfactual_q", "discount", config.discount, "in [0, 1]"));
        }
        if actions == 0 {
            return Err(Error::shape("CounterfactualQ::new", "at least one action", 0));
        }
        Ok(Self { config, values: vec![vec![0.0; actions]; states] })
    }

    /// `[state][action]`.
    pub fn values(&self) -> &[Vec<f64>] {
        &self.values
    }

    /// The action of largest value, the first among equals.
    ///
    /// # Errors
    /// [`Error::Node`] for a state out of range.
    pub fn best(&self, state: usize) -> Result<usize> {
        let row = self.row(state)?;
        Ok((0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a))).unwrap_or(0))
    }

    fn row(&self, state: usize) -> Result<&[f64]> {
        let count = self.values.len();
        let missing = || Error::Node { operation: "CounterfactualQ", node: state, count };
        self.values.get(state).map(Vec::as_slice).ok_or_else(missing)
    }

    /// Learns from what happened: Q(s, a) ← Q(s, a) + α (r + γ max Q(s′, ·) − Q(s, a)).
    ///
    /// # Errors
    /// [`Error::Node`] for a state or action out of range.
    pub fn learn(&mut self, state: usize, action: usize, outcome: Outcome) -> Result<()> {
        let future = match outcome.next {
            Some(next) => self.row(next)?.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            None => 0.0,
        };
        let count = self.row(state)?.len();
        if action >= count {
            return Err(Error::Node { operation: "CounterfactualQ", node: action, count });
        }
        let value = &mut self.values[state][action];
        *value += self.config.learning_rate * (outcome.reward + self.config.discount * future - *value);
        Ok(())
    }

    /// Learns from what happened and from what would have happened: `imagine(b)` is the outcome of action b under the
    /// noise of this very step, the answer of a structural model by abduction, action and prediction. An answer of `None`
    /// (only bounds are known, say) teaches nothing.
    ///
    /// # Errors
    /// As [`CounterfactualQ::learn`], and the errors of `imagine`.
    pub fn learn_all(
        &mut self,
        state: usize,
        action: usize,
        outcome: Outcome,
        mut imagine: impl FnMut(usize) -> Result<Option<Outcome>>,
    ) -> Result<()> {
        self.learn(state, action, outcome)?;
        for other in (0..self.row(state)?.len()).filter(|&b| b != action) {
            if let Some(imagined) = imagine(other)? {
                self.learn(state, other, imagined)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use rl_core::SeedStream;

    /// A ring of states: s′ = s + a + u, u from {−1, 0, 1}; state 0 pays. Noise is recovered from the step.
    #[test]
    fn imagined_steps_teach_what_real_ones_would_with_fewer_of_them() {
        let (states, actions) = (9usize, 3usize);
        let step = |s: usize, a: usize, u: usize| {
            let next = (s + a + u + 2 * states - 2) % states;
            Outcome { reward: f64::from(u8::from(next == 0)), next: Some(next) }
        };
        let noise = [0.1, 0.8, 0.1];
        let optimal = |q: &CounterfactualQ, s: usize| {
            // Straight to state 0 by the shorter way; both ways are equal nowhere on a ring of odd length.
            let want = if s == 0 {
                1
            } else if s <= states / 2 {
                0
            } else {
                2
            };
            q.best(s).unwrap() == want
        };
        let share = |steps: usize, imagine: bool| -> f64 {
            let mut right = 0;
            for seed in 0..20 {
                let mut rng = SeedStream::new(seed).stream("ring", 0);
                let mut q = CounterfactualQ::new(states, actions, CounterfactualQConfig::default()).unwrap();
                for _ in 0..steps {
                    let (s, a) = (rng.random_range(0..states), rng.random_range(0..actions));
                    let draw: f64 = rng.random();
                    let u = if draw < noise[0] { 0 } else { 1 + usize::from(draw > 1.0 - noise[2]) };
                    let seen = step(s, a, u);
                    if imagine {
                        q.learn_all(s, a, seen, |b| Ok(Some(step(s, b, u)))).unwrap();
                    } else {
                        q.learn(s, a, seen).unwrap();
                    }
                }
                right += (0..states).filter(|&s| optimal(&q, s)).count();
            }
            right as f64 / (20 * states) as f64
        };
        let (plain, imagined) = (share(60, false), share(60, true));
        assert!(imagined > 0.85 && imagined > plain + 0.1, "{imagined} {plain}");
        assert!(share(4000, false) > 0.9, "both find the same policy in the end");
    }

    #[test]
    fn bad_arguments_are_refused() {
        let mut q = CounterfactualQ::new(2, 2, CounterfactualQConfig::default()).unwrap();
        let outcome = Outcome { reward: 1.0, next: Some(7) };
        assert!(q.learn(0, 0, outcome).is_err());
        assert!(q.learn(0, 5, Outcome { next: None, ..outcome }).is_err());
        let config = CounterfactualQConfig { learning_rate: 0.0, ..CounterfactualQConfig::default() };
        assert!(CounterfactualQ::new(2, 2, config).is_err());
    }
}
