//! Returns, distributions, tensor functions, statistics and buffers against the worked examples in `golden/`.

use std::path::Path;

#[test]
fn worked_examples_agree() {
    let row = rl_core::conformance::rl_core::run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    println!("{}: {} cases, {:.1e} of {:.0e}", row.file, row.cases, row.max_error, row.tolerance);
    assert!(row.pass, "{}", row.failure);
}
