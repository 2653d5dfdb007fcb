//! What a run directory holds, read for plots and the report.

use super::across::Across;
use super::{Figure, Line};
use crate::run::{Results, RunConfig};
use anyhow::{Context as _, Result};
use rl_core::SeedStream;
use rl_core::experiment::{Meta, RunDir, SeedDir, Summary, stats};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;

/// The curve that stands for a method: the return of its episodes.
const RETURN: &str = "charts/episodic_return";

/// One run, read.
pub(crate) struct Run {
    /// `exercise / folder name`.
    pub(crate) label: String,
    pub(crate) config: String,
    pub(crate) metas: Vec<Meta>,
    pub(crate) summary: Option<Summary>,
    pub(crate) notes: Vec<String>,
    /// Learning curves, one chart per task.
    pub(crate) curves: Vec<Chart>,
    /// The exercise's own figures.
    pub(crate) figures: Vec<Chart>,
    /// The performance profile of a comparison.
    pub(crate) profile: Option<Chart>,
    /// Every other metric, one chart per task and key.
    pub(crate) metrics: Vec<Chart>,
}

/// A chart: lines with intervals over seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Chart {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) x_label: String,
    pub(crate) y_label: String,
    pub(crate) series: Vec<Series>,
}

/// One line of a chart: the mean over seeds, its interval, and the seeds themselves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Place in the palette: the same name has the same colour in all charts of a group.
    pub(crate) colour: usize,
    pub(crate) x: Vec<f64>,
    #[serde(serialize_with = "short")]
    pub(crate) mean: Vec<f64>,
    #[serde(serialize_with = "short")]
    pub(crate) lo: Vec<f64>,
    #[serde(serialize_with = "short")]
    pub(crate) hi: Vec<f64>,
    pub(crate) seeds: Vec<Curve>,
}

/// The points of one seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Curve {
    pub(crate) seed: u64,
    pub(crate) x: Vec<f64>,
    #[serde(serialize_with = "short")]
    pub(crate) y: Vec<f64>,
}

/// Values in the page have the seven digits that a reader can use.
fn short<S: serde::Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|&value| value as f32))
}

/// Gives the lines their colours, by order of first appearance of their names.
pub(crate) fn paint<'a>(charts: impl IntoIterator<Item = &'a mut Chart>) {
    let mut names: Vec<String> = Vec::new();
    for series in charts.into_iter().flat_map(|chart| &mut chart.series) {
        let known = names.iter().position(|name| *name == series.name);
        series.colour = known.unwrap_or_else(|| {
            names.push(series.name.clone());
            names.len() - 1
        });
    }
}

impl Run {
    /// Reads a run directory, finished or not.
    pub(crate) fn read(run: &RunDir) -> Result<Self> {
        let folders = run.seeds()?;
        let first = folders.first().context("a run without seeds")?;
        let config = RunConfig::read(first)?;
        let mut metas = Vec::new();
        let (mut rows, mut figures, mut notes) = (Rows::default(), Vec::new(), Vec::new());
        for folder in &folders {
            metas.extend(folder.meta()?);
            rows.read(folder)?;
            let results: Results = folder.read_json("results.json")?.unwrap_or_default();
            figures.push((folder.seed(), results.figures));
            results.notes.into_iter().for_each(|note| {
                if !notes.contains(&note) {
                    notes.push(note)
                }
            });
        }
        let name = run.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let summary = fs::read_to_string(run.path().join("summary.json")).ok();
        let (curves, metrics) = rows.charts();
        let summary: Option<Summary> =
            summary.map(|text| serde_json::from_str(&text)).transpose().context("summary.json")?;
        Ok(Self {
            label: format!("{} / {name}", config.exercise),
            config: RunConfig { seed: None, ..config }.to_toml()?,
            metas,
            profile: summary.as_ref().and_then(Across::of).map(|across| across.profile()),
            summary,
            notes,
            curves,
            figures: merge(&figures),
            metrics,
        })
    }
}

/// The charts of one seed's folder.
pub(crate) fn seed_charts(folder: &SeedDir, results: &Results) -> Result<Vec<Chart>> {
    let mut rows = Rows::default();
    rows.read(folder)?;
    let mut charts = rows.charts().0;
    charts.extend(merge(&[(folder.seed(), results.figures.clone())]));
    Ok(charts)
}

/// The lines of a chart in the making: a name, and a curve per seed.
type Lines = Vec<(String, Vec<Curve>)>;

/// Points by task and key, then method and seed.
#[derive(Default)]
struct Rows {
    points: BTreeMap<(String, String), Lines>,
}

impl Rows {
    fn read(&mut self, folder: &SeedDir) -> Result<()> {
        let path = folder.path().join("metrics.jsonl");
        let text = fs::read_to_string(&path).unwrap_or_default();
        for line in text.lines() {
            // A run that is being worked on may end in half a line.
            let Ok(row) = serde_json::from_str::<Map<String, Value>>(line) else { continue };
            let stage = row.get("stage").and_then(Value::as_str).unwrap_or_default();
            let (task, method) = stage.rsplit_once('/').unwrap_or((stage, "training"));
            let Some(step) = row.get("step").and_then(Value::as_f64) else { continue };
            for (key, value) in row.iter().filter(|(key, _)| !matches!(key.as_str(), "step" | "stage")) {
                if let Some(value) = value.as_f64() {
                    self.add(task, key, method, folder.seed(), (step, value));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, task: &str, key: &str, method: &str, seed: u64, (x, y): (f64, f64)) {
        let methods = self.points.entry((task.into(), key.into())).or_default();
        let curves = entry(methods, |(name, _)| name == method, || (method.into(), Vec::new()));
        let curve = entry(&mut curves.1, |c| c.seed == seed, || Curve { seed, ..Curve::default() });
        curve.x.push(x);
        curve.y.push(y);
    }

    /// The learning curves and everything else.
    fn charts(self) -> (Vec<Chart>, Vec<Chart>) {
        let chart = |((task, key), methods): ((String, String), Lines)| Chart {
            name: slug(&format!("{task}-{key}")),
            title: if key == RETURN { task.clone() } else { format!("{task}: {key}") },
            x_label: "environment steps".into(),
            y_label: if key == RETURN { "episodic return".into() } else { key.clone() },
            series: methods.into_iter().map(|(name, curves)| Series::over_seeds(name, curves)).collect(),
        };
        let mut charts: Vec<Chart> = self.points.into_iter().map(chart).collect();
        paint(&mut charts);
        charts.into_iter().partition(|chart| chart.y_label == "episodic return")
    }
}

/// The matching item of a list, appended if there is none.
fn entry<T>(list: &mut Vec<T>, matches: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    match list.iter().position(matches) {
        Some(i) => &mut list[i],
        None => list.push_mut(new()),
    }
}

/// The seeds' figures as charts: figures and lines of the same name belong together.
fn merge(seeds: &[(u64, Vec<Figure>)]) -> Vec<Chart> {
    let mut merged: Vec<(&Figure, Lines)> = Vec::new();
    for (seed, figure) in seeds.iter().flat_map(|(seed, figures)| figures.iter().map(move |f| (*seed, f))) {
        let (_, lines) = entry(&mut merged, |(first, _)| first.name == figure.name, || (figure, Vec::new()));
        for Line { name, x, y } in &figure.lines {
            let (_, curves) = entry(lines, |(known, _)| known == name, || (name.clone(), Vec::new()));
            curves.push(Curve { seed, x: x.clone(), y: y.clone() });
        }
    }
    let chart = |(figure, lines): (&Figure, Lines)| Chart {
        name: slug(&figure.name),
        title: figure.title.clone(),
        x_label: figure.x_label.clone(),
        y_label: figure.y_label.clone(),
        series: lines.into_iter().map(|(name, curves)| Series::over_seeds(name, curves)).collect(),
    };
    let mut charts: Vec<Chart> = merged.into_iter().map(chart).collect();
    paint(&mut charts);
    charts
}

/// Points of the common grid, where seeds do not share their own.
const GRID: usize = 200;
/// Bootstrap resamples per point: enough for a band that is looked at.
const RESAMPLES: usize = 400;

impl Series {
    /// The mean and the 95 % bootstrap interval of the mean at every point that all seeds reach; of lines that go back in x,
    /// the first seed.
    pub(crate) fn over_seeds(name: String, mut seeds: Vec<Curve>) -> Self {
        // A path has no mean over seeds: the first one's stands for it.
        if seeds.iter().any(|curve| !curve.x.is_sorted()) {
            seeds.truncate(1);
            let (x, y) = seeds.first().map(|c| (c.x.clone(), c.y.clone())).unwrap_or_default();
            return Self { name, colour: 0, x, mean: y.clone(), lo: y.clone(), hi: y, seeds };
        }
        let x = common_grid(&seeds);
        let mut rng = SeedStream::new(0).stream("band", 0);
        let (mut mean, mut lo, mut hi) = (Vec::new(), Vec::new(), Vec::new());
        for &x in &x {
            let values = [seeds.iter().map(|curve| curve.at(x)).collect::<Vec<f64>>()];
            let interval =
                stats::bootstrap_interval(&values, |v| stats::mean(&v[0]), 0.95, RESAMPLES, &mut rng);
            mean.push(stats::mean(&values[0]));
            lo.push(interval[0]);
            hi.push(interval[1]);
        }
        Self { name, colour: 0, x, mean, lo, hi, seeds }
    }
}

impl Curve {
    /// The value at x, linear between points, constant beyond the ends.
    fn at(&self, x: f64) -> f64 {
        let after = self.x.partition_point(|&known| known < x);
        match (after.checked_sub(1), self.x.get(after)) {
            (_, Some(&known)) if known == x => self.y[after],
            (Some(before), Some(&known)) => {
                let weight = (x - self.x[before]) / (known - self.x[before]);
                self.y[before] + weight * (self.y[after] - self.y[before])
            }
            (None, Some(_)) => self.y[0],
            (Some(last), None) => self.y[last],
            (None, None) => f64::NAN,
        }
    }
}

/// The seeds' own points if they agree; else an even grid over the range that all of them cover.
fn common_grid(seeds: &[Curve]) -> Vec<f64> {
    let Some(first) = seeds.first() else { return Vec::new() };
    if seeds.iter().all(|curve| curve.x == first.x) {
        return first.x.clone();
    }
    let from = seeds.iter().filter_map(|c| c.x.first()).copied().fold(f64::NEG_INFINITY, f64::max);
    let to = seeds.iter().filter_map(|c| c.x.last()).copied().fold(f64::INFINITY, f64::min);
    if from >= to {
        return vec![to];
    }
    let points = seeds.iter().map(|c| c.x.len()).max().unwrap_or(0).clamp(2, GRID);
    (0..points).map(|i| from + (to - from) * i as f64 / (points - 1) as f64).collect()
}

/// A name that serves as a file name and an identifier: lower case, digits and dashes.
pub(crate) fn slug(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    plain.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(seed: u64, x: &[f64], y: &[f64]) -> Curve {
        Curve { seed, x: x.to_vec(), y: y.to_vec() }
    }

    #[test]
    fn seeds_with_the_same_points_are_averaged_there() {
        let seeds = vec![curve(0, &[1.0, 2.0], &[0.0, 4.0]), curve(1, &[1.0, 2.0], &[2.0, 4.0])];
        let series = Series::over_seeds("a".into(), seeds);
        assert_eq!((series.x, series.mean), (vec![1.0, 2.0], vec![1.0, 4.0]));
        assert_eq!((series.lo, series.hi), (vec![0.0, 4.0], vec![2.0, 4.0]));
    }

    #[test]
    fn other_seeds_are_interpolated_where_all_have_data() {
        let seeds =
            vec![curve(0, &[0.0, 10.0], &[0.0, 10.0]), curve(1, &[2.0, 4.0, 20.0], &[2.0, 4.0, 20.0])];
        let series = Series::over_seeds("a".into(), seeds);
        assert_eq!((series.x[0], series.x[series.x.len() - 1]), (2.0, 10.0));
        for (x, mean) in series.x.iter().zip(&series.mean) {
            assert!((x - mean).abs() < 1e-12);
        }
    }

    #[test]
    fn names_become_plain() {
        assert_eq!(slug("Pendulum-v1: losses/value"), "pendulum-v1-losses-value");
    }
}
