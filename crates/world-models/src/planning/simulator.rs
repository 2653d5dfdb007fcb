//! The true simulator as a model: the reference that no learned model can beat, given the same planner.

use super::Model;
use crate::Result;
use rand::Rng;
use rl_core::StreamRng;
use rl_core::env::{Action, Actions, EnvSpec, Simulator};

/// A simulator in a known state. Its noise comes from the planner's own generator, never from the environment's: the
/// reference knows the dynamics, not the future.
#[derive(Clone, Debug)]
pub struct SimulatorModel<S: Simulator> {
    simulator: S,
    state: S::State,
}

impl<S: Simulator> SimulatorModel<S> {
    /// Plans from `state`.
    pub fn new(simulator: S, state: S::State) -> Self {
        Self { simulator, state }
    }

    /// Moves the present state on.
    pub fn set_state(&mut self, state: S::State) {
        self.state = state;
    }
}

impl<S: Simulator> Model for SimulatorModel<S> {
    type Batch = Vec<(S::State, bool)>;

    fn batch(&self) -> Self::Batch {
        vec![]
    }

    fn start(&self, batch: &mut Self::Batch, rows: usize) {
        batch.clear();
        batch.resize(rows, (self.state.clone(), false));
    }

    fn step(
        &self,
        batch: &mut Self::Batch,
        actions: Actions<'_>,
        rng: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> Result<()> {
        let rows = batch.len();
        for (i, (state, over)) in batch.iter_mut().enumerate() {
            if *over {
                (rewards[i], continues[i]) = (0.0, 0.0);
                continue;
            }
            let (reward, terminated) = self.simulator.transition(state, actions.row(i, rows), rng);
            *over = terminated;
            (rewards[i], continues[i]) = (reward as f32, if terminated { 0.0 } else { 1.0 });
        }
        Ok(())
    }
}

/// The dynamics over actions that are held for several steps, their rewards summed until the task ends.
#[derive(Clone, Debug)]
pub struct Held<S> {
    /// The dynamics of one step.
    pub simulator: S,
    /// Steps for which an action is held.
    pub steps: u64,
}

impl<S: Simulator> Simulator for Held<S> {
    type State = S::State;

    fn spec(&self) -> EnvSpec {
        self.simulator.spec()
    }

    fn initial_state(&self, rng: &mut impl Rng) -> S::State {
        self.simulator.initial_state(rng)
    }

    fn transition(&self, state: &mut S::State, action: Action<'_>, rng: &mut impl Rng) -> (f64, bool) {
        let mut sum = 0.0;
        for _ in 0..self.steps {
            let (reward, terminated) = self.simulator.transition(state, action, rng);
            sum += reward;
            if terminated {
                return (sum, true);
            }
        }
        (sum, false)
    }

    fn observe(&self, state: &S::State, observation: &mut [f32]) {
        self.simulator.observe(state, observation);
    }
}
