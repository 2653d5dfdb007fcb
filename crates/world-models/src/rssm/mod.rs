//! The recurrent state-space model of PlaNet (Hafner et al. 2019, "Learning Latent Dynamics for Planning from Pixels"),
//! for vector observations, and the agent that plans with it.
//!
//! ```text
//! deterministic state   h_t = GRU(h_{t−1}, [s_{t−1}, a_t])        a_t: the action that led to o_t
//! prior                 p(s_t | h_t)       = N(μ, σ²)            from h_t alone: what imagination uses
//! posterior             q(s_t | h_t, o_t)  = N(μ, σ²)            from h_t and the encoded observation
//! heads                 o_t, r_t, c_t from [s_t, h_t]            all belong to the state of arrival
//! ```
//!
//! What tutorials often get wrong holds here: the divergence has its full log term; reward and continuation are those of
//! the arrival; the filter is fed the action that was really taken; every standard deviation has a floor; an episode's
//! start resets the state; the continuation is trained on termination, never on the time limit.
//!
//! Deviations: observations and symlog rewards are normalised by statistics of the data; the loss is a squared error in those
//! units; by option part of the windows are filtered for a few steps only and then run open loop, which trains the prior on the
//! steps that planning takes (missing observations, in the language of state-space models).

mod agent;
pub mod divergence;
mod rollout;
pub mod scan;

pub use agent::{AgentConfig, PlanningAgent, evaluate_planner};
pub use rollout::{Imagined, Rollout, State};

use crate::Result;
use candle_core::{Device, Tensor};
use divergence::balanced_kl;
use rand::RngExt;
use rand_distr::StandardNormal;
use rl_core::buffer::SequenceBatch;
use rl_core::env::{EnvSpec, Space};
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::ops::bce_with_logits;
use rl_core::nn::{Mlp, MlpConfig, Params};
use rl_core::normalize::RunningMeanStd;
use rl_core::{Error, SeedStream, StreamRng};
use scan::{Inputs, Offsets, Scan, Sizes, scan_composed};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Widths and losses of the model. The defaults are those of the exercise: small vectors, two CPU cores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RssmConfig {
    /// Width of h (PlaNet: 200).
    pub deter: usize,
    /// Width of s (PlaNet: 30).
    pub stoch: usize,
    /// Width of an encoded observation.
    pub embedding: usize,
    /// Hidden layers of the encoder.
    pub encoder: Vec<usize>,
    /// Hidden layers of the observation head.
    pub decoder: Vec<usize>,
    /// Hidden layers of the reward head.
    pub reward: Vec<usize>,
    /// Hidden layers of the continuation head.
    pub continuation: Vec<usize>,
    /// Smallest standard deviation of prior and posterior (PlaNet: 0.1).
    pub std_floor: f64,
    /// Weight of the divergence's gradient in the prior (DreamerV3: 1).
    pub kl_dynamics: f64,
    /// Weight of the divergence's gradient in the posterior (DreamerV3: 0.1).
    pub kl_representation: f64,
    /// Divergence below which there is no gradient, in nats per step (PlaNet: 3, DreamerV3: 1).
    pub free_nats: f64,
    /// Weight of the reward's squared error.
    pub reward_scale: f64,
    /// Weight of the continuation's cross-entropy; with 0 the head is neither computed nor trained.
    pub continuation_scale: f64,
    /// Share of the windows that run open loop from a random step on; off by default.
    pub open_loop: f64,
    /// Steps that are filtered before a window may run open loop.
    pub context: usize,
}

impl Default for RssmConfig {
    fn default() -> Self {
        Self {
            deter: 100,
            stoch: 20,
            embedding: 256,
            encoder: vec![256, 512],
            decoder: vec![512, 256],
            reward: vec![256, 128],
            continuation: vec![128, 64],
            std_floor: 0.1,
            kl_dynamics: 1.0,
            kl_representation: 0.1,
            free_nats: 0.0,
            reward_scale: 1.0,
            continuation_scale: 1.0,
            open_loop: 0.0,
            context: 1,
        }
    }
}

impl RssmConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        for (field, width) in [("deter", self.deter), ("stoch", self.stoch), ("embedding", self.embedding)] {
            if width == 0 {
                return Err(Error::config("rssm", field, width, "at least 1").into());
            }
        }
        if self.std_floor <= 0.0 || !self.std_floor.is_finite() {
            return Err(Error::config("rssm", "std_floor", self.std_floor, "positive").into());
        }
        if !(0.0..=1.0).contains(&self.open_loop) {
            return Err(Error::config("rssm", "open_loop", self.open_loop, "in [0, 1]").into());
        }
        let weights = [
            ("kl_dynamics", self.kl_dynamics),
            ("kl_representation", self.kl_representation),
            ("free_nats", self.free_nats),
            ("reward_scale", self.reward_scale),
            ("continuation_scale", self.continuation_scale),
        ];
        for (field, weight) in weights {
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(Error::config("rssm", field, weight, "not negative").into());
            }
        }
        Ok(())
    }
}

/// Windows of experience, time-major: row t·B + b.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// T
    pub steps: usize,
    /// B
    pub batch: usize,
    /// `[T·B, D]`, as observed.
    pub observations: Vec<f32>,
    /// `[T·B, A]`, the action that led to each observation; one-hot where actions are discrete.
    pub actions: Vec<f32>,
    /// `[T·B]`, the reward on arrival.
    pub rewards: Vec<f32>,
    /// `[T·B]`
    pub terminated: Vec<bool>,
    /// `[T·B]`: the state is reset before this step.
    pub first: Vec<bool>,
}

impl Windows {
    /// From a sequence buffer whose fields are observation, action and reward.
    pub fn from_batch(batch: &SequenceBatch) -> Self {
        let field = |i: usize| batch.fields[i].f32().to_vec();
        let b = batch.starts.len();
        Self {
            steps: batch.is_first.len() / b.max(1),
            batch: b,
            observations: field(0),
            actions: field(1),
            rewards: field(2),
            terminated: batch.terminated.clone(),
            first: batch.is_first.clone(),
        }
    }
}

/// The terms of the loss, each a scalar tensor.
pub struct Losses {
    /// What is minimised.
    pub total: Tensor,
    /// ½ ‖ô − o‖² in normalised units.
    pub reconstruction: Tensor,
    /// Mean divergence in nats, before the free nats.
    pub kl: Tensor,
    /// ½ (r̂ − r)² in normalised units.
    pub reward: Tensor,
    /// Cross-entropy of the continuation; 0 where it has no weight.
    pub continuation: Tensor,
}

/// The model: networks, parameters, and the units of its data.
#[derive(Clone, Debug)]
pub struct Rssm {
    config: RssmConfig,
    sizes: Sizes,
    offsets: Offsets,
    encoder: Mlp,
    /// The part of the posterior that comes from the encoded observation.
    embedding: Mlp,
    recurrent: Params,
    decoder: Mlp,
    reward: Mlp,
    continuation: Mlp,
    observation_scale: RunningMeanStd,
    reward_scale: RunningMeanStd,
    device: Device,
}

/// sign(x) ln(1 + |x|): rewards are learned on this scale (Hafner et al. 2023), where small ones count.
fn symlog(x: f32) -> f32 {
    x.abs().ln_1p().copysign(x)
}

/// The inverse of [`symlog`].
#[cfg(test)]
fn symexp(x: f32) -> f32 {
    x.abs().exp_m1().copysign(x)
}

/// Added to every variance when dividing by it.
const VARIANCE_EPS: f64 = 1e-8;

impl Rssm {
    /// A model for an environment, its weights drawn from the stream "rssm".
    ///
    /// # Errors
    /// If the configuration is invalid, the observation is not a vector, or the device cannot hold the weights.
    pub fn new(config: &RssmConfig, spec: &EnvSpec, device: &Device, seeds: SeedStream) -> Result<Self> {
        config.validate()?;
        let Space::Box { low, .. } = &spec.observation else {
            return Err(Error::config("rssm", "observation", &spec.observation, "a box").into());
        };
        let observation = low.len();
        let sizes = Sizes { deter: config.deter, stoch: config.stoch, action: spec.action.width() };
        let mut rng = seeds.stream("rssm", 0);
        let (recurrent, offsets) = scan::parameters(sizes, config.embedding, device, &mut rng)?;
        let mut mlp = |inputs, hidden: &[usize], outputs| {
            Mlp::new(&MlpConfig::relu(inputs, hidden, outputs), device, &mut rng)
        };
        let feature = sizes.feature();
        Ok(Self {
            encoder: mlp(observation, &config.encoder, config.embedding)?,
            decoder: mlp(feature, &config.decoder, observation)?,
            reward: mlp(feature, &config.reward, 1)?,
            continuation: mlp(feature, &config.continuation, 1)?,
            embedding: Mlp::new(&MlpConfig::relu(config.embedding, &[], 2 * config.stoch), device, &mut rng)?,
            config: config.clone(),
            sizes,
            offsets,
            recurrent,
            observation_scale: RunningMeanStd::new(observation),
            reward_scale: RunningMeanStd::new(1),
            device: device.clone(),
        })
    }

    /// All modules that an optimiser steps, always in this order.
    pub fn modules(&self) -> [&Params; 6] {
        [
            self.encoder.params(),
            self.embedding.params(),
            &self.recurrent,
            self.decoder.params(),
            self.reward.params(),
            self.continuation.params(),
        ]
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.modules().iter().map(|p| p.len()).sum()
    }

    /// Widths of the states.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Sets the units of observations and of rewards on the symlog scale.
    pub fn set_scales(&mut self, observations: &RunningMeanStd, rewards: &RunningMeanStd) {
        self.observation_scale.clone_from(observations);
        self.reward_scale.clone_from(rewards);
    }

    /// The loss on a batch of windows; noise and open-loop masks come from `rng`.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn loss(&self, windows: &Windows, rng: &mut StreamRng) -> Result<Losses> {
        let rows = windows.steps * windows.batch;
        let observation = self.normalised_observations(windows)?;
        let reward = self.normalised_rewards(windows)?;
        let inputs = Arc::new(self.inputs(windows, rng));
        let embedded = self.embedding.forward(&self.encoder.forward(&observation)?)?;
        let states = self.scan(&embedded, &inputs)?; // [T·B, output]
        let column = |range: std::ops::Range<usize>| states.narrow(1, range.start, range.len())?.contiguous();
        let feature = column(0..self.sizes.feature())?;

        let half_square =
            |error: Tensor| -> Result<Tensor> { Ok((error.sqr()?.sum_all()? * (0.5 / rows as f64))?) };
        let reconstruction = half_square((self.decoder.forward(&feature)? - observation)?)?;
        // A window that starts in mid-episode cannot know the reward that was paid on arrival at its first step.
        let known = self.column(windows.first.iter().map(|&first| if first { 0.0 } else { 1.0 }))?;
        let reward = half_square(((self.reward.forward(&feature)? - reward)? * &known)?)?;
        let continuation = self.continuation_loss(&feature, windows)?;
        let config = &self.config;
        let weights = (config.kl_dynamics, config.kl_representation);
        let (posterior, prior) = (column(self.sizes.posterior())?, column(self.sizes.prior())?);
        // Where the state was reset there is no transition that the prior could learn.
        let divergence =
            (balanced_kl(&posterior, &prior, config.std_floor, weights)? * known.flatten_all()?)?; // [T·B]
        let kl = divergence.maximum(config.free_nats)?.mean_all()?;
        let total = (((&reconstruction + &kl)? + (&reward * config.reward_scale)?)?
            + (&continuation * config.continuation_scale)?)?;
        Ok(Losses { total, reconstruction, kl: divergence.detach().mean_all()?, reward, continuation })
    }

    /// Cross-entropy of the continuation; the head is left out where its loss has no weight.
    fn continuation_loss(&self, feature: &Tensor, windows: &Windows) -> Result<Tensor> {
        if self.config.continuation_scale == 0.0 {
            return Ok(Tensor::zeros((), feature.dtype(), &self.device)?);
        }
        let goes_on = self.column(windows.terminated.iter().map(|&over| if over { 0.0 } else { 1.0 }))?;
        Ok(bce_with_logits(&self.continuation.forward(feature)?, &goes_on)?.mean_all()?)
    }

    fn scan(&self, embedded: &Tensor, inputs: &Arc<Inputs<f32>>) -> Result<Tensor> {
        let floor = self.config.std_floor;
        if !self.device.is_cpu() {
            return Ok(scan_composed(self.sizes, floor, inputs, embedded, &self.recurrent)?);
        }
        let scan = Scan::new(self.sizes, self.offsets, floor, inputs.clone());
        Ok(embedded.contiguous()?.apply_op2(self.recurrent.tensor(), scan)?)
    }

    /// Noise, masks and a start from zero.
    fn inputs(&self, windows: &Windows, rng: &mut StreamRng) -> Inputs<f32> {
        let Windows { steps, batch, actions, first, .. } = windows;
        let (steps, batch) = (*steps, *batch);
        let mut observed = vec![1.0; steps * batch];
        for b in 0..batch {
            let context = self.config.context.min(steps);
            if context < steps && rng.random::<f64>() < self.config.open_loop {
                let from = rng.random_range(context..steps);
                (from..steps).for_each(|t| observed[t * batch + b] = 0.0);
            }
        }
        // A state that was just reset has nothing to go on but its observation.
        for (o, &first) in observed.iter_mut().zip(first) {
            *o = if first { 1.0 } else { *o };
        }
        Inputs {
            steps,
            batch,
            actions: actions.clone(),
            noise: (0..steps * batch * self.sizes.stoch).map(|_| rng.sample(StandardNormal)).collect(),
            first: first.iter().map(|&f| f32::from(u8::from(f))).collect(),
            observed,
            start: (vec![0.0; batch * self.sizes.deter], vec![0.0; batch * self.sizes.stoch]),
        }
    }

    fn normalised_observations(&self, windows: &Windows) -> Result<Tensor> {
        let rows = windows.steps * windows.batch;
        let mut values = windows.observations.clone();
        self.observation_scale.normalize(&mut values, VARIANCE_EPS, f32::INFINITY);
        Ok(Tensor::from_vec(values, (rows, self.encoder.inputs()), &self.device)?)
    }

    fn normalised_rewards(&self, windows: &Windows) -> Result<Tensor> {
        let mut values: Vec<f32> = windows.rewards.iter().map(|&r| symlog(r)).collect();
        self.reward_scale.normalize(&mut values, VARIANCE_EPS, f32::INFINITY);
        self.column(values.into_iter())
    }

    fn column(&self, values: impl Iterator<Item = f32>) -> Result<Tensor> {
        let values: Vec<f32> = values.collect();
        let rows = values.len();
        Ok(Tensor::from_vec(values, (rows, 1), &self.device)?)
    }
}

impl Persist for Rssm {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        for (name, params) in NAMES.iter().zip(self.modules()) {
            params.save(&format!("{prefix}/{name}"), state)?;
        }
        self.observation_scale.save(&format!("{prefix}/observation_scale"), state)?;
        self.reward_scale.save(&format!("{prefix}/reward_scale"), state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        for (name, params) in NAMES.iter().zip(self.modules()) {
            params.clone().load(&format!("{prefix}/{name}"), state)?;
        }
        self.observation_scale.load(&format!("{prefix}/observation_scale"), state)?;
        self.reward_scale.load(&format!("{prefix}/reward_scale"), state)
    }
}

/// Names of the modules in a checkpoint.
const NAMES: [&str; 6] = ["encoder", "embedding", "recurrent", "decoder", "reward", "continuation"];

/// One-hot for an index, the numbers themselves for reals.
pub(crate) fn encode_action(action: rl_core::env::Action<'_>, encoded: &mut [f32]) {
    match action {
        rl_core::env::Action::Continuous(a) => encoded.copy_from_slice(a),
        rl_core::env::Action::Discrete(i) => {
            encoded.fill(0.0);
            if let Some(slot) = encoded.get_mut(i) {
                *slot = 1.0;
            }
        }
    }
}

#[cfg(test)]
mod tests;
