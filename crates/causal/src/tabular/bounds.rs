//! What the log of a behaviour that saw more says about optimal values.
//!
//! Manski (1990) for one decision; Zhang & Bareinboim, *Near-optimal reinforcement learning in dynamic treatment regimes*
//! (NeurIPS 2019) for sequences; Li, Zhang & Bareinboim (ICML 2025) for the discounted form. Units that took action a
//! show what a does; of the others nothing is known but the extremes:
//!
//! Q̄(s, a) = P(a | s) (r(s, a) + γ Σ P(s′ | s, a) V̄(s′)) + P(¬a | s) (r_max + γ max_{s′ reachable from s} V̄(s′)),
//!
//! V̄(s) = max_a Q̄(s, a); the lower bound has r_min and the minimum in their place.

use super::confounded::ObservedLog;
use super::mdp::check_len;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What is known besides the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoundsConfig {
    /// Discount γ in [0, 1); [`horizon_bounds`] takes 1 in its place.
    pub discount: f64,
    /// Least reward of a step.
    pub lowest_reward: f64,
    /// Largest reward of a step.
    pub highest_reward: f64,
    /// States whose value is 0, `[S]`; empty for none.
    pub terminal: Vec<bool>,
    /// The states that a step can lead to from each state, whatever the action; `None` if it could be any. The closer the
    /// map, the tighter the bounds.
    pub reachable: Option<Vec<Vec<usize>>>,
    /// Iteration ends when no value changes by more than this. Every iterate is a bound already.
    pub tolerance: f64,
}

impl Default for BoundsConfig {
    fn default() -> Self {
        Self {
            discount: 0.95,
            lowest_reward: 0.0,
            highest_reward: 1.0,
            terminal: Vec::new(),
            reachable: None,
            tolerance: 1e-9,
        }
    }
}

impl BoundsConfig {
    fn validate(&self, states: usize) -> Result<()> {
        if !(0.0..1.0).contains(&self.discount) {
            return Err(Error::config("bounds", "discount", self.discount, "in [0, 1)"));
        }
        let finite = self.lowest_reward.is_finite() && self.highest_reward.is_finite();
        if !finite || self.lowest_reward > self.highest_reward {
            let allowed = "finite and at most highest_reward";
            return Err(Error::config("bounds", "lowest_reward", self.lowest_reward, allowed));
        }
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            return Err(Error::config("bounds", "tolerance", self.tolerance, "positive"));
        }
        if !self.terminal.is_empty() {
            check_len("BoundsConfig.terminal", states, self.terminal.len())?;
        }
        if let Some(map) = &self.reachable {
            check_len("BoundsConfig.reachable", states, map.len())?;
            if let Some(&node) = map.iter().flatten().find(|&&s| s >= states) {
                return Err(Error::Node { operation: "BoundsConfig.reachable", node, count: states });
            }
            if let Some(s) = (0..states).find(|&s| map[s].is_empty() && !self.is_terminal(s)) {
                return Err(Error::data(
                    "BoundsConfig.reachable",
                    format!("state {s} leads nowhere and is not terminal"),
                ));
            }
        }
        Ok(())
    }

    fn is_terminal(&self, s: usize) -> bool {
        self.terminal.get(s).copied().unwrap_or(false)
    }

    /// max or min of `v` over what can follow `s`.
    fn extreme_ahead(&self, s: usize, v: &[f64], upper: bool) -> f64 {
        let pick = |a: f64, b: f64| if upper { a.max(b) } else { a.min(b) };
        let worst = if upper { f64::NEG_INFINITY } else { f64::INFINITY };
        match &self.reachable {
            Some(map) => map[s].iter().map(|&to| v[to]).fold(worst, pick),
            None => v.iter().copied().fold(worst, pick),
        }
    }
}

/// Bounds on optimal values.
#[derive(Clone, Debug, PartialEq)]
pub struct CausalBounds {
    /// Upper bound of V*, `[S]`.
    pub v: Vec<f64>,
    /// Upper bound of Q*, `[S, A]` row-major.
    pub q: Vec<f64>,
    /// Lower bound of V*, `[S]`.
    pub v_low: Vec<f64>,
}

/// Bounds on the discounted optimal values of a learner that does not see what the behaviour saw.
///
/// They hold for the law of the log; with few transitions its frequencies are only estimates of it.
///
/// # Errors
/// [`Error::Config`] for γ, rewards or tolerance out of range; [`Error::Shape`] or [`Error::Node`] for a map or terminal
/// flags that do not fit the log.
pub fn optimal_value_bounds(log: &ObservedLog, config: &BoundsConfig) -> Result<CausalBounds> {
    config.validate(log.states)?;
    let solve = |upper: bool| {
        let reward = if upper { config.highest_reward.max(0.0) } else { config.lowest_reward.min(0.0) };
        let mut v: Vec<f64> = vec![reward / (1.0 - config.discount); log.states];
        (0..log.states).filter(|&s| config.is_terminal(s)).for_each(|s| v[s] = 0.0);
        loop {
            let q = backup(log, config, config.discount, &v, upper);
            let better = best(&q, log.actions);
            let change = better.iter().zip(&v).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
            v = better;
            if change <= config.tolerance {
                return (v, q);
            }
        }
    };
    let ((v, q), (v_low, _)) = (solve(true), solve(false));
    Ok(CausalBounds { v, q, v_low })
}

/// Upper bounds on the undiscounted optimal Q* with 1, 2, …, `horizon` steps to go: entry h is `[S, A]` for h + 1 steps.
///
/// # Errors
/// As [`optimal_value_bounds`].
pub fn horizon_bounds(log: &ObservedLog, horizon: usize, config: &BoundsConfig) -> Result<Vec<Vec<f64>>> {
    config.validate(log.states)?;
    let mut v = vec![0.0; log.states];
    let mut bounds = Vec::with_capacity(horizon);
    for _ in 0..horizon {
        let q = backup(log, config, 1.0, &v, true);
        v = best(&q, log.actions);
        bounds.push(q);
    }
    Ok(bounds)
}

/// The equation of the file's head, `[S, A]`.
fn backup(log: &ObservedLog, config: &BoundsConfig, discount: f64, v: &[f64], upper: bool) -> Vec<f64> {
    let (states, actions) = (log.states, log.actions);
    let reward = if upper { config.highest_reward } else { config.lowest_reward };
    let mut q = vec![0.0; states * actions];
    for s in (0..states).filter(|&s| !config.is_terminal(s)) {
        let unseen = reward + discount * config.extreme_ahead(s, v, upper);
        for a in 0..actions {
            let row = s * actions + a;
            let ahead: f64 = log.next[row * states..][..states].iter().zip(v).map(|(p, v)| p * v).sum();
            let seen = log.reward[row] + discount * ahead;
            q[row] = log.share[row] * seen + (1.0 - log.share[row]) * unseen;
        }
    }
    q
}

fn best(q: &[f64], actions: usize) -> Vec<f64> {
    q.chunks(actions.max(1)).map(|row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{ConfoundedMdp, Mdp};
    use super::*;
    use crate::estimate::TabularTransition;
    use proptest::prelude::*;
    use rl_core::SeedStream;

    /// An 8 × 8 field from the lower left to the upper right at cost 1 a step. Gusts (0.3, hidden from the learner) blow any
    /// move back to the left. The behaviour feels them and then waits out by pushing against the wall below.
    pub(in crate::tabular) fn windy_grid() -> ConfoundedMdp {
        const N: usize = 8;
        let (states, actions) = (N * N, 4);
        let moved = |s: usize, a: usize| {
            let (x, y) = (s % N, s / N);
            let (x, y) = match a {
                0 => ((x + 1).min(N - 1), y),
                1 => (x, (y + 1).min(N - 1)),
                2 => (x.saturating_sub(1), y),
                _ => (x, y.saturating_sub(1)),
            };
            y * N + x
        };
        let (mut behaviour, mut transition) = (Vec::new(), Vec::new());
        for s in 0..states {
            for gust in [false, true] {
                behaviour.extend(if gust { [0.1, 0.1, 0.1, 0.7] } else { [0.45, 0.45, 0.05, 0.05] });
                for a in 0..actions {
                    let to = if gust { moved(s, 2) } else { moved(s, a) };
                    transition.extend((0..states).map(|t| f64::from(u8::from(t == to))));
                }
            }
        }
        let mut terminal = vec![false; states];
        terminal[states - 1] = true;
        let reward = vec![-1.0; states * 2 * actions];
        ConfoundedMdp { states, actions, hidden: vec![0.7, 0.3], behaviour, transition, reward, terminal }
    }

    #[test]
    fn one_step_is_manskis_bound() {
        // One state, two actions, U fair: the behaviour takes a = u with 0.8, a pays 1 when a ≠ u.
        let toy = ConfoundedMdp {
            states: 2,
            actions: 2,
            hidden: vec![0.5, 0.5],
            behaviour: [[0.8, 0.2], [0.2, 0.8], [0.5, 0.5], [0.5, 0.5]].concat(),
            transition: [0.0, 1.0].repeat(8),
            reward: vec![0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            terminal: vec![false, true],
        };
        let log = toy.observed().unwrap();
        assert!((log.reward[0] - 0.2).abs() < 1e-12, "seen 0.2, truly 0.5");
        let reachable = Some(toy.reachable());
        let config = BoundsConfig { terminal: toy.terminal.clone(), reachable, ..Default::default() };
        let bounds = optimal_value_bounds(&log, &config).unwrap();
        assert!((bounds.q[0] - (0.5 * 0.2 + 0.5)).abs() < 1e-12 && (bounds.v_low[0] - 0.1).abs() < 1e-12);
        assert!((toy.interventional(0.9).unwrap().reward[0] - 0.5).abs() < 1e-12);
        let drawn = toy.log(0, 20_000, &mut SeedStream::new(1).stream("log", 0)).unwrap();
        let estimated = ObservedLog::from_transitions(&drawn, 2, 2).unwrap();
        assert!((estimated.share[0] - 0.5).abs() < 0.02 && (estimated.reward[0] - 0.2).abs() < 0.02);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let log = windy_grid().observed().unwrap();
        for bad in [
            BoundsConfig { discount: 1.0, ..Default::default() },
            BoundsConfig { lowest_reward: 2.0, ..Default::default() },
            BoundsConfig { terminal: vec![true], ..Default::default() },
            BoundsConfig { reachable: Some(vec![vec![99]; 64]), ..Default::default() },
        ] {
            assert!(optimal_value_bounds(&log, &bad).is_err(), "{bad:?}");
        }
        let mut broken = windy_grid();
        broken.hidden = vec![0.7, 0.7];
        assert!(
            broken.observed().is_err() && broken.log(0, 5, &mut SeedStream::new(0).stream("x", 0)).is_err()
        );
        let step = TabularTransition { state: 0, action: 9, reward: 0.0, next: None };
        assert!(ObservedLog::from_transitions(&[step], 2, 2).is_err());
    }

    proptest! {
        /// Random confounded processes, exact logs: the optimal values lie within the bounds, discounted and over a horizon,
        /// with and without a map.
        #[test]
        fn optimal_values_lie_within(seed in 0u64..100_000, with_map in any::<bool>()) {
            let mut rng = SeedStream::new(seed).stream("random", 0);
            let (states, actions, hidden) = (4, 2, 3);
            let mut rows = |count: usize, width: usize| -> Vec<f64> {
                (0..count).flat_map(|_| {
                    let w: Vec<f64> = (0..width).map(|_| rand::RngExt::random::<f64>(&mut rng).powi(3) + 1e-3).collect();
                    let total: f64 = w.iter().sum();
                    w.into_iter().map(move |x| x / total)
                }).collect()
            };
            let cells = states * hidden * actions;
            let model = ConfoundedMdp {
                states, actions,
                hidden: rows(1, hidden),
                behaviour: rows(states * hidden, actions),
                transition: rows(cells, states),
                reward: rows(cells, 2).into_iter().step_by(2).collect(),
                terminal: vec![false, false, false, true],
            };
            let mdp = model.interventional(0.8).unwrap();
            let truth = mdp.solve(1e-12).unwrap();
            let config = BoundsConfig {
                discount: 0.8,
                terminal: model.terminal.clone(),
                reachable: with_map.then(|| model.reachable()),
                ..Default::default()
            };
            let log = model.observed().unwrap();
            let bounds = optimal_value_bounds(&log, &config).unwrap();
            for s in 0..states {
                prop_assert!(bounds.v_low[s] <= truth.v[s] + 1e-7 && truth.v[s] <= bounds.v[s] + 1e-7);
            }
            prop_assert!(bounds.q.iter().zip(&truth.q).all(|(bound, q)| *q <= bound + 1e-7));
            // Undiscounted backward induction as the exact twin of the horizon.
            let mut v = vec![0.0; states];
            let whole = Mdp { discount: 0.0, ..mdp };
            for bound in horizon_bounds(&log, 4, &config).unwrap() {
                let value = |s: usize, a: usize| -> f64 {
                    let ahead: f64 = whole.next(s, a).iter().zip(&v).map(|(p, v)| p * v).sum();
                    whole.reward[s * actions + a] + ahead
                };
                let q: Vec<f64> = (0..states * actions).map(|i| if i / actions == 3 { 0.0 } else { value(i / actions, i % actions) }).collect();
                prop_assert!(q.iter().zip(&bound).all(|(q, bound)| *q <= bound + 1e-9));
                v = best(&q, actions);
            }
        }
    }
}
