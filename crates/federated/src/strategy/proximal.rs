//! FedProx (Li et al. 2020, equation 2): clients minimise `F_i(w) + μ/2 ‖w − w_global‖²`, which keeps
//! heterogeneous clients near the global parameters. The server averages as in FedAvg.

use super::{FedAvg, Instruction, Reply, Strategy};
use crate::error::{Error, Result, check};

/// Adds the gradient of the proximal term to `gradient: [D]`: `g ← g + μ (w − w_global)`.
///
/// # Errors
/// Unequal lengths.
pub fn add_proximal_gradient(
    gradient: &mut [f32],
    parameters: &[f32],
    global: &[f32],
    mu: f64,
) -> Result<()> {
    if gradient.len() != parameters.len() || gradient.len() != global.len() {
        let got = format!("{} parameters and {} global ones", parameters.len(), global.len());
        return Err(Error::shape("add_proximal_gradient", gradient.len(), got));
    }
    for ((g, w), w_global) in gradient.iter_mut().zip(parameters).zip(global) {
        *g += mu as f32 * (w - w_global);
    }
    Ok(())
}

/// FedAvg whose clients are told to use the proximal term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FedProx {
    mu: f64,
}

impl FedProx {
    /// With `μ ≥ 0`; the paper tries 0.001 to 1.
    ///
    /// # Errors
    /// A negative or non-finite `μ`.
    pub fn new(mu: f64) -> Result<Self> {
        check(mu >= 0.0 && mu.is_finite(), "fed_prox", "mu", mu, "≥ 0")?;
        Ok(Self { mu })
    }
}

impl Strategy for FedProx {
    fn instruction(&self, round: u64) -> Instruction {
        Instruction { round, proximal_mu: self.mu, ..Instruction::default() }
    }

    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()> {
        FedAvg.aggregate(global, replies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_penalty() {
        let (w, w_global, mu) = ([1.0f32, -2.0], [0.5f32, 1.0], 0.3);
        let penalty =
            |w: &[f32]| 0.15 * w.iter().zip(&w_global).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        let mut gradient = [0.0; 2];
        add_proximal_gradient(&mut gradient, &w, &w_global, mu).unwrap();
        for j in 0..2 {
            let (mut up, mut down) = (w, w);
            up[j] += 1e-2;
            down[j] -= 1e-2;
            let slope = (penalty(&up) - penalty(&down)) / 2e-2;
            assert!((slope - f64::from(gradient[j])).abs() < 1e-4);
        }
        assert_eq!(FedProx::new(0.3).unwrap().instruction(2).proximal_mu, 0.3);
        assert!(FedProx::new(-1.0).is_err());
    }
}
