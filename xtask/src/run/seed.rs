//! One seed of a run, in a process of its own.
//!
//! The process tells its parent how it gets on, a JSON object per line on stdout, and stops after the step at hand
//! when it is interrupted or its stdin closes, which also happens when the parent dies.

use super::{Context, Results, RunConfig};
use crate::exercises::Entry;
use crate::input::{bad, nearest};
use crate::machine;
use anyhow::{Context as _, Result};
use rl_core::SeedStream;
use rl_core::experiment::{EventWriter, Meta, Observer, Progress, RunDir, SeedDir, Session, StopFlag};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Exit status of a seed that was asked to stop and can be resumed.
pub(crate) const STOPPED: u8 = 3;

/// What a seed's process says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) stage: String,
    pub(crate) step: u64,
    pub(crate) total: u64,
    pub(crate) steps_per_second: f64,
    pub(crate) latest: Vec<(String, Option<f64>)>,
}

/// Works the seed in a folder that was prepared for it, from its checkpoint if there is one.
pub(crate) fn work_seed(table: &[Entry], run: &Path, seed: u64) -> Result<ExitCode> {
    let folder = RunDir::open(run)?.seeds()?.into_iter().find(|folder| folder.seed() == seed);
    let folder = folder.with_context(|| format!("{} has no seed {seed}", run.display()))?;
    let _lock = lock(&folder)?;
    let config = RunConfig::read(&folder)?;
    let exercise = find(table, &config.exercise)?;
    let began = Instant::now();
    let mut meta = match folder.meta()? {
        Some(meta) => meta,
        None => new_meta(&config, seed),
    };
    let stop = StopFlag::default();
    watch(&stop)?;
    let session = Session::open(&folder, stop.clone(), Box::new(ToParent { stop }))?;
    folder.write_json("meta.json", &meta)?;
    let text = format!("```toml\n{}```", folder.config()?);
    EventWriter::open(&folder.path().join("tensorboard/config"), None)?.text("config", 0, &text)?;
    let mut ctx = Context {
        seed,
        streams: SeedStream::new(seed),
        preset: config.preset,
        threads: config.threads,
        device: device(&config.device)?,
        session,
        results: Results::default(),
    };
    let outcome = (exercise.run)(&config.config, &mut ctx);
    meta.wall_seconds += began.elapsed().as_secs_f64();
    meta.complete = outcome.is_ok();
    if outcome.is_ok() {
        folder.write_json("results.json", &ctx.results)?;
        crate::report::plot_seed(&folder, &ctx.results)?;
    }
    folder.write_json("meta.json", &meta)?;
    match outcome {
        Err(_) if ctx.session.stopped() => Ok(ExitCode::from(STOPPED)),
        outcome => outcome.map(|()| ExitCode::SUCCESS),
    }
}

/// The exercise of that name.
pub(crate) fn find<'a>(table: &'a [Entry], name: &str) -> Result<&'a Entry> {
    table.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<&str> = table.iter().map(|entry| entry.name).collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(alike) => format!("did you mean `{alike}`?"),
            None => format!("there are: {}, all", names.join(", ")),
        };
        bad(format!("no exercise `{name}`; {hint}"))
    })
}

/// Keeps a second process out of the folder for as long as this one lives.
fn lock(folder: &SeedDir) -> Result<File> {
    let file = File::open(folder.path().join("config.toml"))?;
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(bad(format!("{} is being worked on by another process", folder.path().display())))
        }
        // A file system without locks protects nobody, but is no reason not to run.
        _ => Ok(file),
    }
}

fn new_meta(config: &RunConfig, seed: u64) -> Meta {
    Meta {
        version: env!("CARGO_PKG_VERSION").into(),
        git_revision: machine::git_revision(),
        cpu: machine::cpu(),
        threads: config.threads,
        seed,
        started: machine::timestamp(),
        wall_seconds: 0.0,
        complete: false,
    }
}

/// Parses `cpu` or `cuda:N`.
pub(crate) fn device(name: &str) -> Result<candle_core::Device> {
    if name == "cpu" {
        return Ok(candle_core::Device::Cpu);
    }
    let Some(Ok(ordinal)) = name.strip_prefix("cuda:").map(str::parse) else {
        return Err(bad(format!("--device {name}: there are cpu and cuda:0, cuda:1, ...")));
    };
    if !cfg!(feature = "cuda") {
        let mend = "cargo run --release --package xtask --features cuda -- run-exercise ...";
        return Err(bad(format!("--device {name}: this build has no CUDA support; build it with `{mend}`")));
    }
    candle_core::Device::new_cuda(ordinal).map_err(|e| bad(format!("--device {name}: {e}")))
}

/// Raises the flag on Ctrl-C and on a termination signal; a second one ends the process at once.
pub(crate) fn stop_on_signal(stop: &StopFlag) -> Result<()> {
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.is_raised() {
            std::process::exit(1);
        }
        flag.raise();
    })?;
    Ok(())
}

/// Raises the flag on a signal and when stdin closes.
fn watch(stop: &StopFlag) -> Result<()> {
    stop_on_signal(stop)?;
    let flag = stop.clone();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        // Whether it ends well or in an error, nobody is listening any more.
        let _ = std::io::stdin().read_to_end(&mut rest);
        flag.raise();
    });
    Ok(())
}

/// Tells the parent; a parent that does not listen any more is a reason to stop.
struct ToParent {
    stop: StopFlag,
}

impl Observer for ToParent {
    fn progress(&mut self, progress: &Progress<'_>) {
        let report = Report {
            stage: progress.stage.into(),
            step: progress.step,
            total: progress.total,
            steps_per_second: progress.steps_per_second,
            latest: progress.latest.iter().map(|(k, v)| (k.clone(), v.is_finite().then_some(*v))).collect(),
        };
        let mut out = std::io::stdout().lock();
        let sent = serde_json::to_string(&report).map_err(std::io::Error::from);
        if sent.and_then(|line| writeln!(out, "{line}")).and_then(|()| out.flush()).is_err() {
            self.stop.raise();
        }
    }
}
