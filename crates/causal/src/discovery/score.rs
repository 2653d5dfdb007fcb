//! Decomposable scores of DAGs: Σ_v local(v | parents of v). Larger is better.
//!
//! [`GaussianBic`]: Schwarz (1978); [`InterventionalBic`]: Hauser & Bühlmann (2012); [`Bdeu`]: Heckerman, Geiger &
//! Chickering (1995).

use crate::data::{Categories, Table, covariance};
use crate::error::{Error, Result};
use crate::independence::Strata;
use crate::partial::{Correlations, Kept};
use statrs::function::gamma::ln_gamma;
use std::collections::HashMap;

/// A decomposable score on the variables `0..variables()`.
pub trait LocalScore: Sync {
    /// Buffers and caches of one thread.
    type Scratch: Send;

    /// Number of variables.
    fn variables(&self) -> usize;

    /// Fresh buffers.
    fn scratch(&self) -> Self::Scratch;

    /// The score of `v` with these parents (ascending, without `v`).
    ///
    /// # Errors
    /// [`Error::Singular`] when the columns are linearly dependent.
    fn local(&self, v: usize, parents: &[usize], scratch: &mut Self::Scratch) -> Result<f64>;

    /// local(v | parents ∪ x) − local(v | parents).
    ///
    /// # Errors
    /// As [`LocalScore::local`].
    fn gain(&self, x: usize, v: usize, parents: &[usize], scratch: &mut Self::Scratch) -> Result<f64> {
        let mut with = parents.to_vec();
        with.insert(parents.partition_point(|&u| u < x), x);
        Ok(self.local(v, &with, scratch)? - self.local(v, parents, scratch)?)
    }
}

/// Correlations and variances of the rows that count for some variables.
#[derive(Clone, Debug)]
struct Moments {
    correlations: Correlations,
    variances: Vec<f64>,
    rows: f64,
}

impl Moments {
    fn new(names: Vec<String>, covariance: &[f64], rows: f64) -> Result<Self> {
        let p = names.len();
        let correlations = Correlations::new("BIC", names, covariance)?;
        Ok(Self { correlations, variances: (0..p).map(|i| covariance[i * p + i]).collect(), rows })
    }

    /// −n/2 (1 + ln σ²) − penalty (|parents| + 1).
    fn local(&self, v: usize, parents: &[usize], penalty: f64, kept: &mut Kept) -> Result<f64> {
        let rest = self.correlations.residual_variance(v, parents, kept)? * self.variances[v];
        Ok(-0.5 * self.rows * (1.0 + rest.ln()) - penalty * (parents.len() + 1) as f64)
    }

    /// −n/2 ln(1 − r²) − penalty, r the partial correlation of x and v given the parents.
    fn gain(&self, x: usize, v: usize, parents: &[usize], penalty: f64, kept: &mut Kept) -> Result<f64> {
        let (xy, xx, yy) = self.correlations.residuals(x, v, parents, kept)?;
        Ok(-0.5 * self.rows * (-xy * xy / (xx * yy)).ln_1p() - penalty)
    }
}

/// Buffers of the Gaussian scores.
#[derive(Clone, Debug, Default)]
pub struct GaussianScratch(Kept);

/// Bayesian information criterion of linear Gaussian models:
/// local = −n/2 (1 + ln σ̂²) − λ (|parents| + 1) ln n, σ̂² the mean squared residual.
#[derive(Clone, Debug)]
pub struct GaussianBic {
    moments: Moments,
    penalty: f64,
}

impl GaussianBic {
    /// The score on a table; λ = 0.5 is the criterion itself, larger values give sparser graphs.
    ///
    /// # Errors
    /// [`Error::Data`] for missing values, constant columns or too few rows; [`Error::Config`] for λ ≤ 0.
    pub fn new(table: &Table, lambda: f64) -> Result<Self> {
        check_lambda(lambda)?;
        check_numbers(table)?;
        let rows = table.rows() as f64;
        let moments = Moments::new(table.names().to_vec(), &covariance(table.columns()), rows)?;
        Ok(Self { moments, penalty: lambda * rows.ln() })
    }
}

fn check_lambda(lambda: f64) -> Result<()> {
    if lambda > 0.0 && lambda.is_finite() {
        Ok(())
    } else {
        Err(Error::config("bic", "lambda", lambda, "positive"))
    }
}

fn check_numbers(table: &Table) -> Result<()> {
    if table.has_missing() {
        return Err(Error::data("data", "there are missing values; remove or impute them"));
    }
    table.check_for_discovery(3)
}

impl LocalScore for GaussianBic {
    type Scratch = GaussianScratch;

    fn variables(&self) -> usize {
        self.moments.variances.len()
    }
    fn scratch(&self) -> GaussianScratch {
        GaussianScratch::default()
    }
    fn local(&self, v: usize, parents: &[usize], s: &mut GaussianScratch) -> Result<f64> {
        self.moments.local(v, parents, self.penalty, &mut s.0)
    }
    fn gain(&self, x: usize, v: usize, parents: &[usize], s: &mut GaussianScratch) -> Result<f64> {
        self.moments.gain(x, v, parents, self.penalty, &mut s.0)
    }
}

/// BIC of linear Gaussian models from several environments: the mechanism of v is scored on the environments that
/// do not intervene on v (Hauser & Bühlmann 2012), each centred on its own mean.
#[derive(Clone, Debug)]
pub struct InterventionalBic {
    by_variable: Vec<Moments>,
    penalty: f64,
}

impl InterventionalBic {
    /// The score on one table per environment; `targets[e]` lists the variables that environment e intervenes on.
    /// The penalty is λ ln N per parameter, N the number of all rows.
    ///
    /// # Errors
    /// [`Error::Shape`] when tables and targets do not match; [`Error::Data`] when a variable is intervened on in
    /// every environment, and for unusable tables.
    pub fn new(environments: &[Table], targets: &[Vec<usize>], lambda: f64) -> Result<Self> {
        check_lambda(lambda)?;
        let first =
            environments.first().ok_or_else(|| Error::shape("GIES", "at least one environment", "none"))?;
        if targets.len() != environments.len() {
            return Err(Error::shape("GIES", format!("{} target lists", environments.len()), targets.len()));
        }
        if let Some(odd) =
            environments.iter().find(|e| e.names() != first.names() || e.has_missing() || e.rows() == 0)
        {
            let reason = format!(
                "all need the columns {}, at least a row and no missing value",
                first.names().join(", ")
            );
            return Err(Error::data(format!("environment with columns {}", odd.names().join(", ")), reason));
        }
        let p = first.len();
        let scatters: Vec<Vec<f64>> = environments.iter().map(|e| covariance(e.columns())).collect();
        let mut by_variable = Vec::with_capacity(p);
        for v in 0..p {
            let (mut sum, mut rows) = (vec![0.0; p * p], 0.0);
            for ((environment, scatter), target) in environments.iter().zip(&scatters).zip(targets) {
                if !target.contains(&v) {
                    let n = environment.rows() as f64;
                    sum.iter_mut().zip(scatter).for_each(|(s, c)| *s += n * c);
                    rows += n;
                }
            }
            if rows == 0.0 {
                let what = format!("variable `{}`", first.names()[v]);
                return Err(Error::data(
                    what,
                    "is intervened on in every environment, its causes cannot be learned",
                ));
            }
            sum.iter_mut().for_each(|s| *s /= rows);
            by_variable.push(Moments::new(first.names().to_vec(), &sum, rows)?);
        }
        let all: usize = environments.iter().map(Table::rows).sum();
        Ok(Self { by_variable, penalty: lambda * (all as f64).ln() })
    }
}

impl LocalScore for InterventionalBic {
    /// One factor per variable, since the moments differ.
    type Scratch = Vec<GaussianScratch>;

    fn variables(&self) -> usize {
        self.by_variable.len()
    }
    fn scratch(&self) -> Self::Scratch {
        vec![GaussianScratch::default(); self.by_variable.len()]
    }
    fn local(&self, v: usize, parents: &[usize], s: &mut Self::Scratch) -> Result<f64> {
        self.by_variable[v].local(v, parents, self.penalty, &mut s[v].0)
    }
    fn gain(&self, x: usize, v: usize, parents: &[usize], s: &mut Self::Scratch) -> Result<f64> {
        self.by_variable[v].gain(x, v, parents, self.penalty, &mut s[v].0)
    }
}

/// Bayesian Dirichlet equivalent uniform score of categories, with a binomial prior on the number of parents:
/// local = |parents| ln(s / (p − 1)) + (p − 1 − |parents|) ln(1 − s / (p − 1)) plus
/// Σ_j [ln Γ(a/q) − ln Γ(N_j + a/q) + Σ_k (ln Γ(N_jk + a/(q r)) − ln Γ(a/(q r)))].
///
/// Here a is the equivalent sample size, s the expected number of parents, q the number of parent states, r that of
/// states. Parents with more than 2¹⁶ states that occur score −∞: no data support them.
#[derive(Clone, Debug)]
pub struct Bdeu {
    data: Categories,
    sample_prior: f64,
    structure_prior: f64,
}

impl Bdeu {
    /// The score on categories; both priors are 1 in causal-learn.
    ///
    /// # Errors
    /// [`Error::Data`] for constant columns or no row; [`Error::Config`] for priors that are not positive.
    pub fn new(data: Categories, sample_prior: f64, structure_prior: f64) -> Result<Self> {
        data.check_for_discovery(1)?;
        for (field, value) in [("sample_prior", sample_prior), ("structure_prior", structure_prior)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::config("bdeu", field, value, "positive"));
            }
        }
        Ok(Self { data, sample_prior, structure_prior })
    }

    /// The logarithm of the prior of a parent set; 0 where p − 1 ≤ s leaves no proper binomial.
    fn log_prior(&self, parents: usize) -> f64 {
        let others = (self.data.len() - 1) as f64;
        let share = self.structure_prior / others;
        if share >= 1.0 {
            return 0.0;
        }
        parents as f64 * share.ln() + (others - parents as f64) * (1.0 - share).ln()
    }

    fn compute(&self, v: usize, parents: &[usize], s: &mut BdeuScratch) -> f64 {
        let Some(strata) = s.strata.extend_to(&self.data, parents) else { return f64::NEG_INFINITY };
        let r = self.data.cardinalities()[v];
        let q: f64 = parents.iter().map(|&u| self.data.cardinalities()[u] as f64).product();
        s.counts.clear();
        s.counts.resize(strata * r, 0);
        match s.strata.codes() {
            Some(codes) => {
                codes
                    .iter()
                    .zip(self.data.codes(v))
                    .for_each(|(&j, &k)| s.counts[j as usize * r + k as usize] += 1);
            }
            None => self.data.codes(v).iter().for_each(|&k| s.counts[k as usize] += 1),
        }
        let (row_prior, cell_prior) = (self.sample_prior / q, self.sample_prior / (q * r as f64));
        let (row_base, cell_base) = (ln_gamma(row_prior), ln_gamma(cell_prior));
        let mut score = self.log_prior(parents.len());
        for row in s.counts.chunks_exact(r) {
            let total: u32 = row.iter().sum();
            if total > 0 {
                score += row_base - ln_gamma(f64::from(total) + row_prior);
                let cells = row.iter().filter(|&&n| n > 0);
                score += cells.map(|&n| ln_gamma(f64::from(n) + cell_prior) - cell_base).sum::<f64>();
            }
        }
        score
    }
}

/// Counts, strata and the scores computed so far.
#[derive(Clone, Debug, Default)]
pub struct BdeuScratch {
    strata: Strata,
    counts: Vec<u32>,
    known: HashMap<(usize, Vec<usize>), f64>,
}

impl LocalScore for Bdeu {
    type Scratch = BdeuScratch;

    fn variables(&self) -> usize {
        self.data.len()
    }
    fn scratch(&self) -> BdeuScratch {
        BdeuScratch::default()
    }
    fn local(&self, v: usize, parents: &[usize], s: &mut BdeuScratch) -> Result<f64> {
        let key = (v, parents.to_vec());
        if let Some(&score) = s.known.get(&key) {
            return Ok(score);
        }
        let score = self.compute(v, parents, s);
        s.known.insert(key, score);
        Ok(score)
    }
}
