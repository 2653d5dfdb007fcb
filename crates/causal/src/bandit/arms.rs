//! Two classic index policies for Bernoulli arms: Thompson sampling and KL-UCB.
//!
//! Thompson (1933); Garivier & Cappé, *The KL-UCB algorithm for bounded stochastic bandits and beyond* (COLT 2011).

use rand::Rng;
use rand_distr::{Beta, Distribution};
use serde::{Deserialize, Serialize};

/// How an arm is chosen from the wins and plays so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmPolicy {
    /// Sample every arm's mean from Beta(1 + wins, 1 + losses) and take the largest.
    ThompsonSampling,
    /// Take the largest upper confidence bound max{q : n KL(mean, q) ≤ ln t + 3 ln ln t}.
    KlUcb,
}

impl ArmPolicy {
    /// The arm to play at step `t` (from 1); arms that were never played come first under KL-UCB.
    pub fn choose(self, wins: &[f64], plays: &[f64], t: usize, rng: &mut impl Rng) -> usize {
        let mut best = (f64::NEG_INFINITY, 0);
        for (arm, (&won, &played)) in wins.iter().zip(plays).enumerate() {
            let index = match self {
                Self::ThompsonSampling => sample_beta(1.0 + won, 1.0 + played - won, rng),
                Self::KlUcb if played == 0.0 => f64::INFINITY,
                Self::KlUcb => kl_ucb_index(won / played, played, t),
            };
            if index > best.0 {
                best = (index, arm);
            }
        }
        best.1
    }
}

/// A draw from Beta(a, b); the mean when the parameters are unusable.
pub(super) fn sample_beta(a: f64, b: f64, rng: &mut impl Rng) -> f64 {
    Beta::new(a, b).map_or(a / (a + b), |beta| beta.sample(rng))
}

/// max{q ≥ mean : n KL(mean, q) ≤ ln t + 3 ln ln t} by bisection to 10⁻⁶.
pub fn kl_ucb_index(mean: f64, plays: f64, t: usize) -> f64 {
    let time = (t as f64).max(3.0);
    let budget = (time.ln() + 3.0 * time.ln().ln()) / plays;
    let (mut low, mut high) = (mean, 1.0);
    while high - low > 1e-6 {
        let middle = 0.5 * (low + high);
        if bernoulli_kl(mean, middle) <= budget { low = middle } else { high = middle }
    }
    low
}

/// p ln(p/q) + (1 − p) ln((1 − p)/(1 − q)), with 0 ln 0 = 0.
fn bernoulli_kl(p: f64, q: f64) -> f64 {
    let term = |a: f64, b: f64| if a <= 0.0 { 0.0 } else { a * (a / b.max(1e-300)).ln() };
    term(p, q) + term(1.0 - p, 1.0 - q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_spends_its_whole_budget() {
        let q = kl_ucb_index(0.3, 50.0, 1000);
        let budget = (1000f64.ln() + 3.0 * 1000f64.ln().ln()) / 50.0;
        assert!(q > 0.3 && (bernoulli_kl(0.3, q) - budget).abs() < 1e-4);
        assert_eq!(bernoulli_kl(0.0, 0.5), 2f64.ln());
    }
}
