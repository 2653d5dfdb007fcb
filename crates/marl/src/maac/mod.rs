//! MAAC (Iqbal and Sha 2019, "Actor-Attention-Critic for Multi-Agent Reinforcement Learning"): soft actor-critic for
//! discrete actions with a critic that looks at the other agents through attention.
//!
//! With e_j = encⱼ(o_j, a_j) and sᵢ = stateᵢ(oᵢ), xᵢ = Σ_{j≠i} softmax_j((W_q sᵢ)·(W_k e_j) / √d) · W_v e_j per head, and
//! `Qᵢ(o, a) = fᵢ([sᵢ, xᵢ])[aᵢ]`: one pass gives the values of all own actions, which the counterfactual baseline needs.
//! With temperature 1/c, c = [`Config::reward_scale`],
//!
//! yᵢ = rᵢ + γ (Q′ᵢ(o′, a′) − log π′ᵢ(a′ᵢ)/c), critic loss Σᵢ mean (Qᵢ − yᵢ)² + 10⁻³ mean ℓ²,
//! policy loss mean [log πᵢ(aᵢ) (log πᵢ(aᵢ)/c − Aᵢ)] + 10⁻³ mean logits², Aᵢ = Qᵢ(aᵢ) − Σ_b πᵢ(b) Qᵢ(b),
//!
//! all actions sampled anew from the present policies, gradients through log πᵢ only. W_q, W_k, W_v are common to all
//! agents; encoders and heads are their own.
//!
//! Deviations from the authors' code: ReLU in place of leaky ReLU, no batch normalisation of inputs, no weight decay;
//! queries and keys have biases; gradients of common parts are not divided by N, which Adam would undo.

mod critic;

use crate::env::{ActionSpace, BatchActions, BatchStep, Layout};
use crate::gumbel;
use crate::joint_replay::{Clock, Columns, JointBatch, JointReplay};
use crate::sharing::{Set, Sharing};
use crate::trainer::{Learner, Mode, check_act};
use crate::{Error, Result};
use candle_core::{D, Device, Tensor};
use critic::Critic;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward, polyak};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// Settings; the defaults are the authors' code's unless noted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Width of all hidden layers and of queries, keys and values over all heads (128).
    pub hidden: usize,
    /// Heads of the attention (4).
    pub heads: usize,
    /// Adam's step size of the policies (0.001).
    pub actor_rate: f64,
    /// Adam's step size of the critic (0.001).
    pub critic_rate: f64,
    /// Share τ of the new weights in the targets per update (0.001; here 0.005, as updates are fewer).
    pub tau: f64,
    /// Discount γ (0.99).
    pub gamma: f64,
    /// c: the larger, the less entropy counts (100).
    pub reward_scale: f64,
    /// Rows of a minibatch (1024; here 512).
    pub batch: usize,
    /// Joint transitions kept (10⁶).
    pub capacity: usize,
    /// Environment steps before the first update.
    pub warm_up: usize,
    /// Environment steps between updates (25: the authors' 4 per 100 steps).
    pub update_every: usize,
    /// Parameters of the policies (none shared).
    pub sharing: Sharing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hidden: 128,
            heads: 4,
            actor_rate: 1e-3,
            critic_rate: 1e-3,
            tau: 0.005,
            gamma: 0.99,
            reward_scale: 100.0,
            batch: 512,
            capacity: 1_000_000,
            warm_up: 10_000,
            update_every: 25,
            sharing: Sharing::None,
        }
    }
}

impl Config {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let bad = |field, value: String, allowed| Err(Error::config("maac", field, value, allowed));
        let positive = |x: f64| x > 0.0 && x.is_finite();
        match self {
            c if c.heads == 0 || c.hidden == 0 || !c.hidden.is_multiple_of(c.heads) => {
                bad("heads", c.heads.to_string(), "a divisor of hidden")
            }
            c if !positive(c.actor_rate) => bad("actor_rate", c.actor_rate.to_string(), "above 0"),
            c if !positive(c.critic_rate) => bad("critic_rate", c.critic_rate.to_string(), "above 0"),
            c if !positive(c.reward_scale) => bad("reward_scale", c.reward_scale.to_string(), "above 0"),
            c if !(c.tau > 0.0 && c.tau <= 1.0) => bad("tau", c.tau.to_string(), "in (0, 1]"),
            c if !(0.0..=1.0).contains(&c.gamma) => bad("gamma", c.gamma.to_string(), "in [0, 1]"),
            c if c.batch == 0 || c.capacity < c.batch => bad("batch", c.batch.to_string(), "in 1..=capacity"),
            c if c.update_every == 0 => bad("update_every", "0".into(), "at least 1"),
            _ => Ok(()),
        }
    }
}

/// Weights of the logits' mean squares.
const PENALTY: f64 = 1e-3;

/// A policy and its users.
#[derive(Debug)]
struct Actor {
    set: Set,
    online: Mlp,
    target: Mlp,
    optimizer: Optimizer,
}

/// A MAAC learner.
#[derive(Debug)]
pub struct Maac {
    config: Config,
    layout: Layout,
    columns: Columns,
    sizes: Vec<(usize, usize)>,
    actors: Vec<Actor>,
    online: Critic,
    target: Critic,
    critic_optimizer: Optimizer,
    replay: JointReplay,
    batch: JointBatch,
    workspace: Workspace<f32>,
    chosen: Vec<Vec<f32>>,
    clock: Clock,
    /// Critic loss, policy loss, entropy.
    metrics: [f64; 3],
}

/// Actions drawn from policies, per agent: one-hot `[B, A]`, and log-probabilities of all actions `[B, A]`.
type Drawn = (Vec<Vec<f32>>, Vec<Tensor>);

impl Maac {
    /// Draws the networks.
    ///
    /// # Errors
    /// [`Error::Config`] from the settings, or when an action space is not discrete.
    pub fn new(layout: &Layout, config: Config, seeds: &SeedStream) -> Result<Self> {
        config.validate()?;
        if let Some(agent) = layout.agents.iter().find(|a| !matches!(a.actions, ActionSpace::Discrete(_))) {
            return Err(Error::config("maac", "actions", &agent.name, "discrete for every agent"));
        }
        let hidden = [config.hidden; 2];
        let make = |(k, set): (usize, Set)| -> Result<Actor> {
            let mut rng = seeds.stream("maac/actor", k as u64);
            let online =
                Mlp::new(&MlpConfig::relu(set.input(), &hidden, set.action), &Device::Cpu, &mut rng)?;
            let adam = OptimizerConfig::adam(config.actor_rate, 1e-8, Clip::GlobalNorm(0.5));
            Ok(Actor {
                target: online.duplicate()?,
                set,
                optimizer: Optimizer::new(adam, &[online.params()])?,
                online,
            })
        };
        let sizes: Vec<_> = layout.agents.iter().map(|a| (a.observation, a.actions.width())).collect();
        let columns = Columns::new(layout);
        let online = Critic::new(&sizes, config.hidden, config.heads, &mut seeds.stream("maac/critic", 0))?;
        let clip = Clip::GlobalNorm(10.0 * layout.n() as f64);
        let adam = OptimizerConfig::adam(config.critic_rate, 1e-8, clip);
        Ok(Self {
            actors: config.sharing.sets(layout).into_iter().enumerate().map(make).collect::<Result<_>>()?,
            target: online.duplicate()?,
            critic_optimizer: Optimizer::new(adam, &online.params())?,
            online,
            replay: JointReplay::new(columns.clone(), config.capacity)?,
            batch: JointBatch::default(),
            workspace: Workspace::default(),
            chosen: vec![Vec::new(); layout.n()],
            clock: Clock::new(config.warm_up),
            metrics: [0.0; 3],
            layout: layout.clone(),
            columns,
            sizes,
            config,
        })
    }

    /// Attention weights `[N][B][heads][N]` of the critic on what the agents see now and would do: whom it looks at. The
    /// own weight is 0.
    ///
    /// # Errors
    /// If the sizes are not those the learner was made for.
    pub fn attention(&mut self, now: &BatchStep) -> Result<Vec<f32>> {
        let mut actions = BatchActions::new(&self.layout, now.reset.len());
        let mut rng = SeedStream::new(0).stream("maac/attention", 0);
        self.act(now, Mode::Exploit, &mut rng, &mut actions)?;
        let tensor =
            |rows: &[f32], width| Ok(Tensor::from_slice(rows, (now.reset.len(), width), &Device::Cpu)?);
        let sizes = self.sizes.iter();
        let seen =
            sizes.clone().zip(&now.observations).map(|(s, o)| tensor(o, s.0)).collect::<Result<Vec<_>>>()?;
        let done = sizes.zip(&self.chosen).map(|(s, a)| tensor(a, s.1)).collect::<Result<Vec<_>>>()?;
        let (_, logits) = self.online.forward(&seen, &done, false)?;
        self.online.weights(&logits)
    }

    /// Each agent's part of a joint buffer `[B, joint]`.
    fn observations(&self, joint: &[f32]) -> Result<Vec<Tensor>> {
        let joint = Tensor::from_slice(joint, (self.batch.rows, self.columns.joint()), &Device::Cpu)?;
        let part =
            |(i, s): (usize, &(usize, usize))| Ok(joint.narrow(1, self.columns.observation[i], s.0)?);
        self.sizes.iter().enumerate().map(part).collect()
    }

    /// Draws everybody's actions on a batch, from the target policies on the next observations or the present ones on these.
    fn draw(&self, next: bool, rng: &mut StreamRng) -> Result<Drawn> {
        let (batch, columns, rows) = (&self.batch, &self.columns, self.batch.rows);
        let (mut drawn, mut logs) = (vec![Vec::new(); self.sizes.len()], vec![None; self.sizes.len()]);
        let (joint, masks) =
            if next { (&batch.next, &batch.next_masks) } else { (&batch.joint, &batch.masks) };
        for actor in &self.actors {
            let set = &actor.set;
            let input = set.stack(|i| (&joint[columns.observation[i]..], self.sizes[i].0, columns.joint()));
            let input = Tensor::from_vec(input, (set.members.len() * rows, set.input()), &Device::Cpu)?;
            let out =
                if next { actor.target.forward_frozen(&input)? } else { actor.online.forward(&input)? };
            for (k, &i) in set.members.iter().enumerate() {
                let width = self.sizes[i].1;
                let mut logits = out.narrow(0, k * rows, rows)?.narrow(1, 0, width)?;
                if let Some(masks) = columns.masks_of(masks, rows, i)? {
                    logits =
                        (logits + masks.affine(-1.0, 1.0)?.affine(f64::from(gumbel::UNAVAILABLE), 0.0)?)?;
                }
                let log_probs = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
                let mut noisy = log_probs.flatten_all()?.to_vec1::<f32>()?;
                noisy.iter_mut().zip(gumbel::noise(rows * width, rng)).for_each(|(x, g)| *x += g);
                noisy.chunks_mut(width).for_each(|row| _ = gumbel::one_hot_row(row));
                drawn[i] = noisy;
                logs[i] = Some(log_probs);
            }
        }
        Ok((drawn, logs.into_iter().flatten().collect()))
    }

    fn one_hot(&self, drawn: &[Vec<f32>]) -> Result<Vec<Tensor>> {
        let tensor = |(rows, s): (&Vec<f32>, &(usize, usize))| {
            Ok(Tensor::from_slice(rows, (self.batch.rows, s.1), &Device::Cpu)?)
        };
        drawn.iter().zip(&self.sizes).map(tensor).collect()
    }

    fn update(&mut self, rng: &mut StreamRng) -> Result<()> {
        self.replay.sample(self.config.batch, rng, &mut self.batch)?;
        self.update_critic(rng)?;
        self.update_policies(rng)?;
        for actor in &self.actors {
            polyak(actor.target.params(), actor.online.params(), self.config.tau)?;
        }
        let pairs = self.target.params().into_iter().zip(self.online.params());
        pairs.into_iter().try_for_each(|(to, from)| Ok(polyak(to, from, self.config.tau)?))
    }

    fn update_critic(&mut self, rng: &mut StreamRng) -> Result<()> {
        let (next, logs) = self.draw(true, rng)?;
        let next = self.one_hot(&next)?;
        let (values, _) = self.target.forward(&self.observations(&self.batch.next)?, &next, false)?;
        let batch = &self.batch;
        let joint = Tensor::from_slice(&batch.joint, (batch.rows, self.columns.joint()), &Device::Cpu)?;
        let stored = |(i, s): (usize, &(usize, usize))| {
            Ok(joint.narrow(1, self.columns.observations + self.columns.action[i], s.1)?)
        };
        let actions = self.sizes.iter().enumerate().map(stored).collect::<Result<Vec<_>>>()?;
        let (q, logits) = self.online.forward(&self.observations(&batch.joint)?, &actions, true)?;
        let mut loss = (logits.sqr()?.mean_all()? * (PENALTY * self.sizes.len() as f64))?;
        for i in 0..self.sizes.len() {
            let soft = (&values[i] - (&logs[i] / self.config.reward_scale)?)?;
            let future = (soft * &next[i])?.sum(1)?.to_vec1::<f32>()?;
            let y =
                crate::maddpg::targets(&batch.rewards[i], &batch.terminated[i], &future, self.config.gamma);
            let y = Tensor::from_vec(y, batch.rows, &Device::Cpu)?;
            let acted = Tensor::from_slice(&batch.acted[i], batch.rows, &Device::Cpu)?;
            let count = f64::from(batch.acted[i].iter().sum::<f32>()).max(1.0);
            let error = ((&q[i] * &actions[i])?.sum(1)? - y)?.sqr()?;
            loss = (loss + ((error * acted)?.sum_all()? / count)?)?;
        }
        let (value, grads) = backward(&loss)?;
        self.critic_optimizer.step(&grads)?;
        self.metrics[0] = value / self.sizes.len() as f64;
        Ok(())
    }

    fn update_policies(&mut self, rng: &mut StreamRng) -> Result<()> {
        let (drawn, logs) = self.draw(false, rng)?;
        let drawn = self.one_hot(&drawn)?;
        let (q, _) = self.online.forward(&self.observations(&self.batch.joint)?, &drawn, false)?;
        let (mut losses, mut entropy) = (Vec::new(), 0.0);
        for i in 0..self.sizes.len() {
            let (log_probs, batch) = (&logs[i], &self.batch);
            let probs = log_probs.detach().exp()?;
            let log_prob = (log_probs * &drawn[i])?.sum(1)?; // [B]
            let advantage = ((&q[i] * &drawn[i])?.sum(1)? - (&q[i] * &probs)?.sum(1)?)?;
            let weight = ((log_prob.detach() / self.config.reward_scale)? - advantage)?.detach();
            let acted = Tensor::from_slice(&batch.acted[i], batch.rows, &Device::Cpu)?;
            let count = f64::from(batch.acted[i].iter().sum::<f32>()).max(1.0);
            let gain = (((log_prob * weight)? * acted)?.sum_all()? / count)?;
            // Log-probabilities are logits less their normaliser; unavailable ones are left out.
            let bounded = log_probs.clamp(-50.0, 0.0)?;
            losses.push((gain + (bounded.sqr()?.mean_all()? * PENALTY)?)?);
            entropy -= f64::from(
                (probs * log_probs.detach().clamp(-50.0, 0.0)?)?.sum(1)?.mean_all()?.to_scalar::<f32>()?,
            );
        }
        let loss = Tensor::stack(&losses, 0)?.sum_all()?;
        let (value, grads) = backward(&loss)?;
        for actor in &mut self.actors {
            actor.optimizer.step(&grads)?;
        }
        let n = self.sizes.len() as f64;
        (self.metrics[1], self.metrics[2]) = (value / n, entropy / n);
        Ok(())
    }
}

impl Learner for Maac {
    fn act(
        &mut self,
        now: &BatchStep,
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> Result<()> {
        check_act(&self.layout, now, actions)?;
        for actor in &self.actors {
            let set = &actor.set;
            let rows = set.stack(|i| (&now.observations[i], self.sizes[i].0, self.sizes[i].0));
            let out = actor.online.predict(&rows, &mut self.workspace)?;
            for (&i, out) in set.members.iter().zip(out.chunks(now.reset.len() * set.action)) {
                let width = self.sizes[i].1;
                self.chosen[i].clear();
                out.chunks(set.action).for_each(|row| self.chosen[i].extend_from_slice(&row[..width]));
                gumbel::hide(&mut self.chosen[i], &now.masks[i]);
                if mode == Mode::Explore {
                    let noise = gumbel::noise(self.chosen[i].len(), rng);
                    self.chosen[i].iter_mut().zip(noise).for_each(|(x, g)| *x += g);
                }
                for (row, a) in self.chosen[i].chunks_mut(width).zip(&mut actions.discrete[i]) {
                    *a = gumbel::one_hot_row(row) as u32;
                }
            }
        }
        Ok(())
    }

    fn learn(&mut self, before: &BatchStep, after: &BatchStep, rng: &mut StreamRng) -> Result<()> {
        self.replay.push(before, &self.chosen, after)?;
        for _ in 0..self.clock.pass(after.reset.len(), self.config.update_every) {
            self.update(rng)?;
        }
        Ok(())
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        ["losses/critic", "losses/policy", "charts/entropy"].into_iter().zip(self.metrics).collect()
    }

    fn finish(&mut self) {
        self.replay.clear();
    }
}

impl Persist for Maac {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        for (k, actor) in self.actors.iter().enumerate() {
            actor.online.save(&format!("{prefix}/{k}/online"), state)?;
            actor.target.save(&format!("{prefix}/{k}/target"), state)?;
            actor.optimizer.save(&format!("{prefix}/{k}/optimizer"), state)?;
        }
        for (name, critic) in [("online", &self.online), ("target", &self.target)] {
            for (j, params) in critic.params().into_iter().enumerate() {
                params.save(&format!("{prefix}/critic/{name}{j}"), state)?;
            }
        }
        self.critic_optimizer.save(&format!("{prefix}/critic/optimizer"), state)?;
        self.replay.save(&format!("{prefix}/replay"), state)?;
        state.put(format!("{prefix}/counters"), &(&self.clock, self.metrics))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        for (k, actor) in self.actors.iter_mut().enumerate() {
            actor.online.load(&format!("{prefix}/{k}/online"), state)?;
            actor.target.load(&format!("{prefix}/{k}/target"), state)?;
            actor.optimizer.load(&format!("{prefix}/{k}/optimizer"), state)?;
        }
        for (name, critic) in [("online", &self.online), ("target", &self.target)] {
            for (j, params) in critic.params().into_iter().enumerate() {
                // Parameters are shared handles: loading into a clone loads the network.
                params.clone().load(&format!("{prefix}/critic/{name}{j}"), state)?;
            }
        }
        self.critic_optimizer.load(&format!("{prefix}/critic/optimizer"), state)?;
        self.replay.load(&format!("{prefix}/replay"), state)?;
        (self.clock, self.metrics) = state.get(&format!("{prefix}/counters"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
