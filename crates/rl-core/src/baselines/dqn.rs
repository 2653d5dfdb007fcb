//! Deep Q-network: Mnih et al., Human-level control through deep reinforcement learning, Nature 2015.
//!
//! With the parts that later work kept, each an option: double Q-learning (van Hasselt et al. 2016), n-step targets
//! (Sutton 1988) and prioritised replay (Schaul et al. 2016), as combined by Hessel et al. 2018, and the distribution of
//! returns in place of their mean ([`quantile`], Dabney et al. 2018).
//! Deviations from 2015: Adam instead of RMSprop, and a target network that may move a little at every update.

pub mod quantile;

use super::Collector;
use super::collector::{normalize, require};
use crate::buffer::{
    NStep, PrioritizedBatch, PrioritizedConfig, PrioritizedReplay, ReplayBuffer, ReplayConfig, Transition,
    TransitionBatch,
};
use crate::env::{Env, Space};
use crate::evaluate::Turn;
use crate::experiment::{Metrics, Persist, TrainState, Trainer};
use crate::nn::mlp::Workspace;
use crate::nn::{Mlp, MlpConfig, fused_loss};
use crate::normalize::RunningMeanStd;
use crate::optim::{Clip, Optimizer, OptimizerConfig, backward, polyak};
use crate::schedule::Schedule;
use crate::{Error, Result, SeedStream, StreamRng};
use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_distr::Zeta;
use serde::{Deserialize, Serialize};

/// Hyper-parameters. The defaults are those of the Stable-Baselines3 zoo for CartPole-v1 unless noted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DqnConfig {
    /// Environment steps of the whole training: 50,000.
    pub total_steps: u64,
    /// Widths of the hidden layers: 256, 256.
    pub hidden: Vec<usize>,
    /// Learning rate of Adam by environment step: 2.3e-3.
    pub learning_rate: Schedule,
    /// ε of Adam: 1e-8 (PyTorch).
    pub adam_eps: f64,
    /// Largest norm of a gradient: 10 (Stable-Baselines3).
    pub max_grad_norm: f64,
    /// Discount γ: 0.99.
    pub gamma: f64,
    /// Transitions in a minibatch: 64.
    pub batch_size: usize,
    /// Transitions kept: 100,000.
    pub capacity: usize,
    /// Environment steps of random play before learning: 1,000.
    pub learning_starts: u64,
    /// Environment steps between two trainings: 256.
    pub train_every: u64,
    /// Updates in a training: 128.
    pub updates_per_training: u64,
    /// Updates between two moves of the target network: 128. (The zoo says every 10 environment steps, which between
    /// two trainings is the same: no update happens there.)
    pub target_every: u64,
    /// How far the target network moves towards the online one: 1, a copy.
    pub tau: f64,
    /// Probability of a random action by environment step: from 1 to 0.04 over the first 16 % of the steps.
    pub exploration: Schedule,
    /// Hold a random action for n steps, P(n) ∝ n^−μ with this μ > 1 (εz-greedy, Dabney et al. 2021; μ = 2): no, it is taken once.
    /// Where the first reward is many steps of one intention away, single random actions cancel each other.
    pub hold_exponent: Option<f64>,
    /// Choose the next action by the online network, value it by the target network: true (van Hasselt et al. 2016;
    /// the zoo: false).
    pub double: bool,
    /// Steps in a target: 1; Hessel et al. 2018 use 3.
    pub n_step: usize,
    /// Normalise observations by the running statistics of those collected, clipped at ±10: no. The buffer keeps them
    /// as they were; they are normalised when they are used.
    pub normalize_observations: bool,
    /// Learn this many quantiles of the return in place of its mean: no. The zoo's QR-DQN has 25 for Acrobot-v1.
    pub quantiles: Option<usize>,
    /// Sample by priority instead of uniformly: no.
    pub prioritized: Option<PrioritizedConfig>,
}

impl Default for DqnConfig {
    fn default() -> Self {
        Self {
            total_steps: 50_000,
            hidden: vec![256, 256],
            learning_rate: Schedule::Constant(2.3e-3),
            adam_eps: 1e-8,
            max_grad_norm: 10.0,
            gamma: 0.99,
            batch_size: 64,
            capacity: 100_000,
            learning_starts: 1_000,
            train_every: 256,
            updates_per_training: 128,
            target_every: 128,
            tau: 1.0,
            exploration: Schedule::Linear { start: 1.0, end: 0.04, steps: 8_000 },
            hold_exponent: None,
            double: true,
            n_step: 1,
            normalize_observations: false,
            quantiles: None,
            prioritized: None,
        }
    }
}

impl DqnConfig {
    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("batch_size", self.batch_size as u64),
            ("capacity", self.capacity as u64),
            ("train_every", self.train_every),
            ("updates_per_training", self.updates_per_training),
            ("target_every", self.target_every),
            ("n_step", self.n_step as u64),
            ("quantiles", self.quantiles.unwrap_or(1) as u64),
        ];
        for (field, value) in positive {
            require(value > 0, "dqn", field, value, "at least 1")?;
        }
        require((0.0..=1.0).contains(&self.gamma), "dqn", "gamma", self.gamma, "in [0, 1]")?;
        require(self.tau > 0.0 && self.tau <= 1.0, "dqn", "tau", self.tau, "in (0, 1]")?;
        require(self.max_grad_norm > 0.0, "dqn", "max_grad_norm", self.max_grad_norm, "positive")?;
        self.hold_exponent.map(zeta).transpose()?;
        self.prioritized.as_ref().map_or(Ok(()), PrioritizedConfig::validate)?;
        self.learning_rate.validate()?;
        self.exploration.validate()
    }
}

/// Targets of a batch, `[B]`: y = r + γᵐ (1 − terminated) Q'(s', a*), with a* = argmax Q'(s', ·), or the argmax of
/// `selector` (double Q-learning). A truncated episode goes on bootstrapping. `next_q` and `selector` are `[B, A]`.
pub fn td_targets(batch: &TransitionBatch<f32>, next_q: &[f32], selector: Option<&[f32]>) -> Vec<f32> {
    let actions = next_q.len() / batch.rewards.len().max(1);
    let target = |i: usize| {
        let row = i * actions..(i + 1) * actions;
        let chosen = argmax(&selector.unwrap_or(next_q)[row.clone()]);
        let future = if batch.terminated[i] { 0.0 } else { next_q[row][chosen] };
        batch.rewards[i] + batch.discounts[i] * future
    };
    (0..batch.rewards.len()).map(target).collect()
}

/// 1/B Σ wᵢ h(δᵢ) with δ = Q(s, a) − y and Huber's h(δ) = ½δ² up to |δ| = 1 and |δ| − ½ beyond; Mnih et al. 2015 clip
/// the error, which is the same gradient. Writes the gradient into `dq` `[B, A]` and δ into `errors` `[B]`.
pub fn huber_loss(
    q: &[f32],
    actions: &[f32],
    targets: &[f32],
    weights: Option<&[f32]>,
    dq: &mut [f32],
    errors: &mut Vec<f32>,
) -> f64 {
    let (b, n) = (targets.len(), q.len() / targets.len().max(1));
    errors.clear();
    let mut loss = 0.0;
    for (i, &y) in targets.iter().enumerate() {
        let chosen = i * n + actions[i] as usize;
        let error = q[chosen] - y;
        let weight = weights.map_or(1.0, |w| w[i]) / b as f32;
        let huber = if error.abs() <= 1.0 { 0.5 * error * error } else { error.abs() - 0.5 };
        loss += f64::from(weight * huber);
        dq[chosen] = weight * error.clamp(-1.0, 1.0);
        errors.push(error);
    }
    loss
}

/// P(n) ∝ n^−μ.
fn zeta(exponent: f64) -> Result<Zeta<f64>> {
    Zeta::new(exponent).map_err(|_| Error::config("dqn", "hold_exponent", exponent, "above 1"))
}

/// Q(s, ·) `[B, A]` of a network's outputs: themselves, or the means of their quantiles.
fn values<'a>(outputs: &'a [f32], quantiles: Option<usize>, q: &'a mut Vec<f32>) -> &'a [f32] {
    let Some(n) = quantiles else { return outputs };
    quantile::means(outputs, n, q);
    q
}

/// The first largest entry.
fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Uniform or prioritised replay.
enum Replay {
    Uniform(ReplayBuffer, TransitionBatch<f32>),
    Prioritized(PrioritizedReplay, PrioritizedBatch<f32>),
}

/// A deep Q-network with its environments, replay and optimiser.
pub struct Dqn {
    config: DqnConfig,
    actions: usize,
    online: Mlp,
    target: Mlp,
    optimizer: Optimizer,
    statistics: Option<RunningMeanStd>,
    replay: Replay,
    windows: NStep,
    envs: Collector,
    /// Steps that a random action is held.
    hold: Option<Zeta<f64>>,
    /// The random action that each environment holds, and for how many more steps.
    held: Vec<(usize, u64)>,
    act_rng: StreamRng,
    replay_rng: StreamRng,
    step: u64,
    updates: u64,
    scratch: Scratch,
}

/// Buffers reused between steps; they influence nothing.
#[derive(Default)]
struct Scratch {
    observations: Vec<f32>,
    actions: Vec<f32>,
    errors: Vec<f32>,
    q: Vec<f32>,
    target: Workspace<f32>,
    online: Workspace<f32>,
}

impl Dqn {
    /// An untrained agent on copies of an environment with discrete actions.
    ///
    /// # Errors
    /// If the configuration or the action space does not fit.
    pub fn new(
        config: DqnConfig,
        copies: Vec<Box<dyn Env>>,
        seeds: SeedStream,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let envs = Collector::new(copies, seeds.derive("env", 0))?;
        let actions = envs.discrete_actions("dqn")?;
        let (observation, action) = envs.widths();
        let outputs = actions * config.quantiles.unwrap_or(1);
        let shape = MlpConfig::relu(observation, &config.hidden, outputs);
        let online = Mlp::new(&shape, device, &mut seeds.stream("init", 0))?;
        let clip = Clip::GlobalNorm(config.max_grad_norm);
        let adam = OptimizerConfig::adam(config.learning_rate.at(0), config.adam_eps, clip);
        // n-step transitions end n steps later: their successor is not the next transition's start.
        let share_next = config.n_step == 1;
        let streams = envs.copies();
        let sizes = ReplayConfig { capacity: config.capacity, streams, observation, action, share_next };
        Ok(Self {
            actions,
            target: online.duplicate()?,
            optimizer: Optimizer::new(adam, &[online.params()])?,
            online,
            statistics: config.normalize_observations.then(|| RunningMeanStd::new(observation)),
            replay: match config.prioritized {
                None => Replay::Uniform(ReplayBuffer::new(sizes)?, TransitionBatch::default()),
                Some(priorities) => Replay::Prioritized(
                    PrioritizedReplay::new(sizes, priorities)?,
                    PrioritizedBatch::default(),
                ),
            },
            windows: NStep::new(config.n_step, streams, observation, action)?,
            hold: config.hold_exponent.map(zeta).transpose()?,
            held: vec![(0, 0); streams],
            envs,
            act_rng: seeds.stream("act", 0),
            replay_rng: seeds.stream("replay", 0),
            step: 0,
            updates: 0,
            scratch: Scratch::default(),
            config,
        })
    }

    /// The online network: Q(s, ·) `[B, A]`, or its quantiles `[B, A, N]`.
    pub fn network(&self) -> &Mlp {
        &self.online
    }

    /// The greedy policy argmax Q(s, ·), for [`evaluate`](crate::evaluate::evaluate()).
    pub fn policy(&self) -> impl FnMut(&Turn<'_>, &mut [f32]) -> Result<()> {
        let (mut workspace, mut observations, mut q) = (Workspace::default(), Vec::new(), Vec::new());
        move |turn, actions| {
            observations.clear();
            observations.extend_from_slice(turn.observations);
            normalize(self.statistics.as_ref(), &mut observations);
            let outputs = self.online.predict(&observations, &mut workspace)?;
            let q = values(outputs, self.config.quantiles, &mut q);
            for (action, row) in actions.iter_mut().zip(q.chunks_exact(self.actions)) {
                *action = argmax(row) as f32;
            }
            Ok(())
        }
    }

    /// ε-greedy actions for the present observations, `[N]` indices.
    fn act(&mut self) -> Result<()> {
        let epsilon = match self.step < self.config.learning_starts {
            true => 1.0,
            false => self.config.exploration.at(self.step),
        };
        let observations = &mut self.scratch.observations;
        observations.clone_from(&self.envs.batch().observations);
        if let Some(statistics) = &mut self.statistics {
            statistics.update(observations)?;
        }
        normalize(self.statistics.as_ref(), observations);
        let outputs = self.online.predict(observations, &mut self.scratch.online)?;
        let q = values(outputs, self.config.quantiles, &mut self.scratch.q);
        self.scratch.actions.clear();
        for (row, held) in q.chunks_exact(self.actions).zip(&mut self.held) {
            if held.1 == 0 && self.act_rng.random::<f64>() < epsilon {
                let action = Space::sample_discrete(self.actions, &mut self.act_rng);
                *held = (action, self.hold.map_or(1, |steps| self.act_rng.sample(steps) as u64));
            }
            let action = if held.1 > 0 { held.0 } else { argmax(row) };
            held.1 = held.1.saturating_sub(1);
            self.scratch.actions.push(action as f32);
        }
        Ok(())
    }

    /// One step of every environment, stored.
    fn collect(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.act()?;
        let Scratch { observations, actions, .. } = &mut self.scratch;
        observations.clone_from(&self.envs.batch().observations);
        self.envs.step(actions, metrics)?;
        let batch = self.envs.batch();
        for i in 0..batch.copies() {
            let transition = Transition {
                observation: &observations[i * batch.width..(i + 1) * batch.width],
                action: &actions[i..=i],
                reward: batch.rewards[i] as f32,
                next_observation: batch.successor(i),
                terminated: batch.terminated[i],
                truncated: batch.truncated[i],
                discount: self.config.gamma as f32,
            };
            let replay = &mut self.replay;
            self.windows.push(i, &transition, |t| match replay {
                Replay::Uniform(buffer, _) => buffer.push(i, t).map(drop),
                Replay::Prioritized(buffer, _) => buffer.push(i, t).map(drop),
            })?;
            if batch.terminated[i] || batch.truncated[i] {
                self.held[i].1 = 0;
            }
        }
        self.step += batch.copies() as u64;
        Ok(())
    }

    /// One gradient step on a minibatch.
    fn update(&mut self, metrics: &mut Metrics) -> Result<()> {
        let (size, rng) = (self.config.batch_size, &mut self.replay_rng);
        let (batch, weights) = match &mut self.replay {
            Replay::Uniform(buffer, batch) => {
                buffer.sample(size, rng, batch)?;
                (batch, None)
            }
            Replay::Prioritized(buffer, batch) => {
                buffer.sample(size, self.updates, rng, batch)?;
                (&mut batch.transitions, Some(&batch.weights[..]))
            }
        };
        normalize(self.statistics.as_ref(), &mut batch.observations);
        normalize(self.statistics.as_ref(), &mut batch.next_observations);
        let Scratch { target, online, errors, q, .. } = &mut self.scratch;
        let next = self.target.predict(&batch.next_observations, target)?;
        let selector = match self.config.double {
            true => self.online.predict(&batch.next_observations, online)?,
            false => next,
        };
        let quantiles = self.config.quantiles;
        let selector = values(selector, quantiles, q);
        let targets = match quantiles {
            None => td_targets(batch, next, Some(selector)),
            Some(n) => quantile::targets(batch, next, n, selector),
        };
        let shape = (size, self.online.inputs());
        let observations =
            Tensor::from_slice(&batch.observations, shape, self.online.params().var().device())?;
        let q = self.online.forward(&observations)?; // [B, A] or [B, A · N]
        let loss = fused_loss([&q], |[q]: [&[f32]; 1], [dq]| match quantiles {
            None => huber_loss(q, &batch.actions, &targets, weights, dq, errors),
            Some(n) => quantile::quantile_huber_loss(q, &batch.actions, &targets, n, weights, dq, errors),
        })?;
        let mean = |x: &[f32]| x.iter().copied().map(f64::from).sum::<f64>() / x.len() as f64;
        let mean_q = mean(&targets) + mean(errors);
        let (value, grads) = backward(&loss)?;
        self.optimizer.set_learning_rate(self.config.learning_rate.at(self.step));
        self.optimizer.step(&grads)?;
        if let Replay::Prioritized(buffer, batch) = &mut self.replay {
            buffer.update(&batch.transitions.indices, errors)?;
        }
        self.updates += 1;
        if self.updates.is_multiple_of(self.config.target_every) {
            polyak(self.target.params(), self.online.params(), self.config.tau)?;
        }
        metrics.record("losses/td_loss", value);
        metrics.record("losses/q_values", mean_q);
        Ok(())
    }
}

impl Trainer for Dqn {
    type Error = Error;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.total_steps
    }

    /// One step of every environment, and the training that may be due after it.
    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let before = self.step;
        self.collect(metrics)?;
        let due = self.step / self.config.train_every > before / self.config.train_every;
        if due && self.step > self.config.learning_starts {
            for _ in 0..self.config.updates_per_training {
                self.update(metrics)?;
            }
            metrics.record("charts/epsilon", self.config.exploration.at(self.step));
        }
        Ok(())
    }
}

impl Persist for Dqn {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let name = |part: &str| format!("{prefix}/{part}");
        self.online.save(&name("online"), state)?;
        self.target.save(&name("target"), state)?;
        self.optimizer.save(&name("optimizer"), state)?;
        if let Some(statistics) = &self.statistics {
            statistics.save(&name("statistics"), state)?;
        }
        match &self.replay {
            Replay::Uniform(buffer, _) => buffer.save(&name("replay"), state)?,
            Replay::Prioritized(buffer, _) => buffer.save(&name("replay"), state)?,
        }
        self.windows.save(&name("windows"), state)?;
        self.envs.save(&name("envs"), state)?;
        state.put(name("held"), &self.held)?;
        state.put(name("rngs"), &(&self.act_rng, &self.replay_rng))?;
        state.put(name("counters"), &(self.step, self.updates))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let name = |part: &str| format!("{prefix}/{part}");
        self.online.load(&name("online"), state)?;
        self.target.load(&name("target"), state)?;
        self.optimizer.load(&name("optimizer"), state)?;
        if let Some(statistics) = &mut self.statistics {
            statistics.load(&name("statistics"), state)?;
        }
        match &mut self.replay {
            Replay::Uniform(buffer, _) => buffer.load(&name("replay"), state)?,
            Replay::Prioritized(buffer, _) => buffer.load(&name("replay"), state)?,
        }
        self.windows.load(&name("windows"), state)?;
        self.envs.load(&name("envs"), state)?;
        self.held = state.get(&name("held"))?;
        (self.act_rng, self.replay_rng) = state.get(&name("rngs"))?;
        (self.step, self.updates) = state.get(&name("counters"))?;
        Ok(())
    }
}
