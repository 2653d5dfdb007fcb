//! A differentiable quantum simulator in plain Rust, and what reinforcement learning does with it.
//!
//! **Bit order**: qubit q is bit q of a basis state's index, k = Σ b_q 2^q (little endian, as in Qiskit and Qulacs);
//! printed bit strings have the highest qubit on the left. **Signs**: RX(θ) = exp(−iθX/2), and likewise for all
//! rotations.
//!
//! ```
//! use quantum_sim::{Adjoint, Circuit, PauliSum};
//! # fn main() -> quantum_sim::Result<()> {
//! let mut circuit = Circuit::new(2)?;
//! let theta = circuit.parameter("theta");
//! circuit.ry(0, theta)?.cx(0, 1)?;
//! let mut adjoint = Adjoint::new(&circuit, vec!["Z0 Z1".parse()?, "X0 X1".parse()?])?;
//! let values = adjoint.forward(&[0.3], &[])?.to_vec();
//! let gradient = adjoint.backward(&[0.0, 1.0])?.parameters.to_vec();
//! assert!((values[1] - 0.3f64.sin()).abs() < 1e-12 && (gradient[0] - 0.3f64.cos()).abs() < 1e-12);
//! # Ok(()) }
//! ```

// `out[w] = a[w] * b[w]` reads as the formula and is what the compiler vectorises; iterator chains are neither.
#![allow(clippy::needless_range_loop)]

pub mod algorithms;
pub mod batch;
pub mod circuit;
pub mod conformance;
pub mod density_matrix;
pub mod draw;
pub mod env;
pub mod error;
pub mod gate;
pub mod gradient;
pub mod mitigation;
pub mod noise;
pub mod pauli;
pub mod qasm;
#[cfg(feature = "rl")]
pub mod rl;
pub mod stabilizer;
pub mod state_vector;

pub use batch::Batch;
pub use circuit::{Circuit, Instruction, Operation};
pub use density_matrix::DensityMatrix;
pub use error::{Error, Result};
pub use gate::{Activation, Angle, C64, Gate, Matrix2, Matrix4, Parameter, Pauli};
pub use gradient::Adjoint;
pub use noise::{Channel, NoiseModel, Readout};
pub use pauli::{PauliString, PauliSum};
pub use state_vector::{Counts, Plan, StateVector};
