//! The trained model on plain slices: filtering while acting, and imagined rollouts for planners.
//!
//! No graph, no tensors, no allocation per step. The weights are a snapshot, taken once after training. Heads read the
//! features of all candidates in one row-major buffer; the first layers of the reward and continuation heads are one
//! product; at the first step all candidates share the hidden state, so its product is one row.

use super::scan::{Offsets, Sizes, std_of};
use super::{Rssm, VARIANCE_EPS, encode_action};
use crate::Result;
use crate::planning::Model;
use rand::RngExt;
use rand_distr::StandardNormal;
use rl_core::env::{Action, Actions};
use rl_core::nn::kernel::{Mat, Real, dot_inline, fill_rows, matmul, simd};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, gru};
use rl_core::normalize::RunningMeanStd;
use rl_core::{Error, StreamRng};

/// What the filter knows: h and s.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Deterministic part.
    pub deter: Vec<f32>,
    /// Stochastic part: the posterior's mean.
    pub stoch: Vec<f32>,
}

/// A layer as the rollout wants it.
#[derive(Clone, Debug)]
struct Dense {
    weight: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl Dense {
    fn new(weight: &[f32], bias: &[f32]) -> Self {
        let (weight, bias) = (weight.to_vec(), bias.to_vec());
        Self { inputs: weight.len() / bias.len(), outputs: bias.len(), weight, bias }
    }

    /// Both layers of the same input, side by side.
    fn joined(a: &Self, b: &Self) -> Self {
        let rows = a.weight.chunks_exact(a.outputs).zip(b.weight.chunks_exact(b.outputs));
        let weight: Vec<f32> = rows.flat_map(|(a, b)| a.iter().chain(b)).copied().collect();
        let bias: Vec<f32> = a.bias.iter().chain(&b.bias).copied().collect();
        Self::new(&weight, &bias)
    }

    /// `y = x W + b`; rows of x start `stride` elements apart.
    fn forward(&self, rows: usize, x: &[f32], stride: usize, y: &mut [f32]) {
        let y = &mut y[..rows * self.outputs];
        fill_rows(y, &self.bias);
        let weight = Mat::rows(&self.weight, self.outputs);
        matmul(y, self.outputs, true, Mat::rows(x, stride), weight, (rows, self.outputs, self.inputs));
    }

    /// [`forward`](Self::forward) and ReLU.
    fn forward_relu(&self, rows: usize, x: &[f32], stride: usize, y: &mut [f32]) {
        self.forward(rows, x, stride, y);
        let y = &mut y[..rows * self.outputs];
        simd(|| y.iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { 0.0 }));
    }

    /// The single output of each row.
    fn column(&self, rows: usize, x: &[f32], stride: usize, y: &mut [f32]) {
        simd(|| {
            for (y, x) in y[..rows].iter_mut().zip(x.chunks(stride)) {
                *y = dot_inline(&x[..self.inputs], &self.weight) + self.bias[0];
            }
        });
    }
}

fn layers(mlp: &Mlp) -> Result<Vec<Dense>> {
    let dense = |params: &[f32]| Ok(mlp.dense_layers(params).map(|(w, b)| Dense::new(w, b)).collect());
    Ok(mlp.params().with(dense)?)
}

/// A snapshot of the model that filters observations and imagines futures.
pub struct Rollout {
    sizes: Sizes,
    std_floor: f32,
    encoder: (Mlp, Vec<f32>),
    decoder: (Mlp, Vec<f32>),
    embedding: Dense,
    from_input: Dense,
    from_hidden: Dense,
    prior: Dense,
    /// h's share of the posterior; its bias is in `embedding`.
    posterior: Dense,
    /// First layers of the reward and continuation heads, side by side, and what follows.
    first: Dense,
    reward: Vec<Dense>,
    continuation: Vec<Dense>,
    observation_scale: RunningMeanStd,
    reward_mean: f32,
    reward_std: f32,
    /// The present state, from which plans start.
    pub state: State,
    /// Whether imagined states are sampled from the prior or follow its mean.
    pub sample: bool,
}

impl Rollout {
    /// Takes the snapshot.
    ///
    /// # Errors
    /// If the tensor library fails, or a head has no hidden layer.
    pub fn new(model: &Rssm) -> Result<Self> {
        let sizes = model.sizes;
        let (mut reward, mut continuation) = (layers(&model.reward)?, layers(&model.continuation)?);
        if reward.len() < 2 || continuation.len() < 2 {
            return Err(
                Error::config("rssm", "reward, continuation", "no hidden layer", "at least one").into()
            );
        }
        let first = Dense::joined(&reward.remove(0), &continuation.remove(0));
        let Sizes { deter, stoch, .. } = sizes;
        let Offsets { input, hidden, prior, posterior } = model.offsets;
        let recurrent = model.recurrent.with(|p: &[f32]| {
            let layer = |(weight, bias): (usize, usize), k: usize, n: usize| {
                Dense::new(&p[weight..][..k * n], &p[bias..][..n])
            };
            let posterior = Dense::new(&p[posterior..][..deter * 2 * stoch], &vec![0.0; 2 * stoch]);
            let (input, hidden) = (layer(input, sizes.input(), 3 * deter), layer(hidden, deter, 3 * deter));
            Ok((input, hidden, layer(prior, deter, 2 * stoch), posterior))
        })?;
        let (from_input, from_hidden, prior, posterior) = recurrent;
        let scale = &model.reward_scale;
        Ok(Self {
            sizes,
            std_floor: model.config.std_floor as f32,
            encoder: (model.encoder.clone(), model.encoder.params().to_vec()?),
            decoder: (model.decoder.clone(), model.decoder.params().to_vec()?),
            embedding: layers(&model.embedding)?.remove(0),
            from_input,
            from_hidden,
            prior,
            posterior,
            first,
            reward,
            continuation,
            observation_scale: model.observation_scale.clone(),
            reward_mean: scale.mean()[0] as f32,
            reward_std: (scale.variance()[0] + VARIANCE_EPS).sqrt() as f32,
            state: State { deter: vec![0.0; deter], stoch: vec![0.0; stoch] },
            sample: false,
        })
    }

    /// The state before anything was observed.
    pub fn initial(&self) -> State {
        State { deter: vec![0.0; self.sizes.deter], stoch: vec![0.0; self.sizes.stoch] }
    }

    /// One step of the filter: the action that was taken (`None` at an episode's start) and what was observed then.
    pub fn filter(&self, state: &State, action: Option<Action<'_>>, observation: &[f32]) -> State {
        let Sizes { deter, stoch, action: width } = self.sizes;
        let mut next = self.initial();
        let start;
        let mut x = vec![0.0; self.sizes.input()];
        let before = match action {
            None => {
                start = self.initial();
                &start
            }
            Some(action) => {
                x[..stoch].copy_from_slice(&state.stoch);
                encode_action(action, &mut x[stoch..][..width]);
                state
            }
        };
        let (mut gi, mut gh) = (vec![0.0; 3 * deter], vec![0.0; 3 * deter]);
        self.from_input.forward(1, &x, x.len(), &mut gi);
        self.from_hidden.forward(1, &before.deter, deter, &mut gh);
        gru::gates_forward(&gi, &gh, &before.deter, &mut next.deter, deter);
        let mut normalised = observation.to_vec();
        self.observation_scale.normalize(&mut normalised, VARIANCE_EPS, f32::INFINITY);
        let mut workspace = Workspace::default();
        let (encoder, params) = &self.encoder;
        let embedded = encoder.infer(params, 1, &normalised, normalised.len(), &mut workspace);
        let (mut from_embedding, mut from_deter) = (vec![0.0; 2 * stoch], vec![0.0; 2 * stoch]);
        self.embedding.forward(1, embedded, self.embedding.inputs, &mut from_embedding);
        self.posterior.forward(1, &next.deter, deter, &mut from_deter);
        for ((s, e), d) in next.stoch.iter_mut().zip(&from_embedding).zip(&from_deter) {
            *s = e + d;
        }
        next
    }

    /// The observations that belong to the imagined states, `[rows, D]`.
    pub fn decode(&self, batch: &Imagined, observations: &mut Vec<f32>) {
        let mut workspace = Workspace::default();
        let (decoder, params) = &self.decoder;
        let decoded =
            decoder.infer(params, batch.rows, &batch.features, self.sizes.feature(), &mut workspace);
        observations.clear();
        observations.extend_from_slice(decoded);
        self.observation_scale.denormalize(observations, VARIANCE_EPS);
    }

    /// What the heads say of the present states, in the environment's units.
    fn heads(&self, batch: &mut Imagined, rewards: &mut [f32], continues: &mut [f32]) {
        let (rows, wide) = (batch.rows, self.first.outputs);
        let reward_width = self.reward[0].inputs;
        self.first.forward_relu(rows, &batch.features, self.sizes.feature(), &mut batch.wide);
        tail(&self.reward, rows, &batch.wide, wide, &mut batch.buffers, rewards);
        tail(&self.continuation, rows, &batch.wide[reward_width..], wide, &mut batch.buffers, continues);
        simd(|| {
            for (r, c) in rewards.iter_mut().zip(continues.iter_mut()) {
                let x = *r * self.reward_std + self.reward_mean;
                *r = (x.abs().fast_exp() - 1.0).copysign(x);
                *c = c.sigmoid();
            }
        });
    }
}

/// The layers of a head after the first: ReLU between, one output.
fn tail(layers: &[Dense], rows: usize, x: &[f32], stride: usize, buffers: &mut [Vec<f32>; 2], y: &mut [f32]) {
    let [a, b] = buffers;
    let Some((last, middle)) = layers.split_last() else { return };
    let (mut source, mut target) = (a, b);
    let mut first = true;
    for layer in middle {
        target.resize(rows * layer.outputs, 0.0);
        if first {
            layer.forward_relu(rows, x, stride, target);
        } else {
            layer.forward_relu(rows, source, layer.inputs, target);
        }
        first = false;
        std::mem::swap(&mut source, &mut target);
    }
    if first {
        last.column(rows, x, stride, y);
    } else {
        last.column(rows, source, last.inputs, y);
    }
}

/// Imagined states of one block of candidates.
#[derive(Default)]
pub struct Imagined {
    rows: usize,
    /// All rows still share the state that plans start from.
    shared: bool,
    /// `[rows, S + A]`
    x: Vec<f32>,
    /// `[rows, S + H]`
    features: Vec<f32>,
    /// `[rows, H]`
    h: Vec<f32>,
    next: Vec<f32>,
    from_input: Vec<f32>,
    from_hidden: Vec<f32>,
    statistics: Vec<f32>,
    wide: Vec<f32>,
    buffers: [Vec<f32>; 2],
}

impl Model for Rollout {
    type Batch = Imagined;

    fn batch(&self) -> Imagined {
        Imagined::default()
    }

    fn start(&self, batch: &mut Imagined, rows: usize) {
        let Sizes { deter, stoch, .. } = self.sizes;
        (batch.rows, batch.shared) = (rows, true);
        batch.x.resize(rows * self.sizes.input(), 0.0);
        batch.features.resize(rows * self.sizes.feature(), 0.0);
        batch.h.resize(rows * deter, 0.0);
        batch.next.resize(rows * deter, 0.0);
        batch.from_input.resize(rows * 3 * deter, 0.0);
        batch.from_hidden.resize(rows * 3 * deter, 0.0);
        batch.statistics.resize(rows * 2 * stoch, 0.0);
        batch.wide.resize(rows * self.first.outputs, 0.0);
        for row in batch.features.chunks_exact_mut(self.sizes.feature()) {
            row[..stoch].copy_from_slice(&self.state.stoch);
        }
        fill_rows(&mut batch.h, &self.state.deter);
    }

    fn step(
        &self,
        batch: &mut Imagined,
        actions: Actions<'_>,
        rng: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> Result<()> {
        let Sizes { deter, stoch, .. } = self.sizes;
        let (rows, input, feature) = (batch.rows, self.sizes.input(), self.sizes.feature());
        for (i, (x, f)) in
            batch.x.chunks_exact_mut(input).zip(batch.features.chunks_exact(feature)).enumerate()
        {
            x[..stoch].copy_from_slice(&f[..stoch]);
            encode_action(actions.row(i, rows), &mut x[stoch..]);
        }
        self.from_input.forward(rows, &batch.x, input, &mut batch.from_input);
        if batch.shared {
            let (row, rest) = batch.from_hidden.split_at_mut(3 * deter);
            self.from_hidden.forward(1, &batch.h, deter, row);
            fill_rows(rest, row);
        } else {
            self.from_hidden.forward(rows, &batch.h, deter, &mut batch.from_hidden);
        }
        batch.shared = false;
        gru::gates_forward(&batch.from_input, &batch.from_hidden, &batch.h, &mut batch.next, deter);
        std::mem::swap(&mut batch.h, &mut batch.next);
        self.prior.forward(rows, &batch.h, deter, &mut batch.statistics);
        if self.sample {
            for row in batch.statistics.chunks_exact_mut(2 * stoch) {
                let (mean, raw) = row.split_at_mut(stoch);
                for (m, raw) in mean.iter_mut().zip(raw) {
                    *m += std_of(*raw, self.std_floor) * rng.sample::<f32, _>(StandardNormal);
                }
            }
        }
        let states = batch.statistics.chunks_exact(2 * stoch).zip(batch.h.chunks_exact(deter));
        for (f, (s, h)) in batch.features.chunks_exact_mut(feature).zip(states) {
            f[..stoch].copy_from_slice(&s[..stoch]);
            f[stoch..].copy_from_slice(h);
        }
        self.heads(batch, rewards, continues);
        Ok(())
    }
}
