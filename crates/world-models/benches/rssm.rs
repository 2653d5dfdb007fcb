//! One update of the default model on 16 × 15 steps, and one plan with it.

#![allow(missing_docs, clippy::unwrap_used)]

use candle_core::Device;
use criterion::{Criterion, criterion_group, criterion_main};
use rl_core::SeedStream;
use rl_core::env::make;
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use world_models::planning::{Planner, PlannerConfig};
use world_models::rssm::{Rollout, Rssm, RssmConfig, Windows};

fn model() -> Rssm {
    let env = make("PointControl", 0).unwrap();
    Rssm::new(&RssmConfig::default(), env.spec(), &Device::Cpu, SeedStream::new(1)).unwrap()
}

fn windows() -> Windows {
    let (steps, batch) = (15, 16);
    let rows = steps * batch;
    let numbers = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>();
    Windows {
        steps,
        batch,
        observations: numbers(rows * 4),
        actions: numbers(rows * 2),
        rewards: numbers(rows),
        terminated: vec![false; rows],
        first: (0..rows).map(|row| row < batch).collect(),
    }
}

fn rssm(c: &mut Criterion) {
    let (model, windows) = (model(), windows());
    let mut rng = SeedStream::new(1).stream("noise", 0);
    let adam = OptimizerConfig::adam(1e-3, 1e-8, Clip::GlobalNorm(1.0));
    let mut optimizer = Optimizer::new(adam, &model.modules()).unwrap();
    c.bench_function("update, 16 × 15 steps", |b| {
        b.iter(|| {
            let (value, gradients) = backward(&model.loss(&windows, &mut rng).unwrap().total).unwrap();
            optimizer.step(&gradients).unwrap();
            value
        });
    });
    let mut rollout = Rollout::new(&model).unwrap();
    rollout.sample = true;
    rollout.state = rollout.initial();
    let config = PlannerConfig { horizon: 8, candidates: 500, elites: 50, ..PlannerConfig::default() };
    let action = make("PointControl", 0).unwrap().spec().action.clone();
    let mut planner = Planner::new(config, &action).unwrap();
    c.bench_function("plan, 500 candidates × 8 steps × 5 iterations", |b| {
        b.iter(|| planner.plan(&rollout, &mut rng).unwrap());
    });
}

criterion_group!(benches, rssm);
criterion_main!(benches);
