//! Bandits.
use rl_core::conformance::Checker;
use serde_json::Value;
use std::path::Path;
pub(super) fn unobserved_confounders(_: &Path, _: &Value, _: &mut Checker) -> Result<(), String> {
    Err("x".into())
}
pub(super) fn structural(_: &Path, _: &Value, _: &mut Checker) -> Result<(), String> {
    Err("x".into())
}
