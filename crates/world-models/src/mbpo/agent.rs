//! The agent: act, learn the model, branch, learn the policy (Janner et al. 2019, algorithm 2).

use crate::checks::{at_least_one, not_negative};
use crate::pets::{Dynamics, DynamicsConfig, EnsembleConfig, EnsembleModel, Propagation, RolloutConfig};
use crate::planning::Model;
use crate::{Error as CrateError, Result};
use candle_core::Device;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::baselines::{SacConfig, SoftActorCritic};
use rl_core::buffer::{ReplayBuffer, ReplayConfig, TrainRatio, Transition, TransitionBatch};
use rl_core::env::{Action, Actions, Env};
use rl_core::evaluate::Turn;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::schedule::Schedule;
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// How much to collect, to imagine and to learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MbpoConfig {
    /// Environment steps in all.
    pub steps: u64,
    /// Steps with random actions at the beginning.
    pub random_steps: u64,
    /// M, branches per environment step (MBPO: 400).
    pub branches: usize,
    /// k, imagined steps of a branch, over the environment's steps (MBPO: 1, or growing linearly to 5, 15 or 25).
    pub branch_length: Schedule,
    /// G, updates of the policy per environment step (MBPO: 20 to 40).
    pub updates_per_step: f64,
    /// Share of a minibatch that the environment paid for (MBPO: 0.05).
    pub real_share: f64,
    /// Imagined transitions kept (MBPO: those of the last rounds of the model).
    pub imagined: usize,
    /// The model.
    pub dynamics: DynamicsConfig,
    /// The policy; what concerns collecting, replay and the rhythm of updates plays no part.
    pub sac: SacConfig,
}

impl Default for MbpoConfig {
    fn default() -> Self {
        let ensemble = EnsembleConfig { members: 7, elites: 5, ..EnsembleConfig::default() };
        Self {
            steps: 5000,
            random_steps: 200,
            branches: 100,
            branch_length: Schedule::Constant(1.0),
            updates_per_step: 20.0,
            real_share: 0.05,
            imagined: 100_000,
            dynamics: DynamicsConfig { ensemble, holdout: 0.2, ..DynamicsConfig::default() },
            sac: SacConfig::default(),
        }
    }
}

impl MbpoConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let whole = [
            ("steps", self.steps),
            ("random_steps", self.random_steps),
            ("branches", self.branches as u64),
            ("imagined", self.imagined as u64),
        ];
        at_least_one("mbpo", whole)?;
        not_negative("mbpo", [("updates_per_step", self.updates_per_step)])?;
        if !(0.0..=1.0).contains(&self.real_share) {
            return Err(Error::config("mbpo", "real_share", self.real_share, "in [0, 1]").into());
        }
        self.branch_length.validate()?;
        self.dynamics.validate()?;
        Ok(self.sac.validate()?)
    }

    /// k at a step: at least one.
    fn length(&self, step: u64) -> usize {
        self.branch_length.at(step).round().max(1.0) as usize
    }
}

/// Soft actor-critic on branches of a learned model.
pub struct Mbpo {
    config: MbpoConfig,
    env: Box<dyn Env>,
    dynamics: Dynamics,
    model: Option<EnsembleModel>,
    policy: SoftActorCritic,
    imagined: ReplayBuffer,
    ratio: TrainRatio,
    observation: Vec<f32>,
    step: u64,
    episode_return: f64,
    episode_length: u64,
    act_rng: StreamRng,
    imagine_rng: StreamRng,
    replay_rng: StreamRng,
    batch: TransitionBatch<f32>,
}

/// Another elite at every step, noise drawn, no bonus (Janner et al. 2019, section 5).
fn rollout() -> RolloutConfig {
    RolloutConfig { propagation: Propagation::Each, sample: true, disagreement: 0.0 }
}

impl Mbpo {
    /// An agent for an environment, which it resets with a seed of its own.
    ///
    /// # Errors
    /// If the configuration does not suit the environment.
    pub fn new(
        config: MbpoConfig,
        mut env: Box<dyn Env>,
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let spec = env.spec().clone();
        let (width, action) = (spec.observation.width(), spec.action.width());
        let sizes = ReplayConfig {
            capacity: config.imagined,
            streams: 1,
            observation: width,
            action,
            share_next: false,
        };
        let mut observation = vec![0.0; width];
        env.reset(Some(seeds.derive("env", 0)), &mut observation)?;
        Ok(Self {
            dynamics: Dynamics::new(&config.dynamics, (width, action), device, seeds)?,
            model: None,
            policy: SoftActorCritic::new(&config.sac, (width, &spec.action), seeds, device)?,
            imagined: ReplayBuffer::new(sizes)?,
            ratio: TrainRatio::new(config.updates_per_step, 1)?,
            env,
            observation,
            step: 0,
            episode_return: 0.0,
            episode_length: 0,
            act_rng: seeds.stream("act", 0),
            imagine_rng: seeds.stream("imagine", 0),
            replay_rng: seeds.stream("replay", 0),
            batch: TransitionBatch::default(),
            config,
        })
    }

    /// The deterministic policy, for [`evaluate`](rl_core::evaluate::evaluate()).
    pub fn policy(&self) -> impl FnMut(&Turn<'_>, &mut [f32]) -> rl_core::Result<()> {
        self.policy.policy()
    }

    /// One step of the environment, its transition given to the model.
    fn collect(&mut self, metrics: &mut Metrics) -> Result<()> {
        let (rng, width) = (&mut self.act_rng, self.env.spec().action.width());
        let mut action = vec![];
        if self.step < self.config.random_steps {
            action.extend((0..width).map(|_| 2.0 * rng.random::<f32>() - 1.0));
        } else {
            self.policy.sample(&self.observation, &standard_normal(width, rng), &mut action)?;
        }
        let mut stretched = action.clone();
        self.policy.stretch(&mut stretched);
        let before = self.observation.clone();
        let result = self.env.step(Action::Continuous(&stretched), &mut self.observation)?;
        self.step += 1;
        self.episode_return += result.reward;
        self.episode_length += 1;
        let pair = (&before[..], &action[..]);
        self.dynamics.push(0, pair, result.reward as f32, &self.observation, result.terminated)?;
        if result.done() {
            self.dynamics.end_episode(0);
            metrics.record("charts/episodic_return", self.episode_return);
            metrics.record("charts/episodic_length", self.episode_length as f64);
            (self.episode_return, self.episode_length) = (0.0, 0);
            self.env.reset(None, &mut self.observation)?;
        }
        Ok(())
    }

    /// Branches from states that the environment has shown, into the imagined transitions.
    fn branch(&mut self) -> Result<()> {
        let Some(model) = &self.model else { return Ok(()) };
        let (rows, rng) = (self.config.branches, &mut self.imagine_rng);
        let (width, a) = (self.observation.len(), self.env.spec().action.width());
        let mut particles = model.batch();
        model.start(&mut particles, rows);
        let experience = self.dynamics.experience();
        for row in particles.observations_mut().chunks_exact_mut(width) {
            if let Some(from) = experience.get(rng.random_range(0..experience.len())) {
                row.copy_from_slice(from.observation);
            }
        }
        let (mut rewards, mut continues) = (vec![0.0; rows], vec![0.0; rows]);
        let mut alive = vec![true; rows];
        for _ in 0..self.config.length(self.step) {
            let before = particles.observations().to_vec();
            let mut actions = Vec::with_capacity(rows * a);
            self.policy.sample(&before, &standard_normal(rows * a, rng), &mut actions)?;
            model.step(&mut particles, Actions::Continuous(&actions), rng, &mut rewards, &mut continues)?;
            for (i, next) in particles.observations().chunks_exact(width).enumerate() {
                let terminated = rng.random::<f32>() >= continues[i];
                alive[i] &= rewards[i].is_finite() && next.iter().all(|o| o.is_finite());
                if alive[i] {
                    self.imagined.push(
                        0,
                        &Transition {
                            observation: &before[i * width..][..width],
                            action: &actions[i * a..][..a],
                            reward: rewards[i],
                            next_observation: next,
                            terminated,
                            truncated: false,
                            discount: self.config.sac.gamma as f32,
                        },
                    )?;
                }
                alive[i] &= !terminated;
            }
            if !alive.contains(&true) {
                break;
            }
        }
        Ok(())
    }

    /// One update of the policy on a minibatch of imagined and a few real transitions.
    fn update(&mut self, metrics: &mut Metrics) -> Result<()> {
        let (rng, rows) = (&mut self.replay_rng, self.config.sac.batch_size);
        let real = (self.config.real_share * rows as f64).round() as usize;
        let batch = &mut self.batch;
        self.imagined.sample(rows - real, rng, batch)?;
        let experience = self.dynamics.experience();
        for _ in 0..real {
            let Some(step) = experience.get(rng.random_range(0..experience.len())) else { continue };
            batch.observations.extend_from_slice(step.observation);
            batch.actions.extend_from_slice(step.action);
            batch.rewards.push(step.reward);
            batch.next_observations.extend_from_slice(step.next_observation);
            batch.terminated.push(step.terminated);
            batch.truncated.push(false);
            batch.discounts.push(self.config.sac.gamma as f32);
        }
        Ok(self.policy.update(batch, metrics)?)
    }
}

/// n independent N(0, 1) numbers.
fn standard_normal(n: usize, rng: &mut impl Rng) -> Vec<f32> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

impl Trainer for Mbpo {
    type Error = CrateError;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.steps
    }

    /// One step of the environment, the model's updates that are due after it, its branches and the policy's updates.
    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.collect(metrics)?;
        if self.step < self.config.random_steps {
            // The model's updates of the random steps are made at their end, on all of them.
            return Ok(());
        }
        let before = if self.step == self.config.random_steps { 0 } else { self.step - 1 };
        if self.dynamics.learn(before, self.step, metrics)? || self.model.is_none() {
            self.model = Some(self.dynamics.snapshot(&rollout(), 1)?);
        }
        self.branch()?;
        if self.imagined.is_empty() {
            return Ok(());
        }
        for _ in 0..self.ratio.updates_after(1) {
            self.update(metrics)?;
        }
        Ok(())
    }
}

impl Persist for Mbpo {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.dynamics.save(&at("dynamics"), state)?;
        state.put(at("modelled"), &self.model.is_some())?;
        if let Some(model) = &self.model {
            model.save(&at("model"), state)?;
        }
        self.policy.save(&at("policy"), state)?;
        self.imagined.save(&at("imagined"), state)?;
        self.ratio.save(&at("ratio"), state)?;
        state.put(at("env"), &self.env.save()?)?;
        state.put_array(at("observation"), &[self.observation.len()], &self.observation);
        state.put(at("counters"), &(self.step, self.episode_return, self.episode_length))?;
        state.put(at("rngs"), &(&self.act_rng, &self.imagine_rng, &self.replay_rng))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.dynamics.load(&at("dynamics"), state)?;
        self.model = None;
        if state.get(&at("modelled"))? {
            let mut model = self.dynamics.snapshot(&rollout(), 1)?;
            model.load(&at("model"), state)?;
            self.model = Some(model);
        }
        self.policy.load(&at("policy"), state)?;
        self.imagined.load(&at("imagined"), state)?;
        self.ratio.load(&at("ratio"), state)?;
        self.env.load(&state.get(&at("env"))?)?;
        let observation = state.array(&at("observation"), &[self.observation.len()])?;
        self.observation.copy_from_slice(observation);
        (self.step, self.episode_return, self.episode_length) = state.get(&at("counters"))?;
        (self.act_rng, self.imagine_rng, self.replay_rng) = state.get(&at("rngs"))?;
        Ok(())
    }
}
