//! What a policy network's outputs become, and what messages do to it.

use super::{Ppo, Team};
use crate::Result;
use crate::communication::{Ablation, Network, Trace};
use crate::env::BatchStep;
use crate::gumbel;
use crate::rollout::Decision;
use crate::trainer::Mode;
use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_distr::StandardNormal;
use rl_core::StreamRng;
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, Params};

/// A network for the policies of a set.
#[derive(Debug)]
pub(super) enum Policy {
    /// Everyone decides from the own observation.
    Alone(Mlp),
    /// Members exchange messages; with the random numbers it takes per agent and step.
    Team(Box<Network>, usize),
}

impl Policy {
    pub(super) fn params(&self) -> Vec<&Params> {
        match self {
            Self::Alone(mlp) => vec![mlp.params()],
            Self::Team(network, _) => network.params(),
        }
    }

    /// Random numbers per agent and step behind the inputs.
    pub(super) fn noise(&self) -> usize {
        if let Self::Team(_, noise) = self { *noise } else { 0 }
    }
}

/// Rows with `noise` columns of `draws` behind their own.
pub(super) fn beside(rows: Vec<f32>, width: usize, draws: &[f32], noise: usize) -> Vec<f32> {
    if noise == 0 {
        return rows;
    }
    let pairs = rows.chunks(width).zip(draws.chunks(noise));
    pairs.flat_map(|(row, draw)| row.iter().chain(draw)).copied().collect()
}

impl Team {
    pub(super) fn params(&self) -> Vec<&Params> {
        [self.policy.params(), vec![&self.log_std, self.critic.params()]].concat()
    }

    /// Outputs `[members · B, A]`, and the random numbers that went in.
    pub(super) fn act(
        &self,
        now: &BatchStep,
        observations: &[usize],
        mode: Mode,
        ablation: Option<Ablation>,
        rng: &mut StreamRng,
        workspace: &mut Workspace<f32>,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let rows = self.set.stack(|i| (&now.observations[i], observations[i], observations[i]));
        match &self.policy {
            Policy::Alone(mlp) => Ok((mlp.predict(&rows, workspace)?.to_vec(), Vec::new())),
            Policy::Team(network, noise) => {
                let count = rows.len() / self.set.input();
                let draws = match mode {
                    Mode::Explore => gumbel::noise(count * noise, rng),
                    Mode::Exploit => vec![0.0; count * noise],
                };
                let out = run(network, rows, self.set.input(), &draws, *noise, ablation)?.0;
                Ok((out.flatten_all()?.to_vec1()?, draws))
            }
        }
    }
}

fn run(
    network: &Network,
    rows: Vec<f32>,
    width: usize,
    draws: &[f32],
    noise: usize,
    ablation: Option<Ablation>,
) -> Result<(Tensor, Trace)> {
    let count = rows.len() / width;
    let rows = Tensor::from_vec(beside(rows, width, draws, noise), (count, width + noise), &Device::Cpu)?;
    network.forward(&rows, ablation)
}

/// Draws Gaussian actions, or takes their means, from rows of means.
pub(super) fn steer(out: &[f32], log_std: &[f32], mode: Mode, rng: &mut StreamRng, decision: &mut Decision) {
    decision.actions.clear();
    decision.log_probs.clear();
    for row in out.chunks(log_std.len()) {
        let mut log_prob = 0.0;
        for (&mean, &log_std) in row.iter().zip(log_std) {
            let z: f32 = match mode {
                Mode::Exploit => 0.0,
                Mode::Explore => rng.sample(StandardNormal),
            };
            decision.actions.push(mean + log_std.exp() * z);
            log_prob += -0.5 * z * z - log_std - 0.5 * std::f32::consts::TAU.ln();
        }
        decision.log_probs.push(log_prob);
    }
}

/// What agents said and how much it mattered; see [`Ppo::messages`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Messages {
    /// Per agent `[B]`: the word or the gate (1 is open) of the first round; empty for other kinds of messages.
    pub symbols: Vec<Vec<usize>>,
    /// Attention weights `[N][B][heads][N]` of the first round; empty for other kinds.
    pub weights: Vec<f32>,
    /// Per agent `[B]`: KL(π(·|o, c) ‖ π(·|o, 0)) in nats, how much what it received changes what it does (positive
    /// listening, Lowe et al. 2019); 0 for continuous actions.
    pub listening: Vec<Vec<f64>>,
}

impl Ppo {
    /// What would be said now, without exploration, by the first team that communicates; `None` if none does.
    ///
    /// # Errors
    /// If the sizes are not those the learner was made for.
    pub fn messages(&self, now: &BatchStep) -> Result<Option<Messages>> {
        now.check(&self.layout, now.reset.len())?;
        let talks = |team: &&Team| matches!(team.policy, Policy::Team(..));
        let Some(team) = self.teams.iter().find(talks) else { return Ok(None) };
        let Policy::Team(network, noise) = &team.policy else { return Ok(None) };
        let (copies, members) = (now.reset.len(), team.set.members.len());
        let look = |ablation| {
            let rows = team.set.stack(|i| (&now.observations[i], self.observations[i], self.observations[i]));
            let draws = vec![0.0; members * copies * noise];
            run(network, rows, team.set.input(), &draws, *noise, ablation)
        };
        let ((heard, trace), (deaf, _)) = (look(None)?, look(Some(Ablation::Zero))?);
        let mut messages = Messages::default();
        if let Some(sent) = trace.sent.first() {
            let width = sent.dim(1)?;
            let values = sent.flatten_all()?.to_vec1::<f32>()?;
            let symbol = |row: &[f32]| if width == 1 { row[0] as usize } else { gumbel::argmax(row) };
            let symbols: Vec<usize> = values.chunks(width).map(symbol).collect();
            messages.symbols = symbols.chunks(copies).map(<[usize]>::to_vec).collect();
        }
        messages.weights = trace.weights.into_iter().next().unwrap_or_default();
        let (mut heard, mut deaf) = (heard.to_vec2::<f32>()?, deaf.to_vec2::<f32>()?);
        let discrete = |i: usize| matches!(self.spaces[i], crate::env::ActionSpace::Discrete(_));
        for (k, &i) in team.set.members.iter().enumerate() {
            let part = k * copies..(k + 1) * copies;
            let pairs = heard[part.clone()].iter_mut().zip(&mut deaf[part]);
            let width = if discrete(i) { self.spaces[i].width() } else { 0 };
            let divergence = pairs.map(|(p, q)| divergence(&mut p[..width], &mut q[..width]));
            messages.listening.push(divergence.collect());
        }
        Ok(Some(messages))
    }
}

/// KL of the softmaxes of two rows of logits.
fn divergence(p: &mut [f32], q: &mut [f32]) -> f64 {
    gumbel::softmax_row(p);
    gumbel::softmax_row(q);
    let term = |(&p, &q): (&f32, &f32)| f64::from(p) * f64::from(p.max(1e-30) / q.max(1e-30)).ln();
    p.iter().zip(&*q).map(term).sum()
}
