//! The environments against the reference traces in `golden/`.

use rl_core::conformance::replay;
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

#[test]
fn generator_and_running_statistics_agree_with_the_worked_examples() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let row = replay("rl-core", &folder, "rl_core.json", |data, checker| {
        rl_core::env::conformance::numpy_pcg64(&data["numpy_pcg64_seed42"], checker)?;
        rl_core::env::conformance::running_mean_std(&data["running_mean_std"], checker)
    });
    assert!(row.pass, "{}", row.failure);
}
