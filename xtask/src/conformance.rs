//! `cargo xtask conformance`: replays reference data of other packages, one row per file.

use crate::input::{bad, nearest};
use crate::{machine, table};
use anyhow::Result;
use rl_core::conformance::Row;
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

/// An area: its crate's name and the function that replays a folder.
struct Area {
    name: &'static str,
    run: fn(&Path) -> Vec<Row>,
}

fn areas() -> &'static [Area] {
    &[]
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
    let replay = |area: &Area| {
        let golden = machine::workspace().join("crates").join(area.name).join("tests/golden");
        (area.run)(args.data.as_deref().unwrap_or(&golden))
    };
    Ok(chosen.into_iter().flat_map(replay).collect())
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
