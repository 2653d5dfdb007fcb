//! The graph node of a network: all layers forward, and their gradients in one pass back.

use super::layer::{Cache, Layer};
use crate::nn::gradients::hand_over;
use crate::nn::kernel::{Mat, Real, add_column_sums, matmul, slice, with_slice};
use candle_core::{CpuStorage, CustomOp2, Shape, Tensor};
use std::sync::{Arc, Mutex};

/// The graph node: `(x [.., inputs], params [n]) -> [.., outputs]`.
pub(super) struct MlpOp<R> {
    layers: Arc<Vec<Layer>>,
    input_gradient: bool,
    param_gradient: bool,
    caches: Mutex<Option<Vec<Cache<R>>>>,
}

impl<R: Real> MlpOp<R> {
    pub(super) fn new(layers: Arc<Vec<Layer>>, input_gradient: bool, param_gradient: bool) -> Self {
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
