//! The critics: targets, the critic loss, and judging a policy's own action.

use super::Config;
use super::actor::infer;
use crate::Result;
use crate::env::Layout;
use crate::joint_replay::{Columns, JointBatch};
use crate::sharing::{Set, Sharing};
use candle_core::{Device, Tensor};
use rl_core::SeedStream;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward, polyak};

/// One critic (or pair of twins) and whose values it gives.
#[derive(Debug)]
struct Critic {
    set: Set,
    /// Only the own observation and action are seen.
    local: bool,
    online: Vec<Mlp>,
    targets: Vec<Mlp>,
    optimizer: Optimizer,
}

/// All critics.
#[derive(Debug)]
pub(super) struct Critics {
    critics: Vec<Critic>,
    /// Observation length and action width of each agent.
    sizes: Vec<(usize, usize)>,
    workspace: Workspace<f32>,
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
            let local = is_local(set.members[0]);
            let inputs = if local { set.observation + set.action } else { columns.joint() } + set.identity();
            let mlp = |twin: u64| {
                let mut rng = seeds.stream("maddpg/critic", 2 * k as u64 + twin);
                Ok(Mlp::new(&MlpConfig::relu(inputs, &config.hidden, 1), &Device::Cpu, &mut rng)?)
            };
            let online = (0..if config.twin { 2 } else { 1 }).map(mlp).collect::<Result<Vec<_>>>()?;
            let targets = online.iter().map(|q| Ok(q.duplicate()?)).collect::<Result<Vec<_>>>()?;
            let params: Vec<_> = online.iter().map(Mlp::params).collect();
            let adam = OptimizerConfig::adam(config.critic_rate, 1e-8, Clip::GlobalNorm(config.clip));
            Ok(Critic { set, local, optimizer: Optimizer::new(adam, &params)?, online, targets })
        };
        let critics = sharing.sets(layout).into_iter().enumerate().map(make).collect::<Result<_>>()?;
        Ok(Self { critics, sizes, workspace: Workspace::default() })
    }

    /// Rows `[what the critic sees, identity]` of a joint buffer.
    fn input(&self, critic: &Critic, k: usize, columns: &Columns, joint: &[f32]) -> Vec<f32> {
        let (width, set) = (columns.joint(), &critic.set);
        let i = set.members[k];
        let (observation, action) = self.sizes[i];
        let mut rows = Vec::with_capacity(joint.len() + joint.len() / width * set.identity());
        for row in joint.chunks(width) {
            if critic.local {
                let start = rows.len();
                rows.extend_from_slice(&row[columns.observation[i]..][..observation]);
                rows.resize(start + set.observation, 0.0);
                rows.extend_from_slice(&row[columns.observations + columns.action[i]..][..action]);
                rows.resize(start + set.observation + set.action, 0.0);
            } else {
                rows.extend_from_slice(row);
            }
            rows.extend((0..set.identity()).map(|member| f32::from(u8::from(member == k))));
        }
        rows
    }

    /// One step of every critic; returns means over agents of the loss and of Q.
    pub(super) fn update(
        &mut self,
        columns: &Columns,
        batch: &JointBatch,
        config: &Config,
    ) -> Result<(f64, f64)> {
        let (mut loss_sum, mut q_sum) = (0.0, 0.0);
        let mut workspace = std::mem::take(&mut self.workspace);
        for c in 0..self.critics.len() {
            let critic = &self.critics[c];
            let mut losses = Vec::new();
            for (k, &i) in critic.set.members.iter().enumerate() {
                let next = self.input(critic, k, columns, &batch.next);
                let mut values = infer(&critic.targets[0], batch.rows, &next, &mut workspace)?;
                for twin in &critic.targets[1..] {
                    let other = infer(twin, batch.rows, &next, &mut workspace)?;
                    values.iter_mut().zip(other).for_each(|(v, o)| *v = v.min(o));
                }
                let targets = targets(&batch.rewards[i], &batch.terminated[i], &values, config.gamma);
                let count = f64::from(batch.acted[i].iter().sum::<f32>()).max(1.0);
                let y = Tensor::from_vec(targets, batch.rows, &Device::Cpu)?;
                let acted = Tensor::from_slice(&batch.acted[i], batch.rows, &Device::Cpu)?;
                let input = self.input(critic, k, columns, &batch.joint);
                let input = Tensor::from_vec(input, (batch.rows, critic.online[0].inputs()), &Device::Cpu)?;
                for (twin, mlp) in critic.online.iter().enumerate() {
                    let q = mlp.forward(&input)?.squeeze(1)?; // [B]
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
        self.workspace = workspace;
        let n = self.sizes.len() as f64;
        Ok((loss_sum / n, q_sum / n))
    }

    /// Qᵢ with agent i's action replaced by `action` `[B, A]`, whose gradient passes; the critic is constant.
    pub(super) fn judge(
        &self,
        columns: &Columns,
        agent: usize,
        joint: &Tensor,
        action: &Tensor,
        batch: &JointBatch,
    ) -> Result<Tensor> {
        let (rows, (observation, width)) = (batch.rows, self.sizes[agent]);
        let start = columns.observations + columns.action[agent];
        let member = |c: &&Critic| c.set.members.contains(&agent);
        let Some(critic) = self.critics.iter().find(member) else {
            return Err(crate::Error::shape("critic", "a critic for every agent", agent));
        };
        let zeros = |n: usize| Tensor::zeros((rows, n), candle_core::DType::F32, &Device::Cpu);
        let mut parts = if critic.local {
            let own = joint.narrow(1, columns.observation[agent], observation)?;
            let pad = zeros(critic.set.observation - observation)?;
            vec![own, pad, action.clone(), zeros(critic.set.action - width)?]
        } else {
            let end = start + width;
            vec![joint.narrow(1, 0, start)?, action.clone(), joint.narrow(1, end, columns.joint() - end)?]
        };
        if critic.set.identity() > 0 {
            let code: Vec<f32> =
                critic.set.members.iter().map(|&m| f32::from(u8::from(m == agent))).collect();
            parts.push(Tensor::from_vec(code, (1, critic.set.identity()), &Device::Cpu)?.repeat((rows, 1))?);
        }
        parts.retain(|part| part.elem_count() > 0);
        let input = Tensor::cat(&parts, 1)?; // [B, inputs]
        Ok(critic.online[0].forward_frozen(&input)?.squeeze(1)?)
    }

    /// Moves the target critics.
    pub(super) fn track(&self, tau: f64) -> Result<()> {
        let pairs = self.critics.iter().flat_map(|c| c.targets.iter().zip(&c.online));
        pairs.into_iter().try_for_each(|(target, online)| Ok(polyak(target.params(), online.params(), tau)?))
    }

    #[cfg(test)]
    pub(super) fn weights(&self) -> Vec<Vec<f32>> {
        self.critics.iter().map(|c| c.online[0].params().to_vec::<f32>().unwrap()).collect()
    }
}

/// y = r + γ (1 − terminated) Q′.
pub(super) fn targets(rewards: &[f32], terminated: &[f32], next: &[f32], gamma: f64) -> Vec<f32> {
    let future = |(t, v): (&f32, &f32)| gamma as f32 * (1.0 - t) * v;
    rewards.iter().zip(terminated.iter().zip(next).map(future)).map(|(r, future)| r + future).collect()
}

impl Persist for Critics {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.critics.iter().enumerate().try_for_each(|(k, c)| {
            for (t, (online, target)) in c.online.iter().zip(&c.targets).enumerate() {
                online.save(&format!("{prefix}/{k}/online{t}"), state)?;
                target.save(&format!("{prefix}/{k}/target{t}"), state)?;
            }
            c.optimizer.save(&format!("{prefix}/{k}/optimizer"), state)
        })
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.critics.iter_mut().enumerate().try_for_each(|(k, c)| {
            for (t, (online, target)) in c.online.iter_mut().zip(&mut c.targets).enumerate() {
                online.load(&format!("{prefix}/{k}/online{t}"), state)?;
                target.load(&format!("{prefix}/{k}/target{t}"), state)?;
            }
            c.optimizer.load(&format!("{prefix}/{k}/optimizer"), state)
        })
    }
}
