//! `hybrid-quantum-world-model`: a circuit that learns to balance a pole inside a learned model, real steps counted.

use crate::exercises::Exercise;
use crate::exercises::quantum::{copies, pqc, references, twin};
use crate::run::{Context, Measure, Preset, starts};
use crate::{Figure, Line};
use anyhow::Result;
use hybrid::quantum_world_model::{DreamConfig, DreamTraining};
use quantum_sim::Activation;
use quantum_sim::rl::{
    DescentConfig, Encoding, Entangler, Head, Model, Rates, Reinforce, ReinforceConfig, ansatz, greedy,
};
use rl_core::env::CartPole;
use rl_core::evaluate::evaluate;
use rl_core::experiment::{Role, Stage, Trainer};
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct HybridQuantumWorldModel;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Episodes of an evaluation, from fixed starts.
    starts: u64,
    /// Layers of the circuits: 5.
    layers: usize,
    /// Rounds of acting, learning and dreaming.
    dream: DreamConfig,
    /// The circuit's learning, in both worlds.
    reinforce: ReinforceConfig,
    /// The network's.
    reinforce_network: ReinforceConfig,
}

const TASK: &str = "CartPole-v1";

impl Exercise for HybridQuantumWorldModel {
    type Config = Config;

    const NAME: &'static str = "hybrid-quantum-world-model";
    const DESCRIPTION: &'static str = "A circuit and a network of equal size learn in the imagination of a learned CartPole and in the real one, by real steps";
    const DURATION: [&'static str; 3] = ["2 s", "10 s", "10 s"];

    fn config(preset: Preset) -> Config {
        let reinforce = ReinforceConfig { solved: None, ..ReinforceConfig::default() };
        let network = DescentConfig::amsgrad(Rates::all(0.02));
        let mut config = Config {
            starts: 50,
            layers: 5,
            dream: DreamConfig::default(),
            reinforce_network: ReinforceConfig { descent: network, ..reinforce.clone() },
            reinforce,
        };
        if preset == Preset::Smoke {
            config.starts = 2;
            config.dream = DreamConfig {
                rounds: 2,
                real_steps: 50,
                members: 2,
                hidden: vec![8],
                updates: 20,
                episodes: 10,
                steps: 20,
                ..config.dream
            };
        }
        config
    }

    fn seeds(preset: Preset) -> u64 {
        if preset == Preset::Smoke { 1 } else { 5 }
    }

    fn validate(config: &Config) -> Result<()> {
        config.dream.validate()?;
        config.reinforce.validate()?;
        config.reinforce_network.validate()?;
        anyhow::ensure!(config.starts > 0 && config.layers > 0, "starts, layers: must be at least 1");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        references(TASK, copies(&CartPole, 20), config.starts, ctx)?;
        let mut lines = vec![];
        for (name, role, quantum) in [("circuit", Role::Method, true), ("network", Role::Reference, false)] {
            let learning = if quantum { &config.reinforce } else { &config.reinforce_network };
            let task = format!("{TASK}/{name} in imagination");
            let seeds = ctx.seeds(TASK, &format!("{name} in imagination"));
            let curve = ctx.session.once(&task, |stage| {
                dream(
                    config,
                    DreamTraining::new(
                        config.dream.clone(),
                        learning.clone(),
                        policy(config, quantum)?,
                        seeds,
                    )?,
                    stage,
                )
            })?;
            let steps = config.dream.rounds * config.dream.real_steps;
            let last = curve.last().copied().unwrap_or(f64::NAN);
            ctx.score(TASK, &format!("{name} in imagination"), role, Measure::RETURN, steps, last)?;
            lines.push(line(config, &format!("{name} in imagination"), curve));
            let seeds = ctx.seeds(TASK, &format!("{name} in reality"));
            let curve = ctx.session.once(&format!("{TASK}/{name} in reality"), |stage| {
                let agent =
                    Reinforce::new(learning.clone(), policy(config, quantum)?, copies(&CartPole, 10), seeds)?;
                reality(config, agent, stage)
            })?;
            let last = curve.last().copied().unwrap_or(f64::NAN);
            ctx.score(TASK, &format!("{name} in reality"), Role::Reference, Measure::RETURN, steps, last)?;
            lines.push(line(config, &format!("{name} in reality"), curve));
        }
        ctx.figure(Figure {
            name: "return-by-real-steps".into(),
            title: format!("{TASK}: return by real steps"),
            x_label: "real steps".into(),
            y_label: "return of the greedy policy".into(),
            lines,
        });
        ctx.note("The circuit has 94 parameters and is simulated, the network has 93. In imagination only the steps that teach the model are real; in reality all are. Returns are those of the greedy policy over fixed starts after equal numbers of real steps. Nothing here says anything about an advantage.");
        Ok(())
    }
}

/// The softmax circuit of the TensorFlow Quantum tutorial, or a network of as many parameters.
fn policy(config: &Config, quantum: bool) -> Result<Box<dyn Model>> {
    let scaled = || Encoding::Angle { scale: vec![2.4, 2.5, 0.21, 2.5] };
    let circuit = ansatz::reuploading(4, config.layers, Activation::Linear, Entangler::CzRing)?;
    let circuit = pqc(&circuit, &["Z0 Z1 Z2 Z3"], scaled(), Head::opposed())?;
    Ok(if quantum { circuit } else { twin(circuit.as_ref(), scaled()) })
}

/// Mean return of the greedy policy.
fn play(config: &Config, model: &mut dyn Model, parameters: &[f64]) -> Result<f64> {
    let starts = starts(config.starts);
    Ok(evaluate(&mut copies(&CartPole, 20), &starts, greedy(model, parameters))?.mean_return())
}

fn dream(config: &Config, mut training: DreamTraining, stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let (model, parameters) = training.policy();
    let mut curve = vec![play(config, model, parameters)?];
    for round in 1..=config.dream.rounds {
        training.round(stage.metrics())?;
        let (model, parameters) = training.policy();
        let value = play(config, model, parameters)?;
        stage.metrics().record("charts/episodic_return", value);
        stage.metrics().flush(training.real_steps())?;
        stage.progress(round, config.dream.rounds)?;
        curve.push(value);
    }
    Ok(curve)
}

/// Learns from real episodes until as many steps are spent as the other has; the batch that goes beyond is played out.
fn reality(config: &Config, mut agent: Reinforce, stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let (model, parameters) = agent.policy();
    let mut curve = vec![play(config, model, parameters)?];
    for round in 1..=config.dream.rounds {
        while agent.step() < round * config.dream.real_steps {
            agent.advance(stage.metrics())?;
        }
        let (model, parameters) = agent.policy();
        let value = play(config, model, parameters)?;
        stage.metrics().flush(agent.step())?;
        stage.progress(round, config.dream.rounds)?;
        curve.push(value);
    }
    Ok(curve)
}

fn line(config: &Config, name: &str, curve: Vec<f64>) -> Line {
    let x = (0..curve.len() as u64).map(|round| (round * config.dream.real_steps) as f64).collect();
    Line { name: name.into(), x, y: curve }
}
