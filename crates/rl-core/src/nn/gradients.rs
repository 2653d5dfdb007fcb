//! Gradients of flat parameters, kept as they come.
//!
//! Candle adds every contribution to a tensor of zeros that it allocates first: for parameters that are used once,
//! three passes over the whole model to change nothing. Inside [`optim::backward`](crate::optim::backward) the fused
//! nodes hand their parameters' gradients over here instead; the store that comes out is the same.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// What the backward pass of this thread has handed over; `None` outside of [`collect`].
    static COLLECTED: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// Runs a backward pass and puts the gradients that were [handed over](hand_over) into its store.
pub(crate) fn collect(backward: impl FnOnce() -> Result<GradStore>) -> Result<GradStore> {
    let outer = COLLECTED.replace(Some(HashMap::new()));
    let store = backward();
    let collected = COLLECTED.replace(outer).unwrap_or_default();
    let mut store = store?;
    for (id, gradient) in collected {
        let sum = store.get_id(id).map(|other| other + &gradient).transpose()?.unwrap_or(gradient);
        store.insert_id(id, sum);
    }
    Ok(store)
}

/// For the backward pass of a fused node: what to return as the gradient of its parameters. `None` where the
/// gradient was taken over by [`optim::backward`](crate::optim::backward).
///
/// # Errors
/// If the tensor library fails.
pub fn hand_over(params: &Tensor, gradient: Tensor) -> Result<Option<Tensor>> {
    COLLECTED.with_borrow_mut(|collected| match collected {
        // Parameters that were themselves computed must pass their gradient on.
        Some(collected) if params.is_variable() => {
            let sum = match collected.remove(&params.id()) {
                Some(earlier) => (earlier + gradient)?,
                None => gradient,
            };
            collected.insert(params.id(), sum);
            Ok(None)
        }
        _ => Ok(Some(gradient)),
    })
}

#[cfg(test)]
mod tests {
    use crate::SeedStream;
    use crate::nn::{Mlp, MlpConfig};
    use crate::optim::backward;
    use candle_core::{Device, Tensor};

    #[test]
    fn the_store_is_that_of_the_plain_backward_pass() {
        let mut rng = SeedStream::new(4).stream("init", 0);
        let mlp = Mlp::new(&MlpConfig::relu(3, &[5], 3), &Device::Cpu, &mut rng).unwrap();
        let x = Tensor::new(&[[0.3f32, -0.4, 0.5]], &Device::Cpu).unwrap();
        // Used by two fused nodes and by a plain operation.
        let twice = mlp.forward(&mlp.forward(&x).unwrap()).unwrap().sqr().unwrap().sum_all().unwrap();
        let loss = (twice + mlp.params().tensor().sqr().unwrap().sum_all().unwrap()).unwrap();
        let (_, collected) = backward(&loss).unwrap();
        let plain = loss.backward().unwrap();
        let values = |grads: &candle_core::backprop::GradStore| {
            grads.get(mlp.params().tensor()).unwrap().to_vec1::<f32>().unwrap()
        };
        for (a, b) in values(&collected).iter().zip(values(&plain)) {
            assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{a} {b}");
        }
    }
}
