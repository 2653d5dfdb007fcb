//! Truncates episodes after a number of steps.

use super::{load, save};
use crate::env::{Action, Env, EnvSpec, Step};
use crate::{Error, Result};
use serde_json::Value;

/// Sets `truncated` at step `limit`, even where the task terminates in the same step (as Gymnasium does).
#[derive(Clone, Debug)]
pub struct TimeLimit<E> {
    /// What is wrapped.
    pub env: E,
    spec: EnvSpec,
    limit: u32,
    elapsed: u32,
    over: bool,
}

impl<E: Env> TimeLimit<E> {
    /// With at most `limit` steps per episode.
    ///
    /// # Errors
    /// [`Error::Config`] for a limit of 0.
    pub fn new(env: E, limit: u32) -> Result<Self> {
        if limit == 0 {
            return Err(Error::config("time_limit", "limit", limit, "at least 1"));
        }
        let mut spec = env.spec().clone();
        spec.max_episode_steps = Some(spec.max_episode_steps.map_or(limit, |inner| inner.min(limit)));
        Ok(Self { env, spec, limit, elapsed: 0, over: true })
    }
}

impl<E: Env> Env for TimeLimit<E> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
        self.env.reset(seed, observation)?;
        (self.elapsed, self.over) = (0, false);
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
        if self.over {
            let reason = "the episode is over: call reset first".into();
            return Err(Error::State { operation: "step", reason });
        }
        let mut step = self.env.step(action, observation)?;
        self.elapsed += 1;
        step.truncated |= self.elapsed >= self.limit;
        self.over = step.done();
        Ok(step)
    }

    fn save(&self) -> Result<Value> {
        save(&self.env, (self.elapsed, self.over))
    }

    fn load(&mut self, saved: &Value) -> Result<()> {
        (self.elapsed, self.over) = load(&mut self.env, saved)?;
        Ok(())
    }
}
