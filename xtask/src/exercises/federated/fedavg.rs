//! `federated-fedavg`: federated PPO with 1 to 16 clients of equal dynamics (the speed-up), the same number of clients
//! with dynamics that differ (what SCAFFOLD, FedProx, private heads and embeddings are good for), and federated TD(0),
//! where the linear speed-up can be read off.

use super::{Course, Examiner, Pace, course, equal_clients, references};
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line};
use anyhow::Result;
use federated::client::Client;
use federated::rl::descent::DescentConfig;
use federated::rl::environment::Dynamics;
use federated::rl::personal::Personal;
use federated::rl::policy::PolicyConfig;
use federated::rl::ppo::{PpoClient, PpoConfig};
use federated::rl::temporal_difference::{MarkovReward, TdClient, squared_error};
use federated::simulation::{Simulation, SimulationConfig};
use federated::strategy::personal::Sharing;
use federated::strategy::proximal::FedProx;
use federated::strategy::scaffold::Scaffold;
use federated::strategy::{FedAvg, Strategy};
use rl_core::SeedStream;
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// The exercise.
pub(crate) struct FederatedFedAvg;

/// Both tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Numbers of clients of equal dynamics.
    clients: Vec<usize>,
    /// CartPole-v1.
    cart_pole: Task,
    /// PointControl.
    point_control: Task,
    /// Clients whose dynamics differ.
    different_clients: usize,
    /// κ, how much they differ, from 0 to 1.
    heterogeneity: Vec<f64>,
    /// FedProx's μ.
    proximal_mu: f64,
    /// Numbers in an environment embedding.
    embedding: usize,
    /// Rounds of federated TD(0); the first tenth is not counted.
    td_rounds: u64,
}

/// One task.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    /// Rounds with equal clients.
    rounds: u64,
    /// Rounds with different clients.
    different_rounds: u64,
    /// Rounds between two examinations.
    examine_every: u64,
    /// The return at which the task counts as learned.
    threshold: f64,
    /// Every client.
    ppo: PpoConfig,
}

/// So little data per client and round that one client alone learns from noise: there more clients help.
fn cart_pole() -> Task {
    let learning_rate = Schedule::Linear { start: 3e-3, end: 0.0, steps: 250 };
    let descent = DescentConfig { learning_rate, ..DescentConfig::default() };
    let ppo = PpoConfig {
        descent,
        envs: 1,
        rollout_steps: 64,
        minibatch_size: 64,
        epochs: 20,
        ..PpoConfig::default()
    };
    Task { rounds: 120, different_rounds: 160, examine_every: 2, threshold: 450.0, ppo }
}

fn point_control() -> Task {
    let learning_rate = Schedule::Linear { start: 3e-3, end: 0.0, steps: 250 };
    let policy = PolicyConfig { initial_log_std: -0.5, ..PolicyConfig::default() };
    let ppo = PpoConfig {
        policy,
        descent: DescentConfig { learning_rate, ..DescentConfig::default() },
        envs: 1,
        rollout_steps: 64,
        minibatch_size: 64,
        epochs: 10,
        gamma: 0.95,
        gae_lambda: 0.9,
        reward_scale: 0.2,
        ..PpoConfig::default()
    };
    Task { rounds: 120, different_rounds: 200, examine_every: 2, threshold: -12.0, ppo }
}

impl Exercise for FederatedFedAvg {
    type Config = Config;

    const NAME: &'static str = "federated-fedavg";
    const DESCRIPTION: &'static str =
        "Federated PPO: speed-up with 1 to 16 clients, and clients whose dynamics differ";
    const DURATION: [&'static str; 3] = ["3 s", "2 min", "10 min"];

    fn config(preset: Preset) -> Config {
        let mut config = Config {
            clients: vec![1, 2, 4, 8, 16],
            cart_pole: cart_pole(),
            point_control: point_control(),
            different_clients: 8,
            heterogeneity: vec![0.0, 0.5, 1.0],
            proximal_mu: 0.1,
            embedding: 4,
            td_rounds: 5000,
        };
        match preset {
            Preset::Smoke => {
                config.clients = vec![1, 2];
                config.heterogeneity = vec![1.0];
                config.different_clients = 2;
                config.td_rounds = 100;
                for task in [&mut config.cart_pole, &mut config.point_control] {
                    (task.rounds, task.different_rounds) = (4, 3);
                }
            }
            Preset::Quick => config.heterogeneity = vec![1.0],
            Preset::Full => {}
        }
        config
    }

    fn validate(config: &Config) -> Result<()> {
        let most = config.clients.iter().max().copied().unwrap_or(0);
        anyhow::ensure!(most > 0 && !config.clients.contains(&0), "clients: must be positive numbers");
        anyhow::ensure!(config.different_clients > 1, "different_clients: must be at least 2");
        for task in [&config.cart_pole, &config.point_control] {
            task.ppo.validate()?;
            anyhow::ensure!(task.rounds > 0 && task.different_rounds > 0, "rounds: must be at least 1");
            anyhow::ensure!(task.examine_every > 0, "examine_every: must be at least 1");
        }
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let cart = ("CartPole-v1", "CartPole-v1", Dynamics::cart_pole(), &config.cart_pole);
        let point = ("PointControl", "PointControl", Dynamics::point_control(), &config.point_control);
        for (name, rule, dynamics, task) in [cart, point] {
            references(name, &dynamics, rule, ctx)?;
            speed_up(name, &dynamics, task, config, ctx)?;
            different(name, &dynamics, task, config, ctx)?;
        }
        temporal_difference(config, ctx)?;
        ctx.note("Steps count those of one client; N clients play N times as many between them.");
        ctx.note("Returns are of the deterministic global policy: over 20 episodes where clients are equal, over 10 episodes in every client's environment where they differ.");
        ctx.note("Returns are means over the last five examinations. Rounds to the threshold count until such a mean first reached it; a training that never did counts with all its rounds.");
        ctx.note("`alone` trains every client without the others. FedPer keeps the last layers of actor and critic private, `embedding` a learned vector beside the observation.");
        Ok(())
    }
}

/// N clients of equal dynamics.
fn speed_up(name: &str, dynamics: &Dynamics, task: &Task, config: &Config, ctx: &mut Context) -> Result<()> {
    let pace = Pace { rounds: task.rounds, every: task.examine_every, steps: task.ppo.steps_per_round() };
    let (mut lines, mut needed) = (vec![], vec![]);
    let most = config.clients.iter().max().copied().unwrap_or(1);
    for &n in &config.clients {
        let method = format!("fedavg N={n}");
        let seeds = ctx.streams;
        let done = ctx.session.once(&format!("{name}/{method}"), |stage| -> Result<Course> {
            let clients = equal_clients(n, &task.ppo, dynamics, seeds)?;
            let global = clients[0].initial_parameters()?;
            let mut examiner = Examiner::new(&task.ppo, dynamics, seeds)?;
            let engine =
                SimulationConfig { seed: seeds.seed(), evaluate_every: 0, ..SimulationConfig::default() };
            let mut simulation = Simulation::new(engine, clients, FedAvg, global)?;
            course(stage, &mut simulation, pace, |s| examiner.examine(s.global(), s.round()))
        })?;
        let role = if n == most { Role::Method } else { Role::Ablation };
        let steps = pace.rounds * pace.steps;
        ctx.score(name, &method, role, Measure::RETURN, steps, done.late())?;
        let rounds = done.reached(task.threshold, &done.rounds());
        ctx.score(name, &method, role, Measure::error("rounds to threshold", "rounds"), steps, rounds)?;
        lines.push(done.line(&format!("N = {n}")));
        needed.push(rounds);
    }
    let slug = name.to_lowercase();
    ctx.figure(Figure {
        name: format!("{slug}-return-by-round"),
        title: format!("{name}: return by round, equal clients"),
        x_label: "round".into(),
        y_label: "return".into(),
        lines,
    });
    let x: Vec<f64> = config.clients.iter().map(|n| *n as f64).collect();
    let speed: Vec<f64> = needed.iter().map(|r| needed[0] / r).collect();
    ctx.figure(Figure {
        name: format!("{slug}-speed-up"),
        title: format!("{name}: rounds to {} with one client, over those with N", task.threshold),
        x_label: "N, clients".into(),
        y_label: "speed-up".into(),
        lines: vec![Line { name: "fedavg".into(), x, y: speed }],
    });
    Ok(())
}

/// The ways of training clients that differ.
const METHODS: [&str; 6] = ["fedavg", "fedprox", "scaffold", "fedper", "embedding", "alone"];

/// Clients whose dynamics differ by κ.
fn different(name: &str, dynamics: &Dynamics, task: &Task, config: &Config, ctx: &mut Context) -> Result<()> {
    let mut by_method: Vec<Vec<f64>> = vec![vec![]; METHODS.len()];
    for &kappa in &config.heterogeneity {
        let (world, title) =
            (dynamics.spread(config.different_clients, kappa)?, format!("{name} kappa={kappa}"));
        let (mut by_round, mut by_client) = (vec![], vec![]);
        for (method, values) in METHODS.iter().zip(&mut by_method) {
            let seeds = ctx.streams;
            let done = ctx.session.once(&format!("{title}/{method}"), |stage| -> Result<Course> {
                train_different(method, &world, task, config, seeds, stage)
            })?;
            let role = match *method {
                "fedper" | "embedding" | "scaffold" => Role::Method,
                "fedprox" => Role::Ablation,
                _ => Role::Reference,
            };
            let steps = task.different_rounds * task.ppo.steps_per_round();
            ctx.score(&title, method, role, Measure::RETURN, steps, done.late())?;
            let worst = done.clients.iter().copied().fold(f64::INFINITY, f64::min);
            let measure = Measure { metric: "worst client's return", ..Measure::RETURN };
            ctx.score(&title, method, role, measure, steps, worst)?;
            values.push(done.late());
            by_round.push(done.line(method));
            let x = (1..=done.clients.len()).map(|i| i as f64).collect();
            by_client.push(Line { name: (*method).into(), x, y: done.clients });
        }
        let slug = format!("{}-kappa-{}", name.to_lowercase(), (kappa * 100.0).round());
        for (what, x_label, lines) in [("round", "round", by_round), ("client", "client", by_client)] {
            ctx.figure(Figure {
                name: format!("{slug}-return-by-{what}"),
                title: format!("{name}, clients differ by κ = {kappa}: return by {what}"),
                x_label: x_label.into(),
                y_label: "return, mean over clients".into(),
                lines,
            });
        }
    }
    if config.heterogeneity.len() > 1 {
        let lines = METHODS.iter().zip(by_method);
        ctx.figure(Figure {
            name: format!("{}-return-by-kappa", name.to_lowercase()),
            title: format!("{name}: return against heterogeneity"),
            x_label: "κ".into(),
            y_label: "return, mean over clients".into(),
            lines: lines
                .map(|(m, y)| Line { name: (*m).into(), x: config.heterogeneity.clone(), y })
                .collect(),
        });
    }
    Ok(())
}

type Stage<'a> = rl_core::experiment::Stage<'a>;

fn train_different(
    method: &str,
    world: &[Dynamics],
    task: &Task,
    config: &Config,
    seeds: SeedStream,
    stage: &mut Stage<'_>,
) -> Result<Course> {
    let embedding = if method == "embedding" { config.embedding } else { 0 };
    let ppo = PpoConfig { policy: PolicyConfig { embedding, ..task.ppo.policy.clone() }, ..task.ppo.clone() };
    let client = |i: usize| PpoClient::new(i as u64, &ppo, &world[i], seeds);
    let clients: Vec<PpoClient> = (0..world.len()).map(client).collect::<Result<_, _>>()?;
    let global = clients[0].initial_parameters()?;
    match method {
        "fedavg" => together(clients, FedAvg, global, task, seeds, stage),
        "fedprox" => together(clients, FedProx::new(config.proximal_mu)?, global, task, seeds, stage),
        "scaffold" => {
            let strategy = Scaffold::new(global.len(), clients.len(), 1.0)?;
            together(clients, strategy, global, task, seeds, stage)
        }
        "alone" => alone(clients, &global, task, seeds, stage),
        _ => {
            let last = ppo.policy.hidden.len();
            let heads = [format!("actor/layer{last}"), format!("critic/layer{last}")];
            let private: Vec<&str> = match method {
                "fedper" => heads.iter().map(String::as_str).collect(),
                _ => vec!["embedding"],
            };
            let sharing = Sharing::all_but(&clients[0].policy().layout(), &private)?;
            let personal = |c| Personal::new(c, sharing.clone(), global.clone());
            let clients: Vec<_> = clients.into_iter().map(personal).collect::<Result<_, _>>()?;
            let shared = clients[0].shared()?;
            together(clients, FedAvg, shared, task, seeds, stage)
        }
    }
}

fn pace(task: &Task) -> Pace {
    // evaluation in every client's environment costs more than training: a quarter as often
    let every = (4 * task.examine_every).min(task.different_rounds);
    Pace { rounds: task.different_rounds, every, steps: task.ppo.steps_per_round() }
}

fn in_every_environment<C: Client, S: Strategy>(simulation: &mut Simulation<C, S>) -> Result<Vec<f64>> {
    Ok(simulation.evaluate().into_iter().flatten().collect())
}

fn together<C: Client, S: Strategy>(
    clients: Vec<C>,
    strategy: S,
    global: Vec<f32>,
    task: &Task,
    seeds: SeedStream,
    stage: &mut Stage<'_>,
) -> Result<Course> {
    let engine = SimulationConfig { seed: seeds.seed(), evaluate_every: 0, ..SimulationConfig::default() };
    let mut simulation = Simulation::new(engine, clients, strategy, global)?;
    course(stage, &mut simulation, pace(task), in_every_environment)
}

/// Every client for itself: federations of one, averaged.
fn alone(
    clients: Vec<PpoClient>,
    global: &[f32],
    task: &Task,
    seeds: SeedStream,
    stage: &mut Stage<'_>,
) -> Result<Course> {
    let engine = SimulationConfig { seed: seeds.seed(), evaluate_every: 0, ..SimulationConfig::default() };
    let mut federations = clients
        .into_iter()
        .map(|c| Simulation::new(engine.clone(), vec![c], FedAvg, global.to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let pace = pace(task);
    let mut done = Course::default();
    for round in 1..=pace.rounds {
        for federation in &mut federations {
            federation.step()?;
        }
        if round % pace.every == 0 || round == pace.rounds {
            let mut returns = vec![];
            for federation in &mut federations {
                returns.extend(in_every_environment(federation)?);
            }
            let mean = returns.iter().sum::<f64>() / returns.len() as f64;
            stage.metrics().record("charts/episodic_return", mean);
            stage.metrics().flush(round * pace.steps)?;
            done.rounds.push(round);
            done.returns.push(mean);
            done.megabytes_up.push(0.0);
            done.clients = returns;
        }
        stage.progress(round, pace.rounds)?;
    }
    Ok(done)
}

/// Federated TD(0): the mean squared error that remains, times N.
fn temporal_difference(config: &Config, ctx: &mut Context) -> Result<()> {
    let mut errors = vec![];
    for &n in &config.clients {
        let seeds = ctx.streams;
        let task = format!("federated TD/N={n}");
        let error = ctx.session.once(&task, |stage| -> Result<f64> {
            let process = MarkovReward::random(10, 0.8, &mut seeds.stream("process", 0))?;
            let exact = process.values();
            let clients = (0..n as u64).map(|i| TdClient::new(i, process.clone(), 10, 0.05));
            let clients = clients.collect::<Result<Vec<_>, _>>()?;
            let engine =
                SimulationConfig { seed: seeds.seed(), evaluate_every: 0, ..SimulationConfig::default() };
            let start = exact.iter().map(|v| *v as f32).collect();
            let mut simulation = Simulation::new(engine, clients, FedAvg, start)?;
            let (mut sum, mut count) = (0.0, 0.0);
            for round in 0..config.td_rounds {
                simulation.step()?;
                if round >= config.td_rounds / 10 {
                    sum += squared_error(&exact, simulation.global());
                    count += 1.0;
                }
                stage.progress(round + 1, config.td_rounds)?;
            }
            Ok(sum / count)
        })?;
        let steps = 10 * config.td_rounds;
        ctx.score(
            "federated TD",
            &format!("N={n}"),
            Role::Method,
            Measure::error("squared error", ""),
            steps,
            error,
        )?;
        errors.push(error);
    }
    let x: Vec<f64> = config.clients.iter().map(|n| *n as f64).collect();
    let gain = errors.iter().map(|e| errors[0] / e).collect();
    let linear = Line { name: "N".into(), x: x.clone(), y: x.iter().map(|n| n / x[0]).collect() };
    ctx.figure(Figure {
        name: "td-speed-up".into(),
        title: "Federated TD(0): squared error with one client, over that with N".into(),
        x_label: "N, clients".into(),
        y_label: "speed-up".into(),
        lines: vec![Line { name: "federated TD(0)".into(), x, y: gain }, linear],
    });
    Ok(())
}
