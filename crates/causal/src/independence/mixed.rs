//! Numbers and categories in one table: likelihood ratio after one-hot embedding (the degenerate Gaussian).
//!
//! Andrews, Ramsey & Cooper, *Learning high-dimensional directed acyclic graphs with mixed data-types* (2019). A
//! category of k states becomes k − 1 indicator columns; with the embedded columns treated as jointly Gaussian,
//! −n ln(|Σ_XYZ| |Σ_Z| / (|Σ_XZ| |Σ_YZ|)) is χ² with (columns of x)(columns of y) degrees of freedom.

use super::{IndependenceTest, TestResult, chi_square_survival};
use crate::data::{Table, covariance};
use crate::error::{Error, Result};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

/// How a column is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// A number.
    Continuous,
    /// A category; equal numbers are equal categories.
    Categorical,
}

/// The likelihood ratio test on mixed data.
#[derive(Clone, Debug)]
pub struct DegenerateGaussian {
    names: Vec<String>,
    /// The embedded columns of each variable.
    blocks: Vec<Vec<usize>>,
    covariance: DMatrix<f64>,
    rows: f64,
}

impl DegenerateGaussian {
    /// The test on a table whose columns are read as `kinds` say.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of kinds; [`Error::Data`] for missing values, constant columns, or
    /// fewer rows than embedded columns.
    pub fn new(table: &Table, kinds: &[ColumnKind]) -> Result<Self> {
        if kinds.len() != table.len() {
            return Err(Error::shape(
                "DegenerateGaussian::new",
                format!("{} kinds", table.len()),
                kinds.len(),
            ));
        }
        if table.has_missing() {
            return Err(Error::data("data", "there are missing values; remove or impute them"));
        }
        table.check_for_discovery(4)?;
        let (mut embedded, mut blocks) = (Vec::new(), Vec::new());
        for (column, kind) in table.columns().iter().zip(kinds) {
            let start = embedded.len();
            match kind {
                ColumnKind::Continuous => embedded.push(column.clone()),
                ColumnKind::Categorical => {
                    let mut states = column.clone();
                    states.sort_by(f64::total_cmp);
                    states.dedup();
                    let indicator = |s: &f64| column.iter().map(|v| f64::from(u8::from(v == s))).collect();
                    embedded.extend(states[1..].iter().map(indicator));
                }
            }
            blocks.push((start..embedded.len()).collect());
        }
        let size = embedded.len();
        if table.rows() <= size {
            return Err(Error::data(
                "data",
                format!("{} rows are too few for {size} embedded columns", table.rows()),
            ));
        }
        let scaled = Table::from_columns(embedded)?.standardized();
        let covariance = DMatrix::from_row_slice(size, size, &covariance(scaled.columns()));
        Ok(Self { names: table.names().to_vec(), blocks, covariance, rows: table.rows() as f64 })
    }

    fn log_det(&self, variables: &[usize]) -> Result<f64> {
        let columns: Vec<usize> = variables.iter().flat_map(|&v| self.blocks[v].iter().copied()).collect();
        let sub = self.covariance.select_rows(&columns).select_columns(&columns);
        let factor = sub.cholesky().filter(|c| c.l_dirty().diagonal().iter().all(|d| *d > 1e-7));
        let names =
            || variables.iter().map(|&v| format!("`{}`", self.names[v])).collect::<Vec<_>>().join(", ");
        let factor = factor
            .ok_or_else(|| Error::Singular { operation: "mixed likelihood ratio", columns: names() })?;
        Ok(2.0 * factor.l_dirty().diagonal().iter().map(|d| d.ln()).sum::<f64>())
    }
}

impl IndependenceTest for DegenerateGaussian {
    type Scratch = ();

    fn variables(&self) -> usize {
        self.blocks.len()
    }

    fn scratch(&self) {}

    fn test(&self, x: usize, y: usize, z: &[usize], (): &mut ()) -> Result<TestResult> {
        let with = |extra: &[usize]| [extra, z].concat();
        let ratio = self.log_det(&with(&[x]))? + self.log_det(&with(&[y]))?
            - self.log_det(&with(&[x, y]))?
            - self.log_det(z)?;
        let freedom = (self.blocks[x].len() * self.blocks[y].len()) as f64;
        let statistic = (self.rows * ratio).max(0.0);
        Ok(TestResult {
            statistic,
            p_value: chi_square_survival(statistic, freedom),
            degrees_of_freedom: freedom,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};

    /// c (three states) → x → y.
    fn chain(seed: u64, n: usize) -> Table {
        let mut rng = rl_core::SeedStream::new(seed).stream("mixed", 0);
        let c: Vec<f64> = (0..n).map(|_| f64::from(rng.random_range(0..3u8))).collect();
        let mut noise = || -> f64 { StandardNormal.sample(&mut rng) };
        let x: Vec<f64> = c.iter().map(|&c| [0.0, 1.5, -1.0][c as usize] + noise()).collect();
        let y: Vec<f64> = x.iter().map(|x| 0.8 * x + noise()).collect();
        Table::from_columns(vec![c, x, y]).unwrap()
    }

    #[test]
    fn dependence_is_found_and_the_false_alarm_rate_is_alpha() {
        let kinds = [ColumnKind::Categorical, ColumnKind::Continuous, ColumnKind::Continuous];
        let mut alarms = 0;
        for seed in 0..200 {
            let test = DegenerateGaussian::new(&chain(seed, 300), &kinds).unwrap();
            assert!(test.checked(0, 2, &[]).unwrap().p_value < 0.01);
            alarms += usize::from(test.checked(0, 2, &[1]).unwrap().p_value <= 0.05);
        }
        assert!((1..=22).contains(&alarms), "{alarms} of 200 at level 0.05");
    }
}
