//! `causal-discovery`: learn graphs from data, and hold them against the true ones.
//!
//! Three parts. *chain*: X1 → X2 → X3, X1 → X3 and an action A → X2, with the effect of X2 on X3 estimated on the learned
//! graph. *asia, sachs, alarm*: rows simulated from the networks of that name, in growing numbers. *scaling*: sparse
//! linear models from ten to a thousand variables, with one thread and with two.

use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line, exercises::Exercise};
use anyhow::Result;
use causal::data::{Csv, Table};
use causal::discovery::{Bdeu, GaussianBic, GesConfig, Knowledge, NotearsConfig, PcConfig, ges, notears, pc};
use causal::graph::{Cpdag, Dag, MixedGraph, accuracy, default_names, shd};
use causal::identify::optimal_adjustment;
use causal::independence::{Contingency, Discrepancy, FisherZ, IndependenceTest};
use causal::scm::{Noise, Scm};
use rand::RngExt;
use rl_core::StreamRng;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// The exercise.
pub(crate) struct CausalDiscovery;

/// All three parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Level of every test.
    pub alpha: f64,
    /// Data sets of the chain.
    pub chain_repeats: u64,
    /// Rows of each.
    pub chain_rows: usize,
    /// Row numbers of the networks, ascending, at most 2000.
    pub network_rows: Vec<usize>,
    /// Numbers of variables of the sparse models, ascending.
    pub variables: Vec<usize>,
    /// Expected number of neighbours in them.
    pub degree: f64,
    /// Rows of the sparse models.
    pub rows: usize,
}

const SHD: Measure = Measure::error("structural Hamming distance", "edges");
const F1: Measure = Measure { metric: "adjacency F1", unit: "", higher_is_better: true };

impl Exercise for CausalDiscovery {
    type Config = Config;

    const NAME: &'static str = "causal-discovery";
    const DESCRIPTION: &'static str =
        "PC, GES and NOTEARS on a chain, on asia, sachs and alarm, and how cost grows";
    const DURATION: [&'static str; 3] = ["2 s", "20 s", "2 min"];

    fn config(preset: Preset) -> Config {
        let config = Config {
            alpha: 0.01,
            chain_repeats: 50,
            chain_rows: 1000,
            network_rows: vec![250, 500, 1000, 2000],
            variables: vec![10, 20, 50, 100, 200, 500],
            degree: 3.0,
            rows: 1000,
        };
        match preset {
            Preset::Smoke => Config {
                chain_repeats: 3,
                network_rows: vec![250],
                variables: vec![10, 20],
                rows: 300,
                ..config
            },
            Preset::Quick => config,
            Preset::Full => {
                Config { chain_repeats: 200, variables: vec![10, 20, 50, 100, 200, 500, 1000], ..config }
            }
        }
    }

    fn validate(config: &Config) -> Result<()> {
        PcConfig { alpha: config.alpha, ..PcConfig::default() }.validate()?;
        anyhow::ensure!(config.chain_repeats > 0, "chain_repeats = 0: must be at least 1");
        for (field, rows) in [("chain_rows", config.chain_rows), ("rows", config.rows)] {
            anyhow::ensure!(rows >= 50, "{field} = {rows}: must be at least 50");
        }
        for (field, list, range) in
            [("network_rows", &config.network_rows, 50..=2000), ("variables", &config.variables, 4..=5000)]
        {
            let fits = !list.is_empty() && list.is_sorted() && list.iter().all(|n| range.contains(n));
            anyhow::ensure!(fits, "{field} = {list:?}: must be ascending numbers in {range:?}");
        }
        anyhow::ensure!(config.degree > 0.0, "degree = {}: must be positive", config.degree);
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        chain(config, ctx)?;
        for network in NETWORKS {
            network.learn(config, ctx)?;
        }
        scaling(config, ctx)?;
        ctx.note(
            "The structural Hamming distance counts the node pairs whose edge differs from the true equivalence \
             class, a reversed edge once. NOTEARS runs with its authors' penalty and threshold; as scaled, the chain's \
             small variances leave it without an edge: its answer depends on units, PC's and GES' does not.",
        );
        ctx.note(
            "In the scaling part GES takes the extended BIC with γ = ½ (Foygel & Drton 2010): the plain one does not count \
             how many edges there are to choose from, and adds about as many false edges as there are pairs times 0.009.",
        );
        ctx.note("Seconds are those of this machine; seeds that run side by side disturb each other.");
        Ok(())
    }
}

/// X2 = 0.7 X1 + 0.5 A + e₂, X3 = 0.8 X2 + 0.3 X1 + e₃; noise 0.5, 0.3, 0.4; A uniform on [−1, 1].
fn chain_model() -> Result<Scm> {
    let names = ["X1", "X2", "X3", "A"].map(String::from).to_vec();
    let weights = [(0, 1, 0.7), (3, 1, 0.5), (1, 2, 0.8), (0, 2, 0.3)];
    let normal = |sd| Noise::Normal { sd };
    let noises = vec![normal(0.5), normal(0.3), normal(0.4), Noise::Uniform { half_width: 1.0 }];
    Ok(Scm::linear(names, &weights, &[0.0; 4], noises)?)
}

/// What one learner made of one data set.
#[derive(Clone, Serialize, Deserialize)]
struct Outcome {
    shd: f64,
    exact: f64,
    f1: f64,
    /// |estimated − true| effect of X2 on X3, where the graph answers.
    effect_error: Option<f64>,
}

fn compare(truth: &MixedGraph, guess: &MixedGraph) -> Result<Outcome> {
    let distance = shd(truth, guess)?;
    let f1 = accuracy(truth, guess)?.adjacency.f1();
    let f1 = if f1.is_finite() { f1 } else { 0.0 };
    Ok(Outcome { shd: distance as f64, exact: f64::from(u8::from(distance == 0)), f1, effect_error: None })
}

type Learner = (&'static str, Role, fn(&Table, f64) -> Result<MixedGraph>);

/// The learners of the chain. Nothing causes the action: PC is told so.
const CHAIN: [Learner; 6] = [
    ("pc", Role::Method, |table, alpha| {
        let mut knowledge = Knowledge::none();
        (0..3).for_each(|v| {
            knowledge.forbid(v, 3);
        });
        Ok(learn_pc(&FisherZ::new(table)?, table.names(), alpha, &knowledge)?.0)
    }),
    ("ges", Role::Method, |table, _| {
        Ok(ges(&GaussianBic::new(table, 0.5)?, table.names(), &GesConfig::default())?.graph)
    }),
    ("notears standardised", Role::Reference, |table, _| {
        Ok(notears(table, &NotearsConfig::default())?.dag.to_cpdag()?.into_mixed())
    }),
    ("notears as scaled", Role::Reference, |table, _| {
        let config = NotearsConfig { standardize: false, ..NotearsConfig::default() };
        Ok(notears(table, &config)?.dag.to_cpdag()?.into_mixed())
    }),
    ("correlation by variance", Role::Reference, |table, _| by_correlation(table, true)),
    ("no edge", Role::Reference, |table, _| Ok(MixedGraph::new(table.names().to_vec())?)),
];

fn learn_pc<T: IndependenceTest>(
    test: &T,
    names: &[String],
    alpha: f64,
    knowledge: &Knowledge,
) -> Result<(MixedGraph, u64)> {
    let result = pc(test, names, &PcConfig { alpha, ..PcConfig::default() }, knowledge)?;
    Ok((result.graph, result.skeleton.tests()))
}

/// The rule of thumb that discovery replaces: an edge where |r| > 0.1, pointing at the variable of larger variance.
fn by_correlation(table: &Table, directed: bool) -> Result<MixedGraph> {
    let rows = table.rows() as f64;
    let variance = |c: &[f64]| {
        let mean = c.iter().sum::<f64>() / rows;
        c.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / rows
    };
    let variances: Vec<f64> = table.columns().iter().map(|c| variance(c)).collect();
    let standard = table.standardized();
    let mut edges = Vec::new();
    for (b, y) in standard.columns().iter().enumerate() {
        for (a, x) in standard.columns()[..b].iter().enumerate() {
            let r = x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / rows;
            if r.abs() > 0.1 {
                edges.push(if variances[a] <= variances[b] { (a, b) } else { (b, a) });
            }
        }
    }
    let (arrows, lines) = if directed { (edges, vec![]) } else { (vec![], edges) };
    let plain = MixedGraph::from_edges(table.len(), &arrows, &lines)?;
    let mut named = MixedGraph::new(table.names().to_vec())?;
    for (a, at_a, at_b, b) in plain.edges() {
        named.set_edge(a, at_a, at_b, b)?;
    }
    Ok(named)
}

/// |estimate − 0.8| of the effect of X2 on X3: adjusted for the set of least variance in a member of the class.
fn effect_error(table: &Table, graph: &MixedGraph) -> Result<Option<f64>> {
    let Ok(dag) = Cpdag::try_from(graph.clone()).and_then(|class| class.to_dag()) else { return Ok(None) };
    if !dag.descendants(&[1]).contains(2) {
        return Ok(Some(0.8));
    }
    let adjust = optimal_adjustment(&dag, 1, 2);
    let columns: Vec<&[f64]> =
        std::iter::once(1).chain(adjust).map(|v| table.columns()[v].as_slice()).collect();
    let rows: Vec<usize> = (0..table.rows()).collect();
    let fit = causal::estimate::linear_regression(&table.columns()[2], &columns, &rows)?;
    Ok(Some((fit.coefficients[1] - 0.8).abs()))
}

fn chain(config: &Config, ctx: &mut Context) -> Result<()> {
    let scm = chain_model()?;
    let truth = scm.dag().to_cpdag()?.into_mixed();
    let streams = ctx.streams;
    for (name, role, learn) in CHAIN {
        let outcomes: Vec<Outcome> =
            ctx.session.once::<_, anyhow::Error>(&format!("chain/{name}"), |stage| {
                let mut outcomes = Vec::new();
                for i in 0..config.chain_repeats {
                    stage.progress(i, config.chain_repeats)?;
                    let table = scm.sample(config.chain_rows, &mut streams.stream("chain", i))?;
                    let guess = learn(&table, config.alpha)?;
                    let mut outcome = compare(&truth, &guess)?;
                    outcome.effect_error = effect_error(&table, &guess)?;
                    outcomes.push(outcome);
                }
                Ok(outcomes)
            })?;
        let mean = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / outcomes.len() as f64;
        let rows = config.chain_rows as u64;
        ctx.score("chain", name, role, SHD, rows, mean(|o| o.shd))?;
        let exact = Measure { metric: "exact graphs", unit: "share", higher_is_better: true };
        ctx.score("chain", name, role, exact, rows, mean(|o| o.exact))?;
        let errors: Vec<f64> = outcomes.iter().filter_map(|o| o.effect_error).collect();
        if errors.len() == outcomes.len() {
            let measure = Measure::error("error of the effect of X2 on X3", "");
            let error = errors.iter().sum::<f64>() / errors.len() as f64;
            ctx.score("chain", name, role, measure, rows, error)?;
        }
    }
    Ok(())
}

/// A network known by simulated rows.
struct Network {
    name: &'static str,
    rows: &'static str,
}

const NETWORKS: [Network; 3] = [
    Network { name: "asia", rows: include_str!("../../../crates/causal/tests/golden/asia2000.csv") },
    Network { name: "sachs", rows: include_str!("../../../crates/causal/tests/golden/sachs2000.csv") },
    Network { name: "alarm", rows: include_str!("../../../crates/causal/tests/golden/alarm2000.csv") },
];

/// Where the true graphs stand.
const TRUTHS: &str = include_str!("../../../crates/causal/tests/golden/discrete.json");

impl Network {
    fn truth(&self, names: &[String]) -> Result<Dag> {
        let data: serde_json::Value = serde_json::from_str(TRUTHS)?;
        let sets = data["datasets"].as_array().into_iter().flatten();
        let this = sets.into_iter().find(|d| d["name"] == self.name);
        let edges = this.map(|d| d["true_dag"].clone()).unwrap_or_default();
        Ok(Dag::new(names.to_vec(), &serde_json::from_value::<Vec<(usize, usize)>>(edges)?)?)
    }

    /// The learners on nested random subsets of the rows.
    fn learn(&self, config: &Config, ctx: &mut Context) -> Result<()> {
        let all = Csv::parse(self.name, self.rows)?.to_table(false)?;
        let truth = self.truth(all.names())?.to_cpdag()?.into_mixed();
        let order = permutation(all.rows(), &mut ctx.streams.stream(self.name, 0));
        let learners: [Learner; 5] = [
            ("pc g-square", Role::Method, |table, alpha| {
                let test = Contingency::new(table.to_categories()?, Discrepancy::GSquare)?;
                Ok(learn_pc(&test, table.names(), alpha, &Knowledge::none())?.0)
            }),
            ("pc chi-square", Role::Method, |table, alpha| {
                let test = Contingency::new(table.to_categories()?, Discrepancy::ChiSquare)?;
                Ok(learn_pc(&test, table.names(), alpha, &Knowledge::none())?.0)
            }),
            ("ges bdeu", Role::Method, |table, _| {
                let score = Bdeu::new(table.to_categories()?, 1.0, 1.0)?;
                Ok(ges(&score, table.names(), &GesConfig::default())?.graph)
            }),
            ("correlation", Role::Reference, |table, _| by_correlation(table, false)),
            ("no edge", Role::Reference, |table, _| Ok(MixedGraph::new(table.names().to_vec())?)),
        ];
        let mut lines = Vec::new();
        for (name, role, learn) in learners {
            let outcomes: Vec<Outcome> =
                ctx.session.once::<_, anyhow::Error>(&format!("{}/{name}", self.name), |stage| {
                    let mut outcomes = Vec::new();
                    for (i, &rows) in config.network_rows.iter().enumerate() {
                        stage.progress(i as u64, config.network_rows.len() as u64)?;
                        outcomes.push(self.outcome(&all, &truth, &order[..rows], config.alpha, learn)?);
                    }
                    Ok(outcomes)
                })?;
            if let (Some(last), Some(&rows)) = (outcomes.last(), config.network_rows.last()) {
                ctx.score(self.name, name, role, SHD, rows as u64, last.shd)?;
                ctx.score(self.name, name, role, F1, rows as u64, last.f1)?;
            }
            let x = config.network_rows.iter().map(|&n| n as f64).collect();
            lines.push(Line { name: name.into(), x, y: outcomes.iter().map(|o| o.shd).collect() });
        }
        ctx.figure(Figure {
            name: format!("{}-distance", self.name),
            title: format!("{}: distance from the true class ({} edges)", self.name, truth.edge_count()),
            x_label: "rows".into(),
            y_label: "structural Hamming distance".into(),
            lines,
        });
        Ok(())
    }

    /// One learner on some of the rows. A column that is constant there has no edge.
    fn outcome(
        &self,
        all: &Table,
        truth: &MixedGraph,
        rows: &[usize],
        alpha: f64,
        learn: fn(&Table, f64) -> Result<MixedGraph>,
    ) -> Result<Outcome> {
        let pick = |c: &Vec<f64>| rows.iter().map(|&r| c[r]).collect::<Vec<f64>>();
        let columns: Vec<Vec<f64>> = all.columns().iter().map(pick).collect();
        let varies = |v: &usize| columns[*v].iter().any(|x| *x != columns[*v][0]);
        let kept: Vec<usize> = (0..all.len()).filter(varies).collect();
        let names = kept.iter().map(|&v| all.names()[v].clone()).collect();
        let table = Table::new(names, kept.iter().map(|&v| columns[v].clone()).collect())?;
        let mut guess = MixedGraph::new(all.names().to_vec())?;
        for (a, at_a, at_b, b) in learn(&table, alpha)?.edges() {
            guess.set_edge(kept[a], at_a, at_b, kept[b])?;
        }
        compare(truth, &guess)
    }
}

/// 0..n in random order (Fisher and Yates).
fn permutation(n: usize, rng: &mut StreamRng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    (1..n).rev().for_each(|i| order.swap(i, rng.random_range(0..=i)));
    order
}

/// A linear model with p variables and on average `degree` neighbours each; weights ±U(0.3, 0.9), noise sd U(0.7, 1.3).
fn sparse_model(p: usize, degree: f64, rng: &mut StreamRng) -> Result<Scm> {
    let order = permutation(p, rng);
    let mut weights = Vec::new();
    for a in 0..p {
        for b in a + 1..p {
            if rng.random::<f64>() < degree / (p - 1) as f64 {
                let sign = if rng.random::<bool>() { 1.0 } else { -1.0 };
                weights.push((order[a], order[b], sign * rng.random_range(0.3..0.9)));
            }
        }
    }
    let noises = (0..p).map(|_| Noise::Normal { sd: rng.random_range(0.7..1.3) }).collect();
    Ok(Scm::linear(default_names(p), &weights, &vec![0.0; p], noises)?)
}

/// One size of the scaling part by one method.
#[derive(Clone, Serialize, Deserialize)]
struct Growth {
    shd_per_variable: f64,
    f1: f64,
    /// Independence tests of PC, steps of GES.
    work: f64,
    /// Seconds with one thread, with two.
    seconds: [f64; 2],
}

fn scaling(config: &Config, ctx: &mut Context) -> Result<()> {
    let streams = ctx.streams;
    let x: Vec<f64> = config.variables.iter().map(|&p| p as f64).collect();
    let [mut time, mut work, mut distance] = [
        ("scaling-time", "Time of discovery in sparse linear models", "seconds"),
        ("scaling-work", "Work of discovery in sparse linear models", "tests of PC, steps of GES"),
        ("scaling-distance", "Distance from the true class, per variable", "structural Hamming distance / p"),
    ]
    .map(|(name, title, y)| Figure {
        name: name.into(),
        title: title.into(),
        x_label: "variables".into(),
        y_label: y.into(),
        lines: vec![],
    });
    for name in ["pc", "ges"] {
        let growth: Vec<Growth> =
            ctx.session.once::<_, anyhow::Error>(&format!("scaling/{name}"), |stage| {
                let mut growth = Vec::new();
                for (i, &p) in config.variables.iter().enumerate() {
                    stage.progress(i as u64, config.variables.len() as u64)?;
                    let scm = sparse_model(p, config.degree, &mut streams.stream("model", p as u64))?;
                    let table = scm.sample(config.rows, &mut streams.stream("rows", p as u64))?;
                    growth.push(grow(name, &scm, &table, config.alpha)?);
                }
                Ok(growth)
            })?;
        let line = |name: String, of: &dyn Fn(&Growth) -> f64| Line {
            name,
            x: x.clone(),
            y: growth.iter().map(of).collect(),
        };
        for (threads, label) in ["1 thread", "2 threads"].into_iter().enumerate() {
            time.lines.push(line(format!("{name}, {label}"), &|g| g.seconds[threads]));
        }
        work.lines.push(line(name.into(), &|g| g.work));
        distance.lines.push(line(name.into(), &|g| g.shd_per_variable));
        if let (Some(last), Some(&p)) = (growth.last(), config.variables.last()) {
            let task = format!("{p} sparse variables");
            let per_variable = Measure::error("structural Hamming distance per variable", "edges");
            ctx.score(&task, name, Role::Method, per_variable, config.rows as u64, last.shd_per_variable)?;
            ctx.score(&task, name, Role::Method, F1, config.rows as u64, last.f1)?;
        }
    }
    [time, work, distance].into_iter().for_each(|figure| ctx.figure(figure));
    Ok(())
}

fn grow(name: &str, scm: &Scm, table: &Table, alpha: f64) -> Result<Growth> {
    let learn = || -> Result<(MixedGraph, f64)> {
        if name == "pc" {
            let (graph, tests) = learn_pc(&FisherZ::new(table)?, table.names(), alpha, &Knowledge::none())?;
            return Ok((graph, tests as f64));
        }
        // −2 ln L + k (ln n + 4 γ ln p) with γ = ½, as λ k ln n of the score's form.
        let lambda = 0.5 + (table.len() as f64).ln() / (table.rows() as f64).ln();
        let result = ges(&GaussianBic::new(table, lambda)?, table.names(), &GesConfig::default())?;
        Ok((result.graph, result.steps as f64))
    };
    let mut seconds = [0.0; 2];
    let mut learned = None;
    for (i, seconds) in seconds.iter_mut().enumerate() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(i + 1).build()?;
        let start = Instant::now();
        learned = Some(pool.install(learn)?);
        *seconds = start.elapsed().as_secs_f64();
    }
    let (graph, work) = learned.ok_or_else(|| anyhow::anyhow!("nothing was learned"))?;
    let outcome = compare(&scm.dag().to_cpdag()?.into_mixed(), &graph)?;
    Ok(Growth { shd_per_variable: outcome.shd / table.len() as f64, f1: outcome.f1, work, seconds })
}
