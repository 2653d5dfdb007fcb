//! `quantum-control`: a state is prepared gate by gate by Q-learning and actor–critic with circuits that take the state itself
//! as their input, beside what exhaustive search finds; and a qubit is flipped by pulses, beside GRAPE.

use super::{Entrant, copies, figure, line, more, observables, pqc, references, twin};
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use quantum_sim::env::{PulseControl, StatePreparation};
use quantum_sim::rl::{
    ActorCritic, ActorCriticConfig, DescentConfig, Encoding, Entangler, Exploration, Head, Model, QLearning,
    QLearningConfig, Rates, ansatz,
};
use rl_core::env::{Simulator, Space};
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct Control;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Layers of RX RY RZ and a ring of CNOTs: 5.
    layers: usize,
    /// Episodes that the actor–critic plays side by side: 10.
    side_by_side: usize,
    /// Q-learning.
    q_learning: QLearningConfig,
    /// Actor–critic.
    actor_critic: ActorCriticConfig,
    /// Times of the pulse task.
    pulse_times: Vec<f64>,
    /// Slices of a pulse.
    pulse_slices: u32,
}

/// Expectations that values are read from, one per action: all act on the state that the gates changed.
const PAULIS: [&str; 9] = ["Z0", "Z1", "Z0 Z1", "X0 X1", "X0", "X1", "Y0 Y1", "X0 Z1", "Z0 X1"];

impl Exercise for Control {
    type Config = Config;

    const NAME: &'static str = "quantum-control";
    const DESCRIPTION: &'static str = "Preparing a quantum state gate by gate with circuits as Q-function and as actor and critic; pulses and GRAPE";
    const DURATION: [&'static str; 3] = ["3 s", "30 s", "3 min"];

    fn config(preset: Preset) -> Config {
        let (episodes, batches, pulse_times, pulse_slices) = match preset {
            Preset::Smoke => (20, 20, vec![1.0, 3.0], 6),
            _ => (1000, 6000, (1..=16).map(|k| 0.25 * f64::from(k)).collect(), 12),
        };
        Config {
            layers: 5,
            side_by_side: 10,
            // A discount of 0.8: the agents do not see the step limit, and with a longer horizon hovering at fidelity 0.85 would look
            // better to them than arriving.
            q_learning: QLearningConfig {
                episodes,
                gamma: 0.8,
                batch_size: 32,
                capacity: 2000,
                train_every: 1,
                target_every: 50,
                learning_starts: 100,
                exploration: Exploration::Geometric { start: 1.0, end: 0.05, decay: 0.99 },
                descent: DescentConfig::amsgrad(Rates { angle: 0.01, scaling: 0.01, output: 0.05 }),
                solved: None,
                ..QLearningConfig::default()
            },
            actor_critic: ActorCriticConfig {
                episodes: batches,
                entropy: 0.3,
                gamma: 0.8,
                actor: DescentConfig::amsgrad(Rates { angle: 0.03, scaling: 0.03, output: 0.1 }),
                ..ActorCriticConfig::default()
            },
            pulse_times,
            pulse_slices,
        }
    }

    fn seeds(preset: Preset) -> u64 {
        match preset {
            Preset::Smoke => 1,
            Preset::Quick => 2,
            Preset::Full => 10,
        }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.layers > 0, "layers = 0: must be at least 1");
        anyhow::ensure!(config.side_by_side > 0, "side_by_side = 0: must be at least 1");
        config.q_learning.validate()?;
        Ok(config.actor_critic.validate()?)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let original = StatePreparation::original()?;
        prepare("original task", &original, config, ctx)?;
        prepare("reachable task", &StatePreparation::reachable(2, 10)?, config, ctx)?;
        pulses(config, ctx)?;
        ctx.note("Original task: two qubits from |00>, gates H, X, RY(pi/4), RZ(pi/4) on the first qubit only, target |++>, 10 steps; no sequence of gates gets beyond fidelity 1/2. Reachable task: the same gates on both qubits and a CNOT; arriving pays one point for every step left. Exhaustive search knows the dynamics.");
        ctx.note("The circuits receive the state by amplitude encoding, complex phases included; the networks receive its 8 real numbers and have about as many parameters.");
        Ok(())
    }
}

fn prepare(task: &str, simulator: &StatePreparation, config: &Config, ctx: &mut Context) -> Result<()> {
    let Space::Discrete(actions) = simulator.spec().action else {
        anyhow::bail!("{task}: actions are gates")
    };
    references(task, copies(simulator, 20), 2000, ctx)?;
    let ceiling = ctx.session.once(&format!("{task}/exhaustive search"), |_| -> Result<(f64, f64)> {
        let found = simulator.ceiling(5_000_000)?;
        Ok((found.best_return, found.best_fidelity))
    })?;
    ctx.score(task, "exhaustive search", Role::Reference, Measure::RETURN, 0, ceiling.0)?;
    ctx.score(task, "exhaustive search", Role::Reference, more("largest fidelity"), 0, ceiling.1)?;
    let amplitudes = || Encoding::Amplitude { qubits: 2 };
    let circuit = |entangler, head: Head, count: usize| -> Result<Box<dyn Model>> {
        pqc(&ansatz::on_amplitudes(2, config.layers, entangler)?, &PAULIS[..count], amplitudes(), head)
    };
    let values = |entangler| {
        let (observable, weights) = ((0..actions).collect(), vec![1.0; actions]);
        let (train_weights, biases) = (true, true);
        let head = Head::Scaled { observable, shift: 0.0, factor: 1.0, weights, train_weights, biases };
        circuit(entangler, head, actions)
    };
    let plain = || Encoding::angles(8);
    let network = twin(values(Entangler::CnotRing)?.as_ref(), plain());
    for (method, role, model) in [
        ("q-learning pqc", Role::Method, values(Entangler::CnotRing)?),
        ("q-learning pqc not entangled", Role::Ablation, values(Entangler::None)?),
        ("q-learning network", Role::Reference, network),
    ] {
        let mut agent =
            QLearning::new(config.q_learning.clone(), model, copies(simulator, 1), ctx.seeds(task, method))?;
        ctx.session.run(&format!("{task}/{method}"), &mut agent)?;
        Entrant { task, method, role }.play(&mut agent, copies(simulator, 1), 1, ctx)?;
    }
    let affine = |entangler, outputs| circuit(entangler, Head::Affine { outputs }, PAULIS.len());
    let pair = |entangler| -> Result<_> { Ok((affine(entangler, actions)?, affine(entangler, 1)?)) };
    let (actor, critic) = pair(Entangler::CnotRing)?;
    let networks = (twin(actor.as_ref(), plain()), twin(critic.as_ref(), plain()));
    for (method, role, models) in [
        ("actor-critic pqc", Role::Method, (actor, critic)),
        ("actor-critic pqc not entangled", Role::Ablation, pair(Entangler::None)?),
        ("actor-critic network", Role::Reference, networks),
    ] {
        let envs = copies(simulator, config.side_by_side);
        let mut agent = ActorCritic::new(config.actor_critic.clone(), models, envs, ctx.seeds(task, method))?;
        ctx.session.run(&format!("{task}/{method}"), &mut agent)?;
        Entrant { task, method, role }.play(&mut agent, copies(simulator, 1), 1, ctx)?;
    }
    anyhow::ensure!(observables(&PAULIS)?.len() >= actions, "{task}: more actions than observables");
    Ok(())
}

/// The best fidelity by total time: all bang-bang pulses, GRAPE, and the speed limit.
fn pulses(config: &Config, ctx: &mut Context) -> Result<()> {
    let (task, slices) = ("qubit flip by pulses", config.pulse_slices);
    let mut rng = ctx.seeds(task, "grape").stream("start", 0);
    let curves = ctx.session.once(&format!("{task}/oracles"), |stage| -> Result<Vec<[f64; 3]>> {
        let mut rows = vec![];
        for (k, &time) in config.pulse_times.iter().enumerate() {
            let flip = PulseControl::qubit_flip(time, slices)?;
            rows.push([time, flip.best_bang_bang()?.fidelity, flip.grape(3, &mut rng)?.fidelity]);
            stage.progress(k as u64 + 1, config.pulse_times.len() as u64)?;
        }
        Ok(rows)
    })?;
    let lines = vec![
        line("all bang-bang pulses", curves.iter().map(|r| (r[0], r[1]))),
        line("GRAPE", curves.iter().map(|r| (r[0], r[2]))),
    ];
    let title = "Qubit flip: best fidelity by total time";
    ctx.figure(figure("qubit-flip", title, ("total time T", "fidelity"), lines));
    let last = curves.last().copied().unwrap_or_default();
    ctx.score(task, "all bang-bang pulses", Role::Reference, more("fidelity"), 0, last[1])?;
    ctx.score(task, "GRAPE", Role::Reference, more("fidelity"), 0, last[2])?;
    let reached = curves.iter().find(|r| r[2] > 0.999).map_or(f64::from(slices), |r| r[0]);
    ctx.score(
        task,
        "GRAPE",
        Role::Reference,
        Measure::error("least time with fidelity above 0.999", ""),
        0,
        reached,
    )
}
