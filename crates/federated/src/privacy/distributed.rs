//! Noise that no single party knows: each client adds its part as integers before secure aggregation.
//!
//! A client's update becomes integers by: clipping to `S`, a random rotation (signs and a Walsh-Hadamard transform,
//! shared by all), scaling, and stochastic rounding repeated until the norm stays within a bound that the sensitivity
//! uses (Kairouz, Liu & Steinke 2021, algorithms 1 and 2). The noise is discrete Gaussian (same paper) or Skellam
//! (Agarwal, Kairouz & Liu 2021). Each client adds `1/t` of the variance, where `t` is the **fewest** survivors that
//! secure aggregation accepts, so that dropouts cannot eat into the guarantee.

use super::sampler::{DiscreteGaussian, Skellam};
use super::{Sampling, rdp};
use crate::error::{Error, Result, check};
use crate::kernel::norm;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};

/// Which integer noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseKind {
    /// Sums of discrete Gaussians are almost discrete Gaussian; the difference is accounted for.
    DiscreteGaussian,
    /// Sums of Skellam are Skellam exactly.
    Skellam,
}

/// Settings that clients and server share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistributedConfig {
    /// `S > 0`.
    pub clipping_norm: f64,
    /// `z > 0`: noise of the sum over `S`, at the fewest survivors.
    pub noise_multiplier: f64,
    /// `t ≥ 1`: secure aggregation gives nothing for fewer.
    pub fewest_survivors: usize,
    /// `N ≥ t`: most clients in a round, for the ring.
    pub most_clients: usize,
    /// `1/γ`: integers per unit of the update. More is finer, and needs a wider ring.
    pub scale: f64,
    /// Which noise.
    pub noise: NoiseKind,
    /// Seed of the shared rotation; public, different every round.
    pub rotation_seed: u64,
    /// `β ∈ (0, 1)`: probability that a rounding is repeated is at most this; the paper uses e^{−1/2}.
    pub rounding_bias: f64,
}

impl Default for DistributedConfig {
    fn default() -> Self {
        Self {
            clipping_norm: 1.0,
            noise_multiplier: 1.0,
            fewest_survivors: 1,
            most_clients: 1,
            scale: 65536.0,
            noise: NoiseKind::Skellam,
            rotation_seed: 0,
            rounding_bias: (-0.5f64).exp(),
        }
    }
}

/// Turns updates into noisy integers and sums of those back into updates.
#[derive(Clone, Debug)]
pub struct DistributedNoise {
    config: DistributedConfig,
    dimension: usize,
    padded: usize,
    noise: Sampler,
}

#[derive(Clone, Debug)]
enum Sampler {
    Gaussian(DiscreteGaussian),
    Skellam(Skellam),
}

impl Sampler {
    fn sample(&self, rng: &mut impl Rng) -> i64 {
        match self {
            Self::Gaussian(g) => g.sample(rng),
            Self::Skellam(s) => s.sample(rng),
        }
    }

    fn variance(&self) -> f64 {
        match self {
            Self::Gaussian(g) => g.variance_parameter(),
            Self::Skellam(s) => s.variance(),
        }
    }
}

impl DistributedNoise {
    /// For updates of `dimension` numbers.
    ///
    /// # Errors
    /// A setting out of range, or noise too small or too large in units of the grid.
    pub fn new(config: DistributedConfig, dimension: usize) -> Result<Self> {
        const NAME: &str = "distributed_noise";
        let c = &config;
        for (field, value) in
            [("clipping_norm", c.clipping_norm), ("noise_multiplier", c.noise_multiplier), ("scale", c.scale)]
        {
            check(value > 0.0 && value.is_finite(), NAME, field, value, "> 0")?;
        }
        check(c.fewest_survivors >= 1, NAME, "fewest_survivors", c.fewest_survivors, "≥ 1")?;
        check(
            c.most_clients >= c.fewest_survivors,
            NAME,
            "most_clients",
            c.most_clients,
            "≥ fewest_survivors",
        )?;
        check(
            c.rounding_bias > 0.0 && c.rounding_bias < 1.0,
            NAME,
            "rounding_bias",
            c.rounding_bias,
            "in (0, 1)",
        )?;
        check((1..=1 << 30).contains(&dimension), NAME, "dimension", dimension, "in 1..=2^30")?;
        let variance = (c.noise_multiplier * c.clipping_norm * c.scale).powi(2) / c.fewest_survivors as f64;
        let noise = match c.noise {
            NoiseKind::DiscreteGaussian => Sampler::Gaussian(DiscreteGaussian::with_variance(variance)?),
            NoiseKind::Skellam => Sampler::Skellam(Skellam::new(variance)?),
        };
        Ok(Self { padded: dimension.next_power_of_two(), dimension, config, noise })
    }

    /// Length of an encoded update: the dimension padded to a power of two.
    pub fn encoded_length(&self) -> usize {
        self.padded
    }

    /// The largest norm of a rounded update, in grid units:
    /// `Δ₂² = min{(c + √d)², c² + d/4 + √(2 ln(1/β)) (c + √d/2)}`, `c = S · scale`.
    pub fn sensitivity(&self) -> f64 {
        let (c, d) = (self.config.clipping_norm * self.config.scale, self.padded as f64);
        let worst = (c + d.sqrt()).powi(2);
        let likely =
            c * c + d / 4.0 + (2.0 * (1.0 / self.config.rounding_bias).ln()).sqrt() * (c + d.sqrt() / 2.0);
        worst.min(likely).sqrt()
    }

    /// The largest magnitude a single integer may have so that the sum of `most_clients` stays inside a ring of
    /// `ring_bits`: `⌊(2^{bits−1} − 1) / N⌋`.
    pub fn magnitude_limit(&self, ring_bits: u32) -> i64 {
        (((1i64 << (ring_bits.clamp(2, 62) - 1)) - 1) / self.config.most_clients.max(1) as i64).max(0)
    }

    /// Clips, rotates, rounds, adds noise. Integers are cut to [`DistributedNoise::magnitude_limit`], so the sum
    /// cannot wrap; with a ring sized for it that never happens to honest data.
    ///
    /// # Errors
    /// Another length, or a limit below eight standard deviations of an integer (the ring is too narrow).
    pub fn encode(&self, update: &[f32], ring_bits: u32, rng: &mut impl Rng) -> Result<Vec<i64>> {
        if update.len() != self.dimension {
            return Err(Error::shape("distributed_noise", self.dimension, update.len()));
        }
        let limit = self.magnitude_limit(ring_bits);
        let c = self.config.clipping_norm * self.config.scale;
        let spread = (c * c / self.padded as f64 + self.noise.variance()).sqrt() * 8.0;
        check(
            limit as f64 >= spread,
            "distributed_noise",
            "ring_bits",
            ring_bits,
            "wider: integers of this scale and noise do not fit",
        )?;
        // an update that is not finite becomes zero: leaving it out would tell the server about it
        let length = norm(update);
        let factor = if length.is_finite() {
            self.config.scale * (self.config.clipping_norm / length).min(1.0)
        } else {
            0.0
        };
        let mut x = vec![0.0f64; self.padded];
        if factor > 0.0 && factor.is_finite() {
            x.iter_mut().zip(update).for_each(|(x, u)| *x = factor * f64::from(*u));
        }
        self.flip_signs(&mut x);
        walsh_hadamard(&mut x);
        let rounded = self.round(&x, rng);
        Ok(rounded.into_iter().map(|v| (v + self.noise.sample(rng)).clamp(-limit, limit)).collect())
    }

    /// Stochastic rounding, repeated until the norm is within [`DistributedNoise::sensitivity`].
    fn round(&self, x: &[f64], rng: &mut impl Rng) -> Vec<i64> {
        let bound = self.sensitivity().powi(2);
        loop {
            let rounded: Vec<i64> =
                x.iter().map(|v| v.floor() as i64 + i64::from(rng.random::<f64>() < v - v.floor())).collect();
            if rounded.iter().map(|v| (*v as f64).powi(2)).sum::<f64>() <= bound {
                return rounded;
            }
        }
    }

    /// The sum of the clients' updates from the sum of their integers.
    ///
    /// # Errors
    /// Another length than [`DistributedNoise::encoded_length`].
    pub fn decode(&self, sum: &[i64]) -> Result<Vec<f32>> {
        if sum.len() != self.padded {
            return Err(Error::shape("distributed_noise", self.padded, sum.len()));
        }
        let mut x: Vec<f64> = sum.iter().map(|v| *v as f64 / self.config.scale).collect();
        walsh_hadamard(&mut x);
        self.flip_signs(&mut x);
        x.truncate(self.dimension);
        Ok(x.into_iter().map(|v| v as f32).collect())
    }

    fn flip_signs(&self, x: &mut [f64]) {
        let mut rng = ChaCha20Rng::seed_from_u64(self.config.rotation_seed);
        for chunk in x.chunks_mut(64) {
            let bits = rng.next_u64();
            for (i, v) in chunk.iter_mut().enumerate() {
                if bits >> i & 1 == 1 {
                    *v = -*v;
                }
            }
        }
    }

    /// RDP at an integer order of one round's sum, with exactly the fewest survivors.
    ///
    /// Skellam with variance `μ = tσ²` (Agarwal et al. 2021, corollary 3.6):
    /// `αΔ₂²/2μ + min(((2α−1)Δ₂² + 6Δ₁)/4μ², 3Δ₁/2μ)`. Discrete Gaussian (Kairouz et al. 2021, proposition 14):
    /// `min{αρ²/2 + τd, α/2 (ρ² + 2τρ₁ + τ²d), α/2 (ρ + τ√d)²}` with `ρ = Δ₂/(√t σ)`, `ρ₁ = Δ₁/(√t σ)`,
    /// `τ = 10 Σ_{k<t} e^{−2π²σ² k/(k+1)}`. In both `Δ₁ ≤ min(√d Δ₂, Δ₂²)`, because updates are integers.
    pub fn rdp(&self, alpha: f64) -> f64 {
        let (t, variance, d) =
            (self.config.fewest_survivors as f64, self.noise.variance(), self.padded as f64);
        let l2 = self.sensitivity();
        let l1 = (d.sqrt() * l2).min(l2 * l2);
        match self.noise {
            Sampler::Skellam(_) => {
                let mu = t * variance;
                let squared = ((2.0 * alpha - 1.0) * l2 * l2 + 6.0 * l1) / (4.0 * mu * mu);
                alpha * l2 * l2 / (2.0 * mu) + squared.min(1.5 * l1 / mu)
            }
            Sampler::Gaussian(_) => {
                let exponent =
                    |k: usize| -2.0 * std::f64::consts::PI.powi(2) * variance * k as f64 / (k + 1) as f64;
                let tau = 10.0 * (1..self.config.fewest_survivors).map(|k| exponent(k).exp()).sum::<f64>();
                let deviation = (t * variance).sqrt();
                let (r2, r1, half) = (l2 / deviation, l1 / deviation, 0.5 * alpha);
                let bounds = [
                    half * r2 * r2 + tau * d,
                    half * (r2 * r2 + 2.0 * tau * r1 + tau * tau * d),
                    half * (r2 + tau * d.sqrt()).powi(2),
                ];
                bounds.into_iter().fold(f64::INFINITY, f64::min)
            }
        }
    }

    /// ε at `δ` after `steps` rounds in which each client takes part with probability `q` (Poisson; amplification by
    /// the general bound of Zhu & Wang 2019, theorem 5), over integer orders. The unit is the client.
    ///
    /// # Errors
    /// Arguments out of range; fixed-size sampling, for which only `q = 1` is bounded here.
    pub fn epsilon(&self, sampling: Sampling, q: f64, steps: u64, delta: f64) -> Result<f64> {
        check(q > 0.0 && q <= 1.0, "epsilon", "sampling_rate", q, "in (0, 1]")?;
        check(delta > 0.0 && delta < 1.0, "epsilon", "delta", delta, "in (0, 1)")?;
        let poisson = sampling == Sampling::Poisson;
        check(
            poisson || q >= 1.0,
            "epsilon",
            "sampling_rate",
            q,
            "1 when a fixed number of clients is drawn, or use Poisson sampling",
        )?;
        // a replaced client moves the sum twice as far: four times the divergence at leading order
        let factor = if poisson { 1.0 } else { 4.0 };
        let base = |alpha: f64| factor * self.rdp(alpha);
        let best = (2..=64u32)
            .map(|order| {
                let one = if q >= 1.0 { base(f64::from(order)) } else { amplified(&base, q, order) };
                rdp::epsilon_from(f64::from(order), steps as f64 * one, delta)
            })
            .fold(f64::INFINITY, f64::min);
        Ok(if steps == 0 { 0.0 } else { best })
    }
}

/// Poisson subsampling of any mechanism with RDP `base` (Zhu & Wang 2019, theorem 5, and never worse than no sampling;
/// their theorem 6 drops the factor 3 under conditions that are not shown here):
/// `(α−1) R ≤ ln{(1−q)^{α−1}(αq − q + 1) + C(α,2) q² (1−q)^{α−2} e^{ε(2)} + 3 Σ_{l≥3} C(α,l) (1−q)^{α−l} q^l e^{(l−1)ε(l)}}`.
fn amplified(base: &impl Fn(f64) -> f64, q: f64, order: u32) -> f64 {
    let alpha = f64::from(order);
    let (log_q, log_1q) = (q.ln(), (-q).ln_1p());
    let mut terms = vec![(alpha - 1.0) * log_1q + (alpha * q - q).ln_1p()];
    let mut log_binomial = alpha.ln();
    for l in 2..=order {
        let l = f64::from(l);
        log_binomial += ((alpha - l + 1.0) / l).ln();
        let factor = if l > 2.5 { 3.0f64.ln() } else { 0.0 };
        terms.push(factor + log_binomial + (alpha - l) * log_1q + l * log_q + (l - 1.0) * base(l));
    }
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sampled = (most + terms.iter().map(|t| (t - most).exp()).sum::<f64>().ln()) / (alpha - 1.0);
    sampled.min(base(alpha))
}

/// The orthonormal Walsh-Hadamard transform in place; the length is a power of two. Its own inverse.
fn walsh_hadamard(x: &mut [f64]) {
    let mut half = 1;
    while half < x.len() {
        for block in x.chunks_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (x.len() as f64).sqrt();
    x.iter_mut().for_each(|v| *v *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng(index: u64) -> rl_core::seed::StreamRng {
        rl_core::seed::SeedStream::new(0).stream("distributed", index)
    }

    fn config(noise: NoiseKind) -> DistributedConfig {
        DistributedConfig {
            clipping_norm: 2.0,
            noise_multiplier: 0.5,
            fewest_survivors: 6,
            most_clients: 8,
            scale: 1000.0,
            noise,
            rotation_seed: 3,
            ..DistributedConfig::default()
        }
    }

    #[test]
    fn the_transform_is_its_own_inverse_and_keeps_norms() {
        let x: Vec<f64> = (0..16).map(|i| f64::from(i * i % 7)).collect();
        let mut y = x.clone();
        walsh_hadamard(&mut y);
        let square = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
        assert!((square(&x) - square(&y)).abs() < 1e-9);
        walsh_hadamard(&mut y);
        assert!(x.iter().zip(&y).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn sums_decode_to_the_clipped_sum_plus_noise_of_the_stated_size() {
        for kind in [NoiseKind::DiscreteGaussian, NoiseKind::Skellam] {
            let d = 3000;
            let noise = DistributedNoise::new(config(kind), d).unwrap();
            let mut rng = rng(1);
            let update = vec![1.0f32; d]; // norm √3000, clipped to 2
            let mut sum = vec![0i64; noise.encoded_length()];
            for _ in 0..6 {
                sum.iter_mut().zip(noise.encode(&update, 32, &mut rng).unwrap()).for_each(|(s, v)| *s += v);
            }
            let decoded = noise.decode(&sum).unwrap();
            let expected = 6.0 * 2.0 / (d as f64).sqrt();
            let variance = decoded.iter().map(|v| (f64::from(*v) - expected).powi(2)).sum::<f64>() / d as f64;
            // (z S)² = 1, and rounding adds 6/(4 · scale²)
            assert!((variance - 1.0).abs() < 0.1, "{kind:?}: {variance}");
        }
    }

    #[test]
    fn with_the_fewest_survivors_it_costs_what_the_gaussian_costs() {
        for kind in [NoiseKind::DiscreteGaussian, NoiseKind::Skellam] {
            let fine = DistributedConfig { scale: 4000.0, ..config(kind) };
            let noise = DistributedNoise::new(fine, 1000).unwrap();
            let z = fine_multiplier(&noise);
            for alpha in [2.0, 8.0, 32.0] {
                let gaussian = alpha / (2.0 * z * z);
                let ours = noise.rdp(alpha);
                assert!(
                    ours >= gaussian * 0.999 && ours < gaussian * 1.1,
                    "{kind:?} {alpha}: {ours} {gaussian}"
                );
            }
        }
        fn fine_multiplier(noise: &DistributedNoise) -> f64 {
            noise.config.noise_multiplier
        }
    }

    #[test]
    fn sampling_amplifies() {
        let noise = DistributedNoise::new(
            DistributedConfig { noise_multiplier: 1.5, ..config(NoiseKind::Skellam) },
            1000,
        )
        .unwrap();
        let all = noise.epsilon(Sampling::Poisson, 1.0, 10, 1e-5).unwrap();
        let some = noise.epsilon(Sampling::Poisson, 0.1, 10, 1e-5).unwrap();
        let replaced = noise.epsilon(Sampling::FixedSize, 1.0, 10, 1e-5).unwrap();
        assert!(some < all && all < replaced, "{some} {all} {replaced}");
        assert!(noise.epsilon(Sampling::FixedSize, 0.1, 10, 1e-5).is_err());
    }

    #[test]
    fn a_narrow_ring_is_refused_and_bad_updates_are_zero() {
        let noise = DistributedNoise::new(config(NoiseKind::Skellam), 4).unwrap();
        let mut rng = rng(2);
        assert!(noise.encode(&[1.0; 4], 12, &mut rng).is_err());
        assert!(noise.encode(&[1.0; 3], 32, &mut rng).is_err());
        assert!(noise.encode(&[f32::NAN, 0.0, 0.0, 0.0], 32, &mut rng).is_ok());
    }
}
