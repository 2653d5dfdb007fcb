//! Agreement with the reference data in `tests/golden`.

use std::path::Path;

#[test]
fn all_reference_data_is_met() {
    let rows = marl::conformance::run(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")));
    assert_eq!(rows.len(), 11);
    for row in rows {
        println!("{row:?}");
        assert!(row.pass, "{row:?}");
    }
}
