//! Probability distributions over tensors: `sample(rng)`, `log_prob`, `entropy`, `kl`, `mode`.
//!
//! Samples are drawn on the host from the generator that is given and become a tensor, because the tensor library's
//! own CPU generator cannot be seeded. Everything else is differentiable in the distribution's parameters.
//! Distributions over vectors sum over the last dimension.

mod bernoulli;
mod bounded_normal;
mod categorical;
mod gaussian;
mod gaussian_nll;
mod kl;
mod noise;
mod tanh_gaussian;
mod two_hot;

pub use bernoulli::Bernoulli;
pub use bounded_normal::bounded_normal;
pub use categorical::Categorical;
pub use gaussian::{Gaussian, sigmoid2_std, softplus_std};
pub use gaussian_nll::{bounded_log_var, gaussian_nll};
pub use kl::{KlDivergence, KlLoss, free_nats, free_nats_of_mean, kl_loss_v2, kl_loss_v3};
pub use noise::{standard_normal, uniform};
pub use tanh_gaussian::TanhGaussian;
pub use two_hot::{TwoHot, cross_entropy};

use crate::{Error, Result};
use candle_core::Tensor;

fn same_shape(operation: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dims() == b.dims() {
        return Ok(());
    }
    Err(Error::shape(operation, format!("{:?}", a.dims()), format!("{:?}", b.dims())))
}
