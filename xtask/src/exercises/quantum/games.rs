//! `quantum-games`: players who cannot talk and share entanglement (CHSH, GHZ, magic square), and what a re-uploading policy can
//! express (SpectralControl).

use super::{figure, line, more};
use crate::exercises::Exercise;
use crate::run::{Context, Preset};
use anyhow::Result;
use quantum_sim::algorithms::Bfgs;
use quantum_sim::env::{NonlocalGame, QuantumStrategy, SpectralControl, chsh, ghz, magic_square_values};
use quantum_sim::gradient::{Spsa, SpsaState};
use quantum_sim::{Activation, Batch, Circuit};
use rand::RngExt;
use rl_core::StreamRng;
use rl_core::env::Simulator;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};
use std::f64::consts::{PI, TAU};

pub(in crate::exercises) struct Games;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Updates of the players who learn from won and lost rounds.
    updates: u64,
    /// Rounds behind each of the two estimates of an update.
    rounds: u64,
    /// k of SpectralControl.
    frequency: u32,
    /// Encodings L of its policies.
    encodings: Vec<u32>,
    /// Random starts of each optimisation.
    starts: usize,
}

impl Exercise for Games {
    type Config = Config;

    const NAME: &'static str = "quantum-games";
    const DESCRIPTION: &'static str = "Entangled players of CHSH and GHZ learn to beat every classical strategy; what a policy of L encodings can express";
    const DURATION: [&'static str; 3] = ["1 s", "10 s", "1 min"];

    fn config(preset: Preset) -> Config {
        let (updates, rounds, starts) = match preset {
            Preset::Smoke => (10, 50, 2),
            Preset::Quick => (400, 400, 10),
            Preset::Full => (1000, 400, 20),
        };
        Config { updates, rounds, frequency: 3, encodings: vec![1, 2, 3, 4, 5], starts }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.rounds > 0, "rounds = 0: must be at least 1");
        anyhow::ensure!(config.frequency > 0, "frequency = 0: must be at least 1");
        anyhow::ensure!(config.starts > 0, "starts = 0: must be at least 1");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        play("CHSH", &chsh()?, config, ctx)?;
        play("GHZ", &ghz()?, config, ctx)?;
        let (classical, quantum) = magic_square_values()?;
        ctx.score("magic square", "best classical strategy", Role::Reference, WINS, 0, classical)?;
        ctx.score("magic square", "Mermin's strategy", Role::Reference, WINS, 0, quantum)?;
        spectral_control(config, ctx)?;
        ctx.note("Winning probabilities are exact for the angles that were learned. The classical value is the best of all deterministic strategies; shared randomness cannot beat it.");
        ctx.note("SpectralControl: a Born policy with fixed scaling and L encodings is a Fourier series of degree L, so its return is exactly 0 for L < k, whatever its angles. The ceiling of all policies is 2/pi = 0.6366.");
        Ok(())
    }
}

const WINS: crate::run::Measure = more("winning probability");

/// Angles, two per player and question, as a strategy.
fn strategy(of: &QuantumStrategy, angles: &[f64]) -> QuantumStrategy {
    let pair = |k: usize| (angles[2 * k], angles[2 * k + 1]);
    let directions = (0..of.directions.len()).map(|p| [pair(2 * p), pair(2 * p + 1)]).collect();
    QuantumStrategy { state: of.state.clone(), directions }
}

/// The fraction of rounds won: all that the players see.
fn played(game: &NonlocalGame, strategy: &QuantumStrategy, rounds: u64, rng: &mut StreamRng) -> Result<f64> {
    let mut won = 0.0;
    let mut questions = vec![0.0; game.players()];
    for _ in 0..rounds {
        let mut which = game.initial_state(rng);
        game.observe(&which, &mut questions);
        let asked = questions.iter().enumerate().fold(0, |q, (p, bit)| q | usize::from(*bit > 0.5) << p);
        let answers = game.play(strategy, asked, rng)?;
        won += game.transition(&mut which, rl_core::env::Action::Discrete(answers), rng).0;
    }
    Ok(won / rounds as f64)
}

fn play(
    task: &str,
    (game, known): &(NonlocalGame, QuantumStrategy),
    config: &Config,
    ctx: &mut Context,
) -> Result<()> {
    ctx.score(task, "best classical strategy", Role::Reference, WINS, 0, game.classical_value())?;
    ctx.score(task, "known quantum strategy", Role::Reference, WINS, 0, game.quantum_value(known)?)?;
    let count = 4 * known.directions.len();
    let mut rng = ctx.seeds(task, "players").stream("play", 0);
    // The players learn by SPSA from won and lost rounds alone, then the best angles seen are refined to the optimum by
    // exact central differences: the first is what learning from play gives, the second what the angles can give.
    let curve =
        ctx.session.once(&format!("{task}/learned from play"), |stage| -> Result<Vec<(f64, f64)>> {
            let mut angles: Vec<f64> = (0..count).map(|_| rng.random_range(0.0..TAU)).collect();
            let spsa = Spsa { a: 4.0, c: 0.3, stability: 0.1 * config.updates as f64, ..Spsa::default() };
            let (mut state, mut curve) = (SpsaState::default(), vec![]);
            for update in 0..config.updates {
                let mut own = rng.clone();
                let mut lost = |x: &[f64]| match played(game, &strategy(known, x), config.rounds, &mut own) {
                    Ok(won) => 1.0 - won,
                    Err(_) => f64::NAN,
                };
                spsa.step(&mut state, &mut angles, &mut lost, &mut rng);
                rng = own;
                curve.push((
                    (2 * config.rounds * (update + 1)) as f64,
                    game.quantum_value(&strategy(known, &angles))?,
                ));
                stage.progress(update + 1, config.updates)?;
            }
            Ok(curve)
        })?;
    let (steps, value) = curve.last().copied().unwrap_or_default();
    ctx.score(task, "entangled players, learned from play", Role::Method, WINS, steps as u64, value)?;
    let mut rng = ctx.seeds(task, "exact").stream("start", 0);
    let exact = ctx.session.once(&format!("{task}/exact optimum"), |_| -> Result<f64> {
        let mut best = 0.0f64;
        for _ in 0..config.starts {
            let start: Vec<f64> = (0..count).map(|_| rng.random_range(0.0..TAU)).collect();
            let found = Bfgs::default().minimise(&start, |x| -> Result<_> {
                // Winning probabilities are linear in cos and sin of each angle: two shifts give the derivative.
                let at = |k: usize, shift: f64| {
                    let mut moved = x.to_vec();
                    moved[k] += shift;
                    game.quantum_value(&strategy(known, &moved))
                };
                let slope = |k| Ok(-0.5 * (at(k, PI / 2.0)? - at(k, -PI / 2.0)?));
                let gradient = (0..count).map(slope).collect::<Result<Vec<f64>>>()?;
                Ok((1.0 - game.quantum_value(&strategy(known, x))?, gradient))
            })?;
            best = best.max(1.0 - found.value);
        }
        Ok(best)
    })?;
    ctx.score(task, "entangled players, exact gradients", Role::Method, WINS, 0, exact)?;
    let lines = vec![
        line("learned from play", curve.iter().copied()),
        line("best classical", [(0.0, game.classical_value()), (steps, game.classical_value())]),
        line("known quantum", [(0.0, game.quantum_value(known)?), (steps, game.quantum_value(known)?)]),
    ];
    let name = format!("{}-learning", task.to_lowercase());
    let title = format!("{task}: entangled players learn from won and lost rounds");
    ctx.figure(figure(&name, &title, ("rounds played", "winning probability"), lines));
    Ok(())
}

/// One qubit: RZ RY RZ, then L times RX(λs) and RZ RY RZ; λ = 1 unless trained.
fn policy(encodings: u32, trained: bool) -> Result<Circuit> {
    let mut circuit = Circuit::new(1)?;
    let rotate = |circuit: &mut Circuit, l: u32| -> Result<()> {
        let p = circuit.parameter_vector(&format!("theta{l}"), 3);
        circuit.rz(0, p[0])?.ry(0, p[1])?.rz(0, p[2])?;
        Ok(())
    };
    rotate(&mut circuit, 0)?;
    for l in 1..=encodings {
        let weight = trained.then(|| circuit.parameter(format!("lambda{l}")));
        let x = circuit.encode(0, weight, Activation::Linear);
        circuit.rx(0, x)?;
        rotate(&mut circuit, l)?;
    }
    Ok(circuit)
}

/// The largest return that gradient ascent finds. J = −E[⟨Z⟩(s) cos ks] over equidistant s, one backward pass per gradient.
fn ascend(
    circuit: &Circuit,
    task: SpectralControl,
    starts: usize,
    rng: &mut StreamRng,
) -> Result<(f64, Vec<f64>)> {
    let points = 512;
    let inputs: Vec<f64> =
        (0..points).map(|j| -PI + TAU * (f64::from(j) + 0.5) / f64::from(points)).collect();
    let k = f64::from(task.frequency);
    let weights: Vec<f64> = inputs.iter().map(|s| (k * s).cos() / f64::from(points)).collect();
    let mut batch = Batch::new(circuit, vec!["Z0".parse()?])?;
    let (mut values, mut by_input) = (vec![0.0; inputs.len()], vec![0.0; inputs.len()]);
    let mut best = (f64::NEG_INFINITY, vec![]);
    for _ in 0..starts {
        let start: Vec<f64> = circuit
            .parameter_names()
            .iter()
            .map(|name| {
                if name.starts_with("lambda") {
                    rng.random_range(0.5..k + 0.5)
                } else {
                    rng.random_range(0.0..TAU)
                }
            })
            .collect();
        let found = Bfgs::default().minimise(&start, |p| -> Result<_> {
            batch.forward(p, &inputs, &mut values)?;
            let mut gradient = vec![0.0; p.len()];
            batch.backward(&weights, &mut gradient, &mut by_input)?;
            Ok((values.iter().zip(&weights).map(|(v, w)| v * w).sum(), gradient))
        })?;
        if -found.value > best.0 {
            best = (-found.value, found.at);
        }
    }
    Ok(best)
}

fn spectral_control(config: &Config, ctx: &mut Context) -> Result<()> {
    let task = SpectralControl { frequency: config.frequency };
    let name = task.spec().id;
    let mut rng = ctx.seeds(&name, "policy").stream("start", 0);
    let returns = more("expected return");
    ctx.score(&name, "random", Role::Reference, returns, 0, 0.0)?;
    ctx.score(&name, "a = [cos ks > 0]", Role::Reference, returns, 0, SpectralControl::CEILING)?;
    let mut curves = [vec![], vec![]];
    for (trained, curve) in [false, true].into_iter().zip(&mut curves) {
        for &l in &config.encodings {
            let scaling = if trained { "trained" } else { "fixed" };
            let method = format!("{l} encodings, {scaling} scaling");
            let circuit = policy(l, trained)?;
            let stage = format!("{name}/{l} encodings {scaling}");
            let value = ctx.session.once(&stage, |_| -> Result<f64> {
                let (value, parameters) = ascend(&circuit, task, config.starts, &mut rng)?;
                // With fixed scaling the exact return, integrated without error up to degree L.
                let exact = |p: &[f64]| task.born_return(&circuit, &"Z0".parse()?, p, l);
                Ok(if trained { value } else { exact(&parameters)? })
            })?;
            let role = if trained { Role::Ablation } else { Role::Method };
            ctx.score(&name, &method, role, returns, 0, value)?;
            curve.push((f64::from(l), value));
        }
    }
    let [fixed, trained] = curves;
    let ends = [f64::from(config.encodings[0]), f64::from(config.encodings[config.encodings.len() - 1])];
    let lines = vec![
        line("fixed scaling", fixed),
        line("trained scaling", trained),
        line("ceiling of all policies", ends.map(|l| (l, SpectralControl::CEILING))),
    ];
    let title = format!("{name}: best expected return by number of encodings");
    ctx.figure(figure("spectral-control", &title, ("encodings L", "expected return"), lines));
    Ok(())
}
