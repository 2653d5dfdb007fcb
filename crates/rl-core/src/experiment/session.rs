//! The driver of training loops: metrics, checkpoints, progress, stop and resume.
//!
//! A run of one seed is a sequence of stages, each with a name such as `Pendulum-v1/sac`. [`Session::run`] drives
//! a [`Trainer`] to its end, [`Session::once`] computes something that is not a loop. Both leave a checkpoint, so
//! a run that was interrupted at any point is simply run again: finished stages are taken from their checkpoints,
//! the interrupted one goes on, and the files come out byte for byte as if nothing had happened.

use super::{Metrics, Persist, SeedDir, TrainState, checkpoint};
use crate::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A training loop, cut into steps that are cheap to interrupt between.
pub trait Trainer: Persist {
    /// The error of its crate.
    type Error: From<Error>;

    /// Environment steps made so far.
    fn step(&self) -> u64;

    /// Environment steps of the whole training. A training that ends early (the task is solved) lets it fall to
    /// [`step`](Self::step).
    fn total_steps(&self) -> u64;

    /// Works on to the next point where the state is complete: one environment step with its update, one
    /// rollout, one epoch. Raises [`step`](Self::step) by at least one.
    ///
    /// # Errors
    /// Whatever went wrong.
    fn advance(&mut self, metrics: &mut Metrics) -> Result<(), Self::Error>;
}

/// Asks a session to stop; clones share the flag, so a signal handler can hold one.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The stage.
    pub stage: &'a str,
    /// Steps done in it.
    pub step: u64,
    /// Steps of it.
    pub total: u64,
    /// Throughput since this attempt began.
    pub steps_per_second: f64,
    /// The last row of metrics.
    pub latest: &'a [(String, f64)],
}

/// Is told how a session gets on, a few times per second and at the end of every stage.
pub trait Observer {
    /// Takes note.
    fn progress(&mut self, progress: &Progress<'_>);
}

/// The observer that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _: &Progress<'_>) {}
}

/// How often a session writes. None of it changes what the run computes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Steps between two rows of metrics; `None`: 200 rows per stage.
    pub log_every: Option<u64>,
    /// Steps between two checkpoints; `None`: by time alone.
    pub checkpoint_every: Option<u64>,
    /// Time between two checkpoints.
    pub checkpoint_interval: Duration,
    /// Time between two reports to the observer.
    pub report_interval: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            log_every: None,
            checkpoint_every: None,
            checkpoint_interval: Duration::from_secs(60),
            report_interval: Duration::from_millis(200),
        }
    }
}

/// Runs the stages of one seed.
pub struct Session {
    checkpoints: Option<PathBuf>,
    metrics: Metrics,
    stop: StopFlag,
    observer: Box<dyn Observer>,
    stopped: bool,
    /// How often it writes.
    pub pace: Pace,
}

/// Steps done when this attempt began, and when that was.
#[derive(Clone, Copy)]
struct Start {
    step: u64,
    time: Instant,
}

impl Start {
    fn at(step: u64) -> Self {
        Self { step, time: Instant::now() }
    }

    fn steps_per_second(&self, step: u64) -> f64 {
        (step - self.step) as f64 / self.time.elapsed().as_secs_f64().max(1e-9)
    }
}

impl Session {
    /// A session in a seed's folder. Checkpoints found there are verified and gone on from.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if one is damaged. Nothing has been changed then.
    pub fn open(folder: &SeedDir, stop: StopFlag, observer: Box<dyn Observer>) -> Result<Self> {
        let checkpoints = folder.checkpoints();
        let mut length = 0;
        for path in files_below(&checkpoints)? {
            length = length.max(checkpoint::read(&path)?.get("session/metrics_length")?);
        }
        let metrics = Metrics::in_folder(folder.path(), length);
        let checkpoints = Some(checkpoints);
        Ok(Self { checkpoints, metrics, stop, observer, stopped: false, pace: Pace::default() })
    }

    /// A session that writes nothing: for tests and for training without a folder.
    pub fn in_memory() -> Self {
        let (checkpoints, metrics, stop, observer) =
            (None, Metrics::in_memory(), StopFlag::default(), Box::new(Silent));
        Self { checkpoints, metrics, stop, observer, stopped: false, pace: Pace::default() }
    }

    /// Whether a stage ended before its time because of the stop flag.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Drives `trainer` from its checkpoint, if there is one, to its end.
    ///
    /// # Errors
    /// [`Error::Stopped`] after a raised stop flag: the step is finished and the checkpoint written. Otherwise
    /// the trainer's error, or a checkpoint or folder that cannot be used.
    pub fn run<T: Trainer>(&mut self, stage: &str, trainer: &mut T) -> Result<(), T::Error> {
        let path = self.checkpoint_path(stage)?;
        self.resume(stage, path.as_deref(), trainer)?;
        let (start, mut total) = (Start::at(trainer.step()), trainer.total_steps());
        let log_every = self.pace.log_every.unwrap_or(total / 200).max(1);
        let (mut reported, mut written) = (start.time, start);
        while trainer.step() < total {
            let before = trainer.step();
            if self.stop.is_raised() {
                self.write(path.as_deref(), trainer)?;
                self.stopped = true;
                return Err(Error::Stopped { stage: stage.into(), step: before, total }.into());
            }
            trainer.advance(&mut self.metrics)?;
            let step = trainer.step();
            total = trainer.total_steps();
            if step <= before {
                let reason = format!("{stage}: advance must raise the step, it stayed at {step}");
                return Err(Error::State { operation: "run", reason }.into());
            }
            if step / log_every > before / log_every || step >= total {
                self.metrics.flush(step)?;
            }
            if reported.elapsed() >= self.pace.report_interval {
                self.report(stage, step, total, start);
                reported = Instant::now();
            }
            if step < total && self.checkpoint_is_due(written, before, step) {
                self.write(path.as_deref(), trainer)?;
                self.metrics.timing(
                    step,
                    start.time.elapsed().as_secs_f64(),
                    start.steps_per_second(step),
                )?;
                written = Start::at(step);
            }
        }
        if trainer.step() > start.step {
            let step = trainer.step();
            self.write(path.as_deref(), trainer)?;
            self.metrics.timing(step, start.time.elapsed().as_secs_f64(), start.steps_per_second(step))?;
        }
        self.report(stage, trainer.step(), total, start);
        Ok(())
    }

    /// Computes something once: an evaluation, a data set's statistics. The result is kept in a checkpoint and
    /// read from there when the run is resumed.
    ///
    /// # Errors
    /// The error of `work`, or a checkpoint or folder that cannot be used. A result that JSON cannot carry
    /// (NaN) is an error.
    pub fn once<R, E>(
        &mut self,
        stage: &str,
        work: impl FnOnce(&mut Stage<'_>) -> Result<R, E>,
    ) -> Result<R, E>
    where
        R: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        let path = self.checkpoint_path(stage)?;
        if let Some(path) = path.as_deref().filter(|path| path.exists()) {
            return Ok(checkpoint::read(path)?.get("value")?);
        }
        self.metrics.begin(stage, None);
        let result = work(&mut Stage { session: self, name: stage, start: Start::at(0), reported: None })?;
        let mut state = TrainState::default();
        state.put("value", &result)?;
        let result = state.get("value")?;
        self.seal(path.as_deref(), state)?;
        Ok(result)
    }

    fn resume<T: Trainer>(&mut self, stage: &str, path: Option<&Path>, trainer: &mut T) -> Result<()> {
        let Some(path) = path.filter(|path| path.exists()) else {
            self.metrics.begin(stage, None);
            return Ok(());
        };
        let state = checkpoint::read(path)?;
        trainer.load("trainer", &state)?;
        self.metrics.begin(stage, Some(trainer.step()));
        self.metrics.load("session/metrics", &state)
    }

    fn checkpoint_is_due(&self, written: Start, before: u64, step: u64) -> bool {
        let by_steps = self.pace.checkpoint_every.is_some_and(|n| step / n.max(1) > before / n.max(1));
        by_steps || written.time.elapsed() >= self.pace.checkpoint_interval
    }

    fn write<T: Trainer>(&mut self, path: Option<&Path>, trainer: &T) -> Result<()> {
        if path.is_none() {
            return Ok(());
        }
        let mut state = TrainState::default();
        trainer.save("trainer", &mut state)?;
        self.seal(path, state)
    }

    /// Adds what the session itself needs to go on and writes the checkpoint.
    fn seal(&mut self, path: Option<&Path>, mut state: TrainState) -> Result<()> {
        let Some(path) = path else { return Ok(()) };
        self.metrics.save("session/metrics", &mut state)?;
        state.put("session/metrics_length", &self.metrics.length()?)?;
        checkpoint::write(path, &state)
    }

    fn report(&mut self, stage: &str, step: u64, total: u64, start: Start) {
        let steps_per_second = start.steps_per_second(step);
        let latest = self.metrics.latest();
        self.observer.progress(&Progress { stage, step, total, steps_per_second, latest });
    }

    /// The file of a stage's checkpoint; a name that is no plain relative path is refused.
    fn checkpoint_path(&self, stage: &str) -> Result<Option<PathBuf>> {
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+= ".contains(c))
        };
        if !stage.split('/').all(plain) {
            let reason =
                format!("stage `{stage}`: names are letters, digits, -_.+= and space, separated by /");
            return Err(Error::State { operation: "run", reason });
        }
        Ok(self.checkpoints.as_ref().map(|folder| folder.join(format!("{stage}.safetensors"))))
    }
}

/// What the work of [`Session::once`] sees of the session.
pub struct Stage<'a> {
    session: &'a mut Session,
    name: &'a str,
    start: Start,
    reported: Option<Instant>,
}

impl Stage<'_> {
    /// The metrics of the run.
    pub fn metrics(&mut self) -> &mut Metrics {
        &mut self.session.metrics
    }

    /// Reports that `done` of `total` pieces of work are done.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the run was asked to stop: the work is given up and made anew when resumed.
    pub fn progress(&mut self, done: u64, total: u64) -> Result<()> {
        if self.session.stop.is_raised() {
            self.session.stopped = true;
            return Err(Error::Stopped { stage: self.name.into(), step: done, total });
        }
        let interval = self.session.pace.report_interval;
        if done >= total || self.reported.is_none_or(|last| last.elapsed() >= interval) {
            self.session.report(self.name, done, total, self.start);
            self.reported = Some(Instant::now());
        }
        Ok(())
    }
}

/// The checkpoint files in a folder and the folders in it; none if it does not exist.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !folder.exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(path);
        }
    }
    Ok(files)
}
