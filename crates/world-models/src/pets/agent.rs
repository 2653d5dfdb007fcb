//! The agent: act by planning, learn the ensemble, repeat (Chua et al. 2018, algorithm 1).
//!
//! The first steps are random, with memory where a task wants persistent actions. Then every action is planned in the
//! ensemble, and every `train_every` steps the owed updates are made on each member's own sample. An action may be held
//! for several environment steps; the ensemble then predicts over the hold.

use super::dynamics::{Dynamics, DynamicsConfig};
use super::rollout::{EnsembleModel, RolloutConfig};
use crate::checks::{at_least_one, not_negative};
use crate::planning::{PlannedAction, Planner, PlannerConfig, play};
use crate::rssm::encode_action;
use crate::{Error as CrateError, Result};
use candle_core::Device;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::env::{Env, Space};
use rl_core::evaluate::Evaluation;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// How much to collect, how to learn and how to plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PetsConfig {
    /// Environment steps in all.
    pub steps: u64,
    /// Steps with random actions at the beginning.
    pub random_steps: u64,
    /// Correlation ρ of successive random actions (0: independent); a discrete action is kept with probability ρ.
    pub random_correlation: f64,
    /// Environment steps for which an action is held, their rewards summed (PETS: 1).
    pub action_repeat: u64,
    /// Standard deviation of the noise on planned actions, as a fraction of half the range; with discrete actions, the
    /// probability of a random one (PETS: 0).
    pub action_noise: f64,
    /// The ensemble and how it learns.
    pub dynamics: DynamicsConfig,
    /// How particles move.
    pub rollout: RolloutConfig,
    /// The planner; its particles are shared among the elites.
    pub planner: PlannerConfig,
}

impl Default for PetsConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            random_steps: 200,
            random_correlation: 0.0,
            action_repeat: 1,
            action_noise: 0.0,
            dynamics: DynamicsConfig::default(),
            rollout: RolloutConfig::default(),
            planner: PlannerConfig { particles: 5, ..PlannerConfig::default() },
        }
    }
}

impl PetsConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        at_least_one("pets", [("steps", self.steps), ("action_repeat", self.action_repeat)])?;
        not_negative("pets", [("action_noise", self.action_noise)])?;
        if !(0.0..1.0).contains(&self.random_correlation) {
            let value = self.random_correlation;
            return Err(Error::config("pets", "random_correlation", value, "in [0, 1)").into());
        }
        self.dynamics.validate()?;
        self.planner.validate()
    }
}

/// Learns an ensemble of one environment, from one or several copies of it, and plans with it.
pub struct Pets {
    config: PetsConfig,
    space: Space,
    seats: Vec<Seat>,
    dynamics: Dynamics,
    model: EnsembleModel,
    step: u64,
    act_rng: StreamRng,
}

/// One copy of the environment, with the plan that is followed in it.
struct Seat {
    env: Box<dyn Env>,
    planner: Planner<EnsembleModel>,
    /// What random actions remember: a normal number per dimension, or the last index.
    memory: Vec<f32>,
    observation: Vec<f32>,
    episode_return: f64,
    episode_length: u64,
}

impl Pets {
    /// An agent for copies of one environment, which it resets with seeds of its own.
    ///
    /// # Errors
    /// If the configuration does not suit the environment, or there is no copy of it.
    pub fn new(
        config: PetsConfig,
        copies: Vec<Box<dyn Env>>,
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let Some(spec) = copies.first().map(|env| env.spec().clone()) else {
            return Err(Error::shape("Pets::new", "at least one environment", 0).into());
        };
        let (width, action) = (spec.observation.width(), spec.action.width());
        let dynamics = Dynamics::new(&config.dynamics, (width, action), device, seeds)?;
        let mut seats = vec![];
        for (i, mut env) in copies.into_iter().enumerate() {
            let (planner, mut observation) =
                (Planner::new(config.planner.clone(), &spec.action)?, vec![0.0; width]);
            env.reset(Some(seeds.derive("env", i as u64)), &mut observation)?;
            let (memory, episode_return, episode_length) = (vec![], 0.0, 0);
            seats.push(Seat { env, planner, memory, observation, episode_return, episode_length });
        }
        Ok(Self {
            model: dynamics.snapshot(&config.rollout, config.planner.particles)?,
            config,
            space: spec.action,
            seats,
            dynamics,
            step: 0,
            act_rng: seeds.stream("act", 0),
        })
    }

    /// A snapshot of the ensemble for planning and evaluation, without the bonus of exploration.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn model(&self) -> Result<EnsembleModel> {
        let rollout = RolloutConfig { disagreement: 0.0, ..self.config.rollout.clone() };
        self.dynamics.snapshot(&rollout, self.config.planner.particles)
    }

    fn act(&mut self, i: usize) -> Result<PlannedAction> {
        let Self { config, space, seats, model, act_rng: rng, step, .. } = self;
        let seat = &mut seats[i];
        if *step < config.random_steps {
            return Ok(persistent_action(space, config.random_correlation, &mut seat.memory, rng));
        }
        model.observation.copy_from_slice(&seat.observation);
        let mut action = seat.planner.plan(model, rng)?.action;
        let noise = config.action_noise;
        match (&mut action, &*space) {
            (PlannedAction::Continuous(a), Space::Box { low, high }) if noise > 0.0 => {
                for ((a, low), high) in a.iter_mut().zip(low).zip(high) {
                    let z: f32 = rng.sample(StandardNormal);
                    *a = (*a + noise as f32 * 0.5 * (high - low) * z).clamp(*low, *high);
                }
            }
            (PlannedAction::Discrete(i), Space::Discrete(n)) if rng.random::<f64>() < noise => {
                *i = Space::sample_discrete(*n, rng);
            }
            _ => {}
        }
        Ok(action)
    }

    /// Holds an action, stores the transition over the hold, and begins the next episode where one ended. A hold that
    /// the time limit cuts short is no transition of the model's.
    fn hold(&mut self, i: usize, action: &PlannedAction, metrics: &mut Metrics) -> Result<()> {
        let seat = &mut self.seats[i];
        let before = seat.observation.clone();
        let (mut reward, mut held) = (0.0, 0);
        let end = loop {
            let result = seat.env.step(action.as_action(), &mut seat.observation)?;
            self.step += 1;
            held += 1;
            reward += result.reward;
            if result.done() || held == self.config.action_repeat {
                break result;
            }
        };
        seat.episode_return += reward;
        seat.episode_length += held;
        if held == self.config.action_repeat || end.terminated {
            let mut encoded = vec![0.0; self.space.width()];
            encode_action(action.as_action(), &mut encoded);
            let pair = (&before[..], &encoded[..]);
            self.dynamics.push(i, pair, reward as f32, &seat.observation, end.terminated)?;
        }
        if end.done() {
            self.dynamics.end_episode(i);
            metrics.record("charts/episodic_return", seat.episode_return);
            metrics.record("charts/episodic_length", seat.episode_length as f64);
            (seat.episode_return, seat.episode_length) = (0.0, 0);
            seat.env.reset(None, &mut seat.observation)?;
            seat.planner.reset();
        }
        Ok(())
    }

    /// Plays whole episodes with the present ensemble, without exploration, from `reset(Some(start))` each.
    ///
    /// # Errors
    /// If the environments differ from the agent's, or a plan fails.
    pub fn evaluate(
        &self,
        copies: &mut [Box<dyn Env>],
        starts: &[u64],
        seeds: SeedStream,
    ) -> Result<Evaluation> {
        let mut model = self.model()?;
        let observe =
            |model: &mut EnsembleModel, observation: &[f32]| model.observation.copy_from_slice(observation);
        play(&mut model, observe, (&self.config.planner, self.config.action_repeat), copies, starts, seeds)
    }
}

/// A uniform action whose successor is like it: ρ is the correlation of the normal number behind it (by the logistic
/// approximation Φ(z) ≈ ½ + ½ tanh(√(2/π) z)), or the probability that a discrete action is kept.
fn persistent_action(space: &Space, rho: f64, memory: &mut Vec<f32>, rng: &mut impl Rng) -> PlannedAction {
    match space {
        Space::Discrete(n) => {
            let kept = memory.first().copied().filter(|_| rng.random::<f64>() < rho);
            let index = kept.map_or_else(|| Space::sample_discrete(*n, rng), |i| i as usize);
            *memory = vec![index as f32];
            PlannedAction::Discrete(index)
        }
        Space::Box { low, high } => {
            let fresh = memory.is_empty();
            memory.resize(low.len(), 0.0);
            let rho = if fresh { 0.0 } else { rho as f32 };
            let mut action = vec![0.0; low.len()];
            for (i, (a, z)) in action.iter_mut().zip(memory).enumerate() {
                *z = rho * *z + (1.0 - rho * rho).sqrt() * rng.sample::<f32, _>(StandardNormal);
                let uniform = 0.5 + 0.5 * ((2.0 / std::f32::consts::PI).sqrt() * *z).tanh();
                *a = low[i] + (high[i] - low[i]) * uniform;
            }
            PlannedAction::Continuous(action)
        }
    }
}

impl Trainer for Pets {
    type Error = CrateError;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.steps
    }

    /// One action in every copy of the environment, and the updates that are due after it.
    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let before = self.step;
        for i in 0..self.seats.len() {
            let action = self.act(i)?;
            self.hold(i, &action, metrics)?;
        }
        if self.dynamics.learn(before, self.step, metrics)? {
            self.model = self.dynamics.snapshot(&self.config.rollout, self.config.planner.particles)?;
        }
        Ok(())
    }
}

impl Persist for Pets {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.dynamics.save(&at("dynamics"), state)?;
        for (i, seat) in self.seats.iter().enumerate() {
            let at = |name: &str| format!("{prefix}/seat{i}/{name}");
            seat.planner.save(&at("planner"), state)?;
            state.put(at("env"), &seat.env.save()?)?;
            for (name, values) in [("observation", &seat.observation), ("memory", &seat.memory)] {
                state.put_array(at(name), &[values.len()], values);
            }
            state.put(at("episode"), &(seat.episode_return, seat.episode_length))?;
        }
        state.put(at("step"), &self.step)?;
        // Updates are owed in rounds: the snapshot in use is older than neither weights nor statistics only right after
        // one, so its units are saved with it.
        self.model.save(&at("model"), state)?;
        state.put(at("rng"), &self.act_rng)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.dynamics.load(&at("dynamics"), state)?;
        for (i, seat) in self.seats.iter_mut().enumerate() {
            let at = |name: &str| format!("{prefix}/seat{i}/{name}");
            seat.planner.load(&at("planner"), state)?;
            seat.env.load(&state.get(&at("env"))?)?;
            seat.observation = state.array(&at("observation"), &[seat.observation.len()])?.to_vec();
            seat.memory = state.array_of_any_shape(&at("memory"))?.to_vec();
            (seat.episode_return, seat.episode_length) = state.get(&at("episode"))?;
        }
        self.step = state.get(&at("step"))?;
        self.model = self.dynamics.snapshot(&self.config.rollout, self.config.planner.particles)?;
        self.model.load(&at("model"), state)?;
        self.act_rng = state.get(&at("rng"))?;
        Ok(())
    }
}
