//! Proximal policy optimisation: Schulman et al., Proximal Policy Optimization Algorithms, 2017, with the clipped
//! surrogate (equation 7) and generalised advantage estimation (Schulman et al. 2016).
//!
//! Details follow Huang et al., The 37 Implementation Details of PPO, 2022: vectorised collection, orthogonal
//! initialisation, Adam's ε of 1e-5, normalised advantages, annealing, global-norm clipping, an optional clip of the
//! values. Deviations from the usual implementations: a truncated episode bootstraps from its final observation, and
//! the surrogate keeps its full gradient where ratio and bound tie (ratio 1, and the bounds themselves).

mod loss;

pub use loss::{
    PolicyBatch, PolicyStatistics, categorical_loss, explained_variance, gaussian_loss, normalize_advantages,
    surrogate, value_loss,
};

use super::Collector;
use super::collector::{normalize, require};
use crate::buffer::{RolloutBatch, RolloutBuffer, RolloutConfig, RolloutStep};
use crate::env::{Env, Space};
use crate::evaluate::Turn;
use crate::experiment::{Metrics, Persist, TrainState, Trainer};
use crate::nn::mlp::Workspace;
use crate::nn::params::Layout;
use crate::nn::{Activation, Init, Mlp, MlpConfig, Norm, Params, fused_loss};
use crate::normalize::RunningMeanStd;
use crate::optim::{Clip, Optimizer, OptimizerConfig, backward};
use crate::schedule::Schedule;
use crate::{Error, Result, SeedStream, StreamRng};
use candle_core::{DType, Device, Tensor};
use loss::{gaussian_log_prob, log_softmax};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// Hyper-parameters. The defaults are those of the Stable-Baselines3 zoo for CartPole-v1 unless noted; the number of
/// environments (there 8) is the number of copies that [`Ppo::new`] is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Environment steps of the whole training: 100,000.
    pub total_steps: u64,
    /// Widths of the hidden layers, tanh between them, of actor and critic each: 64, 64 (Schulman et al. 2017).
    pub hidden: Vec<usize>,
    /// T, steps of each environment in a rollout: 32.
    pub rollout_steps: usize,
    /// Passes over a rollout: 20.
    pub epochs: usize,
    /// Steps in a minibatch: 256.
    pub minibatch_size: usize,
    /// Discount γ: 0.98.
    pub gamma: f64,
    /// λ of generalised advantage estimation: 0.8.
    pub gae_lambda: f64,
    /// Learning rate of Adam by environment step: from 1e-3 to 0.
    pub learning_rate: Schedule,
    /// ε of Adam: 1e-5.
    pub adam_eps: f64,
    /// ε of the clip by environment step: from 0.2 to 0.
    pub clip: Schedule,
    /// Clip the change of the values too, by the same ε: no (Stable-Baselines3; the original code did).
    pub clip_values: bool,
    /// Normalise the advantages of each minibatch: yes.
    pub normalize_advantages: bool,
    /// Normalise observations by running statistics, clipped at ±10: no.
    pub normalize_observations: bool,
    /// Factor on the rewards that the critic learns from, so that its targets are of order 1: 1.
    pub reward_scale: f64,
    /// Weight of the entropy bonus: 0.
    pub entropy_coefficient: f64,
    /// Weight of the value loss mean (V − R)²: 0.5.
    pub value_coefficient: f64,
    /// Largest norm of the gradient of actor and critic together: 0.5.
    pub max_grad_norm: f64,
    /// Stop the passes over a rollout when the policy's divergence exceeds 1.5 times this: never.
    pub target_kl: Option<f64>,
    /// ln σ of a Gaussian policy at the start: 0.
    pub initial_log_std: f64,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            total_steps: 100_000,
            hidden: vec![64, 64],
            rollout_steps: 32,
            epochs: 20,
            minibatch_size: 256,
            gamma: 0.98,
            gae_lambda: 0.8,
            learning_rate: Schedule::Linear { start: 1e-3, end: 0.0, steps: 100_000 },
            adam_eps: 1e-5,
            clip: Schedule::Linear { start: 0.2, end: 0.0, steps: 100_000 },
            clip_values: false,
            normalize_advantages: true,
            normalize_observations: false,
            reward_scale: 1.0,
            entropy_coefficient: 0.0,
            value_coefficient: 0.5,
            max_grad_norm: 0.5,
            target_kl: None,
            initial_log_std: 0.0,
        }
    }
}

impl PpoConfig {
    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("rollout_steps", self.rollout_steps),
            ("epochs", self.epochs),
            ("minibatch_size", self.minibatch_size),
        ];
        for (field, value) in counts {
            require(value > 0, "ppo", field, value, "at least 1")?;
        }
        for (field, value) in [("gamma", self.gamma), ("gae_lambda", self.gae_lambda)] {
            require((0.0..=1.0).contains(&value), "ppo", field, value, "in [0, 1]")?;
        }
        for (field, value) in
            [("entropy_coefficient", self.entropy_coefficient), ("value_coefficient", self.value_coefficient)]
        {
            require(value >= 0.0 && value.is_finite(), "ppo", field, value, "finite and at least 0")?;
        }
        let scale = self.reward_scale;
        require(scale > 0.0 && scale.is_finite(), "ppo", "reward_scale", scale, "positive and finite")?;
        require(self.max_grad_norm > 0.0, "ppo", "max_grad_norm", self.max_grad_norm, "positive")?;
        let target = self.target_kl.unwrap_or(1.0);
        require(target > 0.0, "ppo", "target_kl", target, "positive")?;
        self.learning_rate.validate()?;
        self.clip.validate()
    }
}

/// What the outputs of the actor mean.
enum Head {
    /// Logits of discrete actions.
    Categorical,
    /// Means of a Gaussian with ln σ of its own, clipped to the bounds on the way to the environment.
    Gaussian { log_std: Params, low: Vec<f32>, high: Vec<f32> },
}

impl Head {
    fn new(space: &Space, initial_log_std: f64, device: &Device) -> Result<Self> {
        let Space::Box { low, high } = space else { return Ok(Self::Categorical) };
        let mut layout = Layout::default();
        layout.add("log_std", &[low.len()], vec![initial_log_std; low.len()]);
        let log_std = layout.build(DType::F32, device)?;
        Ok(Self::Gaussian { log_std, low: low.clone(), high: high.clone() })
    }

    /// Draws an action for every row of the actor's outputs `[N, K]`; appends actions and log-probabilities.
    fn sample(
        &self,
        outputs: &[f32],
        rows: usize,
        rng: &mut impl Rng,
        actions: &mut Vec<f32>,
        log_probs: &mut Vec<f32>,
    ) -> Result<()> {
        let width = outputs.len() / rows;
        match self {
            Self::Categorical => {
                let mut log_p = Vec::new();
                for row in outputs.chunks_exact(width) {
                    log_softmax(row, &mut log_p);
                    let mut left: f64 = rng.random();
                    let drawn = log_p.iter().position(|l| {
                        left -= l.exp();
                        left < 0.0
                    });
                    let action = drawn.unwrap_or(width - 1);
                    actions.push(action as f32);
                    log_probs.push(log_p[action] as f32);
                }
                Ok(())
            }
            Self::Gaussian { log_std, .. } => log_std.with::<f32, _>(|log_std| {
                for mean in outputs.chunks_exact(width) {
                    let start = actions.len();
                    let draw = |(&m, &l): (&f32, &f32)| m + l.exp() * rng.sample::<f32, _>(StandardNormal);
                    actions.extend(mean.iter().zip(log_std).map(draw));
                    log_probs.push(gaussian_log_prob(mean, log_std, &actions[start..]) as f32);
                }
                Ok(())
            }),
        }
    }

    /// What the environment is given for stored actions.
    fn for_environment(&self, actions: &mut [f32]) {
        if let Self::Gaussian { low, high, .. } = self {
            for row in actions.chunks_exact_mut(low.len()) {
                for ((a, &low), &high) in row.iter_mut().zip(low).zip(high) {
                    *a = a.clamp(low, high);
                }
            }
        }
    }
}

/// Proximal policy optimisation with its environments, rollout and optimiser.
pub struct Ppo {
    config: PpoConfig,
    head: Head,
    actor: Mlp,
    critic: Mlp,
    optimizer: Optimizer,
    statistics: Option<RunningMeanStd>,
    rollout: RolloutBuffer,
    envs: Collector,
    act_rng: StreamRng,
    shuffle_rng: StreamRng,
    step: u64,
    scratch: Scratch,
}

/// Buffers reused between steps; they influence nothing.
#[derive(Default)]
struct Scratch {
    observations: Vec<f32>,
    finals: Vec<f32>,
    actions: Vec<f32>,
    log_probs: Vec<f32>,
    actor: Workspace<f32>,
    critic: Workspace<f32>,
    batch: RolloutBatch,
}

/// Hidden layers with tanh and orthogonal weights of gain √2; the last layer's gain is given.
fn orthogonal_tanh(inputs: usize, hidden: &[usize], outputs: usize, gain: f64) -> MlpConfig {
    MlpConfig {
        activation: Activation::Tanh,
        norm: Norm::None,
        init: Init::Orthogonal { gain: 2f64.sqrt() },
        output_init: Init::Orthogonal { gain },
        ..MlpConfig::relu(inputs, hidden, outputs)
    }
}

impl Ppo {
    /// An untrained agent on copies of an environment.
    ///
    /// # Errors
    /// If the configuration does not fit.
    pub fn new(
        config: PpoConfig,
        copies: Vec<Box<dyn Env>>,
        seeds: SeedStream,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let envs = Collector::new(copies, seeds.derive("env", 0))?;
        let (observation, action) = envs.widths();
        let outputs = envs.spec().action.width();
        let rng = &mut seeds.stream("init", 0);
        // Small first steps of the policy: gain 0.01 (Andrychowicz et al. 2021).
        let actor = Mlp::new(&orthogonal_tanh(observation, &config.hidden, outputs, 0.01), device, rng)?;
        let critic = Mlp::new(&orthogonal_tanh(observation, &config.hidden, 1, 1.0), device, rng)?;
        let head = Head::new(&envs.spec().action, config.initial_log_std, device)?;
        let clip = Clip::GlobalNorm(config.max_grad_norm);
        let adam = OptimizerConfig::adam(config.learning_rate.at(0), config.adam_eps, clip);
        let modules = match &head {
            Head::Categorical => vec![actor.params(), critic.params()],
            Head::Gaussian { log_std, .. } => vec![actor.params(), critic.params(), log_std],
        };
        let sizes = RolloutConfig { steps: config.rollout_steps, envs: envs.copies(), observation, action };
        Ok(Self {
            optimizer: Optimizer::new(adam, &modules)?,
            statistics: config.normalize_observations.then(|| RunningMeanStd::new(observation)),
            rollout: RolloutBuffer::new(sizes)?,
            head,
            actor,
            critic,
            envs,
            act_rng: seeds.stream("act", 0),
            shuffle_rng: seeds.stream("shuffle", 0),
            step: 0,
            scratch: Scratch::default(),
            config,
        })
    }

    /// The actor: logits, or means.
    pub fn actor(&self) -> &Mlp {
        &self.actor
    }

    /// The deterministic policy, the most likely action, for [`evaluate`](crate::evaluate::evaluate()).
    pub fn policy(&self) -> impl FnMut(&Turn<'_>, &mut [f32]) -> Result<()> {
        let (mut workspace, mut observations) = (Workspace::default(), Vec::new());
        move |turn, actions| {
            observations.clear();
            observations.extend_from_slice(turn.observations);
            normalize(self.statistics.as_ref(), &mut observations);
            let outputs = self.actor.predict(&observations, &mut workspace)?;
            match self.head {
                Head::Categorical => {
                    for (action, row) in actions.iter_mut().zip(outputs.chunks_exact(self.actor.outputs())) {
                        let best =
                            (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
                        *action = best as f32;
                    }
                }
                Head::Gaussian { .. } => actions.copy_from_slice(outputs),
            }
            self.head.for_environment(actions);
            Ok(())
        }
    }

    /// Acts and steps every environment once, and stores the step.
    fn collect(&mut self, metrics: &mut Metrics) -> Result<()> {
        let Scratch { observations, finals, actions, log_probs, actor, critic, .. } = &mut self.scratch;
        observations.clone_from(&self.envs.batch().observations);
        if let Some(statistics) = &mut self.statistics {
            statistics.update(observations)?;
        }
        normalize(self.statistics.as_ref(), observations);
        let n = self.envs.copies();
        let values = self.critic.predict(observations, critic)?.to_vec();
        let outputs = self.actor.predict(observations, actor)?;
        actions.clear();
        log_probs.clear();
        self.head.sample(outputs, n, &mut self.act_rng, actions, log_probs)?;
        let stored = actions.clone();
        self.head.for_environment(actions);
        self.envs.step(actions, metrics)?;

        let batch = self.envs.batch();
        let mut final_values = vec![0.0; n];
        if batch.truncated.contains(&true) {
            finals.clone_from(&batch.final_observations);
            normalize(self.statistics.as_ref(), finals);
            final_values.copy_from_slice(self.critic.predict(finals, critic)?);
        }
        let rewards: Vec<f32> =
            batch.rewards.iter().map(|&r| (self.config.reward_scale * r) as f32).collect();
        self.rollout.push(&RolloutStep {
            observations,
            actions: &stored,
            log_probs,
            values: &values,
            rewards: &rewards,
            terminated: &batch.terminated,
            truncated: &batch.truncated,
            final_values: &final_values,
        })?;
        self.step += n as u64;
        Ok(())
    }

    /// Passes over the rollout in shuffled minibatches.
    fn update(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.optimizer.set_learning_rate(self.config.learning_rate.at(self.step));
        let clip = self.config.clip.at(self.step);
        let mut batch = std::mem::take(&mut self.scratch.batch);
        'passes: for _ in 0..self.config.epochs {
            self.rollout.shuffle(&mut self.shuffle_rng);
            let mut k = 0;
            while self.rollout.minibatch(k, self.config.minibatch_size, &mut batch)? {
                let (statistics, value_loss) = self.update_on(&mut batch, clip)?;
                metrics.record("losses/policy_loss", statistics.policy_loss);
                metrics.record("losses/value_loss", value_loss);
                metrics.record("losses/entropy", statistics.entropy);
                metrics.record("losses/old_approx_kl", statistics.old_approx_kl);
                metrics.record("losses/approx_kl", statistics.approx_kl);
                metrics.record("losses/clipfrac", statistics.clip_fraction);
                if self.config.target_kl.is_some_and(|target| statistics.approx_kl > 1.5 * target) {
                    break 'passes;
                }
                k += 1;
            }
        }
        self.scratch.batch = batch;
        Ok(())
    }

    /// One gradient step on a minibatch.
    fn update_on(&mut self, batch: &mut RolloutBatch, clip: f64) -> Result<(PolicyStatistics, f64)> {
        if self.config.normalize_advantages {
            normalize_advantages(&mut batch.advantages);
        }
        let policy_batch = PolicyBatch {
            actions: &batch.actions,
            log_probs: &batch.log_probs,
            advantages: &batch.advantages,
            clip,
            entropy_coefficient: self.config.entropy_coefficient,
        };
        let shape = (batch.log_probs.len(), self.actor.inputs());
        let device = self.actor.params().var().device();
        let observations = Tensor::from_slice(&batch.observations, shape, device)?;
        let outputs = self.actor.forward(&observations)?; // [B, A]
        let values = self.critic.forward(&observations)?; // [B, 1]
        let mut statistics = PolicyStatistics::default();
        let policy = match &self.head {
            Head::Categorical => fused_loss([&outputs], |[logits]: [&[f32]; 1], [d]| {
                let (loss, seen) = categorical_loss(logits, &policy_batch, d);
                statistics = seen;
                loss
            }),
            Head::Gaussian { log_std, .. } => {
                fused_loss([&outputs, log_std.tensor()], |[mean, log_std]: [&[f32]; 2], [dm, dl]| {
                    let (loss, seen) = gaussian_loss(mean, log_std, &policy_batch, dm, dl);
                    statistics = seen;
                    loss
                })
            }
        }?;
        let limit = self.config.clip_values.then_some(clip);
        let value = fused_loss([&values], |[v]: [&[f32]; 1], [dv]| {
            value_loss(v, &batch.returns, &batch.values, limit, dv)
        })?;
        let (_, grads) = backward(&(policy + (&value * self.config.value_coefficient)?)?)?;
        self.optimizer.step(&grads)?;
        Ok((statistics, f64::from(value.to_scalar::<f32>()?)))
    }
}

impl Trainer for Ppo {
    type Error = Error;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.total_steps
    }

    /// One rollout and the passes over it.
    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        while !self.rollout.is_full() {
            self.collect(metrics)?;
        }
        let mut last = self.envs.batch().observations.clone();
        normalize(self.statistics.as_ref(), &mut last);
        let last_values = self.critic.predict(&last, &mut self.scratch.critic)?;
        self.rollout.finish(last_values, self.config.gamma, self.config.gae_lambda)?;
        let explained = explained_variance(self.rollout.advantages(), self.rollout.returns());
        if explained.is_finite() {
            metrics.record("losses/explained_variance", explained);
        }
        metrics.record("charts/learning_rate", self.config.learning_rate.at(self.step));
        self.update(metrics)?;
        self.rollout.clear();
        Ok(())
    }
}

impl Persist for Ppo {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let name = |part: &str| format!("{prefix}/{part}");
        self.actor.save(&name("actor"), state)?;
        self.critic.save(&name("critic"), state)?;
        if let Head::Gaussian { log_std, .. } = &self.head {
            log_std.save(&name("actor"), state)?;
        }
        self.optimizer.save(&name("optimizer"), state)?;
        if let Some(statistics) = &self.statistics {
            statistics.save(&name("statistics"), state)?;
        }
        self.rollout.save(&name("rollout"), state)?;
        self.envs.save(&name("envs"), state)?;
        state.put(name("rngs"), &(&self.act_rng, &self.shuffle_rng))?;
        state.put(name("step"), &self.step)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let name = |part: &str| format!("{prefix}/{part}");
        self.actor.load(&name("actor"), state)?;
        self.critic.load(&name("critic"), state)?;
        if let Head::Gaussian { log_std, .. } = &mut self.head {
            log_std.load(&name("actor"), state)?;
        }
        self.optimizer.load(&name("optimizer"), state)?;
        if let Some(statistics) = &mut self.statistics {
            statistics.load(&name("statistics"), state)?;
        }
        self.rollout.load(&name("rollout"), state)?;
        self.envs.load(&name("envs"), state)?;
        (self.act_rng, self.shuffle_rng) = state.get(&name("rngs"))?;
        self.step = state.get(&name("step"))?;
        Ok(())
    }
}
