//! DirectLiNGAM: the full causal order of linear models with non-Gaussian noise.
//!
//! Shimizu et al., *DirectLiNGAM* (JMLR 2011), with the pairwise likelihood ratio of Hyvärinen & Smith (JMLR 2013):
//! the variable that is most independent of its residuals is exogenous; regress it out; repeat. The strengths come
//! from an adaptive lasso along the order (Zou 2006), its penalty chosen by BIC, as in the lingam packages.

use super::lasso::lars_lasso_bic;
use crate::data::{Table, covariance, dot, mean, variance};
use crate::error::{Error, Result};
use crate::graph::Dag;
use nalgebra::{DMatrix, DVector};

/// What [`direct_lingam`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct LingamResult {
    /// The variables, causes first.
    pub order: Vec<usize>,
    /// `strengths[effect][cause]`: the coefficient of the cause in the equation of the effect; 0 for no edge.
    pub strengths: Vec<Vec<f64>>,
    /// The edges with non-zero strength.
    pub dag: Dag,
}

/// Learns the order and the strengths.
///
/// # Errors
/// [`Error::Data`] for missing values, constant columns or too few rows; [`Error::Singular`] for linearly
/// dependent columns.
pub fn direct_lingam(table: &Table) -> Result<LingamResult> {
    if table.has_missing() {
        return Err(Error::data("data", "there are missing values; remove or impute them"));
    }
    table.check_for_discovery(table.len() + 3)?;
    let order = causal_order(table)?;
    let strengths = strengths(table, &order)?;
    let mut edges = Vec::new();
    for (effect, row) in strengths.iter().enumerate() {
        edges.extend(row.iter().enumerate().filter(|(_, b)| **b != 0.0).map(|(cause, _)| (cause, effect)));
    }
    Ok(LingamResult { dag: Dag::new(table.names().to_vec(), &edges)?, order, strengths })
}

fn causal_order(table: &Table) -> Result<Vec<usize>> {
    let mut columns = table.standardized().columns().to_vec();
    let mut left: Vec<usize> = (0..table.len()).collect();
    let mut order = Vec::with_capacity(left.len());
    while left.len() > 1 {
        let exogenous = most_exogenous(&columns, &left);
        left.retain(|&v| v != exogenous);
        let cause = columns[exogenous].clone();
        for &v in &left {
            let residual = residual(&columns[v], &cause);
            columns[v] = standardize(residual).ok_or_else(|| Error::Singular {
                operation: "DirectLiNGAM",
                columns: format!("`{}`, `{}`", table.names()[v], table.names()[exogenous]),
            })?;
        }
        order.push(exogenous);
    }
    order.extend(left);
    Ok(order)
}

/// The variable with the least evidence Σ_j min(0, ratio(i, j))² of being an effect.
fn most_exogenous(columns: &[Vec<f64>], left: &[usize]) -> usize {
    let entropies: Vec<f64> = left.iter().map(|&v| entropy(&columns[v])).collect();
    let mut evidence = vec![0.0; left.len()];
    for i in 0..left.len() {
        for j in i + 1..left.len() {
            let (a, b) = (&columns[left[i]], &columns[left[j]]);
            let (ra, rb) = (standardize(residual(a, b)), standardize(residual(b, a)));
            let (Some(ra), Some(rb)) = (ra, rb) else { continue };
            // > 0: a is the cause of b.
            let ratio = (entropies[j] + entropy(&ra)) - (entropies[i] + entropy(&rb));
            evidence[i] += ratio.min(0.0).powi(2);
            evidence[j] += (-ratio).min(0.0).powi(2);
        }
    }
    let best = (0..left.len()).min_by(|&a, &b| evidence[a].total_cmp(&evidence[b])).unwrap_or(0);
    left[best]
}

/// a − (cov(a, b) / var(b)) b of centred columns.
fn residual(a: &[f64], b: &[f64]) -> Vec<f64> {
    let slope = dot(a, b) / dot(b, b);
    a.iter().zip(b).map(|(x, y)| x - slope * y).collect()
}

fn standardize(mut column: Vec<f64>) -> Option<Vec<f64>> {
    let mean = mean(&column);
    let deviation = variance(&column, mean).sqrt();
    if deviation < 1e-10 {
        return None;
    }
    column.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
    Some(column)
}

/// Differential entropy of a standardised variable by Hyvärinen's (1998) maximum entropy approximation:
/// H = (1 + ln 2π)/2 − k₁ (E ln cosh u − γ)² − k₂ (E u e^{−u²/2})².
fn entropy(u: &[f64]) -> f64 {
    const K1: f64 = 79.047;
    const K2: f64 = 7.4129;
    const GAMMA: f64 = 0.37457;
    let (mut log_cosh, mut odd) = (0.0, 0.0);
    for &v in u {
        // ln cosh v = |v| + ln(1 + e^(−2|v|)) − ln 2 does not overflow.
        log_cosh += v.abs() + (-2.0 * v.abs()).exp().ln_1p() - std::f64::consts::LN_2;
        odd += v * (-0.5 * v * v).exp();
    }
    let n = u.len() as f64;
    0.5 * (1.0 + std::f64::consts::TAU.ln()) - K1 * (log_cosh / n - GAMMA).powi(2) - K2 * (odd / n).powi(2)
}

/// Adaptive lasso of every variable on its predecessors.
fn strengths(table: &Table, order: &[usize]) -> Result<Vec<Vec<f64>>> {
    let p = table.len();
    let moments = DMatrix::from_row_slice(p, p, &covariance(table.columns()));
    let mut strengths = vec![vec![0.0; p]; p];
    for (i, &target) in order.iter().enumerate().skip(1) {
        let causes = &order[..i];
        let gram = moments.select_rows(causes).select_columns(causes);
        let cross = moments.select_rows(causes).column(target).clone_owned();
        let least_squares =
            gram.clone().cholesky().map(|c| c.solve(&cross)).ok_or_else(|| Error::Singular {
                operation: "DirectLiNGAM",
                columns: causes
                    .iter()
                    .map(|&c| format!("`{}`", table.names()[c]))
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
        let weights = least_squares.map(f64::abs);
        let scaled = DMatrix::from_fn(i, i, |a, b| gram[(a, b)] * weights[a] * weights[b]);
        let coefficients =
            lars_lasso_bic(&scaled, &cross.component_mul(&weights), moments[(target, target)], table.rows());
        let coefficients: DVector<f64> = coefficients.component_mul(&weights);
        causes.iter().zip(&coefficients).for_each(|(&cause, &b)| strengths[target][cause] = b);
    }
    Ok(strengths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn a_chain_with_uniform_noise_is_ordered_and_scale_does_not_matter() {
        let mut rng = rl_core::SeedStream::new(5).stream("lingam", 0);
        let mut noise = |n: usize| -> Vec<f64> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let n = 800;
        let a = noise(n);
        let b: Vec<f64> = a.iter().zip(noise(n)).map(|(a, e)| 0.9 * a + e).collect();
        let c: Vec<f64> = b.iter().zip(noise(n)).map(|(b, e)| -0.8 * b + e).collect();
        for scale in [1.0, 1000.0] {
            let columns = vec![c.iter().map(|v| v * scale).collect(), a.clone(), b.clone()];
            let result = direct_lingam(&Table::from_columns(columns).unwrap()).unwrap();
            assert_eq!(result.order, [1, 2, 0]);
            assert_eq!(result.dag.edges(), [(1, 2), (2, 0)]);
            assert!((result.strengths[2][1] - 0.9).abs() < 0.1);
        }
    }

    #[test]
    fn a_repeated_column_is_an_error() {
        let a: Vec<f64> = (0..50).map(|i| f64::from(i * 37 % 101)).collect();
        assert!(direct_lingam(&Table::from_columns(vec![a.clone(), a]).unwrap()).is_err());
    }
}
