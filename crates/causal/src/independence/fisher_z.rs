//! Fisher's z: partial correlation of any order, for linear Gaussian data.
//!
//! z = √(n − |S| − 3) · ½ ln((1 + r) / (1 − r)) is standard normal under independence (Fisher 1924; Kalisch &
//! Bühlmann 2007). r comes from a Cholesky factor of the correlations of S that is kept between tests: sets
//! enumerated in lexicographic order share their first members, so a test of order k costs O(k²).

use super::{IndependenceTest, TestResult, two_sided_normal, two_sided_normal_quantile};
use crate::data::{Table, covariance};
use crate::error::{Error, Result};
use crate::partial::{Correlations, Kept};

/// Fisher's z test on precomputed correlations.
#[derive(Clone, Debug)]
pub struct FisherZ {
    correlations: Correlations,
    rows: f64,
}

impl FisherZ {
    /// The test on the rows of a table.
    ///
    /// # Errors
    /// [`Error::Data`] for missing values, constant columns or fewer than 4 rows.
    pub fn new(table: &Table) -> Result<Self> {
        if table.has_missing() {
            return Err(Error::data("data", "there are missing values; use MissingFisherZ or complete rows"));
        }
        table.check_for_discovery(4)?;
        let covariance = covariance(table.columns());
        Self::from_covariance(table.names().to_vec(), &covariance, table.rows())
    }

    /// The test on a covariance or correlation matrix, row-major `[p, p]`, estimated from `rows` rows.
    ///
    /// # Errors
    /// [`Error::Shape`] for a matrix of another size, [`Error::Data`] for a variance that is not positive.
    pub fn from_covariance(names: Vec<String>, covariance: &[f64], rows: usize) -> Result<Self> {
        let correlations = Correlations::new("FisherZ::from_covariance", names, covariance)?;
        Ok(Self { correlations, rows: rows as f64 })
    }

    /// √(n − |z| − 3).
    fn scale(&self, order: usize) -> Result<f64> {
        let left = self.rows - order as f64 - 3.0;
        if left <= 0.0 {
            let reason =
                format!("{} rows are too few to condition on {order} variables; cap the depth", self.rows);
            return Err(Error::data("data", reason));
        }
        Ok(left.sqrt())
    }

    /// The partial correlation of x and y given z.
    ///
    /// # Errors
    /// As [`IndependenceTest::checked`].
    pub fn partial_correlation(&self, x: usize, y: usize, z: &[usize]) -> Result<f64> {
        self.checked(x, y, z)?;
        let (xy, xx, yy) = self.correlations.residuals(x, y, z, &mut Kept::default())?;
        Ok(xy / (xx * yy).sqrt())
    }
}

impl IndependenceTest for FisherZ {
    type Scratch = FisherScratch;

    fn variables(&self) -> usize {
        self.correlations.len()
    }

    fn scratch(&self) -> FisherScratch {
        FisherScratch::default()
    }

    fn test(&self, x: usize, y: usize, z: &[usize], s: &mut FisherScratch) -> Result<TestResult> {
        let scale = self.scale(z.len())?;
        let (xy, xx, yy) = self.correlations.residuals(x, y, z, &mut s.kept)?;
        let r = xy / (xx * yy).sqrt();
        let statistic = scale * r.atanh();
        Ok(TestResult { statistic, p_value: two_sided_normal(statistic.abs()), degrees_of_freedom: 0.0 })
    }

    /// p > alpha exactly when r² is below the squared critical correlation of this order.
    #[inline]
    fn independent(
        &self,
        x: usize,
        y: usize,
        z: &[usize],
        alpha: f64,
        s: &mut FisherScratch,
    ) -> Result<bool> {
        let critical = s.critical(self, z.len(), alpha)?;
        let (xy, xx, yy) = self.correlations.residuals(x, y, z, &mut s.kept)?;
        Ok(xy * xy < critical * xx * yy)
    }
}

/// Buffers of [`FisherZ`]: the factor of the last conditioning set and the rows of the last pair.
#[derive(Clone, Debug, Default)]
pub struct FisherScratch {
    kept: Kept,
    alpha: f64,
    critical: Vec<f64>,
}

impl FisherScratch {
    /// The squared correlation at which p = alpha, for conditioning sets of this size.
    #[inline]
    fn critical(&mut self, test: &FisherZ, order: usize, alpha: f64) -> Result<f64> {
        if self.alpha != alpha {
            self.critical.clear();
            self.alpha = alpha;
        }
        while self.critical.len() <= order {
            let scale = test.scale(self.critical.len())?;
            self.critical.push((two_sided_normal_quantile(alpha) / scale).tanh().powi(2));
        }
        Ok(self.critical[order])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::DMatrix;
    use proptest::prelude::*;
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};

    fn normal_table(p: usize, n: usize, seed: u64) -> Table {
        let mut rng = rl_core::SeedStream::new(seed).stream("data", 0);
        let mut columns: Vec<Vec<f64>> =
            (0..p).map(|_| StandardNormal.sample_iter(&mut rng).take(n).collect()).collect();
        for i in 1..p {
            let weight: f64 = rng.random_range(-1.0..1.0);
            let (before, after) = columns.split_at_mut(i);
            after[0].iter_mut().zip(&before[i - 1]).for_each(|(v, u)| *v += weight * u);
        }
        Table::from_columns(columns).unwrap()
    }

    /// r = −P₀₁ / √(P₀₀ P₁₁) with P the inverse of the correlation submatrix.
    fn by_inversion(test: &FisherZ, x: usize, y: usize, z: &[usize]) -> f64 {
        let all: Vec<usize> = [x, y].into_iter().chain(z.iter().copied()).collect();
        let sub = DMatrix::from_fn(all.len(), all.len(), |i, j| test.correlations.get(all[i], all[j]));
        let inverse = sub.try_inverse().unwrap();
        -inverse[(0, 1)] / (inverse[(0, 0)] * inverse[(1, 1)]).sqrt()
    }

    proptest! {
        #[test]
        fn the_kept_factor_agrees_with_inversion(seed in 0u64..50, sets in proptest::collection::vec(proptest::sample::subsequence((0..8).collect::<Vec<usize>>(), 2..8), 1..6)) {
            let test = FisherZ::new(&normal_table(8, 40, seed)).unwrap();
            let mut scratch = test.scratch();
            for set in sets {
                let (x, y, z) = (set[0], set[1], &set[2..]);
                let (xy, xx, yy) = test.correlations.residuals(x, y, z, &mut scratch.kept).unwrap();
                prop_assert!((xy / (xx * yy).sqrt() - by_inversion(&test, x, y, z)).abs() < 1e-9);
                let p = test.test(x, y, z, &mut scratch).unwrap().p_value;
                prop_assert_eq!(test.independent(x, y, z, 0.05, &mut scratch).unwrap(), p > 0.05);
            }
        }
    }

    #[test]
    fn the_rejection_rate_is_alpha() {
        for n in [100, 2000] {
            let rejected = (0..400)
                .filter(|&seed| {
                    let mut rng = rl_core::SeedStream::new(seed).stream("independent", n as u64);
                    let columns =
                        (0..3).map(|_| StandardNormal.sample_iter(&mut rng).take(n).collect()).collect();
                    let test = FisherZ::new(&Table::from_columns(columns).unwrap()).unwrap();
                    test.checked(0, 1, &[2]).unwrap().p_value <= 0.05
                })
                .count();
            // 400 trials at 0.05: mean 20, standard deviation 4.4.
            assert!((4..=36).contains(&rejected), "{rejected} of 400 at n = {n}");
        }
    }

    #[test]
    fn a_repeated_column_is_named() {
        let mut columns = normal_table(3, 50, 1).columns().to_vec();
        columns.push(columns[1].iter().map(|v| 2.0 * v + 1.0).collect());
        let test = FisherZ::new(&Table::from_columns(columns).unwrap()).unwrap();
        let message = test.checked(1, 3, &[]).unwrap_err().to_string();
        assert!(message.contains("`X1`") && message.contains("`X3`"), "{message}");
        assert!(test.checked(0, 2, &[1, 3]).is_err());
    }
}
