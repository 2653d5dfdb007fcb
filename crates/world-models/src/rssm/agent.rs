//! The agent: collect, learn the model, plan with it (Hafner et al. 2019, algorithm 1).
//!
//! The first steps are random, the others planned, with noise for exploration. Every `train_every` steps the owed
//! updates are made on windows from everything seen so far; planning uses the weights after the last of them.

use super::{Losses, Rollout, Rssm, RssmConfig, State, Windows, encode_action};
use crate::planning::{PlannedAction, Planner, PlannerConfig};
use crate::{Error as CrateError, Result};
use candle_core::Device;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::buffer::{Field, FieldRow, SequenceBatch, SequenceBuffer, SequenceConfig, StepEnds, TrainRatio};
use rl_core::env::{Action, Env, Space};
use rl_core::evaluate::{Evaluation, Turn, evaluate, to_action};
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::normalize::RunningMeanStd;
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// How much to collect, how to learn and how to plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Environment steps in all.
    pub steps: u64,
    /// Steps with random actions at the beginning.
    pub random_steps: u64,
    /// Standard deviation of the noise on planned actions, as a fraction of half the range (PlaNet: 0.3); with
    /// discrete actions, the probability of a random one.
    pub action_noise: f64,
    /// Updates per environment step.
    pub updates_per_step: f64,
    /// Environment steps between two rounds of updates.
    pub train_every: u64,
    /// Windows per update (PlaNet: 50).
    pub batch: usize,
    /// Steps per window (PlaNet: 50).
    pub length: usize,
    /// Adam's step size at the beginning; it falls linearly to a tenth (PlaNet: 1e-3).
    pub learning_rate: f64,
    /// Largest global norm of the gradient.
    pub clip: f64,
    /// The model.
    pub model: RssmConfig,
    /// The planner.
    pub planner: PlannerConfig,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            steps: 2000,
            random_steps: 200,
            action_noise: 0.3,
            updates_per_step: 2.0,
            train_every: 50,
            batch: 16,
            length: 15,
            learning_rate: 1e-3,
            clip: 10.0,
            model: RssmConfig::default(),
            planner: PlannerConfig::default(),
        }
    }
}

impl AgentConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let least = [("steps", self.steps), ("train_every", self.train_every), ("batch", self.batch as u64)];
        for (field, value) in least {
            if value == 0 {
                return Err(Error::config("agent", field, value, "at least 1").into());
            }
        }
        if self.length < 2 {
            return Err(Error::config("agent", "length", self.length, "at least 2").into());
        }
        let finite = [
            ("action_noise", self.action_noise),
            ("updates_per_step", self.updates_per_step),
            ("clip", self.clip),
            ("learning_rate", self.learning_rate),
        ];
        for (field, value) in finite {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::config("agent", field, value, "finite and not negative").into());
            }
        }
        self.model.validate()?;
        self.planner.validate()
    }
}

/// Learns a model of one environment and plans with it.
pub struct PlanningAgent {
    config: AgentConfig,
    env: Box<dyn Env>,
    model: Rssm,
    optimizer: Optimizer,
    buffer: SequenceBuffer,
    observations: RunningMeanStd,
    rewards: RunningMeanStd,
    ratio: TrainRatio,
    planner: Planner<Rollout>,
    rollout: Rollout,
    observation: Vec<f32>,
    /// The action that led to `observation`, encoded; `None` if it begins an episode.
    last_action: Option<Vec<f32>>,
    filtered: bool,
    step: u64,
    episodes: u64,
    episode_return: f64,
    episode_length: u64,
    act_rng: StreamRng,
    sample_rng: StreamRng,
    noise_rng: StreamRng,
    batch: SequenceBatch,
}

impl PlanningAgent {
    /// An agent for an environment, which it resets with a seed of its own.
    ///
    /// # Errors
    /// If the configuration does not suit the environment.
    pub fn new(
        config: AgentConfig,
        mut env: Box<dyn Env>,
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let spec = env.spec().clone();
        let model = Rssm::new(&config.model, &spec, device, seeds)?;
        let adam = OptimizerConfig::adam(config.learning_rate, 1e-8, Clip::GlobalNorm(config.clip));
        let optimizer = Optimizer::new(adam, &model.modules())?;
        let (width, action) = (spec.observation.width(), spec.action.width());
        let buffer = SequenceBuffer::new(SequenceConfig {
            // Every episode stores one step more than it has transitions.
            capacity: 2 * config.steps as usize + config.length,
            streams: 1,
            length: config.length,
            fields: vec![
                Field::f32("observation", width),
                Field::f32("action", action),
                Field::f32("reward", 1),
            ],
            cross_episodes: true,
            restart: true,
            online: false,
        })?;
        let mut observation = vec![0.0; width];
        env.reset(Some(seeds.derive("env", 0)), &mut observation)?;
        let mut agent = Self {
            planner: Planner::new(config.planner.clone(), &spec.action)?,
            rollout: Rollout::new(&model)?,
            ratio: TrainRatio::new(config.updates_per_step, 1)?,
            config,
            env,
            model,
            optimizer,
            buffer,
            observations: RunningMeanStd::new(width),
            rewards: RunningMeanStd::new(1),
            observation,
            last_action: None,
            filtered: false,
            step: 0,
            episodes: 0,
            episode_return: 0.0,
            episode_length: 0,
            act_rng: seeds.stream("act", 0),
            sample_rng: seeds.stream("sample", 0),
            noise_rng: seeds.stream("noise", 0),
            batch: SequenceBatch::default(),
        };
        agent.store(0.0, StepEnds { is_first: true, ..StepEnds::default() })?;
        Ok(agent)
    }

    /// The model.
    pub fn model(&self) -> &Rssm {
        &self.model
    }

    /// Episodes played to their end.
    pub fn episodes(&self) -> u64 {
        self.episodes
    }

    /// A snapshot of the model for planning and evaluation.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn rollout(&self) -> Result<Rollout> {
        Rollout::new(&self.model)
    }

    fn store(&mut self, reward: f32, ends: StepEnds) -> Result<()> {
        let none = vec![0.0; self.env.spec().action.width()];
        let action = self.last_action.as_ref().unwrap_or(&none);
        let fields = [FieldRow::F32(&self.observation), FieldRow::F32(action), FieldRow::F32(&[reward])];
        self.buffer.push(0, ends, &fields)?;
        self.observations.update(&self.observation)?;
        if self.last_action.is_some() {
            self.rewards.update(&[super::symlog(reward)])?;
        }
        Ok(())
    }

    /// Takes the present observation into the filter, once.
    fn observe(&mut self) {
        if !self.filtered {
            let action = self.last_action.as_deref().map(|a| decode_action(&self.env.spec().action, a));
            self.rollout.state = self.rollout.filter(&self.rollout.state, action, &self.observation);
            self.filtered = true;
        }
    }

    fn act(&mut self) -> Result<PlannedAction> {
        self.observe();
        let space = self.env.spec().action.clone();
        if self.step < self.config.random_steps {
            return Ok(random_action(&space, &mut self.act_rng));
        }
        let mut action = self.planner.plan(&self.rollout, &mut self.act_rng)?.action;
        let noise = self.config.action_noise;
        match (&mut action, &space) {
            (PlannedAction::Continuous(a), Space::Box { low, high }) => {
                for ((a, low), high) in a.iter_mut().zip(low).zip(high) {
                    let z: f32 = self.act_rng.sample(StandardNormal);
                    *a = (*a + noise as f32 * 0.5 * (high - low) * z).clamp(*low, *high);
                }
            }
            (PlannedAction::Discrete(_), _) if self.act_rng.random::<f64>() < noise => {
                action = random_action(&space, &mut self.act_rng);
            }
            _ => {}
        }
        Ok(action)
    }

    fn learn(&mut self, metrics: &mut Metrics) -> Result<()> {
        let owed = self.ratio.updates_after(self.config.train_every.min(self.step));
        if owed == 0 || self.buffer.windows() == 0 {
            return Ok(());
        }
        let progress = self.step as f64 / self.config.steps as f64;
        self.optimizer.set_learning_rate(self.config.learning_rate * (1.0 - 0.9 * progress.min(1.0)));
        self.model.set_scales(&self.observations, &self.rewards);
        let mut sums = [0.0; 5];
        for update in 0..owed {
            self.buffer.sample(self.config.batch, &mut self.sample_rng, &mut self.batch)?;
            let losses = self.model.loss(&Windows::from_batch(&self.batch), &mut self.noise_rng)?;
            let (_, grads) = backward(&losses.total)?;
            let norm = self.optimizer.step(&grads)?;
            // Reading a tensor costs little on the CPU; the last updates are what one wants to see.
            if update + 10 >= owed {
                let Losses { reconstruction, kl, reward, continuation, .. } = losses;
                for (sum, term) in sums.iter_mut().zip([reconstruction, kl, reward, continuation]) {
                    *sum += f64::from(term.to_scalar::<f32>()?);
                }
                sums[4] += norm;
            }
        }
        let names = [
            "losses/reconstruction",
            "losses/kl",
            "losses/reward",
            "losses/continuation",
            "losses/grad_norm",
        ];
        for (name, sum) in names.into_iter().zip(sums) {
            metrics.record(name, sum / owed.min(10) as f64);
        }
        let state = std::mem::take(&mut self.rollout.state);
        self.rollout = Rollout::new(&self.model)?;
        self.rollout.state = state;
        Ok(())
    }

    /// Plays whole episodes with the present model, without exploration noise, from `reset(Some(start))` each.
    ///
    /// # Errors
    /// If the environments differ from the agent's, or a plan fails.
    pub fn evaluate(
        &self,
        copies: &mut [Box<dyn Env>],
        starts: &[u64],
        seeds: SeedStream,
    ) -> Result<Evaluation> {
        let mut rollout = self.rollout()?;
        evaluate_planner(&mut rollout, &self.config.planner, copies, starts, seeds)
    }
}

/// Plays whole episodes by planning in `rollout`: every episode has its own filter, planner and generator.
///
/// # Errors
/// If the environments do not fit the model, or a plan fails.
pub fn evaluate_planner(
    rollout: &mut Rollout,
    config: &PlannerConfig,
    copies: &mut [Box<dyn Env>],
    starts: &[u64],
    seeds: SeedStream,
) -> Result<Evaluation> {
    let Some(space) = copies.first().map(|env| env.spec().action.clone()) else {
        return Err(Error::shape("evaluate_planner", "at least one environment", 0).into());
    };
    let mut minds: Vec<Option<(State, Planner<Rollout>, StreamRng)>> = starts.iter().map(|_| None).collect();
    evaluate(copies, starts, |turn: &Turn<'_>, actions: &mut [f32]| {
        let (d, a) = (turn.observations.len() / turn.rows(), actions.len() / turn.rows());
        for (row, &episode) in turn.episodes.iter().enumerate() {
            let (state, planner, rng) = match &mut minds[episode] {
                Some(mind) => mind,
                empty => empty.insert((
                    rollout.initial(),
                    Planner::new(config.clone(), &space)?,
                    seeds.stream("plan", episode as u64),
                )),
            };
            let previous = to_action(&space, &turn.previous_actions[row * a..][..a]);
            let previous = (!turn.first[row]).then_some(previous);
            *state = rollout.filter(state, previous, &turn.observations[row * d..][..d]);
            rollout.state.clone_from(state);
            match planner.plan(rollout, rng)?.action {
                PlannedAction::Continuous(plan) => actions[row * a..][..a].copy_from_slice(&plan),
                PlannedAction::Discrete(index) => actions[row * a] = index as f32,
            }
        }
        Ok::<(), CrateError>(())
    })
}

fn random_action(space: &Space, rng: &mut impl Rng) -> PlannedAction {
    match space {
        Space::Discrete(n) => PlannedAction::Discrete(Space::sample_discrete(*n, rng)),
        Space::Box { low, high } => {
            let mut action = vec![0.0; low.len()];
            Space::sample_box(low, high, rng, &mut action);
            PlannedAction::Continuous(action)
        }
    }
}

/// The action that an encoding stands for.
fn decode_action<'a>(space: &Space, encoded: &'a [f32]) -> Action<'a> {
    match space {
        Space::Discrete(_) => Action::Discrete(encoded.iter().position(|&x| x > 0.5).unwrap_or(0)),
        Space::Box { .. } => Action::Continuous(encoded),
    }
}

impl Trainer for PlanningAgent {
    type Error = CrateError;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.steps
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let action = self.act()?;
        let result = self.env.step(action.as_action(), &mut self.observation)?;
        let mut encoded = vec![0.0; self.env.spec().action.width()];
        encode_action(action.as_action(), &mut encoded);
        (self.last_action, self.filtered) = (Some(encoded), false);
        let ends = StepEnds { is_first: false, terminated: result.terminated, truncated: result.truncated };
        self.store(result.reward as f32, ends)?;
        self.step += 1;
        self.episode_return += result.reward;
        self.episode_length += 1;
        if result.done() {
            metrics.record("charts/episodic_return", self.episode_return);
            metrics.record("charts/episodic_length", self.episode_length as f64);
            (self.episode_return, self.episode_length, self.last_action) = (0.0, 0, None);
            self.episodes += 1;
            self.env.reset(None, &mut self.observation)?;
            self.planner.reset();
            self.store(0.0, StepEnds { is_first: true, ..StepEnds::default() })?;
        }
        if self.step.is_multiple_of(self.config.train_every) {
            self.learn(metrics)?;
        }
        Ok(())
    }
}

impl Persist for PlanningAgent {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.model.save(&at("model"), state)?;
        self.optimizer.save(&at("optimizer"), state)?;
        self.buffer.save(&at("buffer"), state)?;
        self.observations.save(&at("observations"), state)?;
        self.rewards.save(&at("rewards"), state)?;
        self.ratio.save(&at("ratio"), state)?;
        self.planner.save(&at("planner"), state)?;
        state.put(at("env"), &self.env.save()?)?;
        let floats = [
            ("observation", &self.observation),
            ("deter", &self.rollout.state.deter),
            ("stoch", &self.rollout.state.stoch),
        ];
        for (name, values) in floats {
            state.put_array(at(name), &[values.len()], values);
        }
        state.put(at("last_action"), &self.last_action)?;
        state.put(
            at("counters"),
            &(self.step, self.episodes, self.episode_return, self.episode_length, self.filtered),
        )?;
        state.put(at("rngs"), &(&self.act_rng, &self.sample_rng, &self.noise_rng))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.model.load(&at("model"), state)?;
        self.optimizer.load(&at("optimizer"), state)?;
        self.buffer.load(&at("buffer"), state)?;
        self.observations.load(&at("observations"), state)?;
        self.rewards.load(&at("rewards"), state)?;
        self.ratio.load(&at("ratio"), state)?;
        self.planner.load(&at("planner"), state)?;
        self.env.load(&state.get(&at("env"))?)?;
        self.rollout = Rollout::new(&self.model)?;
        let State { deter, stoch } = &mut self.rollout.state;
        for (name, values) in [("observation", &mut self.observation), ("deter", deter), ("stoch", stoch)] {
            *values = state.array(&at(name), &[values.len()])?.to_vec();
        }
        self.last_action = state.get(&at("last_action"))?;
        (self.step, self.episodes, self.episode_return, self.episode_length, self.filtered) =
            state.get(&at("counters"))?;
        (self.act_rng, self.sample_rng, self.noise_rng) = state.get(&at("rngs"))?;
        Ok(())
    }
}
