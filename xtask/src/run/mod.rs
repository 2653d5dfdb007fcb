//! `run-exercise`: the frame around an exercise.
//!
//! [`command`] resolves the configuration, makes the folders and starts one process per seed; [`seed`] is what such
//! a process does; [`Context`] is what the exercise sees. Processes keep the seeds' thread pools apart, so that a
//! seed computes the same bytes whatever runs beside it.

mod command;
mod config;
mod context;
mod progress;
mod seed;

pub(crate) use command::{RunExercise, run_exercise};
pub use config::Preset;
pub(crate) use config::RunConfig;
pub(crate) use context::Results;
pub use context::{Context, Measure, starts};
pub(crate) use seed::work_seed;
