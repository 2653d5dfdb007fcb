//! Bandits that begin with the log of an agent who saw more: causal bounds on the arms.
//!
//! Zhang & Bareinboim, *Transfer learning in multi-armed bandits: a causal approach* (IJCAI 2017). A log of a confounded
//! behaviour does not give E[Y | do(x)], but Manski's interval around it (theorem 1):
//! P(x, Y = 1) ≤ E[Y | do(x)] ≤ P(x, Y = 1) + 1 − P(x). B-kl-UCB drops arms whose upper bound lies below another arm's
//! lower bound and clips the index of the others at their bounds (algorithm 2).

use super::arms::kl_ucb_index;
use super::structural::StructuralRun;
use crate::error::{Error, Result};
use rand::{Rng, RngExt};

/// Manski's interval for every arm from the joint P(x, y) of the log, `joint[x] = [P(x, Y = 0), P(x, Y = 1)]`.
///
/// # Errors
/// [`Error::Data`] when the table is no distribution.
pub fn causal_arm_bounds(joint: &[[f64; 2]]) -> Result<Vec<(f64, f64)>> {
    let total: f64 = joint.iter().flatten().sum();
    if (total - 1.0).abs() > 1e-9 || joint.iter().flatten().any(|p| *p < 0.0) {
        return Err(Error::data("joint", format!("is no distribution: the sum is {total}")));
    }
    Ok(joint.iter().map(|[lost, won]| (*won, 1.0 - lost)).collect())
}

/// A run of kl-UCB on Bernoulli arms with the given means, its indices clipped at `bounds` (B-kl-UCB); bounds of (0, 1)
/// make it plain kl-UCB.
///
/// # Errors
/// [`Error::Shape`] without arms or with another number of bounds, [`Error::Data`] for means or bounds outside [0, 1] or a
/// lower bound above the upper one.
pub fn play_with_bounds(
    means: &[f64],
    bounds: &[(f64, f64)],
    steps: usize,
    rng: &mut impl Rng,
) -> Result<StructuralRun> {
    check(means, bounds)?;
    let floor = bounds.iter().map(|b| b.0).fold(0.0, f64::max);
    let kept: Vec<usize> = (0..means.len()).filter(|&x| bounds[x].1 >= floor).collect();
    let best = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut wins, mut plays) = (vec![0.0; means.len()], vec![0.0; means.len()]);
    let mut run = StructuralRun { regret: Vec::with_capacity(steps), optimal: Vec::with_capacity(steps) };
    let mut total = 0.0;
    for t in 1..=steps {
        let index = |x: usize| {
            let own = if plays[x] == 0.0 { 1.0 } else { kl_ucb_index(wins[x] / plays[x], plays[x], t) };
            (own.min(bounds[x].1), plays[x] == 0.0)
        };
        // Of equal indices the arm that was never played comes first, so that no clipped arm starves another.
        let mut choice = (f64::NEG_INFINITY, false, kept[0]);
        for &x in &kept {
            let (value, new) = index(x);
            if value > choice.0 || (value == choice.0 && new && !choice.1) {
                choice = (value, new, x);
            }
        }
        let arm = choice.2;
        wins[arm] += f64::from(u8::from(rng.random::<f64>() < means[arm]));
        plays[arm] += 1.0;
        total += best - means[arm];
        run.regret.push(total);
        run.optimal.push(best - means[arm] < 1e-12);
    }
    Ok(run)
}

fn check(means: &[f64], bounds: &[(f64, f64)]) -> Result<()> {
    if means.is_empty() || means.len() != bounds.len() {
        let expected = format!("one pair of bounds for each of {} arms, at least one arm", means.len());
        return Err(Error::shape("play_with_bounds", expected, bounds.len()));
    }
    if let Some(x) = means.iter().position(|m| !(0.0..=1.0).contains(m)) {
        return Err(Error::data(format!("mean of arm {x}"), format!("{} must be in [0, 1]", means[x])));
    }
    match bounds.iter().position(|&(low, high)| !(low <= high && low >= 0.0 && high <= 1.0)) {
        Some(x) => {
            let (low, high) = bounds[x];
            let reason = format!("({low}, {high}) must fulfil 0 <= lower <= upper <= 1");
            Err(Error::data(format!("bounds of arm {x}"), reason))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rl_core::SeedStream;

    #[test]
    fn the_confounded_log_spares_regret() {
        // U = 1 with 0.1. Behaviour: arm 0 unless U, then arm 1. Arm 0 pays 0.1; arm 1 pays 0.8, with U nothing. The log
        // shows arm 1 paying 0 and prefers arm 0; its bounds are [0.09, 0.19] and [0, 0.9].
        let joint = [[0.81, 0.09], [0.1, 0.0]];
        let bounds = causal_arm_bounds(&joint).unwrap();
        assert!((bounds[0].0 - 0.09).abs() < 1e-12 && (bounds[0].1 - 0.19).abs() < 1e-12);
        assert!((bounds[1].0).abs() < 1e-12 && (bounds[1].1 - 0.9).abs() < 1e-12);
        let means = [0.1, 0.72];
        let regret = |bounds: &[(f64, f64)]| {
            let last = |seed| {
                let mut rng = SeedStream::new(seed).stream("transfer", 0);
                play_with_bounds(&means, bounds, 2000, &mut rng).unwrap().regret[1999]
            };
            (0..10).map(last).sum::<f64>() / 10.0
        };
        let (plain, clipped) = (regret(&[(0.0, 1.0); 2]), regret(&bounds));
        assert!(plain > 2.0 && clipped < 0.5 * plain, "regret {clipped} with the bounds, {plain} without");
        assert!(play_with_bounds(&means, &bounds[..1], 5, &mut SeedStream::new(0).stream("x", 0)).is_err());
        assert!(causal_arm_bounds(&[[0.5, 0.6]]).is_err());
    }

    proptest! {
        /// Any hidden variable, any behaviour: E[Y | do(x)] lies within.
        #[test]
        fn the_truth_lies_within(weights in proptest::collection::vec(0.01f64..1.0, 3), pays in proptest::collection::vec(0.0f64..1.0, 6), acts in proptest::collection::vec(0.0f64..1.0, 3)) {
            let total: f64 = weights.iter().sum();
            let (mut joint, mut truth) = ([[0.0; 2]; 2], [0.0; 2]);
            for (u, weight) in weights.iter().enumerate() {
                let p = weight / total;
                for (x, cell) in joint.iter_mut().enumerate() {
                    let (act, pay) = (if x == 1 { acts[u] } else { 1.0 - acts[u] }, pays[2 * u + x]);
                    cell[1] += p * act * pay;
                    cell[0] += p * act * (1.0 - pay);
                    truth[x] += p * pay;
                }
            }
            for (bound, truth) in causal_arm_bounds(&joint).unwrap().iter().zip(truth) {
                prop_assert!(bound.0 <= truth + 1e-12 && truth <= bound.1 + 1e-12);
            }
        }
    }
}
