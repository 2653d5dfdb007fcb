//! Discovery on a user's CSV file: one request, one serialisable report. What the `discover` command prints.

use super::{
    ColliderRule, ConflictRule, DagmaConfig, FciConfig, GaussianBic, GesConfig, InterventionalBic,
    KnowledgeFile, NotearsConfig, PcConfig, PcmciConfig, dagma, direct_lingam, fci, ges, gies, notears, pc,
    pcmci,
};
use crate::data::{Csv, Table};
use crate::error::{Error, Result};
use crate::graph::{Cpdag, Mark, MixedGraph};
use crate::independence::{
    ColumnKind, Contingency, DegenerateGaussian, Discrepancy, FisherZ, IndependenceTest, Kci, MissingFisherZ,
};
use serde::{Deserialize, Serialize};

/// The methods of the `--method` flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// PC-stable.
    #[default]
    Pc,
    /// FCI.
    Fci,
    /// GES with BIC, or with BDeu when the test is one for categories.
    Ges,
    /// GIES with BIC; the knowledge file names the environments.
    Gies,
    /// DirectLiNGAM.
    Lingam,
    /// NOTEARS on standardised data.
    Notears,
    /// DAGMA on standardised data.
    Dagma,
    /// PCMCI; the knowledge file may name the episode column.
    Pcmci,
}

/// The tests of the `--test` flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestKind {
    /// Partial correlation.
    #[default]
    FisherZ,
    /// Partial correlation on the complete rows of each test.
    FisherZMissing,
    /// Pearson's χ².
    ChiSquare,
    /// Likelihood ratio G².
    GSquare,
    /// Kernel test.
    Kci,
    /// Numbers and categories mixed: columns with at most ten distinct whole numbers count as categories.
    Mixed,
}

impl TestKind {
    fn takes_categories(self) -> bool {
        matches!(self, Self::ChiSquare | Self::GSquare)
    }
}

macro_rules! parse_by_serde {
    ($name:ident, $what:literal) => {
        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                serde_json::from_value(serde_json::Value::String(text.into()))
                    .map_err(|e| Error::parse($what, e))
            }
        }
    };
}
parse_by_serde!(Method, "method");
parse_by_serde!(TestKind, "test");

/// What to do with a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The independence test of PC and FCI.
    pub test: TestKind,
    /// Level of the tests. 0.05.
    pub alpha: f64,
    /// Largest conditioning set of PC and FCI.
    pub max_depth: Option<usize>,
    /// Largest lag of PCMCI. 1.
    pub tau_max: usize,
    /// Background knowledge.
    pub knowledge: KnowledgeFile,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: Method::default(),
            test: TestKind::default(),
            alpha: 0.05,
            max_depth: None,
            tau_max: 1,
            knowledge: KnowledgeFile::default(),
        }
    }
}

/// An edge with names and marks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EdgeReport {
    /// One end.
    pub from: String,
    /// The other end; the arrowhead's for a directed edge.
    pub to: String,
    /// Mark at `from`.
    pub from_mark: Mark,
    /// Mark at `to`.
    pub to_mark: Mark,
    /// Strength, where the method estimates one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
}

/// A lagged link with names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkReport {
    /// The cause.
    pub from: String,
    /// The effect.
    pub to: String,
    /// Steps between them.
    pub lag: usize,
    /// Partial correlation.
    pub strength: f64,
    /// p-value.
    pub p_value: f64,
}

/// What was found; the object of `discover --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiscoveryReport {
    /// The method.
    pub method: Method,
    /// The test, for the methods that use one.
    pub test: Option<TestKind>,
    /// The level, for the methods that use one.
    pub alpha: Option<f64>,
    /// Number of rows.
    pub rows: usize,
    /// Names of the variables.
    pub variables: Vec<String>,
    /// The edges.
    pub edges: Vec<EdgeReport>,
    /// The lagged links of PCMCI.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkReport>,
    /// The causal order of LiNGAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<String>>,
    /// The score of GES and GIES.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Number of independence tests of PC and FCI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tests: Option<u64>,
    /// Refused colliders `x -> y <- z` of PC.
    pub conflicts: Vec<String>,
    /// Number of DAGs in the class, when the graph is a valid class (as text: it can exceed 2⁶⁴).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_size: Option<String>,
    /// One DAG of the class, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<Vec<[String; 2]>>,
    /// What the reader should know, such as why the graph is no valid class.
    pub notes: Vec<String>,
    /// The graph in the DOT language.
    pub dot: String,
}

/// Runs a request on the cells of a CSV file.
///
/// # Errors
/// [`Error::Data`] naming row and column for unusable cells, constant columns and too few rows;
/// [`Error::Knowledge`] for knowledge the method does not take; and whatever the method reports.
pub fn run(csv: &Csv, request: &Request) -> Result<DiscoveryReport> {
    let plain = request.knowledge.forbidden.is_empty()
        && request.knowledge.required.is_empty()
        && request.knowledge.tiers.is_empty();
    match request.method {
        Method::Pc | Method::Fci => by_tests(csv, request),
        Method::Pcmci if plain => lagged(csv, request),
        Method::Gies if plain && request.knowledge.exogenous.is_empty() => interventional(csv, request),
        Method::Pcmci | Method::Gies => Err(not_taken(request.method, "tiers, forbidden and required edges")),
        _ if !plain || !request.knowledge.exogenous.is_empty() => {
            Err(not_taken(request.method, "background knowledge"))
        }
        Method::Ges => by_score(csv, request),
        Method::Lingam => linear_non_gaussian(csv, request),
        Method::Notears | Method::Dagma => continuous(csv, request),
    }
}

fn not_taken(method: Method, what: &str) -> Error {
    Error::Knowledge(format!("{method:?} takes no {what}; use pc or fci, or leave the knowledge file out"))
}

/// Builds the independence test of the request and runs PC or FCI with it.
fn by_tests(csv: &Csv, request: &Request) -> Result<DiscoveryReport> {
    match request.test {
        TestKind::FisherZ => {
            let table = csv.to_table(false)?;
            with_test(&FisherZ::new(&table)?, table.rows(), csv, request)
        }
        TestKind::FisherZMissing => {
            let table = csv.to_table(true)?;
            let rows = table.rows();
            with_test(&MissingFisherZ::new(table)?, rows, csv, request)
        }
        TestKind::Kci => {
            let table = csv.to_table(false)?;
            with_test(&Kci::new(&table)?, table.rows(), csv, request)
        }
        TestKind::Mixed => {
            let table = csv.to_table(false)?;
            let kinds: Vec<ColumnKind> = table.columns().iter().map(|c| kind_of(c)).collect();
            with_test(&DegenerateGaussian::new(&table, &kinds)?, table.rows(), csv, request)
        }
        TestKind::ChiSquare | TestKind::GSquare => {
            let data = csv.to_categories()?;
            let square = request.test == TestKind::ChiSquare;
            let discrepancy = if square { Discrepancy::ChiSquare } else { Discrepancy::GSquare };
            let rows = data.rows();
            with_test(&Contingency::new(data, discrepancy)?, rows, csv, request)
        }
    }
}

fn kind_of(column: &[f64]) -> ColumnKind {
    let mut distinct: Vec<f64> = column.to_vec();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    let few_whole = distinct.len() <= 10 && distinct.iter().all(|v| v.fract() == 0.0);
    if few_whole { ColumnKind::Categorical } else { ColumnKind::Continuous }
}

fn with_test<T: IndependenceTest>(
    test: &T,
    rows: usize,
    csv: &Csv,
    request: &Request,
) -> Result<DiscoveryReport> {
    let knowledge = request.knowledge.resolve(csv.names())?;
    if request.method == Method::Fci {
        let config = FciConfig { alpha: request.alpha, max_depth: request.max_depth };
        let result = fci(test, csv.names(), &config, &knowledge)?;
        let mut report = DiscoveryReport::new(request, rows, &result.graph);
        report.tests = Some(result.skeleton.tests());
        if let Err(reason) = result.pag() {
            report.notes.push(format!("on these data the marks contradict each other: {reason}"));
        }
        return Ok(report);
    }
    let config = PcConfig {
        alpha: request.alpha,
        max_depth: request.max_depth,
        collider_rule: ColliderRule::default(),
        conflict_rule: ConflictRule::default(),
    };
    let result = pc(test, csv.names(), &config, &knowledge)?;
    let mut report = DiscoveryReport::new(request, rows, &result.graph);
    report.tests = Some(result.skeleton.tests());
    let name = |v: usize| &csv.names()[v];
    report.conflicts = result
        .conflicts
        .iter()
        .map(|c| format!("{} -> {} <- {}", name(c.left), name(c.collider), name(c.right)))
        .collect();
    if !report.conflicts.is_empty() {
        report.notes.push("conflicts lists colliders that contradict stronger ones and were left out".into());
    }
    report.describe_class(&result.graph)?;
    Ok(report)
}

fn by_score(csv: &Csv, request: &Request) -> Result<DiscoveryReport> {
    let config = GesConfig::default();
    let (rows, result) = if request.test.takes_categories() {
        let data = csv.to_categories()?;
        (data.rows(), ges(&super::Bdeu::new(data, 1.0, 1.0)?, csv.names(), &config)?)
    } else {
        let table = csv.to_table(false)?;
        (table.rows(), ges(&GaussianBic::new(&table, 0.5)?, csv.names(), &config)?)
    };
    let mut report = DiscoveryReport::new(request, rows, &result.graph);
    report.score = Some(result.score);
    report.describe_class(&result.graph)?;
    Ok(report)
}

/// Splits a table by the values of one column, in ascending order; the column itself is left out.
fn split(table: &Table, column: &str) -> Result<(Vec<f64>, Vec<Table>)> {
    let marker = table.index_of(column)?;
    let mut values = table.columns()[marker].clone();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let others: Vec<usize> = (0..table.len()).filter(|&v| v != marker).collect();
    let names: Vec<String> = others.iter().map(|&v| table.names()[v].clone()).collect();
    let part = |value: &f64| {
        let rows: Vec<usize> = (0..table.rows()).filter(|&r| table.columns()[marker][r] == *value).collect();
        let pick = |&v: &usize| rows.iter().map(|&r| table.columns()[v][r]).collect();
        Table::new(names.clone(), others.iter().map(pick).collect())
    };
    let parts = values.iter().map(part).collect::<Result<_>>()?;
    Ok((values, parts))
}

fn interventional(csv: &Csv, request: &Request) -> Result<DiscoveryReport> {
    let table = csv.to_table(false)?;
    let environments = request.knowledge.environments.as_ref().ok_or_else(|| {
        Error::Knowledge(
            r#"gies needs a knowledge file with {"environments": {"column": "env", "targets": {"1": ["X2"]}}}"#.into(),
        )
    })?;
    let (values, parts) = split(&table, &environments.column)?;
    let label = |value: &f64| value.to_string();
    if let Some(unknown) = environments.targets.keys().find(|k| !values.iter().any(|v| label(v) == **k)) {
        let message = format!("environment `{unknown}` does not occur in column `{}`", environments.column);
        return Err(Error::Knowledge(message));
    }
    let mut targets = Vec::with_capacity(parts.len());
    for (value, part) in values.iter().zip(&parts) {
        let named = environments.targets.get(&label(value)).map_or(&[][..], Vec::as_slice);
        targets.push(named.iter().map(|n| part.index_of(n)).collect::<Result<Vec<_>>>()?);
    }
    let score = InterventionalBic::new(&parts, &targets, 0.5)?;
    let result = gies(&score, parts[0].names(), &targets, &GesConfig::gies())?;
    let mut report = DiscoveryReport::new(request, table.rows(), &result.graph);
    report.score = Some(result.score);
    report.member = Some(named_pairs(&result.graph, &result.dag.edges()));
    Ok(report)
}

fn linear_non_gaussian(csv: &Csv, request: &Request) -> Result<DiscoveryReport> {
    let table = csv.to_table(false)?;
    let result = direct_lingam(&table)?;
    let mut report = DiscoveryReport::new(request, table.rows(), &result.dag.to_mixed()?);
    report.order = Some(result.order.iter().map(|&v| csv.names()[v].clone()).collect());
    report.set_strengths(|from, to| result.strengths[to][from]);
    Ok(report)
}

fn continuous(csv: &Csv, request: &Request) -> Result<DiscoveryReport> {
    let table = csv.to_table(false)?;
    let result = match request.method {
        Method::Dagma => dagma(&table, &DagmaConfig::default())?,
        _ => notears(&table, &NotearsConfig::default())?,
    };
    let mut report = DiscoveryReport::new(request, table.rows(), &result.dag.to_mixed()?);
    report.set_strengths(|from, to| result.weights[from][to]);
    report
        .notes
        .push("columns were standardised: on raw data this method follows the order of the variances".into());
    Ok(report)
}

fn lagged(csv: &Csv, request: &Request) -> Result<DiscoveryReport> {
    let table = csv.to_table(false)?;
    let episodes = match &request.knowledge.episodes {
        Some(column) => split(&table, column)?.1,
        None => vec![table.clone()],
    };
    let names = episodes[0].names().to_vec();
    let config = PcmciConfig {
        tau_max: request.tau_max,
        alpha: request.alpha,
        exogenous: request
            .knowledge
            .exogenous
            .iter()
            .map(|n| episodes[0].index_of(n))
            .collect::<Result<_>>()?,
        ..PcmciConfig::default()
    };
    let result = pcmci(&episodes, &config)?;
    let mut report = DiscoveryReport::new(request, table.rows(), &MixedGraph::new(names.clone())?);
    report.links = result
        .links
        .iter()
        .map(|l| LinkReport {
            from: names[l.source].clone(),
            to: names[l.target].clone(),
            lag: l.lag,
            strength: l.strength,
            p_value: l.p_value,
        })
        .collect();
    report.dot = lagged_dot(&names, &report.links);
    Ok(report)
}

fn lagged_dot(names: &[String], links: &[LinkReport]) -> String {
    let quoted = |n: &str| format!("\"{}\"", n.replace('\\', "\\\\").replace('"', "\\\""));
    let nodes: String = names.iter().map(|n| format!("  {};\n", quoted(n))).collect();
    let each =
        |l: &LinkReport| format!("  {} -> {} [label=\"{}\"];\n", quoted(&l.from), quoted(&l.to), l.lag);
    let edges: String = links.iter().map(each).collect();
    format!("digraph {{\n{nodes}{edges}}}\n")
}

fn named_pairs(graph: &MixedGraph, edges: &[(usize, usize)]) -> Vec<[String; 2]> {
    edges.iter().map(|&(a, b)| [graph.name(a).to_string(), graph.name(b).to_string()]).collect()
}

impl DiscoveryReport {
    fn new(request: &Request, rows: usize, graph: &MixedGraph) -> Self {
        let edge = |(a, at_a, at_b, b): (usize, Mark, Mark, usize)| {
            let flip = at_a == Mark::Arrow && at_b != Mark::Arrow;
            let (a, at_a, at_b, b) = if flip { (b, at_b, at_a, a) } else { (a, at_a, at_b, b) };
            let (from, to) = (graph.name(a).to_string(), graph.name(b).to_string());
            EdgeReport { from, to, from_mark: at_a, to_mark: at_b, strength: None }
        };
        let tested = matches!(request.method, Method::Pc | Method::Fci);
        Self {
            method: request.method,
            test: tested.then_some(request.test),
            alpha: (tested || request.method == Method::Pcmci).then_some(request.alpha),
            rows,
            variables: graph.names().map(String::from).collect(),
            edges: graph.edges().into_iter().map(edge).collect(),
            links: Vec::new(),
            order: None,
            score: None,
            tests: None,
            conflicts: Vec::new(),
            class_size: None,
            member: None,
            notes: Vec::new(),
            dot: graph.to_dot(),
        }
    }

    fn set_strengths(&mut self, strength: impl Fn(usize, usize) -> f64) {
        let find = |name: &str, names: &[String]| names.iter().position(|n| n == name).unwrap_or(0);
        for edge in &mut self.edges {
            edge.strength =
                Some(strength(find(&edge.from, &self.variables), find(&edge.to, &self.variables)));
        }
    }

    /// Adds the size of the class and a member, or a note on why the graph is no class.
    fn describe_class(&mut self, graph: &MixedGraph) -> Result<()> {
        match Cpdag::try_from(graph.clone()) {
            Ok(class) => {
                self.class_size = class.member_count().ok().map(|n| n.to_string());
                self.member = Some(named_pairs(graph, &class.to_dag()?.edges()));
            }
            Err(Error::InvalidGraph { reason, .. }) => {
                self.notes.push(format!("the graph is not a single equivalence class: {reason}"));
                if let Ok(dag) = crate::graph::consistent_extension(graph) {
                    self.member = Some(named_pairs(graph, &dag.edges()));
                }
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scm::{Noise, Scm};
    use std::fmt::Write;

    /// The chain X1 → X2 → X3 with X1 → X3 and an action A → X2.
    fn chain(rows: usize) -> String {
        let names = ["X1", "X2", "X3", "A"].map(String::from).to_vec();
        let weights = [(0, 1, 0.7), (1, 2, 0.5), (0, 2, 0.8), (3, 1, 0.3)];
        let noise = |sd| Noise::Normal { sd };
        let noises = vec![noise(0.5), noise(0.3), noise(0.4), noise(1.0)];
        let scm = Scm::linear(names, &weights, &[0.0; 4], noises).unwrap();
        let table = scm.sample(rows, &mut rl_core::SeedStream::new(1).stream("chain", 0)).unwrap();
        let mut text = String::from("X1,X2,X3,A\n");
        for r in 0..rows {
            let cells: Vec<String> = table.columns().iter().map(|c| c[r].to_string()).collect();
            writeln!(text, "{}", cells.join(",")).unwrap();
        }
        text
    }

    #[test]
    fn every_method_answers_and_serialises() {
        let csv = Csv::parse("chain.csv", &chain(600)).unwrap();
        for method in ["pc", "fci", "ges", "lingam", "notears", "pcmci"] {
            let request = Request { method: method.parse().unwrap(), ..Request::default() };
            let report = run(&csv, &request).unwrap();
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(json["method"], method);
            assert!(report.dot.starts_with("digraph"));
        }
    }

    #[test]
    fn the_action_is_a_cause_and_never_an_effect() {
        let csv = Csv::parse("chain.csv", &chain(1000)).unwrap();
        let knowledge = KnowledgeFile { exogenous: vec!["A".into()], ..KnowledgeFile::default() };
        let report = run(&csv, &Request { knowledge, ..Request::default() }).unwrap();
        let into: Vec<&EdgeReport> = report.edges.iter().filter(|e| e.from == "A" || e.to == "A").collect();
        assert!(
            into.iter().any(|e| e.from == "A" && e.to == "X2" && e.to_mark == Mark::Arrow),
            "{:?}",
            report.edges
        );
        assert!(into.iter().all(|e| e.to != "A"));
    }

    #[test]
    fn unsuitable_requests_say_what_to_do() {
        let csv = Csv::parse("chain.csv", &chain(100)).unwrap();
        let message = |request: &Request| run(&csv, request).unwrap_err().to_string();
        let gies = Request { method: Method::Gies, ..Request::default() };
        assert!(message(&gies).contains("environments"));
        let knowledge =
            KnowledgeFile { forbidden: vec![["A".into(), "X1".into()]], ..KnowledgeFile::default() };
        let ges = Request { method: Method::Ges, knowledge, ..Request::default() };
        assert!(message(&ges).contains("use pc or fci"));
        assert!("pcc".parse::<Method>().unwrap_err().to_string().contains("pcmci"));
        let alpha = Request { alpha: 0.0, ..Request::default() };
        assert!(message(&alpha).contains("alpha"));
    }

    #[test]
    fn environments_and_episodes_come_from_columns() {
        let body = chain(300);
        let mut text = String::new();
        for (i, line) in body.lines().enumerate() {
            let env = if i == 0 { "env".into() } else { ((i - 1) / 100).to_string() };
            writeln!(text, "{env},{line}").unwrap();
        }
        let csv = Csv::parse("env.csv", &text).unwrap();
        let file = r#"{"environments": {"column": "env", "targets": {"1": ["X2"]}}, "episodes": "env"}"#;
        let knowledge = KnowledgeFile::parse(file).unwrap();
        let gies =
            run(&csv, &Request { method: Method::Gies, knowledge: knowledge.clone(), ..Request::default() });
        assert_eq!(gies.unwrap().variables, ["X1", "X2", "X3", "A"]);
        let pcmci = run(&csv, &Request { method: Method::Pcmci, knowledge, ..Request::default() });
        assert_eq!(pcmci.unwrap().variables.len(), 4);
    }
}
