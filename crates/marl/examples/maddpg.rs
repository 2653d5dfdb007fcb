//! Trains MADDPG on a particle world and prints the evaluations:
//! `cargo run --release -p marl --example maddpg -- simple_spread [seed] [steps] [key=value]...`

// The output is what the example is for.
#![allow(clippy::print_stdout)]

use marl::env::particle::{Config as World, ParticleBatch, Scenario};
use marl::maddpg::{Config, Maddpg, Relaxation};
use marl::trainer::{TrainConfig, train};
use rl_core::SeedStream;
use rl_core::schedule::Schedule;
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "simple_spread".into());
    let scenario = Scenario::named(&name).ok_or(format!("no scenario {name}"))?;
    let seed: u64 = args.next().map_or(Ok(0), |s| s.parse())?;
    let steps: u64 = args.next().map_or(Ok(1_000_000), |s| s.parse())?;
    let (mut config, mut copies) = (Config { noise: Schedule::Constant(0.1), ..Config::default() }, 10);
    for pair in args {
        let (key, value) = pair.split_once('=').ok_or(format!("{pair} is not key=value"))?;
        match key {
            "copies" => copies = value.parse()?,
            "rate" => (config.actor_rate, config.critic_rate) = (value.parse()?, value.parse()?),
            "actor_rate" => config.actor_rate = value.parse()?,
            "critic_rate" => config.critic_rate = value.parse()?,
            "tau" => config.tau = value.parse()?,
            "clip" => config.clip = value.parse()?,
            "gamma" => config.gamma = value.parse()?,
            "batch" => config.batch = value.parse()?,
            "every" => config.update_every = value.parse()?,
            "hidden" => config.hidden = vec![value.parse()?; 2],
            "penalty" => config.logit_penalty = value.parse()?,
            "soft" => config.relaxation = Relaxation::Soft,
            "twin" => config.twin = true,
            "delay" => config.policy_delay = value.parse()?,
            "share" => {
                (config.actors, config.critics) = (marl::sharing::Sharing::All, marl::sharing::Sharing::All)
            }
            _ => return Err(format!("unknown key {key}").into()),
        }
    }
    let world = World { scenario, ..World::default() };
    let (mut env, mut test) = (ParticleBatch::new(world, copies)?, ParticleBatch::new(world, 100)?);
    let seeds = SeedStream::new(seed);
    let mut learner = Maddpg::new(marl::env::Batch::layout(&env), config, &seeds)?;
    let plan = TrainConfig { steps, evaluations: 20, episodes: 200 };
    train(&mut learner, &mut env, &mut test, plan, &seeds, |e, metrics| {
        println!("{:>9} steps: sum over agents {:8.2}   {metrics:.3?}", e.step, e.mean_sum());
        ControlFlow::Continue(())
    })?;
    Ok(())
}
