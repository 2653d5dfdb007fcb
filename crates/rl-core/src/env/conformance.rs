//! Replays reference traces of Gymnasium and dm_control through this crate's environments.
//!
//! Every recorded step is repeated from the recorded state before it, so that rounding does not accumulate. Whole
//! episodes are replayed in closed loop as well where the task does not amplify rounding: the simulator itself
//! tells, from the distance that a tiny change of the start state grows to.

mod baselines;
mod traces;
mod vector;

use crate::conformance::{Checker, Row, replay};
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
