//! The critics: targets, the critic loss, and judging a policy's own action.

use super::attention::{self, AttentionCritic, Entities, record, retrace};
use super::{Config, CriticKind};
use crate::Result;
use crate::env::Layout;
use crate::joint_replay::{Columns, JointBatch};
use crate::sharing::{Set, Sharing};
use candle_core::Device;
use rl_core::SeedStream;
use rl_core::experiment::{Persist, TrainState};
use rl_core::nn::mlp::Tape;
use rl_core::nn::{Mlp, MlpConfig, Params};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, polyak};

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

/// What a network's forward pass leaves for the way back; reused.
#[derive(Debug, Default)]
struct Trail {
    tape: Tape<f32>,
    attention: attention::Trail,
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

    /// Values `[B]` of `own` rows of agent `asker`.
    fn run<'a>(&self, own: &[f32], all: &Entities, asker: usize, trail: &'a mut Trail) -> Result<&'a [f32]> {
        match self {
            Self::Joint(mlp) | Self::Local(mlp) => {
                record(mlp, own, &mut trail.tape)?;
                Ok(trail.tape.output())
            }
            Self::Attention(critic) => critic.run(own, all, asker, &mut trail.attention),
        }
    }

    /// After [`run`](Self::run): from ∂/∂values `[B]` to the gradients of [`params`](Self::params).
    fn learn(
        &self,
        own: &[f32],
        all: &Entities,
        asker: usize,
        trail: &mut Trail,
        dvalues: &[f32],
        gradients: &mut [Vec<f32>],
    ) -> Result<()> {
        match self {
            Self::Joint(mlp) | Self::Local(mlp) => {
                let gradient = gradients.first_mut().map(|g| &mut g[..]);
                retrace(mlp, own, &mut trail.tape, &mut dvalues.to_vec(), gradient, false)
            }
            Self::Attention(critic) => {
                critic.learn(own, all, asker, &mut trail.attention, dvalues, gradients)
            }
        }
    }

    /// After [`run`](Self::run): from ∂/∂values `[B]` to ∂/∂own rows, with constant parameters.
    fn blame(&self, own: &[f32], asker: usize, trail: &mut Trail, dvalues: &[f32]) -> Result<Vec<f32>> {
        match self {
            Self::Joint(mlp) | Self::Local(mlp) => {
                let mut down = dvalues.to_vec();
                retrace(mlp, own, &mut trail.tape, &mut down, None, true)?;
                Ok(down)
            }
            Self::Attention(critic) => critic.blame(asker, &mut trail.attention, dvalues),
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
    /// One per module of the optimiser.
    gradients: Vec<Vec<f32>>,
}

/// All critics.
#[derive(Debug)]
pub(super) struct Critics {
    critics: Vec<Critic>,
    /// Observation length and action width of each agent.
    sizes: Vec<(usize, usize)>,
    attention: bool,
    trail: Trail,
}

/// A joint buffer in the forms that critics read.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    columns: &'a Columns,
    /// `[B, observations + actions]`.
    joint: &'a [f32],
    entities: Entities,
}

impl<'a> Judged<'a> {
    /// The observations and actions of a batch.
    pub(super) fn new(columns: &'a Columns, joint: &'a [f32], critics: &Critics) -> Self {
        let entities = match critics.attention {
            true => Entities::new(columns, &critics.sizes, joint),
            false => Entities::default(),
        };
        Self { columns, joint, entities }
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
            let gradients = params.iter().map(|p| vec![0.0; p.len()]).collect();
            Ok(Critic { set, optimizer: Optimizer::new(adam, &params)?, gradients, online, targets })
        };
        let critics: Vec<Critic> =
            sharing.sets(layout).into_iter().enumerate().map(make).collect::<Result<_>>()?;
        let attention = critics.iter().any(|c| matches!(c.online[0], Network::Attention(_)));
        Ok(Self { critics, sizes, attention, trail: Trail::default() })
    }

    /// One step of every critic; returns means over agents of the loss and of Q.
    pub(super) fn update(
        &mut self,
        columns: &Columns,
        batch: &JointBatch,
        config: &Config,
    ) -> Result<(f64, f64)> {
        let now = Judged::new(columns, &batch.joint, self);
        let next = Judged::new(columns, &batch.next, self);
        let (mut loss_sum, mut q_sum) = (0.0, 0.0);
        let Self { critics, sizes, trail, .. } = self;
        for critic in critics {
            let Critic { set, online, targets: old, optimizer, gradients } = critic;
            let share = 1.0 / set.members.len() as f64;
            let mut fresh = if set.members.len() > 1 { gradients.clone() } else { vec![] };
            // Contributions are added from the last member to the first.
            for (k, &i) in set.members.iter().enumerate().rev() {
                let last = k + 1 == set.members.len();
                let own = own_rows(set, &old[0], sizes, k, &next, None);
                let mut values = old[0].run(&own, &next.entities, i, trail)?.to_vec();
                for twin in &old[1..] {
                    let other = twin.run(&own, &next.entities, i, trail)?;
                    values.iter_mut().zip(other).for_each(|(v, o)| *v = v.min(*o));
                }
                let y = targets(&batch.rewards[i], &batch.terminated[i], &values, config.gamma);
                let acted = &batch.acted[i];
                let count = f64::from(acted.iter().sum::<f32>()).max(1.0);
                let scale = share as f32 * (1.0 / count) as f32;
                let own = own_rows(set, &online[0], sizes, k, &now, None);
                let mut at = 0;
                for (twin, network) in online.iter().enumerate() {
                    let q = network.run(&own, &now.entities, i, trail)?; // [B]
                    if twin == 0 {
                        q_sum += q.iter().map(|&q| f64::from(q)).sum::<f64>() / batch.rows as f64;
                    }
                    let errors = || q.iter().zip(&y).map(|(q, y)| q - y).zip(acted);
                    loss_sum += errors().map(|(e, w)| f64::from(e * e * w)).sum::<f64>() / count;
                    let dq: Vec<f32> = errors().map(|(e, w)| e * (scale * w) * 2.0).collect();
                    let modules = at..at + network.params().len();
                    let into = if last { &mut *gradients } else { &mut fresh };
                    network.learn(&own, &now.entities, i, trail, &dq, &mut into[modules.clone()])?;
                    at = modules.end;
                }
                if !last {
                    for (sum, new) in gradients.iter_mut().flatten().zip(fresh.iter().flatten()) {
                        *sum += new;
                    }
                }
            }
            if !loss_sum.is_finite() {
                let (operation, what) = ("maddpg critic", "loss".into());
                return Err(rl_core::Error::NotFinite { operation, what, value: loss_sum }.into());
            }
            optimizer.step_slices(&gradients.iter().map(|g| &g[..]).collect::<Vec<_>>())?;
        }
        let n = sizes.len() as f64;
        Ok((loss_sum / n, q_sum / n))
    }

    /// Who gives an agent's values, and which member of its set it is.
    fn of(critics: &[Critic], agent: usize) -> Result<(&Critic, usize)> {
        let place = |c: &Critic| c.set.members.iter().position(|&m| m == agent);
        let found = critics.iter().find_map(|c| Some((c, place(c)?)));
        found.ok_or_else(|| crate::Error::shape("critic", "a critic for every agent", agent))
    }

    /// Qᵢ `[B]` with agent i's action replaced by `action` `[B, A]`, and from weights w `[B]` the gradient
    /// ∂(Σ w Qᵢ)/∂action `[B, A]`; the critic is constant.
    pub(super) fn judge(
        &mut self,
        judged: &mut Judged,
        agent: usize,
        action: &[f32],
        weights: &[f32],
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let Self { critics, sizes, trail, .. } = self;
        let (critic, k) = Self::of(critics, agent)?;
        let network = &critic.online[0];
        let own = own_rows(&critic.set, network, sizes, k, judged, Some(action)); // [B, inputs]
        let before = judged.entities.replace(agent, &own);
        let values = network.run(&own, &judged.entities, agent, trail)?.to_vec();
        judged.entities.restore(agent, &before);
        let down = network.blame(&own, agent, trail, weights)?; // [B, inputs]
        let start = match network {
            Network::Joint(_) => judged.columns.observations + judged.columns.action[agent],
            Network::Local(_) => critic.set.observation,
            Network::Attention(_) => Entities::longest(sizes).0,
        };
        let width = sizes[agent].1;
        let rows = down.chunks(own.len() / weights.len().max(1));
        Ok((values, rows.flat_map(|row| &row[start..start + width]).copied().collect()))
    }

    /// Attention weights `[B][heads][N]` of an agent's critic on joint rows; `None` for other critics.
    pub(super) fn attention(
        &mut self,
        columns: &Columns,
        joint: &[f32],
        agent: usize,
    ) -> Result<Option<Vec<f32>>> {
        let judged = Judged::new(columns, joint, self);
        let Self { critics, sizes, trail, .. } = self;
        let (critic, k) = Self::of(critics, agent)?;
        let Network::Attention(network) = &critic.online[0] else { return Ok(None) };
        let own = own_rows(&critic.set, &critic.online[0], sizes, k, &judged, None);
        network.run(&own, &judged.entities, agent, &mut trail.attention)?;
        Ok(Some(network.weights(agent, &trail.attention)?))
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

/// What a network sees of the `k`-th member of its set, whose action may be replaced: `[B, inputs]`.
fn own_rows(
    set: &Set,
    network: &Network,
    sizes: &[(usize, usize)],
    k: usize,
    judged: &Judged,
    action: Option<&[f32]>,
) -> Vec<f32> {
    let (columns, agent) = (judged.columns, set.members[k]);
    let (observation, width) = sizes[agent];
    let start = columns.observations + columns.action[agent];
    let (longest, widest) = match network {
        Network::Attention(_) => Entities::longest(sizes),
        _ => (set.observation, set.action),
    };
    let rows = judged.joint.len() / columns.joint();
    let mut own = Vec::with_capacity(rows * (columns.joint().max(longest + widest) + set.identity()));
    for (b, row) in judged.joint.chunks(columns.joint()).enumerate() {
        let action = action.map_or(&row[start..start + width], |a| &a[b * width..(b + 1) * width]);
        if let Network::Joint(_) = network {
            own.extend_from_slice(&row[..start]);
            own.extend_from_slice(action);
            own.extend_from_slice(&row[start + width..]);
        } else {
            own.extend_from_slice(&row[columns.observation[agent]..][..observation]);
            own.resize(own.len() + longest - observation, 0.0);
            own.extend_from_slice(action);
            own.resize(own.len() + widest - width, 0.0);
        }
        own.extend((0..set.identity()).map(|m| f32::from(u8::from(m == k))));
    }
    own
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
