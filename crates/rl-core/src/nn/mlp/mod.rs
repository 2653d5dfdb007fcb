//! The multi-layer perceptron: one graph node, forward and backward.
//!
//! Layer: z = x W + b, optionally normalised (Ba et al. 2016; RMS: Zhang and Sennrich 2019) with learned scale and
//! shift, then an activation. Weights are `[inputs, outputs]`, so no product needs a transposed copy. The backward
//! pass is written by hand: candle's own makes both gradients of every product, allocates zeros for each first
//! contribution and runs the bias and the activation as passes of their own.

mod activation;
mod layer;
mod node;

pub use activation::Activation;

use super::init::Init;
use super::kernel::Real;
use super::params::{Layout, Params};
use crate::experiment::{Persist, TrainState};
use crate::{Error, Result, StreamRng};
use candle_core::{D, DType, Device, Tensor};
use layer::{Cache, Layer};
use node::MlpOp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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

    /// The same function on slices, with a way back: `x` is `[rows, inputs]`, the result `[rows, outputs]`. Without a
    /// graph, and in buffers that the next call reuses.
    pub fn record<'a, R: Real>(&self, params: &[R], x: &[R], tape: &'a mut Tape<R>) -> &'a [R] {
        node::forward(&self.layers, params, x, &mut tape.caches);
        tape.output()
    }

    /// The gradients of what [`record`](Self::record) computed from the same `params` and `x`: `dy` holds ∂/∂output at
    /// first and, with `input_gradient`, ∂/∂x at last; ∂/∂params is added to `dparams`.
    pub fn retrace<R: Real>(
        &self,
        params: &[R],
        x: &[R],
        tape: &mut Tape<R>,
        dy: &mut Vec<R>,
        dparams: Option<&mut [R]>,
        input_gradient: bool,
    ) {
        let Tape { caches, spare } = tape;
        node::backward(&self.layers, params, caches, (x, dy, spare), dparams, input_gradient);
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

/// What [`Mlp::record`] leaves for [`Mlp::retrace`].
#[derive(Clone, Debug, Default)]
pub struct Tape<R> {
    caches: Vec<Cache<R>>,
    spare: Vec<R>,
}

impl<R> Tape<R> {
    /// What the last [`Mlp::record`] returned.
    pub fn output(&self) -> &[R] {
        self.caches.last().map_or(&[], |cache| &cache.output)
    }
}

/// Buffers of [`Mlp::infer`], reused between calls.
#[derive(Clone, Debug, Default)]
pub struct Workspace<R> {
    buffers: Vec<Vec<R>>,
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
    fn recorded_passes_have_the_values_and_gradients_of_the_graph() {
        // Enough rows for whole blocks, blocks of eight rows and single rows; wide and narrow layers.
        let mut config = MlpConfig::relu(17, &[32, 24], 5);
        config.norm = Norm::Layer { eps: 1e-5 };
        let mut rng = SeedStream::new(4).stream("init", 0);
        let wide = Mlp::new(&config, &Device::Cpu, &mut rng).unwrap().to_dtype(DType::F64).unwrap();
        let mut tape = Tape::default();
        for mlp in all_kinds().iter().chain([&wide]) {
            for rows in [403, 7] {
                let (k, n) = (mlp.inputs(), mlp.outputs());
                let x: Vec<f64> = (0..rows * k).map(|i| (i as f64 * 0.77).sin() * 1.5).collect();
                let seed: Vec<f64> = (0..rows * n).map(|i| (i as f64 * 0.31).cos()).collect();
                let var = candle_core::Var::from_slice(&x, (rows, k), &Device::Cpu).unwrap();
                let weights = Tensor::from_slice(&seed, (rows, n), &Device::Cpu).unwrap();
                let y = mlp.forward_composed(&var, true).unwrap();
                let grads = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
                let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                let params = mlp.params().to_vec::<f64>().unwrap();
                let close = |a: &[f64], b: &[f64]| {
                    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-10 * b.abs().max(1.0))
                };
                assert!(close(mlp.record(&params, &x, &mut tape), &flat(&y)));
                let (mut dy, mut dparams) = (seed.clone(), vec![7.0; params.len()]);
                mlp.retrace(&params, &x, &mut tape, &mut dy, Some(&mut dparams), true);
                assert!(close(&dy, &flat(grads.get(&var).unwrap())));
                let added: Vec<f64> = dparams.iter().map(|d| d - 7.0).collect();
                assert!(close(&added, &flat(grads.get(mlp.params().var()).unwrap())));
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
