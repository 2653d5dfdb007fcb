//! Whole episodes of several copies side by side, and the record of what they returned.

use super::model::Model;
use super::policy::Policy;
use crate::error::{Error, Result};
use rl_core::env::{Action, Env, EnvSpec, Space};
use rl_core::experiment::{Metrics, Persist, TrainState};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// When a task counts as solved, which ends the training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Solved {
    /// Over how many of the last episodes the mean is taken.
    pub window: usize,
    /// What the mean return must reach.
    pub mean: f64,
}

/// The returns of all training episodes, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    returns: Vec<f64>,
    solved_at: Option<u64>,
}

impl Record {
    /// Returns of all episodes.
    pub fn returns(&self) -> &[f64] {
        &self.returns
    }

    /// Episodes so far.
    pub fn episodes(&self) -> u64 {
        self.returns.len() as u64
    }

    /// Episodes played when the task was solved.
    pub fn solved_at(&self) -> Option<u64> {
        self.solved_at
    }

    /// Mean return of the last `window` episodes, or of all if there are fewer.
    pub fn recent(&self, window: usize) -> f64 {
        let last = &self.returns[self.returns.len().saturating_sub(window)..];
        last.iter().sum::<f64>() / last.len().max(1) as f64
    }

    pub(super) fn push(&mut self, total: f64, length: u64, solved: Option<Solved>, metrics: &mut Metrics) {
        self.returns.push(total);
        metrics.record("charts/episodic_return", total);
        metrics.record("charts/episodic_length", length as f64);
        let Some(Solved { window, mean }) = solved else { return };
        if self.solved_at.is_none() && self.returns.len() >= window && self.recent(window) >= mean - 1e-9 {
            self.solved_at = Some(self.episodes());
        }
    }
}

impl Persist for Record {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put_array(format!("{prefix}/returns"), &[self.returns.len()], &self.returns);
        state.put(format!("{prefix}/solved_at"), &self.solved_at)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.returns = state.array_of_any_shape(&format!("{prefix}/returns"))?.to_vec();
        self.solved_at = state.get(&format!("{prefix}/solved_at"))?;
        Ok(())
    }
}

/// The number of discrete actions.
///
/// # Errors
/// When the actions are continuous, or a model has another number of outputs or observed numbers.
pub(super) fn discrete_actions(spec: &EnvSpec, model: &dyn Model) -> Result<usize> {
    let Space::Discrete(actions) = spec.action else {
        return Err(Error::shape("agent", "discrete actions", &spec.action));
    };
    let got = (spec.observation.width(), actions);
    match got == (model.observation(), model.outputs()) {
        true => Ok(actions),
        false => {
            let wanted = format!("{} observed numbers and {} actions", model.observation(), model.outputs());
            Err(Error::shape("agent", wanted, format!("{} and {}", got.0, got.1)))
        }
    }
}

/// Complete episodes, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Episodes {
    /// `[T, D]`
    pub(super) observations: Vec<f32>,
    /// `[T]`
    pub(super) actions: Vec<usize>,
    /// `[T]`
    pub(super) rewards: Vec<f64>,
    /// Where each episode ends, `[E]`.
    pub(super) ends: Vec<usize>,
    /// Whether it ended in an end state, `[E]`.
    pub(super) terminated: Vec<bool>,
    /// The last observation of each, `[E, D]`.
    pub(super) last: Vec<f32>,
}

impl Episodes {
    pub(super) fn steps(&self) -> usize {
        self.actions.len()
    }

    /// The ranges of the episodes.
    pub(super) fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.ends.iter().scan(0, |from, &to| Some(std::mem::replace(from, to)..to))
    }
}

/// Copies of an environment that play whole episodes side by side, acting in one batch.
pub(super) struct Copies {
    envs: Vec<Box<dyn Env>>,
    seed: u64,
    started: bool,
}

impl Copies {
    pub(super) fn new(envs: Vec<Box<dyn Env>>, seeds: SeedStream) -> Result<Self> {
        if envs.is_empty() {
            return Err(Error::shape("agent", "at least one copy of the environment", 0));
        }
        Ok(Self { envs, seed: seeds.derive("env", 0), started: false })
    }

    pub(super) fn spec(&self) -> &EnvSpec {
        self.envs[0].spec()
    }

    /// One episode of every copy; the longer ones go on while the others wait.
    pub(super) fn play(
        &mut self,
        model: &mut dyn Model,
        parameters: &[f64],
        policy: Policy,
        rng: &mut StreamRng,
    ) -> Result<Episodes> {
        let (width, actions) = (model.observation(), model.outputs());
        let mut own: Vec<Episodes> = self.envs.iter().map(|_| Episodes::default()).collect();
        for (k, (env, own)) in (0u64..).zip(self.envs.iter_mut().zip(&mut own)) {
            own.last.resize(width, 0.0);
            env.reset((!self.started).then_some(self.seed.wrapping_add(k)), &mut own.last)?;
        }
        self.started = true;
        let mut running: Vec<usize> = (0..self.envs.len()).collect();
        let (mut observations, mut outputs) = (vec![], vec![]);
        while !running.is_empty() {
            observations.clear();
            running.iter().for_each(|&k| observations.extend_from_slice(&own[k].last));
            outputs.resize(running.len() * actions, 0.0);
            model.forward(parameters, &observations, &mut outputs)?;
            let mut rows = outputs.chunks_exact_mut(actions);
            let mut still = vec![];
            for &k in &running {
                let Some(row) = rows.next() else { break };
                policy.probabilities(row);
                let action = Policy::draw(row, rng);
                let episode = &mut own[k];
                episode.observations.extend_from_slice(&episode.last);
                let step = self.envs[k].step(Action::Discrete(action), &mut episode.last)?;
                episode.actions.push(action);
                episode.rewards.push(step.reward);
                if step.done() {
                    episode.terminated.push(step.terminated);
                } else {
                    still.push(k);
                }
            }
            running = still;
        }
        let mut all = Episodes::default();
        for episode in own {
            all.observations.extend_from_slice(&episode.observations);
            all.actions.extend_from_slice(&episode.actions);
            all.rewards.extend_from_slice(&episode.rewards);
            all.ends.push(all.actions.len());
            all.terminated.extend_from_slice(&episode.terminated);
            all.last.extend_from_slice(&episode.last);
        }
        Ok(all)
    }
}

impl Persist for Copies {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put(format!("{prefix}/started"), &self.started)?;
        let saved = self.envs.iter().map(|env| env.save()).collect::<rl_core::Result<Vec<_>>>()?;
        state.put(format!("{prefix}/envs"), &saved)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.started = state.get(&format!("{prefix}/started"))?;
        let saved: Vec<serde_json::Value> = state.get(&format!("{prefix}/envs"))?;
        self.envs.iter_mut().zip(&saved).try_for_each(|(env, saved)| env.load(saved))
    }
}
