//! Methods across tasks: the matrix of a comparison, and what all tasks together say (Agarwal et al. 2021).
//!
//! A run is a comparison when its results have normalised scores, which make tasks commensurable, of the baseline and of another
//! method.

use super::data::{Chart, Series, paint, slug};
use crate::table::number;
use maud::{Markup, html};
use rl_core::SeedStream;
use rl_core::experiment::stats::{
    aggregate_iqm, bootstrap_interval, performance_profile, probability_of_improvement,
};
use rl_core::experiment::{Outcome, Summary};

const SCORE: &str = "normalised score";
const SHIFTED: &str = "normalised score after a shift";
/// Costs that are shown beside the scores, where they were measured.
const COSTS: [&str; 2] = ["training time", "peak memory"];
/// The method that the others are held against.
const BASELINE: &str = "ppo";
/// Bootstrap resamples behind an interval and behind a band.
const RESAMPLES: usize = 2000;
const BAND: usize = 200;

/// Methods by tasks.
pub(super) struct Across<'a> {
    summary: &'a Summary,
    methods: Vec<&'a str>,
    tasks: Vec<&'a str>,
}

impl<'a> Across<'a> {
    /// `None` for a run without normalised scores on at least two tasks, of the baseline and at least one other method.
    pub(super) fn of(summary: &'a Summary) -> Option<Self> {
        let (mut methods, mut tasks): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for row in summary.results.iter().filter(|row| row.metric == SCORE) {
            if !methods.contains(&row.method.as_str()) {
                methods.push(&row.method);
            }
            if !tasks.contains(&row.task.as_str()) {
                tasks.push(&row.task);
            }
        }
        let compares = tasks.len() > 1 && methods.len() > 1 && methods.contains(&BASELINE);
        compares.then_some(Self { summary, methods, tasks })
    }

    fn cell(&self, task: &str, method: &str, metric: &str) -> Option<&'a Outcome> {
        self.summary.results.iter().find(|r| r.task == task && r.method == method && r.metric == metric)
    }

    /// The runs of a method, a list per task that it took.
    fn runs(&self, method: &str, metric: &str) -> Vec<Vec<f64>> {
        self.tasks.iter().filter_map(|t| self.cell(t, method, metric)).map(|r| r.per_seed.clone()).collect()
    }

    /// Those methods that took every task.
    fn everywhere(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.methods.iter().copied().filter(|m| self.runs(m, SCORE).len() == self.tasks.len())
    }

    /// Share of runs with a score above τ, for methods that took every task.
    pub(super) fn profile(&self) -> Chart {
        let thresholds: Vec<f64> = (-10..=40).map(|k| f64::from(k) / 20.0).collect();
        let series = |method: &str| {
            let runs = self.runs(method, SCORE);
            let mut rng = SeedStream::new(0).stream("profile", 0);
            let mean = performance_profile(&runs, &thresholds);
            let band = |tau: &f64| {
                let share = |runs: &[Vec<f64>]| performance_profile(runs, &[*tau])[0];
                bootstrap_interval(&runs, share, 0.95, BAND, &mut rng)
            };
            let bands: Vec<[f64; 2]> = thresholds.iter().map(band).collect();
            Series {
                name: method.into(),
                colour: 0,
                x: thresholds.clone(),
                mean,
                lo: bands.iter().map(|b| b[0]).collect(),
                hi: bands.iter().map(|b| b[1]).collect(),
                seeds: Vec::new(),
            }
        };
        let mut chart = Chart {
            name: "performance-profile".into(),
            title:
                "Performance profile: share of runs above a normalised score, methods that took every task"
                    .into(),
            x_label: "normalised score τ (random 0, expert 1)".into(),
            y_label: "share of runs above τ".into(),
            series: self.everywhere().map(series).collect(),
        };
        paint([&mut chart]);
        chart
    }

    /// The matrix and the aggregates; `anchor` makes the address of a task's results from its slug.
    pub(super) fn tables(&self, anchor: impl Fn(&str) -> String) -> Markup {
        html! {
            p.hint { "Normalised scores, mean and 95 % interval over seeds; 0 is random play, 1 the scripted expert. A dash: the task has no place for the method. Each number leads to the run's results on that task." }
            div.scroll { table.sortable.matrix {
                thead { tr {
                    th scope="col" { "method" }
                    @for task in &self.tasks { th scope="col" { (task) } }
                } }
                tbody { @for method in &self.methods { tr {
                    th scope="row" { (method) }
                    @for task in &self.tasks { (self.score_cell(task, method, &anchor)) }
                } } }
            } }
            h4 { "All tasks together" }
            p.hint { "IQM: interquartile mean over the runs of all tasks that the method took, with its stratified bootstrap interval. P(beats " (BASELINE) "): probability that a run of the method scores above one of " (BASELINE) ", over the tasks that both took." }
            div.scroll { table.sortable {
                thead { tr {
                    @for name in ["method", "tasks", "IQM", "IQM after a shift"] { th scope="col" { (name) } }
                    th scope="col" { "P(beats " (BASELINE) ")" }
                    @for cost in COSTS { th scope="col" { (cost) ", mean" } }
                } }
                tbody { @for method in &self.methods { tr {
                    td { (method) }
                    td.number { (self.runs(method, SCORE).len()) }
                    (interval_cell(iqm(&self.runs(method, SCORE))))
                    (interval_cell(iqm(&self.runs(method, SHIFTED))))
                    (interval_cell(self.improvement(method)))
                    @for cost in COSTS { (self.cost_cell(method, cost)) }
                } } }
            } }
        }
    }

    fn score_cell(&self, task: &str, method: &str, anchor: &impl Fn(&str) -> String) -> Markup {
        html! {
            @match self.cell(task, method, SCORE) {
                Some(o) => td.number data-value=(o.mean) {
                    a href={ "#" (anchor(&slug(&format!("{task}-{SCORE}")))) } { (number(o.mean)) }
                    " " span.interval { "[" (number(o.ci95[0])) ", " (number(o.ci95[1])) "]" }
                },
                None => td.number { "–" },
            }
        }
    }

    /// Probability that a run of the method beats one of the baseline, over the tasks of both.
    fn improvement(&self, method: &str) -> Option<(f64, [f64; 2])> {
        let both = self.tasks.iter().filter_map(|task| {
            Some((
                self.cell(task, method, SCORE)?.per_seed.clone(),
                self.cell(task, BASELINE, SCORE)?.per_seed.clone(),
            ))
        });
        let (mut runs, base): (Vec<_>, Vec<_>) = both.unzip();
        if runs.is_empty() || method == BASELINE {
            return None;
        }
        let n = runs.len();
        runs.extend(base);
        let statistic = |runs: &[Vec<f64>]| probability_of_improvement(&runs[..n], &runs[n..]);
        let mut rng = SeedStream::new(0).stream("improvement", 0);
        Some((statistic(&runs), bootstrap_interval(&runs, statistic, 0.95, RESAMPLES, &mut rng)))
    }

    fn cost_cell(&self, method: &str, cost: &str) -> Markup {
        let cells: Vec<&Outcome> = self.tasks.iter().filter_map(|t| self.cell(t, method, cost)).collect();
        let mean = cells.iter().map(|o| o.mean).sum::<f64>() / cells.len() as f64;
        html! {
            @match cells.first() {
                Some(first) => td.number data-value=(mean) { (number(mean)) " " (first.unit) },
                None => td.number { "–" },
            }
        }
    }
}

/// The interquartile mean over all tasks and its interval.
fn iqm(runs: &[Vec<f64>]) -> Option<(f64, [f64; 2])> {
    if runs.is_empty() {
        return None;
    }
    let mut rng = SeedStream::new(0).stream("iqm", 0);
    Some((aggregate_iqm(runs), bootstrap_interval(runs, aggregate_iqm, 0.95, RESAMPLES, &mut rng)))
}

fn interval_cell(value: Option<(f64, [f64; 2])>) -> Markup {
    html! {
        @match value {
            Some((value, [low, high])) => td.number data-value=(value) {
                (number(value)) " " span.interval { "[" (number(low)) ", " (number(high)) "]" }
            },
            None => td.number { "–" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::experiment::Role;

    fn row(task: &str, method: &str, per_seed: Vec<f64>) -> Outcome {
        let mean = per_seed.iter().sum::<f64>() / per_seed.len() as f64;
        Outcome {
            task: task.into(),
            method: method.into(),
            role: Role::Method,
            metric: SCORE.into(),
            unit: String::new(),
            higher_is_better: true,
            step: 1,
            mean,
            iqm: mean,
            ci95: [mean, mean],
            per_seed,
        }
    }

    #[test]
    fn tasks_are_taken_together() {
        let results = vec![
            row("a", "ppo", vec![0.0, 0.2]),
            row("b", "ppo", vec![0.4, 0.6]),
            row("a", "sac", vec![1.0, 1.0]),
            row("b", "sac", vec![0.5, 0.5]),
            row("a", "causal", vec![2.0, 2.0]),
        ];
        let summary = Summary {
            exercise: "compare".into(),
            preset: "quick".into(),
            seeds: vec![0, 1],
            threads: 1,
            wall_seconds: 1.0,
            results,
        };
        let across = Across::of(&summary).unwrap();
        // Task a: always better; task b: better than one, worse than the other.
        assert_eq!(across.improvement("sac").unwrap().0, 0.75);
        assert_eq!(across.improvement("causal").unwrap().0, 1.0);
        assert!(across.improvement("ppo").is_none());
        assert!((iqm(&across.runs("ppo", SCORE)).unwrap().0 - 0.3).abs() < 1e-12);
        let names: Vec<&str> = across.everywhere().collect();
        assert_eq!(names, ["ppo", "sac"]);
        let profile = across.profile();
        assert_eq!(profile.series.len(), 2);
        let at_zero = profile.series[0].x.iter().position(|x| *x == 0.0).unwrap();
        assert_eq!(profile.series[0].mean[at_zero], 0.75);
        let page = across.tables(|task| format!("x-{task}")).into_string();
        assert!(page.contains("#x-a-normalised-score") && page.contains("–"), "{page}");
        let one_task = vec![row("a", "ppo", vec![1.0]), row("a", "sac", vec![1.0])];
        assert!(Across::of(&Summary { results: one_task, ..summary.clone() }).is_none());
        let one_method = vec![row("a", "rssm-cem", vec![1.0]), row("b", "rssm-cem", vec![1.0])];
        assert!(Across::of(&Summary { results: one_method, ..summary.clone() }).is_none());
    }
}
