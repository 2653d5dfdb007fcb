//! A run that is interrupted, or killed at any moment, and resumed leaves the bytes of the uninterrupted run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use rand::RngExt;
use rl_core::experiment::{
    Metrics, Observer, Persist, Progress, RunDir, SeedDir, Session, Silent, StopFlag, TrainState, Trainer,
    checkpoint,
};
use rl_core::{Error, Result, SeedStream, StreamRng};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

/// A random walk of many walkers: enough state that writing it takes time.
struct Walk {
    at: Vec<f64>,
    step: u64,
    total: u64,
    rng: StreamRng,
}

impl Walk {
    fn new(walkers: usize, total: u64) -> Self {
        Self { at: vec![0.0; walkers], step: 0, total, rng: SeedStream::new(5).stream("walk", 0) }
    }
}

impl Persist for Walk {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        state.put_array(format!("{prefix}/at"), &[self.at.len()], &self.at);
        state.put(format!("{prefix}/step"), &self.step)?;
        state.put(format!("{prefix}/rng"), &self.rng)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        self.at = state.array(&format!("{prefix}/at"), &[self.at.len()])?.to_vec();
        self.step = state.get(&format!("{prefix}/step"))?;
        self.rng = state.get(&format!("{prefix}/rng"))?;
        Ok(())
    }
}

impl Trainer for Walk {
    type Error = Error;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.total
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let rng = &mut self.rng;
        self.at.iter_mut().for_each(|x| *x += rng.random::<f64>() - 0.5);
        self.step += 1;
        metrics.record("charts/first", self.at[0]);
        if self.step.is_multiple_of(3) {
            metrics.record("charts/third", self.at[1]);
        }
        Ok(())
    }
}

/// Raises the flag when a stage reaches a step.
struct StopAt(Rc<Cell<u64>>, StopFlag);

impl Observer for StopAt {
    fn progress(&mut self, progress: &Progress<'_>) {
        if progress.step >= self.0.get() {
            self.1.raise();
        }
    }
}

fn folder(path: &Path) -> SeedDir {
    let run = RunDir::create(path, "walk", "now", "a = 1").unwrap();
    run.create_seed(0, "a = 1").unwrap()
}

fn work(session: &mut Session, walkers: usize) -> Result<f64> {
    session.pace.log_every = Some(5);
    let mut first = Walk::new(walkers, 60);
    session.run("walk/first", &mut first)?;
    let mean: f64 = session.once("walk/mean", |stage| {
        stage.metrics().record("charts/mean", first.at[0]);
        stage.metrics().flush(60)?;
        Ok::<_, Error>(first.at.iter().sum::<f64>() / first.at.len() as f64)
    })?;
    session.run("walk/second", &mut Walk::new(walkers, 40))?;
    Ok(mean)
}

/// Everything that must be the same: metrics and checkpoints, by name.
fn content(folder: &SeedDir) -> Vec<(PathBuf, Vec<u8>)> {
    let files = ["metrics.jsonl", "progress.csv"].map(PathBuf::from).into_iter();
    let stages =
        ["first", "mean", "second"].map(|s| PathBuf::from(format!("checkpoint/walk/{s}.safetensors")));
    files.chain(stages).map(|name| (name.clone(), fs::read(folder.path().join(&name)).unwrap())).collect()
}

fn uninterrupted(path: &Path, walkers: usize) -> (SeedDir, f64) {
    let folder = folder(path);
    let mut session = Session::open(&folder, StopFlag::default(), Box::new(Silent)).unwrap();
    let mean = work(&mut session, walkers).unwrap();
    (folder, mean)
}

#[test]
fn interrupted_at_many_steps_and_resumed_gives_the_same_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    let (whole, mean) = uninterrupted(scratch.path(), 3);
    let parts = folder(scratch.path());
    let at = Rc::new(Cell::new(0));
    let mut attempts = 0;
    loop {
        let stop = StopFlag::default();
        let observer = Box::new(StopAt(at.clone(), stop.clone()));
        let mut session = Session::open(&parts, stop, observer).unwrap();
        session.pace.report_interval = Duration::ZERO;
        at.set(at.get() % 60 + 7);
        attempts += 1;
        match work(&mut session, 3) {
            Ok(again) => {
                assert_eq!(again, mean);
                break;
            }
            Err(error) => assert!(matches!(error, Error::Stopped { .. }) && session.stopped(), "{error}"),
        }
        assert!(attempts < 200, "the run does not end");
    }
    assert!(attempts > 5, "was interrupted only {attempts} times");
    assert_eq!(content(&whole), content(&parts));
}

#[test]
fn a_checkpoint_of_another_shape_is_refused_and_nothing_is_touched() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, _) = uninterrupted(scratch.path(), 3);
    let before = content(&folder);
    let mut session = Session::open(&folder, StopFlag::default(), Box::new(Silent)).unwrap();
    let message = work(&mut session, 4).unwrap_err().to_string();
    assert!(
        message.contains("trainer/at") && message.contains("[4]") && message.contains("[3]"),
        "{message}"
    );
    assert_eq!(content(&folder), before);
    fs::write(folder.path().join("checkpoint/walk/second.safetensors"), b"garbage, certainly").unwrap();
    let broken = Session::open(&folder, StopFlag::default(), Box::new(Silent));
    let message = broken.err().unwrap().to_string();
    assert!(message.contains("second.safetensors") && message.contains("truncated or damaged"), "{message}");
    assert_eq!(content(&folder)[..2], before[..2]);
}

#[test]
fn a_trainer_that_stands_still_is_an_error_not_an_endless_loop() {
    struct Still(Walk);
    impl Persist for Still {
        fn save(&self, _: &str, _: &mut TrainState) -> Result<()> {
            Ok(())
        }
        fn load(&mut self, _: &str, _: &TrainState) -> Result<()> {
            Ok(())
        }
    }
    impl Trainer for Still {
        type Error = Error;
        fn step(&self) -> u64 {
            self.0.step
        }
        fn total_steps(&self) -> u64 {
            self.0.total
        }
        fn advance(&mut self, _: &mut Metrics) -> Result<()> {
            Ok(())
        }
    }
    let error = Session::in_memory().run("still", &mut Still(Walk::new(1, 2))).unwrap_err();
    assert!(error.to_string().contains("must raise the step"));
    let name = Session::in_memory().run("../outside", &mut Walk::new(2, 2)).unwrap_err();
    assert!(name.to_string().contains("../outside"));
}

const WALKERS: usize = 60_000;
const FOLDER: &str = "QUINTET_TEST_KILLED_FOLDER";

/// Not a test of its own: what the killed process does, a checkpoint after every step.
#[test]
#[ignore = "started by the test below"]
fn child_that_is_killed() {
    let Some(run) = std::env::var_os(FOLDER) else { return };
    let folder = RunDir::open(Path::new(&run)).unwrap().seeds().unwrap().remove(0);
    let mut session = Session::open(&folder, StopFlag::default(), Box::new(Silent)).unwrap();
    session.pace.checkpoint_every = Some(1);
    work(&mut session, WALKERS).unwrap();
}

#[test]
fn killed_in_mid_checkpoint_loses_only_the_steps_since_the_last_one() {
    let scratch = tempfile::tempdir().unwrap();
    let (whole, _) = uninterrupted(scratch.path(), WALKERS);
    let killed = folder(scratch.path());
    let run = killed.path().parent().unwrap();
    let checkpoints =
        ["first", "second"].map(|s| killed.path().join(format!("checkpoint/walk/{s}.safetensors")));
    let mut kills = 0;
    for attempt in 0..200u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--ignored", "--test-threads=1"])
            .env(FOLDER, run)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Different moments of the writing, with more time the longer the run does not end.
        std::thread::sleep(Duration::from_millis(25 + 13 * (attempt % 17) + attempt));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        for path in checkpoints.iter().filter(|path| path.exists()) {
            checkpoint::read(path).expect("the checkpoint is whole after every kill");
        }
    }
    assert!(kills >= 3, "the child was killed only {kills} times");
    assert_eq!(content(&whole), content(&killed));
}
