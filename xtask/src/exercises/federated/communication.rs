//! `federated-communication`: return against the bytes that clients send, for movements that travel whole, sparsified,
//! quantised, or as low-rank factors. Bytes are counted on the encoded messages.

use super::{Course, Examiner, Pace, course, equal_clients, references};
use crate::exercises::Exercise;
use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line};
use anyhow::Result;
use federated::compression::{Compressed, PowerSgd, Qsgd, QsgdConfig, TopK};
use federated::rl::environment::Dynamics;
use federated::rl::ppo::PpoConfig;
use federated::simulation::{Compressor, Simulation, SimulationConfig};
use federated::strategy::personal::Layout;
use federated::strategy::{FedAvg, Reply, Strategy};
use rl_core::experiment::Role;
use rl_core::seed::StreamRng;
use rl_core::{SeedStream, experiment::Stage};
use serde::{Deserialize, Serialize};
use std::sync::Mutex;

/// The exercise.
pub(crate) struct FederatedCommunication;

/// How movements travel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Codec {
    /// As they are.
    Dense,
    /// This share of the numbers, with error feedback.
    TopK(f64),
    /// This many levels of the norm of 512 numbers.
    Qsgd(u8),
    /// Factors of this rank, with error feedback.
    PowerSgd(usize),
}

/// The federation and the codecs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Clients.
    clients: usize,
    /// Rounds.
    rounds: u64,
    /// Rounds between two examinations.
    examine_every: u64,
    /// The return up to which bytes are counted.
    threshold: f64,
    /// Every client.
    ppo: PpoConfig,
    /// Codecs by name.
    codecs: Vec<(String, Codec)>,
}

impl Exercise for FederatedCommunication {
    type Config = Config;

    const NAME: &'static str = "federated-communication";
    const DESCRIPTION: &'static str =
        "Return against bytes sent: top-k, QSGD and PowerSGD beside whole movements";
    const DURATION: [&'static str; 3] = ["2 s", "40 s", "2 min"];

    fn config(preset: Preset) -> Config {
        let codecs = [
            ("dense", Codec::Dense),
            ("top-k 10 %", Codec::TopK(0.1)),
            ("top-k 1 %", Codec::TopK(0.01)),
            ("qsgd 7 levels", Codec::Qsgd(7)),
            ("qsgd 1 level", Codec::Qsgd(1)),
            ("powersgd rank 2", Codec::PowerSgd(2)),
            ("powersgd rank 1", Codec::PowerSgd(1)),
        ];
        let (rounds, codecs) = match preset {
            Preset::Smoke => (4, [codecs[0], codecs[1], codecs[3], codecs[6]].to_vec()),
            _ => (200, codecs.to_vec()),
        };
        Config {
            clients: 8,
            rounds,
            examine_every: 4,
            threshold: 450.0,
            ppo: PpoConfig::default(),
            codecs: codecs.into_iter().map(|(name, codec)| (name.to_string(), codec)).collect(),
        }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.clients > 0, "clients = 0: must be at least 1");
        anyhow::ensure!(config.rounds > 0 && config.examine_every > 0, "rounds: must be at least 1");
        config.ppo.validate()?;
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        const TASK: &str = "CartPole-v1";
        references(TASK, &Dynamics::cart_pole(), TASK, ctx)?;
        let mut lines = vec![];
        for (name, codec) in &config.codecs {
            let seeds = ctx.streams;
            let stage = format!("{TASK}/{}", name.replace(" %", "pc"));
            let done = ctx.session.once(&stage, |stage| train(*codec, config, seeds, stage))?;
            let role = if *codec == Codec::Dense { Role::Reference } else { Role::Method };
            let steps = config.rounds * config.ppo.steps_per_round();
            ctx.score(TASK, name, role, Measure::RETURN, steps, done.late())?;
            let megabytes = done.reached(config.threshold, &done.megabytes_up);
            ctx.score(TASK, name, role, Measure::error("sent to threshold", "MB"), steps, megabytes)?;
            let sent = done.megabytes_up.last().copied().unwrap_or(0.0);
            ctx.score(TASK, name, role, Measure::error("sent", "MB"), steps, sent)?;
            lines.push(Line { name: name.clone(), x: done.megabytes_up, y: done.returns });
        }
        ctx.figure(Figure {
            name: "return-by-bytes".into(),
            title: format!("{TASK}: return by megabytes sent by all clients"),
            x_label: "MB sent".into(),
            y_label: "return".into(),
            lines,
        });
        ctx.note(format!(
            "{} clients send movements; the server's broadcast is not compressed and not counted. `sent to threshold` is \
             what was sent until the mean return of five examinations reached {} first; all of it where that never happened.",
            config.clients, config.threshold
        ));
        Ok(())
    }
}

fn train(codec: Codec, config: &Config, seeds: SeedStream, stage: &mut Stage<'_>) -> Result<Course> {
    let dynamics = Dynamics::cart_pole();
    let clients = equal_clients(config.clients, &config.ppo, &dynamics, seeds)?;
    let (global, layout) = (clients[0].initial_parameters()?, clients[0].policy().layout());
    let mut examiner = Examiner::new(&config.ppo, &dynamics, seeds)?;
    let engine = SimulationConfig { seed: seeds.seed(), evaluate_every: 0, ..SimulationConfig::default() };
    let pace =
        Pace { rounds: config.rounds, every: config.examine_every, steps: config.ppo.steps_per_round() };
    if let Codec::PowerSgd(rank) = codec {
        let strategy = LowRank::new(rank, &layout, config.clients, seeds)?;
        let mut simulation = Simulation::new(engine, clients, strategy, global)?;
        let mut done = course(stage, &mut simulation, pace, |s| examiner.examine(s.global(), s.round()))?;
        // the simulation has counted whole movements; the factors are what travels
        let per_round = simulation.strategy().bytes_per_round() as f64 / 1e6;
        done.megabytes_up = done.rounds.iter().map(|r| *r as f64 * per_round).collect();
        return Ok(done);
    }
    let dimension = global.len();
    let mut simulation = Simulation::new(engine, clients, FedAvg, global)?;
    match codec {
        Codec::TopK(share) => {
            let k = ((share * dimension as f64).round() as usize).max(1);
            let workers = (0..config.clients).map(|_| Ok(Mutex::new(TopK::new(k, dimension)?)));
            simulation.compress_with(Box::new(Sparse(workers.collect::<federated::Result<_>>()?)));
        }
        Codec::Qsgd(levels) => {
            let qsgd = Qsgd::new(QsgdConfig { levels, ..QsgdConfig::default() })?;
            simulation.compress_with(Box::new(Quantised(qsgd)));
        }
        Codec::Dense | Codec::PowerSgd(_) => {}
    }
    course(stage, &mut simulation, pace, |s| examiner.examine(s.global(), s.round()))
}

/// Top-k, with one memory per client.
struct Sparse(Vec<Mutex<TopK>>);

impl Compressor for Sparse {
    fn compress(&self, client: usize, movement: &[f32], _: &mut StreamRng) -> federated::Result<Compressed> {
        self.0[client].lock().unwrap_or_else(std::sync::PoisonError::into_inner).compress(movement)
    }
}

/// QSGD, which has no memory.
struct Quantised(Qsgd);

impl Compressor for Quantised {
    fn compress(&self, _: usize, movement: &[f32], rng: &mut StreamRng) -> federated::Result<Compressed> {
        self.0.compress(movement, rng)
    }
}

/// PowerSGD: both exchanges of a round between the clients' halves, and the mean that they agree on.
struct LowRank(Vec<PowerSgd>);

impl LowRank {
    fn new(rank: usize, layout: &Layout, clients: usize, seeds: SeedStream) -> federated::Result<Self> {
        let worker = |_| PowerSgd::new(rank, layout, &mut seeds.stream("power sgd", 0));
        Ok(Self((0..clients).map(worker).collect::<federated::Result<_>>()?))
    }

    fn bytes_per_round(&self) -> usize {
        self.0.iter().map(PowerSgd::bytes_up).sum()
    }
}

fn mean(vectors: &[Vec<f32>]) -> federated::Result<Vec<f32>> {
    let all: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
    federated::strategy::weighted_mean(&all, &vec![1.0; all.len()])
}

impl Strategy for LowRank {
    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> federated::Result<()> {
        let left = |(worker, reply): (&mut PowerSgd, &Reply)| {
            let movement: Vec<f32> = reply.parameters.iter().zip(&*global).map(|(y, x)| y - x).collect();
            worker.left(&movement)
        };
        let lefts = self.0.iter_mut().zip(replies).map(left).collect::<federated::Result<Vec<_>>>()?;
        let mean_left = mean(&lefts)?;
        let rights = self.0.iter_mut().map(|w| w.right(&mean_left)).collect::<federated::Result<Vec<_>>>()?;
        let mean_right = mean(&rights)?;
        let mut movement = vec![];
        for worker in &mut self.0 {
            movement = worker.finish(&mean_right)?;
        }
        global.iter_mut().zip(movement).for_each(|(x, d)| *x += d);
        Ok(())
    }
}
