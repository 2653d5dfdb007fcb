//! Policies from a model's outputs, and the gradient of log π.

use crate::error::{Result, within};
use rand::RngExt;
use rl_core::StreamRng;
use serde::{Deserialize, Serialize};

/// How outputs become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Policy {
    /// π(a) = e^{β o_a} / Σ_b e^{β o_b} (softmax-PQC, Jerbi et al. 2021).
    Softmax {
        /// The inverse temperature β.
        beta: f64,
    },
    /// π(a) = o_a, the outputs being probabilities already: ⟨P_a⟩ of projectors that sum to 1 (raw-PQC, Jerbi et al. 2021).
    Born,
}

impl Policy {
    /// # Errors
    /// When β is not positive.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Softmax { beta } => within("policy", "beta", *beta, (1e-9, 1e9), "positive"),
            Self::Born => Ok(()),
        }
    }

    /// π from one row of outputs, in place.
    pub fn probabilities(&self, row: &mut [f64]) {
        if let Self::Softmax { beta } = self {
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|o| *o = (beta * (*o - top)).exp());
        } else {
            // Rounding may leave −1e-17.
            row.iter_mut().for_each(|o| *o = o.max(0.0));
        }
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
    }

    /// Draws an action from probabilities.
    pub fn draw(probabilities: &[f64], rng: &mut StreamRng) -> usize {
        let mut left = rng.random::<f64>();
        for (a, p) in probabilities.iter().enumerate() {
            left -= p;
            if left < 0.0 {
                return a;
            }
        }
        super::model::argmax(probabilities)
    }

    /// Adds to `by_output` the gradient of −weight · log π(action) − entropy_weight · H(π) by the outputs; `pi` are the
    /// probabilities. For the softmax −weight β (δ_ab − π_b): all outputs move, not only the chosen one.
    pub fn pull_back(
        &self,
        pi: &[f64],
        action: usize,
        weight: f64,
        entropy_weight: f64,
        by_output: &mut [f64],
    ) {
        let log = |p: f64| p.max(1e-12).ln();
        let entropy: f64 = -pi.iter().map(|p| p * log(*p)).sum::<f64>();
        for (b, (p, d)) in pi.iter().zip(by_output).enumerate() {
            let chosen = f64::from(u8::from(b == action));
            *d += match self {
                Self::Softmax { beta } => {
                    beta * (entropy_weight * p * (log(*p) + entropy) - weight * (chosen - p))
                }
                // A Born policy that has all but excluded an action bounds the step that its rare choice can make.
                Self::Born => entropy_weight * (log(*p) + 1.0) - weight * chosen / p.max(1e-3),
            };
        }
    }
}
