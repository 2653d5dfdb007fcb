//! The last few observations as one.

use super::{check_size, load, save};
use crate::env::{Action, Env, EnvSpec, Space, Step};
use crate::{Error, Result};
use serde_json::Value;

/// Observes the last `k` observations, the oldest first: `[k · D]`. An episode starts with `k` copies of its first.
#[derive(Clone, Debug)]
pub struct FrameStack<E> {
    /// What is wrapped.
    pub env: E,
    spec: EnvSpec,
    frames: Vec<f32>,
    width: usize,
}

impl<E: Env> FrameStack<E> {
    /// With `k` frames.
    ///
    /// # Errors
    /// [`Error::Config`] for no frame, [`Error::Shape`] for an environment that does not observe a box.
    pub fn new(env: E, k: usize) -> Result<Self> {
        if k == 0 {
            return Err(Error::config("frame_stack", "k", k, "at least 1"));
        }
        let inner = env.spec();
        let Space::Box { low, high } = &inner.observation else {
            return Err(Error::shape("FrameStack", "a box of observations", &inner.observation));
        };
        let width = low.len();
        let spec =
            EnvSpec { observation: Space::Box { low: low.repeat(k), high: high.repeat(k) }, ..inner.clone() };
        Ok(Self { env, spec, frames: vec![0.0; k * width], width })
    }
}

impl<E: Env> Env for FrameStack<E> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
        check_size("reset", &self.spec, observation)?;
        let (first, rest) = observation.split_at_mut(self.width);
        self.env.reset(seed, first)?;
        rest.chunks_mut(self.width).for_each(|frame| frame.copy_from_slice(first));
        self.frames.copy_from_slice(observation);
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
        check_size("step", &self.spec, observation)?;
        let older = self.frames.len() - self.width;
        let step = self.env.step(action, &mut observation[older..])?;
        observation[..older].copy_from_slice(&self.frames[self.width..]);
        self.frames.copy_from_slice(observation);
        Ok(step)
    }

    fn save(&self) -> Result<Value> {
        save(&self.env, &self.frames)
    }

    fn load(&mut self, saved: &Value) -> Result<()> {
        let frames: Vec<f32> = load(&mut self.env, saved)?;
        if frames.len() != self.frames.len() {
            let reason = format!("a stack of {} numbers, expected {}", frames.len(), self.frames.len());
            return Err(Error::State { operation: "load", reason });
        }
        self.frames = frames;
        Ok(())
    }
}
