//! Privacy loss distributions of the subsampled Gaussian mechanism, composed by FFT.
//!
//! The loss `L = ln(P(x)/Q(x))`, `x ∼ P`, of one step is put on a grid so that the resulting pair dominates the true
//! one: the mass of each cell goes to its two ends such that both `P` and `Q` keep their mass ("connect the dots",
//! Doroshenko et al. 2022). Its error is of second order in the grid's width and always on the safe side. `T` steps
//! are a power of the discrete Fourier transform (Koskela et al. 2020), and
//! `δ(ε) = Σ_{l>ε} (1 − e^{ε−l}) p(l) + p(∞)`.
//!
//! Poisson sampling composes both directions, removing and adding a client, and takes the worse. Fixed-size sampling
//! with replacement neighbours uses the dominating profile of Zhu, Dong & Wang 2022 (theorem 11): the direction
//! `((1−q)Q + qP, Q)` for positive losses and `(P, (1−q)P + qQ)` for negative ones.

use super::{Mechanism, Sampling, normal_cdf};
use crate::error::{Error, Result, check};
use realfft::RealFftPlanner;

/// `-ln` of the mass that truncations and wrap-around may lose; it is added to δ.
const LOG_LOST: f64 = 41.5; // 1e-18
const LOST: f64 = 1e-18;
/// Widest grid of a composition.
const MOST_POINTS: f64 = (1u64 << 24) as f64;
/// Widest grid of one step.
const MOST_POINTS_OF_ONE_STEP: f64 = (1u64 << 21) as f64;

/// A discrete privacy loss distribution: mass `masses[i]` at loss `(first + i) · width`, and some at infinity.
#[derive(Clone, Debug)]
struct Losses {
    width: f64,
    first: i64,
    masses: Vec<f64>,
    infinite: f64,
}

/// Which pair of distributions.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Direction {
    /// `P = (1−q) N(0,z²) + q N(1,z²)`, `Q = N(0,z²)`.
    Remove,
    /// The other way round.
    Add,
    /// [`Direction::Remove`] above 0, [`Direction::Add`] below: replacement under fixed-size sampling.
    Replace,
}

/// ε at `δ`. Exact for `q = 1` (Balle & Wang 2018); otherwise an upper bound within about 1e-4 of the truth.
///
/// # Errors
/// Arguments out of range, or a composition too wide for the grid (ε in the thousands).
pub fn epsilon(mechanism: &Mechanism, delta: f64) -> Result<f64> {
    mechanism.validate()?;
    check(delta > 0.0 && delta < 1.0, "epsilon", "delta", delta, "in (0, 1)")?;
    if mechanism.steps == 0 {
        return Ok(0.0);
    }
    if mechanism.sampling_rate >= 1.0 {
        let total = mechanism.relative_noise() / (mechanism.steps as f64).sqrt();
        return Ok(gaussian_epsilon(total, delta));
    }
    let mut worst = 0.0f64;
    for composed in composed(mechanism)? {
        worst = worst.max(composed.epsilon(delta)?);
    }
    Ok(worst)
}

/// δ at `ε ≥ 0`: the counterpart of [`epsilon`].
///
/// # Errors
/// As [`epsilon`].
pub fn delta(mechanism: &Mechanism, epsilon: f64) -> Result<f64> {
    mechanism.validate()?;
    check(epsilon >= 0.0, "delta", "epsilon", epsilon, "≥ 0")?;
    if mechanism.steps == 0 {
        return Ok(0.0);
    }
    if mechanism.sampling_rate >= 1.0 {
        return Ok(gaussian_delta(mechanism.relative_noise() / (mechanism.steps as f64).sqrt(), epsilon));
    }
    Ok(composed(mechanism)?.iter().map(|c| c.delta(epsilon)).fold(0.0, f64::max))
}

/// `δ(ε) = Φ(1/2z − εz) − e^ε Φ(−1/2z − εz)` of the Gaussian mechanism (Balle & Wang 2018, theorem 8).
pub fn gaussian_delta(z: f64, epsilon: f64) -> f64 {
    let (a, b) = (0.5 / z - epsilon * z, -0.5 / z - epsilon * z);
    // e^ε Φ(b) in logarithms: Φ(b) underflows long before the product does
    let second =
        (epsilon + super::rdp::log_erfc(-b * std::f64::consts::FRAC_1_SQRT_2) - std::f64::consts::LN_2).exp();
    (normal_cdf(a) - second).max(0.0)
}

/// The inverse of [`gaussian_delta`] in ε, by bisection.
pub fn gaussian_epsilon(z: f64, delta: f64) -> f64 {
    if gaussian_delta(z, 0.0) <= delta {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while gaussian_delta(z, high) > delta && high < 1e9 {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if gaussian_delta(z, middle) > delta { low = middle } else { high = middle }
    }
    high
}

fn composed(mechanism: &Mechanism) -> Result<Vec<Losses>> {
    let directions: &[Direction] = match mechanism.sampling {
        Sampling::Poisson => &[Direction::Remove, Direction::Add],
        Sampling::FixedSize => &[Direction::Replace],
    };
    let (q, z, steps) = (mechanism.sampling_rate, mechanism.relative_noise(), mechanism.steps);
    let width = grid_width(q, z, steps);
    directions.iter().map(|d| one_step(*d, q, z, width, steps).compose(steps)).collect()
}

/// A width whose rounding adds a variance of `T h²/6` small against what moves ε by 1e-5: about `5e-5 · σ` with `σ²`
/// the variance of the composed loss, `σ² ≈ T q² (e^{1/z²} − 1)`.
fn grid_width(q: f64, z: f64, steps: u64) -> f64 {
    let steps = steps as f64;
    let variance = steps * q * q * (1.0 / (z * z)).min(20.0).exp_m1();
    let wanted = (6.0 * 1e-5 * variance.sqrt().min(10.0) / steps).sqrt().clamp(2e-6, 1e-3);
    // a wider grid stays an upper bound; it is needed only where ε is far too large to mean anything
    let [lowest, highest] = loss_range(q, z, steps);
    wanted.max((highest - lowest) / MOST_POINTS_OF_ONE_STEP)
}

/// `ln(1 − q + q e^{(2x−1)/2z²})`: the loss at `x` when removing a client.
fn loss(q: f64, z: f64, x: f64) -> f64 {
    let (base, exponent) = ((-q).ln_1p(), (2.0 * x - 1.0) / (2.0 * z * z) + q.ln());
    let (low, high) = if base < exponent { (base, exponent) } else { (exponent, base) };
    high + (low - high).exp().ln_1p()
}

/// Losses of one step beyond which lies a mass below [`LOST`] over all steps.
fn loss_range(q: f64, z: f64, steps: f64) -> [f64; 2] {
    let reach = (2.0 * (LOG_LOST + steps.ln())).sqrt() * z;
    [loss(q, z, -reach), loss(q, z, 1.0 + reach)]
}

/// A boundary between cells: where it lies, and the tails of N(0,z²) and N(1,z²) there.
#[derive(Clone, Copy)]
struct Edge {
    /// Nearer tail and whether it is the upper one, for both normals.
    tails: [(f64, bool); 2],
}

impl Edge {
    fn at(x: f64, z: f64) -> Self {
        let tail = |centre: f64| {
            let standard = (x - centre) / z;
            (0.5 * libm::erfc(standard.abs() * std::f64::consts::FRAC_1_SQRT_2), standard > 0.0)
        };
        Self { tails: [tail(0.0), tail(1.0)] }
    }

    /// Mass between two edges, without cancellation in either tail.
    fn between(self, upper: Self, which: usize) -> f64 {
        match (self.tails[which], upper.tails[which]) {
            ((low, true), (high, true)) => low - high,
            ((low, false), (high, false)) => high - low,
            ((low, _), (high, _)) => 1.0 - low - high,
        }
        .max(0.0)
    }
}

/// The loss of one step on a grid of `width`.
fn one_step(direction: Direction, q: f64, z: f64, width: f64, steps: u64) -> Losses {
    let mut masses = match direction {
        Direction::Remove | Direction::Add => half(direction, q, z, width, steps, None),
        Direction::Replace => {
            let positive = half(Direction::Remove, q, z, width, steps, Some(1));
            let negative = half(Direction::Add, q, z, width, steps, Some(-1));
            let mut masses = negative.masses;
            masses.truncate((-negative.first) as usize);
            masses.resize((-negative.first) as usize + 1, 0.0);
            // the positive half starts at loss 0
            if let Some(zero) = masses.last_mut() {
                *zero += positive.masses.first().copied().unwrap_or(0.0);
            }
            masses.extend(positive.masses.iter().skip(1));
            Losses { width, first: negative.first, masses, infinite: positive.infinite }
        }
    };
    if direction == Direction::Replace {
        // the profile has a kink at ε = 0; the mass that the kink stands for has loss 0
        let missing = 1.0 - masses.infinite - masses.masses.iter().sum::<f64>();
        let zero = (-masses.first) as usize;
        masses.masses[zero] += missing.max(0.0);
    }
    masses
}

/// The cells of one direction: all, or only those above (`Some(1)`) or below (`Some(-1)`) loss 0.
fn half(direction: Direction, q: f64, z: f64, width: f64, steps: u64, sign: Option<i32>) -> Losses {
    let place = |loss: f64| {
        let ratio = (loss.exp_m1() + q) / q;
        let log_ratio =
            if loss > 30.0 { loss - q.ln() + ((q - 1.0) * (-loss).exp()).ln_1p() } else { ratio.ln() };
        if ratio > 0.0 { z * z * log_ratio + 0.5 } else { f64::NEG_INFINITY }
    };
    let [lowest, highest] = loss_range(q, z, steps as f64);
    let (mut first, mut last) = match direction {
        Direction::Add => ((-highest / width).floor() as i64, (-lowest / width).ceil() as i64),
        _ => ((lowest / width).floor() as i64, (highest / width).ceil() as i64),
    };
    match sign {
        Some(1) => first = 0,
        Some(_) => last = 0,
        None => {}
    }
    let last = last.max(first + 1);
    let edge = |i: i64| match direction {
        Direction::Add => Edge::at(place(-(i as f64) * width), z),
        _ => Edge::at(place(i as f64 * width), z),
    };
    let mut masses = vec![0.0; (last - first + 1) as usize];
    let ends_at_zero = sign == Some(1);
    // everything below the first cell is rounded up into it, unless the other half takes it
    let mut lower = match (direction, ends_at_zero) {
        (Direction::Add, _) => Edge::at(f64::INFINITY, z),
        (_, true) => edge(first),
        (_, false) => Edge::at(f64::NEG_INFINITY, z),
    };
    for i in first..last {
        let upper = edge(i + 1);
        let normals = |which| match direction {
            Direction::Add => upper.between(lower, which),
            _ => lower.between(upper, which),
        };
        let (zero, one) = (normals(0), normals(1));
        let mixture = (1.0 - q) * zero + q * one;
        let (p, other) = if direction == Direction::Add { (zero, mixture) } else { (mixture, zero) };
        let up = ((p - (i as f64 * width).exp() * other) / -(-width).exp_m1()).clamp(0.0, p);
        masses[(i - first) as usize] += p - up;
        masses[(i - first) as usize + 1] += up;
        lower = upper;
    }
    let infinite = match direction {
        Direction::Add if sign.is_some() => 0.0,
        Direction::Add => Edge::at(f64::NEG_INFINITY, z).between(lower, 0),
        _ => {
            let top = Edge::at(f64::INFINITY, z);
            (1.0 - q) * lower.between(top, 0) + q * lower.between(top, 1)
        }
    };
    Losses { width, first, masses, infinite }
}

impl Losses {
    /// The sum of `steps` independent losses. What falls outside the window has a mass below [`LOST`] and is
    /// counted as infinite.
    fn compose(&self, steps: u64) -> Result<Self> {
        let infinite = -(steps as f64 * (-self.infinite).ln_1p()).exp_m1() + 2.0 * LOST;
        if steps == 1 {
            return Ok(Self { infinite, ..self.clone() });
        }
        let lowest = -self.tail_bound(-1.0, steps);
        let highest = self.tail_bound(1.0, steps);
        let (first, last) = ((lowest / self.width).floor(), (highest / self.width).ceil());
        if !(last - first < MOST_POINTS && first.abs() < 1e15) {
            return Err(Error::config(
                "epsilon",
                "noise_multiplier",
                "so small",
                "large enough for an ε that means something: use the RDP accountant to see how large this one is",
            ));
        }
        let points = ((last - first) as usize + 1).next_power_of_two();
        let mut planner = RealFftPlanner::<f64>::new();
        let (forward, inverse) = (planner.plan_fft_forward(points), planner.plan_fft_inverse(points));
        let mut ring = forward.make_input_vec();
        for (i, mass) in self.masses.iter().enumerate() {
            ring[i % points] += mass;
        }
        let mut spectrum = forward.make_output_vec();
        let failed = |e: realfft::FftError| Error::Transport {
            operation: "fourier transform".into(),
            reason: e.to_string(),
        };
        forward.process(&mut ring, &mut spectrum).map_err(failed)?;
        let power = |z: &mut realfft::num_complex::Complex<f64>| {
            let (mut base, mut rest) = (*z, steps);
            let mut result = realfft::num_complex::Complex::new(1.0, 0.0);
            while rest > 0 {
                if rest & 1 == 1 {
                    result *= base;
                }
                base *= base;
                rest >>= 1;
            }
            *z = result / points as f64;
        };
        spectrum.iter_mut().for_each(power);
        // the ends of a real signal's spectrum are real; rounding must not say otherwise
        spectrum[0].im = 0.0;
        if let Some(last) = spectrum.last_mut() {
            last.im = 0.0;
        }
        inverse.process(&mut spectrum, &mut ring).map_err(failed)?;
        let shift = i128::from(first as i64) - i128::from(steps) * i128::from(self.first);
        let start = shift.rem_euclid(points as i128) as usize;
        ring.rotate_left(start);
        ring.iter_mut().for_each(|mass| *mass = mass.max(0.0));
        Ok(Self { width: self.width, first: first as i64, masses: ring, infinite })
    }

    /// Chernoff: the least `x` with `P(±Σ L > x) ≤ e^{−LOG_LOST}`, `x = min_t (T ln E e^{±tL} + LOG_LOST) / t`.
    fn tail_bound(&self, sign: f64, steps: u64) -> f64 {
        let end = if sign > 0.0 { self.first + self.masses.len() as i64 - 1 } else { -self.first };
        let descending: Vec<f64> =
            if sign > 0.0 { self.masses.iter().rev().copied().collect() } else { self.masses.clone() };
        let bound = |t: f64| {
            // E e^{±tL} relative to its largest exponential, whose factor is taken out
            let sum = polynomial(&descending, (-t * self.width).exp());
            (steps as f64 * (sum.ln() + t * end as f64 * self.width) + LOG_LOST) / t
        };
        // unimodal in t: coarse geometric scan, then it is refined around the best
        let mut best = (f64::INFINITY, 1.0);
        for factor in [4.0f64, 1.3] {
            let centre = best.1;
            let (low, count) = if factor > 2.0 { (1e-3, 15) } else { (centre / 4.0, 11) };
            for k in 0..count {
                let t = low * factor.powi(k);
                let value = bound(t);
                if value < best.0 {
                    best = (value, t);
                }
            }
        }
        best.0
    }

    /// `δ(ε)`.
    fn delta(&self, epsilon: f64) -> f64 {
        let (mut sum, mut discount) = (self.infinite, 0.0);
        for (i, mass) in self.masses.iter().enumerate().rev() {
            let loss = (self.first + i as i64) as f64 * self.width;
            if loss <= epsilon {
                break;
            }
            sum += mass;
            discount += mass * (epsilon - loss).exp();
        }
        (sum - discount).clamp(0.0, 1.0)
    }

    /// The least `ε ≥ 0` with `δ(ε) ≤ δ`.
    fn epsilon(&self, delta: f64) -> Result<f64> {
        if self.infinite > delta {
            return Err(Error::config("epsilon", "delta", delta, "above 1e-17 times the number of steps"));
        }
        // from the top: sum = Σ p, discounted = Σ p e^{at − loss} at the present point of the grid
        let (mut sum, mut discounted) = (self.infinite, 0.0);
        let decay = (-self.width).exp();
        for (i, mass) in self.masses.iter().enumerate().rev() {
            let at = (self.first + i as i64) as f64 * self.width;
            // δ(at) with all losses above
            discounted *= decay;
            if at < 0.0 || sum - discounted > delta {
                // between here and one step up, δ(ε) = sum − discounted e^{ε − at}
                let epsilon = at + ((sum - delta) / discounted).ln();
                return Ok(epsilon.max(0.0));
            }
            sum += mass;
            discounted += mass;
        }
        Ok(0.0)
    }
}

/// `Σ_i c_i x^i` by Horner's rule, in eight sums that do not wait for one another.
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    const SUMS: usize = 8;
    let blocks = coefficients.chunks_exact(SUMS);
    let horner = |terms: &[f64], x: f64| terms.iter().rev().fold(0.0, |sum, c| sum * x + c);
    let last = horner(blocks.remainder(), x);
    let step = x.powi(SUMS as i32);
    let mut sums = [0.0; SUMS];
    sums[0] = last;
    for block in blocks.rev() {
        for (sum, c) in sums.iter_mut().zip(block) {
            *sum = *sum * step + c;
        }
    }
    horner(&sums, x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mechanism(z: f64, q: f64, steps: u64, sampling: Sampling) -> Mechanism {
        Mechanism { noise_multiplier: z, sampling_rate: q, steps, sampling }
    }

    #[test]
    fn one_step_agrees_with_the_closed_form() {
        let (q, z): (f64, f64) = (0.1, 0.8);
        for epsilon in [0.1f64, 0.5, 1.3, 2.0] {
            let x = z * z * ((epsilon.exp() - 1.0 + q) / q).ln() + 0.5;
            let upper = |centre: f64| normal_cdf((centre - x) / z);
            let exact = (1.0 - q) * upper(0.0) + q * upper(1.0) - epsilon.exp() * upper(0.0);
            let got = delta(&mechanism(z, q, 1, Sampling::Poisson), epsilon).unwrap();
            assert!(got >= exact - 1e-12 && got < exact + 1e-6, "{epsilon}: {got} {exact}");
        }
    }

    #[test]
    fn composition_of_almost_no_sampling_is_the_gaussian() {
        let almost = epsilon(&mechanism(20.0, 1.0 - 1e-9, 400, Sampling::Poisson), 1e-5).unwrap();
        let exact = gaussian_epsilon(1.0, 1e-5);
        assert!(almost >= exact - 1e-6 && almost < exact + 1e-3, "{almost} {exact}");
        // replacement at half the noise
        let replaced = epsilon(&mechanism(40.0, 1.0 - 1e-9, 400, Sampling::FixedSize), 1e-5).unwrap();
        assert!((replaced - exact).abs() < 1e-3, "{replaced} {exact}");
    }

    #[test]
    fn a_polynomial_is_the_sum_of_its_terms() {
        for n in [0, 1, 7, 8, 9, 41] {
            let c: Vec<f64> = (0..n).map(|i| (f64::from(i)).sin()).collect();
            let plain: f64 = c.iter().zip(0..).map(|(c, i)| c * 0.9f64.powi(i)).sum();
            assert!((polynomial(&c, 0.9) - plain).abs() < 1e-12, "{n} terms");
        }
    }

    #[test]
    fn masses_sum_to_one_in_every_direction() {
        for direction in [Direction::Remove, Direction::Add, Direction::Replace] {
            for (q, z) in [(0.01, 0.7), (0.3, 2.0), (0.001, 1.0)] {
                let losses = one_step(direction, q, z, 1e-3, 10);
                let total: f64 = losses.masses.iter().sum::<f64>() + losses.infinite;
                assert!((total - 1.0).abs() < 1e-9, "{direction:?} {q} {z}: {total}");
                // Q's mass Σ p e^{−L} is 1 as well: the pair is a pair of distributions
                let q_mass: f64 =
                    (losses.first..).zip(&losses.masses).map(|(i, p)| p * (-(i as f64) * 1e-3).exp()).sum();
                assert!((q_mass - 1.0).abs() < 1e-6, "{direction:?} {q} {z}: {q_mass}");
            }
        }
    }

    #[test]
    fn fixed_size_lies_between_poisson_and_its_rdp() {
        let fixed = epsilon(&mechanism(2.0, 0.05, 200, Sampling::FixedSize), 1e-5).unwrap();
        let poisson = epsilon(&mechanism(2.0, 0.05, 200, Sampling::Poisson), 1e-5).unwrap();
        let rdp =
            crate::privacy::rdp::epsilon(&mechanism(2.0, 0.05, 200, Sampling::FixedSize), 1e-5).unwrap().0;
        assert!(poisson < fixed && fixed < rdp, "{poisson} {fixed} {rdp}");
    }

    #[test]
    fn the_gaussian_by_balle_and_wang() {
        // their figure: z = 1 at ε = 1 has δ = Φ(−1/2) − e Φ(−3/2)
        let expected = normal_cdf(-0.5) - 1f64.exp() * normal_cdf(-1.5);
        assert!((gaussian_delta(1.0, 1.0) - expected).abs() < 1e-15);
        assert!((gaussian_epsilon(1.0, expected) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_too_wide_is_refused_in_words() {
        let error = epsilon(&mechanism(0.05, 0.9, 1 << 30, Sampling::Poisson), 1e-5).unwrap_err();
        assert!(error.to_string().contains("RDP"), "{error}");
    }
}
