//! Criterion benches of the hot kernels, in the sizes of `benches/peers/federated`.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use federated::privacy::{Accountant, Mechanism, Sampling, epsilon};
use federated::robust::{krum, trimmed_mean};
use federated::secure_aggregation::keys::Secret;
use federated::secure_aggregation::mask::{Sign, apply};
use federated::secure_aggregation::shamir::{Gf256, combine, split};
use federated::secure_aggregation::{Quantiser, QuantiserConfig};
use federated::strategy::weighted_mean;
use rand::RngExt;
use rl_core::seed::SeedStream;
use std::hint::black_box;

fn updates(n: usize, d: usize) -> Vec<Vec<f32>> {
    let mut rng = SeedStream::new(0).stream("bench", 0);
    (0..n).map(|_| (0..d).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
}

fn aggregation(c: &mut Criterion) {
    let all = updates(100, 1_000_000);
    let refs: Vec<&[f32]> = all.iter().map(Vec::as_slice).collect();
    let weights = vec![10.0; 100];
    c.bench_function("weighted mean 100 x 1M", |b| b.iter(|| weighted_mean(black_box(&refs), &weights)));
    c.bench_function("trimmed mean 20 x 1M", |b| b.iter(|| trimmed_mean(black_box(&refs[..20]), 0.1)));
    c.bench_function("krum 20 x 1M", |b| b.iter(|| krum(black_box(&refs[..20]), 2)));
}

fn secure(c: &mut Criterion) {
    let mut rng = SeedStream::new(0).stream("bench", 1);
    let quantiser = match Quantiser::new(QuantiserConfig::default()) {
        Ok(q) => q,
        Err(error) => return eprintln!("{error}"),
    };
    for d in [100_000, 1_000_000] {
        let update = &updates(1, d)[0];
        for neighbours in [10u8, 50] {
            let masks: Vec<_> = (0..=neighbours).map(|i| (Secret::new([i; 32]), Sign::Plus)).collect();
            c.bench_function(&format!("mask {d} for {neighbours} neighbours"), |b| {
                b.iter(|| quantiser.encode(update, 1, &mut rng).map(|mut y| apply(&mut y, &masks)))
            });
        }
    }
    for (n, t) in [(10, 6), (50, 30)] {
        c.bench_function(&format!("shamir split {t} of {n}, two secrets"), |b| {
            b.iter(|| [split::<Gf256>(&[7; 32], t, n, &mut rng), split::<Gf256>(&[9; 32], t, n, &mut rng)])
        });
        let shares: Vec<_> = split::<Gf256>(&[7; 32], t, n, &mut rng)
            .into_iter()
            .flatten()
            .take(t)
            .enumerate()
            .map(|(i, s)| (i + 1, s))
            .collect();
        c.bench_function(&format!("shamir combine {t} of {n}"), |b| {
            b.iter(|| combine::<Gf256>(black_box(&shares)))
        });
    }
}

fn accountants(c: &mut Criterion) {
    let mechanism =
        Mechanism { noise_multiplier: 1.0, sampling_rate: 0.01, steps: 1000, sampling: Sampling::Poisson };
    for accountant in [Accountant::Rdp, Accountant::Pld] {
        c.bench_function(&format!("epsilon by {accountant:?}"), |b| {
            b.iter(|| epsilon(black_box(&mechanism), 1e-6, accountant))
        });
    }
}

criterion_group!(benches, aggregation, secure, accountants);
criterion_main!(benches);
