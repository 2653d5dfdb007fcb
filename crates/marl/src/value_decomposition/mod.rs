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
use crate::joint_replay::{Columns, JointBatch, JointReplay};
use crate::sharing::{Set, Sharing};
use crate::trainer::{Learner, Mode, check_act};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rand::RngExt;
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
    until_update: usize,
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
            until_update: config.warm_up,
            updates: 0,
            losses: [0.0; 2],
            agents,
            mixer,
            layout: layout.clone(),
            columns,
            config,
        })
    }

    fn update(&mut self, rng: &mut StreamRng) -> Result<()> {
        self.replay.sample(self.config.batch, rng, &mut self.batch)?;
        let next = self.next_values()?;
        let (batch, columns) = (&self.batch, &self.columns);
        let (rows, n) = (batch.rows, self.sizes.len());
        let joint = Tensor::from_slice(&batch.joint, (rows, columns.joint()), &Device::Cpu)?;
        let mut chosen: Vec<Option<Tensor>> = vec![None; n];
        for agents in &self.agents {
            for (k, &i) in agents.set.members.iter().enumerate() {
                let (width, action) = self.sizes[i];
                let mut input = Vec::new();
                agents.set.write(
                    k,
                    &batch.joint[columns.observation[i]..],
                    width,
                    columns.joint(),
                    &mut input,
                );
                let input = Tensor::from_vec(input, (rows, agents.set.input()), &Device::Cpu)?;
                let q = agents.online.forward(&input)?.narrow(1, 0, action)?; // [B, A]
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
            for (k, &i) in agents.set.members.iter().enumerate() {
                let (width, action) = self.sizes[i];
                let mut input = Vec::new();
                agents.set.write(
                    k,
                    &batch.next[columns.observation[i]..],
                    width,
                    columns.joint(),
                    &mut input,
                );
                let workspace = &mut self.workspace;
                let mut run = |mlp: &Mlp| {
                    mlp.params().with::<f32, _>(|p| {
                        Ok(mlp.infer(p, batch.rows, &input, mlp.inputs(), workspace).to_vec())
                    })
                };
                let (online, target) = (run(&agents.online)?, run(&agents.target)?);
                let rows = online.chunks(agents.set.action).zip(target.chunks(agents.set.action));
                values[i] = rows.map(|(online, target)| target[gumbel::argmax(&online[..action])]).collect();
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
        observations: &[Vec<f32>],
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> Result<()> {
        check_act(&self.layout, observations, actions)?;
        let epsilon = if mode == Mode::Explore { self.config.epsilon.at(self.steps) } else { 0.0 };
        let mut input = Vec::new();
        for agents in &self.agents {
            for (k, &i) in agents.set.members.iter().enumerate() {
                let (width, action) = self.sizes[i];
                input.clear();
                agents.set.write(k, &observations[i], width, width, &mut input);
                let (rows, mlp, workspace) =
                    (observations[i].len() / width, &agents.online, &mut self.workspace);
                let q = mlp
                    .params()
                    .with::<f32, _>(|p| Ok(mlp.infer(p, rows, &input, mlp.inputs(), workspace).to_vec()))?;
                self.chosen[i].clear();
                self.chosen[i].resize(rows * action, 0.0);
                for (b, row) in q.chunks(agents.set.action).enumerate() {
                    let explore = epsilon > 0.0 && rng.random::<f64>() < epsilon;
                    let a =
                        if explore { rng.random_range(0..action) } else { gumbel::argmax(&row[..action]) };
                    actions.discrete[i][b] = a as u32;
                    self.chosen[i][b * action + a] = 1.0;
                }
            }
        }
        Ok(())
    }

    fn learn(
        &mut self,
        before: &[Vec<f32>],
        live: &[Vec<bool>],
        step: &BatchStep,
        rng: &mut StreamRng,
    ) -> Result<()> {
        self.replay.push(before, &self.chosen, live, step)?;
        let mut passed = step.reset.len();
        self.steps += passed as u64;
        while passed >= self.until_update {
            passed -= self.until_update;
            self.until_update = self.config.update_every;
            self.update(rng)?;
        }
        self.until_update -= passed;
        Ok(())
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("losses/q", self.losses[0]),
            ("charts/q_tot", self.losses[1]),
            ("charts/updates", self.updates as f64),
        ]
    }
}

#[cfg(test)]
mod tests;
