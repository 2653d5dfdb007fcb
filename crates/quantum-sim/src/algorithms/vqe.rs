//! The variational quantum eigensolver (Peruzzo et al. 2014): the least ⟨ψ(θ)|H|ψ(θ)⟩ over a circuit's parameters.

use super::bfgs::{Bfgs, Minimum};
use crate::circuit::Circuit;
use crate::error::Result;
use crate::gate::{Gate, Pauli};
use crate::gradient::Adjoint;
use crate::pauli::PauliSum;
use nalgebra::DMatrix;

/// Minimises the energy with exact adjoint gradients.
///
/// # Errors
/// When circuit, Hamiltonian and start do not fit together.
pub fn minimise_energy(
    circuit: &Circuit,
    hamiltonian: &PauliSum,
    start: &[f64],
    bfgs: &Bfgs,
) -> Result<Minimum> {
    let mut adjoint = Adjoint::new(circuit, vec![hamiltonian.clone()])?;
    bfgs.minimise(start, |parameters| {
        let energy = adjoint.forward(parameters, &[])?[0];
        Ok((energy, adjoint.backward(&[1.0])?.parameters.to_vec()))
    })
}

/// The spectrum of H on n qubits, ascending, by dense diagonalisation: the oracle for small problems.
///
/// # Errors
/// When n is above 12 or below the width of H.
pub fn exact_spectrum(hamiltonian: &PauliSum, qubits: usize) -> Result<Vec<f64>> {
    let rows = hamiltonian.matrix(qubits)?;
    let d = rows.len();
    let matrix = DMatrix::from_fn(d, d, |i, j| rows[i][j]);
    let mut spectrum: Vec<f64> = matrix.symmetric_eigenvalues().iter().copied().collect();
    spectrum.sort_unstable_by(f64::total_cmp);
    Ok(spectrum)
}

/// H₂ on two qubits (parity mapping with two qubits tapered off): the Hartree–Fock state |q₁q₀⟩ = |01⟩ and one parameter,
/// exp(−iθ/2 Y₀X₁), which mixes it with the doubly excited |10⟩.
///
/// # Errors
/// Never in practice: the circuit is fixed.
pub fn h2_two_qubits() -> Result<Circuit> {
    let mut circuit = Circuit::new(2)?;
    let theta = circuit.parameter("theta");
    circuit.x(0)?;
    circuit.push(Gate::PauliRotation(vec![Pauli::Y, Pauli::X], theta.into()), &[0, 1], &[])?;
    Ok(circuit)
}

/// H₂ on four qubits (Jordan–Wigner, spin orbitals in order): Hartree–Fock |0011⟩ and the double excitation, of which the
/// single string exp(−iθ/2 Y₀X₁X₂X₃) suffices here because it only meets |0011⟩ and |1100⟩.
///
/// # Errors
/// Never in practice: the circuit is fixed.
pub fn h2_four_qubits() -> Result<Circuit> {
    let mut circuit = Circuit::new(4)?;
    let theta = circuit.parameter("theta");
    circuit.x(0)?.x(1)?;
    let paulis = vec![Pauli::Y, Pauli::X, Pauli::X, Pauli::X];
    circuit.push(Gate::PauliRotation(paulis, theta.into()), &[0, 1, 2, 3], &[])?;
    Ok(circuit)
}
