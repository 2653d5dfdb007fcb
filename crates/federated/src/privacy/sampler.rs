//! Integer noise without floating point: what a secure sum of integers needs, and what rounding a float cannot give.
//!
//! The discrete Gaussian is sampled exactly by rejection (Canonne, Kamath & Steinke 2020, algorithms 1 to 3) from
//! rational arithmetic on random bits. Poisson (for Skellam = Poisson − Poisson) is sampled by inversion of a table of
//! 120-bit integer weights: exact for the table, which is within 2⁻⁸⁰ of Poisson in total variation.

use crate::error::{Result, check};
use rand::{Rng, RngExt};

/// Uniform in `0..bound`, `bound > 0`, by rejection.
fn below(bound: u128, rng: &mut impl Rng) -> u128 {
    if let Ok(small) = u64::try_from(bound) {
        return u128::from(rng.random_range(0..small.max(1)));
    }
    let mask = u128::MAX >> bound.leading_zeros();
    loop {
        let draw = ((u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64())) & mask;
        if draw < bound {
            return draw;
        }
    }
}

/// True with probability `e^{−a/b}`, `0 ≤ a ≤ b` (algorithm 1: the parity of a run of `Bernoulli(a/(bk))`).
fn bernoulli_exp_unit(a: u128, b: u128, rng: &mut impl Rng) -> bool {
    let mut k = 1u128;
    loop {
        // Bernoulli(a / (b k)) as Bernoulli(a/b) and Bernoulli(1/k): no product that could overflow
        if !(below(b, rng) < a && below(k, rng) == 0) {
            return k % 2 == 1;
        }
        k += 1;
    }
}

/// True with probability `e^{−a/b}`, any `a ≥ 0`.
fn bernoulli_exp(mut a: u128, b: u128, rng: &mut impl Rng) -> bool {
    while a > b {
        if !bernoulli_exp_unit(1, 1, rng) {
            return false;
        }
        a -= b;
    }
    bernoulli_exp_unit(a, b, rng)
}

/// The discrete Gaussian `P(x) ∝ e^{−x²/2σ²}` over the integers, `σ² = numerator / denominator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscreteGaussian {
    numerator: u128,
    denominator: u128,
    scale: u64,
}

impl DiscreteGaussian {
    /// With variance parameter `σ²` as a fraction.
    ///
    /// # Errors
    /// `σ² = 0` or above 2⁴⁸, a denominator of 0 or above 2¹⁶.
    pub fn new(numerator: u64, denominator: u64) -> Result<Self> {
        check(
            (1..=1 << 16).contains(&denominator),
            "discrete_gaussian",
            "denominator",
            denominator,
            "in 1..=2^16",
        )?;
        check(
            (1..=1 << 48).contains(&numerator),
            "discrete_gaussian",
            "numerator",
            numerator,
            "in 1..=2^48",
        )?;
        Ok(Self {
            numerator: numerator.into(),
            denominator: denominator.into(),
            scale: (numerator / denominator).isqrt() + 1,
        })
    }

    /// The largest fraction not below `variance` that fits, to 2⁻¹⁶: noise is never smaller than asked for.
    ///
    /// # Errors
    /// A variance that is not positive or above 2³².
    pub fn with_variance(variance: f64) -> Result<Self> {
        check(
            variance > 0.0 && variance <= 4294967296.0,
            "discrete_gaussian",
            "variance",
            variance,
            "in (0, 2^32]",
        )?;
        Self::new((variance * 65536.0).ceil() as u64, 65536)
    }

    /// `σ²`.
    pub fn variance_parameter(&self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// One draw: discrete Laplace of scale `t`, kept with probability `exp(−(|y| − σ²/t)² / 2σ²)`.
    pub fn sample(&self, rng: &mut impl Rng) -> i64 {
        let t = u128::from(self.scale);
        loop {
            let y = discrete_laplace(self.scale, rng);
            // (|y| − n/(dt))² d / 2n  =  (|y| d t − n)² / (2 n d t²)
            let gap = (u128::from(y.unsigned_abs()) * self.denominator * t).abs_diff(self.numerator);
            let (Some(square), bound) = (gap.checked_mul(gap), 2 * self.numerator * self.denominator * t * t)
            else {
                continue; // |y| > 2⁷ t: such a draw is kept with probability below 2⁻⁷⁰⁰⁰
            };
            if bernoulli_exp(square, bound, rng) {
                return y;
            }
        }
    }
}

/// `P(x) ∝ e^{−|x|/t}` (algorithm 2).
fn discrete_laplace(t: u64, rng: &mut impl Rng) -> i64 {
    loop {
        let u = below(t.into(), rng);
        if !bernoulli_exp_unit(u, t.into(), rng) {
            continue;
        }
        let mut v = 0u64;
        while bernoulli_exp_unit(1, 1, rng) {
            v += 1;
        }
        // t ≤ 2²⁴·√… keeps u + t v far inside i64
        let magnitude = (u as u64).saturating_add(t.saturating_mul(v)).min(i64::MAX as u64) as i64;
        let negative = rng.random::<bool>();
        if negative && magnitude == 0 {
            continue;
        }
        return if negative { -magnitude } else { magnitude };
    }
}

/// Poisson by inversion of integer weights.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PoissonTable {
    first: u64,
    /// Running sums of the weights.
    cumulated: Vec<u128>,
}

impl PoissonTable {
    /// Bits of the weight at the mode.
    const BITS: u32 = 104;

    fn new(rate_times_256: u64) -> Self {
        // weights from the mode outwards: w(k+1) = w(k) λ/(k+1), w(k−1) = w(k) k/λ with λ = r/256, rounded down;
        // each step loses at most one unit of 2⁻¹⁰⁴, and the sum over the table stays below 2¹²⁰
        let rate = u128::from(rate_times_256);
        let mode = rate_times_256 / 256;
        let step = |weight: u128, multiply: u128, divide: u128| {
            let (whole, rest) = (weight / divide, weight % divide);
            whole * multiply + rest * multiply / divide
        };
        let mut down = Vec::new();
        let (mut weight, mut k) = (1u128 << Self::BITS, mode);
        while k > 0 && weight > 0 {
            weight = step(weight, u128::from(k) * 256, rate);
            down.push(weight);
            k -= 1;
        }
        let first = mode - down.len() as u64;
        let mut cumulated = Vec::with_capacity(2 * down.len() + 64);
        let mut sum = 0u128;
        let mut push = |weight: u128| {
            sum += weight;
            cumulated.push(sum);
        };
        down.iter().rev().for_each(|w| push(*w));
        let (mut weight, mut k) = (1u128 << Self::BITS, mode);
        while weight > 0 {
            push(weight);
            k += 1;
            weight = step(weight, rate, u128::from(k) * 256);
        }
        Self { first, cumulated }
    }

    fn sample(&self, rng: &mut impl Rng) -> u64 {
        let total = self.cumulated.last().copied().unwrap_or(1);
        let draw = below(total, rng);
        self.first + self.cumulated.partition_point(|sum| *sum <= draw) as u64
    }
}

/// The symmetric Skellam distribution: the difference of two Poisson variables. Sums of Skellam are Skellam, so that
/// a client that drops out only takes its variance away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skellam {
    half: PoissonTable,
    variance_times_128: u64,
}

impl Skellam {
    /// With variance `μ`, rounded up to a multiple of 2⁻⁷.
    ///
    /// # Errors
    /// A variance that is not in (0, 2³⁰].
    pub fn new(variance: f64) -> Result<Self> {
        check(variance > 0.0 && variance <= 1073741824.0, "skellam", "variance", variance, "in (0, 2^30]")?;
        let variance_times_128 = (variance * 128.0).ceil() as u64;
        // each Poisson has rate μ/2 = (128 μ)/256
        Ok(Self { half: PoissonTable::new(variance_times_128), variance_times_128 })
    }

    /// `μ`.
    pub fn variance(&self) -> f64 {
        self.variance_times_128 as f64 / 128.0
    }

    /// One draw.
    pub fn sample(&self, rng: &mut impl Rng) -> i64 {
        self.half.sample(rng) as i64 - self.half.sample(rng) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng(index: u64) -> rl_core::seed::StreamRng {
        rl_core::seed::SeedStream::new(0).stream("sampler", index)
    }

    /// Pearson's statistic of `draws` against `probability`, over the values with at least 5 expected; it exceeds
    /// `df + 4√(2 df) + 6` about once in ten thousand.
    fn fits(draws: &[i64], probability: impl Fn(i64) -> f64) {
        let n = draws.len() as f64;
        let (mut statistic, mut cells) = (0.0, 0.0f64);
        for x in -2000..=2000 {
            let expected = n * probability(x);
            if expected >= 5.0 {
                let seen = draws.iter().filter(|d| **d == x).count() as f64;
                statistic += (seen - expected).powi(2) / expected;
                cells += 1.0;
            }
        }
        assert!(statistic < cells + 4.0 * (2.0 * cells).sqrt() + 6.0, "χ² = {statistic} over {cells} cells");
    }

    #[test]
    fn the_discrete_gaussian_has_its_probabilities() {
        for (index, (numerator, denominator)) in
            [(1u64, 2u64), (9, 1), (400, 1), (65537, 65536)].into_iter().enumerate()
        {
            let g = DiscreteGaussian::new(numerator, denominator).unwrap();
            let mut rng = rng(index as u64);
            let draws: Vec<i64> = (0..20_000).map(|_| g.sample(&mut rng)).collect();
            let weight = |x: i64| (-(x as f64).powi(2) / (2.0 * g.variance_parameter())).exp();
            let total: f64 = (-500..=500).map(weight).sum();
            fits(&draws, |x| weight(x) / total);
        }
    }

    #[test]
    fn skellam_has_its_probabilities_at_small_and_its_moments_at_large_variance() {
        let s = Skellam::new(3.0).unwrap();
        let mut rng = rng(10);
        let draws: Vec<i64> = (0..20_000).map(|_| s.sample(&mut rng)).collect();
        // e^{−μ} I_x(μ) = Σ_k Poisson(k + x) Poisson(k)
        let poisson = |k: i64| (1..=k).fold((-1.5f64).exp(), |p, i| p * 1.5 / i as f64);
        fits(&draws, |x| {
            if x.abs() > 60 { 0.0 } else { (0..40).map(|k| poisson(k + x.abs()) * poisson(k)).sum() }
        });
        let s = Skellam::new(1e5).unwrap();
        let n = 40_000;
        let variance = (0..n).map(|_| (s.sample(&mut rng) as f64).powi(2)).sum::<f64>() / f64::from(n);
        assert!((variance / 1e5 - 1.0).abs() < 0.04, "{variance}");
    }

    #[test]
    fn bernoulli_exp_has_its_mean() {
        let mut rng = rng(20);
        for (a, b) in [(0u128, 1u128), (1, 3), (1, 1), (7, 3), (1 << 90, 1 << 91)] {
            let n = 20_000;
            let hits = (0..n).filter(|_| bernoulli_exp(a, b, &mut rng)).count() as f64;
            let expected = (-(a as f64) / b as f64).exp();
            assert!((hits / f64::from(n) - expected).abs() < 0.015, "{a}/{b}");
        }
    }

    #[test]
    fn large_and_silly_variances() {
        let mut rng = rng(30);
        let g = DiscreteGaussian::new(1 << 48, 1).unwrap();
        let mean_square =
            (0..2000).map(|_| (g.sample(&mut rng) as f64 / (1u64 << 24) as f64).powi(2)).sum::<f64>()
                / 2000.0;
        assert!((mean_square - 1.0).abs() < 0.15, "{mean_square}");
        assert!(DiscreteGaussian::new(0, 1).is_err() && DiscreteGaussian::new(1, 0).is_err());
        assert!(DiscreteGaussian::with_variance(f64::NAN).is_err() && Skellam::new(-1.0).is_err());
    }
}
