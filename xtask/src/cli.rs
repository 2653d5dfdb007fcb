//! The commands and their flags.

use crate::exercises::{self, Entry};
use crate::input::BadInput;
use crate::run::{RunExercise, run_exercise, work_seed};
use crate::tools::{discover, epsilon, identify, qasm};
use crate::{ci, conformance, peers, report};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    about = "Runs, compares and checks the exercises, and answers questions about graphs, circuits and privacy"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an exercise over its seeds
    RunExercise(RunExercise),
    /// List the exercises
    List,
    /// Write one self-contained HTML page about runs
    Report(report::Args),
    /// Replay reference data of other packages
    Conformance(conformance::Args),
    /// Find a causal graph in a CSV file
    Discover(discover::Args),
    /// Say whether observations can answer what an intervention does, and by which formula
    Identify(identify::Args),
    /// Run an OpenQASM program: expectation values, shots, the state
    Qasm(qasm::Args),
    /// Compute the privacy that noise and sampling give
    Epsilon(epsilon::Args),
    /// Time the same work here and in other packages
    BenchPeers(peers::Args),
    /// Do what continuous integration does
    Ci,
    /// The process of one seed; started by run-exercise
    #[command(hide = true)]
    WorkSeed { seed: u64, run: PathBuf },
}

/// The program, with a table of exercises. Exit status: 0 done, 1 failed, 2 bad usage or bad input.
pub fn main(table: &[Entry]) -> ExitCode {
    std::panic::set_hook(Box::new(|info| eprintln!("error: internal: {info}")));
    let outcome = match Cli::parse().command {
        Command::RunExercise(args) => run_exercise(table, &args),
        Command::List => {
            println!("{}", exercises::list(table));
            Ok(ExitCode::SUCCESS)
        }
        Command::Report(args) => report::command(&args),
        Command::Conformance(args) => conformance::command(&args),
        Command::Discover(args) => discover::command(&args),
        Command::Identify(args) => identify::command(&args),
        Command::Qasm(args) => qasm::command(&args),
        Command::Epsilon(args) => epsilon::command(&args),
        Command::BenchPeers(args) => peers::command(&args),
        Command::Ci => ci::command(table),
        Command::WorkSeed { seed, run } => work_seed(table, &run, seed),
    };
    outcome.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    let bad_input = error.chain().any(|cause| cause.is::<BadInput>());
    ExitCode::from(if bad_input { 2 } else { 1 })
}
