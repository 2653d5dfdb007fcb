//! Return and length of each episode.

use super::{load, save};
use crate::Result;
use crate::env::{Action, Env, EnvSpec, Step};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an episode came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FinishedEpisode {
    /// Sum of rewards.
    pub total: f64,
    /// Number of steps.
    pub length: u32,
}

/// Counts return and length. Put it inside of wrappers that change rewards.
///
/// The record of an episode stays until the next step, not only until the next reset: a vector that resets in the same
/// step still shows it.
#[derive(Clone, Debug)]
pub struct EpisodeStatistics<E> {
    /// What is wrapped.
    pub env: E,
    running: FinishedEpisode,
    finished: Option<FinishedEpisode>,
}

impl<E: Env> EpisodeStatistics<E> {
    /// Around an environment.
    pub fn new(env: E) -> Self {
        Self { env, running: FinishedEpisode::default(), finished: None }
    }

    /// The episode that ended in the last step, if one did.
    pub fn finished(&self) -> Option<FinishedEpisode> {
        self.finished
    }

    /// The episode that is running, so far.
    pub fn running(&self) -> FinishedEpisode {
        self.running
    }
}

impl<E: Env> Env for EpisodeStatistics<E> {
    fn spec(&self) -> &EnvSpec {
        self.env.spec()
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
        self.env.reset(seed, observation)?;
        self.running = FinishedEpisode::default();
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
        let step = self.env.step(action, observation)?;
        self.running.total += step.reward;
        self.running.length += 1;
        self.finished = step.done().then_some(self.running);
        Ok(step)
    }

    fn save(&self) -> Result<Value> {
        save(&self.env, (self.running, self.finished))
    }

    fn load(&mut self, saved: &Value) -> Result<()> {
        (self.running, self.finished) = load(&mut self.env, saved)?;
        Ok(())
    }
}
