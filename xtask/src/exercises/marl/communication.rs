//! `marl-communication`: where one must tell the other. Speaker-listener and reference, with the environment's own channel
//! closed, so that all that is known is told through the learned one.
//!
//! Each kind of message is trained end to end, beside the same network without a channel; then the trained teams play once
//! more with the content of their messages taken away. If communication carries what matters, the first comparison gains
//! and the second loses.

use super::{Any, COPIES, Method, Recipe, SUM, random, reference, train};
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use marl::communication::{Ablation, Config as Channel, Kind, Topology};
use marl::env::particle::{Config as World, Particle, ParticleBatch, Scenario};
use marl::env::{Batch, BatchStep, Censored};
use marl::measures::{entropy, mutual_information};
use marl::ppo;
use marl::sharing::Sharing;
use marl::trainer::evaluate;
use rl_core::SeedStream;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::exercises) struct Communication;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Evaluations on the way, the last one at the end.
    evaluations: u64,
    /// Episodes of an evaluation.
    episodes: usize,
    /// Scenarios.
    tasks: Vec<String>,
    /// Which of the methods; all of them if none is named.
    learners: Vec<String>,
    /// By name; all but `silent` communicate.
    methods: BTreeMap<String, Method>,
}

impl Exercise for Communication {
    type Config = Config;

    const NAME: &'static str = "marl-communication";
    const DESCRIPTION: &'static str =
        "CommNet, gates, TarMAC and words on speaker-listener and reference; ablated messages";
    const DURATION: [&'static str; 3] = ["20 s", "10 min", "3 h"];

    fn config(preset: Preset) -> Config {
        let (steps, copies, evaluations, episodes) = match preset {
            Preset::Smoke => (1_000, 8, 1, 8),
            Preset::Quick => (600_000, 64, 6, 200),
            Preset::Full => (5_000_000, 64, 20, 500),
        };
        let method = |kind, topology| {
            let communication = Some(Channel { kind, topology, ..Channel::default() });
            let config = ppo::Config {
                sharing: Sharing::All,
                communication,
                rate: 1e-3,
                minibatches: 2,
                ..ppo::Config::default()
            };
            Method::of(Recipe::Ppo(config), copies, steps)
        };
        let all = [
            ("silent", method(Kind::Average, Topology::Silent)),
            ("commnet", method(Kind::Average, Topology::Broadcast)),
            ("gated", method(Kind::Gated, Topology::Broadcast)),
            ("tarmac", method(Kind::Attention { heads: 4 }, Topology::Broadcast)),
            ("words", method(Kind::Words { vocabulary: 8 }, Topology::Broadcast)),
            ("words-directed", method(Kind::Words { vocabulary: 8 }, Topology::Directed(vec![(0, 1)]))),
        ];
        let mut methods: BTreeMap<_, _> = all.map(|(name, method)| (name.to_owned(), method)).into();
        let mut tasks = vec!["simple_speaker_listener".to_owned(), "simple_reference".to_owned()];
        if preset == Preset::Quick {
            methods.retain(|name, _| ["silent", "commnet", "words"].contains(&&name[..]));
            tasks.truncate(2);
        }
        Config { evaluations, episodes, tasks, learners: Vec::new(), methods }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.episodes > 0, "episodes = 0: must be at least 1");
        for task in &config.tasks {
            anyhow::ensure!(
                Scenario::named(task).is_some_and(|s| s.messages().is_some()),
                "tasks: {task} has no messages; use simple_speaker_listener or simple_reference"
            );
        }
        for (name, method) in &config.methods {
            let talks = matches!(&method.recipe, Recipe::Ppo(c) if c.communication.is_some());
            anyhow::ensure!(talks, "methods.{name}: must be a ppo learner with communication");
        }
        for name in &config.learners {
            anyhow::ensure!(
                config.methods.contains_key(name),
                "learners: there is no {name} among the methods"
            );
        }
        config.methods.values().try_for_each(Method::validate)
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for task in &config.tasks {
            let Some(scenario) = Scenario::named(task) else { continue };
            let Some(columns) = scenario.messages() else { continue };
            let world = World { scenario, ..World::default() };
            reference(ctx, (task, "random"), &mut Particle::new(world)?, config.episodes, random)?;
            let closed = |copies| Censored::new(ParticleBatch::new(world, copies)?, columns.clone());
            let wanted = |name: &String| config.learners.is_empty() || config.learners.contains(name);
            for (name, method) in config.methods.iter().filter(|(name, _)| wanted(name)) {
                let plan = (config.evaluations, config.episodes);
                let (mut learner, last) = train(ctx, task, name, method, plan, closed)?;
                let role = if name == "silent" { Role::Reference } else { Role::Method };
                ctx.score(task, name, role, SUM, last.step, last.mean_sum())?;
                if let (Any::Ppo(learner), false) = (&mut learner, name == "silent") {
                    ablated(ctx, (task, name), learner, last.step, config, closed)?;
                }
            }
        }
        ctx.note(
            "The environment's own messages are blanked out. `zero` and `shuffled` are the trained team with the content of its \
             messages taken away: what is received is zero, or was meant for another copy. Listening is the divergence of \
             action probabilities with and without what was received (Lowe et al. 2019).",
        );
        Ok(())
    }
}

/// What becomes of a trained team without the content of its messages, and what its messages are.
fn ablated<E: Batch>(
    ctx: &mut Context,
    (task, name): (&str, &str),
    learner: &mut ppo::Ppo,
    step: u64,
    config: &Config,
    world: impl Fn(usize) -> marl::Result<E>,
) -> Result<()> {
    let seeds = SeedStream::new(ctx.seeds(task, name).derive("ablation", 0));
    for (label, ablation) in [("zero", Ablation::Zero), ("shuffled", Ablation::Shuffled)] {
        let mean = ctx.session.once(&format!("{task}/{name} {label}"), |_| -> Result<f64> {
            learner.ablate(Some(ablation));
            let returns = evaluate(learner, &mut world(COPIES)?, config.episodes.max(COPIES), &seeds)?;
            learner.ablate(None);
            Ok(returns.iter().flatten().sum::<f64>() / returns.len() as f64)
        })?;
        ctx.score(task, &format!("{name}, messages {label}"), Role::Ablation, SUM, step, mean)?;
    }
    let (listening, said, told) = ctx.session.once(&format!("{task}/{name} messages"), |_| -> Result<_> {
        let (mut listening, mut count) = (0.0, 0);
        let (mut words, mut goals) = (Vec::new(), Vec::new());
        for round in 0..4 {
            let mut env = world(COPIES)?;
            let mut now = BatchStep::new(env.layout(), COPIES);
            env.reset(&SeedStream::new(seeds.derive("messages", round)), &mut now)?;
            let Some(messages) = learner.messages(&now)? else { return Ok((0.0, 0.0, 0.0)) };
            for kl in messages.listening.iter().flatten() {
                (listening, count) = (listening + kl, count + 1);
            }
            if let Some(symbols) = messages.symbols.first() {
                words.extend_from_slice(symbols);
                let width = now.observations[0].len() / COPIES;
                goals.extend(now.observations[0].chunks(width).map(|row| goal(task, row)));
            }
        }
        let most = words.iter().max().map_or(1, |m| m + 1);
        let mean = listening / f64::from(count.max(1));
        match words.is_empty() {
            true => Ok((mean, 0.0, 0.0)),
            false => Ok((mean, entropy(&words, most), mutual_information(&words, &goals, most, 3))),
        }
    })?;
    let measure = |metric| Measure { metric, unit: "nats", higher_is_better: true };
    ctx.score(task, name, Role::Method, measure("positive listening"), step, listening)?;
    if name.starts_with("words") {
        ctx.score(task, name, Role::Method, measure("entropy of the first agent's words"), step, said)?;
        ctx.score(task, name, Role::Method, measure("information of words about the goal"), step, told)?;
    }
    Ok(())
}

/// The goal that the first agent knows, from its observation: its colour stands in three columns, one brighter.
fn goal(task: &str, row: &[f32]) -> usize {
    let colour = if task == "simple_reference" { &row[8..11] } else { &row[..3] };
    marl::gumbel::argmax(colour)
}
