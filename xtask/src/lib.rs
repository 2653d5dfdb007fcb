//! The command line of the workspace: `cargo xtask <command>`.
//!
//! One file per command, one per exercise. An exercise is a type with [`Exercise`](exercises::Exercise): a
//! configuration with presets and a function that works one seed. Everything around it is done here: folders,
//! seeds in parallel processes, progress, interruption and resumption, statistics over seeds, plots, the report.
//! `examples/chain.rs` is the smallest complete exercise.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod ci;
mod cli;
mod conformance;
pub mod exercises;
mod input;
mod machine;
mod peers;
mod report;
mod run;
mod table;
mod tools;

pub use cli::main;
pub use input::BadInput;
pub use report::{Figure, Line};
pub use run::{Context, Measure, Preset, starts};
