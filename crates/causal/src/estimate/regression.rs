//! Least squares and logistic regression: the nuisance models of the effect estimators.

use crate::error::{Error, Result};
use nalgebra::{DMatrix, DVector};

/// y ≈ b₀ + Σ bᵢ xᵢ.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearFit {
    /// b₀, b₁, …
    pub coefficients: Vec<f64>,
    /// Mean squared residual.
    pub residual_variance: f64,
}

/// P(y = 1) ≈ 1 / (1 + e^{−(b₀ + Σ bᵢ xᵢ)}).
#[derive(Clone, Debug, PartialEq)]
pub struct LogisticFit {
    /// b₀, b₁, …
    pub coefficients: Vec<f64>,
}

impl LinearFit {
    /// The fitted value at a row of regressors.
    pub fn predict(&self, x: impl IntoIterator<Item = f64>) -> f64 {
        linear(&self.coefficients, x)
    }
}

impl LogisticFit {
    /// The fitted probability at a row of regressors.
    pub fn predict(&self, x: impl IntoIterator<Item = f64>) -> f64 {
        sigmoid(linear(&self.coefficients, x))
    }
}

fn linear(coefficients: &[f64], x: impl IntoIterator<Item = f64>) -> f64 {
    let intercept = coefficients.first().copied().unwrap_or(0.0);
    intercept + coefficients.iter().skip(1).zip(x).map(|(b, v)| b * v).sum::<f64>()
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// A row of ones and the regressors on the chosen rows.
pub(super) fn design(x: &[&[f64]], rows: &[usize]) -> DMatrix<f64> {
    DMatrix::from_fn(rows.len(), x.len() + 1, |r, c| if c == 0 { 1.0 } else { x[c - 1][rows[r]] })
}

/// Least squares of y on the columns x over the given rows.
///
/// # Errors
/// [`Error::Data`] with fewer rows than coefficients, [`Error::Singular`] for linearly dependent regressors.
pub fn linear_regression(y: &[f64], x: &[&[f64]], rows: &[usize]) -> Result<LinearFit> {
    let design = checked_design(x, rows)?;
    let target = DVector::from_iterator(rows.len(), rows.iter().map(|&r| y[r]));
    let gram = design.transpose() * &design;
    let solution = solve(gram, design.transpose() * &target)?;
    let residual = target - design * &solution;
    let residual_variance = residual.norm_squared() / rows.len() as f64;
    Ok(LinearFit { coefficients: solution.iter().copied().collect(), residual_variance })
}

/// Logistic regression of a 0/1 variable by Newton's method, with a ridge of 10⁻⁶ that keeps separable data finite.
///
/// # Errors
/// [`Error::Data`] when y has one class only among the rows, and as [`linear_regression`].
pub fn logistic_regression(y: &[f64], x: &[&[f64]], rows: &[usize]) -> Result<LogisticFit> {
    let design = checked_design(x, rows)?;
    let target = DVector::from_iterator(rows.len(), rows.iter().map(|&r| y[r]));
    let share = target.mean();
    if !(share > 0.0 && share < 1.0) {
        return Err(Error::data(
            "treatment",
            "takes a single value in (a fold of) the data; both must occur",
        ));
    }
    let k = design.ncols();
    let mut coefficients = DVector::zeros(k);
    coefficients[0] = (share / (1.0 - share)).ln();
    for _ in 0..100 {
        let probability = (&design * &coefficients).map(sigmoid);
        let mut gradient = design.transpose() * (&target - &probability);
        let mut weighted = design.clone();
        for (r, p) in probability.iter().enumerate() {
            weighted.row_mut(r).scale_mut(p * (1.0 - p));
        }
        let mut hessian = design.transpose() * weighted;
        for i in 0..k {
            hessian[(i, i)] += 1e-6;
            gradient[i] -= 1e-6 * coefficients[i];
        }
        let step = solve(hessian, gradient)?;
        let longest = step.amax();
        // Far from the optimum a full Newton step can overshoot.
        coefficients += step * (if longest > 5.0 { 5.0 / longest } else { 1.0 });
        if longest < 1e-10 {
            break;
        }
    }
    Ok(LogisticFit { coefficients: coefficients.iter().copied().collect() })
}

fn checked_design(x: &[&[f64]], rows: &[usize]) -> Result<DMatrix<f64>> {
    if rows.len() <= x.len() + 1 {
        let reason = format!("{} rows are too few for {} coefficients", rows.len(), x.len() + 1);
        return Err(Error::data("regression", reason));
    }
    Ok(design(x, rows))
}

pub(super) fn solve(gram: DMatrix<f64>, right: DVector<f64>) -> Result<DVector<f64>> {
    let largest = gram.diagonal().amax();
    let factor = gram.cholesky().filter(|c| c.l_dirty().diagonal().iter().all(|d| d * d > 1e-12 * largest));
    let singular = || Error::Singular { operation: "regression", columns: "of the regressors".into() };
    Ok(factor.ok_or_else(singular)?.solve(&right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_fitted_and_a_logit_is_recovered() {
        let x: Vec<f64> = (0..40).map(|i| f64::from(i) / 10.0 - 2.0).collect();
        let y: Vec<f64> = x.iter().map(|v| 3.0 - 2.0 * v).collect();
        let rows: Vec<usize> = (0..40).collect();
        let fit = linear_regression(&y, &[&x], &rows).unwrap();
        assert!((fit.coefficients[0] - 3.0).abs() < 1e-10 && (fit.coefficients[1] + 2.0).abs() < 1e-10);
        // At the maximum the score equations hold.
        let labels: Vec<f64> = (0..40).map(|i| f64::from(u8::from(i * 7 % 11 + i > 25))).collect();
        let fit = logistic_regression(&labels, &[&x], &rows).unwrap();
        let score: f64 = rows.iter().map(|&r| labels[r] - fit.predict([x[r]])).sum();
        assert!(score.abs() < 1e-4);
        assert!(linear_regression(&y, &[&x, &x], &rows).is_err());
        assert!(logistic_regression(&[1.0; 40], &[&x], &rows).is_err());
    }
}
