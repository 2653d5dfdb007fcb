//! Quantum kernels (Havlíček et al. 2019): K(x, y) = |⟨φ(x)|φ(y)⟩|² of an encoding circuit, and what is learned with them.

use crate::circuit::Circuit;
use crate::error::{Error, Result, same_length};
use crate::{Plan, StateVector};
use nalgebra::{DMatrix, DVector};

/// The kernel matrix `[rows(a), rows(b)]`. Each state is simulated once: N + M circuits and N M inner products.
///
/// # Errors
/// When the circuit is not unitary or an input has the wrong length.
pub fn fidelity_kernel(
    feature_map: &Circuit,
    parameters: &[f64],
    a: &[Vec<f64>],
    b: &[Vec<f64>],
) -> Result<Vec<Vec<f64>>> {
    let mut plan = Plan::new(feature_map)?;
    let mut encode = |inputs: &[Vec<f64>]| -> Result<Vec<StateVector>> {
        let mut states = vec![];
        for x in inputs {
            let mut state = StateVector::zero(feature_map.qubits())?;
            plan.run(parameters, x, &mut state)?;
            states.push(state);
        }
        Ok(states)
    };
    let (a, b) = (encode(a)?, encode(b)?);
    a.iter().map(|x| b.iter().map(|y| x.fidelity(y)).collect()).collect()
}

/// yᵀKy / (n ‖K‖_F) for labels ±1 (Cristianini et al. 2001).
///
/// # Errors
/// When K is not n × n.
pub fn kernel_target_alignment(kernel: &[Vec<f64>], labels: &[f64]) -> Result<f64> {
    let n = labels.len();
    same_length("alignment", "rows", n, kernel.len())?;
    let (mut overlap, mut norm) = (0.0, 0.0);
    for (row, y) in kernel.iter().zip(labels) {
        same_length("alignment", "columns", n, row.len())?;
        for (k, z) in row.iter().zip(labels) {
            overlap += y * k * z;
            norm += k * k;
        }
    }
    Ok(overlap / (n as f64 * norm.sqrt()))
}

/// Kernel ridge regression: α = (K + λ1)⁻¹ y, f(x) = Σ α_i K(x, x_i).
#[derive(Clone, Debug, PartialEq)]
pub struct KernelRidge {
    alpha: Vec<f64>,
}

impl KernelRidge {
    /// Fits targets y.
    ///
    /// # Errors
    /// When K is not n × n, or K + λ1 is not positive definite.
    pub fn fit(kernel: &[Vec<f64>], targets: &[f64], lambda: f64) -> Result<Self> {
        let n = targets.len();
        same_length("kernel ridge", "rows", n, kernel.len())?;
        kernel.iter().try_for_each(|row| same_length("kernel ridge", "columns", n, row.len()))?;
        let damped = DMatrix::from_fn(n, n, |i, j| kernel[i][j] + if i == j { lambda } else { 0.0 });
        match damped.cholesky() {
            Some(factor) => {
                let alpha = factor.solve(&DVector::from_column_slice(targets));
                Ok(Self { alpha: alpha.iter().copied().collect() })
            }
            None => Err(Error::unsupported("kernel ridge", "K + λ1 is not positive definite; raise λ")),
        }
    }

    /// Predictions from the kernel between new and training inputs, `[M, N]`.
    ///
    /// # Errors
    /// When a row has not one entry per training input.
    pub fn predict(&self, cross: &[Vec<f64>]) -> Result<Vec<f64>> {
        let value = |row: &Vec<f64>| {
            same_length("kernel ridge", "columns", self.alpha.len(), row.len())?;
            Ok(row.iter().zip(&self.alpha).map(|(k, a)| k * a).sum())
        };
        cross.iter().map(value).collect()
    }
}
