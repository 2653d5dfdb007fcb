//! What the `validate()` of several configurations asks for.

use crate::Result;
use rl_core::Error;

/// Every number of `fields` is at least 1.
pub(crate) fn at_least_one(
    config: &'static str,
    fields: impl IntoIterator<Item = (&'static str, u64)>,
) -> Result<()> {
    fields.into_iter().try_for_each(|(field, value)| match value {
        0 => Err(Error::config(config, field, value, "at least 1").into()),
        _ => Ok(()),
    })
}

/// Every number of `fields` is finite and not negative.
pub(crate) fn not_negative(
    config: &'static str,
    fields: impl IntoIterator<Item = (&'static str, f64)>,
) -> Result<()> {
    fields.into_iter().try_for_each(|(field, value)| match value >= 0.0 && value.is_finite() {
        true => Ok(()),
        false => Err(Error::config(config, field, value, "finite and not negative").into()),
    })
}

/// No hidden layer is empty.
pub(crate) fn positive_widths(config: &'static str, field: &'static str, widths: &[usize]) -> Result<()> {
    match widths.contains(&0) {
        true => Err(Error::config(config, field, format!("{widths:?}"), "positive widths").into()),
        false => Ok(()),
    }
}
