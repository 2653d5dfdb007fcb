//! `scenario-climate`: control rates for carbon, set by one planner or by regions with interests of their own.

use super::task::Task;
use crate::exercises::Exercise;
use crate::exercises::marl::{Choice, Method, Recipe, play, train};
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use hybrid::scenarios::climate::{
    Climate, ClimateConfig, Difficulty, OptimumConfig, Regions, RegionsConfig, Rule, Scripted, open_loop,
};
use marl::env::Copies;
use marl::ppo;
use marl::sharing::Sharing;
use rl_core::baselines::{PpoConfig, SacConfig};
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct ScenarioClimate;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// How much is unknown, and how many decide.
    difficulties: Vec<Difficulty>,
    /// Episodes of an evaluation.
    starts: u64,
    /// PPO, and its environments side by side.
    ppo: PpoConfig,
    envs: usize,
    /// SAC.
    sac: SacConfig,
    /// Sweeps of the search for the best path.
    sweeps: usize,
    /// The regions as a team (`solidarity` 1) and each for itself (0); each solidarity is trained.
    solidarity: Vec<f64>,
    /// The regions' learner.
    regions: Method,
    /// Episodes of an evaluation of the regions.
    region_episodes: usize,
}

const TOTAL: Measure =
    Measure { metric: "gain of all regions", unit: "trillion 2010 $", higher_is_better: true };

pub(super) fn ppo_config(total_steps: u64) -> PpoConfig {
    PpoConfig {
        total_steps,
        rollout_steps: 60,
        epochs: 10,
        minibatch_size: 480,
        gamma: 1.0,
        gae_lambda: 0.97,
        learning_rate: Schedule::Linear { start: 1e-3, end: 0.0, steps: total_steps },
        clip: Schedule::Constant(0.2),
        normalize_observations: true,
        reward_scale: 0.2,
        initial_log_std: -1.5,
        ..PpoConfig::default()
    }
}

pub(super) fn sac(total_steps: u64) -> SacConfig {
    SacConfig {
        total_steps,
        hidden: vec![64, 64],
        learning_rate: 1e-3,
        gamma: 0.999,
        learning_starts: (total_steps / 20).max(60),
        temperature: rl_core::baselines::sac::Temperature::Learned {
            initial: 0.1,
            target_entropy: Some(-2.0),
        },
        ..SacConfig::default()
    }
}

pub(super) fn regions(steps: u64, copies: usize) -> Method {
    let config = ppo::Config {
        sharing: Sharing::All,
        horizon: 60,
        minibatches: 4,
        entropy: 0.0,
        gamma: 0.999,
        rate: 5e-4,
        ..ppo::Config::default()
    };
    Method::of(Recipe::Ppo(config), copies, steps)
}

impl Exercise for ScenarioClimate {
    type Config = Config;

    const NAME: &'static str = "scenario-climate";
    const DESCRIPTION: &'static str = "Carbon, heat and money of DICE-2016R: learned abatement beside the published carbon price, and regions that share or do not";
    const DURATION: [&'static str; 3] = ["2 s", "4 min", "20 min"];

    fn config(preset: Preset) -> Config {
        let all = vec![Difficulty::Easy, Difficulty::Medium, Difficulty::Hard];
        let quick = Config {
            difficulties: all,
            starts: 200,
            ppo: ppo_config(300_000),
            envs: 16,
            sac: sac(15_000),
            sweeps: 60,
            solidarity: vec![1.0, 0.0],
            regions: regions(200_000, 16),
            region_episodes: 200,
        };
        match preset {
            Preset::Smoke => Config {
                difficulties: vec![Difficulty::Medium],
                starts: 3,
                ppo: ppo_config(480),
                envs: 4,
                sac: sac(150),
                sweeps: 2,
                solidarity: vec![1.0],
                regions: regions(480, 4),
                region_episodes: 2,
            },
            Preset::Quick => quick,
            Preset::Full => Config {
                starts: 1000,
                ppo: ppo_config(2_000_000),
                sac: sac(60_000),
                solidarity: vec![1.0, 0.5, 0.0],
                regions: regions(2_000_000, 32),
                ..quick
            },
        }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.starts > 0, "starts = 0: must be at least 1");
        anyhow::ensure!(config.envs > 0, "envs = 0: must be at least 1");
        config.ppo.validate()?;
        config.sac.validate()?;
        for &solidarity in &config.solidarity {
            Regions::new(RegionsConfig { solidarity, ..RegionsConfig::default() })?;
        }
        config.regions.validate()
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for &difficulty in &config.difficulties {
            let task = Task::new(Climate::new(ClimateConfig::of(difficulty))?, config.starts);
            references(&task, config, ctx)?;
            task.ppo(("ppo", Role::Method), config.envs, &config.ppo, ctx)?;
            task.sac(("sac", Role::Method), &config.sac, ctx)?;
        }
        for &solidarity in &config.solidarity {
            game(solidarity, config, ctx)?;
        }
        ctx.note("Returns are discounted welfare beyond the baseline policy in the same climate, in trillions of 2010 $ of today's consumption, summed over regions and three centuries. The expert's price is the published one; `best known path` is the best path of one rate when the sensitivity is its median, found with the model: it cannot react to what the climate shows.");
        ctx.note("The three regions and their damages are ours. Regions that count only themselves abate less than a team; what that costs all of them is the difference in the gain of all regions.");
        Ok(())
    }
}

fn references(task: &Task<Climate>, config: &Config, ctx: &mut Context) -> Result<()> {
    task.random(ctx)?;
    let optimum = OptimumConfig { sweeps: config.sweeps, ..OptimumConfig::default() };
    let rules = [
        ("baseline", Rule::Baseline),
        ("half of it", Rule::Constant(0.5)),
        ("expert", Rule::CarbonPrice),
        ("best known path", Rule::Path(open_loop(&task.simulator, &optimum)?)),
    ];
    for (name, rule) in rules {
        let mut rule = Scripted::new(rule, task.simulator.clone());
        task.scripted((name, Role::Reference), ctx, &mut rule)?;
    }
    Ok(())
}

/// Regions that learn side by side, and what their policies mean for all of them.
fn game(solidarity: f64, config: &Config, ctx: &mut Context) -> Result<()> {
    let world = |solidarity| Regions::new(RegionsConfig { solidarity, ..RegionsConfig::default() });
    let task = "Climate game";
    let name = if solidarity >= 1.0 { "team".to_owned() } else { format!("solidarity {solidarity}") };
    let plan = (5, config.region_episodes);
    let prototype = world(solidarity)?;
    let (_, last) =
        train(ctx, task, &name, &config.regions, plan, |n| Ok(Copies::new(prototype.clone(), n)))?;
    // With solidarity the rewards still sum to the gains of all.
    ctx.score(task, &name, Role::Method, TOTAL, last.step, last.mean_sum())?;
    if solidarity >= 1.0 {
        let seeds = SeedStream::new(ctx.streams.derive("Climate game/expert", 0));
        let mut env = prototype;
        let expert = Scripted::new(Rule::CarbonPrice, env.climate().clone());
        let publish = |env: &Regions, _, _: &mut StreamRng, rate: &mut [f32]| {
            rate[0] = expert.rate(env.world().map_or(1, |world| world.step as usize)) as f32;
            Choice::Continuous
        };
        let returns = play(&mut env, config.region_episodes, &seeds, publish, |_, _| {})?;
        let mean = returns.iter().flatten().sum::<f64>() / returns.len() as f64;
        ctx.score(task, "expert", Role::Reference, TOTAL, 0, mean)?;
    }
    Ok(())
}
