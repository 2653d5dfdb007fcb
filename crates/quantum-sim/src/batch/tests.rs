//! The batched engine against its slow twin: one circuit at a time through the state vector and its adjoint.

use super::*;
use crate::gate::{Activation, Gate, Pauli};
use crate::{Adjoint, Parameter};
use rand::{RngExt, SeedableRng};
use rl_core::StreamRng;

fn random(rng: &mut StreamRng, count: usize) -> Vec<f64> {
    (0..count).map(|_| rng.random_range(-2.0..2.0)).collect()
}

/// Values, parameter gradient and input gradients, one sample after the other.
fn slow(
    circuit: &Circuit,
    observables: &[PauliSum],
    parameters: &[f64],
    inputs: &[f64],
    weights: &[f64],
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut adjoint = Adjoint::new(circuit, observables.to_vec()).unwrap();
    let mut out = (vec![], vec![0.0; parameters.len()], vec![]);
    for (b, weights) in weights.chunks(observables.len()).enumerate() {
        let x = &inputs[b * circuit.inputs()..][..circuit.inputs()];
        out.0.extend_from_slice(adjoint.forward(parameters, x).unwrap());
        let gradient = adjoint.backward(weights).unwrap();
        out.1.iter_mut().zip(gradient.parameters).for_each(|(a, b)| *a += b);
        out.2.extend_from_slice(gradient.inputs);
    }
    out
}

fn check(circuit: &Circuit, observables: &[&str], batch: usize, rng: &mut StreamRng) {
    let observables: Vec<PauliSum> = observables.iter().map(|o| o.parse().unwrap()).collect();
    let (parameters, inputs) = (random(rng, circuit.parameters()), random(rng, batch * circuit.inputs()));
    let weights = random(rng, batch * observables.len());
    let expected = slow(circuit, &observables, &parameters, &inputs, &weights);
    let mut engine = Batch::new(circuit, observables.clone()).unwrap();
    let mut values = vec![0.0; weights.len()];
    let (mut by_parameter, mut by_input) = (vec![9.0; parameters.len()], vec![9.0; inputs.len()]);
    for _ in 0..2 {
        engine.forward(&parameters, &inputs, &mut values).unwrap();
        engine.backward(&weights, &mut by_parameter, &mut by_input).unwrap();
        for (what, got, want) in [
            ("value", &values, &expected.0),
            ("parameter", &by_parameter, &expected.1),
            ("input", &by_input, &expected.2),
        ] {
            for (k, (got, want)) in got.iter().zip(want).enumerate() {
                assert!((got - want).abs() < 1e-12 * batch as f64, "{what} {k}: {got} {want}");
            }
        }
    }
}

/// Layers of RX RY RZ, a CZ ring and encoded RX, as in the TensorFlow Quantum tutorial.
pub(crate) fn reuploading(qubits: usize, layers: usize, activation: Activation) -> Circuit {
    let mut c = Circuit::new(qubits).unwrap();
    let rotate = |c: &mut Circuit, p: &[Parameter]| {
        for q in 0..qubits {
            c.rx(q, p[3 * q]).unwrap().ry(q, p[3 * q + 1]).unwrap().rz(q, p[3 * q + 2]).unwrap();
        }
    };
    for l in 0..layers {
        let p = c.parameter_vector(&format!("theta{l}"), 3 * qubits);
        let w = c.parameter_vector(&format!("lambda{l}"), qubits);
        rotate(&mut c, &p);
        for q in 0..qubits - 1 {
            c.cz(q, q + 1).unwrap();
        }
        if qubits > 2 {
            c.cz(0, qubits - 1).unwrap();
        }
        for q in 0..qubits {
            let x = c.encode(q, Some(w[q]), activation);
            c.rx(q, x).unwrap();
        }
    }
    let p = c.parameter_vector("last", 3 * qubits);
    rotate(&mut c, &p);
    c
}

#[test]
fn data_reuploading_agrees_with_the_slow_twin() {
    let mut rng = StreamRng::seed_from_u64(1);
    for (qubits, layers, batch) in [(4, 5, 64), (4, 1, 1), (2, 3, 13), (3, 2, 8), (1, 2, 9), (6, 2, 130)] {
        let circuit = reuploading(qubits, layers, Activation::Tanh);
        let last = format!("Z{}", qubits - 1);
        check(&circuit, &["Z0", &last, "X0"], batch, &mut rng);
    }
}

#[test]
fn every_kind_of_gate_agrees_with_the_slow_twin() {
    let mut rng = StreamRng::seed_from_u64(2);
    for qubits in [3, 4, 5] {
        let last = qubits - 1;
        let mut c = Circuit::new(qubits).unwrap();
        let p = c.parameter_vector("p", 12);
        let x = c.encode(0, Some(p[10]), Activation::Atan);
        let y = c.encode(1, None, Activation::Linear);
        let z = c.encode(1, Some(p[11]), Activation::Tanh);
        c.h(0).unwrap().ry(1, x).unwrap().s(1).unwrap().u(last, p[0], y, p[1] * 0.3).unwrap();
        c.cx(0, last).unwrap().rz(last, x).unwrap().ry(last, p[2] + 0.4).unwrap().t(last).unwrap();
        c.crx(0, 1, z).unwrap().cry(last, 0, p[3]).unwrap().cphase(0, 1, y).unwrap().phase(0, z).unwrap();
        c.push(Gate::U(p[4].into(), x, p[5].into()), &[0], &[1, last]).unwrap();
        c.ch(0, 1).unwrap().cy(1, last).unwrap().swap(0, last).unwrap().iswap(0, 1).unwrap();
        c.push(Gate::PauliRotation(vec![Pauli::X, Pauli::Y, Pauli::Z], p[6] * -1.5), &[last, 0, 1], &[])
            .unwrap();
        c.push(Gate::PauliRotation(vec![Pauli::Z, Pauli::Y], x), &[0, 1], &[last]).unwrap();
        c.rzz(0, last, y).unwrap().ccx(0, 1, last).unwrap().cswap(0, 1, last).unwrap().sx(1).unwrap();
        c.push(Gate::ISwap, &[0, 1], &[last])
            .unwrap()
            .push(Gate::GlobalPhase(p[7].into()), &[], &[0])
            .unwrap();
        for q in 0..qubits {
            c.ry(q, p[8]).unwrap().cx(q, (q + 1) % qubits).unwrap().rx(q, p[9]).unwrap();
        }
        check(&c, &["Z0 X1", "Y0", "Z1"], 20, &mut rng);
    }
}

#[test]
fn states_that_are_not_kept_are_recomputed() {
    let mut rng = StreamRng::seed_from_u64(3);
    let circuit = reuploading(9, 3, Activation::Linear);
    assert!(
        Workspace::block_size(Batch::new(&circuit, vec![]).map(|b| b.program).as_ref().unwrap()) * 300 > KEPT
    );
    check(&circuit, &["Z0 Z8"], 8 * 300, &mut rng);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let mut rng = StreamRng::seed_from_u64(4);
    let circuit = reuploading(4, 2, Activation::Tanh);
    let (p, x) = (random(&mut rng, circuit.parameters()), random(&mut rng, 4 * 2000));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut batch = Batch::new(&circuit, vec!["Z0".parse().unwrap()]).unwrap();
            let (mut v, mut by_p, mut by_x) = (vec![0.0; 2000], vec![0.0; p.len()], vec![0.0; x.len()]);
            batch.forward(&p, &x, &mut v).unwrap();
            batch.backward(&v.clone(), &mut by_p, &mut by_x).unwrap();
            (v, by_p, by_x)
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn lengths_are_checked() {
    let circuit = reuploading(2, 1, Activation::Tanh);
    let mut batch = Batch::new(&circuit, vec!["Z0".parse().unwrap(), "Z1".parse().unwrap()]).unwrap();
    let p = vec![0.1; circuit.parameters()];
    assert!(batch.forward(&p, &[0.0; 4], &mut [0.0; 3]).is_err());
    assert!(batch.forward(&p, &[0.0; 3], &mut [0.0; 4]).is_err());
    assert!(batch.forward(&p[1..], &[0.0; 4], &mut [0.0; 4]).is_err());
    batch.forward(&p, &[0.0; 4], &mut [0.0; 4]).unwrap();
    assert!(batch.backward(&[0.0; 2], &mut vec![0.0; p.len()], &mut [0.0; 4]).is_err());
    assert!(Batch::new(&circuit, vec!["Z2".parse().unwrap()]).is_err());
}
