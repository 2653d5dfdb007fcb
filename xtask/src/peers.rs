//! `cargo xtask bench-peers`: the same work here and in the packages of others, alternating in one run.
//!
//! Each area has a script `benches/peers/<area>/run` that prints one JSON object per line:
//! `{area, work, threads, ours_ms, peer, peer_version, peer_ms, ratio}`, ratio = peer_ms / ours_ms.

use crate::input::bad;
use crate::{machine, table};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::process::{Command, ExitCode, Stdio};

/// Flags of `bench-peers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Area, such as world-models
    area: String,
    /// Print one JSON array and nothing else on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    area: String,
    work: String,
    threads: usize,
    ours_ms: f64,
    peer: String,
    peer_version: String,
    peer_ms: f64,
    ratio: f64,
}

/// Runs the area's script and shows its rows.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let script = machine::workspace().join("benches/peers").join(&args.area).join("run");
    if !args.area.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') || !script.is_file() {
        return Err(bad(format!("no peers for area `{}`: there is no {}", args.area, script.display())));
    }
    let mut run = Command::new(&script);
    run.current_dir(machine::workspace()).stderr(Stdio::inherit());
    let output = run.output().with_context(|| format!("start {}", script.display()))?;
    anyhow::ensure!(output.status.success(), "{} failed; its message stands above", script.display());
    let lines = String::from_utf8(output.stdout)?;
    let rows = lines.lines().map(serde_json::from_str).collect::<Result<Vec<Row>, _>>();
    let rows = rows.with_context(|| format!("{} printed something that is no row", script.display()))?;
    if args.json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        println!("{}", text(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(rows: &[Row]) -> String {
    let cells = |r: &Row| {
        let peer = format!("{} {}", r.peer, r.peer_version);
        let (ours, theirs) = (table::number(r.ours_ms), table::number(r.peer_ms));
        vec![r.work.clone(), r.threads.to_string(), ours, peer, theirs, format!("{:.2}", r.ratio)]
    };
    let header = ["work", "threads", "ours [ms]", "peer", "peer [ms]", "ratio"];
    table::aligned(&header, &rows.iter().map(cells).collect::<Vec<_>>())
}
