//! Bernoulli, by its logit.

use super::noise::uniform;
use crate::Result;
use crate::nn::ops::{bce_with_logits, sigmoid, softplus};
use candle_core::Tensor;
use rand::Rng;

/// Independent events with probability σ(l), elementwise.
#[derive(Clone, Debug)]
pub struct Bernoulli {
    logits: Tensor,
}

impl Bernoulli {
    /// From logits l of any shape.
    pub fn new(logits: Tensor) -> Self {
        Self { logits }
    }

    /// l
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    /// σ(l)
    ///
    /// # Errors
    /// From the tensor library.
    pub fn probs(&self) -> Result<Tensor> {
        Ok(sigmoid(&self.logits)?)
    }

    /// 1 where σ(l) > ½, else 0.
    ///
    /// # Errors
    /// From the tensor library.
    pub fn mode(&self) -> Result<Tensor> {
        Ok(self.logits.gt(0.0)?.to_dtype(self.logits.dtype())?)
    }

    /// 0 or 1 per element, as floats.
    ///
    /// # Errors
    /// From the tensor library.
    pub fn sample(&self, rng: &mut impl Rng) -> Result<Tensor> {
        let noise = uniform(self.logits.shape(), self.logits.dtype(), self.logits.device(), rng)?;
        Ok(noise.lt(&self.probs()?)?.to_dtype(self.logits.dtype())?)
    }

    /// t ln σ(l) + (1 − t) ln(1 − σ(l)), elementwise, for targets t in [0, 1].
    ///
    /// # Errors
    /// From the tensor library, if `targets` does not fit.
    pub fn log_prob(&self, targets: &Tensor) -> Result<Tensor> {
        Ok(bce_with_logits(&self.logits, targets)?.neg()?)
    }

    /// softplus(l) − l σ(l), elementwise.
    ///
    /// # Errors
    /// From the tensor library.
    pub fn entropy(&self) -> Result<Tensor> {
        Ok((softplus(&self.logits)? - (&self.logits * self.probs()?)?)?)
    }

    /// KL(self ‖ other), elementwise: σ(l)(l − m) − softplus(l) + softplus(m).
    ///
    /// # Errors
    /// From the tensor library, if the shapes differ.
    pub fn kl(&self, other: &Self) -> Result<Tensor> {
        let slope = (self.probs()? * (&self.logits - &other.logits)?)?;
        Ok(((slope - softplus(&self.logits)?)? + softplus(&other.logits)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;
    use crate::dist::noise::host;
    use crate::nn::ops::tests::check_gradient;
    use candle_core::Device;

    #[test]
    fn gradients_and_closed_forms() {
        let other = Tensor::new(&[0.3f64, -1.0], &Device::Cpu).unwrap();
        let l = [1.2, -0.4];
        check_gradient(&l, &[2], |l| Bernoulli::new(l.clone()).log_prob(&sigmoid(&other)?));
        check_gradient(&l, &[2], |l| Bernoulli::new(l.clone()).entropy());
        check_gradient(&l, &[2], |l| Bernoulli::new(l.clone()).kl(&Bernoulli::new(other.clone())));
        check_gradient(&l, &[2], |l| Bernoulli::new(other.clone()).kl(&Bernoulli::new(l.clone())));
        let p: f64 = 1.0 / (1.0 + (-1.2f64).exp());
        let entropy =
            host(&Bernoulli::new(Tensor::new(&[1.2f64], &Device::Cpu).unwrap()).entropy().unwrap()).unwrap();
        assert!((entropy[0] + p * p.ln() + (1.0 - p) * (1.0 - p).ln()).abs() < 1e-14);
    }

    #[test]
    fn frequencies_are_the_probabilities() {
        let logits = Tensor::full(-1.0f32, 20_000, &Device::Cpu).unwrap();
        let coin = Bernoulli::new(logits);
        let draws = coin.sample(&mut SeedStream::new(2).stream("act", 0)).unwrap();
        let mean = host(&draws).unwrap().iter().sum::<f64>() / 20_000.0;
        assert!((mean - 0.2689).abs() < 0.015, "{mean}");
        assert_eq!(coin.mode().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap(), 0.0);
    }
}
