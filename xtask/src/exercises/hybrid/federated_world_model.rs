//! `hybrid-federated-world-model`: machines that differ train one dynamics model in secret, and plan in it.

use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line, exercises::Exercise};
use anyhow::Result;
use federated::privacy::distributed::DistributedConfig;
use federated::privacy::training::{SecureTraining, SecureTrainingConfig};
use federated::privacy::{Accountant, Mechanism, Sampling, noise_for};
use federated::rl::environment::Dynamics;
use federated::simulation::{Simulation, SimulationConfig};
use federated::strategy::{FedAvg, Strategy};
use hybrid::change_model::Changes;
use hybrid::federated_world_model::{ClientConfig, ModelClient, PointModel};
use rl_core::SeedStream;
use rl_core::env::scripted::Random;
use rl_core::evaluate::{evaluate, one_by_one};
use rl_core::experiment::{Role, Stage};
use serde::{Deserialize, Serialize};

pub(in crate::exercises) struct HybridFederatedWorldModel;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::exercises) struct Config {
    /// Clients, each with a machine of its own.
    clients: usize,
    /// How far the machines differ; thrusters are turned by up to this share of 90°.
    heterogeneity: f64,
    /// Rounds of every training.
    rounds: u64,
    /// Budgets ε of the private trainings, descending.
    epsilons: Vec<f64>,
    /// δ of all.
    delta: f64,
    /// Norm to which a client's movement is clipped where noise is added.
    clipping_norm: f64,
    /// Gradient steps of a client on its own steps after the last round.
    personal_updates: u64,
    /// The clients.
    client: ClientConfig,
}

const TASK: &str = "PointControl";
/// The largest deviation of the noise of a sum, in units of the grid; a client's Skellam noise may have 2¹⁵ itself.
const LARGEST_NOISE: f64 = 16384.0;
const SHARE: Measure =
    Measure { metric: "return over random play, share of pooled", unit: "", higher_is_better: true };
const MEGABYTES: Measure = Measure::error("megabytes up and down per client", "");
const EPSILON: Measure = Measure::error("epsilon spent", "");

impl Exercise for HybridFederatedWorldModel {
    type Config = Config;

    const NAME: &'static str = "hybrid-federated-world-model";
    const DESCRIPTION: &'static str = "Machines that differ train one world model under secure aggregation and differential privacy; personal models; return against ε";
    const DURATION: [&'static str; 3] = ["3 s", "2 min", "15 min"];

    fn config(preset: Preset) -> Config {
        let config = Config {
            clients: 48,
            heterogeneity: 0.5,
            rounds: 20,
            epsilons: vec![64.0, 16.0, 4.0, 1.0],
            delta: 1e-3,
            clipping_norm: 0.5,
            personal_updates: 100,
            client: ClientConfig { steps: 25, ..ClientConfig::default() },
        };
        match preset {
            Preset::Smoke => {
                let client = ClientConfig { updates: 5, episodes: 1, ..config.client.clone() };
                Config { clients: 4, rounds: 2, epsilons: vec![64.0], personal_updates: 5, client, ..config }
            }
            Preset::Quick => config,
            Preset::Full => {
                Config { clients: 96, epsilons: vec![64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0], ..config }
            }
        }
    }

    fn seeds(preset: Preset) -> u64 {
        if preset == Preset::Smoke { 1 } else { 5 }
    }

    fn validate(config: &Config) -> Result<()> {
        config.client.validate()?;
        anyhow::ensure!((3..=255).contains(&config.clients), "clients: must be from 3 to 255");
        anyhow::ensure!((0.0..=1.0).contains(&config.heterogeneity), "heterogeneity: must be in [0, 1]");
        anyhow::ensure!(config.rounds > 0, "rounds = 0: must be at least 1");
        anyhow::ensure!(config.epsilons.iter().all(|e| *e > 0.0), "epsilons: must be positive");
        anyhow::ensure!(config.delta > 0.0 && config.delta < 1.0, "delta: must be in (0, 1)");
        anyhow::ensure!(config.clipping_norm > 0.0, "clipping_norm: must be positive");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let streams = ctx.streams;
        let random = ctx.session.once(&format!("{TASK}/random"), |_| random(config, streams))?;
        ctx.score(TASK, "random", Role::Reference, Measure::RETURN, 0, random)?;
        let [pooled, alone] =
            ctx.session.once(&format!("{TASK}/pooled and alone"), |_| baselines(config, streams))?;
        ctx.score(TASK, "pooled data", Role::Reference, Measure::RETURN, steps(config), pooled)?;
        ctx.score(TASK, "each alone", Role::Reference, Measure::RETURN, steps(config), alone)?;
        let against = Against { random, pooled };
        against.score("each alone", Role::Reference, alone, config, ctx)?;
        let plain = ctx.session.once(&format!("{TASK}/federated"), |stage| {
            let parameters =
                PointModel::new(&config.client.hidden, &mut streams.stream("model", 0))?.params().len();
            // Dense 32-bit numbers, up and down.
            let megabytes = config.rounds as f64 * 8.0 * parameters as f64 / 1e6;
            train(config, FedAvg, streams, stage, |_| (megabytes, 0.0))
        })?;
        against.hand_in("federated", Role::Method, &plain, config, ctx)?;
        let mut curve = vec![];
        for &epsilon in &config.epsilons {
            let done = ctx.session.once(&format!("{TASK}/secure epsilon={epsilon}"), |stage| {
                private(config, epsilon, streams, stage)
            })?;
            against.hand_in(&format!("secure epsilon={epsilon}"), Role::Method, &done, config, ctx)?;
            ctx.score(
                TASK,
                &format!("secure epsilon={epsilon}"),
                Role::Method,
                EPSILON,
                steps(config),
                done.epsilon,
            )?;
            curve.push((epsilon, done));
        }
        curve.reverse();
        ctx.figure(by_epsilon(
            &curve,
            &[("pooled data", pooled), ("each alone", alone), ("federated", plain.global)],
        ));
        ctx.note("Returns are means over all clients of planning on the own machine from fixed starts. `own` continues from the shared model with gradient steps on the client's own steps, which stay private.");
        ctx.note(format!(
            "ε is for everything one client does in all rounds, at δ = {:e}; every client takes part in every round. Noise is \
             added by the clients inside secure aggregation and sized for the fewest survivors that the protocol accepts.",
            config.delta
        ));
        Ok(())
    }
}

/// Steps seen by all clients together.
fn steps(config: &Config) -> u64 {
    (config.clients * config.client.steps) as u64
}

/// What a training came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Done {
    /// Mean return with the shared model.
    global: f64,
    /// After the clients' own steps.
    own: f64,
    /// Sent and received by one client in all rounds.
    megabytes: f64,
    epsilon: f64,
}

/// What returns are held against.
struct Against {
    random: f64,
    pooled: f64,
}

impl Against {
    fn score(&self, method: &str, role: Role, value: f64, config: &Config, ctx: &mut Context) -> Result<()> {
        let share = (value - self.random) / (self.pooled - self.random);
        ctx.score(TASK, method, role, SHARE, steps(config), share)
    }

    fn hand_in(
        &self,
        method: &str,
        role: Role,
        done: &Done,
        config: &Config,
        ctx: &mut Context,
    ) -> Result<()> {
        let own = format!("{method}, own");
        for (name, value) in [(method, done.global), (own.as_str(), done.own)] {
            ctx.score(TASK, name, role, Measure::RETURN, steps(config), value)?;
            self.score(name, role, value, config, ctx)?;
        }
        ctx.score(TASK, method, role, MEGABYTES, steps(config), done.megabytes)
    }
}

fn clients(config: &Config, seeds: SeedStream) -> Result<Vec<ModelClient>> {
    let machines = Dynamics::point_control().spread(config.clients, config.heterogeneity)?;
    let build = |(id, machine)| Ok(ModelClient::new(id as u64, machine, &config.client, seeds)?);
    machines.into_iter().enumerate().map(build).collect()
}

/// Mean over clients of planning with the parameters that each has.
fn mean_return(
    clients: &mut [ModelClient],
    seeds: SeedStream,
    mut parameters: impl FnMut(&mut ModelClient, u64) -> Result<Vec<f32>>,
) -> Result<f64> {
    let n = clients.len() as f64;
    let mut total = 0.0;
    for (i, client) in clients.iter_mut().enumerate() {
        let mine = parameters(client, i as u64)?;
        total += client.play(&mine, SeedStream::new(seeds.derive("plan", i as u64)))?;
    }
    Ok(total / n)
}

fn random(config: &Config, seeds: SeedStream) -> Result<f64> {
    let machines = Dynamics::point_control().spread(config.clients, config.heterogeneity)?;
    let mut total = 0.0;
    for (i, machine) in machines.iter().enumerate() {
        let mut policy = Random::new(&machine.spec().action, seeds.stream("random", i as u64));
        let starts: Vec<u64> = (0..config.client.episodes).map(|k| 10_000 + 100 * i as u64 + k).collect();
        total += evaluate(&mut machine.copies(starts.len()), &starts, one_by_one(&mut policy))?.mean_return();
    }
    Ok(total / machines.len() as f64)
}

/// One model on the data of all, and every client on its own: as many gradient steps as a client makes in all rounds.
fn baselines(config: &Config, seeds: SeedStream) -> Result<[f64; 2]> {
    let mut clients = clients(config, seeds)?;
    let updates = config.rounds * config.client.updates;
    let all = Changes::pooled(clients.iter().map(ModelClient::steps));
    let model = PointModel::new(&config.client.hidden, &mut seeds.stream("model", 0))?;
    model.change().learn(&all, config.client.pace(updates), &mut seeds.stream("pooled", 0))?;
    let shared = model.params().to_vec::<f32>()?;
    let pooled = mean_return(&mut clients, seeds, |_, _| Ok(shared.clone()))?;
    let start = clients[0].parameters()?;
    let alone = mean_return(&mut clients, seeds, |client, i| {
        Ok(client.personalise(&start, updates, &mut seeds.stream("alone", i))?)
    })?;
    Ok([pooled, alone])
}

/// Plays all rounds, examines the shared model, then everyone's own.
fn train<S: Strategy>(
    config: &Config,
    strategy: S,
    seeds: SeedStream,
    stage: &mut Stage<'_>,
    look: impl FnOnce(&S) -> (f64, f64),
) -> Result<Done> {
    let members = clients(config, seeds)?;
    let start = members[0].parameters()?;
    let engine = SimulationConfig { seed: seeds.seed(), evaluate_every: 0, ..SimulationConfig::default() };
    let mut simulation = Simulation::new(engine, members, strategy, start)?;
    for round in 1..=config.rounds {
        let report = simulation.step()?;
        anyhow::ensure!(report.failed.is_empty(), "round {round}: {:?}", report.failed);
        if let Some(reason) = report.skipped {
            anyhow::bail!("round {round}: {reason}");
        }
        stage.progress(round, config.rounds)?;
    }
    let (megabytes, epsilon) = look(simulation.strategy());
    let global = simulation.global().to_vec();
    let mut members = clients(config, seeds)?;
    let shared = mean_return(&mut members, seeds, |_, _| Ok(global.clone()))?;
    let own = mean_return(&mut members, seeds, |client, i| {
        Ok(client.personalise(&global, config.personal_updates, &mut seeds.stream("own", i))?)
    })?;
    Ok(Done { global: shared, own, megabytes, epsilon })
}

/// Every round a session of secure aggregation, with noise for this budget.
fn private(config: &Config, epsilon: f64, seeds: SeedStream, stage: &mut Stage<'_>) -> Result<Done> {
    let mechanism = Mechanism {
        noise_multiplier: 1.0,
        sampling_rate: 1.0,
        steps: config.rounds,
        sampling: Sampling::Poisson,
    };
    let noise_multiplier = noise_for(&mechanism, epsilon, config.delta, Accountant::Rdp)?;
    // As fine a grid as the integer noise can be drawn on: much noise needs no fine grid.
    let grid = LARGEST_NOISE / (noise_multiplier * config.clipping_norm);
    let plain = DistributedConfig::default();
    let noise = DistributedConfig {
        clipping_norm: config.clipping_norm,
        noise_multiplier,
        scale: grid.min(plain.scale),
        ..plain
    };
    let settings = SecureTrainingConfig { noise, clients: config.clients, dropout: 0.0, delta: config.delta };
    let dimension = PointModel::new(&config.client.hidden, &mut seeds.stream("model", 0))?.params().len();
    let strategy = SecureTraining::new(settings, dimension, SeedStream::new(seeds.derive("secure", 0)))?;
    train(config, strategy, seeds, stage, |strategy| {
        let bytes: u64 = strategy.log().iter().map(|round| round.bytes).sum();
        let epsilon = strategy.log().last().map_or(f64::NAN, |round| round.epsilon);
        (bytes as f64 / config.clients as f64 / 1e6, epsilon)
    })
}

fn by_epsilon(curve: &[(f64, Done)], constants: &[(&str, f64)]) -> Figure {
    let x: Vec<f64> = curve.iter().map(|(epsilon, _)| epsilon.log2()).collect();
    let line = |name: &str, y: Vec<f64>| Line { name: name.into(), x: x.clone(), y };
    let mut lines = vec![
        line("secure and private", curve.iter().map(|(_, done)| done.global).collect()),
        line("secure and private, own", curve.iter().map(|(_, done)| done.own).collect()),
    ];
    lines.extend(constants.iter().map(|&(name, value)| line(name, vec![value; x.len()])));
    Figure {
        name: "return-by-epsilon".into(),
        title: format!("{TASK}: return against the privacy budget"),
        x_label: "log2 of epsilon".into(),
        y_label: "return".into(),
        lines,
    }
}
