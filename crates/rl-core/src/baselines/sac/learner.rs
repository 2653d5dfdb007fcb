//! What learns in soft actor-critic, wherever its transitions come from: actor, critics, targets and temperature.

use super::squashed::{sample_squashed, sample_with_gradient};
use super::{SacConfig, Temperature, actor_loss, critic_loss, soft_targets};
use crate::baselines::collector::Bounds;
use crate::buffer::TransitionBatch;
use crate::env::Space;
use crate::evaluate::Turn;
use crate::experiment::{Metrics, Persist, TrainState};
use crate::nn::kernel::Real;
use crate::nn::mlp::Workspace;
use crate::nn::params::Layout;
use crate::nn::{Mlp, MlpConfig, Params, fused_loss};
use crate::optim::{Clip, Optimizer, OptimizerConfig, backward, polyak};
use crate::{Result, SeedStream, StreamRng};
use candle_core::{DType, Device, Tensor};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

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

/// Actor, critics, their targets and the temperature, with their optimisers.
pub struct SoftActorCritic {
    tau: f64,
    actions: usize,
    bounds: Bounds,
    actor: Mlp,
    critics: [Mlp; 2],
    targets: [Mlp; 2],
    actor_optimizer: Optimizer,
    critic_optimizer: Optimizer,
    alpha: Alpha,
    rng: StreamRng,
    scratch: Scratch,
}

/// Buffers reused between steps; they influence nothing.
#[derive(Default)]
struct Scratch {
    inputs: Vec<f32>,
    actor: Workspace<f32>,
    critics: [Workspace<f32>; 2],
}

impl SoftActorCritic {
    /// Untrained networks for observations of a width and a bounded box of actions. Of the configuration, what concerns
    /// collecting and replay plays no part.
    ///
    /// # Errors
    /// If the configuration or the action space does not fit.
    pub fn new(
        config: &SacConfig,
        (observation, space): (usize, &Space),
        seeds: SeedStream,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let (bounds, actions) = (Bounds::new(space, "sac")?, space.width());
        let rng = &mut seeds.stream("init", 0);
        let actor = Mlp::new(&MlpConfig::relu(observation, &config.hidden, 2 * actions), device, rng)?;
        let mut critic = || Mlp::new(&MlpConfig::relu(observation + actions, &config.hidden, 1), device, rng);
        let critics = [critic()?, critic()?];
        let adam = OptimizerConfig::adam(config.learning_rate, 1e-8, Clip::None);
        Ok(Self {
            tau: config.tau,
            actions,
            bounds,
            actor_optimizer: Optimizer::new(adam, &[actor.params()])?,
            critic_optimizer: Optimizer::new(adam, &[critics[0].params(), critics[1].params()])?,
            targets: [critics[0].duplicate()?, critics[1].duplicate()?],
            actor,
            critics,
            alpha: Alpha::new(config, actions, device)?,
            rng: seeds.stream("update", 0),
            scratch: Scratch::default(),
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

    /// Actions in (−1, 1) for observations `[N, D]`, from the noise behind them `[N, A]`, appended to `actions`.
    ///
    /// # Errors
    /// If the observations do not fit.
    pub fn sample(&mut self, observations: &[f32], noise: &[f32], actions: &mut Vec<f32>) -> Result<()> {
        let outputs = self.actor.predict(observations, &mut self.scratch.actor)?;
        for row in sample_squashed(outputs, noise, self.actions).chunks_exact(self.actions + 1) {
            actions.extend_from_slice(&row[..self.actions]);
        }
        Ok(())
    }

    /// Stretches actions in (−1, 1) to the bounds, `[N, A]` in place.
    pub fn stretch(&self, actions: &mut [f32]) {
        self.bounds.stretch(actions);
    }

    /// One step of critics, actor, temperature and targets on a minibatch (algorithm 1).
    ///
    /// # Errors
    /// If the minibatch does not fit the networks.
    pub fn update(&mut self, batch: &TransitionBatch<f32>, metrics: &mut Metrics) -> Result<()> {
        let alpha = self.alpha.value()?;
        let critic_loss = self.update_critics(batch, alpha)?;
        let (actor_loss, mean_log_prob) = self.update_actor(batch, alpha)?;
        self.alpha.update(mean_log_prob)?;
        for (target, critic) in self.targets.iter().zip(&self.critics) {
            polyak(target.params(), critic.params(), self.tau)?;
        }
        metrics.record("losses/qf_loss", critic_loss);
        metrics.record("losses/actor_loss", actor_loss);
        metrics.record("losses/alpha", f64::from(alpha));
        metrics.record("losses/entropy", -mean_log_prob);
        Ok(())
    }

    fn update_critics(&mut self, batch: &TransitionBatch<f32>, alpha: f32) -> Result<f64> {
        let Scratch { inputs, actor, critics } = &mut self.scratch;
        let (b, a) = (batch.rewards.len(), self.actions);
        let noise = standard_normal(b * a, &mut self.rng);
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
    fn update_actor(&mut self, batch: &TransitionBatch<f32>, alpha: f32) -> Result<(f64, f64)> {
        let (b, a) = (batch.rewards.len(), self.actions);
        let device = self.actor.params().var().device();
        let observations = Tensor::from_slice(&batch.observations, (b, self.actor.inputs()), device)?;
        let noise = standard_normal(b * a, &mut self.rng);
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

impl Persist for SoftActorCritic {
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
        state.put(name("update_rng"), &self.rng)
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
        self.rng = state.get(&name("update_rng"))?;
        Ok(())
    }
}
