//! The exercises of `quantum-sim`: agents whose networks are circuits, and the algorithms, noise and games around them.
//!
//! Everything is simulated. Beside every learning circuit stand a classical network with as many parameters and the same
//! circuit without entanglement, so that nobody takes a result for a quantum advantage.

mod algorithms;
mod barren_plateaus;
mod cartpole;
mod control;
mod frozen_lake;
mod games;
mod noise;

pub(super) use algorithms::Algorithms;
pub(super) use barren_plateaus::BarrenPlateaus;
pub(super) use cartpole::CartPoleAgents;
pub(super) use control::Control;
pub(super) use frozen_lake::Lake;
pub(super) use games::Games;
pub(super) use noise::Noise;

use crate::report::{Figure, Line};
use crate::run::{Context, Measure, starts};
use anyhow::Result;
use quantum_sim::PauliSum;
use quantum_sim::rl::{Ansatz, Encoding, Head, Model, Network, Pqc, QLearning, Record, Reinforce, greedy};
use rl_core::baselines::random_policy;
use rl_core::env::scripted::heuristic;
use rl_core::env::{Env, Episode, Simulator};
use rl_core::evaluate::{evaluate, one_by_one};
use rl_core::experiment::{Metrics, Persist, Role, TrainState, Trainer};
use rl_core::numpy_rng::NumpyRng;

const EPISODES: Measure = Measure::error("episodes until solved", "episodes");

/// Copies of a task.
pub(in crate::exercises) fn copies<S: Simulator + Clone + 'static>(
    simulator: &S,
    n: usize,
) -> Vec<Box<dyn Env>> {
    let copy = |k: usize| Box::new(Episode::<S, NumpyRng>::new(simulator.clone(), k as u64)) as Box<dyn Env>;
    (0..n).map(copy).collect()
}

fn observables(list: &[&str]) -> Result<Vec<PauliSum>> {
    Ok(list.iter().map(|o| o.parse()).collect::<quantum_sim::Result<_>>()?)
}

pub(in crate::exercises) fn pqc(
    ansatz: &Ansatz,
    list: &[&str],
    encoding: Encoding,
    head: Head,
) -> Result<Box<dyn Model>> {
    Ok(Box::new(Pqc::new(ansatz, observables(list)?, encoding, head)?))
}

/// The classical twin of a model: as many parameters on the plain observation.
pub(in crate::exercises) fn twin(of: &dyn Model, encoding: Encoding) -> Box<dyn Model> {
    Box::new(Network::of_size(encoding, of.outputs(), of.groups().len()))
}

/// An agent that stops at a number of environment steps instead of episodes.
pub(super) struct Budget<A> {
    pub(super) agent: A,
    pub(super) steps: u64,
}

impl<A: Trainer> Trainer for Budget<A> {
    type Error = A::Error;

    fn step(&self) -> u64 {
        self.agent.step()
    }

    fn total_steps(&self) -> u64 {
        self.steps
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<(), A::Error> {
        self.agent.advance(metrics)
    }
}

impl<A: Persist> Persist for Budget<A> {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.agent.save(prefix, state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.agent.load(prefix, state)
    }
}

/// What the agents have in common.
trait Agent: Trainer<Error = quantum_sim::Error> {
    fn record(&self) -> &Record;
    fn policy(&mut self) -> (&mut dyn Model, &[f64]);
}

macro_rules! agent {
    ($type:ty) => {
        impl Agent for $type {
            fn record(&self) -> &Record {
                self.record()
            }
            fn policy(&mut self) -> (&mut dyn Model, &[f64]) {
                self.policy()
            }
        }
    };
}
agent!(QLearning);
agent!(Reinforce);
agent!(quantum_sim::rl::ActorCritic);

/// A method on a task.
struct Entrant<'a> {
    task: &'a str,
    method: &'a str,
    role: Role,
}

impl Entrant<'_> {
    /// Trains to the end or until solved and scores the episodes that took (all of them if it never was) and the greedy
    /// policy over fixed starts.
    fn train(
        &self,
        agent: &mut impl Agent,
        envs: Vec<Box<dyn Env>>,
        starts: u64,
        ctx: &mut Context,
    ) -> Result<()> {
        let Self { task, method, role } = *self;
        ctx.session.run(&format!("{task}/{method}"), agent)?;
        let (episodes, step) = (agent.record().episodes(), agent.step());
        let solved = agent.record().solved_at().unwrap_or(episodes);
        ctx.score(task, method, role, EPISODES, step, solved as f64)?;
        self.play(agent, envs, starts, ctx)
    }

    /// Scores the greedy policy over fixed starts.
    fn play(
        &self,
        agent: &mut impl Agent,
        mut envs: Vec<Box<dyn Env>>,
        episodes: u64,
        ctx: &mut Context,
    ) -> Result<()> {
        let Self { task, method, role } = *self;
        let step = agent.step();
        let starts = starts(episodes);
        let (model, parameters) = agent.policy();
        let mean = ctx.session.once(&format!("{task}/{method} evaluation"), |_| -> Result<f64> {
            Ok(evaluate(&mut envs, &starts, greedy(model, parameters))?.mean_return())
        })?;
        ctx.score(task, method, role, Measure::RETURN, step, mean)
    }
}

/// Random play and, where there is one, the scripted rule over the same starts.
pub(in crate::exercises) fn references(
    task: &str,
    mut envs: Vec<Box<dyn Env>>,
    episodes: u64,
    ctx: &mut Context,
) -> Result<()> {
    let space = envs[0].spec().action.clone();
    let list = starts(episodes);
    let rng = ctx.seeds(task, "random").stream("act", 0);
    let mean = ctx.session.once(&format!("{task}/random evaluation"), |_| -> Result<f64> {
        Ok(evaluate(&mut envs, &list, random_policy(&space, rng))?.mean_return())
    })?;
    ctx.score(task, "random", Role::Reference, Measure::RETURN, 0, mean)?;
    let Some(mut rule) = heuristic(&task.replace("-v0", "-v1"), &space) else { return Ok(()) };
    let mean = ctx.session.once(&format!("{task}/rule evaluation"), |_| -> Result<f64> {
        Ok(evaluate(&mut envs, &list, one_by_one(rule.as_mut()))?.mean_return())
    })?;
    ctx.score(task, "scripted rule", Role::Reference, Measure::RETURN, 0, mean)
}

fn line(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Line {
    let (x, y) = points.into_iter().unzip();
    Line { name: name.into(), x, y }
}

fn figure(name: &str, title: &str, (x_label, y_label): (&str, &str), lines: Vec<Line>) -> Figure {
    Figure { name: name.into(), title: title.into(), x_label: x_label.into(), y_label: y_label.into(), lines }
}

/// A number of which more is better.
const fn more(metric: &'static str) -> Measure {
    Measure { metric, unit: "", higher_is_better: true }
}
