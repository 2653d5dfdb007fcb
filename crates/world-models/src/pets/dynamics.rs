//! A learned model of the dynamics and what it learns from: the ensemble, the transitions, and how often it is updated.
//!
//! Agents differ in what they do with it: PETS plans in it, MBPO lets a policy act in it.

use super::ensemble::{Buffers, Ensemble, EnsembleConfig, Minibatch};
use super::experience::Experience;
use super::rollout::{EnsembleModel, RolloutConfig};
use crate::Result;
use crate::checks::{at_least_one, not_negative};
use candle_core::Device;
use rl_core::buffer::TrainRatio;
use rl_core::experiment::{Metrics, Persist, TrainState};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// The ensemble and how it learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DynamicsConfig {
    /// The ensemble.
    pub ensemble: EnsembleConfig,
    /// Updates per environment step.
    pub updates_per_step: f64,
    /// Environment steps between two rounds of updates (PETS: an episode; MBPO: 250).
    pub train_every: u64,
    /// Transitions per member and update (PETS: 32; MBPO: 256).
    pub batch: usize,
    /// Adam's step size (PETS, MBPO: 1e-3).
    pub learning_rate: f64,
    /// Share of the transitions that no member learns from and elites are chosen by (MBPO: 0.2).
    pub holdout: f64,
    /// h, steps by which a termination is announced: the transition k steps before it learns to end with probability
    /// e^(−k/h), so that a planner whose horizon is short sees danger before it is certain. 0: the terminating step alone.
    pub foresight: f64,
}

impl Default for DynamicsConfig {
    fn default() -> Self {
        Self {
            ensemble: EnsembleConfig::default(),
            updates_per_step: 4.0,
            train_every: 50,
            batch: 64,
            learning_rate: 1e-3,
            holdout: 0.0,
            foresight: 0.0,
        }
    }
}

impl DynamicsConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        at_least_one("dynamics", [("train_every", self.train_every), ("batch", self.batch as u64)])?;
        let rates = [
            ("updates_per_step", self.updates_per_step),
            ("learning_rate", self.learning_rate),
            ("foresight", self.foresight),
        ];
        not_negative("dynamics", rates)?;
        if !(0.0..1.0).contains(&self.holdout) {
            return Err(Error::config("dynamics", "holdout", self.holdout, "in [0, 1)").into());
        }
        if self.ensemble.elites < self.ensemble.members && self.holdout == 0.0 {
            let allowed = "positive where elites are chosen by it";
            return Err(Error::config("dynamics", "holdout", 0.0, allowed).into());
        }
        self.ensemble.validate()
    }
}

/// An ensemble that learns from the transitions it is given.
pub struct Dynamics {
    config: DynamicsConfig,
    ensemble: Ensemble,
    optimizer: Optimizer,
    experience: Experience,
    elites: Vec<usize>,
    ratio: TrainRatio,
    bootstrap_rng: StreamRng,
    sample_rng: StreamRng,
}

/// Held-out transitions by which elites are chosen.
const HELD_OUT: usize = 1000;

impl Dynamics {
    /// An untrained ensemble for observations and encoded actions of these widths.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(
        config: &DynamicsConfig,
        (observation, action): (usize, usize),
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let mut rng = seeds.stream("pets", 0);
        let sizes = (observation + action, observation + 1);
        let ensemble = Ensemble::new(&config.ensemble, sizes.0, sizes.1, device, &mut rng)?;
        let adam = OptimizerConfig::adam(config.learning_rate, 1e-8, Clip::None);
        Ok(Self {
            optimizer: Optimizer::new(adam, &[ensemble.params()])?,
            ensemble,
            experience: Experience::new(observation, action, config.ensemble.members),
            elites: (0..config.ensemble.elites).collect(),
            ratio: TrainRatio::new(config.updates_per_step, 1)?,
            bootstrap_rng: seeds.stream("bootstrap", 0),
            sample_rng: seeds.stream("sample", 0),
            config: config.clone(),
        })
    }

    /// All transitions seen.
    pub fn experience(&self) -> &Experience {
        &self.experience
    }

    /// The ensemble as it is now, for imagination. `particles` of a candidate stand in a row.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn snapshot(&self, config: &RolloutConfig, particles: usize) -> Result<EnsembleModel> {
        let units = (&self.experience.inputs, &self.experience.targets);
        let range = self.experience.reward_range();
        EnsembleModel::new(&self.ensemble, &self.elites, units, range, config, particles)
    }

    /// Takes a transition of environment `stream` in: (o, a), r, o', and whether the episode terminated.
    ///
    /// # Errors
    /// If a number is not finite.
    pub fn push(
        &mut self,
        stream: usize,
        pair: (&[f32], &[f32]),
        reward: f32,
        next_observation: &[f32],
        terminated: bool,
    ) -> Result<()> {
        let (holdout, rng) = (self.config.holdout, &mut self.bootstrap_rng);
        Ok(self.experience.push(stream, pair, reward, next_observation, terminated, holdout, rng)?)
    }

    /// The present episode of environment `stream` is over, for either reason.
    pub fn end_episode(&mut self, stream: usize) {
        self.experience.end_episode(stream, self.config.foresight);
    }

    /// Makes the updates that are owed after the environment has moved from step `before` to step `after`; whether
    /// there were any.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn learn(&mut self, before: u64, after: u64, metrics: &mut Metrics) -> Result<bool> {
        let every = self.config.train_every;
        let rounds = after / every - before / every;
        if rounds == 0 {
            return Ok(false);
        }
        let owed = self.ratio.updates_after(rounds * every);
        if owed == 0 || self.experience.len() <= self.experience.held_out() {
            return Ok(false);
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
        Ok(true)
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
}

impl Persist for Dynamics {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.ensemble.save(&at("ensemble"), state)?;
        self.optimizer.save(&at("optimizer"), state)?;
        self.experience.save(&at("experience"), state)?;
        self.ratio.save(&at("ratio"), state)?;
        state.put(at("elites"), &self.elites)?;
        state.put(at("rngs"), &(&self.bootstrap_rng, &self.sample_rng))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.ensemble.load(&at("ensemble"), state)?;
        self.optimizer.load(&at("optimizer"), state)?;
        self.experience.load(&at("experience"), state)?;
        self.ratio.load(&at("ratio"), state)?;
        self.elites = state.get(&at("elites"))?;
        (self.bootstrap_rng, self.sample_rng) = state.get(&at("rngs"))?;
        Ok(())
    }
}
