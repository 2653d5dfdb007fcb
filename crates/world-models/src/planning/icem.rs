//! iCEM (Pinneri et al. 2020): CEM with noise that is correlated in time, populations that shrink, and elites that are
//! kept within a step and shifted into the next.
//!
//! Noise of a sequence has the power spectrum f^−β (Timmer and König 1995), unit variance at every step. Populations:
//! max(2 K, N ξ^−i). The mean of the proposal is itself a candidate in the last iteration.

use super::cem::refit;
use crate::Result;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::Error;
use serde::{Deserialize, Serialize};

/// Settings of iCEM; the defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Icem {
    /// β, the exponent of the noise: 0 is white, 2 a random walk (paper: 0.25 to 4 by task).
    pub noise_exponent: f64,
    /// ξ, the factor by which the population shrinks per iteration (paper: 1.25).
    pub population_decay: f64,
    /// Fraction of the elites that stay candidates (paper: 0.3).
    pub keep_fraction: f64,
    /// α, the weight of the old mean and variance (paper: 0.1).
    pub momentum: f64,
    /// Initial standard deviation as a fraction of half the range (paper: 0.5).
    pub initial_std: f64,
    /// Smallest standard deviation.
    pub min_std: f64,
}

impl Default for Icem {
    fn default() -> Self {
        Self {
            noise_exponent: 2.0,
            population_decay: 1.25,
            keep_fraction: 0.3,
            momentum: 0.1,
            initial_std: 0.5,
            min_std: 1e-3,
        }
    }
}

impl Icem {
    pub(super) fn validate(&self) -> Result<()> {
        let checks = [
            ("noise_exponent", self.noise_exponent, self.noise_exponent >= 0.0, "at least 0"),
            ("population_decay", self.population_decay, self.population_decay >= 1.0, "at least 1"),
            ("keep_fraction", self.keep_fraction, (0.0..=1.0).contains(&self.keep_fraction), "in [0, 1]"),
            ("momentum", self.momentum, (0.0..1.0).contains(&self.momentum), "in [0, 1)"),
            ("initial_std", self.initial_std, self.initial_std > 0.0, "positive"),
            ("min_std", self.min_std, self.min_std >= 0.0, "not negative"),
        ];
        for (field, value, holds, allowed) in checks {
            if !holds {
                return Err(Error::config("planner.icem", field, value, allowed).into());
            }
        }
        Ok(())
    }

    /// Candidates of an iteration, counted from 0.
    pub fn population(&self, candidates: usize, elites: usize, iteration: usize) -> usize {
        let shrunk = candidates as f64 / self.population_decay.powi(iteration as i32);
        (shrunk as usize).max(2 * elites).min(candidates)
    }

    pub(super) fn sample(
        &self,
        mean: &[f32],
        std: &[f32],
        width: usize,
        sequences: &mut [f32],
        rng: &mut impl Rng,
    ) {
        let (n, horizon) = (mean.len(), mean.len() / width);
        let generator = Coloured::new(horizon, self.noise_exponent);
        let mut noise = vec![0.0; horizon];
        for row in sequences.chunks_exact_mut(n) {
            for dimension in 0..width {
                generator.sample(&mut noise, rng);
                for (t, z) in noise.iter().enumerate() {
                    let j = t * width + dimension;
                    row[j] = mean[j] + std[j] * *z as f32;
                }
            }
        }
    }
}

pub(super) fn learn(config: &Icem, elites: &[f32], mean: &mut [f32], std: &mut [f32]) {
    refit(elites, config.momentum, config.momentum, config.min_std, mean, std);
}

/// Amplitudes f^(−β/2) at the frequencies k/n, k = 0..n/2, with f not below 1/n.
pub fn noise_amplitudes(n: usize, exponent: f64) -> Vec<f64> {
    let lowest = 1.0 / n as f64;
    (0..=n / 2).map(|k| (k as f64 / n as f64).max(lowest).powf(-exponent / 2.0)).collect()
}

/// The standard deviation that the amplitudes give a sample: (2/n) √(Σ_{k≥1} w_k²), the highest frequency counted half
/// (in amplitude) for even n.
pub fn noise_sigma(n: usize, amplitudes: &[f64]) -> f64 {
    let last = amplitudes.len() - 1;
    let nyquist = (1 + n % 2) as f64 / 2.0;
    let weight = |k: usize| amplitudes[k] * if k == last { nyquist } else { 1.0 };
    2.0 * (1..=last).map(|k| weight(k) * weight(k)).sum::<f64>().sqrt() / n as f64
}

/// One sequence of `n` numbers with spectrum f^−β.
pub fn coloured_noise(n: usize, exponent: f64, rng: &mut impl Rng) -> Vec<f64> {
    let mut noise = vec![0.0; n];
    Coloured::new(n, exponent).sample(&mut noise, rng);
    noise
}

/// Amplitudes and the cosine table of an inverse real Fourier transform. Horizons are short, so the transform is the
/// plain sum.
struct Coloured {
    amplitudes: Vec<f64>,
    sigma: f64,
    cosine: Vec<f64>,
    sine: Vec<f64>,
}

impl Coloured {
    fn new(n: usize, exponent: f64) -> Self {
        let amplitudes = noise_amplitudes(n, exponent);
        let sigma = if n == 1 { 1.0 } else { noise_sigma(n, &amplitudes) };
        let angle = |i: usize| std::f64::consts::TAU * i as f64 / n as f64;
        let cosine = (0..n).map(|i| angle(i).cos()).collect();
        let sine = (0..n).map(|i| angle(i).sin()).collect();
        Self { amplitudes, sigma, cosine, sine }
    }

    fn sample(&self, noise: &mut [f64], rng: &mut impl Rng) {
        let n = noise.len();
        if n == 1 {
            noise[0] = rng.sample(StandardNormal);
            return;
        }
        noise.fill(0.0);
        for (k, amplitude) in self.amplitudes.iter().enumerate() {
            let (mut re, mut im): (f64, f64) = (rng.sample(StandardNormal), rng.sample(StandardNormal));
            // Real at both ends of the spectrum, with the power of both parts.
            let end = k == 0 || 2 * k == n;
            if end {
                (re, im) = (re * std::f64::consts::SQRT_2, 0.0);
            }
            let scale = amplitude * if end { 1.0 } else { 2.0 } / (n as f64 * self.sigma);
            for (t, x) in noise.iter_mut().enumerate() {
                let i = (k * t) % n;
                *x += scale * (re * self.cosine[i] - im * self.sine[i]);
            }
        }
    }
}
