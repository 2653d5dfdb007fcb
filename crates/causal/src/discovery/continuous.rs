//! Score-based discovery by continuous optimisation: NOTEARS and DAGMA for linear models.
//!
//! Zheng, Aragam, Ravikumar & Xing, *DAGs with NO TEARS* (NeurIPS 2018); Bello, Aragam & Ravikumar, *DAGMA* (NeurIPS
//! 2022). Both minimise a least squares loss with an L1 penalty over weight matrices W (`W[i][j]`: i → j) under a
//! smooth measure of cyclicity, and threshold the result.
//!
//! Caution: the loss compares residual variances across variables, so on raw data these methods follow the order of
//! the variances ("varsortability", Reisach, Seiler & Weichwald 2021), which is an accident of units. Report
//! standardised data beside raw data; constraint- and likelihood-based methods do not care.

use super::owlqn::{Objective, minimise};
use crate::data::{Table, covariance};
use crate::error::{Error, Result};
use crate::graph::Dag;
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

/// What [`notears`] and [`dagma`] find.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedDag {
    /// `weights[from][to]`; 0 for no edge.
    pub weights: Vec<Vec<f64>>,
    /// The edges with non-zero weight.
    pub dag: Dag,
    /// The cyclicity h(W) before the threshold.
    pub cyclicity: f64,
}

/// Settings of [`notears`]; the defaults are those of the authors' code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotearsConfig {
    /// λ of λ ‖W‖₁. 0.1.
    pub lambda: f64,
    /// Cyclicity at which the search ends. 10⁻⁸.
    pub tolerance: f64,
    /// Largest penalty parameter ρ. 10¹⁶.
    pub largest_penalty: f64,
    /// Smallest |weight| that is kept. 0.3.
    pub threshold: f64,
    /// Divide every column by its standard deviation first. On: see the caution above.
    pub standardize: bool,
}

impl Default for NotearsConfig {
    fn default() -> Self {
        Self { lambda: 0.1, tolerance: 1e-8, largest_penalty: 1e16, threshold: 0.3, standardize: true }
    }
}

/// Settings of [`dagma`]; the defaults are those of the authors' code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DagmaConfig {
    /// λ of λ ‖W‖₁. 0.03.
    pub lambda: f64,
    /// The scales s of ln det(s I − W∘W), one per stage. 1, 0.9, 0.8, 0.7, 0.6.
    pub scales: Vec<f64>,
    /// The factor of μ from stage to stage, starting at 1. 0.1.
    pub decay: f64,
    /// Adam's learning rate. 3·10⁻⁴.
    pub learning_rate: f64,
    /// Steps of all stages but the last. 3·10⁴.
    pub warm_steps: usize,
    /// Steps of the last stage. 6·10⁴.
    pub last_steps: usize,
    /// A stage ends early when the objective changes by less than this share in 1000 steps. 10⁻⁶.
    pub tolerance: f64,
    /// Smallest |weight| that is kept. 0.3.
    pub threshold: f64,
    /// Divide every column by its standard deviation first. On: see the caution above.
    pub standardize: bool,
}

impl Default for DagmaConfig {
    fn default() -> Self {
        Self {
            lambda: 0.03,
            scales: vec![1.0, 0.9, 0.8, 0.7, 0.6],
            decay: 0.1,
            learning_rate: 3e-4,
            warm_steps: 30_000,
            last_steps: 60_000,
            tolerance: 1e-6,
            threshold: 0.3,
            standardize: true,
        }
    }
}

fn positive(config: &'static str, field: &'static str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(Error::config(config, field, value, "positive"))
    }
}

fn moments(table: &Table, standardize: bool) -> Result<DMatrix<f64>> {
    if table.has_missing() {
        return Err(Error::data("data", "there are missing values; remove or impute them"));
    }
    table.check_for_discovery(3)?;
    let p = table.len();
    let entries =
        if standardize { covariance(table.standardized().columns()) } else { covariance(table.columns()) };
    Ok(DMatrix::from_row_slice(p, p, &entries))
}

/// Keeps |weight| ≥ threshold; raises the threshold as long as a cycle is left.
fn finish(table: &Table, weights: &DMatrix<f64>, threshold: f64, cyclicity: f64) -> Result<WeightedDag> {
    let p = table.len();
    let mut ranked: Vec<(f64, usize, usize)> = Vec::new();
    for i in 0..p {
        for j in (0..p).filter(|&j| j != i && weights[(i, j)].abs() >= threshold) {
            ranked.push((weights[(i, j)].abs(), i, j));
        }
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    // Inserting by weight and skipping what closes a cycle drops the weakest edge of every cycle.
    let mut dag = Dag::new(table.names().to_vec(), &[])?;
    let mut kept = vec![vec![0.0; p]; p];
    for (_, i, j) in ranked {
        if dag.add_edge(i, j).is_ok() {
            kept[i][j] = weights[(i, j)];
        }
    }
    Ok(WeightedDag { weights: kept, dag, cyclicity })
}

/// NOTEARS: min ½/n ‖X − XW‖² + λ ‖W‖₁ subject to h(W) = tr e^{W∘W} − p = 0, by an augmented Lagrangian whose inner
/// problems are solved with OWL-QN (the authors split W into positive and negative parts for L-BFGS-B instead; the
/// problem is the same).
///
/// # Errors
/// [`Error::Config`]; [`Error::Data`] for missing values, constant columns or too few rows.
pub fn notears(table: &Table, config: &NotearsConfig) -> Result<WeightedDag> {
    positive("notears", "lambda", config.lambda)?;
    positive("notears", "tolerance", config.tolerance)?;
    positive("notears", "threshold", config.threshold)?;
    let covariance = moments(table, config.standardize)?;
    let p = table.len();
    let mut weights = vec![0.0; p * p];
    let (mut rho, mut alpha, mut h) = (1.0, 0.0, f64::INFINITY);
    for _ in 0..100 {
        let new = loop {
            let objective = AugmentedLagrangian { covariance: &covariance, rho, alpha };
            let solution = minimise(&objective, weights.clone(), config.lambda, 500);
            let new_h = exponential_cyclicity(&square(p, &solution)).0;
            if new_h <= 0.25 * h || rho >= config.largest_penalty {
                break (solution, new_h);
            }
            rho *= 10.0;
        };
        (weights, h) = new;
        alpha += rho * h;
        if h <= config.tolerance || rho >= config.largest_penalty {
            break;
        }
    }
    finish(table, &square(p, &weights), config.threshold, h)
}

/// Row-major entries as a matrix.
fn square(p: usize, entries: &[f64]) -> DMatrix<f64> {
    DMatrix::from_row_slice(p, p, entries)
}

/// h = tr e^{W∘W} − p and its gradient (e^{W∘W})ᵀ ∘ 2W.
fn exponential_cyclicity(weights: &DMatrix<f64>) -> (f64, DMatrix<f64>) {
    let exponential = weights.component_mul(weights).exp();
    let h = exponential.trace() - weights.nrows() as f64;
    (h, exponential.transpose().component_mul(weights) * 2.0)
}

/// ½ tr((I − W)ᵀ Σ (I − W)) and its gradient −Σ (I − W).
fn least_squares(covariance: &DMatrix<f64>, weights: &DMatrix<f64>) -> (f64, DMatrix<f64>) {
    let residual = DMatrix::identity(weights.nrows(), weights.nrows()) - weights;
    let product = covariance * &residual;
    (0.5 * residual.dot(&product), -product)
}

struct AugmentedLagrangian<'a> {
    covariance: &'a DMatrix<f64>,
    rho: f64,
    alpha: f64,
}

impl Objective for AugmentedLagrangian<'_> {
    fn value(&self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let p = self.covariance.nrows();
        let weights = square(p, point);
        let (loss, loss_gradient) = least_squares(self.covariance, &weights);
        let (h, h_gradient) = exponential_cyclicity(&weights);
        for i in 0..p {
            for j in 0..p {
                let along = loss_gradient[(i, j)] + (self.rho * h + self.alpha) * h_gradient[(i, j)];
                gradient[i * p + j] = if i == j { 0.0 } else { along };
            }
        }
        loss + 0.5 * self.rho * h * h + self.alpha * h
    }
}

/// DAGMA: min μ (½/n ‖X − XW‖² + λ ‖W‖₁) + h_s(W), h_s(W) = −ln det(s I − W∘W) + p ln s, along a path of falling μ, by
/// Adam(0.99, 0.999) steps that are shortened when they leave the domain where s I − W∘W is an M-matrix.
///
/// # Errors
/// [`Error::Config`]; [`Error::Data`] for missing values, constant columns or too few rows;
/// [`Error::NotConverged`] when no step stays in the domain.
pub fn dagma(table: &Table, config: &DagmaConfig) -> Result<WeightedDag> {
    positive("dagma", "lambda", config.lambda)?;
    positive("dagma", "learning_rate", config.learning_rate)?;
    positive("dagma", "threshold", config.threshold)?;
    if config.scales.is_empty() || config.scales.iter().any(|s| *s <= 0.0) {
        return Err(Error::config(
            "dagma",
            "scales",
            format!("{:?}", config.scales),
            "positive and not empty",
        ));
    }
    let covariance = moments(table, config.standardize)?;
    let p = table.len();
    let mut weights = DMatrix::zeros(p, p);
    let mut mu = 1.0;
    for (stage, &scale) in config.scales.iter().enumerate() {
        let last = stage + 1 == config.scales.len();
        let steps = if last { config.last_steps } else { config.warm_steps };
        let mut rate = config.learning_rate;
        // A stage that leaves the domain is run again from its start with half the step.
        loop {
            if let Some(found) = dagma_stage(&covariance, &weights, mu, scale, rate, steps, config) {
                weights = found;
                break;
            }
            rate *= 0.5;
            if rate < 1e-10 {
                let reason =
                    format!("no step of stage {stage} keeps s I - W o W an M-matrix; raise the scales");
                return Err(Error::NotConverged { operation: "dagma", reason });
            }
        }
        mu *= config.decay;
    }
    let scale = config.scales.last().copied().unwrap_or(1.0);
    let h = log_det_cyclicity(&weights, scale).map_or(f64::INFINITY, |(h, _)| h);
    finish(table, &weights, config.threshold, h)
}

/// h_s and its gradient 2 (s I − W∘W)⁻ᵀ ∘ W; `None` outside the domain.
fn log_det_cyclicity(weights: &DMatrix<f64>, scale: f64) -> Option<(f64, DMatrix<f64>)> {
    let p = weights.nrows();
    let inner = DMatrix::identity(p, p) * scale - weights.component_mul(weights);
    let factor = inner.lu();
    // The sum of logarithms does not underflow where the determinant would.
    let log_det: f64 = factor.u().diagonal().iter().map(|d| d.abs().ln()).sum();
    let inverse = factor.try_inverse()?;
    // An M-matrix has a non-negative inverse.
    if inverse.iter().any(|v| *v < -1e-12) {
        return None;
    }
    let h = p as f64 * scale.ln() - log_det;
    Some((h, inverse.transpose().component_mul(weights) * 2.0))
}

fn dagma_stage(
    covariance: &DMatrix<f64>,
    start: &DMatrix<f64>,
    mu: f64,
    scale: f64,
    rate: f64,
    steps: usize,
    config: &DagmaConfig,
) -> Option<DMatrix<f64>> {
    const BETA1: f64 = 0.99;
    const BETA2: f64 = 0.999;
    let p = covariance.nrows();
    let mut weights = start.clone();
    let (mut first, mut second) = (DMatrix::<f64>::zeros(p, p), DMatrix::<f64>::zeros(p, p));
    let mut previous = f64::INFINITY;
    let (mut power1, mut power2) = (1.0, 1.0);
    for step in 1..=steps {
        let (h, h_gradient) = log_det_cyclicity(&weights, scale)?;
        let (loss, loss_gradient) = least_squares(covariance, &weights);
        power1 *= BETA1;
        power2 *= BETA2;
        for k in 0..p * p {
            let sign = if weights[k] == 0.0 { 0.0 } else { weights[k].signum() };
            let g = mu * (loss_gradient[k] + config.lambda * sign) + h_gradient[k];
            first[k] = BETA1 * first[k] + (1.0 - BETA1) * g;
            second[k] = BETA2 * second[k] + (1.0 - BETA2) * g * g;
            let direction = (first[k] / (1.0 - power1)) / ((second[k] / (1.0 - power2)).sqrt() + 1e-8);
            weights[k] -= rate * direction;
        }
        weights.fill_diagonal(0.0);
        if step % 1000 == 0 {
            let objective = mu * (loss + config.lambda * weights.abs().sum()) + h;
            if (previous - objective).abs() <= config.tolerance * previous.abs() {
                break;
            }
            previous = objective;
        }
    }
    log_det_cyclicity(&weights, scale).map(|_| weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scm::{Noise, Scm};

    fn equal_variances(seed: u64) -> (Table, Vec<(usize, usize)>) {
        let weights = [(0, 1, 1.2), (0, 2, -0.9), (1, 3, 1.0), (2, 3, 1.1), (3, 4, -1.3)];
        let names = crate::graph::default_names(5);
        let scm = Scm::linear(names, &weights, &[0.0; 5], vec![Noise::Normal { sd: 1.0 }; 5]).unwrap();
        let table = scm.sample(1000, &mut rl_core::SeedStream::new(seed).stream("continuous", 0)).unwrap();
        (table, scm.dag().edges())
    }

    #[test]
    fn both_find_a_model_of_equal_variances_on_raw_data() {
        let (table, edges) = equal_variances(1);
        let raw = NotearsConfig { standardize: false, ..NotearsConfig::default() };
        let result = notears(&table, &raw).unwrap();
        assert_eq!(result.dag.edges(), edges);
        assert!(result.cyclicity < 1e-6);
        let short = DagmaConfig {
            standardize: false,
            learning_rate: 3e-3,
            warm_steps: 3000,
            last_steps: 6000,
            ..DagmaConfig::default()
        };
        assert_eq!(dagma(&table, &short).unwrap().dag.edges(), edges);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let p = 4;
        let weights =
            DMatrix::from_fn(
                p,
                p,
                |i, j| if i == j { 0.0 } else { 0.1 * ((3 * i + 5 * j) % 7) as f64 - 0.3 },
            );
        let covariance = DMatrix::from_fn(p, p, |i, j| if i == j { 2.0 } else { 0.3 });
        let numeric = |f: &dyn Fn(&DMatrix<f64>) -> f64, i: usize, j: usize| {
            let at = |d: f64| {
                let mut moved = weights.clone();
                moved[(i, j)] += d;
                f(&moved)
            };
            (at(1e-6) - at(-1e-6)) / 2e-6
        };
        for i in 0..p {
            for j in 0..p {
                let exact = exponential_cyclicity(&weights).1[(i, j)];
                assert!((exact - numeric(&|w| exponential_cyclicity(w).0, i, j)).abs() < 1e-6);
                let exact = least_squares(&covariance, &weights).1[(i, j)];
                assert!((exact - numeric(&|w| least_squares(&covariance, w).0, i, j)).abs() < 1e-6);
                let exact = log_det_cyclicity(&weights, 1.0).unwrap().1[(i, j)];
                assert!((exact - numeric(&|w| log_det_cyclicity(w, 1.0).unwrap().0, i, j)).abs() < 1e-6);
            }
        }
    }
}
