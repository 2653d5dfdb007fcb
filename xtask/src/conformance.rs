//! `cargo xtask conformance`: replays reference data of other packages, one row per file.

use crate::input::{bad, nearest};
use crate::{machine, table};
use anyhow::Result;
use rl_core::conformance::rl_core::{SECTIONS, Section, check_sections};
use rl_core::conformance::{Row, replay};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Flags of `conformance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Area, such as rl-core; all if left out
    area: Option<String>,
    /// Folder of reference data, in the schema of crates/<area>/tests/golden
    #[arg(long, value_name = "DIR", requires = "area")]
    data: Option<PathBuf>,
    /// Print one JSON array of rows and nothing else on stdout
    #[arg(long)]
    json: bool,
}

/// An area: its name, its crate, and the function that replays a folder.
struct Area {
    name: &'static str,
    folder: &'static str,
    run: fn(&Path) -> Vec<Row>,
}

fn areas() -> &'static [Area] {
    const AREAS: &[Area] = &[
        Area { name: "rl-core", folder: "rl-core", run: rl_core },
        Area { name: "marl", folder: "marl", run: marl::conformance::run },
        Area { name: "causal", folder: "causal", run: causal::conformance::run },
        Area { name: "quantum", folder: "quantum-sim", run: quantum_sim::conformance::run },
        Area { name: "federated", folder: "federated", run: federated::conformance::run },
    ];
    AREAS
}

/// The sections of `rl_core.json` are shared among crates; together they leave none out.
fn rl_core(folder: &Path) -> Vec<Row> {
    let mut rows = rl_core::env::conformance::run(folder);
    if folder.join("rl_core.json").is_file() {
        let sections: Vec<Section> =
            SECTIONS.iter().chain(world_models::conformance::SECTIONS).copied().collect();
        rows.push(replay("rl-core", folder, "rl_core.json", |data, checker| {
            check_sections(data, checker, &sections, &[])
        }));
    }
    if folder.join("statistics.json").is_file() {
        rows.push(rl_core::experiment::conformance::run(folder));
    }
    rows
}

/// Runs the command; fails unless every row passes.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let rows = rows(args)?;
    if args.json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        println!("{}", text(&rows));
    }
    Ok(if rows.iter().all(|row| row.pass) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rows(args: &Args) -> Result<Vec<Row>> {
    if let Some(folder) = args.data.as_deref().filter(|folder| !folder.is_dir()) {
        return Err(bad(format!("--data {}: there is no such folder", folder.display())));
    }
    let chosen: Vec<&Area> = match &args.area {
        None => areas().iter().collect(),
        Some(name) => vec![find(name)?],
    };
    let mut rows = Vec::new();
    for area in chosen {
        let golden = machine::workspace().join("crates").join(area.folder).join("tests/golden");
        let folder = args.data.as_deref().unwrap_or(&golden);
        let replayed = (area.run)(folder);
        if replayed.is_empty() {
            return Err(bad(format!(
                "{}: no reference data of {} in this folder",
                folder.display(),
                area.name
            )));
        }
        report_unclaimed(folder, &replayed);
        rows.extend(replayed);
    }
    Ok(rows)
}

/// Says on stderr which JSON files of the folder no check belongs to.
fn report_unclaimed(folder: &Path, rows: &[Row]) {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()).filter(|name| name.ends_with(".json")) {
        if !rows.iter().any(|row| row.file == name) {
            eprintln!("note: {} is replayed by no check", folder.join(name).display());
        }
    }
}

fn find(name: &str) -> Result<&'static Area> {
    areas().iter().find(|area| area.name == name).ok_or_else(|| {
        let names: Vec<&str> = areas().iter().map(|area| area.name).collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(alike) => format!("did you mean `{alike}`?"),
            None => format!("there are: {}", names.join(", ")),
        };
        bad(format!("no area `{name}`; {hint}"))
    })
}

/// The rows for the terminal; the first deviation of a failed file stands below the table.
fn text(rows: &[Row]) -> String {
    let cells = |row: &Row| {
        let verdict = if row.pass { "pass" } else { "FAIL" };
        let (error, tolerance) = (format!("{:.2e}", row.max_error), format!("{:.0e}", row.tolerance));
        vec![row.area.clone(), row.file.clone(), row.cases.to_string(), error, tolerance, verdict.into()]
    };
    let cells: Vec<_> = rows.iter().map(cells).collect();
    let mut text = table::aligned(&["area", "file", "cases", "max error", "tolerance", ""], &cells);
    for row in rows.iter().filter(|row| !row.pass) {
        text.push_str(&format!("\n{}: {}", row.file, row.failure));
    }
    text
}
