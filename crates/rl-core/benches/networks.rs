//! A perceptron forward and backward, and the optimiser's fused step.

#![allow(missing_docs, clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use rl_core::nn::{Mlp, MlpConfig};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{Result, SeedStream};
use std::hint::black_box;

const ROWS: usize = 240;

fn perceptron() -> Result<(Mlp, Tensor)> {
    let mut rng = SeedStream::new(1).stream("init", 0);
    let mlp = Mlp::new(&MlpConfig::relu(120, &[512, 256], 4), &Device::Cpu, &mut rng)?;
    let numbers: Vec<f32> = (0..ROWS * 120).map(|i| (i as f32 * 0.37).sin()).collect();
    Ok((mlp, Tensor::from_vec(numbers, (ROWS, 120), &Device::Cpu)?))
}

fn networks(c: &mut Criterion) {
    let (mlp, x) = perceptron().unwrap();
    c.bench_function("mlp 120-512-256-4 forward, 240 rows", |b| {
        b.iter(|| mlp.forward(black_box(&x)).unwrap())
    });
    let loss = || mlp.forward(&x).unwrap().sqr().unwrap().mean_all().unwrap();
    c.bench_function("mlp 120-512-256-4 forward and backward, 240 rows", |b| {
        b.iter(|| backward(&loss()).unwrap());
    });
    let (_, gradients) = backward(&loss()).unwrap();
    let adam = OptimizerConfig::adam(1e-3, 1e-8, Clip::GlobalNorm(1.0));
    let mut optimizer = Optimizer::new(adam, &[mlp.params()]).unwrap();
    c.bench_function("adam step with clipping, 194,308 parameters", |b| {
        b.iter(|| optimizer.step(black_box(&gradients)).unwrap());
    });
}

criterion_group!(benches, networks);
criterion_main!(benches);
