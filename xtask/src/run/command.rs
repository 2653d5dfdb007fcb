//! `cargo xtask run-exercise`: folders, seeds in parallel processes, summary, plots, report.

use super::Results;
use super::config::{Preset, RunConfig, resolve};
use super::progress::{Bar, Bars};
use super::seed::{Report, STOPPED, device, find, stop_on_signal};
use crate::exercises::Entry;
use crate::input::{BadInput, bad};
use crate::{machine, report, table};
use anyhow::{Context as _, Result};
use rl_core::experiment::{Outcome, RunDir, SeedDir, StopFlag, Summary, write_atomically};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Flags of `run-exercise`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunExercise {
    /// Name of the exercise (see `cargo xtask list`), or `all`
    name: String,
    /// How much of it
    #[arg(long, value_enum, default_value = "quick", conflicts_with = "resume")]
    preset: Preset,
    /// Run one seed
    #[arg(long, value_name = "S", conflicts_with_all = ["seeds", "resume"])]
    seed: Option<u64>,
    /// Run the seeds 0 to N-1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "resume")]
    seeds: Option<u64>,
    /// Where to compute: cpu or cuda:0
    #[arg(long, default_value = "cpu", conflicts_with = "resume")]
    device: String,
    /// Compute threads per seed; seeds run side by side as far as the processors reach
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "resume",
          value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Folder of all runs
    #[arg(long, default_value = "runs", conflicts_with = "resume")]
    out: PathBuf,
    /// Go on with an interrupted run
    #[arg(long, value_name = "RUN_DIR")]
    resume: Option<PathBuf>,
    /// Change a field of the configuration: key.path=value
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "resume")]
    assignments: Vec<String>,
    /// Print the summary as one JSON object and nothing else on stdout
    #[arg(long)]
    json: bool,
}

/// Runs what the flags say.
pub(crate) fn run_exercise(exercises: &[Entry], args: &RunExercise) -> Result<ExitCode> {
    let runs = plan(exercises, args)?;
    let stop = StopFlag::default();
    stop_on_signal(&stop)?;
    let mut summaries = Vec::new();
    for (exercise, run) in &runs {
        let began = Instant::now();
        let earlier = spent(run)?;
        if !work(run, &stop)? {
            eprintln!(
                "stopped; go on with: cargo xtask run-exercise {exercise} --resume {}",
                run.path().display()
            );
            return Ok(ExitCode::FAILURE);
        }
        let summary = summarise(run, earlier + began.elapsed().as_secs_f64())?;
        let page = report::write_beside(run)?;
        if !args.json {
            println!("{}\n", outcome_table(&summary));
            println!("{}  {}", summary.exercise, table::duration(summary.wall_seconds));
            println!("plots   {}", run.path().join("plots").display());
            println!("report  {}", page.display());
        }
        summaries.push(summary);
    }
    if args.json {
        let text = match summaries.as_slice() {
            [summary] if args.name != "all" => serde_json::to_string(summary)?,
            several => format!("{{\"exercises\":{}}}", serde_json::to_string(several)?),
        };
        println!("{text}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The exercises to run and their folders, new or to be resumed. Nothing is created before all input is known
/// to be good.
fn plan(exercises: &[Entry], args: &RunExercise) -> Result<Vec<(String, RunDir)>> {
    if let Some(path) = &args.resume {
        let exercise = find(exercises, &args.name)?;
        let run = RunDir::open(path).map_err(|e| bad(e.to_string()))?;
        for folder in run.seeds()? {
            let made_by = RunConfig::read(&folder)?.exercise;
            if made_by != exercise.name {
                let (path, name) = (path.display(), exercise.name);
                return Err(bad(format!("--resume {path}: this is a run of `{made_by}`, not of `{name}`")));
            }
        }
        return Ok(vec![(exercise.name.into(), run)]);
    }
    device(&args.device)?;
    let chosen =
        if args.name == "all" { exercises.iter().collect() } else { vec![find(exercises, &args.name)?] };
    let configs = chosen.iter().map(|exercise| configure(exercise, args)).collect::<Result<Vec<_>>>()?;
    configs.into_iter().map(|config| Ok((config.exercise.clone(), create(&args.out, config)?))).collect()
}

fn configure(exercise: &Entry, args: &RunExercise) -> Result<RunConfig> {
    let seeds = match (args.seed, args.seeds) {
        (Some(seed), _) => vec![seed],
        (None, count) => (0..count.unwrap_or_else(|| (exercise.seeds)(args.preset))).collect(),
    };
    Ok(RunConfig {
        exercise: exercise.name.into(),
        preset: args.preset,
        seed: None,
        seeds,
        threads: args.threads.into(),
        device: args.device.clone(),
        config: resolve(exercise, args.preset, &args.assignments)?,
    })
}

fn create(out: &std::path::Path, config: RunConfig) -> Result<RunDir> {
    let run = RunDir::create(out, &config.exercise, &machine::timestamp(), &config.to_toml()?)
        .map_err(|e| bad(format!("--out {}: {e}; choose a folder that can be written", out.display())))?;
    for &seed in &config.seeds {
        let config = RunConfig { seed: Some(seed), ..config.clone() };
        run.create_seed(seed, &config.to_toml()?)?;
    }
    Ok(run)
}

/// Works all seeds that are not complete; `false` if a stop was asked for.
fn work(run: &RunDir, stop: &StopFlag) -> Result<bool> {
    let mut open = VecDeque::new();
    let mut threads = 1;
    for folder in run.seeds()? {
        threads = RunConfig::read(&folder)?.threads;
        if !folder.meta()?.is_some_and(|meta| meta.complete) {
            open.push_back(folder);
        }
    }
    let side_by_side = (machine::cores() / threads).clamp(1, open.len().max(1));
    let (queue, bars) = (Mutex::new(open), Bars::new());
    let outcomes: Vec<Result<bool>> = std::thread::scope(|scope| {
        let worker = || -> Result<bool> {
            loop {
                let next = queue.lock().map_err(|_| anyhow::anyhow!("a worker failed"))?.pop_front();
                let Some(folder) = next else { return Ok(true) };
                if stop.is_raised() || !work_one(run, &folder, threads, stop, bars.add(folder.seed()))? {
                    return Ok(false);
                }
            }
        };
        let workers: Vec<_> = (0..side_by_side).map(|_| scope.spawn(worker)).collect();
        let join = |w: std::thread::ScopedJoinHandle<'_, Result<bool>>| {
            w.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a worker failed")))
        };
        workers.into_iter().map(join).collect()
    });
    outcomes.into_iter().try_fold(true, |all, outcome| Ok(all && outcome?))
}

/// Starts the process of a seed and follows it to its end; `false` if it stopped on request.
fn work_one(run: &RunDir, folder: &SeedDir, threads: usize, stop: &StopFlag, mut bar: Bar) -> Result<bool> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["work-seed", &folder.seed().to_string()])
        .arg(run.path())
        // candle and rayon read it once, when their pools start.
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the process of a seed")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let said = std::thread::scope(|scope| -> Result<String> {
        let complaints = scope.spawn(move || {
            let mut text = String::new();
            stderr.map(|mut pipe| pipe.read_to_string(&mut text));
            text
        });
        let bar = &mut bar;
        let following = scope.spawn(move || {
            for line in stdout.map(BufReader::new).into_iter().flat_map(BufRead::lines).map_while(Result::ok)
            {
                if let Ok(report) = serde_json::from_str::<Report>(&line) {
                    bar.show(&report);
                }
            }
        });
        wait(&mut child, stop)?;
        following.join().map_err(|_| anyhow::anyhow!("lost the process of a seed"))?;
        Ok(complaints.join().unwrap_or_default())
    })?;
    let code = child.wait()?.code();
    let verdict = match code {
        Some(0) => "done",
        Some(code) if code == i32::from(STOPPED) => "stopped",
        _ => "failed",
    };
    bar.finish(verdict, code == Some(0));
    match code {
        Some(0) => Ok(true),
        Some(code) if code == i32::from(STOPPED) => Ok(false),
        code => Err(failure(folder, code, &said)),
    }
}

/// Waits for the process; a raised flag closes its stdin, which asks it to stop.
fn wait(child: &mut Child, stop: &StopFlag) -> Result<()> {
    while child.try_wait()?.is_none() {
        if stop.is_raised()
            && let Some(pipe) = child.stdin.take()
        {
            eprintln!("finishing the step at hand; once more to quit without a checkpoint");
            drop(pipe);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The error of a seed's process, as its last words have it.
fn failure(folder: &SeedDir, code: Option<i32>, said: &str) -> anyhow::Error {
    let said = said.trim().trim_start_matches("error: ");
    let said = if said.is_empty() { "it was killed and said nothing; resume the run to go on" } else { said };
    let message = format!("seed {}: {said}", folder.seed());
    if code == Some(2) { BadInput(message).into() } else { anyhow::anyhow!(message) }
}

/// Seconds that earlier attempts at this run took: those of its longest seed, since seeds run side by side.
fn spent(run: &RunDir) -> Result<f64> {
    run.seeds()?
        .iter()
        .try_fold(0f64, |most, seed| Ok(most.max(seed.meta()?.map_or(0.0, |m| m.wall_seconds))))
}

/// Makes `summary.json` from what the seeds left.
fn summarise(run: &RunDir, wall_seconds: f64) -> Result<Summary> {
    let (mut scores, mut seeds) = (Vec::new(), Vec::new());
    let folders = run.seeds()?;
    let first = folders.first().context("a run without seeds")?;
    let config = RunConfig::read(first)?;
    for folder in &folders {
        let results: Results = folder.read_json("results.json")?.context("a seed without results")?;
        scores.push(results.scores);
        seeds.push(folder.seed());
    }
    let summary = Summary {
        exercise: config.exercise,
        preset: config.preset.name().into(),
        seeds,
        threads: config.threads,
        wall_seconds,
        results: Outcome::collect(&scores),
    };
    let text = format!("{}\n", serde_json::to_string_pretty(&summary)?);
    write_atomically(&run.path().join("summary.json"), text.as_bytes())?;
    Ok(summary)
}

/// The results for the terminal.
fn outcome_table(summary: &Summary) -> String {
    let row = |r: &Outcome| {
        let [lo, hi] = r.ci95.map(table::number);
        let metric = if r.unit.is_empty() { r.metric.clone() } else { format!("{} [{}]", r.metric, r.unit) };
        let (mean, iqm) = (table::number(r.mean), table::number(r.iqm));
        vec![r.task.clone(), r.method.clone(), metric, mean, iqm, format!("[{lo}, {hi}]"), r.step.to_string()]
    };
    let rows: Vec<_> = summary.results.iter().map(row).collect();
    table::aligned(&["task", "method", "metric", "mean", "iqm", "95 % interval", "steps"], &rows)
}
