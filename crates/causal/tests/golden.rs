//! Every file of reference data in `tests/golden` is reproduced at its stated tolerance.

use std::path::Path;

#[test]
fn all_reference_data_are_reproduced() {
    let rows = causal::conformance::run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    for row in &rows {
        println!(
            "{:28} {:6} cases, max error {:9.2e}, tolerance {:7.0e}, {}",
            row.file,
            row.cases,
            row.max_error,
            row.tolerance,
            if row.pass { "pass" } else { &row.failure }
        );
    }
    assert_eq!(rows.len(), 14, "a file is missing");
    assert!(rows.iter().all(|r| r.pass), "a row failed, see above");
}
