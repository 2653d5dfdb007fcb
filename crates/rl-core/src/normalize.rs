//! Running statistics: mean and variance of a stream (Chan et al. 1979), percentiles of returns (DreamerV3),
//! exponential moving averages of parameters. All are saved and restored exactly.

use crate::experiment::{Persist, TrainState};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Mean and population variance per dimension of everything seen so far.
///
/// Batches are merged by Chan's formula: with δ = mean_b − mean_a and n = n_a + n_b,
/// mean = mean_a + δ n_b/n and M₂ = M₂_a + M₂_b + δ² n_a n_b/n.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningMeanStd {
    mean: Vec<f64>,
    var: Vec<f64>,
    count: f64,
}

impl RunningMeanStd {
    /// Statistics of nothing: the first batch sets them exactly. Mean 0 and variance 1 until then.
    pub fn new(dimensions: usize) -> Self {
        Self::with_count(dimensions, 0.0)
    }

    /// Starts as if `count` samples of mean 0 and variance 1 had been seen; Gymnasium's wrappers start with 1e-4.
    pub fn with_count(dimensions: usize, count: f64) -> Self {
        Self { mean: vec![0.0; dimensions], var: vec![1.0; dimensions], count }
    }

    /// Mean per dimension.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Population variance per dimension.
    pub fn variance(&self) -> &[f64] {
        &self.var
    }

    /// Samples seen, the start count included.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// Takes in a batch `[B, D]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the slice is not a whole number of samples, [`Error::NotFinite`] if a number is not finite;
    /// then nothing changes.
    pub fn update<T: Copy + Into<f64>>(&mut self, batch: &[T]) -> Result<()> {
        let width = self.mean.len();
        if width == 0 || !batch.len().is_multiple_of(width) {
            let expected = format!("a multiple of {width} numbers");
            return Err(Error::shape("RunningMeanStd::update", expected, batch.len()));
        }
        if let Some(i) = batch.iter().position(|&x| !x.into().is_finite()) {
            let what = format!("dimension {} of row {}", i % width, i / width);
            return Err(Error::NotFinite {
                operation: "RunningMeanStd::update",
                what,
                value: batch[i].into(),
            });
        }
        let samples = (batch.len() / width) as f64;
        if samples == 0.0 {
            return Ok(());
        }
        let total = self.count + samples;
        for d in 0..width {
            let column = || batch.iter().skip(d).step_by(width).map(|&x| x.into());
            let mean = column().sum::<f64>() / samples;
            let m2: f64 = column().map(|x: f64| (x - mean).powi(2)).sum();
            let delta = mean - self.mean[d];
            let m2 = self.var[d] * self.count + m2 + delta * delta * self.count * samples / total;
            self.mean[d] += delta * samples / total;
            self.var[d] = m2 / total;
        }
        self.count = total;
        Ok(())
    }

    /// (x − mean) / √(var + ε), clipped to ±`clip` (`f32::INFINITY` for none), in place on `[B, D]`.
    pub fn normalize(&self, batch: &mut [f32], epsilon: f64, clip: f32) {
        if self.mean.is_empty() {
            return;
        }
        for row in batch.chunks_mut(self.mean.len()) {
            for ((x, mean), var) in row.iter_mut().zip(&self.mean).zip(&self.var) {
                let scaled = ((f64::from(*x) - mean) / (var + epsilon).sqrt()) as f32;
                *x = if scaled.abs() > clip { clip.copysign(scaled) } else { scaled };
            }
        }
    }

    /// The inverse of [`normalize`](Self::normalize) without clipping, in place on `[B, D]`.
    pub fn denormalize(&self, batch: &mut [f32], epsilon: f64) {
        if self.mean.is_empty() {
            return;
        }
        for row in batch.chunks_mut(self.mean.len()) {
            for ((x, mean), var) in row.iter_mut().zip(&self.mean).zip(&self.var) {
                *x = (f64::from(*x) * (var + epsilon).sqrt() + mean) as f32;
            }
        }
    }
}

impl Persist for RunningMeanStd {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        state.put_array(format!("{prefix}/mean"), &[self.mean.len()], &self.mean);
        state.put_array(format!("{prefix}/var"), &[self.var.len()], &self.var);
        state.put_array(format!("{prefix}/count"), &[1], &[self.count]);
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let width = self.mean.len();
        self.mean.copy_from_slice(state.array(&format!("{prefix}/mean"), &[width])?);
        self.var.copy_from_slice(state.array(&format!("{prefix}/var"), &[width])?);
        self.count = state.array(&format!("{prefix}/count"), &[1])?[0];
        Ok(())
    }
}

/// The p-th percentile (0 to 100) of sorted numbers, interpolated linearly between neighbours as NumPy does.
/// NaN for an empty slice.
pub fn percentile_of_sorted(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = (p / 100.0).clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    let weight = position - below as f64;
    // NumPy anchors the interpolation at the nearer end, which keeps it monotone.
    if weight < 0.5 { low + (high - low) * weight } else { high - (high - low) * (1.0 - weight) }
}

/// DreamerV3's scale of returns: the range between their 5th and 95th percentile, smoothed and never below a limit,
/// so that sparse rewards are not blown up (Hafner et al. 2023, eq. 12).
///
/// low ← 0.99 low + 0.01 P₅, high ← 0.99 high + 0.01 P₉₅, both from 0 and without correction of that bias;
/// scale = max(1, high − low). Advantages are divided by it: (R − V) / scale.
#[derive(Clone, Debug)]
pub struct PercentileScale {
    /// Weight of a new batch. Hafner et al. 2023: 0.01.
    pub rate: f64,
    /// Lower percentile: 5.
    pub low_percentile: f64,
    /// Upper percentile: 95.
    pub high_percentile: f64,
    /// Smallest scale: 1.
    pub limit: f64,
    low: f64,
    high: f64,
    sorted: Vec<f64>,
}

impl Default for PercentileScale {
    fn default() -> Self {
        let (rate, low_percentile, high_percentile, limit) = (0.01, 5.0, 95.0, 1.0);
        Self { rate, low_percentile, high_percentile, limit, low: 0.0, high: 0.0, sorted: Vec::new() }
    }
}

impl PercentileScale {
    /// Takes in a batch of returns and gives the new scale. An empty batch changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a return is NaN or infinite.
    pub fn update<T: Copy + Into<f64>>(&mut self, returns: &[T]) -> Result<f64> {
        self.sorted.clear();
        self.sorted.extend(returns.iter().map(|&x| x.into()));
        if let Some(&value) = self.sorted.iter().find(|x| !x.is_finite()) {
            return Err(Error::NotFinite { operation: "PercentileScale", what: "a return".into(), value });
        }
        if !self.sorted.is_empty() {
            self.sorted.sort_unstable_by(f64::total_cmp);
            let blend =
                |old: f64, p| (1.0 - self.rate) * old + self.rate * percentile_of_sorted(&self.sorted, p);
            (self.low, self.high) =
                (blend(self.low, self.low_percentile), blend(self.high, self.high_percentile));
        }
        Ok(self.scale())
    }

    /// The smoothed lower percentile.
    pub fn low(&self) -> f64 {
        self.low
    }

    /// The smoothed upper percentile.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// max(limit, high − low).
    pub fn scale(&self) -> f64 {
        (self.high - self.low).max(self.limit)
    }
}

impl Persist for PercentileScale {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        state.put_array(format!("{prefix}/range"), &[2], &[self.low, self.high]);
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let range = state.array(&format!("{prefix}/range"), &[2])?;
        (self.low, self.high) = (range[0], range[1]);
        Ok(())
    }
}

/// Moves `target` towards `source`: t ← (1 − τ) t + τ s (Polyak averaging, Lillicrap et al. 2016).
///
/// # Errors
/// [`Error::Shape`] if the lengths differ.
pub fn ema<T: crate::returns::Scalar>(target: &mut [T], source: &[T], tau: f64) -> Result<()> {
    if target.len() != source.len() {
        return Err(Error::shape("ema", target.len(), source.len()));
    }
    for (t, s) in target.iter_mut().zip(source) {
        *t = T::narrow((1.0 - tau) * t.wide() + tau * s.wide());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batches_in_any_split_give_the_statistics_of_all(
            all in prop::collection::vec(-100.0..100.0f64, 2..60), cut in 0usize..60,
        ) {
            let all = &all[..all.len() / 2 * 2];
            let cut = (cut % (all.len() / 2 + 1)) * 2;
            let mut split = RunningMeanStd::new(2);
            split.update(&all[..cut]).unwrap();
            split.update(&all[cut..]).unwrap();
            for d in 0..2 {
                let column: Vec<f64> = all.iter().skip(d).step_by(2).copied().collect();
                let mean = column.iter().sum::<f64>() / column.len() as f64;
                let var = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64;
                prop_assert!((split.mean()[d] - mean).abs() < 1e-9);
                prop_assert!((split.variance()[d] - var).abs() < 1e-7);
            }
        }
    }

    #[test]
    fn normalising_and_back() {
        let mut stats = RunningMeanStd::new(1);
        stats.update(&[1.0f32, 3.0]).unwrap();
        let mut x = [3.0f32, 101.0];
        stats.normalize(&mut x, 0.0, 10.0);
        assert_eq!(x, [1.0, 10.0]);
        stats.denormalize(&mut x, 0.0);
        assert_eq!(x, [3.0, 12.0]);
        assert!(RunningMeanStd::new(2).update(&[1.0f32]).is_err());
    }

    #[test]
    fn a_small_range_is_not_blown_up_and_nan_is_refused() {
        let mut scale = PercentileScale::default();
        assert_eq!(scale.update(&[0.1, 0.2]).unwrap(), 1.0);
        assert!(scale.update(&[f64::NAN]).is_err());
        for _ in 0..2000 {
            scale.update(&[0.0, 100.0]).unwrap();
        }
        assert!((scale.scale() - 90.0).abs() < 1e-3);
    }

    #[test]
    fn saved_and_loaded_the_statistics_go_on_equally() {
        let (mut a, mut b) = (RunningMeanStd::with_count(2, 1e-4), RunningMeanStd::new(2));
        a.update(&[0.1, 0.2, 0.3, 0.5]).unwrap();
        let mut c = PercentileScale::default();
        c.update(&[0.1, 7.0]).unwrap();
        let mut state = TrainState::default();
        a.save("obs", &mut state).unwrap();
        c.save("ret", &mut state).unwrap();
        b.load("obs", &state).unwrap();
        let mut d = PercentileScale::default();
        d.load("ret", &state).unwrap();
        a.update(&[0.7, 0.1]).unwrap();
        b.update(&[0.7, 0.1]).unwrap();
        assert_eq!(a, b);
        assert_eq!(c.update(&[1.5, 2.5]).unwrap(), d.update(&[1.5, 2.5]).unwrap());
        assert!(RunningMeanStd::new(3).load("obs", &state).is_err());
    }
}
