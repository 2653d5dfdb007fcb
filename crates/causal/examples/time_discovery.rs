//! Times one discovery task in this process and prints a JSON line, for the comparison with peers in
//! `benches/peers/causal`.
//!
//! Usage: `time_discovery TASK FILE.csv [REPEATS]`, TASK one of `pc`, `pc-textbook`, `ges`, `ges-ebic`, `pc-gsq`, `pc-chi2`. The
//! time covers what the peers' times cover: from the table in memory to the graph, moments and counts included.

use causal::data::Table;
use causal::discovery::{ColliderRule, GaussianBic, GesConfig, Knowledge, PcConfig, PcResult, ges, pc};
use causal::independence::{Contingency, Discrepancy, FisherZ};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [task, file, rest @ ..] = args.as_slice() else {
        return Err(
            "usage: time_discovery pc|pc-textbook|ges|ges-ebic|pc-gsq|pc-chi2 FILE.csv [REPEATS]".into()
        );
    };
    let repeats: usize = rest.first().map_or(Ok(11), |r| r.parse())?;
    let table = Table::read_csv(Path::new(file))?;
    let mut times = Vec::with_capacity(repeats);
    let mut outcome = String::new();
    for _ in 0..repeats.max(1) {
        let start = Instant::now();
        outcome = run(task, &table)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let first = times[0];
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let threads = rayon::current_num_threads();
    writeln!(
        std::io::stdout(),
        r#"{{"task":"{task}","threads":{threads},"first_ms":{first:.4},"median_ms":{median:.4},{outcome}}}"#
    )?;
    Ok(())
}

fn run(task: &str, table: &Table) -> causal::Result<String> {
    let standard = PcConfig::default();
    let textbook = PcConfig { collider_rule: ColliderRule::FirstSeparatingSet, ..PcConfig::default() };
    let none = Knowledge::none();
    let told = |r: PcResult| format!(r#""tests":{},"edges":{}"#, r.skeleton.tests(), r.graph.edge_count());
    match task {
        "ges" | "ges-ebic" => {
            // The extended BIC (Foygel & Drton 2010) with γ = ½ suits hundreds of variables.
            let extra =
                if task == "ges" { 0.0 } else { (table.len() as f64).ln() / (table.rows() as f64).ln() };
            let score = GaussianBic::new(table, 0.5 + extra)?;
            let result = ges(&score, table.names(), &GesConfig::default())?;
            Ok(format!(r#""score":{},"edges":{}"#, result.score, result.graph.edge_count()))
        }
        "pc" => Ok(told(pc(&FisherZ::new(table)?, table.names(), &standard, &none)?)),
        "pc-textbook" => Ok(told(pc(&FisherZ::new(table)?, table.names(), &textbook, &none)?)),
        "pc-gsq" | "pc-chi2" => {
            let kind = if task == "pc-gsq" { Discrepancy::GSquare } else { Discrepancy::ChiSquare };
            let test = Contingency::new(table.to_categories()?, kind)?;
            Ok(told(pc(&test, table.names(), &standard, &none)?))
        }
        _ => Err(causal::Error::Parse { what: "task".into(), reason: format!("`{task}` is unknown") }),
    }
}
