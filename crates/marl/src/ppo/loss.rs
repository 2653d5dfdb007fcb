//! The clipped losses, and one optimiser step of a team.

use super::{Config, Team, ValueNorm};
use crate::{Result, gumbel};
use candle_core::{D, Device, Tensor};
use rand::RngExt;
use rl_core::StreamRng;
use rl_core::optim::backward;

/// Rows of experience of a team, one member after another: R = members · T · B.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) agents: usize,
    /// `[R, input + noise]`.
    pub(super) policy_rows: Vec<f32>,
    /// `[R, seen]`.
    pub(super) critic_rows: Vec<f32>,
    /// `[R]` indices or `[R, A]` vectors.
    pub(super) actions: Vec<f32>,
    /// `[R]`.
    pub(super) log_probs: Vec<f32>,
    /// `[R]`, in units of returns and then normalised.
    pub(super) advantages: Vec<f64>,
    /// `[R]`, likewise.
    pub(super) returns: Vec<f64>,
    /// `[R]`: values when the steps were taken, likewise.
    pub(super) values: Vec<f64>,
    /// `[R]`: 1 where the agent acted.
    pub(super) acted: Vec<f32>,
    /// `[R, A]`: added to logits, so that actions an agent does not have get no probability; empty if it has all.
    pub(super) hidden: Vec<f32>,
    pub(super) continuous: bool,
}

impl Sample {
    /// Appends what one member cannot do in its `count` rows: beyond its `width` of `stride` actions, and what is masked.
    pub(super) fn hide(&mut self, masks: &[bool], width: usize, stride: usize, count: usize) {
        let before = self.values.len().max(self.acted.len()) - count;
        if masks.is_empty() && width == stride && self.hidden.is_empty() {
            return;
        }
        // Members before this one had everything.
        self.hidden.resize(before * stride, 0.0);
        for r in 0..count {
            let start = self.hidden.len();
            self.hidden.resize(start + width, 0.0);
            gumbel::hide(
                &mut self.hidden[start..],
                masks.get(r * width..(r + 1) * width).unwrap_or_default(),
            );
            self.hidden.resize(start + stride, gumbel::UNAVAILABLE);
        }
    }

    /// Advantages to mean 0 and variance 1 over entries of agents that acted; values and returns by running statistics.
    pub(super) fn normalise(&mut self, advantages: bool, norm: Option<&ValueNorm>) {
        if advantages {
            let count = f64::from(self.acted.iter().sum::<f32>()).max(1.0);
            let weigh = |x: &[f64], f: &dyn Fn(f64) -> f64| {
                x.iter().zip(&self.acted).map(|(&x, &w)| f64::from(w) * f(x)).sum::<f64>() / count
            };
            let mean = weigh(&self.advantages, &|a| a);
            let sd = weigh(&self.advantages, &|a| (a - mean).powi(2)).sqrt();
            self.advantages.iter_mut().for_each(|a| *a = (*a - mean) / (sd + 1e-5));
        }
        if let Some(norm) = norm {
            self.values.iter_mut().chain(&mut self.returns).for_each(|v| *v = norm.normalise(*v));
        }
    }

    /// Row indices in random order, in so many parts; the rows of one moment stay together, one member after another.
    pub(super) fn parts(&self, parts: usize, rng: &mut StreamRng) -> Vec<Vec<usize>> {
        let moments = self.acted.len() / self.agents.max(1);
        let mut order: Vec<usize> = (0..moments).collect();
        if parts > 1 {
            (1..moments).rev().for_each(|i| order.swap(i, rng.random_range(0..=i)));
        }
        let all = |part: &[usize]| {
            (0..self.agents).flat_map(|k| part.iter().map(move |r| k * moments + r)).collect::<Vec<_>>()
        };
        order.chunks(moments.div_ceil(parts).max(1)).map(all).collect()
    }
}

/// A minibatch, ready for the networks. All `[R]` unless said.
#[derive(Debug)]
pub(super) struct Part {
    /// `[R, input + noise]`.
    policy_rows: Tensor,
    /// `[R, seen]`.
    critic_rows: Tensor,
    /// `[R, A]`: actions one-hot, or as vectors.
    actions: Tensor,
    /// `[R, A]`.
    hidden: Option<Tensor>,
    old_log_prob: Tensor,
    advantage: Tensor,
    old_value: Tensor,
    target: Tensor,
    weight: Tensor,
    continuous: bool,
}

impl Part {
    /// Every part of a sample in which somebody acted.
    pub(super) fn all(team: &Team, sample: &Sample, parts: &[Vec<usize>]) -> Result<Vec<Self>> {
        let acted = |rows: &&Vec<usize>| rows.iter().any(|&r| sample.acted[r] > 0.0);
        parts.iter().filter(acted).map(|rows| Self::new(team, sample, rows)).collect()
    }

    fn new(team: &Team, sample: &Sample, rows: &[usize]) -> Result<Self> {
        let (n, width) = (rows.len(), team.set.action);
        let matrix = |data: &[f32], width: usize| -> Result<Tensor> {
            let picked: Vec<f32> =
                rows.iter().flat_map(|&r| &data[r * width..(r + 1) * width]).copied().collect();
            Ok(Tensor::from_vec(picked, (n, width), &Device::Cpu)?)
        };
        let column = |value: &dyn Fn(usize) -> f32| -> Result<Tensor> {
            Ok(Tensor::from_vec(rows.iter().map(|&r| value(r)).collect::<Vec<_>>(), n, &Device::Cpu)?)
        };
        let actions = if sample.continuous {
            matrix(&sample.actions, width)?
        } else {
            let mut chosen = vec![0f32; n * width];
            rows.iter().enumerate().for_each(|(k, &r)| chosen[k * width + sample.actions[r] as usize] = 1.0);
            Tensor::from_vec(chosen, (n, width), &Device::Cpu)?
        };
        Ok(Self {
            policy_rows: matrix(&sample.policy_rows, team.set.input() + team.policy.noise())?,
            critic_rows: matrix(&sample.critic_rows, team.critic.inputs())?,
            actions,
            hidden: if sample.hidden.is_empty() { None } else { Some(matrix(&sample.hidden, width)?) },
            old_log_prob: column(&|r| sample.log_probs[r])?,
            advantage: column(&|r| sample.advantages[r] as f32)?,
            old_value: column(&|r| sample.values[r] as f32)?,
            target: column(&|r| sample.returns[r] as f32)?,
            weight: column(&|r| sample.acted[r])?,
            continuous: sample.continuous,
        })
    }
}

/// −mean of the clipped surrogate, entries weighted. All `[R]`.
pub(super) fn surrogate(
    log_prob: &Tensor,
    old: &Tensor,
    advantage: &Tensor,
    weight: &Tensor,
    clip: f64,
) -> Result<Tensor> {
    let ratio = (log_prob - old)?.exp()?;
    let clipped = ratio.clamp(1.0 - clip, 1.0 + clip)?;
    let gain = (&ratio * advantage)?.minimum(&(clipped * advantage)?)?;
    Ok(((gain * weight)?.sum_all()? / weight.sum_all()?)?.neg()?)
}

/// The larger of the Huber losses of the value and the clipped value. All `[R]`.
pub(super) fn value_loss(
    v: &Tensor,
    old: &Tensor,
    target: &Tensor,
    weight: &Tensor,
    clip: f64,
    delta: f64,
) -> Result<Tensor> {
    let huber = |error: Tensor| -> Result<Tensor> {
        let size = error.abs()?;
        let inside = size.minimum(delta)?;
        // ½ m² + δ (|e| − m) with m = min(|e|, δ).
        Ok(((inside.sqr()? * 0.5)? + ((size - inside)? * delta)?)?)
    };
    let near = (old + (v - old)?.clamp(-clip, clip)?)?;
    let worst = huber((v - target)?)?.maximum(&huber((near - target)?)?)?;
    Ok(((worst * weight)?.sum_all()? / weight.sum_all()?)?)
}

/// Log-probabilities of the actions and entropies, `[R]` each.
fn evaluate(team: &Team, part: &Part, out: &Tensor) -> Result<(Tensor, Tensor)> {
    if part.continuous {
        let (n, width) = out.dims2()?;
        let log_std = team.log_std.tensor().reshape((1, width))?;
        let z = (&part.actions - out)?.broadcast_div(&log_std.exp()?)?;
        let constant = 0.5 * std::f64::consts::TAU.ln();
        let log_prob = ((z.sqr()? * -0.5)?.broadcast_sub(&log_std)? - constant)?.sum(1)?;
        let entropy = (log_std.sum_all()? + width as f64 * (0.5 + constant))?.broadcast_as(n)?;
        return Ok((log_prob, entropy.contiguous()?));
    }
    let logits = match &part.hidden {
        Some(hidden) => (out + hidden)?,
        None => out.clone(),
    };
    let log_probs = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
    let entropy = (log_probs.exp()? * &log_probs)?.sum(1)?.neg()?;
    Ok(((log_probs * &part.actions)?.sum(1)?, entropy))
}

/// One step of policy and critic on a minibatch; returns policy loss, value loss and entropy.
pub(super) fn step(team: &mut Team, part: &Part, config: &Config) -> Result<[f64; 3]> {
    let Part { old_log_prob, advantage, old_value, target, weight, .. } = part;
    let (log_prob, entropy) = evaluate(team, part, &team.policy.forward(&part.policy_rows)?)?;
    let policy_loss = surrogate(&log_prob, old_log_prob, advantage, weight, config.clip)?;
    let entropy = ((entropy * weight)?.sum_all()? / weight.sum_all()?)?;
    let (policy, grads) = backward(&(policy_loss - (&entropy * config.entropy)?)?)?;
    team.policy_optimizer.step(&grads)?;
    let v = team.critic.forward(&part.critic_rows)?.squeeze(1)?;
    let loss = value_loss(&v, old_value, target, weight, config.clip, config.huber)?;
    let (value, grads) = backward(&loss)?;
    team.critic_optimizer.step(&grads)?;
    Ok([policy, value, f64::from(entropy.to_scalar::<f32>()?)])
}
