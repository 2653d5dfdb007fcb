//! The critics: targets, the critic loss, and judging a policy's own action.

use super::attention::{AttentionCritic, Entities};
use super::{Config, CriticKind};
use crate::Result;
use crate::env::Layout;
use crate::joint_replay::{Columns, JointBatch};
use crate::sharing::{Set, Sharing};
use candle_core::{Device, Tensor};
use rl_core::SeedStream;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::{Mlp, MlpConfig, Params};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward, polyak};

/// A value network.
#[derive(Debug)]
enum Network {
    /// Of everything in one row.
    Joint(Mlp),
    /// Of the own observation and action only: DDPG.
    Local(Mlp),
    /// Of the own and what it attends to.
    Attention(AttentionCritic),
}

impl Network {
    fn duplicate(&self) -> Result<Self> {
        Ok(match self {
            Self::Joint(mlp) => Self::Joint(mlp.duplicate()?),
            Self::Local(mlp) => Self::Local(mlp.duplicate()?),
            Self::Attention(critic) => Self::Attention(critic.duplicate()?),
        })
    }

    fn params(&self) -> Vec<&Params> {
        match self {
            Self::Joint(mlp) | Self::Local(mlp) => vec![mlp.params()],
            Self::Attention(critic) => critic.params().to_vec(),
        }
    }

    /// Values `[B]`; constant unless in training.
    fn value(&self, own: &Tensor, seen: &Judged, train: bool) -> Result<Tensor> {
        match self {
            Self::Joint(mlp) | Self::Local(mlp) => {
                Ok(if train { mlp.forward(own)? } else { mlp.forward_frozen(own)? }.squeeze(1)?)
            }
            Self::Attention(critic) => Ok(critic.forward(own, &seen.entities, seen.asker, train)?.0),
        }
    }
}

/// One critic (or pair of twins) and whose values it gives.
#[derive(Debug)]
struct Critic {
    set: Set,
    online: Vec<Network>,
    targets: Vec<Network>,
    optimizer: Optimizer,
}

/// All critics.
#[derive(Debug)]
pub(super) struct Critics {
    critics: Vec<Critic>,
    /// Observation length and action width of each agent.
    sizes: Vec<(usize, usize)>,
    attention: bool,
}

/// A joint buffer in the forms that critics read.
#[derive(Debug)]
pub(super) struct Judged {
    columns: Columns,
    /// `[B, observations + actions]`.
    joint: Tensor,
    entities: Entities,
    asker: usize,
}

impl Judged {
    /// The observations and actions of a batch.
    pub(super) fn new(columns: &Columns, batch: &JointBatch, critics: &Critics) -> Result<Self> {
        Self::of(columns, &batch.joint, batch.rows, critics)
    }

    fn of(columns: &Columns, joint: &[f32], rows: usize, critics: &Critics) -> Result<Self> {
        let entities = match critics.attention {
            true => Entities::new(columns, &critics.sizes, joint)?,
            false => Entities::none()?,
        };
        let joint = Tensor::from_slice(joint, (rows, columns.joint()), &Device::Cpu)?;
        Ok(Self { columns: columns.clone(), joint, entities, asker: 0 })
    }
}

impl Critics {
    pub(super) fn new(layout: &Layout, config: &Config, seeds: &SeedStream) -> Result<Self> {
        let sizes: Vec<_> = layout.agents.iter().map(|a| (a.observation, a.actions.width())).collect();
        let columns = Columns::new(layout);
        // Agents with local and with central critics cannot share one.
        let is_local = |i: usize| config.local_critics.contains(&layout.agents[i].group);
        let sharing = match config.critics {
            Sharing::All if !config.local_critics.is_empty() => Sharing::Group,
            other => other,
        };
        let make = |(k, set): (usize, Set)| -> Result<Critic> {
            let network = |twin: u64| -> Result<Network> {
                let mut rng = seeds.stream("maddpg/critic", 2 * k as u64 + twin);
                let mut mlp = |inputs: usize| {
                    Mlp::new(
                        &MlpConfig::relu(inputs + set.identity(), &config.hidden, 1),
                        &Device::Cpu,
                        &mut rng,
                    )
                };
                Ok(match config.critic {
                    _ if is_local(set.members[0]) => Network::Local(mlp(set.observation + set.action)?),
                    CriticKind::Joint => Network::Joint(mlp(columns.joint())?),
                    CriticKind::Attention { width, heads } => {
                        let entity = Entities::width(&sizes);
                        let sizes = (sizes.len(), entity, set.identity());
                        let critic = AttentionCritic::new(sizes, (width, heads), &config.hidden, &mut rng)?;
                        Network::Attention(critic)
                    }
                })
            };
            let online = (0..if config.twin { 2 } else { 1 }).map(network).collect::<Result<Vec<_>>>()?;
            let targets = online.iter().map(Network::duplicate).collect::<Result<Vec<_>>>()?;
            let params: Vec<_> = online.iter().flat_map(Network::params).collect();
            let adam = OptimizerConfig::adam(config.critic_rate, 1e-8, Clip::GlobalNorm(config.clip));
            Ok(Critic { set, optimizer: Optimizer::new(adam, &params)?, online, targets })
        };
        let critics: Vec<Critic> =
            sharing.sets(layout).into_iter().enumerate().map(make).collect::<Result<_>>()?;
        let attention = critics.iter().any(|c| matches!(c.online[0], Network::Attention(_)));
        Ok(Self { critics, sizes, attention })
    }

    /// What a critic sees of the `k`-th member, whose action may be replaced: `[B, inputs]`.
    fn own(&self, critic: &Critic, k: usize, judged: &Judged, action: Option<&Tensor>) -> Result<Tensor> {
        let (columns, joint, set) = (&judged.columns, &judged.joint, &critic.set);
        let (agent, rows) = (set.members[k], joint.dim(0)?);
        let (observation, width) = self.sizes[agent];
        let start = columns.observations + columns.action[agent];
        let stored = || joint.narrow(1, start, width);
        let action = action.map_or_else(stored, |action| Ok(action.clone()))?;
        let zeros = |n: usize| Tensor::zeros((rows, n), candle_core::DType::F32, &Device::Cpu);
        let own = || joint.narrow(1, columns.observation[agent], observation);
        let mut parts = match critic.online[0] {
            Network::Joint(_) => {
                let end = start + width;
                vec![joint.narrow(1, 0, start)?, action, joint.narrow(1, end, columns.joint() - end)?]
            }
            Network::Local(_) => {
                vec![own()?, zeros(set.observation - observation)?, action, zeros(set.action - width)?]
            }
            Network::Attention(_) => {
                let (longest, widest) = Entities::longest(&self.sizes);
                vec![own()?, zeros(longest - observation)?, action, zeros(widest - width)?]
            }
        };
        if set.identity() > 0 {
            let code: Vec<f32> = (0..set.identity()).map(|m| f32::from(u8::from(m == k))).collect();
            parts.push(Tensor::from_vec(code, (1, set.identity()), &Device::Cpu)?.repeat((rows, 1))?);
        }
        parts.retain(|part| part.elem_count() > 0);
        Ok(if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 1)? })
    }

    /// One step of every critic; returns means over agents of the loss and of Q.
    pub(super) fn update(
        &mut self,
        columns: &Columns,
        batch: &JointBatch,
        config: &Config,
    ) -> Result<(f64, f64)> {
        let mut now = Judged::new(columns, batch, self)?;
        let mut next = Judged::of(columns, &batch.next, batch.rows, self)?;
        let (mut loss_sum, mut q_sum) = (0.0, 0.0);
        for c in 0..self.critics.len() {
            let critic = &self.critics[c];
            let mut losses = Vec::new();
            for (k, &i) in critic.set.members.iter().enumerate() {
                (now.asker, next.asker) = (i, i);
                let seen = self.own(critic, k, &next, None)?;
                let mut values = critic.targets[0].value(&seen, &next, false)?;
                for twin in &critic.targets[1..] {
                    values = values.minimum(&twin.value(&seen, &next, false)?)?;
                }
                let values = values.to_vec1()?;
                let targets = targets(&batch.rewards[i], &batch.terminated[i], &values, config.gamma);
                let count = f64::from(batch.acted[i].iter().sum::<f32>()).max(1.0);
                let y = Tensor::from_vec(targets, batch.rows, &Device::Cpu)?;
                let acted = Tensor::from_slice(&batch.acted[i], batch.rows, &Device::Cpu)?;
                let seen = self.own(critic, k, &now, None)?;
                for (twin, network) in critic.online.iter().enumerate() {
                    let q = network.value(&seen, &now, true)?; // [B]
                    if twin == 0 {
                        q_sum += f64::from(q.mean_all()?.to_scalar::<f32>()?);
                    }
                    losses.push((((q - &y)?.sqr()? * &acted)?.sum_all()? / count)?);
                }
            }
            let members = critic.set.members.len() as f64;
            let loss = (Tensor::stack(&losses, 0)?.sum_all()? / members)?;
            let (value, grads) = backward(&loss)?;
            self.critics[c].optimizer.step(&grads)?;
            loss_sum += value * members;
        }
        let n = self.sizes.len() as f64;
        Ok((loss_sum / n, q_sum / n))
    }

    /// Who gives an agent's values, and which member of its set it is.
    fn of(&self, agent: usize) -> Result<(&Critic, usize)> {
        let place = |c: &Critic| c.set.members.iter().position(|&m| m == agent);
        let found = self.critics.iter().find_map(|c| Some((c, place(c)?)));
        found.ok_or_else(|| crate::Error::shape("critic", "a critic for every agent", agent))
    }

    /// Qᵢ with agent i's action replaced by `action` `[B, A]`, whose gradient passes; the critic is constant.
    pub(super) fn judge(&self, judged: &Judged, agent: usize, action: &Tensor) -> Result<Tensor> {
        let (critic, k) = self.of(agent)?;
        let own = self.own(critic, k, judged, Some(action))?; // [B, inputs]
        let replaced = match self.attention {
            true => judged.entities.replace(agent, &own)?,
            false => Entities::none()?,
        };
        let seen = Judged {
            columns: judged.columns.clone(),
            joint: judged.joint.clone(),
            entities: replaced,
            asker: agent,
        };
        critic.online[0].value(&own, &seen, false)
    }

    /// Attention weights `[B][heads][N]` of an agent's critic on a batch; `None` for other critics.
    pub(super) fn attention(
        &self,
        columns: &Columns,
        batch: &JointBatch,
        agent: usize,
    ) -> Result<Option<Vec<f32>>> {
        let (critic, k) = self.of(agent)?;
        let Network::Attention(network) = &critic.online[0] else { return Ok(None) };
        let judged = Judged { asker: agent, ..Judged::new(columns, batch, self)? };
        let own = self.own(critic, k, &judged, None)?;
        let (_, logits) = network.forward(&own, &judged.entities, agent, false)?;
        Ok(Some(network.weights(agent, &logits)?))
    }

    pub(super) fn set_rate(&mut self, rate: f64) {
        self.critics.iter_mut().for_each(|c| c.optimizer.set_learning_rate(rate));
    }

    /// Moves the target critics.
    pub(super) fn track(&self, tau: f64) -> Result<()> {
        for (target, online) in self.critics.iter().flat_map(|c| c.targets.iter().zip(&c.online)) {
            for (to, from) in target.params().into_iter().zip(online.params()) {
                polyak(to, from, tau)?;
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn weights(&self) -> Vec<Vec<f32>> {
        let all = self.critics.iter().flat_map(|c| c.online[0].params());
        all.map(|p| p.to_vec::<f32>().unwrap()).collect()
    }
}

/// y = r + γ (1 − terminated) Q′.
pub(crate) fn targets(rewards: &[f32], terminated: &[f32], next: &[f32], gamma: f64) -> Vec<f32> {
    let future = |(t, v): (&f32, &f32)| gamma as f32 * (1.0 - t) * v;
    rewards.iter().zip(terminated.iter().zip(next).map(future)).map(|(r, future)| r + future).collect()
}

impl Persist for Critics {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.critics.iter().enumerate().try_for_each(|(k, c)| {
            for (name, networks) in [("online", &c.online), ("target", &c.targets)] {
                for (j, params) in networks.iter().flat_map(Network::params).enumerate() {
                    params.save(&format!("{prefix}/{k}/{name}{j}"), state)?;
                }
            }
            c.optimizer.save(&format!("{prefix}/{k}/optimizer"), state)
        })
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.critics.iter_mut().enumerate().try_for_each(|(k, c)| {
            for (name, networks) in [("online", &c.online), ("target", &c.targets)] {
                for (j, params) in networks.iter().flat_map(Network::params).enumerate() {
                    // Parameters are shared handles: loading into a clone loads the network.
                    params.clone().load(&format!("{prefix}/{k}/{name}{j}"), state)?;
                }
            }
            c.optimizer.load(&format!("{prefix}/{k}/optimizer"), state)
        })
    }
}
