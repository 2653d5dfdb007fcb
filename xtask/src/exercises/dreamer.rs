//! `dreamer`: DreamerV3 on control from vectors, beside doing nothing, random actions, the scripted rule and model-free
//! learning from as many steps.

use super::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use rl_core::SeedStream;
use rl_core::baselines::{Dqn, DqnConfig, Sac, SacConfig, copies};
use rl_core::env::Space;
use rl_core::env::scripted::{Policy, Random, Zero, heuristic};
use rl_core::evaluate::{evaluate, one_by_one};
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};
use world_models::dreamer::{Dreamer as Agent, DreamerConfig};

pub(super) struct Dreamer;

/// The tasks, the agent and its references.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Fixed starts over which every policy is scored.
    starts: u64,
    /// Environments that collect side by side.
    environments: usize,
    /// Tasks: names of environments with vector observations.
    tasks: Vec<String>,
    /// The agent.
    agent: DreamerConfig,
    /// The model-free reference on continuous actions; its steps are the agent's.
    sac: SacConfig,
    /// The model-free reference on discrete actions; its steps are the agent's.
    dqn: DqnConfig,
}

/// First of the evaluation's seeds: no training episode uses them.
const STARTS: u64 = 10_000;

/// What DreamerV3's authors publish (scores in its repository, mean over 5 seeds): task, return, environment steps.
const PUBLISHED: [(&str, f64, u64); 8] = [
    ("cartpole-swingup", 472.0, 100_000),
    ("cartpole-swingup", 694.0, 200_000),
    ("pendulum-swingup", 644.0, 100_000),
    ("pendulum-swingup", 833.0, 200_000),
    ("cartpole-balance", 769.0, 100_000),
    ("cartpole-balance", 947.0, 200_000),
    ("acrobot-swingup", 53.0, 100_000),
    ("acrobot-swingup", 64.0, 200_000),
];

impl Exercise for Dreamer {
    type Config = Config;

    const NAME: &'static str = "dreamer";
    const DESCRIPTION: &'static str =
        "DreamerV3 learns to act in the imagination of a categorical world model";
    const DURATION: [&'static str; 3] = ["5 s", "10 min", "10 h"];

    fn config(preset: Preset) -> Config {
        // As in the exercise `baselines`.
        let sac = SacConfig { hidden: vec![64, 64], learning_rate: 1e-3, ..SacConfig::default() };
        let dqn = DqnConfig { learning_starts: 100, n_step: 3, ..DqnConfig::default() };
        let mut config = Config {
            starts: 50,
            environments: 4,
            tasks: vec!["CartPole-v1".into()],
            agent: DreamerConfig::default(),
            sac,
            dqn,
        };
        match preset {
            Preset::Smoke => {
                (config.starts, config.agent.steps, config.agent.train_ratio) = (2, 400, 8.0);
                config.tasks.push("Pendulum-v1".into());
            }
            Preset::Quick => {}
            Preset::Full => {
                config.agent.steps = 200_000;
                config.agent.capacity = 400_000;
                let tasks = ["CartPole-v1", "cartpole-swingup", "pendulum-swingup", "cartpole-balance"];
                config.tasks = tasks.map(String::from).to_vec();
            }
        }
        config
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.starts > 0, "starts = 0: must be at least 1");
        anyhow::ensure!(config.environments > 0, "environments = 0: must be at least 1");
        for task in &config.tasks {
            copies(task, 1)?;
        }
        config.agent.validate()?;
        config.sac.validate()?;
        config.dqn.validate()?;
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for task in &config.tasks {
            dreamer(task, config, ctx)?;
            references(task, config, ctx)?;
            model_free(task, config, ctx)?;
            for (_, value, step) in PUBLISHED.iter().filter(|(name, ..)| name == task) {
                let name = "dreamer, published (its authors)";
                ctx.score(task, name, Role::Reference, Measure::RETURN, *step, *value)?;
            }
        }
        ctx.note(
            "Scores are mean returns over fixed starts that no training episode used, without exploration.",
        );
        Ok(())
    }
}

fn streams(task: &str, method: &str, ctx: &Context) -> SeedStream {
    SeedStream::new(ctx.streams.derive(&format!("{task}/{method}"), 0))
}

/// Mean return over the fixed starts, handed in as a score.
fn score(
    task: &str,
    config: &Config,
    ctx: &mut Context,
    (method, role, step): (&str, Role, u64),
    play: impl FnOnce(&mut [Box<dyn rl_core::env::Env>], &[u64]) -> Result<Vec<f64>>,
) -> Result<()> {
    let starts: Vec<u64> = (STARTS..STARTS + config.starts).collect();
    let mean = ctx.session.once(&format!("{task}/evaluate-{method}"), |_| -> Result<f64> {
        let returns = play(&mut copies(task, starts.len().min(50))?, &starts)?;
        Ok(returns.iter().sum::<f64>() / returns.len() as f64)
    })?;
    ctx.score(task, method, role, Measure::RETURN, step, mean)
}

fn dreamer(task: &str, config: &Config, ctx: &mut Context) -> Result<()> {
    let seeds = streams(task, "dreamer", ctx);
    let mut agent = Agent::new(config.agent.clone(), copies(task, config.environments)?, seeds, &ctx.device)?;
    ctx.session.run(&format!("{task}/dreamer"), &mut agent)?;
    let rng = seeds.stream("evaluate", 0);
    score(task, config, ctx, ("dreamer", Role::Method, config.agent.steps), |copies, starts| {
        Ok(evaluate(copies, starts, agent.policy(rng))?.returns)
    })
}

fn references(task: &str, config: &Config, ctx: &mut Context) -> Result<()> {
    let space = copies(task, 1)?.remove(0).spec().action.clone();
    let mut zero = Zero::new(&space);
    let mut random = Random::new(&space, streams(task, "random", ctx).stream("act", 0));
    let mut rule = heuristic(task, &space);
    let mut policies: Vec<(&str, &mut dyn Policy)> = vec![("zero", &mut zero), ("random", &mut random)];
    if let Some(rule) = &mut rule {
        policies.push(("scripted", rule.as_mut()));
    }
    for (name, policy) in policies {
        score(task, config, ctx, (name, Role::Reference, 0), |copies, starts| {
            Ok(evaluate(copies, starts, one_by_one(policy))?.returns)
        })?;
    }
    Ok(())
}

/// SAC or DQN with as many environment steps.
fn model_free(task: &str, config: &Config, ctx: &mut Context) -> Result<()> {
    let total_steps = config.agent.steps;
    let discrete = matches!(copies(task, 1)?[0].spec().action, Space::Discrete(_));
    let method = if discrete { "dqn" } else { "sac" };
    let seeds = streams(task, method, ctx);
    let entry = (method, Role::Reference, total_steps);
    if discrete {
        let exploration = Schedule::Linear { start: 1.0, end: 0.04, steps: total_steps * 16 / 100 };
        let dqn = DqnConfig { total_steps, exploration, ..config.dqn.clone() };
        let mut dqn = Dqn::new(dqn, copies(task, 1)?, seeds, &ctx.device)?;
        ctx.session.run(&format!("{task}/{method}"), &mut dqn)?;
        return score(task, config, ctx, entry, |c, s| Ok(evaluate(c, s, dqn.policy())?.returns));
    }
    let sac = SacConfig { total_steps, ..config.sac.clone() };
    let mut sac = Sac::new(sac, copies(task, 1)?, seeds, &ctx.device)?;
    ctx.session.run(&format!("{task}/{method}"), &mut sac)?;
    score(task, config, ctx, entry, |c, s| Ok(evaluate(c, s, sac.policy())?.returns))
}
