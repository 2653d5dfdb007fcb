//! QMIX's mixing network (Rashid et al. 2018, figure 2): Q_tot = w₂ᵀ elu(W₁ᵀ q + b₁) + V(s), where W₁ = |h₁(s)| and
//! w₂ = |h₂(s)| are made from the state by hypernetworks and are not negative, so that Q_tot grows with every Qᵢ; the
//! biases are free.

use crate::Result;
use candle_core::{Device, Tensor};
use rl_core::StreamRng;
use rl_core::nn::{Mlp, MlpConfig, Params};
use rl_core::optim::polyak;
use serde::{Deserialize, Serialize};

/// Widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixerConfig {
    /// Hidden units of the mixing network (32).
    pub embedding: usize,
    /// Hidden units of the hypernetworks (64).
    pub hidden: usize,
}

impl Default for MixerConfig {
    fn default() -> Self {
        Self { embedding: 32, hidden: 64 }
    }
}

/// A monotone mixing network.
#[derive(Clone, Debug)]
pub struct Mixer {
    agents: usize,
    embedding: usize,
    first_weight: Mlp,
    first_bias: Mlp,
    second_weight: Mlp,
    value: Mlp,
}

impl Mixer {
    /// Draws the hypernetworks for `agents` values and a state of length `state`.
    ///
    /// # Errors
    /// If a width is zero.
    pub fn new(agents: usize, state: usize, config: &MixerConfig, rng: &mut StreamRng) -> Result<Self> {
        let MixerConfig { embedding, hidden } = *config;
        let mut network =
            |layers: &[usize], outputs| Mlp::new(&MlpConfig::relu(state, layers, outputs), &Device::Cpu, rng);
        Ok(Self {
            agents,
            embedding,
            first_weight: network(&[hidden], agents * embedding)?,
            first_bias: network(&[], embedding)?,
            second_weight: network(&[hidden], embedding)?,
            value: network(&[embedding], 1)?,
        })
    }

    fn networks(&self) -> [&Mlp; 4] {
        [&self.first_weight, &self.first_bias, &self.second_weight, &self.value]
    }

    /// All parameters.
    pub fn params(&self) -> impl Iterator<Item = &Params> {
        self.networks().into_iter().map(Mlp::params)
    }

    /// An independent copy.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn duplicate(&self) -> Result<Self> {
        Ok(Self {
            agents: self.agents,
            embedding: self.embedding,
            first_weight: self.first_weight.duplicate()?,
            first_bias: self.first_bias.duplicate()?,
            second_weight: self.second_weight.duplicate()?,
            value: self.value.duplicate()?,
        })
    }

    /// Q_tot `[B]` of the agents' values `[B, N]` in states `[B, S]`.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn forward(&self, q: &Tensor, state: &Tensor) -> Result<Tensor> {
        let (rows, _) = q.dims2()?;
        let w1 = self.first_weight.forward(state)?.abs()?.reshape((rows, self.agents, self.embedding))?; // [B, N, E]
        let b1 = self.first_bias.forward(state)?; // [B, E]
        // A sum of products: a batched product of such tiny matrices costs more than it computes.
        let hidden = (w1.broadcast_mul(&q.unsqueeze(2)?)?.sum(1)? + b1)?.elu(1.0)?; // [B, E]
        let w2 = self.second_weight.forward(state)?.abs()?; // [B, E]
        Ok(((hidden * w2)?.sum(1)? + self.value.forward(state)?.squeeze(1)?)?)
    }

    /// Moves this mixer toward another: θ ← θ + τ (θ_other − θ).
    ///
    /// # Errors
    /// If they differ in size.
    pub fn track(&self, other: &Self, tau: f64) -> Result<()> {
        let pairs = self.networks().into_iter().zip(other.networks());
        pairs.into_iter().try_for_each(|(to, from)| Ok(polyak(to.params(), from.params(), tau)?))
    }
}
