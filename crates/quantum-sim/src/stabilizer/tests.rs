//! The tableau against state vectors, frames against closed forms.

use super::*;
use crate::gate::{Gate, Pauli};
use crate::{PauliString, StateVector};
use rand::{RngExt, SeedableRng};
use rl_core::StreamRng;

#[test]
fn the_tableau_agrees_with_the_state_vector() {
    let mut rng = StreamRng::seed_from_u64(1);
    for _ in 0..30 {
        let n = 4;
        let mut tableau = Tableau::new(n).unwrap();
        let mut circuit = crate::Circuit::new(n).unwrap();
        for _ in 0..30 {
            let (a, b) = (rng.random_range(0..n), rng.random_range(1..n));
            let b = (a + b) % n;
            match rng.random_range(0..4) {
                0 => {
                    tableau.h(a);
                    circuit.h(a).unwrap();
                }
                1 => {
                    tableau.s(a);
                    circuit.s(a).unwrap();
                }
                2 => {
                    tableau.cx(a, b);
                    circuit.cx(a, b).unwrap();
                }
                _ => {
                    tableau.pauli(Pauli::Y, a);
                    circuit.push(Gate::Y, &[a], &[]).unwrap();
                }
            }
        }
        let state = StateVector::from_circuit(&circuit, &[], &[]).unwrap();
        for mask in 0..256u64 {
            let string = PauliString { x: mask & 15, z: mask >> 4 };
            let mut signed = SignedPauli::identity(n);
            string.factors().for_each(|(p, q)| signed.set(q, Some(p)));
            let exact = state.expectation(&string.into()).unwrap();
            assert!((f64::from(tableau.expectation(&signed).unwrap()) - exact).abs() < 1e-10, "{string}");
        }
        let canonical = canonical_stabilizers(&tableau);
        for row in &canonical {
            assert_eq!(tableau.expectation(row).unwrap(), 1);
            assert_eq!(pauli_text(row).parse::<SignedPauli>().unwrap(), *row);
        }
    }
}

#[test]
fn measuring_a_ghz_state_is_random_then_agreed() {
    let mut rng = StreamRng::seed_from_u64(2);
    let mut ones = 0;
    for _ in 0..200 {
        let mut t = Tableau::new(70).unwrap();
        t.h(0);
        (1..70).for_each(|q| t.cx(0, q));
        let first = t.measure_z(3, &mut rng).unwrap();
        assert!((0..70).all(|q| t.measure_z(q, &mut rng).unwrap() == first));
        ones += usize::from(first);
    }
    assert!((60..140).contains(&ones));
    assert!(Tableau::new(0).is_err() && Tableau::new(2).unwrap().measure_z(2, &mut rng).is_err());
}

#[test]
fn generated_codes_have_silent_detectors_without_noise() {
    let mut rng = StreamRng::seed_from_u64(3);
    for circuit in [repetition_memory(5, 4, 0.0).unwrap(), surface_memory(5, 3, 0.0).unwrap()] {
        let samples = sample(&circuit, 64, &mut rng).unwrap();
        assert_eq!((samples.mean_detector_rate(), samples.observable_rate(0)), (0.0, 0.0));
        // The tableau agrees: every detector's measurements have parity 0.
        let (_, record) = circuit.run(&mut rng).unwrap();
        for statement in circuit.statements().iter().filter(|s| s.name == Name::Detector) {
            assert!(!statement.targets.iter().fold(false, |f, &m| f ^ record[m]), "{statement:?}");
        }
    }
}

/// Stim 1.16: `detector_error_model(flatten_loops=True).num_errors` of the generated memories at p = 0.01. With loops
/// folded it says 101 for the second: errors of neighbouring rounds with the same symptoms then stand apart. With
/// `decompose_errors=True` it counts 27 for the first: one set of symptoms stands once per way of splitting it.
#[test]
fn single_errors_have_as_many_symptoms_as_the_reference_says() {
    let count = |c: StimCircuit| error_mechanisms(&c).unwrap();
    assert_eq!(count(repetition_memory(3, 3, 0.01).unwrap()), 21);
    assert_eq!(count(repetition_memory(5, 5, 0.01).unwrap()), 65);
    assert_eq!(count(surface_memory(3, 3, 0.01).unwrap()), 219);
    assert_eq!(count(surface_memory(5, 5, 0.01).unwrap()), 1677);
}

#[test]
fn majority_votes_and_text_mistakes() {
    assert!((majority_vote_failure(3, 0.1) - (3.0 * 0.01 * 0.9 + 0.001)).abs() < 1e-15);
    for bad in
        ["FROB 1", "CX 0 0", "CX 0", "X_ERROR(2) 0", "DETECTOR rec[-1]", "REPEAT 2 {\nH 0", "}", "M 99999999"]
    {
        assert!(StimCircuit::parse(bad).is_err(), "{bad}");
    }
    assert!(surface_memory(1, 1, 0.0).is_err() && repetition_memory(3, 1, 1.5).is_err());
    assert!(StimCircuit::parse("").unwrap().run(&mut StreamRng::seed_from_u64(0)).is_err());
}
