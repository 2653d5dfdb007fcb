//! The environments against the reference traces in `golden/`.

use std::path::Path;

#[test]
fn environments_agree_with_the_reference_traces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let rows = rl_core::env::conformance::run(&folder);
    assert_eq!(rows.len(), 13, "{rows:?}");
    for row in &rows {
        println!("{:40} {:6} cases, {:.1e} of {:.0e}", row.file, row.cases, row.max_error, row.tolerance);
        assert!(row.pass, "{}: {}", row.file, row.failure);
    }
}
