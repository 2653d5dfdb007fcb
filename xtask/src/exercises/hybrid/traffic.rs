//! `scenario-traffic`: one learned vehicle among human drivers on a ring road, beside the expert that dissolves their waves.

use super::task::Task;
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use hybrid::scenarios::traffic::{Difficulty, Rule, Scripted, TrafficConfig, TrafficRing};
use rl_core::baselines::{PpoConfig, SacConfig};
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct ScenarioTraffic;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// How dense the traffic is; each gives the ring its length.
    difficulties: Vec<Difficulty>,
    /// Episodes of an evaluation.
    starts: u64,
    /// The ring, but for its length.
    ring: TrafficConfig,
    /// PPO, and its environments side by side.
    ppo: PpoConfig,
    envs: usize,
    /// SAC; 0 steps leave it out.
    sac: SacConfig,
}

const LENGTH: Measure = Measure { metric: "decisions before a collision", unit: "", higher_is_better: true };

pub(super) fn ppo(total_steps: u64) -> PpoConfig {
    PpoConfig {
        total_steps,
        rollout_steps: 200,
        epochs: 10,
        minibatch_size: 800,
        gamma: 0.99,
        gae_lambda: 0.95,
        learning_rate: Schedule::Linear { start: 1e-3, end: 0.0, steps: total_steps },
        clip: Schedule::Constant(0.2),
        reward_scale: 0.1,
        initial_log_std: -0.5,
        ..PpoConfig::default()
    }
}

pub(super) fn sac(total_steps: u64) -> SacConfig {
    SacConfig { total_steps, hidden: vec![64, 64], learning_rate: 1e-3, ..SacConfig::default() }
}

impl Config {
    fn ring(&self, difficulty: Difficulty) -> Result<TrafficRing> {
        let circumference = TrafficConfig::of(difficulty).circumference;
        Ok(TrafficRing::new(TrafficConfig { circumference, ..self.ring.clone() })?)
    }
}

impl Exercise for ScenarioTraffic {
    type Config = Config;

    const NAME: &'static str = "scenario-traffic";
    const DESCRIPTION: &'static str = "One learned vehicle among 21 human drivers whose ring road falls into stop-and-go waves, beside the expert that dissolves them";
    const DURATION: [&'static str; 3] = ["2 s", "5 min", "20 min"];

    fn config(preset: Preset) -> Config {
        let all = vec![Difficulty::Easy, Difficulty::Medium, Difficulty::Hard];
        let ring = TrafficConfig::default();
        match preset {
            Preset::Smoke => Config {
                difficulties: vec![Difficulty::Medium],
                starts: 1,
                ring: TrafficConfig { warm_up: 5.0, decisions: 40, ..ring },
                ppo: PpoConfig { rollout_steps: 40, ..ppo(320) },
                envs: 4,
                sac: sac(150),
            },
            Preset::Quick => {
                Config { difficulties: all, starts: 50, ring, ppo: ppo(500_000), envs: 16, sac: sac(0) }
            }
            Preset::Full => Config {
                difficulties: all,
                starts: 100,
                ring,
                ppo: ppo(3_000_000),
                envs: 16,
                sac: sac(50_000),
            },
        }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.starts > 0, "starts = 0: must be at least 1");
        anyhow::ensure!(config.envs > 0, "envs = 0: must be at least 1");
        for difficulty in &config.difficulties {
            config.ring(*difficulty)?;
        }
        config.ppo.validate()?;
        Ok(config.sac.validate()?)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for difficulty in &config.difficulties {
            let ring = config.ring(*difficulty)?;
            let task = Task { length: Some(LENGTH), ..Task::new(ring, config.starts) };
            references(&task, ctx)?;
            task.ppo(("ppo", Role::Method), config.envs, &config.ppo, ctx)?;
            if config.sac.total_steps > 0 {
                task.sac(("sac", Role::Method), &config.sac, ctx)?;
            }
        }
        ctx.note(format!(
            "A return of {} would be uniform traffic for the whole episode; waves keep human drivers below it. The expert is FollowerStopper towards 0.9 or 0.95 of the uniform speed; the second is faster where it is stable, and in dense traffic it is not always.",
            config.ring.decisions
        ));
        ctx.note("Scores are mean returns of the last deterministic policy over fixed starts, the same for every method and seed. A collision ends the episode and loses what would have followed.");
        Ok(())
    }
}

fn references(task: &Task<TrafficRing>, ctx: &mut Context) -> Result<()> {
    task.random(ctx)?;
    let rules = [
        ("human driver", Rule::Human),
        ("expert at 0.9", Rule::FollowerStopper(0.9)),
        ("expert at 0.95", Rule::FollowerStopper(0.95)),
    ];
    for (name, rule) in rules {
        let mut rule = Scripted::new(rule, task.simulator.clone());
        task.scripted((name, Role::Reference), ctx, &mut rule)?;
    }
    Ok(())
}
