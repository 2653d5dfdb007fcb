//! The agent and its training: advantage actor-critic with n-step returns, and a rollout policy that imitates the policy
//! (Weber et al. 2017, appendix A).

use super::imagination::{Imagination, Rollouts, draw};
use super::network::{Network, NetworkConfig};
use crate::checks::{at_least_one, not_negative};
use crate::{Error as CrateError, Result};
use candle_core::{D, DType, Device, Tensor};
use rl_core::baselines::Collector;
use rl_core::env::{Env, Space};
use rl_core::evaluate::Turn;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::nn::ops::{log_softmax, one_hot};
use rl_core::optim::{Clip, Method, Optimizer, OptimizerConfig, backward};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// How the agent imagines and learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct I2aConfig {
    /// Environment steps in all.
    pub steps: u64,
    /// τ, the depth of a rollout (paper: 5 in Sokoban, 3 about as good).
    pub depth: usize,
    /// Steps of every environment between two updates (A3C: 5).
    pub rollout: usize,
    /// Discount γ.
    pub gamma: f64,
    /// Step size of RMSprop at the beginning; it falls linearly to zero.
    pub learning_rate: f64,
    /// Largest global norm of the gradient.
    pub clip: f64,
    /// Weight of the policy's entropy.
    pub entropy: f64,
    /// Weight of the value's squared error.
    pub value: f64,
    /// Weight of the distillation: cross-entropy of the rollout policy to the policy.
    pub distill: f64,
    /// The networks.
    pub network: NetworkConfig,
}

impl Default for I2aConfig {
    fn default() -> Self {
        Self {
            steps: 100_000,
            depth: 3,
            rollout: 5,
            gamma: 0.99,
            learning_rate: 1e-3,
            clip: 1.0,
            entropy: 0.01,
            value: 0.5,
            distill: 0.01,
            network: NetworkConfig::default(),
        }
    }
}

impl I2aConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        at_least_one("i2a", [("depth", self.depth as u64), ("rollout", self.rollout as u64)])?;
        if !(0.0..=1.0).contains(&self.gamma) {
            return Err(Error::config("i2a", "gamma", self.gamma, "in [0, 1]").into());
        }
        let weights = [
            ("clip", self.clip),
            ("entropy", self.entropy),
            ("value", self.value),
            ("distill", self.distill),
        ];
        not_negative("i2a", weights)
    }
}

/// What a stretch of steps left behind, time-major.
#[derive(Default)]
struct Stretch {
    observations: Vec<f32>,
    /// One per time step.
    rollouts: Vec<Rollouts>,
    actions: Vec<u32>,
    rewards: Vec<f32>,
    done: Vec<bool>,
}

/// The terms of the loss, each a scalar tensor.
pub struct Losses {
    /// What is minimised.
    pub total: Tensor,
    /// −mean ln π(a|o) (R − V).
    pub policy: Tensor,
    /// ½ mean (R − V)².
    pub value: Tensor,
    /// Mean entropy of the policy.
    pub entropy: Tensor,
    /// Mean cross-entropy of the rollout policy to the policy.
    pub distill: Tensor,
}

/// The imagination-augmented agent.
pub struct I2a {
    config: I2aConfig,
    imagination: Imagination,
    network: Network,
    optimizer: Optimizer,
    envs: Collector,
    width: usize,
    actions: usize,
    /// Rollouts from the present observations.
    present: Rollouts,
    step: u64,
    act_rng: StreamRng,
    device: Device,
}

/// R_t = r_t + γ R_{t+1} within an episode, time-major `[T, N]`, from the values after the last step `[N]`.
pub fn n_step_returns(rewards: &[f32], done: &[bool], last: &[f32], gamma: f32) -> Vec<f32> {
    let n = last.len();
    let mut returns = rewards.to_vec();
    for i in (0..rewards.len()).rev() {
        let next = if i + n < rewards.len() { returns[i + n] } else { last[i + n - rewards.len()] };
        returns[i] += if done[i] { 0.0 } else { gamma * next };
    }
    returns
}

impl I2a {
    /// An agent on copies of a grid world with discrete actions.
    ///
    /// # Errors
    /// If the configuration or the environments do not fit.
    pub fn new(
        config: I2aConfig,
        imagination: Imagination,
        copies: Vec<Box<dyn Env>>,
        seeds: SeedStream,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let envs = Collector::new(copies, seeds.derive("env", 0))?;
        let Space::Discrete(actions) = envs.spec().action else {
            return Err(Error::shape("I2a::new", "discrete actions", &envs.spec().action).into());
        };
        let width = envs.spec().observation.width();
        let imagines = !matches!(imagination, Imagination::None);
        let mut rng = seeds.stream("init", 0);
        let network = Network::new(&config.network, (width, actions), imagines, device, &mut rng)?;
        let rms = Method::RmsProp { alpha: 0.99, eps: 1e-5, momentum: 0.0, centered: false };
        let optimizer = OptimizerConfig {
            method: rms,
            learning_rate: config.learning_rate,
            clip: Clip::GlobalNorm(config.clip),
            warm_up: 0,
        };
        let optimizer = Optimizer::new(optimizer, &network.modules())?;
        let mut agent = Self {
            config,
            imagination,
            network,
            optimizer,
            envs,
            width,
            actions,
            present: Rollouts::default(),
            step: 0,
            act_rng: seeds.stream("act", 0),
            device: device.clone(),
        };
        agent.present = agent.imagine_present()?;
        Ok(agent)
    }

    /// Number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.network.modules().iter().map(|p| p.len()).sum()
    }

    /// One rollout of every action from every observation `[N, O]`.
    ///
    /// # Errors
    /// If the observations do not fit.
    pub fn imagine(&self, observations: &[f32], rng: &mut StreamRng) -> Result<Rollouts> {
        let sizes = (self.width, self.actions);
        self.imagination.roll_out(observations, sizes, self.config.depth, &self.network.rollout_policy, rng)
    }

    fn imagine_present(&mut self) -> Result<Rollouts> {
        let mut rng = self.act_rng.clone();
        let rollouts = self.imagine(&self.envs.batch().observations, &mut rng)?;
        self.act_rng = rng;
        Ok(rollouts)
    }

    fn tensor(&self, observations: &[f32]) -> Result<Tensor> {
        let rows = observations.len() / self.width;
        Ok(Tensor::from_slice(observations, (rows, self.width), &self.device)?)
    }

    /// Logits and values of observations with their rollouts, without a graph that lives on.
    fn look(&self, observations: &[f32], rollouts: &Rollouts) -> Result<(Vec<f32>, Vec<f32>)> {
        let (logits, values) = self.network.forward(&self.tensor(observations)?, rollouts)?;
        Ok((logits.flatten_all()?.to_vec1()?, values.to_vec1()?))
    }

    /// The greedy policy, for [`evaluate`](rl_core::evaluate::evaluate()).
    pub fn policy(&self, mut rng: StreamRng) -> impl FnMut(&Turn<'_>, &mut [f32]) -> Result<()> {
        move |turn, actions| {
            let rollouts = self.imagine(turn.observations, &mut rng)?;
            let (logits, _) = self.look(turn.observations, &rollouts)?;
            for (action, row) in actions.iter_mut().zip(logits.chunks_exact(self.actions)) {
                *action = (0..row.len()).fold(0, |m, i| if row[i] > row[m] { i } else { m }) as f32;
            }
            Ok(())
        }
    }

    /// One step of all environments, kept in the stretch.
    fn collect(&mut self, stretch: &mut Stretch, metrics: &mut Metrics) -> Result<()> {
        let observations = self.envs.batch().observations.clone();
        let rollouts = std::mem::take(&mut self.present);
        let (logits, _) = self.look(&observations, &rollouts)?;
        let actions: Vec<f32> =
            logits.chunks_exact(self.actions).map(|row| draw(row, &mut self.act_rng) as f32).collect();
        self.envs.step(&actions, metrics)?;
        let batch = self.envs.batch();
        let mut rewards: Vec<f32> = batch.rewards.iter().map(|&r| r as f32).collect();
        let cut: Vec<usize> =
            (0..rewards.len()).filter(|&i| batch.truncated[i] && !batch.terminated[i]).collect();
        let done: Vec<bool> = (0..rewards.len()).map(|i| batch.done(i)).collect();
        // An episode that was cut off has a future: its value is part of the last reward.
        if !cut.is_empty() {
            let after: Vec<f32> = cut.iter().flat_map(|&i| batch.successor(i).to_vec()).collect();
            let mut rng = self.act_rng.clone();
            let imagined = self.imagine(&after, &mut rng)?;
            self.act_rng = rng;
            let (_, values) = self.look(&after, &imagined)?;
            cut.iter().zip(values).for_each(|(&i, v)| rewards[i] += self.config.gamma as f32 * v);
        }
        self.step += rewards.len() as u64;
        stretch.observations.extend(observations);
        stretch.rollouts.push(rollouts);
        stretch.actions.extend(actions.iter().map(|&a| a as u32));
        stretch.rewards.extend(rewards);
        stretch.done.extend(done);
        self.present = self.imagine_present()?;
        Ok(())
    }

    /// The loss on observations `[M, O]` with their rollouts, the actions taken `[M]` and the returns that followed.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn loss(
        &self,
        observations: &[f32],
        rollouts: &Rollouts,
        actions: &[u32],
        returns: Vec<f32>,
    ) -> Result<Losses> {
        let m = returns.len();
        let observations = self.tensor(observations)?;
        let (logits, values) = self.network.forward(&observations, rollouts)?;
        let returns = Tensor::from_vec(returns, m, &self.device)?;
        let log_probs = log_softmax(&logits)?;
        let taken = one_hot(&Tensor::from_slice(actions, m, &self.device)?, self.actions, DType::F32)?;
        let advantage = (&returns - values.detach())?;
        let policy = ((&log_probs * taken)?.sum(D::Minus1)? * advantage)?.mean_all()?.neg()?;
        let value = ((values - returns)?.sqr()?.mean_all()? * 0.5)?;
        let probabilities = log_probs.exp()?;
        let entropy = (&probabilities * &log_probs)?.sum(D::Minus1)?.mean_all()?.neg()?;
        let imitation = log_softmax(&self.network.rollout_policy.forward(&observations)?)?;
        let distill = (probabilities.detach() * imitation)?.sum(D::Minus1)?.mean_all()?.neg()?;
        let c = &self.config;
        let total =
            (((&policy + (&value * c.value)?)? - (&entropy * c.entropy)?)? + (&distill * c.distill)?)?;
        Ok(Losses { total, policy, value, entropy, distill })
    }

    /// One step of the optimiser on [`loss`](Self::loss).
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn update(
        &mut self,
        observations: &[f32],
        rollouts: &Rollouts,
        actions: &[u32],
        returns: Vec<f32>,
    ) -> Result<Losses> {
        let losses = self.loss(observations, rollouts, actions, returns)?;
        let (_, grads) = backward(&losses.total)?;
        let left = 1.0 - self.step as f64 / self.config.steps.max(1) as f64;
        self.optimizer.set_learning_rate(self.config.learning_rate * left.max(1e-3));
        self.optimizer.step(&grads)?;
        Ok(losses)
    }

    fn learn(&mut self, stretch: &Stretch, metrics: &mut Metrics) -> Result<()> {
        let (_, last) = self.look(&self.envs.batch().observations, &self.present)?;
        let returns = n_step_returns(&stretch.rewards, &stretch.done, &last, self.config.gamma as f32);
        let rollouts = Rollouts::join(&stretch.rollouts);
        let Losses { policy, value, entropy, distill, .. } =
            self.update(&stretch.observations, &rollouts, &stretch.actions, returns)?;
        let terms = [("policy", policy), ("value", value), ("entropy", entropy), ("distill", distill)];
        for (name, term) in terms {
            metrics.record(&format!("losses/{name}"), f64::from(term.to_scalar::<f32>()?));
        }
        Ok(())
    }
}

impl Trainer for I2a {
    type Error = CrateError;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.steps
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let mut stretch = Stretch::default();
        for _ in 0..self.config.rollout {
            self.collect(&mut stretch, metrics)?;
        }
        self.learn(&stretch, metrics)
    }
}

/// The model of the imagination is not the agent's: it has a checkpoint of its own.
impl Persist for I2a {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        for (name, params) in self.network.names().iter().zip(self.network.modules()) {
            params.save(&format!("{prefix}/{name}"), state)?;
        }
        self.optimizer.save(&format!("{prefix}/optimizer"), state)?;
        self.envs.save(&format!("{prefix}/envs"), state)?;
        let steps = &self.present.steps;
        state.put_array(format!("{prefix}/present"), &[steps.len()], steps);
        state.put(format!("{prefix}/depth"), &self.present.depth)?;
        state.put(format!("{prefix}/step"), &self.step)?;
        state.put(format!("{prefix}/rng"), &self.act_rng)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        for (name, params) in self.network.names().iter().zip(self.network.modules()) {
            params.clone().load(&format!("{prefix}/{name}"), state)?;
        }
        self.optimizer.load(&format!("{prefix}/optimizer"), state)?;
        self.envs.load(&format!("{prefix}/envs"), state)?;
        self.present.steps = state.array_of_any_shape(&format!("{prefix}/present"))?.to_vec();
        self.present.depth = state.get(&format!("{prefix}/depth"))?;
        self.step = state.get(&format!("{prefix}/step"))?;
        self.act_rng = state.get(&format!("{prefix}/rng"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
