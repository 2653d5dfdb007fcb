//! The networks of I2A (Weber et al. 2017, figure 1): rollout encoder, model-free path, head, and the rollout policy.
//!
//! A rollout is encoded by an LSTM that reads its steps in reverse order, from the last imagined step to the first; the
//! encodings of all actions are joined with the features of the model-free path.

use super::imagination::Rollouts;
use crate::Result;
use candle_core::{DType, Device, Tensor};
use rl_core::nn::{Activation, Lstm, Mlp, MlpConfig, Params};
use rl_core::{Error, StreamRng};

/// Widths of the networks.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Features of an imagined step, before the LSTM.
    pub step: usize,
    /// Width of a rollout's encoding.
    pub encoding: usize,
    /// Hidden layer and features of the model-free path.
    pub free: Vec<usize>,
    /// Hidden layer of the head.
    pub head: usize,
    /// Hidden layer of the rollout policy.
    pub rollout_policy: usize,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { step: 64, encoding: 64, free: vec![128, 64], head: 128, rollout_policy: 64 }
    }
}

/// All trainable parts of the agent.
pub(super) struct Network {
    /// Absent in the model-free agent.
    encoder: Option<(Mlp, Lstm)>,
    free: Mlp,
    head: Mlp,
    pub(super) rollout_policy: Mlp,
    width: usize,
    actions: usize,
}

impl Network {
    /// The I2A network; without imagination the model-free path alone, its hidden layer widened until it has as many
    /// parameters as the full network.
    pub(super) fn new(
        config: &NetworkConfig,
        (width, actions): (usize, usize),
        imagines: bool,
        device: &Device,
        rng: &mut StreamRng,
    ) -> Result<Self> {
        let Some((&features, hidden)) = config.free.split_last() else {
            return Err(Error::config("i2a", "free", "no layer", "at least one").into());
        };
        let relu = |inputs: usize, hidden: &[usize], outputs: usize, rng: &mut StreamRng| {
            let sizes =
                MlpConfig { output_activation: Activation::Relu, ..MlpConfig::relu(inputs, hidden, outputs) };
            Mlp::new(&sizes, device, rng)
        };
        let head = |inputs: usize, rng: &mut StreamRng| {
            Mlp::new(&MlpConfig::relu(inputs, &[config.head], actions + 1), device, rng)
        };
        let rollout_policy =
            Mlp::new(&MlpConfig::relu(width, &[config.rollout_policy], actions), device, rng)?;
        let step = relu(width + 1, &[], config.step, rng)?;
        let lstm = Lstm::new(config.step, config.encoding, device, rng)?;
        let free = relu(width, hidden, features, rng)?;
        let joined = head(features + actions * config.encoding, rng)?;
        if imagines {
            return Ok(Self {
                encoder: Some((step, lstm)),
                free,
                head: joined,
                rollout_policy,
                width,
                actions,
            });
        }
        let target: usize =
            [step.params(), lstm.params(), free.params(), joined.params()].iter().map(|p| p.len()).sum();
        // One hidden layer of h and features of h: h (width + 1) + h (h + 1) + the head's h·head + …
        let size = |h: usize| {
            h * (width + 1) + h * (h + 1) + (h + 1) * config.head + (config.head + 1) * (actions + 1)
        };
        let h = (1..10_000).find(|&h| size(h) >= target).unwrap_or(10_000);
        Ok(Self {
            encoder: None,
            free: relu(width, &[h], h, rng)?,
            head: head(h, rng)?,
            rollout_policy,
            width,
            actions,
        })
    }

    /// What the policy gradient trains.
    pub(super) fn modules(&self) -> Vec<&Params> {
        let encoder = self.encoder.iter().flat_map(|(step, lstm)| [step.params(), lstm.params()]);
        encoder.chain([self.free.params(), self.head.params(), self.rollout_policy.params()]).collect()
    }

    /// Names of [`modules`](Self::modules) in a checkpoint.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let encoder: &[_] = if self.encoder.is_some() { &["step", "lstm"] } else { &[] };
        [encoder, &["free", "head", "rollout_policy"]].concat()
    }

    /// `[M, O]` observations and their rollouts to logits `[M, A]` and values `[M]`.
    pub(super) fn forward(&self, observations: &Tensor, rollouts: &Rollouts) -> Result<(Tensor, Tensor)> {
        let rows = observations.dim(0)?;
        let mut features = self.free.forward(observations)?;
        if let Some((step, lstm)) = &self.encoder {
            let encoded = self.encode(step, lstm, rows, rollouts, observations.device())?;
            features = Tensor::cat(&[&features, &encoded], 1)?;
        }
        let y = self.head.forward(&features)?;
        let logits = y.narrow(1, 0, self.actions)?.contiguous()?;
        Ok((logits, y.narrow(1, self.actions, 1)?.contiguous()?.flatten_all()?))
    }

    /// Encodings of the rollouts of `rows` observations, `[M, A · d]`.
    fn encode(
        &self,
        step: &Mlp,
        lstm: &Lstm,
        rows: usize,
        rollouts: &Rollouts,
        device: &Device,
    ) -> Result<Tensor> {
        let (depth, batch) = (rollouts.depth, rows * self.actions);
        let steps = Tensor::from_slice(&rollouts.steps, (depth * batch, self.width + 1), device)?;
        let features = step.forward(&steps)?; // [τ · M · A, F]
        let zeros = || Tensor::zeros((batch, lstm.hidden()), DType::F32, device);
        let (mut h, mut c) = (zeros()?, zeros()?);
        for t in (0..depth).rev() {
            (h, c) = lstm.step(&features.narrow(0, t * batch, batch)?, &h, &c)?;
        }
        Ok(h.reshape((rows, self.actions * lstm.hidden()))?)
    }
}
