//! The agent: collect, replay, learn the model, dream, learn to act.

use super::behaviour::{Behaviour, BehaviourConfig, BehaviourLosses, executed};
use super::model::{ModelLosses, Sequences, WorldModel, WorldModelConfig};
use super::rollout::Latents;
use crate::{Error as CrateError, Result};
use candle_core::Device;
use rl_core::baselines::Collector;
use rl_core::buffer::{Field, FieldRow, SequenceBatch, SequenceBuffer, SequenceConfig, StepEnds, TrainRatio};
use rl_core::env::{Env, Space};
use rl_core::evaluate::Turn;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::optim::{Clip, Method, Optimizer, OptimizerConfig, backward};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How much to collect and how to learn. The defaults are for small tasks on two cores; the reference's are noted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DreamerConfig {
    /// Environment steps in all, over all environments.
    pub steps: u64,
    /// Steps that are stored at most, over all environments (reference: 5e6).
    pub capacity: usize,
    /// Replayed steps per environment step (reference: 32 to 1024).
    pub train_ratio: f64,
    /// B, windows per update (reference: 16).
    pub batch: usize,
    /// T, trained steps per window, after one step of context (reference: 64).
    pub length: usize,
    /// LaProp's step size (reference: 4e-5 for its widths).
    pub learning_rate: f64,
    /// Updates over which the step size rises from zero (reference: 1000).
    pub warm_up: u64,
    /// Largest ratio of a gradient's norm to its weights' norm (reference: 0.3).
    pub adaptive_clip: f64,
    /// The world model.
    pub model: WorldModelConfig,
    /// Actor and critic.
    pub behaviour: BehaviourConfig,
}

impl Default for DreamerConfig {
    fn default() -> Self {
        Self {
            steps: 10_000,
            capacity: 100_000,
            train_ratio: 64.0,
            batch: 8,
            length: 32,
            learning_rate: 4e-4,
            warm_up: 100,
            adaptive_clip: 0.3,
            model: WorldModelConfig::default(),
            behaviour: BehaviourConfig::default(),
        }
    }
}

impl DreamerConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let least = [("batch", self.batch), ("length", self.length), ("capacity", self.capacity)];
        for (field, value) in least {
            if value < 2 && field != "batch" || value == 0 {
                return Err(Error::config("dreamer", field, value, "at least 2 (batch: 1)").into());
            }
        }
        let positive = [("learning_rate", self.learning_rate), ("adaptive_clip", self.adaptive_clip)];
        for (field, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::config("dreamer", field, value, "positive and finite").into());
            }
        }
        self.model.validate()?;
        self.behaviour.validate()
    }
}

/// DreamerV3 with its environments, replay and optimiser.
pub struct Dreamer {
    config: DreamerConfig,
    envs: Collector,
    model: WorldModel,
    behaviour: Behaviour,
    optimizer: Optimizer,
    buffer: SequenceBuffer,
    ratio: TrainRatio,
    /// States of the environments, after their last stored step.
    latents: Latents,
    /// The encoded action that led to each present observation, `[N, A]`, and its reward.
    last_actions: Vec<f32>,
    arrival_rewards: Vec<f32>,
    first: Vec<bool>,
    step: u64,
    act_rng: StreamRng,
    sample_rng: StreamRng,
    learn_rng: StreamRng,
    batch: SequenceBatch,
}

/// The buffer's fields: observation, action, reward, then the state after the step.
const DETER: usize = 3;
const CLASSES: usize = 4;

impl Dreamer {
    /// An untrained agent on copies of an environment with vector observations; actions are discrete or a bounded box.
    ///
    /// # Errors
    /// If the configuration does not suit the environment.
    pub fn new(
        config: DreamerConfig,
        copies: Vec<Box<dyn Env>>,
        seeds: SeedStream,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let envs = Collector::new(copies, seeds.derive("env", 0))?;
        let (spec, n) = (envs.spec().clone(), envs.copies());
        if let Space::Box { low, high } = &spec.action
            && low.iter().chain(high).any(|b| !b.is_finite())
        {
            return Err(Error::shape("Dreamer::new", "actions with finite bounds", &spec.action).into());
        }
        let model = WorldModel::new(&config.model, &spec, device, seeds)?;
        let behaviour = Behaviour::new(&config.behaviour, &model, &spec.action, device, seeds)?;
        let optimizer = OptimizerConfig {
            method: Method::laprop(),
            learning_rate: config.learning_rate,
            clip: Clip::Adaptive { clip: config.adaptive_clip, floor: 1e-3 },
            warm_up: config.warm_up,
        };
        let modules: Vec<_> = model.modules().into_iter().chain(behaviour.modules()).collect();
        let widths = &config.model.widths;
        let fields = vec![
            Field::f32("observation", spec.observation.width()),
            Field::f32("action", spec.action.width()),
            Field::f32("reward", 1),
            Field::f32("deter", widths.deter),
            Field::f32("classes", widths.groups),
        ];
        // Every episode stores one step more than it has transitions.
        let capacity = (config.capacity.min(2 * config.steps as usize) / n).max(config.length + 1);
        let buffer = SequenceBuffer::new(SequenceConfig {
            capacity,
            streams: n,
            length: config.length + 1,
            fields,
            cross_episodes: true,
            restart: false,
            online: true,
        })?;
        Ok(Self {
            optimizer: Optimizer::new(optimizer, &modules)?,
            ratio: TrainRatio::new(config.train_ratio, config.batch * config.length)?,
            latents: model.initial(n),
            last_actions: vec![0.0; n * spec.action.width()],
            arrival_rewards: vec![0.0; n],
            first: vec![true; n],
            step: 0,
            act_rng: seeds.stream("act", 0),
            sample_rng: seeds.stream("sample", 0),
            learn_rng: seeds.stream("learn", 0),
            batch: SequenceBatch::default(),
            config,
            envs,
            model,
            behaviour,
            buffer,
        })
    }

    /// The world model.
    pub fn model(&self) -> &WorldModel {
        &self.model
    }

    #[cfg(test)]
    pub(super) fn behaviour_mut(&mut self) -> &mut Behaviour {
        &mut self.behaviour
    }

    /// Number of trained parameters.
    pub fn parameters(&self) -> usize {
        let modules = self.model.modules().into_iter().chain(self.behaviour.modules());
        modules.map(|p| p.len()).sum()
    }

    fn sizes(&self) -> (usize, usize) {
        (self.config.model.widths.deter, self.config.model.widths.groups)
    }

    /// Takes one observation of environment `i` into the buffer, with the state after it.
    fn store(
        &mut self,
        i: usize,
        observation: &[f32],
        latents: &Latents,
        row: usize,
        ends: StepEnds,
    ) -> Result<()> {
        let (deter, groups) = self.sizes();
        let a = self.last_actions.len() / self.first.len();
        let classes: Vec<f32> = latents.classes[row * groups..][..groups].iter().map(|&c| c as f32).collect();
        let fields = [
            FieldRow::F32(observation),
            FieldRow::F32(&self.last_actions[i * a..][..a]),
            FieldRow::F32(&self.arrival_rewards[i..=i]),
            FieldRow::F32(&latents.deter[row * deter..][..deter]),
            FieldRow::F32(&classes),
        ];
        self.buffer.push(i, ends, &fields)?;
        Ok(())
    }

    /// One step of every environment: filter, store, act.
    fn collect(&mut self, metrics: &mut Metrics) -> Result<()> {
        let (deter, groups) = self.sizes();
        let observations = self.envs.batch().observations.clone();
        let (n, d) = (self.first.len(), self.envs.batch().width);
        let a = self.last_actions.len() / n;
        let mut latents = std::mem::take(&mut self.latents);
        self.model.filter(&mut latents, &self.last_actions, &observations, &mut self.act_rng)?;
        for i in 0..n {
            let ends = StepEnds { is_first: self.first[i], ..StepEnds::default() };
            self.store(i, &observations[i * d..][..d], &latents, i, ends)?;
        }
        let actions =
            executed(&self.behaviour.act(&self.model.features(&latents), true, &mut self.act_rng)?);
        let space = self.envs.spec().action.clone();
        self.envs.step(&for_environment(&space, &actions), metrics)?;
        self.step += n as u64;
        self.last_actions = actions;
        let batch = self.envs.batch().clone();
        self.first.fill(false);
        for i in 0..n {
            self.arrival_rewards[i] = batch.rewards[i] as f32;
            if !batch.done(i) {
                continue;
            }
            // The observation that ended the episode is a step of its own.
            let mut last = latents.select(&[i], deter, groups);
            let action = self.last_actions[i * a..][..a].to_vec();
            self.model.filter(&mut last, &action, batch.successor(i), &mut self.act_rng)?;
            let (terminated, truncated) = (batch.terminated[i], batch.truncated[i]);
            self.store(i, batch.successor(i), &last, 0, StepEnds { is_first: false, terminated, truncated })?;
            latents.reset(i, deter, groups);
            self.last_actions[i * a..][..a].fill(0.0);
            (self.arrival_rewards[i], self.first[i]) = (0.0, true);
        }
        self.latents = latents;
        Ok(())
    }

    /// Windows without their step of context, whose state is where they begin.
    fn windows(&self) -> Sequences {
        let (b, steps) = (self.batch.starts.len(), self.config.length);
        let after = |i: usize| {
            let all = self.batch.fields[i].f32();
            all[all.len() / (steps + 1)..].to_vec()
        };
        let before = |i: usize| {
            let all = self.batch.fields[i].f32();
            all[..all.len() / (steps + 1)].to_vec()
        };
        let ends = self.batch.terminated.iter().zip(&self.batch.truncated).map(|(&a, &b)| a || b);
        Sequences {
            steps,
            batch: b,
            observations: after(0),
            actions: after(1),
            rewards: after(2),
            terminated: self.batch.terminated[b..].to_vec(),
            last: ends.skip(b).collect(),
            first: self.batch.is_first[b..].to_vec(),
            start: Latents {
                deter: before(DETER),
                classes: before(CLASSES).iter().map(|&c| c as u32).collect(),
            },
        }
    }

    /// Puts the states that the model has just passed through into the buffer.
    fn refresh(&mut self, latents: &Latents) -> Result<()> {
        for field in [DETER, CLASSES] {
            let old = self.batch.fields[field].f32();
            let mut values = old[..old.len() / (self.config.length + 1)].to_vec();
            match field {
                DETER => values.extend_from_slice(&latents.deter),
                _ => values.extend(latents.classes.iter().map(|&c| c as f32)),
            }
            self.buffer.write_back(field, &self.batch, &values)?;
        }
        Ok(())
    }

    /// One update of everything.
    fn learn(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.buffer.sample(self.config.batch, &mut self.sample_rng, &mut self.batch)?;
        let windows = self.windows();
        let ModelLosses { total, reconstruction, reward, continuation, kl, latents, .. } =
            self.model.loss(&windows, &mut self.learn_rng)?;
        let dream = self.behaviour.dream(&self.model, &latents, &mut self.learn_rng)?;
        let behaviour = self.behaviour.loss(&self.model, &dream, &windows)?;
        let (_, grads) = backward(&(total + &behaviour.total)?)?;
        self.optimizer.step(&grads)?;
        self.behaviour.follow()?;
        self.refresh(&latents)?;
        let BehaviourLosses { actor, critic, replay, entropy, imagined_return, .. } = behaviour;
        let terms = [
            ("losses/reconstruction", reconstruction),
            ("losses/reward", reward),
            ("losses/continuation", continuation),
            ("losses/kl", kl),
            ("losses/actor", actor),
            ("losses/critic", critic),
            ("losses/critic_replay", replay),
        ];
        for (name, term) in terms {
            metrics.record(name, f64::from(term.to_scalar::<f32>()?));
        }
        metrics.record("losses/entropy", entropy);
        metrics.record("losses/imagined_return", imagined_return);
        Ok(())
    }

    /// The policy without exploration, for [`evaluate`](rl_core::evaluate::evaluate()): every episode has its own state.
    pub fn policy(&self, mut rng: StreamRng) -> impl FnMut(&Turn<'_>, &mut [f32]) -> Result<()> {
        let space = self.envs.spec().action.clone();
        let (deter, groups) = self.sizes();
        let mut minds: HashMap<usize, (Latents, Vec<f32>)> = HashMap::new();
        move |turn, actions| {
            let n = turn.rows();
            let mut latents = Latents::default();
            let mut previous = Vec::new();
            for (row, episode) in turn.episodes.iter().enumerate() {
                let fresh = || (self.model.initial(1), vec![0.0; space.width()]);
                let (state, action) = match (turn.first[row], minds.get(episode)) {
                    (false, Some(mind)) => mind.clone(),
                    _ => fresh(),
                };
                latents.deter.extend(state.deter);
                latents.classes.extend(state.classes);
                previous.extend(action);
            }
            self.model.filter(&mut latents, &previous, turn.observations, &mut rng)?;
            let chosen = executed(&self.behaviour.act(&self.model.features(&latents), false, &mut rng)?);
            let a = chosen.len() / n;
            for (row, &episode) in turn.episodes.iter().enumerate() {
                let mind = (latents.select(&[row], deter, groups), chosen[row * a..][..a].to_vec());
                minds.insert(episode, mind);
            }
            actions.copy_from_slice(&for_environment(&space, &chosen));
            Ok(())
        }
    }
}

/// Encoded actions as environments take them: an index, or reals stretched from [−1, 1] to the bounds.
fn for_environment(space: &Space, actions: &[f32]) -> Vec<f32> {
    match space {
        Space::Discrete(n) => {
            let index = |a: &[f32]| a.iter().position(|&x| x > 0.5).unwrap_or(0) as f32;
            actions.chunks_exact(*n).map(index).collect()
        }
        Space::Box { low, high } => {
            let bounds = low.iter().zip(high).cycle();
            actions.iter().zip(bounds).map(|(a, (l, h))| l + (h - l) * 0.5 * (a + 1.0)).collect()
        }
    }
}

impl Trainer for Dreamer {
    type Error = CrateError;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.steps
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.collect(metrics)?;
        // Steps before the first window owe nothing.
        if self.buffer.windows() == 0 {
            return Ok(());
        }
        for _ in 0..self.ratio.updates_after(self.first.len() as u64) {
            self.learn(metrics)?;
        }
        Ok(())
    }
}

impl Persist for Dreamer {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.model.save(&at("model"), state)?;
        self.behaviour.save(&at("behaviour"), state)?;
        self.optimizer.save(&at("optimizer"), state)?;
        self.buffer.save(&at("buffer"), state)?;
        self.ratio.save(&at("ratio"), state)?;
        self.envs.save(&at("envs"), state)?;
        let floats = [
            ("deter", &self.latents.deter),
            ("last_actions", &self.last_actions),
            ("arrival_rewards", &self.arrival_rewards),
        ];
        for (name, values) in floats {
            state.put_array(at(name), &[values.len()], values);
        }
        state.put_array(at("classes"), &[self.latents.classes.len()], &self.latents.classes);
        state.put(at("first"), &self.first)?;
        state.put(at("step"), &self.step)?;
        state.put(at("rngs"), &(&self.act_rng, &self.sample_rng, &self.learn_rng))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.model.load(&at("model"), state)?;
        self.behaviour.load(&at("behaviour"), state)?;
        self.optimizer.load(&at("optimizer"), state)?;
        self.buffer.load(&at("buffer"), state)?;
        self.ratio.load(&at("ratio"), state)?;
        self.envs.load(&at("envs"), state)?;
        let floats = [
            ("deter", &mut self.latents.deter),
            ("last_actions", &mut self.last_actions),
            ("arrival_rewards", &mut self.arrival_rewards),
        ];
        for (name, values) in floats {
            *values = state.array(&at(name), &[values.len()])?.to_vec();
        }
        let classes = state.array::<u32>(&at("classes"), &[self.latents.classes.len()])?;
        self.latents.classes.copy_from_slice(classes);
        self.first = state.get(&at("first"))?;
        self.step = state.get(&at("step"))?;
        (self.act_rng, self.sample_rng, self.learn_rng) = state.get(&at("rngs"))?;
        Ok(())
    }
}
