//! `causal-identification`: from a diagram with hidden causes to a number, or to the reason why there is none.
//!
//! *Diagrams*: seven classics over binary variables. The ID algorithm gives a formula, its plug-in estimate from samples is
//! held against the truth by enumeration, beside the raw difference and adjustment for everything; where no formula exists the
//! bounds that need no assumption are checked. *Estimators*: g-formula, weighting and the doubly robust estimate with one
//! model right, the other wrong.

use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line, exercises::Exercise};
use anyhow::Result;
use causal::data::Table;
use causal::estimate::{
    AverageEffectConfig, Estimate, augmented_inverse_probability, g_formula, inverse_probability, plug_in,
};
use causal::graph::Admg;
use causal::identify::{Expression, Factor, Identification, id};
use causal::scm::manski_bounds;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rl_core::StreamRng;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};

/// The exercise.
pub(crate) struct CausalIdentification;

/// Sizes of both parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Random models per diagram.
    pub models: u64,
    /// Numbers of rows, ascending.
    pub rows: Vec<usize>,
    /// Data sets per estimator.
    pub repeats: u64,
    /// Rows of each.
    pub estimator_rows: usize,
}

const ERROR: Measure = Measure::error("error of the effect", "");

impl Exercise for CausalIdentification {
    type Config = Config;

    const NAME: &'static str = "causal-identification";
    const DESCRIPTION: &'static str =
        "Effects behind hidden causes: formulas, hedges, bounds, and robust estimators";
    const DURATION: [&'static str; 3] = ["1 s", "10 s", "1 min"];

    fn config(preset: Preset) -> Config {
        let (models, repeats) = match preset {
            Preset::Smoke => (3, 5),
            Preset::Quick => (50, 100),
            Preset::Full => (200, 500),
        };
        let rows =
            if preset == Preset::Smoke { vec![1000] } else { vec![1000, 3000, 10_000, 30_000, 100_000] };
        Config { models, rows, repeats, estimator_rows: 1000 }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.models > 0 && config.repeats > 0, "models and repeats must be at least 1");
        let fits = config.rows.is_sorted() && config.rows.first().is_some_and(|&n| n >= 200);
        anyhow::ensure!(fits, "rows = {:?}: must be ascending numbers from 200", config.rows);
        let n = config.estimator_rows;
        anyhow::ensure!(n >= 200, "estimator_rows = {n}: must be at least 200");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for diagram in DIAGRAMS {
            diagram.examine(config, ctx)?;
        }
        estimators(config, ctx)?;
        ctx.note(
            "In the bow and in the instrument's diagram no formula exists: two models with the same observed distribution \
             have different effects. The raw difference is a number there too, and wrong; bounds are what can be said.",
        );
        Ok(())
    }
}

/// A diagram; the treatment is X, the outcome Y.
struct Diagram {
    name: &'static str,
    nodes: &'static [&'static str],
    directed: &'static [(usize, usize)],
    bidirected: &'static [(usize, usize)],
}

const DIAGRAMS: [Diagram; 7] = [
    Diagram {
        name: "back-door",
        nodes: &["Z", "X", "Y"],
        directed: &[(0, 1), (0, 2), (1, 2)],
        bidirected: &[],
    },
    Diagram {
        name: "front-door",
        nodes: &["X", "M", "Y"],
        directed: &[(0, 1), (1, 2)],
        bidirected: &[(0, 2)],
    },
    Diagram { name: "m-bias", nodes: &["X", "M", "Y"], directed: &[(0, 2)], bidirected: &[(0, 1), (1, 2)] },
    Diagram {
        name: "napkin",
        nodes: &["W", "Z", "X", "Y"],
        directed: &[(0, 1), (1, 2), (2, 3)],
        bidirected: &[(0, 2), (0, 3)],
    },
    Diagram {
        name: "two mediators",
        nodes: &["X", "M1", "M2", "Y"],
        directed: &[(0, 1), (0, 2), (1, 3), (2, 3)],
        bidirected: &[(0, 3)],
    },
    Diagram { name: "bow", nodes: &["X", "Y"], directed: &[(0, 1)], bidirected: &[(0, 1)] },
    Diagram {
        name: "instrument",
        nodes: &["I", "X", "Y"],
        directed: &[(0, 1), (1, 2)],
        bidirected: &[(1, 2)],
    },
];

/// A random binary model of a diagram: P(v = 1 | parents, hidden bits) = σ(b + Σ wᵢ (2 valueᵢ − 1)), one fair hidden
/// bit per bidirected edge.
struct BinaryModel {
    /// Per variable: the visible and the hidden bits it reads, with weights.
    reads: Vec<(f64, Vec<(usize, f64)>)>,
    hidden: usize,
    order: Vec<usize>,
}

impl BinaryModel {
    fn random(graph: &Admg, rng: &mut StreamRng) -> Self {
        let (p, confounders) = (graph.len(), graph.bidirected_edges());
        let weight = |rng: &mut StreamRng| {
            let sign = if rng.random::<bool>() { 1.0 } else { -1.0 };
            sign * rng.random_range(0.5..1.5)
        };
        let mut reads = Vec::new();
        for v in 0..p {
            let hidden = confounders.iter().enumerate().filter(|(_, e)| e.0 == v || e.1 == v);
            let bits = graph.dag().parents(v).into_iter().chain(hidden.map(|(i, _)| p + i));
            let bits: Vec<usize> = bits.collect();
            reads.push((rng.random_range(-0.5..0.5), bits.into_iter().map(|b| (b, weight(rng))).collect()));
        }
        Self { reads, hidden: confounders.len(), order: graph.dag().topological_order() }
    }

    fn probability(&self, v: usize, bits: &[usize]) -> f64 {
        let (bias, weights) = &self.reads[v];
        let sum: f64 = weights.iter().map(|&(b, w)| w * (2.0 * bits[b] as f64 - 1.0)).sum();
        1.0 / (1.0 + (-(bias + sum)).exp())
    }

    /// P(y = 1 | do(x = value)) by enumeration of all bits.
    fn truth(&self, x: usize, value: usize, y: usize) -> f64 {
        let p = self.reads.len();
        let mut total = 0.0;
        for state in 0..1usize << (p + self.hidden) {
            let bits: Vec<usize> = (0..p + self.hidden).map(|b| state >> b & 1).collect();
            if bits[x] != value || bits[y] != 1 {
                continue;
            }
            let factor = |&v: &usize| {
                let one = self.probability(v, &bits);
                if bits[v] == 1 { one } else { 1.0 - one }
            };
            total += (0..p).filter(|&v| v != x).map(|v| factor(&v)).product::<f64>();
        }
        total / (1 << self.hidden) as f64
    }

    fn sample(&self, names: &[&str], rows: usize, rng: &mut StreamRng) -> Result<Table> {
        let p = self.reads.len();
        let mut columns = vec![Vec::new(); p];
        let mut bits = vec![0; p + self.hidden];
        for _ in 0..rows {
            bits[p..].iter_mut().for_each(|b| *b = usize::from(rng.random::<bool>()));
            for &v in &self.order {
                bits[v] = usize::from(rng.random::<f64>() < self.probability(v, &bits));
            }
            columns.iter_mut().zip(&bits).for_each(|(c, &b)| c.push(b as f64));
        }
        Ok(Table::new(names.iter().map(|n| n.to_string()).collect(), columns)?)
    }
}

/// What is learned about a diagram: mean absolute errors per number of rows, and how often bounds hold.
#[derive(Clone, Serialize, Deserialize)]
struct Findings {
    formula: Vec<f64>,
    raw: Vec<f64>,
    everything: Vec<f64>,
    bounds_hold: f64,
}

impl Diagram {
    fn examine(&self, config: &Config, ctx: &mut Context) -> Result<()> {
        let names = self.nodes.iter().map(|n| n.to_string()).collect();
        let graph = Admg::new(names, self.directed, self.bidirected)?;
        let (x, y) = (graph.index_of("X")?, graph.index_of("Y")?);
        let outcome = id(&graph, &[x], &[y])?;
        let formula = match &outcome {
            Identification::Identified(formula) => {
                ctx.note(format!("{}: P(Y | do(X)) = {}", self.name, formula.display(&graph)));
                Some(formula)
            }
            Identification::Unidentifiable(hedge) => {
                let list =
                    |nodes: &[usize]| nodes.iter().map(|&v| graph.name(v)).collect::<Vec<_>>().join(", ");
                ctx.note(format!(
                    "{}: no formula; hedge {{{}}} around {{{}}}",
                    self.name,
                    list(&hedge.forest),
                    list(&hedge.inner_forest)
                ));
                None
            }
        };
        let streams = ctx.streams;
        let findings: Findings =
            ctx.session.once::<_, anyhow::Error>(&format!("{}/identification", self.name), |stage| {
                let sizes = config.rows.len();
                let zeros = || vec![0.0; sizes];
                let mut findings =
                    Findings { formula: zeros(), raw: zeros(), everything: zeros(), bounds_hold: 0.0 };
                let share = 1.0 / config.models as f64;
                for i in 0..config.models {
                    stage.progress(i, config.models)?;
                    let rng = &mut streams.stream(self.name, i);
                    let model = BinaryModel::random(&graph, rng);
                    let truth = [0, 1].map(|value| model.truth(x, value, y));
                    let effect = truth[1] - truth[0];
                    for (k, &rows) in config.rows.iter().enumerate() {
                        let table = model.sample(self.nodes, rows, rng)?;
                        let raw = mean_where(&table, x, y, 1.0) - mean_where(&table, x, y, 0.0);
                        findings.raw[k] += share * (raw - effect).abs();
                        findings.everything[k] += share * (adjusted(&table, x, y) - effect).abs();
                        if let Some(formula) = formula {
                            findings.formula[k] +=
                                share * (plugged_in(formula, &table, x, y)? - effect).abs();
                        }
                        if k + 1 == sizes {
                            findings.bounds_hold +=
                                share * f64::from(u8::from(bounds_hold(&table, x, y, truth)));
                        }
                    }
                }
                Ok(findings)
            })?;
        self.hand_in(&findings, formula.is_some(), config, ctx)
    }

    fn hand_in(&self, found: &Findings, identified: bool, config: &Config, ctx: &mut Context) -> Result<()> {
        let rows = config.rows.last().copied().unwrap_or(0) as u64;
        let mut lines = Vec::new();
        let methods = [
            ("formula of ID", Role::Method, &found.formula),
            ("raw difference", Role::Reference, &found.raw),
            ("adjust for everything", Role::Reference, &found.everything),
        ];
        for (name, role, errors) in methods {
            if name == "formula of ID" && !identified {
                continue;
            }
            ctx.score(self.name, name, role, ERROR, rows, errors.last().copied().unwrap_or(f64::NAN))?;
            let x = config.rows.iter().map(|&n| n as f64).collect();
            lines.push(Line { name: name.into(), x, y: errors.clone() });
        }
        let hold =
            Measure { metric: "bounds without assumptions hold", unit: "share", higher_is_better: true };
        ctx.score(self.name, "bounds", Role::Method, hold, rows, found.bounds_hold)?;
        ctx.figure(Figure {
            name: format!("{}-error", self.name.replace(' ', "-")),
            title: format!("{}: error of the effect of X on Y", self.name),
            x_label: "rows".into(),
            y_label: "mean absolute error".into(),
            lines,
        });
        Ok(())
    }
}

/// Mean of y where x has a value.
fn mean_where(table: &Table, x: usize, y: usize, value: f64) -> f64 {
    let rows = table.columns()[x].iter().zip(&table.columns()[y]).filter(|(x, _)| **x == value);
    let (sum, n) = rows.fold((0.0, 0.0), |(sum, n), (_, y)| (sum + y, n + 1.0));
    sum / f64::max(n, 1.0)
}

/// Σ_z (E[y | x = 1, z] − E[y | x = 0, z]) P(z), z all other variables; strata without one of the arms are left out.
fn adjusted(table: &Table, x: usize, y: usize) -> f64 {
    let others: Vec<usize> = (0..table.len()).filter(|&v| v != x && v != y).collect();
    let mut strata = vec![[[0.0; 2]; 2]; 1 << others.len()];
    let columns = table.columns();
    for row in 0..table.rows() {
        let z = others.iter().fold(0, |z, &v| 2 * z + columns[v][row] as usize);
        let cell = &mut strata[z][columns[x][row] as usize];
        cell[0] += 1.0;
        cell[1] += columns[y][row];
    }
    let both = strata.iter().filter(|s| s[0][0] > 0.0 && s[1][0] > 0.0);
    let (sum, weight) = both.fold((0.0, 0.0), |(sum, weight), s| {
        let n = s[0][0] + s[1][0];
        (sum + n * (s[1][1] / s[1][0] - s[0][1] / s[0][0]), weight + n)
    });
    sum / f64::max(weight, 1.0)
}

/// The formula on the empirical distribution.
fn plugged_in(formula: &Expression, table: &Table, x: usize, y: usize) -> Result<f64> {
    let estimate: Factor = plug_in(formula, &table.to_categories()?)?;
    Ok(estimate.at(&[(x, 1), (y, 1)])? - estimate.at(&[(x, 0), (y, 1)])?)
}

/// Whether both interventional means lie within Manski's bounds, up to sampling error.
fn bounds_hold(table: &Table, x: usize, y: usize, truth: [f64; 2]) -> bool {
    let treated = table.columns()[x].iter().sum::<f64>() / table.rows() as f64;
    let slack = 3.0 / (table.rows() as f64).sqrt();
    truth.iter().enumerate().all(|(value, truth)| {
        let share = if value == 1 { treated } else { 1.0 - treated };
        let (low, high) = manski_bounds(mean_where(table, x, y, value as f64), share, 0.0, 1.0).interval();
        (low - slack..=high + slack).contains(truth)
    })
}

/// Bias, error and coverage of an estimator.
#[derive(Clone, Serialize, Deserialize)]
struct Quality {
    bias: f64,
    rmse: f64,
    coverage: f64,
}

/// Treatment and outcome depend on z₁, z₂; a wrong model misses a term in exp(0.7 z₁). The effect is 2.
fn observational_table(rows: usize, outcome: bool, propensity: bool, rng: &mut StreamRng) -> Result<Table> {
    let mut columns = vec![Vec::new(); 4];
    for _ in 0..rows {
        let mut normal = || -> f64 { StandardNormal.sample(rng) };
        let (z1, z2, noise) = (normal(), normal(), normal());
        let missed = (0.7 * z1).exp() - 1.25;
        let logit = 0.8 * z1 - 0.6 * z2 + if propensity { 0.0 } else { 0.8 * missed - z1 };
        let t = f64::from(u8::from(rng.random::<f64>() < 1.0 / (1.0 + (-logit).exp())));
        let y = 2.0 * t + z1 + z2 + if outcome { 0.0 } else { 2.0 * missed } + noise;
        columns.iter_mut().zip([z1, z2, t, y]).for_each(|(c, v)| c.push(v));
    }
    Ok(Table::new(["z1", "z2", "t", "y"].map(String::from).to_vec(), columns)?)
}

fn estimators(config: &Config, ctx: &mut Context) -> Result<()> {
    type Estimator = (&'static str, Role, fn(&Table) -> Result<Estimate>);
    const ALL: [Estimator; 3] = [
        ("doubly robust", Role::Method, |t| {
            Ok(augmented_inverse_probability(t, 2, 3, &[0, 1], &AverageEffectConfig::default())?)
        }),
        ("g-formula", Role::Reference, |t| Ok(g_formula(t, 2, 3, &[0, 1])?)),
        ("inverse probability weighting", Role::Reference, |t| {
            Ok(inverse_probability(t, 2, 3, &[0, 1], &AverageEffectConfig::default())?)
        }),
    ];
    let streams = ctx.streams;
    for (task, outcome, propensity) in [
        ("both models right", true, true),
        ("outcome model wrong", false, true),
        ("propensity model wrong", true, false),
        ("both models wrong", false, false),
    ] {
        for (name, role, estimate) in ALL {
            let quality = ctx.session.once::<_, anyhow::Error>(&format!("{task}/{name}"), |stage| {
                let (mut errors, mut covered) = (Vec::new(), 0);
                for i in 0..config.repeats {
                    stage.progress(i, config.repeats)?;
                    let rng = &mut streams.stream(task, i);
                    let table = observational_table(config.estimator_rows, outcome, propensity, rng)?;
                    let estimate = estimate(&table)?;
                    errors.push(estimate.value - 2.0);
                    covered += usize::from((estimate.interval.0..=estimate.interval.1).contains(&2.0));
                }
                let n = errors.len() as f64;
                Ok(Quality {
                    bias: (errors.iter().sum::<f64>() / n).abs(),
                    rmse: (errors.iter().map(|e| e * e).sum::<f64>() / n).sqrt(),
                    coverage: covered as f64 / n,
                })
            })?;
            let rows = config.estimator_rows as u64;
            ctx.score(task, name, role, Measure::error("bias (absolute)", ""), rows, quality.bias)?;
            ctx.score(task, name, role, Measure::error("root mean squared error", ""), rows, quality.rmse)?;
            let coverage =
                Measure { metric: "coverage of the 95% interval", unit: "share", higher_is_better: true };
            ctx.score(task, name, role, coverage, rows, quality.coverage)?;
        }
    }
    Ok(())
}
