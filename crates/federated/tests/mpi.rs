//! Two ranks agree on the mean gradient. Needs `mpirun` and the example `data_parallel` (feature `mpi`).
#![cfg(feature = "mpi")]

use std::process::Command;

#[test]
fn two_ranks_learn_the_same_parameters() {
    if Command::new("mpirun").arg("--version").output().is_err() {
        println!("SKIPPED: no mpirun on the path");
        return;
    }
    let example =
        std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/data_parallel");
    assert!(example.exists(), "{} is missing: build the examples", example.display());
    let output = Command::new("mpirun")
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .args(["-np", "2", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1"])
        .arg(example)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        text.contains("rank 0 of 2: agreed on 0.5") && text.contains("rank 1 of 2: agreed on 0.5"),
        "{text}"
    );
}
