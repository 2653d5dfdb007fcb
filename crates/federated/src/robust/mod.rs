//! Aggregation that withstands clients who send anything they like.
//!
//! Rules over `[N][D]` updates of which at most `f` are malicious: Krum and Multi-Krum (Blanchard et al. 2017),
//! Bulyan (El Mhamdi et al. 2018), the coordinate-wise trimmed mean and median (Yin et al. 2018), the geometric
//! median (Pillutla et al. 2022). The gradient filter of FedPG-BR is in [`fed_pg_br`], attacks are in [`attack`].
//! A NaN sorts as +∞ and lies infinitely far from everything, so it is dropped like any outlier.

pub mod attack;
pub mod fed_pg_br;

use crate::error::{Error, Result, check, same_length};
use crate::kernel::{Real, distance, reduce_sorted, squared_distances, weighted_sum};
use crate::strategy::{Reply, Strategy, not_finite, vectors_and_weights, weighted_mean};
use serde::{Deserialize, Serialize};

fn need(operation: &'static str, got: usize, needed: usize) -> Result<()> {
    if got < needed { Err(Error::TooFew { operation, needed, got }) } else { Ok(()) }
}

fn finite<F: Real>(operation: &'static str, vectors: &[&[F]], out: Vec<F>) -> Result<Vec<F>> {
    if out.iter().all(|x| x.to_f64().is_finite()) { Ok(out) } else { Err(not_finite(operation, vectors)) }
}

/// Per coordinate, the mean without the `⌊β N⌋` smallest and largest values (Yin et al. 2018, definition 2).
/// Unweighted. `β ∈ [0, 1/2)`.
///
/// # Errors
/// No vectors, unequal lengths, `β` out of range, or more NaN or infinities in a coordinate than are cut.
pub fn trimmed_mean<F: Real>(vectors: &[&[F]], proportion: f64) -> Result<Vec<F>> {
    const OPERATION: &str = "trimmed_mean";
    check((0.0..0.5).contains(&proportion), OPERATION, "proportion", proportion, "in [0, 0.5)")?;
    need(OPERATION, vectors.len(), 1)?;
    let mut out = vec![F::default(); same_length(OPERATION, vectors)?];
    let cut = (proportion * vectors.len() as f64) as usize;
    let kept = cut..vectors.len() - cut;
    let scale = 1.0 / kept.len() as f64;
    reduce_sorted(vectors, &mut out, |rows, out| {
        for (lane, o) in out.iter_mut().enumerate() {
            let sum: f64 = rows[kept.clone()].iter().map(|row| row[lane].to_f64()).sum();
            *o = F::from_f64(sum * scale);
        }
    });
    finite(OPERATION, vectors, out)
}

/// Per coordinate, the median; of an even number the mean of the middle two (Yin et al. 2018, definition 1).
///
/// # Errors
/// As [`trimmed_mean`].
pub fn coordinate_median<F: Real>(vectors: &[&[F]]) -> Result<Vec<F>> {
    const OPERATION: &str = "coordinate_median";
    need(OPERATION, vectors.len(), 1)?;
    let mut out = vec![F::default(); same_length(OPERATION, vectors)?];
    let (low, high) = ((vectors.len() - 1) / 2, vectors.len() / 2);
    reduce_sorted(vectors, &mut out, |rows, out| {
        for (lane, o) in out.iter_mut().enumerate() {
            *o = F::from_f64(0.5 * (rows[low][lane].to_f64() + rows[high][lane].to_f64()));
        }
    });
    finite(OPERATION, vectors, out)
}

/// Krum's scores: for each vector the sum of its `max(1, N − f − 2)` smallest squared distances to others.
/// `distances: [N · N]`, `alive` the rows still in play.
fn krum_scores(distances: &[f64], n: usize, alive: &[usize], malicious: usize) -> Vec<f64> {
    let closest = alive.len().saturating_sub(malicious + 2).max(1);
    let score = |&i: &usize| {
        let key = |d: f64| if d.is_nan() { f64::INFINITY } else { d };
        let mut row: Vec<f64> =
            alive.iter().filter(|j| **j != i).map(|&j| key(distances[i * n + j])).collect();
        row.sort_by(f64::total_cmp);
        row.iter().take(closest).sum()
    };
    alive.iter().map(score).collect()
}

fn arg_min(scores: &[f64]) -> usize {
    (0..scores.len()).min_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0)
}

/// The position of the vector nearest to its neighbours: the least sum of the `max(1, N − f − 2)` smallest
/// squared distances (Blanchard et al. 2017, section 4). The guarantee needs `N ≥ 2f + 3`.
///
/// # Errors
/// No vectors or unequal lengths.
pub fn krum<F: Real>(vectors: &[&[F]], malicious: usize) -> Result<usize> {
    need("krum", vectors.len(), 1)?;
    same_length("krum", vectors)?;
    let all: Vec<usize> = (0..vectors.len()).collect();
    let best = arg_min(&krum_scores(&squared_distances(vectors), all.len(), &all, malicious));
    if vectors[best].iter().any(|x| !x.to_f64().is_finite()) {
        return Err(not_finite("krum", vectors));
    }
    Ok(best)
}

/// The weighted mean of the `keep` vectors with the best Krum scores (Blanchard et al. 2017, section 6), weighted
/// by examples as in Flower; equal weights give the paper's rule.
///
/// # Errors
/// `keep` not in `1..=N`, unequal lengths, bad weights.
pub fn multi_krum<F: Real>(
    vectors: &[&[F]],
    weights: &[f64],
    malicious: usize,
    keep: usize,
) -> Result<Vec<F>> {
    const OPERATION: &str = "multi_krum";
    same_length(OPERATION, vectors)?;
    check(
        (1..=vectors.len()).contains(&keep),
        OPERATION,
        "keep",
        keep,
        "between 1 and the number of clients",
    )?;
    if weights.len() != vectors.len() {
        return Err(Error::shape(OPERATION, format!("{} weights", vectors.len()), weights.len()));
    }
    let all: Vec<usize> = (0..vectors.len()).collect();
    let scores = krum_scores(&squared_distances(vectors), all.len(), &all, malicious);
    let mut order = all;
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (best, best_weights): (Vec<&[F]>, Vec<f64>) =
        order[..keep].iter().map(|&i| (vectors[i], weights[i])).unzip();
    weighted_mean(&best, &best_weights)
}

/// Bulyan over Krum (El Mhamdi et al. 2018, section 4): `θ = N − 2f` vectors are picked by repeated Krum, then
/// per coordinate the `β = θ − 2f` values nearest the median are averaged. Needs `N ≥ 4f + 3`.
///
/// # Errors
/// Too few clients, unequal lengths, numbers that are not finite in what was picked.
pub fn bulyan<F: Real>(vectors: &[&[F]], malicious: usize) -> Result<Vec<F>> {
    const OPERATION: &str = "bulyan";
    let n = vectors.len();
    need(OPERATION, n, malicious.saturating_mul(4).saturating_add(3))?;
    let mut out = vec![F::default(); same_length(OPERATION, vectors)?];
    let distances = squared_distances(vectors);
    let mut alive: Vec<usize> = (0..n).collect();
    let mut picked: Vec<&[F]> = Vec::new();
    for _ in 0..n - 2 * malicious {
        let best = arg_min(&krum_scores(&distances, n, &alive, malicious));
        picked.push(vectors[alive.remove(best)]);
    }
    let theta = picked.len();
    let beta = theta - 2 * malicious;
    reduce_sorted(&picked, &mut out, |rows, out| {
        for (lane, o) in out.iter_mut().enumerate() {
            let value = |i: usize| rows[i][lane].to_f64();
            let median = 0.5 * (value((theta - 1) / 2) + value(theta / 2));
            // the β nearest values are neighbours in sorted order: slide the window while that improves it
            let mut first = 0;
            while first + beta < theta && (value(first + beta) - median).abs() < (value(first) - median).abs()
            {
                first += 1;
            }
            *o = F::from_f64((first..first + beta).map(value).sum::<f64>() / beta as f64);
        }
    });
    finite(OPERATION, &picked, out)
}

/// The weighted geometric median `argmin_z Σ w_i ‖z − x_i‖` by the smoothed Weiszfeld iteration of RFA
/// (Pillutla et al. 2022, algorithm 2): `z ← Σ β_i x_i / Σ β_i`, `β_i = w_i / max(ν, ‖z − x_i‖)`.
///
/// Starts from the coordinate-wise median rather than the paper's mean, which an attacker can put anywhere, and
/// stops early when `z` no longer moves relative to `ν`.
///
/// # Errors
/// No vectors, unequal lengths, bad weights, `ν ≤ 0`.
pub fn geometric_median<F: Real>(
    vectors: &[&[F]],
    weights: &[f64],
    nu: f64,
    iterations: usize,
) -> Result<Vec<F>> {
    const OPERATION: &str = "geometric_median";
    check(nu > 0.0, OPERATION, "nu", nu, "> 0")?;
    let valid = weights.len() == vectors.len() && weights.iter().all(|w| *w >= 0.0 && w.is_finite());
    check(valid, OPERATION, "weights", format!("{weights:?}"), "one per client, finite, ≥ 0")?;
    let mut z = coordinate_median(vectors)?;
    // whoever sends a NaN has weight zero, and is left out because 0 · NaN is NaN
    let clean = |v: &&[F]| v.iter().all(|x| x.to_f64().is_finite());
    let (vectors, weights): (Vec<&[F]>, Vec<f64>) =
        vectors.iter().zip(weights).filter(|(v, _)| clean(v)).map(|(v, w)| (*v, *w)).unzip();
    let mut next = z.clone();
    for _ in 0..iterations {
        let mut pull: Vec<f64> =
            vectors.iter().zip(&weights).map(|(x, w)| w / distance(&z, x).max(nu)).collect();
        let total: f64 = pull.iter().sum();
        check(total > 0.0, OPERATION, "weights", total, "not all 0")?;
        pull.iter_mut().for_each(|p| *p /= total);
        weighted_sum(&vectors, &pull, &mut next);
        let moved = distance(&z, &next);
        std::mem::swap(&mut z, &mut next);
        if moved <= nu * 1e-3 {
            break;
        }
    }
    finite(OPERATION, &vectors, z)
}

/// A robust rule as a [`Strategy`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RobustRule {
    /// [`krum`].
    Krum {
        /// `f`.
        malicious: usize,
    },
    /// [`multi_krum`].
    MultiKrum {
        /// `f`.
        malicious: usize,
        /// Vectors kept.
        keep: usize,
    },
    /// [`bulyan`].
    Bulyan {
        /// `f`.
        malicious: usize,
    },
    /// [`trimmed_mean`].
    TrimmedMean {
        /// `β`.
        proportion: f64,
    },
    /// [`coordinate_median`].
    CoordinateMedian,
    /// [`geometric_median`].
    GeometricMedian {
        /// `ν`; the paper uses 1e-6.
        nu: f64,
        /// Iterations; the paper finds 3 to 10 enough.
        iterations: usize,
    },
}

impl Strategy for RobustRule {
    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()> {
        if let Some(odd) = replies.iter().find(|r| r.parameters.len() != global.len()) {
            return Err(Error::shape(
                "robust rule",
                global.len(),
                format!("{} from client {}", odd.parameters.len(), odd.client),
            ));
        }
        let (vectors, weights) = vectors_and_weights(replies);
        let next = match *self {
            Self::Krum { malicious } => vectors[krum(&vectors, malicious)?].to_vec(),
            Self::MultiKrum { malicious, keep } => multi_krum(&vectors, &weights, malicious, keep)?,
            Self::Bulyan { malicious } => bulyan(&vectors, malicious)?,
            Self::TrimmedMean { proportion } => trimmed_mean(&vectors, proportion)?,
            Self::CoordinateMedian => coordinate_median(&vectors)?,
            Self::GeometricMedian { nu, iterations } => geometric_median(&vectors, &weights, nu, iterations)?,
        };
        global.copy_from_slice(&next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
    use rand::RngExt;

    fn honest_and_bad(n: usize, bad: usize, value: f32, seed: u64) -> Vec<Vec<f32>> {
        let mut rng = rl_core::seed::SeedStream::new(seed).stream("robust", 0);
        let d = 50;
        (0..n)
            .map(|i| {
                (0..d).map(|_| if i < bad { value } else { 1.0 + rng.random_range(-0.1..0.1) }).collect()
            })
            .collect()
    }

    fn refs(v: &[Vec<f32>]) -> Vec<&[f32]> {
        v.iter().map(|x| x.as_slice()).collect()
    }

    #[test]
    fn every_rule_stays_with_the_honest_whatever_is_sent() {
        for value in [-1e30, 1e6, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let v = honest_and_bad(11, 2, value, 3);
            let replies: Vec<Reply> =
                v.iter().enumerate().map(|(i, p)| crate::strategy::reply(i as u64, p, 1.0)).collect();
            for mut rule in [
                RobustRule::Krum { malicious: 2 },
                RobustRule::MultiKrum { malicious: 2, keep: 5 },
                RobustRule::Bulyan { malicious: 2 },
                RobustRule::TrimmedMean { proportion: 0.2 },
                RobustRule::CoordinateMedian,
                RobustRule::GeometricMedian { nu: 1e-6, iterations: 10 },
            ] {
                let mut global = vec![0.0f32; 50];
                rule.aggregate(&mut global, &replies).unwrap_or_else(|e| panic!("{rule:?} {value}: {e}"));
                assert!(global.iter().all(|x| (x - 1.0).abs() < 0.12), "{rule:?} with {value}: {global:?}");
            }
        }
    }

    #[test]
    fn bulyan_and_the_twin_that_sorts_by_distance_agree() {
        let v = honest_and_bad(11, 0, 0.0, 5);
        let fast = bulyan(&refs(&v), 2).unwrap();
        let distances = squared_distances(&refs(&v));
        let mut alive: Vec<usize> = (0..11).collect();
        let mut picked = vec![];
        for _ in 0..7 {
            let best = arg_min(&krum_scores(&distances, 11, &alive, 2));
            picked.push(&v[alive.remove(best)]);
        }
        for j in 0..50 {
            let mut column: Vec<f32> = picked.iter().map(|x| x[j]).collect();
            column.sort_by(f32::total_cmp);
            let median = column[3];
            column.sort_by(|a, b| (a - median).abs().total_cmp(&(b - median).abs()));
            let plain = column[..3].iter().sum::<f32>() / 3.0;
            assert!((plain - fast[j]).abs() < 1e-6);
        }
    }

    #[test]
    fn the_geometric_median_of_a_line_is_its_median() {
        let v = geometric_median(&[&[0.0f64], &[1.0], &[10.0]], &[1.0; 3], 1e-9, 500).unwrap();
        assert!((v[0] - 1.0).abs() < 1e-3, "{v:?}");
        // Fermat point of an equilateral triangle: its centre
        let h = 3.0f64.sqrt() / 2.0;
        let v = geometric_median(&[&[0.0, 0.0], &[1.0, 0.0], &[0.5, h]], &[1.0; 3], 1e-9, 500).unwrap();
        assert!((v[0] - 0.5).abs() < 1e-6 && (v[1] - h / 3.0).abs() < 1e-6);
    }

    #[test]
    fn limits_are_checked() {
        assert!(bulyan(&[&[1.0f32][..]; 10], 2).is_err());
        assert!(trimmed_mean(&[&[1.0f32][..]; 4], 0.5).is_err());
        assert!(multi_krum(&[&[1.0f32][..]; 4], &[1.0; 4], 1, 5).is_err());
        assert!(krum::<f32>(&[], 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn trimmed_mean_equals_sorting_each_column(n in 1usize..30, p in 0.0f64..0.49, seed in any::<u64>()) {
            let v = honest_and_bad(n, n / 3, -3.0, seed);
            let fast = trimmed_mean(&refs(&v), p).unwrap();
            let cut = (p * n as f64) as usize;
            for j in 0..50 {
                let mut column: Vec<f32> = v.iter().map(|x| x[j]).collect();
                column.sort_by(f32::total_cmp);
                let kept = &column[cut..n - cut];
                let plain = kept.iter().map(|x| f64::from(*x)).sum::<f64>() / kept.len() as f64;
                prop_assert!((plain - f64::from(fast[j])).abs() < 1e-6);
            }
        }
    }
}
