//! Actor and critic, and how they learn in imagination.

use super::model::{Sequences, WorldModel};
use super::rollout::Latents;
use crate::Result;
use crate::checks::{at_least_one, not_negative};
use candle_core::{DType, Device, Tensor};
use rand::RngExt;
use rand_distr::StandardNormal;
use rl_core::dist::{Categorical, bounded_normal};
use rl_core::env::Space;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::kernel::Real;
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, Params};
use rl_core::normalize::PercentileScale;
use rl_core::optim::polyak;
use rl_core::returns::{imagination_weights, lambda_return};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// How actor and critic learn. The defaults are the reference implementation's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BehaviourConfig {
    /// H, imagined steps (15).
    pub horizon: usize,
    /// λ of the returns (0.95).
    pub lambda: f64,
    /// η, weight of the policy's entropy (3e-4).
    pub entropy: f64,
    /// Weight of the cross-entropy to the slow critic's prediction (1).
    pub slow_scale: f64,
    /// How far the slow critic moves at every update (0.02).
    pub slow_rate: f64,
    /// Weight of the critic's loss on replayed steps (0.3).
    pub replay_scale: f64,
    /// Rate of the percentiles' running means (0.01).
    pub return_rate: f64,
    /// Share of the uniform distribution in a discrete policy (paper: 0.01).
    pub unimix: f64,
}

impl Default for BehaviourConfig {
    fn default() -> Self {
        Self {
            horizon: 15,
            lambda: 0.95,
            entropy: 3e-4,
            slow_scale: 1.0,
            slow_rate: 0.02,
            replay_scale: 0.3,
            return_rate: 0.01,
            unimix: 0.01,
        }
    }
}

impl BehaviourConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        at_least_one("dreamer.behaviour", [("horizon", self.horizon as u64)])?;
        let shares = [
            ("lambda", self.lambda),
            ("slow_rate", self.slow_rate),
            ("return_rate", self.return_rate),
            ("unimix", self.unimix),
        ];
        for (field, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::config("dreamer.behaviour", field, value, "in [0, 1]").into());
            }
        }
        let weights =
            [("entropy", self.entropy), ("slow_scale", self.slow_scale), ("replay_scale", self.replay_scale)];
        not_negative("dreamer.behaviour", weights)
    }
}

/// Imagined trajectories from N states, time-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dream {
    /// N
    pub rows: usize,
    /// `[(H + 1)·N, F]`
    pub features: Vec<f32>,
    /// `[H·N, A]`, the action taken *from* each state but the last; one-hot where actions are discrete.
    pub actions: Vec<f32>,
}

/// What the actor and the critic minimise, each a scalar tensor.
pub struct BehaviourLosses {
    /// Actor and critic, on imagined and replayed steps.
    pub total: Tensor,
    /// Of the actor.
    pub actor: Tensor,
    /// Of the critic, in imagination.
    pub critic: Tensor,
    /// Of the critic, on replay.
    pub replay: Tensor,
    /// Mean entropy of the policy.
    pub entropy: f64,
    /// Mean imagined return.
    pub imagined_return: f64,
}

/// Actor, critic and slow critic.
pub struct Behaviour {
    config: BehaviourConfig,
    space: Space,
    actor: Mlp,
    critic: Mlp,
    slow: Mlp,
    scale: PercentileScale,
    device: Device,
}

impl Behaviour {
    /// Networks on a model's features: the actor's last layer starts small (0.01), the critic's at zero.
    ///
    /// # Errors
    /// If the configuration is invalid or the device cannot hold the weights.
    pub fn new(
        config: &BehaviourConfig,
        model: &WorldModel,
        space: &Space,
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let w = &model.config().widths;
        let rng = &mut seeds.stream("behaviour", 0);
        let outputs = match space {
            Space::Discrete(n) => *n,
            Space::Box { low, .. } => 2 * low.len(),
        };
        let actor = w.mlp((w.feature(), outputs), 0.01, device, rng)?;
        let critic = w.mlp((w.feature(), model.config().bins), 0.0, device, rng)?;
        let mut scale = PercentileScale::default();
        scale.rate = config.return_rate;
        Ok(Self {
            slow: critic.duplicate()?,
            actor,
            critic,
            scale,
            config: config.clone(),
            space: space.clone(),
            device: device.clone(),
        })
    }

    /// What an optimiser steps: the actor and the critic.
    pub fn modules(&self) -> [&Params; 2] {
        [self.actor.params(), self.critic.params()]
    }

    /// Actions for features `[N, F]`, encoded `[N, A]`: one-hot, or reals in about [−1, 1]. Without noise the likeliest.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn act(&self, features: &[f32], explore: bool, rng: &mut StreamRng) -> Result<Vec<f32>> {
        let mut workspace = Workspace::default();
        let y = self.actor.predict(features, &mut workspace)?;
        Ok(match &self.space {
            Space::Discrete(n) => {
                let likeliest =
                    |row: &[f32]| (0..*n).fold(0, |m, i| if row[i] > row[m] { i } else { m }) as u32;
                let chosen = if explore {
                    super::rollout::draw_classes(y, *n, self.config.unimix as f32, rng)
                } else {
                    y.chunks_exact(*n).map(likeliest).collect()
                };
                Latents { deter: vec![], classes: chosen }.one_hot(*n)
            }
            Space::Box { low, .. } => {
                let a = low.len();
                let mut actions = Vec::with_capacity(y.len() / 2);
                for row in y.chunks_exact(2 * a) {
                    for (mean, raw) in row[..a].iter().zip(&row[a..]) {
                        let std = 0.9 * (raw + 2.0).sigmoid() + 0.1;
                        let noise: f32 = if explore { rng.sample(StandardNormal) } else { 0.0 };
                        actions.push(mean.fast_tanh() + std * noise);
                    }
                }
                actions
            }
        })
    }

    /// Imagines `horizon` steps from every row of `start`.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn dream(&self, model: &WorldModel, start: &Latents, rng: &mut StreamRng) -> Result<Dream> {
        let mut latents = start.clone();
        let mut dream = Dream { rows: latents.deter.len() / model.config().widths.deter, ..Dream::default() };
        for _ in 0..self.config.horizon {
            let features = model.features(&latents);
            let actions = self.act(&features, true, rng)?;
            dream.features.extend(features);
            model.imagine(&mut latents, &executed(&actions), rng)?;
            dream.actions.extend(actions);
        }
        dream.features.extend(model.features(&latents));
        Ok(dream)
    }

    /// ln π(a|s) and the entropy of imagined states but the last, `[H·N]`.
    fn policy_terms(&self, features: &Tensor, actions: &[f32]) -> Result<(Tensor, Tensor)> {
        let rows = features.dim(0)?;
        let y = self.actor.forward(features)?;
        match &self.space {
            Space::Discrete(n) => {
                let policy = Categorical::with_unimix(&y, self.config.unimix)?;
                let taken =
                    actions.chunks_exact(*n).map(|a| a.iter().position(|&x| x > 0.5).unwrap_or(0) as u32);
                let taken = Tensor::from_vec(taken.collect::<Vec<_>>(), rows, &self.device)?;
                Ok((policy.log_prob(&taken)?, policy.entropy()?))
            }
            Space::Box { low, .. } => {
                let a = low.len();
                let half = |i: usize| y.narrow(1, i * a, a)?.contiguous();
                let policy = bounded_normal(&half(0)?, &half(1)?, 0.1, 1.0)?;
                let taken = Tensor::from_slice(actions, (rows, a), &self.device)?;
                Ok((policy.log_prob(&taken)?, policy.entropy()?))
            }
        }
    }

    /// The losses of a dream that began at every replayed step, and of those steps; moves the returns' percentiles.
    /// Features are constants here: nothing flows back into the model.
    ///
    /// # Errors
    /// If the sizes do not fit, or a return is not finite.
    pub fn loss(
        &mut self,
        model: &WorldModel,
        dream: &Dream,
        windows: &Sequences,
    ) -> Result<BehaviourLosses> {
        let (n, h, f) = (dream.rows, self.config.horizon, model.config().widths.feature());
        let all = Tensor::from_slice(&dream.features, ((h + 1) * n, f), &self.device)?;
        let states = all.narrow(0, 0, h * n)?.contiguous()?;
        let values = model.code.predict(&self.critic.forward_frozen(&all)?)?.to_vec1::<f32>()?;
        let rewards = model.code.predict(&model.reward.forward_frozen(&all)?)?.detach().to_vec1::<f32>()?;
        let mut goes_on: Vec<f32> = model.continuation.forward_frozen(&all)?.flatten_all()?.to_vec1()?;
        goes_on.iter_mut().for_each(|c| *c = c.sigmoid());
        let never = vec![false; rewards.len()];
        let returns = lambda_return(&rewards, &values, &goes_on, &never, self.config.lambda, n)?; // [H, N]
        let weights = imagination_weights(&goes_on, 1.0, n)?;
        let scale = self.scale.update(&returns)?;

        let share = 1.0 / (h * n) as f32;
        let advantages: Vec<f32> = returns
            .iter()
            .zip(&values)
            .zip(&weights)
            .map(|((r, v), w)| share * w * (r - v) / scale as f32)
            .collect();
        let weights: Vec<f32> = weights[..h * n].iter().map(|w| share * w).collect();
        let column = |x: Vec<f32>| Tensor::from_vec(x, h * n, &self.device);
        let (advantages, weights) = (column(advantages)?, column(weights)?);
        let (log_probs, entropy) = self.policy_terms(&states, &dream.actions)?;
        let bonus = ((&entropy * &weights)?.sum_all()? * self.config.entropy)?;
        let actor = ((log_probs * advantages)?.sum_all()? + bonus)?.neg()?;
        let critic = self.critic_loss(model, &states, column(returns.clone())?, &weights)?;
        let replay = self.replay_loss(model, &all.narrow(0, 0, n)?.contiguous()?, &returns[..n], windows)?;
        let total = ((&actor + &critic)? + (&replay * self.config.replay_scale)?)?;
        let imagined_return = returns.iter().map(|&r| f64::from(r)).sum::<f64>() / returns.len() as f64;
        let entropy = f64::from(entropy.mean_all()?.to_scalar::<f32>()?);
        Ok(BehaviourLosses { total, actor, critic, replay, entropy, imagined_return })
    }

    /// Σ w (CE(v, R) + slow · CE(v, slow critic's prediction)).
    fn critic_loss(
        &self,
        model: &WorldModel,
        features: &Tensor,
        returns: Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        let logits = self.critic.forward(features)?;
        let slow = model.code.predict(&self.slow.forward_frozen(features)?)?.detach();
        let towards_slow = (model.code.loss(&logits, &slow)? * self.config.slow_scale)?;
        Ok(((model.code.loss(&logits, &returns)? + towards_slow)? * weights)?.sum_all()?)
    }

    /// The critic on replayed steps: λ-returns of the rewards that were paid, bootstrapped by the imagined return of every
    /// state; the trace is cut where an episode ends.
    fn replay_loss(
        &self,
        model: &WorldModel,
        features: &Tensor,
        imagined: &[f32],
        windows: &Sequences,
    ) -> Result<Tensor> {
        let (t, b) = (windows.steps, windows.batch);
        if t < 2 {
            return Ok(Tensor::zeros((), DType::F32, &self.device)?);
        }
        let discount = model.config().discount() as f32;
        let discounts: Vec<f32> =
            windows.terminated.iter().map(|&over| if over { 0.0 } else { discount }).collect();
        let returns =
            lambda_return(&windows.rewards, imagined, &discounts, &windows.last, self.config.lambda, b)?;
        let rows = (t - 1) * b;
        // An episode's last state has no future in the buffer.
        let weights: Vec<f32> =
            windows.last[..rows].iter().map(|&last| if last { 0.0 } else { 1.0 / rows as f32 }).collect();
        let weights = Tensor::from_vec(weights, rows, &self.device)?;
        let features = features.narrow(0, 0, rows)?.contiguous()?;
        self.critic_loss(model, &features, Tensor::from_vec(returns, rows, &self.device)?, &weights)
    }

    /// Moves the slow critic.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn follow(&self) -> Result<()> {
        Ok(polyak(self.slow.params(), self.critic.params(), self.config.slow_rate)?)
    }
}

/// Actions as the model and the environment see them: within [−1, 1].
pub(super) fn executed(actions: &[f32]) -> Vec<f32> {
    actions.iter().map(|a| a.clamp(-1.0, 1.0)).collect()
}

impl Persist for Behaviour {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.actor.save(&format!("{prefix}/actor"), state)?;
        self.critic.save(&format!("{prefix}/critic"), state)?;
        self.slow.save(&format!("{prefix}/slow"), state)?;
        self.scale.save(&format!("{prefix}/scale"), state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.actor.load(&format!("{prefix}/actor"), state)?;
        self.critic.load(&format!("{prefix}/critic"), state)?;
        self.slow.load(&format!("{prefix}/slow"), state)?;
        self.scale.load(&format!("{prefix}/scale"), state)
    }
}
