//! Barren plateaus (McClean et al. 2018, arXiv:1803.11173): the variance of a gradient falls as 2⁻ⁿ over random circuits.
//!
//! RY(π/4) on all qubits, then layers of a rotation about a random axis by a random angle on every qubit and a chain of
//! CZs; the observable is Z₀Z₁, the derivative that by the very first angle.

use crate::circuit::Circuit;
use crate::error::{Error, Result};
use crate::gate::{Gate, Pauli};
use crate::gradient::Adjoint;
use rand::{Rng, RngExt};
use std::f64::consts::{FRAC_PI_4, TAU};

/// The statistics of one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlateauRow {
    /// n
    pub qubits: usize,
    /// Var ∂E/∂θ₀
    pub variance: f64,
    /// Mean ∂E/∂θ₀
    pub mean: f64,
}

/// Samples circuits with angles uniform in [0, `range`); 2π is McClean's study, small ranges are the small-angle remedy.
///
/// # Errors
/// When there are fewer than two qubits or samples, or no layers.
pub fn gradient_variance(
    qubits: usize,
    layers: usize,
    samples: usize,
    range: f64,
    rng: &mut impl Rng,
) -> Result<PlateauRow> {
    if qubits < 2 || layers == 0 || samples < 2 {
        let got = format!("{qubits} qubits, {layers} layers, {samples} samples");
        return Err(Error::shape("barren plateau", "2 qubits, 1 layer, 2 samples or more", got));
    }
    let mut gradients = Vec::with_capacity(samples);
    for _ in 0..samples {
        let mut circuit = Circuit::new(qubits)?;
        let first = circuit.parameter("first");
        (0..qubits).try_for_each(|q| circuit.ry(q, FRAC_PI_4).map(|_| ()))?;
        let start = rng.random_range(0.0..range.min(TAU));
        for layer in 0..layers {
            for q in 0..qubits {
                let axis = [Pauli::X, Pauli::Y, Pauli::Z][rng.random_range(0..3)];
                let angle = if (layer, q) == (0, 0) {
                    first.into()
                } else {
                    rng.random_range(0.0..range.min(TAU)).into()
                };
                circuit.push(Gate::PauliRotation(vec![axis], angle), &[q], &[])?;
            }
            (0..qubits - 1).try_for_each(|q| circuit.cz(q, q + 1).map(|_| ()))?;
        }
        let mut adjoint = Adjoint::new(&circuit, vec!["Z0 Z1".parse()?])?;
        adjoint.forward(&[start], &[])?;
        gradients.push(adjoint.backward(&[1.0])?.parameters[0]);
    }
    let n = samples as f64;
    let mean = gradients.iter().sum::<f64>() / n;
    let variance = gradients.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n;
    Ok(PlateauRow { qubits, variance, mean })
}

/// The exponent s of Var ∝ 2^{−s n}, by least squares of log₂ Var; `None` for fewer than two sizes.
pub fn slope(rows: &[PlateauRow]) -> Option<f64> {
    let n = rows.len() as f64;
    let x = rows.iter().map(|r| r.qubits as f64).sum::<f64>() / n;
    let y = rows.iter().map(|r| r.variance.log2()).sum::<f64>() / n;
    let spread: f64 = rows.iter().map(|r| (r.qubits as f64 - x).powi(2)).sum();
    let joint: f64 = rows.iter().map(|r| (r.qubits as f64 - x) * (r.variance.log2() - y)).sum();
    (spread > 0.0).then(|| -joint / spread)
}
