//! `quantum-noise`: what noise does to an expectation and how much of it extrapolation, cancellation and readout inversion undo;
//! what codes do about it.

use super::{figure, line};
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use quantum_sim::mitigation::{cancel_depolarizing, fold_global, linear, richardson};
use quantum_sim::stabilizer::{majority_vote_failure, repetition_memory, sample, surface_memory};
use quantum_sim::{Channel, Circuit, DensityMatrix, NoiseModel, PauliSum, Readout, StateVector};
use rand::RngExt;
use rl_core::StreamRng;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

pub(in crate::exercises) struct Noise;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Qubits of the random circuit.
    qubits: usize,
    /// Its layers of RY RZ and CNOTs.
    layers: usize,
    /// Depolarising probabilities behind every gate.
    rates: Vec<f64>,
    /// Trajectories of probabilistic error cancellation.
    samples: usize,
    /// Shots of the codes.
    shots: usize,
}

impl Exercise for Noise {
    type Config = Config;

    const NAME: &'static str = "quantum-noise";
    const DESCRIPTION: &'static str = "Noise and its mitigation: zero-noise extrapolation, error cancellation, readout inversion, error-correcting codes";
    const DURATION: [&'static str; 3] = ["1 s", "20 s", "1 min"];

    fn config(preset: Preset) -> Config {
        let (samples, shots) = match preset {
            Preset::Smoke => (50, 1000),
            Preset::Quick => (2000, 100_000),
            Preset::Full => (10_000, 1_000_000),
        };
        Config { qubits: 3, layers: 2, rates: vec![0.001, 0.002, 0.005, 0.01, 0.02], samples, shots }
    }

    fn seeds(preset: Preset) -> u64 {
        match preset {
            Preset::Smoke => 1,
            Preset::Quick => 5,
            Preset::Full => 10,
        }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!((2..=6).contains(&config.qubits), "qubits = {}: must be 2 to 6", config.qubits);
        anyhow::ensure!(!config.rates.is_empty(), "rates: at least one is needed");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        mitigation(config, ctx)?;
        readout(config, ctx)?;
        codes(config, ctx)?;
        ctx.note("Errors are absolute errors of <Z0 Z1 ...> of a random circuit of this seed. Extrapolation folds the circuit to scales 1, 3, 5 and uses exact density matrices, so what remains is its bias; cancellation samples trajectories, so what remains is mostly its statistical error.");
        ctx.note("There is no matching decoder: the repetition code with perfect measurements is decoded by majority vote, of the surface code the rate of firing detectors is shown.");
        Ok(())
    }
}

fn random_circuit(config: &Config, rng: &mut StreamRng) -> Result<Circuit> {
    let mut circuit = Circuit::new(config.qubits)?;
    for _ in 0..config.layers {
        for q in 0..config.qubits {
            circuit.ry(q, rng.random_range(0.0..TAU))?.rz(q, rng.random_range(0.0..TAU))?;
        }
        for q in 1..config.qubits {
            circuit.cx(q - 1, q)?;
        }
    }
    Ok(circuit)
}

/// Errors at one rate: raw, linear, Richardson, cancellation.
fn errors(circuit: &Circuit, o: &PauliSum, p: f64, samples: usize, rng: &mut StreamRng) -> Result<[f64; 4]> {
    let ideal = StateVector::from_circuit(circuit, &[], &[])?.expectation(o)?;
    let model =
        NoiseModel { one_qubit: vec![Channel::Depolarizing(p)], multi_qubit: vec![Channel::Depolarizing(p)] };
    let scales = [1.0, 3.0, 5.0];
    let mut values = vec![];
    for scale in scales {
        let noisy = model.apply(&fold_global(circuit, scale)?)?;
        values.push(DensityMatrix::from_circuit(&noisy, &[], &[])?.expectation(o)?);
    }
    let (cancelled, _) = cancel_depolarizing(circuit, p, o, samples, rng)?;
    let all = [values[0], linear(&scales, &values)?, richardson(&scales, &values)?, cancelled];
    Ok(all.map(|v| (v - ideal).abs()))
}

fn mitigation(config: &Config, ctx: &mut Context) -> Result<()> {
    let task = "expectation of a random circuit";
    let mut rng = ctx.seeds(task, "circuit").stream("angles", 0);
    let rows = ctx.session.once(&format!("{task}/mitigation"), |stage| -> Result<Vec<[f64; 4]>> {
        let circuit = random_circuit(config, &mut rng)?;
        let all = (0..config.qubits).map(|q| format!("Z{q}")).collect::<Vec<_>>().join(" ");
        let o: PauliSum = all.parse()?;
        let mut rows = vec![];
        for (k, &p) in config.rates.iter().enumerate() {
            rows.push(errors(&circuit, &o, p, config.samples, &mut rng)?);
            stage.progress(k as u64 + 1, config.rates.len() as u64)?;
        }
        Ok(rows)
    })?;
    let methods = [
        ("not mitigated", Role::Reference),
        ("linear extrapolation", Role::Method),
        ("Richardson extrapolation", Role::Method),
        ("probabilistic error cancellation", Role::Method),
    ];
    let mut lines = vec![];
    for (m, (method, role)) in methods.into_iter().enumerate() {
        let last = rows.len() - 1;
        let measure = Measure::error("absolute error at the largest rate", "");
        ctx.score(task, method, role, measure, 0, rows[last][m])?;
        lines.push(line(method, config.rates.iter().zip(&rows).map(|(p, row)| (*p, row[m]))));
    }
    let labels = ("depolarising probability per gate and qubit", "absolute error");
    ctx.figure(figure("mitigation", "Error of the expectation, by noise", labels, lines));
    Ok(())
}

/// A GHZ state read with errors, and read again after inverting them.
fn readout(config: &Config, ctx: &mut Context) -> Result<()> {
    let task = "reading a GHZ state";
    let (n, mut rng) = (config.qubits, ctx.seeds(task, "shots").stream("shots", 0));
    let distances = ctx.session.once(&format!("{task}/readout"), |_| -> Result<(f64, f64)> {
        let mut circuit = Circuit::new(n)?;
        circuit.h(0)?;
        (1..n).try_for_each(|q| circuit.cx(0, q).map(|_| ()))?;
        let truth = StateVector::from_circuit(&circuit, &[], &[])?.probabilities();
        let device = Readout::new(vec![0.02; n], vec![0.06; n])?;
        let read = device.apply(&truth)?;
        let mut counts = vec![0.0; read.len()];
        for _ in 0..config.shots {
            let mut left = rng.random::<f64>();
            let outcome = read.iter().position(|p| {
                left -= p;
                left < 0.0
            });
            counts[outcome.unwrap_or(read.len() - 1)] += 1.0 / config.shots as f64;
        }
        let distance = |p: &[f64]| 0.5 * p.iter().zip(&truth).map(|(a, b)| (a - b).abs()).sum::<f64>();
        Ok((distance(&counts), distance(&device.mitigate(&counts)?)))
    })?;
    let measure = Measure::error("total variation distance", "");
    ctx.score(task, "as read", Role::Reference, measure, 0, distances.0)?;
    ctx.score(task, "inverted qubit by qubit", Role::Method, measure, 0, distances.1)
}

/// Logical failures of the repetition code, and how often the surface code's detectors fire.
fn codes(config: &Config, ctx: &mut Context) -> Result<()> {
    let rates = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5];
    let exact = |d: usize| line(format!("d = {d}"), rates.map(|p| (p, majority_vote_failure(d, p))));
    let lines = [1, 3, 5, 7, 9].map(exact).to_vec();
    let labels = ("flip probability per qubit", "logical failure");
    ctx.figure(figure(
        "repetition-code",
        "Repetition code with perfect measurements, majority vote",
        labels,
        lines,
    ));
    let mut rng = ctx.seeds("repetition code", "shots").stream("shots", 0);
    let (d, p) = (5, 0.1);
    let sampled = ctx.session.once("repetition code/majority vote", |_| -> Result<f64> {
        let fail = |rng: &mut StreamRng| (0..d).filter(|_| rng.random::<f64>() < p).count() > d / 2;
        Ok((0..config.shots).filter(|_| fail(&mut rng)).count() as f64 / config.shots as f64)
    })?;
    let failure = Measure::error("logical failure at distance 5, p = 0.1", "");
    ctx.score("repetition code", "majority vote, sampled", Role::Method, failure, 0, sampled)?;
    ctx.score(
        "repetition code",
        "majority vote, exact",
        Role::Reference,
        failure,
        0,
        majority_vote_failure(d, p),
    )?;
    ctx.score("repetition code", "one qubit", Role::Reference, failure, 0, p)?;
    let mut rng = ctx.seeds("memory", "shots").stream("shots", 0);
    let detectors = ctx.session.once("memory experiment/detectors", |_| -> Result<[f64; 2]> {
        let circuits = [repetition_memory(5, 5, 0.01)?, surface_memory(5, 5, 0.01)?];
        let mut rates = [0.0; 2];
        for (rate, circuit) in rates.iter_mut().zip(&circuits) {
            *rate = sample(circuit, config.shots, &mut rng)?.mean_detector_rate();
        }
        Ok(rates)
    })?;
    let rate = Measure::error("rate of firing detectors, d = 5, 5 rounds, p = 0.01", "");
    ctx.score("memory experiment", "repetition code", Role::Method, rate, 0, detectors[0])?;
    ctx.score("memory experiment", "rotated surface code", Role::Method, rate, 0, detectors[1])
}
