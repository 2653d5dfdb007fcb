//! The agent: act by planning, learn the ensemble, repeat (Chua et al. 2018, algorithm 1).
//!
//! The first steps are random, with memory where a task wants persistent actions. Then every action is planned in the
//! ensemble, and every `train_every` steps the owed updates are made on each member's own sample. An action may be held
//! for several environment steps; the ensemble then predicts over the hold.

use super::ensemble::{Buffers, Ensemble, EnsembleConfig, Minibatch};
use super::experience::Experience;
use super::rollout::{EnsembleModel, RolloutConfig};
use crate::planning::{PlannedAction, Planner, PlannerConfig, play};
use crate::rssm::encode_action;
use crate::{Error as CrateError, Result};
use candle_core::Device;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::buffer::TrainRatio;
use rl_core::env::{Env, Space};
use rl_core::evaluate::Evaluation;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
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
    /// Updates per environment step.
    pub updates_per_step: f64,
    /// Environment steps between two rounds of updates (PETS: an episode).
    pub train_every: u64,
    /// Transitions per member and update (PETS: 32).
    pub batch: usize,
    /// Adam's step size (PETS: 1e-3).
    pub learning_rate: f64,
    /// Share of the transitions that no member learns from and elites are chosen by.
    pub holdout: f64,
    /// The ensemble.
    pub ensemble: EnsembleConfig,
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
            updates_per_step: 4.0,
            train_every: 50,
            batch: 64,
            learning_rate: 1e-3,
            holdout: 0.0,
            ensemble: EnsembleConfig::default(),
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
        let least = [
            ("steps", self.steps),
            ("action_repeat", self.action_repeat),
            ("train_every", self.train_every),
            ("batch", self.batch as u64),
        ];
        for (field, value) in least {
            if value == 0 {
                return Err(Error::config("pets", field, value, "at least 1").into());
            }
        }
        for (field, value) in
            [("action_noise", self.action_noise), ("updates_per_step", self.updates_per_step)]
        {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::config("pets", field, value, "finite and not negative").into());
            }
        }
        for (field, value) in [("random_correlation", self.random_correlation), ("holdout", self.holdout)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::config("pets", field, value, "in [0, 1)").into());
            }
        }
        if self.ensemble.elites < self.ensemble.members && self.holdout == 0.0 {
            return Err(
                Error::config("pets", "holdout", 0.0, "positive where elites are chosen by it").into()
            );
        }
        self.ensemble.validate()?;
        self.planner.validate()
    }
}

/// Learns an ensemble of one environment and plans with it.
pub struct Pets {
    config: PetsConfig,
    env: Box<dyn Env>,
    ensemble: Ensemble,
    optimizer: Optimizer,
    experience: Experience,
    elites: Vec<usize>,
    ratio: TrainRatio,
    planner: Planner<EnsembleModel>,
    model: EnsembleModel,
    /// What random actions remember: a normal number per dimension, or the last index.
    memory: Vec<f32>,
    observation: Vec<f32>,
    step: u64,
    episode_return: f64,
    episode_length: u64,
    act_rng: StreamRng,
    bootstrap_rng: StreamRng,
    sample_rng: StreamRng,
}

/// Held-out transitions by which elites are chosen.
const HELD_OUT: usize = 1000;

impl Pets {
    /// An agent for an environment, which it resets with a seed of its own.
    ///
    /// # Errors
    /// If the configuration does not suit the environment.
    pub fn new(
        config: PetsConfig,
        mut env: Box<dyn Env>,
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let spec = env.spec().clone();
        let (width, action) = (spec.observation.width(), spec.action.width());
        let mut rng = seeds.stream("pets", 0);
        let ensemble = Ensemble::new(&config.ensemble, width + action, width + 1, device, &mut rng)?;
        let adam = OptimizerConfig::adam(config.learning_rate, 1e-8, Clip::None);
        let optimizer = Optimizer::new(adam, &[ensemble.params()])?;
        let experience = Experience::new(width, action, config.ensemble.members);
        let elites: Vec<usize> = (0..config.ensemble.elites).collect();
        let mut observation = vec![0.0; width];
        env.reset(Some(seeds.derive("env", 0)), &mut observation)?;
        Ok(Self {
            planner: Planner::new(config.planner.clone(), &spec.action)?,
            ratio: TrainRatio::new(config.updates_per_step, 1)?,
            model: snapshot(&config, &ensemble, &experience, &elites)?,
            config,
            env,
            ensemble,
            optimizer,
            experience,
            elites,
            memory: vec![],
            observation,
            step: 0,
            episode_return: 0.0,
            episode_length: 0,
            act_rng: seeds.stream("act", 0),
            bootstrap_rng: seeds.stream("bootstrap", 0),
            sample_rng: seeds.stream("sample", 0),
        })
    }

    /// A snapshot of the ensemble for planning and evaluation, without the bonus of exploration.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn model(&self) -> Result<EnsembleModel> {
        let mut config = self.config.clone();
        config.rollout.disagreement = 0.0;
        snapshot(&config, &self.ensemble, &self.experience, &self.elites)
    }

    fn act(&mut self) -> Result<PlannedAction> {
        let space = self.env.spec().action.clone();
        if self.step < self.config.random_steps {
            return Ok(persistent_action(
                &space,
                self.config.random_correlation,
                &mut self.memory,
                &mut self.act_rng,
            ));
        }
        self.model.observation.copy_from_slice(&self.observation);
        let mut action = self.planner.plan(&self.model, &mut self.act_rng)?.action;
        let noise = self.config.action_noise;
        match (&mut action, &space) {
            (PlannedAction::Continuous(a), Space::Box { low, high }) if noise > 0.0 => {
                for ((a, low), high) in a.iter_mut().zip(low).zip(high) {
                    let z: f32 = self.act_rng.sample(StandardNormal);
                    *a = (*a + noise as f32 * 0.5 * (high - low) * z).clamp(*low, *high);
                }
            }
            (PlannedAction::Discrete(i), Space::Discrete(n)) if self.act_rng.random::<f64>() < noise => {
                *i = Space::sample_discrete(*n, &mut self.act_rng);
            }
            _ => {}
        }
        Ok(action)
    }

    /// Holds an action, stores the transition over the hold, and begins the next episode where one ended. A hold that
    /// the time limit cuts short is no transition of the model's.
    fn hold(&mut self, action: &PlannedAction, metrics: &mut Metrics) -> Result<()> {
        let before = self.observation.clone();
        let (mut reward, mut held) = (0.0, 0);
        let end = loop {
            let result = self.env.step(action.as_action(), &mut self.observation)?;
            self.step += 1;
            held += 1;
            reward += result.reward;
            if result.done() || held == self.config.action_repeat {
                break result;
            }
        };
        self.episode_return += reward;
        self.episode_length += held;
        if held == self.config.action_repeat || end.terminated {
            let mut encoded = vec![0.0; self.env.spec().action.width()];
            encode_action(action.as_action(), &mut encoded);
            let (next, holdout) = (&self.observation, self.config.holdout);
            let pair = (&before[..], &encoded[..]);
            self.experience.push(
                pair,
                reward as f32,
                next,
                end.terminated,
                holdout,
                &mut self.bootstrap_rng,
            )?;
        }
        if end.done() {
            metrics.record("charts/episodic_return", self.episode_return);
            metrics.record("charts/episodic_length", self.episode_length as f64);
            (self.episode_return, self.episode_length) = (0.0, 0);
            self.env.reset(None, &mut self.observation)?;
            self.planner.reset();
        }
        Ok(())
    }

    fn learn(&mut self, env_steps: u64, metrics: &mut Metrics) -> Result<()> {
        let owed = self.ratio.updates_after(env_steps);
        if owed == 0 || self.experience.len() <= self.experience.held_out() {
            return Ok(());
        }
        let mut batch = Minibatch::default();
        let mut loss = 0.0;
        for _ in 0..owed {
            self.experience.sample(self.config.batch, &mut self.sample_rng, &mut batch);
            let (value, grads) = backward(&self.ensemble.loss(&batch)?)?;
            self.optimizer.step(&grads)?;
            loss += value;
        }
        metrics.record("losses/ensemble", loss / owed as f64);
        self.choose_elites(metrics)?;
        self.model = snapshot(&self.config, &self.ensemble, &self.experience, &self.elites)?;
        Ok(())
    }

    /// The members with the smallest mean squared error on held-out transitions.
    fn choose_elites(&mut self, metrics: &mut Metrics) -> Result<()> {
        if self.experience.held_out() == 0 {
            return Ok(());
        }
        let mut batch = Minibatch::default();
        self.experience.held_out_batch(HELD_OUT, &mut batch);
        let network = self.ensemble.network();
        let (theta, k) = (self.ensemble.params().to_vec::<f32>()?, network.predicted());
        let mut buffers = Buffers::default();
        let mut errors = vec![];
        for member in 0..network.members() {
            let y = network.infer(&theta, member, batch.rows, &batch.inputs, &mut buffers);
            let rows = y.chunks_exact(network.outputs()).zip(batch.targets.chunks_exact(k));
            let square = |(y, t): (&[f32], &[f32])| -> f64 {
                y[..k].iter().zip(t).map(|(y, t)| f64::from((y - t) * (y - t))).sum()
            };
            errors.push((rows.map(square).sum::<f64>() / (batch.rows * k) as f64, member));
        }
        metrics.record("losses/held_out", errors.iter().map(|e| e.0).sum::<f64>() / errors.len() as f64);
        errors.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.elites = errors[..self.config.ensemble.elites].iter().map(|e| e.1).collect();
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

fn snapshot(
    config: &PetsConfig,
    ensemble: &Ensemble,
    experience: &Experience,
    elites: &[usize],
) -> Result<EnsembleModel> {
    let units = (&experience.inputs, &experience.targets);
    let range = experience.reward_range();
    EnsembleModel::new(ensemble, elites, units, range, &config.rollout, config.planner.particles)
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

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let before = self.step;
        let action = self.act()?;
        self.hold(&action, metrics)?;
        let every = self.config.train_every;
        let rounds = self.step / every - before / every;
        if rounds > 0 {
            self.learn(rounds * every, metrics)?;
        }
        Ok(())
    }
}

impl Persist for Pets {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.ensemble.save(&at("ensemble"), state)?;
        self.optimizer.save(&at("optimizer"), state)?;
        self.experience.save(&at("experience"), state)?;
        self.ratio.save(&at("ratio"), state)?;
        self.planner.save(&at("planner"), state)?;
        state.put(at("env"), &self.env.save()?)?;
        for (name, values) in [("observation", &self.observation), ("memory", &self.memory)] {
            state.put_array(at(name), &[values.len()], values);
        }
        state.put(at("elites"), &self.elites)?;
        state.put(at("counters"), &(self.step, self.episode_return, self.episode_length))?;
        // Updates are owed in rounds: the snapshot in use is older than neither weights nor statistics only right after
        // one, so its units are saved with it.
        self.model.save(&at("model"), state)?;
        state.put(at("rngs"), &(&self.act_rng, &self.bootstrap_rng, &self.sample_rng))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.ensemble.load(&at("ensemble"), state)?;
        self.optimizer.load(&at("optimizer"), state)?;
        self.experience.load(&at("experience"), state)?;
        self.ratio.load(&at("ratio"), state)?;
        self.planner.load(&at("planner"), state)?;
        self.env.load(&state.get(&at("env"))?)?;
        self.observation = state.array(&at("observation"), &[self.observation.len()])?.to_vec();
        self.memory = state.array_of_any_shape(&at("memory"))?.to_vec();
        self.elites = state.get(&at("elites"))?;
        (self.step, self.episode_return, self.episode_length) = state.get(&at("counters"))?;
        self.model = snapshot(&self.config, &self.ensemble, &self.experience, &self.elites)?;
        self.model.load(&at("model"), state)?;
        (self.act_rng, self.bootstrap_rng, self.sample_rng) = state.get(&at("rngs"))?;
        Ok(())
    }
}
