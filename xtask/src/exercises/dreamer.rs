//! `dreamer`: DreamerV3 on control from vectors, beside doing nothing, random actions, the scripted rule and model-free
//! learning from as many steps.

use super::Exercise;
use super::untrained::untrained;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use rl_core::baselines::{Dqn, DqnConfig, Sac, SacConfig, copies};
use rl_core::env::Space;
use rl_core::evaluate::{Turn, evaluate, one_by_one};
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
            untrained(task, ctx, |name, policy, ctx| {
                score(task, config, ctx, (name, Role::Reference, 0), one_by_one(policy))
            })?;
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

/// Mean return over the fixed starts, handed in as a score.
fn score<E>(
    task: &str,
    config: &Config,
    ctx: &mut Context,
    (method, role, step): (&str, Role, u64),
    mut policy: impl FnMut(&Turn<'_>, &mut [f32]) -> Result<(), E>,
) -> Result<()>
where
    E: From<rl_core::Error> + Into<anyhow::Error>,
{
    let stage = format!("{task}/evaluate-{method}");
    let mean = ctx.mean_return(&stage, (config.starts, usize::MAX), |starts| {
        let copies = &mut copies(task, starts.len().min(50))?;
        Ok(evaluate(copies, starts, &mut policy).map_err(Into::into)?.returns)
    })?;
    ctx.score(task, method, role, Measure::RETURN, step, mean)
}

fn dreamer(task: &str, config: &Config, ctx: &mut Context) -> Result<()> {
    let seeds = ctx.seeds(task, "dreamer");
    let mut agent = Agent::new(config.agent.clone(), copies(task, config.environments)?, seeds, &ctx.device)?;
    ctx.session.run(&format!("{task}/dreamer"), &mut agent)?;
    let rng = seeds.stream("evaluate", 0);
    score(task, config, ctx, ("dreamer", Role::Method, config.agent.steps), agent.policy(rng))
}

/// SAC or DQN with as many environment steps.
fn model_free(task: &str, config: &Config, ctx: &mut Context) -> Result<()> {
    let total_steps = config.agent.steps;
    let discrete = matches!(copies(task, 1)?[0].spec().action, Space::Discrete(_));
    let method = if discrete { "dqn" } else { "sac" };
    let seeds = ctx.seeds(task, method);
    let entry = (method, Role::Reference, total_steps);
    if discrete {
        let exploration = Schedule::Linear { start: 1.0, end: 0.04, steps: total_steps * 16 / 100 };
        let dqn = DqnConfig { total_steps, exploration, ..config.dqn.clone() };
        let mut dqn = Dqn::new(dqn, copies(task, 1)?, seeds, &ctx.device)?;
        ctx.session.run(&format!("{task}/{method}"), &mut dqn)?;
        return score(task, config, ctx, entry, dqn.policy());
    }
    let sac = SacConfig { total_steps, ..config.sac.clone() };
    let mut sac = Sac::new(sac, copies(task, 1)?, seeds, &ctx.device)?;
    ctx.session.run(&format!("{task}/{method}"), &mut sac)?;
    score(task, config, ctx, entry, sac.policy())
}
