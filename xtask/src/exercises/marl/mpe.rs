//! `marl-mpe`: the deep learners on the particle worlds, beside random play, doing nothing and a planner that is told
//! everything.
//!
//! Unit: mpe2's rewards, summed over agents and the 25 steps. Published tables are in another one (see the page on
//! environments), so what stands beside the methods is converted and says so. Speaker-listener has a reference that no
//! policy can beat: the listener's optimal control. It lies below the published figures as long as moves are discrete, and
//! above with continuous actions, which is why both stand here.

use super::{Choice, Method, Recipe, idle, random, reference, train_and_score};
use crate::exercises::Exercise;
use crate::run::{Context, Preset};
use anyhow::Result;
use marl::env::particle::{Config as World, Particle, ParticleBatch, Scenario, bound, script};
use marl::env::{ActionSpace, AgentId, MultiAgentEnv};
use marl::sharing::Sharing;
use marl::{coma, maac, maddpg, ppo, value_decomposition};
use rl_core::StreamRng;
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
    /// Which of the tasks; all of them if none is named.
    tasks: Vec<String>,
    /// Which of the learners; all of them if none is named.
    learners: Vec<String>,
    /// By scenario and name.
    methods: BTreeMap<String, BTreeMap<String, Method>>,
}

/// Best of Table 3 of Papoudakis et al. 2021 in mpe2's unit: for spread (x + 75)/2 − 5.4, for speaker-listener measured.
const PUBLISHED: [(&str, f64); 2] = [("simple_spread", -31.0), ("simple_speaker_listener", -13.3)];

/// How many starts the bound of speaker-listener is averaged over.
const STARTS: usize = 1_000;

/// Ends the name of a task with continuous actions.
const CONTINUOUS: &str = "-continuous";

/// The world of a task.
fn world(task: &str) -> Option<World> {
    let name = task.strip_suffix(CONTINUOUS);
    let scenario = Scenario::named(name.unwrap_or(task))?;
    Some(World { scenario, continuous: name.is_some(), ..World::default() })
}

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

/// Exploration that ends and steps that fade within so many environment steps.
fn fading(steps: u64) -> maddpg::Config {
    maddpg::Config {
        noise: Schedule::Linear { start: 0.3, end: 0.03, steps: steps * 5 / 12 },
        decay: Schedule::Linear { start: 1.0, end: 0.02, steps },
        ..maddpg()
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
        // Smaller batches more often; fading lets speaker and listener settle.
        "simple_speaker_listener-continuous" => maddpg::Config {
            gamma: 0.9,
            logit_penalty: 1e-4,
            batch: 256,
            warm_up: 10_000,
            ..fading(off_policy(1_200_000))
        },
        // The logits' penalty keeps the speaker's words random, and what says nothing is not listened to.
        "simple_speaker_listener" => {
            maddpg::Config { gamma: 0.9, logit_penalty: 1e-5, batch: 1024, update_every: 50, ..maddpg() }
        }
        _ => maddpg::Config { actors: Sharing::All, critics: Sharing::All, ..maddpg() },
    };
    if name.ends_with(CONTINUOUS) {
        let matd3 = maddpg::Config { twin: true, policy_delay: 2, target_noise: 0.2, ..maddpg.clone() };
        let ours = [("maddpg", maddpg), ("matd3", matd3)];
        let method = |(name, config): (&str, _)| {
            (name.to_owned(), Method::of(Recipe::Maddpg(config), 10, off_policy(1_200_000)))
        };
        return ours.map(method).into();
    }
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
        let names = ["simple_spread", "simple_speaker_listener", "simple_speaker_listener-continuous"];
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
            for (task, method) in methods.iter_mut().flat_map(|(t, m)| m.values_mut().map(move |m| (t, m))) {
                method.steps = if matches!(method.recipe, Recipe::Maddpg(_)) { 200_000 } else { 1_000_000 };
                if let (Recipe::Maddpg(c), true) = (&mut method.recipe, task.ends_with(CONTINUOUS)) {
                    let maddpg::Config { noise, decay, .. } = fading(method.steps);
                    (c.noise, c.decay) = (noise, decay);
                }
            }
        }
        Config { evaluations, episodes, tasks: Vec::new(), learners: Vec::new(), methods }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.episodes > 0, "episodes = 0: must be at least 1");
        for name in config.methods.keys() {
            anyhow::ensure!(world(name).is_some(), "methods.{name}: there is no such scenario");
        }
        for task in &config.tasks {
            anyhow::ensure!(config.methods.contains_key(task), "tasks: there is no {task} among the methods");
        }
        for name in &config.learners {
            let known = config.methods.values().any(|m| m.contains_key(name));
            anyhow::ensure!(known, "learners: there is no {name} among the methods");
        }
        config.methods.values().flat_map(BTreeMap::values).try_for_each(Method::validate)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let wanted = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        for (task, methods) in config.methods.iter().filter(|(task, _)| wanted(&config.tasks, task)) {
            let Some(world) = world(task) else { continue };
            let mut env = Particle::new(world)?;
            reference(ctx, (task, "random"), &mut env, config.episodes, random)?;
            reference(ctx, (task, "idle"), &mut env, config.episodes, idle)?;
            reference(ctx, (task, "planner"), &mut env, config.episodes, planned)?;
            if world.scenario == Scenario::SpeakerListener {
                best_possible(ctx, task, env)?;
            }
            for (name, method) in methods.iter().filter(|(name, _)| wanted(&config.learners, name)) {
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

/// The script's move, in either kind of action.
fn planned(env: &Particle, agent: AgentId, _: &mut StreamRng, vector: &mut [f32]) -> Choice {
    let action = script::scripted(env, agent);
    match env.layout().agents[agent.0].actions {
        ActionSpace::Discrete(_) => Choice::Discrete(action),
        ActionSpace::Continuous { .. } => {
            vector.iter_mut().enumerate().for_each(|(k, x)| *x = f32::from(u8::from(k == action)));
            Choice::Continuous
        }
    }
}

/// What no policy can beat.
fn best_possible(ctx: &mut Context, task: &str, mut env: Particle) -> Result<()> {
    let name = "optimal control";
    let mut rng = ctx.seeds(task, name).stream("marl/env", 0);
    let mean = ctx.session.once(&format!("{task}/{name}"), |_| -> Result<f64> {
        let mut total = 0.0;
        for _ in 0..STARTS {
            env.reset(&mut rng);
            total += bound::listener_bound(&env).unwrap_or_default();
        }
        Ok(total / STARTS as f64)
    })?;
    ctx.score(task, name, Role::Reference, super::SUM, 0, mean)
}
