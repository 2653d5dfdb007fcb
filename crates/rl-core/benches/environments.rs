//! Copies of an environment that advance together.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rl_core::env::{Actions, Autoreset, BatchEnv, CartPole, Episode, VectorEnv};
use rl_core::numpy_rng::NumpyRng;

fn vector(c: &mut Criterion) {
    let mut group = c.benchmark_group("cart pole, one step of all copies");
    for copies in [1usize, 64, 1024] {
        let envs = (0..copies).map(|_| Episode::<_, NumpyRng>::new(CartPole, 0)).collect();
        let mut env = VectorEnv::new(envs, Autoreset::SameStep).unwrap();
        env.reset(Some(7)).unwrap();
        let actions: Vec<usize> = (0..copies).map(|i| i % 2).collect();
        group.throughput(Throughput::Elements(copies as u64));
        group.bench_with_input(BenchmarkId::from_parameter(copies), &actions, |b, actions| {
            b.iter(|| env.step(Actions::Discrete(actions)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, vector);
criterion_main!(benches);
