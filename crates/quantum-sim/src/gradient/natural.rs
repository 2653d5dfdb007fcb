//! The quantum natural gradient (Stokes et al. 2020, arXiv:1909.02108): steepest descent in the geometry of states.
//!
//! g_ij = Re⟨∂_iψ|∂_jψ⟩ − ⟨∂_iψ|ψ⟩⟨ψ|∂_jψ⟩ is the Fubini–Study metric; the quantum Fisher information is 4g. The
//! derivative of a state is exact from shifted circuits: ∂ψ = ¼[ψ(θ+π) − ψ(θ−π)] for rotations, controlled or not, and
//! ½[ψ(φ+π/2) − ψ(φ−π/2)] for phases.

use crate::circuit::Circuit;
use crate::error::{Error, Result, same_length};
use crate::gate::{Angle, C64, Gate};
use crate::{Plan, StateVector};
use nalgebra::{DMatrix, DVector};
use std::f64::consts::{FRAC_PI_2, PI};

/// Which entries of the metric to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blocks {
    /// All.
    #[default]
    Full,
    /// Those of angles in the same layer: gates with angles are read in order, and one that comes after another gate
    /// of the current layer on a path of the circuit opens the next layer. All gates of a layer commute.
    Layers,
}

/// The Fubini–Study metric by the circuit's parameters, `[P][P]`.
///
/// # Errors
/// When the circuit is not unitary, the lengths are wrong, or an angle encodes an input.
pub fn fubini_study(circuit: &Circuit, parameters: &[f64], blocks: Blocks) -> Result<Vec<Vec<f64>>> {
    let mut plan = Plan::new(circuit)?;
    let layers = layers(circuit)?;
    let phase = phase_like(circuit)?;
    let mut psi = StateVector::zero(circuit.qubits())?;
    plan.run(parameters, &[], &mut psi)?;
    let psi = psi.amplitudes();
    let mut derivatives: Vec<(usize, f64, usize, Vec<C64>, C64)> = vec![];
    for (slot, angle) in plan.angles.clone().into_iter().enumerate() {
        let (index, scale) = match angle {
            Angle::Fixed(_) => continue,
            Angle::Parameter { index, scale, .. } => (index, scale),
            Angle::Input { .. } => {
                return Err(Error::unsupported("metric", "bind the inputs of the circuit first"));
            }
        };
        let (shift, factor) = if phase[slot] { (FRAC_PI_2, 0.5) } else { (PI, 0.25) };
        let mut at = |shift: f64| -> Result<Vec<C64>> {
            let mut state = StateVector::zero(circuit.qubits())?;
            plan.angles[slot] = Angle::Fixed(angle.value(parameters, &[]) + shift);
            plan.run(parameters, &[], &mut state)?;
            plan.angles[slot] = angle;
            Ok(state.amplitudes())
        };
        let (up, down) = (at(shift)?, at(-shift)?);
        let derivative: Vec<C64> = up.iter().zip(&down).map(|(a, b)| (a - b) * factor).collect();
        let overlap = inner(&derivative, &psi);
        derivatives.push((index, scale, layers[slot], derivative, overlap));
    }
    let mut metric = vec![vec![0.0; parameters.len()]; parameters.len()];
    for (i, si, layer_i, di, oi) in &derivatives {
        for (j, sj, layer_j, dj, oj) in &derivatives {
            if blocks == Blocks::Full || layer_i == layer_j {
                metric[*i][*j] += si * sj * (inner(di, dj) - oi * oj.conj()).re;
            }
        }
    }
    Ok(metric)
}

fn inner(a: &[C64], b: &[C64]) -> C64 {
    a.iter().zip(b).map(|(a, b)| a.conj() * b).sum()
}

fn phase_like(circuit: &Circuit) -> Result<Vec<bool>> {
    let mut out = vec![];
    for operation in circuit.operations()? {
        let phase = |which: usize| match operation.gate {
            Gate::Phase(_) | Gate::GlobalPhase(_) => true,
            Gate::U(..) => which > 0,
            _ => false,
        };
        out.extend((0..operation.gate.angles().len()).map(phase));
    }
    Ok(out)
}

/// The layer of each angle.
fn layers(circuit: &Circuit) -> Result<Vec<usize>> {
    // `behind[q]`: whether what happens next on qubit q comes after a gate of the current layer.
    let mut behind = vec![false; circuit.qubits()];
    let (mut layer, mut out) = (0, vec![]);
    for operation in circuit.operations()? {
        let angles = operation.gate.angles();
        let varies = angles.iter().any(Angle::is_variable);
        let mut reached = operation.qubits().any(|q| behind[q]);
        if varies && reached {
            layer += 1;
            behind.fill(false);
            reached = false;
        }
        if varies || reached {
            operation.qubits().for_each(|q| behind[q] = true);
        }
        out.extend(angles.iter().map(|_| layer));
    }
    Ok(out)
}

/// The update direction (g + reg·1)⁻¹ ∇E; the caller steps against it.
///
/// # Errors
/// When sizes differ or the regularised metric is singular.
pub fn natural_step(metric: &[Vec<f64>], gradient: &[f64], regularisation: f64) -> Result<Vec<f64>> {
    let p = gradient.len();
    same_length("natural gradient", "rows", p, metric.len())?;
    metric.iter().try_for_each(|row| same_length("natural gradient", "columns", p, row.len()))?;
    let damped = DMatrix::from_fn(p, p, |i, j| metric[i][j] + if i == j { regularisation } else { 0.0 });
    match damped.lu().solve(&DVector::from_column_slice(gradient)) {
        Some(step) => Ok(step.iter().copied().collect()),
        None => {
            Err(Error::unsupported("natural gradient", "the metric is singular; raise the regularisation"))
        }
    }
}
