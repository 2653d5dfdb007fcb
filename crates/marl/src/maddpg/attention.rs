//! A critic that looks at the others through attention, one query per agent:
//! Qᵢ = f([Σ_j α_ij v_j, eᵢ]) with e_j = [o_j, a_j], αᵢ = softmax_j(qᵢ·k_j / √d), all j, the own included.
//!
//! Unlike MAAC's (see [`crate::maac`]) it takes the own action as an input, so it serves continuous policies.

use crate::attention::{Pattern, attend, weights};
use crate::joint_replay::Columns;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rl_core::StreamRng;
use rl_core::nn::{Mlp, MlpConfig, Params};

/// Observations and actions of all agents, one agent after another: `[N·B, longest observation + widest action]`.
#[derive(Clone, Debug)]
pub(super) struct Entities {
    all: Tensor,
    rows: usize,
}

impl Entities {
    /// Longest observation and widest action.
    pub(super) fn longest(sizes: &[(usize, usize)]) -> (usize, usize) {
        sizes.iter().fold((0, 0), |(o, a), s| (o.max(s.0), a.max(s.1)))
    }

    /// Width of a row.
    pub(super) fn width(sizes: &[(usize, usize)]) -> usize {
        let (observation, action) = Self::longest(sizes);
        observation + action
    }

    /// Nobody: for critics that do not attend.
    pub(super) fn none() -> Result<Self> {
        Ok(Self { all: Tensor::zeros((1, 1), candle_core::DType::F32, &Device::Cpu)?, rows: 0 })
    }

    pub(super) fn new(columns: &Columns, sizes: &[(usize, usize)], joint: &[f32]) -> Result<Self> {
        let (longest, width) = (Self::longest(sizes).0, Self::width(sizes));
        let rows = joint.len() / columns.joint();
        let mut all = vec![0.0; sizes.len() * rows * width];
        for (i, &(observation, action)) in sizes.iter().enumerate() {
            for (to, row) in all[i * rows * width..].chunks_mut(width).zip(joint.chunks(columns.joint())) {
                to[..observation].copy_from_slice(&row[columns.observation[i]..][..observation]);
                let from = &row[columns.observations + columns.action[i]..][..action];
                to[longest..][..action].copy_from_slice(from);
            }
        }
        Ok(Self { all: Tensor::from_vec(all, (sizes.len() * rows, width), &Device::Cpu)?, rows })
    }

    /// The same with one agent's rows replaced; what stands behind the entity's width (an identity) is left out.
    pub(super) fn replace(&self, agent: usize, own: &Tensor) -> Result<Self> {
        if self.rows == 0 {
            return Ok(self.clone());
        }
        let (count, width) = self.all.dims2()?;
        let start = agent * self.rows;
        let after = start + self.rows;
        let mut parts = vec![own.narrow(1, 0, width.min(own.dim(1)?))?];
        if start > 0 {
            parts.insert(0, self.all.narrow(0, 0, start)?);
        }
        if after < count {
            parts.push(self.all.narrow(0, after, count - after)?);
        }
        Ok(Self { all: Tensor::cat(&parts, 0)?, rows: self.rows })
    }
}

/// The critic's networks.
#[derive(Debug)]
pub(super) struct AttentionCritic {
    query: Mlp,
    key: Mlp,
    value: Mlp,
    head: Mlp,
    agents: usize,
    heads: usize,
}

impl AttentionCritic {
    pub(super) fn new(
        (agents, entity, identity): (usize, usize, usize),
        (width, heads): (usize, usize),
        hidden: &[usize],
        rng: &mut StreamRng,
    ) -> Result<Self> {
        if heads == 0 || width == 0 || !width.is_multiple_of(heads) {
            return Err(Error::config(
                "maddpg",
                "critic",
                format!("{width} / {heads}"),
                "width in whole heads",
            ));
        }
        let mut linear = |inputs| Mlp::new(&MlpConfig::relu(inputs, &[], width), &Device::Cpu, rng);
        let (query, key, value) = (linear(entity + identity)?, linear(entity)?, linear(entity)?);
        let head = Mlp::new(&MlpConfig::relu(width + entity + identity, hidden, 1), &Device::Cpu, rng)?;
        Ok(Self { query, key, value, head, agents, heads })
    }

    fn networks(&self) -> [&Mlp; 4] {
        [&self.query, &self.key, &self.value, &self.head]
    }

    pub(super) fn params(&self) -> [&Params; 4] {
        self.networks().map(Mlp::params)
    }

    pub(super) fn duplicate(&self) -> Result<Self> {
        let [query, key, value, head] = self.networks().map(Mlp::duplicate);
        Ok(Self { query: query?, key: key?, value: value?, head: head?, ..*self })
    }

    /// Values `[B]` of the own rows `[B, e]` of agent `asker` among all, and the logits `[B, heads · N]`.
    pub(super) fn forward(
        &self,
        own: &Tensor,
        entities: &Entities,
        asker: usize,
        train: bool,
    ) -> Result<(Tensor, Tensor)> {
        let run = |mlp: &Mlp, x: &Tensor| if train { mlp.forward(x) } else { mlp.forward_frozen(x) };
        let (q, k, v) =
            (run(&self.query, own)?, run(&self.key, &entities.all)?, run(&self.value, &entities.all)?);
        let (attended, logits) = attend(&self.pattern(asker), &q, &k, &v)?;
        let value = run(&self.head, &Tensor::cat(&[&attended, own], 1)?)?.squeeze(1)?;
        Ok((value, logits))
    }

    fn pattern(&self, asker: usize) -> Pattern {
        Pattern { askers: vec![asker], ..Pattern::all(self.agents, self.heads, true) }
    }

    /// Weights `[B][heads][N]` of what `forward` returned.
    pub(super) fn weights(&self, asker: usize, logits: &Tensor) -> Result<Vec<f32>> {
        weights(&self.pattern(asker), logits, self.query.outputs() / self.heads)
    }
}
