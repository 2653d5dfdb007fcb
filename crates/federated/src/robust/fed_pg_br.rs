//! FedPG-BR (Fan et al. 2021): Byzantine-resilient federated policy gradient. The server filters the clients'
//! batch gradients by their concentration around a vector median, then takes variance-reduced steps (SVRPG) with
//! its own few trajectories.
//!
//! The filter's constants follow the authors' published code, not the text of the paper, whose radii are half as
//! wide: `T = 2σ √(V/B)` where the paper's lemma has `σ √(V/B)`.

use crate::error::{Error, Result, check, same_length};
use crate::kernel::{Real, squared_distances, weighted_sum};
use rand::Rng;
use rand_distr::{Distribution, Geometric};
use serde::{Deserialize, Serialize};

/// Settings of the filter and of the inner loop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FedPgBrConfig {
    /// `α ∈ [0, 1/2)`: the largest share of Byzantine clients; code: 0.4.
    pub alpha: f64,
    /// `δ ∈ (0, 1)`: failure probability of the concentration bound; code: 0.6.
    pub delta: f64,
    /// `σ > 0`: bound on the deviation of one trajectory's gradient; code: 0.03 (CartPole), 0.06 and more elsewhere.
    pub sigma: f64,
    /// `b ≥ 1`: trajectories per inner step of the server; code: 4 (CartPole).
    pub mini_batch: usize,
}

impl Default for FedPgBrConfig {
    fn default() -> Self {
        Self { alpha: 0.4, delta: 0.6, sigma: 0.03, mini_batch: 4 }
    }
}

impl FedPgBrConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        check((0.0..0.5).contains(&self.alpha), "fed_pg_br", "alpha", self.alpha, "in [0, 0.5)")?;
        check(self.delta > 0.0 && self.delta < 1.0, "fed_pg_br", "delta", self.delta, "in (0, 1)")?;
        check(self.sigma > 0.0, "fed_pg_br", "sigma", self.sigma, "> 0")?;
        check(self.mini_batch > 0, "fed_pg_br", "mini_batch", self.mini_batch, "≥ 1")
    }
}

/// What the filter decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Filtered<F> {
    /// `G`: positions of the accepted gradients, ascending.
    pub accepted: Vec<usize>,
    /// Their mean, `[D]`.
    pub mean: Vec<F>,
}

/// The aggregation rule of FedPG-BR over `gradients: [K][D]`, each from a batch of `batch = B` trajectories.
///
/// With `V = 2 ln(2K/δ)` and radius `T = 2σ√(V/B)`: `S = {k : #{k' : ‖μ_k − μ_k'‖ ≤ T} > K/2}`, `μ_mom` the member
/// of `S` nearest its mean, `G = {k : ‖μ_k − μ_mom‖ ≤ T}`. If `S` is empty or `|G| < (1−α)K`, all is repeated with
/// radius `2σ`. `None` when that fails too: the round is skipped.
///
/// # Errors
/// Fewer than one gradient, unequal lengths, settings out of range.
pub fn filter<F: Real>(
    config: &FedPgBrConfig,
    gradients: &[&[F]],
    batch: usize,
) -> Result<Option<Filtered<F>>> {
    config.validate()?;
    check(batch > 0, "fed_pg_br", "batch", batch, "≥ 1")?;
    if gradients.is_empty() {
        return Err(Error::TooFew { operation: "fed_pg_br", needed: 1, got: 0 });
    }
    same_length("fed_pg_br", gradients)?;
    let k = gradients.len() as f64;
    let v = 2.0 * (2.0 * k / config.delta).ln();
    let distances: Vec<f64> = squared_distances(gradients).into_iter().map(f64::sqrt).collect();
    for radius in [2.0 * config.sigma * (v / batch as f64).sqrt(), 2.0 * config.sigma] {
        let accepted = concentrated(gradients, &distances, radius);
        if !accepted.is_empty() && accepted.len() as f64 >= (1.0 - config.alpha) * k {
            let chosen: Vec<&[F]> = accepted.iter().map(|&i| gradients[i]).collect();
            return Ok(Some(Filtered { mean: mean(&chosen), accepted }));
        }
    }
    Ok(None)
}

fn mean<F: Real>(vectors: &[&[F]]) -> Vec<F> {
    let mut out = vec![F::default(); vectors.first().map_or(0, |v| v.len())];
    weighted_sum(vectors, &vec![1.0 / vectors.len() as f64; vectors.len()], &mut out);
    out
}

/// Everyone within `radius` of the vector median; empty when no one has a majority around it.
fn concentrated<F: Real>(gradients: &[&[F]], distances: &[f64], radius: f64) -> Vec<usize> {
    let k = gradients.len();
    // a gradient with a NaN is at no distance ≤ radius, not even from itself
    let near = |i: usize, j: usize| {
        if i == j {
            gradients[i].iter().all(|x| x.to_f64().is_finite())
        } else {
            distances[i * k + j] <= radius
        }
    };
    let central: Vec<usize> = (0..k).filter(|&i| 2 * (0..k).filter(|&j| near(i, j)).count() > k).collect();
    if central.is_empty() {
        return central;
    }
    let vectors: Vec<&[F]> = central.iter().map(|&i| gradients[i]).collect();
    let centre = mean(&vectors);
    let far = |i: &&usize| crate::kernel::distance(gradients[**i], &centre);
    match central.iter().min_by(|a, b| far(a).total_cmp(&far(b))) {
        Some(&median) => (0..k).filter(|&j| near(median, j)).collect(),
        None => Vec::new(),
    }
}

/// `N_t ~ Geometric(b / (B + b))`: the inner steps of this round, counted from 0 failures; mean `B/b`.
///
/// # Errors
/// Settings out of range.
pub fn inner_steps(config: &FedPgBrConfig, batch: usize, rng: &mut impl Rng) -> Result<u64> {
    config.validate()?;
    let p = config.mini_batch as f64 / (batch + config.mini_batch) as f64;
    let geometric = Geometric::new(p).map_err(|_| Error::config("fed_pg_br", "batch", batch, "≥ 1"))?;
    Ok(geometric.sample(rng))
}

/// The variance-reduced direction `v = g(θ_n) − ω g(θ_0) + μ` of an inner step (paper, algorithm 1 line 11), in
/// place of `current`. `snapshot` is the importance-weighted gradient at `θ_0` on the same trajectories.
///
/// # Errors
/// Unequal lengths.
pub fn reduce_variance(current: &mut [f32], snapshot: &[f32], mu: &[f32]) -> Result<()> {
    if current.len() != snapshot.len() || current.len() != mu.len() {
        return Err(Error::shape("fed_pg_br", current.len(), format!("{} and {}", snapshot.len(), mu.len())));
    }
    for ((v, s), m) in current.iter_mut().zip(snapshot).zip(mu) {
        *v += m - s;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn gradients(k: usize, bad: usize, spread: f32) -> Vec<Vec<f32>> {
        let mut rng = rl_core::seed::SeedStream::new(1).stream("fed_pg_br", 0);
        (0..k)
            .map(|i| {
                (0..20)
                    .map(|_| if i < bad { -3.0 } else { 0.01 + rng.random_range(-spread..spread) })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn it_keeps_the_honest_and_drops_the_others() {
        let g = gradients(10, 3, 1e-3);
        let refs: Vec<&[f32]> = g.iter().map(|x| x.as_slice()).collect();
        let filtered = filter(&FedPgBrConfig::default(), &refs, 16).unwrap().unwrap();
        assert_eq!(filtered.accepted, [3, 4, 5, 6, 7, 8, 9]);
        assert!(filtered.mean.iter().all(|x| (x - 0.01).abs() < 1e-3));
    }

    #[test]
    fn a_round_without_agreement_is_skipped() {
        let g = gradients(10, 3, 5.0);
        let refs: Vec<&[f32]> = g.iter().map(|x| x.as_slice()).collect();
        assert_eq!(filter(&FedPgBrConfig::default(), &refs, 16).unwrap(), None);
    }

    #[test]
    fn too_many_attackers_do_not_pass_as_the_majority_of_a_round() {
        let mut g = gradients(10, 5, 1e-3);
        g[9][0] = f32::NAN;
        let refs: Vec<&[f32]> = g.iter().map(|x| x.as_slice()).collect();
        assert_eq!(filter(&FedPgBrConfig::default(), &refs, 16).unwrap(), None);
    }

    #[test]
    fn the_inner_loop_has_the_mean_length_of_svrpg() {
        let mut rng = rl_core::seed::SeedStream::new(2).stream("steps", 0);
        let total: u64 =
            (0..20_000).map(|_| inner_steps(&FedPgBrConfig::default(), 16, &mut rng).unwrap()).sum();
        assert!((total as f64 / 20_000.0 - 4.0).abs() < 0.15);
    }
}
