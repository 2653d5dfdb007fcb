//! Server optimisers: FedAvgM (Hsu, Qi & Brown 2019) and FedAdagrad, FedAdam, FedYogi (Reddi et al. 2021,
//! algorithm 2). The mean movement of the clients, `Δ = mean − x`, is the server's pseudo-gradient.

use super::{Instruction, Reply, Strategy, mean_of};
use crate::error::{Error, Result, check};
use crate::kernel::Real;
use serde::{Deserialize, Serialize};

/// Which optimiser the server runs, with its constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ServerRule {
    /// FedAvgM: `m ← β m − Δ` (first round `m = −Δ`), `x ← x − η m`.
    Momentum {
        /// `η > 0`; the paper's main setting is 1.
        learning_rate: f64,
        /// `β ∈ [0, 1)`; the paper tunes 0.7 to 0.997 and reports 0.9 as robust.
        momentum: f64,
    },
    /// FedAdagrad: `m ← Δ`, `v ← v + Δ²`, `x ← x + η m / (√v + τ)`.
    Adagrad {
        /// `η > 0`.
        learning_rate: f64,
        /// `τ > 0`, the adaptivity; the paper recommends 1e-3.
        tau: f64,
    },
    /// FedAdam: `m ← β₁ m + (1−β₁) Δ`, `v ← β₂ v + (1−β₂) Δ²`, `x ← x + η_t m / (√v + τ)`,
    /// `η_t = η √(1−β₂^{t+1}) / (1−β₁^{t+1})` in round t = 1, 2, …
    Adam {
        /// `η > 0`.
        learning_rate: f64,
        /// `β₁ ∈ [0, 1)`; paper 0.9.
        beta_1: f64,
        /// `β₂ ∈ [0, 1)`; paper 0.99.
        beta_2: f64,
        /// `τ > 0`; paper 1e-3.
        tau: f64,
    },
    /// FedYogi: as FedAdam without the bias correction, and `v ← v − (1−β₂) Δ² sign(v − Δ²)`.
    Yogi {
        /// `η > 0`.
        learning_rate: f64,
        /// `β₁ ∈ [0, 1)`; paper 0.9.
        beta_1: f64,
        /// `β₂ ∈ [0, 1)`; paper 0.99.
        beta_2: f64,
        /// `τ > 0`; paper 1e-3.
        tau: f64,
    },
}

impl Default for ServerRule {
    /// FedAdam with the paper's constants (section 5) and `η = 0.1`.
    fn default() -> Self {
        Self::Adam { learning_rate: 0.1, beta_1: 0.9, beta_2: 0.99, tau: 1e-3 }
    }
}

impl ServerRule {
    /// Checks the ranges of the constants.
    ///
    /// # Errors
    /// Names the first constant outside its range.
    pub fn validate(&self) -> Result<()> {
        let (name, learning_rate, decays, tau) = match *self {
            Self::Momentum { learning_rate, momentum } => ("fed_avg_m", learning_rate, [momentum, 0.0], 1.0),
            Self::Adagrad { learning_rate, tau } => ("fed_adagrad", learning_rate, [0.0, 0.0], tau),
            Self::Adam { learning_rate, beta_1, beta_2, tau } => {
                ("fed_adam", learning_rate, [beta_1, beta_2], tau)
            }
            Self::Yogi { learning_rate, beta_1, beta_2, tau } => {
                ("fed_yogi", learning_rate, [beta_1, beta_2], tau)
            }
        };
        check(learning_rate > 0.0 && learning_rate.is_finite(), name, "learning_rate", learning_rate, "> 0")?;
        check(tau > 0.0, name, "tau", tau, "> 0")?;
        for decay in decays {
            check((0.0..1.0).contains(&decay), name, "beta or momentum", decay, "in [0, 1)")?;
        }
        Ok(())
    }
}

/// A [`ServerRule`] with its moments, for f32 or f64 parameters.
///
/// Deviations from Reddi et al. 2021: FedAdam carries the bias correction of Kingma & Ba with the exponent one
/// ahead of the round, as Flower does; the second moment starts at 0 rather than `τ²`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerOptimizer<F = f32> {
    rule: ServerRule,
    first_moment: Vec<F>,
    second_moment: Vec<F>,
    round: i32,
}

impl<F: Real> ServerOptimizer<F> {
    /// An optimiser for `dimension` parameters.
    ///
    /// # Errors
    /// A constant outside its range.
    pub fn new(rule: ServerRule, dimension: usize) -> Result<Self> {
        rule.validate()?;
        let zeros = vec![F::default(); dimension];
        Ok(Self { rule, first_moment: zeros.clone(), second_moment: zeros, round: 0 })
    }

    /// One step from `parameters: [D]` towards the clients' mean `average: [D]`.
    ///
    /// # Errors
    /// Lengths that differ from the dimension given to [`ServerOptimizer::new`].
    pub fn step(&mut self, parameters: &mut [F], average: &[F]) -> Result<()> {
        let dimension = self.first_moment.len();
        if parameters.len() != dimension || average.len() != dimension {
            let got = format!("{} and {}", parameters.len(), average.len());
            return Err(Error::shape(
                "server optimizer",
                format!("{dimension} parameters and averages"),
                got,
            ));
        }
        self.round = self.round.saturating_add(1);
        let rate = self.rate();
        let moments = self.first_moment.iter_mut().zip(&mut self.second_moment);
        for ((x, average), (m, v)) in parameters.iter_mut().zip(average).zip(moments) {
            let delta = average.to_f64() - x.to_f64();
            let (first, second, tau) = self.rule.moments(m.to_f64(), v.to_f64(), delta);
            let scale = tau.map_or(1.0, |tau| second.sqrt() + tau);
            *m = F::from_f64(first);
            *v = F::from_f64(second);
            *x = F::from_f64(x.to_f64() + rate * first / scale);
        }
        Ok(())
    }

    /// The learning rate of this round, bias corrections included.
    fn rate(&self) -> f64 {
        match self.rule {
            ServerRule::Adam { learning_rate, beta_1, beta_2, .. } => {
                let exponent = self.round.saturating_add(1);
                learning_rate * (1.0 - beta_2.powi(exponent)).sqrt() / (1.0 - beta_1.powi(exponent))
            }
            ServerRule::Momentum { learning_rate, .. }
            | ServerRule::Adagrad { learning_rate, .. }
            | ServerRule::Yogi { learning_rate, .. } => learning_rate,
        }
    }
}

impl ServerRule {
    /// New moments and, for the adaptive rules, `τ`. FedAvgM's buffer holds `−m` so that all rules add.
    fn moments(&self, m: f64, v: f64, delta: f64) -> (f64, f64, Option<f64>) {
        let squared = delta * delta;
        match *self {
            Self::Momentum { momentum, .. } => (momentum * m + delta, 0.0, None),
            Self::Adagrad { tau, .. } => (delta, v + squared, Some(tau)),
            Self::Adam { beta_1, beta_2, tau, .. } => {
                (beta_1 * m + (1.0 - beta_1) * delta, beta_2 * v + (1.0 - beta_2) * squared, Some(tau))
            }
            Self::Yogi { beta_1, beta_2, tau, .. } => {
                let sign = if v > squared {
                    1.0
                } else if v < squared {
                    -1.0
                } else {
                    0.0
                };
                (beta_1 * m + (1.0 - beta_1) * delta, v - (1.0 - beta_2) * squared * sign, Some(tau))
            }
        }
    }
}

impl Strategy for ServerOptimizer<f32> {
    fn instruction(&self, round: u64) -> Instruction {
        Instruction { round, ..Instruction::default() }
    }

    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()> {
        let mean = mean_of("server optimizer", global, replies)?;
        self.step(global, &mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn momentum_by_hand() {
        let rule = ServerRule::Momentum { learning_rate: 1.0, momentum: 0.5 };
        let mut optimizer = ServerOptimizer::new(rule, 1).unwrap();
        let mut x = [0.0f64];
        optimizer.step(&mut x, &[1.0]).unwrap(); // moves by 1
        optimizer.step(&mut x, &[2.0]).unwrap(); // moves by 0.5 + 1
        assert_eq!(x, [2.5]);
    }

    #[test]
    fn adagrad_first_step_has_the_size_of_the_learning_rate() {
        let rule = ServerRule::Adagrad { learning_rate: 0.1, tau: 1e-12 };
        let mut x = [0.0f64, 0.0];
        ServerOptimizer::new(rule, 2).unwrap().step(&mut x, &[3.0, -7.0]).unwrap();
        assert!((x[0] - 0.1).abs() < 1e-9 && (x[1] + 0.1).abs() < 1e-9);
    }

    #[test]
    fn constants_are_checked() {
        let bad = ServerRule::Adam { learning_rate: 0.1, beta_1: 1.0, beta_2: 0.9, tau: 1e-3 };
        assert!(ServerOptimizer::<f32>::new(bad, 1).is_err());
        assert!(
            serde_json::from_str::<ServerRule>(r#"{"kind":"adagrad","learning_rate":0.1,"tau":1,"eta":3}"#)
                .is_err()
        );
    }
}
