//! A simulator with a state, a generator and a time limit: an environment.

use super::{Action, Env, EnvSpec, Simulator, Step};
use crate::{Error, Result};
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Plays episodes of a simulator. `R` is the seeding: [`NumpyRng`](crate::numpy_rng::NumpyRng) gives Gymnasium's
/// resets bit for bit, [`StreamRng`](crate::StreamRng) is the workspace's own generator.
#[derive(Clone, Debug)]
pub struct Episode<S: Simulator, R> {
    simulator: S,
    spec: EnvSpec,
    state: S::State,
    rng: R,
    elapsed: u32,
    over: bool,
}

#[derive(Serialize, Deserialize)]
struct Saved<State, R> {
    state: State,
    rng: R,
    elapsed: u32,
    over: bool,
}

impl<S: Simulator, R: Rng + SeedableRng> Episode<S, R> {
    /// An environment with a generator seeded by `seed`; call `reset` before the first step.
    pub fn new(simulator: S, seed: u64) -> Self {
        let mut rng = R::seed_from_u64(seed);
        let state = simulator.initial_state(&mut rng);
        let spec = simulator.spec();
        Self { simulator, spec, state, rng: R::seed_from_u64(seed), elapsed: 0, over: true }
    }

    /// The dynamics.
    pub fn simulator(&self) -> &S {
        &self.simulator
    }

    /// The present state.
    pub fn state(&self) -> &S::State {
        &self.state
    }

    /// Starts an episode in a given state.
    ///
    /// # Errors
    /// If `observation` has not the size of the observation space.
    pub fn reset_to(&mut self, state: S::State, observation: &mut [f32]) -> Result<()> {
        self.check_size("reset", observation)?;
        self.state = state;
        (self.elapsed, self.over) = (0, false);
        self.simulator.observe(&self.state, observation);
        Ok(())
    }

    fn check_size(&self, operation: &'static str, observation: &[f32]) -> Result<()> {
        let expected = self.spec.observation.width();
        if observation.len() == expected {
            return Ok(());
        }
        Err(Error::shape(operation, format!("{expected} observed numbers"), observation.len()))
    }
}

impl<S, R> Env for Episode<S, R>
where
    S: Simulator,
    R: Rng + SeedableRng + Serialize + DeserializeOwned + Send + Clone,
{
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
        self.check_size("reset", observation)?;
        if let Some(seed) = seed {
            self.rng = R::seed_from_u64(seed);
        }
        let state = self.simulator.initial_state(&mut self.rng);
        self.reset_to(state, observation)
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
        self.check_size("step", observation)?;
        self.spec.action.check(&self.spec.id, action)?;
        if self.over {
            let reason = "the episode is over: call reset first".into();
            return Err(Error::State { operation: "step", reason });
        }
        let (reward, terminated) = self.simulator.transition(&mut self.state, action, &mut self.rng);
        self.elapsed += 1;
        let truncated = self.spec.max_episode_steps.is_some_and(|limit| self.elapsed >= limit);
        self.over = terminated || truncated;
        self.simulator.observe(&self.state, observation);
        Ok(Step { reward, terminated, truncated })
    }

    fn save(&self) -> Result<serde_json::Value> {
        let saved = Saved { state: &self.state, rng: &self.rng, elapsed: self.elapsed, over: self.over };
        serde_json::to_value(saved).map_err(|e| self.unusable("save", e))
    }

    fn load(&mut self, saved: &serde_json::Value) -> Result<()> {
        let saved: Saved<S::State, R> = Saved::deserialize(saved).map_err(|e| self.unusable("load", e))?;
        (self.state, self.rng) = (saved.state, saved.rng);
        (self.elapsed, self.over) = (saved.elapsed, saved.over);
        Ok(())
    }
}

impl<S: Simulator, R> Episode<S, R> {
    fn unusable(&self, operation: &'static str, error: serde_json::Error) -> Error {
        Error::State { operation, reason: format!("state of {}: {error}", self.spec.id) }
    }
}
