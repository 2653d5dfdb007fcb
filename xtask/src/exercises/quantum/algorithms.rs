//! `quantum-algorithms`: VQE, QAOA, Grover's search over actions, walks, kernels and a convolutional network, each beside the
//! classical answer.

use super::{figure, line, more};
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use quantum_sim::algorithms::{
    Bfgs, KernelRidge, LineWalk, Qaoa, exact_spectrum, fidelity_kernel, graph_walk, h2_two_qubits,
    minimise_energy, optimal_iterations, qcnn, search, search_maximum, success_by_iteration, szegedy_walk,
};
use quantum_sim::{Activation, Batch, C64, Circuit, PauliSum};
use rand::RngExt;
use rl_core::StreamRng;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

pub(in crate::exercises) struct Algorithms;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Layers p of QAOA.
    qaoa_layers: Vec<usize>,
    /// Nodes of the random cubic graph.
    qaoa_nodes: usize,
    /// Random starts of each QAOA optimisation.
    qaoa_starts: usize,
    /// Actions that Grover's search chooses from.
    actions: usize,
    /// Searches that are averaged.
    searches: usize,
    /// Steps of the walks.
    walk_steps: usize,
    /// Training points of kernel and network.
    points: usize,
    /// Iterations of the network's optimiser.
    network_iterations: usize,
}

/// H₂ in STO-3G at 0.735 Å on two qubits (parity mapping), in hartree, and the nuclear repulsion.
const H2: [(f64, &str); 5] = [
    (-1.052373245772859, ""),
    (0.39793742484318045, "Z0"),
    (-0.39793742484318045, "Z1"),
    (-0.01128010425623538, "Z0 Z1"),
    (0.18093119978423156, "X0 X1"),
];
const NUCLEAR: f64 = 0.719_968_994_4;

impl Exercise for Algorithms {
    type Config = Config;

    const NAME: &'static str = "quantum-algorithms";
    const DESCRIPTION: &'static str = "VQE, QAOA, Grover over actions, walks, kernels and a convolutional network, beside classical answers";
    const DURATION: [&'static str; 3] = ["1 s", "10 s", "1 min"];

    fn config(preset: Preset) -> Config {
        let full = Config {
            qaoa_layers: vec![1, 2, 3, 4],
            qaoa_nodes: 10,
            qaoa_starts: 10,
            actions: 256,
            searches: 200,
            walk_steps: 100,
            points: 64,
            network_iterations: 60,
        };
        match preset {
            Preset::Smoke => Config {
                qaoa_layers: vec![1],
                qaoa_nodes: 6,
                qaoa_starts: 1,
                searches: 5,
                points: 16,
                network_iterations: 3,
                ..full
            },
            Preset::Quick => Config { qaoa_starts: 4, ..full },
            Preset::Full => full,
        }
    }

    fn validate(config: &Config) -> Result<()> {
        let even = config.qaoa_nodes.is_multiple_of(2) && (4..=16).contains(&config.qaoa_nodes);
        anyhow::ensure!(even, "qaoa_nodes = {}: must be even, 4 to 16", config.qaoa_nodes);
        for (field, value) in
            [("actions", config.actions), ("searches", config.searches), ("points", config.points)]
        {
            anyhow::ensure!(value > 0, "{field} = {value}: must be at least 1");
        }
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        vqe(ctx)?;
        qaoa(config, ctx)?;
        grover(config, ctx)?;
        walks(config, ctx)?;
        learners(config, ctx)?;
        ctx.note("Everything is simulated. Grover's search needs an oracle that marks actions: the simulation evaluates all of them, and what is counted is queries, not time.");
        ctx.note("Accuracies are on fresh points. The ridge with the Gaussian kernel and the linear ridge see the same points.");
        Ok(())
    }
}

fn vqe(ctx: &mut Context) -> Result<()> {
    let task = "H2 at 0.735 angstrom";
    let h = PauliSum::parse(&H2)?;
    let energies = ctx.session.once(&format!("{task}/vqe"), |_| -> Result<(f64, f64)> {
        let found = minimise_energy(&h2_two_qubits()?, &h, &[0.1], &Bfgs::default())?;
        Ok((found.value + NUCLEAR, exact_spectrum(&h, 2)?[0] + NUCLEAR))
    })?;
    let energy = Measure::error("energy", "hartree");
    ctx.score(task, "vqe", Role::Method, energy, 0, energies.0)?;
    ctx.score(task, "exact diagonalisation", Role::Reference, energy, 0, energies.1)
}

/// A random cubic graph: a ring and a random matching of nodes that are not neighbours.
fn cubic_graph(nodes: usize, rng: &mut StreamRng) -> Vec<(usize, usize, f64)> {
    loop {
        let mut order: Vec<usize> = (0..nodes).collect();
        for k in (1..nodes).rev() {
            order.swap(k, rng.random_range(0..=k));
        }
        let far = |a: usize, b: usize| !matches!(a.abs_diff(b), 1) && a.abs_diff(b) != nodes - 1;
        if order.chunks_exact(2).all(|p| far(p[0], p[1])) {
            let ring = (0..nodes).map(|k| (k, (k + 1) % nodes, 1.0));
            return ring.chain(order.chunks_exact(2).map(|p| (p[0], p[1], 1.0))).collect();
        }
    }
}

fn qaoa(config: &Config, ctx: &mut Context) -> Result<()> {
    let task = "MaxCut of a random cubic graph";
    let mut rng = ctx.seeds(task, "qaoa").stream("graph", 0);
    let ratio = more("fraction of the best cut");
    let rows = ctx.session.once(&format!("{task}/qaoa"), |stage| -> Result<(Vec<f64>, f64)> {
        let edges = cubic_graph(config.qaoa_nodes, &mut rng);
        let problem = Qaoa::max_cut(config.qaoa_nodes, &edges)?;
        let mut ratios = vec![];
        for (k, &p) in config.qaoa_layers.iter().enumerate() {
            let mut best = 0.0f64;
            for _ in 0..config.qaoa_starts {
                let mut draw =
                    |high: f64| -> Vec<f64> { (0..p).map(|_| rng.random_range(0.0..high)).collect() };
                let (gamma, beta) = (draw(PI / 2.0), draw(PI / 4.0));
                best = best.max(problem.optimise(&gamma, &beta, &Bfgs::default())?.0);
            }
            ratios.push(best / problem.best_cut());
            stage.progress(k as u64 + 1, config.qaoa_layers.len() as u64)?;
        }
        Ok((ratios, edges.len() as f64 / 2.0 / problem.best_cut()))
    })?;
    ctx.score(task, "random cut", Role::Reference, ratio, 0, rows.1)?;
    for (p, value) in config.qaoa_layers.iter().zip(&rows.0) {
        ctx.score(task, &format!("qaoa, p = {p}"), Role::Method, ratio, 0, *value)?;
    }
    let curve = line("qaoa", config.qaoa_layers.iter().zip(&rows.0).map(|(p, v)| (*p as f64, *v)));
    ctx.figure(figure("qaoa", "QAOA: expected cut", ("layers p", "fraction of the best cut"), vec![curve]));
    Ok(())
}

fn grover(config: &Config, ctx: &mut Context) -> Result<()> {
    let (task, n) = ("search over actions", config.actions);
    let mut rng = ctx.seeds(task, "grover").stream("search", 0);
    let queries = ctx.session.once(&format!("{task}/grover"), |_| -> Result<[f64; 3]> {
        let mut mean = [0.0; 3];
        for _ in 0..config.searches {
            let wanted = rng.random_range(0..n);
            mean[0] += search(n, |a| a == wanted, &mut rng)?.queries as f64;
            let values: Vec<f64> = (0..n).map(|_| rng.random()).collect();
            let found = search_maximum(&values, &mut rng)?;
            mean[1] += found.queries as f64;
            let best = (0..n).fold(0, |b, a| if values[a] > values[b] { a } else { b });
            mean[2] += f64::from(u8::from(found.item == Some(best)));
        }
        Ok(mean.map(|m| m / config.searches as f64))
    })?;
    let measure = Measure::error("oracle queries", "queries");
    ctx.score(task, "one good action, unknown number (BBHT)", Role::Method, measure, 0, queries[0])?;
    ctx.score(task, "one good action, by trying", Role::Reference, measure, 0, (n as f64 + 1.0) / 2.0)?;
    ctx.score(task, "best action (Dürr–Høyer)", Role::Method, measure, 0, queries[1])?;
    ctx.score(task, "best action, by trying", Role::Reference, measure, 0, n as f64)?;
    ctx.score(task, "best action (Dürr–Høyer)", Role::Method, more("finds the best"), 0, queries[2])?;
    let most = 3 * optimal_iterations(n, 1).max(1);
    let curve = |m: usize| -> Result<_> {
        let marked: Vec<usize> = (0..m).collect();
        let p = success_by_iteration(n, &marked, most)?;
        Ok(line(format!("{m} good"), p.into_iter().enumerate().map(|(k, p)| (k as f64, p))))
    };
    let lines = vec![curve(1)?, curve(4.min(n))?];
    let title = format!("Grover's search among {n} actions: too many iterations hurt");
    ctx.figure(figure("grover", &title, ("iterations", "P(success)"), lines));
    Ok(())
}

/// How far walks spread, on the line, and how soon they have met every node of a cycle in expectation.
fn walks(config: &Config, ctx: &mut Context) -> Result<()> {
    let task = "exploration by walking";
    let steps = config.walk_steps;
    let symmetric = [C64::new(FRAC_1_SQRT_2, 0.0), C64::new(0.0, FRAC_1_SQRT_2)];
    let spread = |t: usize| -> Result<f64> { Ok(LineWalk::new(t, symmetric)?.moments().1) };
    let measure = Measure { metric: "standard deviation of the position", unit: "", higher_is_better: true };
    ctx.score(task, "Hadamard walk on the line", Role::Method, measure, steps as u64, spread(steps)?)?;
    ctx.score(
        task,
        "random walk on the line",
        Role::Reference,
        measure,
        steps as u64,
        (steps as f64).sqrt(),
    )?;
    let times: Vec<usize> = (1..=10).map(|k| k * steps / 10).filter(|t| *t > 0).collect();
    let quantum = times.iter().map(|&t| Ok((t as f64, spread(t)?))).collect::<Result<Vec<_>>>()?;
    let lines = vec![
        line("Hadamard walk", quantum),
        line("random walk", times.iter().map(|&t| (t as f64, (t as f64).sqrt()))),
    ];
    ctx.figure(figure("walk", "Spread of a walk on the line", ("steps", "standard deviation"), lines));
    // A walk on the states of a grid world, as a proposal for exploration: probability of the far corner, best over time.
    let side = 5;
    let next = |v: usize| -> Vec<usize> {
        let (r, c) = (v / side, v % side);
        let moves = [(r.wrapping_sub(1), c), (r + 1, c), (r, c.wrapping_sub(1)), (r, c + 1)];
        moves.into_iter().filter(|&(r, c)| r < side && c < side).map(|(r, c)| side * r + c).collect()
    };
    let neighbours: Vec<Vec<usize>> = (0..side * side).map(next).collect();
    let chain: Vec<Vec<f64>> = neighbours
        .iter()
        .map(|list| {
            (0..side * side).map(|w| f64::from(u8::from(list.contains(&w))) / list.len() as f64).collect()
        })
        .collect();
    let corner = side * side - 1;
    let mut best = [0.0f64; 3];
    let mut p: Vec<f64> = (0..side * side).map(|v| f64::from(u8::from(v == 0))).collect();
    for t in 1..=4 * side {
        best[0] = best[0].max(graph_walk(&neighbours, 0, t)?[corner]);
        best[1] = best[1].max(szegedy_walk(&chain, 0, t)?[corner]);
        p = (0..p.len()).map(|w| (0..p.len()).map(|v| p[v] * chain[v][w]).sum()).collect();
        best[2] = best[2].max(p[corner]);
    }
    let reach = more("largest P(far corner of a 5 × 5 grid) within 20 steps");
    ctx.score(task, "coined walk (Grover's coin)", Role::Method, reach, 20, best[0])?;
    ctx.score(task, "Szegedy's walk", Role::Method, reach, 20, best[1])?;
    ctx.score(task, "random walk", Role::Reference, reach, 20, best[2])
}

/// Points in [−π, π]² labelled by the sign of sin x · sin y, a checkerboard.
fn checkerboard(count: usize, rng: &mut StreamRng) -> (Vec<Vec<f64>>, Vec<f64>) {
    let points: Vec<Vec<f64>> =
        (0..count).map(|_| (0..2).map(|_| rng.random_range(-PI..PI)).collect()).collect();
    let labels = points.iter().map(|p| (p[0].sin() * p[1].sin()).signum()).collect();
    (points, labels)
}

fn accuracy(predicted: &[f64], labels: &[f64]) -> f64 {
    predicted.iter().zip(labels).filter(|(p, y)| **p * **y > 0.0).count() as f64 / labels.len() as f64
}

fn learners(config: &Config, ctx: &mut Context) -> Result<()> {
    let task = "classification of a checkerboard";
    let mut rng = ctx.seeds(task, "points").stream("points", 0);
    let scores = ctx.session.once(&format!("{task}/learners"), |_| -> Result<[f64; 4]> {
        let (train, labels) = checkerboard(config.points, &mut rng);
        let (test, truth) = checkerboard(500, &mut rng);
        let mut map = Circuit::new(2)?;
        let (x, y) = (map.encode(0, None, Activation::Linear), map.encode(1, None, Activation::Linear));
        map.ry(0, x)?.ry(1, y)?;
        let ridge = |gram: Vec<Vec<f64>>, cross: Vec<Vec<f64>>| -> Result<f64> {
            Ok(accuracy(&KernelRidge::fit(&gram, &labels, 0.1)?.predict(&cross)?, &truth))
        };
        let by = |k: &dyn Fn(&[f64], &[f64]) -> f64, a: &[Vec<f64>], b: &[Vec<f64>]| -> Vec<Vec<f64>> {
            a.iter().map(|x| b.iter().map(|y| k(x, y)).collect()).collect()
        };
        let gauss =
            |x: &[f64], y: &[f64]| (-0.5 * x.iter().zip(y).map(|(a, b)| (a - b).powi(2)).sum::<f64>()).exp();
        let dot = |x: &[f64], y: &[f64]| 1.0 + x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
        Ok([
            ridge(fidelity_kernel(&map, &[], &train, &train)?, fidelity_kernel(&map, &[], &test, &train)?)?,
            ridge(by(&gauss, &train, &train), by(&gauss, &test, &train))?,
            ridge(by(&dot, &train, &train), by(&dot, &test, &train))?,
            convolutional(config, (&train, &labels), (&test, &truth), &mut rng)?,
        ])
    })?;
    let measure = more("accuracy");
    ctx.score(task, "quantum kernel", Role::Method, measure, 0, scores[0])?;
    ctx.score(task, "quantum convolutional network", Role::Method, measure, 0, scores[3])?;
    ctx.score(task, "Gaussian kernel", Role::Reference, measure, 0, scores[1])?;
    ctx.score(task, "linear", Role::Reference, measure, 0, scores[2])
}

/// Four qubits read (x, y, x, y); squared error of ⟨Z⟩ against the labels, by BFGS from the best of three starts.
fn convolutional(
    config: &Config,
    (train, labels): (&[Vec<f64>], &[f64]),
    (test, truth): (&[Vec<f64>], &[f64]),
    rng: &mut StreamRng,
) -> Result<f64> {
    let network = qcnn(4)?;
    let mut batch = Batch::new(&network.circuit, vec![format!("Z{}", network.output).parse()?])?;
    let inputs =
        |points: &[Vec<f64>]| -> Vec<f64> { points.iter().flat_map(|p| [p[0], p[1], p[0], p[1]]).collect() };
    let (x, fresh) = (inputs(train), inputs(test));
    let (mut values, mut by_input) = (vec![0.0; labels.len()], vec![0.0; x.len()]);
    let mut best = (f64::INFINITY, vec![]);
    for _ in 0..3 {
        let start: Vec<f64> =
            (0..network.circuit.parameters()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let bfgs = Bfgs { iterations: config.network_iterations, ..Bfgs::default() };
        let found = bfgs.minimise(&start, |p| -> Result<_> {
            batch.forward(p, &x, &mut values)?;
            let n = labels.len() as f64;
            let errors: Vec<f64> = values.iter().zip(labels).map(|(v, y)| v - y).collect();
            let weights: Vec<f64> = errors.iter().map(|e| 2.0 * e / n).collect();
            let mut gradient = vec![0.0; p.len()];
            batch.backward(&weights, &mut gradient, &mut by_input)?;
            Ok((errors.iter().map(|e| e * e).sum::<f64>() / n, gradient))
        })?;
        if found.value < best.0 {
            best = (found.value, found.at);
        }
    }
    let mut predicted = vec![0.0; truth.len()];
    batch.forward(&best.1, &fresh, &mut predicted)?;
    Ok(accuracy(&predicted, truth))
}
