//! `qasm`: the states and expectations of the reference simulators, and programs that cannot be run.

use super::{Desk, golden_json};
use serde_json::{Value, json};
use std::fs;

const BELL: &str = "OPENQASM 2.0;\ninclude \"qelib1.inc\";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n";
const ON_THE_WAY: &str =
    "OPENQASM 2.0;\nqreg q[2];\ncreg c[1];\nh q[0];\nmeasure q[0] -> c[0];\nh q[0];\ncx q[0],q[1];\n";

#[test]
fn states_and_expectations_are_those_of_the_reference_simulators() {
    let desk = Desk::new(&[]);
    for case in golden_json("quantum-sim/tests/golden/circuits.json")["circuits"]
        .as_array()
        .unwrap()
        .iter()
        .step_by(4)
    {
        fs::write(desk.0.path().join("circuit.qasm"), case["qasm"].as_str().unwrap()).unwrap();
        let wanted = case["expvals"].as_object().unwrap();
        let mut args = vec!["qasm", "circuit.qasm", "--state"];
        wanted.keys().for_each(|pauli| args.extend(["--pauli", pauli]));
        let report = desk.json(&args);
        for expectation in report["expectations"].as_array().unwrap() {
            let want = wanted[expectation["pauli"].as_str().unwrap()].as_f64().unwrap();
            assert!((expectation["value"].as_f64().unwrap() - want).abs() < 1e-10, "{expectation}");
        }
        let complex = |state: &Value| serde_json::from_value::<Vec<[f64; 2]>>(state.clone()).unwrap();
        let (got, want) = (complex(&report["state"]), complex(&case["state"]));
        assert_eq!(got.len(), want.len());
        for (a, b) in got.iter().flatten().zip(want.iter().flatten()) {
            assert!((a - b).abs() < 1e-10, "{}", case["id"]);
        }
    }
}

#[test]
fn shots_follow_the_seed_and_the_distribution() {
    let desk = Desk::new(&[("bell.qasm", BELL)]);
    let shots = |seed: &str| desk.json(&["qasm", "bell.qasm", "--shots", "1000", "--seed", seed]);
    let report = shots("7");
    assert_eq!(report, shots("7"));
    assert_ne!(report["counts"], shots("8")["counts"]);
    let counts = report["counts"].as_object().unwrap();
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["00", "11"]);
    assert_eq!(counts.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 1000);
    assert!((400..600).contains(&counts["00"].as_u64().unwrap()), "{report}");
    assert_eq!((&report["qubits"], &report["gates"], &report["depth"]), (&json!(2), &json!(2), &json!(2)));
    let text =
        desk.text(&["qasm", "bell.qasm", "--pauli", "Z0 Z1", "--pauli", "X0", "--shots", "10", "--state"]);
    for part in ["2 qubits", "Z0 Z1", "1.0000000000", "10 shots, seed 0", "|11⟩", "0.7071067812"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(desk.text(&["qasm", "bell.qasm"]).starts_with("bell.qasm: 2 qubits, 2 classical bits, 2 gates"));
}

#[test]
fn a_measurement_on_the_way_leaves_a_mixture() {
    let branch = "OPENQASM 2.0;\nqreg q[1];\ncreg c[1];\nh q[0];\nmeasure q[0] -> c[0];\nif(c==1) x q[0];\n";
    let desk = Desk::new(&[("way.qasm", ON_THE_WAY), ("branch.qasm", branch)]);
    let report = desk.json(&["qasm", "way.qasm", "--pauli", "Z0", "--pauli", "Z0 Z1", "--pauli", "X0 X1"]);
    let values: Vec<f64> =
        report["expectations"].as_array().unwrap().iter().map(|e| e["value"].as_f64().unwrap()).collect();
    for (value, want) in values.iter().zip([0.0, 1.0, 0.0]) {
        assert!((value - want).abs() < 1e-12, "{report}");
    }
    desk.refuses(&["qasm", "way.qasm", "--state"], &["way.qasm", "--state", "use --shots"]);
    desk.refuses(&["qasm", "branch.qasm", "--pauli", "Z0"], &["branch.qasm", "branches", "use --shots"]);
    assert_eq!(desk.json(&["qasm", "branch.qasm", "--shots", "5"])["shots"], 5);
}

#[test]
fn programs_that_cannot_be_run_are_named_with_the_line() {
    let wide = "OPENQASM 2.0;\nqreg q[40];\nh q[0];\n";
    let desk = Desk::new(&[
        ("bell.qasm", BELL),
        ("word.qasm", "OPENQASM 2.0;\nqreg q[2];\nhh q[0];\n"),
        ("semicolon.qasm", "OPENQASM 2.0;\nqreg q[2];\ninclude \"qelib1.inc\";\nh q[0]\ncx q[0],q[1];\n"),
        ("range.qasm", "OPENQASM 2.0;\nqreg q[2];\nx q[2];\n"),
        ("empty.qasm", ""),
        ("wide.qasm", wide),
        ("broad.qasm", &wide.replace("40", "21")),
        ("free.qasm", "OPENQASM 3.0;\ninput float theta;\nqubit[1] q;\nrx(theta) q[0];\n"),
    ]);
    desk.refuses(&["qasm", "gone.qasm"], &["gone.qasm", "no such file"]);
    desk.refuses(&["qasm", "word.qasm"], &["word.qasm", "line 3", "hh"]);
    desk.refuses(&["qasm", "semicolon.qasm"], &["semicolon.qasm", "line 5"]);
    desk.refuses(&["qasm", "range.qasm"], &["range.qasm", "line 3", "2"]);
    desk.refuses(&["qasm", "wide.qasm", "--shots", "1"], &["wide.qasm", "40 qubits", "at most 30"]);
    desk.refuses(&["qasm", "broad.qasm", "--state"], &["--state", "21 qubits", "at most 20"]);
    desk.refuses(&["qasm", "free.qasm", "--pauli", "Z0"], &["free.qasm", "theta"]);
    assert_eq!(desk.json(&["qasm", "wide.qasm"])["qubits"], 40);
    let pauli = |text: &str, parts: &[&str]| desk.refuses(&["qasm", "bell.qasm", "--pauli", text], parts);
    pauli("Q0", &["--pauli \"Q0\"", "not a Pauli factor", "X0 Z2"]);
    pauli("Z5", &["--pauli \"Z5\"", "no qubit 5", "0 to 1"]);
    pauli("Z0 Z0", &["--pauli \"Z0 Z0\"", "used twice"]);
    desk.refuses(&["qasm", "bell.qasm", "--shots", "0"], &["--shots"]);
    desk.refuses(&["qasm", "bell.qasm", "--seed", "1"], &["--shots"]);
}
