//! Observations and rewards on a unit scale, by running statistics.

use super::{load, save};
use crate::env::{Action, Env, EnvSpec, Space, Step};
use crate::normalize::RunningMeanStd;
use crate::{Error, Result};
use serde_json::Value;

/// Observes `clip((o − mean) / √(variance + 1e-8), ±10)`, with the statistics of every observation so far, resets
/// included.
///
/// For evaluation set `frozen`: the statistics then stay as they are. Copies in a vector have statistics of their own;
/// an agent that wants common ones keeps a [`RunningMeanStd`] itself.
#[derive(Clone, Debug)]
pub struct NormalizeObservation<E> {
    /// What is wrapped.
    pub env: E,
    /// Whether the statistics stay as they are.
    pub frozen: bool,
    spec: EnvSpec,
    statistics: RunningMeanStd,
}

const EPSILON: f64 = 1e-8;
const LIMIT: f32 = 10.0;

impl<E: Env> NormalizeObservation<E> {
    /// Around an environment that observes a box.
    ///
    /// # Errors
    /// [`Error::Shape`] for an environment that does not.
    pub fn new(env: E) -> Result<Self> {
        let Space::Box { low, .. } = &env.spec().observation else {
            let got = &env.spec().observation;
            return Err(Error::shape("NormalizeObservation", "a box of observations", got));
        };
        let statistics = RunningMeanStd::new(low.len());
        let spec =
            EnvSpec { observation: Space::uniform_box(low.len(), -LIMIT, LIMIT), ..env.spec().clone() };
        Ok(Self { env, frozen: false, spec, statistics })
    }

    /// The statistics so far.
    pub fn statistics(&self) -> &RunningMeanStd {
        &self.statistics
    }

    fn apply(&mut self, observation: &mut [f32]) -> Result<()> {
        if !self.frozen {
            self.statistics.update(observation)?;
        }
        self.statistics.normalize(observation, EPSILON, LIMIT);
        Ok(())
    }
}

impl<E: Env> Env for NormalizeObservation<E> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
        self.env.reset(seed, observation)?;
        self.apply(observation)
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
        let step = self.env.step(action, observation)?;
        self.apply(observation)?;
        Ok(step)
    }

    fn save(&self) -> Result<Value> {
        save(&self.env, (&self.statistics, self.frozen))
    }

    fn load(&mut self, saved: &Value) -> Result<()> {
        let (statistics, frozen): (RunningMeanStd, bool) = load(&mut self.env, saved)?;
        if statistics.mean().len() != self.statistics.mean().len() {
            let reason = "statistics of another number of dimensions".into();
            return Err(Error::State { operation: "load", reason });
        }
        (self.statistics, self.frozen) = (statistics, frozen);
        Ok(())
    }
}

/// Pays `r / √(variance of G + 1e-8)`, where `G ← γ G + r` is the discounted return so far in the episode.
///
/// The mean is not subtracted: that would change what is optimal. Deviation from Gymnasium: `G` starts from zero after
/// every episode, also after a truncated one, and the last reward still belongs to its own episode.
#[derive(Clone, Debug)]
pub struct NormalizeReward<E> {
    /// What is wrapped.
    pub env: E,
    /// Whether the statistics stay as they are.
    pub frozen: bool,
    gamma: f64,
    discounted: f64,
    statistics: RunningMeanStd,
}

impl<E: Env> NormalizeReward<E> {
    /// With the agent's discount.
    ///
    /// # Errors
    /// [`Error::Config`] for a discount outside `[0, 1]`.
    pub fn new(env: E, gamma: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&gamma) {
            return Err(Error::config("normalize_reward", "gamma", gamma, "in [0, 1]"));
        }
        Ok(Self { env, frozen: false, gamma, discounted: 0.0, statistics: RunningMeanStd::new(1) })
    }

    /// The statistics of the discounted return so far.
    pub fn statistics(&self) -> &RunningMeanStd {
        &self.statistics
    }
}

impl<E: Env> Env for NormalizeReward<E> {
    fn spec(&self) -> &EnvSpec {
        self.env.spec()
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
        self.env.reset(seed, observation)?;
        self.discounted = 0.0;
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
        let step = self.env.step(action, observation)?;
        self.discounted = self.gamma * self.discounted + step.reward;
        if !self.frozen {
            self.statistics.update(&[self.discounted])?;
        }
        let scale = (self.statistics.variance()[0] + EPSILON).sqrt();
        Ok(Step { reward: step.reward / scale, ..step })
    }

    fn save(&self) -> Result<Value> {
        save(&self.env, (&self.statistics, self.discounted, self.frozen))
    }

    fn load(&mut self, saved: &Value) -> Result<()> {
        (self.statistics, self.discounted, self.frozen) = load(&mut self.env, saved)?;
        Ok(())
    }
}
