//! The bridge to Gymnasium against the real package, and against children that misbehave.
//!
//! `QUINTET_PYTHON` names an interpreter that has gymnasium; without it the tests make a virtual environment in the
//! target folder from PyPI, and say so where they cannot.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use rl_core::Error;
use rl_core::env::python::transport::PythonProcess;
use rl_core::env::python::{GymnasiumEnv, GymnasiumOptions, GymnasiumVector};
use rl_core::env::scripted::{Policy, Random};
use rl_core::env::{Action, Actions, Autoreset, Batch, BatchEnv, Env, Space, VectorEnv};
use rl_core::numpy_rng::NumpyRng;
use rl_core::testing::env_contract_without_save;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PACKAGE: &str = "gymnasium==1.4.0";

/// An interpreter with gymnasium; `None`, loudly, where there is none.
fn gymnasium() -> Option<GymnasiumOptions> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| match std::env::var_os("QUINTET_PYTHON") {
        Some(given) => Some(given.into()),
        None => virtual_environment(),
    });
    if python.is_none() {
        skipped(&format!("no Python 3 with {PACKAGE}, and PyPI cannot be reached; set QUINTET_PYTHON"));
    }
    python.clone().map(|interpreter| GymnasiumOptions { interpreter, ..Default::default() })
}

/// Written past the test harness, which would swallow what a passing test prints.
fn skipped(why: &str) {
    let line = format!("SKIPPED, the bridge to Gymnasium was not tested: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn virtual_environment() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gymnasium-venv");
    let python = folder.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let there = || run(&python, &["-c", "import gymnasium"]);
    let folder = folder.to_str()?;
    let made = there()
        || run(Path::new("python3"), &["-m", "venv", folder])
            && run(&python, &["-m", "pip", "install", "--quiet", PACKAGE])
            && there();
    made.then_some(python)
}

fn plain_python() -> Option<PathBuf> {
    let python: PathBuf = std::env::var_os("QUINTET_PYTHON").map_or("python3".into(), PathBuf::from);
    let there = Command::new(&python).arg("--version").output().is_ok();
    if !there {
        skipped(&format!("no {}", python.display()));
    }
    there.then_some(python)
}

/// Everything that a batch shows, over many steps of random actions.
fn run(env: &mut dyn BatchEnv, copies: usize, mode: Autoreset, steps: usize) -> Vec<Batch> {
    let space = env.spec().action.clone();
    let mut random = Random::new(&space, NumpyRng::new(8));
    env.reset(Some(20)).unwrap();
    let mut all = vec![env.batch().clone()];
    for _ in 0..steps {
        if mode == Autoreset::Disabled {
            let done: Vec<bool> = (0..copies).map(|i| env.batch().done(i)).collect();
            env.reset_where(&done).unwrap();
        }
        let (mut indices, mut reals) = (Vec::new(), Vec::new());
        for _ in 0..copies {
            match random.act(&[]) {
                Action::Discrete(a) => indices.push(a),
                Action::Continuous(a) => reals.extend_from_slice(a),
            }
        }
        let discrete = matches!(space, Space::Discrete(_));
        env.step(if discrete { Actions::Discrete(&indices) } else { Actions::Continuous(&reals) }).unwrap();
        all.push(env.batch().clone());
    }
    all
}

#[test]
fn native_environments_equal_the_real_ones_bit_for_bit() {
    let Some(options) = gymnasium() else { return };
    let ids = ["CartPole-v1", "Pendulum-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1"];
    for id in ids {
        for mode in [Autoreset::NextStep, Autoreset::SameStep, Autoreset::Disabled] {
            let mut bridged = GymnasiumVector::new(id, 3, mode, &options).unwrap();
            let mut native = VectorEnv::make(id, 3, mode).unwrap();
            assert_eq!(bridged.spec(), native.spec());
            let (want, got) = (run(&mut bridged, 3, mode, 450), run(&mut native, 3, mode, 450));
            let differing = want.iter().zip(&got).position(|(want, got)| want != got);
            if let Some(t) = differing {
                panic!("{id}, {mode:?}, step {t}: Gymnasium {:?}, native {:?}", want[t], got[t]);
            }
        }
    }
}

#[test]
fn a_bridged_environment_keeps_the_contract() {
    let Some(options) = gymnasium() else { return };
    for id in ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1"] {
        env_contract_without_save(|| GymnasiumEnv::new(id, &options).unwrap());
    }
}

#[test]
fn keyword_arguments_and_discrete_observations_arrive() {
    let Some(mut options) = gymnasium() else { return };
    options.kwargs.insert("is_slippery".into(), Value::Bool(false));
    let mut env = GymnasiumEnv::new("FrozenLake-v1", &options).unwrap();
    assert_eq!(env.spec().observation, Space::Discrete(16));
    let mut observation = [0.0; 16];
    env.reset(Some(0), &mut observation).unwrap();
    assert_eq!(observation[0], 1.0);
    env.step(Action::Discrete(1), &mut observation).unwrap();
    assert_eq!((observation[0], observation[4]), (0.0, 1.0), "down, without slipping, is the next row");
}

fn reason<T>(result: Result<T, Error>) -> String {
    match result.err().unwrap() {
        Error::Bridge { peer, reason } => format!("{peer}: {reason}"),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_missing_is_named_in_one_line() {
    let nowhere = GymnasiumOptions { interpreter: "/nowhere/python3".into(), ..Default::default() };
    let message = reason(GymnasiumEnv::new("CartPole-v1", &nowhere));
    assert!(message.contains("`/nowhere/python3`") && message.contains("install Python 3"), "{message}");
    assert!(!message.contains('\n'));

    let Some(options) = gymnasium() else { return };
    let message = reason(GymnasiumEnv::new("CartPool-v1", &options));
    assert!(message.contains("unknown environment") && message.contains("CartPool"), "{message}");
    assert!(!message.contains('\n'));
    let message = reason(GymnasiumEnv::new("Blackjack-v1", &options));
    assert!(message.contains("observation space is Tuple"), "{message}");
    let mut wrong = options.clone();
    wrong.kwargs.insert("gravitation".into(), json!(1));
    assert!(reason(GymnasiumEnv::new("Pendulum-v1", &wrong)).contains("gravitation"));
}

#[test]
fn a_missing_package_is_answered_with_the_command_that_installs_it() {
    let Some(python) = plain_python() else { return };
    let bare = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare-venv");
    let arguments = ["-m", "venv", "--without-pip", bare.to_str().unwrap()];
    if !Command::new(python).args(arguments).status().is_ok_and(|status| status.success()) {
        skipped("Python cannot make a virtual environment");
        return;
    }
    let options = GymnasiumOptions { interpreter: bare.join("bin/python"), ..Default::default() };
    let message = reason(GymnasiumEnv::new("CartPole-v1", &options));
    assert!(message.contains("cannot import gymnasium") && message.contains("-m pip install"), "{message}");
}

fn start(script: &str) -> Option<Result<PythonProcess, Error>> {
    let started = PythonProcess::start("a test", &plain_python()?, script, &[]);
    Some(started.map(|(process, ..)| process))
}

/// Whether a process id is free; only Linux tells.
fn is_gone(id: u32) -> bool {
    !Path::new(&format!("/proc/{id}")).exists()
}

#[test]
fn another_protocol_is_refused() {
    let Some(started) = start("Channel().send({'protocol': 99})") else { return };
    assert!(reason(started).contains("protocol 99, this version needs 1"));
}

#[test]
fn a_crash_is_reported_with_its_last_words_and_stays_reported() {
    let script = "c = Channel(); c.send({'protocol': 1}); c.receive(); print('oh dear'); os._exit(3)";
    let Some(started) = start(script) else { return };
    let mut process = started.unwrap();
    let message = reason(process.request("step", &json!({}), &[1, 2, 3]));
    assert!(message.contains("exit status: 3") && message.contains("oh dear"), "{message}");
    assert!(is_gone(process.id()));
    assert!(reason(process.request("step", &json!({}), &[])).contains("failed before"));
    assert!(reason(start("raise ValueError('no start')").unwrap()).contains("ValueError: no start"));
    assert!(reason(start("print('x' * 9999, flush=True)").unwrap()).contains("no frame"));
}

#[test]
fn children_are_reaped_even_stubborn_ones() {
    let quick = "c = Channel(); c.send({'protocol': 1}); c.receive()";
    let stubborn = "import time; c = Channel(); c.send({'protocol': 1}); time.sleep(600)";
    for script in [quick, stubborn] {
        let Some(started) = start(script) else { return };
        let process = started.unwrap();
        let id = process.id();
        assert!(cfg!(not(target_os = "linux")) || !is_gone(id));
        drop(process);
        assert!(is_gone(id), "{script}");
    }
}

#[test]
fn an_exception_in_a_step_is_passed_on() {
    let Some(options) = gymnasium() else { return };
    let mut env = GymnasiumVector::new("CartPole-v1", 2, Autoreset::SameStep, &options).unwrap();
    env.reset(Some(0)).unwrap();
    let id = env.process_id();
    // Refused here already: the child is not even asked, and goes on.
    assert!(matches!(env.step(Actions::Discrete(&[0, 5])), Err(Error::Action { .. })));
    env.step(Actions::Discrete(&[0, 1])).unwrap();
    drop(env);
    assert!(is_gone(id));
}
