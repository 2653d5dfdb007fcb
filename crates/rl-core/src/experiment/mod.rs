//! Experiments: what a run writes, how it stops and goes on, and how runs are compared.
//!
//! - [`RunDir`] and [`SeedDir`]: the folders of a run, `runs/<exercise>/<time>-<config hash>/seed-<n>/`;
//! - [`Metrics`]: one `record(key, value)` and `flush(step)` for JSONL, CSV and TensorBoard;
//! - [`TrainState`] and [`checkpoint`]: everything that decides the future of a run, on disk in one atomic file;
//! - [`Session`]: drives a [`Trainer`] to its end, with metrics, checkpoints, progress, stop and resume;
//! - [`stats`]: interquartile mean, bootstrap intervals, performance profiles; [`Summary`]: the results of a run.
//!
//! A trainer is a struct that can do one more step and can save itself; the session does the rest. Run again on the
//! same folder, it goes on from the last checkpoint:
//!
//! ```
//! use rl_core::experiment::*;
//! use rl_core::{Error, Result};
//!
//! struct Countdown {
//!     step: u64,
//! }
//!
//! impl Persist for Countdown {
//!     fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
//!         state.put(format!("{prefix}/step"), &self.step)
//!     }
//!     fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
//!         self.step = state.get(&format!("{prefix}/step"))?;
//!         Ok(())
//!     }
//! }
//!
//! impl Trainer for Countdown {
//!     type Error = Error;
//!     fn step(&self) -> u64 {
//!         self.step
//!     }
//!     fn total_steps(&self) -> u64 {
//!         100
//!     }
//!     fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
//!         self.step += 1;
//!         metrics.record("charts/left", 100.0 - self.step as f64);
//!         Ok(())
//!     }
//! }
//!
//! # let out = tempfile::tempdir().unwrap();
//! # let out = out.path();
//! let seed = RunDir::create(out, "countdown", "20260101-000000", "")?.create_seed(0, "")?;
//! let mut session = Session::open(&seed, StopFlag::default(), Box::new(Silent))?;
//! session.run("countdown", &mut Countdown { step: 0 })?;
//! assert!(seed.path().join("metrics.jsonl").is_file());
//! # Ok::<(), Error>(())
//! ```

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
