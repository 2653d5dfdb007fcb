//! Open-loop errors per look-ahead, and whether a model knows how much it does not know.

use super::learned::{Imagines, Learned};
use super::predictor::Predictor;
use super::trajectory::Trajectory;
use crate::Result;
use rl_core::Error;

/// Root mean square errors at one look-ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OpenLoopError {
    /// Steps ahead, from 1.
    pub horizon: usize,
    /// Of the observation, over all dimensions, each divided by its standard deviation in the data.
    pub observation: f64,
    /// Of the reward, in its own unit.
    pub reward: f64,
    /// Predictions that were averaged.
    pub count: usize,
}

/// Errors of a predictor at the given look-aheads, from every `stride`-th step of every trajectory on.
///
/// # Errors
/// If the predictor fails, or no trajectory is long enough.
pub fn open_loop_errors(
    predictor: &mut dyn Predictor,
    data: &[Trajectory],
    context: usize,
    horizons: &[usize],
    stride: usize,
) -> Result<Vec<OpenLoopError>> {
    let longest = horizons.iter().copied().max().unwrap_or(0);
    let scale = standard_deviations(data);
    let mut sums = vec![(0.0, 0.0, 0usize); horizons.len()];
    let (mut observations, mut rewards) = (vec![], vec![]);
    for trajectory in data {
        let d = trajectory.observation_width;
        let mut from = context;
        while from + longest <= trajectory.steps() {
            observations.clear();
            rewards.clear();
            predictor.predict(trajectory, from, longest, &mut observations, &mut rewards)?;
            for (sum, &horizon) in sums.iter_mut().zip(horizons) {
                let predicted = &observations[(horizon - 1) * d..][..d];
                let true_observation = trajectory.observation(from + horizon);
                for ((p, o), s) in predicted.iter().zip(true_observation).zip(&scale) {
                    sum.0 += (f64::from(p - o) / s).powi(2) / d as f64;
                }
                sum.1 += f64::from(rewards[horizon - 1] - trajectory.rewards[from + horizon - 1]).powi(2);
                sum.2 += 1;
            }
            from += stride.max(1);
        }
    }
    if sums.iter().any(|s| s.2 == 0) {
        let expected = format!("an episode of at least {} steps", context + longest);
        return Err(Error::shape("open_loop_errors", expected, "shorter ones").into());
    }
    let error = |((observation, reward, count), &horizon): ((f64, f64, usize), &usize)| OpenLoopError {
        horizon,
        observation: (observation / count as f64).sqrt(),
        reward: (reward / count as f64).sqrt(),
        count,
    };
    Ok(sums.into_iter().zip(horizons).map(error).collect())
}

fn standard_deviations(data: &[Trajectory]) -> Vec<f64> {
    let width = data.first().map_or(0, |t| t.observation_width);
    let mut statistics = rl_core::normalize::RunningMeanStd::new(width);
    for trajectory in data {
        // Whole rows of finite numbers, as recorded.
        let _ = statistics.update(&trajectory.observations);
    }
    statistics.variance().iter().map(|v| v.sqrt().max(1e-6)).collect()
}

/// How good the distribution is that a model predicts, at one look-ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Steps ahead, from 1.
    pub horizon: usize,
    /// Continuous ranked probability score of the observation, E|X − y| − ½ E|X − X'|, over all dimensions, each divided by
    /// its standard deviation in the data; for a certain prediction the absolute error (Gneiting and Raftery 2007).
    pub crps: f64,
    /// Share of the observed numbers within the central 90 % of the samples: 0.9 where the model knows its errors.
    pub coverage: f64,
    /// Predictions that were averaged.
    pub count: usize,
}

/// Scores the continuations that a model draws, from every `stride`-th step of every trajectory on.
///
/// # Errors
/// If the model fails, or no trajectory is long enough.
pub fn open_loop_spread<M: Imagines>(
    learned: &mut Learned<'_, M>,
    data: &[Trajectory],
    (context, stride, samples): (usize, usize, usize),
    horizons: &[usize],
) -> Result<Vec<Spread>> {
    let longest = horizons.iter().copied().max().unwrap_or(0);
    let scale = standard_deviations(data);
    let mut sums = vec![(0.0, 0.0, 0usize); horizons.len()];
    let mut column = vec![0.0; samples];
    for trajectory in data {
        let d = trajectory.observation_width;
        for from in (context..(trajectory.steps() + 1).saturating_sub(longest)).step_by(stride.max(1)) {
            let drawn = learned.samples(trajectory, (from, longest, samples))?;
            for (sum, &horizon) in sums.iter_mut().zip(horizons) {
                let rows = &drawn[(horizon - 1) * samples * (d + 1)..][..samples * (d + 1)];
                for (j, (&truth, s)) in trajectory.observation(from + horizon).iter().zip(&scale).enumerate()
                {
                    let values = rows.iter().skip(j).step_by(d + 1);
                    column.iter_mut().zip(values).for_each(|(c, &v)| *c = f64::from(v));
                    column.sort_by(f64::total_cmp);
                    let truth = f64::from(truth);
                    sum.0 += crps(&column, truth) / s;
                    let inside = quantile(&column, 0.05) <= truth && truth <= quantile(&column, 0.95);
                    sum.1 += f64::from(u8::from(inside));
                    sum.2 += 1;
                }
            }
        }
    }
    if sums.iter().any(|s| s.2 == 0) {
        let expected = format!("an episode of at least {} steps", context + longest);
        return Err(Error::shape("open_loop_spread", expected, "shorter ones").into());
    }
    let spread = |((crps, inside, count), &horizon): ((f64, f64, usize), &usize)| Spread {
        horizon,
        crps: crps / count as f64,
        coverage: inside / count as f64,
        count,
    };
    Ok(sums.into_iter().zip(horizons).map(spread).collect())
}

/// E|X − y| − ½ E|X − X'| of a sorted sample: with ranks i from 0, Σ|xᵢ − xⱼ| over all pairs = 2 Σ (2i + 1 − n) xᵢ.
fn crps(sorted: &[f64], truth: f64) -> f64 {
    let n = sorted.len() as f64;
    let error = sorted.iter().map(|x| (x - truth).abs()).sum::<f64>() / n;
    let pairs = sorted.iter().enumerate().map(|(i, x)| (2.0 * i as f64 + 1.0 - n) * x).sum::<f64>();
    error - pairs / (n * n)
}

/// A quantile by linear interpolation.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let (below, share) = (position.floor() as usize, position.fract());
    sorted[below] + share * (sorted[(below + 1).min(sorted.len() - 1)] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_of_a_sample_is_its_definition() {
        let x = [-1.0, 0.5, 0.7, 3.0];
        for truth in [-2.0, 0.6, 5.0] {
            let mean = |f: &dyn Fn(f64) -> f64| x.iter().map(|&x| f(x)).sum::<f64>() / 4.0;
            let slow = mean(&|a| (a - truth).abs()) - 0.5 * mean(&|a| mean(&|b| (a - b).abs()));
            assert!((crps(&x, truth) - slow).abs() < 1e-12);
        }
        assert_eq!(crps(&[2.0], -1.0), 3.0);
        assert_eq!((quantile(&x, 0.0), quantile(&x, 0.5), quantile(&x, 1.0)), (-1.0, 0.6, 3.0));
    }
}
