//! `tdmpc`: TD-MPC2-style planning in a latent model with a learned value, beside doing nothing, random actions, the scripted rule,
//! the figures that its authors publish, and SAC from as many steps.

use super::Exercise;
use super::untrained::untrained;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use rl_core::baselines::{Sac, SacConfig, copies};
use rl_core::evaluate::{evaluate, one_by_one};
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};
use world_models::tdmpc::{TdMpc, TdMpcConfig};

pub(super) struct Tdmpc;

/// The tasks, the agent and its reference.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Fixed starts over which every policy is scored.
    starts: u64,
    /// Tasks: names of environments with vector observations and bounded continuous actions.
    tasks: Vec<String>,
    /// The agent.
    agent: TdMpcConfig,
    /// The model-free reference; its steps are the agent's.
    sac: SacConfig,
}

/// Episodes that are evaluated at a time.
const COPIES: usize = 10;

/// What TD-MPC2's authors publish (results in its repository, mean over 3 seeds): task, return, environment steps.
const PUBLISHED: [(&str, f64, u64); 6] = [
    ("cartpole-swingup", 839.0, 100_000),
    ("cartpole-swingup", 872.0, 200_000),
    ("pendulum-swingup", 724.0, 100_000),
    ("pendulum-swingup", 824.0, 200_000),
    ("cartpole-balance", 998.0, 100_000),
    ("acrobot-swingup", 179.0, 100_000),
];

impl Exercise for Tdmpc {
    type Config = Config;

    const NAME: &'static str = "tdmpc";
    const DESCRIPTION: &'static str =
        "TD-MPC2: plan a few steps in a latent model, let a learned value see the rest";
    const DURATION: [&'static str; 3] = ["5 s", "10 min", "10 h"];

    fn config(preset: Preset) -> Config {
        // As in the exercise `baselines`.
        let sac = SacConfig { hidden: vec![64, 64], learning_rate: 1e-3, ..SacConfig::default() };
        let agent = TdMpcConfig { steps: 4000, random_steps: 600, ..TdMpcConfig::default() };
        let mut config = Config { starts: 20, tasks: vec!["Pendulum-v1".into()], agent, sac };
        match preset {
            Preset::Smoke => {
                (config.starts, config.agent.steps, config.agent.random_steps) = (1, 210, 190);
                config.agent.planner.candidates = 32;
                config.agent.planner.elites = 8;
                config.agent.planner.iterations = 2;
                config.agent.updates_per_action = 0.1;
            }
            Preset::Quick => {}
            Preset::Full => {
                (config.agent.steps, config.agent.random_steps) = (100_000, 5000);
                config.agent.action_repeat = 2;
                config.agent.planner.discount = TdMpcConfig::discount_for(500);
                let tasks = ["cartpole-swingup", "pendulum-swingup", "cartpole-balance", "acrobot-swingup"];
                config.tasks = tasks.map(String::from).to_vec();
            }
        }
        config
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.starts > 0, "starts = 0: must be at least 1");
        for task in &config.tasks {
            copies(task, 1)?;
        }
        config.agent.validate()?;
        config.sac.validate()?;
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for task in &config.tasks {
            one_task(task, config, ctx)?;
        }
        ctx.note(
            "Scores are mean returns over fixed starts that no training episode used, planning without the noise of training. \
             Steps are environment steps, held actions included.",
        );
        Ok(())
    }
}

/// Mean return over the fixed starts, handed in as a score.
fn score(
    task: &str,
    config: &Config,
    ctx: &mut Context,
    (method, role, step): (&str, Role, u64),
    play: impl FnMut(&[u64]) -> Result<Vec<f64>>,
) -> Result<()> {
    let mean = ctx.mean_return(&format!("{task}/evaluate-{method}"), (config.starts, COPIES), play)?;
    ctx.score(task, method, role, Measure::RETURN, step, mean)
}

fn one_task(task: &str, config: &Config, ctx: &mut Context) -> Result<()> {
    let steps = config.agent.steps;
    let seeds = ctx.seeds(task, "tdmpc");
    let mut agent = TdMpc::new(config.agent.clone(), copies(task, 1)?.remove(0), &ctx.device, seeds)?;
    ctx.session.run(&format!("{task}/tdmpc"), &mut agent)?;
    score(task, config, ctx, ("tdmpc", Role::Method, steps), |starts| {
        Ok(agent.evaluate(&mut copies(task, COPIES)?, starts, seeds)?.returns)
    })?;
    untrained(task, ctx, |name, policy, ctx| {
        score(task, config, ctx, (name, Role::Reference, 0), |starts| {
            Ok(evaluate(&mut copies(task, COPIES)?, starts, one_by_one(&mut *policy))?.returns)
        })
    })?;
    let sac = SacConfig { total_steps: steps, ..config.sac.clone() };
    let mut sac = Sac::new(sac, copies(task, 1)?, ctx.seeds(task, "sac"), &ctx.device)?;
    ctx.session.run(&format!("{task}/sac"), &mut sac)?;
    score(task, config, ctx, ("sac", Role::Reference, steps), |starts| {
        Ok(evaluate(&mut copies(task, COPIES)?, starts, sac.policy())?.returns)
    })?;
    for (_, value, step) in PUBLISHED.iter().filter(|(name, ..)| *name == task) {
        ctx.score(task, "tdmpc2, published (its authors)", Role::Reference, Measure::RETURN, *step, *value)?;
    }
    Ok(())
}
