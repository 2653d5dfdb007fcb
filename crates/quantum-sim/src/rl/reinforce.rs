//! REINFORCE (Williams 1992) with a circuit as policy (Jerbi et al. 2021, arXiv:2103.05577; the TensorFlow Quantum tutorial).
//!
//! A batch of episodes is played side by side; the loss is −1/E Σ_e Σ_t G_t log π(a_t|s_t) with returns-to-go G that are
//! normalised within each episode (mean 0, standard deviation 1), which serves as the baseline.

use super::descent::{Descent, DescentConfig, Rates};
use super::episodes::{Copies, Episodes, Record, Solved, discrete_actions};
use super::model::Model;
use super::policy::Policy;
use crate::error::{Error, Result};
use rl_core::env::Env;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// The defaults are the tutorial's (CartPole-v1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReinforceConfig {
    /// Most episodes: 1000.
    pub episodes: u64,
    /// Discount γ: 1.
    pub gamma: f64,
    /// Softmax with β = 1.
    pub policy: Policy,
    /// AMSGrad; angles 0.01, scalings and output weights 0.1.
    pub descent: DescentConfig,
    /// Normalise returns within each episode: true.
    pub normalize_returns: bool,
    /// Stop when the mean of 10 episodes is 500.
    pub solved: Option<Solved>,
}

impl Default for ReinforceConfig {
    fn default() -> Self {
        Self {
            episodes: 1000,
            gamma: 1.0,
            policy: Policy::Softmax { beta: 1.0 },
            descent: DescentConfig::amsgrad(Rates { angle: 0.01, scaling: 0.1, output: 0.1 }),
            normalize_returns: true,
            solved: Some(Solved { window: 10, mean: 500.0 }),
        }
    }
}

impl ReinforceConfig {
    /// # Errors
    /// Naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.gamma) {
            return Err(rl_core::Error::config("reinforce", "gamma", self.gamma, "in [0, 1]").into());
        }
        self.policy.validate()?;
        self.descent.validate()
    }
}

/// The agent with its environments; one update per batch of episodes, one episode per copy.
pub struct Reinforce {
    config: ReinforceConfig,
    model: Box<dyn Model>,
    parameters: Vec<f64>,
    descent: Descent,
    copies: Copies,
    rng: StreamRng,
    record: Record,
    step: u64,
    gradient: Vec<f64>,
}

impl Reinforce {
    /// An untrained agent; each of the `copies` plays one episode of a batch (the tutorial: 10).
    ///
    /// # Errors
    /// When the configuration, or model and environment, do not fit.
    pub fn new(
        config: ReinforceConfig,
        model: Box<dyn Model>,
        copies: Vec<Box<dyn Env>>,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let copies = Copies::new(copies, seeds)?;
        discrete_actions(copies.spec(), model.as_ref())?;
        let parameters = model.initial(&mut seeds.stream("init", 0));
        Ok(Self {
            descent: Descent::new(config.descent, model.groups()),
            gradient: vec![0.0; parameters.len()],
            rng: seeds.stream("act", 0),
            record: Record::default(),
            step: 0,
            config,
            model,
            parameters,
            copies,
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

    fn update(&mut self, episodes: &Episodes) -> Result<()> {
        let Self { config, model, parameters, descent, gradient, .. } = self;
        let weights = returns_to_go(episodes, config.gamma, config.normalize_returns);
        let actions = model.outputs();
        let mut outputs = vec![0.0; episodes.steps() * actions];
        model.forward(parameters, &episodes.observations, &mut outputs)?;
        let mut by_output = vec![0.0; outputs.len()];
        let count = episodes.ends.len() as f64;
        let rows = outputs.chunks_exact_mut(actions).zip(by_output.chunks_exact_mut(actions));
        for (t, (row, by_output)) in rows.enumerate() {
            config.policy.probabilities(row);
            config.policy.pull_back(row, episodes.actions[t], weights[t] / count, 0.0, by_output);
        }
        model.backward(&by_output, gradient)?;
        descent.step(parameters, gradient)
    }
}

/// G_t = Σ_k γᵏ r_{t+k} of each episode, `[T]`, normalised within the episode if asked for.
pub(super) fn returns_to_go(episodes: &Episodes, gamma: f64, normalize: bool) -> Vec<f64> {
    let mut returns = episodes.rewards.clone();
    for range in episodes.ranges() {
        let episode = &mut returns[range];
        for t in (0..episode.len().saturating_sub(1)).rev() {
            episode[t] += gamma * episode[t + 1];
        }
        if normalize {
            let n = episode.len() as f64;
            let mean = episode.iter().sum::<f64>() / n;
            let sd = (episode.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n).sqrt();
            episode.iter_mut().for_each(|g| *g = (*g - mean) / (sd + 1e-8));
        }
    }
    returns
}

impl Trainer for Reinforce {
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
        let Self { model, parameters, copies, config, rng, .. } = self;
        let episodes = copies.play(model.as_mut(), parameters, config.policy, rng)?;
        for range in episodes.ranges() {
            let (total, length) = (episodes.rewards[range.clone()].iter().sum(), range.len() as u64);
            self.record.push(total, length, self.config.solved, metrics);
        }
        self.step += episodes.steps() as u64;
        self.update(&episodes)
    }
}

impl Persist for Reinforce {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put_array(format!("{prefix}/parameters"), &[self.parameters.len()], &self.parameters);
        state.put(format!("{prefix}/step"), &self.step)?;
        state.put(format!("{prefix}/rng"), &self.rng)?;
        self.descent.save(&format!("{prefix}/descent"), state)?;
        self.record.save(&format!("{prefix}/record"), state)?;
        self.copies.save(&format!("{prefix}/copies"), state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let size = [self.parameters.len()];
        self.parameters.copy_from_slice(state.array(&format!("{prefix}/parameters"), &size)?);
        self.step = state.get(&format!("{prefix}/step"))?;
        self.rng = state.get(&format!("{prefix}/rng"))?;
        self.descent.load(&format!("{prefix}/descent"), state)?;
        self.record.load(&format!("{prefix}/record"), state)?;
        self.copies.load(&format!("{prefix}/copies"), state)
    }
}
