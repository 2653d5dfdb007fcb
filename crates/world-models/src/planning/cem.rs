//! The cross-entropy method: refit the proposal to the elites (Rubinstein 1999; PETS: Chua et al. 2018).
//!
//! μ ← α μ + (1 − α) mean(elites), σ² ← α σ² + (1 − α) var(elites), biased variance as in PETS, σ ≥ floor.
//! Deviation from PETS: no truncated normal; sequences stay unclipped and only the model sees them clipped.

use crate::Result;
use rl_core::Error;
use serde::{Deserialize, Serialize};

/// Settings of CEM.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cem {
    /// α, the weight of the old mean and variance (PETS: 0.1; PlaNet: 0).
    pub momentum: f64,
    /// Initial standard deviation as a fraction of half the range (PETS: variance (range / 4)², so 0.5; PlaNet: 1).
    pub initial_std: f64,
    /// Smallest standard deviation.
    pub min_std: f64,
    /// Half of the elites stay candidates, in the next iteration and, shifted, in the next step's first.
    pub keep_elites: bool,
}

impl Default for Cem {
    fn default() -> Self {
        Self { momentum: 0.1, initial_std: 0.5, min_std: 1e-3, keep_elites: false }
    }
}

impl Cem {
    pub(super) fn validate(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::config("planner.cem", "momentum", self.momentum, "in [0, 1)").into());
        }
        if !(self.initial_std > 0.0 && self.min_std >= 0.0) {
            let value = format!("{}, {}", self.initial_std, self.min_std);
            return Err(Error::config(
                "planner.cem",
                "initial_std, min_std",
                value,
                "positive, not negative",
            )
            .into());
        }
        Ok(())
    }
}

/// Mean and biased variance of the elites, per number of a sequence; `elites` is `[k, n]`.
pub fn elite_statistics(elites: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let k = (elites.len() / n) as f64;
    let mut mean = vec![0.0; n];
    for row in elites.chunks_exact(n) {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / k);
    }
    let mut variance = vec![0.0; n];
    for row in elites.chunks_exact(n) {
        for ((v, x), m) in variance.iter_mut().zip(row).zip(&mean) {
            *v += (x - m) * (x - m) / k;
        }
    }
    (mean, variance)
}

/// old ← α old + (1 − α) new.
pub fn momentum(alpha: f64, old: &mut [f64], new: &[f64]) {
    old.iter_mut().zip(new).for_each(|(old, new)| *old = alpha * *old + (1.0 - alpha) * new);
}

pub(super) fn learn(config: &Cem, elites: &[f32], mean: &mut [f32], std: &mut [f32]) {
    refit(elites, config.momentum, config.momentum, config.min_std, mean, std);
}

/// The shared refit of CEM and iCEM, in f64.
pub(super) fn refit(
    elites: &[f32],
    mean_momentum: f64,
    variance_momentum: f64,
    min_std: f64,
    mean: &mut [f32],
    std: &mut [f32],
) {
    let wide: Vec<f64> = elites.iter().map(|&x| f64::from(x)).collect();
    let (elite_mean, elite_variance) = elite_statistics(&wide, mean.len());
    let mut new_mean: Vec<f64> = mean.iter().map(|&x| f64::from(x)).collect();
    let mut variance: Vec<f64> = std.iter().map(|&x| f64::from(x) * f64::from(x)).collect();
    momentum(mean_momentum, &mut new_mean, &elite_mean);
    momentum(variance_momentum, &mut variance, &elite_variance);
    for ((m, s), (new, v)) in mean.iter_mut().zip(std).zip(new_mean.iter().zip(&variance)) {
        (*m, *s) = (*new as f32, v.sqrt().max(min_std) as f32);
    }
}
