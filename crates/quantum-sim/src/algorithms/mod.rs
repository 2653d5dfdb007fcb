//! Algorithms on the simulator. Everything here is simulated on a classical machine; nothing claims a quantum advantage.

mod barren_plateau;
mod bfgs;
mod grover;
mod kernels;
mod qaoa;
mod qcnn;
mod replay;
mod vqe;
mod walk;

pub use barren_plateau::{PlateauRow, gradient_variance, slope};
pub use bfgs::{Bfgs, Minimum};
pub use grover::{Found, optimal_iterations, search, search_maximum, success_by_iteration};
pub use kernels::{KernelRidge, fidelity_kernel, kernel_target_alignment};
pub use qaoa::Qaoa;
pub use qcnn::{Qcnn, qcnn};
pub use replay::{QuantumReplay, ReplayConfig};
pub use vqe::{exact_spectrum, h2_four_qubits, h2_two_qubits, minimise_energy};
pub use walk::{LineWalk, graph_walk, szegedy_walk};

#[cfg(test)]
mod tests;
