//! Tasks for learning agents, as pure simulators with the oracle that tells how good an agent can be.

mod frozen_lake;
mod games;
mod pulse_control;
mod spectral_control;
mod state_preparation;

pub use frozen_lake::FrozenLake;
pub use games::{NonlocalGame, QuantumStrategy, chsh, ghz, magic_square_values};
pub use pulse_control::{Grape, PulseControl, average_gate_fidelity, gate_fidelity};
pub use spectral_control::SpectralControl;
pub use state_preparation::{Ceiling, StatePreparation};

use serde::{Deserialize, Serialize};

/// A pure state and the number of steps taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantumState {
    /// Real parts of the amplitudes.
    pub re: Vec<f64>,
    /// Imaginary parts.
    pub im: Vec<f64>,
    /// Steps taken in this episode.
    pub step: u32,
}

#[cfg(test)]
mod tests;
