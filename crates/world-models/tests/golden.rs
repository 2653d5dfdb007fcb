//! Planning against the worked examples that rl-core keeps for the whole workspace.

use rl_core::conformance::replay;
use rl_core::conformance::rl_core::{SECTIONS, check_sections};
use std::path::Path;

#[test]
fn worked_examples_of_planning_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rl-core/tests/golden");
    let others: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
    let row = replay("rl-core", &folder, "rl_core.json", |data, checker| {
        check_sections(data, checker, world_models::conformance::SECTIONS, &others)
    });
    println!("{}: {} cases, {:.1e} of {:.0e}", row.file, row.cases, row.max_error, row.tolerance);
    assert!(row.pass, "{}", row.failure);
}
