//! From a confounded log to acting: optimistic values clipped by causal bounds.
//!
//! Azar, Osband & Munos, *Minimax regret bounds for reinforcement learning* (UCBVI, ICML 2017) plan in the empirical model
//! plus a bonus; Zhang & Bareinboim, *Near-optimal reinforcement learning in dynamic treatment regimes* (NeurIPS 2019;
//! UCᶜ-DTR) intersect the confidence set with the bounds that a confounded log leaves. Here both meet: with k steps to go
//!
//! Q_k(s, a) = min(r̂ + P̂ V_{k−1} + c k √(ln(e + t) / n(s, a)), k, Q̄_k(s, a)),
//!
//! Q̄ of [`horizon_bounds`](super::horizon_bounds). Deviations: Hoeffding's bonus with a scale c in place of the papers'
//! constants, one model for all steps of the horizon, values clipped rather than models.

use super::mdp::{Mdp, check_len, greedy};
use crate::error::{Error, Result};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Settings of [`OptimisticLearner`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimisticConfig {
    /// Steps of an episode; at least 1.
    pub horizon: usize,
    /// c: scale of the bonus; positive.
    pub bonus: f64,
}

impl Default for OptimisticConfig {
    fn default() -> Self {
        Self { horizon: 5, bonus: 0.5 }
    }
}

/// A learner for episodes of fixed length with rewards in [0, 1].
#[derive(Clone, Debug)]
pub struct OptimisticLearner {
    config: OptimisticConfig,
    states: usize,
    actions: usize,
    bounds: Option<Vec<Vec<f64>>>,
    visits: Vec<f64>,
    rewards: Vec<f64>,
    next: Vec<f64>,
    steps: usize,
    /// Q with 1, 2, … steps to go, `[H][S, A]`.
    q: Vec<Vec<f64>>,
}

impl OptimisticLearner {
    /// A learner that has seen nothing itself; `bounds` are those of [`horizon_bounds`](super::horizon_bounds), `None`
    /// makes it plain.
    ///
    /// # Errors
    /// [`Error::Config`] for horizon or bonus out of range, [`Error::Shape`] for bounds of another size.
    pub fn new(
        states: usize,
        actions: usize,
        bounds: Option<Vec<Vec<f64>>>,
        config: OptimisticConfig,
    ) -> Result<Self> {
        if config.horizon == 0 {
            return Err(Error::config("optimistic", "horizon", 0, "at least 1"));
        }
        if !(config.bonus > 0.0 && config.bonus.is_finite()) {
            return Err(Error::config("optimistic", "bonus", config.bonus, "positive"));
        }
        if let Some(bounds) = &bounds {
            check_len(
                "OptimisticLearner: bounds, one per step of the horizon",
                config.horizon,
                bounds.len(),
            )?;
            bounds
                .iter()
                .try_for_each(|q| check_len("OptimisticLearner: bounds", states * actions, q.len()))?;
        }
        let pairs = states * actions;
        let (visits, rewards, next) = (vec![0.0; pairs], vec![0.0; pairs], vec![0.0; pairs * states]);
        let mut learner =
            Self { config, states, actions, bounds, visits, rewards, next, steps: 0, q: Vec::new() };
        learner.plan();
        Ok(learner)
    }

    /// Recomputes the optimistic values from what was observed; call it between episodes.
    pub fn plan(&mut self) {
        let log = (std::f64::consts::E + self.steps as f64).ln();
        let mut v = vec![0.0; self.states];
        self.q.clear();
        for h in 0..self.config.horizon {
            let longest = (h + 1) as f64;
            let optimistic = |row: usize| {
                let n = self.visits[row];
                let known = if n > 0.0 {
                    let law = &self.next[row * self.states..][..self.states];
                    let ahead: f64 = law.iter().zip(&v).map(|(c, v)| c / n * v).sum();
                    self.rewards[row] / n + ahead + self.config.bonus * longest * (log / n).sqrt()
                } else {
                    longest
                };
                let bound = self.bounds.as_ref().map_or(longest, |b| b[h][row]);
                known.min(longest).min(bound)
            };
            let q: Vec<f64> = (0..self.visits.len()).map(optimistic).collect();
            v = q.chunks(self.actions).map(|row| row[greedy(row)]).collect();
            self.q.push(q);
        }
    }

    /// The optimistic action with `to_go` ≥ 1 steps left; ties go to the lowest.
    ///
    /// # Errors
    /// [`Error::Shape`] for a state or a number of steps that does not exist.
    pub fn act(&self, state: usize, to_go: usize) -> Result<usize> {
        let q = to_go.checked_sub(1).and_then(|h| self.q.get(h)).filter(|_| state < self.states);
        let q = q.ok_or_else(|| {
            let expected = format!("a state below {} and 1 to {} steps", self.states, self.config.horizon);
            Error::shape("OptimisticLearner::act", expected, format!("state {state}, {to_go} steps"))
        })?;
        Ok(greedy(&q[state * self.actions..][..self.actions]))
    }

    /// Learns from one transition; `next` is `None` at the end of an episode that ended by itself.
    ///
    /// # Errors
    /// [`Error::Shape`] for indices out of range or a reward outside [0, 1].
    pub fn observe(&mut self, state: usize, action: usize, reward: f64, next: Option<usize>) -> Result<()> {
        let inside = state < self.states && action < self.actions && next.is_none_or(|s| s < self.states);
        if !inside || !(0.0..=1.0).contains(&reward) {
            let expected =
                format!("states below {}, actions below {}, rewards in [0, 1]", self.states, self.actions);
            let got = format!("{state}, {action}, {reward}, {next:?}");
            return Err(Error::shape("OptimisticLearner::observe", expected, got));
        }
        let row = state * self.actions + action;
        self.visits[row] += 1.0;
        self.rewards[row] += reward;
        if let Some(next) = next {
            self.next[row * self.states + next] += 1.0;
        }
        self.steps += 1;
        Ok(())
    }

    /// Plays `episodes` from `start` and returns the exact expected regret of each, V*_H(start) − V^π_H(start). Rewards are
    /// the process's means; its discount is not used.
    ///
    /// # Errors
    /// As [`Mdp::validate`] and [`OptimisticLearner::observe`]; [`Error::Shape`] for a process of another size.
    pub fn play(&mut self, mdp: &Mdp, start: usize, episodes: usize, rng: &mut impl Rng) -> Result<Vec<f64>> {
        mdp.validate()?;
        check_len("OptimisticLearner::play: states", self.states, mdp.states)?;
        check_len("OptimisticLearner::play: actions", self.actions, mdp.actions)?;
        if start >= mdp.states {
            return Err(Error::Node { operation: "OptimisticLearner::play", node: start, count: mdp.states });
        }
        let best = self.value(mdp, start, |_, q| greedy(q));
        let mut regrets = Vec::with_capacity(episodes);
        for _ in 0..episodes {
            self.plan();
            let own =
                |(s, h): (usize, usize), _: &[f64]| greedy(&self.q[h][s * self.actions..][..self.actions]);
            regrets.push(best - self.value(mdp, start, own));
            let mut state = start;
            for to_go in (1..=self.config.horizon).rev() {
                if mdp.terminal[state] {
                    break;
                }
                let action = self.act(state, to_go)?;
                let next = mdp.step(state, action, rng);
                self.observe(state, action, mdp.reward[state * self.actions + action], Some(next))?;
                state = next;
            }
        }
        Ok(regrets)
    }

    /// Undiscounted value over the horizon of a rule that picks from the row of exact values at (state, step).
    fn value(&self, mdp: &Mdp, start: usize, pick: impl Fn((usize, usize), &[f64]) -> usize) -> f64 {
        let mut v = vec![0.0; self.states];
        for h in 0..self.config.horizon {
            let of = |s: usize| {
                if mdp.terminal[s] {
                    return 0.0;
                }
                let q = |a: usize| -> f64 {
                    let ahead: f64 = mdp.next(s, a).iter().zip(&v).map(|(p, v)| p * v).sum();
                    mdp.reward[s * self.actions + a] + ahead
                };
                let row: Vec<f64> = (0..self.actions).map(q).collect();
                row[pick((s, h), &row)]
            };
            v = (0..self.states).map(of).collect();
        }
        v[start]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BoundsConfig, ConfoundedMdp, horizon_bounds, optimal_value_bounds};
    use super::*;
    use rl_core::SeedStream;

    /// A ring of 4 states. U (rare, 0.1) makes the behaviour choose 1, which then pays nothing; forced, 1 pays 0.72 on
    /// average and 0 pays 0.1. In the log 1 pays 0.
    fn ring() -> ConfoundedMdp {
        let (mut behaviour, mut transition, mut reward) = (Vec::new(), Vec::new(), Vec::new());
        for s in 0..4 {
            for rare in [false, true] {
                behaviour.extend(if rare { [0.0, 1.0] } else { [1.0, 0.0] });
                for a in 0..2 {
                    let to = if a == 0 { (s + 1) % 4 } else { (s + 2) % 4 };
                    transition.extend((0..4).map(|t| f64::from(u8::from(t == to))));
                    reward.push(if a == 0 {
                        0.1
                    } else if rare {
                        0.0
                    } else {
                        0.8
                    });
                }
            }
        }
        let (hidden, terminal) = (vec![0.9, 0.1], vec![false; 4]);
        ConfoundedMdp { states: 4, actions: 2, hidden, behaviour, transition, reward, terminal }
    }

    #[test]
    fn the_bounds_of_the_log_save_regret_and_the_naive_reading_of_it_does_not() {
        let (model, config) = (ring(), OptimisticConfig::default());
        let mdp = model.interventional(0.9).unwrap();
        let log = model.observed().unwrap();
        // Read as if unconfounded, the log recommends 0 everywhere.
        assert!((0..4).all(|s| log.reward[2 * s] > log.reward[2 * s + 1]));
        let bounds = horizon_bounds(&log, config.horizon, &BoundsConfig::default()).unwrap();
        let regret = |bounds: Option<Vec<Vec<f64>>>| {
            (0..5)
                .map(|seed| {
                    let mut learner = OptimisticLearner::new(4, 2, bounds.clone(), config.clone()).unwrap();
                    let mut rng = SeedStream::new(seed).stream("online", 0);
                    learner.play(&mdp, 0, 300, &mut rng).unwrap().iter().sum::<f64>()
                })
                .sum::<f64>()
                / 5.0
        };
        let (plain, clipped) = (regret(None), regret(Some(bounds)));
        assert!(plain > 1.0 && clipped < 0.5 * plain, "regret {clipped} with the bounds, {plain} without");
        let discounted = optimal_value_bounds(&log, &BoundsConfig::default()).unwrap();
        assert!(discounted.v.iter().all(|v| *v <= 20.0));
    }

    #[test]
    fn wrong_sizes_are_errors() {
        let config = OptimisticConfig::default();
        assert!(OptimisticLearner::new(2, 2, Some(vec![vec![0.0; 4]; 3]), config.clone()).is_err());
        assert!(
            OptimisticLearner::new(2, 2, None, OptimisticConfig { horizon: 0, ..config.clone() }).is_err()
        );
        let mut learner = OptimisticLearner::new(2, 2, None, config).unwrap();
        assert!(learner.act(0, 6).is_err() && learner.act(2, 1).is_err() && learner.act(0, 0).is_err());
        assert!(learner.observe(0, 0, 2.0, None).is_err() && learner.observe(0, 5, 0.0, None).is_err());
    }
}
