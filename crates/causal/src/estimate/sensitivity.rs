//! How much hidden confounding would it take?
//!
//! Tan (2006) and Zhao, Small & Bhattacharya (2019) for the marginal sensitivity model: hidden confounders may change
//! the odds of treatment by a factor of at most Γ. VanderWeele & Ding (2017) for the E-value.

use super::average_effect::Columns;
use super::regression::logistic_regression;
use crate::data::Table;
use crate::error::{Error, Result};
use crate::scm::Answer;

/// The range of Hájek-weighted average effects when the true odds of treatment differ from the estimated ones by a
/// factor within [1/Γ, Γ] per row. Γ = 1 gives the point of inverse probability weighting.
///
/// The weights that attain the extremes are found by sorting the outcomes (a linear fractional program).
///
/// # Errors
/// [`Error::Config`] for Γ < 1, and as [`g_formula`](super::g_formula).
pub fn sensitivity_bounds(
    table: &Table,
    treatment: usize,
    outcome: usize,
    covariates: &[usize],
    gamma: f64,
) -> Result<Answer> {
    if !(gamma >= 1.0 && gamma.is_finite()) {
        return Err(Error::config("sensitivity", "gamma", gamma, "at least 1"));
    }
    let data = Columns::new(table, treatment, outcome, covariates)?;
    let all: Vec<usize> = (0..data.rows()).collect();
    let propensity = logistic_regression(data.treatment, &data.covariates, &all)?;
    let mut arms: [Vec<(f64, f64, f64)>; 2] = [Vec::new(), Vec::new()];
    for &r in &all {
        let e = propensity.predict(data.covariates_at(r)).clamp(1e-6, 1.0 - 1e-6);
        let treated = data.treatment[r] == 1.0;
        let odds = if treated { (1.0 - e) / e } else { e / (1.0 - e) };
        arms[usize::from(treated)].push((data.outcome[r], 1.0 + odds / gamma, 1.0 + odds * gamma));
    }
    let [control, treated] = arms.map(extreme_means);
    let (lower, upper) = (treated.0 - control.1, treated.1 - control.0);
    Ok(if gamma == 1.0 { Answer::Point { value: lower } } else { Answer::Bounds { lower, upper } })
}

/// Least and largest weighted mean of `(value, least weight, largest weight)`: some threshold separates the values
/// that take one extreme weight from those that take the other.
pub(super) fn extreme_means(mut items: Vec<(f64, f64, f64)>) -> (f64, f64) {
    items.sort_by(|a, b| a.0.total_cmp(&b.0));
    let extreme = |heavy_low: bool| {
        let mut start = (0.0, 0.0);
        for &(value, low, high) in &items {
            let weight = if heavy_low { low } else { high };
            start = (start.0 + weight * value, start.1 + weight);
        }
        let (mut sum, mut total) = start;
        let mut best = sum / total;
        for &(value, low, high) in &items {
            let change = if heavy_low { high - low } else { low - high };
            sum += change * value;
            total += change;
            best = if heavy_low { f64::min(best, sum / total) } else { f64::max(best, sum / total) };
        }
        best
    };
    (extreme(true), extreme(false))
}

/// The E-value of a risk ratio: the least association, as a risk ratio with treatment and with outcome, that a hidden
/// confounder needs to explain it away: RR + √(RR (RR − 1)) for RR ≥ 1, of 1/RR below.
///
/// # Errors
/// [`Error::Config`] for a ratio that is not positive.
pub fn e_value(risk_ratio: f64) -> Result<f64> {
    if !(risk_ratio > 0.0 && risk_ratio.is_finite()) {
        return Err(Error::config("e_value", "risk_ratio", risk_ratio, "positive"));
    }
    let ratio = risk_ratio.max(1.0 / risk_ratio);
    Ok(ratio + (ratio * (ratio - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_agree_with_trying_every_corner() {
        let items = vec![(1.0, 1.0, 3.0), (-2.0, 0.5, 2.0), (0.3, 1.0, 1.5), (4.0, 0.2, 2.2)];
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for corner in 0..16u32 {
            let weights: Vec<f64> =
                items.iter().enumerate().map(|(i, w)| if corner >> i & 1 == 1 { w.2 } else { w.1 }).collect();
            let mean =
                items.iter().zip(&weights).map(|(i, w)| i.0 * w).sum::<f64>() / weights.iter().sum::<f64>();
            (low, high) = (low.min(mean), high.max(mean));
        }
        let got = extreme_means(items);
        assert!((got.0 - low).abs() < 1e-12 && (got.1 - high).abs() < 1e-12);
    }

    #[test]
    fn the_published_example_of_the_e_value() {
        // VanderWeele & Ding: RR 3.9 has E-value 7.26.
        assert!((e_value(3.9).unwrap() - 7.26).abs() < 0.01);
        assert_eq!(e_value(1.0).unwrap(), 1.0);
    }
}
