//! The clipped losses, and one optimiser step of a team. Losses and their gradients are computed row by row, on slices;
//! tests hold them against the same losses out of tensor operations.

use super::policy::Policy;
use super::{Config, Team, ValueNorm};
use crate::{Result, gumbel};
use candle_core::{Device, Tensor};
use rand::RngExt;
use rl_core::nn::Mlp;
use rl_core::nn::kernel::Real;
use rl_core::nn::mlp::Tape;
use rl_core::{StreamRng, vectorised};

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

/// A minibatch: the picked rows of a [`Sample`]. All `[R]` unless said.
#[derive(Debug)]
pub(super) struct Part {
    /// `[R, input + noise]`.
    policy_rows: Vec<f32>,
    /// `[R, seen]`.
    critic_rows: Vec<f32>,
    /// `[R]` indices or `[R, A]` vectors.
    actions: Vec<f32>,
    /// `[R, A]`, or empty.
    hidden: Vec<f32>,
    old_log_prob: Vec<f32>,
    advantage: Vec<f32>,
    old_value: Vec<f32>,
    target: Vec<f32>,
    weight: Vec<f32>,
    continuous: bool,
}

impl Part {
    /// Every part of a sample in which somebody acted.
    pub(super) fn all(team: &Team, sample: &Sample, parts: &[Vec<usize>]) -> Vec<Self> {
        let acted = |rows: &&Vec<usize>| rows.iter().any(|&r| sample.acted[r] > 0.0);
        parts.iter().filter(acted).map(|rows| Self::new(team, sample, rows)).collect()
    }

    fn new(team: &Team, sample: &Sample, rows: &[usize]) -> Self {
        let width = team.set.action;
        let matrix = |data: &[f32], width: usize| -> Vec<f32> {
            rows.iter().flat_map(|&r| &data[r * width..(r + 1) * width]).copied().collect()
        };
        let column = |value: &[f64]| -> Vec<f32> { rows.iter().map(|&r| value[r] as f32).collect() };
        Self {
            policy_rows: matrix(&sample.policy_rows, team.set.input() + team.policy.noise()),
            critic_rows: matrix(&sample.critic_rows, team.critic.inputs()),
            actions: matrix(&sample.actions, if sample.continuous { width } else { 1 }),
            hidden: if sample.hidden.is_empty() { vec![] } else { matrix(&sample.hidden, width) },
            old_log_prob: matrix(&sample.log_probs, 1),
            advantage: column(&sample.advantages),
            old_value: column(&sample.values),
            target: column(&sample.returns),
            weight: matrix(&sample.acted, 1),
            continuous: sample.continuous,
        }
    }
}

/// −min(ρ A, clip(ρ, 1 ± ε) A) and its slope in ln ρ. Where both are equal, as in all of a first pass, the slope is that
/// of the unclipped term.
#[inline(always)]
fn surrogate(log_ratio: f32, advantage: f32, clip: f32) -> (f32, f32) {
    let ratio = log_ratio.fast_exp();
    let (plain, clipped) = (ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage);
    if plain <= clipped { (-plain, -plain) } else { (-clipped, 0.0) }
}

/// The larger of the Huber losses of a value and of the clipped value, and its slope in the value.
#[inline(always)]
fn value_loss(v: f32, old: f32, target: f32, clip: f32, delta: f32) -> (f32, f32) {
    // ½ m² + δ (|e| − m) with m = min(|e|, δ).
    let huber = |error: f32| {
        let size = error.abs();
        let inside = size.min(delta);
        0.5 * inside * inside + delta * (size - inside)
    };
    let slope = |error: f32| error.clamp(-delta, delta);
    let moved = v - old;
    let near = old + moved.clamp(-clip, clip);
    let (plain, clipped) = (huber(v - target), huber(near - target));
    match plain >= clipped {
        true => (plain, slope(v - target)),
        false => (clipped, if moved.abs() <= clip { slope(near - target) } else { 0.0 }),
    }
}

/// What a policy's outputs are worth: sums over rows of loss and entropy, and the gradient of ln σ.
struct PolicyLoss<'a> {
    part: &'a Part,
    config: &'a Config,
    log_std: &'a [f32],
    /// 1 / Σ weights.
    share: f32,
    loss: f64,
    entropy: f64,
    dlog_std: Vec<f32>,
}

vectorised! {
    /// Adds the rows from `first` on, whose outputs are `[.., A]`, and turns these into the gradient of the mean.
    fn judge(all: &mut PolicyLoss<'_>, first: usize, out: &mut [f32]) {
        let PolicyLoss { part, config, log_std, share, .. } = *all;
        let (width, clip) = (log_std.len(), config.clip as f32);
        for (r, out) in (first..).zip(out.chunks_exact_mut(width)) {
            let weight = part.weight[r] * share;
            let (log_prob, entropy) = match part.continuous {
                true => gaussian(out, &part.actions[r * width..][..width], log_std),
                false => {
                    let hidden = part.hidden.get(r * width..(r + 1) * width).unwrap_or_default();
                    categorical(out, hidden, part.actions[r] as usize)
                }
            };
            let (loss, slope) = surrogate(log_prob - part.old_log_prob[r], part.advantage[r], clip);
            all.loss += f64::from(weight * loss);
            all.entropy += f64::from(weight * entropy);
            let (slope, bonus) = (weight * slope, weight * config.entropy as f32);
            if part.continuous {
                let action = &part.actions[r * width..][..width];
                gaussian_slope(out, action, log_std, slope, bonus, &mut all.dlog_std);
            } else {
                categorical_slope(out, part.actions[r] as usize, entropy, slope, bonus);
            }
        }
    }
}

/// ln π(a) and the entropy of a softmax; the logits become log-probabilities.
#[inline(always)]
fn categorical(logits: &mut [f32], hidden: &[f32], action: usize) -> (f32, f32) {
    logits.iter_mut().zip(hidden).for_each(|(l, h)| *l += h);
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|l| (l - largest).fast_exp()).sum();
    let shift = largest + sum.ln();
    logits.iter_mut().for_each(|l| *l -= shift);
    (logits[action], -logits.iter().map(|l| l.fast_exp() * l).sum::<f32>())
}

/// From log-probabilities to the gradient of `slope · ln π(a) − bonus · H`: ∂ln π(a)/∂l = 1ₐ − p, ∂H/∂l = −p (ln p + H).
#[inline(always)]
fn categorical_slope(log_probs: &mut [f32], action: usize, entropy: f32, slope: f32, bonus: f32) {
    for (j, l) in log_probs.iter_mut().enumerate() {
        let (p, chosen) = (l.fast_exp(), if j == action { 1.0 } else { 0.0 });
        *l = slope * (chosen - p) + bonus * p * (*l + entropy);
    }
}

/// ln π(a) and the entropy of a Gaussian with means `mean`.
#[inline(always)]
fn gaussian(mean: &[f32], action: &[f32], log_std: &[f32]) -> (f32, f32) {
    let constant = 0.5 * std::f32::consts::TAU.ln();
    let (mut log_prob, mut entropy) = (0.0, 0.0);
    for ((m, a), s) in mean.iter().zip(action).zip(log_std) {
        let z = (a - m) / s.exp();
        log_prob += -0.5 * z * z - s - constant;
        entropy += s + 0.5 + constant;
    }
    (log_prob, entropy)
}

/// From means to the gradient of `slope · ln π(a) − bonus · H`; that of ln σ is added to `dlog_std`.
#[inline(always)]
fn gaussian_slope(
    mean: &mut [f32],
    action: &[f32],
    log_std: &[f32],
    slope: f32,
    bonus: f32,
    dlog_std: &mut [f32],
) {
    for (((m, a), s), d) in mean.iter_mut().zip(action).zip(log_std).zip(dlog_std) {
        let z = (a - *m) / s.exp();
        *d += slope * (z * z - 1.0) - bonus;
        *m = slope * z / s.exp();
    }
}

/// Rows that go through a network and back together: what they leave stays in the second-level cache.
const BLOCK: usize = 192;

/// The gradient of a network's parameters for a loss on its outputs: `slope(first row, outputs)` turns the outputs of a
/// block of rows into their gradients.
fn gradient(
    network: &Mlp,
    rows: &[f32],
    tape: &mut Tape<f32>,
    mut slope: impl FnMut(usize, &mut [f32]),
) -> Result<Vec<f32>> {
    let mut sum = vec![0.0; network.params().len()];
    let mut down = vec![];
    network.params().with(|p| {
        for (i, rows) in rows.chunks(BLOCK * network.inputs()).enumerate() {
            down.clear();
            down.extend_from_slice(network.record(p, rows, tape));
            slope(i * BLOCK, &mut down);
            network.retrace(p, rows, tape, &mut down, Some(&mut sum), false);
        }
        Ok(())
    })?;
    Ok(sum)
}

/// One step of policy and critic on a minibatch; returns policy loss, value loss and entropy.
pub(super) fn step(team: &mut Team, part: &Part, config: &Config) -> Result<[f64; 3]> {
    let Team { policy, log_std, critic, policy_optimizer, critic_optimizer, tape, .. } = team;
    let share = 1.0 / part.weight.iter().sum::<f32>();
    let spread = log_std.to_vec::<f32>()?;
    let dlog_std = vec![0.0; spread.len()];
    let mut loss = PolicyLoss { part, config, log_std: &spread, share, loss: 0.0, entropy: 0.0, dlog_std };
    match policy {
        Policy::Alone(network) => {
            let all = gradient(network, &part.policy_rows, tape, |first, out| judge(&mut loss, first, out))?;
            policy_optimizer.step_slices(&[&all, &loss.dlog_std])?;
        }
        Policy::Team(network, _) => {
            // Messages go through a graph: Σ outputs · constants has the gradient of the loss.
            let rows = part.weight.len();
            let width = part.policy_rows.len() / rows.max(1);
            let inputs = Tensor::from_slice(&part.policy_rows, (rows, width), &Device::Cpu)?;
            let out = network.forward(&inputs, None)?.0;
            let mut slopes = out.flatten_all()?.to_vec1::<f32>()?;
            judge(&mut loss, 0, &mut slopes);
            let slopes = Tensor::from_vec(slopes, out.shape(), &Device::Cpu)?;
            let dlog_std = Tensor::from_slice(&loss.dlog_std, loss.dlog_std.len(), &Device::Cpu)?;
            let along = ((out * slopes)?.sum_all()? + (log_std.tensor() * dlog_std)?.sum_all()?)?;
            policy_optimizer.step(&along.backward()?)?;
        }
    }
    let mut value = 0.0;
    let all = gradient(critic, &part.critic_rows, tape, |first, out| {
        for (r, v) in (first..).zip(out) {
            let (clip, delta) = (config.clip as f32, config.huber as f32);
            let (loss, slope) = value_loss(*v, part.old_value[r], part.target[r], clip, delta);
            let weight = part.weight[r] * share;
            value += f64::from(weight * loss);
            *v = weight * slope;
        }
    })?;
    critic_optimizer.step_slices(&[&all])?;
    Ok([loss.loss - config.entropy * loss.entropy, value, loss.entropy])
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{D, Var};

    #[test]
    fn losses_by_hand() {
        // Ratio e with advantage 1 is clipped to 1.2 and has no slope, 1/e is kept.
        assert_eq!(surrogate(1.0, 1.0, 0.2), (-1.2, 0.0));
        let kept = (-1f32).exp();
        let (loss, slope) = surrogate(-1.0, 1.0, 0.2);
        assert!((loss + kept).abs() < 1e-6 && slope == loss);
        assert_eq!(
            (surrogate(0.0, 3.0, 0.2).1, surrogate(0.0, -3.0, 0.2).1),
            (-3.0, 3.0),
            "ties keep their slope"
        );
        // Errors 1, and 20 beyond δ = 10: ½ and 10 · (20 − 5).
        assert_eq!(value_loss(1.0, 1.0, 0.0, 0.2, 10.0), (0.5, 1.0));
        assert_eq!(value_loss(20.0, 20.0, 0.0, 0.2, 10.0), (150.0, 10.0));
        // Moved from 2 to 1, against a target of 0: the clipped value 1.8 is worse, and constant.
        let (loss, slope) = value_loss(1.0, 2.0, 0.0, 0.2, 10.0);
        assert!((loss - 0.5 * 1.8 * 1.8).abs() < 1e-6 && slope == 0.0);
    }

    fn wave(n: usize, f: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * f).sin()).collect()
    }

    fn part(rows: usize, width: usize, continuous: bool) -> Part {
        let mut hidden = vec![0.0; rows * width];
        hidden.iter_mut().step_by(width * 3).for_each(|h| *h = gumbel::UNAVAILABLE);
        Part {
            policy_rows: vec![],
            critic_rows: vec![],
            actions: if continuous {
                wave(rows * width, 0.9)
            } else {
                (0..rows).map(|r| (1 + r % (width - 1)) as f32).collect()
            },
            hidden,
            old_log_prob: wave(rows, 0.3).iter().map(|x| x - if continuous { 4.0 } else { 1.6 }).collect(),
            advantage: wave(rows, 1.7),
            old_value: wave(rows, 0.5),
            target: wave(rows, 0.8),
            weight: (0..rows).map(|r| if r % 5 == 4 { 0.0 } else { 1.0 }).collect(),
            continuous,
        }
    }

    /// The slow twin: the loss of the policy from tensor operations.
    fn composed(part: &Part, config: &Config, out: &Tensor, log_std: &Tensor) -> Tensor {
        let (rows, width) = out.dims2().unwrap();
        let column = |x: &[f32]| Tensor::from_slice(x, rows, &Device::Cpu).unwrap();
        let matrix = |x: &[f32]| Tensor::from_slice(x, (rows, x.len() / rows), &Device::Cpu).unwrap();
        let (log_prob, entropy) = if part.continuous {
            let log_std = log_std.reshape((1, width)).unwrap();
            let z = (matrix(&part.actions) - out).unwrap().broadcast_div(&log_std.exp().unwrap()).unwrap();
            let constant = 0.5 * std::f64::consts::TAU.ln();
            let density = (z.sqr().unwrap() * -0.5).unwrap().broadcast_sub(&log_std).unwrap();
            let entropy = (log_std.sum_all().unwrap() + width as f64 * (0.5 + constant)).unwrap();
            let log_prob = (density - constant).unwrap().sum(1).unwrap();
            (log_prob, entropy.broadcast_as(rows).unwrap().contiguous().unwrap())
        } else {
            let logits = (out + matrix(&part.hidden)).unwrap();
            let all = candle_nn::ops::log_softmax(&logits, D::Minus1).unwrap();
            let chosen = column(&part.actions).to_dtype(candle_core::DType::U32).unwrap();
            let entropy = (all.exp().unwrap() * &all).unwrap().sum(1).unwrap().neg().unwrap();
            let log_prob = all.gather(&chosen.unsqueeze(1).unwrap(), 1).unwrap().squeeze(1).unwrap();
            (log_prob, entropy)
        };
        let ratio = (log_prob - column(&part.old_log_prob)).unwrap().exp().unwrap();
        let gain =
            rl_core::nn::ops::clipped_surrogate(&ratio, &column(&part.advantage), config.clip).unwrap();
        let weight = column(&part.weight);
        let mean =
            |x: Tensor| ((x * &weight).unwrap().sum_all().unwrap() / weight.sum_all().unwrap()).unwrap();
        (mean(gain).neg().unwrap() - (mean(entropy) * config.entropy).unwrap()).unwrap()
    }

    #[test]
    fn the_loss_on_slices_equals_its_slow_twin_in_value_and_gradients() {
        let (rows, width) = (40, 5);
        let config = Config { entropy: 0.3, ..Config::default() };
        for continuous in [false, true] {
            let part = part(rows, width, continuous);
            let (mut out, log_std) = (wave(rows * width, 0.37), wave(width, 0.6));
            let var = Var::from_slice(&out, (rows, width), &Device::Cpu).unwrap();
            let spread = Var::from_slice(&log_std, width, &Device::Cpu).unwrap();
            let want = composed(&part, &config, &var, &spread);
            let grads = want.backward().unwrap();
            let share = 1.0 / part.weight.iter().sum::<f32>();
            let dlog_std = vec![0.0; width];
            let mut loss = PolicyLoss {
                part: &part,
                config: &config,
                log_std: &log_std,
                share,
                loss: 0.0,
                entropy: 0.0,
                dlog_std,
            };
            let (first, second) = out.split_at_mut(16 * width);
            judge(&mut loss, 0, first);
            judge(&mut loss, 16, second);
            let total = loss.loss - config.entropy * loss.entropy;
            assert!((total - f64::from(want.to_scalar::<f32>().unwrap())).abs() < 1e-5);
            let close = |a: &[f32], b: &Tensor| {
                let b = b.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert!(
                    a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(0.1)),
                    "{a:?} {b:?}"
                );
            };
            close(&out, grads.get(&var).unwrap());
            if continuous {
                close(&loss.dlog_std, grads.get(&spread).unwrap());
            }
        }
    }

    #[test]
    fn the_value_loss_has_the_slope_of_finite_differences() {
        for i in 0..200 {
            let x = i as f32;
            let (v, old, target) = ((x * 0.37).sin() * 3.0, (x * 0.91).sin() * 3.0, (x * 1.3).cos() * 3.0);
            let at = |v: f32| value_loss(v, old, target, 0.2, 1.0).0;
            let h = 1e-2;
            let (left, right) = ((at(v) - at(v - h)) / h, (at(v + h) - at(v)) / h);
            let slope = value_loss(v, old, target, 0.2, 1.0).1;
            // At a kink the slope is that of one side.
            let near = |d: f32| (d - slope).abs() < 2e-2;
            assert!(near(left) || near(right), "{v} {old} {target}: {left} {right} {slope}");
        }
    }
}
