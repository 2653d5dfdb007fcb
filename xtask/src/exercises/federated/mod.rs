//! Exercises of the crate `federated`, and what they share: rounds of a simulation as a stage of the session.

mod communication;
mod fedavg;
mod flower;
mod private;
mod robust;

pub(super) use communication::FederatedCommunication;
pub(super) use fedavg::FederatedFedAvg;
pub(super) use flower::FederatedFlower;
pub(super) use private::FederatedPrivate;
pub(super) use robust::FederatedRobust;

use crate::Line;
use crate::run::{Context, Measure};
use anyhow::Result;
use federated::client::Client;
use federated::rl::environment::Dynamics;
use federated::rl::ppo::{PpoClient, PpoConfig};
use federated::simulation::Simulation;
use federated::strategy::Strategy;
use rl_core::SeedStream;
use rl_core::env::scripted::{Random, heuristic};
use rl_core::evaluate::{evaluate, one_by_one};
use rl_core::experiment::{Role, Stage};
use serde::{Deserialize, Serialize};

/// What a training came to, examined every few rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Course {
    /// Rounds played at each examination.
    rounds: Vec<u64>,
    /// Mean return over what was examined.
    returns: Vec<f64>,
    /// Return in each client's environment at the last examination, where they differ.
    clients: Vec<f64>,
    /// Megabytes sent by all clients until then.
    megabytes_up: Vec<f64>,
}

impl Course {
    /// The value of `x` at which the mean of the last `WINDOW` examinations first reached `threshold`; the last one if it
    /// never did.
    fn reached(&self, threshold: f64, x: &[f64]) -> f64 {
        let means = self.returns.windows(WINDOW).map(|w| w.iter().sum::<f64>() / WINDOW as f64);
        let first = means.enumerate().find(|(_, mean)| *mean >= threshold).map(|(i, _)| i + WINDOW - 1);
        x.get(first.unwrap_or(x.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }

    /// Mean of the last examinations, at most `WINDOW`: a single one depends too much on where training stopped.
    fn late(&self) -> f64 {
        let late = &self.returns[self.returns.len().saturating_sub(WINDOW)..];
        late.iter().sum::<f64>() / late.len() as f64
    }

    fn rounds(&self) -> Vec<f64> {
        self.rounds.iter().map(|r| *r as f64).collect()
    }

    fn line(&self, name: &str) -> Line {
        Line { name: name.into(), x: self.rounds(), y: self.returns.clone() }
    }
}

/// Examinations over which a curve is smoothed before it is compared with a threshold.
const WINDOW: usize = 5;

/// How long a training goes on.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rounds: u64,
    /// Rounds between two examinations.
    every: u64,
    /// Environment steps of a client per round: the step of the metrics counts those of one client.
    steps: u64,
}

/// Plays rounds and examines now and then. A round that the strategy refuses leaves the parameters as they are.
fn course<C: Client, S: Strategy>(
    stage: &mut Stage<'_>,
    simulation: &mut Simulation<C, S>,
    pace: Pace,
    mut examine: impl FnMut(&mut Simulation<C, S>) -> Result<Vec<f64>>,
) -> Result<Course> {
    let (mut course, mut bytes) = (Course::default(), 0);
    for round in 1..=pace.rounds {
        let report = simulation.step()?;
        bytes += report.bytes_up;
        if let Some(value) = report.training_return {
            stage.metrics().record("charts/training_return", value);
        }
        stage.metrics().record("federated/replies", report.replied.len() as f64);
        if round % pace.every == 0 || round == pace.rounds {
            let returns = examine(simulation)?;
            let mean = returns.iter().sum::<f64>() / returns.len().max(1) as f64;
            stage.metrics().record("charts/episodic_return", mean);
            stage.metrics().record("federated/megabytes_up", bytes as f64 / 1e6);
            stage.metrics().flush(round * pace.steps)?;
            course.rounds.push(round);
            course.returns.push(mean);
            course.megabytes_up.push(bytes as f64 / 1e6);
            course.clients = returns;
        }
        stage.progress(round, pace.rounds)?;
    }
    Ok(course)
}

/// Someone who plays the global policy in the common environment, because clients of equal dynamics would all find the
/// same.
struct Examiner {
    client: PpoClient,
    seeds: SeedStream,
}

impl Examiner {
    /// With 20 episodes per examination.
    fn new(config: &PpoConfig, dynamics: &Dynamics, seeds: SeedStream) -> Result<Self> {
        let config = PpoConfig { evaluation_episodes: 20, ..config.clone() };
        Ok(Self { client: PpoClient::new(u64::MAX, &config, dynamics, seeds)?, seeds })
    }

    /// Mean return; the episodes depend on the round alone.
    fn examine(&mut self, global: &[f32], round: u64) -> Result<Vec<f64>> {
        let mut rng = self.seeds.stream("examination", round);
        Ok(self.client.evaluate(global, &mut rng)?.into_iter().collect())
    }
}

/// PPO clients of equal dynamics.
fn equal_clients(
    n: usize,
    config: &PpoConfig,
    dynamics: &Dynamics,
    seeds: SeedStream,
) -> Result<Vec<PpoClient>> {
    let light = PpoConfig { evaluation_episodes: 1, ..config.clone() };
    Ok((0..n as u64).map(|i| PpoClient::new(i, &light, dynamics, seeds)).collect::<Result<_, _>>()?)
}

/// Random play and the one-line rule in this environment, each over 50 episodes.
fn references(task: &str, dynamics: &Dynamics, rule: &str, ctx: &mut Context) -> Result<()> {
    let space = dynamics.spec().action;
    let starts: Vec<u64> = (10_000..10_050).collect();
    let mut random = Random::new(&space, ctx.streams.stream("random", 0));
    let value = ctx.session.once(&format!("{task}/random"), |_| -> Result<f64> {
        Ok(evaluate(&mut dynamics.copies(50), &starts, one_by_one(&mut random))?.mean_return())
    })?;
    ctx.score(task, "random", Role::Reference, Measure::RETURN, 0, value)?;
    if let Some(mut rule) = heuristic(rule, &space) {
        let value = ctx.session.once(&format!("{task}/scripted rule"), |_| -> Result<f64> {
            Ok(evaluate(&mut dynamics.copies(50), &starts, one_by_one(rule.as_mut()))?.mean_return())
        })?;
        ctx.score(task, "scripted rule", Role::Reference, Measure::RETURN, 0, value)?;
    }
    Ok(())
}
