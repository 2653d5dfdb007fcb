//! Sections on running statistics, prioritised replay and NumPy's generator.

use super::{Checker, TOLERANCE, keyed, numbers, text};
use crate::buffer::{SumTree, importance_weights};
use crate::conformance::get;
use crate::env::uniform;
use crate::normalize::{self, PercentileScale, RunningMeanStd, percentile_of_sorted};
use crate::numpy_rng::{NumpyRng, seed_sequence};
use rand::Rng;
use serde_json::Value;

pub(super) fn running_mean_std(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let mut statistics = RunningMeanStd::new(1);
    for batch in get::<Vec<Vec<f64>>>(section, "batches")? {
        statistics.update(&batch).map_err(text)?;
    }
    checker.close("mean", statistics.mean()[0], get(section, "mean")?, TOLERANCE);
    checker.close("var", statistics.variance()[0], get(section, "var")?, TOLERANCE);
    checker.exact("count", statistics.count(), get(section, "count")?);
    Ok(())
}

pub(super) fn percentile_scale(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let mut scale = PercentileScale::default();
    let batches: Vec<Vec<f64>> = get(section, "batches")?;
    let trace: Vec<Value> = get(section, "trace")?;
    checker.exact("batches with a trace", trace.len(), batches.len());
    for (mut batch, want) in batches.into_iter().zip(&trace) {
        let got = scale.update(&batch).map_err(text)?;
        batch.sort_unstable_by(f64::total_cmp);
        checker.close("p5", percentile_of_sorted(&batch, 5.0), get(want, "p5")?, TOLERANCE);
        checker.close("p95", percentile_of_sorted(&batch, 95.0), get(want, "p95")?, TOLERANCE);
        checker.close("lo", scale.low(), get(want, "lo")?, TOLERANCE);
        checker.close("hi", scale.high(), get(want, "hi")?, TOLERANCE);
        checker.close("scale", got, get(want, "scale")?, TOLERANCE);
    }
    Ok(())
}

pub(super) fn ema(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let (mut target, source) = (numbers(section, "dst")?, numbers(section, "src")?);
    let tau = get(section, "tau")?;
    for _ in 0..3 {
        normalize::ema(&mut target, &source, tau).map_err(text)?;
    }
    checker.close_slice("after3", &target, &numbers(section, "after3")?, TOLERANCE);
    Ok(())
}

pub(super) fn prioritized(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let priorities = numbers(section, "priorities")?;
    let (alpha, beta): (f64, f64) = (get(section, "alpha")?, get(section, "beta")?);
    let tree = tree_of(priorities.iter().map(|p| p.powf(alpha)))?;
    let probs: Vec<f64> = tree.weights().iter().map(|w| w / tree.total()).collect();
    checker.close_slice("probs", &probs, &numbers(section, "probs")?, TOLERANCE);
    let plain: Vec<f64> = importance_weights(&probs, probs.len(), beta, Some(1.0)).collect();
    checker.close_slice("weights_unnorm", &plain, &numbers(section, "weights_unnorm")?, TOLERANCE);
    let of_batch: Vec<f64> = importance_weights(&probs, probs.len(), beta, None).collect();
    let smallest = tree.min_positive() / tree.total();
    let reference = (probs.len() as f64 * smallest).powf(-beta);
    let of_buffer: Vec<f64> = importance_weights(&probs, probs.len(), beta, Some(reference)).collect();
    for got in [of_batch, of_buffer] {
        checker.close_slice("weights_norm_max", &got, &numbers(section, "weights_norm_max")?, TOLERANCE);
    }
    let tree = tree_of(numbers(section, "sumtree_leaf")?)?;
    for (mass, leaf) in keyed::<usize>(section, "prefix_queries")? {
        checker.exact(&format!("prefix query {mass}"), tree.prefix(mass), Some(leaf));
    }
    Ok(())
}

fn tree_of(weights: impl IntoIterator<Item = f64>) -> Result<SumTree, String> {
    let weights: Vec<f64> = weights.into_iter().collect();
    let mut tree = SumTree::new(weights.len());
    for (leaf, &weight) in weights.iter().enumerate() {
        tree.set(leaf, weight).map_err(text)?;
    }
    Ok(tree)
}

/// The seed is in the section's name.
pub(super) fn numpy_generator(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    const SEED: u64 = 42;
    let words: Vec<u64> = get(section, "seedseq_generate_state_u64_4")?;
    checker.exact("seed sequence", seed_sequence(SEED).to_vec(), words);
    let (state, increment) = NumpyRng::new(SEED).state();
    checker.exact("state", state.to_string(), get(section, "pcg_state")?);
    checker.exact("increment", increment.to_string(), get(section, "pcg_inc")?);
    let words: Vec<u64> = get(section, "first_u64")?;
    let mut rng = NumpyRng::new(SEED);
    checker.exact("words", words.iter().map(|_| rng.next_u64()).collect(), words);
    for (key, low, high) in [("first_uniform01", 0.0, 1.0), ("uniform_m005_005", -0.05, 0.05)] {
        let want = numbers(section, key)?;
        let mut rng = NumpyRng::new(SEED);
        checker.exact(key, want.iter().map(|_| uniform(&mut rng, low, high)).collect(), want);
    }
    Ok(())
}
