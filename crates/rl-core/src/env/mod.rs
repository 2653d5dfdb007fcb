//! Environments: the contract that agents see, and how a task becomes one.
//!
//! A task is written as a [`Simulator`]: pure dynamics on an explicit state, a page of code next to its
//! equations. [`Episode`] turns a simulator into an [`Env`]: it owns the state and the generator, applies the
//! time limit and keeps the books. Planners use the simulator directly, agents the environment.
//!
//! Semantics are those of Gymnasium 1.4: `terminated` (the task ended) and `truncated` (the time limit) are
//! told apart and may both be true; observations are `f32`; `reset(Some(seed))` reseeds, `reset(None)` goes on
//! with the stream. Nothing allocates per step: observations are written into the caller's slice.

mod acrobot;
mod cart_pole;
pub mod conformance;
pub mod dmc;
mod episode;
mod mountain_car;
mod mountain_car_continuous;
mod numpy_square;
mod pendulum;
mod point_control;
#[cfg(feature = "gymnasium")]
pub mod python;
mod registry;
pub mod scripted;
mod space;
mod vector;
pub mod wrappers;

pub use acrobot::Acrobot;
pub use cart_pole::{CartPole, VariedCartPole};
pub use episode::Episode;
pub use mountain_car::MountainCar;
pub use mountain_car_continuous::MountainCarContinuous;
pub use pendulum::Pendulum;
pub use point_control::PointControl;
pub use registry::{IDS, make};
pub use space::{Action, Space, uniform};
pub use vector::{Actions, Autoreset, Batch, BatchEnv, VectorEnv};

use crate::Result;
use rand::Rng;
use serde::{Serialize, de::DeserializeOwned};

/// What an environment says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvSpec {
    /// Identifier, such as `Pendulum-v1`.
    pub id: String,
    /// What is observed.
    pub observation: Space,
    /// What may be done.
    pub action: Space,
    /// Steps after which an episode is truncated.
    pub max_episode_steps: Option<u32>,
    /// The return at which the task counts as solved, where its authors state one.
    pub reward_threshold: Option<f64>,
}

/// What a step gives besides the observation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Reward of this step.
    pub reward: f64,
    /// The task reached an end state: no future, value zero.
    pub terminated: bool,
    /// The time limit was reached: the future exists and is cut off, so values bootstrap.
    pub truncated: bool,
}

impl Step {
    /// Whether the episode is over, for either reason.
    pub fn done(&self) -> bool {
        self.terminated || self.truncated
    }
}

/// An environment as agents see it.
pub trait Env: Send {
    /// Spaces, limits and name.
    fn spec(&self) -> &EnvSpec;

    /// Starts an episode and writes the first observation; a seed restarts the generator, `None` goes on with it.
    ///
    /// # Errors
    /// If `observation` has not the size of the observation space.
    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()>;

    /// Advances one step and writes the observation that follows (at the end of an episode: the final one).
    ///
    /// # Errors
    /// If the action is not in the action space's form, or the episode is over and was not reset.
    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step>;

    /// All that [`load`](Self::load) needs to go on bit for bit.
    ///
    /// # Errors
    /// If this environment cannot be saved (a bridge to another process).
    fn save(&self) -> Result<serde_json::Value>;

    /// Goes back to a saved state.
    ///
    /// # Errors
    /// If the value is not one that `save` of the same environment made.
    fn load(&mut self, saved: &serde_json::Value) -> Result<()>;
}

/// The dynamics of a task: pure functions of an explicit state.
///
/// The generator is an argument, so the same simulator serves environments with any seeding, and planners
/// that must not see an environment's future noise.
pub trait Simulator: Send + Sync {
    /// The full state, in f64 unless the reference implementation keeps less.
    type State: Clone + std::fmt::Debug + Send + Sync + Serialize + DeserializeOwned;

    /// Spaces, limits and name.
    fn spec(&self) -> EnvSpec;

    /// Draws a start state.
    fn initial_state(&self, rng: &mut impl Rng) -> Self::State;

    /// Advances `state` by one step; returns the reward and whether the task terminated.
    ///
    /// The action has the form of the action space (checked by the caller); values outside a box's bounds are
    /// treated as the reference implementation treats them.
    fn transition(&self, state: &mut Self::State, action: Action<'_>, rng: &mut impl Rng) -> (f64, bool);

    /// Writes the observation of a state.
    fn observe(&self, state: &Self::State, observation: &mut [f32]);
}

impl<E: Env + ?Sized> Env for Box<E> {
    fn spec(&self) -> &EnvSpec {
        (**self).spec()
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
        (**self).reset(seed, observation)
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
        (**self).step(action, observation)
    }

    fn save(&self) -> Result<serde_json::Value> {
        (**self).save()
    }

    fn load(&mut self, saved: &serde_json::Value) -> Result<()> {
        (**self).load(saved)
    }
}
