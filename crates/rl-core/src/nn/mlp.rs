//! The multi-layer perceptron: one graph node, forward and backward.
//!
//! Layer: z = x W + b, optionally normalised (Ba et al. 2016; RMS: Zhang and Sennrich 2019) with learned scale and
//! shift, then an activation. Weights are `[inputs, outputs]`, so no product needs a transposed copy. The backward
//! pass is written by hand: candle's own makes both gradients of every product, allocates zeros for each first
//! contribution and runs the bias and the activation as passes of their own.

use super::gradients::hand_over;
use super::init::Init;
use super::kernel::{Mat, Real, add_column_sums, dot_inline, fill_rows, matmul, slice, with_slice};
use super::params::{Layout, Params};
use crate::experiment::{Persist, TrainState};
use crate::{Error, Result, StreamRng, vectorised};
use candle_core::{CpuStorage, CustomOp2, D, DType, Device, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

/// Element-wise function after a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x
    Identity,
    /// max(x, 0); derivative 0 at 0.
    Relu,
    /// tanh x
    Tanh,
    /// x σ(x)
    Silu,
    /// x for x > 0, else eˣ − 1
    Elu,
    /// x tanh(ln(1 + eˣ))
    Mish,
}

/// Normalisation before the activation of every hidden layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// None.
    None,
    /// (x − mean) / √(var + eps), scale and shift learned.
    Layer {
        /// Added to the variance.
        eps: f64,
    },
    /// x / √(mean x² + eps), scale learned.
    Rms {
        /// Added to the mean square.
        eps: f64,
    },
}

/// Sizes and functions of a perceptron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Input features.
    pub inputs: usize,
    /// Widths of the hidden layers; may be empty.
    pub hidden: Vec<usize>,
    /// Output features.
    pub outputs: usize,
    /// After every hidden layer.
    pub activation: Activation,
    /// After the last layer.
    pub output_activation: Activation,
    /// In every hidden layer, before its activation.
    pub norm: Norm,
    /// Weights of the hidden layers.
    pub init: Init,
    /// Weights of the last layer.
    pub output_init: Init,
}

impl MlpConfig {
    /// Hidden layers with ReLU, no normalisation, PyTorch's default initialisation.
    pub fn relu(inputs: usize, hidden: &[usize], outputs: usize) -> Self {
        Self {
            inputs,
            hidden: hidden.to_vec(),
            outputs,
            activation: Activation::Relu,
            output_activation: Activation::Identity,
            norm: Norm::None,
            init: Init::FanInUniform,
            output_init: Init::FanInUniform,
        }
    }
}

/// Where a layer's parameters lie, and what it computes.
#[derive(Clone, Debug)]
struct Layer {
    inputs: usize,
    outputs: usize,
    weight: usize,
    bias: usize,
    scale: usize,
    shift: usize,
    norm: Norm,
    activation: Activation,
    first_part: usize,
}

/// A multi-layer perceptron with its parameters.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Arc<Vec<Layer>>,
    params: Params,
}

impl Mlp {
    /// Draws the weights.
    ///
    /// # Errors
    /// If a width is zero or the device cannot hold the parameters.
    pub fn new(config: &MlpConfig, device: &Device, rng: &mut StreamRng) -> Result<Self> {
        let mut layout = Layout::default();
        let layers = Self::add_layers(config, "", &mut layout, rng)?;
        Ok(Self { layers: Arc::new(layers), params: layout.build(DType::F32, device)? })
    }

    fn add_layers(
        config: &MlpConfig,
        prefix: &str,
        layout: &mut Layout,
        rng: &mut StreamRng,
    ) -> Result<Vec<Layer>> {
        let widths: Vec<usize> =
            [config.inputs].into_iter().chain(config.hidden.clone()).chain([config.outputs]).collect();
        if widths.contains(&0) {
            return Err(Error::config("mlp", "inputs, hidden, outputs", format!("{widths:?}"), "positive"));
        }
        let last = widths.len() - 2;
        let mut first_part = 0;
        let mut layers = vec![];
        for (i, pair) in widths.windows(2).enumerate() {
            let (inputs, outputs) = (pair[0], pair[1]);
            let name = format!("{prefix}layer{i}");
            let (norm, activation, init) = if i == last {
                (Norm::None, config.output_activation, config.output_init)
            } else {
                (config.norm, config.activation, config.init)
            };
            let (weight, bias) = layout.add_linear(&name, inputs, outputs, init, rng);
            let (mut scale, mut shift) = (0, 0);
            let mut parts = 2;
            if norm != Norm::None {
                scale = layout.add(format!("{name}/scale"), &[outputs], vec![1.0; outputs]);
                parts += 1;
            }
            if matches!(norm, Norm::Layer { .. }) {
                shift = layout.add(format!("{name}/shift"), &[outputs], vec![0.0; outputs]);
                parts += 1;
            }
            layers.push(Layer { inputs, outputs, weight, bias, scale, shift, norm, activation, first_part });
            first_part += parts;
        }
        Ok(layers)
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Input features.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Output features.
    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs
    }

    /// Weight `[inputs, outputs]` and bias of every layer, as parts of `params`.
    pub fn dense_layers<'a, R>(&'a self, params: &'a [R]) -> impl Iterator<Item = (&'a [R], &'a [R])> {
        self.layers.iter().map(move |layer| {
            let weight = &params[layer.weight..][..layer.inputs * layer.outputs];
            (weight, &params[layer.bias..][..layer.outputs])
        })
    }

    /// The same network with an independent copy of the parameters: a target network.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn duplicate(&self) -> Result<Self> {
        Ok(Self { layers: self.layers.clone(), params: self.params.duplicate()? })
    }

    /// The same network in another precision, for gradient checks.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self { layers: self.layers.clone(), params: self.params.to_dtype(dtype)? })
    }

    /// `[.., inputs] -> [.., outputs]`; gradients reach the parameters, and the input where it tracks any.
    ///
    /// # Errors
    /// If the last axis of `x` has not the input's width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, true)
    }

    /// Like [`forward`](Self::forward) with constant parameters: gradients reach only the input, as for a critic
    /// inside an actor's loss.
    ///
    /// # Errors
    /// If the last axis of `x` has not the input's width.
    pub fn forward_frozen(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, false)
    }

    fn apply(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        if width != self.inputs() {
            return Err(Error::shape(
                "Mlp::forward",
                format!("[.., {}]", self.inputs()),
                format!("{:?}", x.dims()),
            ));
        }
        if !x.device().is_cpu() {
            return self.forward_composed(x, train);
        }
        let x = x.contiguous()?;
        let params = if train { self.params.tensor().clone() } else { self.params.tensor().detach() };
        let (input_gradient, layers) = (x.track_op(), self.layers.clone());
        Ok(match x.dtype() {
            DType::F64 => x.apply_op2(&params, MlpOp::<f64>::new(layers, input_gradient, train))?,
            _ => x.apply_op2(&params, MlpOp::<f32>::new(layers, input_gradient, train))?,
        })
    }

    /// The same function out of plain tensor operations: for devices without fused kernels, and the slow twin.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn forward_composed(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut dims = x.dims().to_vec();
        let mut y = x.reshape(((), self.inputs()))?;
        for layer in self.layers.iter() {
            let part = |i: usize| -> Result<Tensor> {
                let tensor = self.params.part(layer.first_part + i)?;
                Ok(if train { tensor } else { tensor.detach() })
            };
            y = y.matmul(&part(0)?)?.broadcast_add(&part(1)?)?;
            y = match layer.norm {
                Norm::None => y,
                Norm::Layer { eps } => {
                    let centred = y.broadcast_sub(&y.mean_keepdim(1)?)?;
                    let variance = centred.sqr()?.mean_keepdim(1)?;
                    let normalised = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
                    normalised.broadcast_mul(&part(2)?)?.broadcast_add(&part(3)?)?
                }
                Norm::Rms { eps } => {
                    let square = y.sqr()?.mean_keepdim(1)?;
                    y.broadcast_div(&(square + eps)?.sqrt()?)?.broadcast_mul(&part(2)?)?
                }
            };
            y = layer.activation.composed(&y)?;
        }
        let last = dims.len() - 1;
        dims[last] = self.outputs();
        Ok(y.reshape(dims)?)
    }

    /// The same function on slices, without a graph: `rows` rows of `x` start `stride` elements apart; the result
    /// is borrowed from the workspace, `[rows, outputs]`. `params` are this network's values (see
    /// [`Params::with`]).
    pub fn infer<'a, R: Real>(
        &self,
        params: &[R],
        rows: usize,
        x: &[R],
        stride: usize,
        workspace: &'a mut Workspace<R>,
    ) -> &'a [R] {
        workspace.buffers.resize_with(2, Vec::new);
        let mut current = 0;
        for (i, layer) in self.layers.iter().enumerate() {
            let [a, b] = &mut workspace.buffers[..] else { return &[] };
            let (source, target) = if current == 0 { (a, b) } else { (b, a) };
            target.resize(rows * layer.outputs, R::real(0.0));
            let (source, stride) = if i == 0 { (x, stride) } else { (&source[..], layer.inputs) };
            layer.product(params, rows, source, stride, target);
            layer.normalise_in_place(params, target);
            layer.activation.apply(target);
            current = 1 - current;
        }
        &workspace.buffers[current][..rows * self.outputs()]
    }

    /// [`infer`](Self::infer) with this network's own values: `[rows, inputs]` to `[rows, outputs]`, for acting and for
    /// targets.
    ///
    /// # Errors
    /// If `x` is not a whole number of rows.
    pub fn predict<'a>(&self, x: &[f32], workspace: &'a mut Workspace<f32>) -> Result<&'a [f32]> {
        let width = self.inputs();
        if !x.len().is_multiple_of(width) {
            return Err(Error::shape("Mlp::predict", format!("rows of {width} numbers"), x.len()));
        }
        self.params.with(|p| Ok(self.infer(p, x.len() / width, x, width, workspace)))
    }
}

impl Persist for Mlp {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        self.params.save(prefix, state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        self.params.load(prefix, state)
    }
}

/// Buffers of [`Mlp::infer`], reused between calls.
#[derive(Clone, Debug, Default)]
pub struct Workspace<R> {
    buffers: Vec<Vec<R>>,
}

/// What the backward pass needs of one layer.
struct Cache<R> {
    output: Vec<R>,
    /// Input of the activation, where its derivative cannot be told from the output.
    before_activation: Vec<R>,
    /// Normalised values and 1/σ per row, where the layer normalises.
    normalised: Vec<R>,
    inverse_std: Vec<R>,
}

impl Layer {
    /// `y = x W + b`.
    fn product<R: Real>(&self, params: &[R], rows: usize, x: &[R], stride: usize, y: &mut [R]) {
        fill_rows(y, self.bias(params));
        self.add_product(params, rows, x, stride, y);
    }

    fn bias<'a, R>(&self, params: &'a [R]) -> &'a [R] {
        &params[self.bias..][..self.outputs]
    }

    /// `y += x W`.
    fn add_product<R: Real>(&self, params: &[R], rows: usize, x: &[R], stride: usize, y: &mut [R]) {
        let (k, n) = (self.inputs, self.outputs);
        matmul(y, n, true, Mat::rows(x, stride), Mat::rows(&params[self.weight..], n), (rows, n, k));
    }

    /// Replaces the rows of `y` by their normalised, scaled and shifted values.
    fn normalise_in_place<R: Real>(&self, params: &[R], y: &mut [R]) {
        if self.norm == Norm::None {
            return;
        }
        normalise_in_place(self.norm, y, &params[self.scale..][..self.outputs]);
        self.add_shift(params, y);
    }

    fn add_shift<R: Real>(&self, params: &[R], y: &mut [R]) {
        if let Norm::Layer { .. } = self.norm {
            add_to_rows(y, &params[self.shift..][..self.outputs]);
        }
    }

    fn forward<R: Real>(&self, params: &[R], rows: usize, x: &[R]) -> Cache<R> {
        let mut y = self.bias(params).repeat(rows);
        self.add_product(params, rows, x, self.inputs, &mut y);
        let (mut normalised, mut inverse_std) = (vec![], vec![]);
        if self.norm != Norm::None {
            inverse_std = vec![R::real(0.0); rows];
            normalised = y.clone();
            let scale = &params[self.scale..][..self.outputs];
            normalise(self.norm, &mut normalised, &mut inverse_std, &mut y, scale);
            self.add_shift(params, &mut y);
        }
        let before_activation = if self.activation.needs_input() { y.clone() } else { vec![] };
        self.activation.apply(&mut y);
        Cache { output: y, before_activation, normalised, inverse_std }
    }

    /// Turns `dy` (gradient of the output) into the gradient of the product's result, and adds the gradients of
    /// scale and shift.
    fn backward_to_product<R: Real>(
        &self,
        params: &[R],
        cache: &Cache<R>,
        dy: &mut [R],
        dparams: Option<&mut [R]>,
    ) {
        self.activation.backward(dy, &cache.before_activation, &cache.output);
        if self.norm == Norm::None {
            return;
        }
        let n = self.outputs;
        if let Some(dparams) = dparams {
            if let Norm::Layer { .. } = self.norm {
                add_column_sums(&mut dparams[self.shift..][..n], dy);
            }
            add_column_dots(&mut dparams[self.scale..][..n], dy, &cache.normalised);
        }
        let scale = &params[self.scale..][..n];
        let centred = matches!(self.norm, Norm::Layer { .. });
        normalise_backward(centred, dy, &cache.normalised, &cache.inverse_std, scale);
    }
}

/// 1/σ and the mean of one row.
#[inline(always)]
fn statistics<R: Real>(norm: Norm, row: &[R]) -> (R, R) {
    let n = R::real(row.len() as f64);
    match norm {
        Norm::None => (R::real(1.0), R::real(0.0)),
        Norm::Layer { eps } => {
            let mean = row.iter().copied().sum::<R>() / n;
            let variance = row.iter().map(|&v| (v - mean) * (v - mean)).sum::<R>() / n;
            ((variance + R::real(eps)).sqrt().recip(), mean)
        }
        Norm::Rms { eps } => ((dot_inline(row, row) / n + R::real(eps)).sqrt().recip(), R::real(0.0)),
    }
}

vectorised! {
    /// Replaces rows by their normalised and scaled values.
    fn normalise_in_place<R: Real>(norm: Norm, rows: &mut [R], scale: &[R]) {
        for row in rows.chunks_exact_mut(scale.len()) {
            let (inverse, mean) = statistics(norm, row);
            for (v, &g) in row.iter_mut().zip(scale) {
                *v = (*v - mean) * inverse * g;
            }
        }
    }

    /// Replaces rows by their normalised values, and writes 1/σ of each and the scaled values.
    fn normalise<R: Real>(norm: Norm, rows: &mut [R], inverse_std: &mut [R], scaled: &mut [R], scale: &[R]) {
        let n = scale.len();
        let all = rows.chunks_exact_mut(n).zip(inverse_std).zip(scaled.chunks_exact_mut(n));
        for ((row, inverse_std), out) in all {
            let (inverse, mean) = statistics(norm, row);
            *inverse_std = inverse;
            for ((v, o), &g) in row.iter_mut().zip(out).zip(scale) {
                *v = (*v - mean) * inverse;
                *o = *v * g;
            }
        }
    }

    /// Turns the gradients of scaled rows into those of the rows before normalisation.
    fn normalise_backward<R: Real>(
        centred: bool,
        dy: &mut [R],
        normalised: &[R],
        inverse_std: &[R],
        scale: &[R],
    ) {
        let n = scale.len();
        let count = R::real(n as f64);
        for ((d, v), &inverse) in dy.chunks_exact_mut(n).zip(normalised.chunks_exact(n)).zip(inverse_std) {
            d.iter_mut().zip(scale).for_each(|(d, &g)| *d *= g);
            let along = dot_inline(d, v) / count;
            let mean = if centred { d.iter().copied().sum::<R>() / count } else { R::real(0.0) };
            d.iter_mut().zip(v).for_each(|(d, &v)| *d = (*d - mean - v * along) * inverse);
        }
    }

    fn add_to_rows<R: Real>(rows: &mut [R], shift: &[R]) {
        for row in rows.chunks_exact_mut(shift.len()) {
            row.iter_mut().zip(shift).for_each(|(v, &s)| *v += s);
        }
    }

    /// `sums[j] += Σ_i a[i, j] b[i, j]`.
    fn add_column_dots<R: Real>(sums: &mut [R], a: &[R], b: &[R]) {
        for (a, b) in a.chunks_exact(sums.len()).zip(b.chunks_exact(sums.len())) {
            for ((s, &a), &b) in sums.iter_mut().zip(a).zip(b) {
                *s += a * b;
            }
        }
    }

    fn apply<R: Real>(activation: Activation, y: &mut [R]) {
        let (zero, one) = (R::real(0.0), R::real(1.0));
        match activation {
            Activation::Identity => {}
            Activation::Relu => y.iter_mut().for_each(|v| *v = if *v > zero { *v } else { zero }),
            Activation::Tanh => y.iter_mut().for_each(|v| *v = v.fast_tanh()),
            Activation::Silu => y.iter_mut().for_each(|v| *v *= v.sigmoid()),
            Activation::Elu => y.iter_mut().for_each(|v| *v = if *v > zero { *v } else { v.fast_exp() - one }),
            Activation::Mish => y.iter_mut().for_each(|v| *v = *v * mish_gate(*v)),
        }
    }

    /// `dy *= f'(x)`, from the input or the output.
    fn apply_backward<R: Real>(activation: Activation, dy: &mut [R], x: &[R], y: &[R]) {
        let (zero, one) = (R::real(0.0), R::real(1.0));
        match activation {
            Activation::Identity => {}
            Activation::Relu => dy.iter_mut().zip(y).for_each(|(d, &y)| *d = if y > zero { *d } else { zero }),
            Activation::Tanh => dy.iter_mut().zip(y).for_each(|(d, &y)| *d *= one - y * y),
            Activation::Elu => dy.iter_mut().zip(y).for_each(|(d, &y)| *d *= if y > zero { one } else { y + one }),
            Activation::Silu => dy.iter_mut().zip(x).for_each(|(d, &x)| {
                let s = x.sigmoid();
                *d *= s + x * s * (one - s);
            }),
            Activation::Mish => dy.iter_mut().zip(x).for_each(|(d, &x)| {
                let gate = mish_gate(x);
                *d *= gate + x * x.sigmoid() * (one - gate * gate);
            }),
        }
    }
}

impl Activation {
    fn needs_input(self) -> bool {
        matches!(self, Self::Silu | Self::Mish)
    }

    /// In place, on slices.
    pub fn apply<R: Real>(self, y: &mut [R]) {
        apply(self, y);
    }

    fn backward<R: Real>(self, dy: &mut [R], x: &[R], y: &[R]) {
        apply_backward(self, dy, x, y);
    }

    fn composed(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Relu => x.relu(),
            Self::Tanh => x.tanh(),
            Self::Silu => x.silu(),
            Self::Elu => x.elu(1.0),
            // ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|)
            Self::Mish => {
                let softplus = (x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
                x * softplus.tanh()?
            }
        }
    }
}

/// tanh(ln(1 + eˣ)) = (e²ˣ + 2eˣ) / (e²ˣ + 2eˣ + 2), written with e^−|x| so that nothing overflows.
#[inline(always)]
fn mish_gate<R: Real>(x: R) -> R {
    let (one, two) = (R::real(1.0), R::real(2.0));
    let e = (-x.abs()).fast_exp();
    if x > R::real(0.0) {
        (one + two * e) / (one + two * e + two * e * e)
    } else {
        (e * e + two * e) / (e * e + two * e + two)
    }
}

/// The graph node: `(x [.., inputs], params [n]) -> [.., outputs]`.
struct MlpOp<R> {
    layers: Arc<Vec<Layer>>,
    input_gradient: bool,
    param_gradient: bool,
    caches: Mutex<Option<Vec<Cache<R>>>>,
}

impl<R: Real> MlpOp<R> {
    fn new(layers: Arc<Vec<Layer>>, input_gradient: bool, param_gradient: bool) -> Self {
        Self { layers, input_gradient, param_gradient, caches: Mutex::new(None) }
    }

    fn forward(&self, x: &[R], params: &[R]) -> Vec<Cache<R>> {
        let rows = x.len() / self.layers[0].inputs;
        let mut caches: Vec<Cache<R>> = Vec::with_capacity(self.layers.len());
        for layer in self.layers.iter() {
            let input = caches.last().map_or(x, |c| &c.output);
            let cache = layer.forward(params, rows, input);
            caches.push(cache);
        }
        caches
    }

    fn backward(
        &self,
        x: &[R],
        params: &[R],
        caches: &[Cache<R>],
        dy: &[R],
    ) -> (Option<Vec<R>>, Option<Vec<R>>) {
        let rows = x.len() / self.layers[0].inputs;
        let zero = R::real(0.0);
        let mut dparams = self.param_gradient.then(|| vec![zero; params.len()]);
        let mut dy = dy.to_vec();
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let (k, n) = (layer.inputs, layer.outputs);
            layer.backward_to_product(params, &caches[i], &mut dy, dparams.as_deref_mut());
            if let Some(dparams) = dparams.as_deref_mut() {
                let input = if i == 0 { x } else { &caches[i - 1].output };
                let dweight = &mut dparams[layer.weight..][..k * n];
                matmul(dweight, n, false, Mat::rows(input, k).t(), Mat::rows(&dy, n), (k, n, rows));
                add_column_sums(&mut dparams[layer.bias..][..n], &dy);
            }
            if i == 0 && !self.input_gradient {
                return (None, dparams);
            }
            let mut dx = vec![zero; rows * k];
            let weight = Mat::rows(&params[layer.weight..][..k * n], n).t();
            matmul(&mut dx, k, false, Mat::rows(&dy, n), weight, (rows, k, n));
            dy = dx;
        }
        (Some(dy), dparams)
    }
}

impl<R: Real> CustomOp2 for MlpOp<R> {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &candle_core::Layout,
        params: &CpuStorage,
        params_layout: &candle_core::Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut dims = x_layout.dims().to_vec();
        let outputs = self.layers[self.layers.len() - 1].outputs;
        if let Some(last) = dims.last_mut() {
            *last = outputs;
        }
        let mut caches = self.forward(slice::<R>(x, x_layout)?, slice::<R>(params, params_layout)?);
        // The last output is only needed by the backward pass where its activation's derivative is.
        let Some(last) = caches.last_mut() else { candle_core::bail!("an mlp without layers") };
        let output = last.output.clone();
        if let Ok(mut kept) = self.caches.lock() {
            *kept = Some(caches);
        }
        Ok((R::to_cpu_storage_owned(output), dims.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        params: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self.caches.lock().ok().and_then(|mut kept| kept.take());
        let (dx, dparams) = with_slice(x, |x_values| {
            with_slice(params, |params_values| {
                with_slice(dy, |dy_values| {
                    // A second backward pass through the same node finds the cache gone: compute it again.
                    let caches = kept.unwrap_or_else(|| self.forward(x_values, params_values));
                    Ok(self.backward(x_values, params_values, &caches, dy_values))
                })
            })
        })?;
        let dx = dx.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()?;
        let Some(dparams) = dparams else { return Ok((dx, None)) };
        let dparams = Tensor::from_vec(dparams, params.shape(), params.device())?;
        Ok((dx, hand_over(params, dparams)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;

    fn network(norm: Norm, activation: Activation, output_activation: Activation) -> Mlp {
        let mut config = MlpConfig::relu(5, &[9, 8], 3);
        (config.norm, config.activation, config.output_activation) = (norm, activation, output_activation);
        let mut rng = SeedStream::new(4).stream("init", 0);
        Mlp::new(&config, &Device::Cpu, &mut rng).unwrap().to_dtype(DType::F64).unwrap()
    }

    fn input() -> Tensor {
        let x: Vec<f64> = (0..35).map(|i| (i as f64 * 0.77).sin() * 1.5).collect();
        Tensor::from_vec(x, (7, 5), &Device::Cpu).unwrap()
    }

    fn all_kinds() -> Vec<Mlp> {
        let norms = [Norm::None, Norm::Layer { eps: 1e-5 }, Norm::Rms { eps: 1e-4 }];
        let activations =
            [Activation::Relu, Activation::Tanh, Activation::Silu, Activation::Elu, Activation::Mish];
        let mut all = vec![];
        for norm in norms {
            for activation in activations {
                all.push(network(norm, activation, Activation::Identity));
            }
        }
        all.push(network(Norm::None, Activation::Silu, Activation::Tanh));
        all
    }

    fn max_difference(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn the_fused_network_equals_its_slow_twin_in_value_and_gradients() {
        for mlp in all_kinds() {
            let x = candle_core::Var::from_tensor(&input()).unwrap();
            let weights = Tensor::arange(0f64, 21.0, &Device::Cpu).unwrap().reshape((7, 3)).unwrap();
            let run = |y: Tensor| {
                let loss = ((&y * &weights).unwrap().sum_all().unwrap() * 0.1).unwrap();
                (y.clone(), loss.backward().unwrap())
            };
            let (fast, fast_grads) = run(mlp.forward(&x).unwrap());
            let (slow, slow_grads) = run(mlp.forward_composed(&x, true).unwrap());
            assert!(max_difference(&fast, &slow) < 1e-12);
            for var in [&x, mlp.params().var()] {
                let (f, s) = (fast_grads.get(var).unwrap(), slow_grads.get(var).unwrap());
                assert!(max_difference(f, s) < 1e-11, "{:?}", mlp.layers);
            }
        }
    }

    #[test]
    fn frozen_parameters_get_no_gradient_and_data_needs_none() {
        let mlp = network(Norm::None, Activation::Relu, Activation::Identity);
        let x = candle_core::Var::from_tensor(&input()).unwrap();
        let grads = mlp.forward_frozen(&x).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(grads.get(mlp.params().var()).is_none() && grads.get(&x).is_some());
        let grads = mlp.forward(&input()).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(grads.get(mlp.params().var()).is_some());
    }

    #[test]
    fn inference_on_slices_equals_the_graph() {
        for mlp in all_kinds() {
            let x = input();
            let want = mlp.forward(&x).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let rows = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let mut workspace = Workspace::default();
            mlp.params()
                .with::<f64, _>(|p| {
                    let got = mlp.infer(p, 7, &rows, 5, &mut workspace);
                    assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-12));
                    Ok(())
                })
                .unwrap();
        }
    }

    #[test]
    fn a_wrong_width_is_named() {
        let mlp = network(Norm::None, Activation::Relu, Activation::Identity);
        let x = Tensor::zeros((2, 4), DType::F64, &Device::Cpu).unwrap();
        let message = mlp.forward(&x).unwrap_err().to_string();
        assert!(message.contains("[.., 5]") && message.contains("[2, 4]"), "{message}");
    }
}
