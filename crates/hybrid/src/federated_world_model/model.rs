//! What a planner sees of the dynamics model of a point.

use crate::change_model::ChangeModel;
use crate::error::Result;
use rl_core::StreamRng;
use rl_core::env::Actions;
use rl_core::nn::Params;
use rl_core::nn::mlp::Workspace;
use world_models::planning::Model;

/// Width of a state of PointControl.
pub(super) const STATE: usize = 4;
/// Width of an action.
pub(super) const ACTION: usize = 2;

/// A [`ChangeModel`] of PointControl in a known present state. The reward −‖s′‖² − 0.01 ‖a‖² is known, as in PETS.
#[derive(Clone, Debug)]
pub struct PointModel {
    change: ChangeModel,
    present: [f32; STATE],
}

impl PointModel {
    /// A new model with these hidden widths; a usual change is 0.1.
    ///
    /// # Errors
    /// For a width of zero.
    pub fn new(hidden: &[usize], rng: &mut StreamRng) -> Result<Self> {
        Ok(Self { change: ChangeModel::new(&[10.0; STATE], ACTION, hidden, rng)?, present: [0.0; STATE] })
    }

    /// The dynamics.
    pub fn change(&self) -> &ChangeModel {
        &self.change
    }

    /// The flat parameters: what travels.
    pub fn params(&self) -> &Params {
        self.change.params()
    }

    /// Moves the present state on.
    pub fn observe(&mut self, state: &[f32]) {
        self.present.iter_mut().zip(state).for_each(|(p, &s)| *p = s);
    }
}

/// Imagined states `[rows, 4]`.
#[derive(Debug, Default)]
pub struct Imagined {
    states: Vec<f32>,
    inputs: Vec<f32>,
    workspace: Workspace<f32>,
}

impl Model for PointModel {
    type Batch = Imagined;

    fn batch(&self) -> Imagined {
        Imagined::default()
    }

    fn start(&self, batch: &mut Imagined, rows: usize) {
        batch.states.clear();
        (0..rows).for_each(|_| batch.states.extend_from_slice(&self.present));
    }

    fn step(
        &self,
        batch: &mut Imagined,
        actions: Actions<'_>,
        _: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> world_models::Result<()> {
        let rows = batch.states.len() / STATE;
        batch.inputs.clear();
        for (i, state) in batch.states.chunks_exact(STATE).enumerate() {
            batch.inputs.extend_from_slice(state);
            batch.inputs.extend_from_slice(actions.row(i, rows).reals());
        }
        self.change.advance(&mut batch.states, &batch.inputs, &mut batch.workspace)?;
        let inputs = batch.inputs.chunks_exact(STATE + ACTION);
        for ((reward, state), input) in rewards.iter_mut().zip(batch.states.chunks_exact(STATE)).zip(inputs) {
            let square = |values: &[f32]| values.iter().map(|x| x * x).sum::<f32>();
            *reward = -square(state) - 0.01 * square(&input[STATE..]);
        }
        continues.fill(1.0);
        Ok(())
    }
}
