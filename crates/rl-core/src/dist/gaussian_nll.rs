//! The probabilistic network's loss of PETS (Chua et al. 2018): a log-variance with learned soft bounds, and the
//! Gaussian negative log-likelihood.
//!
//! The bounds are parameters. PETS adds 0.01 (Σ max − Σ min) to the loss, so that they close in on what the data need.

use crate::Result;
use crate::nn::ops::softplus;
use candle_core::Tensor;

/// ln σ² bounded softly: v = max − softplus(max − raw), then min + softplus(v − min).
///
/// `raw` is `[.., D]`, the bounds broadcast to it (`[D]` in PETS, which starts them at −10 and ½). Differentiable in all
/// three. The second softplus lifts the upper bound by softplus(min − max) at most, as in PETS.
///
/// # Errors
/// From the tensor library, if the bounds do not fit.
pub fn bounded_log_var(raw: &Tensor, min: &Tensor, max: &Tensor) -> Result<Tensor> {
    let below = max.broadcast_sub(&softplus(&max.broadcast_sub(raw)?)?)?;
    Ok(softplus(&below.broadcast_sub(min)?)?.broadcast_add(min)?)
}

/// (μ − y)² e^(−ln σ²) + ln σ² per dimension: twice the negative log-likelihood but for ln 2π, as PETS averages it.
///
/// # Errors
/// From the tensor library, if the shapes differ.
pub fn gaussian_nll(mean: &Tensor, log_var: &Tensor, target: &Tensor) -> Result<Tensor> {
    Ok((((mean - target)?.sqr()? * log_var.neg()?.exp()?)? + log_var)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::Gaussian;
    use crate::nn::ops::tests::check_gradient;
    use candle_core::Device;

    fn tensor(x: &[f64]) -> Tensor {
        Tensor::from_slice(x, (1, x.len()), &Device::Cpu).unwrap()
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let (raw, low, high) = ([-12.0, 0.3, 3.0], [-10.0, -4.0, -9.0], [0.5, 0.2, 1.0]);
        check_gradient(&raw, &[1, 3], |raw| bounded_log_var(raw, &tensor(&low), &tensor(&high)));
        check_gradient(&low, &[1, 3], |low| bounded_log_var(&tensor(&raw), low, &tensor(&high)));
        check_gradient(&high, &[1, 3], |high| bounded_log_var(&tensor(&raw), &tensor(&low), high));
        let (mean, log_var, y) = ([0.1, 0.2, -0.3], [-1.0, 0.4, 0.1], [0.0, 0.5, -1.0]);
        check_gradient(&mean, &[1, 3], |mean| gaussian_nll(mean, &tensor(&log_var), &tensor(&y)));
        check_gradient(&log_var, &[1, 3], |log_var| gaussian_nll(&tensor(&mean), log_var, &tensor(&y)));
    }

    #[test]
    fn it_is_twice_the_negative_log_density_but_for_a_constant() {
        let (mean, log_var, y) = (tensor(&[0.1, 0.2]), tensor(&[-1.0, 0.4]), tensor(&[0.0, 1.5]));
        let gaussian = Gaussian::new(mean.clone(), (&log_var * 0.5).unwrap().exp().unwrap()).unwrap();
        let want = (gaussian.log_prob_per_dim(&y).unwrap() * -2.0).unwrap();
        let got = (gaussian_nll(&mean, &log_var, &y).unwrap() + std::f64::consts::TAU.ln()).unwrap();
        let apart = (got - want).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
        assert!(apart < 1e-12, "{apart}");
    }
}
