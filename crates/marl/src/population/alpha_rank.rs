//! α-rank (Omidshafiei et al. 2019, "α-Rank: Multi-Agent Evaluation by Evolution"), two populations.
//!
//! A Markov chain over pure profiles: from profile s one player at a time may change its strategy to σ, with
//! probability η ρ, η = 1 / Σ_k (|S_k| − 1) and the fixation probability of a mutant in a population of m,
//! ρ = (1 − e^{−u}) / (1 − e^{−mu}), u = α (payoff after − payoff before), ρ = 1/m at u = 0. The mass of the
//! stationary distribution ranks the profiles.

use crate::games::same_shape;
use crate::{Error, Result};
use nalgebra::DMatrix;

/// The stationary distribution over profiles, row-major `[m · n]`.
///
/// The chain is irreducible for every finite α, so the answer is unique; it is computed without subtractions
/// (Grassmann, Taksar and Heyman 1985), so it stays accurate when some transitions are as rare as 1e-200.
///
/// # Errors
/// [`Error::Shape`] when the payoffs differ in shape, [`Error::Config`] when `alpha` ≤ 0 or `population` < 2.
pub fn alpha_rank(a: &DMatrix<f64>, b: &DMatrix<f64>, alpha: f64, population: usize) -> Result<Vec<f64>> {
    same_shape("alpha_rank", a, b)?;
    if !(alpha > 0.0 && alpha.is_finite()) {
        return Err(Error::config("alpha_rank", "alpha", alpha, "finite and above 0"));
    }
    if population < 2 {
        return Err(Error::config("alpha_rank", "population", population, "at least 2"));
    }
    let (m, n) = a.shape();
    let eta = 1.0 / (m + n).saturating_sub(2).max(1) as f64;
    let mut chain = DMatrix::zeros(m * n, m * n);
    for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
        let here = i * n + j;
        for k in (0..m).filter(|&k| k != i) {
            chain[(here, k * n + j)] = eta * fixation(alpha * (a[(k, j)] - a[(i, j)]), population);
        }
        for k in (0..n).filter(|&k| k != j) {
            chain[(here, i * n + k)] = eta * fixation(alpha * (b[(i, k)] - b[(i, j)]), population);
        }
    }
    Ok(stationary(chain))
}

/// ρ(u) = (1 − e^{−u}) / (1 − e^{−mu}), continued to 1/m at 0.
fn fixation(u: f64, m: usize) -> f64 {
    let m = m as f64;
    match u {
        u if u.abs() < 1e-14 => 1.0 / m,
        // Written with e^{mu} for u < 0, where e^{−mu} may overflow; never exactly zero.
        u if u < 0.0 => (((1.0 - m) * -u).exp() * (-u.exp_m1()) / (-(m * u).exp_m1())).max(1e-300),
        u => (-u).exp_m1() / (-m * u).exp_m1(),
    }
}

/// The stationary distribution of an irreducible chain given by its off-diagonal rates.
fn stationary(mut rates: DMatrix<f64>) -> Vec<f64> {
    let n = rates.nrows();
    for last in (1..n).rev() {
        let leaving: f64 = (0..last).map(|j| rates[(last, j)]).sum();
        for i in 0..last {
            rates[(i, last)] /= leaving;
            for j in (0..last).filter(|&j| j != i) {
                rates[(i, j)] += rates[(i, last)] * rates[(last, j)];
            }
        }
    }
    let mut mass = vec![1.0; n];
    for k in 1..n {
        mass[k] = (0..k).map(|i| mass[i] * rates[(i, k)]).sum();
        // Masses may span hundreds of orders of magnitude.
        if mass[k] > 1e100 {
            let scale = mass[k];
            mass[..=k].iter_mut().for_each(|p| *p /= scale);
        }
    }
    let total: f64 = mass.iter().sum();
    mass.iter().map(|p| p / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::payoffs;

    #[test]
    fn cycles_share_and_dominance_takes_all() {
        let rps = payoffs(&[vec![0.0, -1.0, 1.0], vec![1.0, 0.0, -1.0], vec![-1.0, 1.0, 0.0]]).unwrap();
        for p in alpha_rank(&rps, &-&rps, 1.0, 50).unwrap() {
            assert!((p - 1.0 / 9.0).abs() < 1e-12);
        }
        let a = payoffs(&[vec![-1.0, -3.0], vec![0.0, -2.0]]).unwrap();
        let mass = alpha_rank(&a, &a.transpose(), 1.0, 50).unwrap();
        assert!(mass[3] > 0.999, "{mass:?}");
    }

    #[test]
    fn fixation_is_continuous_and_bounded() {
        assert!((fixation(1e-9, 50) - 0.02).abs() < 1e-9 && (fixation(-1e-9, 50) - 0.02).abs() < 1e-9);
        assert!(fixation(-100.0, 50) > 0.0 && fixation(100.0, 50) <= 1.0);
        assert!((fixation(-0.01, 50) / fixation(0.01, 50) - (-0.01f64 * 49.0).exp()).abs() < 1e-9);
    }
}
