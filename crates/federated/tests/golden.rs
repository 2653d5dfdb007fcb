//! The reference numbers in `tests/golden` are met.

use std::path::Path;

#[test]
fn every_golden_file_is_met() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for row in federated::conformance::run(&folder) {
        assert!(row.pass, "{row:?}");
    }
}
