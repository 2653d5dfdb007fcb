use super::*;
use crate::SeedStream;
use candle_core::{D, Device, Tensor, Var};
use rand::RngExt;

const CLIP: f64 = 0.2;

/// Reproducible numbers in [−scale, scale], multiples of 2⁻¹⁰ so that moving them by `differences`' step is exact.
fn numbers(n: usize, scale: f32, index: u64) -> Vec<f32> {
    let mut rng = SeedStream::new(11).stream("numbers", index);
    let draw = |_| (scale * (2.0 * rng.random::<f32>() - 1.0) * 1024.0).round() / 1024.0;
    (0..n).map(draw).collect()
}

/// Central differences of `f` at `x`.
fn differences(x: &[f32], f: impl Fn(&[f32]) -> f64) -> Vec<f64> {
    let h = 2f32.powi(-12);
    let at = |i: usize, d: f32| {
        let mut moved = x.to_vec();
        moved[i] += d;
        f(&moved)
    };
    (0..x.len()).map(|i| (at(i, h) - at(i, -h)) / (2.0 * f64::from(h))).collect()
}

fn assert_close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*g) - w).abs() < tolerance, "{what}[{i}]: {g} instead of {w}");
    }
}

struct Data {
    actions: Vec<f32>,
    log_probs: Vec<f32>,
    advantages: Vec<f32>,
}

impl Data {
    fn batch(&self, entropy_coefficient: f64) -> PolicyBatch<'_> {
        PolicyBatch {
            actions: &self.actions,
            log_probs: &self.log_probs,
            advantages: &self.advantages,
            clip: CLIP,
            entropy_coefficient,
        }
    }
}

/// A categorical minibatch whose old log-probabilities are the present ones plus `shift`.
fn categorical(b: usize, shift: f32) -> (Vec<f32>, Data) {
    let logits = numbers(b * 3, 2.0, 1);
    let actions: Vec<f32> = (0..b).map(|i| (i % 3) as f32).collect();
    let mut log_p = Vec::new();
    let log_probs = logits.chunks(3).zip(&actions).enumerate().map(|(i, (row, &a))| {
        log_softmax(row, &mut log_p);
        log_p[a as usize] as f32 + shift * (i as f32 - b as f32 / 2.0)
    });
    let log_probs = log_probs.collect();
    (logits, Data { actions, log_probs, advantages: numbers(b, 1.5, 2) })
}

#[test]
fn at_ratio_one_the_gradient_is_that_of_the_policy_gradient() {
    for advantage in [1.5, -0.5] {
        assert_eq!(surrogate(1.0, advantage, CLIP), (advantage, advantage));
        assert_eq!(surrogate(1.0, advantage, 0.0), (advantage, advantage));
        let h = 1e-6f64;
        let at = |r: f64| surrogate(r, advantage, CLIP).0;
        let slope = (at(h.exp()) - at((-h).exp())) / (2.0 * h);
        assert!((slope - surrogate(1.0, advantage, CLIP).1).abs() < 1e-8);
    }
    // All ratios are exactly 1, as in the first minibatch after a rollout.
    let (logits, data) = categorical(6, 0.0);
    let mut gradient = vec![0.0; logits.len()];
    let (_, statistics) = categorical_loss(&logits, &data.batch(0.0), &mut gradient);
    let want = differences(&logits, |l| categorical_loss(l, &data.batch(0.0), &mut vec![0.0; l.len()]).0);
    assert_close(&gradient, &want, 1e-4, "dlogits");
    assert_eq!(statistics.clip_fraction, 0.0);
    assert!(statistics.approx_kl.abs() < 1e-7);
}

#[test]
fn the_clip_stops_gains_and_never_losses() {
    assert_eq!(surrogate(1.5, 1.0, CLIP), (1.2, 0.0));
    assert_eq!(surrogate(0.5, -1.0, CLIP), (-0.8, 0.0));
    assert_eq!(surrogate(0.5, 1.0, CLIP), (0.5, 0.5));
    assert_eq!(surrogate(1.5, -1.0, CLIP), (-1.5, -1.5));
}

#[test]
fn categorical_gradients_equal_finite_differences_and_the_slow_twin() {
    let (logits, data) = categorical(7, 0.09);
    let batch = data.batch(0.03);
    let mut gradient = vec![0.0; logits.len()];
    let (loss, statistics) = categorical_loss(&logits, &batch, &mut gradient);
    assert!(statistics.clip_fraction > 0.0);
    let want = differences(&logits, |l| categorical_loss(l, &batch, &mut vec![0.0; l.len()]).0);
    assert_close(&gradient, &want, 1e-4, "dlogits");

    let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let tensor = |x: &[f32]| Tensor::from_vec(wide(x), x.len(), &Device::Cpu).unwrap();
    let x = Var::from_tensor(&tensor(&logits).reshape((7, 3)).unwrap()).unwrap();
    let log_p = candle_nn::ops::log_softmax(&x, D::Minus1).unwrap();
    let index = Tensor::from_vec(data.actions.iter().map(|&a| a as u32).collect(), (7, 1), &Device::Cpu);
    let log_prob = log_p.gather(&index.unwrap(), 1).unwrap().squeeze(1).unwrap();
    let ratio = (log_prob - tensor(&data.log_probs)).unwrap().exp().unwrap();
    let advantage = tensor(&data.advantages);
    let clipped = (ratio.clamp(1.0 - CLIP, 1.0 + CLIP).unwrap() * &advantage).unwrap();
    let surrogate = (ratio * &advantage).unwrap().minimum(&clipped).unwrap().mean_all().unwrap();
    let entropy = (log_p.exp().unwrap() * &log_p).unwrap().sum(1).unwrap().mean_all().unwrap().neg().unwrap();
    let twin = (surrogate.neg().unwrap() - (entropy * 0.03).unwrap()).unwrap();
    assert!((twin.to_scalar::<f64>().unwrap() - loss).abs() < 1e-9);
    let grads = twin.backward().unwrap();
    let want = grads.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_close(&gradient, &want, 1e-6, "dlogits");
}

#[test]
fn gaussian_gradients_equal_finite_differences() {
    let (b, width) = (5, 2);
    let (mean, log_std) = (numbers(b * width, 1.0, 3), vec![-0.25, 0.5]);
    let actions = numbers(b * width, 1.5, 4);
    let log_probs = mean
        .chunks(width)
        .zip(actions.chunks(width))
        .enumerate()
        .map(|(i, (m, a))| gaussian_log_prob(m, &log_std, a) as f32 + 0.11 * (i as f32 - 2.0))
        .collect();
    let data = Data { actions, log_probs, advantages: numbers(b, 1.5, 5) };
    let batch = data.batch(0.02);
    let loss = |mean: &[f32], log_std: &[f32]| {
        gaussian_loss(mean, log_std, &batch, &mut vec![0.0; b * width], &mut vec![0.0; width]).0
    };
    let (mut dmean, mut dlog_std) = (vec![0.0; b * width], vec![0.0; width]);
    let (_, statistics) = gaussian_loss(&mean, &log_std, &batch, &mut dmean, &mut dlog_std);
    assert!(statistics.clip_fraction > 0.0 && statistics.approx_kl > 0.0);
    assert_close(&dmean, &differences(&mean, |m| loss(m, &log_std)), 1e-4, "dmean");
    assert_close(&dlog_std, &differences(&log_std, |l| loss(&mean, l)), 1e-4, "dlog_std");
    let entropy: f64 =
        log_std.iter().map(|&l| f64::from(l) + 0.5 * (2.0 * std::f64::consts::PI).ln() + 0.5).sum();
    assert!((statistics.entropy - entropy).abs() < 1e-12);
}

#[test]
fn value_loss_hand_worked_and_by_finite_differences() {
    let (v, returns, old) = ([1.0, 1.0, 2.0], [2.0, 3.0, 2.0], [1.0, 0.0, 1.9]);
    let mut dv = [0.0; 3];
    assert!((value_loss(&v, &returns, &old, None, &mut dv) - 5.0 / 3.0).abs() < 1e-12);
    assert_close(&dv, &[-2.0 / 3.0, -4.0 / 3.0, 0.0], 1e-7, "dv");
    // The second moved by 1 > ε: its clipped error (0.2 − 3)² is the larger and does not depend on v.
    let loss = value_loss(&v, &returns, &old, Some(CLIP), &mut dv);
    assert!((loss - (1.0 + 2.8f64.powi(2)) / 3.0).abs() < 1e-9);
    assert_close(&dv, &[-2.0 / 3.0, 0.0, 0.0], 1e-7, "dv");
    let (v, returns, old) = (numbers(9, 1.0, 6), numbers(9, 1.0, 7), numbers(9, 1.0, 8));
    let mut dv = vec![0.0; 9];
    value_loss(&v, &returns, &old, Some(CLIP), &mut dv);
    let want = differences(&v, |v| value_loss(v, &returns, &old, Some(CLIP), &mut [0.0; 9]));
    assert_close(&dv, &want, 1e-4, "dv");
}

#[test]
fn normalised_advantages_and_explained_variance() {
    let mut advantages = [1.0, 3.0];
    normalize_advantages(&mut advantages);
    let root = 0.5f32.sqrt();
    assert!((advantages[0] + root).abs() < 1e-6 && (advantages[1] - root).abs() < 1e-6);
    let mut single = [4.0];
    normalize_advantages(&mut single);
    assert_eq!(single, [4.0]);
    assert_eq!(explained_variance(&[0.0, 0.0], &[1.0, 2.0]), 1.0);
    assert_eq!(explained_variance(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
}
