//! `cargo xtask identify`: whether observations can answer what an intervention does, by `causal::identify`.

use super::{answer, braces, causal_refusal, read, unknown};
use crate::input::bad;
use anyhow::Result;
use causal::graph::{Admg, GraphFile};
use causal::identify::{Report, identify};
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `identify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Graph: JSON with nodes, directed and bidirected edges, latent nodes
    graph: PathBuf,
    /// The variable that is set; may be repeated for several at once
    #[arg(long, value_name = "X", required = true)]
    treatment: Vec<String>,
    /// The variable whose distribution is asked for; may be repeated
    #[arg(long, value_name = "Y", required = true)]
    outcome: Vec<String>,
    /// Print one JSON object and nothing else on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the command. That an effect is not identifiable is an answer, not a failure.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let source = args.graph.display().to_string();
    let refuse = |error| causal_refusal(&source, error);
    let file = GraphFile::parse(&read(&args.graph)?).map_err(refuse)?;
    let graph = file.to_admg().map_err(refuse)?;
    check(&source, &file, &graph, "--treatment", &args.treatment)?;
    check(&source, &file, &graph, "--outcome", &args.outcome)?;
    if let Some(both) = args.treatment.iter().find(|name| args.outcome.contains(name)) {
        return Err(bad(format!("`{both}` is both --treatment and --outcome; name two different variables")));
    }
    let effect = format!("P({} | do({}))", args.outcome.join(", "), args.treatment.join(", "));
    let treatment: Vec<&str> = args.treatment.iter().map(String::as_str).collect();
    let outcome: Vec<&str> = args.outcome.iter().map(String::as_str).collect();
    let report = identify(&graph, &treatment, &outcome).map_err(refuse)?;
    answer(args.json, &report, || text(&effect, &report))
}

fn check(source: &str, file: &GraphFile, graph: &Admg, flag: &str, names: &[String]) -> Result<()> {
    let known: Vec<&str> = graph.names().collect();
    for (i, name) in names.iter().enumerate() {
        if file.latent.contains(name) {
            let mend = "ask for an observed variable, or take it off the list `latent`";
            return Err(bad(format!("{flag} {name}: `{name}` is latent in {source}; {mend}")));
        }
        if !known.contains(&name.as_str()) {
            return Err(bad(format!("{flag} {name}: {source} has {}", unknown("variable", name, &known))));
        }
        if names[..i].contains(name) {
            return Err(bad(format!("{flag} {name} is given twice; leave one out")));
        }
    }
    Ok(())
}

fn text(effect: &str, report: &Report) -> String {
    let mut lines = Vec::new();
    match (&report.formula, &report.hedge) {
        (Some(formula), _) => {
            lines.push(format!("{effect} is identifiable"));
            lines.push(format!("{effect} = {formula}"));
        }
        (None, hedge) => {
            lines
                .push(format!("{effect} is not identifiable: models with equal observations disagree on it"));
            if let Some(hedge) = hedge {
                let (outer, inner) = (braces(&hedge.forest), braces(&hedge.inner_forest));
                lines.push(format!("hedge: {outer} over {inner}, roots {}", braces(&hedge.roots)));
            }
        }
    }
    lines.push(String::new());
    lines.push(format!("minimal adjustment sets: {}", sets(report.minimal_adjustment_sets.as_deref())));
    if let Some(optimal) = &report.optimal_adjustment_set {
        lines.push(format!("optimal adjustment set: {}", braces(optimal)));
    }
    if report.treatment.len() == 1 && report.outcome.len() == 1 {
        lines.push(format!("front-door sets: {}", sets(report.front_door_sets.as_deref())));
        let instruments = report.instruments.iter().map(|i| match i.given.is_empty() {
            true => i.instrument.clone(),
            false => format!("{} given {}", i.instrument, braces(&i.given)),
        });
        let instruments: Vec<String> = instruments.collect();
        let none = instruments.is_empty();
        lines.push(format!("instruments: {}", if none { "none".into() } else { instruments.join("; ") }));
    }
    lines.join("\n")
}

fn sets(sets: Option<&[Vec<String>]>) -> String {
    match sets {
        None => "not listed, there are more than 20 candidates".into(),
        Some([]) => "none".into(),
        Some(sets) => sets.iter().map(|set| braces(set)).collect::<Vec<_>>().join(" "),
    }
}
