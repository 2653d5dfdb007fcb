//! `i2a`: imagination-augmented agents on an ice rink, where every push slides on until something stops it.
//!
//! A partially trained model-free policy meets transitions, a model learns the rules from them, and agents learn with that
//! model's imagination and with its ablations: copy model, no reward, oracle, a model that is often wrong, and a model-free
//! agent with as many parameters. Scores are the share of rinks solved by the greedy policy, over fixed rinks.

use super::Exercise;
use crate::run::{Context, Measure, Preset, starts};
use anyhow::Result;
use rl_core::env::scripted::{Policy, Random};
use rl_core::env::{Action, Env, Episode, Space};
use rl_core::evaluate::{Evaluation, Turn, evaluate, one_by_one};
use rl_core::experiment::Role;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use world_models::i2a::{
    Grid, GridModel, GridModelConfig, I2a as Agent, I2aConfig, IceRink, Imagination, KINDS, REWARDS,
    Transitions, collect,
};

pub(super) struct I2a;

/// The puzzle, the model and the agents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Rinks over which every policy is scored.
    starts: u64,
    /// Environments that an agent collects from.
    environments: usize,
    /// The puzzle.
    rink: IceRink,
    /// Steps of the policy that the model's data come from; half of the actions are random.
    behaviour_steps: u64,
    /// Transitions that the model learns from.
    transitions: usize,
    /// The model.
    model: GridModelConfig,
    /// The agents.
    agent: I2aConfig,
    /// Probability that the noisy model gets a cell wrong.
    noise: f64,
    /// Which agents learn.
    agents: Vec<String>,
}

const AGENTS: [&str; 6] = ["i2a", "model-free", "copy model", "no reward", "oracle model", "noisy model"];
const TASK: &str = "IceRink";
/// Seeds of the environments that the model's transitions and held-out transitions come from.
const DATA: [u64; 2] = [20_000, 30_000];

impl Exercise for I2a {
    type Config = Config;

    const NAME: &'static str = "i2a";
    const DESCRIPTION: &'static str =
        "Agents that read a learned model's rollouts, with ablations, on a puzzle of sliding";
    const DURATION: [&'static str; 3] = ["5 s", "10 min", "1 h"];

    fn config(preset: Preset) -> Config {
        let mut config = Config {
            starts: 500,
            environments: 16,
            rink: IceRink { size: 4, walls: 2, holes: 2, ..IceRink::default() },
            behaviour_steps: 5_000,
            // A model that is wrong in one step of four teaches nothing: see the documentation.
            transitions: 160_000,
            model: GridModelConfig { updates: 30_000, batch: 64, ..GridModelConfig::default() },
            agent: I2aConfig { steps: 50_000, entropy: 0.02, ..I2aConfig::default() },
            noise: 0.1,
            agents: AGENTS.map(String::from).to_vec(),
        };
        match preset {
            Preset::Smoke => {
                (config.starts, config.behaviour_steps, config.transitions) = (10, 400, 500);
                (config.model.updates, config.agent.steps) = (20, 400);
            }
            Preset::Quick => {}
            Preset::Full => {
                // The larger rink needs a model that has seen more.
                config.rink = IceRink::default();
                config.transitions = 200_000;
                config.model = GridModelConfig { updates: 80_000, hidden: vec![512, 512], ..config.model };
                config.agent.steps = 200_000;
            }
        }
        config
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.starts > 0, "starts = 0: must be at least 1");
        anyhow::ensure!(config.environments > 0, "environments = 0: must be at least 1");
        anyhow::ensure!(config.transitions > 0, "transitions = 0: must be at least 1");
        anyhow::ensure!((0.0..=1.0).contains(&config.noise), "noise = {}: must be in [0, 1]", config.noise);
        anyhow::ensure!(config.rink.size >= 2, "rink.size = {}: must be at least 2", config.rink.size);
        for agent in &config.agents {
            anyhow::ensure!(AGENTS.contains(&agent.as_str()), "agents: `{agent}` is none of {AGENTS:?}");
        }
        config.model.validate()?;
        config.agent.validate()?;
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        references(config, ctx)?;
        let model = Rc::new(learn_model(config, ctx)?);
        for name in &config.agents {
            let imagination = match name.as_str() {
                "i2a" => Imagination::Learned(model.clone()),
                "copy model" => Imagination::Copy,
                "no reward" => Imagination::NoReward(model.clone()),
                "oracle model" => Imagination::Oracle(config.rink),
                "noisy model" => Imagination::Noisy(model.clone(), config.noise),
                _ => Imagination::None,
            };
            let role = match name.as_str() {
                "i2a" => Role::Method,
                "model-free" | "oracle model" => Role::Reference,
                _ => Role::Ablation,
            };
            let streams = ctx.seeds(TASK, name);
            let copies = envs(config, config.environments);
            let mut agent = Agent::new(config.agent.clone(), imagination, copies, streams, &ctx.device)?;
            ctx.session.run(&format!("{TASK}/{name}"), &mut agent)?;
            let rng = streams.stream("evaluate", 0);
            score(config, ctx, name, role, config.agent.steps, |copies, starts| {
                Ok(evaluate(copies, starts, agent.policy(rng))?)
            })?;
            let parameters = Measure { metric: "parameters", unit: "", higher_is_better: false };
            ctx.score(TASK, name, role, parameters, 0, agent.parameters() as f64)?;
        }
        ctx.note(format!(
            "The model's data cost {} environment steps of another agent and {} more; they are not counted in the agents' \
             steps, as in the paper. The model-free agent has at least as many parameters as the full one; the copy model \
             has exactly as many and computes as much.",
            config.behaviour_steps, config.transitions
        ));
        Ok(())
    }
}

fn envs(config: &Config, n: usize) -> Vec<Box<dyn Env>> {
    let copy = |i| Box::new(Episode::<IceRink, StreamRng>::new(config.rink, i)) as Box<dyn Env>;
    (0..n as u64).map(copy).collect()
}

/// Mean return and share of solved rinks of a policy, over the fixed rinks.
fn score(
    config: &Config,
    ctx: &mut Context,
    method: &str,
    role: Role,
    step: u64,
    play: impl FnOnce(&mut [Box<dyn Env>], &[u64]) -> Result<Evaluation>,
) -> Result<()> {
    let starts = starts(config.starts);
    let [mean, solved] = ctx.session.once(&format!("{TASK}/evaluate-{method}"), |_| -> Result<[f64; 2]> {
        let result = play(&mut envs(config, starts.len().min(100)), &starts)?;
        // Only the goal pays more than it costs.
        let solved = result.returns.iter().filter(|&&r| r > 0.0).count() as f64 / starts.len() as f64;
        Ok([result.mean_return(), solved])
    })?;
    let solved_measure = Measure { metric: "solved", unit: "", higher_is_better: true };
    ctx.score(TASK, method, role, solved_measure, step, solved)?;
    ctx.score(TASK, method, role, Measure::RETURN, step, mean)
}

/// Looks for the shortest way with the rules in hand.
struct Solver(IceRink);

impl Policy for Solver {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        let rink = self.0.read(observation);
        Action::Discrete(rink.and_then(|rink| self.0.solve(&rink)).unwrap_or(0))
    }
}

fn references(config: &Config, ctx: &mut Context) -> Result<()> {
    let mut random = Random::new(&Space::Discrete(4), ctx.seeds(TASK, "random").stream("act", 0));
    let mut solver = Solver(config.rink);
    score(config, ctx, "random", Role::Reference, 0, |copies, starts| {
        Ok(evaluate(copies, starts, one_by_one(&mut random))?)
    })?;
    score(config, ctx, "solver", Role::Reference, 0, |copies, starts| {
        Ok(evaluate(copies, starts, one_by_one(&mut solver))?)
    })
}

/// Trains a policy for a while, collects with it, and trains the model on what it met.
fn learn_model(config: &Config, ctx: &mut Context) -> Result<GridModel> {
    let seeds = ctx.seeds(TASK, "model");
    let behaviour = I2aConfig { steps: config.behaviour_steps, ..config.agent.clone() };
    let copies = envs(config, config.environments);
    let mut policy = Agent::new(behaviour, Imagination::None, copies, seeds, &ctx.device)?;
    ctx.session.run(&format!("{TASK}/behaviour"), &mut policy)?;
    let data = met_by(&policy, config, DATA[0], config.transitions, seeds)?;
    let held_out = met_by(&policy, config, DATA[1], config.transitions.min(2000), seeds)?;
    let grid = Grid { cells: config.rink.cells(), kinds: KINDS, actions: 4, rewards: REWARDS.to_vec() };
    let mut model = GridModel::new(config.model.clone(), grid, data, &ctx.device, seeds)?;
    ctx.session.run(&format!("{TASK}/model"), &mut model)?;
    let accuracy =
        Measure { metric: "whole step predicted rightly, held out", unit: "", higher_is_better: true };
    let steps = config.behaviour_steps + config.transitions as u64;
    ctx.score(TASK, "i2a", Role::Method, accuracy, steps, model.accuracy(&held_out)?)?;
    Ok(model)
}

/// Transitions that the policy meets with half of its actions replaced by random ones.
fn met_by(
    policy: &Agent,
    config: &Config,
    seed: u64,
    steps: usize,
    seeds: SeedStream,
) -> Result<Transitions> {
    let mut env = Episode::<IceRink, StreamRng>::new(config.rink, seed);
    let mut rng = seeds.stream("behaviour", seed);
    let mut act = policy.policy(seeds.stream("imagine", seed));
    Ok(collect(&mut env, steps, (0.5, &mut rng), |observation| {
        let turn =
            Turn { observations: observation, episodes: &[0], first: &[false], previous_actions: &[0.0] };
        let mut action = [0.0];
        act(&turn, &mut action)?;
        Ok(action[0] as usize)
    })?)
}
