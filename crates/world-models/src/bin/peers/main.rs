//! The pieces of work that `benches/peers/world-models` times here and in PyTorch, as one JSON object each.
//!
//! `peers train THREADS ROUNDS`: 54 updates on batches of 16 × 15 random steps, the loss read back after each.
//! `peers plan THREADS ROUNDS`: one plan, 500 candidates × 8 steps × 5 iterations with sampled imagination.
//! `peers ensemble THREADS ROUNDS`: 200 updates of PETS' ensemble, five members of 2 × 64 on 64 random transitions each.
//! `peers dreamer|tdmpc|i2a THREADS ROUNDS`: a few updates of these agents on random data, see `agents.rs`.
//! A first round warms up and is not reported. Training always runs on one thread.

#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

mod agents;

use candle_core::Device;
use rand::RngExt;
use rl_core::env::{Action, make};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{SeedStream, StreamRng};
use std::time::Instant;
use world_models::pets::{Ensemble, EnsembleConfig, Minibatch};
use world_models::planning::{Cem, Method, Planner, PlannerConfig};
use world_models::rssm::{Rollout, Rssm, RssmConfig, Windows};

const BATCHES: usize = 54;
const BATCH: usize = 16;
const STEPS: usize = 15;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, threads, rounds] = &arguments[..] else {
        return Err("usage: peers train|plan|ensemble|dreamer|tdmpc|i2a THREADS ROUNDS".into());
    };
    let (threads, rounds) = (threads.parse()?, rounds.parse()?);
    let seeds = SeedStream::new(1);
    let (parameters, milliseconds) = match work.as_str() {
        "train" | "plan" => state_space(work, threads, rounds, seeds)?,
        "ensemble" => ensemble(rounds, seeds)?,
        "dreamer" => agents::dreamer(rounds, seeds)?,
        "tdmpc" => agents::tdmpc(rounds, seeds)?,
        "i2a" => agents::i2a(rounds, seeds)?,
        other => return Err(format!("no work called `{other}`").into()),
    };
    println!(
        r#"{{"work": "{work}", "threads": {threads}, "parameters": {parameters}, "ms": {milliseconds:?}}}"#
    );
    Ok(())
}

fn state_space(work: &str, threads: usize, rounds: usize, seeds: SeedStream) -> Outcome<(usize, Vec<f64>)> {
    // The continuation head gets no loss, as in the peer.
    let config = RssmConfig { open_loop: 0.0, continuation_scale: 0.0, ..RssmConfig::default() };
    let env = make("PointControl", 0)?;
    let model = Rssm::new(&config, env.spec(), &Device::Cpu, seeds)?;
    let milliseconds = match work {
        "train" => train(&model, rounds, seeds)?,
        _ => plan(&model, threads, rounds, seeds)?,
    };
    Ok((model.parameters(), milliseconds))
}

/// Milliseconds of every round but the first.
fn time(rounds: usize, mut work: impl FnMut() -> Outcome<()>) -> Outcome<Vec<f64>> {
    work()?;
    (0..rounds)
        .map(|_| {
            let start = Instant::now();
            work()?;
            Ok(start.elapsed().as_secs_f64() * 1e3)
        })
        .collect()
}

fn windows(rng: &mut StreamRng) -> Windows {
    let rows = BATCH * STEPS;
    let mut uniform = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
    Windows {
        steps: STEPS,
        batch: BATCH,
        observations: uniform(rows * 4),
        actions: uniform(rows * 2),
        rewards: uniform(rows),
        terminated: vec![false; rows],
        first: (0..rows).map(|row| row < BATCH).collect(),
    }
}

fn train(model: &Rssm, rounds: usize, seeds: SeedStream) -> Outcome<Vec<f64>> {
    let adam = OptimizerConfig::adam(1e-3, 1e-8, Clip::GlobalNorm(1.0));
    let mut optimizer = Optimizer::new(adam, &model.modules())?;
    let (mut data, mut noise) = (seeds.stream("data", 0), seeds.stream("noise", 0));
    let batches: Vec<Windows> = (0..BATCHES).map(|_| windows(&mut data)).collect();
    time(rounds, || {
        for batch in &batches {
            let losses = model.loss(batch, &mut noise)?;
            let (value, gradients) = backward(&losses.total)?;
            optimizer.step(&gradients)?;
            std::hint::black_box(value);
        }
        Ok(())
    })
}

/// Observations of 3, actions of 1, as on Pendulum-v1.
fn ensemble(rounds: usize, seeds: SeedStream) -> Outcome<(usize, Vec<f64>)> {
    const ROWS: usize = 64;
    // The likelihood of PETS, as in the peer.
    let config = EnsembleConfig { beta: 0.0, ..EnsembleConfig::default() };
    let model = Ensemble::new(&config, 4, 4, &Device::Cpu, &mut seeds.stream("init", 0))?;
    let mut optimizer = Optimizer::new(OptimizerConfig::adam(1e-3, 1e-8, Clip::None), &[model.params()])?;
    let mut rng = seeds.stream("data", 0);
    let rows = config.members * ROWS;
    let mut uniform = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
    let mut batch = || Minibatch {
        rows: ROWS,
        inputs: uniform(rows * 4),
        targets: uniform(rows * 4),
        terminated: vec![0.0; rows],
    };
    let batches: Vec<Minibatch<f32>> = (0..200).map(|_| batch()).collect();
    let milliseconds = time(rounds, || {
        for batch in &batches {
            let (value, gradients) = backward(&model.loss(batch)?)?;
            optimizer.step(&gradients)?;
            std::hint::black_box(value);
        }
        Ok(())
    })?;
    Ok((model.params().len(), milliseconds))
}

fn plan(model: &Rssm, threads: usize, rounds: usize, seeds: SeedStream) -> Outcome<Vec<f64>> {
    let mut rollout = Rollout::new(model)?;
    rollout.sample = true;
    rollout.state = rollout.filter(&rollout.initial(), None::<Action>, &[0.3, -0.2, 0.5, 0.1]);
    let cem = Cem { momentum: 0.0, initial_std: 1.0, min_std: 1e-6, keep_elites: false };
    let config = PlannerConfig {
        horizon: 8,
        candidates: 500,
        elites: 50,
        iterations: 5,
        warm_start: false,
        block: 250,
        threads,
        method: Method::Cem(cem),
        ..PlannerConfig::default()
    };
    let env = make("PointControl", 0)?;
    let mut planner = Planner::new(config, &env.spec().action)?;
    let mut rng = seeds.stream("plan", 0);
    time(rounds, || {
        std::hint::black_box(planner.plan(&rollout, &mut rng)?);
        Ok(())
    })
}
