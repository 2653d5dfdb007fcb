//! PCMCI: lagged causal links in time series, and in reinforcement-learning data of many episodes.
//!
//! Runge, Nowack, Kretschmer, Flaxman & Sejdinovic, *Detecting and quantifying causal associations in large nonlinear
//! time series datasets* (Science Advances 2019), with linear partial correlation. PC₁ selects for every variable
//! the lagged parents: candidates sorted by strength, each tested given the strongest others. MCI then tests
//! x_{t−τ} ⊥ y_t | parents(y_t) ∖ x_{t−τ}, parents(x_{t−τ}), which keeps false positives at level under
//! autocorrelation.
//!
//! A sample is a time t with 2 τ_max earlier steps *in the same episode*: no lag ever crosses an episode's start.
//! All lagged columns share these samples, so every test is a few operations on one correlation matrix.

use crate::data::{Table, covariance};
use crate::error::{Error, Result};
use crate::partial::{Correlations, Kept};
use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;

/// Settings of [`pcmci`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PcmciConfig {
    /// Smallest lag, at least 1: contemporaneous links are not considered.
    pub tau_min: usize,
    /// Largest lag; 1 for Markov decision processes.
    pub tau_max: usize,
    /// Level of the parent selection (the paper's recommendation lies between 0.05 and 0.4).
    pub pc_alpha: f64,
    /// Level of the reported links.
    pub alpha: f64,
    /// Variables that nothing causes, such as actions of a random policy: no link into them is tested.
    pub exogenous: Vec<usize>,
}

impl Default for PcmciConfig {
    fn default() -> Self {
        Self { tau_min: 1, tau_max: 1, pc_alpha: 0.05, alpha: 0.01, exogenous: Vec::new() }
    }
}

impl PcmciConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("pc_alpha", self.pc_alpha), ("alpha", self.alpha)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(Error::config("pcmci", field, value, "in (0, 1)"));
            }
        }
        if self.tau_min == 0 || self.tau_min > self.tau_max {
            return Err(Error::config("pcmci", "tau_min", self.tau_min, "from 1 to tau_max"));
        }
        Ok(())
    }
}

/// A lagged link `source_{t−lag} → target_t`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LaggedLink {
    /// The cause.
    pub source: usize,
    /// The effect.
    pub target: usize,
    /// Steps between them, at least 1.
    pub lag: usize,
    /// The partial correlation of the MCI test.
    pub strength: f64,
    /// Its p-value.
    pub p_value: f64,
}

/// What [`pcmci`] finds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PcmciResult {
    /// Links with p ≤ alpha, by source, target and lag.
    pub links: Vec<LaggedLink>,
    /// `p_values[source][target][lag]`; 1 where nothing was tested.
    pub p_values: Vec<Vec<Vec<f64>>>,
    /// `strengths[source][target][lag]`; 0 where nothing was tested.
    pub strengths: Vec<Vec<Vec<f64>>>,
    /// Number of times t that were used.
    pub samples: usize,
}

impl PcmciResult {
    /// The causes of each variable at any lag, ascending: the input mask of a causal world model.
    pub fn parents(&self) -> Vec<Vec<usize>> {
        let mut parents = vec![Vec::new(); self.p_values.len()];
        for link in &self.links {
            if !parents[link.target].contains(&link.source) {
                parents[link.target].push(link.source);
            }
        }
        parents.iter_mut().for_each(|p: &mut Vec<usize>| p.sort_unstable());
        parents
    }
}

/// Learns lagged links from one table per episode, rows in the order of time.
///
/// # Errors
/// [`Error::Config`]; [`Error::Data`] for missing values, constant columns, episodes with different columns, or
/// too few times with 2 τ_max predecessors in their episode; [`Error::Singular`] for dependent lagged columns.
pub fn pcmci(episodes: &[Table], config: &PcmciConfig) -> Result<PcmciResult> {
    config.validate()?;
    let lagged = Lagged::new(episodes, config)?;
    let n = lagged.variables;
    let parents: Vec<Vec<Lag>> = (0..n).map(|j| lagged.select_parents(j, config)).collect::<Result<_>>()?;
    let mut result = PcmciResult {
        links: Vec::new(),
        p_values: vec![vec![vec![1.0; config.tau_max + 1]; n]; n],
        strengths: vec![vec![vec![0.0; config.tau_max + 1]; n]; n],
        samples: lagged.samples,
    };
    let mut kept = Kept::default();
    for source in 0..n {
        for target in (0..n).filter(|j| !config.exogenous.contains(j)) {
            for lag in config.tau_min..=config.tau_max {
                let given = lagged.mci_conditions((source, lag), target, &parents);
                let (strength, p_value) = lagged.test((source, lag), target, &given, &mut kept)?;
                result.p_values[source][target][lag] = p_value;
                result.strengths[source][target][lag] = strength;
                if p_value <= config.alpha {
                    result.links.push(LaggedLink { source, target, lag, strength, p_value });
                }
            }
        }
    }
    Ok(result)
}

/// A variable some steps before t.
type Lag = (usize, usize);

/// Correlations of all variables at lags 0 … 2 τ_max over the usable times.
struct Lagged {
    variables: usize,
    samples: usize,
    correlations: Correlations,
}

impl Lagged {
    fn new(episodes: &[Table], config: &PcmciConfig) -> Result<Self> {
        let first = episodes.first().ok_or_else(|| Error::data("episodes", "there is none"))?;
        let (variables, deepest) = (first.len(), 2 * config.tau_max);
        if let Some(&node) = config.exogenous.iter().find(|&&v| v >= variables) {
            return Err(Error::Node { operation: "pcmci.exogenous", node, count: variables });
        }
        let mut columns = vec![Vec::new(); variables * (deepest + 1)];
        for (i, episode) in episodes.iter().enumerate() {
            if episode.names() != first.names() {
                return Err(Error::data(format!("episode {i}"), "has other columns than the first"));
            }
            if episode.has_missing() {
                return Err(Error::data(format!("episode {i}"), "has missing values"));
            }
            for (v, values) in episode.columns().iter().enumerate() {
                for lag in 0..=deepest {
                    let usable =
                        values.get(deepest - lag..).map_or(&[][..], |tail| &tail[..tail.len() - lag]);
                    let usable = if values.len() > deepest { usable } else { &[] };
                    columns[lag * variables + v].extend_from_slice(usable);
                }
            }
        }
        let samples = columns[0].len();
        if samples < columns.len() + 3 {
            let reason = format!(
                "{samples} times have {deepest} predecessors in their episode; {} are needed: collect more data or lower tau_max",
                columns.len() + 3
            );
            return Err(Error::data("episodes", reason));
        }
        let name = |i: usize| format!("{} at lag {}", first.names()[i % variables], i / variables);
        let names = (0..columns.len()).map(name).collect();
        let correlations = Correlations::new("pcmci", names, &covariance(&columns))?;
        Ok(Self { variables, samples, correlations })
    }

    fn column(&self, (variable, lag): Lag) -> usize {
        lag * self.variables + variable
    }

    /// Partial correlation and its two-sided p-value by Student's t with `samples − |given| − 2` degrees of freedom.
    fn test(&self, x: Lag, target: usize, given: &[Lag], kept: &mut Kept) -> Result<(f64, f64)> {
        let columns: Vec<usize> = given.iter().map(|&l| self.column(l)).collect();
        let (xy, xx, yy) =
            self.correlations.residuals(self.column(x), self.column((target, 0)), &columns, kept)?;
        let r = xy / (xx * yy).sqrt();
        let freedom = self.samples as f64 - given.len() as f64 - 2.0;
        // P(|T| ≥ t) = I_{1 − r²}(ν/2, 1/2), since t² = ν r² / (1 − r²).
        Ok((r, beta_reg(freedom / 2.0, 0.5, (1.0 - r * r).clamp(0.0, 1.0))))
    }

    /// PC₁: the lagged parents of `target`, strongest first.
    fn select_parents(&self, target: usize, config: &PcmciConfig) -> Result<Vec<Lag>> {
        if config.exogenous.contains(&target) {
            return Ok(Vec::new());
        }
        let mut kept = Kept::default();
        let mut parents: Vec<(Lag, f64)> = (0..self.variables)
            .flat_map(|v| (config.tau_min..=config.tau_max).map(move |lag| ((v, lag), f64::INFINITY)))
            .collect();
        let mut size = 0;
        while parents.len() > size {
            let mut left = Vec::with_capacity(parents.len());
            for &(candidate, weakest) in &parents {
                let others = parents.iter().map(|p| p.0).filter(|&p| p != candidate);
                let given: Vec<Lag> = others.take(size).collect();
                let (r, p_value) = self.test(candidate, target, &given, &mut kept)?;
                if p_value <= config.pc_alpha {
                    left.push((candidate, weakest.min(r.abs())));
                }
            }
            left.sort_by(|a, b| b.1.total_cmp(&a.1));
            parents = left;
            size += 1;
        }
        Ok(parents.into_iter().map(|p| p.0).collect())
    }

    /// The parents of the target without x, and the parents of x shifted by its lag.
    fn mci_conditions(&self, x: Lag, target: usize, parents: &[Vec<Lag>]) -> Vec<Lag> {
        let mut given: Vec<Lag> = parents[target].iter().copied().filter(|&p| p != x).collect();
        for &(v, lag) in &parents[x.0] {
            let shifted = (v, lag + x.1);
            if shifted != x && !given.contains(&shifted) {
                given.push(shifted);
            }
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    /// x follows itself, y follows x, the action a drives x; `episodes` of `length` steps restart at random.
    fn rollouts(episodes: usize, length: usize) -> Vec<Table> {
        let mut rng = rl_core::SeedStream::new(1).stream("pcmci", 0);
        (0..episodes)
            .map(|_| {
                let mut columns = vec![Vec::new(); 3];
                let (mut x, mut y): (f64, f64) =
                    (rng.random_range(-50.0..50.0), rng.random_range(-50.0..50.0));
                for _ in 0..length {
                    let a: f64 = rng.random_range(-1.0..1.0);
                    [x, y, a].into_iter().zip(&mut columns).for_each(|(v, c)| c.push(v));
                    let noise = [rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)];
                    (x, y) = (0.8 * x + a + noise[0], 0.5 * x + noise[1]);
                }
                Table::from_columns(columns).unwrap()
            })
            .collect()
    }

    #[test]
    fn the_transition_graph_is_found_and_nothing_enters_the_action() {
        let config = PcmciConfig { exogenous: vec![2], alpha: 0.001, ..PcmciConfig::default() };
        let result = pcmci(&rollouts(100, 10), &config).unwrap();
        assert_eq!(result.parents(), [vec![0, 2], vec![0], vec![]]);
        // Of 10 steps 2 serve as history.
        assert_eq!(result.samples, 100 * 8);
    }

    #[test]
    fn episodes_of_two_steps_hold_no_sample() {
        assert!(pcmci(&rollouts(500, 2), &PcmciConfig::default()).is_err());
    }
}
