//! The bounded normal of DreamerV3's continuous policies.

use super::Gaussian;
use crate::Result;
use crate::nn::ops::sigmoid;
use candle_core::Tensor;

/// A plain Gaussian with μ = tanh(m) and σ = (σ_max − σ_min) σ(s + 2) + σ_min.
///
/// Neither the density nor the sample is squashed: actions outside [−1, 1] are clipped by the environment. DreamerV3's
/// code uses σ_min = 0.1 and σ_max = 1 (Hafner et al. 2023).
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ.
pub fn bounded_normal(raw_mean: &Tensor, raw_std: &Tensor, std_min: f64, std_max: f64) -> Result<Gaussian> {
    let std = ((sigmoid(&(raw_std + 2.0)?)? * (std_max - std_min))? + std_min)?;
    Gaussian::new(raw_mean.tanh()?, std)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::tests::check_gradient;
    use candle_core::Device;

    #[test]
    fn gradients_reach_both_raw_outputs() {
        let other = Tensor::new(&[[0.4f64, -0.2]], &Device::Cpu).unwrap();
        check_gradient(&[0.5, -2.0], &[1, 2], |m| bounded_normal(m, &other, 0.1, 1.0)?.log_prob(&other));
        check_gradient(&[0.5, -2.0], &[1, 2], |s| bounded_normal(&other, s, 0.1, 1.0)?.entropy());
    }
}
