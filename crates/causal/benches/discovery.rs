//! Criterion benches of the hot kernels: independence tests, skeletons, greedy search.
#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a bench stops when its own data are unusable; criterion's macros carry no docs"
)]

use causal::data::Table;
use causal::discovery::{GaussianBic, GesConfig, Knowledge, PcConfig, ges, pc};
use causal::independence::{Contingency, Discrepancy, FisherZ, IndependenceTest};
use causal::scm::{Noise, Scm};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::RngExt;
use std::hint::black_box;

/// A sparse linear model of expected degree 3 and 1000 rows of it.
fn sparse_table(p: usize) -> Table {
    let mut rng = rl_core::SeedStream::new(7).stream("bench", p as u64);
    let mut weights = Vec::new();
    for a in 0..p {
        for b in a + 1..p {
            if rng.random::<f64>() < 3.0 / (p - 1) as f64 {
                weights.push((a, b, rng.random_range(0.3..0.9) * if rng.random() { 1.0 } else { -1.0 }));
            }
        }
    }
    let names = causal::graph::default_names(p);
    let noises = vec![Noise::Normal { sd: 1.0 }; p];
    let scm = Scm::linear(names, &weights, &vec![0.0; p], noises).expect("a valid model");
    scm.sample(1000, &mut rng).expect("a valid model")
}

/// The same rows cut into three categories per column.
fn categories(p: usize) -> causal::data::Categories {
    let table = sparse_table(p).standardized();
    let cut = |v: &f64| f64::from(u8::from(*v > -0.4) + u8::from(*v > 0.4));
    let columns = table.columns().iter().map(|c| c.iter().map(cut).collect()).collect();
    Table::from_columns(columns).and_then(|t| t.to_categories()).expect("three categories")
}

fn tests(c: &mut Criterion) {
    let table = sparse_table(30);
    let fisher = FisherZ::new(&table).expect("usable data");
    let mut scratch = fisher.scratch();
    c.bench_function("fisher-z, 3 given, last one changes", |b| {
        let mut last = 5;
        b.iter(|| {
            last = if last == 29 { 5 } else { last + 1 };
            black_box(fisher.independent(0, 1, &[2, 3, last], 0.05, &mut scratch).expect("usable data"))
        });
    });
    let g = Contingency::new(categories(10), Discrepancy::GSquare).expect("usable data");
    let mut scratch = g.scratch();
    c.bench_function("g-square, 1000 rows, 2 given", |b| {
        let mut last = 3;
        b.iter(|| {
            last = if last == 9 { 3 } else { last + 1 };
            black_box(g.independent(0, 1, &[2, last], 0.05, &mut scratch).expect("usable data"))
        });
    });
}

fn searches(c: &mut Criterion) {
    let mut group = c.benchmark_group("search");
    group.sample_size(10);
    for p in [30, 100, 300, 1000] {
        let table = sparse_table(p);
        let fisher = FisherZ::new(&table).expect("usable data");
        group.bench_with_input(BenchmarkId::new("pc", p), &p, |b, _| {
            b.iter(|| {
                pc(&fisher, table.names(), &PcConfig::default(), &Knowledge::none()).expect("usable data")
            });
        });
        if p <= 100 {
            let score = GaussianBic::new(&table, 0.5).expect("usable data");
            group.bench_with_input(BenchmarkId::new("ges", p), &p, |b, _| {
                b.iter(|| ges(&score, table.names(), &GesConfig::default()).expect("usable data"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, tests, searches);
criterion_main!(benches);
