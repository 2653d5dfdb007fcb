//! Value decomposition for teams with one reward: VDN (Sunehag et al. 2018), QMIX (Rashid et al. 2018), and independent
//! Q-learning (IQL) for comparison.
//!
//! Each agent has Qᵢ(oᵢ, aᵢ) and acts by its maximum. The team's value is a monotone mix of the chosen ones,
//! Q_tot = Σᵢ Qᵢ (VDN) or f(Q₁..Q_N; s) with ∂f/∂Qᵢ ≥ 0 (QMIX), so that the joint maximum is found agent by agent:
//!
//! y = r + γ (1 − terminated) Q′_tot(o′, argmax Q₁(o′₁, ·), .., argmax Q_N(o′_N, ·)), loss mean (Q_tot − y)²,
//!
//! with the maxima of the online networks and the values of the target networks (double Q-learning). The reward r is
//! the sum of the agents' rewards, times [`Config::reward_scale`]. IQL learns each Qᵢ from the agent's own reward.
//!
//! Deviations from the authors' code: transitions instead of episodes are replayed, and agents have no recurrence.
//! Mixing is only sound where agents share their interests.

mod mixer;

pub use mixer::{Mixer, MixerConfig};

use crate::env::{ActionSpace, BatchActions, BatchStep, Layout};
use crate::gumbel;
use crate::joint_replay::{Clock, Columns, JointBatch, JointReplay};
use crate::sharing::{Set, Sharing};
use crate::trainer::{Learner, Mode, check_act};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rand::RngExt;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward, polyak};
use rl_core::schedule::Schedule;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// How the team's value is made of the agents'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mixing {
    /// Not at all: everyone learns from its own reward.
    Independent,
    /// Σ Qᵢ.
    Sum,
    /// A monotone network of the global state.
    #[default]
    Monotone,
}

/// Settings; defaults after Papoudakis et al. 2021 where they have one for feed-forward agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The mix.
    pub mixing: Mixing,
    /// Widths of the mixing network.
    pub mixer: MixerConfig,
    /// Hidden layers of the agents (64, 64).
    pub hidden: Vec<usize>,
    /// Adam's step size (5·10⁻⁴).
    pub rate: f64,
    /// Largest gradient norm (10).
    pub clip: f64,
    /// Discount γ (0.99).
    pub gamma: f64,
    /// Share of the new weights in the targets per update (0.01).
    pub tau: f64,
    /// Rows of a minibatch (800 = 32 episodes of 25 steps).
    pub batch: usize,
    /// Joint transitions kept (125,000 = 5,000 episodes of 25 steps).
    pub capacity: usize,
    /// Environment steps before the first update.
    pub warm_up: usize,
    /// Environment steps between updates (25: once per episode).
    pub update_every: usize,
    /// ε of ε-greedy exploration by environment steps (1 to 0.05 over 50,000).
    pub epsilon: Schedule,
    /// Parameters of the agents.
    pub sharing: Sharing,
    /// Factor of all rewards.
    pub reward_scale: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mixing: Mixing::Monotone,
            mixer: MixerConfig::default(),
            hidden: vec![64, 64],
            rate: 5e-4,
            clip: 10.0,
            gamma: 0.99,
            tau: 0.01,
            batch: 800,
            capacity: 125_000,
            warm_up: 2_000,
            update_every: 25,
            epsilon: Schedule::Linear { start: 1.0, end: 0.05, steps: 50_000 },
            sharing: Sharing::Group,
            reward_scale: 1.0,
        }
    }
}

impl Config {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let bad =
            |field, value: String, allowed| Err(Error::config("value_decomposition", field, value, allowed));
        match self {
            c if c.hidden.contains(&0) => bad("hidden", format!("{:?}", c.hidden), "positive widths"),
            c if !(c.rate > 0.0 && c.rate.is_finite()) => bad("rate", c.rate.to_string(), "above 0"),
            c if !(0.0..=1.0).contains(&c.gamma) => bad("gamma", c.gamma.to_string(), "in [0, 1]"),
            c if !(c.tau > 0.0 && c.tau <= 1.0) => bad("tau", c.tau.to_string(), "in (0, 1]"),
            c if c.batch == 0 || c.capacity < c.batch => bad("batch", c.batch.to_string(), "in 1..=capacity"),
            c if c.update_every == 0 => bad("update_every", "0".into(), "at least 1"),
            c if c.mixer.embedding == 0 || c.mixer.hidden == 0 => bad("mixer", "0".into(), "positive widths"),
            _ => Ok(()),
        }
    }
}

/// Networks of agents with common parameters.
#[derive(Debug)]
struct Agents {
    set: Set,
    online: Mlp,
    target: Mlp,
}

/// An IQL, VDN or QMIX learner.
#[derive(Debug)]
pub struct ValueDecomposition {
    config: Config,
    layout: Layout,
    columns: Columns,
    sizes: Vec<(usize, usize)>,
    agents: Vec<Agents>,
    mixer: Option<(Mixer, Mixer)>,
    optimizer: Optimizer,
    replay: JointReplay,
    batch: JointBatch,
    workspace: Workspace<f32>,
    /// Per agent `[B, A]`: one-hot actions of the last `act`.
    chosen: Vec<Vec<f32>>,
    steps: u64,
    clock: Clock,
    updates: u64,
    losses: [f64; 2],
}

impl ValueDecomposition {
    /// Draws the networks.
    ///
    /// # Errors
    /// [`Error::Config`] from the settings, or when an action space is not discrete.
    pub fn new(layout: &Layout, config: Config, seeds: &SeedStream) -> Result<Self> {
        config.validate()?;
        if let Some(agent) = layout.agents.iter().find(|a| !matches!(a.actions, ActionSpace::Discrete(_))) {
            return Err(Error::config(
                "value_decomposition",
                "actions",
                &agent.name,
                "discrete for every agent",
            ));
        }
        let columns = Columns::new(layout);
        let make = |(k, set): (usize, Set)| -> Result<Agents> {
            let mut rng = seeds.stream("value_decomposition/agent", k as u64);
            let online =
                Mlp::new(&MlpConfig::relu(set.input(), &config.hidden, set.action), &Device::Cpu, &mut rng)?;
            Ok(Agents { target: online.duplicate()?, set, online })
        };
        let agents: Vec<Agents> =
            config.sharing.sets(layout).into_iter().enumerate().map(make).collect::<Result<_>>()?;
        let mixer = match config.mixing {
            Mixing::Monotone => {
                let mut rng = seeds.stream("value_decomposition/mixer", 0);
                let mixer = Mixer::new(layout.n(), columns.observations, &config.mixer, &mut rng)?;
                Some((mixer.duplicate()?, mixer))
            }
            _ => None,
        };
        let mut modules: Vec<_> = agents.iter().map(|a| a.online.params()).collect();
        if let Some((_, online)) = &mixer {
            modules.extend(online.params());
        }
        let adam = OptimizerConfig::adam(config.rate, 1e-8, Clip::GlobalNorm(config.clip));
        Ok(Self {
            optimizer: Optimizer::new(adam, &modules)?,
            replay: JointReplay::new(columns.clone(), config.capacity)?,
            sizes: layout.agents.iter().map(|a| (a.observation, a.actions.width())).collect(),
            batch: JointBatch::default(),
            workspace: Workspace::default(),
            chosen: vec![Vec::new(); layout.n()],
            steps: 0,
            clock: Clock::new(config.warm_up),
            updates: 0,
            losses: [0.0; 2],
            agents,
            mixer,
            layout: layout.clone(),
            columns,
            config,
        })
    }

    fn mixers(&self) -> impl Iterator<Item = (&'static str, &Mixer)> {
        let pair =
            self.mixer.iter().flat_map(|(target, online)| [("target-mixer", target), ("mixer", online)]);
        pair.into_iter()
    }

    fn update(&mut self, rng: &mut StreamRng) -> Result<()> {
        self.replay.sample(self.config.batch, rng, &mut self.batch)?;
        let next = self.next_values()?;
        let (batch, columns) = (&self.batch, &self.columns);
        let (rows, n) = (batch.rows, self.sizes.len());
        let joint = Tensor::from_slice(&batch.joint, (rows, columns.joint()), &Device::Cpu)?;
        let mut chosen: Vec<Option<Tensor>> = vec![None; n];
        for agents in &self.agents {
            let set = &agents.set;
            let input =
                set.stack(|i| (&batch.joint[columns.observation[i]..], self.sizes[i].0, columns.joint()));
            let input = Tensor::from_vec(input, (set.members.len() * rows, set.input()), &Device::Cpu)?;
            let all = agents.online.forward(&input)?; // [members · B, A]
            for (k, &i) in set.members.iter().enumerate() {
                let action = self.sizes[i].1;
                let q = all.narrow(0, k * rows, rows)?.narrow(1, 0, action)?;
                let taken = joint.narrow(1, columns.observations + columns.action[i], action)?;
                chosen[i] = Some((q * taken)?.sum(1)?); // [B]
            }
        }
        let chosen: Vec<Tensor> = chosen.into_iter().flatten().collect();
        let (gamma, scale) = (self.config.gamma as f32, self.config.reward_scale as f32);
        let future = |i: usize, r: usize, v: f32| gamma * (1.0 - batch.terminated[i][r]) * v;
        let error = |q: &Tensor, y: Vec<f32>| -> Result<Tensor> {
            Ok((q - Tensor::from_vec(y, rows, &Device::Cpu)?)?.sqr()?)
        };
        let loss = if self.config.mixing == Mixing::Independent {
            let own = |i: usize| {
                (0..rows).map(|r| scale * batch.rewards[i][r] + future(i, r, next[i][r])).collect()
            };
            let one = |(i, q): (usize, &Tensor)| -> Result<Tensor> {
                let acted = Tensor::from_slice(&batch.acted[i], rows, &Device::Cpu)?;
                Ok(((error(q, own(i))? * acted)?.sum_all()?
                    / f64::from(batch.acted[i].iter().sum::<f32>()).max(1.0))?)
            };
            let losses = chosen.iter().enumerate().map(one).collect::<Result<Vec<_>>>()?;
            Tensor::stack(&losses, 0)?.mean_all()?
        } else {
            let each = Tensor::stack(&chosen, 1)?; // [B, N]
            let mixed = match &self.mixer {
                Some((_, online)) => {
                    online.forward(&each, &joint.narrow(1, 0, columns.observations)?.contiguous()?)?
                }
                None => each.sum(1)?,
            };
            let total = self.mixed_next(&next)?;
            let reward = |r: usize| scale * (0..n).map(|i| batch.rewards[i][r]).sum::<f32>();
            // The team's task is over when it is over for everybody.
            let ended = |r: usize| (0..n).map(|i| batch.terminated[i][r]).fold(1.0, f32::min);
            let y = (0..rows).map(|r| reward(r) + gamma * (1.0 - ended(r)) * total[r]).collect();
            self.losses[1] = f64::from(mixed.mean_all()?.to_scalar::<f32>()?);
            error(&mixed, y)?.mean_all()?
        };
        let (value, grads) = backward(&loss)?;
        self.optimizer.step(&grads)?;
        self.losses[0] = value;
        self.updates += 1;
        for agents in &self.agents {
            polyak(agents.target.params(), agents.online.params(), self.config.tau)?;
        }
        if let Some((target, online)) = &self.mixer {
            target.track(online, self.config.tau)?;
        }
        Ok(())
    }

    /// Per agent `[B]`: the target networks' values of the online networks' choices.
    fn next_values(&mut self) -> Result<Vec<Vec<f32>>> {
        let (batch, columns) = (&self.batch, &self.columns);
        let mut values = vec![Vec::new(); self.sizes.len()];
        for agents in &self.agents {
            let set = &agents.set;
            let input =
                set.stack(|i| (&batch.next[columns.observation[i]..], self.sizes[i].0, columns.joint()));
            let online = agents.online.predict(&input, &mut self.workspace)?.to_vec();
            let target = agents.target.predict(&input, &mut self.workspace)?;
            let rows = set.action * batch.rows;
            for (k, &i) in set.members.iter().enumerate() {
                let width = self.sizes[i].1;
                for r in 0..batch.rows {
                    let at = k * rows + r * set.action;
                    let mut online = online[at..at + width].to_vec();
                    let mask = r * columns.actions + columns.action[i];
                    if let Some(mask) = batch.next_masks.get(mask..mask + width) {
                        let hidden = online.iter_mut().zip(mask).filter(|(_, m)| **m == 0.0);
                        hidden.for_each(|(q, _)| *q = gumbel::UNAVAILABLE);
                    }
                    values[i].push(target[at..at + width][gumbel::argmax(&online)]);
                }
            }
        }
        Ok(values)
    }

    fn mixed_next(&self, next: &[Vec<f32>]) -> Result<Vec<f32>> {
        let rows = self.batch.rows;
        let Some((target, _)) = &self.mixer else {
            return Ok((0..rows).map(|r| next.iter().map(|v| v[r]).sum()).collect());
        };
        let flat: Vec<f32> = (0..rows).flat_map(|r| next.iter().map(move |v| v[r])).collect();
        let each = Tensor::from_vec(flat, (rows, next.len()), &Device::Cpu)?;
        let joint = Tensor::from_slice(&self.batch.next, (rows, self.columns.joint()), &Device::Cpu)?;
        let state = joint.narrow(1, 0, self.columns.observations)?.contiguous()?;
        Ok(target.forward(&each, &state)?.detach().to_vec1()?)
    }
}

impl Learner for ValueDecomposition {
    fn act(
        &mut self,
        now: &BatchStep,
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> Result<()> {
        check_act(&self.layout, now, actions)?;
        let epsilon = if mode == Mode::Explore { self.config.epsilon.at(self.steps) } else { 0.0 };
        for agents in &self.agents {
            let set = &agents.set;
            let rows = set.stack(|i| (&now.observations[i], self.sizes[i].0, self.sizes[i].0));
            let q = agents.online.predict(&rows, &mut self.workspace)?;
            for (&i, q) in set.members.iter().zip(q.chunks(now.reset.len() * set.action)) {
                let action = self.sizes[i].1;
                self.chosen[i].clear();
                for (b, row) in q.chunks(set.action).enumerate() {
                    let start = self.chosen[i].len();
                    self.chosen[i].extend_from_slice(&row[..action]);
                    let row = &mut self.chosen[i][start..];
                    if epsilon > 0.0 && rng.random::<f64>() < epsilon {
                        row.iter_mut().for_each(|q| *q = rng.random());
                    }
                    gumbel::hide(row, now.masks[i].get(start..start + action).unwrap_or_default());
                    actions.discrete[i][b] = gumbel::one_hot_row(row) as u32;
                }
            }
        }
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
            ("losses/q", self.losses[0]),
            ("charts/q_tot", self.losses[1]),
            ("charts/updates", self.updates as f64),
        ]
    }
}

impl Persist for ValueDecomposition {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        for (k, agents) in self.agents.iter().enumerate() {
            agents.online.save(&format!("{prefix}/{k}/online"), state)?;
            agents.target.save(&format!("{prefix}/{k}/target"), state)?;
        }
        for (name, mixer) in self.mixers() {
            for (j, params) in mixer.params().enumerate() {
                params.save(&format!("{prefix}/{name}{j}"), state)?;
            }
        }
        self.optimizer.save(&format!("{prefix}/optimizer"), state)?;
        self.replay.save(&format!("{prefix}/replay"), state)?;
        state.put(format!("{prefix}/counters"), &(self.steps, &self.clock, self.updates, self.losses))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        for (k, agents) in self.agents.iter_mut().enumerate() {
            agents.online.load(&format!("{prefix}/{k}/online"), state)?;
            agents.target.load(&format!("{prefix}/{k}/target"), state)?;
        }
        for (name, mixer) in self.mixers() {
            for (j, params) in mixer.params().enumerate() {
                // Parameters are shared handles: loading into a clone loads the network.
                params.clone().load(&format!("{prefix}/{name}{j}"), state)?;
            }
        }
        self.optimizer.load(&format!("{prefix}/optimizer"), state)?;
        self.replay.load(&format!("{prefix}/replay"), state)?;
        (self.steps, self.clock, self.updates, self.losses) = state.get(&format!("{prefix}/counters"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
