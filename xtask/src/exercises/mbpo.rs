//! `mbpo`: soft actor-critic on short branches of a learned model, beside soft actor-critic on the environment alone, with
//! as many steps, with as many steps and updates, and with many more steps.

use super::Exercise;
use super::untrained::untrained;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use rl_core::baselines::{Sac, SacConfig, copies};
use rl_core::evaluate::{Turn, evaluate, one_by_one};
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};
use world_models::mbpo::{Mbpo as Agent, MbpoConfig};
use world_models::pets::{DynamicsConfig, EnsembleConfig};

pub(super) struct Mbpo;

/// The task, the agent and its references.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Fixed starts over which every policy is scored.
    starts: u64,
    /// Tasks: names of environments with vector observations and bounded continuous actions that never terminate.
    tasks: Vec<String>,
    /// Shares of the agent's steps after which it is scored.
    scored_at: Vec<f64>,
    /// The agent; its policy's configuration is that of the references.
    agent: MbpoConfig,
    /// Steps of the reference that has many more of them; 0: none.
    more_steps: u64,
}

/// Episodes that are evaluated at a time.
const COPIES: usize = 10;

impl Exercise for Mbpo {
    type Config = Config;

    const NAME: &'static str = "mbpo";
    const DESCRIPTION: &'static str =
        "Soft actor-critic on short branches of a learned model, beside as many steps without one";
    const DURATION: [&'static str; 3] = ["5 s", "6 min", "20 min"];

    fn config(preset: Preset) -> Config {
        let ensemble =
            EnsembleConfig { members: 7, elites: 5, termination_scale: 0.0, ..EnsembleConfig::default() };
        let agent = MbpoConfig {
            steps: 2000,
            updates_per_step: 10.0,
            dynamics: DynamicsConfig { ensemble, holdout: 0.1, ..DynamicsConfig::default() },
            // As in the exercise `baselines`.
            sac: SacConfig { hidden: vec![64, 64], learning_rate: 1e-3, ..SacConfig::default() },
            ..MbpoConfig::default()
        };
        let mut config = Config {
            starts: 50,
            tasks: vec!["Pendulum-v1".into()],
            scored_at: vec![0.5, 1.0],
            agent,
            more_steps: 20_000,
        };
        match preset {
            Preset::Smoke => {
                (config.starts, config.more_steps) = (2, 0);
                (config.agent.steps, config.agent.random_steps) = (240, 200);
                (config.agent.updates_per_step, config.agent.dynamics.updates_per_step) = (1.0, 0.2);
            }
            Preset::Quick => {}
            Preset::Full => config.agent.steps = 5000,
        }
        config
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.starts > 0, "starts = 0: must be at least 1");
        for share in &config.scored_at {
            anyhow::ensure!(*share > 0.0 && *share <= 1.0, "scored_at: {share} must be in (0, 1]");
        }
        for task in &config.tasks {
            copies(task, 1)?;
        }
        Ok(config.agent.validate()?)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for task in &config.tasks {
            one_task(task, config, ctx)?;
        }
        ctx.note(
            "Scores are mean returns of the deterministic policy over fixed starts that no training episode used. The first \
             reference learns from as many steps with one update each, the second with as many updates as the agent makes.",
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
    mut policy: impl FnMut(&Turn<'_>, &mut [f32]) -> rl_core::Result<()>,
) -> Result<()> {
    let stage = format!("{task}/evaluate-{method}-{step}");
    let mean = ctx.mean_return(&stage, (config.starts, usize::MAX), |starts| {
        Ok(evaluate(&mut copies(task, COPIES)?, starts, &mut policy)?.returns)
    })?;
    ctx.score(task, method, role, Measure::RETURN, step, mean)
}

fn one_task(task: &str, config: &Config, ctx: &mut Context) -> Result<()> {
    let steps = config.agent.steps;
    let seeds = ctx.seeds(task, "mbpo");
    for share in &config.scored_at {
        // The first steps of a longer training are a shorter training: it is made again, and comes out the same.
        let agent = MbpoConfig { steps: (steps as f64 * share) as u64, ..config.agent.clone() };
        let step = agent.steps;
        let mut agent = Agent::new(agent, copies(task, 1)?.remove(0), &ctx.device, seeds)?;
        ctx.session.run(&format!("{task}/mbpo-{step}"), &mut agent)?;
        score(task, config, ctx, ("mbpo", Role::Method, step), agent.policy())?;
    }
    let updates = config.agent.updates_per_step.round().max(1.0) as u64;
    let mut references = vec![("sac", steps, 1), ("sac with as many updates", steps, updates)];
    if config.more_steps > steps {
        references.push(("sac with more steps", config.more_steps, 1));
    }
    for (name, total_steps, updates_per_training) in references {
        let sac = SacConfig { total_steps, updates_per_training, ..config.agent.sac.clone() };
        let mut sac = Sac::new(sac, copies(task, 1)?, ctx.seeds(task, name), &ctx.device)?;
        ctx.session.run(&format!("{task}/{name}"), &mut sac)?;
        score(task, config, ctx, (name, Role::Reference, total_steps), sac.policy())?;
    }
    untrained(task, ctx, |name, policy, ctx| {
        score(task, config, ctx, (name, Role::Reference, 0), one_by_one(policy))
    })
}
