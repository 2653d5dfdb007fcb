//! Tests of conditional independence x ⊥ y | z, all giving p-values that are uniform under independence.
//!
//! | test | for | statistic |
//! |---|---|---|
//! | [`FisherZ`] | linear Gaussian data | partial correlation of any order |
//! | [`Contingency`] | categories | Pearson's χ² or the likelihood ratio G² per stratum |
//! | [`Kci`] | any continuous relation | kernel covariance of residuals |
//! | [`DegenerateGaussian`] | numbers and categories mixed | likelihood ratio after one-hot embedding |
//! | [`MissingFisherZ`] | numbers with missing cells | Fisher's z on the complete rows of each test |
//! | [`SeparationOracle`] | a known graph | d- or m-separation itself |

mod bit_counts;
mod contingency;
mod fisher_z;
mod kernel;
mod missing;
mod mixed;
mod oracle;

pub(crate) use contingency::Strata;
pub use contingency::{Contingency, Discrepancy};
pub use fisher_z::FisherZ;
pub use kernel::Kci;
pub use missing::MissingFisherZ;
pub use mixed::{ColumnKind, DegenerateGaussian};
pub use oracle::SeparationOracle;

use crate::error::{Error, Result};
use serde::Serialize;

/// Outcome of one test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TestResult {
    /// The statistic; its meaning is the test's.
    pub statistic: f64,
    /// Probability of a statistic at least as extreme under independence.
    pub p_value: f64,
    /// Degrees of freedom; 0 where the null distribution has none.
    pub degrees_of_freedom: f64,
}

/// A test of x ⊥ y | z among the variables `0..variables()`.
pub trait IndependenceTest: Sync {
    /// Buffers of one thread.
    type Scratch: Send;

    /// Number of variables.
    fn variables(&self) -> usize;

    /// Fresh buffers.
    fn scratch(&self) -> Self::Scratch;

    /// Tests x ⊥ y | z. The caller passes distinct indices below [`IndependenceTest::variables`].
    ///
    /// # Errors
    /// When the data do not allow the test, such as linearly dependent columns or too few rows.
    fn test(&self, x: usize, y: usize, z: &[usize], scratch: &mut Self::Scratch) -> Result<TestResult>;

    /// Whether p > alpha, possibly decided without computing p.
    ///
    /// # Errors
    /// As [`IndependenceTest::test`].
    fn independent(
        &self,
        x: usize,
        y: usize,
        z: &[usize],
        alpha: f64,
        scratch: &mut Self::Scratch,
    ) -> Result<bool> {
        Ok(self.test(x, y, z, scratch)?.p_value > alpha)
    }

    /// Tests x ⊥ y | z with checked arguments and fresh buffers.
    ///
    /// # Errors
    /// [`Error::Node`] and [`Error::Overlap`] for bad arguments, and as [`IndependenceTest::test`].
    fn checked(&self, x: usize, y: usize, z: &[usize]) -> Result<TestResult> {
        let operation = "independence test";
        let mut all = z.to_vec();
        all.extend([x, y]);
        all.sort_unstable();
        if let Some(&node) = all.last().filter(|&&v| v >= self.variables()) {
            return Err(Error::Node { operation, node, count: self.variables() });
        }
        if let Some(twice) = all.windows(2).find(|w| w[0] == w[1]) {
            return Err(Error::Overlap { operation, name: format!("variable {}", twice[0]) });
        }
        self.test(x, y, z, &mut self.scratch())
    }
}

/// P(χ²_df ≥ statistic).
pub(crate) fn chi_square_survival(statistic: f64, degrees_of_freedom: f64) -> f64 {
    if degrees_of_freedom <= 0.0 || statistic <= 0.0 {
        return 1.0;
    }
    statrs::function::gamma::checked_gamma_ur(degrees_of_freedom / 2.0, statistic / 2.0).unwrap_or(0.0)
}

/// P(|N(0, 1)| ≥ z) for z ≥ 0.
pub(crate) fn two_sided_normal(z: f64) -> f64 {
    statrs::function::erf::erfc(z / std::f64::consts::SQRT_2)
}

/// The z with P(|N(0, 1)| ≥ z) = alpha.
pub(crate) fn two_sided_normal_quantile(alpha: f64) -> f64 {
    std::f64::consts::SQRT_2 * statrs::function::erf::erfc_inv(alpha)
}
