//! Statistics of runs against the reference package's numbers in `golden/`.

use std::path::Path;

#[test]
fn statistics_agree_with_rliable() {
    let row =
        rl_core::experiment::conformance::run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    println!("{}: {} cases, {:.1e} of {:.0e}", row.file, row.cases, row.max_error, row.tolerance);
    assert!(row.pass, "{}", row.failure);
}
