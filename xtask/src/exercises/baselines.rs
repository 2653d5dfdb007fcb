//! `baselines`: the model-free agents on the classic tasks, beside random play, a scripted rule, and the figures that
//! the Stable-Baselines3 zoo publishes.
//!
//! Each agent trains for a fixed number of environment steps; then its deterministic policy plays the same fixed starts
//! as every other policy. The score is that of the policy at the end of training, never of the best one on the way.

use super::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use rl_core::baselines::sac::Temperature;
use rl_core::baselines::{Dqn, DqnConfig, Ppo, PpoConfig, Sac, SacConfig, copies, random_policy};
use rl_core::env::scripted::heuristic;
use rl_core::evaluate::{Turn, evaluate, one_by_one};
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};

pub(super) struct Baselines;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Episodes of an evaluation, from the fixed starts 10000, 10001, ...
    episodes: u64,
    /// DQN on CartPole-v1.
    cartpole_dqn: DqnConfig,
    /// PPO on CartPole-v1.
    cartpole_ppo: PpoConfig,
    /// DQN on Acrobot-v1.
    acrobot_dqn: DqnConfig,
    /// PPO on Acrobot-v1.
    acrobot_ppo: PpoConfig,
    /// SAC on Pendulum-v1.
    pendulum_sac: SacConfig,
    /// SAC on MountainCarContinuous-v0.
    mountain_car_sac: SacConfig,
}

/// What the zoo publishes: task, method, mean return, environment steps (rl-baselines3-zoo, benchmark.md; one trained
/// model each, its deterministic policy over 150,000 environment steps).
const PUBLISHED: [(&str, &str, f64, u64); 6] = [
    ("CartPole-v1", "dqn", 500.0, 50_000),
    ("CartPole-v1", "ppo", 500.0, 100_000),
    ("Acrobot-v1", "dqn", -76.639, 100_000),
    ("Acrobot-v1", "ppo", -73.506, 1_000_000),
    ("Pendulum-v1", "sac", -156.995, 20_000),
    ("MountainCarContinuous-v0", "sac", 94.679, 50_000),
];

const TASKS: [&str; 4] = ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "MountainCarContinuous-v0"];

/// From `start` to 0 in `steps`.
fn to_zero(start: f64, steps: u64) -> Schedule {
    Schedule::Linear { start, end: 0.0, steps }
}

/// From 1 to `end` over the first `steps`.
fn exploration(end: f64, steps: u64) -> Schedule {
    Schedule::Linear { start: 1.0, end, steps }
}

/// The zoo's table with three-step double targets and a learning rate that falls to zero, without which the last
/// policy is as often a bad one as a good one.
fn cartpole_dqn(steps: u64) -> DqnConfig {
    DqnConfig {
        total_steps: steps,
        learning_rate: to_zero(1e-3, steps),
        learning_starts: steps / 50,
        n_step: 3,
        exploration: exploration(0.04, steps * 16 / 100),
        ..DqnConfig::default()
    }
}

/// The zoo's table.
fn cartpole_ppo(steps: u64) -> PpoConfig {
    let (learning_rate, clip) = (to_zero(1e-3, steps), to_zero(0.2, steps));
    PpoConfig { total_steps: steps, learning_rate, clip, ..PpoConfig::default() }
}

/// As on CartPole-v1, with the zoo's batch and buffer for this task, the 25 quantiles of its QR-DQN, and random actions that are held:
/// single ones cancel each other, and the first success comes after a third of the steps.
fn acrobot_dqn(steps: u64) -> DqnConfig {
    DqnConfig {
        total_steps: steps,
        learning_rate: to_zero(1e-3, steps),
        batch_size: 128,
        capacity: 50_000,
        learning_starts: steps / 100,
        train_every: 1,
        updates_per_training: 2,
        target_every: 500,
        n_step: 3,
        exploration: exploration(0.01, steps * 12 / 100),
        hold_exponent: Some(2.0),
        quantiles: Some(25),
        ..DqnConfig::default()
    }
}

/// The zoo's normalised observations, rollout of 16 environments, γ and λ, with smaller rollouts and a larger, annealed
/// learning rate, for a tenth of its steps. Rewards are scaled: otherwise the values' error, near 100², leaves the policy
/// nothing of the clipped gradient, and some seeds never learn.
fn acrobot_ppo(steps: u64) -> PpoConfig {
    PpoConfig {
        total_steps: steps,
        rollout_steps: 64,
        epochs: 10,
        minibatch_size: 128,
        gamma: 0.99,
        gae_lambda: 0.94,
        learning_rate: to_zero(2e-3, steps),
        clip: Schedule::Constant(0.2),
        normalize_observations: true,
        reward_scale: 0.1,
        ..PpoConfig::default()
    }
}

/// The zoo's table with a smaller network.
fn pendulum_sac(steps: u64) -> SacConfig {
    SacConfig { total_steps: steps, hidden: vec![64, 64], learning_rate: 1e-3, ..SacConfig::default() }
}

/// The zoo's table with exploration noise that is correlated in time in place of state-dependent exploration, and half
/// the batch.
fn mountain_car_sac(steps: u64) -> SacConfig {
    SacConfig {
        total_steps: steps,
        hidden: vec![64, 64],
        gamma: 0.9999,
        tau: 0.01,
        learning_starts: 0,
        temperature: Temperature::Fixed(0.1),
        noise_correlation: 0.9,
        ..SacConfig::default()
    }
}

impl Exercise for Baselines {
    type Config = Config;

    const NAME: &'static str = "baselines";
    const DESCRIPTION: &'static str =
        "DQN, PPO and SAC on the classic tasks, beside random play, scripted rules and published figures";
    const DURATION: [&'static str; 3] = ["5 s", "3 min", "25 min"];

    fn config(preset: Preset) -> Config {
        let (episodes, part) = match preset {
            Preset::Smoke => (5, 100),
            Preset::Quick => (100, 3),
            Preset::Full => (500, 1),
        };
        Config {
            episodes,
            cartpole_dqn: cartpole_dqn(50_000 / part),
            cartpole_ppo: cartpole_ppo(100_000 / part),
            acrobot_dqn: acrobot_dqn(100_000 / part),
            acrobot_ppo: acrobot_ppo(100_000 / part),
            pendulum_sac: pendulum_sac(20_000 / part),
            mountain_car_sac: mountain_car_sac(50_000 / part),
        }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.episodes > 0, "episodes = 0: must be at least 1");
        for dqn in [&config.cartpole_dqn, &config.acrobot_dqn] {
            dqn.validate()?;
        }
        for ppo in [&config.cartpole_ppo, &config.acrobot_ppo] {
            ppo.validate()?;
        }
        for sac in [&config.pendulum_sac, &config.mountain_car_sac] {
            sac.validate()?;
        }
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for task in TASKS {
            references(task, config, ctx)?;
        }
        dqn("CartPole-v1", &config.cartpole_dqn, config, ctx)?;
        ppo("CartPole-v1", 8, &config.cartpole_ppo, config, ctx)?;
        dqn("Acrobot-v1", &config.acrobot_dqn, config, ctx)?;
        ppo("Acrobot-v1", 16, &config.acrobot_ppo, config, ctx)?;
        sac("Pendulum-v1", &config.pendulum_sac, config, ctx)?;
        sac("MountainCarContinuous-v0", &config.mountain_car_sac, config, ctx)?;
        for (task, method, value, steps) in PUBLISHED {
            let name = format!("{method}, published (Stable-Baselines3 zoo)");
            ctx.score(task, &name, Role::Reference, Measure::RETURN, steps, value)?;
        }
        ctx.note(format!(
            "Scores are mean returns of the last deterministic policy over {} fixed starts, the same for every method \
             and seed. Published figures are of one trained model over other starts.",
            config.episodes
        ));
        ctx.note("Learning curves show training episodes, with exploration.");
        Ok(())
    }
}

/// Mean return of a policy over the fixed starts, handed in as a score.
fn score(
    task: &str,
    (method, role, step): (&str, Role, u64),
    config: &Config,
    ctx: &mut Context,
    mut policy: impl FnMut(&Turn<'_>, &mut [f32]) -> rl_core::Result<()>,
) -> Result<()> {
    let stage = format!("{task}/{method} evaluation");
    let mean = ctx.mean_return(&stage, (config.episodes, usize::MAX), |starts| {
        Ok(evaluate(&mut copies(task, starts.len().min(100))?, starts, &mut policy)?.returns)
    })?;
    ctx.score(task, method, role, Measure::RETURN, step, mean)
}

fn references(task: &str, config: &Config, ctx: &mut Context) -> Result<()> {
    let space = copies(task, 1)?.remove(0).spec().action.clone();
    let rng = ctx.seeds(task, "random").stream("act", 0);
    score(task, ("random", Role::Reference, 0), config, ctx, random_policy(&space, rng))?;
    if let Some(mut rule) = heuristic(task, &space) {
        score(task, ("scripted rule", Role::Reference, 0), config, ctx, one_by_one(rule.as_mut()))?;
    }
    Ok(())
}

fn dqn(task: &str, agent: &DqnConfig, config: &Config, ctx: &mut Context) -> Result<()> {
    let streams = ctx.seeds(task, "dqn");
    let mut dqn = Dqn::new(agent.clone(), copies(task, 1)?, streams, &ctx.device)?;
    ctx.session.run(&format!("{task}/dqn"), &mut dqn)?;
    score(task, ("dqn", Role::Method, agent.total_steps), config, ctx, dqn.policy())
}

/// With `n` environments side by side.
fn ppo(task: &str, n: usize, agent: &PpoConfig, config: &Config, ctx: &mut Context) -> Result<()> {
    let streams = ctx.seeds(task, "ppo");
    let mut ppo = Ppo::new(agent.clone(), copies(task, n)?, streams, &ctx.device)?;
    ctx.session.run(&format!("{task}/ppo"), &mut ppo)?;
    score(task, ("ppo", Role::Method, agent.total_steps), config, ctx, ppo.policy())
}

fn sac(task: &str, agent: &SacConfig, config: &Config, ctx: &mut Context) -> Result<()> {
    let streams = ctx.seeds(task, "sac");
    let mut sac = Sac::new(agent.clone(), copies(task, 1)?, streams, &ctx.device)?;
    ctx.session.run(&format!("{task}/sac"), &mut sac)?;
    score(task, ("sac", Role::Method, agent.total_steps), config, ctx, sac.policy())
}
