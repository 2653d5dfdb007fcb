//! The average effect E[Y | do(T = 1)] − E[Y | do(T = 0)] of a binary treatment under a valid adjustment set.
//!
//! Robins (1986) for the g-formula; Hájek-normalised inverse probability weights; Robins, Rotnitzky & Zhao (1994)
//! and Chernozhukov et al., *Double/debiased machine learning* (2018) for the cross-fitted doubly robust form.

use super::Estimate;
use super::regression::{linear_regression, logistic_regression};
use crate::data::{Categories, Table};
use crate::error::{Error, Result};
use crate::identify::{Expression, Factor};
use serde::{Deserialize, Serialize};

/// Settings of the estimators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AverageEffectConfig {
    /// Number of folds of the cross-fitted estimator. 5 (Chernozhukov et al. use 2 to 5).
    pub folds: usize,
    /// Propensities are kept within [clip, 1 − clip]. 0.01.
    pub clip: f64,
}

impl Default for AverageEffectConfig {
    fn default() -> Self {
        Self { folds: 5, clip: 0.01 }
    }
}

impl AverageEffectConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        if self.folds < 2 {
            return Err(Error::config("average_effect", "folds", self.folds, "at least 2"));
        }
        if !(0.0..0.5).contains(&self.clip) {
            return Err(Error::config("average_effect", "clip", self.clip, "in [0, 0.5)"));
        }
        Ok(())
    }
}

/// The columns of a question.
pub(super) struct Columns<'a> {
    pub(super) treatment: &'a [f64],
    pub(super) outcome: &'a [f64],
    pub(super) covariates: Vec<&'a [f64]>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(
        table: &'a Table,
        treatment: usize,
        outcome: usize,
        covariates: &[usize],
    ) -> Result<Self> {
        let column = |v: usize| {
            table.columns().get(v).map(Vec::as_slice).ok_or(Error::Node {
                operation: "average effect",
                node: v,
                count: table.len(),
            })
        };
        if table.has_missing() {
            return Err(Error::data("data", "there are missing values; remove or impute them"));
        }
        let columns = Self {
            treatment: column(treatment)?,
            outcome: column(outcome)?,
            covariates: covariates.iter().map(|&v| column(v)).collect::<Result<_>>()?,
        };
        match columns.treatment.iter().find(|t| **t != 0.0 && **t != 1.0) {
            Some(odd) => Err(Error::data(
                format!("treatment `{}`", table.names()[treatment]),
                format!("has the value {odd}, must be 0 or 1"),
            )),
            None => Ok(columns),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.treatment.len()
    }

    pub(super) fn covariates_at(&self, row: usize) -> impl Iterator<Item = f64> {
        self.covariates.iter().map(move |c| c[row])
    }

    fn arm(&self, rows: &[usize], arm: f64) -> Vec<usize> {
        rows.iter().copied().filter(|&r| self.treatment[r] == arm).collect()
    }
}

/// mean over rows of m₁(z) − m₀(z), m_t the linear regression of the outcome on the covariates in arm t.
///
/// The standard error is that of the influence values m₁ − m₀ + residuals weighted by the linear propensity, as for
/// the doubly robust estimator without cross-fitting.
///
/// # Errors
/// [`Error::Data`] for a treatment that is not 0/1, missing values or too few rows; [`Error::Singular`].
pub fn g_formula(table: &Table, treatment: usize, outcome: usize, covariates: &[usize]) -> Result<Estimate> {
    let data = Columns::new(table, treatment, outcome, covariates)?;
    let all: Vec<usize> = (0..data.rows()).collect();
    let fits = [0.0, 1.0].map(|arm| linear_regression(data.outcome, &data.covariates, &data.arm(&all, arm)));
    let [control, treated] = fits;
    let (control, treated) = (control?, treated?);
    let effects: Vec<f64> = all
        .iter()
        .map(|&r| treated.predict(data.covariates_at(r)) - control.predict(data.covariates_at(r)))
        .collect();
    let value = crate::data::mean(&effects);
    let influence = doubly_robust_values(&data, &all, &all, 0.01)?;
    Ok(Estimate::new(value, Estimate::from_influence(&influence).standard_error))
}

/// Σ T Y / e / Σ T / e − Σ (1 − T) Y / (1 − e) / Σ (1 − T) / (1 − e), e the logistic propensity.
///
/// # Errors
/// As [`g_formula`], and [`Error::Config`].
pub fn inverse_probability(
    table: &Table,
    treatment: usize,
    outcome: usize,
    covariates: &[usize],
    config: &AverageEffectConfig,
) -> Result<Estimate> {
    config.validate()?;
    let data = Columns::new(table, treatment, outcome, covariates)?;
    let all: Vec<usize> = (0..data.rows()).collect();
    let propensity = logistic_regression(data.treatment, &data.covariates, &all)?;
    let (mut sums, mut weights) = ([0.0; 2], [0.0; 2]);
    let mut each = Vec::with_capacity(all.len());
    for &r in &all {
        let e = propensity.predict(data.covariates_at(r)).clamp(config.clip, 1.0 - config.clip);
        let arm = data.treatment[r] as usize;
        let weight = if arm == 1 { 1.0 / e } else { 1.0 / (1.0 - e) };
        sums[arm] += weight * data.outcome[r];
        weights[arm] += weight;
        each.push((arm, weight));
    }
    let means = [sums[0] / weights[0], sums[1] / weights[1]];
    // Linearisation of the two ratios, propensities taken as known (conservative).
    let n = all.len() as f64;
    let influence: Vec<f64> = each
        .iter()
        .zip(&all)
        .map(|(&(arm, weight), &r)| {
            let sign = if arm == 1 { 1.0 } else { -1.0 };
            sign * weight * (data.outcome[r] - means[arm]) * n / weights[arm]
        })
        .collect();
    Ok(Estimate::new(means[1] - means[0], Estimate::from_influence(&influence).standard_error))
}

/// The cross-fitted doubly robust estimate: mean of m₁ − m₀ + T (Y − m₁)/e − (1 − T)(Y − m₀)/(1 − e), with m and e fitted
/// on the other folds. Consistent when either the outcome or the propensity model is right.
///
/// Row r belongs to fold r mod folds: shuffle the rows first when their order means something.
///
/// # Errors
/// As [`inverse_probability`].
pub fn augmented_inverse_probability(
    table: &Table,
    treatment: usize,
    outcome: usize,
    covariates: &[usize],
    config: &AverageEffectConfig,
) -> Result<Estimate> {
    config.validate()?;
    let data = Columns::new(table, treatment, outcome, covariates)?;
    let mut influence = Vec::with_capacity(data.rows());
    for fold in 0..config.folds {
        let (held_out, training): (Vec<usize>, Vec<usize>) =
            (0..data.rows()).partition(|r| r % config.folds == fold);
        influence.extend(doubly_robust_values(&data, &training, &held_out, config.clip)?);
    }
    Ok(Estimate::from_influence(&influence))
}

/// The doubly robust value of every row in `rows`, with models fitted on `training`.
fn doubly_robust_values(data: &Columns, training: &[usize], rows: &[usize], clip: f64) -> Result<Vec<f64>> {
    let control = linear_regression(data.outcome, &data.covariates, &data.arm(training, 0.0))?;
    let treated = linear_regression(data.outcome, &data.covariates, &data.arm(training, 1.0))?;
    let propensity = logistic_regression(data.treatment, &data.covariates, training)?;
    let value = |&r: &usize| {
        let (m0, m1) = (control.predict(data.covariates_at(r)), treated.predict(data.covariates_at(r)));
        let e = propensity.predict(data.covariates_at(r)).clamp(clip, 1.0 - clip);
        let (t, y) = (data.treatment[r], data.outcome[r]);
        m1 - m0 + t * (y - m1) / e - (1.0 - t) * (y - m0) / (1.0 - e)
    };
    Ok(rows.iter().map(value).collect())
}

/// The effect in a target domain: outcome regressions of the source domain averaged over the target's covariates,
/// Σ_z (E[Y | T = 1, z] − E[Y | T = 0, z]) P*(z). Valid when the covariates are an adjustment set in the source and one
/// of [`transport_sets`](crate::identify::transport_sets).
///
/// `covariates` pairs columns of the source with columns of the target. The interval covers the sampling of the target
/// rows only.
///
/// # Errors
/// As [`g_formula`]; [`Error::Node`] for a target column out of range.
pub fn transported_effect(
    source: &Table,
    treatment: usize,
    outcome: usize,
    target: &Table,
    covariates: &[(usize, usize)],
) -> Result<Estimate> {
    let own: Vec<usize> = covariates.iter().map(|c| c.0).collect();
    let data = Columns::new(source, treatment, outcome, &own)?;
    if let Some(&(_, node)) = covariates.iter().find(|c| c.1 >= target.len()) {
        return Err(Error::Node { operation: "transported_effect", node, count: target.len() });
    }
    let all: Vec<usize> = (0..data.rows()).collect();
    let control = linear_regression(data.outcome, &data.covariates, &data.arm(&all, 0.0))?;
    let treated = linear_regression(data.outcome, &data.covariates, &data.arm(&all, 1.0))?;
    let at = |r: usize| covariates.iter().map(move |c| target.columns()[c.1][r]);
    let effects: Vec<f64> =
        (0..target.rows()).map(|r| treated.predict(at(r)) - control.predict(at(r))).collect();
    if effects.is_empty() {
        return Err(Error::data("target", "has no row"));
    }
    Ok(Estimate::from_influence(&effects))
}

/// A formula of identification on the empirical distribution of categorical data: a table over its free variables.
///
/// Cells that need a conditional probability on an event that never occurred are NaN: the data violate positivity.
///
/// # Errors
/// [`Error::TooLarge`] beyond 2²⁴ joint states; as [`Expression::evaluate`].
pub fn plug_in(formula: &Expression, data: &Categories) -> Result<Factor> {
    let sizes = data.cardinalities().to_vec();
    let cells = sizes.iter().try_fold(1usize, |n, &c| n.checked_mul(c)).filter(|n| *n <= 1 << 24);
    let cells = cells.ok_or_else(|| Error::TooLarge {
        operation: "plug_in",
        reason: "more than 2^24 joint states; drop variables the formula does not need".into(),
    })?;
    let mut joint = vec![0.0; cells];
    let share = 1.0 / data.rows() as f64;
    for row in 0..data.rows() {
        let index = (0..data.len()).fold(0, |i, v| i * sizes[v] + data.codes(v)[row] as usize);
        joint[index] += share;
    }
    formula.evaluate(&Factor::new((0..data.len()).collect(), sizes, joint)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};

    /// z confounds t and y; the effect is 2, the raw difference is not.
    fn confounded(n: usize, seed: u64) -> Table {
        let mut rng = rl_core::SeedStream::new(seed).stream("effect", 0);
        let (mut z, mut t, mut y) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..n {
            let zi: f64 = StandardNormal.sample(&mut rng);
            let ti = f64::from(u8::from(rng.random::<f64>() < 1.0 / (1.0 + (-0.8 * zi).exp())));
            let noise: f64 = StandardNormal.sample(&mut rng);
            y.push(2.0 * ti + 1.5 * zi + noise);
            z.push(zi);
            t.push(ti);
        }
        Table::new(vec!["z".into(), "t".into(), "y".into()], vec![z, t, y]).unwrap()
    }

    #[test]
    fn all_three_remove_the_confounding() {
        let table = confounded(4000, 1);
        let config = AverageEffectConfig::default();
        let naive = g_formula(&table, 1, 2, &[]).unwrap();
        assert!(naive.value > 2.6, "{naive:?}");
        let adjusted = [
            g_formula(&table, 1, 2, &[0]).unwrap(),
            inverse_probability(&table, 1, 2, &[0], &config).unwrap(),
            augmented_inverse_probability(&table, 1, 2, &[0], &config).unwrap(),
        ];
        for estimate in adjusted {
            assert!((estimate.value - 2.0).abs() < 0.15, "{estimate:?}");
        }
    }

    #[test]
    fn the_interval_covers_the_truth() {
        let config = AverageEffectConfig::default();
        let covered = (0..100)
            .filter(|&seed| {
                let (low, high) = augmented_inverse_probability(&confounded(400, seed), 1, 2, &[0], &config)
                    .unwrap()
                    .interval;
                low <= 2.0 && 2.0 <= high
            })
            .count();
        assert!((88..=100).contains(&covered), "{covered} of 100");
    }

    #[test]
    fn an_effect_that_depends_on_z_moves_with_the_target() {
        // y = t z, so the effect is the mean of z: 0 in the source, 2 in the target.
        let mut table = confounded(2000, 3);
        let columns = table.columns().to_vec();
        let y = columns[0].iter().zip(&columns[1]).map(|(z, t)| t * z).collect();
        let shifted = columns[0].iter().map(|z| z + 2.0).collect();
        table = Table::from_columns(vec![columns[0].clone(), columns[1].clone(), y]).unwrap();
        let target = Table::from_columns(vec![shifted]).unwrap();
        let effect = transported_effect(&table, 1, 2, &target, &[(0, 0)]).unwrap();
        assert!((effect.value - 2.0).abs() < 0.1, "{effect:?}");
    }

    #[test]
    fn a_treatment_that_is_not_binary_is_named() {
        let message = g_formula(&confounded(50, 1), 0, 2, &[]).unwrap_err().to_string();
        assert!(message.contains("treatment `z`"), "{message}");
    }
}
