//! `marl-mpe`: the deep learners on the particle worlds, beside random play, doing nothing and a planner that is told
//! everything.
//!
//! Unit: mpe2's rewards, summed over agents and the 25 steps. Published tables are in another one (see the page on
//! environments), so what stands beside the methods is converted and says so.

use super::{Choice, Method, Recipe, idle, random, reference, train_and_score};
use crate::exercises::Exercise;
use crate::run::{Context, Preset};
use anyhow::Result;
use marl::env::particle::{Config as World, Particle, ParticleBatch, Scenario, script};
use marl::sharing::Sharing;
use marl::{coma, maac, maddpg, ppo, value_decomposition};
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::exercises) struct Mpe;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Evaluations on the way, the last one at the end.
    evaluations: u64,
    /// Episodes of an evaluation.
    episodes: usize,
    /// By scenario and name.
    methods: BTreeMap<String, BTreeMap<String, Method>>,
}

/// Best of Table 3 of Papoudakis et al. 2021 in mpe2's unit: for spread (x + 75)/2 − 5.4, for speaker-listener measured.
const PUBLISHED: [(&str, f64); 2] = [("simple_spread", -31.0), ("simple_speaker_listener", -13.3)];

/// The original's networks and batch with more and smaller steps: at its hundred steps per update, what Papoudakis et al.
/// give off-policy methods is 20,000 updates, which is too few.
fn maddpg() -> maddpg::Config {
    maddpg::Config {
        hidden: vec![128, 128],
        actor_rate: 1e-3,
        critic_rate: 1e-3,
        batch: 512,
        update_every: 25,
        ..maddpg::Config::default()
    }
}

fn methods(name: &str, part: u64) -> BTreeMap<String, Method> {
    let off_policy = |steps: u64| steps / part;
    let mappo = ppo::Config { sharing: Sharing::Group, ..ppo::Config::default() };
    let values = |mixing| value_decomposition::Config {
        mixing,
        hidden: vec![128, 128],
        sharing: Sharing::All,
        epsilon: Schedule::Linear { start: 1.0, end: 0.05, steps: off_policy(200_000) },
        ..value_decomposition::Config::default()
    };
    let maddpg = match name {
        // The logits' penalty keeps the speaker's words random, and what says nothing is not listened to.
        "simple_speaker_listener" => {
            maddpg::Config { gamma: 0.9, logit_penalty: 1e-5, batch: 1024, update_every: 50, ..maddpg() }
        }
        _ => maddpg::Config { actors: Sharing::All, critics: Sharing::All, ..maddpg() },
    };
    let all = [
        ("maddpg", Method::of(Recipe::Maddpg(maddpg), 10, off_policy(1_500_000))),
        ("maac", Method::of(Recipe::Maac(maac::Config::default()), 10, off_policy(1_000_000))),
        ("mappo", Method::of(Recipe::Ppo(mappo), 128, off_policy(10_000_000))),
        (
            "qmix",
            Method::of(
                Recipe::ValueDecomposition(values(value_decomposition::Mixing::Monotone)),
                10,
                off_policy(1_000_000),
            ),
        ),
        (
            "iql",
            Method::of(
                Recipe::ValueDecomposition(values(value_decomposition::Mixing::Independent)),
                10,
                off_policy(1_000_000),
            ),
        ),
        ("coma", Method::of(Recipe::Coma(coma::Config::default()), 10, off_policy(2_000_000))),
    ];
    all.into_iter().map(|(name, method)| (name.to_owned(), method)).collect()
}

impl Exercise for Mpe {
    type Config = Config;

    const NAME: &'static str = "marl-mpe";
    const DESCRIPTION: &'static str =
        "MADDPG, MAAC, MAPPO, QMIX, IQL and COMA on spread and speaker-listener, beside a planner";
    const DURATION: [&'static str; 3] = ["20 s", "8 min", "5 h"];

    fn config(preset: Preset) -> Config {
        let (part, evaluations, episodes) = match preset {
            Preset::Smoke => (2_000, 1, 4),
            Preset::Quick => (20, 5, 100),
            Preset::Full => (1, 41, 100),
        };
        let names = ["simple_spread", "simple_speaker_listener"];
        let mut methods: BTreeMap<_, _> = names.map(|n| (n.to_owned(), methods(n, part))).into();
        if preset == Preset::Smoke {
            for method in methods.values_mut().flat_map(BTreeMap::values_mut) {
                method.copies = method.copies.min(10);
                method.steps = 500;
                match &mut method.recipe {
                    Recipe::Maddpg(c) => (c.batch, c.warm_up, c.update_every) = (32, 100, 100),
                    Recipe::Maac(c) => (c.batch, c.warm_up) = (32, 100),
                    Recipe::ValueDecomposition(c) => (c.batch, c.warm_up, c.update_every) = (32, 100, 100),
                    _ => {}
                }
            }
        }
        if preset == Preset::Quick {
            // Two methods that show the effect in minutes.
            methods.values_mut().for_each(|m| m.retain(|name, _| ["maddpg", "mappo"].contains(&&name[..])));
            for method in methods.values_mut().flat_map(BTreeMap::values_mut) {
                method.steps = if matches!(method.recipe, Recipe::Maddpg(_)) { 200_000 } else { 1_000_000 };
            }
        }
        Config { evaluations, episodes, methods }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.episodes > 0, "episodes = 0: must be at least 1");
        for name in config.methods.keys() {
            anyhow::ensure!(Scenario::named(name).is_some(), "methods.{name}: there is no such scenario");
        }
        config.methods.values().flat_map(BTreeMap::values).try_for_each(Method::validate)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for (task, methods) in &config.methods {
            let Some(scenario) = Scenario::named(task) else { continue };
            let world = World { scenario, ..World::default() };
            let mut env = Particle::new(world)?;
            reference(ctx, (task, "random"), &mut env, config.episodes, random)?;
            reference(ctx, (task, "idle"), &mut env, config.episodes, idle)?;
            reference(ctx, (task, "planner"), &mut env, config.episodes, |env, agent, _, _| {
                Choice::Discrete(script::scripted(env, agent))
            })?;
            for (name, method) in methods {
                let plan = (config.evaluations, config.episodes);
                train_and_score(ctx, task, name, method, plan, |copies| ParticleBatch::new(world, copies))?;
            }
            for (scenario, value) in PUBLISHED.iter().filter(|(scenario, _)| scenario == task) {
                let name = "best published, converted";
                ctx.score(scenario, name, Role::Reference, super::SUM, 0, *value)?;
            }
        }
        ctx.note(
            "Returns are mpe2's, summed over agents and 25 steps, of the last policy without exploration. The published \
             ones are the best of Table 3 of Papoudakis et al. 2021, converted from the original code's unit.",
        );
        Ok(())
    }
}
