//! Model-predictive path integral control (Williams et al. 2015) in TD-MPC2's form (Hansen et al. 2024): weights from a
//! softmax over the elites' scores, mean and spread from the weighted elites.
//!
//! wᵢ ∝ exp(τ (Jᵢ − max J)), μ = Σ w a, σ = √(Σ w (a − μ)²) within [min, max].

use crate::Result;
use rl_core::Error;
use serde::{Deserialize, Serialize};

/// Settings of MPPI; the defaults are TD-MPC2's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mppi {
    /// τ, the sharpness of the softmax (TD-MPC2: 0.5).
    pub temperature: f64,
    /// Initial standard deviation as a fraction of half the range (TD-MPC2: 2, its largest).
    pub initial_std: f64,
    /// Smallest standard deviation (TD-MPC2: 0.05).
    pub min_std: f64,
    /// Largest standard deviation (TD-MPC2: 2).
    pub max_std: f64,
}

impl Default for Mppi {
    fn default() -> Self {
        Self { temperature: 0.5, initial_std: 2.0, min_std: 0.05, max_std: 2.0 }
    }
}

impl Mppi {
    pub(super) fn validate(&self) -> Result<()> {
        if self.temperature.is_nan() || self.temperature <= 0.0 {
            return Err(Error::config("planner.mppi", "temperature", self.temperature, "positive").into());
        }
        if !(self.initial_std > 0.0 && self.min_std >= 0.0 && self.max_std >= self.min_std) {
            let value = format!("{}, {}, {}", self.initial_std, self.min_std, self.max_std);
            let fields = "initial_std, min_std, max_std";
            return Err(Error::config("planner.mppi", fields, value, "positive, 0 ≤ min ≤ max").into());
        }
        Ok(())
    }
}

/// exp(τ (J − max J)) / Σ. Scores of −∞ get weight 0; if all are −∞, all weigh the same.
pub fn elite_weights(scores: &[f64], temperature: f64) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return vec![1.0 / scores.len() as f64; scores.len()];
    }
    let weights: Vec<f64> = scores.iter().map(|s| (temperature * (s - max)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// Weighted mean and standard deviation of the elites `[k, n]`; TD-MPC2 divides by Σ w + 1e-9.
pub fn weighted_statistics(elites: &[f64], weights: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let sum = weights.iter().sum::<f64>() + 1e-9;
    let mut mean = vec![0.0; n];
    for (row, w) in elites.chunks_exact(n).zip(weights) {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += w * x);
    }
    mean.iter_mut().for_each(|m| *m /= sum);
    let mut variance = vec![0.0; n];
    for (row, w) in elites.chunks_exact(n).zip(weights) {
        for ((v, x), m) in variance.iter_mut().zip(row).zip(&mean) {
            *v += w * (x - m) * (x - m);
        }
    }
    let std = variance.iter().map(|v| (v / sum).sqrt()).collect();
    (mean, std)
}

pub(super) fn learn(config: &Mppi, elites: &[f32], scores: &[f64], mean: &mut [f32], std: &mut [f32]) {
    let wide: Vec<f64> = elites.iter().map(|&x| f64::from(x)).collect();
    let weights = elite_weights(scores, config.temperature);
    let (new_mean, new_std) = weighted_statistics(&wide, &weights, mean.len());
    for ((m, s), (new, spread)) in mean.iter_mut().zip(std).zip(new_mean.iter().zip(&new_std)) {
        (*m, *s) = (*new as f32, spread.clamp(config.min_std, config.max_std) as f32);
    }
}
