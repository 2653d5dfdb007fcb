//! Replays reference data of Qiskit, Qulacs, PennyLane, Aer and Stim: see `tests/golden/README.md` for the schema.

mod algorithms;
mod circuits;
mod gradients;
mod noise;
mod stabiliser;

use rl_core::conformance::{Row, replay};
use std::path::Path;

const AREA: &str = "quantum";

/// One row per data file of the folder.
pub fn run(folder: &Path) -> Vec<Row> {
    vec![
        replay(AREA, folder, "circuits.json", circuits::check),
        replay(AREA, folder, "gradients.json", gradients::check),
        replay(AREA, folder, "noise.json", noise::check),
        replay(AREA, folder, "algorithms.json", algorithms::check),
        replay(AREA, folder, "stabiliser.json", stabiliser::check),
    ]
}

/// Errors of this crate in the checker's words.
fn text(error: crate::Error) -> String {
    error.to_string()
}
