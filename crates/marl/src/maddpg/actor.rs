//! The policies: acting, target actions, and the actor loss.

use super::critic::{Critics, Judged};
use super::{Config, Exploration, Head, Relaxation, head};
use crate::Result;
use crate::env::{BatchActions, BatchStep, Layout};
use crate::gumbel;
use crate::joint_replay::{Columns, JointBatch};
use crate::sharing::Set;
use crate::trainer::Mode;
use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_distr::StandardNormal;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig, fused_loss};
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
            heads: layout.agents.iter().map(|a| head(a.actions, config)).collect(),
            sizes: layout.agents.iter().map(|a| (a.observation, a.actions.width())).collect(),
            workspace: Workspace::default(),
        })
    }

    /// Action vectors per agent, `[B, A]`.
    pub(super) fn act(
        &mut self,
        now: &BatchStep,
        mode: Mode,
        noise: f64,
        rng: &mut StreamRng,
        chosen: &mut [Vec<f32>],
    ) -> Result<()> {
        let copies = now.reset.len();
        for actor in &self.actors {
            let rows = actor.set.stack(|i| (&now.observations[i], self.sizes[i].0, self.sizes[i].0));
            let out = actor.online.predict(&rows, &mut self.workspace)?;
            for (&i, out) in actor.set.members.iter().zip(out.chunks(copies * actor.set.action)) {
                let action = self.sizes[i].1;
                chosen[i].clear();
                out.chunks(actor.set.action).for_each(|row| chosen[i].extend_from_slice(&row[..action]));
                gumbel::hide(&mut chosen[i], &now.masks[i]);
                self.heads[i].squash(mode, noise, f64::INFINITY, action, rng, &mut chosen[i]);
            }
        }
        Ok(())
    }

    /// Turns action vectors into actions of the environment: the largest entry, or the vector itself.
    pub(super) fn execute(&self, chosen: &[Vec<f32>], actions: &mut BatchActions) {
        for (i, vectors) in chosen.iter().enumerate() {
            match self.heads[i] {
                Head::Gumbel(..) => {
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
        let (joint, rows) = (columns.joint(), batch.rows);
        for actor in &self.actors {
            let input = actor.set.stack(|i| (&batch.next[columns.observation[i]..], self.sizes[i].0, joint));
            let out = actor.target.predict(&input, &mut self.workspace)?;
            for (&i, out) in actor.set.members.iter().zip(out.chunks(rows * actor.set.action)) {
                let action = self.sizes[i].1;
                let mut vectors: Vec<f32> = Vec::with_capacity(rows * action);
                out.chunks(actor.set.action).for_each(|row| vectors.extend_from_slice(&row[..action]));
                if !batch.next_masks.is_empty() {
                    let masks = batch.next_masks.chunks(columns.actions).map(|m| &m[columns.action[i]..]);
                    for (row, mask) in vectors.chunks_mut(action).zip(masks) {
                        let hidden = row.iter_mut().zip(mask).filter(|(_, m)| **m == 0.0);
                        hidden.for_each(|(x, _)| *x = gumbel::UNAVAILABLE);
                    }
                }
                let mode = match self.heads[i] {
                    Head::Gumbel(Relaxation::StraightThrough, _) => Mode::Exploit,
                    Head::Box { .. } if config.target_noise == 0.0 => Mode::Exploit,
                    _ => Mode::Explore,
                };
                let bound = config.target_noise_clip;
                self.heads[i].squash(mode, config.target_noise, bound, action, rng, &mut vectors);
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
        critics: &mut Critics,
        config: &Config,
        rng: &mut StreamRng,
    ) -> Result<f64> {
        let (rows, width) = (batch.rows, columns.joint());
        let mut judged = Judged::new(columns, &batch.joint, critics);
        let mut total = 0.0;
        for actor in &mut self.actors {
            let input = actor.set.stack(|i| (&batch.joint[columns.observation[i]..], self.sizes[i].0, width));
            let members = actor.set.members.len();
            let input = Tensor::from_vec(input, (members * rows, actor.set.input()), &Device::Cpu)?;
            let out = actor.online.forward(&input)?; // [members · B, A]
            let mut loss: Option<Tensor> = None;
            for (k, &i) in actor.set.members.iter().enumerate() {
                let logits = out.narrow(0, k * rows, rows)?.narrow(1, 0, self.sizes[i].1)?; // [B, A]
                let (vectors, size) = self.heads[i].relax(&logits, columns.masks(batch, i)?, rng)?;
                let vectors = vectors.contiguous()?;
                let action = vectors.flatten_all()?.to_vec1::<f32>()?;
                let count = f64::from(batch.acted[i].iter().sum::<f32>()).max(1.0);
                // ∂loss/∂Q of loss = −mean Q over agents and rows.
                let scale = (1.0 / members as f64) as f32 * (1.0 / count) as f32;
                let weights: Vec<f32> = batch.acted[i].iter().map(|w| w * -scale).collect();
                let (q, gradient) = critics.judge(&mut judged, i, &action, &weights)?;
                let value = q.iter().zip(&weights).map(|(q, w)| f64::from(q * w)).sum();
                let mut term = fused_loss([&vectors], |_: [&[f32]; 1], [d]| {
                    d.copy_from_slice(&gradient);
                    value
                })?;
                if config.logit_penalty > 0.0 {
                    term = (((size * config.logit_penalty)? / members as f64)? + term)?;
                }
                loss = Some(match loss {
                    Some(sum) => (sum + term)?,
                    None => term,
                });
            }
            let Some(loss) = loss else { continue };
            let (value, grads) = backward(&loss)?;
            actor.optimizer.step(&grads)?;
            total += value * members as f64;
        }
        Ok(total / self.sizes.len() as f64)
    }

    pub(super) fn set_rate(&mut self, rate: f64) {
        self.actors.iter_mut().for_each(|a| a.optimizer.set_learning_rate(rate));
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

impl Head {
    /// Turns network outputs `[B, A]` into action vectors in place; noise of continuous actions is clipped at ±`bound`.
    fn squash(self, mode: Mode, noise: f64, bound: f64, width: usize, rng: &mut StreamRng, rows: &mut [f32]) {
        match self {
            Self::Gumbel(relaxation, exploration) => {
                if mode == Mode::Explore && exploration == Exploration::Gumbel {
                    let gumbel = gumbel::noise(rows.len(), rng);
                    rows.iter_mut().zip(gumbel).for_each(|(x, g)| *x += g);
                }
                for row in rows.chunks_mut(width) {
                    let soft = relaxation == Relaxation::Soft && mode == Mode::Explore;
                    if exploration == Exploration::EpsilonGreedy
                        && mode == Mode::Explore
                        && rng.random::<f64>() < noise
                    {
                        // A random action among those that are available.
                        row.iter_mut().for_each(|x| {
                            *x = if *x > gumbel::UNAVAILABLE { rng.random() } else { gumbel::UNAVAILABLE }
                        });
                    }
                    match soft {
                        true => gumbel::softmax_row(row),
                        false => _ = gumbel::one_hot_row(row),
                    }
                }
            }
            Self::Box { low, high } => {
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

    /// The same for the actor loss, with gradients; and the mean square of the available logits. `masks` is `[B, A]`.
    fn relax(self, logits: &Tensor, masks: Option<Tensor>, rng: &mut StreamRng) -> Result<(Tensor, Tensor)> {
        let size = match &masks {
            Some(masks) => (logits * masks)?.sqr()?.mean_all()?,
            None => logits.sqr()?.mean_all()?,
        };
        let vectors = match self {
            Self::Gumbel(relaxation, exploration) => {
                let logits = match &masks {
                    Some(masks) => {
                        (logits + masks.affine(-1.0, 1.0)?.affine(f64::from(gumbel::UNAVAILABLE), 0.0)?)?
                    }
                    None => logits.clone(),
                };
                let noise = match exploration {
                    Exploration::Gumbel => gumbel::noise(logits.elem_count(), rng),
                    Exploration::EpsilonGreedy => vec![0.0; logits.elem_count()],
                };
                let noise = Tensor::from_vec(noise, logits.shape(), &Device::Cpu)?;
                let soft = gumbel::soft(&logits, &noise, 1.0)?;
                match relaxation {
                    Relaxation::Soft => soft,
                    Relaxation::StraightThrough => gumbel::straight_through(&soft)?,
                }
            }
            Self::Box { low, high } => {
                let (middle, half) = (f64::from(low + high) / 2.0, f64::from(high - low) / 2.0);
                logits.tanh()?.affine(half, middle)?
            }
        };
        Ok((vectors, size))
    }
}
