//! Two-stage least squares: the effect of a treatment whose causes are hidden, through an instrument.
//!
//! Angrist & Imbens (1995); White (1980) for the robust standard error; Staiger & Stock (1997) for the rule that a
//! first-stage F below 10 marks a weak instrument.

use super::Estimate;
use super::regression::{design, solve};
use crate::data::Table;
use crate::error::{Error, Result};
use nalgebra::{DMatrix, DVector};
use serde::Serialize;

/// Result of [`two_stage_least_squares`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InstrumentalEstimate {
    /// The coefficient of the treatment.
    pub effect: Estimate,
    /// F statistic of the instruments in the first stage.
    pub first_stage_f: f64,
    /// Whether F < 10: the estimate is then biased towards least squares and its interval too short.
    pub weak: bool,
}

/// Regresses the outcome on the part of the treatment that the instruments explain, both after the covariates.
///
/// # Errors
/// [`Error::Node`] for a column out of range, [`Error::Shape`] without instruments, [`Error::Data`] for missing
/// values or too few rows, [`Error::Singular`] for dependent columns or instruments that explain nothing.
pub fn two_stage_least_squares(
    table: &Table,
    treatment: usize,
    outcome: usize,
    instruments: &[usize],
    covariates: &[usize],
) -> Result<InstrumentalEstimate> {
    let operation = "two_stage_least_squares";
    if instruments.is_empty() {
        return Err(Error::shape(operation, "at least one instrument", "none"));
    }
    let every =
        [treatment, outcome].into_iter().chain(instruments.iter().copied()).chain(covariates.iter().copied());
    if let Some(node) = every.into_iter().find(|&v| v >= table.len()) {
        return Err(Error::Node { operation, node, count: table.len() });
    }
    if table.has_missing() {
        return Err(Error::data("data", "there are missing values; remove or impute them"));
    }
    let n = table.rows();
    if n <= instruments.len() + covariates.len() + 2 {
        return Err(Error::data("data", format!("{n} rows are too few")));
    }
    let rows: Vec<usize> = (0..n).collect();
    let columns = |list: &[usize]| list.iter().map(|&v| table.columns()[v].as_slice()).collect::<Vec<_>>();
    let exogenous = design(&columns(covariates), &rows);
    let first = design(&columns(&[covariates, instruments].concat()), &rows);
    let x = DVector::from_column_slice(&table.columns()[treatment]);
    let y = DVector::from_column_slice(&table.columns()[outcome]);

    let fitted = project(&first, &x)?;
    let unrestricted = (&x - &fitted).norm_squared();
    let restricted = (&x - project(&exogenous, &x)?).norm_squared();
    let freedom = (n - first.ncols()) as f64;
    let first_stage_f = (restricted - unrestricted) / instruments.len() as f64 / (unrestricted / freedom);

    // Regressors: fitted treatment, then covariates with the intercept.
    let second = prepend(&fitted, &exogenous);
    let gram = second.transpose() * &second;
    let coefficients = solve(gram.clone(), second.transpose() * &y)?;
    // Residuals use the true treatment, not the fitted one.
    let residuals = &y - prepend(&x, &exogenous) * &coefficients;
    let singular = || Error::Singular { operation, columns: "of the second stage".into() };
    let inverse = gram.try_inverse().ok_or_else(singular)?;
    let mut meat = second.clone();
    for (r, e) in residuals.iter().enumerate() {
        meat.row_mut(r).scale_mut(e * e);
    }
    let sandwich = &inverse * (second.transpose() * meat) * &inverse;
    let effect = Estimate::new(coefficients[0], sandwich[(0, 0)].max(0.0).sqrt());
    Ok(InstrumentalEstimate { effect, first_stage_f, weak: first_stage_f < 10.0 })
}

fn project(design: &DMatrix<f64>, target: &DVector<f64>) -> Result<DVector<f64>> {
    Ok(design * solve(design.transpose() * design, design.transpose() * target)?)
}

fn prepend(column: &DVector<f64>, matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let mut joined = matrix.clone().insert_column(0, 0.0);
    joined.set_column(0, column);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scm::{Noise, Scm};

    #[test]
    fn a_hidden_confounder_does_not_matter() {
        // 0 instrument, 1 treatment, 2 outcome, 3 hidden.
        let weights = [(0, 1, 1.0), (1, 2, 0.7), (3, 1, 1.0), (3, 2, 2.0)];
        let noises = vec![Noise::Normal { sd: 1.0 }; 4];
        let scm = Scm::linear(crate::graph::default_names(4), &weights, &[0.0; 4], noises).unwrap();
        let table = scm.sample(5000, &mut rl_core::SeedStream::new(1).stream("iv", 0)).unwrap();
        let result = two_stage_least_squares(&table, 1, 2, &[0], &[]).unwrap();
        assert!((result.effect.value - 0.7).abs() < 0.15 && !result.weak, "{result:?}");
        // With one instrument this is Wald's ratio of covariances.
        let c = crate::data::covariance(table.columns());
        assert!((result.effect.value - c[2] / c[1]).abs() < 1e-9);
        assert!(two_stage_least_squares(&table, 1, 2, &[], &[]).is_err());
    }
}
