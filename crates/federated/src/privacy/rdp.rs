//! Rényi differential privacy of the subsampled Gaussian mechanism.
//!
//! Poisson sampling: Mironov, Talwar & Zhang 2019, "Rényi differential privacy of the sampled Gaussian mechanism",
//! sections 3.2 and 3.3. Fixed-size sampling: Wang, Balle & Kasiviswanathan 2019, theorem 9. Conversion to (ε, δ):
//! Canonne, Kamath & Steinke 2020, proposition 12.

use super::{Mechanism, Sampling};
use crate::error::{Result, check};

/// Terms after which the series of a fractional order is given up, as the peers do.
const MOST_TERMS: usize = 1000;

/// `ln(eᵃ + eᵇ)`.
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// `ln erfc(x)`: directly, and by the asymptotic series where erfc underflows.
pub(crate) fn log_erfc(x: f64) -> f64 {
    if x < 25.0 {
        return libm::erfc(x).ln();
    }
    let t = 1.0 / (x * x);
    let series = 1.0 - t * (0.5 - t * (0.75 - t * (1.875 - t * 6.5625)));
    series.ln() - x * x - (x * std::f64::consts::PI.sqrt()).ln()
}

/// `ln A_α` for an integer order: `A_α = Σ_k C(α,k) (1−q)^{α−k} q^k e^{k(k−1)/2z²}`.
fn log_a_integer(q: f64, z: f64, order: u32) -> f64 {
    let alpha = f64::from(order);
    let (log_q, log_1q, width) = (q.ln(), (-q).ln_1p(), 0.5 / (z * z));
    let mut log_binomial = 0.0;
    let mut terms = Vec::with_capacity(order as usize + 1);
    for k in 0..=order {
        let k = f64::from(k);
        terms.push(log_binomial + k * log_q + (alpha - k) * log_1q + k * (k - 1.0) * width);
        log_binomial += ((alpha - k) / (k + 1.0)).ln();
    }
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + terms.iter().map(|t| (t - most).exp()).sum::<f64>().ln()
}

/// An upper bound of `ln A_α` for a fractional order by the two series around `z₀ = z² ln(1/q − 1) + 1/2`. The
/// generalised binomials alternate in sign beyond `α`; their magnitudes are added, which is what dp-accounting
/// reports and never too small (a few percent too large for small rates, more for large ones). Infinite where the series has not converged: such an order proves nothing.
fn log_a_fractional(q: f64, z: f64, alpha: f64) -> f64 {
    let (log_q, log_1q, width) = (q.ln(), (-q).ln_1p(), 0.5 / (z * z));
    let z0 = z * z * (1.0 / q - 1.0).ln() + 0.5;
    let scale = 1.0 / (std::f64::consts::SQRT_2 * z);
    let (mut total, mut last) = (f64::NEG_INFINITY, [f64::NEG_INFINITY; 2]);
    let mut log_binomial = 0.0;
    for i in 0..MOST_TERMS {
        let i = i as f64;
        let j = alpha - i;
        let common = log_binomial - std::f64::consts::LN_2;
        let s0 = common + i * log_q + j * log_1q + (i * i - i) * width + log_erfc((i - z0) * scale);
        let s1 = common + j * log_q + i * log_1q + (j * j - j) * width + log_erfc((z0 - j) * scale);
        total = log_add(total, log_add(s0, s1));
        if s0 < last[0] && s1 < last[1] && s0.max(s1) < total - 30.0 {
            return total;
        }
        last = [s0, s1];
        log_binomial += ((alpha - i).abs() / (i + 1.0)).ln();
    }
    f64::INFINITY
}

/// RDP of one step with Poisson sampling at order `α > 1`: `ln A_α / (α − 1)`; `α/2z²` without sampling. Infinite
/// where the series for a fractional order does not converge.
pub fn poisson(q: f64, z: f64, alpha: f64) -> f64 {
    if q >= 1.0 {
        return alpha / (2.0 * z * z);
    }
    let log_a = if alpha.fract() == 0.0 && alpha <= f64::from(u32::MAX) {
        log_a_integer(q, z, alpha as u32)
    } else {
        log_a_fractional(q, z, alpha)
    };
    log_a / (alpha - 1.0)
}

/// Upper bound on the RDP of one step with fixed-size sampling, neighbours by replacement, at order `α > 1`; `z` is
/// the noise over the sensitivity of a replacement (`2S`).
///
/// Theorem 9 with an unbounded base mechanism of `ε(j) = j/2z²`:
/// `(α−1) R ≤ ln(1 + q² C(α,2) min{4(e^{ε(2)}−1), 2e^{ε(2)}} + Σ_{j≥3} 2 q^j C(α,j) e^{(j−1)ε(j)})`; between integers the
/// cumulant is interpolated linearly (their corollary 10).
pub fn fixed_size(q: f64, z: f64, alpha: f64) -> f64 {
    if q >= 1.0 {
        return alpha / (2.0 * z * z);
    }
    let cumulant = |order: f64| {
        let base = |j: f64| j / (2.0 * z * z);
        let (mut total, mut log_binomial) = (0.0, order.ln());
        let mut j = 2.0;
        while j <= order {
            log_binomial += ((order - j + 1.0) / j).ln();
            let factor = if j == 2.0 {
                (4.0f64.ln() + base(2.0).exp_m1().ln()).min(std::f64::consts::LN_2 + base(2.0))
            } else {
                std::f64::consts::LN_2 + (j - 1.0) * base(j)
            };
            total = log_add(total, j * q.ln() + log_binomial + factor);
            j += 1.0;
        }
        if order < 2.0 { 0.0 } else { total }
    };
    let (low, high, t) = (alpha.floor(), alpha.ceil(), alpha.fract());
    ((1.0 - t) * cumulant(low) + t * cumulant(high)) / (alpha - 1.0)
}

/// RDP of one step of `mechanism` at order `α`.
pub fn one_step(mechanism: &Mechanism, alpha: f64) -> f64 {
    let (q, z) = (mechanism.sampling_rate, mechanism.relative_noise());
    match mechanism.sampling {
        Sampling::Poisson => poisson(q, z, alpha),
        Sampling::FixedSize => fixed_size(q, z, alpha),
    }
}

/// ε at `δ` from the RDP `r` at order `α`: `r + ln(1 − 1/α) − ln(δ α)/(α − 1)`, at least 0; 0 too where
/// `δ² > 1 − e^{−r}` (Pinsker-like bound).
pub fn epsilon_from(alpha: f64, r: f64, delta: f64) -> f64 {
    if delta * delta + (-r).exp_m1() > 0.0 {
        return 0.0;
    }
    (r + (-1.0 / alpha).ln_1p() - (delta * alpha).ln() / (alpha - 1.0)).max(0.0)
}

/// δ at `ε` from the RDP `r` at order `α`: `e^{(α−1)(r − ε + ln(1 − 1/α))} / α`, at most `√(1 − e^{−r})`.
pub fn delta_from(alpha: f64, r: f64, epsilon: f64) -> f64 {
    let renyi = (alpha - 1.0) * (r - epsilon + (-1.0 / alpha).ln_1p()) - alpha.ln();
    let bretagnolle = 0.5 * (-(-r).exp()).ln_1p();
    if r <= 0.0 { 0.0 } else { renyi.min(bretagnolle).exp().min(1.0) }
}

/// The integer orders of the grid: 2 to 63, then powers of two to 1024.
fn integer_orders() -> impl Iterator<Item = f64> {
    (2..64).chain([128, 256, 512, 1024]).map(f64::from)
}

/// All orders: 1.1 to 10.9 in steps of 0.1, and the integer orders (the default grid of dp-accounting).
pub fn orders() -> Vec<f64> {
    (1..100).map(|i| 1.0 + f64::from(i) / 10.0).chain(integer_orders().filter(|a| *a > 10.95)).collect()
}

/// Least ε over [`orders`] after all steps, and the order that gives it.
///
/// `(α−1) ε(α)` is convex, hence ε(α) has one valley: integer orders find it, and only the fractional ones beside it,
/// whose series are costlier, need a look. The minimum is that of the whole grid.
///
/// # Errors
/// Arguments out of range.
pub fn epsilon(mechanism: &Mechanism, delta: f64) -> Result<(f64, f64)> {
    mechanism.validate()?;
    check(delta > 0.0 && delta < 1.0, "epsilon", "delta", delta, "in (0, 1)")?;
    if mechanism.steps == 0 {
        return Ok((0.0, 2.0));
    }
    let steps = mechanism.steps as f64;
    let at = |alpha: f64| (epsilon_from(alpha, steps * one_step(mechanism, alpha), delta), alpha);
    let better = |a: (f64, f64), b: (f64, f64)| if b.0 < a.0 { b } else { a };
    let mut best = (f64::INFINITY, 2.0);
    let mut rising = 0;
    for alpha in integer_orders() {
        let candidate = at(alpha);
        rising = if candidate.0 > best.0 { rising + 1 } else { 0 };
        best = better(best, candidate);
        // one valley: two rises in a row (against rounding) and the rest can only be worse
        if rising == 2 {
            break;
        }
    }
    let valley = best.1;
    if valley <= 11.0 {
        for i in 1..100 {
            let alpha = 1.0 + f64::from(i) / 10.0;
            if alpha.fract() != 0.0 && (alpha - valley).abs() < 1.0 {
                best = better(best, at(alpha));
            }
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mechanism(z: f64, q: f64, steps: u64, sampling: Sampling) -> Mechanism {
        Mechanism { noise_multiplier: z, sampling_rate: q, steps, sampling }
    }

    /// `E_{x∼N(0,z²)} [(1 − q + q e^{(2x−1)/2z²})^α]` by the midpoint rule.
    fn log_a_by_quadrature(q: f64, z: f64, alpha: f64) -> f64 {
        let h = 1e-3 * z;
        let sum: f64 = (-20_000..40_000)
            .map(|i| {
                let x = (f64::from(i) + 0.5) * h;
                let density = (-0.5 * x * x / (z * z)).exp() / (z * (2.0 * std::f64::consts::PI).sqrt());
                density * (1.0 - q + q * ((2.0 * x - 1.0) / (2.0 * z * z)).exp()).powf(alpha) * h
            })
            .sum();
        sum.ln()
    }

    #[test]
    fn both_series_equal_the_integral() {
        for (q, z) in [(0.01, 1.0), (0.1, 2.0), (0.3, 1.5)] {
            for alpha in [2.0, 3.0, 7.0] {
                let exact = log_a_by_quadrature(q, z, alpha) / (alpha - 1.0);
                assert!((poisson(q, z, alpha) / exact - 1.0).abs() < 1e-6, "{q} {z} {alpha}");
            }
            for alpha in [1.5, 2.5, 4.5] {
                let exact = log_a_by_quadrature(q, z, alpha) / (alpha - 1.0);
                let bound = poisson(q, z, alpha);
                // a series that does not converge proves nothing, and says so; at small rates the bound is near
                assert!(bound >= exact * (1.0 - 1e-6), "{q} {z} {alpha}: {bound} {exact}");
                assert!(q > 0.05 || bound <= exact * 1.05, "{q} {z} {alpha}: {bound} {exact}");
            }
        }
    }

    #[test]
    fn the_shortcut_finds_the_minimum_of_the_whole_grid() {
        for (z, q, steps, delta) in [
            (0.6, 0.01, 1, 1e-5),
            (1.0, 0.1, 5000, 1e-5),
            (1.0, 0.01, 1000, 1e-6),
            (4.0, 0.25, 100, 1e-5),
            (8.0, 0.5, 1, 1e-5),
            (20.0, 0.001, 10, 1e-5),
        ] {
            let m = mechanism(z, q, steps, Sampling::Poisson);
            let whole = orders()
                .into_iter()
                .map(|a| epsilon_from(a, steps as f64 * one_step(&m, a), delta))
                .fold(f64::INFINITY, f64::min);
            assert_eq!(epsilon(&m, delta).unwrap().0, whole, "{z} {q} {steps}");
        }
    }

    #[test]
    fn fixed_size_sampling_is_accounted_apart() {
        let poisson = epsilon(&mechanism(1.0, 0.01, 100, Sampling::Poisson), 1e-5).unwrap().0;
        let fixed = epsilon(&mechanism(1.0, 0.01, 100, Sampling::FixedSize), 1e-5).unwrap().0;
        assert!(fixed > poisson);
        // without sampling, replacement costs what half the noise costs
        let whole = epsilon(&mechanism(2.0, 1.0, 10, Sampling::FixedSize), 1e-5).unwrap();
        assert_eq!(whole, epsilon(&mechanism(1.0, 1.0, 10, Sampling::Poisson), 1e-5).unwrap());
        // the interpolated cumulant meets the integers and rises with the order
        assert!(fixed_size(0.1, 1.0, 3.0) <= fixed_size(0.1, 1.0, 3.5));
    }

    #[test]
    fn log_erfc_is_smooth_where_its_two_forms_meet() {
        assert!((log_erfc(25.0 - 1e-12) - log_erfc(25.0)).abs() < 1e-9);
        assert!((log_erfc(0.0)).abs() < 1e-15);
        assert!((log_erfc(-30.0) - 2.0f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn delta_and_epsilon_invert_each_other() {
        let (alpha, r, delta) = (8.0, 0.5, 1e-5);
        let back = delta_from(alpha, r, epsilon_from(alpha, r, delta));
        assert!((back / delta - 1.0).abs() < 1e-9);
    }
}
