//! Replays `rl_core.json`: worked examples of returns, distributions, tensor functions, statistics and buffers, one
//! section each.
//!
//! A section is claimed by whoever implements its method, with one line in a [`Section`] table. A section of the file
//! that nobody claims fails, so that no reference number goes unchecked; so does a claimed section that is missing.

mod distributions;
mod functions;
mod networks;
mod returns;
mod statistics;

use super::{Checker, Row, get, replay};
use serde_json::Value;
use std::path::Path;

/// Largest relative deviation, in f64.
const TOLERANCE: f64 = 1e-12;

/// A section's name and its check, which sees the section and the whole file.
pub type Section = (&'static str, fn(&Value, &Value, &mut Checker) -> Result<(), String>);

/// The sections that this crate implements.
pub const SECTIONS: &[Section] = &[
    ("gae", returns::gae),
    ("dreamerv3_lambda_return_imagination", returns::dreamer_v3_imagination),
    ("dreamerv3_lambda_return_replay", returns::dreamer_v3_replay),
    ("dreamer_v1_v2_lambda_return", returns::dreamer_v2),
    ("n_step_returns", returns::n_step),
    ("vtrace", returns::vtrace),
    ("symlog", functions::symlog),
    ("symexp_twohot_v3_current", distributions::two_hot_current),
    ("symlog_twohot_v3_2023", distributions::two_hot_2023),
    ("tdmpc2_twohot", distributions::two_hot_td_mpc2),
    ("twohot_small_example", distributions::two_hot_small),
    ("twohot_ce", distributions::two_hot_loss),
    ("gaussian_kl", distributions::gaussian_kl),
    ("kl_balancing", distributions::kl_balancing),
    ("categorical_unimix_kl", distributions::categorical_kl),
    ("straight_through", distributions::straight_through),
    ("tanh_normal", distributions::tanh_normal),
    ("normal", distributions::normal),
    ("dv3_bounded_normal", distributions::bounded_normal),
    ("softplus_stable", functions::softplus),
    ("planet_std", distributions::standard_deviations),
    ("bce_with_logits", distributions::bernoulli),
    ("pets_gaussian_nll", distributions::gaussian_nll),
    ("gru_pytorch", networks::gru),
    ("gru_dreamer_layernorm", networks::norm_gru),
    ("lstm_pytorch", networks::lstm),
    ("layernorm", functions::norms),
    ("silu", functions::silu),
    ("simnorm", functions::simnorm),
    ("optimizers", networks::optimizers),
    ("agc", networks::adaptive_clipping),
    ("clip_grad_norm", networks::global_norm_clipping),
    ("running_mean_std", statistics::running_mean_std),
    ("dv3_percentile_return_norm", statistics::percentile_scale),
    ("ema_target", statistics::ema),
    ("per", statistics::prioritized),
    ("numpy_pcg64_seed42", statistics::numpy_generator),
];

/// The sections whose methods live in the crate of world models, which brings its own table;
/// `cargo xtask conformance rl-core` checks both at once and leaves none out.
pub const ELSEWHERE: &[&str] = &["cem_update", "mppi_tdmpc2_update", "colored_noise"];

/// Replays this crate's sections of `rl_core.json` in a folder; those of [`ELSEWHERE`] are left to their owners.
pub fn run(folder: &Path) -> Row {
    replay("rl-core", folder, "rl_core.json", check_rl_core)
}

/// Checks this crate's sections; those of [`ELSEWHERE`] are left to their owners.
///
/// # Errors
/// As [`check_sections`].
pub fn check_rl_core(data: &Value, checker: &mut Checker) -> Result<(), String> {
    check_sections(data, checker, SECTIONS, ELSEWHERE)
}

/// Checks every section of the file with the table given. What is neither in the table nor in `left_out` fails.
///
/// # Errors
/// A message naming the section where the schema does not hold, or that nobody checks.
pub fn check_sections(
    data: &Value,
    checker: &mut Checker,
    table: &[Section],
    left_out: &[&str],
) -> Result<(), String> {
    let present = data.as_object().ok_or("the file is not an object of sections")?;
    for (name, check) in table {
        let section = present.get(*name).ok_or_else(|| format!("section `{name}` is missing"))?;
        checker.within(name, |checker| check(section, data, checker))?;
    }
    for name in present.keys().map(String::as_str) {
        if !table.iter().any(|(known, _)| *known == name) && !left_out.contains(&name) {
            checker.fail(format!("section `{name}` is checked by nobody"));
        }
    }
    Ok(())
}

/// Numbers of a field.
fn numbers(section: &Value, key: &str) -> Result<Vec<f64>, String> {
    get(section, key)
}

/// 0/1 flags of a field.
fn flags(section: &Value, key: &str) -> Result<Vec<bool>, String> {
    Ok(numbers(section, key)?.iter().map(|&flag| flag != 0.0).collect())
}

/// A named object whose keys are numbers, `{"0.5": ..}`, in any order.
fn keyed<T: serde::de::DeserializeOwned>(section: &Value, key: &str) -> Result<Vec<(f64, T)>, String> {
    let entries: std::collections::BTreeMap<String, T> = get(section, key)?;
    let number = |key: String| key.parse().map_err(|e| format!("key `{key}`: {e}"));
    entries.into_iter().map(|(key, value)| Ok((number(key)?, value))).collect()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_nobody_checks_or_that_is_missing_fails() {
        let data = serde_json::json!({"a": {"x": 1.0}, "b": {}});
        let check: Section = ("a", |section, _, checker| {
            checker.close("x", 1.0, get(section, "x")?, TOLERANCE);
            Ok(())
        });
        let replayed = |table: &[Section], left_out: &[&str]| {
            let mut checker = Checker::new("rl-core", "rl_core.json");
            check_sections(&data, &mut checker, table, left_out).map(|()| checker.finish())
        };
        assert!(replayed(&[check], &["b"]).unwrap().pass);
        let row = replayed(&[check], &[]).unwrap();
        assert!(!row.pass && row.failure.contains("`b` is checked by nobody"), "{row:?}");
        assert!(replayed(&[check, ("c", check.1)], &["b"]).unwrap_err().contains("`c` is missing"));
    }
}
