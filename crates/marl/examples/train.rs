//! Trains a learner and prints its evaluations, with any setting:
//!
//! ```text
//! cargo run --release -p marl --example train -- LEARNER TASK [SEED [STEPS [CONFIG [COPIES]]]]
//! cargo run --release -p marl --example train -- maddpg simple_spread 0 1000000 '{"hidden": [128, 128], "update_every": 25}'
//! ```
//!
//! LEARNER is `maddpg`, `ppo`, `values` (IQL, VDN, QMIX), `maac` or `coma`; CONFIG the fields of its `Config` that are not as
//! by default. TASK is a particle scenario, with `:continuous` actions, or `:closed` where the environment's own messages are
//! blanked out; `point_arena`, or `foraging`.

// The output is what the example is for.
#![allow(clippy::print_stdout)]

use marl::env::particle::{Config as World, ParticleBatch, Scenario};
use marl::env::{Batch, Censored, Copies, Layout, foraging, point_arena};
use marl::trainer::{Learner, TrainConfig, Training};
use marl::{coma, maac, maddpg, ppo, value_decomposition};
use rl_core::SeedStream;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What the command line asks for.
struct Plan {
    learner: String,
    seed: u64,
    steps: u64,
    config: String,
}

impl Plan {
    fn run<E: Batch>(&self, env: E, test: E) -> Outcome {
        let seeds = SeedStream::new(self.seed);
        let learner = learner(&self.learner, &self.config, env.layout(), &seeds)?;
        let plan = TrainConfig { steps: self.steps, evaluations: 20, episodes: 400 };
        let mut training = Training::new(learner, env, test, plan, &seeds)?;
        Ok(training.run(|e, metrics| {
            println!("{:>9} steps: sum over agents {:8.3}   {metrics:.3?}", e.step, e.mean_sum());
        })?)
    }
}

fn learner(
    name: &str,
    config: &str,
    layout: &Layout,
    seeds: &SeedStream,
) -> Result<Box<dyn Learner>, Box<dyn std::error::Error>> {
    Ok(match name {
        "maddpg" => Box::new(maddpg::Maddpg::new(layout, serde_json::from_str(config)?, seeds)?),
        "ppo" => Box::new(ppo::Ppo::new(layout, serde_json::from_str(config)?, seeds)?),
        "values" => {
            let config = serde_json::from_str(config)?;
            Box::new(value_decomposition::ValueDecomposition::new(layout, config, seeds)?)
        }
        "maac" => Box::new(maac::Maac::new(layout, serde_json::from_str(config)?, seeds)?),
        "coma" => Box::new(coma::Coma::new(layout, serde_json::from_str(config)?, seeds)?),
        _ => return Err(format!("no learner {name}: maddpg, ppo, values, maac or coma").into()),
    })
}

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let word = |k: usize, default: &str| args.get(k).cloned().unwrap_or_else(|| default.to_owned());
    let (task, copies) = (word(1, "simple_spread"), word(5, "10").parse()?);
    let plan = Plan {
        learner: word(0, "maddpg"),
        seed: word(2, "0").parse()?,
        steps: word(3, "1000000").parse()?,
        config: word(4, "{}"),
    };
    let (name, variant) = task.split_once(':').unwrap_or((&task, ""));
    match name {
        "point_arena" => {
            let arena = point_arena::PointArena::new(point_arena::Config::default())?;
            plan.run(Copies::new(arena.clone(), copies), Copies::new(arena, 100))
        }
        "foraging" => {
            let grid = foraging::Foraging::new(foraging::Config::default())?;
            plan.run(Copies::new(grid.clone(), copies), Copies::new(grid, 100))
        }
        _ => {
            let scenario = Scenario::named(name).ok_or(format!("no scenario {name}"))?;
            let world = World { scenario, continuous: variant == "continuous", ..World::default() };
            let (env, test) = (ParticleBatch::new(world, copies)?, ParticleBatch::new(world, 100)?);
            match (variant, scenario.messages()) {
                ("closed", Some(columns)) => {
                    plan.run(Censored::new(env, columns.clone())?, Censored::new(test, columns)?)
                }
                ("closed", None) => Err(format!("{name} has no messages").into()),
                _ => plan.run(env, test),
            }
        }
    }
}
