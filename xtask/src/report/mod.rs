//! Plots and the HTML report of runs.

mod figure;

pub use figure::{Figure, Line};

use crate::run::Results;
use anyhow::Result;
use rl_core::experiment::{RunDir, SeedDir};
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run directories to compare
    runs: Vec<PathBuf>,
}

/// `cargo xtask report`.
pub(crate) fn command(_args: &Args) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn plot_seed(_folder: &SeedDir, _results: &Results) -> Result<()> {
    Ok(())
}

pub(crate) fn write_beside(run: &RunDir) -> Result<PathBuf> {
    Ok(run.path().join("report.html"))
}
