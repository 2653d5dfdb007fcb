//! The quantum convolutional network (Cong, Choi & Lukin 2019): local unitaries, then pooling, until one qubit is left.
//!
//! A convolution is one two-qubit unitary shared by all neighbouring pairs, RY RZ on each qubit, then RXX RYY RZZ; pooling
//! replaces the measurement and the classically controlled gate by controlled rotations, RY for the outcome 1 and RX for 0
//! (deferred measurement), after which the control is no longer used.

use crate::circuit::Circuit;
use crate::error::{Error, Result};
use crate::gate::{Activation, Parameter};

/// The network and the qubit that is read out.
#[derive(Clone, Debug)]
pub struct Qcnn {
    /// The circuit: n inputs as RY angles, then the layers.
    pub circuit: Circuit,
    /// Measure Z here.
    pub output: usize,
}

/// A network on 2ᵏ qubits: 9 parameters per layer, k layers.
///
/// # Errors
/// When `qubits` is not a power of two between 2 and 16.
pub fn qcnn(qubits: usize) -> Result<Qcnn> {
    if !qubits.is_power_of_two() || !(2..=16).contains(&qubits) {
        return Err(Error::shape("QCNN", "2, 4, 8 or 16 qubits", qubits));
    }
    let mut circuit = Circuit::new(qubits)?;
    for q in 0..qubits {
        let x = circuit.encode(q, None, Activation::Linear);
        circuit.ry(q, x)?;
    }
    let mut active: Vec<usize> = (0..qubits).collect();
    let mut layer = 0;
    while active.len() > 1 {
        let p = circuit.parameter_vector(&format!("layer{layer}"), 9);
        convolve(&mut circuit, &active, &p)?;
        active = pool(&mut circuit, &active, &p[7..])?;
        layer += 1;
    }
    Ok(Qcnn { circuit, output: active[0] })
}

/// The shared unitary on even pairs, then on odd pairs (a ring when more than two qubits are left).
fn convolve(circuit: &mut Circuit, active: &[usize], p: &[Parameter]) -> Result<()> {
    let n = active.len();
    for first in 0..if n > 2 { 2 } else { 1 } {
        for k in (first..n).step_by(2) {
            let (a, b) = (active[k], active[(k + 1) % n]);
            circuit.ry(a, p[0])?.rz(a, p[1])?.ry(b, p[2])?.rz(b, p[3])?;
            circuit.rxx(a, b, p[4])?.ryy(a, b, p[5])?.rzz(a, b, p[6])?;
        }
    }
    Ok(())
}

/// Every second qubit controls a rotation of its neighbour and is left behind.
fn pool(circuit: &mut Circuit, active: &[usize], p: &[Parameter]) -> Result<Vec<usize>> {
    for pair in active.chunks_exact(2) {
        circuit.cry(pair[0], pair[1], p[0])?.x(pair[0])?.crx(pair[0], pair[1], p[1])?;
    }
    Ok(active.iter().skip(1).step_by(2).copied().collect())
}
