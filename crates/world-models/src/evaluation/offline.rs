//! Models trained on recorded episodes alone: on equal data, whatever agent would have collected it.
//!
//! Steps are updates. The episodes are the caller's, who records them anew from the same seeds: they are not part of the
//! state that is saved.

use super::trajectory::Trajectory;
use crate::checks::{at_least_one, not_negative};
use crate::pets::{Dynamics, DynamicsConfig, EnsembleModel, RolloutConfig};
use crate::rssm::{Rollout, Rssm, RssmConfig, Windows};
use crate::{Error as CrateError, Result};
use candle_core::Device;
use rl_core::buffer::{Field, FieldRow, SequenceBatch, SequenceBuffer, SequenceConfig, StepEnds};
use rl_core::env::EnvSpec;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::normalize::RunningMeanStd;
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// How a sequence model learns from recorded episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OfflineConfig {
    /// Updates in all.
    pub updates: u64,
    /// Windows per update (PlaNet: 50).
    pub batch: usize,
    /// Steps per window (PlaNet: 50).
    pub length: usize,
    /// Adam's step size at the beginning; it falls linearly to a tenth (PlaNet: 1e-3).
    pub learning_rate: f64,
    /// Largest global norm of the gradient.
    pub clip: f64,
}

impl Default for OfflineConfig {
    fn default() -> Self {
        Self { updates: 4000, batch: 16, length: 15, learning_rate: 1e-3, clip: 10.0 }
    }
}

impl OfflineConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        at_least_one("offline", [("updates", self.updates), ("batch", self.batch as u64)])?;
        if self.length < 2 {
            return Err(Error::config("offline", "length", self.length, "at least 2").into());
        }
        not_negative("offline", [("learning_rate", self.learning_rate), ("clip", self.clip)])
    }
}

/// A recurrent state-space model on recorded episodes.
pub struct OfflineRssm {
    config: OfflineConfig,
    model: Rssm,
    optimizer: Optimizer,
    buffer: SequenceBuffer,
    batch: SequenceBatch,
    step: u64,
    rngs: [StreamRng; 2],
}

impl OfflineRssm {
    /// An untrained model, and the episodes that it will learn from.
    ///
    /// # Errors
    /// If the configuration or the episodes do not fit.
    pub fn new(
        (config, model): (&OfflineConfig, &RssmConfig),
        spec: &EnvSpec,
        data: &[Trajectory],
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let (width, action) = (spec.observation.width(), spec.action.width());
        let mut buffer = SequenceBuffer::new(SequenceConfig {
            capacity: data.iter().map(|t| t.steps() + 1).sum::<usize>() + config.length,
            streams: 1,
            length: config.length,
            fields: vec![
                Field::f32("observation", width),
                Field::f32("action", action),
                Field::f32("reward", 1),
            ],
            cross_episodes: true,
            restart: true,
            online: false,
        })?;
        let (mut observations, mut rewards) = (RunningMeanStd::new(width), RunningMeanStd::new(1));
        for trajectory in data {
            store(trajectory, &mut buffer)?;
            observations.update(&trajectory.observations)?;
            for reward in &trajectory.rewards {
                rewards.update(&[reward.signum() * reward.abs().ln_1p()])?;
            }
        }
        let mut model = Rssm::new(model, spec, device, seeds)?;
        model.set_scales(&observations, &rewards);
        let adam = OptimizerConfig::adam(config.learning_rate, 1e-8, Clip::GlobalNorm(config.clip));
        Ok(Self {
            optimizer: Optimizer::new(adam, &model.modules())?,
            model,
            buffer,
            batch: SequenceBatch::default(),
            step: 0,
            rngs: [seeds.stream("sample", 0), seeds.stream("noise", 0)],
            config: config.clone(),
        })
    }

    /// A snapshot for planning and evaluation.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn rollout(&self) -> Result<Rollout> {
        Rollout::new(&self.model)
    }
}

/// An episode as the sequence buffer keeps it: every observation with the action and the reward that led to it.
fn store(trajectory: &Trajectory, buffer: &mut SequenceBuffer) -> Result<()> {
    let none = vec![0.0; trajectory.action_width];
    for t in 0..=trajectory.steps() {
        let last = t == trajectory.steps();
        let ends = StepEnds {
            is_first: t == 0,
            terminated: last && trajectory.terminated,
            truncated: last && !trajectory.terminated,
        };
        let (action, reward) =
            if t == 0 { (&none[..], 0.0) } else { (trajectory.action(t - 1), trajectory.rewards[t - 1]) };
        let fields =
            [FieldRow::F32(trajectory.observation(t)), FieldRow::F32(action), FieldRow::F32(&[reward])];
        buffer.push(0, ends, &fields)?;
    }
    Ok(())
}

impl Trainer for OfflineRssm {
    type Error = CrateError;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.updates
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let left = 1.0 - 0.9 * self.step as f64 / self.config.updates as f64;
        self.optimizer.set_learning_rate(self.config.learning_rate * left);
        let [sample, noise] = &mut self.rngs;
        self.buffer.sample(self.config.batch, sample, &mut self.batch)?;
        let losses = self.model.loss(&Windows::from_batch(&self.batch), noise)?;
        let (value, grads) = backward(&losses.total)?;
        self.optimizer.step(&grads)?;
        metrics.record("losses/rssm", value);
        self.step += 1;
        Ok(())
    }
}

impl Persist for OfflineRssm {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.model.save(&format!("{prefix}/model"), state)?;
        self.optimizer.save(&format!("{prefix}/optimizer"), state)?;
        state.put(format!("{prefix}/step"), &self.step)?;
        state.put(format!("{prefix}/rngs"), &self.rngs)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.model.load(&format!("{prefix}/model"), state)?;
        self.optimizer.load(&format!("{prefix}/optimizer"), state)?;
        self.step = state.get(&format!("{prefix}/step"))?;
        self.rngs = state.get(&format!("{prefix}/rngs"))?;
        Ok(())
    }
}

/// An ensemble on recorded episodes.
pub struct OfflineEnsemble {
    dynamics: Dynamics,
    updates: u64,
    step: u64,
}

/// Updates between two points where a training can be interrupted.
const ROUND: u64 = 50;

impl OfflineEnsemble {
    /// An untrained ensemble, and the episodes that it will learn from in so many updates.
    ///
    /// # Errors
    /// If the configuration or the episodes do not fit.
    pub fn new(
        (config, updates): (&DynamicsConfig, u64),
        data: &[Trajectory],
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        let Some(first) = data.iter().find(|t| t.steps() > 0) else {
            return Err(Error::shape("OfflineEnsemble::new", "at least one transition", "none").into());
        };
        // A step is an update here.
        let config = DynamicsConfig { updates_per_step: 1.0, train_every: ROUND, ..config.clone() };
        let widths = (first.observation_width, first.action_width);
        let mut dynamics = Dynamics::new(&config, widths, device, seeds)?;
        for trajectory in data {
            for t in 0..trajectory.steps() {
                let over = trajectory.terminated && t + 1 == trajectory.steps();
                let pair = (trajectory.observation(t), trajectory.action(t));
                dynamics.push(0, pair, trajectory.rewards[t], trajectory.observation(t + 1), over)?;
            }
            dynamics.end_episode(0);
        }
        Ok(Self { dynamics, updates, step: 0 })
    }

    /// A snapshot for planning and evaluation.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn model(&self, config: &RolloutConfig, particles: usize) -> Result<EnsembleModel> {
        self.dynamics.snapshot(config, particles)
    }
}

impl Trainer for OfflineEnsemble {
    type Error = CrateError;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.updates
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.dynamics.learn(self.step, self.step + ROUND, metrics)?;
        self.step += ROUND;
        Ok(())
    }
}

impl Persist for OfflineEnsemble {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.dynamics.save(&format!("{prefix}/dynamics"), state)?;
        state.put(format!("{prefix}/step"), &self.step)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.dynamics.load(&format!("{prefix}/dynamics"), state)?;
        self.step = state.get(&format!("{prefix}/step"))?;
        Ok(())
    }
}
