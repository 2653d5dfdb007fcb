//! The trained model on plain slices: filtering while acting, and imagined rollouts for planners.
//!
//! No graph, no tensors, no allocation per step, and no copies: a candidate is one row `[a, s, 1, h]` of which every
//! layer reads the part that it needs, with the row's stride, and in which h advances in place; the 1 makes biases rows
//! of the weights. The weights are a snapshot,
//! taken once after training. The first layers of the reward and continuation heads are one product, and so are both
//! shares of the gates r and z. At the first step all candidates share the state: only the action's product is theirs.

use super::scan::{Offsets, Sizes, std_of};
use super::{Rssm, VARIANCE_EPS, encode_action};
use crate::Result;
use crate::planning::Model;
use rl_core::env::{Action, Actions};
use rl_core::nn::kernel::{Mat, Real, dot_inline, fill_rows, matmul};
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Activation, Mlp, gru};
use rl_core::normal::fill_standard_normal;
use rl_core::normalize::RunningMeanStd;
use rl_core::{Error, StreamRng, vectorised};

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

    /// The layer of the first `k` outputs and that of the others.
    fn split_outputs(&self, k: usize) -> (Self, Self) {
        let part = |range: std::ops::Range<usize>| {
            let rows = self.weight.chunks_exact(self.outputs).flat_map(|row| &row[range.clone()]);
            Self::new(&rows.copied().collect::<Vec<f32>>(), &self.bias[range.clone()])
        };
        (part(0..k), part(k..self.outputs))
    }

    /// The layer of both inputs, one after the other, whose output is the sum of both layers'.
    fn stacked(self, below: &Self) -> Self {
        let bias: Vec<f32> = self.bias.iter().zip(&below.bias).map(|(a, b)| a + b).collect();
        Self::new(&[self.weight, below.weight.clone()].concat(), &bias)
    }

    /// The last `inputs − k` rows of the weight first.
    fn rotated(mut self, k: usize) -> Self {
        self.weight.rotate_left(k * self.outputs);
        self
    }

    /// The same layer for inputs that hold a 1 at position `k`: the bias is a row of the weight, so the product needs
    /// no pass that fills in the bias first.
    fn with_one_at(mut self, k: usize) -> Self {
        let at = k * self.outputs;
        self.weight.splice(at..at, self.bias.drain(..));
        self.inputs += 1;
        self
    }

    /// `y = x W + b`; rows of x start `stride` elements apart.
    fn forward(&self, rows: usize, x: &[f32], stride: usize, y: &mut [f32]) {
        let y = &mut y[..rows * self.outputs];
        let add = !self.bias.is_empty();
        if add {
            fill_rows(y, &self.bias);
        }
        let weight = Mat::rows(&self.weight, self.outputs);
        matmul(y, self.outputs, add, Mat::rows(x, stride), weight, (rows, self.outputs, self.inputs));
    }

    /// [`forward`](Self::forward) of rows that differ in their first `k` inputs only; the bias is a row of the weight.
    fn forward_shared(&self, k: usize, rows: usize, x: &[f32], stride: usize, y: &mut [f32]) {
        let n = self.outputs;
        let (own, common) = self.weight.split_at(k * n);
        let (row, others) = y[..rows * n].split_at_mut(n);
        matmul(row, n, false, Mat::rows(&x[k..], stride), Mat::rows(common, n), (1, n, self.inputs - k));
        fill_rows(others, row);
        if k > 0 {
            matmul(y, n, true, Mat::rows(x, stride), Mat::rows(own, n), (rows, n, k));
        }
    }

    /// [`forward`](Self::forward) and ReLU.
    fn forward_relu(&self, rows: usize, x: &[f32], stride: usize, y: &mut [f32]) {
        self.forward(rows, x, stride, y);
        let y = &mut y[..rows * self.outputs];
        Activation::Relu.apply(y);
    }

    /// The single output of each row.
    fn column(&self, rows: usize, x: &[f32], stride: usize, y: &mut [f32]) {
        dots(&mut y[..rows], x, stride, &self.weight, self.bias[0]);
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
    /// Both shares of the gates r and z, from `[a, s, 1, h]`.
    reset_update: Dense,
    /// The shares of n: from `[a, s, 1]`, and from `[1, h]`, like the prior.
    n_input: Dense,
    n_hidden: Dense,
    prior: Dense,
    /// h's share of the posterior; its bias is in `embedding`.
    posterior: Dense,
    /// First layers of the reward and continuation heads, side by side, from `[s, 1, h]`; and the reward's alone.
    first: Dense,
    first_of_reward: Dense,
    /// What follows them.
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
        let Sizes { deter, stoch, .. } = sizes;
        let first_of_reward = reward.remove(0);
        let first = Dense::joined(&first_of_reward, &continuation.remove(0)).with_one_at(stoch);
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
        let (input_rz, n_input) = from_input.rotated(stoch).split_outputs(2 * deter);
        let (hidden_rz, n_hidden) = from_hidden.split_outputs(2 * deter);
        let scale = &model.reward_scale;
        Ok(Self {
            sizes,
            std_floor: model.config.std_floor as f32,
            encoder: (model.encoder.clone(), model.encoder.params().to_vec()?),
            decoder: (model.decoder.clone(), model.decoder.params().to_vec()?),
            embedding: layers(&model.embedding)?.remove(0),
            reset_update: input_rz.stacked(&hidden_rz).with_one_at(sizes.input()),
            n_input: n_input.with_one_at(sizes.input()),
            n_hidden: n_hidden.with_one_at(0),
            prior: prior.with_one_at(0),
            posterior,
            first,
            first_of_reward: first_of_reward.with_one_at(stoch),
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
        let mut cell = vec![0.0; self.sizes.cell()];
        let (x, one_h) = cell.split_at_mut(self.sizes.input());
        if let Some(action) = action {
            encode_action(action, &mut x[..width]);
            x[width..].copy_from_slice(&state.stoch);
            one_h[1..].copy_from_slice(&state.deter);
        }
        one_h[0] = 1.0;
        let mut next = State { deter: one_h[1..].to_vec(), stoch: vec![0.0; stoch] };
        let (mut rz, mut input, mut hidden) = (vec![0.0; 2 * deter], vec![0.0; deter], vec![0.0; deter]);
        self.n_hidden.forward(1, one_h, deter + 1, &mut hidden);
        self.n_input.forward(1, &cell, cell.len(), &mut input);
        self.reset_update.forward(1, &cell, cell.len(), &mut rz);
        gru::gates_forward_summed(&rz, &input, &hidden, &mut next.deter, deter, deter);
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
        let Sizes { stoch, action, .. } = self.sizes;
        let mut features = Vec::with_capacity(batch.rows * self.sizes.feature());
        for cell in batch.cells.chunks_exact(self.sizes.cell()) {
            features.extend_from_slice(&cell[action..][..stoch]);
            features.extend_from_slice(&cell[action + stoch + 1..]);
        }
        let decoded = decoder.infer(params, batch.rows, &features, self.sizes.feature(), &mut workspace);
        observations.clear();
        observations.extend_from_slice(decoded);
        self.observation_scale.denormalize(observations, VARIANCE_EPS);
    }

    /// Moves every row to the state that follows its action.
    fn advance(&self, batch: &mut Imagined, actions: Actions<'_>, rng: &mut StreamRng) {
        let Sizes { deter, stoch, action } = self.sizes;
        let (rows, width, one) = (batch.rows, self.sizes.cell(), action + stoch);
        for (i, cell) in batch.cells.chunks_exact_mut(width).enumerate() {
            encode_action(actions.row(i, rows), &mut cell[..action]);
        }
        let Imagined { cells, reset_update, n_input, n_hidden, .. } = batch;
        if batch.shared {
            self.reset_update.forward_shared(action, rows, cells, width, reset_update);
            self.n_input.forward_shared(action, rows, cells, width, n_input);
            self.n_hidden.forward_shared(0, rows, &cells[one..], width, n_hidden);
        } else {
            self.reset_update.forward(rows, cells, width, reset_update);
            self.n_input.forward(rows, cells, width, n_input);
            self.n_hidden.forward(rows, &cells[one..], width, n_hidden);
        }
        batch.shared = false;
        gru::gates_forward_summed(reset_update, n_input, n_hidden, &mut cells[one + 1..], width, deter);
        self.draw(batch, rng);
    }

    /// Draws s from the prior of h, or takes its mean.
    fn draw(&self, batch: &mut Imagined, rng: &mut StreamRng) {
        let Sizes { stoch, action, .. } = self.sizes;
        let width = self.sizes.cell();
        let one_h = &batch.cells[action + stoch..];
        self.prior.forward(batch.rows, one_h, width, &mut batch.statistics);
        let statistics = batch.statistics.chunks_exact(2 * stoch);
        if self.sample {
            for (raw, statistics) in batch.raw.chunks_exact_mut(stoch).zip(statistics.clone()) {
                raw.copy_from_slice(&statistics[stoch..]);
            }
            fill_standard_normal(&mut batch.noise, rng);
            scale_noise(&mut batch.noise, &batch.raw, self.std_floor);
        } else {
            batch.noise.fill(0.0);
        }
        let cells = batch.cells.chunks_exact_mut(width);
        for ((cell, mean), noise) in cells.zip(statistics).zip(batch.noise.chunks_exact(stoch)) {
            for ((s, mean), noise) in cell[action..][..stoch].iter_mut().zip(mean).zip(noise) {
                *s = mean + noise;
            }
        }
    }

    /// What the heads say of the present states, in the environment's units.
    fn heads(&self, batch: &mut Imagined, rewards: &mut [f32], continues: &mut [f32]) {
        let (rows, wide) = (batch.rows, self.first.outputs);
        let reward_width = self.reward[0].inputs;
        let features = &batch.cells[self.sizes.action..];
        self.first.forward_relu(rows, features, self.sizes.cell(), &mut batch.wide);
        tail(&self.reward, rows, &batch.wide, wide, &mut batch.buffers, rewards);
        tail(&self.continuation, rows, &batch.wide[reward_width..], wide, &mut batch.buffers, continues);
        in_units(rewards, self.reward_mean, self.reward_std);
        logistic(continues);
    }

    /// [`heads`](Self::heads) without the continuation.
    fn reward_head(&self, batch: &mut Imagined, rewards: &mut [f32]) {
        let features = &batch.cells[self.sizes.action..];
        let Imagined { rows, wide, buffers, .. } = batch;
        self.first_of_reward.forward_relu(*rows, features, self.sizes.cell(), wide);
        tail(&self.reward, *rows, wide, self.first_of_reward.outputs, buffers, rewards);
        in_units(rewards, self.reward_mean, self.reward_std);
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

vectorised! {
    /// `y[i] = x[i] · weight + bias`; rows of x start `stride` elements apart.
    fn dots(y: &mut [f32], x: &[f32], stride: usize, weight: &[f32], bias: f32) {
        for (y, x) in y.iter_mut().zip(x.chunks(stride)) {
            *y = dot_inline(&x[..weight.len()], weight) + bias;
        }
    }

    /// symexp of the head's outputs in units of the standardised rewards.
    fn in_units(rewards: &mut [f32], mean: f32, std: f32) {
        for r in rewards {
            let x = *r * std + mean;
            *r = (x.abs().fast_exp() - 1.0).copysign(x);
        }
    }

    fn logistic(x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x = x.sigmoid());
    }

    /// noise ← std(raw) · noise.
    fn scale_noise(noise: &mut [f32], raw: &[f32], floor: f32) {
        noise.iter_mut().zip(raw).for_each(|(z, &raw)| *z *= std_of(raw, floor));
    }
}

/// Imagined states of one block of candidates.
#[derive(Default)]
pub struct Imagined {
    rows: usize,
    /// All rows still share the state that plans start from.
    shared: bool,
    /// `[rows, A + S + 1 + H]`: an action, and the state that it is taken in; then the state that follows.
    cells: Vec<f32>,
    /// The gates' inputs: `[rows, 2 H]` and twice `[rows, H]`.
    reset_update: Vec<f32>,
    n_input: Vec<f32>,
    n_hidden: Vec<f32>,
    /// `[rows, 2 S]`, the prior's, and its second half by itself.
    statistics: Vec<f32>,
    raw: Vec<f32>,
    /// `[rows, S]`, the sample's distance from the mean.
    noise: Vec<f32>,
    wide: Vec<f32>,
    buffers: [Vec<f32>; 2],
}

impl Model for Rollout {
    type Batch = Imagined;

    fn batch(&self) -> Imagined {
        Imagined::default()
    }

    fn start(&self, batch: &mut Imagined, rows: usize) {
        let Sizes { deter, stoch, action } = self.sizes;
        (batch.rows, batch.shared) = (rows, true);
        batch.cells.resize(rows * self.sizes.cell(), 0.0);
        batch.reset_update.resize(rows * 2 * deter, 0.0);
        batch.n_input.resize(rows * deter, 0.0);
        batch.n_hidden.resize(rows * deter, 0.0);
        batch.statistics.resize(rows * 2 * stoch, 0.0);
        batch.raw.resize(rows * stoch, 0.0);
        batch.noise.resize(rows * stoch, 0.0);
        batch.wide.resize(rows * self.first.outputs, 0.0);
        for cell in batch.cells.chunks_exact_mut(self.sizes.cell()) {
            cell[action..][..stoch].copy_from_slice(&self.state.stoch);
            cell[action + stoch] = 1.0;
            cell[action + stoch + 1..].copy_from_slice(&self.state.deter);
        }
    }

    fn step(
        &self,
        batch: &mut Imagined,
        actions: Actions<'_>,
        rng: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> Result<()> {
        self.advance(batch, actions, rng);
        self.heads(batch, rewards, continues);
        Ok(())
    }

    fn last_step(
        &self,
        batch: &mut Imagined,
        actions: Actions<'_>,
        rng: &mut StreamRng,
        rewards: &mut [f32],
        _continues: &mut [f32],
    ) -> Result<()> {
        self.advance(batch, actions, rng);
        self.reward_head(batch, rewards);
        Ok(())
    }
}
