//! MADDPG (Lowe et al. 2017, "Multi-Agent Actor-Critic for Mixed Cooperative-Competitive Environments") and MATD3
//! (Ackermann et al. 2019, "Reducing Overestimation Bias in Multi-Agent Domains Using Double Centralized Critics").
//!
//! Each agent i has a policy μᵢ(oᵢ) and, in training, a critic Qᵢ(o₁..o_N, a₁..a_N) of everybody's observations and
//! actions. With minibatches of common indices,
//!
//! yᵢ = rᵢ + γ (1 − terminatedᵢ) Q′ᵢ(o′, μ′₁(o′₁), ..), critic loss mean (Qᵢ − yᵢ)²,
//! actor loss −mean Qᵢ(o, a₁, .., aᵢ = μᵢ(oᵢ), ..) + 10⁻³ mean logits², the other actions as they were stored.
//!
//! Discrete policies sample by the Gumbel-softmax: relaxed ([`Relaxation::Soft`], the original) or straight-through;
//! continuous ones are tanh policies with Gaussian noise. [`Config::matd3`] has twin critics, delayed policy updates
//! and target smoothing. Groups in [`Config::local_critics`] learn with Qᵢ(oᵢ, aᵢ) instead: plain DDPG, the `ddpg` of
//! the original's competitive experiments.
//!
//! Deviations: an update makes all critic steps, then all actor steps, then moves all targets, so that its result
//! does not depend on the order of agents; the original goes through the agents one by one. Actor losses see constant
//! critic weights. Time limits bootstrap (as in the original, where the 25-step limit is no end).

mod actor;
mod attention;
mod critic;

use crate::env::{ActionSpace, BatchActions, BatchStep, Layout};
use crate::joint_replay::{Clock, Columns, JointBatch, JointReplay};
use crate::sharing::Sharing;
use crate::trainer::{Learner, Mode, check_act};
use crate::{Error, Result};
use actor::Actors;
use critic::Critics;
pub(crate) use critic::targets;
use rl_core::experiment::{Persist, TrainState};
use rl_core::schedule::Schedule;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// How a discrete action becomes a vector that gradients pass through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relaxation {
    /// The Gumbel-softmax sample itself, stored as it is; target actions are sampled too (the original code).
    Soft,
    /// One-hot forward, relaxed backward; target actions are the most likely ones (Papoudakis et al. 2021).
    #[default]
    StraightThrough,
}

/// How discrete policies explore, and with it what a discrete policy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exploration {
    /// Stochastic: actions are sampled by the Gumbel-softmax, in the actor loss as well.
    #[default]
    Gumbel,
    /// Deterministic: the largest logit, or with probability [`Config::noise`] any action; no noise in the actor loss.
    EpsilonGreedy,
}

/// What a central critic is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CriticKind {
    /// A perceptron of all observations and actions.
    #[default]
    Joint,
    /// The own observation and action, and what they attend to.
    Attention {
        /// Length of queries, keys and values over all heads.
        width: usize,
        /// Heads.
        heads: usize,
    },
}

/// Settings; the defaults are the original code's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Hidden layers of actors and critics (64, 64).
    pub hidden: Vec<usize>,
    /// Adam's step size of the actors (0.01).
    pub actor_rate: f64,
    /// Adam's step size of the critics (0.01).
    pub critic_rate: f64,
    /// Factor of both step sizes, by environment steps (1; falling to 0 it keeps a language that was found).
    pub decay: Schedule,
    /// Largest gradient norm of each network (0.5).
    pub clip: f64,
    /// Discount γ (0.95).
    pub gamma: f64,
    /// Share τ of the new weights in the targets per update (0.01).
    pub tau: f64,
    /// Rows of a minibatch (1024).
    pub batch: usize,
    /// Joint transitions kept (10⁶).
    pub capacity: usize,
    /// Environment steps before the first update (25,600 = batch · 25).
    pub warm_up: usize,
    /// Environment steps between updates (100).
    pub update_every: usize,
    /// Weight of mean logits² (pre-activations² of continuous policies) in the actor loss (0.001).
    pub logit_penalty: f64,
    /// Discrete policies.
    pub relaxation: Relaxation,
    /// Exploration of discrete policies.
    pub exploration: Exploration,
    /// Standard deviation of the exploration noise of continuous policies, by environment steps, relative to half the
    /// action range; for ε-greedy ones, ε.
    pub noise: Schedule,
    /// Central critics.
    pub critic: CriticKind,
    /// Parameters of the actors.
    pub actors: Sharing,
    /// Parameters of the critics.
    pub critics: Sharing,
    /// Groups (by index in the layout) that learn with local critics: DDPG.
    pub local_critics: Vec<usize>,
    /// Two critics, the smaller one counts in targets.
    pub twin: bool,
    /// Critic updates per actor update.
    pub policy_delay: usize,
    /// Standard deviation of the noise on target actions of continuous policies, relative to half the range.
    pub target_noise: f64,
    /// Bound of that noise.
    pub target_noise_clip: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hidden: vec![64, 64],
            actor_rate: 1e-2,
            critic_rate: 1e-2,
            decay: Schedule::Constant(1.0),
            clip: 0.5,
            gamma: 0.95,
            tau: 0.01,
            batch: 1024,
            capacity: 1_000_000,
            warm_up: 25_600,
            update_every: 100,
            logit_penalty: 1e-3,
            relaxation: Relaxation::default(),
            exploration: Exploration::default(),
            critic: CriticKind::default(),
            noise: Schedule::Linear { start: 0.3, end: 0.05, steps: 500_000 },
            actors: Sharing::None,
            critics: Sharing::None,
            local_critics: Vec::new(),
            twin: false,
            policy_delay: 1,
            target_noise: 0.0,
            target_noise_clip: 0.5,
        }
    }
}

impl Config {
    /// MATD3: twin critics, every second update moves the policies, target smoothing 0.2 clipped at 0.5.
    pub fn matd3() -> Self {
        Self { twin: true, policy_delay: 2, target_noise: 0.2, ..Self::default() }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let bad = |field, value: String, allowed| Err(Error::config("maddpg", field, value, allowed));
        let positive = |x: f64| x > 0.0 && x.is_finite();
        match self {
            c if c.hidden.contains(&0) => bad("hidden", format!("{:?}", c.hidden), "positive widths"),
            c if !positive(c.actor_rate) => bad("actor_rate", c.actor_rate.to_string(), "above 0"),
            c if !positive(c.critic_rate) => bad("critic_rate", c.critic_rate.to_string(), "above 0"),
            c if !positive(c.clip) => bad("clip", c.clip.to_string(), "above 0"),
            c if !(0.0..=1.0).contains(&c.gamma) => bad("gamma", c.gamma.to_string(), "in [0, 1]"),
            c if !(c.tau > 0.0 && c.tau <= 1.0) => bad("tau", c.tau.to_string(), "in (0, 1]"),
            c if c.batch == 0 => bad("batch", "0".into(), "at least 1"),
            c if c.capacity < c.batch => bad("capacity", c.capacity.to_string(), "at least batch"),
            c if c.update_every == 0 => bad("update_every", "0".into(), "at least 1"),
            c if c.policy_delay == 0 => bad("policy_delay", "0".into(), "at least 1"),
            _ => Ok(()),
        }
    }
}

/// What an action of one agent is to the networks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Head {
    /// Logits of a discrete action; the vector is one-hot or relaxed.
    Gumbel(Relaxation, Exploration),
    /// tanh, scaled to the range.
    Box { low: f32, high: f32 },
}

/// Losses of the last update, means over agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Losses {
    critic: f64,
    actor: f64,
    q: f64,
}

/// A MADDPG or MATD3 learner.
#[derive(Debug)]
pub struct Maddpg {
    config: Config,
    layout: Layout,
    columns: Columns,
    actors: Actors,
    critics: Critics,
    replay: JointReplay,
    batch: JointBatch,
    /// Per agent `[B, A]`: the action vectors of the last `act`.
    chosen: Vec<Vec<f32>>,
    steps: u64,
    clock: Clock,
    updates: u64,
    losses: Losses,
}

impl Maddpg {
    /// Draws the networks.
    ///
    /// # Errors
    /// [`Error::Config`] from the settings.
    pub fn new(layout: &Layout, config: Config, seeds: &SeedStream) -> Result<Self> {
        config.validate()?;
        if let Some(group) = config.local_critics.iter().find(|&&g| g >= layout.groups.len()) {
            return Err(Error::config("maddpg", "local_critics", group, "indices of groups"));
        }
        let columns = Columns::new(layout);
        Ok(Self {
            actors: Actors::new(layout, &config, seeds)?,
            critics: Critics::new(layout, &config, seeds)?,
            replay: JointReplay::new(columns.clone(), config.capacity)?,
            batch: JointBatch::default(),
            chosen: vec![Vec::new(); layout.n()],
            steps: 0,
            clock: Clock::new(config.warm_up),
            updates: 0,
            losses: Losses::default(),
            layout: layout.clone(),
            columns,
            config,
        })
    }

    /// Updates made.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Attention weights `[B][heads][N]` of an agent's critic on what the agents see now and would do: whom it looks at.
    /// `None` without an attention critic.
    ///
    /// # Errors
    /// If the sizes are not those the learner was made for, or there is no such agent.
    pub fn attention(&mut self, agent: usize, now: &BatchStep) -> Result<Option<Vec<f32>>> {
        now.check(&self.layout, now.reset.len())?;
        if agent >= self.layout.n() {
            return Err(Error::shape("attention", format!("an agent below {}", self.layout.n()), agent));
        }
        let mut rng = SeedStream::new(0).stream("maddpg/attention", 0);
        self.actors.act(now, Mode::Exploit, 0.0, &mut rng, &mut self.chosen)?;
        let copies = now.reset.len();
        let mut joint = Vec::new();
        for b in 0..copies {
            for rows in now.observations.iter().chain(&self.chosen) {
                let d = rows.len() / copies.max(1);
                joint.extend_from_slice(&rows[b * d..(b + 1) * d]);
            }
        }
        self.critics.attention(&self.columns, &joint, agent)
    }

    fn update(&mut self, rng: &mut StreamRng) -> Result<()> {
        self.replay.sample(self.config.batch, rng, &mut self.batch)?;
        let decay = self.config.decay.at(self.steps);
        self.actors.set_rate(self.config.actor_rate * decay);
        self.critics.set_rate(self.config.critic_rate * decay);
        self.actors.act_next(&self.columns, &mut self.batch, &self.config, rng)?;
        (self.losses.critic, self.losses.q) =
            self.critics.update(&self.columns, &self.batch, &self.config)?;
        self.updates += 1;
        if self.updates.is_multiple_of(self.config.policy_delay as u64) {
            let (columns, batch) = (&self.columns, &self.batch);
            self.losses.actor = self.actors.update(columns, batch, &mut self.critics, &self.config, rng)?;
            self.actors.track(self.config.tau)?;
            self.critics.track(self.config.tau)?;
        }
        Ok(())
    }
}

impl Learner for Maddpg {
    fn act(
        &mut self,
        now: &BatchStep,
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> Result<()> {
        check_act(&self.layout, now, actions)?;
        let noise = self.config.noise.at(self.steps);
        self.actors.act(now, mode, noise, rng, &mut self.chosen)?;
        self.actors.execute(&self.chosen, actions);
        Ok(())
    }

    fn learn(&mut self, before: &BatchStep, after: &BatchStep, rng: &mut StreamRng) -> Result<()> {
        self.replay.push(before, &self.chosen, after)?;
        self.steps += after.reset.len() as u64;
        for _ in 0..self.clock.pass(after.reset.len(), self.config.update_every) {
            self.update(rng)?;
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.replay.clear();
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("losses/critic", self.losses.critic),
            ("losses/actor", self.losses.actor),
            ("charts/q", self.losses.q),
            ("charts/updates", self.updates as f64),
        ]
    }
}

impl Persist for Maddpg {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.actors.save(&format!("{prefix}/actors"), state)?;
        self.critics.save(&format!("{prefix}/critics"), state)?;
        self.replay.save(&format!("{prefix}/replay"), state)?;
        state.put(format!("{prefix}/counters"), &(self.steps, &self.clock, self.updates, self.losses))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.actors.load(&format!("{prefix}/actors"), state)?;
        self.critics.load(&format!("{prefix}/critics"), state)?;
        self.replay.load(&format!("{prefix}/replay"), state)?;
        (self.steps, self.clock, self.updates, self.losses) = state.get(&format!("{prefix}/counters"))?;
        Ok(())
    }
}

fn head(space: ActionSpace, config: &Config) -> Head {
    match space {
        ActionSpace::Discrete(_) => Head::Gumbel(config.relaxation, config.exploration),
        ActionSpace::Continuous { low, high, .. } => Head::Box { low, high },
    }
}

#[cfg(test)]
mod tests;
