//! What an agent asks of its function approximator.

use crate::error::Result;
use rl_core::StreamRng;
use rl_core::evaluate::Turn;
use serde::{Deserialize, Serialize};

/// The learning rate that a parameter follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// A rotation angle θ, or a weight of a classical network.
    Angle,
    /// An input scaling λ.
    Scaling,
    /// A weight or bias behind the measurement.
    Output,
}

/// A differentiable function of parameters and observations. It keeps no parameters, so the same model serves an agent
/// and its target: only memory for the backward pass is kept.
pub trait Model: Send {
    /// Numbers per observation, D.
    fn observation(&self) -> usize;

    /// Numbers that come out, A.
    fn outputs(&self) -> usize;

    /// What each parameter is, `[P]`.
    fn groups(&self) -> &[Group];

    /// Draws a start.
    fn initial(&self, rng: &mut StreamRng) -> Vec<f64>;

    /// `outputs` `[B, A]` for `observations` `[B, D]`.
    ///
    /// # Errors
    /// When a length does not fit.
    fn forward(&mut self, parameters: &[f64], observations: &[f32], outputs: &mut [f64]) -> Result<()>;

    /// The gradient of Σ `by_output` · outputs of the last forward pass, `[P]`.
    ///
    /// # Errors
    /// When a length does not fit.
    fn backward(&mut self, by_output: &[f64], gradient: &mut [f64]) -> Result<()>;
}

/// The first largest entry.
pub(super) fn argmax(row: &[f64]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// The policy that takes the action of the largest output, for [`evaluate`](rl_core::evaluate::evaluate()).
pub fn greedy<'a>(
    model: &'a mut dyn Model,
    parameters: &'a [f64],
) -> impl FnMut(&Turn<'_>, &mut [f32]) -> Result<()> + 'a {
    let mut outputs = vec![];
    move |turn, actions| {
        outputs.resize(turn.rows() * model.outputs(), 0.0);
        model.forward(parameters, turn.observations, &mut outputs)?;
        for (action, row) in actions.iter_mut().zip(outputs.chunks_exact(model.outputs())) {
            *action = argmax(row) as f32;
        }
        Ok(())
    }
}
