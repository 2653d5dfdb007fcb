//! Round trips, hand-worked programs, and texts that mean harm.

use super::*;
use crate::state_vector::StateVector;
use crate::{Circuit, Error, PauliSum};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rl_core::StreamRng;

fn state(text: &str) -> StateVector {
    StateVector::from_circuit(&parse(text).unwrap(), &[], &[]).unwrap()
}

fn distance(a: &StateVector, b: &StateVector) -> f64 {
    a.amplitudes().iter().zip(b.amplitudes()).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max)
}

#[test]
fn definitions_broadcasting_and_expressions() {
    let a = state(
        "OPENQASM 2.0; include \"qelib1.inc\";\n// a comment\ngate bell(t) a, b { ry(t*2/4) a; cx a, b; barrier a; }\n\
         qreg q[2]; qreg r[2]; creg c[2]; bell(pi) q[0], r[1]; h r; cx q, r; u2(0, -pi^2/sin(1.0)) q[1];",
    );
    let b = state(
        "qreg q[4]; ry(pi/2) q[0]; cx q[0], q[3]; h q[2]; h q[3]; cx q[0], q[2]; cx q[1], q[3];\
         u3(pi/2, 0, -(pi*pi)/sin(1)) q[1];",
    );
    assert!(distance(&a, &b) < 1e-14);
}

#[test]
fn version_three_modifiers_and_inputs() {
    let text = "OPENQASM 3.0; include \"stdgates.inc\"; input float[64] theta; qubit[3] q; bit[3] c;\n\
                h q; ctrl @ rx(2*theta + 0.5) q[0], q[1]; inv @ s q[2]; pow(3) @ t q[0]; negctrl @ x q[0], q[2];\n\
                ctrl @ gphase(theta/2) q[1]; ctrl(2) @ z q[0], q[1], q[2]; pow(-2) @ sx q[1]; c = measure q;";
    let circuit = parse(text).unwrap();
    assert_eq!(circuit.parameter_names(), ["theta"]);
    assert!(circuit.operations().is_err());
    let circuit = circuit.without_final_measurements();
    let mut by_hand = Circuit::new(3).unwrap();
    let t = by_hand.parameter("theta");
    let scaled = crate::Angle::Parameter { index: 0, scale: 2.0, offset: 0.5 };
    by_hand.h(0).unwrap().h(1).unwrap().h(2).unwrap().crx(0, 1, scaled).unwrap().sdg(2).unwrap();
    by_hand.t(0).unwrap().t(0).unwrap().t(0).unwrap().x(0).unwrap().cx(0, 2).unwrap().x(0).unwrap();
    by_hand.phase(1, t * 0.5).unwrap().push(crate::Gate::Z, &[2], &[0, 1]).unwrap();
    by_hand.push(crate::Gate::Sxdg, &[1], &[]).unwrap().push(crate::Gate::Sxdg, &[1], &[]).unwrap();
    let run = |c: &Circuit| StateVector::from_circuit(c, &[0.7], &[]).unwrap();
    assert!(distance(&run(&circuit), &run(&by_hand)) < 1e-14);
}

#[test]
fn conditions_and_measurements_run() {
    let text = "OPENQASM 2.0; qreg q[2]; creg c[2]; x q[0]; measure q[0] -> c[0]; if (c == 1) x q[1]; measure q -> c;";
    let circuit = parse(text).unwrap();
    let counts = circuit.simulate(&[], &[], 50, &mut StreamRng::seed_from_u64(0)).unwrap();
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(3, 50)]);
    assert_eq!(parse(&write(&circuit).unwrap()).unwrap(), circuit);
}

#[test]
fn written_circuits_read_back_to_the_same_state() {
    let mut rng = StreamRng::seed_from_u64(1);
    let mut written = 0;
    for _ in 0..60 {
        let circuit = crate::state_vector::tests::random_circuit(4, 25, &mut rng);
        let Ok(text) = write(&circuit) else { continue };
        written += 1;
        let again = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let run = |c: &Circuit| StateVector::from_circuit(c, &[], &[]).unwrap();
        assert!(distance(&run(&circuit), &run(&again)) < 1e-12, "{text}");
    }
    assert!(written > 10);
    let mut circuit = Circuit::new(2).unwrap();
    let p = circuit.parameter_vector("theta", 2);
    circuit.rx(0, p[0]).unwrap().crz(0, 1, p[1] * -0.5).unwrap().ry(1, p[0] + 0.25).unwrap();
    let again = parse(&write(&circuit).unwrap()).unwrap();
    let value = |c: &Circuit| {
        let state = StateVector::from_circuit(c, &[0.3, 1.9], &[]).unwrap();
        state.expectation(&PauliSum::parse(&[(1.0, "Y0 X1"), (0.5, "Z1")]).unwrap()).unwrap()
    };
    assert_eq!(value(&circuit), value(&again));
}

#[test]
fn mistakes_are_named_with_their_place() {
    let message = |text: &str| match parse(text).unwrap_err() {
        Error::Parse { line, column, message } => (line, column, message),
        other => panic!("{other}"),
    };
    assert_eq!(message("qreg q[2];\nx q[2];").0, 2);
    let followed = message("qreg q[2];\nx q[0];\n  x q[2];\nx q[1];");
    assert_eq!((followed.0, followed.1), (3, 3), "a statement that was read whole");
    assert_eq!(message("qreg q[2];\nx q[0]\nx q[1];").0, 3, "a semicolon is missing before this line");
    assert!(message("qreg q[2]; frob q[0];").2.contains("frob"));
    assert!(message("qreg q[2]; rx(1/0) q[0];").2.contains("zero"));
    assert!(message("qreg q[2]; cx q[0], q[0];").2.contains("twice"));
    assert!(message("OPENQASM 9.0;").2.contains("2 and 3"));
    for bad in [
        "qreg q[99999999999999999999];",
        "qreg q[4000000000];",
        "qreg q[0];",
        "qreg q[2]; qreg q[2];",
        "qreg q[2]; creg c[1]; measure q -> c;",
        "gate g a { g a; } qreg q[1]; g q[0];",
        "qreg q[1]; rx(1e400) q[0];",
        "qreg q[1]; pow(100000) @ x q[0];",
        "qreg q[1]; ctrl @ x q[0];",
        "qreg q[2]; if (q == 1) x q[0];",
        "/* never closed",
        "include \"never closed",
        "qreg q[1]; rx(ln(0)) q[0];",
        "qreg q[1]; rx() q[0];",
        "barrier",
        "gate",
        "{",
        "\u{0}",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn explosions_are_bounded() {
    let mut text = String::from("qreg q[1]; gate g0 a { x a; }");
    for k in 1..60 {
        text += &format!("gate g{k} a {{ g{} a; g{} a; }}", k - 1, k - 1);
    }
    assert!(parse(&(text + "g59 q[0];")).is_err());
    let deep = format!("qreg q[1]; rx({}1{}) q[0];", "(".repeat(100_000), ")".repeat(100_000));
    assert!(parse(&deep).is_err());
    assert!(parse(&format!("qreg q[1]; rx({}1) q[0];", "-".repeat(100_000))).is_err());
    assert!(parse(&format!("qreg q[1]; rx(1{}) q[0];", "+1".repeat(100_000))).is_err());
    assert!(parse(&format!("qreg q[1]; rx(2{}) q[0];", "^2".repeat(100_000))).is_err());
    assert!(parse(&format!("qreg q[1]; {} x q[0];", "inv @".repeat(100_000))).is_err());
    assert!(parse(&format!("qreg q[1]; {} x q[0];", "pow(4000) @".repeat(30))).is_err());
}

const PROGRAM: &str = "OPENQASM 2.0;\ninclude \"qelib1.inc\";\ngate foo(a, b) q, r { rx(a*pi/b) q; cx q, r; }\n\
    qreg q[3];\ncreg c[3];\nfoo(0.5, -2) q[0], q[1];\nh q;\ncrz(1.5e-3) q[0],q[2];\nbarrier q;\nmeasure q -> c;\n\
    if (c == 5) u3(0.1, 0.2, sin(0.3)^2) q[1];\nreset q[0];\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn mutated_programs_never_panic(seed in any::<u64>()) {
        let mut rng = StreamRng::seed_from_u64(seed);
        let pieces = ["[", "]", "(", ")", "{", "}", ";", ",", "q", "9999999999", "-", "1e308", "^", "->", "@", "ctrl",
                      "pow(4)", "gate", "π", "if", "input float x", "\n", "\"", "/*", "==", "qubit[2] z;", "0"];
        let mut text: Vec<char> = PROGRAM.chars().collect();
        for _ in 0..rng.random_range(1..12) {
            let at = rng.random_range(0..text.len());
            match rng.random_range(0..4) {
                0 => drop(text.remove(at)),
                1 => {
                    let piece = pieces[rng.random_range(0..pieces.len())];
                    text.splice(at..at, piece.chars());
                }
                2 => {
                    let end = (at + rng.random_range(0..20)).min(text.len());
                    let copy: Vec<char> = text[at..end].to_vec();
                    let to = rng.random_range(0..text.len());
                    text.splice(to..to, copy);
                }
                _ => text[at] = char::from(rng.random_range(32..127u8)),
            }
        }
        if let Ok(circuit) = parse(&text.iter().collect::<String>()) {
            let _ = write(&circuit);
            let _ = circuit.simulate(&vec![0.0; circuit.parameters()], &[], 1, &mut rng);
        }
    }
}
