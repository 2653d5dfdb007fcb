//! The mechanism of one variable: p(v′ | parents, action), its training and the tests of its parents.

use super::dataset::InterventionalDataset;
use super::space::{FactoredSpace, Kind};
use super::world_model::{Structure, WorldModelConfig};
use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use rl_core::StreamRng;
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig, fused_loss};
use rl_core::optim::{Clip, Optimizer, OptimizerConfig, backward};
use std::f32::consts::TAU;

/// ln σ² = BOUND tanh(raw / BOUND).
const BOUND: f32 = 8.0;

/// A network from the allowed inputs and their mask to the parameters of the variable's law: logits, or means and
/// log-variances.
pub(super) struct Mechanism {
    pub(super) variable: usize,
    kind: Kind,
    network: Mlp,
    optimizer: Optimizer,
    rng: StreamRng,
    /// Which inputs it may read: the variables, then the action.
    pub(super) mask: Vec<bool>,
    /// Running estimate of I(v′; input | the other inputs), nats.
    pub(super) information: Vec<f64>,
    updates: u64,
}

/// The rows of one mechanism, split.
pub(super) struct Rows {
    training: Vec<usize>,
    validation: Vec<usize>,
}

impl Rows {
    /// Every k-th row validates, k = 1 / share.
    pub(super) fn split(data: &InterventionalDataset, variable: usize, share: f64) -> Result<Self> {
        let every = (1.0 / share).round() as usize;
        let rows = data.rows_of(variable);
        let (mut training, mut validation) = (Vec::new(), Vec::new());
        for (i, row) in rows.into_iter().enumerate() {
            if i % every == every - 1 { validation.push(row) } else { training.push(row) }
        }
        if training.is_empty() || validation.is_empty() {
            let name = &data.space().variables()[variable].name;
            let reason = format!("fewer than {every} transitions in which it was not set from outside");
            return Err(Error::data(format!("variable `{name}`"), reason));
        }
        Ok(Self { training, validation })
    }
}

impl Mechanism {
    pub(super) fn new(
        space: &FactoredSpace,
        variable: usize,
        config: &WorldModelConfig,
        mut rng: StreamRng,
    ) -> Result<Self> {
        let kind = space.variables()[variable].kind;
        let outputs = match kind {
            Kind::Categorical(k) => k,
            Kind::Real(k) => 2 * k,
        };
        let inputs = space.width() + space.action().width() + space.len() + 1;
        let network = Mlp::new(&MlpConfig::relu(inputs, &config.hidden, outputs), &Device::Cpu, &mut rng)?;
        forget_masks(&network, space.len() + 1)?;
        let adam = OptimizerConfig::adam(config.learning_rate, 1e-8, Clip::GlobalNorm(10.0));
        let optimizer = Optimizer::new(adam, &[network.params()])?;
        let mask = match &config.structure {
            Structure::Given(parents) => (0..=space.len()).map(|i| parents[variable].contains(&i)).collect(),
            Structure::Learned | Structure::Dense => vec![true; space.len() + 1],
        };
        let information = vec![f64::INFINITY; space.len() + 1];
        Ok(Self { variable, kind, network, optimizer, rng, mask, information, updates: 0 })
    }

    /// Makes `updates` gradient steps. While the structure is learned, a quarter of the rows is seen with all inputs, half
    /// without one, a quarter with the present parents; in the last fifth of the training all with the parents only.
    pub(super) fn train(
        &mut self,
        data: &InterventionalDataset,
        rows: &Rows,
        config: &WorldModelConfig,
        updates: u64,
    ) -> Result<()> {
        let learned = config.structure == Structure::Learned;
        let fixed_after = config.updates - config.updates / 5;
        let (width, classes) = (self.network.inputs(), self.mask.len());
        let mut x = Vec::with_capacity(config.batch * width);
        let mut workspace = Workspace::default();
        for _ in 0..updates {
            let searching = learned && self.updates < fixed_after;
            if searching && self.updates.is_multiple_of(config.test_every) {
                self.test_inputs(data, rows, config, &mut workspace)?;
            }
            if learned && self.updates == fixed_after {
                self.settle(data, rows, config, &mut workspace)?;
            }
            x.clear();
            let mut targets = Vec::with_capacity(config.batch);
            for _ in 0..config.batch {
                let row = rows.training[self.rng.random_range(0..rows.training.len())];
                let hidden = match self.rng.random_range(0..4) {
                    0 if searching => Some(None),
                    1 | 2 if searching => Some(Some(self.rng.random_range(0..classes))),
                    _ => None,
                };
                match hidden {
                    Some(left_out) => encode(data, row, |i| Some(i) != left_out, classes, &mut x),
                    None => encode(data, row, |i| self.mask[i], classes, &mut x),
                }
                targets.push(row);
            }
            let input =
                Tensor::from_slice(&x, (config.batch, width), &Device::Cpu).map_err(rl_core::Error::from)?;
            let output = self.network.forward(&input)?;
            let outputs = self.network.outputs();
            let loss = fused_loss([&output], |[y]: [&[f32]; 1], [dy]| {
                let mut total = 0.0;
                let share = 1.0 / targets.len() as f32;
                for (k, &row) in targets.iter().enumerate() {
                    let place = k * outputs..(k + 1) * outputs;
                    let gradient = &mut dy[place.clone()];
                    total +=
                        negative_log_likelihood(self.kind, &y[place], self.target(data, row), Some(gradient));
                    gradient.iter_mut().for_each(|g| *g *= share);
                }
                total / targets.len() as f64
            })?;
            let (_, gradients) = backward(&loss)?;
            self.optimizer.step(&gradients)?;
            self.updates += 1;
        }
        Ok(())
    }

    fn target<'a>(&self, data: &'a InterventionalDataset, row: usize) -> &'a [f32] {
        data.get(row).map_or(&[], |t| &t.next[data.space().block(self.variable)])
    }

    /// Moves the running estimates by one batch of validation rows, and the mask with them.
    fn test_inputs(
        &mut self,
        data: &InterventionalDataset,
        rows: &Rows,
        config: &WorldModelConfig,
        workspace: &mut Workspace<f32>,
    ) -> Result<()> {
        let n = config.batch.min(rows.validation.len());
        let batch: Vec<usize> =
            (0..n).map(|_| rows.validation[self.rng.random_range(0..rows.validation.len())]).collect();
        for (i, fresh) in self.information_on(data, &batch, workspace)?.into_iter().enumerate() {
            let running = &mut self.information[i];
            *running = if running.is_finite() {
                config.momentum * *running + (1.0 - config.momentum) * fresh
            } else {
                fresh
            };
        }
        self.remask(config.threshold);
        Ok(())
    }

    /// The estimates on all validation rows, which decide.
    fn settle(
        &mut self,
        data: &InterventionalDataset,
        rows: &Rows,
        config: &WorldModelConfig,
        workspace: &mut Workspace<f32>,
    ) -> Result<()> {
        self.information = self.information_on(data, &rows.validation, workspace)?;
        self.remask(config.threshold);
        Ok(())
    }

    fn remask(&mut self, threshold: f64) {
        self.mask.iter_mut().zip(&self.information).for_each(|(m, &i)| *m = i >= threshold);
    }

    /// E[−ln p(v′ | all inputs but i)] − E[−ln p(v′ | all inputs)] for every input i.
    fn information_on(
        &self,
        data: &InterventionalDataset,
        rows: &[usize],
        workspace: &mut Workspace<f32>,
    ) -> Result<Vec<f64>> {
        let full = self.mean_loss(data, rows, |_| true, workspace)?;
        (0..self.mask.len())
            .map(|left_out| Ok(self.mean_loss(data, rows, |i| i != left_out, workspace)? - full))
            .collect()
    }

    /// Mean negative log-likelihood of rows with some inputs visible.
    pub(super) fn mean_loss(
        &self,
        data: &InterventionalDataset,
        rows: &[usize],
        visible: impl Fn(usize) -> bool + Copy,
        workspace: &mut Workspace<f32>,
    ) -> Result<f64> {
        let mut x = Vec::with_capacity(rows.len() * self.network.inputs());
        rows.iter().for_each(|&row| encode(data, row, visible, self.mask.len(), &mut x));
        let outputs = self.network.outputs();
        let y = self.outputs(rows.len(), &x, workspace)?;
        let losses = rows.iter().zip(y.chunks_exact(outputs));
        let total: f64 =
            losses.map(|(&r, y)| negative_log_likelihood(self.kind, y, self.target(data, r), None)).sum();
        Ok(total / rows.len().max(1) as f64)
    }

    /// Raw outputs for encoded rows.
    fn outputs(&self, rows: usize, x: &[f32], workspace: &mut Workspace<f32>) -> Result<Vec<f32>> {
        let width = self.network.inputs();
        let infer = |params: &[f32]| Ok(self.network.infer(params, rows, x, width, workspace).to_vec());
        Ok(self.network.params().with::<f32, _>(infer)?)
    }

    /// The law of the variable after each row's state and action: probabilities, or means and standard deviations.
    pub(super) fn law(
        &self,
        space: &FactoredSpace,
        states: &[f32],
        actions: &[f32],
        workspace: &mut Workspace<f32>,
    ) -> Result<Vec<f32>> {
        let (w, a) = (space.width(), space.action().width());
        let rows = states.len() / w;
        let mut x = Vec::with_capacity(rows * self.network.inputs());
        for (state, action) in states.chunks_exact(w).zip(actions.chunks_exact(a)) {
            encode_row(space, state, action, |i| self.mask[i], self.mask.len(), &mut x);
        }
        let outputs = self.network.outputs();
        let mut law = self.outputs(rows, &x, workspace)?;
        for row in law.chunks_exact_mut(outputs) {
            match self.kind {
                Kind::Categorical(_) => softmax(row),
                Kind::Real(k) => row[k..].iter_mut().for_each(|r| *r = (0.5 * log_variance(*r)).exp()),
            }
        }
        Ok(law)
    }

    /// Numbers per row of [`Mechanism::law`].
    pub(super) fn law_width(&self) -> usize {
        self.network.outputs()
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

/// Lets the mask bits, the last inputs, count for nothing at first: hiding an input that the network ignores then changes
/// nothing, and information of nuisances starts at zero.
fn forget_masks(network: &Mlp, bits: usize) -> Result<()> {
    let mut params = network.params().to_vec::<f32>()?;
    if let Some(first) = network.params().parts().first() {
        let weight = &mut params[first.range()];
        let end = weight.len();
        let columns = end / network.inputs();
        weight[end - bits * columns..].fill(0.0);
    }
    Ok(network.params().set(&params)?)
}

/// Draws an encoded value from a law.
pub(super) fn draw(kind: Kind, law: &[f32], value: &mut [f32], rng: &mut impl Rng) {
    match kind {
        Kind::Categorical(k) => {
            value.fill(0.0);
            let mut left = rng.random::<f32>();
            let chosen = law[..k].iter().position(|p| {
                left -= p;
                left < 0.0
            });
            value[chosen.unwrap_or(k - 1)] = 1.0;
        }
        Kind::Real(k) => {
            for (i, v) in value.iter_mut().enumerate() {
                let noise: f32 = StandardNormal.sample(rng);
                *v = law[i] + law[k + i] * noise;
            }
        }
    }
}

fn encode(
    data: &InterventionalDataset,
    row: usize,
    visible: impl Fn(usize) -> bool,
    inputs: usize,
    x: &mut Vec<f32>,
) {
    if let Some(t) = data.get(row) {
        encode_row(data.space(), t.state, t.action, visible, inputs, x);
    }
}

/// Visible inputs as they are, hidden ones as zeros, then the mask itself.
fn encode_row(
    space: &FactoredSpace,
    state: &[f32],
    action: &[f32],
    visible: impl Fn(usize) -> bool,
    inputs: usize,
    x: &mut Vec<f32>,
) {
    for v in 0..space.len() {
        let block = &state[space.block(v)];
        if visible(v) {
            x.extend_from_slice(block);
        } else {
            x.extend(std::iter::repeat_n(0.0, block.len()));
        }
    }
    if visible(space.action_input()) {
        x.extend_from_slice(action);
    } else {
        x.extend(std::iter::repeat_n(0.0, action.len()));
    }
    x.extend((0..inputs).map(|i| f32::from(u8::from(visible(i)))));
}

fn log_variance(raw: f32) -> f32 {
    BOUND * (raw / BOUND).tanh()
}

fn softmax(row: &mut [f32]) {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|v| *v = (*v - top).exp());
    let total: f32 = row.iter().sum();
    row.iter_mut().for_each(|v| *v /= total);
}

/// −ln p(target) under raw outputs, and its gradient.
fn negative_log_likelihood(kind: Kind, y: &[f32], target: &[f32], gradient: Option<&mut [f32]>) -> f64 {
    match kind {
        Kind::Categorical(k) => {
            let top = y.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = y.iter().map(|v| (v - top).exp()).sum();
            let hit: f32 = y.iter().zip(target).map(|(v, t)| v * t).sum();
            if let Some(gradient) = gradient {
                for i in 0..k {
                    gradient[i] = (y[i] - top).exp() / total - target[i];
                }
            }
            f64::from(top + total.ln() - hit)
        }
        Kind::Real(k) => {
            let mut loss = 0.0;
            let mut slopes = gradient;
            for i in 0..k {
                let (mean, log_var) = (y[i], log_variance(y[k + i]));
                let (error, precision) = (mean - target[i], (-log_var).exp());
                loss += 0.5 * (error * error * precision + log_var + TAU.ln());
                if let Some(slopes) = &mut slopes {
                    slopes[i] = error * precision;
                    let bend = 1.0 - (y[k + i] / BOUND).tanh().powi(2);
                    slopes[k + i] = 0.5 * (1.0 - error * error * precision) * bend;
                }
            }
            f64::from(loss)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likelihoods_have_the_gradients_of_finite_differences() {
        let cases: [(Kind, &[f32], &[f32]); 2] = [
            (Kind::Categorical(3), &[0.3, -1.0, 0.7], &[0.0, 1.0, 0.0]),
            (Kind::Real(2), &[0.3, -1.0, 0.7, -2.0], &[0.1, 0.4]),
        ];
        for (kind, y, target) in cases {
            let mut gradient = vec![0.0; y.len()];
            negative_log_likelihood(kind, y, target, Some(&mut gradient));
            for i in 0..y.len() {
                let at = |h: f32| {
                    let mut moved = y.to_vec();
                    moved[i] += h;
                    negative_log_likelihood(kind, &moved, target, None)
                };
                let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!((slope - f64::from(gradient[i])).abs() < 5e-3 * slope.abs().max(1.0), "{kind:?} {i}");
            }
        }
        // Hand-worked: a fair coin costs ln 2, a standard normal at its mean ½ ln 2π.
        let coin = negative_log_likelihood(Kind::Categorical(2), &[0.0, 0.0], &[1.0, 0.0], None);
        assert!((coin - 2f64.ln()).abs() < 1e-6);
        let normal = negative_log_likelihood(Kind::Real(1), &[0.5, 0.0], &[0.5], None);
        assert!((normal - 0.918_938_5).abs() < 1e-6);
    }
}
