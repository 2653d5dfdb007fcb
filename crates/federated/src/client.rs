//! What a client is to the engines: parameters in, an update out.

use crate::error::Result;
use crate::strategy::{Instruction, Reply};
use rl_core::seed::StreamRng;

/// A client: holds its environment, its private parameters and whatever its method remembers between rounds.
pub trait Client: Send {
    /// Trains locally from `global: [D]` as `instruction` says and returns the parameters it arrived at. All its
    /// randomness comes from `rng`, which is different for every client and round.
    ///
    /// # Errors
    /// Anything that makes the client useless in this round; the engine counts it as failed and goes on.
    fn train(&mut self, global: &[f32], instruction: &Instruction, rng: &mut StreamRng) -> Result<Reply>;

    /// Mean return of `global` in this client's own environment; `None` if it does not evaluate.
    ///
    /// # Errors
    /// As [`Client::train`].
    fn evaluate(&mut self, _global: &[f32], _rng: &mut StreamRng) -> Result<Option<f64>> {
        Ok(None)
    }
}
