//! Messages that are trained end to end: gradients reach the speaker through what the listener does with its words.
//!
//! One network for a team. Agent i encodes its observation, hᵢ⁰ = e(oᵢ); in each round it sends a message made of hᵢ,
//! receives cᵢ from those it hears, and goes on with hᵢ ← u([hᵢ, cᵢ]); the last h gives its action. e and u have one hidden
//! layer and end in tanh, since what is heard mostly says which part of what is seen counts:
//!
//! - [`Kind::Average`], CommNet (Sukhbaatar et al. 2016): cᵢ = mean of h_j over j ≠ i.
//! - [`Kind::Gated`], after IC3Net (Singh et al. 2019): the same of g_j h_j, with a gate g_j ∈ {0, 1} of the speaker's own.
//! - [`Kind::Attention`], TarMAC (Das et al. 2019): cᵢ = Σ_j softmax_j(qᵢ·k_j / √d) v_j, oneself included: signatures k say
//!   whom a message is for.
//! - [`Kind::Words`]: m_j is one word of a vocabulary (straight-through Gumbel-softmax); cᵢ holds each speaker's word in a
//!   place of its own.
//!
//! [`Topology`] says who hears whom. Random choices (words, gates) are inputs: their Gumbel numbers are drawn when acting and
//! kept with the experience, so that a policy's ratio is taken at the same draw. [`Ablation`] takes the content out of the
//! messages of a trained team.
//!
//! Deviations: no recurrence (the papers' agents have an LSTM or GRU, CommNet's have not); gates are trained through the
//! straight-through estimator where IC3Net uses the score function; training is by PPO with a central critic (see
//! [`crate::ppo`]) where the papers use REINFORCE or actor-critic.

use crate::attention::{Pattern, attend, weights};
use crate::gumbel;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rl_core::StreamRng;
use rl_core::nn::{Activation, Init, Mlp, MlpConfig, Params};
use serde::{Deserialize, Serialize};

/// What is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// The hidden state, averaged over speakers.
    #[default]
    Average,
    /// The same, if the speaker opens its gate.
    Gated,
    /// Values, weighted by how well the speaker's signature fits the listener's query.
    Attention {
        /// Heads; must divide the width.
        heads: usize,
    },
    /// One word.
    Words {
        /// Size of the vocabulary.
        vocabulary: usize,
    },
}

/// Who hears whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// Everybody hears everybody.
    #[default]
    Broadcast,
    /// Nobody hears anybody: the same network without a channel.
    Silent,
    /// Only along these arrows `(speaker, listener)`, members counted in their set.
    Directed(Vec<(usize, usize)>),
}

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is sent.
    pub kind: Kind,
    /// Who hears whom.
    pub topology: Topology,
    /// Length of the hidden state and of messages (64).
    pub width: usize,
    /// Rounds of messages per step (CommNet: 2; TarMAC: 1 or 2).
    pub rounds: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { kind: Kind::default(), topology: Topology::default(), width: 64, rounds: 1 }
    }
}

/// What becomes of messages on their way, in a trained team.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ablation {
    /// What is received is zero.
    Zero,
    /// What is received was meant for another copy: the form stays, the content is gone.
    Shuffled,
}

/// The network of a team of `agents`.
#[derive(Debug)]
pub(crate) struct Network {
    config: Config,
    agents: usize,
    inputs: usize,
    encoder: Mlp,
    /// Per round: what a message is made with (queries, keys, values; gates; words), then the step from [h, c] to h.
    rounds: Vec<Round>,
    head: Mlp,
    pattern: Pattern,
    /// `[N, N]`: rows of equal weights over those who are heard.
    mix: Tensor,
}

#[derive(Debug)]
struct Round {
    speak: Vec<Mlp>,
    update: Mlp,
}

/// What went through a network.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Per round: words or gates `[N·B, ..]` as they were sent.
    pub(crate) sent: Vec<Tensor>,
    /// Per round: attention weights `[N][B][heads][N]`.
    pub(crate) weights: Vec<Vec<f32>>,
}

impl Network {
    /// For `agents` agents with inputs of a common length and so many outputs.
    pub(crate) fn new(
        config: &Config,
        (agents, inputs, outputs): (usize, usize, usize),
        rng: &mut StreamRng,
    ) -> Result<Self> {
        let width = config.width;
        let bad = |field, value: String, allowed| Err(Error::config("communication", field, value, allowed));
        match config.kind {
            _ if width == 0 || config.rounds == 0 => return bad("width, rounds", "0".into(), "at least 1"),
            Kind::Words { vocabulary } if vocabulary < 2 => {
                return bad("vocabulary", vocabulary.to_string(), "at least 2");
            }
            Kind::Attention { heads } if heads == 0 || !width.is_multiple_of(heads) => {
                return bad("heads", heads.to_string(), "a divisor of the width");
            }
            _ => {}
        }
        let sees = config.topology.sees(agents, matches!(config.kind, Kind::Attention { .. }))?;
        let mut mlp = |inputs, hidden: &[usize], outputs, activation, gain| {
            let (init, output_init) = (Init::Orthogonal { gain: 2f64.sqrt() }, Init::Orthogonal { gain });
            let plain = MlpConfig::relu(inputs, hidden, outputs);
            let shape = MlpConfig { output_activation: activation, init, output_init, ..plain };
            Mlp::new(&shape, &Device::Cpu, rng)
        };
        let encoder = mlp(inputs, &[width], width, Activation::Tanh, 1.0)?;
        let mut rounds = Vec::with_capacity(config.rounds);
        for _ in 0..config.rounds {
            let (spoken, heard) = match config.kind {
                Kind::Average => (vec![], width),
                Kind::Gated => (vec![2], width),
                Kind::Attention { .. } => (vec![width; 3], width),
                Kind::Words { vocabulary } => (vec![vocabulary], agents * vocabulary),
            };
            let speak = spoken.into_iter().map(|n| mlp(width, &[], n, Activation::Identity, 1.0));
            let speak = speak.collect::<rl_core::Result<_>>()?;
            rounds.push(Round { speak, update: mlp(width + heard, &[width], width, Activation::Tanh, 1.0)? });
        }
        let head = mlp(width, &[], outputs, Activation::Identity, 0.01)?;
        let heads = if let Kind::Attention { heads } = config.kind { heads } else { 1 };
        let pattern = Pattern { sees: sees.clone(), ..Pattern::all(agents, heads, true) };
        let mut mix = vec![0f32; agents * agents];
        for (row, seen) in mix.chunks_mut(agents).zip(sees.chunks(agents)) {
            let heard = seen.iter().filter(|s| **s).count().max(1) as f32;
            row.iter_mut().zip(seen).filter(|(_, s)| **s).for_each(|(m, _)| *m = 1.0 / heard);
        }
        let mix = Tensor::from_vec(mix, (agents, agents), &Device::Cpu)?;
        Ok(Self { config: config.clone(), agents, inputs, encoder, rounds, head, pattern, mix })
    }

    /// Random numbers per agent and step that a network takes behind its inputs.
    pub(crate) fn noise(config: &Config) -> usize {
        match config.kind {
            Kind::Gated => 2 * config.rounds,
            Kind::Words { vocabulary } => vocabulary * config.rounds,
            _ => 0,
        }
    }

    pub(crate) fn params(&self) -> Vec<&Params> {
        let rounds = self.rounds.iter().flat_map(|r| r.speak.iter().chain([&r.update]));
        [&self.encoder].into_iter().chain(rounds).chain([&self.head]).map(Mlp::params).collect()
    }

    /// Outputs `[N·B, A]` of rows `[N·B, inputs + noise]`, agent by agent.
    pub(crate) fn forward(&self, rows: &Tensor, ablation: Option<Ablation>) -> Result<(Tensor, Trace)> {
        let mut trace = Trace::default();
        let mut at = self.inputs;
        let mut h = self.encoder.forward(&rows.narrow(1, 0, self.inputs)?)?; // [N·B, W]
        for round in &self.rounds {
            let heard = self.exchange(round, &h, rows, &mut at, &mut trace)?;
            let heard = match ablation {
                None => heard,
                Some(Ablation::Zero) => heard.zeros_like()?,
                Some(Ablation::Shuffled) => self.shuffled(&heard)?,
            };
            h = round.update.forward(&Tensor::cat(&[&h, &heard], 1)?)?;
        }
        Ok((self.head.forward(&h)?, trace))
    }

    /// What everybody receives.
    fn exchange(
        &self,
        round: &Round,
        h: &Tensor,
        rows: &Tensor,
        at: &mut usize,
        trace: &mut Trace,
    ) -> Result<Tensor> {
        let mut choose = |logits: &Tensor| -> Result<Tensor> {
            let width = logits.dim(1)?;
            let noise = rows.narrow(1, *at, width)?;
            *at += width;
            gumbel::straight_through(&gumbel::soft(logits, &noise, 1.0)?)
        };
        match (self.config.kind, &round.speak[..]) {
            (Kind::Gated, [gate]) => {
                let open = choose(&gate.forward(h)?)?.narrow(1, 1, 1)?; // [N·B, 1]
                trace.sent.push(open.detach());
                self.average(&h.broadcast_mul(&open)?)
            }
            (Kind::Attention { heads }, [query, key, value]) => {
                let (q, k, v) = (query.forward(h)?, key.forward(h)?, value.forward(h)?);
                let (attended, logits) = attend(&self.pattern, &q, &k, &v)?;
                trace.weights.push(weights(&self.pattern, &logits, self.config.width / heads)?);
                Ok(attended)
            }
            (Kind::Words { .. }, [words]) => {
                let sent = choose(&words.forward(h)?)?; // [N·B, V]
                trace.sent.push(sent.detach());
                self.side_by_side(&sent)
            }
            _ => self.average(h),
        }
    }

    /// Means over those who are heard: `[N·B, W]` to `[N·B, W]`.
    fn average(&self, messages: &Tensor) -> Result<Tensor> {
        let (rows, width) = messages.dims2()?;
        let flat = messages.reshape((self.agents, rows / self.agents * width))?; // [N, B·W]
        Ok(self.mix.matmul(&flat)?.reshape((rows, width))?)
    }

    /// Each speaker's message in a place of its own: `[N·B, V]` to `[N·B, N·V]`.
    fn side_by_side(&self, messages: &Tensor) -> Result<Tensor> {
        let rows = messages.dim(0)? / self.agents;
        let mut all = Vec::with_capacity(self.agents);
        for listener in 0..self.agents {
            let heard = |speaker: usize| -> Result<Tensor> {
                let message = messages.narrow(0, speaker * rows, rows)?;
                let hears = self.pattern.sees[listener * self.agents + speaker];
                Ok(if hears { message } else { message.zeros_like()? })
            };
            all.push(Tensor::cat(&(0..self.agents).map(heard).collect::<Result<Vec<_>>>()?, 1)?);
        }
        Ok(Tensor::cat(&all, 0)?)
    }

    /// Within each agent's rows, what was received is moved on by one copy.
    fn shuffled(&self, heard: &Tensor) -> Result<Tensor> {
        let rows = heard.dim(0)? / self.agents;
        let mut parts = Vec::new();
        for agent in 0..self.agents {
            let own = heard.narrow(0, agent * rows, rows)?;
            parts.extend([own.narrow(0, rows - 1, 1)?, own.narrow(0, 0, rows - 1)?]);
        }
        parts.retain(|p| p.elem_count() > 0);
        Ok(Tensor::cat(&parts, 0)?)
    }
}

impl Topology {
    /// `[N, N]`: whether the row's agent hears the column's; `own` adds everybody's own message where there is a channel.
    fn sees(&self, agents: usize, own: bool) -> Result<Vec<bool>> {
        let mut sees = vec![false; agents * agents];
        match self {
            Self::Silent => return Ok(sees),
            Self::Broadcast => {
                (0..agents * agents).for_each(|x| sees[x] = x / agents != x % agents);
            }
            Self::Directed(arrows) => {
                for &(speaker, listener) in arrows {
                    if speaker >= agents || listener >= agents {
                        let arrow = format!("({speaker}, {listener})");
                        return Err(Error::config("communication", "topology", arrow, "members of the team"));
                    }
                    sees[listener * agents + speaker] = true;
                }
            }
        }
        if own {
            (0..agents).for_each(|i| sees[i * agents + i] = true);
        }
        Ok(sees)
    }
}

#[cfg(test)]
mod tests;
