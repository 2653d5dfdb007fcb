//! Parents in a dynamic Bayesian network, by a score.
//!
//! Friedman, Murphy & Russell, *Learning the structure of dynamic probabilistic networks* (UAI 1998): where causes lie one
//! step before their effects there is no cycle to avoid, so every variable gets the set of earlier variables with the
//! best local score, alone. That asks *which set explains the most*, not *which input still tells something when all
//! others are known*: a sensor that repeats a cause with noise leaves the cause without information of its own, but never
//! explains more than the cause does.
//!
//! The score is Schwarz's criterion (1978) of a regression with Gaussian noise of one variance,
//!
//! score(P) = −n/2 ln σ̂²(P) − λ m(P) ln n,
//!
//! on m columns: a natural cubic spline of every parent (Hastie, Tibshirani & Friedman, *The elements of statistical learning*,
//! section 5.2.1) and the product of every two parents. Relations of higher order and noise whose variance moves are not seen.

use crate::data::{Table, dot, mean, variance};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of [`score_parents`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreParentsConfig {
    /// Knots of every spline, at evenly spread quantiles: 2 are a straight line.
    pub knots: usize,
    /// Whether products of two parents are columns too.
    pub products: bool,
    /// λ: 0.5 is the criterion itself, larger values give fewer parents.
    pub lambda: f64,
}

impl Default for ScoreParentsConfig {
    fn default() -> Self {
        Self { knots: 16, products: true, lambda: 0.5 }
    }
}

impl ScoreParentsConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        if !(2..=50).contains(&self.knots) {
            return Err(Error::config("score_parents", "knots", self.knots, "from 2 to 50"));
        }
        if !(self.lambda > 0.0 && self.lambda.is_finite()) {
            return Err(Error::config("score_parents", "lambda", self.lambda, "positive"));
        }
        Ok(())
    }
}

/// What [`score_parents`] finds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoredParents {
    /// The inputs of the best set found, ascending.
    pub parents: Vec<usize>,
    /// For every input, score(with it) − score(without it) beside the other parents: positive for parents, negative for
    /// all others; nats.
    pub margins: Vec<f64>,
}

/// The set of inputs with the best score for `target`, one value per row, by adding one or two inputs, dropping one or
/// exchanging one until nothing improves; two at once, for a product may say what neither does alone. Sets with more columns than a quarter of the rows are not considered.
///
/// # Errors
/// [`Error::Config`]; [`Error::Shape`] for a target of another length; [`Error::Data`] for missing values, fewer than
/// 20 rows or a constant target. Constant inputs and columns that repeat others explain nothing and cost nothing.
pub fn score_parents(inputs: &Table, target: &[f64], config: &ScoreParentsConfig) -> Result<ScoredParents> {
    config.validate()?;
    let n = inputs.rows();
    if target.len() != n {
        return Err(Error::shape("score_parents", format!("{n} values of the target"), target.len()));
    }
    if n < 20 {
        return Err(Error::data("data", format!("{n} rows; at least 20 are needed")));
    }
    if inputs.has_missing() || target.iter().any(|v| v.is_nan()) {
        return Err(Error::data("data", "there are missing values; remove or impute them"));
    }
    let Some(target) = standardized(target) else {
        return Err(Error::data("target", "is constant; a constant has no causes"));
    };
    let regressions = Regressions::new(inputs, &target, config);
    let mut parents = Vec::new();
    let mut best = regressions.score(&parents);
    while let Some((score, better)) = regressions.improvement(&parents, best) {
        (best, parents) = (score, better);
    }
    let margins = (0..inputs.len())
        .map(|i| {
            let other = regressions.score(&toggled(&parents, i));
            if parents.contains(&i) { best - other } else { other - best }
        })
        .collect();
    Ok(ScoredParents { parents, margins })
}

/// The set with `i` if it was without, and without if it was with, ascending.
fn toggled(set: &[usize], i: usize) -> Vec<usize> {
    let mut other: Vec<usize> = set.iter().copied().filter(|&j| j != i).collect();
    if other.len() == set.len() {
        other.insert(other.partition_point(|&j| j < i), i);
    }
    other
}

/// Second moments of all columns and the target, and which columns belong to what.
struct Regressions {
    rows: f64,
    penalty: f64,
    /// Columns of the spline of each input.
    splines: Vec<std::ops::Range<usize>>,
    /// The first of the columns of products, ordered as pairs (0, 1), (0, 2), (1, 2), (0, 3) …, if there are any.
    products: Option<usize>,
    /// Correlations of the columns, row-major `[width, width]`.
    gram: Vec<f64>,
    /// Correlations with the target.
    cross: Vec<f64>,
}

impl Regressions {
    fn new(inputs: &Table, target: &[f64], config: &ScoreParentsConfig) -> Self {
        let n = inputs.rows() as f64;
        let (mut columns, mut splines) = (Vec::new(), Vec::new());
        let scaled: Vec<Option<Vec<f64>>> = inputs.columns().iter().map(|c| standardized(c)).collect();
        for input in &scaled {
            let first = columns.len();
            columns.extend(input.as_ref().map(|x| spline(x, config.knots)).unwrap_or_default());
            splines.push(first..columns.len());
        }
        let products = config.products.then_some(columns.len());
        if config.products {
            for (j, second) in scaled.iter().enumerate() {
                for first in &scaled[..j] {
                    let both = first.iter().zip(second).next();
                    let product = both.map(|(x, y)| x.iter().zip(y).map(|(a, b)| a * b).collect::<Vec<_>>());
                    // A column of zeros is skipped by every regression.
                    let column = product.and_then(|p| standardized(&p));
                    columns.push(column.unwrap_or_else(|| vec![0.0; inputs.rows()]));
                }
            }
        }
        let gram = columns.iter().flat_map(|a| columns.iter().map(|b| dot(a, b) / n)).collect();
        let cross = columns.iter().map(|a| dot(a, target) / n).collect();
        Self { rows: n, penalty: config.lambda * n.ln(), splines, products, gram, cross }
    }

    /// The columns that a set of inputs, ascending, may use.
    fn columns(&self, set: &[usize]) -> Vec<usize> {
        let mut all: Vec<usize> = set.iter().flat_map(|&i| self.splines[i].clone()).collect();
        if let Some(first) = self.products {
            for (k, &j) in set.iter().enumerate() {
                all.extend(set[..k].iter().map(|&i| first + j * (j - 1) / 2 + i));
            }
        }
        all
    }

    /// −n/2 ln σ̂² − λ m ln n, σ̂² as a share of the target's variance, by a Cholesky factor that leaves out what repeats.
    fn score(&self, set: &[usize]) -> f64 {
        let columns = self.columns(set);
        if columns.len() as f64 > self.rows / 4.0 {
            return f64::NEG_INFINITY;
        }
        let width = self.cross.len();
        // Per column that is used: its index, its row of the factor, and the target's entry.
        let mut factor: Vec<(usize, Vec<f64>)> = Vec::with_capacity(columns.len());
        let (mut explained, mut rest) = (Vec::with_capacity(columns.len()), 1.0);
        for c in columns {
            let mut row = Vec::with_capacity(factor.len() + 1);
            for (other, line) in &factor {
                let known: f64 = row.iter().zip(line).map(|(a, b): (&f64, &f64)| a * b).sum();
                row.push((self.gram[c * width + other] - known) / line[line.len() - 1]);
            }
            let pivot = self.gram[c * width + c] - row.iter().map(|a| a * a).sum::<f64>();
            if pivot < 1e-8 {
                continue;
            }
            let known: f64 = row.iter().zip(&explained).map(|(a, b): (&f64, &f64)| a * b).sum();
            let entry = (self.cross[c] - known) / pivot.sqrt();
            row.push(pivot.sqrt());
            factor.push((c, row));
            explained.push(entry);
            rest -= entry * entry;
        }
        // A relation without any noise is as good as one of 10⁻¹² of the variance.
        -0.5 * self.rows * rest.max(1e-12).ln() - self.penalty * factor.len() as f64
    }

    /// The best set a step away, if it is better.
    fn improvement(&self, set: &[usize], score: f64) -> Option<(f64, Vec<usize>)> {
        let inputs = self.splines.len();
        let single = (0..inputs).map(|i| toggled(set, i));
        let absent = |i: &usize| !set.contains(i);
        let exchanged =
            set.iter().flat_map(|&i| (0..inputs).filter(absent).map(move |j| toggled(&toggled(set, i), j)));
        let pairs = (0..inputs)
            .filter(absent)
            .flat_map(|j| (0..j).filter(absent).map(move |i| toggled(&toggled(set, i), j)));
        let mut best: Option<(f64, Vec<usize>)> = None;
        for other in single.chain(exchanged).chain(pairs) {
            let value = self.score(&other);
            // Rounding must not keep the search going.
            if value > best.as_ref().map_or(score + 1e-9 * score.abs().max(1.0), |b| b.0) {
                best = Some((value, other));
            }
        }
        best
    }
}

/// Mean 0 and variance 1; `None` for a constant.
fn standardized(values: &[f64]) -> Option<Vec<f64>> {
    let centre = mean(values);
    let deviation = variance(values, centre).sqrt();
    let positive = deviation > 1e-12 * centre.abs().max(f64::MIN_POSITIVE);
    positive.then(|| values.iter().map(|v| (v - centre) / deviation).collect())
}

/// A natural cubic spline as columns that are uncorrelated and of variance 1, x itself the first:
/// d_k(x) − d_{K−1}(x) with d_k(x) = ((x − ξ_k)³₊ − (x − ξ_K)³₊)/(ξ_K − ξ_k). Equal quantiles make one knot.
fn spline(x: &[f64], knots: usize) -> Vec<Vec<f64>> {
    let mut sorted = x.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len() - 1;
    let mut places: Vec<f64> = (0..knots).map(|k| sorted[k * last / (knots - 1)]).collect();
    places.dedup();
    let mut columns = vec![x.to_vec()];
    let Some((&end, &[.., before])) = places.split_last() else { return columns };
    let cube = |v: f64| v.max(0.0).powi(3);
    let d = |v: f64, knot: f64| (cube(v - knot) - cube(v - end)) / (end - knot);
    for &knot in &places[..places.len() - 2] {
        let raw: Vec<f64> = x.iter().map(|&v| d(v, knot) - d(v, before)).collect();
        let Some(mut column) = standardized(&raw) else { continue };
        // Twice is enough for columns as alike as these.
        for _ in 0..2 {
            for other in &columns {
                let shared = dot(&column, other) / x.len() as f64;
                column.iter_mut().zip(other).for_each(|(c, o)| *c -= shared * o);
            }
        }
        if variance(&column, mean(&column)) > 1e-12 {
            columns.extend(standardized(&column));
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{DMatrix, DVector};
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};

    /// y = sin(2a) + bc + noise; a′ repeats a with noise, d has nothing to do with it.
    fn example(rows: usize, seed: u64) -> (Table, Vec<f64>) {
        let mut rng = rl_core::SeedStream::new(seed).stream("rows", 0);
        let (mut columns, mut y) = (vec![Vec::new(); 5], Vec::new());
        for _ in 0..rows {
            let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
            let (a, b, c, d) = (normal(), normal(), normal(), normal());
            let (copy, noise) = (a + 0.1 * normal(), normal());
            [a, b, c, copy, d].into_iter().zip(&mut columns).for_each(|(v, column)| column.push(v));
            y.push((2.0 * a).sin() + b * c + 0.2 * noise);
        }
        (Table::from_columns(columns).unwrap(), y)
    }

    #[test]
    fn curves_and_products_are_seen_and_a_copy_of_a_cause_is_not_taken_for_it() {
        for seed in 0..5 {
            let (inputs, y) = example(1000, seed);
            let found = score_parents(&inputs, &y, &ScoreParentsConfig::default()).unwrap();
            assert_eq!(found.parents, [0, 1, 2], "{found:?}");
            let positive: Vec<bool> = found.margins.iter().map(|m| *m > 0.0).collect();
            assert_eq!(positive, [true, true, true, false, false]);
        }
        let straight = ScoreParentsConfig { knots: 2, products: false, ..ScoreParentsConfig::default() };
        let (inputs, y) = example(1000, 1);
        assert_ne!(score_parents(&inputs, &y, &straight).unwrap().parents, [0, 1, 2]);
    }

    #[test]
    fn a_cause_that_its_copy_hides_is_kept() {
        // I(w′; w | copy) is 0.002 nats here, yet w explains more than the copy does.
        let mut rng = rl_core::SeedStream::new(7).stream("rows", 0);
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let (mut w, mut copy, mut next) = (vec![], vec![], vec![]);
        for _ in 0..8000 {
            let value = normal();
            w.push(value);
            copy.push(value + 0.1 * normal());
            next.push(0.5 * value + 0.8 * normal());
        }
        let inputs = Table::from_columns(vec![copy, w]).unwrap();
        assert_eq!(score_parents(&inputs, &next, &ScoreParentsConfig::default()).unwrap().parents, [1]);
    }

    #[test]
    fn the_score_is_that_of_least_squares() {
        let (inputs, y) = example(60, 3);
        let config = ScoreParentsConfig { knots: 4, ..ScoreParentsConfig::default() };
        let target = standardized(&y).unwrap();
        let set = [0, 2, 4];
        let score = Regressions::new(&inputs, &target, &config).score(&set);
        let scaled: Vec<Vec<f64>> =
            set.iter().map(|&i| standardized(&inputs.columns()[i]).unwrap()).collect();
        let mut columns: Vec<Vec<f64>> = scaled.iter().flat_map(|x| spline(x, 4)).collect();
        assert_eq!(columns.len(), 9);
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            columns.push(scaled[a].iter().zip(&scaled[b]).map(|(x, y)| x * y).collect());
        }
        columns.push(vec![1.0; 60]);
        let x = DMatrix::from_fn(60, 13, |i, j| columns[j][i]);
        let target = DVector::from_vec(target);
        let fit = x.clone().svd(true, true).solve(&target, 1e-12).unwrap();
        let left = (target - x * fit).norm_squared() / 60.0;
        let want = -30.0 * left.ln() - 0.5 * 60f64.ln() * 12.0;
        assert!((score - want).abs() < 1e-6, "{score} {want}");
    }

    #[test]
    fn constants_and_repeated_columns_explain_nothing_and_bad_input_is_refused() {
        let mut rng = rl_core::SeedStream::new(1).stream("rows", 0);
        let coin: Vec<f64> = (0..100).map(|_| f64::from(u8::from(rng.random::<bool>()))).collect();
        let y: Vec<f64> = coin.iter().map(|v| 2.0 * v + rng.random_range(-0.1..0.1)).collect();
        let inputs = Table::from_columns(vec![vec![3.0; 100], coin.clone(), coin.clone()]).unwrap();
        let found = score_parents(&inputs, &y, &ScoreParentsConfig::default()).unwrap();
        assert_eq!(found.parents, [1]);
        let config = ScoreParentsConfig::default();
        assert!(score_parents(&inputs, &[1.0; 100], &config).is_err());
        assert!(score_parents(&inputs, &y[1..], &config).is_err());
        assert!(score_parents(&inputs, &y, &ScoreParentsConfig { knots: 1, ..config.clone() }).is_err());
        assert!(score_parents(&inputs, &y, &ScoreParentsConfig { lambda: 0.0, ..config }).is_err());
    }
}
