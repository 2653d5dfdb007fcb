//! Steps per second of the environments, one JSON object per line; the Python counterpart is
//! `benches/peers/marl/environments.py`. A step of one copy counts 1, so a batched step of B copies counts B.

// The output is what the example is for.
#![allow(clippy::print_stdout)]

use marl::env::foraging::{self, Foraging};
use marl::env::particle::{Config, Particle, ParticleBatch, Scenario};
use marl::env::{Action, AgentId, Batch, BatchActions, BatchStep, Copies, MultiAgentEnv, Outcome};
use rand::RngExt;
use rl_core::SeedStream;
use std::time::Instant;

fn single(work: &str, mut env: impl MultiAgentEnv, seconds: f64) -> marl::Result<()> {
    let layout = env.layout().clone();
    let mut rng = SeedStream::new(0).stream("bench", 0);
    let mut outcome = Outcome::new(layout.n());
    let mut observations: Vec<Vec<f32>> = layout.agents.iter().map(|a| vec![0.0; a.observation]).collect();
    let mut actions = vec![None; layout.n()];
    env.reset(&mut rng);
    let (begin, mut steps) = (Instant::now(), 0u64);
    while begin.elapsed().as_secs_f64() < seconds {
        for _ in 0..1000 {
            for (action, spec) in actions.iter_mut().zip(&layout.agents) {
                *action = Some(Action::Discrete(rng.random_range(0..spec.actions.width())));
            }
            env.step(&actions, &mut rng, &mut outcome)?;
            observations.iter_mut().enumerate().for_each(|(i, o)| env.observe(AgentId(i), o));
            if !env.live().contains(&true) {
                env.reset(&mut rng);
            }
        }
        steps += 1000;
    }
    let rate = steps as f64 / begin.elapsed().as_secs_f64();
    println!("{{\"work\": \"{work}\", \"copies\": 1, \"steps_per_second\": {rate}}}");
    Ok(())
}

fn batched(work: &str, mut env: impl Batch, seconds: f64) -> marl::Result<()> {
    let (layout, copies) = (env.layout().clone(), env.copies());
    let mut step = BatchStep::new(&layout, copies);
    let mut actions = BatchActions::new(&layout, copies);
    let mut rng = SeedStream::new(0).stream("bench", 0);
    env.reset(&SeedStream::new(0), &mut step)?;
    let (begin, mut steps) = (Instant::now(), 0);
    while begin.elapsed().as_secs_f64() < seconds {
        for (row, spec) in actions.discrete.iter_mut().zip(&layout.agents) {
            let n = spec.actions.width() as u32;
            row.iter_mut().for_each(|a| *a = rng.random_range(0..n));
        }
        env.step(&actions, &mut step)?;
        steps += copies;
    }
    let rate = steps as f64 / begin.elapsed().as_secs_f64();
    println!("{{\"work\": \"{work}\", \"copies\": {copies}, \"steps_per_second\": {rate}}}");
    Ok(())
}

fn main() -> marl::Result<()> {
    let seconds = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(2.0);
    for name in ["simple_spread", "simple_tag"] {
        let config = Config { scenario: Scenario::named(name).unwrap_or_default(), ..Config::default() };
        single(name, Particle::new(config)?, seconds)?;
        batched(name, ParticleBatch::new(config, 1024)?, seconds)?;
    }
    let env = Foraging::new(foraging::Config::named("Foraging-8x8-2p-2f-coop-v3")?)?;
    single("Foraging-8x8-2p-2f-coop-v3", env.clone(), seconds)?;
    batched("Foraging-8x8-2p-2f-coop-v3", Copies::new(env, 1024), seconds)
}
