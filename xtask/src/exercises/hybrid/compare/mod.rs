//! `compare`: every paradigm on every task that it can take, from the same number of interactions, and what it costs.
//!
//! Two classic tasks and the four scenarios. A method's score is also given relative to the task's two anchors, random play at 0 and the
//! scripted expert at 1, so that tasks can be taken together; the report makes the matrix, the interquartile means, the performance profiles and
//! the probabilities of improvement from these. Paradigms that a task has no place for are left out, not scored as 0.

mod method;
mod score;
mod task;

use crate::exercises::Exercise;
use crate::run::{Context, Preset};
use anyhow::Result;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct Compare;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Any of [`TASKS`].
    tasks: Vec<String>,
    /// Interactions that every method may have with a task.
    steps: u64,
    /// The same for PPO and the off-policy learner when they may compute about as long as the world model does.
    ppo_compute_steps: u64,
    off_policy_compute_steps: u64,
    /// Episodes of an evaluation.
    starts: u64,
    /// The same for the world model, whose planning takes time.
    planned_starts: u64,
    /// Clients that share the interactions of the federation.
    clients: usize,
    /// Layers of the circuit.
    layers: usize,
}

const TASKS: [&str; 6] = ["cartpole", "point", "traffic", "trading", "treatment", "climate"];

impl Exercise for Compare {
    type Config = Config;

    const NAME: &'static str = "compare";
    const DESCRIPTION: &'static str = "All paradigms on two classic tasks and the four scenarios from equal interactions: matrix, profiles, robustness, cost";
    const DURATION: [&'static str; 3] = ["10 s", "2 min", "2 h"];

    fn config(preset: Preset) -> Config {
        let quick = Config {
            tasks: TASKS.map(String::from).to_vec(),
            steps: 3_000,
            ppo_compute_steps: 200_000,
            off_policy_compute_steps: 9_000,
            starts: 200,
            planned_starts: 5,
            clients: 4,
            layers: 3,
        };
        match preset {
            Preset::Smoke => Config {
                steps: 200,
                ppo_compute_steps: 400,
                off_policy_compute_steps: 300,
                starts: 2,
                planned_starts: 1,
                clients: 2,
                layers: 1,
                ..quick
            },
            Preset::Quick => quick,
            Preset::Full => Config {
                steps: 20_000,
                ppo_compute_steps: 2_000_000,
                off_policy_compute_steps: 60_000,
                starts: 500,
                planned_starts: 20,
                layers: 5,
                ..quick
            },
        }
    }

    fn validate(config: &Config) -> Result<()> {
        for task in &config.tasks {
            anyhow::ensure!(TASKS.contains(&task.as_str()), "tasks: `{task}` is none of {TASKS:?}");
        }
        for (field, value) in [
            ("steps", config.steps / 100),
            ("starts", config.starts),
            ("planned_starts", config.planned_starts),
            ("clients", config.clients as u64),
            ("layers", config.layers as u64),
        ] {
            anyhow::ensure!(value > 0, "{field} is too small: steps must be at least 100, the others 1");
        }
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for name in &config.tasks {
            match name.as_str() {
                "cartpole" => task::cart_pole(config, ctx)?,
                "point" => task::point(config, ctx)?,
                "traffic" => task::on_the_ring(config, ctx)?,
                "trading" => task::on_the_market(config, ctx)?,
                "treatment" => task::in_the_clinic(config, ctx)?,
                _ => task::in_the_climate(config, ctx)?,
            }
        }
        notes(config, ctx);
        Ok(())
    }
}

fn notes(config: &Config, ctx: &mut Context) {
    ctx.note(format!("Every method has {} interactions with the task; “at equal compute” gives PPO and the off-policy learner (DQN on discrete, SAC on continuous actions) so many more that they take about as long as the world model does. The causal method learns from as many logged days of a clinic whose records hide a cause, without acting itself; the multi-agent one is a team of regions that decide one rate each.", config.steps));
    ctx.note("Normalised score: 0 is random play, 1 the scripted expert; it can be negative and above 1. After a shift the dynamics are not those of the training, and both anchors are those of the new dynamics: a pole of twice the length, thrusters turned by 45°, denser and noisier traffic, bear markets that begin three times as often, sicker patients with stronger flares, a climate that is half as sensitive again.");
    ctx.note("Left out, because the task has no place for it: causal on tasks without records, multi-agent on tasks with one agent, the circuit on continuous actions, the federation on the scenarios (its clients know the two classic tasks only). The federation's privacy here is that observations stay with the clients; it adds no noise, so no ε applies.");
    ctx.note("What there is to look at: the causal method leaves effects with confidence intervals; the world model predictions of every observed number; the circuit as many parameters as its rotations; the others networks. Training times and memory are those of this machine: seeds that run side by side slow each other.");
}
