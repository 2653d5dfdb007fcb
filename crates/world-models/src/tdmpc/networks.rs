//! The networks and their losses.

use crate::Result;
use crate::checks::not_negative;
use candle_core::{D, DType, Device, Tensor};
use rl_core::dist::{Gaussian, TanhGaussian, TwoHot};
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::ops::simnorm;
use rl_core::nn::{Activation, Init, Mlp, MlpConfig, Norm, Params};
use rl_core::optim::polyak;
use rl_core::{Error, StreamRng};
use serde::{Deserialize, Serialize};

/// Widths and weights of the losses. The weights are the paper's, the widths those of small tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworksConfig {
    /// Width of z, a multiple of 8 (paper: 512).
    pub latent: usize,
    /// Width of the hidden layers, two in each network (paper: 512).
    pub hidden: usize,
    /// Members of the Q ensemble (5).
    pub members: usize,
    /// Bins of the two-hot heads, from −10 to 10 in symlog space (101).
    pub bins: usize,
    /// ρ, weight of each later step (0.5).
    pub rho: f64,
    /// Weight of the consistency of latents (20).
    pub consistency: f64,
    /// Weight of the reward's cross-entropy (0.1).
    pub reward: f64,
    /// Weight of the value's cross-entropy (0.1).
    pub value: f64,
    /// Weight of the policy's entropy (1e-4).
    pub entropy: f64,
}

impl Default for NetworksConfig {
    fn default() -> Self {
        Self {
            latent: 64,
            hidden: 96,
            members: 5,
            bins: 101,
            rho: 0.5,
            consistency: 20.0,
            reward: 0.1,
            value: 0.1,
            entropy: 1e-4,
        }
    }
}

/// Numbers in a simplex of the latent.
pub(super) const GROUP: usize = 8;
/// Bounds of ln σ of the policy.
const LOG_STD: (f64, f64) = (-10.0, 2.0);

impl NetworksConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        if self.latent == 0 || !self.latent.is_multiple_of(GROUP) {
            return Err(Error::config("tdmpc", "latent", self.latent, "a positive multiple of 8").into());
        }
        for (field, value, least) in
            [("hidden", self.hidden, 1), ("members", self.members, 2), ("bins", self.bins, 2)]
        {
            if value < least {
                return Err(
                    Error::config("tdmpc", field, value, "positive; members and bins at least 2").into()
                );
            }
        }
        let weights = [
            ("rho", self.rho),
            ("consistency", self.consistency),
            ("reward", self.reward),
            ("value", self.value),
            ("entropy", self.entropy),
        ];
        not_negative("tdmpc", weights)
    }
}

/// Replayed windows of H steps, time-major.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// H
    pub steps: usize,
    /// B
    pub batch: usize,
    /// `[(H + 1)·B, D]`
    pub observations: Vec<f32>,
    /// `[H·B, A]` in [−1, 1], taken *from* each observation but the last.
    pub actions: Vec<f32>,
    /// `[H·B]`
    pub rewards: Vec<f32>,
    /// `[H·B]`: the step ended the task.
    pub terminated: Vec<bool>,
}

/// The terms of the model's loss, each a scalar, and its latents.
pub struct Losses {
    /// What is minimised.
    pub total: Tensor,
    /// Mean squared distance of predicted and encoded latents, summed over steps.
    pub consistency: Tensor,
    /// Cross-entropy of the reward.
    pub reward: Tensor,
    /// Cross-entropy of all Q, averaged over members.
    pub value: Tensor,
    /// Latents z_0 … z_H of the model, without a graph, `[(H + 1)·B, L]`.
    pub latents: Tensor,
}

/// All networks.
pub struct Networks {
    pub(super) config: NetworksConfig,
    pub(super) encoder: Mlp,
    pub(super) dynamics: Mlp,
    pub(super) reward: Mlp,
    pub(super) q: Vec<Mlp>,
    slow: Vec<Mlp>,
    pub(super) policy: Mlp,
    pub(super) code: TwoHot,
    actions: usize,
    device: Device,
}

impl Networks {
    /// Draws the weights: truncated normal, the last layers of reward and Q at zero.
    ///
    /// # Errors
    /// If the configuration is invalid or the device cannot hold the weights.
    pub fn new(
        config: &NetworksConfig,
        (observation, actions): (usize, usize),
        device: &Device,
        rng: &mut StreamRng,
    ) -> Result<Self> {
        config.validate()?;
        let mut mlp = |inputs: usize, outputs: usize, output_init: Init| {
            let sizes = MlpConfig {
                activation: Activation::Mish,
                norm: Norm::Layer { eps: 1e-5 },
                init: Init::TruncatedNormal { gain: 1.0 },
                output_init,
                ..MlpConfig::relu(inputs, &[config.hidden, config.hidden], outputs)
            };
            Mlp::new(&sizes, device, rng)
        };
        let (z, drawn) = (config.latent, Init::TruncatedNormal { gain: 1.0 });
        let q: Vec<Mlp> = (0..config.members)
            .map(|_| mlp(z + actions, config.bins, Init::Zeros))
            .collect::<rl_core::Result<_>>()?;
        Ok(Self {
            encoder: mlp(observation, z, drawn)?,
            dynamics: mlp(z + actions, z, drawn)?,
            reward: mlp(z + actions, config.bins, Init::Zeros)?,
            policy: mlp(z, 2 * actions, Init::TruncatedNormal { gain: 0.1 })?,
            slow: q.iter().map(Mlp::duplicate).collect::<rl_core::Result<_>>()?,
            q,
            code: TwoHot::td_mpc2(-10.0, 10.0, config.bins)?,
            actions,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// What the model's loss trains: encoder, dynamics, reward, Q.
    pub fn model_modules(&self) -> Vec<&Params> {
        [self.encoder.params(), self.dynamics.params(), self.reward.params()]
            .into_iter()
            .chain(self.q.iter().map(Mlp::params))
            .collect()
    }

    /// What the policy's loss trains.
    pub fn policy_modules(&self) -> [&Params; 1] {
        [self.policy.params()]
    }

    fn tensor(&self, values: &[f32], width: usize) -> Result<Tensor> {
        Ok(Tensor::from_slice(values, (values.len() / width, width), &self.device)?)
    }

    /// Latents of observations `[M, D]`.
    fn encode(&self, observations: &Tensor) -> Result<Tensor> {
        Ok(simnorm(&self.encoder.forward(observations)?, GROUP)?)
    }

    /// The policy at latents `[M, L]`; its parameters are trained only with `train`.
    fn policy_at(&self, z: &Tensor, train: bool) -> Result<TanhGaussian> {
        let y = if train { self.policy.forward(z)? } else { self.policy.forward_frozen(z)? };
        let half = |i: usize| y.narrow(1, i * self.actions, self.actions)?.contiguous();
        // ln σ between its bounds: low + (high − low)/2 (tanh + 1), as in the reference.
        let log_std = ((half(1)?.tanh()? + 1.0)? * (0.5 * (LOG_STD.1 - LOG_STD.0)))?;
        Ok(TanhGaussian::new(Gaussian::new(half(0)?, (log_std + LOG_STD.0)?.exp()?)?))
    }

    /// Targets y of every step, `[H·B]`, from the encodings of the observations after it and the slow Q `pair`.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn targets(
        &self,
        windows: &Windows,
        gamma: f64,
        pair: [usize; 2],
        rng: &mut StreamRng,
    ) -> Result<Vec<f32>> {
        let width = self.encoder.inputs();
        let next = self.tensor(&windows.observations[windows.batch * width..], width)?;
        let z = simnorm(&self.encoder.forward_frozen(&next)?, GROUP)?.detach();
        let (action, _) = self.policy_at(&z, false)?.sample(rng)?;
        let za = Tensor::cat(&[&z, &action.detach()], 1)?;
        let value = |k: usize| -> Result<Vec<f32>> {
            Ok(self.code.predict(&self.slow[pair[k]].forward_frozen(&za)?)?.to_vec1()?)
        };
        let (a, b) = (value(0)?, value(1)?);
        let target = |i: usize| {
            let future = if windows.terminated[i] { 0.0 } else { gamma as f32 * a[i].min(b[i]) };
            windows.rewards[i] + future
        };
        Ok((0..windows.rewards.len()).map(target).collect())
    }

    /// The model's loss on windows, given the targets of Q.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn loss(&self, windows: &Windows, targets: &[f32]) -> Result<Losses> {
        let (h, b, c) = (windows.steps, windows.batch, &self.config);
        let observations = self.tensor(&windows.observations, self.encoder.inputs())?;
        let encoded = simnorm(&self.encoder.forward_frozen(&observations)?, GROUP)?.detach();
        let actions = self.tensor(&windows.actions, self.actions)?;
        let mut z = self.encode(&observations.narrow(0, 0, b)?.contiguous()?)?;
        let mut latents = vec![z.clone()];
        let mut consistency = Tensor::zeros((), DType::F32, &self.device)?;
        for t in 0..h {
            let action = actions.narrow(0, t * b, b)?.contiguous()?;
            z = simnorm(&self.dynamics.forward(&Tensor::cat(&[&z, &action], 1)?)?, GROUP)?;
            let error = (&z - encoded.narrow(0, (t + 1) * b, b)?)?.sqr()?.mean_all()?;
            consistency = (consistency + (error * c.rho.powi(t as i32))?)?;
            latents.push(z.clone());
        }
        let all = Tensor::cat(&latents, 0)?;
        let za = Tensor::cat(&[&all.narrow(0, 0, h * b)?.contiguous()?, &actions], 1)?;
        let weights: Vec<f32> =
            (0..h * b).map(|i| (c.rho.powi((i / b) as i32) / (b * h) as f64) as f32).collect();
        let weights = Tensor::from_vec(weights, h * b, &self.device)?;
        let vector = |x: &[f32]| Tensor::from_slice(x, h * b, &self.device);
        let cross = |logits: &Tensor, target: &Tensor| -> Result<Tensor> {
            Ok((self.code.loss(logits, target)? * &weights)?.sum_all()?)
        };
        let reward = cross(&self.reward.forward(&za)?, &vector(&windows.rewards)?)?;
        let targets = vector(targets)?;
        let mut value = Tensor::zeros((), DType::F32, &self.device)?;
        for q in &self.q {
            value = (value + (cross(&q.forward(&za)?, &targets)? * (1.0 / self.q.len() as f64))?)?;
        }
        // The reference averages the consistency over the horizon as well.
        let consistency = (consistency * (1.0 / h as f64))?;
        let total = (((&consistency * c.consistency)? + (&reward * c.reward)?)? + (&value * c.value)?)?;
        Ok(Losses { total, consistency, reward, value, latents: all.detach() })
    }

    /// The policy's loss at latents `[(H + 1)·B, L]`, which are constants, and the Q that it sees at the first B of them.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn policy_loss(
        &self,
        latents: &Tensor,
        batch: usize,
        scale: f64,
        pair: [usize; 2],
        rng: &mut StreamRng,
    ) -> Result<(Tensor, Vec<f32>)> {
        let rows = latents.dim(0)?;
        let (action, log_prob) = self.policy_at(latents, true)?.sample(rng)?;
        let za = Tensor::cat(&[latents, &action], 1)?;
        let q =
            |k: usize| -> Result<Tensor> { Ok(self.code.predict(&self.q[pair[k]].forward_frozen(&za)?)?) };
        let q = ((q(0)? + q(1)?)? * 0.5)?;
        let weight = |i: usize| (self.config.rho.powi((i / batch) as i32) / rows as f64) as f32;
        let weights = Tensor::from_vec((0..rows).map(weight).collect::<Vec<_>>(), rows, &self.device)?;
        let objective = ((&q * (1.0 / scale))? - (log_prob * self.config.entropy)?)?;
        let first = q.detach().narrow(D::Minus1, 0, batch)?.to_vec1()?;
        Ok(((objective * weights)?.sum_all()?.neg()?, first))
    }

    /// Moves the slow Q.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn follow(&self, tau: f64) -> Result<()> {
        self.slow.iter().zip(&self.q).try_for_each(|(slow, q)| polyak(slow.params(), q.params(), tau))?;
        Ok(())
    }

    fn named(&self) -> Vec<(String, &Mlp)> {
        let single = [
            ("encoder", &self.encoder),
            ("dynamics", &self.dynamics),
            ("reward", &self.reward),
            ("policy", &self.policy),
        ];
        let q = self.q.iter().enumerate().map(|(i, q)| (format!("q{i}"), q));
        let slow = self.slow.iter().enumerate().map(|(i, q)| (format!("slow{i}"), q));
        single.into_iter().map(|(name, m)| (name.to_string(), m)).chain(q).chain(slow).collect()
    }
}

impl Persist for Networks {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.named().iter().try_for_each(|(name, m)| m.save(&format!("{prefix}/{name}"), state))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.named()
            .iter()
            .try_for_each(|(name, m)| m.params().clone().load(&format!("{prefix}/{name}"), state))
    }
}
