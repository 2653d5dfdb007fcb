//! A client: its machine, the few steps it has seen, and what it does in a round.

use super::model::{ACTION, PointModel, STATE};
use crate::change_model::{ChangeModel, Changes};
use crate::error::{Error, Result};
use federated::client::Client;
use federated::rl::environment::Dynamics;
use federated::strategy::{Instruction, Reply};
use rand::{Rng, RngExt};
use rl_core::env::Action;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};
use world_models::planning::{PlannerConfig, play};

/// Settings of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// Hidden widths of the model. Few, because every parameter gets noise where privacy is asked for.
    pub hidden: Vec<usize>,
    /// Random steps that a client has seen, in episodes of 25.
    pub steps: usize,
    /// Gradient steps of a round.
    pub updates: u64,
    /// Rows per gradient step.
    pub batch: usize,
    /// Adam's step size; its moments last for a round.
    pub learning_rate: f64,
    /// How a client plans.
    pub planner: PlannerConfig,
    /// Episodes of an evaluation.
    pub episodes: u64,
}

impl Default for ClientConfig {
    fn default() -> Self {
        let planner = PlannerConfig {
            horizon: 8,
            candidates: 40,
            elites: 6,
            iterations: 2,
            ..PlannerConfig::default()
        };
        Self {
            hidden: vec![16],
            steps: 50,
            updates: 20,
            batch: 32,
            learning_rate: 1e-2,
            planner,
            episodes: 2,
        }
    }
}

impl ClientConfig {
    /// Gradient steps, rows of each and step size, as [`ChangeModel::learn`] takes them.
    pub fn pace(&self, updates: u64) -> (u64, usize, f64) {
        (updates, self.batch, self.learning_rate)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first field out of range.
    pub fn validate(&self) -> Result<()> {
        let least_one = [
            ("steps", self.steps as f64),
            ("updates", self.updates as f64),
            ("batch", self.batch as f64),
            ("episodes", self.episodes as f64),
        ];
        for (field, value) in least_one {
            crate::error::within(field, value, (1.0, f64::MAX), "at least 1")?;
        }
        crate::error::within("learning_rate", self.learning_rate, (1e-9, 1.0), "in (0, 1]")?;
        Ok(self.planner.validate()?)
    }
}

/// Uniform actions on a machine, in episodes of 25.
fn random_steps(
    machine: &Dynamics,
    model: &ChangeModel,
    steps: usize,
    rng: &mut impl Rng,
) -> Result<Changes> {
    let mut all = Changes::default();
    let Some(mut env) = machine.copies(1).pop() else { return Ok(all) };
    if env.spec().observation.width() != STATE || env.spec().action.width() != ACTION {
        return Err(Error::shape("ModelClient::new", "the dynamics of a point", &env.spec().id));
    }
    let (mut state, mut next, mut over) = ([0.0f32; STATE], [0.0f32; STATE], true);
    for t in 0..steps {
        if over || t % 25 == 0 {
            env.reset((t == 0).then(|| rng.next_u64()), &mut state)?;
        }
        let action = [rng.random_range(-1.0..=1.0f32), rng.random_range(-1.0..=1.0f32)];
        over = env.step(Action::Continuous(&action), &mut next)?.done();
        model.note((&state, &action), &next, &mut all);
        state = next;
    }
    Ok(all)
}

/// A machine with its experience.
pub struct ModelClient {
    id: u64,
    machine: Dynamics,
    steps: Changes,
    model: PointModel,
    config: ClientConfig,
}

impl ModelClient {
    /// A client that has seen its random steps.
    ///
    /// # Errors
    /// Settings out of range, or a machine that is no point.
    pub fn new(id: u64, machine: Dynamics, config: &ClientConfig, seeds: SeedStream) -> Result<Self> {
        config.validate()?;
        // One initialisation for all: averages of differently initialised networks mean nothing.
        let model = PointModel::new(&config.hidden, &mut seeds.stream("model", 0))?;
        let steps = random_steps(&machine, model.change(), config.steps, &mut seeds.stream("steps", id))?;
        Ok(Self { id, machine, steps, model, config: config.clone() })
    }

    /// What it has seen.
    pub fn steps(&self) -> &Changes {
        &self.steps
    }

    /// The parameters it has now: before the first round those that all start from.
    ///
    /// # Errors
    /// From the tensor library.
    pub fn parameters(&self) -> Result<Vec<f32>> {
        Ok(self.model.params().to_vec()?)
    }

    /// `global` after `updates` gradient steps on the client's own steps: a model of its own machine.
    ///
    /// # Errors
    /// [`Error::Core`] for parameters of another length.
    pub fn personalise(&mut self, global: &[f32], updates: u64, rng: &mut StreamRng) -> Result<Vec<f32>> {
        self.model.params().set(global)?;
        self.model.change().learn(&self.steps, self.config.pace(updates), rng)?;
        self.parameters()
    }

    /// Mean return of planning with `parameters` on its own machine, from the fixed starts of this client.
    ///
    /// # Errors
    /// For parameters of another length, or a plan that fails.
    pub fn play(&mut self, parameters: &[f32], seeds: SeedStream) -> Result<f64> {
        self.model.params().set(parameters)?;
        let starts: Vec<u64> = (0..self.config.episodes).map(|k| 10_000 + 100 * self.id + k).collect();
        let copies = &mut self.machine.copies(starts.len());
        let observe = |model: &mut PointModel, o: &[f32]| model.observe(o);
        let planner = (&self.config.planner, 1);
        Ok(play(&mut self.model, observe, planner, copies, &starts, seeds)?.mean_return())
    }
}

/// Errors of this crate inside the trait of `federated`.
fn local(id: u64, error: Error) -> federated::Error {
    federated::Error::Transport { operation: format!("client {id}"), reason: error.to_string() }
}

impl Client for ModelClient {
    fn train(&mut self, global: &[f32], _: &Instruction, rng: &mut StreamRng) -> federated::Result<Reply> {
        let updates = self.config.updates;
        let parameters = self.personalise(global, updates, rng).map_err(|e| local(self.id, e))?;
        Ok(Reply {
            client: self.id,
            parameters,
            weight: 1.0,
            local_steps: updates as u32,
            staleness: 0,
            control_change: None,
            mean_return: None,
        })
    }

    fn evaluate(&mut self, global: &[f32], rng: &mut StreamRng) -> federated::Result<Option<f64>> {
        let seeds = SeedStream::new(rng.next_u64());
        self.play(global, seeds).map(Some).map_err(|e| local(self.id, e))
    }
}
