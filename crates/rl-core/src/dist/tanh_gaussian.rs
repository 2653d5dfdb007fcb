//! Gaussian squashed by tanh (Haarnoja et al. 2018, appendix C).

use super::{Gaussian, noise::standard_normal};
use crate::Result;
use crate::nn::ops::{clamp, log_tanh_slope};
use candle_core::{D, DType, Tensor};
use rand::Rng;

/// a = tanh(u), u ~ N(μ, diag σ²): actions in (−1, 1)ᴰ.
#[derive(Clone, Debug)]
pub struct TanhGaussian {
    base: Gaussian,
}

impl TanhGaussian {
    /// Squashes a Gaussian.
    pub fn new(base: Gaussian) -> Self {
        Self { base }
    }

    /// The distribution of u.
    pub fn base(&self) -> &Gaussian {
        &self.base
    }

    /// tanh(μ): the median, which agents act by when they do not explore (the mode of the density is elsewhere).
    ///
    /// # Errors
    /// From the tensor library.
    pub fn mode(&self) -> Result<Tensor> {
        Ok(self.base.mean().tanh()?)
    }

    /// A sample a `[.., D]` and ln p(a) `[..]`, both differentiable in μ and σ.
    ///
    /// # Errors
    /// From the tensor library.
    pub fn sample(&self, rng: &mut impl Rng) -> Result<(Tensor, Tensor)> {
        let mean = self.base.mean();
        self.sample_with(&standard_normal(mean.shape(), mean.dtype(), mean.device(), rng)?)
    }

    /// As [`sample`](Self::sample), for given noise.
    ///
    /// # Errors
    /// From the tensor library, if the noise does not fit.
    pub fn sample_with(&self, noise: &Tensor) -> Result<(Tensor, Tensor)> {
        let u = self.base.sample_with(noise)?;
        Ok((u.tanh()?, self.log_prob_before_tanh(&u)?))
    }

    /// ln p(tanh u) = ln N(u) − Σ 2(ln 2 − u − softplus(−2u)), exact however far u is out: `[..]`.
    ///
    /// # Errors
    /// From the tensor library, if `u` does not fit.
    pub fn log_prob_before_tanh(&self, u: &Tensor) -> Result<Tensor> {
        Ok((self.base.log_prob_per_dim(u)? - log_tanh_slope(u)?)?.sum(D::Minus1)?)
    }

    /// ln p(a) for an action whose u is not known: u = artanh(a), with |a| limited to what the precision can tell from
    /// 1 (a deviation: the density at the bounds themselves is zero).
    ///
    /// # Errors
    /// From the tensor library, if `action` does not fit.
    pub fn log_prob(&self, action: &Tensor) -> Result<Tensor> {
        let margin = if action.dtype() == DType::F64 { 1e-15 } else { 1e-6 };
        let a = clamp(action, margin - 1.0, 1.0 - margin)?;
        let u = (((1.0 + &a)?.log()? - (1.0 - &a)?.log()?)? * 0.5)?;
        self.log_prob_before_tanh(&u)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;
    use crate::dist::noise::host;
    use crate::nn::ops::tests::check_gradient;
    use candle_core::Device;

    fn tensor(x: &[f64]) -> Tensor {
        Tensor::from_slice(x, (x.len(), 1), &Device::Cpu).unwrap()
    }

    #[test]
    fn both_ways_to_the_density_agree() {
        let base = Gaussian::new(tensor(&[0.2, -1.5, 3.0]), tensor(&[0.5, 1.0, 0.2])).unwrap();
        let policy = TanhGaussian::new(base);
        let (action, log_prob) = policy.sample(&mut SeedStream::new(1).stream("act", 0)).unwrap();
        let again = host(&policy.log_prob(&action).unwrap()).unwrap();
        for (a, b) in host(&log_prob).unwrap().iter().zip(&again) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }

    #[test]
    fn the_density_integrates_to_one() {
        let n = 20_000;
        let grid: Vec<f64> = (0..n).map(|i| (f64::from(i) + 0.5) / f64::from(n) * 2.0 - 1.0).collect();
        let full = |x: f64| Tensor::full(x, (n as usize, 1), &Device::Cpu).unwrap();
        let policy = TanhGaussian::new(Gaussian::new(full(0.4), full(0.8)).unwrap());
        let density = policy.log_prob(&tensor(&grid)).unwrap().exp().unwrap();
        let integral = host(&density).unwrap().iter().sum::<f64>() * 2.0 / f64::from(n);
        assert!((integral - 1.0).abs() < 1e-4, "{integral}");
    }

    #[test]
    fn gradients_of_action_and_log_prob() {
        let (mean, std, noise) = (tensor(&[0.2, -1.5]), tensor(&[0.5, 1.0]), tensor(&[0.7, -1.2]));
        let policy = |m: &Tensor, s: &Tensor| Gaussian::new(m.clone(), s.clone()).map(TanhGaussian::new);
        for part in [0, 1] {
            let pick = |(action, log_prob): (Tensor, Tensor)| if part == 0 { action } else { log_prob };
            check_gradient(&[0.2, -1.5], &[2, 1], |m| Ok(pick(policy(m, &std)?.sample_with(&noise)?)));
            check_gradient(&[0.5, 1.0], &[2, 1], |s| Ok(pick(policy(&mean, s)?.sample_with(&noise)?)));
        }
        check_gradient(&[0.2, -0.7], &[2, 1], |a| policy(&mean, &std)?.log_prob(a));
    }

    #[test]
    fn saturated_actions_have_finite_log_probs_and_gradients() {
        let far = Tensor::new(&[[20.0f32], [-40.0]], &Device::Cpu).unwrap();
        let one = far.ones_like().unwrap();
        let policy = TanhGaussian::new(Gaussian::new(far, one.clone()).unwrap());
        let (action, log_prob) = policy.sample_with(&one.zeros_like().unwrap()).unwrap();
        assert_eq!(action.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.0, -1.0]);
        assert!(log_prob.to_vec1::<f32>().unwrap().iter().all(|x| x.is_finite()));
        assert!(policy.log_prob(&action).unwrap().to_vec1::<f32>().unwrap().iter().all(|x| x.is_finite()));
    }
}
