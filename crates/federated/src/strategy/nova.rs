//! FedNova (Wang et al. 2020, equations 5 to 9): clients that take different numbers of local steps pull the
//! average towards a wrong objective; dividing each movement by its effective number of steps mends that.

use super::{Reply, Strategy};
use crate::error::{Error, Result, check, same_length};
use crate::kernel::weighted_sum;
use crate::strategy::not_finite;
use serde::{Deserialize, Serialize};

/// The local optimiser, which decides how many effective steps `‖a_i‖₁` a client took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LocalOptimizer {
    /// Plain SGD: `‖a‖₁ = τ`.
    #[default]
    Sgd,
    /// SGD with momentum `ρ`: `‖a‖₁ = (τ − ρ (1 − ρ^τ) / (1 − ρ)) / (1 − ρ)`.
    Momentum {
        /// `ρ ∈ [0, 1)`.
        rho: f64,
    },
    /// SGD on a proximal objective: `‖a‖₁ = (1 − (1 − η μ)^τ) / (η μ)`.
    Proximal {
        /// `η μ ∈ (0, 1)`.
        rate_times_mu: f64,
    },
}

impl LocalOptimizer {
    /// `‖a_i‖₁` after `steps` local steps.
    ///
    /// # Errors
    /// No steps, or a constant outside its range.
    pub fn effective_steps(&self, steps: u32) -> Result<f64> {
        check(steps > 0, "fed_nova", "local_steps", steps, "≥ 1")?;
        let tau = f64::from(steps);
        match *self {
            Self::Sgd => Ok(tau),
            Self::Momentum { rho } => {
                check((0.0..1.0).contains(&rho), "fed_nova", "rho", rho, "in [0, 1)")?;
                Ok((tau - rho * (1.0 - rho.powf(tau)) / (1.0 - rho)) / (1.0 - rho))
            }
            Self::Proximal { rate_times_mu: x } => {
                check(x > 0.0 && x < 1.0, "fed_nova", "rate_times_mu", x, "in (0, 1)")?;
                Ok((1.0 - (1.0 - x).powf(tau)) / x)
            }
        }
    }
}

/// `x ← x + τ_eff Σ p_i (y_i − x) / ‖a_i‖₁` with `p_i ∝` weight and `τ_eff = Σ p_i ‖a_i‖₁` (paper, section 4:
/// the choice that keeps FedAvg's pace).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FedNova {
    /// The clients' local optimiser.
    pub local: LocalOptimizer,
}

impl Strategy for FedNova {
    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()> {
        const OPERATION: &str = "fed_nova";
        if replies.is_empty() {
            return Err(Error::TooFew { operation: OPERATION, needed: 1, got: 0 });
        }
        let mut vectors: Vec<&[f32]> = replies.iter().map(|r| r.parameters.as_slice()).collect();
        vectors.push(global);
        same_length(OPERATION, &vectors)?;
        let total: f64 = replies.iter().map(|r| r.weight).sum();
        let valid = total > 0.0 && total.is_finite() && replies.iter().all(|r| r.weight >= 0.0);
        check(valid, OPERATION, "weights", total, "finite, ≥ 0, not all 0")?;
        let effective =
            replies.iter().map(|r| self.local.effective_steps(r.local_steps)).collect::<Result<Vec<_>>>()?;
        let pace: f64 = replies.iter().zip(&effective).map(|(r, a)| r.weight / total * a).sum();
        let mut weights: Vec<f64> =
            replies.iter().zip(&effective).map(|(r, a)| pace * r.weight / total / a).collect();
        weights.push(1.0 - weights.iter().sum::<f64>());
        let mut next = vec![0.0f32; global.len()];
        weighted_sum(&vectors, &weights, &mut next);
        if next.iter().any(|x| !x.is_finite()) {
            return Err(not_finite(OPERATION, &vectors));
        }
        global.copy_from_slice(&next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::{FedAvg, reply};

    #[test]
    fn equal_steps_make_it_fed_avg() {
        let replies = [reply(0, &[1.0, 2.0], 1.0), reply(1, &[3.0, -2.0], 3.0)];
        let (mut nova, mut avg) = ([0.5f32, 0.5], [0.5f32, 0.5]);
        FedNova::default().aggregate(&mut nova, &replies).unwrap();
        FedAvg.aggregate(&mut avg, &replies).unwrap();
        assert!(nova.iter().zip(avg).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn a_client_with_more_steps_does_not_count_more() {
        // both clients move 1 per step, one takes 3 steps: each direction has the same share, the pace is 2
        let mut replies = [reply(0, &[1.0, 0.0], 1.0), reply(1, &[0.0, 3.0], 1.0)];
        replies[1].local_steps = 3;
        let mut x = [0.0f32; 2];
        FedNova::default().aggregate(&mut x, &replies).unwrap();
        assert_eq!(x, [1.0, 1.0]);
    }

    #[test]
    fn effective_steps_are_the_norms_of_the_accumulated_gradients() {
        // momentum: gradient k of τ contributes (1 − ρ^{τ−k}) / (1 − ρ)
        let (rho, tau) = (0.9f64, 5);
        let plain: f64 = (0..tau).map(|k| (1.0 - rho.powi(tau - k)) / (1.0 - rho)).sum();
        let formula = LocalOptimizer::Momentum { rho }.effective_steps(5).unwrap();
        assert!((plain - formula).abs() < 1e-12);
        let x = 0.2f64;
        let plain: f64 = (0..tau).map(|k| (1.0 - x).powi(tau - 1 - k)).sum();
        let formula = LocalOptimizer::Proximal { rate_times_mu: x }.effective_steps(5).unwrap();
        assert!((plain - formula).abs() < 1e-12);
    }
}
