//! Replays reference data: traces of the particle worlds and of foraging, and numbers of game theory.
//!
//! [`run`] takes any folder of the same schema (see `tests/golden/README.md`): other seeds, sizes and values.

mod games;
mod traces;

use rl_core::conformance::{Row, replay};
use std::path::Path;

const AREA: &str = "marl";

/// One row per data file of the area's schema in the folder, by name: `mpe_*.json`, `lbf.json`, `games.json`.
pub fn run(folder: &Path) -> Vec<Row> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    files.sort();
    let row = |file: &String| match file.as_str() {
        "games.json" => Some(replay(AREA, folder, file, games::check)),
        "lbf.json" => Some(replay(AREA, folder, file, traces::foraging)),
        f if f.starts_with("mpe_openai2017") && f.ends_with(".json") => {
            Some(replay(AREA, folder, file, traces::particle_2017))
        }
        f if f.starts_with("mpe_") && f.ends_with(".json") => {
            Some(replay(AREA, folder, file, traces::particle))
        }
        _ => None,
    };
    files.iter().filter_map(row).collect()
}
