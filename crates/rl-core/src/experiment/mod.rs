//! Experiments: what a run writes, how it stops and goes on, and how runs are compared.
//!
//! - [`RunDir`] and [`SeedDir`]: the folders of a run, `runs/<exercise>/<time>-<config hash>/seed-<n>/`;
//! - [`Metrics`]: one `record(key, value)` and `flush(step)` for JSONL, CSV and TensorBoard;
//! - [`TrainState`] and [`checkpoint`]: everything that decides the future of a run, on disk in one atomic file;
//! - [`Session`]: drives a [`Trainer`] to its end, with metrics, checkpoints, progress, stop and resume;
//! - [`stats`]: interquartile mean, bootstrap intervals, performance profiles; [`Summary`]: the results of a run.

mod atomic;
pub mod checkpoint;
pub mod conformance;
mod csv;
mod metrics;
mod run_dir;
mod session;
pub mod stats;
mod summary;
mod tensorboard;
mod train_state;

pub use atomic::write_atomically;
pub use metrics::Metrics;
pub use run_dir::{Meta, RunDir, SeedDir, config_hash};
pub use session::{Observer, Pace, Progress, Session, Silent, Stage, StopFlag, Trainer};
pub use summary::{Outcome, Role, Score, Summary};
pub use tensorboard::EventWriter;
pub use train_state::{Array, Data, Element, Persist, TrainState};
