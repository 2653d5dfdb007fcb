//! The policies: acting, target actions, and the actor loss.

use super::critic::Critics;
use super::{Config, Head, Relaxation, head};
use crate::env::{BatchActions, Layout};
use crate::gumbel;
use crate::joint_replay::{Columns, JointBatch};
use crate::sharing::Set;
use crate::trainer::Mode;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_distr::StandardNormal;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward, polyak};
use rl_core::{SeedStream, StreamRng};

/// One policy network and who uses it.
#[derive(Debug)]
struct Actor {
    set: Set,
    online: Mlp,
    target: Mlp,
    optimizer: Optimizer,
}

/// All policies.
#[derive(Debug)]
pub(super) struct Actors {
    actors: Vec<Actor>,
    heads: Vec<Head>,
    /// Observation length and action width of each agent.
    sizes: Vec<(usize, usize)>,
    workspace: Workspace<f32>,
    input: Vec<f32>,
}

impl Actors {
    pub(super) fn new(layout: &Layout, config: &Config, seeds: &SeedStream) -> Result<Self> {
        let make = |(k, set): (usize, Set)| -> Result<Actor> {
            let mut rng = seeds.stream("maddpg/actor", k as u64);
            let online =
                Mlp::new(&MlpConfig::relu(set.input(), &config.hidden, set.action), &Device::Cpu, &mut rng)?;
            let adam = OptimizerConfig::adam(config.actor_rate, 1e-8, Clip::GlobalNorm(config.clip));
            let optimizer = Optimizer::new(adam, &[online.params()])?;
            Ok(Actor { target: online.duplicate()?, set, online, optimizer })
        };
        Ok(Self {
            actors: config.actors.sets(layout).into_iter().enumerate().map(make).collect::<Result<_>>()?,
            heads: layout.agents.iter().map(|a| head(a.actions, config.relaxation)).collect(),
            sizes: layout.agents.iter().map(|a| (a.observation, a.actions.width())).collect(),
            workspace: Workspace::default(),
            input: Vec::new(),
        })
    }

    /// Action vectors per agent, `[B, A]`.
    pub(super) fn act(
        &mut self,
        observations: &[Vec<f32>],
        mode: Mode,
        noise: f64,
        rng: &mut StreamRng,
        chosen: &mut [Vec<f32>],
    ) -> Result<()> {
        if observations.len() != self.sizes.len() {
            return Err(Error::shape(
                "maddpg act",
                format!("{} agents", self.sizes.len()),
                observations.len(),
            ));
        }
        for actor in &self.actors {
            for (k, &i) in actor.set.members.iter().enumerate() {
                let (width, action) = self.sizes[i];
                self.input.clear();
                actor.set.write(k, &observations[i], width, width, &mut self.input);
                let rows = observations[i].len() / width;
                let out = infer(&actor.online, rows, &self.input, &mut self.workspace)?;
                chosen[i].clear();
                out.chunks(actor.set.action).for_each(|row| chosen[i].extend_from_slice(&row[..action]));
                squash(self.heads[i], mode, noise, f64::INFINITY, action, rng, &mut chosen[i]);
            }
        }
        Ok(())
    }

    /// Turns action vectors into actions of the environment: the largest entry, or the vector itself.
    pub(super) fn execute(&self, chosen: &[Vec<f32>], actions: &mut BatchActions) {
        for (i, vectors) in chosen.iter().enumerate() {
            match self.heads[i] {
                Head::Gumbel(_) => {
                    let rows = vectors.chunks(self.sizes[i].1).map(|row| gumbel::argmax(row) as u32);
                    actions.discrete[i].iter_mut().zip(rows).for_each(|(a, best)| *a = best);
                }
                Head::Box { .. } => actions.continuous[i].copy_from_slice(vectors),
            }
        }
    }

    /// Fills in the target policies' actions behind the next observations of a batch.
    pub(super) fn act_next(
        &mut self,
        columns: &Columns,
        batch: &mut JointBatch,
        config: &Config,
        rng: &mut StreamRng,
    ) -> Result<()> {
        let joint = columns.joint();
        for actor in &self.actors {
            for (k, &i) in actor.set.members.iter().enumerate() {
                let (width, action) = self.sizes[i];
                self.input.clear();
                actor.set.write(k, &batch.next[columns.observation[i]..], width, joint, &mut self.input);
                let out = infer(&actor.target, batch.rows, &self.input, &mut self.workspace)?;
                let mut vectors: Vec<f32> = Vec::with_capacity(batch.rows * action);
                out.chunks(actor.set.action).for_each(|row| vectors.extend_from_slice(&row[..action]));
                let mode = match self.heads[i] {
                    Head::Gumbel(Relaxation::StraightThrough) => Mode::Exploit,
                    Head::Box { .. } if config.target_noise == 0.0 => Mode::Exploit,
                    _ => Mode::Explore,
                };
                let bound = config.target_noise_clip;
                squash(self.heads[i], mode, config.target_noise, bound, action, rng, &mut vectors);
                let start = columns.observations + columns.action[i];
                for (row, vector) in batch.next.chunks_mut(joint).zip(vectors.chunks(action)) {
                    row[start..start + action].copy_from_slice(vector);
                }
            }
        }
        Ok(())
    }

    /// One step of every policy; returns the mean of −Q over agents.
    pub(super) fn update(
        &mut self,
        columns: &Columns,
        batch: &JointBatch,
        critics: &Critics,
        config: &Config,
        rng: &mut StreamRng,
    ) -> Result<f64> {
        let joint = Tensor::from_slice(&batch.joint, (batch.rows, columns.joint()), &Device::Cpu)?;
        let mut total = 0.0;
        for actor in &mut self.actors {
            let mut losses = Vec::with_capacity(actor.set.members.len());
            for (k, &i) in actor.set.members.iter().enumerate() {
                let (width, action) = self.sizes[i];
                self.input.clear();
                actor.set.write(
                    k,
                    &batch.joint[columns.observation[i]..],
                    width,
                    columns.joint(),
                    &mut self.input,
                );
                let input = Tensor::from_slice(&self.input, (batch.rows, actor.set.input()), &Device::Cpu)?;
                let logits = actor.online.forward(&input)?.narrow(1, 0, action)?; // [B, A]
                let vectors = relax(self.heads[i], &logits, rng)?;
                let q = critics.judge(columns, i, &joint, &vectors, batch)?; // [B]
                let acted = Tensor::from_slice(&batch.acted[i], batch.rows, &Device::Cpu)?;
                let count = f64::from(batch.acted[i].iter().sum::<f32>()).max(1.0);
                let gain = ((q * acted)?.sum_all()? / count)?;
                let penalty = (logits.sqr()?.mean_all()? * config.logit_penalty)?;
                losses.push((penalty - gain)?);
            }
            let loss = (Tensor::stack(&losses, 0)?.sum_all()? / losses.len() as f64)?;
            let (value, grads) = backward(&loss)?;
            actor.optimizer.step(&grads)?;
            total += value * losses.len() as f64;
        }
        Ok(total / self.sizes.len() as f64)
    }

    /// Moves the target policies.
    pub(super) fn track(&self, tau: f64) -> Result<()> {
        self.actors.iter().try_for_each(|a| Ok(polyak(a.target.params(), a.online.params(), tau)?))
    }

    #[cfg(test)]
    pub(super) fn weights(&self) -> Vec<Vec<f32>> {
        self.actors.iter().map(|a| a.online.params().to_vec::<f32>().unwrap()).collect()
    }
}

impl Persist for Actors {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.actors.iter().enumerate().try_for_each(|(k, a)| {
            a.online.save(&format!("{prefix}/{k}/online"), state)?;
            a.target.save(&format!("{prefix}/{k}/target"), state)?;
            a.optimizer.save(&format!("{prefix}/{k}/optimizer"), state)
        })
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.actors.iter_mut().enumerate().try_for_each(|(k, a)| {
            a.online.load(&format!("{prefix}/{k}/online"), state)?;
            a.target.load(&format!("{prefix}/{k}/target"), state)?;
            a.optimizer.load(&format!("{prefix}/{k}/optimizer"), state)
        })
    }
}

/// Runs a network on rows without a graph.
pub(super) fn infer(
    mlp: &Mlp,
    rows: usize,
    input: &[f32],
    workspace: &mut Workspace<f32>,
) -> Result<Vec<f32>> {
    Ok(mlp.params().with::<f32, _>(|p| Ok(mlp.infer(p, rows, input, mlp.inputs(), workspace).to_vec()))?)
}

/// Turns network outputs `[B, A]` into action vectors in place; noise of continuous actions is clipped at ±`bound`.
fn squash(
    head: Head,
    mode: Mode,
    noise: f64,
    bound: f64,
    width: usize,
    rng: &mut StreamRng,
    rows: &mut [f32],
) {
    match head {
        Head::Gumbel(relaxation) => {
            if mode == Mode::Explore {
                let gumbel = gumbel::noise(rows.len(), rng);
                rows.iter_mut().zip(gumbel).for_each(|(x, g)| *x += g);
            }
            for row in rows.chunks_mut(width) {
                match (relaxation, mode) {
                    (Relaxation::Soft, Mode::Explore) => gumbel::softmax_row(row),
                    _ => _ = gumbel::one_hot_row(row),
                }
            }
        }
        Head::Box { low, high } => {
            let (middle, half) = ((low + high) / 2.0, (high - low) / 2.0);
            for x in rows {
                let mut a = x.tanh();
                if mode == Mode::Explore {
                    let draw = noise * rng.sample::<f64, _>(StandardNormal);
                    a = (a + draw.clamp(-bound, bound) as f32).clamp(-1.0, 1.0);
                }
                *x = middle + half * a;
            }
        }
    }
}

/// The same for the actor loss, with gradients.
fn relax(head: Head, logits: &Tensor, rng: &mut StreamRng) -> Result<Tensor> {
    match head {
        Head::Gumbel(relaxation) => {
            let noise =
                Tensor::from_vec(gumbel::noise(logits.elem_count(), rng), logits.shape(), &Device::Cpu)?;
            let soft = gumbel::soft(logits, &noise, 1.0)?;
            match relaxation {
                Relaxation::Soft => Ok(soft),
                Relaxation::StraightThrough => gumbel::straight_through(&soft),
            }
        }
        Head::Box { low, high } => {
            let (middle, half) = (f64::from(low + high) / 2.0, f64::from(high - low) / 2.0);
            Ok(logits.tanh()?.affine(half, middle)?)
        }
    }
}
