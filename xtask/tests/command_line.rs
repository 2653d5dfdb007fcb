//! The command line as users meet it: exit status, messages, files, interruption. Driven with the example
//! `chain`, which is the program with one small exercise in its table.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The example's program; cargo builds it with the tests, two folders above this test's own program.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().parent().unwrap().join("examples/chain")
}

fn xtask(folder: &Path, args: &[&str]) -> Output {
    Command::new(program()).args(args).current_dir(folder).output().unwrap()
}

fn status_and_message(folder: &Path, args: &[&str]) -> (i32, String) {
    let output = xtask(folder, args);
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Runs the exercise with `--json` and gives the summary and the run's folder, the only one below `out`.
fn run(folder: &Path, out: &str, flags: &[&str]) -> (Value, PathBuf) {
    let output = xtask(folder, &[&["run-exercise", "chain", "--json", "--out", out], flags].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap(), only_run(&folder.join(out)))
}

fn only_run(out: &Path) -> PathBuf {
    let runs: Vec<_> = fs::read_dir(out.join("chain")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}

/// The files that must not differ between equal runs, below a seed's folder.
fn content(run: &Path, seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    let files = [
        "metrics.jsonl",
        "progress.csv",
        "results.json",
        "checkpoint/chain/q-learning.safetensors",
        "checkpoint/chain/random.safetensors",
        "plots/chain-charts-episodic-return.svg",
    ];
    files.map(|file| (file, fs::read(run.join(format!("seed-{seed}")).join(file)).unwrap())).to_vec()
}

#[test]
fn a_run_leaves_what_the_contract_says_and_prints_the_same_object() {
    let folder = tempfile::tempdir().unwrap();
    let (printed, run) = run(folder.path(), "runs", &["--preset", "smoke", "--seeds", "2"]);
    let written: Value =
        serde_json::from_str(&fs::read_to_string(run.join("summary.json")).unwrap()).unwrap();
    assert_eq!(printed, written);
    let keys: Vec<&String> = printed.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["exercise", "preset", "results", "seeds", "threads", "wall_seconds"]);
    let row = printed["results"][0].as_object().unwrap();
    let mut keys: Vec<&str> = row.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut expected = [
        "task",
        "method",
        "role",
        "metric",
        "unit",
        "higher_is_better",
        "step",
        "mean",
        "iqm",
        "ci95",
        "per_seed",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(row["per_seed"].as_array().unwrap().len(), 2);
    for file in ["report.html", "plots/value.svg", "plots/chain-charts-episodic-return.svg"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    for file in ["config.toml", "meta.json", "tensorboard/chain/random/events.out.tfevents.quintet"] {
        assert!(run.join("seed-1").join(file).is_file(), "{file}");
    }
    let meta: Value =
        serde_json::from_str(&fs::read_to_string(run.join("seed-1/meta.json")).unwrap()).unwrap();
    assert_eq!((&meta["seed"], &meta["complete"]), (&Value::from(1), &Value::from(true)));
    for key in ["version", "git_revision", "cpu", "threads", "wall_seconds"] {
        assert!(meta.get(key).is_some(), "{key}");
    }
    for line in fs::read_to_string(run.join("seed-0/metrics.jsonl")).unwrap().lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["step"].is_u64());
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let folder = tempfile::tempdir().unwrap();
    let (_, a) = run(folder.path(), "a", &["--preset", "smoke", "--seed", "7"]);
    let (_, b) = run(folder.path(), "b", &["--preset", "smoke", "--seed", "7"]);
    let (_, c) = run(folder.path(), "c", &["--preset", "smoke", "--seed", "8"]);
    assert_eq!(content(&a, 7), content(&b, 7));
    assert_ne!(content(&a, 7)[0].1, content(&c, 8)[0].1);
}

/// Starts a slow run, waits until it has written metrics, and ends it as `end` does.
fn start_and_end(
    folder: &Path,
    out: &str,
    end: impl FnOnce(&mut std::process::Child),
) -> (i32, String, PathBuf) {
    let args =
        ["run-exercise", "chain", "--preset", "smoke", "--seed", "7", "--set", "pause=1", "--out", out];
    let mut child = Command::new(program());
    let mut child = child.args(args).current_dir(folder).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    let metrics = || {
        Some(
            fs::read_dir(folder.join(out).join("chain"))
                .ok()?
                .next()?
                .ok()?
                .path()
                .join("seed-7/metrics.jsonl"),
        )
    };
    while metrics().is_none_or(|path| fs::metadata(path).map_or(0, |m| m.len()) < 200) {
        assert!(began.elapsed() < Duration::from_secs(30), "the run does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    end(&mut child);
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap_or(-1), message, only_run(&folder.join(out)))
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_a_checkpoint_says_how_to_resume_and_resuming_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (_, whole) = run(folder.path(), "whole", &["--preset", "smoke", "--seed", "7", "--set", "pause=1"]);
    let (code, message, parts) = start_and_end(folder.path(), "parts", |child| {
        let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(interrupted.unwrap().success());
    });
    assert_eq!(code, 1, "{message}");
    assert!(message.contains("--resume parts/chain/"), "{message}");
    assert!(parts.join("seed-7/checkpoint").is_dir() && !parts.join("seed-7/results.json").exists());
    let resume = ["run-exercise", "chain", "--json", "--resume", parts.to_str().unwrap()];
    let output = xtask(folder.path(), &resume);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(content(&whole, 7), content(&parts, 7));
    let again = xtask(folder.path(), &resume);
    assert!(again.status.success(), "a finished run may be resumed: it only makes the report anew");
    assert_eq!(content(&whole, 7), content(&parts, 7));
}

#[test]
fn a_killed_parent_stops_its_seeds_and_the_run_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (_, whole) = run(folder.path(), "whole", &["--preset", "smoke", "--seed", "7", "--set", "pause=1"]);
    let (_, _, parts) = start_and_end(folder.path(), "parts", |child| child.kill().unwrap());
    let resume = ["run-exercise", "chain", "--json", "--resume", parts.to_str().unwrap()];
    let began = Instant::now();
    // The seed's process notices, finishes its step and lets go of the folder.
    while !xtask(folder.path(), &resume).status.success() {
        assert!(began.elapsed() < Duration::from_secs(20), "the seed's process goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(content(&whole, 7), content(&parts, 7));
}

#[test]
fn bad_input_is_status_2_and_one_message_that_names_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    let check = |args: &[&str], expected: &[&str]| {
        let (code, message) = status_and_message(folder.path(), args);
        assert_eq!(code, 2, "{args:?}: {message}");
        for part in expected {
            assert!(message.contains(part), "{args:?}: {message}");
        }
        assert!(!message.contains("panicked") && !message.contains("backtrace"), "{message}");
    };
    let set = |assignment: &'static str| ["run-exercise", "chain", "--set", assignment];
    check(&["run-exercise", "chian"], &["no exercise `chian`", "did you mean `chain`?"]);
    check(&["run-exercise", "zzz"], &["there are: chain, all"]);
    check(&set("q_learning.gama=1"), &["no field `q_learning.gama`", "did you mean `q_learning.gamma`?"]);
    check(&set("gamma"), &["key.path=value"]);
    check(&set("steps=many"), &["--set steps=many", "\"many\"", "u64"]);
    check(&set("steps=-1"), &["--set steps=-1", "-1"]);
    check(&set("states=1"), &["states = 1", "at least 2"]);
    check(&["run-exercise", "chain", "--device", "tpu"], &["--device tpu", "cpu", "cuda:0"]);
    check(&["run-exercise", "chain", "--seeds", "0"], &["--seeds"]);
    check(&["run-exercise", "chain", "--seed", "1", "--seeds", "2"], &["cannot be used with"]);
    check(&["run-exercise", "chain", "--preset", "huge"], &["smoke, quick, full"]);
    check(&["run-exercise", "chain", "--resume", "nowhere"], &["nowhere"]);
    check(&["report", "nowhere"], &["nowhere"]);
    check(&["report"], &["there are no runs in `runs`"]);
    check(&["conformance", "rl-cor"], &["no area `rl-cor`"]);
    check(&["bench-peers", "../etc"], &["no peers"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "bad input must leave nothing behind");
    fs::write(folder.path().join("file"), "").unwrap();
    check(&["run-exercise", "chain", "--out", "file"], &["--out file"]);
    check(&["run-exercise", "chain", "--out", "/proc/quintet"], &["--out /proc/quintet"]);
}

#[test]
fn damaged_runs_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_, run) = run(folder.path(), "runs", &["--preset", "smoke", "--seed", "7"]);
    let seed = run.join("seed-7");
    let meta = fs::read_to_string(seed.join("meta.json")).unwrap();
    let resume = |expected: &[&str]| {
        fs::write(seed.join("meta.json"), meta.replace("\"complete\": true", "\"complete\": false")).unwrap();
        let before = content(&run, 7);
        let (code, message) =
            status_and_message(folder.path(), &["run-exercise", "chain", "--resume", run.to_str().unwrap()]);
        assert!(code == 1 || code == 2, "{code}: {message}");
        for part in expected {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(content(&run, 7), before);
    };
    let config = fs::read_to_string(seed.join("config.toml")).unwrap();
    fs::write(seed.join("config.toml"), config.replace("states = 8", "states = 9")).unwrap();
    resume(&["trainer/q", "[9, 2]", "[8, 2]"]);
    fs::write(seed.join("config.toml"), config.replace("states = 8", "stats = 8")).unwrap();
    resume(&["stats"]);
    fs::write(seed.join("config.toml"), "exercise = \"chain\"\nbroken").unwrap();
    resume(&["config.toml cannot be used"]);
    fs::write(seed.join("config.toml"), config.replace("\"chain\"", "\"baselines\"")).unwrap();
    resume(&["`baselines`", "`chain`"]);
    fs::write(seed.join("config.toml"), &config).unwrap();
    let checkpoint = seed.join("checkpoint/chain/random.safetensors");
    let good = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &good[..good.len() / 2]).unwrap();
    resume(&["random.safetensors", "truncated or damaged"]);
    let mut flipped = good.clone();
    flipped[good.len() - 3] ^= 1;
    fs::write(&checkpoint, flipped).unwrap();
    resume(&["random.safetensors", "checksum"]);
}

#[test]
fn all_runs_every_exercise_and_list_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let listed = String::from_utf8(xtask(folder.path(), &["list"]).stdout).unwrap();
    assert!(listed.lines().count() == 2 && listed.contains("chain") && listed.contains("Tabular Q-learning"));
    let output = xtask(folder.path(), &["run-exercise", "all", "--preset", "smoke", "--json"]);
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["exercises"][0]["exercise"], "chain");
    let table = xtask(folder.path(), &["run-exercise", "chain", "--preset", "smoke"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("q-learning") && table.contains("report.html"), "{table}");
}

#[cfg(unix)]
#[test]
fn ci_runs_every_step_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    // Cargo's own steps are replaced: this test runs inside one of them.
    let ci = |cargo: &str| {
        let output =
            Command::new(program()).arg("ci").env("CARGO", cargo).current_dir(folder.path()).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = ci("true");
    assert!(code == Some(0) && text.ends_with("6 passed, 0 failed\n"), "{text}");
    assert!(text.contains("pass  smoke chain") && text.contains("pass  conformance"), "{text}");
    let (code, text) = ci("false");
    assert!(
        code == Some(1) && text.ends_with("2 passed, 4 failed\n") && text.contains("FAIL  tests"),
        "{text}"
    );
}
