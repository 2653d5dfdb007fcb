//! Q-learning with a circuit (Chen et al. 2020; Skolik, Jerbi & Dunjko 2022; the TensorFlow Quantum tutorial): a deep
//! Q-network whose network is any [`Model`]. A memory and a batch of one transition make it plain online Q-learning.
//!
//! Copies of the environment act in one batch. With several copies, `train_every` and `target_every` still count
//! environment steps of all of them.

use super::descent::{Descent, DescentConfig, Rates};
use super::episodes::{Record, Solved, discrete_actions};
use super::model::{Model, argmax};
use crate::error::{Error, Result};
use rand::RngExt;
use rl_core::buffer::{ReplayBuffer, ReplayConfig, Transition, TransitionBatch};
use rl_core::env::{Actions, Autoreset, BatchEnv, Env, Space, VectorEnv};
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// The probability of a random action, by the number of finished episodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Exploration {
    /// max(end, start · decayᵉ)
    Geometric {
        /// At episode 0.
        start: f64,
        /// Never below.
        end: f64,
        /// Factor per episode.
        decay: f64,
    },
    /// ε ← ε / (e/100 + 1) after each episode e (Chen et al. 2020).
    Hyperbolic {
        /// At episode 0.
        start: f64,
    },
}

impl Exploration {
    /// ε after `episodes` finished episodes.
    pub fn at(&self, episodes: u64) -> f64 {
        match *self {
            Self::Geometric { start, end, decay } => (start * decay.powf(episodes as f64)).max(end),
            Self::Hyperbolic { start } => (0..episodes.min(10_000))
                .fold(start, |e, k| if e < 1e-12 { 0.0 } else { e / (k as f64 / 100.0 + 1.0) }),
        }
    }
}

/// The loss of a temporal-difference error δ, averaged over the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// δ²
    Squared,
    /// ½δ² up to |δ| = 1, |δ| − ½ beyond.
    Huber,
}

impl Loss {
    /// (loss, derivative)
    pub fn at(self, delta: f64) -> (f64, f64) {
        match self {
            Self::Squared => (delta * delta, 2.0 * delta),
            Self::Huber if delta.abs() <= 1.0 => (0.5 * delta * delta, delta),
            Self::Huber => (delta.abs() - 0.5, delta.signum()),
        }
    }
}

/// The defaults are the tutorial's DQN (CartPole-v1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QLearningConfig {
    /// Most episodes: 2000.
    pub episodes: u64,
    /// Discount γ: 0.99.
    pub gamma: f64,
    /// Transitions in a batch: 16.
    pub batch_size: usize,
    /// Transitions kept: 10,000.
    pub capacity: usize,
    /// Environment steps between two updates: 10.
    pub train_every: u64,
    /// Environment steps between two copies of the parameters to the target: 30.
    pub target_every: u64,
    /// Transitions before the first update: as many as a batch.
    pub learning_starts: usize,
    /// ε from 1 to 0.01, times 0.99 per episode.
    pub exploration: Exploration,
    /// Huber.
    pub loss: Loss,
    /// AMSGrad; angles and scalings 0.001, output weights 0.1.
    pub descent: DescentConfig,
    /// Stop when the mean of 10 episodes is 500.
    pub solved: Option<Solved>,
    /// Double Q-learning: false.
    pub double: bool,
}

impl Default for QLearningConfig {
    fn default() -> Self {
        Self {
            episodes: 2000,
            gamma: 0.99,
            batch_size: 16,
            capacity: 10_000,
            train_every: 10,
            target_every: 30,
            learning_starts: 16,
            exploration: Exploration::Geometric { start: 1.0, end: 0.01, decay: 0.99 },
            loss: Loss::Huber,
            descent: DescentConfig::amsgrad(Rates { angle: 0.001, scaling: 0.001, output: 0.1 }),
            solved: Some(Solved { window: 10, mean: 500.0 }),
            double: false,
        }
    }
}

impl QLearningConfig {
    /// # Errors
    /// Naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("batch_size", self.batch_size as u64),
            ("capacity", self.capacity as u64),
            ("train_every", self.train_every),
            ("target_every", self.target_every),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(rl_core::Error::config("q_learning", field, value, "at least 1").into());
            }
        }
        if !(0.0..=1.0).contains(&self.gamma) {
            return Err(rl_core::Error::config("q_learning", "gamma", self.gamma, "in [0, 1]").into());
        }
        self.descent.validate()
    }
}

/// The agent with its environments and memory.
pub struct QLearning {
    config: QLearningConfig,
    model: Box<dyn Model>,
    parameters: Vec<f64>,
    target: Vec<f64>,
    descent: Descent,
    envs: VectorEnv<Box<dyn Env>>,
    memory: ReplayBuffer<f32>,
    /// Return and length of each copy's episode so far.
    running: Vec<(f64, u64)>,
    record: Record,
    rng: StreamRng,
    step: u64,
    scratch: Scratch,
}

/// Memory reused between steps; it influences nothing.
#[derive(Default)]
struct Scratch {
    before: Vec<f32>,
    outputs: Vec<f64>,
    actions: Vec<usize>,
    batch: TransitionBatch<f32>,
    next: Vec<f64>,
    chosen: Vec<usize>,
    by_output: Vec<f64>,
    gradient: Vec<f64>,
}

impl QLearning {
    /// An untrained agent.
    ///
    /// # Errors
    /// When the configuration, or model and environment, do not fit.
    pub fn new(
        config: QLearningConfig,
        model: Box<dyn Model>,
        copies: Vec<Box<dyn Env>>,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let mut envs = VectorEnv::new(copies, Autoreset::SameStep)?;
        discrete_actions(envs.spec(), model.as_ref())?;
        envs.reset(Some(seeds.derive("env", 0)))?;
        let parameters = model.initial(&mut seeds.stream("init", 0));
        let streams = envs.batch().copies();
        let sizes = ReplayConfig {
            capacity: config.capacity,
            streams,
            observation: model.observation(),
            action: 1,
            share_next: false,
        };
        Ok(Self {
            memory: ReplayBuffer::new(sizes)?,
            target: parameters.clone(),
            descent: Descent::new(config.descent, model.groups()),
            running: vec![(0.0, 0); streams],
            record: Record::default(),
            rng: seeds.stream("act", 0),
            step: 0,
            scratch: Scratch { gradient: vec![0.0; parameters.len()], ..Scratch::default() },
            config,
            model,
            parameters,
            envs,
        })
    }

    /// The returns so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The model and its present parameters.
    pub fn policy(&mut self) -> (&mut dyn Model, &[f64]) {
        (self.model.as_mut(), &self.parameters)
    }

    /// ε-greedy actions of all copies.
    fn act(&mut self) -> Result<()> {
        let epsilon = self.config.exploration.at(self.record.episodes());
        let (count, Scratch { outputs, actions, .. }) = (self.model.outputs(), &mut self.scratch);
        outputs.resize(self.running.len() * count, 0.0);
        self.model.forward(&self.parameters, &self.envs.batch().observations, outputs)?;
        actions.clear();
        for row in outputs.chunks_exact(count) {
            let explore = self.rng.random::<f64>() < epsilon;
            actions.push(if explore { Space::sample_discrete(count, &mut self.rng) } else { argmax(row) });
        }
        Ok(())
    }

    /// One step of every copy, stored.
    fn collect(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.act()?;
        let Scratch { before, actions, .. } = &mut self.scratch;
        before.clone_from(&self.envs.batch().observations);
        self.envs.step(Actions::Discrete(actions))?;
        let batch = self.envs.batch();
        for (i, running) in self.running.iter_mut().enumerate() {
            let transition = Transition {
                observation: &before[i * batch.width..(i + 1) * batch.width],
                action: &[actions[i] as f32],
                reward: batch.rewards[i] as f32,
                next_observation: batch.successor(i),
                terminated: batch.terminated[i],
                truncated: batch.truncated[i],
                discount: self.config.gamma as f32,
            };
            self.memory.push(i, &transition)?;
            *running = (running.0 + batch.rewards[i], running.1 + 1);
            if batch.done(i) {
                let (total, length) = std::mem::take(running);
                self.record.push(total, length, self.config.solved, metrics);
            }
        }
        self.step += self.running.len() as u64;
        Ok(())
    }

    /// One step on a batch: y = r + γ (1 − terminated) max_a Q'(s', a).
    fn update(&mut self, metrics: &mut Metrics) -> Result<()> {
        let Self { config, model, parameters, target, descent, memory, scratch, rng, .. } = self;
        let Scratch { outputs, batch, next, chosen, by_output, gradient, .. } = scratch;
        memory.sample(config.batch_size, rng, batch)?;
        let (size, count) = (batch.rewards.len(), model.outputs());
        next.resize(size * count, 0.0);
        outputs.resize(size * count, 0.0);
        chosen.clear();
        if config.double {
            model.forward(parameters, &batch.next_observations, next)?;
            chosen.extend(next.chunks_exact(count).map(argmax));
        }
        model.forward(target, &batch.next_observations, next)?;
        if !config.double {
            chosen.extend(next.chunks_exact(count).map(argmax));
        }
        model.forward(parameters, &batch.observations, outputs)?;
        by_output.clear();
        by_output.resize(size * count, 0.0);
        let mut loss = 0.0;
        for (i, discount) in batch.bootstrap_discounts().enumerate() {
            let y = f64::from(batch.rewards[i]) + f64::from(discount) * next[i * count + chosen[i]];
            let at = i * count + batch.actions[i] as usize;
            let (value, slope) = config.loss.at(outputs[at] - y);
            loss += value / size as f64;
            by_output[at] = slope / size as f64;
        }
        metrics.record("losses/value", loss);
        model.backward(by_output, gradient)?;
        descent.step(parameters, gradient)
    }
}

impl Trainer for QLearning {
    type Error = Error;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        let done = self.record.solved_at().is_some() || self.record.episodes() >= self.config.episodes;
        let longest = self.envs.spec().max_episode_steps.unwrap_or(1000);
        if done { self.step } else { (self.config.episodes * u64::from(longest)).max(self.step + 1) }
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let before = self.step;
        self.collect(metrics)?;
        let passed = |every: u64| (self.step / every - before / every) as usize;
        let (updates, copies) = (passed(self.config.train_every), passed(self.config.target_every));
        if self.memory.len() >= self.config.learning_starts.max(1) {
            (0..updates).try_for_each(|_| self.update(metrics))?;
        }
        if copies > 0 {
            self.target.clone_from(&self.parameters);
        }
        Ok(())
    }
}

impl Persist for QLearning {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        for (name, values) in [("parameters", &self.parameters), ("target", &self.target)] {
            state.put_array(format!("{prefix}/{name}"), &[values.len()], values);
        }
        state.put(format!("{prefix}/step"), &self.step)?;
        state.put(format!("{prefix}/rng"), &self.rng)?;
        state.put(format!("{prefix}/running"), &self.running)?;
        self.descent.save(&format!("{prefix}/descent"), state)?;
        self.record.save(&format!("{prefix}/record"), state)?;
        self.memory.save(&format!("{prefix}/memory"), state)?;
        self.envs.save(&format!("{prefix}/envs"), state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        for (name, values) in [("parameters", &mut self.parameters), ("target", &mut self.target)] {
            let size = [values.len()];
            values.copy_from_slice(state.array(&format!("{prefix}/{name}"), &size)?);
        }
        self.step = state.get(&format!("{prefix}/step"))?;
        self.rng = state.get(&format!("{prefix}/rng"))?;
        self.running = state.get(&format!("{prefix}/running"))?;
        self.descent.load(&format!("{prefix}/descent"), state)?;
        self.record.load(&format!("{prefix}/record"), state)?;
        self.memory.load(&format!("{prefix}/memory"), state)?;
        self.envs.load(&format!("{prefix}/envs"), state)
    }
}
