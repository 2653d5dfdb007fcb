//! Diagonal Gaussian.

use super::{noise::standard_normal, same_shape};
use crate::Result;
use crate::nn::ops::{clamp, exp_minus_tangent, sigmoid, softplus};
use candle_core::{D, Tensor};
use rand::Rng;
use std::f64::consts::{E, PI};

/// N(μ, diag σ²) over the last dimension; `mean` and `std` are `[.., D]`.
#[derive(Clone, Debug)]
pub struct Gaussian {
    mean: Tensor,
    std: Tensor,
}

impl Gaussian {
    /// From mean and standard deviation, which the caller keeps positive.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the shapes differ.
    pub fn new(mean: Tensor, std: Tensor) -> Result<Self> {
        same_shape("Gaussian", &mean, &std)?;
        Ok(Self { mean, std })
    }

    /// From the logarithm of σ, limited to `[low, high]` with slope 1 up to and at the bounds (SAC: −20 to 2).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_log_std(mean: Tensor, log_std: &Tensor, low: f64, high: f64) -> Result<Self> {
        Self::new(mean, clamp(log_std, low, high)?.exp()?)
    }

    /// μ, which is also the mode.
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// σ
    pub fn std(&self) -> &Tensor {
        &self.std
    }

    /// The most likely value.
    pub fn mode(&self) -> &Tensor {
        &self.mean
    }

    /// The same numbers without their history.
    pub fn detach(&self) -> Self {
        Self { mean: self.mean.detach(), std: self.std.detach() }
    }

    /// μ + σ ε with ε ~ N(0, 1): differentiable in μ and σ (Kingma & Welling 2014).
    ///
    /// # Errors
    /// From the tensor library.
    pub fn sample(&self, rng: &mut impl Rng) -> Result<Tensor> {
        self.sample_with(&standard_normal(self.mean.shape(), self.mean.dtype(), self.mean.device(), rng)?)
    }

    /// μ + σ ε for given noise.
    ///
    /// # Errors
    /// From the tensor library, if the noise does not fit.
    pub fn sample_with(&self, noise: &Tensor) -> Result<Tensor> {
        Ok((&self.mean + (&self.std * noise)?)?)
    }

    /// ln N(x; μ, σ²) = −½((x − μ)/σ)² − ln σ − ½ ln 2π, per dimension `[.., D]`.
    ///
    /// # Errors
    /// From the tensor library, if `x` does not fit.
    pub fn log_prob_per_dim(&self, x: &Tensor) -> Result<Tensor> {
        let standardised = ((x - &self.mean)? / &self.std)?;
        let constant = 0.5 * (2.0 * PI).ln();
        Ok((((standardised.sqr()? * -0.5)? - self.std.log()?)? - constant)?)
    }

    /// ln p(x), summed over dimensions: `[..]`.
    ///
    /// # Errors
    /// From the tensor library, if `x` does not fit.
    pub fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.log_prob_per_dim(x)?.sum(D::Minus1)?)
    }

    /// Σ ½ ln(2πe σ²): `[..]`.
    ///
    /// # Errors
    /// From the tensor library.
    pub fn entropy(&self) -> Result<Tensor> {
        Ok((self.std.log()? + 0.5 * (2.0 * PI * E).ln())?.sum(D::Minus1)?)
    }

    /// KL(self ‖ other) per dimension `[.., D]`.
    ///
    /// ln(σ₂/σ₁) + (σ₁² + (μ₁ − μ₂)²)/(2σ₂²) − ½, computed as ½(eʳ − 1 − r) + ½((μ₁ − μ₂)/σ₂)² with
    /// r = 2(ln σ₁ − ln σ₂): both terms are sums of non-negative numbers in any precision.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the shapes differ.
    pub fn kl_per_dim(&self, other: &Self) -> Result<Tensor> {
        same_shape("Gaussian::kl", &self.mean, &other.mean)?;
        let log_ratio = ((self.std.log()? - other.std.log()?)? * 2.0)?;
        let shift = ((&self.mean - &other.mean)? / &other.std)?.sqr()?;
        Ok(((exp_minus_tangent(&log_ratio)? + shift)? * 0.5)?)
    }

    /// KL(self ‖ other), summed over dimensions: `[..]`.
    ///
    /// # Errors
    /// As [`kl_per_dim`](Self::kl_per_dim).
    pub fn kl(&self, other: &Self) -> Result<Tensor> {
        Ok(self.kl_per_dim(other)?.sum(D::Minus1)?)
    }
}

/// σ = softplus(raw) + floor: PlaNet and Dreamer use a floor of 0.1 (Hafner et al. 2019).
///
/// # Errors
/// From the tensor library.
pub fn softplus_std(raw: &Tensor, floor: f64) -> Result<Tensor> {
    Ok((softplus(raw)? + floor)?)
}

/// σ = 2 σ(raw/2) + floor, bounded above: DreamerV2's continuous latents, floor 0.1 (Hafner et al. 2021).
///
/// # Errors
/// From the tensor library.
pub fn sigmoid2_std(raw: &Tensor, floor: f64) -> Result<Tensor> {
    Ok(((sigmoid(&(raw * 0.5)?)? * 2.0)? + floor)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;
    use crate::dist::noise::host;
    use crate::nn::ops::tests::check_gradient;
    use candle_core::Device;

    fn tensor(x: &[f64]) -> Tensor {
        Tensor::from_slice(x, (1, x.len()), &Device::Cpu).unwrap()
    }

    #[test]
    fn gradients_of_everything() {
        let (mean, std, x) = (tensor(&[0.3, -1.0]), tensor(&[0.5, 1.7]), tensor(&[0.1, 0.4]));
        let other = Gaussian::new(tensor(&[0.0, 0.5]), tensor(&[1.0, 0.7])).unwrap();
        let noise = tensor(&[0.4, -1.2]);
        let with_mean = |m: &Tensor| Gaussian::new(m.clone(), std.clone());
        let with_std = |s: &Tensor| Gaussian::new(mean.clone(), s.clone());
        check_gradient(&[0.3, -1.0], &[1, 2], |m| with_mean(m)?.log_prob(&x));
        check_gradient(&[0.3, -1.0], &[1, 2], |m| with_mean(m)?.kl(&other));
        check_gradient(&[0.3, -1.0], &[1, 2], |m| other.kl(&with_mean(m)?));
        check_gradient(&[0.3, -1.0], &[1, 2], |m| with_mean(m)?.sample_with(&noise));
        check_gradient(&[0.5, 1.7], &[1, 2], |s| with_std(s)?.log_prob(&x));
        check_gradient(&[0.5, 1.7], &[1, 2], |s| with_std(s)?.kl(&other));
        check_gradient(&[0.5, 1.7], &[1, 2], |s| other.kl(&with_std(s)?));
        check_gradient(&[0.5, 1.7], &[1, 2], |s| with_std(s)?.entropy());
        check_gradient(&[0.5, 1.7], &[1, 2], |s| with_std(s)?.sample_with(&noise));
        check_gradient(&[0.5, -1.7], &[1, 2], |s| {
            Gaussian::from_log_std(mean.clone(), s, -5.0, 2.0)?.entropy()
        });
        check_gradient(&[0.5, -1.7], &[1, 2], |s| softplus_std(s, 0.1));
        check_gradient(&[0.5, -1.7], &[1, 2], |s| sigmoid2_std(s, 0.1));
    }

    #[test]
    fn kl_is_never_negative_in_single_precision() {
        for step in 0..2000 {
            let close = 1.0 + step as f32 * 1e-7;
            let std = |s: f32| Tensor::new(&[[s]], &Device::Cpu).unwrap();
            let a = Gaussian::new(std(0.3), std(0.7)).unwrap();
            let b = Gaussian::new(std(0.3), std(0.7 * close)).unwrap();
            let kl = a.kl(&b).unwrap().to_vec1::<f32>().unwrap()[0];
            assert!(kl >= 0.0, "{close}: {kl}");
        }
    }

    #[test]
    fn samples_have_mean_and_std_and_their_log_prob_averages_to_minus_entropy() {
        let n = 20_000;
        let full = |x: f64| Tensor::full(x, (n, 1), &Device::Cpu).unwrap();
        let gaussian = Gaussian::new(full(2.0), full(0.5)).unwrap();
        let x = gaussian.sample(&mut SeedStream::new(5).stream("act", 0)).unwrap();
        let values = host(&x).unwrap();
        let mean = values.iter().sum::<f64>() / n as f64;
        assert!((mean - 2.0).abs() < 0.02, "{mean}");
        let log_prob = host(&gaussian.log_prob(&x).unwrap()).unwrap().iter().sum::<f64>() / n as f64;
        let entropy = host(&gaussian.entropy().unwrap()).unwrap()[0];
        assert!((log_prob + entropy).abs() < 0.03, "{log_prob} {entropy}");
        assert!(Gaussian::new(full(0.0), tensor(&[1.0])).is_err());
    }
}
