//! The clipped losses, and one optimiser step of a team.

use super::{Config, Team, ValueNorm};
use crate::Result;
use candle_core::{D, Device, Tensor};
use rand::RngExt;
use rl_core::StreamRng;
use rl_core::optim::backward;

/// Rows of experience of a team.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// `[R, input]`.
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
    /// `[R]`: actions the agent has.
    pub(super) widths: Vec<usize>,
    pub(super) continuous: bool,
}

impl Sample {
    /// Advantages to mean 0 and variance 1 over entries of agents that acted; values and returns by running statistics.
    pub(super) fn normalise(&mut self, norm: Option<&ValueNorm>) {
        let count = f64::from(self.acted.iter().sum::<f32>()).max(1.0);
        let weigh = |x: &[f64], f: &dyn Fn(f64) -> f64| {
            x.iter().zip(&self.acted).map(|(&x, &w)| f64::from(w) * f(x)).sum::<f64>() / count
        };
        let mean = weigh(&self.advantages, &|a| a);
        let sd = weigh(&self.advantages, &|a| (a - mean).powi(2)).sqrt();
        self.advantages.iter_mut().for_each(|a| *a = (*a - mean) / (sd + 1e-5));
        if let Some(norm) = norm {
            self.values.iter_mut().chain(&mut self.returns).for_each(|v| *v = norm.normalise(*v));
        }
    }

    /// Row indices in random order, in so many parts.
    pub(super) fn parts(&self, parts: usize, rng: &mut StreamRng) -> Vec<Vec<usize>> {
        let n = self.acted.len();
        let mut order: Vec<usize> = (0..n).collect();
        if parts > 1 {
            (1..n).rev().for_each(|i| order.swap(i, rng.random_range(0..=i)));
        }
        order.chunks(n.div_ceil(parts).max(1)).map(<[usize]>::to_vec).collect()
    }
}

/// Rows of a flat buffer of the given width.
fn pick<T: Copy>(data: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    rows.iter().flat_map(|&r| &data[r * width..(r + 1) * width]).copied().collect()
}

fn column(values: impl Iterator<Item = f32>, n: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(values.collect::<Vec<f32>>(), n, &Device::Cpu)?)
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
fn evaluate(team: &Team, sample: &Sample, rows: &[usize], out: &Tensor) -> Result<(Tensor, Tensor)> {
    let (n, width) = out.dims2()?;
    if sample.continuous {
        let actions = Tensor::from_vec(pick(&sample.actions, width, rows), (n, width), &Device::Cpu)?;
        let log_std = team.log_std.tensor().reshape((1, width))?;
        let z = (actions - out)?.broadcast_div(&log_std.exp()?)?;
        let constant = 0.5 * std::f64::consts::TAU.ln();
        let log_prob = ((z.sqr()? * -0.5)?.broadcast_sub(&log_std)? - constant)?.sum(1)?;
        let entropy = (log_std.sum_all()? + width as f64 * (0.5 + constant))?.broadcast_as(n)?;
        return Ok((log_prob, entropy.contiguous()?));
    }
    // Actions an agent does not have get no probability.
    let mut masked = vec![0f32; n * width];
    let mut chosen = vec![0f32; n * width];
    for (k, &r) in rows.iter().enumerate() {
        masked[k * width + sample.widths[r]..(k + 1) * width].fill(-1e9);
        chosen[k * width + sample.actions[r] as usize] = 1.0;
    }
    let logits = (out + Tensor::from_vec(masked, (n, width), &Device::Cpu)?)?;
    let log_probs = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
    let chosen = Tensor::from_vec(chosen, (n, width), &Device::Cpu)?;
    let entropy = (log_probs.exp()? * &log_probs)?.sum(1)?.neg()?;
    Ok(((log_probs * chosen)?.sum(1)?, entropy))
}

/// One step of policy and critic on some rows; returns policy loss, value loss and entropy.
pub(super) fn step(team: &mut Team, sample: &Sample, rows: &[usize], config: &Config) -> Result<[f64; 3]> {
    let n = rows.len();
    let weight = column(rows.iter().map(|&r| sample.acted[r]), n)?;
    if weight.sum_all()?.to_scalar::<f32>()? == 0.0 {
        return Ok([0.0; 3]);
    }
    let inputs = pick(&sample.policy_rows, team.set.input(), rows);
    let out = team.policy.forward(&Tensor::from_vec(inputs, (n, team.set.input()), &Device::Cpu)?)?;
    let (log_prob, entropy) = evaluate(team, sample, rows, &out)?;
    let old = column(rows.iter().map(|&r| sample.log_probs[r]), n)?;
    let advantage = column(rows.iter().map(|&r| sample.advantages[r] as f32), n)?;
    let policy_loss = surrogate(&log_prob, &old, &advantage, &weight, config.clip)?;
    let entropy = ((entropy * &weight)?.sum_all()? / weight.sum_all()?)?;
    let (policy, grads) = backward(&(policy_loss - (&entropy * config.entropy)?)?)?;
    team.policy_optimizer.step(&grads)?;
    let seen = team.critic.inputs();
    let inputs = Tensor::from_vec(pick(&sample.critic_rows, seen, rows), (n, seen), &Device::Cpu)?;
    let v = team.critic.forward(&inputs)?.squeeze(1)?;
    let old = column(rows.iter().map(|&r| sample.values[r] as f32), n)?;
    let target = column(rows.iter().map(|&r| sample.returns[r] as f32), n)?;
    let (value, grads) = backward(&value_loss(&v, &old, &target, &weight, config.clip, config.huber)?)?;
    team.critic_optimizer.step(&grads)?;
    Ok([policy, value, f64::from(entropy.to_scalar::<f32>()?)])
}
