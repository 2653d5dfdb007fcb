//! Planning in a causal world model by the cross-entropy method over a finite set of actions.
//!
//! Rubinstein (1999); the budget is that of Wang et al. (2022): horizon 3, five iterations, 64 candidates, 32 elites.

use super::world_model::CausalWorldModel;
use crate::error::{Error, Result};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Settings of [`plan`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanConfig {
    /// Steps looked ahead. 3.
    pub horizon: usize,
    /// Sequences per iteration. 64.
    pub candidates: usize,
    /// Best sequences that are refitted to. 32.
    pub elites: usize,
    /// Iterations. 5.
    pub iterations: usize,
    /// Discount per step. 1.
    pub discount: f64,
}

impl Default for PlanConfig {
    fn default() -> Self {
        Self { horizon: 3, candidates: 64, elites: 32, iterations: 5, discount: 1.0 }
    }
}

impl PlanConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in
            [("horizon", self.horizon), ("candidates", self.candidates), ("iterations", self.iterations)]
        {
            if value == 0 {
                return Err(Error::config("plan", field, value, "at least 1"));
            }
        }
        if self.elites == 0 || self.elites > self.candidates {
            return Err(Error::config("plan", "elites", self.elites, "from 1 to candidates"));
        }
        Ok(())
    }
}

/// The index of the action to take from `state`: Σ γᵗ reward(state after t + 1 steps) is maximised over sequences of
/// `actions` (encoded), which the model plays out, one draw each.
///
/// # Errors
/// [`Error::Config`], [`Error::Shape`] without actions or for encodings that do not fit.
pub fn plan(
    model: &CausalWorldModel,
    state: &[f32],
    actions: &[Vec<f32>],
    reward: impl Fn(&[f32]) -> f64,
    config: &PlanConfig,
    rng: &mut impl Rng,
) -> Result<usize> {
    config.validate()?;
    if actions.is_empty() {
        return Err(Error::shape("plan", "at least one action", 0));
    }
    let (n, horizon, width) = (actions.len(), config.horizon, model.space().width());
    let mut probabilities = vec![1.0 / n as f64; horizon * n];
    let mut best = (f64::NEG_INFINITY, 0);
    for _ in 0..config.iterations {
        let sequences: Vec<usize> = (0..config.candidates * horizon)
            .map(|j| draw(&probabilities[(j % horizon) * n..][..n], rng))
            .collect();
        let mut returns = vec![0.0; config.candidates];
        let mut states = state.repeat(config.candidates);
        for t in 0..horizon {
            let chosen = (0..config.candidates).flat_map(|c| &actions[sequences[c * horizon + t]]);
            let chosen: Vec<f32> = chosen.copied().collect();
            states = model.sample(&states, &chosen, &[], rng)?;
            for (total, next) in returns.iter_mut().zip(states.chunks_exact(width)) {
                *total += config.discount.powi(t as i32) * reward(next);
            }
        }
        let mut order: Vec<usize> = (0..config.candidates).collect();
        order.sort_by(|&a, &b| returns[b].total_cmp(&returns[a]));
        if returns[order[0]] > best.0 {
            best = (returns[order[0]], sequences[order[0] * horizon]);
        }
        probabilities.fill(0.02 / n as f64);
        for &c in &order[..config.elites] {
            for t in 0..horizon {
                probabilities[t * n + sequences[c * horizon + t]] += 0.98 / config.elites as f64;
            }
        }
    }
    // The mode of the first step: a single lucky draw of a noisy model decides nothing.
    let first = &probabilities[..n];
    Ok((0..n).max_by(|&a, &b| first[a].total_cmp(&first[b]).then(b.cmp(&a))).unwrap_or(best.1))
}

fn draw(probabilities: &[f64], rng: &mut impl Rng) -> usize {
    let mut left = rng.random::<f64>() * probabilities.iter().sum::<f64>();
    let found = probabilities.iter().position(|p| {
        left -= p;
        left < 0.0
    });
    found.unwrap_or(probabilities.len() - 1)
}
