//! Hot kernels: one step of the environments, single and batched, and an iteration of CFR+ on Leduc poker.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use marl::env::particle::{Config, Particle, ParticleBatch, Scenario};
use marl::env::{Action, Batch, BatchActions, BatchStep, MultiAgentEnv, Outcome};
use marl::games::{cfr::Cfr, extensive::GameTree, poker::Leduc};
use rl_core::SeedStream;

fn environments(c: &mut Criterion) {
    for name in ["simple_spread", "simple_tag", "simple_world_comm"] {
        let config = Config { scenario: Scenario::named(name).unwrap(), ..Config::default() };
        let mut env = Particle::new(config).unwrap();
        let mut rng = SeedStream::new(0).stream("bench", 0);
        let actions = vec![Some(Action::Discrete(1)); env.layout().n()];
        let mut outcome = Outcome::new(actions.len());
        c.bench_function(&format!("{name}/single"), |b| {
            b.iter(|| {
                if !env.live()[0] {
                    env.reset(&mut rng);
                }
                env.step(&actions, &mut rng, &mut outcome).unwrap();
            });
        });
        let mut batch = ParticleBatch::new(config, 1024).unwrap();
        let mut step = BatchStep::new(batch.layout(), 1024);
        let actions = BatchActions::new(batch.layout(), 1024);
        batch.reset(&SeedStream::new(0), &mut step).unwrap();
        let mut group = c.benchmark_group("batched");
        group.throughput(Throughput::Elements(1024));
        group.bench_function(name, |b| b.iter(|| batch.step(&actions, &mut step).unwrap()));
        group.finish();
    }
}

fn games(c: &mut Criterion) {
    let tree = GameTree::build(&Leduc).unwrap();
    let mut cfr = Cfr::new(&tree, true);
    c.bench_function("leduc/cfr_plus_iteration", |b| b.iter(|| cfr.iterate()));
}

criterion_group!(benches, environments, games);
criterion_main!(benches);
