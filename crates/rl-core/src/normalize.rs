//! Running statistics for normalising observations and rewards.

use crate::experiment::{Persist, TrainState};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Mean and population variance of every row seen so far, per dimension.
///
/// A batch of `m` rows with mean `b` and squared deviations `S` is merged into `n` rows with mean `μ` and variance `σ²`
/// (Chan, Golub & LeVeque, 1979), with `δ = b − μ`:
///
/// ```text
/// μ ← μ + δ m/(n+m)        σ² ← (σ² n + S + δ² n m/(n+m)) / (n+m)
/// ```
///
/// Before the first row the mean is 0 and the variance 1, so normalising changes nothing. Deviation: Gymnasium
/// starts with a count of 1e-4 of such rows; here nothing of the start remains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningMeanStd {
    mean: Vec<f64>,
    variance: Vec<f64>,
    count: f64,
}

impl RunningMeanStd {
    /// For rows of `dimensions` numbers.
    pub fn new(dimensions: usize) -> Self {
        Self { mean: vec![0.0; dimensions], variance: vec![1.0; dimensions], count: 0.0 }
    }

    /// `[D]`
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// `[D]`, of the population.
    pub fn variance(&self) -> &[f64] {
        &self.variance
    }

    /// Number of rows.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// Takes in a batch `[B, D]`; an empty one changes nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] if the numbers do not make whole rows, [`Error::NotFinite`] if one is not finite; then
    /// nothing changes.
    pub fn update<T: Copy + Into<f64>>(&mut self, rows: &[T]) -> Result<()> {
        let d = self.mean.len();
        if d == 0 || !rows.len().is_multiple_of(d) {
            return Err(Error::shape("RunningMeanStd::update", format!("rows of {d} numbers"), rows.len()));
        }
        if let Some(i) = rows.iter().position(|&x| !x.into().is_finite()) {
            let what = format!("dimension {} of row {}", i % d, i / d);
            return Err(Error::NotFinite {
                operation: "RunningMeanStd::update",
                what,
                value: rows[i].into(),
            });
        }
        let batch = (rows.len() / d) as f64;
        if batch == 0.0 {
            return Ok(());
        }
        let total = self.count + batch;
        for j in 0..d {
            let column = || rows.iter().skip(j).step_by(d).map(|&x| x.into());
            let mean = column().sum::<f64>() / batch;
            let squares: f64 = column().map(|x| (x - mean) * (x - mean)).sum();
            let delta = mean - self.mean[j];
            self.mean[j] += delta * batch / total;
            let between = delta * delta * self.count * batch / total;
            self.variance[j] = (self.variance[j] * self.count + squares + between) / total;
        }
        self.count = total;
        Ok(())
    }

    /// `x ← clip((x − mean) / √(variance + epsilon), ±limit)` for every row of `[B, D]`.
    pub fn normalize(&self, rows: &mut [f32], epsilon: f64, limit: f32) {
        for row in rows.chunks_mut(self.mean.len().max(1)) {
            for ((x, mean), variance) in row.iter_mut().zip(&self.mean).zip(&self.variance) {
                let scaled = (f64::from(*x) - mean) / (variance + epsilon).sqrt();
                *x = (scaled as f32).clamp(-limit, limit);
            }
        }
    }
}

impl Persist for RunningMeanStd {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let d = self.mean.len();
        state.put_array(format!("{prefix}/mean"), &[d], &self.mean);
        state.put_array(format!("{prefix}/variance"), &[d], &self.variance);
        state.put_array(format!("{prefix}/count"), &[1], &[self.count]);
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let d = self.mean.len();
        self.mean.copy_from_slice(state.array(&format!("{prefix}/mean"), &[d])?);
        self.variance.copy_from_slice(state.array(&format!("{prefix}/variance"), &[d])?);
        self.count = state.array::<f64>(&format!("{prefix}/count"), &[1])?[0];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_any_size_give_the_statistics_of_all_rows() {
        let rows: Vec<f64> = (0..60).map(|i| f64::from(i * i % 17) + 1e6).collect();
        let mut whole = RunningMeanStd::new(2);
        whole.update(&rows).unwrap();
        for size in [2, 4, 10, 22] {
            let mut parts = RunningMeanStd::new(2);
            rows.chunks(size).for_each(|chunk| parts.update(chunk).unwrap());
            for j in 0..2 {
                let column: Vec<f64> = rows.iter().skip(j).step_by(2).copied().collect();
                let mean = column.iter().sum::<f64>() / 30.0;
                let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 30.0;
                assert!((parts.mean()[j] - mean).abs() < 1e-9 && (whole.mean()[j] - mean).abs() < 1e-9);
                assert!((parts.variance()[j] - variance).abs() < 1e-9, "{size}");
            }
            assert_eq!(parts.count(), 30.0);
        }
    }

    #[test]
    fn bad_rows_change_nothing() {
        let mut statistic = RunningMeanStd::new(2);
        statistic.update(&[1.0f32, 2.0]).unwrap();
        let before = statistic.clone();
        assert!(statistic.update(&[1.0f32]).is_err());
        assert!(statistic.update(&[1.0, f32::NAN]).unwrap_err().to_string().contains("dimension 1"));
        statistic.update::<f32>(&[]).unwrap();
        assert_eq!(statistic, before);
    }

    #[test]
    fn saved_and_loaded_it_is_the_same() {
        let mut statistic = RunningMeanStd::new(1);
        statistic.update(&[0.1f64, 0.7, 0.3]).unwrap();
        let mut state = TrainState::default();
        statistic.save("norm", &mut state).unwrap();
        let mut copy = RunningMeanStd::new(1);
        copy.load("norm", &state).unwrap();
        assert_eq!(copy, statistic);
    }
}
