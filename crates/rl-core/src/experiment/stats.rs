//! Statistics of few runs: what to report instead of a mean over three seeds.
//!
//! Agarwal, Schwarzer, Castro, Courville, Bellemare: Deep Reinforcement Learning at the Edge of the Statistical
//! Precipice, NeurIPS 2021. Scores come as one slice of runs per task; the functions are pure, randomness is an
//! argument. The numbers agree with the authors' package rliable where that is deterministic.

use rand::{Rng, RngExt};

/// x̄ = Σ xᵢ / n; NaN for no numbers.
pub fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// Standard deviation with n − 1; NaN for fewer than two numbers.
pub fn standard_deviation(x: &[f64]) -> f64 {
    if x.len() < 2 {
        return f64::NAN;
    }
    let centre = mean(x);
    (x.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / (x.len() - 1) as f64).sqrt()
}

/// The p-quantile, linear between order statistics: position p (n − 1). NaN for no numbers.
pub fn quantile(x: &[f64], p: f64) -> f64 {
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, p)
}

fn quantile_of_sorted(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = p.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let weight = position - below as f64;
    // Between equal neighbours a weighted sum may leave their value by its last bit.
    if weight == 0.0 || sorted[below] == sorted[below + 1] {
        return sorted[below];
    }
    sorted[below] * (1.0 - weight) + sorted[below + 1] * weight
}

/// Interquartile mean: the mean without the ⌊n/4⌋ smallest and the ⌊n/4⌋ largest numbers (Agarwal et al.
/// 2021, section 4.3). More robust than the mean, more efficient than the median. NaN for no numbers.
pub fn iqm(x: &[f64]) -> f64 {
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    mean(&sorted[cut..sorted.len() - cut])
}

/// The interquartile mean over all runs of all tasks.
pub fn aggregate_iqm(tasks: &[Vec<f64>]) -> f64 {
    iqm(&tasks.concat())
}

/// Stratified percentile bootstrap: runs are drawn with replacement within each task, the statistic is taken,
/// and the interval holds the middle `confidence` of `resamples` such values (Agarwal et al. 2021, section 4.1).
/// With one run per task both ends are the statistic itself.
pub fn bootstrap_interval(
    tasks: &[Vec<f64>],
    statistic: impl Fn(&[Vec<f64>]) -> f64,
    confidence: f64,
    resamples: usize,
    rng: &mut impl Rng,
) -> [f64; 2] {
    let mut drawn = tasks.to_vec();
    let mut values: Vec<f64> = (0..resamples)
        .map(|_| {
            for (sample, runs) in drawn.iter_mut().zip(tasks) {
                sample.iter_mut().for_each(|x| *x = runs[rng.random_range(0..runs.len())]);
            }
            statistic(&drawn)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    [quantile_of_sorted(&values, tail), quantile_of_sorted(&values, 1.0 - tail)]
}

/// Performance profile: for each threshold τ the share of runs with a score above it, averaged over tasks,
/// F̂(τ) = 1/M Σₘ 1/Nₘ Σₙ 𝟙(xₘₙ > τ) (Agarwal et al. 2021, equation 2).
pub fn performance_profile(tasks: &[Vec<f64>], thresholds: &[f64]) -> Vec<f64> {
    let share = |runs: &Vec<f64>, tau| runs.iter().filter(|&&x| x > tau).count() as f64 / runs.len() as f64;
    let at = |&tau: &f64| mean(&tasks.iter().map(|runs| share(runs, tau)).collect::<Vec<_>>());
    thresholds.iter().map(at).collect()
}

/// Probability that a run of X beats a run of Y, averaged over tasks:
/// P(X > Y) = 1/M Σₘ 1/(Nₘ Kₘ) Σ (𝟙(x > y) + ½ 𝟙(x = y)) (Agarwal et al. 2021, section 4.3; the Mann–Whitney U
/// statistic divided by the number of pairs). Tasks are paired in order.
pub fn probability_of_improvement(x: &[Vec<f64>], y: &[Vec<f64>]) -> f64 {
    let per_task: Vec<f64> = x.iter().zip(y).map(|(x, y)| mean(&wins(x, y))).collect();
    mean(&per_task)
}

fn wins(x: &[f64], y: &[f64]) -> Vec<f64> {
    let win = |x: f64, y: f64| if x > y { 1.0 } else { 0.5 * f64::from(u8::from(x == y)) };
    x.iter().flat_map(|&x| y.iter().map(move |&y| win(x, y))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;
    use proptest::prelude::*;

    #[test]
    fn hand_worked() {
        assert_eq!(iqm(&[100.0, 1.0, 2.0, 3.0, -50.0, 4.0, 5.0, 6.0]), (2.0 + 3.0 + 4.0 + 5.0) / 4.0);
        assert_eq!(iqm(&[1.0, 2.0, 9.0]), 4.0);
        assert_eq!(quantile(&[3.0, 1.0, 2.0, 4.0], 0.5), 2.5);
        assert_eq!(quantile(&[1.0, 2.0], 0.25), 1.25);
        assert_eq!(standard_deviation(&[1.0, 3.0]), 2f64.sqrt());
        let x = [vec![1.0, 2.0], vec![5.0]];
        let y = [vec![1.0, 0.0], vec![6.0]];
        // Task 1: 1=1, 1>0, 2>1, 2>0 -> 3.5/4; task 2: 0.
        assert_eq!(probability_of_improvement(&x, &y), 0.4375);
        assert_eq!(performance_profile(&x, &[0.0, 1.0, 4.0]), [1.0, 0.75, 0.5]);
    }

    #[test]
    fn the_bootstrap_covers_the_mean_as_often_as_it_says() {
        let mut rng = SeedStream::new(4).stream("coverage", 0);
        let covered = (0..300).filter(|_| {
            let runs = vec![(0..30).map(|_| rng.random::<f64>()).collect::<Vec<f64>>()];
            let [lo, hi] = bootstrap_interval(&runs, |t| mean(&t[0]), 0.95, 400, &mut rng);
            (lo..=hi).contains(&0.5)
        });
        let share = covered.count() as f64 / 300.0;
        assert!((0.88..=0.99).contains(&share), "{share}");
    }

    proptest! {
        #[test]
        fn properties(x in proptest::collection::vec(-1e3..1e3f64, 1..12), shift in -10.0..10.0f64, seed: u64) {
            let shifted: Vec<f64> = x.iter().map(|v| v + shift).collect();
            prop_assert!((iqm(&shifted) - iqm(&x) - shift).abs() < 1e-9);
            let mut rng = SeedStream::new(seed).stream("t", 0);
            let tasks = [x.clone()];
            let [lo, hi] = bootstrap_interval(&tasks, |t| iqm(&t[0]), 0.9, 50, &mut rng);
            let (least, most) = (quantile(&x, 0.0), quantile(&x, 1.0));
            prop_assert!(least - 1e-9 <= lo && lo <= hi && hi <= most + 1e-9);
            let y = [shifted];
            let forth = probability_of_improvement(&tasks, &y);
            prop_assert!((forth + probability_of_improvement(&y, &tasks) - 1.0).abs() < 1e-12);
            let profile = performance_profile(&tasks, &[-2e3, 0.0, 2e3]);
            prop_assert!(profile[0] == 1.0 && profile[2] == 0.0 && profile[1] <= 1.0);
        }
    }
}
