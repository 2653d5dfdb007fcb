//! KCI: kernel-based conditional independence, for continuous relations of any form.
//!
//! Zhang, Peters, Janzing & Schölkopf, *Kernel-based conditional independence test and application in causal
//! discovery* (UAI 2011). Gaussian kernels on standardised data; given z, both kernel matrices are regressed on z
//! by kernel ridge, R = ε (K_z + ε I)⁻¹. The statistic tr(R K_xz R · R K_y R) is compared with a gamma law whose
//! mean tr(H) and variance 2 ‖H‖² come from the element-wise product H of the two residual kernels; without z,
//! mean tr K_x tr K_y / n and variance 2 ‖K_x‖² ‖K_y‖² / n². O(n³) time, O(n²) memory.

use super::{IndependenceTest, TestResult};
use crate::data::Table;
use crate::error::{Error, Result};
use nalgebra::DMatrix;
use statrs::function::gamma::checked_gamma_ur;

/// The kernel test on numeric data.
#[derive(Clone, Debug)]
pub struct Kci {
    table: Table,
    width: f64,
    ridge: f64,
}

/// More rows than this make the n × n matrices unreasonable.
const MOST_ROWS: usize = 5_000;

impl Kci {
    /// The test with the authors' kernel width (1.2 below 200 rows, 0.7 below 1200, then 0.4) and ridge 10⁻³.
    ///
    /// # Errors
    /// [`Error::Data`] for missing values, constant columns, fewer than 20 or more than 5000 rows.
    pub fn new(table: &Table) -> Result<Self> {
        if table.has_missing() {
            return Err(Error::data("data", "there are missing values; remove or impute them"));
        }
        table.check_for_discovery(20)?;
        let n = table.rows();
        if n > MOST_ROWS {
            let reason =
                format!("{n} rows; the kernel test needs n x n matrices, at most {MOST_ROWS} rows are taken");
            return Err(Error::data("data", reason));
        }
        let width = match n {
            0..200 => 1.2,
            200..1200 => 0.7,
            _ => 0.4,
        };
        Ok(Self { table: table.standardized(), width, ridge: 1e-3 })
    }

    /// Centred Gaussian kernel matrix of some columns; widths grow with their number.
    fn kernel(&self, columns: &[usize], weight: f64) -> DMatrix<f64> {
        let n = self.table.rows();
        let scale = 0.5 / (self.width * self.width * columns.len() as f64);
        let mut kernel = DMatrix::from_element(n, n, 1.0);
        for i in 0..n {
            for j in 0..i {
                let distance: f64 = columns
                    .iter()
                    .enumerate()
                    .map(|(k, &v)| {
                        let column = &self.table.columns()[v];
                        // The conditioning variables beside x count half, as in the authors' code.
                        let factor = if k == 0 { 1.0 } else { weight };
                        (factor * (column[i] - column[j])).powi(2)
                    })
                    .sum();
                let value = (-scale * distance).exp();
                kernel[(i, j)] = value;
                kernel[(j, i)] = value;
            }
        }
        centre(kernel)
    }

    /// R = ε (K_z + ε I)⁻¹.
    fn residual_maker(&self, z: &[usize]) -> Result<DMatrix<f64>> {
        let n = self.table.rows();
        let mut kernel = self.kernel(z, 1.0);
        for i in 0..n {
            kernel[(i, i)] += self.ridge;
        }
        let factor = kernel.cholesky().ok_or_else(|| Error::NotConverged {
            operation: "kernel test",
            reason: "the kernel matrix of the conditioning set is not positive definite".into(),
        })?;
        Ok(factor.inverse() * self.ridge)
    }
}

fn centre(mut kernel: DMatrix<f64>) -> DMatrix<f64> {
    let n = kernel.nrows();
    let means: Vec<f64> = (0..n).map(|i| kernel.column(i).mean()).collect();
    let total = means.iter().sum::<f64>() / n as f64;
    for i in 0..n {
        for j in 0..n {
            kernel[(i, j)] += total - means[i] - means[j];
        }
    }
    kernel
}

impl IndependenceTest for Kci {
    type Scratch = ();

    fn variables(&self) -> usize {
        self.table.len()
    }

    fn scratch(&self) {}

    fn test(&self, x: usize, y: usize, z: &[usize], (): &mut ()) -> Result<TestResult> {
        let n = self.table.rows() as f64;
        let (statistic, mean, variance) = if z.is_empty() {
            let (kx, ky) = (self.kernel(&[x], 1.0), self.kernel(&[y], 1.0));
            let mean = kx.trace() * ky.trace() / n;
            (kx.dot(&ky), mean, 2.0 * kx.norm_squared() * ky.norm_squared() / (n * n))
        } else {
            let maker = self.residual_maker(z)?;
            let with_z: Vec<usize> = std::iter::once(x).chain(z.iter().copied()).collect();
            let kx = &maker * self.kernel(&with_z, 0.5) * &maker;
            let ky = &maker * self.kernel(&[y], 1.0) * &maker;
            let product = kx.component_mul(&ky);
            (kx.dot(&ky), product.trace(), 2.0 * product.norm_squared())
        };
        let (shape, scale) = (mean * mean / variance, variance / mean);
        let p_value = checked_gamma_ur(shape, statistic.max(0.0) / scale).unwrap_or(1.0);
        Ok(TestResult { statistic, p_value, degrees_of_freedom: 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};

    fn normals(seed: u64, n: usize, purpose: &str) -> Vec<f64> {
        let mut rng = rl_core::SeedStream::new(seed).stream(purpose, 0);
        StandardNormal.sample_iter(&mut rng).take(n).collect()
    }

    #[test]
    fn a_parabola_is_seen_and_a_common_cause_explains_it_away() {
        let n = 150;
        let (mut seen, mut alarms) = (0, 0);
        for seed in 0..20 {
            let z = normals(seed, n, "z");
            let bend = |noise: Vec<f64>, f: fn(f64) -> f64| {
                z.iter().zip(noise).map(|(z, e)| f(*z) + 0.3 * e).collect()
            };
            let x: Vec<f64> = bend(normals(seed, n, "x"), |z| z * z);
            let y: Vec<f64> = bend(normals(seed, n, "y"), |z| (2.0 * z).cos());
            let test = Kci::new(&Table::from_columns(vec![x, y, z]).unwrap()).unwrap();
            seen += usize::from(test.checked(0, 1, &[]).unwrap().p_value < 0.05);
            alarms += usize::from(test.checked(0, 1, &[2]).unwrap().p_value < 0.05);
        }
        assert!(seen >= 19, "dependence found in {seen} of 20");
        assert!(alarms <= 4, "{alarms} false alarms in 20");
    }
}
