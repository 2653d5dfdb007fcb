//! Agreement with reference data: the sections of `rl_core.json` on planning.
//!
//! The file belongs to the area rl-core; [`SECTIONS`] completes the table of that crate, so that every section of it is
//! checked: `cargo xtask conformance rl-core`.

use crate::planning::{
    Mppi, best, elite_statistics, elite_weights, momentum, noise_amplitudes, noise_sigma, weighted_statistics,
};
use rl_core::conformance::rl_core::Section;
use rl_core::conformance::{Checker, get};
use serde_json::Value;

/// Largest relative deviation, in f64.
const TOLERANCE: f64 = 1e-12;

/// The sections that this crate implements.
pub const SECTIONS: &[Section] =
    &[("cem_update", cem_update), ("mppi_tdmpc2_update", mppi_update), ("colored_noise", coloured_noise)];

/// A population with its scores: the rows of the `k` best, and their scores.
struct Elites {
    rows: Vec<f64>,
    scores: Vec<f64>,
    width: usize,
}

impl Elites {
    fn new(section: &Value, k: usize) -> Result<Self, String> {
        let population: Vec<Vec<f64>> = get(section, "population")?;
        let scores: Vec<f64> = get(section, "scores")?;
        let width = population.first().map_or(0, Vec::len);
        if width == 0 || scores.len() != population.len() || population.iter().any(|row| row.len() != width) {
            return Err("`population` is not a matrix with one row per score".into());
        }
        if k == 0 || k > scores.len() {
            return Err(format!("`k` = {k} of {} candidates", scores.len()));
        }
        let ranked: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
        let order = best(&ranked, k);
        let rows = order.iter().flat_map(|&i| population[i].iter().copied()).collect();
        Ok(Self { rows, scores: order.iter().map(|&i| scores[i]).collect(), width })
    }
}

fn cem_update(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let mut close = |key: &str, got: &[f64]| -> Result<(), String> {
        checker.close_slice(key, got, &get::<Vec<f64>>(section, key)?, TOLERANCE);
        Ok(())
    };
    let elites = Elites::new(section, get(section, "k")?)?;
    let (elite_mean, elite_variance) = elite_statistics(&elites.rows, elites.width);
    close("elite_mean", &elite_mean)?;
    close("elite_var", &elite_variance)?;
    let alpha = get(section, "alpha")?;
    let (mut mean, mut variance): (Vec<f64>, Vec<f64>) = (get(section, "mean")?, get(section, "var")?);
    momentum(alpha, &mut mean, &elite_mean);
    momentum(alpha, &mut variance, &elite_variance);
    close("new_mean", &mean)?;
    close("new_var", &variance)?;
    // PlaNet's spread adds 1e-6 to the variance where `Cem` has a floor: the number checks the variance once more.
    let spread: Vec<f64> = elite_variance.iter().map(|v| (v + 1e-6).sqrt()).collect();
    close("planet_std", &spread)
}

/// The population and scores are those of `cem_update`; the spread's bounds are TD-MPC2's.
fn mppi_update(section: &Value, data: &Value, checker: &mut Checker) -> Result<(), String> {
    let mut close = |key: &str, got: &[f64]| -> Result<(), String> {
        checker.close_slice(key, got, &get::<Vec<f64>>(section, key)?, TOLERANCE);
        Ok(())
    };
    let population = data.get("cem_update").ok_or("section `cem_update` is missing")?;
    let elites = Elites::new(population, get(section, "k")?)?;
    let weights = elite_weights(&elites.scores, get(section, "temperature")?);
    close("weights", &weights)?;
    let (mean, std) = weighted_statistics(&elites.rows, &weights, elites.width);
    let Mppi { min_std, max_std, .. } = Mppi::default();
    let std: Vec<f64> = std.iter().map(|s| s.clamp(min_std, max_std)).collect();
    close("mean", &mean)?;
    close("std", &std)
}

fn coloured_noise(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let n = get(section, "n")?;
    let amplitudes = noise_amplitudes(n, get(section, "beta")?);
    checker.close_slice("s_scale", &amplitudes, &get::<Vec<f64>>(section, "s_scale")?, TOLERANCE);
    checker.close("sigma", noise_sigma(n, &amplitudes), get(section, "sigma")?, TOLERANCE);
    Ok(())
}
