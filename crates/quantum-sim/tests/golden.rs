//! Agreement with the peers' numbers in `tests/golden`.

use std::path::Path;

#[test]
fn reference_data_is_reproduced() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let rows = quantum_sim::conformance::run(&folder);
    assert_eq!(rows.len(), 5);
    for row in rows {
        assert!(row.pass, "{row:#?}");
    }
}
