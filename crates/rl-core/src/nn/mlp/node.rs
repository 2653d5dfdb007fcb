//! The graph node of a network: all layers forward, and their gradients in one pass back.

use super::layer::{Cache, Layer};
use crate::nn::gradients::hand_over;
use crate::nn::kernel::{Mat, Real, matmul, slice, with_slice};
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
        let mut caches = vec![];
        forward(&self.layers, params, x, &mut caches);
        caches
    }

    fn backward(
        &self,
        x: &[R],
        params: &[R],
        caches: &[Cache<R>],
        dy: &[R],
    ) -> (Option<Vec<R>>, Option<Vec<R>>) {
        let mut dparams = self.param_gradient.then(|| vec![R::real(0.0); params.len()]);
        let (mut dy, mut dx) = (dy.to_vec(), vec![]);
        let parts = (x, &mut dy, &mut dx);
        backward(&self.layers, params, caches, parts, dparams.as_deref_mut(), self.input_gradient);
        (self.input_gradient.then_some(dy), dparams)
    }
}

/// All layers on rows `x`; what they leave for the way back replaces what the caches held.
pub(super) fn forward<R: Real>(layers: &[Layer], params: &[R], x: &[R], caches: &mut Vec<Cache<R>>) {
    let rows = x.len() / layers[0].inputs;
    caches.resize_with(layers.len(), Cache::default);
    for (i, layer) in layers.iter().enumerate() {
        let (before, rest) = caches.split_at_mut(i);
        let input = before.last().map_or(x, |c| &c.output);
        layer.forward(params, rows, input, &mut rest[0]);
    }
}

/// The way back of [`forward`]: `dy` holds the gradient of the output at first and, with `input_gradient`, that of the
/// input at last; `spare` is room. Gradients of the parameters are added to `dparams`.
pub(super) fn backward<R: Real>(
    layers: &[Layer],
    params: &[R],
    caches: &[Cache<R>],
    (x, dy, spare): (&[R], &mut Vec<R>, &mut Vec<R>),
    mut dparams: Option<&mut [R]>,
    input_gradient: bool,
) {
    let rows = x.len() / layers[0].inputs;
    for (i, layer) in layers.iter().enumerate().rev() {
        let (k, n) = (layer.inputs, layer.outputs);
        let wanted = i > 0 || input_gradient;
        spare.resize(if wanted { rows * k } else { 0 }, R::real(0.0));
        layer.backward(params, &caches[i], dy, spare, dparams.as_deref_mut());
        if let Some(dparams) = dparams.as_deref_mut() {
            let input = if i == 0 { x } else { &caches[i - 1].output };
            let dweight = &mut dparams[layer.weight..][..k * n];
            matmul(dweight, n, true, Mat::rows(input, k).t(), Mat::rows(dy, n), (k, n, rows));
        }
        if wanted {
            std::mem::swap(dy, spare);
        }
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
