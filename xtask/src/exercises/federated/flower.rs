//! `federated-flower`: the same federation in this process and over Flower, on this machine: a SuperLink in a virtual
//! environment, Rust nodes in processes of their own, a stock FedAvg on the server.
//!
//! It needs Python 3.10 or later with venv, and access to PyPI the first time (about 300 MB), or an environment that has
//! `flwr==1.41.0` already (`FLOWER_VENV`). What is missing is said, and the exercise ends without scores of Flower.

use super::{Pace, course, references};
use crate::exercises::Exercise;
use crate::machine;
use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line};
use anyhow::{Context as _, Result};
use federated::rl::environment::Dynamics;
use federated::rl::ppo::{PpoClient, PpoConfig};
use federated::simulation::{Simulation, SimulationConfig};
use federated::strategy::FedAvg;
use rl_core::experiment::Role;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The exercise.
pub(crate) struct FederatedFlower;

/// The federation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Nodes.
    clients: usize,
    /// Rounds.
    rounds: u64,
    /// κ, how much the carts differ.
    heterogeneity: f64,
    /// Every client.
    ppo: PpoConfig,
    /// Seconds after which the run over Flower counts as failed.
    patience: u64,
}

const TASK: &str = "CartPole-v1";
const VERSION: &str = "1.41.0";

impl Exercise for FederatedFlower {
    type Config = Config;

    const NAME: &'static str = "federated-flower";
    const DESCRIPTION: &'static str = "The same federation in one process and over Flower, with Rust nodes";
    const DURATION: [&'static str; 3] = ["1 min", "2 min", "4 min"];

    fn config(preset: Preset) -> Config {
        let rounds = match preset {
            Preset::Smoke => 1,
            Preset::Quick => 10,
            Preset::Full => 60,
        };
        let ppo = PpoConfig { rollouts: 4, ..PpoConfig::default() };
        Config { clients: 2, rounds, heterogeneity: 0.5, ppo, patience: 900 }
    }

    fn seeds(preset: Preset) -> u64 {
        if preset == Preset::Full { 5 } else { 1 }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.clients > 0 && config.rounds > 0, "clients and rounds: must be at least 1");
        config.ppo.validate()?;
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        references(TASK, &Dynamics::cart_pole(), TASK, ctx)?;
        let steps = config.rounds * config.ppo.steps_per_round();
        let here = ctx.session.once(&format!("{TASK}/one process"), |stage| in_one_process(config, stage))?;
        ctx.score(TASK, "one process", Role::Reference, Measure::RETURN, steps, last(&here.returns))?;
        let prepared = match prepare(ctx.preset != Preset::Smoke) {
            Ok(prepared) => prepared,
            Err(missing) => {
                ctx.note(format!("SKIPPED: nothing ran over Flower: {missing:#}"));
                return Ok(());
            }
        };
        let there = ctx.session.once(&format!("{TASK}/flower"), |stage| {
            let there = over_flower(config, &prepared)?;
            for (i, value) in there.returns.iter().enumerate() {
                stage.metrics().record("charts/episodic_return", *value);
                stage.metrics().flush((i as u64 + 1) * config.ppo.steps_per_round())?;
            }
            anyhow::Ok(there)
        })?;
        ctx.score(TASK, "flower", Role::Method, Measure::RETURN, steps, last(&there.returns))?;
        let difference = here.first.iter().zip(&there.first).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let measure = Measure::error("difference of the parameters after round 1", "");
        ctx.score(TASK, "flower", Role::Method, measure, steps, f64::from(difference))?;
        let x = |n: usize| (1..=n).map(|i| i as f64).collect();
        ctx.figure(Figure {
            name: "return-by-round".into(),
            title: format!("{TASK}: the same federation in one process and over Flower"),
            x_label: "round".into(),
            y_label: "return, mean over clients".into(),
            lines: [("one process", here.returns), ("flower", there.returns)]
                .map(|(name, y)| Line { name: name.into(), x: x(y.len()), y })
                .into(),
        });
        ctx.note(format!(
            "{} Rust nodes, flwr {VERSION}, stock FedAvg, no TLS, on loopback. Clients draw the same random numbers in \
             both engines; parameters drift apart after some rounds because the two servers round their means \
             differently.",
            config.clients
        ));
        Ok(())
    }
}

fn last(returns: &[f64]) -> f64 {
    returns.last().copied().unwrap_or(f64::NAN)
}

/// What a federation came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Federation {
    /// Mean return over clients after each round.
    returns: Vec<f64>,
    /// The parameters after the first round.
    first: Vec<f32>,
}

/// The seed of both engines: the configuration decides, not the exercise's seed, so that nodes need no more than it.
const SEED: u64 = 0;

fn in_one_process(config: &Config, stage: &mut rl_core::experiment::Stage<'_>) -> Result<Federation> {
    let world = Dynamics::cart_pole().spread(config.clients, config.heterogeneity)?;
    let seeds = rl_core::SeedStream::new(SEED);
    let client = |(i, dynamics)| PpoClient::new(i as u64, &config.ppo, dynamics, seeds);
    let clients: Vec<PpoClient> = world.iter().enumerate().map(client).collect::<Result<_, _>>()?;
    let global = clients[0].initial_parameters()?;
    let engine = SimulationConfig { seed: SEED, evaluate_every: 0, ..SimulationConfig::default() };
    let mut simulation = Simulation::new(engine, clients, FedAvg, global)?;
    let mut first = vec![];
    let pace = Pace { rounds: config.rounds, every: 1, steps: config.ppo.steps_per_round() };
    let done = course(stage, &mut simulation, pace, |s| {
        if s.round() == 1 {
            first = s.global().to_vec();
        }
        Ok(s.evaluate().into_iter().flatten().collect())
    })?;
    Ok(Federation { returns: done.returns, first })
}

/// Folder of Flower's programs, and the node.
struct Prepared {
    bin: PathBuf,
    node: PathBuf,
}

/// The environment, made if need be and `install` allows it, and the node, built if need be.
fn prepare(install: bool) -> Result<Prepared> {
    let workspace = machine::workspace();
    let venv = match std::env::var_os("FLOWER_VENV") {
        Some(venv) => PathBuf::from(venv),
        None => workspace.join("target/flower-venv"),
    };
    let bin = venv.join("bin");
    if version(&bin).as_deref() != Some(VERSION) {
        let mend = "the presets quick and full install it, or FLOWER_VENV names an environment that has it";
        anyhow::ensure!(install, "{} has no flwr=={VERSION}: {mend}", venv.display());
        let python = ["python3", "python"]
            .into_iter()
            .find(|p| Command::new(p).arg("--version").output().is_ok_and(|o| o.status.success()));
        let python = python.context("there is no python3 on the path; install Python 3.10 or later")?;
        run(Command::new(python).args(["-m", "venv"]).arg(&venv), "make a virtual environment")?;
        let pip = ["-m", "pip", "install", "--quiet", "flwr==1.41.0"];
        run(Command::new(bin.join("python")).args(pip), "install flwr==1.41.0 from PyPI")?;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--release", "--quiet", "-p", "federated", "--features", "flower", "--example"];
    run(Command::new(cargo).current_dir(workspace).args(build).arg("flower_ppo_node"), "build the node")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(workspace.join("target"), PathBuf::from);
    let node = target.join("release/examples/flower_ppo_node");
    anyhow::ensure!(node.is_file(), "{} is missing after the build", node.display());
    Ok(Prepared { bin, node })
}

/// The installed version of flwr.
fn version(bin: &Path) -> Option<String> {
    let script = "import importlib.metadata as m; print(m.version('flwr'))";
    let output = Command::new(bin.join("python")).args(["-c", script]).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn run(command: &mut Command, what: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot {what}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = text.lines().rev().take(3).collect();
    anyhow::ensure!(output.status.success(), "cannot {what}: {}", tail.join(" | "));
    Ok(())
}

/// A process that ends with the exercise.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // the SuperLink ends its own children when it is interrupted, not when it is killed
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of Flower with its own home, telling nobody.
fn flower(prepared: &Prepared, home: &Path, program: &str) -> Command {
    let mut command = Command::new(prepared.bin.join(program));
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{}:{path}", prepared.bin.display()))
        .env("FLWR_HOME", home)
        .env("FLWR_TELEMETRY_ENABLED", "0")
        .env("FLWR_DISABLE_UPDATE_CHECK", "1")
        .env("UV_OFFLINE", "1")
        .env("PYTHONUNBUFFERED", "1")
        .stdin(Stdio::null());
    command
}

fn spawn(mut command: Command, log: &Path) -> Result<Background> {
    let file = fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
    let command = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok(Background(command.spawn().context("start a process of Flower")?))
}

/// Starts everything, waits for the result, ends everything.
fn over_flower(config: &Config, prepared: &Prepared) -> Result<Federation> {
    let home = std::env::temp_dir().join(format!("quintet-flower-{}", std::process::id()));
    fs::create_dir_all(&home)?;
    let done = start_and_wait(config, prepared, &home);
    let _ = fs::remove_dir_all(&home);
    done
}

fn start_and_wait(config: &Config, prepared: &Prepared, home: &Path) -> Result<Federation> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    fs::write(
        home.join("config.toml"),
        format!(
            "[superlink]\ndefault = \"here\"\n\n[superlink.here]\naddress = \"{address}\"\ninsecure = true\n"
        ),
    )?;
    let settings = home.join("ppo.json");
    fs::write(&settings, serde_json::to_string(&config.ppo)?)?;
    let world = Dynamics::cart_pole().spread(config.clients, config.heterogeneity)?;
    let first = PpoClient::new(0, &config.ppo, &world[0], rl_core::SeedStream::new(SEED))?;
    let initial = home.join("initial.f32");
    fs::write(
        &initial,
        first.initial_parameters()?.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>(),
    )?;

    let mut link = flower(prepared, home, "flower-superlink");
    link.args(["--insecure", "--disable-runtime-dependency-installation", "--host", "127.0.0.1", "--port"]);
    link.arg(port.to_string());
    let _link = spawn(link, &home.join("superlink.log"))?;
    wait("the SuperLink", config.patience, || {
        Ok(std::net::TcpStream::connect(&address).is_ok().then_some(()))
    })?;
    let mut nodes = vec![];
    for i in 0..config.clients {
        let mut node = Command::new(&prepared.node);
        node.arg(&address)
            .arg(&settings)
            .args([SEED, i as u64, config.clients as u64].map(|n| n.to_string()));
        node.arg(config.heterogeneity.to_string());
        nodes.push(spawn(node, &home.join(format!("node-{i}.log")))?);
    }
    let app = machine::workspace().join("crates/federated/flower-app");
    let result = home.join("result.json");
    let run_config = format!(
        "num-server-rounds={} min-nodes={} initial=\"{}\" result=\"{}\"",
        config.rounds,
        config.clients,
        initial.display(),
        result.display()
    );
    let mut run = flower(prepared, home, "flwr");
    run.arg("run").arg(app).args(["here", "--stream", "-c", &run_config]);
    let run_log = home.join("run.log");
    let _run = spawn(run, &run_log)?;
    let text = wait("the run over Flower", config.patience, || match fs::read_to_string(&result) {
        Ok(text) if text.ends_with('\n') => Ok(Some(text)),
        _ => Ok(None),
    })
    .with_context(|| fs::read_to_string(&run_log).unwrap_or_default())?;
    Ok(serde_json::from_str(&text)?)
}

fn wait<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        anyhow::ensure!(
            start.elapsed() < Duration::from_secs(seconds),
            "{what} took longer than {seconds} s"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
