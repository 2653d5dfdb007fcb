//! What an exercise sees of the run.

use super::Preset;
use crate::report::Figure;
use anyhow::Result;
use rl_core::SeedStream;
use rl_core::experiment::{Role, Score, Session};
use serde::{Deserialize, Serialize};

/// Seed of the first evaluation episode.
const STARTS: u64 = 10_000;

/// The seeds of `n` evaluation episodes: the same for every exercise, method and seed, and used by no training episode.
pub fn starts(n: u64) -> Vec<u64> {
    (STARTS..STARTS + n).collect()
}

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
    /// The randomness of one method on one task.
    pub fn seeds(&self, task: &str, method: &str) -> SeedStream {
        SeedStream::new(self.streams.derive(&format!("{task}/{method}"), 0))
    }

    /// Mean return over the first `episodes` [`starts`], of which each call of `play` gets `at_a_time`. The stage shows the
    /// progress and keeps the result with the run.
    ///
    /// # Errors
    /// If an episode cannot be played.
    pub fn mean_return(
        &mut self,
        stage: &str,
        (episodes, at_a_time): (u64, usize),
        mut play: impl FnMut(&[u64]) -> Result<Vec<f64>>,
    ) -> Result<f64> {
        self.session.once(stage, |stage| {
            let mut returns = vec![];
            for some in starts(episodes).chunks(at_a_time.max(1)) {
                returns.extend(play(some)?);
                stage.progress(returns.len() as u64, episodes)?;
            }
            Ok(returns.iter().sum::<f64>() / returns.len() as f64)
        })
    }

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
