//! The kernels against their slow, obvious twin: dense matrices built element by element.

use super::plan::{Fusion, TILE};
use super::*;
use crate::gate::{Angle, Gate, Pauli};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rl_core::StreamRng;

/// U[row][column] for any operation, element by element.
fn dense(operation: &Operation, qubits: usize) -> Vec<Vec<C64>> {
    let angles: Vec<f64> = operation.gate.angles().iter().map(|a| a.value(&[], &[])).collect();
    let targets = &operation.targets;
    let bits = |k: usize| targets.iter().enumerate().fold(0, |m, (j, &q)| m | (k >> q & 1) << j);
    let element = |row: usize, column: usize| -> C64 {
        let others = !targets.iter().fold(0, |m, &q| m | 1usize << q);
        if row & others != column & others {
            return C64::new(0.0, 0.0);
        }
        if operation.controls.iter().any(|&q| column >> q & 1 == 0) {
            return C64::new(f64::from(u8::from(row == column)), 0.0);
        }
        let (i, j) = (bits(row), bits(column));
        match &operation.gate {
            Gate::GlobalPhase(_) => C64::cis(angles[0]),
            Gate::PauliRotation(paulis, _) => {
                let mut product = C64::new(1.0, 0.0);
                for (k, pauli) in paulis.iter().enumerate() {
                    product *= pauli.matrix()[i >> k & 1][j >> k & 1];
                }
                let same = if i == j { (angles[0] / 2.0).cos() } else { 0.0 };
                C64::new(0.0, -1.0) * (angles[0] / 2.0).sin() * product + same
            }
            gate if gate.arity() == 1 => gate.matrix2(&angles).unwrap()[i][j],
            gate => gate.matrix4(&angles).unwrap()[i][j],
        }
    };
    (0..1 << qubits).map(|r| (0..1 << qubits).map(|c| element(r, c)).collect()).collect()
}

fn multiply(m: &[Vec<C64>], v: &[C64]) -> Vec<C64> {
    m.iter().map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum()).collect()
}

pub(crate) fn random_state(qubits: usize, rng: &mut StreamRng) -> StateVector {
    let mut z: Vec<C64> = (0..1 << qubits)
        .map(|_| C64::new(rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)))
        .collect();
    let norm = z.iter().map(C64::norm_sqr).sum::<f64>().sqrt();
    z.iter_mut().for_each(|a| *a /= norm);
    StateVector::from_amplitudes(&z).unwrap()
}

/// A random operation of any kind that fits.
pub(crate) fn random_operation(qubits: usize, rng: &mut StreamRng) -> Operation {
    let mut pool: Vec<usize> = (0..qubits).collect();
    for i in (1..qubits).rev() {
        pool.swap(i, rng.random_range(0..=i));
    }
    let mut angle = || Angle::Fixed(rng.random_range(-4.0..4.0));
    let (a, b, c) = (angle(), angle(), angle());
    let pauli = |rng: &mut StreamRng| [Pauli::X, Pauli::Y, Pauli::Z][rng.random_range(0..3)];
    let u = Gate::U(a, b, c).matrix2(&[1.0, 0.3, -0.7]).unwrap();
    let width = rng.random_range(1..=qubits.min(4));
    let gate = match rng.random_range(0..22) {
        0 => Gate::X,
        1 => Gate::Y,
        2 => Gate::Z,
        3 => Gate::H,
        4 => Gate::S,
        5 => Gate::Tdg,
        6 => Gate::Sx,
        7 => Gate::Rx(a),
        8 => Gate::Ry(b),
        9 => Gate::Rz(c),
        10 => Gate::Phase(a),
        11 => Gate::U(a, b, c),
        12 => Gate::GlobalPhase(a),
        13 if qubits > 1 => Gate::Swap,
        14 if qubits > 1 => Gate::ISwap,
        15 => Gate::PauliRotation((0..width).map(|_| pauli(rng)).collect(), b),
        16 => Gate::Unitary1(Box::new(u)),
        17 if qubits > 1 => Gate::Unitary2(Box::new(crate::gate::matmul4(
            &crate::gate::kronecker(&u, &Pauli::Y.matrix()),
            &Gate::PauliRotation(vec![Pauli::X, Pauli::Z], a).matrix4(&[0.9]).unwrap(),
        ))),
        _ => Gate::X,
    };
    let targets = pool[..gate.arity()].to_vec();
    let room = qubits - gate.arity();
    let controls = rng.random_range(0..=room.min(2));
    let controls = pool[gate.arity()..gate.arity() + controls].to_vec();
    Operation { gate, targets, controls }
}

pub(crate) fn random_circuit(qubits: usize, gates: usize, rng: &mut StreamRng) -> Circuit {
    let mut circuit = Circuit::new(qubits).unwrap();
    for _ in 0..gates {
        let operation = random_operation(qubits, rng);
        circuit.push(operation.gate, &operation.targets, &operation.controls).unwrap();
    }
    circuit
}

fn distance(a: &[C64], b: &[C64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max)
}

#[test]
fn every_kernel_agrees_with_dense_matrices() {
    let mut rng = StreamRng::seed_from_u64(1);
    for case in 0..600 {
        let qubits = 1 + case % 6;
        let operation = random_operation(qubits, &mut rng);
        let mut state = random_state(qubits, &mut rng);
        let expected = multiply(&dense(&operation, qubits), &state.amplitudes());
        state.apply(&operation).unwrap();
        assert!(distance(&state.amplitudes(), &expected) < 1e-13, "{qubits} qubits: {operation:?}");
    }
}

#[test]
fn a_cnot_between_every_ordered_pair() {
    let mut rng = StreamRng::seed_from_u64(2);
    for qubits in 2..=7 {
        for (control, target) in (0..qubits).flat_map(|c| (0..qubits).map(move |t| (c, t))) {
            if control == target {
                continue;
            }
            let operation = Operation { gate: Gate::X, targets: vec![target], controls: vec![control] };
            let mut state = random_state(qubits, &mut rng);
            let before = state.amplitudes();
            state.apply(&operation).unwrap();
            for (k, z) in state.amplitudes().into_iter().enumerate() {
                assert_eq!(z, before[if k >> control & 1 == 1 { k ^ 1 << target } else { k }]);
            }
        }
    }
}

#[test]
fn fusion_changes_nothing() {
    let mut rng = StreamRng::seed_from_u64(3);
    for case in 0..60 {
        let circuit = random_circuit(2 + case % 5, 40, &mut rng);
        let start = random_state(circuit.qubits(), &mut rng);
        let run = |fusion| {
            let mut state = start.clone();
            let mut plan = Plan::with_fusion(&circuit, fusion).unwrap();
            plan.apply(&[], &[], &mut state).unwrap();
            (state.amplitudes(), plan.steps())
        };
        let (plain, steps) = run(Fusion::None);
        for fusion in [Fusion::Runs, Fusion::Full] {
            let (fused, fewer) = run(fusion);
            assert!(distance(&plain, &fused) < 1e-12);
            assert!(fewer <= steps);
        }
    }
}

#[test]
fn tiles_change_nothing_for_any_number_of_threads() {
    let mut rng = StreamRng::seed_from_u64(4);
    for qubits in [TILE + 1, TILE + 2, TILE + 3] {
        let mut circuit = random_circuit(qubits, 60, &mut rng);
        let wide = (0..qubits).map(|q| [Pauli::X, Pauli::Z][q % 2]).collect();
        let all: Vec<usize> = (0..qubits).collect();
        circuit.push(Gate::PauliRotation(wide, Angle::Fixed(0.4)), &all, &[]).unwrap();
        circuit.append(&random_circuit(qubits, 20, &mut rng)).unwrap();
        let start = random_state(qubits, &mut rng);
        let mut tiled = start.clone();
        let mut plan = Plan::new(&circuit).unwrap();
        plan.apply(&[], &[], &mut tiled).unwrap();
        let mut whole = start.clone();
        plan.passes.clear();
        plan.apply(&[], &[], &mut whole).unwrap();
        assert!(distance(&tiled.amplitudes(), &whole.amplitudes()) < 1e-12);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut again = start.clone();
            pool.install(|| Plan::new(&circuit).unwrap().apply(&[], &[], &mut again)).unwrap();
            assert_eq!(again, tiled);
        }
    }
}

#[test]
fn the_norm_holds_over_ten_thousand_gates() {
    let mut rng = StreamRng::seed_from_u64(5);
    let circuit = random_circuit(5, 10_000, &mut rng);
    let state = StateVector::from_circuit(&circuit, &[], &[]).unwrap();
    assert!((state.norm_squared() - 1.0).abs() < 1e-12);
}

#[test]
fn a_circuit_and_its_inverse_cancel() {
    let mut rng = StreamRng::seed_from_u64(6);
    for _ in 0..20 {
        let circuit = random_circuit(4, 30, &mut rng);
        let mut both = circuit.clone();
        both.append(&circuit.inverse().unwrap()).unwrap();
        let start = random_state(4, &mut rng);
        let mut state = start.clone();
        Plan::new(&both).unwrap().apply(&[], &[], &mut state).unwrap();
        assert!(distance(&state.amplitudes(), &start.amplitudes()) < 1e-12);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn expectations_agree_with_matrices(seed in any::<u64>(), qubits in 1usize..6) {
        let mut rng = StreamRng::seed_from_u64(seed);
        let state = random_state(qubits, &mut rng);
        let mut mask = || rng.random::<u64>() & ((1 << qubits) - 1);
        let terms: Vec<_> = (0..7).map(|k| {
            let (x, z) = (if k % 2 == 0 { 0 } else { mask() }, mask());
            (0.3 * k as f64 - 1.0, crate::PauliString { x, z })
        }).collect();
        let observable = PauliSum::new(terms);
        let matrix = observable.matrix(qubits).unwrap();
        let amplitudes = state.amplitudes();
        let slow: C64 = multiply(&matrix, &amplitudes).iter().zip(&amplitudes).map(|(a, b)| b.conj() * a).sum();
        prop_assert!((state.expectation(&observable).unwrap() - slow.re).abs() < 1e-12);
        let hadamard = state.z_expectations();
        for z in 0..1u64 << qubits {
            let string = crate::PauliString { x: 0, z };
            prop_assert!((hadamard[z as usize] - state.expectation(&string.into()).unwrap()).abs() < 1e-12);
        }
    }
}

#[test]
fn shots_follow_the_probabilities_and_the_seed() {
    let mut rng = StreamRng::seed_from_u64(7);
    let state = random_state(3, &mut rng);
    let shots = 200_000;
    let counts = state.sample(shots, &mut StreamRng::seed_from_u64(8));
    assert_eq!(counts, state.sample(shots, &mut StreamRng::seed_from_u64(8)));
    assert_eq!(counts.values().sum::<u64>(), shots);
    for (k, p) in state.probabilities().into_iter().enumerate() {
        let seen = *counts.get(&k).unwrap_or(&0) as f64 / shots as f64;
        assert!((seen - p).abs() < 5.0 * (p / shots as f64).sqrt(), "{k}: {seen} for {p}");
    }
    let observable = PauliSum::parse(&[(0.5, "X0 Y1"), (1.0, "Z2"), (-0.7, "Z0 X2"), (0.2, "")]).unwrap();
    let exact = state.expectation(&observable).unwrap();
    let (mean, error) = state.estimate(&observable, shots, &mut rng).unwrap();
    assert!((mean - exact).abs() < 5.0 * error, "{mean} ± {error} for {exact}");
}

#[test]
fn measuring_one_half_of_a_bell_pair_decides_the_other() {
    let mut circuit = Circuit::new(3).unwrap();
    circuit.h(0).unwrap().cx(0, 2).unwrap();
    let bell = StateVector::from_circuit(&circuit, &[], &[]).unwrap();
    assert!((bell.entanglement_entropy(&[0]).unwrap() - 1.0).abs() < 1e-12);
    assert!((bell.entanglement_entropy(&[0, 1]).unwrap() - 1.0).abs() < 1e-12);
    assert!(bell.entanglement_entropy(&[1]).unwrap().abs() < 1e-12);
    let mut rng = StreamRng::seed_from_u64(9);
    let mut ones = 0;
    for _ in 0..200 {
        let mut state = bell.clone();
        let first = state.measure(0, &mut rng).unwrap();
        assert_eq!(state.measure(2, &mut rng).unwrap(), first);
        ones += usize::from(first);
    }
    assert!((70..130).contains(&ones), "{ones}");
    let rho = bell.reduced(&[2, 0]).unwrap();
    assert!((rho[(0, 3)] - 0.5).norm() < 1e-15 && (rho[(3, 3)] - 0.5).norm() < 1e-15);
}

#[test]
fn classical_control_teleports_a_state() {
    let mut circuit = Circuit::new(3).unwrap();
    let bit = circuit.add_bits(3).unwrap();
    circuit.u(0, 1.0, 0.4, -0.3).unwrap().h(1).unwrap().cx(1, 2).unwrap();
    circuit.cx(0, 1).unwrap().h(0).unwrap().measure(0, bit).unwrap().measure(1, bit + 1).unwrap();
    circuit.push_if((bit + 1, 1, 1), Gate::X, &[2], &[]).unwrap();
    circuit.push_if((bit, 1, 1), Gate::Z, &[2], &[]).unwrap();
    circuit.push(Gate::U(1.0.into(), 0.4.into(), (-0.3).into()).inverse(), &[2], &[]).unwrap();
    circuit.measure(2, bit + 2).unwrap();
    let counts = circuit.simulate(&[], &[], 400, &mut StreamRng::seed_from_u64(10)).unwrap();
    assert!(counts.keys().all(|outcome| outcome >> 2 == 0), "{counts:?}");
    assert_eq!(counts.len(), 4);
}

#[test]
fn bad_input_is_an_error_with_a_reason() {
    let mut circuit = Circuit::new(2).unwrap();
    assert!(circuit.cx(0, 0).is_err() && circuit.x(2).is_err());
    assert!(circuit.rx(0, Angle::Parameter { index: 0, scale: 1.0, offset: 0.0 }).is_err());
    assert!(circuit.push(Gate::Swap, &[0], &[]).is_err());
    assert!(StateVector::from_amplitudes(&[C64::new(1.0, 0.0); 4]).is_err());
    assert!(StateVector::basis(2, 4).is_err());
    let mut state = StateVector::zero(2).unwrap();
    assert!(state.project(0, true).is_err() && state.probability_one(5).is_err());
    assert!(state.expectation(&"Z5".parse().unwrap()).is_err());
    assert!(Plan::new(&circuit).unwrap().run(&[1.0], &[], &mut state).is_err());
}
