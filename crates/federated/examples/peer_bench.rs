//! The Rust side of `benches/peers/federated`: reads the name of a piece of work per line, does it once, and answers with
//! the milliseconds it took. The first of a kind also prepares its data, outside of the clock.
//!
//! `peer_bench [SCALE]`: sizes are divided by `SCALE` (default 1), to try it out.
#![allow(clippy::print_stdout, clippy::print_stderr)]

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
use std::io::{BufRead, Write};
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

fn updates(n: usize, d: usize) -> Vec<Vec<f32>> {
    let mut rng = SeedStream::new(0).stream("bench", 0);
    (0..n).map(|_| (0..d).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
}

/// Milliseconds of `work`.
fn clock<T>(work: impl FnOnce() -> federated::Result<T>) -> Result<f64, Failure> {
    let start = Instant::now();
    black_box(work()?);
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

struct Bench {
    million: usize,
    all: Vec<Vec<f32>>,
}

impl Bench {
    /// The first `n` of a hundred updates, made when they are first needed.
    fn updates(&mut self, n: usize) -> Vec<&[f32]> {
        if self.all.len() < n {
            self.all = updates(n, self.million);
        }
        self.all[..n].iter().map(Vec::as_slice).collect()
    }

    fn work(&mut self, words: &[&str]) -> Result<f64, Failure> {
        match words {
            ["mean"] => {
                let (all, weights) = (self.updates(100), vec![10.0; 100]);
                clock(|| weighted_mean(black_box(&all), &weights))
            }
            ["trimmed"] => {
                let all = self.updates(20);
                clock(|| trimmed_mean(black_box(&all), 0.1))
            }
            ["krum"] => {
                let all = self.updates(20);
                clock(|| krum(black_box(&all), 2))
            }
            ["mask", neighbours, tenths] => {
                let (neighbours, tenths): (u8, usize) = (neighbours.parse()?, tenths.parse()?);
                let update = updates(1, self.million * tenths / 10).remove(0);
                let quantiser = Quantiser::new(QuantiserConfig::default())?;
                let masks: Vec<_> = (0..=neighbours).map(|i| (Secret::new([i; 32]), Sign::Plus)).collect();
                let mut rng = SeedStream::new(0).stream("bench", 1);
                clock(|| quantiser.encode(&update, 1, &mut rng).map(|mut y| apply(&mut y, &masks)))
            }
            ["split", t, n] => {
                let (t, n) = (t.parse()?, n.parse()?);
                let mut rng = SeedStream::new(0).stream("bench", 2);
                clock(|| {
                    let one = split::<Gf256>(&[7; 32], t, n, &mut rng)?;
                    Ok([one, split::<Gf256>(&[9; 32], t, n, &mut rng)?])
                })
            }
            ["combine", t, n] => {
                let (t, n): (usize, usize) = (t.parse()?, n.parse()?);
                let mut rng = SeedStream::new(0).stream("bench", 3);
                let shares = split::<Gf256>(&[7; 32], t, n, &mut rng)?.into_iter().take(t);
                let shares: Vec<_> = shares.enumerate().map(|(i, s)| (i + 1, s)).collect();
                clock(|| combine::<Gf256>(black_box(&shares)))
            }
            ["epsilon", accountant] => {
                let accountant = if *accountant == "rdp" { Accountant::Rdp } else { Accountant::Pld };
                let mechanism = Mechanism {
                    noise_multiplier: 1.0,
                    sampling_rate: 0.01,
                    steps: 1000,
                    sampling: Sampling::Poisson,
                };
                clock(|| epsilon(black_box(&mechanism), 1e-6, accountant))
            }
            _ => Err(format!("unknown work: {words:?}").into()),
        }
    }
}

fn main() -> Result<(), Failure> {
    let scale: usize = std::env::args().nth(1).map_or(Ok(1), |s| s.parse())?;
    let mut bench = Bench { million: (1_000_000 / scale.max(1)).max(100), all: vec![] };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        println!("{}", bench.work(&line.split_whitespace().collect::<Vec<_>>())?);
        std::io::stdout().flush()?;
    }
    Ok(())
}
