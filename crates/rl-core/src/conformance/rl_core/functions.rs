//! Sections on tensor functions.

use super::{Checker, TOLERANCE, numbers, text};
use crate::conformance::get;
use crate::nn::ops;
use candle_core::{Device, Tensor};
use serde_json::Value;

/// A vector of f64.
pub(super) fn vector(x: &[f64]) -> Result<Tensor, String> {
    Tensor::from_slice(x, x.len(), &Device::Cpu).map_err(text)
}

/// The elements, in order.
pub(super) fn elements(x: &Tensor) -> Result<Vec<f64>, String> {
    x.flatten_all().and_then(|x| x.to_vec1()).map_err(text)
}

/// Compares a function of the field `x` with another field.
fn check_function(
    section: &Value,
    checker: &mut Checker,
    x: &str,
    y: &str,
    f: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<(), String> {
    let got = f(&vector(&numbers(section, x)?)?).map_err(text)?;
    checker.close_slice(y, &elements(&got)?, &numbers(section, y)?, TOLERANCE);
    Ok(())
}

pub(super) fn symlog(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    check_function(section, checker, "x", "symlog", ops::symlog)?;
    check_function(section, checker, "x", "symexp_of_symlog", |x| ops::symexp(&ops::symlog(x)?))
}

pub(super) fn softplus(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    check_function(section, checker, "x", "y", ops::softplus)
}

pub(super) fn silu(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    check_function(section, checker, "x", "y", Tensor::silu)
}

/// TD-MPC2 normalises in groups of 8.
pub(super) fn simnorm(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    check_function(section, checker, "x", "y", |x| ops::simnorm(x, 8))
}

pub(super) fn norms(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let (epsilon, rms_epsilon) = (get(section, "eps")?, get(section, "rms_eps")?);
    check_function(section, checker, "x", "y", |x| ops::layer_norm(x, None, None, epsilon))?;
    check_function(section, checker, "x", "rmsnorm", |x| ops::rms_norm(x, None, rms_epsilon))
}
