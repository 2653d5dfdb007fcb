//! `cargo xtask ci`: what continuous integration runs, and anybody before a commit.

use crate::exercises::Entry;
use crate::machine;
use anyhow::Result;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Where the smoke runs go, below the workspace; emptied at the start.
const RUNS: &str = "target/ci-runs";

/// A step: its name, the program's arguments, extra environment.
struct Step {
    name: String,
    program: std::path::PathBuf,
    args: Vec<String>,
    env: Option<(&'static str, &'static str)>,
}

/// Runs every step, also after one failed, and ends with the line `N passed, N failed`.
pub(crate) fn command(table: &[Entry]) -> Result<ExitCode> {
    let runs = machine::workspace().join(RUNS);
    if runs.exists() {
        std::fs::remove_dir_all(&runs)?;
    }
    let mut verdicts = Vec::new();
    for step in steps(table)? {
        eprintln!("\n== {}", step.name);
        let began = Instant::now();
        let mut run = Command::new(&step.program);
        run.current_dir(machine::workspace()).args(&step.args).envs(step.env);
        let passed = run.status().is_ok_and(|status| status.success());
        verdicts.push((step.name, passed, began.elapsed().as_secs_f64()));
    }
    println!();
    for (name, passed, seconds) in &verdicts {
        println!("{}  {name}  ({})", if *passed { "pass" } else { "FAIL" }, crate::table::duration(*seconds));
    }
    let passed = verdicts.iter().filter(|(_, passed, _)| *passed).count();
    println!("{passed} passed, {} failed", verdicts.len() - passed);
    Ok(if passed == verdicts.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn steps(table: &[Entry]) -> Result<Vec<Step>> {
    let cargo = |name: &str, args: &str, env| Step {
        name: name.into(),
        program: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into(),
        args: args.split(' ').map(String::from).collect(),
        env,
    };
    let own = std::env::current_exe()?;
    let xtask = |name: String, args: &[&str]| Step {
        name,
        program: own.clone(),
        args: args.iter().copied().map(String::from).collect(),
        env: None,
    };
    let mut steps = vec![
        cargo("format", "fmt --all --check", None),
        cargo("lints", "clippy --workspace --all-targets -- -D warnings", None),
        cargo("tests", "test --workspace", None),
        cargo("documentation", "doc --workspace --no-deps", Some(("RUSTDOCFLAGS", "-D warnings"))),
        xtask("conformance".into(), &["conformance"]),
    ];
    steps.extend(table.iter().map(|exercise| {
        let args = ["run-exercise", exercise.name, "--preset", "smoke", "--out", RUNS];
        xtask(format!("smoke {}", exercise.name), &args)
    }));
    Ok(steps)
}
