//! Replays `statistics.json`: the statistics of runs against the package rliable of Agarwal et al. (2021).

use super::stats;
use crate::SeedStream;
use crate::conformance::{Checker, Row, get, replay};
use serde_json::Value;
use std::path::Path;

/// Largest relative deviation of what is computed without chance.
const TOLERANCE: f64 = 1e-12;
/// Largest deviation of an end of a bootstrap interval, as a share of the interval's width: both sides draw.
const INTERVAL_TOLERANCE: f64 = 0.03;
const RESAMPLES: usize = 20_000;

/// Replays the file in a folder.
pub fn run(folder: &Path) -> Row {
    replay("rl-core", folder, "statistics.json", |data, checker| {
        for (i, case) in get::<Vec<Value>>(data, "cases")?.iter().enumerate() {
            check(case, checker).map_err(|e| format!("case {i}: {e}"))?;
        }
        Ok(())
    })
}

fn check(case: &Value, checker: &mut Checker) -> Result<(), String> {
    let (x, y): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (get(case, "x")?, get(case, "y")?);
    let thresholds: Vec<f64> = get(case, "thresholds")?;
    if x.is_empty() || x.len() != y.len() || x.iter().chain(&y).any(Vec::is_empty) {
        return Err("x and y must have the same tasks, each with runs".into());
    }
    checker.close("iqm", stats::aggregate_iqm(&x), get(case, "iqm")?, TOLERANCE);
    checker.close("mean", stats::mean(&x.concat()), get(case, "mean")?, TOLERANCE);
    let profile = stats::performance_profile(&x, &thresholds);
    checker.close_slice("profile", &profile, &get::<Vec<f64>>(case, "profile")?, TOLERANCE);
    let better = stats::probability_of_improvement(&x, &y);
    checker.close("probability of improvement", better, get(case, "probability_of_improvement")?, TOLERANCE);
    let mut rng = SeedStream::new(0).stream("bootstrap", 0);
    let ours = stats::bootstrap_interval(&x, stats::aggregate_iqm, 0.95, RESAMPLES, &mut rng);
    let [lo, hi] = get::<[f64; 2]>(case, "iqm_interval_95")?;
    let scaled = |v: f64| (v - lo) / (hi - lo);
    checker.close("lower end", scaled(ours[0]), 0.0, INTERVAL_TOLERANCE);
    checker.close("upper end", scaled(ours[1]), 1.0, INTERVAL_TOLERANCE);
    Ok(())
}
