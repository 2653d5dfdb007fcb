//! Models, agents and the tensor operation against finite differences and slow twins.

use super::*;
use crate::batch::tests::reuploading;
use crate::gate::Activation;
use crate::{Adjoint, Circuit, PauliSum, StateVector};
use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rl_core::env::{Env, Episode};
use rl_core::experiment::{Metrics, Session, TrainState, Trainer};
use rl_core::numpy_rng::NumpyRng;
use rl_core::{SeedStream, StreamRng};

fn observables(list: &[&str]) -> Vec<PauliSum> {
    list.iter().map(|o| o.parse().unwrap()).collect()
}

fn random(rng: &mut StreamRng, count: usize) -> Vec<f64> {
    (0..count).map(|_| rng.random_range(-1.5..1.5)).collect()
}

/// Central differences of `f` at `x`.
fn differences(x: &[f64], mut f: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    let mut at = x.to_vec();
    let mut difference = |k: usize| {
        at[k] = x[k] + 1e-5;
        let up = f(&at);
        at[k] = x[k] - 1e-5;
        let down = f(&at);
        at[k] = x[k];
        (up - down) / 2e-5
    };
    (0..x.len()).map(&mut difference).collect()
}

fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (k, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * (1.0 + w.abs()), "{what} {k}: {g} {w}");
    }
}

/// Σ c ⟨O⟩ through tensors: the value, and the gradients by inputs and parameters (scalings among them).
fn through_tensors(
    layer: &ExpectationLayer,
    (x, rows): (&[f64], usize),
    p: &[f64],
    c: &[f64],
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let x = Var::from_tensor(&Tensor::from_slice(x, (rows, x.len() / rows), &Device::Cpu).unwrap()).unwrap();
    let p = Var::from_tensor(&Tensor::from_slice(p, p.len(), &Device::Cpu).unwrap()).unwrap();
    let y = layer.forward(&x, &p).unwrap();
    let c = Tensor::from_slice(c, y.shape(), &Device::Cpu).unwrap();
    let gradients = (&y * c).unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    (flat(&y), flat(gradients.get(&x).unwrap()), flat(gradients.get(&p).unwrap()))
}

#[test]
fn the_tensor_operation_agrees_with_differences_and_with_the_slow_path() {
    let mut rng = StreamRng::seed_from_u64(1);
    let circuit = reuploading(3, 2, Activation::Tanh);
    let observables = observables(&["Z0 Z1", "X2"]);
    let layer = ExpectationLayer::new(&circuit, observables.clone()).unwrap();
    let rows = 11;
    let (x, p) = (random(&mut rng, 3 * rows), random(&mut rng, circuit.parameters()));
    let c = random(&mut rng, 2 * rows);
    let (values, by_x, by_p) = through_tensors(&layer, (&x, rows), &p, &c);
    let mut adjoint = Adjoint::new(&circuit, observables).unwrap();
    let (mut slow_x, mut slow_p) = (vec![], vec![0.0; p.len()]);
    for b in 0..rows {
        let value = adjoint.forward(&p, &x[3 * b..3 * b + 3]).unwrap();
        assert_close("value", &values[2 * b..2 * b + 2], value, 1e-12);
        let gradient = adjoint.backward(&c[2 * b..2 * b + 2]).unwrap();
        slow_x.extend_from_slice(gradient.inputs);
        slow_p.iter_mut().zip(gradient.parameters).for_each(|(s, g)| *s += g);
    }
    assert_close("input, slow", &by_x, &slow_x, 1e-11);
    assert_close("parameter, slow", &by_p, &slow_p, 1e-11);
    let loss = |x: &[f64], p: &[f64]| -> f64 {
        through_tensors(&layer, (x, rows), p, &c).0.iter().zip(&c).map(|(v, c)| v * c).sum()
    };
    assert_close("input", &by_x, &differences(&x, |x| loss(x, &p)), 1e-8);
    assert_close("parameter", &by_p, &differences(&p, |p| loss(&x, p)), 1e-8);
}

/// Two uses of one layer in one graph: the engine remembers only the later one.
#[test]
fn a_layer_may_be_used_twice_in_a_graph_and_in_single_precision() {
    let mut circuit = Circuit::new(1).unwrap();
    let theta = circuit.parameter("theta");
    let x = circuit.encode(0, None, Activation::Linear);
    circuit.rx(0, x).unwrap().rx(0, theta).unwrap();
    let layer = ExpectationLayer::new(&circuit, observables(&["Z0"])).unwrap();
    let theta = Var::new(&[0.4f32], &Device::Cpu).unwrap();
    let first = layer.forward(&Tensor::new(&[[0.3f32]], &Device::Cpu).unwrap(), &theta).unwrap();
    let second = layer.forward(&Tensor::new(&[[0.9f32]], &Device::Cpu).unwrap(), &theta).unwrap();
    assert_eq!(first.dtype(), DType::F32);
    let gradients = (first + second).unwrap().sum_all().unwrap().backward().unwrap();
    let by_theta = gradients.get(&theta).unwrap().to_vec1::<f32>().unwrap();
    assert!((by_theta[0] + 0.7f32.sin() + 1.3f32.sin()).abs() < 1e-6);
    let wrong = layer.forward(&Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap(), &theta);
    assert!(wrong.unwrap_err().to_string().contains("inputs [B, 1] and 1 parameters"));
}

fn models() -> Vec<(&'static str, Box<dyn Model>)> {
    let list = |n: usize| observables(&["Z0", "Z1", "X0 X1", "Z0 Z1"][..n]);
    let pqc =
        |ansatz: Ansatz, observables: Vec<PauliSum>, encoding: Encoding, head: Head| -> Box<dyn Model> {
            Box::new(Pqc::new(&ansatz, observables, encoding, head).unwrap())
        };
    let angles = || Encoding::Angle { scale: vec![2.0, 0.5] };
    let amplitudes = ansatz::on_amplitudes(2, 2, Entangler::CnotRing).unwrap();
    vec![
        (
            "reuploading",
            pqc(
                ansatz::reuploading(2, 2, Activation::Linear, Entangler::CzRing).unwrap(),
                observables(&["Z0 Z1"]),
                angles(),
                Head::opposed(),
            ),
        ),
        (
            "skolik",
            pqc(ansatz::skolik(2, 3, Entangler::CzAll).unwrap(), list(3), angles(), Head::values(&[2, 1])),
        ),
        (
            "chen",
            pqc(
                ansatz::chen(2, 2, Entangler::CnotChain).unwrap(),
                list(2),
                Encoding::Basis { bits: 2 },
                Head::plain(2, true),
            ),
        ),
        (
            "amplitudes",
            pqc(
                amplitudes,
                observables(&["Z0", "Z1", "X0 X1", "X1"]),
                Encoding::Amplitude { qubits: 2 },
                Head::Affine { outputs: 3 },
            ),
        ),
        ("network", Box::new(Network::new(Encoding::angles(3), 5, 2))),
    ]
}

/// Defects that hide in circuits: gradients against differences, and no parameter without a gradient.
#[test]
fn every_model_has_the_gradient_of_its_outputs_and_no_idle_parameter() {
    for (name, mut model) in models() {
        let mut rng = StreamRng::seed_from_u64(5);
        let rows = 9;
        let (width, outputs) = (model.observation(), model.outputs());
        let mut largest = vec![0.0f64; model.groups().len()];
        for _ in 0..3 {
            let mut p = model.initial(&mut rng);
            p.iter_mut().for_each(|p| *p += 0.3 * rng.random::<f64>());
            let x = observed(name, rows, width, &mut rng);
            let c = random(&mut rng, rows * outputs);
            let (mut out, mut gradient) = (vec![0.0; rows * outputs], vec![7.0; p.len()]);
            model.forward(&p, &x, &mut out).unwrap();
            model.backward(&c, &mut gradient).unwrap();
            let expected = differences(&p, |p| {
                model.forward(p, &x, &mut out).unwrap();
                out.iter().zip(&c).map(|(o, c)| o * c).sum()
            });
            assert_close(name, &gradient, &expected, 1e-7);
            largest.iter_mut().zip(&gradient).for_each(|(l, g)| *l = l.max(g.abs()));
        }
        let idle: Vec<usize> = (0..largest.len()).filter(|&k| largest[k] < 1e-9).collect();
        // The papers' own: last RZs commute with a measurement of Z, Chen's first ones act on basis states.
        let known: &[usize] = match name {
            "reuploading" => &[18, 21],
            "chen" => &[0, 3, 8, 11],
            _ => &[],
        };
        assert_eq!(idle, known, "{name}: parameters without a gradient");
        assert!(model.forward(&[], &[], &mut []).is_err());
    }
}

fn observed(name: &str, rows: usize, width: usize, rng: &mut StreamRng) -> Vec<f32> {
    let one = |rng: &mut StreamRng| -> Vec<f32> {
        let x = random(rng, width);
        let norm = if name == "amplitudes" { x.iter().map(|v| v * v).sum::<f64>().sqrt() } else { 1.0 };
        x.iter()
            .map(|v| if name == "chen" { f32::from(u8::from(*v > 0.0)) } else { (v / norm) as f32 })
            .collect()
    };
    (0..rows).flat_map(|_| one(rng)).collect()
}

#[test]
fn amplitude_encoding_prepares_the_observed_state() {
    let mut rng = StreamRng::seed_from_u64(2);
    for qubits in 1..=4 {
        let mut circuit = Circuit::new(qubits).unwrap();
        Encoding::prepare_amplitudes(&mut circuit, qubits).unwrap();
        let encoding = Encoding::Amplitude { qubits };
        assert_eq!(circuit.inputs(), encoding.inputs());
        for kind in 0..4 {
            let mut x = random(&mut rng, 2 << qubits);
            match kind {
                // A basis state, a real state, i|0…0⟩.
                1 => x = (0..2 << qubits).map(|k| f64::from(u8::from(k + 1 == 1 << qubits))).collect(),
                2 => x[1 << qubits..].fill(0.0),
                3 => x = (0..2 << qubits).map(|k| f64::from(u8::from(k == 1 << qubits))).collect(),
                _ => {}
            }
            let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt();
            let x: Vec<f32> = x.iter().map(|v| (v / norm) as f32).collect();
            let mut angles = vec![];
            encoding.encode(&x, &mut angles).unwrap();
            let state = StateVector::from_circuit(&circuit, &[], &angles).unwrap();
            let (re, im) = state.parts();
            let (a, b) = x.split_at(1 << qubits);
            let (mut u, mut v) = (0.0, 0.0);
            for k in 0..re.len() {
                let (a, b) = (f64::from(a[k]), f64::from(b[k]));
                u += a * re[k] + b * im[k];
                v += a * im[k] - b * re[k];
            }
            assert!((u * u + v * v - 1.0).abs() < 1e-6, "{qubits} qubits, kind {kind}");
        }
    }
}

#[test]
fn parameter_counts_are_those_of_the_papers() {
    let head = |n| Head::values(&(0..n).collect::<Vec<_>>());
    let pqc = |a: &Ansatz, o: &[&str], h: Head| Pqc::new(a, observables(o), Encoding::angles(4), h).unwrap();
    let skolik = ansatz::skolik(4, 5, Entangler::CzRing).unwrap();
    assert_eq!(pqc(&skolik, &["Z0 Z1", "Z2 Z3"], head(2)).groups().len(), 62);
    let tutorial = ansatz::reuploading(4, 5, Activation::Tanh, Entangler::CzRing).unwrap();
    assert_eq!(pqc(&tutorial, &["Z0 Z1", "Z2 Z3"], head(2)).groups().len(), 94);
    let chen = ansatz::chen(4, 2, Entangler::CnotChain).unwrap();
    assert_eq!(pqc(&chen, &["Z0", "Z1", "Z2", "Z3"], Head::plain(4, true)).groups().len(), 28);
    assert_eq!(Network::of_size(Encoding::angles(4), 2, 94).groups().len(), 93);
}

/// The actor follows log π, not the chosen output alone.
#[test]
fn the_policy_gradient_is_that_of_log_pi_and_of_the_entropy() {
    for policy in [Policy::Softmax { beta: 1.7 }, Policy::Born] {
        let outputs = match policy {
            Policy::Born => vec![0.2, 0.5, 0.3],
            Policy::Softmax { .. } => vec![0.4, -0.3, 0.9],
        };
        let (weight, entropy_weight, action) = (0.8, 0.3, 1);
        let loss = |o: &[f64]| {
            let mut pi = o.to_vec();
            // Born outputs sum to one; a difference quotient leaves that plane, so nothing is normalised there.
            if policy != Policy::Born {
                policy.probabilities(&mut pi);
            }
            let entropy: f64 = -pi.iter().map(|p| p * p.ln()).sum::<f64>();
            -weight * pi[action].ln() - entropy_weight * entropy
        };
        let mut pi = outputs.clone();
        policy.probabilities(&mut pi);
        let mut gradient = vec![0.0; 3];
        policy.pull_back(&pi, action, weight, entropy_weight, &mut gradient);
        assert_close("log π", &gradient, &differences(&outputs, loss), 1e-8);
    }
}

#[test]
fn returns_to_go_hand_worked() {
    let episodes =
        episodes::Episodes { rewards: vec![1.0, 2.0, 3.0, 5.0], ends: vec![3, 4], ..Default::default() };
    assert_eq!(reinforce::returns_to_go(&episodes, 0.5, false), [2.75, 3.5, 3.0, 5.0]);
    let normalized = reinforce::returns_to_go(&episodes, 1.0, true);
    // 6, 5, 3: mean 14/3, variance 14/9; an episode of one step says nothing about itself.
    assert!((normalized[0] - (4.0 / 3.0) / (14.0f64 / 9.0).sqrt()).abs() < 1e-6 && normalized[3] == 0.0);
}

#[test]
fn exploration_and_losses_hand_worked() {
    let chen = Exploration::Hyperbolic { start: 1.0 };
    assert_eq!((chen.at(0), chen.at(1)), (1.0, 1.0));
    assert!((chen.at(3) - 1.0 / (1.01 * 1.02)).abs() < 1e-12);
    let geometric = Exploration::Geometric { start: 1.0, end: 0.01, decay: 0.99 };
    assert!((geometric.at(2) - 0.9801).abs() < 1e-12 && geometric.at(10_000) == 0.01);
    assert_eq!((Loss::Huber.at(0.5), Loss::Huber.at(-3.0)), ((0.125, 0.5), (2.5, -1.0)));
    assert_eq!(Loss::Squared.at(-3.0), (9.0, -6.0));
}

fn copies(n: usize) -> Vec<Box<dyn Env>> {
    let task = crate::env::StatePreparation::original().unwrap();
    (0..n).map(|k| Box::new(Episode::<_, NumpyRng>::new(task.clone(), k as u64)) as Box<dyn Env>).collect()
}

fn actor(outputs: usize) -> Box<dyn Model> {
    let ansatz = ansatz::on_amplitudes(2, 2, Entangler::CnotRing).unwrap();
    let list = observables(&["Z0", "Z1", "Z0 Z1", "X0 X1"]);
    let (encoding, head) = (Encoding::Amplitude { qubits: 2 }, Head::Affine { outputs });
    Box::new(Pqc::new(&ansatz, list, encoding, head).unwrap())
}

/// Advances to the end; `break_at`: saves after that many advances, and goes on in a fresh agent.
fn finish<T: Trainer<Error = crate::Error>>(make: &dyn Fn() -> T, break_at: Option<u64>) -> TrainState {
    let (mut agent, mut metrics, mut advances) = (make(), Metrics::in_memory(), 0);
    while agent.step() < agent.total_steps() {
        if break_at == Some(advances) {
            let mut state = TrainState::default();
            agent.save("agent", &mut state).unwrap();
            agent = make();
            agent.load("agent", &state).unwrap();
        }
        agent.advance(&mut metrics).unwrap();
        advances += 1;
    }
    assert!(break_at.is_none_or(|at| at < advances));
    let mut state = TrainState::default();
    agent.save("agent", &mut state).unwrap();
    state
}

fn assert_exact_resume<T: Trainer<Error = crate::Error>>(make: &dyn Fn() -> T) {
    let (whole, broken) = (finish(make, None), finish(make, Some(3)));
    for (name, array) in &whole.arrays {
        assert!(broken.arrays[name] == *array, "{name} differs after a break");
    }
    assert_eq!(whole.values, broken.values);
}

#[test]
fn resumed_agents_give_the_same_bytes() {
    let seeds = SeedStream::new(3);
    assert_exact_resume(&|| {
        let config = ReinforceConfig { episodes: 20, ..ReinforceConfig::default() };
        Reinforce::new(config, actor(4), copies(4), seeds).unwrap()
    });
    assert_exact_resume(&|| {
        let config = ActorCriticConfig { episodes: 20, ..ActorCriticConfig::default() };
        ActorCritic::new(config, (actor(4), actor(1)), copies(4), seeds).unwrap()
    });
    assert_exact_resume(&|| {
        let config =
            QLearningConfig { episodes: 6, capacity: 30, double: true, ..QLearningConfig::default() };
        QLearning::new(config, actor(4), copies(2), seeds).unwrap()
    });
}

/// The best is 5 (H, then X); random play gets 2.79.
#[test]
fn the_actor_critic_learns_the_original_control_task() {
    let config = ActorCriticConfig { episodes: 600, ..ActorCriticConfig::default() };
    let mut agent = ActorCritic::new(config, (actor(4), actor(1)), copies(10), SeedStream::new(1)).unwrap();
    Session::in_memory().run("control/actor-critic", &mut agent).unwrap();
    let (model, parameters) = agent.policy();
    let result = rl_core::evaluate::evaluate(&mut copies(1), &[0], greedy(model, parameters)).unwrap();
    assert!(result.mean_return() > 4.5, "{}", result.mean_return());
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let seeds = SeedStream::new(0);
    let error = Reinforce::new(ReinforceConfig::default(), actor(3), copies(1), seeds).err().unwrap();
    assert!(error.to_string().contains("8 observed numbers and 3 actions"), "{error}");
    let config = QLearningConfig { gamma: 2.0, ..QLearningConfig::default() };
    assert!(config.validate().unwrap_err().to_string().contains("q_learning.gamma = 2"));
    let config = ActorCriticConfig { entropy: -1.0, ..ActorCriticConfig::default() };
    assert!(config.validate().unwrap_err().to_string().contains("entropy = -1"));
    let text = serde_json::to_string(&QLearningConfig::default()).unwrap();
    assert_eq!(serde_json::from_str::<QLearningConfig>(&text).unwrap(), QLearningConfig::default());
    let ansatz = ansatz::chen(2, 1, Entangler::None).unwrap();
    let error = Pqc::new(&ansatz, vec![], Encoding::angles(3), Head::plain(0, false)).unwrap_err();
    assert!(error.to_string().contains("encoded inputs"));
}
