//! Grover search over actions (Grover 1996; Boyer, Brassard, Høyer & Tapp 1998; Dürr & Høyer 1996), simulated.
//!
//! The simulation needs the oracle's answer for every action, so it saves no classical work: what is counted, and what a
//! quantum computer would save, are oracle queries.

use crate::error::{Error, Result};
use rand::{Rng, RngExt};

/// P(success) after 0, 1, …, `iterations` iterations on N items of which `marked` are good: sin²((2k+1)θ), sin²θ = M/N.
/// Computed from amplitudes, which each iteration flips and reflects about their mean.
///
/// # Errors
/// When an item is outside 0..N or marked twice.
pub fn success_by_iteration(items: usize, marked: &[usize], iterations: usize) -> Result<Vec<f64>> {
    let good = marks(items, marked)?;
    let mut amplitudes = vec![(items as f64).sqrt().recip(); items];
    let success = |a: &[f64]| a.iter().zip(&good).filter(|(_, g)| **g).map(|(a, _)| a * a).sum::<f64>();
    let mut out = vec![success(&amplitudes)];
    for _ in 0..iterations {
        iterate(&mut amplitudes, &good);
        out.push(success(&amplitudes));
    }
    Ok(out)
}

fn marks(items: usize, marked: &[usize]) -> Result<Vec<bool>> {
    if items == 0 || items > 1 << 24 {
        return Err(Error::shape("Grover", "1 to 2^24 items", items));
    }
    let mut good = vec![false; items];
    for &k in marked {
        match good.get_mut(k) {
            Some(mark) if !*mark => *mark = true,
            _ => {
                return Err(Error::Index {
                    operation: "Grover: distinct marked items",
                    index: k,
                    count: items,
                });
            }
        }
    }
    Ok(good)
}

fn iterate(amplitudes: &mut [f64], good: &[bool]) {
    amplitudes.iter_mut().zip(good).filter(|(_, g)| **g).for_each(|(a, _)| *a = -*a);
    let mean = amplitudes.iter().sum::<f64>() / amplitudes.len() as f64;
    amplitudes.iter_mut().for_each(|a| *a = 2.0 * mean - *a);
}

/// ⌊π/(4θ)⌋, θ = arcsin √(M/N): more iterations lower the success again. 0 when nothing is marked.
pub fn optimal_iterations(items: usize, marked: usize) -> usize {
    if marked == 0 || marked > items {
        return 0;
    }
    let theta = (marked as f64 / items as f64).sqrt().asin();
    // θ = π/(4k) exactly must not fall below k by rounding.
    (std::f64::consts::PI / (4.0 * theta) + 1e-12).floor() as usize
}

/// What a search found and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The item, or `None` when the queries ran out.
    pub item: Option<usize>,
    /// Oracle queries, in iterations and in checking the measured items.
    pub queries: usize,
}

/// Searches for a good item without knowing how many there are (BBHT): k uniform in [0, m), m grows by 6/5 up to √N.
/// Gives up after 9√N + 10 queries, which is expected only when nothing is marked.
///
/// # Errors
/// When there are no items or more than 2²⁴.
pub fn search(items: usize, oracle: impl Fn(usize) -> bool, rng: &mut impl Rng) -> Result<Found> {
    let marked: Vec<usize> = (0..items.min(1 << 24)).filter(|&k| oracle(k)).collect();
    let good = marks(items, &marked)?;
    let root = (items as f64).sqrt();
    let budget = (9.0 * root) as usize + 10;
    let (mut m, mut queries) = (1.0f64, 0);
    while queries < budget {
        let iterations = (rng.random::<f64>() * m) as usize;
        let mut amplitudes = vec![root.recip(); items];
        (0..iterations).for_each(|_| iterate(&mut amplitudes, &good));
        let item = measure(&amplitudes, rng);
        queries += iterations + 1;
        if good[item] {
            return Ok(Found { item: Some(item), queries });
        }
        m = (m * 1.2).min(root);
    }
    Ok(Found { item: None, queries })
}

/// The item of the largest value (Dürr & Høyer): repeated searches for something better than the best so far.
///
/// # Errors
/// When there are no values or more than 2²⁴.
pub fn search_maximum(values: &[f64], rng: &mut impl Rng) -> Result<Found> {
    if values.is_empty() {
        return Err(Error::shape("maximum", "at least one value", 0));
    }
    let (mut best, mut queries) = (rng.random_range(0..values.len()), 1);
    loop {
        let found = search(values.len(), |k| values[k] > values[best], rng)?;
        queries += found.queries;
        match found.item {
            Some(item) => best = item,
            None => return Ok(Found { item: Some(best), queries }),
        }
    }
}

fn measure(amplitudes: &[f64], rng: &mut impl Rng) -> usize {
    let mut u = rng.random::<f64>() * amplitudes.iter().map(|a| a * a).sum::<f64>();
    for (k, a) in amplitudes.iter().enumerate() {
        u -= a * a;
        if u < 0.0 {
            return k;
        }
    }
    amplitudes.len() - 1
}
