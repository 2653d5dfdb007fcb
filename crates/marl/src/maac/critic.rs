//! The attention critic: the values of all own actions of every agent in one pass.

use crate::Result;
use crate::attention::{Pattern, attend, weights};
use candle_core::{Device, Tensor};
use rl_core::StreamRng;
use rl_core::nn::{Activation, Mlp, MlpConfig, Params};

/// Networks of the critic; see the formulas at the top of [`crate::maac`].
#[derive(Debug)]
pub(super) struct Critic {
    /// Per agent: (o, a) to e.
    encoders: Vec<Mlp>,
    /// Per agent: o to s.
    states: Vec<Mlp>,
    /// Common: queries, keys, values.
    query: Mlp,
    key: Mlp,
    value: Mlp,
    /// Per agent: [s, x] to the values of its actions.
    heads: Vec<Mlp>,
    pattern: Pattern,
}

impl Critic {
    /// For agents of these observation lengths and numbers of actions.
    pub(super) fn new(
        sizes: &[(usize, usize)],
        hidden: usize,
        heads: usize,
        rng: &mut StreamRng,
    ) -> Result<Self> {
        let mut layer = |inputs, activation| {
            let config = MlpConfig { output_activation: activation, ..MlpConfig::relu(inputs, &[], hidden) };
            Mlp::new(&config, &Device::Cpu, rng)
        };
        let encoders =
            sizes.iter().map(|s| layer(s.0 + s.1, Activation::Relu)).collect::<rl_core::Result<_>>()?;
        let states = sizes.iter().map(|s| layer(s.0, Activation::Relu)).collect::<rl_core::Result<_>>()?;
        let (query, key) = (layer(hidden, Activation::Identity)?, layer(hidden, Activation::Identity)?);
        let value = layer(hidden, Activation::Relu)?;
        let head =
            |s: &(usize, usize)| Mlp::new(&MlpConfig::relu(2 * hidden, &[hidden], s.1), &Device::Cpu, rng);
        let outputs = sizes.iter().map(head).collect::<rl_core::Result<_>>()?;
        let pattern = Pattern::all(sizes.len(), heads, false);
        Ok(Self { encoders, states, query, key, value, heads: outputs, pattern })
    }

    pub(super) fn params(&self) -> Vec<&Params> {
        let own = self.encoders.iter().chain(&self.states).chain(&self.heads);
        own.chain([&self.query, &self.key, &self.value]).map(Mlp::params).collect()
    }

    pub(super) fn duplicate(&self) -> Result<Self> {
        let all = |networks: &[Mlp]| networks.iter().map(Mlp::duplicate).collect::<rl_core::Result<Vec<_>>>();
        Ok(Self {
            encoders: all(&self.encoders)?,
            states: all(&self.states)?,
            query: self.query.duplicate()?,
            key: self.key.duplicate()?,
            value: self.value.duplicate()?,
            heads: all(&self.heads)?,
            pattern: self.pattern.clone(),
        })
    }

    /// Per agent `[B, A]`: values of its actions, the others' being given; and the logits of attention `[N·B, heads·N]`.
    /// Constant unless in training. An agent's own action does not enter its values.
    pub(super) fn forward(
        &self,
        observations: &[Tensor],
        actions: &[Tensor],
        train: bool,
    ) -> Result<(Vec<Tensor>, Tensor)> {
        let run = |mlp: &Mlp, x: &Tensor| if train { mlp.forward(x) } else { mlp.forward_frozen(x) };
        let (mut encoded, mut states) = (Vec::new(), Vec::new());
        for (i, (o, a)) in observations.iter().zip(actions).enumerate() {
            encoded.push(run(&self.encoders[i], &Tensor::cat(&[o, a], 1)?)?);
            states.push(run(&self.states[i], o)?);
        }
        let (encoded, asked) = (Tensor::cat(&encoded, 0)?, Tensor::cat(&states, 0)?); // [N·B, H]
        let (q, k, v) = (run(&self.query, &asked)?, run(&self.key, &encoded)?, run(&self.value, &encoded)?);
        let (attended, logits) = attend(&self.pattern, &q, &k, &v)?;
        let rows = attended.dim(0)? / self.heads.len();
        let mut values = Vec::with_capacity(self.heads.len());
        for (i, (head, state)) in self.heads.iter().zip(&states).enumerate() {
            values.push(run(head, &Tensor::cat(&[state, &attended.narrow(0, i * rows, rows)?], 1)?)?);
        }
        Ok((values, logits))
    }

    /// Attention weights `[N][B][heads][N]` of logits.
    pub(super) fn weights(&self, logits: &Tensor) -> Result<Vec<f32>> {
        weights(&self.pattern, logits, self.query.outputs() / self.pattern.heads)
    }
}
