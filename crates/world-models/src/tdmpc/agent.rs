//! The agent: plan, store, learn the model and the policy, one round of updates per step.

use super::networks::{Losses, Networks, NetworksConfig, Windows};
use super::rollout::LatentModel;
use crate::checks::at_least_one;
use crate::planning::{Execute, Method, Mppi, PlannedAction, Planner, PlannerConfig};
use crate::{Error as CrateError, Result};
use candle_core::Device;
use rand::{Rng, RngExt};
use rl_core::buffer::{Field, FieldRow, SequenceBatch, SequenceBuffer, SequenceConfig, StepEnds, TrainRatio};
use rl_core::env::{Action, Env, Space, Step};
use rl_core::evaluate::{Evaluation, Turn, evaluate};
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::normalize::PercentileScale;
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// How much to collect, how to learn and how to plan. The defaults are the paper's where none is noted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TdMpcConfig {
    /// Environment steps in all.
    pub steps: u64,
    /// Steps with random actions at the beginning (paper: the larger of 1000 and five episodes).
    pub random_steps: u64,
    /// Environment steps for which an action is held, their rewards summed (paper: 2 on DeepMind Control).
    pub action_repeat: u64,
    /// Updates per action (1).
    pub updates_per_action: f64,
    /// Windows per update (256; here 128).
    pub batch: usize,
    /// Adam's step size (3e-4; here 1e-3 for the narrower networks).
    pub learning_rate: f64,
    /// The encoder's step size as a share of it (0.3).
    pub encoder_share: f64,
    /// Largest global norm of the gradient (20).
    pub clip: f64,
    /// How far the slow Q move at every update (0.01).
    pub tau: f64,
    /// Candidates that the policy proposes (24).
    pub proposals: usize,
    /// The networks.
    pub networks: NetworksConfig,
    /// The planner; its horizon is that of the windows, its discount the one that Q learns.
    pub planner: PlannerConfig,
}

impl Default for TdMpcConfig {
    fn default() -> Self {
        Self {
            steps: 10_000,
            random_steps: 1000,
            action_repeat: 1,
            updates_per_action: 1.0,
            batch: 128,
            learning_rate: 1e-3,
            encoder_share: 0.3,
            clip: 20.0,
            tau: 0.01,
            proposals: 24,
            networks: NetworksConfig::default(),
            planner: PlannerConfig {
                horizon: 3,
                candidates: 256,
                elites: 32,
                iterations: 4,
                discount: 0.99,
                execute: Execute::Mean,
                method: Method::Mppi(Mppi::default()),
                ..PlannerConfig::default()
            },
        }
    }
}

impl TdMpcConfig {
    /// The paper's discount for episodes of T actions: ((T/5) − 1)/(T/5), within [0.95, 0.995].
    pub fn discount_for(actions: u32) -> f64 {
        let fifth = f64::from(actions) / 5.0;
        ((fifth - 1.0) / fifth).clamp(0.95, 0.995)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let whole =
            [("steps", self.steps), ("action_repeat", self.action_repeat), ("batch", self.batch as u64)];
        at_least_one("tdmpc", whole)?;
        let positive = [
            ("learning_rate", self.learning_rate),
            ("encoder_share", self.encoder_share),
            ("clip", self.clip),
            ("tau", self.tau),
        ];
        for (field, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::config("tdmpc", field, value, "positive and finite").into());
            }
        }
        if self.proposals > self.planner.candidates {
            return Err(Error::config("tdmpc", "proposals", self.proposals, "at most the candidates").into());
        }
        self.networks.validate()?;
        self.planner.validate()
    }
}

/// TD-MPC2 on one environment with bounded continuous actions.
pub struct TdMpc {
    config: TdMpcConfig,
    env: Box<dyn Env>,
    low: Vec<f32>,
    high: Vec<f32>,
    networks: Networks,
    optimizers: [Optimizer; 3],
    scale: PercentileScale,
    buffer: SequenceBuffer,
    ratio: TrainRatio,
    /// Actions whose updates have not been counted yet.
    owing: u64,
    planner: Planner<LatentModel>,
    model: LatentModel,
    observation: Vec<f32>,
    step: u64,
    episode_return: f64,
    episode_length: u64,
    act_rng: StreamRng,
    sample_rng: StreamRng,
    learn_rng: StreamRng,
    batch: SequenceBatch,
}

impl TdMpc {
    /// An agent for an environment, which it resets with a seed of its own.
    ///
    /// # Errors
    /// If the configuration does not suit the environment.
    pub fn new(
        config: TdMpcConfig,
        mut env: Box<dyn Env>,
        device: &Device,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let spec = env.spec().clone();
        let Space::Box { low, high } = spec.action.clone() else {
            return Err(Error::shape("TdMpc::new", "continuous actions with bounds", &spec.action).into());
        };
        let (width, a) = (spec.observation.width(), low.len());
        let networks = Networks::new(&config.networks, (width, a), device, &mut seeds.stream("tdmpc", 0))?;
        let adam = |rate: f64| OptimizerConfig::adam(rate, 1e-8, Clip::GlobalNorm(config.clip));
        let modules = networks.model_modules();
        let optimizers = [
            Optimizer::new(adam(config.learning_rate * config.encoder_share), &modules[..1])?,
            Optimizer::new(adam(config.learning_rate), &modules[1..])?,
            Optimizer::new(adam(config.learning_rate), &networks.policy_modules())?,
        ];
        let length = config.planner.horizon + 1;
        let buffer = SequenceBuffer::new(SequenceConfig {
            // Every episode stores one step more than it has transitions.
            capacity: 2 * config.steps as usize + length,
            streams: 1,
            length,
            fields: vec![Field::f32("observation", width), Field::f32("action", a), Field::f32("reward", 1)],
            cross_episodes: false,
            restart: true,
            online: false,
        })?;
        let mut observation = vec![0.0; width];
        env.reset(Some(seeds.derive("env", 0)), &mut observation)?;
        let mut agent = Self {
            planner: Planner::new(config.planner.clone(), &spec.action)?,
            model: LatentModel::new(&networks, &low, &high)?,
            ratio: TrainRatio::new(config.updates_per_action, 1)?,
            scale: PercentileScale::default(),
            owing: 0,
            config,
            env,
            low,
            high,
            networks,
            optimizers,
            buffer,
            observation,
            step: 0,
            episode_return: 0.0,
            episode_length: 0,
            act_rng: seeds.stream("act", 0),
            sample_rng: seeds.stream("sample", 0),
            learn_rng: seeds.stream("learn", 0),
            batch: SequenceBatch::default(),
        };
        agent.begin_episode()?;
        Ok(agent)
    }

    /// The networks.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// A snapshot for planning and evaluation.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn model(&self) -> Result<LatentModel> {
        LatentModel::new(&self.networks, &self.low, &self.high)
    }

    fn begin_episode(&mut self) -> Result<()> {
        let none = vec![0.0; self.low.len()];
        let fields = [FieldRow::F32(&self.observation), FieldRow::F32(&none), FieldRow::F32(&[0.0])];
        self.buffer.push(0, StepEnds { is_first: true, ..StepEnds::default() }, &fields)?;
        Ok(())
    }

    fn act(&mut self) -> Result<Vec<f32>> {
        if self.step < self.config.random_steps {
            let mut action = vec![0.0; self.low.len()];
            Space::sample_box(&self.low, &self.high, &mut self.act_rng, &mut action);
            return Ok(action);
        }
        self.model.observe(&self.observation);
        plan(&self.config, &mut self.model, &mut self.planner, &mut self.act_rng)
    }

    /// Holds an action and stores the step over the hold; one that the time limit cuts short is stored as well, with the
    /// rewards that it got.
    fn hold(&mut self, action: &[f32], metrics: &mut Metrics) -> Result<()> {
        let (mut reward, mut held) = (0.0, 0);
        let end: Step = loop {
            let result = self.env.step(Action::Continuous(action), &mut self.observation)?;
            (self.step, held, reward) = (self.step + 1, held + 1, reward + result.reward);
            if result.done() || held == self.config.action_repeat {
                break result;
            }
        };
        self.episode_return += reward;
        self.episode_length += held;
        let bounds = self.low.iter().zip(&self.high);
        let unit: Vec<f32> =
            action.iter().zip(bounds).map(|(a, (l, h))| 2.0 * (a - l) / (h - l) - 1.0).collect();
        let fields =
            [FieldRow::F32(&self.observation), FieldRow::F32(&unit), FieldRow::F32(&[reward as f32])];
        let ends = StepEnds { is_first: false, terminated: end.terminated, truncated: end.truncated };
        self.buffer.push(0, ends, &fields)?;
        if end.done() {
            metrics.record("charts/episodic_return", self.episode_return);
            metrics.record("charts/episodic_length", self.episode_length as f64);
            (self.episode_return, self.episode_length) = (0.0, 0);
            self.env.reset(None, &mut self.observation)?;
            self.planner.reset();
            self.begin_episode()?;
        }
        Ok(())
    }

    /// Windows as the networks want them: an action belongs to the observation that it was taken from.
    fn windows(&self) -> Windows {
        let (b, steps) = (self.batch.starts.len(), self.config.planner.horizon);
        let after = |i: usize| {
            let all = self.batch.fields[i].f32();
            all[all.len() / (steps + 1)..].to_vec()
        };
        Windows {
            steps,
            batch: b,
            observations: self.batch.fields[0].f32().to_vec(),
            actions: after(1),
            rewards: after(2),
            terminated: self.batch.terminated[b..].to_vec(),
        }
    }

    fn learn(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.buffer.sample(self.config.batch, &mut self.sample_rng, &mut self.batch)?;
        let windows = self.windows();
        let gamma = self.config.planner.discount;
        let pair = two_of(self.config.networks.members, &mut self.learn_rng);
        let targets = self.networks.targets(&windows, gamma, pair, &mut self.learn_rng)?;
        let Losses { total, consistency, reward, value, latents } = self.networks.loss(&windows, &targets)?;
        let (_, grads) = backward(&total)?;
        self.optimizers[0].step(&grads)?;
        self.optimizers[1].step(&grads)?;
        let pair = two_of(self.config.networks.members, &mut self.learn_rng);
        let (policy, q) = self.networks.policy_loss(
            &latents,
            windows.batch,
            self.scale.scale(),
            pair,
            &mut self.learn_rng,
        )?;
        let (policy_loss, grads) = backward(&policy)?;
        self.optimizers[2].step(&grads)?;
        self.scale.update(&q)?;
        self.networks.follow(self.config.tau)?;
        for (name, term) in [("consistency", consistency), ("reward", reward), ("value", value)] {
            metrics.record(&format!("losses/{name}"), f64::from(term.to_scalar::<f32>()?));
        }
        metrics.record("losses/policy", policy_loss);
        metrics.record("losses/q", q.iter().map(|&q| f64::from(q)).sum::<f64>() / q.len() as f64);
        Ok(())
    }

    /// Plays whole episodes with the present networks, from `reset(Some(start))` each.
    ///
    /// # Errors
    /// If the environments differ from the agent's, or a plan fails.
    pub fn evaluate(
        &self,
        copies: &mut [Box<dyn Env>],
        starts: &[u64],
        seeds: SeedStream,
    ) -> Result<Evaluation> {
        let (mut model, space) = (self.model()?, self.env.spec().action.clone());
        let mut minds: Vec<Option<(Planner<LatentModel>, StreamRng, u64)>> =
            starts.iter().map(|_| None).collect();
        evaluate(copies, starts, |turn: &Turn<'_>, actions: &mut [f32]| {
            let (d, a) = (turn.observations.len() / turn.rows(), actions.len() / turn.rows());
            for (row, &episode) in turn.episodes.iter().enumerate() {
                let (planner, rng, step) = match &mut minds[episode] {
                    Some(mind) => mind,
                    empty => {
                        let rng = seeds.stream("plan", starts[episode]);
                        empty.insert((Planner::new(self.config.planner.clone(), &space)?, rng, 0))
                    }
                };
                let action = &mut actions[row * a..][..a];
                if step.is_multiple_of(self.config.action_repeat) {
                    model.observe(&turn.observations[row * d..][..d]);
                    action.copy_from_slice(&plan(&self.config, &mut model, planner, rng)?);
                } else {
                    action.copy_from_slice(&turn.previous_actions[row * a..][..a]);
                }
                *step += 1;
            }
            Ok::<(), CrateError>(())
        })
    }
}

/// Two different members.
fn two_of(members: usize, rng: &mut impl Rng) -> [usize; 2] {
    let first = rng.random_range(0..members);
    [first, (first + rng.random_range(1..members)) % members]
}

/// One plan from the model's present latent, with the policy's proposals and two Q drawn anew.
fn plan(
    config: &TdMpcConfig,
    model: &mut LatentModel,
    planner: &mut Planner<LatentModel>,
    rng: &mut StreamRng,
) -> Result<Vec<f32>> {
    model.pair = two_of(config.networks.members, rng);
    let proposals = model.proposals(config.proposals, config.planner.horizon, rng);
    match planner.plan_with(model, &proposals, rng)?.action {
        PlannedAction::Continuous(action) => Ok(action),
        PlannedAction::Discrete(_) => Ok(vec![]),
    }
}

impl Trainer for TdMpc {
    type Error = CrateError;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.steps
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        let action = self.act()?;
        self.hold(&action, metrics)?;
        self.owing += 1;
        // The updates that random steps owe are made when they end, as in the reference.
        if self.step < self.config.random_steps || self.buffer.windows() == 0 {
            return Ok(());
        }
        for _ in 0..self.ratio.updates_after(std::mem::take(&mut self.owing)) {
            self.learn(metrics)?;
        }
        self.model = self.model()?;
        Ok(())
    }
}

impl Persist for TdMpc {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.networks.save(&at("networks"), state)?;
        for (i, optimizer) in self.optimizers.iter().enumerate() {
            optimizer.save(&at(&format!("optimizer{i}")), state)?;
        }
        self.scale.save(&at("scale"), state)?;
        self.buffer.save(&at("buffer"), state)?;
        self.ratio.save(&at("ratio"), state)?;
        self.planner.save(&at("planner"), state)?;
        state.put(at("env"), &self.env.save()?)?;
        state.put_array(at("observation"), &[self.observation.len()], &self.observation);
        state.put(at("counters"), &(self.step, self.episode_return, self.episode_length, self.owing))?;
        state.put(at("rngs"), &(&self.act_rng, &self.sample_rng, &self.learn_rng))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        self.networks.load(&at("networks"), state)?;
        for (i, optimizer) in self.optimizers.iter_mut().enumerate() {
            optimizer.load(&at(&format!("optimizer{i}")), state)?;
        }
        self.scale.load(&at("scale"), state)?;
        self.buffer.load(&at("buffer"), state)?;
        self.ratio.load(&at("ratio"), state)?;
        self.planner.load(&at("planner"), state)?;
        self.env.load(&state.get(&at("env"))?)?;
        self.observation = state.array(&at("observation"), &[self.observation.len()])?.to_vec();
        (self.step, self.episode_return, self.episode_length, self.owing) = state.get(&at("counters"))?;
        (self.act_rng, self.sample_rng, self.learn_rng) = state.get(&at("rngs"))?;
        self.model = LatentModel::new(&self.networks, &self.low, &self.high)?;
        Ok(())
    }
}
