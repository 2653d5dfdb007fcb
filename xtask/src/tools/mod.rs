//! The crates' answers without writing a program: one file per command, each a thin shell around one crate.
//!
//! What they share is here: reading what the user named, saying what is wrong with it, printing the answer.

pub(crate) mod discover;
pub(crate) mod epsilon;
pub(crate) mod identify;
pub(crate) mod qasm;

use crate::input::{bad, nearest};
use anyhow::Result;
use serde::Serialize;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// The text of a file that the user named.
fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let mend = match error.kind() {
            ErrorKind::NotFound => "there is no such file; check the path",
            ErrorKind::InvalidData => "is not UTF-8 text; check that it is the right file, or convert it",
            ErrorKind::IsADirectory => "is a folder; name a file in it",
            _ => return bad(format!("{}: cannot be read: {error}", path.display())),
        };
        bad(format!("{}: {mend}", path.display()))
    })
}

/// Prints the answer: one line of JSON, or text. A reader who has seen enough (`| head`) is no failure.
fn answer<T: Serialize>(json: bool, report: &T, text: impl FnOnce() -> String) -> Result<ExitCode> {
    let text = if json { serde_json::to_string(report)? } else { text() };
    match writeln!(std::io::stdout().lock(), "{}", text.trim_end()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// What to say about a name that is none of those there are.
fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let mend = match nearest(name, known.iter().copied()) {
        Some(alike) => format!("did you mean `{alike}`?"),
        None if known.is_empty() => "there is none".into(),
        None => format!("there are: {}", known.join(", ")),
    };
    format!("no {what} `{name}`; {mend}")
}

/// What `causal` says about the user's `source`: bad input, unless a method did not converge.
fn causal_refusal(source: &str, error: causal::Error) -> anyhow::Error {
    match &error {
        causal::Error::NotConverged { .. } => anyhow::anyhow!("{source}: {error}"),
        causal::Error::UnknownName { name, known, .. } => {
            let known: Vec<&str> = known.split(", ").filter(|name| !name.is_empty()).collect();
            bad(format!("{source}: {}", unknown("variable", name, &known)))
        }
        causal::Error::Data { what, reason } if what == "data" => bad(format!("{source}: {reason}")),
        _ if error.to_string().starts_with(source) => bad(error.to_string()),
        _ => bad(format!("{source}: {error}")),
    }
}

/// `{A, B}`, and `{}` for the empty set.
fn braces(names: &[String]) -> String {
    format!("{{{}}}", names.join(", "))
}
