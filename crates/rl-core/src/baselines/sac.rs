//! Soft actor-critic: Haarnoja et al., Soft Actor-Critic Algorithms and Applications, 2018 (arXiv:1812.05905).
//!
//! A tanh-squashed Gaussian actor, two critics with target copies, and a temperature that is learned or fixed.
//! Exploration may be correlated in time: the noise ε that a sample is made from follows an Ornstein–Uhlenbeck process
//! whose marginal is N(0, 1) at every step (Eberhard et al., Pink Noise Is All You Need, 2023, compare such processes),
//! so that the distribution of single actions stays SAC's own, while an under-powered car is pushed in one direction
//! for long enough to gain something.

mod squashed;

pub use squashed::sample_squashed;

use super::Collector;
use super::collector::{Bounds, require};
use crate::buffer::{ReplayBuffer, ReplayConfig, Transition, TransitionBatch};
use crate::env::Env;
use crate::evaluate::Turn;
use crate::experiment::{Metrics, Persist, TrainState, Trainer};
use crate::nn::kernel::Real;
use crate::nn::mlp::Workspace;
use crate::nn::params::Layout;
use crate::nn::{Mlp, MlpConfig, Params, fused_loss};
use crate::optim::{Clip, Optimizer, OptimizerConfig, backward, polyak};
use crate::{Error, Result, SeedStream, StreamRng};
use candle_core::{DType, Device, Tensor};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};
use squashed::sample_with_gradient;

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

/// α and what adjusts it: J(α) = −ln α (mean ln π + target entropy), the form that the authors' code minimises instead
/// of equation 18 (α in place of ln α): the same fixed point.
struct Alpha {
    log_alpha: Params,
    learning: Option<(Optimizer, f64)>,
}

impl Alpha {
    fn new(config: &SacConfig, actions: usize, device: &Device) -> Result<Self> {
        let (initial, target) = match config.temperature {
            Temperature::Fixed(alpha) => (alpha, None),
            Temperature::Learned { initial, target_entropy } => {
                (initial, Some(target_entropy.unwrap_or(-(actions as f64))))
            }
        };
        let mut layout = Layout::default();
        layout.add("log_alpha", &[1], vec![initial.ln()]);
        let log_alpha = layout.build(DType::F32, device)?;
        let learning = match target {
            None => None,
            Some(target) => {
                let adam = OptimizerConfig::adam(config.learning_rate, 1e-8, Clip::None);
                Some((Optimizer::new(adam, &[&log_alpha])?, target))
            }
        };
        Ok(Self { log_alpha, learning })
    }

    fn value(&self) -> Result<f32> {
        self.log_alpha.with::<f32, _>(|l| Ok(l[0].exp()))
    }

    /// One step, given the mean of ln π over a minibatch.
    fn update(&mut self, mean_log_prob: f64) -> Result<()> {
        let Some((optimizer, target)) = &mut self.learning else { return Ok(()) };
        let slope = -(mean_log_prob + *target);
        let loss = fused_loss([self.log_alpha.tensor()], |[l]: [&[f32]; 1], [dl]| {
            dl[0] = slope as f32;
            f64::from(l[0]) * slope
        })?;
        let (_, grads) = backward(&loss)?;
        optimizer.step(&grads).map(drop)
    }
}

/// Soft actor-critic with its environments, replay and optimisers.
pub struct Sac {
    config: SacConfig,
    actions: usize,
    bounds: Bounds,
    actor: Mlp,
    critics: [Mlp; 2],
    targets: [Mlp; 2],
    actor_optimizer: Optimizer,
    critic_optimizer: Optimizer,
    alpha: Alpha,
    replay: ReplayBuffer,
    envs: Collector,
    /// ε of each environment, `[N, A]`.
    noise: Vec<f32>,
    act_rng: StreamRng,
    replay_rng: StreamRng,
    update_rng: StreamRng,
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
    inputs: Vec<f32>,
    actor: Workspace<f32>,
    critics: [Workspace<f32>; 2],
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
        let bounds = Bounds::new(&envs.spec().action, "sac")?;
        let (observation, actions) = envs.widths();
        let rng = &mut seeds.stream("init", 0);
        let actor = Mlp::new(&MlpConfig::relu(observation, &config.hidden, 2 * actions), device, rng)?;
        let mut critic = || Mlp::new(&MlpConfig::relu(observation + actions, &config.hidden, 1), device, rng);
        let critics = [critic()?, critic()?];
        let adam = OptimizerConfig::adam(config.learning_rate, 1e-8, Clip::None);
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
            actions,
            bounds,
            actor_optimizer: Optimizer::new(adam, &[actor.params()])?,
            critic_optimizer: Optimizer::new(adam, &[critics[0].params(), critics[1].params()])?,
            targets: [critics[0].duplicate()?, critics[1].duplicate()?],
            actor,
            critics,
            alpha: Alpha::new(&config, actions, device)?,
            replay: ReplayBuffer::new(sizes)?,
            envs,
            noise: (0..streams * actions).map(|_| act_rng.sample(StandardNormal)).collect(),
            act_rng,
            replay_rng: seeds.stream("replay", 0),
            update_rng: seeds.stream("update", 0),
            step: 0,
            scratch: Scratch::default(),
            config,
        })
    }

    /// The actor: means and ln σ before squashing.
    pub fn actor(&self) -> &Mlp {
        &self.actor
    }

    /// The present temperature α.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn temperature(&self) -> Result<f32> {
        self.alpha.value()
    }

    /// The deterministic policy tanh(μ), stretched to the bounds, for [`evaluate`](crate::evaluate::evaluate()).
    pub fn policy(&self) -> impl FnMut(&Turn<'_>, &mut [f32]) -> Result<()> {
        let mut workspace = Workspace::default();
        move |turn, actions| {
            let outputs = self.actor.predict(turn.observations, &mut workspace)?;
            let a = self.actions;
            for (action, row) in actions.chunks_exact_mut(a).zip(outputs.chunks_exact(2 * a)) {
                action.iter_mut().zip(row).for_each(|(action, mean)| *action = mean.fast_tanh());
            }
            self.bounds.stretch(actions);
            Ok(())
        }
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
        let outputs = self.actor.predict(&self.envs.batch().observations, &mut self.scratch.actor)?;
        for row in sample_squashed(outputs, &self.noise, self.actions).chunks_exact(self.actions + 1) {
            actions.extend_from_slice(&row[..self.actions]);
        }
        Ok(())
    }

    /// One step of every environment, stored.
    fn collect(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.act()?;
        let Scratch { observations, actions, stretched, .. } = &mut self.scratch;
        observations.clone_from(&self.envs.batch().observations);
        stretched.clone_from(actions);
        self.bounds.stretch(stretched);
        self.envs.step(stretched, metrics)?;
        let batch = self.envs.batch();
        for i in 0..batch.copies() {
            self.replay.push(
                i,
                &Transition {
                    observation: &observations[i * batch.width..(i + 1) * batch.width],
                    action: &actions[i * self.actions..(i + 1) * self.actions],
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

    /// One step of critics, actor, temperature and targets on a minibatch (algorithm 1).
    fn update(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.replay.sample(self.config.batch_size, &mut self.replay_rng, &mut self.scratch.batch)?;
        let alpha = self.alpha.value()?;
        let critic_loss = self.update_critics(alpha)?;
        let (actor_loss, mean_log_prob) = self.update_actor(alpha)?;
        self.alpha.update(mean_log_prob)?;
        for (target, critic) in self.targets.iter().zip(&self.critics) {
            polyak(target.params(), critic.params(), self.config.tau)?;
        }
        metrics.record("losses/qf_loss", critic_loss);
        metrics.record("losses/actor_loss", actor_loss);
        metrics.record("losses/alpha", f64::from(alpha));
        metrics.record("losses/entropy", -mean_log_prob);
        Ok(())
    }

    fn update_critics(&mut self, alpha: f32) -> Result<f64> {
        let Scratch { batch, inputs, actor, critics, .. } = &mut self.scratch;
        let (b, a) = (batch.rewards.len(), self.actions);
        let noise = standard_normal(b * a, &mut self.update_rng);
        let outputs = self.actor.predict(&batch.next_observations, actor)?;
        let samples = sample_squashed(outputs, &noise, a); // [B, A + 1]
        let log_probs: Vec<f32> = samples.iter().skip(a).step_by(a + 1).copied().collect();
        join_rows(&batch.next_observations, b, &samples, a, inputs);
        let [first, second] = critics;
        let next_q = [self.targets[0].predict(inputs, first)?, self.targets[1].predict(inputs, second)?];
        let targets = soft_targets(batch, next_q, &log_probs, alpha);

        join_rows(&batch.observations, b, &batch.actions, a, inputs);
        let device = self.actor.params().var().device();
        let x = Tensor::from_slice(inputs, (b, inputs.len() / b), device)?;
        let q = [self.critics[0].forward(&x)?, self.critics[1].forward(&x)?];
        let loss = fused_loss([&q[0], &q[1]], |q: [&[f32]; 2], dq| critic_loss(q, &targets, dq))?;
        let (value, grads) = backward(&loss)?;
        self.critic_optimizer.step(&grads)?;
        Ok(value)
    }

    /// The loss, and the mean of ln π.
    fn update_actor(&mut self, alpha: f32) -> Result<(f64, f64)> {
        let batch = &self.scratch.batch;
        let (b, a) = (batch.rewards.len(), self.actions);
        let device = self.actor.params().var().device();
        let observations = Tensor::from_slice(&batch.observations, (b, self.actor.inputs()), device)?;
        let noise = standard_normal(b * a, &mut self.update_rng);
        let samples = sample_with_gradient(&self.actor.forward(&observations)?, noise, a)?; // [B, A + 1]
        let log_prob = samples.narrow(1, a, 1)?;
        let x = Tensor::cat(&[&observations, &samples.narrow(1, 0, a)?], 1)?;
        let [q1, q2] = [self.critics[0].forward_frozen(&x)?, self.critics[1].forward_frozen(&x)?];
        let mut mean_log_prob = 0.0;
        let loss = fused_loss([&q1, &q2, &log_prob], |values: [&[f32]; 3], gradients| {
            mean_log_prob = values[2].iter().map(|&l| f64::from(l)).sum::<f64>() / b as f64;
            actor_loss(values, alpha, gradients)
        })?;
        let (value, grads) = backward(&loss)?;
        self.actor_optimizer.step(&grads)?;
        Ok((value, mean_log_prob))
    }
}

/// n independent N(0, 1) numbers.
fn standard_normal(n: usize, rng: &mut impl Rng) -> Vec<f32> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

/// Rows `[left, right[..a]]` for B rows of `left` and of `right`.
fn join_rows(left: &[f32], b: usize, right: &[f32], a: usize, out: &mut Vec<f32>) {
    out.clear();
    let rows = left.chunks_exact(left.len() / b).zip(right.chunks_exact(right.len() / b));
    for (left, right) in rows {
        out.extend_from_slice(left);
        out.extend_from_slice(&right[..a]);
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
        self.actor.save(&name("actor"), state)?;
        self.actor_optimizer.save(&name("actor_optimizer"), state)?;
        for (i, (critic, target)) in self.critics.iter().zip(&self.targets).enumerate() {
            critic.save(&name(&format!("critic{i}")), state)?;
            target.save(&name(&format!("target{i}")), state)?;
        }
        self.critic_optimizer.save(&name("critic_optimizer"), state)?;
        self.alpha.log_alpha.save(&name("temperature"), state)?;
        if let Some((optimizer, _)) = &self.alpha.learning {
            optimizer.save(&name("temperature_optimizer"), state)?;
        }
        self.replay.save(&name("replay"), state)?;
        self.envs.save(&name("envs"), state)?;
        state.put_array(name("noise"), &[self.noise.len()], &self.noise);
        state.put(name("rngs"), &(&self.act_rng, &self.replay_rng, &self.update_rng))?;
        state.put(name("step"), &self.step)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let name = |part: &str| format!("{prefix}/{part}");
        self.actor.load(&name("actor"), state)?;
        self.actor_optimizer.load(&name("actor_optimizer"), state)?;
        for (i, (critic, target)) in self.critics.iter_mut().zip(&mut self.targets).enumerate() {
            critic.load(&name(&format!("critic{i}")), state)?;
            target.load(&name(&format!("target{i}")), state)?;
        }
        self.critic_optimizer.load(&name("critic_optimizer"), state)?;
        self.alpha.log_alpha.load(&name("temperature"), state)?;
        if let Some((optimizer, _)) = &mut self.alpha.learning {
            optimizer.load(&name("temperature_optimizer"), state)?;
        }
        self.replay.load(&name("replay"), state)?;
        self.envs.load(&name("envs"), state)?;
        let noise = state.array(&name("noise"), &[self.noise.len()])?;
        self.noise.copy_from_slice(noise);
        (self.act_rng, self.replay_rng, self.update_rng) = state.get(&name("rngs"))?;
        self.step = state.get(&name("step"))?;
        Ok(())
    }
}
