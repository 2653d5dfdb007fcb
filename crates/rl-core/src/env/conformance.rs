//! Replays reference traces of Gymnasium and dm_control through this crate's environments.
//!
//! Every recorded step is repeated from the recorded state before it, so that rounding does not accumulate. Whole
//! episodes are replayed in closed loop as well where the task does not amplify rounding: the simulator itself
//! tells, from the distance that a tiny change of the start state grows to.

mod baselines;
mod traces;
mod vector;

use crate::conformance::{Checker, Row, get, replay};
use crate::env::uniform;
use crate::normalize::RunningMeanStd;
use crate::numpy_rng::{NumpyRng, seed_sequence};
use rand::Rng;
use serde_json::Value;
use std::path::Path;

const AREA: &str = "rl-core";
/// Observations are f32: half a unit in the last place of the reference's, as much of ours.
const OBSERVATION_TOLERANCE: f64 = f32::EPSILON as f64;

type Check = fn(&Value, &mut Checker) -> Result<(), String>;

/// Replays every `gymnasium_*.json`, `dmc_*.json`, `baselines*.json` and `vector_*.json` of a folder, one row per file.
pub fn run(folder: &Path) -> Vec<Row> {
    let kinds: [(&str, Check); 4] = [
        ("gymnasium_", traces::gymnasium),
        ("dmc_", traces::dm_control),
        ("baselines", baselines::statistics),
        ("vector_", vector::batches),
    ];
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    let check =
        |name: &str| kinds.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, check)| *check);
    names.iter().filter_map(|name| Some(replay(AREA, folder, name, check(name)?))).collect()
}

/// Replays the section `running_mean_std` of `rl_core.json`: batches of numbers, then mean, variance and count.
///
/// # Errors
/// A message where the schema does not hold.
pub fn running_mean_std(section: &Value, checker: &mut Checker) -> Result<(), String> {
    let mut statistic = RunningMeanStd::new(1);
    for batch in get::<Vec<Vec<f64>>>(section, "batches")? {
        statistic.update(&batch).map_err(|e| e.to_string())?;
    }
    checker.close("mean", statistic.mean()[0], get(section, "mean")?, 1e-12);
    checker.close("var", statistic.variance()[0], get(section, "var")?, 1e-12);
    checker.close("count", statistic.count(), get(section, "count")?, 1e-12);
    Ok(())
}

/// Replays the section `numpy_pcg64_seed42` of `rl_core.json`: NumPy's seeding and generator, bit for bit.
///
/// # Errors
/// A message where the schema does not hold.
pub fn numpy_pcg64(section: &Value, checker: &mut Checker) -> Result<(), String> {
    const SEED: u64 = 42;
    let words: Vec<u64> = get(section, "seedseq_generate_state_u64_4")?;
    checker.exact("SeedSequence", seed_sequence(SEED).as_slice(), &words);
    let (state, increment) = NumpyRng::new(SEED).state();
    checker.exact("state", state.to_string(), get(section, "pcg_state")?);
    checker.exact("increment", increment.to_string(), get(section, "pcg_inc")?);
    let mut rng = NumpyRng::new(SEED);
    for want in get::<Vec<u64>>(section, "first_u64")? {
        checker.exact("word", rng.next_u64(), want);
    }
    for (key, low, high) in [("first_uniform01", 0.0, 1.0), ("uniform_m005_005", -0.05, 0.05)] {
        let mut rng = NumpyRng::new(SEED);
        for want in get::<Vec<f64>>(section, key)? {
            checker.exact(key, uniform(&mut rng, low, high), want);
        }
    }
    Ok(())
}
