//! The factored model: mechanisms of changes and of the reward, and what they say under interventions.

use super::experience::{Units, starts};
use super::imagination::Imagination;
use crate::error::{Error, Result};
use causal::data::Table;
use causal::discovery::{ScoreParentsConfig, score_parents};
use causal::rl::{CausalWorldModel, InterventionalDataset, Structure, WorldModelConfig};
use rl_core::SeedStream;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How parents are found where `structure = "learned"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discovery {
    /// The set of inputs with the best score, before any mechanism is trained ([`score_parents`]).
    Score,
    /// Conditional mutual information while the mechanisms are trained (Wang et al. 2022). An input that others repeat has
    /// none of its own, so it is lost where sensors are good.
    Information,
}

/// Settings of a [`FactoredModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactoredModelConfig {
    /// How parents are found: by score.
    pub discovery: Discovery,
    /// The score.
    pub score: ScoreParentsConfig,
    /// The mechanisms, and the search for information. `structure = "dense"` lets every mechanism read everything.
    pub mechanisms: WorldModelConfig,
}

impl FactoredModelConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`causal::Error::Config`] naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        self.score.validate()?;
        Ok(self.mechanisms.validate()?)
    }
}

impl Default for FactoredModelConfig {
    fn default() -> Self {
        let mechanisms =
            WorldModelConfig { hidden: vec![32, 32], updates: 3000, ..WorldModelConfig::default() };
        Self { discovery: Discovery::Score, score: ScoreParentsConfig::default(), mechanisms }
    }
}

/// do(variable := value) on the state that a step leads to, in the units of the task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Set {
    /// The variable.
    pub variable: usize,
    /// Its value.
    pub value: f32,
}

/// What a model says of the states that steps lead to.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// E[s′], `[rows, D]`.
    pub mean: Vec<f32>,
    /// Standard deviation of s′, `[rows, D]`; zero for what is set.
    pub deviation: Vec<f32>,
    /// `E[r]`, `[rows]`.
    pub reward: Vec<f32>,
}

/// A world model of one mechanism p(Δ | parents, action) per variable and one for the reward.
///
/// s′ᵢ = sᵢ + Δᵢ with Δᵢ ~ N(μᵢ(s_{pa(i)}, a), σᵢ²(s_{pa(i)}, a)), r ~ N(μ_r(s_{pa(r)}, a), σ_r²). The reward is one of the variables; its parents
/// and theirs are all that planning needs.
pub struct FactoredModel {
    pub(super) units: Units,
    /// Behind a lock because its optimisers cannot be shared; a planner asks for whole batches at a time.
    mechanisms: Mutex<CausalWorldModel>,
    /// Variables that the reward hangs on, now or later.
    relevant: Vec<usize>,
}

impl FactoredModel {
    /// Finds the parents and learns the mechanisms from experience; rows in which a variable was set teach its mechanism nothing.
    ///
    /// # Errors
    /// If the settings are out of range, there are too few steps, or the numbers are not finite.
    pub fn learn(
        data: &InterventionalDataset,
        config: &FactoredModelConfig,
        seeds: SeedStream,
    ) -> Result<Self> {
        let units = Units::of(data)?;
        let encoded = units.encode(data)?;
        let mut settings = config.mechanisms.clone();
        if settings.structure == Structure::Learned && config.discovery == Discovery::Score {
            settings.structure = Structure::Given(parents_by_score(&encoded, &config.score)?);
        }
        let mut mechanisms = CausalWorldModel::new(units.space.clone(), settings, seeds)?;
        mechanisms.train(&encoded, config.mechanisms.updates)?;
        let reward = units.space.len() - 1;
        let relevant = mechanisms.causes_of(reward).ones().filter(|&v| v < reward).collect();
        Ok(Self { units, mechanisms: Mutex::new(mechanisms), relevant })
    }

    fn mechanisms(&self) -> MutexGuard<'_, CausalWorldModel> {
        self.mechanisms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Means and deviations of the standardised change of a variable (or of the reward, the last), two per row.
    pub(super) fn law(&self, variable: usize, states: &[f32], actions: &[f32]) -> Result<Vec<f32>> {
        Ok(self.mechanisms().law(variable, states, actions)?)
    }

    /// D: variables of the task.
    pub fn width(&self) -> usize {
        self.units.space.len() - 1
    }

    /// The inputs that each mechanism reads, the reward's last: variables `0..D`, and D + 1 for the action.
    pub fn parents(&self) -> Vec<Vec<usize>> {
        let mechanisms = self.mechanisms();
        (0..=self.width()).map(|v| mechanisms.parents(v)).collect()
    }

    /// The variables that the reward hangs on, now or later: an abstraction of the state that planning can live with.
    pub fn relevant(&self) -> &[usize] {
        &self.relevant
    }

    /// What follows `actions: [rows, A]` in `states: [rows, D]` when `set` is set from outside, whatever the mechanisms of
    /// these variables say. The other mechanisms stay as they are: that is what do(·) means.
    ///
    /// # Errors
    /// [`Error::Shape`] for sizes that do not fit or a variable out of range.
    pub fn predict_intervention(&self, states: &[f32], actions: &[f32], set: &[Set]) -> Result<Prediction> {
        let d = self.width();
        self.check_set(set)?;
        let (x, a) = self.encode(states, actions)?;
        let (mut mean, mut deviation) = (states.to_vec(), vec![0.0; states.len()]);
        for v in 0..d {
            if let Some(fixed) = set.iter().find(|s| s.variable == v) {
                mean.chunks_exact_mut(d).for_each(|row| row[v] = fixed.value);
                continue;
            }
            let (shift, scale) = self.units.change[v];
            for (i, law) in self.law(v, &x, &a)?.chunks_exact(2).enumerate() {
                mean[i * d + v] += shift + scale * law[0];
                deviation[i * d + v] = scale * law[1];
            }
        }
        let (shift, scale) = self.units.change[d];
        let reward = self.law(d, &x, &a)?.chunks_exact(2).map(|law| shift + scale * law[0]).collect();
        Ok(Prediction { mean, deviation, reward })
    }

    /// What a planner sees of the model while `set` is held at every step.
    ///
    /// # Errors
    /// [`Error::Shape`] for a variable out of range.
    pub fn imagine(&self, set: &[Set]) -> Result<Imagination<'_>> {
        self.check_set(set)?;
        Ok(Imagination::new(self, set))
    }

    fn check_set(&self, set: &[Set]) -> Result<()> {
        match set.iter().find(|s| s.variable >= self.width()) {
            Some(s) => Err(Error::shape("do", format!("a variable below {}", self.width()), s.variable)),
            None => Ok(()),
        }
    }

    /// Standardised states with the reward's empty place, and actions.
    pub(super) fn encode(&self, states: &[f32], actions: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let (d, a) = (self.width(), self.units.space.action().width());
        let rows = states.len() / d;
        if states.len() != rows * d || actions.len() != rows * a {
            let got = format!("{} and {} numbers", states.len(), actions.len());
            return Err(Error::shape("FactoredModel", format!("rows of {d} and {a} numbers"), got));
        }
        let (mut x, mut u) = (Vec::with_capacity(rows * (d + 1)), Vec::with_capacity(rows * a));
        states.chunks_exact(d).for_each(|row| self.units.encode_state(row, &mut x));
        actions.chunks_exact(a).for_each(|row| self.units.encode_action(row, &mut u));
        Ok((x, u))
    }

    /// The mean squared error of predictions `steps` ahead over the variance of the change, averaged over `variables`: 1 is no
    /// better than the mean change. Predictions are rolled out on their means and never cross an episode's start; `set` is
    /// what was held while the data were collected.
    ///
    /// # Errors
    /// As [`predict_intervention`](Self::predict_intervention).
    pub fn error(
        &self,
        data: &InterventionalDataset,
        variables: &[usize],
        steps: usize,
        set: &[Set],
    ) -> Result<f64> {
        let (d, rows) = (self.width(), data.iter().collect::<Vec<_>>());
        let starts = starts(data, steps);
        let mut states: Vec<f32> = starts.iter().flat_map(|&i| rows[i].state).copied().collect();
        let begin = states.clone();
        for t in 0..steps {
            let actions: Vec<f32> = starts.iter().flat_map(|&i| rows[i + t].action).copied().collect();
            states = self.predict_intervention(&states, &actions, set)?.mean;
        }
        let mut total = 0.0;
        for &v in variables {
            let truth = |k: usize| f64::from(rows[starts[k] + steps - 1].next[v]);
            let change: Vec<f64> =
                (0..starts.len()).map(|k| truth(k) - f64::from(begin[k * d + v])).collect();
            let mean = change.iter().sum::<f64>() / change.len().max(1) as f64;
            let spread: f64 = change.iter().map(|c| (c - mean).powi(2)).sum();
            let missed: f64 =
                (0..starts.len()).map(|k| (truth(k) - f64::from(states[k * d + v])).powi(2)).sum();
            total += missed / spread;
        }
        Ok(total / variables.len() as f64)
    }
}

/// The parents of every encoded change and of the reward. The reward's own place is a constant, which explains nothing.
fn parents_by_score(encoded: &InterventionalDataset, config: &ScoreParentsConfig) -> Result<Vec<Vec<usize>>> {
    let space = encoded.space();
    let (numbers, real) = (space.width() + space.action().width(), f64::from);
    let one = |variable: usize| {
        let (mut columns, mut target) = (vec![Vec::new(); numbers], Vec::new());
        for t in encoded.rows_of(variable).into_iter().filter_map(|row| encoded.get(row)) {
            let all = t.state.iter().chain(t.action);
            columns.iter_mut().zip(all).for_each(|(c, &x)| c.push(real(x)));
            target.push(real(t.next[variable]));
        }
        let found = score_parents(&Table::from_columns(columns)?, &target, config)?.parents;
        // Every number of the action is one input.
        let mut parents: Vec<usize> = found.into_iter().map(|i| i.min(space.action_input())).collect();
        parents.dedup();
        Ok(parents)
    };
    (0..space.len()).map(one).collect()
}
