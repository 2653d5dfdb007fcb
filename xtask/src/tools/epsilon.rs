//! `cargo xtask epsilon`: what noise and sampling guarantee, by `federated::privacy`.

use super::answer;
use crate::input::bad;
use anyhow::Result;
use federated::Error;
use federated::privacy::{Accountant, Mechanism, Report, Sampling, epsilon};
use serde::Serialize;
use std::process::ExitCode;

/// Flags of `epsilon`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Standard deviation of the noise over the clipping norm, above 0
    #[arg(long, value_name = "Z", allow_hyphen_values = true)]
    noise_multiplier: f64,
    /// Share of the clients in a round, above 0 and at most 1
    #[arg(long, value_name = "Q", allow_hyphen_values = true)]
    sampling_rate: f64,
    /// Rounds
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    steps: u64,
    /// The δ of the guarantee, between 0 and 1; well below one over the number of clients
    #[arg(long, value_name = "D", allow_hyphen_values = true)]
    delta: f64,
    /// Rényi differential privacy, or privacy loss distributions: slower, tighter
    #[arg(long, value_enum, default_value = "rdp")]
    accountant: Which,
    /// How a round's clients are chosen: each on its own with probability Q, or a fixed number of them
    #[arg(long, value_enum, default_value = "poisson")]
    sampling: Scheme,
    /// Print one JSON object and nothing else on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Which {
    Rdp,
    Pld,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Scheme {
    Poisson,
    FixedSize,
}

/// The guarantee, and between which neighbours it holds.
#[derive(Serialize)]
struct Guarantee {
    #[serde(flatten)]
    report: Report,
    sampling: Sampling,
    neighbours: &'static str,
}

/// Runs the command.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let (sampling, neighbours) = match args.sampling {
        Scheme::Poisson => (Sampling::Poisson, "add-or-remove"),
        Scheme::FixedSize => (Sampling::FixedSize, "replace"),
    };
    let accountant = match args.accountant {
        Which::Rdp => Accountant::Rdp,
        Which::Pld => Accountant::Pld,
    };
    let Args { noise_multiplier, sampling_rate, steps, delta, .. } = *args;
    let mechanism = Mechanism { noise_multiplier, sampling_rate, steps, sampling };
    let report = epsilon(&mechanism, delta, accountant).map_err(refusal)?;
    if !report.epsilon.is_finite() {
        let mend = "there is no guarantee; raise --noise-multiplier or --delta, or lower --steps";
        return Err(bad(format!("ε is not finite for these numbers: {mend}")));
    }
    answer(args.json, &Guarantee { report, sampling, neighbours }, || text(&report))
}

/// A field out of its range is the flag of that name.
fn refusal(error: Error) -> anyhow::Error {
    match error {
        Error::Config { field, value, allowed, .. } => {
            bad(format!("--{} {value}: must be {allowed}", field.replace('_', "-")))
        }
        other => other.into(),
    }
}

fn text(report: &Report) -> String {
    let order = report.order.map_or(String::new(), |order| format!("\nbest order of RDP: {order}"));
    format!("{report}{order}")
}
