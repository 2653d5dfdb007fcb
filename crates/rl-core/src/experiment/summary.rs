//! `summary.json`: the results of a run over its seeds, the same object that `--json` prints.

use super::stats;
use crate::SeedStream;
use serde::{Deserialize, Serialize};

/// What a row of results stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// What the exercise is about.
    Method,
    /// Something to hold it against: random, a heuristic, an oracle, a plain baseline.
    Reference,
    /// The method with a part taken away.
    Ablation,
}

/// One number of one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// The task, such as `Pendulum-v1`.
    pub task: String,
    /// What was done, such as `sac`.
    pub method: String,
    /// What the row stands for.
    pub role: Role,
    /// What was measured, such as `return`.
    pub metric: String,
    /// Its unit; empty for a pure number.
    pub unit: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Environment steps that were spent to get there.
    pub step: u64,
    /// The number.
    pub value: f64,
}

/// One row of results, over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The task.
    pub task: String,
    /// What was done.
    pub method: String,
    /// What the row stands for.
    pub role: Role,
    /// What was measured.
    pub metric: String,
    /// Its unit; empty for a pure number.
    pub unit: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Environment steps that were spent to get there.
    pub step: u64,
    /// Mean over seeds.
    pub mean: f64,
    /// Interquartile mean over seeds.
    pub iqm: f64,
    /// 95 % percentile bootstrap interval of the mean over seeds; both ends are the value itself for one seed.
    pub ci95: [f64; 2],
    /// The seeds' own numbers, in the order of [`Summary::seeds`].
    pub per_seed: Vec<f64>,
}

/// The results of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The exercise.
    pub exercise: String,
    /// `smoke`, `quick` or `full`.
    pub preset: String,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Compute threads per seed.
    pub threads: usize,
    /// Time spent, in seconds.
    pub wall_seconds: f64,
    /// One row per task, method and metric.
    pub results: Vec<Outcome>,
}

/// Bootstrap resamples behind an interval.
const RESAMPLES: usize = 10_000;

impl Outcome {
    /// Rows from the scores of all seeds: scores that agree in everything but the value make one row, in the
    /// order of their first appearance.
    pub fn collect(seeds: &[Vec<Score>]) -> Vec<Self> {
        let mut rows: Vec<(&Score, Vec<f64>)> = Vec::new();
        for score in seeds.iter().flatten() {
            match rows.iter_mut().find(|(first, _)| first.same_row(score)) {
                Some((_, values)) => values.push(score.value),
                None => rows.push((score, vec![score.value])),
            }
        }
        rows.into_iter().map(|(score, per_seed)| Self::new(score, per_seed)).collect()
    }

    fn new(score: &Score, per_seed: Vec<f64>) -> Self {
        let mut rng = SeedStream::new(0).stream("bootstrap", 0);
        let tasks = std::slice::from_ref(&per_seed);
        let ci95 =
            stats::bootstrap_interval(tasks, |tasks| stats::mean(&tasks[0]), 0.95, RESAMPLES, &mut rng);
        Self {
            task: score.task.clone(),
            method: score.method.clone(),
            role: score.role,
            metric: score.metric.clone(),
            unit: score.unit.clone(),
            higher_is_better: score.higher_is_better,
            step: score.step,
            mean: stats::mean(&per_seed),
            iqm: stats::iqm(&per_seed),
            ci95,
            per_seed,
        }
    }
}

impl Score {
    fn same_row(&self, other: &Self) -> bool {
        let key = |s: &Self| (s.task.clone(), s.method.clone(), s.metric.clone(), s.role);
        key(self) == key(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(method: &str, value: f64) -> Score {
        Score {
            task: "chain".into(),
            method: method.into(),
            role: Role::Method,
            metric: "return".into(),
            unit: String::new(),
            higher_is_better: true,
            step: 100,
            value,
        }
    }

    #[test]
    fn seeds_are_collected_by_row_in_order() {
        let seeds = [vec![score("b", 1.0), score("a", 5.0)], vec![score("b", 3.0), score("a", 5.0)]];
        let rows = Outcome::collect(&seeds);
        assert_eq!(rows.iter().map(|r| r.method.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!((rows[0].mean, rows[0].ci95, rows[0].per_seed.clone()), (2.0, [1.0, 3.0], vec![1.0, 3.0]));
        assert_eq!((rows[1].iqm, rows[1].ci95), (5.0, [5.0, 5.0]));
        let text = serde_json::to_string(&rows[0]).unwrap();
        assert!(text.contains(r#""role":"method""#) && text.contains(r#""ci95":[1.0,3.0]"#), "{text}");
    }
}
