//! Soft actor-critic: Haarnoja et al., Soft Actor-Critic Algorithms and Applications, 2018 (arXiv:1812.05905).
//!
//! A tanh-squashed Gaussian actor, two critics with target copies, and a temperature that is learned or fixed.
//! Exploration may be correlated in time: the noise ε that a sample is made from follows an Ornstein–Uhlenbeck process
//! whose marginal is N(0, 1) at every step (Eberhard et al., Pink Noise Is All You Need, 2023, compare such processes),
//! so that the distribution of single actions stays SAC's own, while an under-powered car is pushed in one direction
//! for long enough to gain something.
//!
//! [`SoftActorCritic`] is what learns; [`Sac`] feeds it from environments by way of a replay buffer.

mod learner;
mod squashed;

pub use learner::SoftActorCritic;
pub use squashed::sample_squashed;

use super::Collector;
use super::collector::require;
use crate::buffer::{ReplayBuffer, ReplayConfig, Transition, TransitionBatch};
use crate::env::Env;
use crate::evaluate::Turn;
use crate::experiment::{Metrics, Persist, TrainState, Trainer};
use crate::nn::Mlp;
use crate::{Error, Result, SeedStream, StreamRng};
use candle_core::Device;
use rand::RngExt;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// The weight α of the entropy in the objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Temperature {
    /// Always this.
    Fixed(f64),
    /// Adjusted until the policy has the target entropy (section 5).
    Learned {
        /// α at the start: 1.
        initial: f64,
        /// Target entropy; `None`: −A, minus the number of action dimensions (the paper).
        target_entropy: Option<f64>,
    },
}

/// Hyper-parameters. The defaults are the paper's table 1 unless noted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SacConfig {
    /// Environment steps of the whole training: 20,000 (the Stable-Baselines3 zoo for Pendulum-v1).
    pub total_steps: u64,
    /// Widths of the hidden layers, ReLU between them, of actor and critics: 256, 256.
    pub hidden: Vec<usize>,
    /// Learning rate of Adam for actor, critics and temperature: 3e-4.
    pub learning_rate: f64,
    /// Discount γ: 0.99.
    pub gamma: f64,
    /// How far the targets move towards the critics at every update: 0.005.
    pub tau: f64,
    /// Transitions in a minibatch: 256.
    pub batch_size: usize,
    /// Transitions kept: 1,000,000.
    pub capacity: usize,
    /// Environment steps of uniformly random actions before learning: 100 (Stable-Baselines3); 0 starts with the
    /// untrained policy.
    pub learning_starts: u64,
    /// Environment steps between two trainings: 1.
    pub train_every: u64,
    /// Updates in a training: 1.
    pub updates_per_training: u64,
    /// Weight of the entropy: learned.
    pub temperature: Temperature,
    /// Correlation ρ of successive exploration noise, ε' = ρ ε + √(1 − ρ²) N(0, 1): 0, independent.
    pub noise_correlation: f64,
}

impl Default for SacConfig {
    fn default() -> Self {
        Self {
            total_steps: 20_000,
            hidden: vec![256, 256],
            learning_rate: 3e-4,
            gamma: 0.99,
            tau: 0.005,
            batch_size: 256,
            capacity: 1_000_000,
            learning_starts: 100,
            train_every: 1,
            updates_per_training: 1,
            temperature: Temperature::Learned { initial: 1.0, target_entropy: None },
            noise_correlation: 0.0,
        }
    }
}

impl SacConfig {
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
        ];
        for (field, value) in positive {
            require(value > 0, "sac", field, value, "at least 1")?;
        }
        require((0.0..=1.0).contains(&self.gamma), "sac", "gamma", self.gamma, "in [0, 1]")?;
        require(self.tau > 0.0 && self.tau <= 1.0, "sac", "tau", self.tau, "in (0, 1]")?;
        let rho = self.noise_correlation;
        require((0.0..1.0).contains(&rho), "sac", "noise_correlation", rho, "in [0, 1)")?;
        let (alpha, lowest) = match self.temperature {
            Temperature::Fixed(alpha) => (alpha, 0.0),
            Temperature::Learned { initial, .. } => (initial, f64::MIN_POSITIVE),
        };
        require(alpha >= lowest && alpha.is_finite(), "sac", "temperature", alpha, "positive and finite")
    }
}

/// Targets of the critics, `[B]` (equations 3 and 5): y = r + γ (1 − terminated) (min(Q₁', Q₂')(s', a') − α ln π(a'|s')).
/// Only a termination stops the bootstrap; a truncated episode has a future.
pub fn soft_targets(
    batch: &TransitionBatch<f32>,
    next_q: [&[f32]; 2],
    next_log_probs: &[f32],
    alpha: f32,
) -> Vec<f32> {
    let target = |i: usize| {
        let value = next_q[0][i].min(next_q[1][i]) - alpha * next_log_probs[i];
        batch.rewards[i] + if batch.terminated[i] { 0.0 } else { batch.discounts[i] * value }
    };
    (0..batch.rewards.len()).map(target).collect()
}

/// ½ 1/B Σ ((Q₁ − y)² + (Q₂ − y)²) (equation 5 for both critics); the gradients go to `dq`.
pub fn critic_loss(q: [&[f32]; 2], targets: &[f32], dq: [&mut [f32]; 2]) -> f64 {
    let share = 1.0 / targets.len() as f32;
    let mut loss = 0.0;
    for (q, dq) in q.into_iter().zip(dq) {
        for ((&q, &y), d) in q.iter().zip(targets).zip(dq) {
            *d = share * (q - y);
            loss += 0.5 * f64::from(*d * (q - y));
        }
    }
    loss
}

/// 1/B Σ (α ln π(a|s) − min(Q₁, Q₂)(s, a)) (equation 7); the gradients go to `dq` and `dlog_prob`.
pub fn actor_loss(
    [q1, q2, log_prob]: [&[f32]; 3],
    alpha: f32,
    [dq1, dq2, dlog_prob]: [&mut [f32]; 3],
) -> f64 {
    let share = 1.0 / log_prob.len() as f32;
    let mut loss = 0.0;
    for i in 0..log_prob.len() {
        let (lower, d) = if q1[i] <= q2[i] { (q1[i], &mut dq1[i]) } else { (q2[i], &mut dq2[i]) };
        *d = -share;
        dlog_prob[i] = alpha * share;
        loss += f64::from(share * (alpha * log_prob[i] - lower));
    }
    loss
}

/// Soft actor-critic with its environments and replay.
pub struct Sac {
    config: SacConfig,
    learner: SoftActorCritic,
    replay: ReplayBuffer,
    envs: Collector,
    /// ε of each environment, `[N, A]`.
    noise: Vec<f32>,
    act_rng: StreamRng,
    replay_rng: StreamRng,
    step: u64,
    scratch: Scratch,
}

/// Buffers reused between steps; they influence nothing.
#[derive(Default)]
struct Scratch {
    observations: Vec<f32>,
    actions: Vec<f32>,
    stretched: Vec<f32>,
    batch: TransitionBatch<f32>,
}

impl Sac {
    /// An untrained agent on copies of an environment with bounded continuous actions.
    ///
    /// # Errors
    /// If the configuration or the action space does not fit.
    pub fn new(
        config: SacConfig,
        copies: Vec<Box<dyn Env>>,
        seeds: SeedStream,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let envs = Collector::new(copies, seeds.derive("env", 0))?;
        let (observation, actions) = envs.widths();
        let learner = SoftActorCritic::new(&config, (observation, &envs.spec().action), seeds, device)?;
        let streams = envs.copies();
        let sizes = ReplayConfig {
            capacity: config.capacity.min(config.total_steps.max(1) as usize),
            streams,
            observation,
            action: actions,
            share_next: true,
        };
        let mut act_rng = seeds.stream("act", 0);
        Ok(Self {
            learner,
            replay: ReplayBuffer::new(sizes)?,
            envs,
            noise: (0..streams * actions).map(|_| act_rng.sample(StandardNormal)).collect(),
            act_rng,
            replay_rng: seeds.stream("replay", 0),
            step: 0,
            scratch: Scratch::default(),
            config,
        })
    }

    /// The actor: means and ln σ before squashing.
    pub fn actor(&self) -> &Mlp {
        self.learner.actor()
    }

    /// The present temperature α.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn temperature(&self) -> Result<f32> {
        self.learner.temperature()
    }

    /// The deterministic policy tanh(μ), stretched to the bounds, for [`evaluate`](crate::evaluate::evaluate()).
    pub fn policy(&self) -> impl FnMut(&Turn<'_>, &mut [f32]) -> Result<()> {
        self.learner.policy()
    }

    /// Actions for the present observations in (−1, 1), `[N, A]`: random at first, then from the policy with the
    /// exploration noise of each environment.
    fn act(&mut self) -> Result<()> {
        let actions = &mut self.scratch.actions;
        actions.clear();
        if self.step < self.config.learning_starts {
            actions.extend((0..self.noise.len()).map(|_| 2.0 * self.act_rng.random::<f32>() - 1.0));
            return Ok(());
        }
        let rho = self.config.noise_correlation as f32;
        for noise in &mut self.noise {
            let fresh: f32 = self.act_rng.sample(StandardNormal);
            *noise = rho * *noise + (1.0 - rho * rho).sqrt() * fresh;
        }
        self.learner.sample(&self.envs.batch().observations, &self.noise, actions)
    }

    /// One step of every environment, stored.
    fn collect(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.act()?;
        let Scratch { observations, actions, stretched, .. } = &mut self.scratch;
        observations.clone_from(&self.envs.batch().observations);
        stretched.clone_from(actions);
        self.learner.stretch(stretched);
        self.envs.step(stretched, metrics)?;
        let (batch, a) = (self.envs.batch(), self.envs.widths().1);
        for i in 0..batch.copies() {
            self.replay.push(
                i,
                &Transition {
                    observation: &observations[i * batch.width..(i + 1) * batch.width],
                    action: &actions[i * a..(i + 1) * a],
                    reward: batch.rewards[i] as f32,
                    next_observation: batch.successor(i),
                    terminated: batch.terminated[i],
                    truncated: batch.truncated[i],
                    discount: self.config.gamma as f32,
                },
            )?;
        }
        self.step += batch.copies() as u64;
        Ok(())
    }

    /// One update on a minibatch of the replay.
    fn update(&mut self, metrics: &mut Metrics) -> Result<()> {
        let batch = &mut self.scratch.batch;
        self.replay.sample(self.config.batch_size, &mut self.replay_rng, batch)?;
        self.learner.update(batch, metrics)
    }
}

impl Trainer for Sac {
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
        }
        Ok(())
    }
}

impl Persist for Sac {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let name = |part: &str| format!("{prefix}/{part}");
        self.learner.save(prefix, state)?;
        self.replay.save(&name("replay"), state)?;
        self.envs.save(&name("envs"), state)?;
        state.put_array(name("noise"), &[self.noise.len()], &self.noise);
        state.put(name("rngs"), &(&self.act_rng, &self.replay_rng))?;
        state.put(name("step"), &self.step)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let name = |part: &str| format!("{prefix}/{part}");
        self.learner.load(prefix, state)?;
        self.replay.load(&name("replay"), state)?;
        self.envs.load(&name("envs"), state)?;
        let noise = state.array(&name("noise"), &[self.noise.len()])?;
        self.noise.copy_from_slice(noise);
        (self.act_rng, self.replay_rng) = state.get(&name("rngs"))?;
        self.step = state.get(&name("step"))?;
        Ok(())
    }
}
