//! Trains MADDPG and prints the evaluations, with any setting:
//! `cargo run --release -p marl --example maddpg -- simple_spread 0 1000000 '{"hidden": [128, 128], "update_every": 25}' [copies]`.
//! A task is a particle scenario (`:continuous` behind it for continuous actions) or `point_arena`.

// The output is what the example is for.
#![allow(clippy::print_stdout)]

use marl::env::particle::{Config as World, ParticleBatch, Scenario};
use marl::env::{Batch, Copies, point_arena};
use marl::maddpg::{Config, Maddpg};
use marl::trainer::{TrainConfig, Training};
use rl_core::SeedStream;

fn run<E: Batch>(env: E, test: E, config: Config, steps: u64, seed: u64) -> marl::Result<()> {
    let seeds = SeedStream::new(seed);
    let learner = Maddpg::new(env.layout(), config, &seeds)?;
    let plan = TrainConfig { steps, evaluations: 20, episodes: 200 };
    Training::new(learner, env, test, plan, &seeds)?.run(|e, metrics| {
        println!("{:>9} steps: sum over agents {:8.2}   {metrics:.3?}", e.step, e.mean_sum());
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "simple_spread".into());
    let seed: u64 = args.next().map_or(Ok(0), |s| s.parse())?;
    let steps: u64 = args.next().map_or(Ok(1_000_000), |s| s.parse())?;
    let config: Config = serde_json::from_str(&args.next().unwrap_or_else(|| "{}".into()))?;
    let copies: usize = args.next().map_or(Ok(10), |s| s.parse())?;
    if name == "point_arena" {
        let arena = point_arena::PointArena::new(point_arena::Config::default())?;
        return Ok(run(Copies::new(arena.clone(), copies), Copies::new(arena, 100), config, steps, seed)?);
    }
    let (scenario, actions) = name.split_once(':').unwrap_or((&name, "discrete"));
    let scenario = Scenario::named(scenario).ok_or(format!("no scenario {scenario}"))?;
    let world = World { scenario, continuous: actions == "continuous", ..World::default() };
    Ok(run(ParticleBatch::new(world, copies)?, ParticleBatch::new(world, 100)?, config, steps, seed)?)
}
