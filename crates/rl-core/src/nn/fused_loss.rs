//! Losses with a gradient worked out by hand: a scalar function of network outputs as one graph node per input.
//!
//! A surrogate loss out of tensor operations is a dozen nodes, each with its own allocations, and inherits candle's
//! rules at ties (half of the gradient at the bound of a clip). Written on slices it is one loop that says exactly
//! what flows back. Its slow twin out of tensor operations, and finite differences, are its tests.

use super::kernel::{Real, with_slice};
use crate::{Error, Result};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

/// A scalar loss of `N` tensors. `f` reads their values, writes ∂loss/∂value into slices of the same sizes (zero at
/// first), and returns the loss. Gradients flow to every input that tracks them.
///
/// ```
/// # fn main() -> rl_core::Result<()> {
/// use candle_core::{Device, Var};
/// let x = Var::new(&[3f32, 4.0], &Device::Cpu)?;
/// let loss = rl_core::nn::fused_loss([x.as_tensor()], |[x]: [&[f32]; 1], [dx]| {
///     dx.iter_mut().zip(x).for_each(|(d, &x)| *d = x);
///     0.5 * x.iter().map(|&x| f64::from(x * x)).sum::<f64>()
/// })?;
/// let (value, grads) = rl_core::optim::backward(&loss)?;
/// assert_eq!(value, 12.5);
/// assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>()?, [3.0, 4.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// If an input has another element type or the tensor library fails.
pub fn fused_loss<R: Real, const N: usize>(
    inputs: [&Tensor; N],
    f: impl FnOnce([&[R]; N], [&mut [R]; N]) -> f64,
) -> Result<Tensor> {
    let mut values: Vec<Vec<R>> = Vec::with_capacity(N);
    for input in inputs {
        let host = input.to_device(&candle_core::Device::Cpu)?;
        values.push(with_slice::<R, _>(&host, |v| Ok(v.to_vec()))?);
    }
    let mut gradients: Vec<Vec<R>> = values.iter().map(|v| vec![R::real(0.0); v.len()]).collect();
    let mut slots = gradients.iter_mut();
    let slots: [&mut [R]; N] = std::array::from_fn(|_| slots.next().map_or(&mut [][..], |g| &mut g[..]));
    let mut value = f(std::array::from_fn(|i| &values[i][..]), slots);
    let mut total: Option<Tensor> = None;
    for (input, gradient) in inputs.into_iter().zip(gradients) {
        let node = attach(input, value, gradient)?;
        total = Some(match total {
            None => node,
            Some(sum) => (sum + node)?,
        });
        value = 0.0;
    }
    total.ok_or_else(|| Error::shape("fused_loss", "at least one input", 0))
}

/// A scalar node of value `value` whose gradient with respect to `input` is `gradient`.
fn attach<R: Real>(input: &Tensor, value: f64, gradient: Vec<R>) -> Result<Tensor> {
    let device = input.device();
    let gradient = Tensor::from_vec(gradient, input.shape(), device)?;
    if device.is_cpu() {
        return Ok(input.apply_op1(Attached { value: R::real(value), gradient })?);
    }
    // Elsewhere, out of tensor operations: value + Σ g (x − constant x).
    let moving = (input - input.detach())?;
    Ok(((moving * gradient)?.sum_all()? + value)?)
}

struct Attached<R> {
    value: R,
    gradient: Tensor,
}

impl<R: Real> CustomOp1 for Attached<R> {
    fn name(&self) -> &'static str {
        "fused-loss"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((R::to_cpu_storage_owned(vec![self.value]), ().into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let scale = dy.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
        Ok(Some(if scale == 1.0 { self.gradient.clone() } else { (&self.gradient * scale)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn gradients_reach_every_input_and_scale_with_what_follows() {
        let x = Var::new(&[1f64, 2.0], &Device::Cpu).unwrap();
        let y = Var::new(&[5f64, -1.0], &Device::Cpu).unwrap();
        let doubled = (x.as_tensor() * 2.0).unwrap();
        let loss = fused_loss([&doubled, y.as_tensor()], |[x, y]: [&[f64]; 2], [dx, dy]| {
            dx.copy_from_slice(y);
            dy.copy_from_slice(x);
            x.iter().zip(y).map(|(x, y)| x * y).sum()
        })
        .unwrap();
        let loss = (loss * 10.0).unwrap();
        assert_eq!(loss.to_scalar::<f64>().unwrap(), 10.0 * (2.0 * 5.0 - 4.0));
        let grads = loss.backward().unwrap();
        assert_eq!(grads.get(&x).unwrap().to_vec1::<f64>().unwrap(), [100.0, -20.0]);
        assert_eq!(grads.get(&y).unwrap().to_vec1::<f64>().unwrap(), [20.0, 40.0]);
    }
}
