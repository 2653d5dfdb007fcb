//! Advantage actor–critic with circuits (after Kölle et al. 2024, arXiv:2401.07043): the actor by the policy gradient with
//! generalised advantages, the critic by squared error.
//!
//! Kölle et al. find that purely quantum actors and critics are weak and that an affine layer behind the measurement
//! mends it; [`Head::Affine`](super::Head::Affine) is that layer. Actor and critic are any two [`Model`]s.

use super::descent::{Descent, DescentConfig, Rates};
use super::episodes::{Copies, Episodes, Record, Solved, discrete_actions};
use super::model::Model;
use super::policy::Policy;
use crate::error::{Error, Result, same_length};
use rl_core::env::Env;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::returns::{Steps, gae};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// The defaults are this project's, for the control tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActorCriticConfig {
    /// Most episodes: 2000.
    pub episodes: u64,
    /// Discount γ: 0.99.
    pub gamma: f64,
    /// λ of generalised advantage estimation: 0.95.
    pub lambda: f64,
    /// Weight of the entropy bonus: 0.01, falling linearly to 0 over the episodes.
    pub entropy: f64,
    /// Softmax with β = 1.
    pub policy: Policy,
    /// AMSGrad, 0.02.
    pub actor: DescentConfig,
    /// AMSGrad, 0.05.
    pub critic: DescentConfig,
    /// Steps of the critic per batch of episodes: 4.
    pub critic_steps: u32,
    /// When to stop: at the end.
    pub solved: Option<Solved>,
}

impl Default for ActorCriticConfig {
    fn default() -> Self {
        Self {
            episodes: 2000,
            gamma: 0.99,
            lambda: 0.95,
            entropy: 0.01,
            policy: Policy::Softmax { beta: 1.0 },
            actor: DescentConfig::amsgrad(Rates::all(0.02)),
            critic: DescentConfig::amsgrad(Rates::all(0.05)),
            critic_steps: 4,
            solved: None,
        }
    }
}

impl ActorCriticConfig {
    /// # Errors
    /// Naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("gamma", self.gamma), ("lambda", self.lambda)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(rl_core::Error::config("actor_critic", field, value, "in [0, 1]").into());
            }
        }
        if !(self.entropy >= 0.0 && self.entropy.is_finite()) {
            return Err(rl_core::Error::config(
                "actor_critic",
                "entropy",
                self.entropy,
                "a number from 0 on",
            )
            .into());
        }
        self.policy.validate()?;
        self.actor.validate()?;
        self.critic.validate()
    }
}

/// A model with its parameters and optimiser.
struct Learner {
    model: Box<dyn Model>,
    parameters: Vec<f64>,
    descent: Descent,
    gradient: Vec<f64>,
}

impl Learner {
    fn new(model: Box<dyn Model>, config: DescentConfig, rng: &mut StreamRng) -> Self {
        let parameters = model.initial(rng);
        let descent = Descent::new(config, model.groups());
        Self { descent, gradient: vec![0.0; parameters.len()], model, parameters }
    }

    fn forward(&mut self, observations: &[f32], outputs: &mut Vec<f64>) -> Result<()> {
        let rows = observations.len() / self.model.observation().max(1);
        outputs.clear();
        outputs.resize(rows * self.model.outputs(), 0.0);
        self.model.forward(&self.parameters, observations, outputs)
    }

    fn step(&mut self, by_output: &[f64]) -> Result<()> {
        self.model.backward(by_output, &mut self.gradient)?;
        self.descent.step(&mut self.parameters, &self.gradient)
    }
}

impl Persist for Learner {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put_array(format!("{prefix}/parameters"), &[self.parameters.len()], &self.parameters);
        self.descent.save(&format!("{prefix}/descent"), state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let size = [self.parameters.len()];
        self.parameters.copy_from_slice(state.array(&format!("{prefix}/parameters"), &size)?);
        self.descent.load(&format!("{prefix}/descent"), state)
    }
}

/// The agent with its environments; one update per batch of episodes, one episode per copy.
pub struct ActorCritic {
    config: ActorCriticConfig,
    actor: Learner,
    critic: Learner,
    copies: Copies,
    rng: StreamRng,
    record: Record,
    step: u64,
}

impl ActorCritic {
    /// An untrained agent; the critic has one output.
    ///
    /// # Errors
    /// When the configuration, or models and environment, do not fit.
    pub fn new(
        config: ActorCriticConfig,
        (actor, critic): (Box<dyn Model>, Box<dyn Model>),
        copies: Vec<Box<dyn Env>>,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let copies = Copies::new(copies, seeds)?;
        discrete_actions(copies.spec(), actor.as_ref())?;
        same_length("critic", "outputs", 1, critic.outputs())?;
        same_length("critic", "observed numbers", actor.observation(), critic.observation())?;
        Ok(Self {
            actor: Learner::new(actor, config.actor, &mut seeds.stream("init", 0)),
            critic: Learner::new(critic, config.critic, &mut seeds.stream("init", 1)),
            rng: seeds.stream("act", 0),
            record: Record::default(),
            step: 0,
            config,
            copies,
        })
    }

    /// The returns so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The actor and its present parameters.
    pub fn policy(&mut self) -> (&mut dyn Model, &[f64]) {
        (self.actor.model.as_mut(), &self.actor.parameters)
    }

    /// Advantages and the critic's targets, `[T]` each.
    fn targets(&mut self, episodes: &Episodes) -> Result<(Vec<f64>, Vec<f64>)> {
        let (mut values, mut last) = (vec![], vec![]);
        self.critic.forward(&episodes.last, &mut last)?;
        self.critic.forward(&episodes.observations, &mut values)?;
        let (steps, mut next_values) = (episodes.steps(), values[1..].to_vec());
        next_values.push(0.0);
        let (mut terminated, mut truncated) = (vec![false; steps], vec![false; steps]);
        for (e, end) in episodes.ends.iter().enumerate() {
            next_values[end - 1] = last[e];
            terminated[end - 1] = episodes.terminated[e];
            truncated[end - 1] = !episodes.terminated[e];
        }
        let steps = Steps {
            batch: 1,
            rewards: &episodes.rewards,
            next_values: &next_values,
            terminated: &terminated,
            truncated: &truncated,
        };
        let advantages = gae(&steps, &values, self.config.gamma, self.config.lambda)?;
        let targets = advantages.iter().zip(&values).map(|(a, v)| a + v).collect();
        Ok((advantages, targets))
    }

    fn update(&mut self, episodes: &Episodes, metrics: &mut Metrics) -> Result<()> {
        let (advantages, targets) = self.targets(episodes)?;
        let n = episodes.steps() as f64;
        let left = 1.0 - self.record.episodes() as f64 / self.config.episodes.max(1) as f64;
        let entropy = self.config.entropy * left.max(0.0);
        let (mut outputs, actions) = (vec![], self.actor.model.outputs());
        self.actor.forward(&episodes.observations, &mut outputs)?;
        let mut by_output = vec![0.0; outputs.len()];
        let rows = outputs.chunks_exact_mut(actions).zip(by_output.chunks_exact_mut(actions));
        for (t, (row, by_output)) in rows.enumerate() {
            self.config.policy.probabilities(row);
            let weight = advantages[t] / n;
            self.config.policy.pull_back(row, episodes.actions[t], weight, entropy / n, by_output);
        }
        self.actor.step(&by_output)?;
        for _ in 0..self.config.critic_steps {
            self.critic.forward(&episodes.observations, &mut outputs)?;
            let errors: Vec<f64> = outputs.iter().zip(&targets).map(|(v, y)| v - y).collect();
            metrics.record("losses/value", errors.iter().map(|e| e * e).sum::<f64>() / n);
            self.critic.step(&errors.iter().map(|e| 2.0 * e / n).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

impl Trainer for ActorCritic {
    type Error = Error;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        let done = self.record.solved_at().is_some() || self.record.episodes() >= self.config.episodes;
        let longest = self.copies.spec().max_episode_steps.unwrap_or(1000);
        if done { self.step } else { (self.config.episodes * u64::from(longest)).max(self.step + 1) }
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let Self { actor, copies, config, rng, .. } = self;
        let episodes = copies.play(actor.model.as_mut(), &actor.parameters, config.policy, rng)?;
        for range in episodes.ranges() {
            let (total, length) = (episodes.rewards[range.clone()].iter().sum(), range.len() as u64);
            self.record.push(total, length, self.config.solved, metrics);
        }
        self.step += episodes.steps() as u64;
        self.update(&episodes, metrics)
    }
}

impl Persist for ActorCritic {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put(format!("{prefix}/step"), &self.step)?;
        state.put(format!("{prefix}/rng"), &self.rng)?;
        self.actor.save(&format!("{prefix}/actor"), state)?;
        self.critic.save(&format!("{prefix}/critic"), state)?;
        self.record.save(&format!("{prefix}/record"), state)?;
        self.copies.save(&format!("{prefix}/copies"), state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.step = state.get(&format!("{prefix}/step"))?;
        self.rng = state.get(&format!("{prefix}/rng"))?;
        self.actor.load(&format!("{prefix}/actor"), state)?;
        self.critic.load(&format!("{prefix}/critic"), state)?;
        self.record.load(&format!("{prefix}/record"), state)?;
        self.copies.load(&format!("{prefix}/copies"), state)
    }
}
