//! `scenario-trading`: how much of a hidden-regime market to hold when trades cost something.

use super::task::Task;
use crate::exercises::Exercise;
use crate::run::{Context, Preset};
use anyhow::Result;
use hybrid::scenarios::trading::{Difficulty, Market, Rule, Scripted, TradingConfig};
use rl_core::baselines::{PpoConfig, SacConfig};
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};
use world_models::pets::{DynamicsConfig, EnsembleConfig, PetsConfig, RolloutConfig};
use world_models::planning::{Icem, Method, PlannerConfig};

pub(in crate::exercises) struct ScenarioTrading;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// How dear it is to trade.
    difficulties: Vec<Difficulty>,
    /// Years of an evaluation.
    starts: u64,
    /// The market, but for its costs.
    market: TradingConfig,
    /// PPO, and its environments side by side.
    ppo: PpoConfig,
    envs: usize,
    /// SAC.
    sac: SacConfig,
    /// PETS, on the difficulties named.
    pets: PetsConfig,
    pets_on: Vec<Difficulty>,
    /// Years of its evaluation, whose planning takes time.
    pets_starts: u64,
}

/// Large batches, because a day says little; a short horizon, because costs come back soon.
pub(super) fn ppo(total_steps: u64) -> PpoConfig {
    PpoConfig {
        total_steps,
        hidden: vec![32, 32],
        rollout_steps: 252,
        epochs: 5,
        minibatch_size: 2016,
        gamma: 0.97,
        gae_lambda: 0.9,
        learning_rate: Schedule::Linear { start: 1e-3, end: 0.0, steps: total_steps },
        clip: Schedule::Constant(0.2),
        initial_log_std: -1.0,
        ..PpoConfig::default()
    }
}

pub(super) fn sac(total_steps: u64) -> SacConfig {
    SacConfig {
        total_steps,
        hidden: vec![32, 32],
        learning_rate: 1e-3,
        gamma: 0.97,
        learning_starts: (total_steps / 20).max(64),
        train_every: 2,
        temperature: rl_core::baselines::sac::Temperature::Fixed(0.01),
        ..SacConfig::default()
    }
}

pub(super) fn pets(steps: u64) -> PetsConfig {
    PetsConfig {
        steps,
        random_steps: steps / 4,
        random_correlation: 0.9,
        dynamics: DynamicsConfig {
            updates_per_step: 0.5,
            train_every: 250,
            ensemble: EnsembleConfig { termination_scale: 0.0, ..EnsembleConfig::default() },
            ..DynamicsConfig::default()
        },
        rollout: RolloutConfig { sample: false, ..RolloutConfig::default() },
        planner: PlannerConfig {
            horizon: 10,
            candidates: 40,
            elites: 5,
            iterations: 2,
            particles: 5,
            discount: 1.0,
            method: Method::Icem(Icem { noise_exponent: 2.0, ..Icem::default() }),
            ..PlannerConfig::default()
        },
        ..PetsConfig::default()
    }
}

impl Exercise for ScenarioTrading {
    type Config = Config;

    const NAME: &'static str = "scenario-trading";
    const DESCRIPTION: &'static str = "An index whose bear, quiet and bull markets are hidden, and costs: learned portfolios beside Merton's rule on Hamilton's filter";
    const DURATION: [&'static str; 3] = ["3 s", "5 min", "25 min"];

    fn config(preset: Preset) -> Config {
        let all = vec![Difficulty::Easy, Difficulty::Medium, Difficulty::Hard];
        let market = TradingConfig::default();
        match preset {
            Preset::Smoke => Config {
                difficulties: vec![Difficulty::Medium],
                starts: 5,
                market,
                ppo: PpoConfig { rollout_steps: 64, ..ppo(512) },
                envs: 4,
                sac: sac(150),
                pets: pets(300),
                pets_on: vec![],
                pets_starts: 1,
            },
            Preset::Quick => Config {
                difficulties: all,
                starts: 2000,
                market,
                ppo: ppo(500_000),
                envs: 16,
                sac: sac(20_000),
                pets: pets(3_000),
                pets_on: vec![Difficulty::Medium],
                pets_starts: 20,
            },
            Preset::Full => Config {
                difficulties: all.clone(),
                starts: 5000,
                market,
                ppo: ppo(3_000_000),
                envs: 16,
                sac: sac(100_000),
                pets: pets(10_000),
                pets_on: all,
                pets_starts: 200,
            },
        }
    }

    fn validate(config: &Config) -> Result<()> {
        for (field, value) in
            [("starts", config.starts), ("envs", config.envs as u64), ("pets_starts", config.pets_starts)]
        {
            anyhow::ensure!(value > 0, "{field} = 0: must be at least 1");
        }
        config.market.validate()?;
        config.ppo.validate()?;
        config.sac.validate()?;
        Ok(config.pets.validate()?)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for &difficulty in &config.difficulties {
            let cost = TradingConfig::of(difficulty).cost;
            let market = Market::new(TradingConfig { cost, ..config.market.clone() })?;
            let task = Task::new(market, config.starts);
            references(&task, ctx)?;
            task.ppo(("ppo", Role::Method), config.envs, &config.ppo, ctx)?;
            task.sac(("sac", Role::Method), &config.sac, ctx)?;
            if config.pets_on.contains(&difficulty) {
                let few = Task::new(task.simulator.clone(), config.pets_starts);
                few.pets(("pets", Role::Method), &config.pets, ctx)?;
            }
        }
        ctx.note("Returns are log growth of the wealth over a year of 252 days, in percent; all policies meet the same years. The expert knows the market's law: Merton's share for the belief of Hamilton's filter. `expert with a band` trades only when it is off by more than a half.");
        ctx.note(
            "PETS is scored over fewer years than the others: its return has the wider noise of so few.",
        );
        Ok(())
    }
}

fn references(task: &Task<Market>, ctx: &mut Context) -> Result<()> {
    task.random(ctx)?;
    let rules = [
        ("hold", Rule::Hold),
        ("constant mix", Rule::ConstantMix),
        ("expert", Rule::Filtered),
        ("expert with a band", Rule::Band(0.5)),
    ];
    for (name, rule) in rules {
        let mut rule = Scripted::new(rule, task.simulator.clone());
        task.scripted((name, Role::Reference), ctx, &mut rule)?;
    }
    Ok(())
}
