//! Every gradient method against finite differences and against each other.

use super::*;
use crate::gate::{Activation, Gate, Pauli};
use crate::{Circuit, PauliSum, StateVector};
use rand::{RngExt, SeedableRng};
use rl_core::StreamRng;

/// A circuit that uses every kind of differentiable gate, shared, scaled and encoded angles.
fn everything(qubits: usize, rng: &mut StreamRng) -> Circuit {
    let mut c = Circuit::new(qubits).unwrap();
    let p = c.parameter_vector("p", 14);
    let last = qubits - 1;
    let x = c.encode(0, Some(p[12]), Activation::Tanh);
    let y = c.encode(1, None, Activation::Atan);
    let z = c.encode(0, Some(p[13]), Activation::Linear);
    c.h(0).unwrap().rx(0, p[0]).unwrap().ry(0, p[1] * 0.7).unwrap().t(0).unwrap().rz(0, p[2]).unwrap();
    c.u(last, p[3], p[4] * -1.3, p[5]).unwrap().cx(0, last).unwrap();
    c.ry(last, x).unwrap().rx(1, y).unwrap().crx(1, 0, p[6]).unwrap().cphase(0, last, p[7]).unwrap();
    c.push(Gate::U(p[8].into(), p[0] + 0.2, p[3].into()), &[1], &[last]).unwrap();
    c.push(Gate::PauliRotation(vec![Pauli::X, Pauli::Y, Pauli::Z], p[9].into()), &[1, 0, last], &[]).unwrap();
    c.push(Gate::PauliRotation(vec![Pauli::Y, Pauli::X], p[10] * 2.0), &[0, last], &[1]).unwrap();
    c.push(Gate::GlobalPhase(p[11].into()), &[], &[1]).unwrap();
    c.swap(0, 1)
        .unwrap()
        .iswap(1, last)
        .unwrap()
        .phase(0, p[11])
        .unwrap()
        .rz(1, z)
        .unwrap()
        .ccx(0, 1, last)
        .unwrap();
    c.cswap(last, 0, 1).unwrap().push(Gate::ISwap, &[0, last], &[1]).unwrap();
    for q in 0..qubits {
        c.ry(q, p[rng.random_range(0..14)]).unwrap().sx(q).unwrap();
    }
    for q in 0..qubits {
        c.cz(q, (q + 1) % qubits).unwrap().crz(q, (q + 2) % qubits, p[q % 14]).unwrap();
    }
    c
}

fn point(rng: &mut StreamRng, count: usize) -> Vec<f64> {
    (0..count).map(|_| rng.random_range(-2.0..2.0)).collect()
}

fn observables(qubits: usize) -> Vec<PauliSum> {
    let last = qubits - 1;
    vec![
        PauliSum::parse(&[(1.0, format!("Z0 X{last}"))]).unwrap(),
        PauliSum::parse(&[(0.4, format!("Y1 Y{last}")), (-1.2, "Z1".into()), (0.3, "X0".into())]).unwrap(),
    ]
}

fn difference(f: &mut impl FnMut(&[f64]) -> f64, x: &[f64], k: usize) -> f64 {
    let mut at = |h: f64| {
        let mut moved = x.to_vec();
        moved[k] += h;
        f(&moved)
    };
    let h = 1e-5;
    (at(h) - at(-h)) / (2.0 * h)
}

#[test]
fn the_adjoint_agrees_with_finite_differences() {
    let mut rng = StreamRng::seed_from_u64(1);
    for qubits in [3, 4, 6, 13, 15] {
        let circuit = everything(qubits, &mut rng);
        let (p, x, v) = (point(&mut rng, 14), point(&mut rng, 2), [0.7, -1.1]);
        let mut adjoint = Adjoint::new(&circuit, observables(qubits)).unwrap();
        adjoint.forward(&p, &x).unwrap();
        let gradient = adjoint.backward(&v).unwrap();
        let (by_p, by_x) = (gradient.parameters.to_vec(), gradient.inputs.to_vec());
        let mut other = adjoint.clone();
        let mut value = |p: &[f64], x: &[f64]| -> f64 {
            other.forward(p, x).unwrap().iter().zip(&v).map(|(e, v)| e * v).sum()
        };
        let checked: Vec<usize> = if qubits > 6 { vec![0, 6, 12] } else { (0..14).collect() };
        for k in checked {
            let numeric = difference(&mut |p| value(p, &x), &p, k);
            assert!(
                (by_p[k] - numeric).abs() < 1e-8,
                "{qubits} qubits, parameter {k}: {} {numeric}",
                by_p[k]
            );
        }
        for k in 0..2 {
            let numeric = difference(&mut |x| value(&p, x), &x, k);
            assert!((by_x[k] - numeric).abs() < 1e-8, "{qubits} qubits, input {k}");
        }
    }
}

#[test]
fn tiles_and_the_whole_state_give_one_gradient() {
    let mut rng = StreamRng::seed_from_u64(2);
    let circuit = everything(14, &mut rng);
    let (p, x) = (point(&mut rng, 14), point(&mut rng, 2));
    let mut tiled = Adjoint::new(&circuit, observables(14)).unwrap();
    let mut whole = tiled.clone();
    whole.plan.passes.clear();
    let (a, b) = (tiled.jacobian(&p, &x).unwrap(), whole.jacobian(&p, &x).unwrap());
    for (a, b) in a.parameters.iter().flatten().zip(b.parameters.iter().flatten()) {
        assert!((a - b).abs() < 1e-12);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(pool.install(|| tiled.clone().jacobian(&p, &x)).unwrap(), a);
}

#[test]
fn shift_rules_agree_with_the_adjoint() {
    let mut rng = StreamRng::seed_from_u64(3);
    let circuit = everything(4, &mut rng);
    let (p, x) = (point(&mut rng, 14), point(&mut rng, 2));
    let observable = observables(4).remove(1);
    let exact = Adjoint::new(&circuit, vec![observable.clone()]).unwrap().jacobian(&p, &x).unwrap();
    let (by_p, by_x) = ParameterShift::new(&circuit, observable).unwrap().gradient(&p, &x).unwrap();
    for (a, b) in by_p.iter().chain(&by_x).zip(exact.parameters[0].iter().chain(&exact.inputs[0])) {
        assert!((a - b).abs() < 1e-11, "{a} {b}");
    }
}

#[test]
fn general_rules_are_exact_for_their_frequencies() {
    for frequencies in [vec![1.0], vec![1.0, 2.0, 3.0], vec![0.5, 1.0], vec![0.7, 1.9, 2.0], vec![2.0, 4.0]] {
        let rule = general_shift_rule(&frequencies).unwrap();
        for (k, f) in frequencies.iter().enumerate() {
            let function = |t: f64| (f * t + 0.3 * k as f64).sin() + 0.4;
            let derivative: f64 = rule.iter().map(|(s, c)| c * (function(*s) - function(-s))).sum();
            assert!((derivative - f * (0.3 * k as f64).cos()).abs() < 1e-12, "{frequencies:?}");
        }
    }
    // The four-term rule of controlled rotations is one solution for {1/2, 1}.
    assert!(general_shift_rule(&[]).is_err() && general_shift_rule(&[1.0, 1.0]).is_err());
    assert!(general_shift_rule(&[-1.0]).is_err());
}

#[test]
fn the_fidelity_gradient_agrees_with_finite_differences() {
    let mut rng = StreamRng::seed_from_u64(4);
    let circuit = everything(3, &mut rng);
    let (p, x) = (point(&mut rng, 14), point(&mut rng, 2));
    let target = StateVector::from_circuit(&circuit, &point(&mut rng, 14), &x).unwrap();
    let mut adjoint = Adjoint::new(&circuit, vec![]).unwrap();
    adjoint.forward(&p, &x).unwrap();
    let (_, gradient) = adjoint.backward_fidelity(&target).unwrap();
    let gradient = gradient.parameters.to_vec();
    let mut fidelity =
        |p: &[f64]| StateVector::from_circuit(&circuit, p, &x).unwrap().fidelity(&target).unwrap();
    for k in 0..14 {
        assert!((gradient[k] - difference(&mut fidelity, &p, k)).abs() < 1e-8, "{k}");
    }
}

#[test]
fn second_derivatives_agree_with_differences_of_gradients() {
    let mut rng = StreamRng::seed_from_u64(5);
    let circuit = everything(3, &mut rng).bind(&[0.1; 14], &[0.2, 0.3]).unwrap();
    assert_eq!(circuit.parameters(), 0);
    let mut circuit = Circuit::new(2).unwrap();
    let p = circuit.parameter_vector("p", 3);
    circuit.rx(0, p[0]).unwrap().ry(1, p[1] * 0.5).unwrap().cx(0, 1).unwrap().crz(1, 0, p[2]).unwrap();
    circuit.rx(0, p[1]).unwrap().h(1).unwrap();
    let observable: PauliSum = "X0 Z1".parse().unwrap();
    let at = [0.3, -0.8, 1.7];
    let hessian = shift::hessian(&circuit, &observable, &at).unwrap();
    let mut adjoint = Adjoint::new(&circuit, vec![observable]).unwrap();
    for i in 0..3 {
        for j in 0..3 {
            let mut gradient = |p: &[f64]| adjoint.jacobian(p, &[]).unwrap().parameters[0][i];
            assert!((hessian[i][j] - difference(&mut gradient, &at, j)).abs() < 1e-8);
        }
    }
}

#[test]
fn the_metric_agrees_with_finite_differences_of_states() {
    let mut rng = StreamRng::seed_from_u64(6);
    let circuit = everything(3, &mut rng);
    let (p, x) = (point(&mut rng, 14), point(&mut rng, 2));
    assert!(fubini_study(&circuit, &p, Blocks::Full).is_err());
    let mut circuit = Circuit::new(2).unwrap();
    let q = circuit.parameter_vector("q", 4);
    circuit.rx(0, q[0]).unwrap().u(1, q[1], q[2], 0.3).unwrap().crx(0, 1, q[3]).unwrap().rz(0, q[0]).unwrap();
    circuit.cphase(0, 1, q[2]).unwrap().h(0).unwrap();
    let p = &p[..4];
    let metric = fubini_study(&circuit, p, Blocks::Full).unwrap();
    let state = |p: &[f64]| StateVector::from_circuit(&circuit, p, &[]).unwrap();
    // 1 − F(θ, θ + δ) = δᵀ g δ to second order.
    for i in 0..4 {
        for j in 0..4 {
            let far = |s: f64, t: f64| {
                let mut moved = p.to_vec();
                moved[i] += s;
                moved[j] += t;
                1.0 - state(p).fidelity(&state(&moved)).unwrap()
            };
            let h = 1e-3;
            let numeric = (far(h, h) - far(h, -h) - far(-h, h) + far(-h, -h)) / (8.0 * h * h);
            assert!((metric[i][j] - numeric).abs() < 1e-5, "{i} {j}: {} {numeric}", metric[i][j]);
        }
    }
    let _ = x;
}

#[test]
fn spsa_descends_and_its_gradient_is_unbiased() {
    let mut rng = StreamRng::seed_from_u64(7);
    let spsa = Spsa::default();
    spsa.validate().unwrap();
    let mut f = |x: &[f64]| x.iter().enumerate().map(|(k, x)| (k + 1) as f64 * x * x).sum::<f64>();
    let x = [1.0, -0.5, 0.25];
    let mut mean = [0.0; 3];
    for _ in 0..20_000 {
        let g = spsa.gradient(&x, 1e-3, &mut f, &mut rng);
        mean.iter_mut().zip(g).for_each(|(m, g)| *m += g / 20_000.0);
    }
    for (k, m) in mean.iter().enumerate() {
        assert!((m - 2.0 * (k + 1) as f64 * x[k]).abs() < 0.1, "{k}: {m}");
    }
    let (mut state, mut at) = (SpsaState::default(), x.to_vec());
    for _ in 0..500 {
        spsa.step(&mut state, &mut at, &mut f, &mut rng);
    }
    assert!(f(&at) < 0.02, "{at:?}");
    assert!(Spsa { c: 0.0, ..spsa }.validate().is_err());
}

#[test]
fn qn_spsa_estimates_the_metric() {
    let mut rng = StreamRng::seed_from_u64(8);
    let mut circuit = Circuit::new(2).unwrap();
    let q = circuit.parameter_vector("q", 2);
    circuit.ry(0, q[0]).unwrap().cx(0, 1).unwrap().ry(0, q[1]).unwrap();
    let at = [0.4, 1.1];
    let exact = fubini_study(&circuit, &at, Blocks::Full).unwrap();
    let state = |p: &[f64]| StateVector::from_circuit(&circuit, p, &[]).unwrap();
    let mut fidelity = |a: &[f64], b: &[f64]| state(a).fidelity(&state(b)).unwrap();
    let mut mean = [[0.0; 2]; 2];
    for _ in 0..4000 {
        let g = Spsa::default().metric(&at, 0.01, &mut fidelity, &mut rng);
        (0..4).for_each(|k| mean[k / 2][k % 2] += g[k / 2][k % 2] / 4000.0);
    }
    for k in 0..4 {
        assert!((mean[k / 2][k % 2] - exact[k / 2][k % 2]).abs() < 0.02, "{mean:?} {exact:?}");
    }
}
