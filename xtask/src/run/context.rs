//! What an exercise sees of the run.

use super::Preset;
use crate::report::Figure;
use anyhow::Result;
use rl_core::SeedStream;
use rl_core::experiment::{Role, Score, Session};
use serde::{Deserialize, Serialize};

/// One seed of a run: randomness, the session that trains, and where results go.
pub struct Context {
    /// The seed.
    pub seed: u64,
    /// All randomness of the seed, by purpose.
    pub streams: SeedStream,
    /// The preset, for what a configuration cannot say.
    pub preset: Preset,
    /// Compute threads.
    pub threads: usize,
    /// Where tensors live.
    pub device: candle_core::Device,
    /// Drives training loops and keeps results of evaluations. A stage is named `<task>/<method>`: the returns
    /// recorded there as `charts/episodic_return` become the learning curve of that method in that task's plot.
    pub session: Session,
    pub(crate) results: Results,
}

/// `results.json` of a seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) scores: Vec<Score>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) notes: Vec<String>,
}

/// What a score measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Its name, such as `return`.
    pub metric: &'static str,
    /// Its unit; empty for a pure number.
    pub unit: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
}

impl Measure {
    /// Undiscounted return of an episode.
    pub const RETURN: Self = Self { metric: "return", unit: "", higher_is_better: true };

    /// Something of which less is better, such as an error.
    pub const fn error(metric: &'static str, unit: &'static str) -> Self {
        Self { metric, unit, higher_is_better: false }
    }
}

impl Context {
    /// Hands in one number of this seed: `method` on `task` after `step` environment steps.
    ///
    /// # Errors
    /// If the number is not finite: something diverged.
    pub fn score(
        &mut self,
        task: &str,
        method: &str,
        role: Role,
        measure: Measure,
        step: u64,
        value: f64,
    ) -> Result<()> {
        let Measure { metric, unit, higher_is_better } = measure;
        anyhow::ensure!(value.is_finite(), "{task}, {method}: {metric} is {value}; something diverged");
        let (task, method, metric, unit) = (task.into(), method.into(), metric.into(), unit.into());
        self.results.scores.push(Score { task, method, role, metric, unit, higher_is_better, step, value });
        Ok(())
    }

    /// The number that was handed in last for a method on a task.
    pub fn latest(&self, task: &str, method: &str, measure: Measure) -> Option<f64> {
        let same = |s: &&Score| s.task == task && s.method == method && s.metric == measure.metric;
        self.results.scores.iter().rev().find(same).map(|score| score.value)
    }

    /// Hands in a figure beyond the learning curves. Lines of the same name are averaged over seeds.
    pub fn figure(&mut self, figure: Figure) {
        self.results.figures.push(figure);
    }

    /// Hands in a sentence for the report: what a reader must know to read the numbers rightly.
    pub fn note(&mut self, text: impl Into<String>) {
        self.results.notes.push(text.into());
    }
}
