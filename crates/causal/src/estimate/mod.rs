//! Numbers for identified effects, and honest intervals where effects are not identified.
//!
//! - [`g_formula`], [`inverse_probability`], [`augmented_inverse_probability`]: the average effect of a binary treatment
//!   under adjustment, the last one doubly robust and cross-fitted;
//! - [`two_stage_least_squares`]: the effect of a treatment with an instrument;
//! - [`plug_in`]: any formula of [`identify`](crate::identify) on categorical data;
//! - [`ida`]: the effects that remain possible when only an equivalence class of graphs is known;
//! - [`sensitivity_bounds`], [`e_value`]: how much hidden confounding would change the conclusion;
//! - [`off_policy`](importance_sampling): the value of a policy from data of another one, confounded or not.

mod average_effect;
mod ida;
mod instrumental;
mod off_policy;
mod regression;
mod sensitivity;

pub use average_effect::{
    AverageEffectConfig, augmented_inverse_probability, g_formula, inverse_probability, plug_in,
    transported_effect,
};
pub use ida::{PossibleEffect, ida, ida_by_members};
pub use instrumental::{InstrumentalEstimate, two_stage_least_squares};
pub use off_policy::{
    ConfoundedConfig, OffPolicyEstimate, Step, TabularTransition, confounded_value_bounds, doubly_robust,
    importance_sampling, per_decision_importance_sampling, weighted_importance_sampling,
};
pub use regression::{LinearFit, LogisticFit, linear_regression, logistic_regression};
pub use sensitivity::{e_value, sensitivity_bounds};

use serde::Serialize;

/// A number with its standard error and 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// value ± 1.96 standard errors.
    pub interval: (f64, f64),
}

impl Estimate {
    pub(crate) fn new(value: f64, standard_error: f64) -> Self {
        let half = 1.959_963_984_540_054 * standard_error;
        Self { value, standard_error, interval: (value - half, value + half) }
    }

    /// From one influence value per row: the mean, and its standard error √(var / n).
    pub(crate) fn from_influence(values: &[f64]) -> Self {
        let mean = crate::data::mean(values);
        let variance = crate::data::variance(values, mean);
        Self::new(mean, (variance / values.len() as f64).sqrt())
    }
}
