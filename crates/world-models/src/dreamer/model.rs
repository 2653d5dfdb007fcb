//! The world model: networks and loss on replayed sequences.

use super::rollout::Latents;
use crate::Result;
use crate::checks::not_negative;
use candle_core::{Device, Tensor};
use rl_core::dist::{Categorical, TwoHot, kl_loss_v3};
use rl_core::env::{EnvSpec, Space};
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::ops::{bce_with_logits, symlog};
use rl_core::nn::{Activation, Init, Mlp, MlpConfig, Norm, NormGru, Params};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// Widths of all networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Widths {
    /// Width of h.
    pub deter: usize,
    /// G, categoricals of z.
    pub groups: usize,
    /// K, classes of each.
    pub classes: usize,
    /// Hidden layers of the state-space model.
    pub hidden: usize,
    /// Width of every other hidden layer.
    pub units: usize,
    /// Number of hidden layers in encoder, heads, actor and critic.
    pub layers: usize,
}

impl Widths {
    /// For classic control on two processor cores.
    pub fn tiny() -> Self {
        Self { deter: 128, groups: 8, classes: 8, hidden: 96, units: 96, layers: 1 }
    }

    /// The reference's `size1m`.
    pub fn size1m() -> Self {
        Self { deter: 512, groups: 32, classes: 4, hidden: 64, units: 64, layers: 3 }
    }

    /// The reference's `size12m`.
    pub fn size12m() -> Self {
        Self { deter: 2048, groups: 32, classes: 16, hidden: 256, units: 256, layers: 3 }
    }

    /// The reference's `size25m`.
    pub fn size25m() -> Self {
        Self { deter: 3072, groups: 32, classes: 24, hidden: 384, units: 384, layers: 3 }
    }

    /// G · K
    pub fn stoch(&self) -> usize {
        self.groups * self.classes
    }

    /// Width of [h, z].
    pub fn feature(&self) -> usize {
        self.deter + self.stoch()
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let all = [
            ("deter", self.deter, 1),
            ("groups", self.groups, 1),
            ("classes", self.classes, 2),
            ("hidden", self.hidden, 1),
            ("units", self.units, 1),
        ];
        for (field, value, least) in all {
            if value < least {
                return Err(
                    Error::config("dreamer.widths", field, value, "positive; classes at least 2").into()
                );
            }
        }
        Ok(())
    }

    /// Hidden layers with SiLU after RMS normalisation; the last layer's weights are scaled by `gain`, 0 for none.
    pub(super) fn mlp(
        &self,
        (inputs, outputs): (usize, usize),
        gain: f64,
        device: &Device,
        rng: &mut StreamRng,
    ) -> Result<Mlp> {
        let hidden = vec![self.units; self.layers];
        Ok(Mlp::new(&normalised((inputs, outputs), hidden, gain), device, rng)?)
    }
}

fn normalised((inputs, outputs): (usize, usize), hidden: Vec<usize>, gain: f64) -> MlpConfig {
    MlpConfig {
        hidden,
        activation: Activation::Silu,
        norm: Norm::Rms { eps: 1e-4 },
        init: Init::TruncatedNormal { gain: 1.0 },
        output_init: if gain == 0.0 { Init::Zeros } else { Init::TruncatedNormal { gain } },
        ..MlpConfig::relu(inputs, &[], outputs)
    }
}

/// The model's losses. The defaults are the reference implementation's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldModelConfig {
    /// Widths.
    pub widths: Widths,
    /// Share of the uniform distribution in every categorical (paper: 0.01).
    pub unimix: f64,
    /// Divergence below which there is no gradient, in nats (paper: 1).
    pub free_nats: f64,
    /// β_dyn (reference: 1; paper of 2023: 0.5).
    pub kl_dynamics: f64,
    /// β_rep (0.1).
    pub kl_representation: f64,
    /// Bins of the two-hot heads (255).
    pub bins: usize,
    /// The horizon 1/(1 − γ) that the continuation learns (333).
    pub horizon: f64,
}

impl Default for WorldModelConfig {
    fn default() -> Self {
        Self {
            widths: Widths::tiny(),
            unimix: 0.01,
            free_nats: 1.0,
            kl_dynamics: 1.0,
            kl_representation: 0.1,
            bins: 255,
            horizon: 333.0,
        }
    }
}

impl WorldModelConfig {
    /// γ = 1 − 1/horizon.
    pub fn discount(&self) -> f64 {
        1.0 - 1.0 / self.horizon
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        self.widths.validate()?;
        if !(0.0..1.0).contains(&self.unimix) {
            return Err(Error::config("dreamer.model", "unimix", self.unimix, "in [0, 1)").into());
        }
        if self.horizon.is_nan() || self.horizon < 1.0 {
            return Err(Error::config("dreamer.model", "horizon", self.horizon, "at least 1").into());
        }
        let weights = [
            ("free_nats", self.free_nats),
            ("kl_dynamics", self.kl_dynamics),
            ("kl_representation", self.kl_representation),
        ];
        not_negative("dreamer.model", weights)
    }
}

/// Replayed windows, time-major: row t·B + b.
#[derive(Clone, Debug, Default)]
pub struct Sequences {
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
    /// `[T·B]`: the episode ended here, for either reason.
    pub last: Vec<bool>,
    /// `[T·B]`: the state is reset before this step.
    pub first: Vec<bool>,
    /// The states before the first step, of B rows.
    pub start: Latents,
}

/// The terms of the model's loss, and the states that it passed through.
pub struct ModelLosses {
    /// What is minimised, a scalar.
    pub total: Tensor,
    /// Mean of ‖ô − symlog o‖².
    pub reconstruction: Tensor,
    /// Mean cross-entropy of the reward.
    pub reward: Tensor,
    /// Mean cross-entropy of the continuation.
    pub continuation: Tensor,
    /// Mean KL(q‖p) in nats, after the free nats.
    pub kl: Tensor,
    /// `[T·B, F]`, without a graph.
    pub features: Tensor,
    /// The states, of T·B rows.
    pub latents: Latents,
}

/// The world model's networks.
#[derive(Clone, Debug)]
pub struct WorldModel {
    pub(super) config: WorldModelConfig,
    pub(super) observation: usize,
    pub(super) action: usize,
    pub(super) encoder: Mlp,
    /// [z, a] to what the GRU reads.
    pub(super) input: Mlp,
    pub(super) gru: NormGru,
    pub(super) prior: Mlp,
    pub(super) posterior: Mlp,
    pub(super) decoder: Mlp,
    pub(super) reward: Mlp,
    pub(super) continuation: Mlp,
    pub(super) code: TwoHot,
    device: Device,
}

/// Names of the modules in a checkpoint.
const NAMES: [&str; 8] =
    ["encoder", "input", "gru", "prior", "posterior", "decoder", "reward", "continuation"];

impl WorldModel {
    /// A model for an environment, its weights drawn from the stream "world-model".
    ///
    /// # Errors
    /// If the configuration is invalid, the observation is not a vector, or the device cannot hold the weights.
    pub fn new(
        config: &WorldModelConfig,
        spec: &EnvSpec,
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let Space::Box { low, .. } = &spec.observation else {
            return Err(Error::config("dreamer", "observation", &spec.observation, "a box").into());
        };
        let (w, observation, action) = (&config.widths, low.len(), spec.action.width());
        let rng = &mut seeds.stream("world-model", 0);
        let embedding = w.units;
        let activated = |sizes, rng: &mut StreamRng| {
            let config = MlpConfig { output_activation: Activation::Silu, ..normalised(sizes, vec![], 1.0) };
            Mlp::new(&config, device, rng)
        };
        let latent = |inputs, rng: &mut StreamRng| {
            Mlp::new(&normalised((inputs, w.stoch()), vec![w.hidden], 1.0), device, rng)
        };
        Ok(Self {
            encoder: w.mlp((observation, embedding), 1.0, device, rng)?,
            input: activated((w.stoch() + action, w.hidden), rng)?,
            gru: NormGru::new(w.hidden, w.deter, device, rng)?,
            prior: latent(w.deter, rng)?,
            posterior: latent(w.deter + embedding, rng)?,
            decoder: w.mlp((w.feature(), observation), 1.0, device, rng)?,
            reward: w.mlp((w.feature(), config.bins), 0.0, device, rng)?,
            continuation: w.mlp((w.feature(), 1), 1.0, device, rng)?,
            code: TwoHot::dreamer_v3(config.bins)?,
            observation,
            action,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &WorldModelConfig {
        &self.config
    }

    /// All modules that an optimiser steps, always in this order.
    pub fn modules(&self) -> [&Params; 8] {
        [
            self.encoder.params(),
            self.input.params(),
            self.gru.params(),
            self.prior.params(),
            self.posterior.params(),
            self.decoder.params(),
            self.reward.params(),
            self.continuation.params(),
        ]
    }

    /// Logits `[M, G·K]` as categoricals `[M, G, K]`.
    fn categorical(&self, logits: &Tensor) -> Result<Categorical> {
        let w = &self.config.widths;
        let grouped = logits.reshape(((), w.groups, w.classes))?;
        Ok(Categorical::with_unimix(&grouped, self.config.unimix)?)
    }

    fn matrix(&self, values: Vec<f32>, width: usize) -> Result<Tensor> {
        let rows = values.len() / width;
        Ok(Tensor::from_vec(values, (rows, width), &self.device)?)
    }

    /// The loss on replayed windows; samples of z come from `rng`.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn loss(&self, windows: &Sequences, rng: &mut StreamRng) -> Result<ModelLosses> {
        let target = symlog(&self.matrix(windows.observations.clone(), self.observation)?)?;
        let embedded = self.encoder.forward(&target)?;
        let (deter, posterior, stoch, latents) = self.scan(&embedded, windows, rng)?;
        let feature = Tensor::cat(&[&deter, &stoch], 1)?; // [T·B, F]
        let rows = windows.steps * windows.batch;
        let mean = |x: &Tensor| -> Result<Tensor> { Ok((x.sum_all()? * (1.0 / rows as f64))?) };

        let reconstruction = mean(&(self.decoder.forward(&feature)? - target)?.sqr()?)?;
        let rewards = Tensor::from_slice(&windows.rewards, rows, &self.device)?;
        let reward = mean(&self.code.loss(&self.reward.forward(&feature)?, &rewards)?)?;
        let goes_on: Vec<f32> = windows
            .terminated
            .iter()
            .map(|&over| if over { 0.0 } else { self.config.discount() as f32 })
            .collect();
        let goes_on = self.matrix(goes_on, 1)?;
        let continuation = mean(&bce_with_logits(&self.continuation.forward(&feature)?, &goes_on)?)?;
        let prior = self.categorical(&self.prior.forward(&deter)?)?;
        let posterior = self.categorical(&posterior)?;
        let weights = [self.config.kl_dynamics, self.config.kl_representation];
        let kl = kl_loss_v3(&posterior, &prior, weights, self.config.free_nats)?;
        let divergence = mean(&kl.total)?;
        let total = (((&reconstruction + &reward)? + &continuation)? + &divergence)?;
        Ok(ModelLosses {
            total,
            reconstruction,
            reward,
            continuation,
            kl: mean(&kl.dynamics)?.detach(),
            features: feature.detach(),
            latents,
        })
    }

    /// The recurrence with gradients: h `[T·B, D]`, posterior logits and straight-through samples `[T·B, G·K]`, and the
    /// states as numbers.
    fn scan(
        &self,
        embedded: &Tensor,
        windows: &Sequences,
        rng: &mut StreamRng,
    ) -> Result<(Tensor, Tensor, Tensor, Latents)> {
        let (w, b) = (&self.config.widths, windows.batch);
        let mut h = Tensor::from_slice(&windows.start.deter, (b, w.deter), &self.device)?;
        let mut z = self.matrix(windows.start.one_hot(w.classes), w.stoch())?;
        let actions = Tensor::from_slice(&windows.actions, (windows.steps * b, self.action), &self.device)?;
        let (mut deters, mut logits, mut stochs) = (vec![], vec![], vec![]);
        let mut latents = Latents::default();
        for t in 0..windows.steps {
            let first = &windows.first[t * b..(t + 1) * b];
            let mut action = actions.narrow(0, t * b, b)?;
            if first.contains(&true) {
                // At an episode's start: no state, and no action that led to it.
                let keep = first.iter().map(|&f| if f { 0.0 } else { 1.0 }).collect();
                let keep = self.matrix(keep, 1)?;
                h = h.broadcast_mul(&keep)?;
                z = z.broadcast_mul(&keep)?;
                action = action.broadcast_mul(&keep)?;
            }
            let x = self.input.forward(&Tensor::cat(&[&z, &action.contiguous()?], 1)?)?;
            h = self.gru.step(&x, &h)?;
            let posterior = self
                .posterior
                .forward(&Tensor::cat(&[&h, &embedded.narrow(0, t * b, b)?.contiguous()?], 1)?)?;
            let distribution = self.categorical(&posterior)?;
            let classes = distribution.sample(rng)?; // [B, G]
            z = distribution.straight_through(&classes)?.reshape((b, w.stoch()))?;
            latents.deter.extend(h.flatten_all()?.to_vec1::<f32>()?);
            latents.classes.extend(classes.flatten_all()?.to_vec1::<u32>()?);
            deters.push(h.clone());
            logits.push(posterior);
            stochs.push(z.clone());
        }
        Ok((Tensor::cat(&deters, 0)?, Tensor::cat(&logits, 0)?, Tensor::cat(&stochs, 0)?, latents))
    }

    /// Zero states of so many rows.
    pub fn initial(&self, rows: usize) -> Latents {
        let w = &self.config.widths;
        Latents { deter: vec![0.0; rows * w.deter], classes: vec![Latents::NONE; rows * w.groups] }
    }
}

impl Persist for WorldModel {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        NAMES.iter().zip(self.modules()).try_for_each(|(name, p)| p.save(&format!("{prefix}/{name}"), state))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let mut modules = NAMES.iter().zip(self.modules());
        modules.try_for_each(|(name, p)| p.clone().load(&format!("{prefix}/{name}"), state))
    }
}
