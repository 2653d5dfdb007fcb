//! Our side of `cargo xtask bench-peers marl`: `peers WORK ROUNDS [SCALE]` prints `{work, ms, parameters}` with the
//! milliseconds of every round but a first one that warms up. SCALE divides the amount of work, to try the script.
//!
//! Works: `spread`, `tag`, `foraging` (25,000 steps of one copy), the same with `-batch` (1,024,000 steps in 1,024 copies),
//! `maddpg` (20 joint updates), `mappo` (one update), `maddpg-training` and `arena-training` (1,000 environment steps),
//! `mappo-training` (one rollout and its update). Sizes stand in benches/peers/marl/README.md.

// The output is what the example is for.
#![allow(clippy::print_stdout)]

use marl::env::foraging::{self, Foraging};
use marl::env::particle::{Config as World, Particle, ParticleBatch, Scenario};
use marl::env::point_arena::{self, PointArena};
use marl::env::{Action, AgentId, Batch, BatchActions, BatchStep, Copies, MultiAgentEnv, Outcome};
use marl::trainer::{Learner, Mode, TrainConfig, Training};
use marl::{maddpg, ppo};
use rand::RngExt;
use rl_core::experiment::Metrics;
use rl_core::schedule::Schedule;
use rl_core::{SeedStream, StreamRng};
use std::time::Instant;

type Work = Box<dyn FnMut() -> marl::Result<()>>;

/// Steps of one copy with random actions; every agent's observation is written.
fn single(mut env: impl MultiAgentEnv + 'static, steps: usize) -> Work {
    let layout = env.layout().clone();
    let mut rng = SeedStream::new(0).stream("bench", 0);
    let mut outcome = Outcome::new(layout.n());
    let mut observations: Vec<Vec<f32>> = layout.agents.iter().map(|a| vec![0.0; a.observation]).collect();
    env.reset(&mut rng);
    Box::new(move || {
        for _ in 0..steps {
            let mut actions = [None; 8];
            for (action, spec) in actions.iter_mut().zip(&layout.agents) {
                *action = Some(Action::Discrete(rng.random_range(0..spec.actions.width())));
            }
            env.step(&actions[..layout.n()], &mut rng, &mut outcome)?;
            observations.iter_mut().enumerate().for_each(|(i, o)| env.observe(AgentId(i), o));
            if !env.live().contains(&true) {
                env.reset(&mut rng);
            }
        }
        Ok(())
    })
}

/// The same in a batch; `steps` counts all copies.
fn batched(mut env: impl Batch + 'static, steps: usize) -> marl::Result<Work> {
    let (layout, copies) = (env.layout().clone(), env.copies());
    let mut step = BatchStep::new(&layout, copies);
    let mut actions = BatchActions::new(&layout, copies);
    let mut rng = SeedStream::new(0).stream("bench", 0);
    env.reset(&SeedStream::new(0), &mut step)?;
    Ok(Box::new(move || {
        for _ in 0..steps.div_ceil(copies) {
            fill(&mut actions, &layout, &mut rng);
            env.step(&actions, &mut step)?;
        }
        Ok(())
    }))
}

fn fill(actions: &mut BatchActions, layout: &marl::env::Layout, rng: &mut StreamRng) {
    for (row, spec) in actions.discrete.iter_mut().zip(&layout.agents) {
        let n = spec.actions.width() as u32;
        row.iter_mut().for_each(|a| *a = rng.random_range(0..n));
    }
}

fn particle(name: &str) -> World {
    World { scenario: Scenario::named(name).unwrap_or_default(), ..World::default() }
}

/// Three agents of observation 6 and action 2 in PointArena, attention critics, networks of 256-256, batch 64.
fn attention_maddpg() -> maddpg::Config {
    maddpg::Config {
        hidden: vec![256, 256],
        actor_rate: 1e-3,
        critic_rate: 1e-3,
        clip: 1.0,
        gamma: 0.99,
        batch: 64,
        capacity: 100_000,
        warm_up: 64,
        update_every: 1,
        logit_penalty: 0.0,
        noise: Schedule::Constant(0.1),
        critic: maddpg::CriticKind::Attention { width: 64, heads: 1 },
        ..maddpg::Config::default()
    }
}

/// One call of `learn` per update: a transition is stored, a batch drawn, all critics and actors make a step.
fn maddpg_updates(updates: usize) -> marl::Result<Work> {
    let seeds = SeedStream::new(0);
    let mut env = Copies::new(PointArena::new(point_arena::Config::default())?, 1);
    let mut learner = maddpg::Maddpg::new(env.layout(), attention_maddpg(), &seeds)?;
    let (mut before, mut after) = (BatchStep::new(env.layout(), 1), BatchStep::new(env.layout(), 1));
    let mut actions = BatchActions::new(env.layout(), 1);
    let mut rng = seeds.stream("bench", 0);
    env.reset(&seeds, &mut after)?;
    let mut step = move || {
        learner.act(&after, Mode::Explore, &mut rng, &mut actions)?;
        std::mem::swap(&mut before, &mut after);
        env.step(&actions, &mut after)?;
        learner.learn(&before, &after, &mut rng)
    };
    (0..500).try_for_each(|_| step())?;
    Ok(Box::new(move || (0..updates).try_for_each(|_| step())))
}

/// Whole training of MADDPG by the original's protocol in spread, continuous actions, one copy: acting, the world, storing,
/// a joint update on 1,024 transitions every hundred steps; attention critics.
fn maddpg_training(steps: usize) -> marl::Result<Work> {
    let config = maddpg::Config {
        critic: maddpg::CriticKind::Attention { width: 64, heads: 1 },
        warm_up: 1_024,
        noise: Schedule::Constant(0.1),
        capacity: 100_000,
        logit_penalty: 0.0,
        ..maddpg::Config::default()
    };
    let world = World { continuous: true, ..particle("simple_spread") };
    let env = ParticleBatch::new(world, 1)?;
    training(maddpg::Maddpg::new(env.layout(), config, &SeedStream::new(0))?, env, steps, 1_100)
}

/// The same in PointArena with the settings of the exercise `marl-cooperative`: small steps, batch 256, a joint update every
/// twenty steps.
fn arena_training(steps: usize) -> marl::Result<Work> {
    let config = maddpg::Config {
        actor_rate: 1e-3,
        critic_rate: 1e-3,
        batch: 256,
        update_every: 20,
        warm_up: 256,
        capacity: 100_000,
        noise: Schedule::Constant(0.1),
        logit_penalty: 0.0,
        critic: maddpg::CriticKind::Attention { width: 64, heads: 1 },
        ..maddpg::Config::default()
    };
    let env = Copies::new(PointArena::new(point_arena::Config::default())?, 1);
    training(maddpg::Maddpg::new(env.layout(), config, &SeedStream::new(0))?, env, steps, 300)
}

/// Whole training of MAPPO in `copies` copies of spread: one rollout of 25 steps and its update.
fn mappo_training(copies: usize) -> marl::Result<Work> {
    let config = ppo::Config { sharing: marl::sharing::Sharing::All, ..ppo::Config::default() };
    let env = ParticleBatch::new(particle("simple_spread"), copies)?;
    training(ppo::Ppo::new(env.layout(), config, &SeedStream::new(0))?, env, 25 * copies, 0)
}

/// So many environment steps of training per round, after some to begin with.
fn training<L: Learner + 'static, E: Batch + Clone + 'static>(
    learner: L,
    env: E,
    steps: usize,
    first: usize,
) -> marl::Result<Work> {
    let plan = TrainConfig { steps: u64::MAX / 2, evaluations: 1, episodes: 1 };
    let copies = env.copies();
    let mut training = Training::new(learner, env.clone(), env, plan, &SeedStream::new(0))?;
    let mut metrics = Metrics::in_memory();
    let mut run =
        move |steps: usize| (0..steps.div_ceil(copies)).try_for_each(|_| training.step_all(&mut metrics));
    run(first)?;
    Ok(Box::new(move || run(steps)))
}

/// 128 copies, 25 steps, three agents with common networks: ten passes over 9,600 rows. Only the update is timed, which is
/// why the time comes back.
fn mappo_update(copies: usize) -> marl::Result<impl FnMut() -> marl::Result<f64>> {
    let seeds = SeedStream::new(0);
    let mut env = ParticleBatch::new(particle("simple_spread"), copies)?;
    let config = ppo::Config { sharing: marl::sharing::Sharing::All, ..ppo::Config::default() };
    let mut learner = ppo::Ppo::new(env.layout(), config, &seeds)?;
    let (mut before, mut after) =
        (BatchStep::new(env.layout(), copies), BatchStep::new(env.layout(), copies));
    let mut actions = BatchActions::new(env.layout(), copies);
    let mut rng = seeds.stream("bench", 0);
    env.reset(&seeds, &mut after)?;
    Ok(move || {
        let mut last = 0.0;
        for _ in 0..25 {
            learner.act(&after, Mode::Explore, &mut rng, &mut actions)?;
            std::mem::swap(&mut before, &mut after);
            env.step(&actions, &mut after)?;
            let begin = Instant::now();
            learner.learn(&before, &after, &mut rng)?;
            last = begin.elapsed().as_secs_f64() * 1e3;
        }
        Ok(last)
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let work = args.next().ok_or("usage: peers WORK ROUNDS [SCALE]")?;
    let rounds: usize = args.next().ok_or("usage: peers WORK ROUNDS [SCALE]")?.parse()?;
    let scale: usize = args.next().map_or(Ok(1), |s| s.parse())?;
    let (few, many) = (25_000 / scale, 1_024_000 / scale);
    let grid = || Foraging::new(foraging::Config::default());
    let mut milliseconds = Vec::new();
    if work == "mappo" {
        let mut update = mappo_update((128 / scale).max(1))?;
        (0..=rounds).try_for_each(|_| update().map(|ms| milliseconds.push(ms)))?;
    } else {
        let mut run = match &work[..] {
            "spread" => single(Particle::new(particle("simple_spread"))?, few),
            "tag" => single(Particle::new(particle("simple_tag"))?, few),
            "foraging" => single(grid()?, few),
            "spread-batch" => batched(ParticleBatch::new(particle("simple_spread"), 1024)?, many)?,
            "tag-batch" => batched(ParticleBatch::new(particle("simple_tag"), 1024)?, many)?,
            "foraging-batch" => batched(Copies::new(grid()?, 1024), many)?,
            "maddpg" => maddpg_updates((20 / scale).max(1))?,
            "maddpg-training" => maddpg_training((1_000 / scale).max(100))?,
            "arena-training" => arena_training((1_000 / scale).max(100))?,
            "mappo-training" => mappo_training(10)?,
            _ => return Err(format!("no work {work}").into()),
        };
        for _ in 0..=rounds {
            let begin = Instant::now();
            run()?;
            milliseconds.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    let ms = &milliseconds[1..];
    println!("{}", serde_json::json!({ "work": work, "ms": ms }));
    Ok(())
}
