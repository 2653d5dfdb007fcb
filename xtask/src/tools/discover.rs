//! `cargo xtask discover`: a causal graph from a CSV file, by `causal::discovery`.

use super::{answer, causal_refusal, read};
use crate::input::bad;
use crate::table;
use anyhow::Result;
use causal::data::Csv;
use causal::discovery::{
    DiscoveryReport, EdgeReport, KnowledgeFile, Method, Request, TestKind, run as discover,
};
use causal::graph::Mark;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rl_core::experiment::write_atomically;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const METHODS: [&str; 8] = ["pc", "fci", "ges", "gies", "lingam", "notears", "dagma", "pcmci"];
const TESTS: [&str; 6] = ["fisher-z", "fisher-z-missing", "chi-square", "g-square", "kci", "mixed"];

/// Flags of `discover`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Data: CSV with a header line, one column per variable
    data: PathBuf,
    /// How the graph is found
    #[arg(long, default_value = "pc", value_parser = PossibleValuesParser::new(METHODS).try_map(|name| name.parse::<Method>()))]
    method: Method,
    /// Independence test of pc and fci; ges scores categories when it is chi-square or g-square [default: fisher-z]
    #[arg(long, value_parser = PossibleValuesParser::new(TESTS).try_map(|name| name.parse::<TestKind>()))]
    test: Option<TestKind>,
    /// Level of the tests of pc, fci and pcmci, between 0 and 1
    #[arg(long, default_value_t = 0.05, allow_hyphen_values = true)]
    alpha: f64,
    /// Most variables pc and fci condition on at once; no limit if left out
    #[arg(long, value_name = "N")]
    max_depth: Option<usize>,
    /// Largest lag of pcmci, in rows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    tau_max: u16,
    /// Background knowledge: JSON with tiers, forbidden and required edges, exogenous variables, environments
    #[arg(long, value_name = "FILE")]
    knowledge: Option<PathBuf>,
    /// Also write the graph in the DOT language
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// Print one JSON object and nothing else on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    if !(args.alpha > 0.0 && args.alpha < 1.0) {
        return Err(bad(format!("--alpha {}: must be between 0 and 1, such as 0.05", args.alpha)));
    }
    if let Some(path) = &args.dot {
        check_writable(path, &args.data)?;
    }
    let source = args.data.display().to_string();
    let csv = Csv::parse(&source, &read(&args.data)?).map_err(|e| causal_refusal(&source, e))?;
    let knowledge = knowledge(args)?;
    let test = args.test.unwrap_or_default();
    let (max_depth, tau_max) = (args.max_depth, usize::from(args.tau_max));
    let request = Request { method: args.method, test, alpha: args.alpha, max_depth, tau_max, knowledge };
    let mut report = discover(&csv, &request).map_err(|error| refusal(args, error))?;
    report.notes.extend(unused_test(args));
    if let Some(path) = &args.dot {
        write_atomically(path, report.dot.as_bytes()).map_err(|e| bad(format!("--dot {e}")))?;
    }
    answer(args.json, &report, || text(&source, &report))
}

/// Refuses a file that could not be written, before the work is done.
fn check_writable(path: &Path, data: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let what = match folder {
        _ if path.is_dir() => "is a folder; name a file",
        _ if path == data => "would replace the data; name another file",
        Some(folder) if !folder.is_dir() => "its folder does not exist; make it first",
        _ => return Ok(()),
    };
    Err(bad(format!("--dot {}: {what}", path.display())))
}

fn knowledge(args: &Args) -> Result<KnowledgeFile> {
    let Some(path) = &args.knowledge else { return Ok(KnowledgeFile::default()) };
    KnowledgeFile::parse(&read(path)?).map_err(|error| causal_refusal(&path.display().to_string(), error))
}

/// Names and contradictions come from the knowledge file, all else from the data.
fn refusal(args: &Args, error: causal::Error) -> anyhow::Error {
    let from_knowledge = matches!(error, causal::Error::UnknownName { .. } | causal::Error::Knowledge(_));
    let source = args.knowledge.as_ref().filter(|_| from_knowledge).unwrap_or(&args.data);
    causal_refusal(&source.display().to_string(), error)
}

/// A test that was asked for and has no part in the method is not passed over in silence.
fn unused_test(args: &Args) -> Option<String> {
    let test = args.test?;
    let why = match args.method {
        Method::Pc | Method::Fci => return None,
        Method::Ges if matches!(test, TestKind::ChiSquare | TestKind::GSquare) => {
            "ges tests nothing: the columns were scored as categories, by BDeu"
        }
        Method::Ges | Method::Gies => "this method tests nothing: it scores graphs by BIC",
        Method::Pcmci if test == TestKind::FisherZ => return None,
        Method::Pcmci => "pcmci tests partial correlations, whatever --test says",
        _ => "this method tests nothing: --test has no part in it",
    };
    Some(why.into())
}

fn name(word: impl Serialize) -> String {
    serde_json::to_value(word).ok().and_then(|word| word.as_str().map(String::from)).unwrap_or_default()
}

fn text(source: &str, report: &DiscoveryReport) -> String {
    let mut how = name(report.method);
    if let Some(test) = report.test {
        how.push_str(&format!(", {}", name(test)));
    }
    if let Some(alpha) = report.alpha {
        how.push_str(&format!(", alpha {alpha}"));
    }
    let (rows, variables) = (report.rows, report.variables.len());
    let mut lines = vec![format!("{source}: {rows} rows, {variables} variables; {how}"), String::new()];
    lines.push(if report.links.is_empty() { edges(&report.edges) } else { links(report) });
    lines.push(String::new());
    if let Some(order) = &report.order {
        lines.push(format!("causal order: {}", order.join(", ")));
    }
    if let Some(score) = report.score {
        lines.push(format!("score: {score:.4}"));
    }
    if let Some(tests) = report.tests {
        lines.push(format!("independence tests: {tests}"));
    }
    if let Some(size) = &report.class_size {
        lines.push(format!("DAGs in the class: {size}"));
    }
    if let Some(member) = report.member.as_ref().filter(|member| !member.is_empty()) {
        let arrows: Vec<String> = member.iter().map(|[a, b]| format!("{a} -> {b}")).collect();
        lines.push(format!("one member: {}", arrows.join(", ")));
    }
    lines.extend(report.conflicts.iter().map(|collider| format!("left out: {collider}")));
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

fn edges(edges: &[EdgeReport]) -> String {
    if edges.is_empty() {
        return "no edges".into();
    }
    let strong = edges.iter().any(|edge| edge.strength.is_some());
    let cells = |edge: &EdgeReport| {
        let (left, right) = (glyph(edge.from_mark, '<'), glyph(edge.to_mark, '>'));
        let mut cells = vec![edge.from.clone(), format!("{left}-{right}"), edge.to.clone()];
        if strong {
            cells.push(edge.strength.map_or(String::new(), table::number));
        }
        cells
    };
    let header = &["from", "", "to", "strength"][..if strong { 4 } else { 3 }];
    table::aligned(header, &edges.iter().map(cells).collect::<Vec<_>>())
}

fn glyph(mark: Mark, arrow: char) -> char {
    match mark {
        Mark::Tail => '-',
        Mark::Arrow => arrow,
        Mark::Circle => 'o',
    }
}

fn links(report: &DiscoveryReport) -> String {
    let cells = report.links.iter().map(|link| {
        let (strength, p) = (table::number(link.strength), table::number(link.p_value));
        vec![link.from.clone(), "-->".into(), link.to.clone(), link.lag.to_string(), strength, p]
    });
    table::aligned(&["from", "", "to", "lag", "strength", "p"], &cells.collect::<Vec<_>>())
}
