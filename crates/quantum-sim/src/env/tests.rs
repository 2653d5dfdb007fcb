//! The oracles against hand-worked values.

use super::*;
use crate::gate::{Activation, Pauli};
use crate::{Circuit, PauliSum};
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng};
use rl_core::StreamRng;
use rl_core::env::{Action, Simulator};
use std::f64::consts::PI;

#[test]
fn the_original_task_tops_out_at_five() {
    let mut task = StatePreparation::original().unwrap();
    task.max_steps = 6;
    let ceiling = task.ceiling(100_000).unwrap();
    // H, then X as often as you like: half a point per step, and never more than fidelity one half.
    assert!((ceiling.best_return - 3.0).abs() < 1e-9, "{ceiling:?}");
    assert!((ceiling.best_fidelity - 0.5).abs() < 1e-9);
    let mut rng = StreamRng::seed_from_u64(0);
    let mut total = 0.0;
    let mut state = task.initial_state(&mut rng);
    for &action in &ceiling.actions {
        total += task.transition(&mut state, Action::Discrete(action), &mut rng).0;
    }
    assert!((total - ceiling.best_return).abs() < 1e-12);
    assert!(task.ceiling(10).is_err());
}

#[test]
fn random_play_of_the_original_task_gets_2_79() {
    let task = StatePreparation::original().unwrap();
    let mut rng = StreamRng::seed_from_u64(1);
    let episodes = 1000;
    let mut total = 0.0;
    for _ in 0..episodes {
        let mut state = task.initial_state(&mut rng);
        for _ in 0..10 {
            let action = rng.random_range(0..4);
            total += task.transition(&mut state, Action::Discrete(action), &mut rng).0;
        }
    }
    let mean = total / f64::from(episodes);
    assert!((mean - 2.79).abs() < 0.12, "{mean}");
}

#[test]
fn the_reachable_task_is_solved_by_one_hadamard_per_qubit() {
    let task = StatePreparation::reachable(2, 4).unwrap();
    let ceiling = task.ceiling(100_000).unwrap();
    assert!((ceiling.best_fidelity - 1.0).abs() < 1e-9);
    // ½, then 1 and the two steps left.
    assert!((ceiling.best_return - 3.5).abs() < 1e-9, "{ceiling:?}");
    let spec = task.spec();
    let mut observation = vec![0.0; spec.observation.width()];
    let mut rng = StreamRng::seed_from_u64(2);
    let mut state = task.initial_state(&mut rng);
    let (first, done) = task.transition(&mut state, Action::Discrete(0), &mut rng);
    assert!((first - 0.5).abs() < 1e-12 && !done);
    let (second, done) = task.transition(&mut state, Action::Discrete(4), &mut rng);
    assert!((second - 3.0).abs() < 1e-12 && done);
    task.observe(&state, &mut observation);
    assert!(observation[..4].iter().all(|a| (a - 0.5).abs() < 1e-6));
}

#[test]
fn phases_are_observed() {
    let task = StatePreparation::original().unwrap();
    let mut rng = StreamRng::seed_from_u64(3);
    let mut seen = vec![];
    for actions in [[0, 1], [0, 3]] {
        let mut state = task.initial_state(&mut rng);
        for a in actions {
            task.transition(&mut state, Action::Discrete(a), &mut rng);
        }
        let mut observation = vec![0.0; 8];
        task.observe(&state, &mut observation);
        seen.push(observation);
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn grape_gradients_agree_with_differences_and_the_speed_limit_shows() {
    let task = PulseControl::qubit_flip(2.0, 6).unwrap();
    let pulse = [1.0, -3.0, 2.5, 0.3, -1.2, 4.0];
    let (_, gradient) = task.fidelity_gradient(&pulse).unwrap();
    for k in 0..6 {
        let at = |h: f64| {
            let mut moved = pulse;
            moved[k] += h;
            task.fidelity_gradient(&moved).unwrap().0
        };
        assert!((gradient[k] - (at(1e-5) - at(-1e-5)) / 2e-5).abs() < 1e-9);
    }
    let mut rng = StreamRng::seed_from_u64(4);
    let limit =
        PulseControl::qubit_flip(2.0, 24).unwrap().speed_limit((1.0, 4.0), 1e-3, 3, &mut rng).unwrap();
    assert!((2.0..2.8).contains(&limit), "{limit}");
}

#[test]
fn bang_bang_pulses_do_not_beat_grape() {
    let task = PulseControl::qubit_flip(3.0, 10).unwrap();
    let bang = task.best_bang_bang().unwrap();
    let mut rng = StreamRng::seed_from_u64(5);
    let grape = task.grape(4, &mut rng).unwrap();
    assert!(grape.fidelity >= bang.fidelity - 1e-9 && bang.fidelity > 0.9, "{grape:?} {bang:?}");
    assert!(grape.pulse.iter().all(|u| u.abs() <= 4.0 + 1e-12));
    // The environment pays the same fidelity at the end.
    let mut state = task.initial_state(&mut rng);
    let mut last = (0.0, false);
    for u in &bang.pulse {
        last = task.transition(&mut state, Action::Discrete(usize::from(*u > 0.0)), &mut rng);
    }
    assert!(last.1 && (last.0 - bang.fidelity).abs() < 1e-12);
    assert!(PulseControl::qubit_flip(-1.0, 4).is_err());
    let x = DMatrix::from_fn(2, 2, |i, j| Pauli::X.matrix()[i][j]);
    let y = DMatrix::from_fn(2, 2, |i, j| Pauli::Y.matrix()[i][j]);
    assert!((gate_fidelity(&x, &x).unwrap() - 1.0).abs() < 1e-15 && gate_fidelity(&x, &y).unwrap() < 1e-15);
    assert!((average_gate_fidelity(&x, &y).unwrap() - 1.0 / 3.0).abs() < 1e-15);
    let bad = DVector::from_vec(vec![crate::C64::new(2.0, 0.0); 2]);
    assert!(PulseControl::new((x.clone(), y), (bad.clone(), bad), vec![0.0], 1.0, 1).is_err());
}

/// L encodings RX(s) between trainable rotations on one qubit.
fn born_policy(encodings: usize) -> Circuit {
    let mut c = Circuit::new(1).unwrap();
    for l in 0..=encodings {
        let p = c.parameter_vector(&format!("p{l}"), 3);
        c.rz(0, p[0]).unwrap().ry(0, p[1]).unwrap().rz(0, p[2]).unwrap();
        if l < encodings {
            let s = c.encode(0, None, Activation::Linear);
            c.rx(0, s).unwrap();
        }
    }
    c
}

#[test]
fn too_few_encodings_earn_exactly_nothing() {
    let mut rng = StreamRng::seed_from_u64(6);
    let z: PauliSum = "Z0".parse().unwrap();
    for k in 1..=4u32 {
        let task = SpectralControl { frequency: k };
        for encodings in 0..k {
            let circuit = born_policy(encodings as usize);
            for _ in 0..5 {
                let p: Vec<f64> = (0..circuit.parameters()).map(|_| rng.random_range(-PI..PI)).collect();
                assert!(task.born_return(&circuit, &z, &p, encodings).unwrap().abs() < 1e-14);
            }
        }
        // As many encodings as k, all other angles 0 but a final flip: ⟨Z⟩ = −cos(ks), return one half.
        let circuit = born_policy(k as usize);
        let mut p = vec![0.0; circuit.parameters()];
        let last = p.len() - 2;
        p[last] = PI;
        assert!((task.born_return(&circuit, &z, &p, k).unwrap() - 0.5).abs() < 1e-13);
    }
    let task = SpectralControl { frequency: 3 };
    let mut total = 0.0;
    for _ in 0..20_000 {
        let mut s = task.initial_state(&mut rng);
        let action = usize::from((3.0 * s).cos() > 0.0);
        total += task.transition(&mut s, Action::Discrete(action), &mut rng).0 / 20_000.0;
    }
    assert!((total - SpectralControl::CEILING).abs() < 0.01);
}

#[test]
fn games_have_their_classical_and_quantum_values() {
    let (game, strategy) = chsh().unwrap();
    assert_eq!(game.classical_value(), 0.75);
    assert!((game.quantum_value(&strategy).unwrap() - (PI / 8.0).cos().powi(2)).abs() < 1e-12);
    let (game, strategy) = ghz().unwrap();
    assert_eq!(game.classical_value(), 0.75);
    assert!((game.quantum_value(&strategy).unwrap() - 1.0).abs() < 1e-12);
    let mut rng = StreamRng::seed_from_u64(7);
    for _ in 0..50 {
        let mut state = game.initial_state(&mut rng);
        let mut questions = [0.0; 3];
        game.observe(&state, &mut questions);
        let asked = questions.iter().enumerate().fold(0, |q, (p, bit)| q | usize::from(*bit > 0.5) << p);
        let answers = game.play(&strategy, asked, &mut rng).unwrap();
        assert_eq!(game.transition(&mut state, Action::Discrete(answers), &mut rng), (1.0, true));
    }
    let (classical, quantum) = magic_square_values().unwrap();
    assert!((classical - 8.0 / 9.0).abs() < 1e-15 && (quantum - 1.0).abs() < 1e-12);
}

#[test]
fn the_shortest_path_over_the_lake_gets_0_95() {
    let lake = FrozenLake::default();
    let mut rng = StreamRng::seed_from_u64(5);
    let mut state = lake.initial_state(&mut rng);
    let mut bits = [9.0; 4];
    lake.observe(&state, &mut bits);
    assert_eq!(bits, [0.0; 4]);
    let (left, down, right, up) = (0, 1, 2, 3);
    let mut play = |state: &mut usize, actions: &[usize]| {
        let mut total = 0.0;
        for &a in actions {
            let (reward, done) = lake.transition(state, Action::Discrete(a), &mut rng);
            total += reward;
            if done {
                return (total, true);
            }
        }
        (total, false)
    };
    let (total, done) = play(&mut state, &[down, down, right, right, down, right]);
    assert!((total - FrozenLake::OPTIMUM).abs() < 1e-12 && done && state == 15);
    // Walls keep the place; the hole at 5 ends the episode.
    let mut state = 0;
    assert_eq!(play(&mut state, &[left, up]), (-0.02, false));
    let (total, done) = play(&mut state, &[right, down]);
    assert!((total + 0.21).abs() < 1e-12 && done && state == 5);
    lake.observe(&10, &mut bits);
    assert_eq!(bits, [0.0, 1.0, 0.0, 1.0]);
}
