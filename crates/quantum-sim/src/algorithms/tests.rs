//! Closed forms and hand-worked cases.

use super::*;
use crate::gate::Activation;
use crate::{Adjoint, C64, Circuit};
use rand::SeedableRng;
use rl_core::StreamRng;

#[test]
fn qaoa_on_cycles_reaches_the_known_ratio() {
    // (2p + 1)/(2p + 2) of the edges of a cycle.
    for (p, ratio) in [(1, 0.75), (2, 5.0 / 6.0)] {
        let edges: Vec<_> = (0..8).map(|k| (k, (k + 1) % 8, 1.0)).collect();
        let problem = Qaoa::max_cut(8, &edges).unwrap();
        let best = (0..6)
            .map(|s| {
                let start = |o: f64| -> Vec<f64> { (0..p).map(|l| 0.3 + o + 0.2 * (s + l) as f64).collect() };
                problem.optimise(&start(0.1), &start(0.0), &Bfgs::default()).unwrap().0
            })
            .fold(0.0, f64::max);
        assert!((best / 8.0 - ratio).abs() < 1e-8, "{p}: {best}");
    }
    assert!(Qaoa::max_cut(2, &[(0, 2, 1.0)]).is_err());
}

#[test]
fn qaoa_gradients_agree_with_differences() {
    let problem = Qaoa::max_cut(4, &[(0, 1, 0.7), (1, 2, 1.3), (0, 3, 0.4), (1, 3, 1.0)]).unwrap();
    let (gamma, beta) = ([0.4, 1.1], [0.2, -0.6]);
    let (_, by_gamma, by_beta) = problem.gradient(&gamma, &beta).unwrap();
    let h = 1e-6;
    for l in 0..2 {
        let at = |dg: f64, db: f64| {
            let (mut g, mut b) = (gamma, beta);
            g[l] += dg;
            b[l] += db;
            problem.energy(&g, &b).unwrap()
        };
        assert!((by_gamma[l] - (at(h, 0.0) - at(-h, 0.0)) / (2.0 * h)).abs() < 1e-8);
        assert!((by_beta[l] - (at(0.0, h) - at(0.0, -h)) / (2.0 * h)).abs() < 1e-8);
    }
}

#[test]
fn grover_finds_what_is_marked_with_few_queries() {
    assert!((success_by_iteration(4, &[2], 1).unwrap()[1] - 1.0).abs() < 1e-14);
    assert_eq!((optimal_iterations(1024, 1), optimal_iterations(4, 1), optimal_iterations(4, 0)), (25, 1, 0));
    let mut rng = StreamRng::seed_from_u64(1);
    let mut queries = 0;
    for k in 0..50 {
        let target = 37 * k % 256;
        let found = search(256, |a| a == target, &mut rng).unwrap();
        assert_eq!(found.item, Some(target));
        queries += found.queries;
    }
    // Classical search needs 128 on average, BBHT at most 4.5 √N = 72.
    assert!(queries < 50 * 72, "{queries}");
    assert_eq!(search(64, |_| false, &mut rng).unwrap().item, None);
    let values: Vec<f64> = (0..40).map(|k| ((k * 17) % 40) as f64).collect();
    let best = search_maximum(&values, &mut rng).unwrap().item.unwrap();
    assert_eq!(values[best], 39.0);
    assert!(search_maximum(&[], &mut rng).is_err() && success_by_iteration(4, &[4], 1).is_err());
}

#[test]
fn walks_spread_and_keep_their_norm() {
    let r = std::f64::consts::FRAC_1_SQRT_2;
    let walk = LineWalk::new(200, [C64::new(r, 0.0), C64::new(0.0, r)]).unwrap();
    let (mean, std) = walk.moments();
    assert!(mean.abs() < 1e-10 && (std / 200.0 - (1.0 - r).sqrt()).abs() < 1e-3);
    let cycle: Vec<Vec<usize>> = (0..8).map(|v| vec![(v + 1) % 8, (v + 7) % 8]).collect();
    let p = graph_walk(&cycle, 0, 3).unwrap();
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    // On a cycle Grover's coin exchanges the two arcs, and flip-flop turns them: the walk moves on ballistically.
    assert!((p[3] - 0.5).abs() < 1e-12 && (p[5] - 0.5).abs() < 1e-12, "{p:?}");
    let chain = vec![vec![0.5, 0.5, 0.0], vec![0.25, 0.5, 0.25], vec![0.0, 0.5, 0.5]];
    let p = szegedy_walk(&chain, 0, 7).unwrap();
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!(szegedy_walk(&[vec![0.5]], 0, 1).is_err() && graph_walk(&[vec![]], 0, 1).is_err());
    assert!(LineWalk::new(1, [C64::new(1.0, 0.0), C64::new(1.0, 0.0)]).is_err());
}

#[test]
fn every_parameter_of_the_convolutional_network_matters() {
    let network = qcnn(8).unwrap();
    assert_eq!(network.circuit.parameters(), 27);
    let observable = format!("Z{}", network.output).parse().unwrap();
    let mut adjoint = Adjoint::new(&network.circuit, vec![observable]).unwrap();
    let p: Vec<f64> = (0..27).map(|k| (k as f64 * 0.83).sin() + 0.4).collect();
    let x: Vec<f64> = (0..8).map(|k| 0.3 * k as f64 - 1.0).collect();
    adjoint.forward(&p, &x).unwrap();
    let gradient = adjoint.backward(&[1.0]).unwrap();
    assert!(gradient.parameters.iter().all(|g| g.abs() > 1e-9), "{:?}", gradient.parameters);
    assert!(qcnn(6).is_err());
}

#[test]
fn kernel_ridge_learns_a_parity_that_lines_cannot() {
    let mut map = Circuit::new(2).unwrap();
    let (x, y) = (map.encode(0, None, Activation::Linear), map.encode(1, None, Activation::Linear));
    map.ry(0, x).unwrap().ry(1, y).unwrap();
    let inputs: Vec<Vec<f64>> = (0..16).map(|k| vec![(k % 4) as f64 - 1.4, (k / 4) as f64 - 1.6]).collect();
    let labels: Vec<f64> = inputs.iter().map(|v| (v[0] * v[1]).signum()).collect();
    let kernel = fidelity_kernel(&map, &[], &inputs, &inputs).unwrap();
    let ridge = KernelRidge::fit(&kernel, &labels, 1e-3).unwrap();
    let predicted = ridge.predict(&kernel).unwrap();
    assert!(predicted.iter().zip(&labels).all(|(p, y)| p * y > 0.0));
    assert!(kernel_target_alignment(&kernel, &labels[1..]).is_err());
}

#[test]
fn small_angles_avoid_the_plateau() {
    let mut rng = StreamRng::seed_from_u64(2);
    let rows: Vec<PlateauRow> =
        [2, 4, 6].iter().map(|&n| gradient_variance(n, 10 * n, 150, 7.0, &mut rng).unwrap()).collect();
    let exponent = slope(&rows).unwrap();
    assert!((0.6..1.4).contains(&exponent), "{exponent}: {rows:?}");
    assert!(gradient_variance(1, 1, 5, 1.0, &mut rng).is_err() && slope(&rows[..1]).is_none());
}

#[test]
fn surprising_transitions_are_replayed_more_and_wear_off() {
    let mut memory = QuantumReplay::new(ReplayConfig::default()).unwrap();
    let mut rng = StreamRng::seed_from_u64(3);
    assert!(memory.sample(1, &mut rng).is_err());
    (0..4).for_each(|k| memory.insert(k));
    memory.update(1, 5.0);
    memory.update(2, 0.1);
    assert!(memory.acceptance(1) > memory.acceptance(0) && memory.acceptance(0) > memory.acceptance(2));
    let first = memory.acceptance(1);
    (0..40).for_each(|_| memory.update(1, 5.0));
    assert!(memory.acceptance(1) < first && memory.acceptance(1) > 0.0);
    let draws = memory.sample(4000, &mut rng).unwrap();
    let total: f64 = (0..4).map(|k| memory.acceptance(k)).sum();
    for k in 0..4 {
        let seen = draws.iter().filter(|&&d| d == k).count() as f64 / 4000.0;
        assert!((seen - memory.acceptance(k) / total).abs() < 0.04);
    }
    assert!(QuantumReplay::new(ReplayConfig { depreciation: 2.0, ..Default::default() }).is_err());
}

#[test]
fn the_two_qubit_molecule_reaches_its_ground_state() {
    let terms = [
        (-1.052373245772859, ""),
        (0.39793742484318045, "Z0"),
        (-0.39793742484318045, "Z1"),
        (-0.01128010425623538, "Z0 Z1"),
        (0.18093119978423156, "X0 X1"),
    ];
    let h = crate::PauliSum::parse(&terms).unwrap();
    let found = minimise_energy(&h2_two_qubits().unwrap(), &h, &[0.1], &Bfgs::default()).unwrap();
    assert!((found.value - exact_spectrum(&h, 2).unwrap()[0]).abs() < 1e-9, "{found:?}");
}
