//! Categorical, with a uniform mixture, straight-through samples and masks.

use super::{noise::host, same_shape};
use crate::nn::ops::{log_softmax, one_hot, select_last, straight_through};
use crate::{Error, Result};
use candle_core::{D, Tensor};
use rand::{Rng, RngExt};

/// Stands for ln 0: finite, so that 0 · ln 0 is 0.
const LOG_ZERO: f64 = -1e9;

/// One of K classes, by logits `[.., K]`.
#[derive(Clone, Debug)]
pub struct Categorical {
    probs: Tensor,
    log_probs: Tensor,
}

impl Categorical {
    /// p = softmax(logits).
    ///
    /// # Errors
    /// From the tensor library, for a scalar.
    pub fn new(logits: &Tensor) -> Result<Self> {
        let log_probs = log_softmax(logits)?;
        Ok(Self { probs: log_probs.exp()?, log_probs })
    }

    /// p = (1 − α) softmax(logits) + α/K: no class dies out and the KL divergence stays bounded. Used for sampling,
    /// log-probabilities and KL alike; Hafner et al. 2023: α = 0.01.
    ///
    /// # Errors
    /// [`Error::Config`] if α is not in [0, 1).
    pub fn with_unimix(logits: &Tensor, alpha: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&alpha) {
            return Err(Error::config("categorical", "unimix", alpha, "in [0, 1)"));
        }
        let plain = Self::new(logits)?;
        if alpha == 0.0 {
            return Ok(plain);
        }
        let classes = logits.dim(D::Minus1)? as f64;
        let probs = plain.probs.affine(1.0 - alpha, alpha / classes)?;
        Ok(Self { log_probs: probs.log()?, probs })
    }

    /// p = softmax over the classes that `mask` `[.., K]` (u8) allows, 0 elsewhere: invalid actions get neither
    /// probability nor gradient (Huang & Ontañón 2022).
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes differ or a row allows nothing.
    pub fn masked(logits: &Tensor, mask: &Tensor) -> Result<Self> {
        same_shape("Categorical::masked", logits, mask)?;
        if host(&mask.max(D::Minus1)?)?.contains(&0.0) {
            return Err(Error::shape("Categorical::masked", "at least one allowed class per row", "none"));
        }
        let forbidden = Tensor::full(LOG_ZERO, logits.shape(), logits.device())?.to_dtype(logits.dtype())?;
        Self::new(&mask.where_cond(logits, &forbidden)?)
    }

    /// p `[.., K]`
    pub fn probs(&self) -> &Tensor {
        &self.probs
    }

    /// ln p `[.., K]`
    pub fn log_probs(&self) -> &Tensor {
        &self.log_probs
    }

    /// The same numbers without their history.
    pub fn detach(&self) -> Self {
        Self { probs: self.probs.detach(), log_probs: self.log_probs.detach() }
    }

    /// The most likely class, u32 `[..]`.
    ///
    /// # Errors
    /// From the tensor library.
    pub fn mode(&self) -> Result<Tensor> {
        Ok(self.probs.argmax(D::Minus1)?)
    }

    /// A class per row, u32 `[..]`, one number of the generator each.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if probabilities are NaN.
    pub fn sample(&self, rng: &mut impl Rng) -> Result<Tensor> {
        let classes = self.probs.dim(D::Minus1)?;
        let mut shape = self.probs.dims().to_vec();
        shape.pop();
        let probs = host(&self.probs)?;
        let draws = probs.chunks(classes).map(|row| draw(row, rng)).collect::<Result<Vec<u32>>>()?;
        Ok(Tensor::from_vec(draws, shape, self.probs.device())?)
    }

    /// A unit vector per row `[.., K]` with the gradient of p: onehot(sample) + p − sg(p) (Hafner et al. 2021).
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn sample_straight_through(&self, rng: &mut impl Rng) -> Result<Tensor> {
        self.straight_through(&self.sample(rng)?)
    }

    /// The unit vectors of given classes `[..]` with the gradient of p, `[.., K]`.
    ///
    /// # Errors
    /// From the tensor library, if `classes` does not fit.
    pub fn straight_through(&self, classes: &Tensor) -> Result<Tensor> {
        let hard = one_hot(classes, self.probs.dim(D::Minus1)?, self.probs.dtype())?;
        Ok(straight_through(&hard, &self.probs)?)
    }

    /// ln p of given classes: u32 or i64 `[..]` to `[..]`.
    ///
    /// # Errors
    /// From the tensor library, if `classes` does not fit.
    pub fn log_prob(&self, classes: &Tensor) -> Result<Tensor> {
        Ok(select_last(&self.log_probs, classes)?)
    }

    /// Σ x ln p for unit or probability vectors x `[.., K]`: `[..]`.
    ///
    /// # Errors
    /// From the tensor library, if `x` does not fit.
    pub fn log_prob_of_vectors(&self, x: &Tensor) -> Result<Tensor> {
        Ok((x * &self.log_probs)?.sum(D::Minus1)?)
    }

    /// −Σ p ln p: `[..]`.
    ///
    /// # Errors
    /// From the tensor library.
    pub fn entropy(&self) -> Result<Tensor> {
        Ok((&self.probs * &self.log_probs)?.sum(D::Minus1)?.neg()?)
    }

    /// KL(self ‖ other) = Σ p (ln p − ln q): `[..]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes differ.
    pub fn kl(&self, other: &Self) -> Result<Tensor> {
        same_shape("Categorical::kl", &self.probs, &other.probs)?;
        Ok((&self.probs * (&self.log_probs - &other.log_probs)?)?.sum(D::Minus1)?)
    }
}

/// Inverts the cumulative distribution of one row; never a class of probability 0.
fn draw(row: &[f64], rng: &mut impl Rng) -> Result<u32> {
    let total: f64 = row.iter().sum();
    if !(total.is_finite() && total > 0.0) {
        let what = "the sum of a row of probabilities".into();
        return Err(Error::NotFinite { operation: "Categorical::sample", what, value: total });
    }
    let mut mass = rng.random::<f64>() * total;
    let mut last = 0;
    for (class, &p) in row.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        last = class;
        if mass < p {
            break;
        }
        mass -= p;
    }
    Ok(last as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;
    use crate::nn::ops::tests::check_gradient;
    use candle_core::Device;

    const LOGITS: [f64; 6] = [1.0, 0.0, -1.0, 0.5, 2.0, -0.3];

    #[test]
    fn gradients_of_everything() {
        let other = Tensor::new(&[[0.5f64, 0.5, -0.5], [2.0, -1.0, 0.0]], &Device::Cpu).unwrap();
        let q = Categorical::with_unimix(&other, 0.01).unwrap();
        let classes = Tensor::new(&[2u32, 0], &Device::Cpu).unwrap();
        let vectors = Tensor::new(&[[0.2f64, 0.8, 0.0], [0.0, 0.0, 1.0]], &Device::Cpu).unwrap();
        for alpha in [0.0, 0.05] {
            let p = |l: &Tensor| Categorical::with_unimix(l, alpha);
            check_gradient(&LOGITS, &[2, 3], |l| p(l)?.log_prob(&classes));
            check_gradient(&LOGITS, &[2, 3], |l| p(l)?.log_prob_of_vectors(&vectors));
            check_gradient(&LOGITS, &[2, 3], |l| p(l)?.entropy());
            check_gradient(&LOGITS, &[2, 3], |l| p(l)?.kl(&q));
            check_gradient(&LOGITS, &[2, 3], |l| q.kl(&p(l)?));
        }
        let mask = Tensor::new(&[[1u8, 0, 1], [1, 1, 0]], &Device::Cpu).unwrap();
        check_gradient(&LOGITS, &[2, 3], |l| Categorical::masked(l, &mask)?.entropy());
    }

    #[test]
    fn frequencies_are_the_probabilities_and_masked_classes_never_come() {
        let logits =
            Tensor::new(&[1.0f32, 3.0, 0.0], &Device::Cpu).unwrap().broadcast_as((20_000, 3)).unwrap();
        let mask = Tensor::new(&[1u8, 0, 1], &Device::Cpu).unwrap().broadcast_as((20_000, 3)).unwrap();
        let mut rng = SeedStream::new(3).stream("act", 0);
        for (p, masked) in [
            (Categorical::with_unimix(&logits, 0.1).unwrap(), false),
            (Categorical::masked(&logits, &mask).unwrap(), true),
        ] {
            let draws = p.sample(&mut rng).unwrap().to_vec1::<u32>().unwrap();
            let expected = host(&p.probs().narrow(0, 0, 1).unwrap()).unwrap();
            for (class, expected) in expected.iter().enumerate() {
                let count = draws.iter().filter(|&&d| d as usize == class).count() as f64;
                assert!((count / 20_000.0 - expected).abs() < 0.015, "{class}: {count} {expected}");
                assert!(!(masked && class == 1 && count > 0.0));
            }
            assert!(host(&p.entropy().unwrap()).unwrap()[0].is_finite());
        }
    }

    #[test]
    fn straight_through_samples_are_exact_unit_vectors() {
        let logits = Tensor::new(&[[0.1f32, 0.5, 0.2], [1.0, 0.0, 3.0]], &Device::Cpu).unwrap();
        let mut rng = SeedStream::new(3).stream("act", 0);
        let z = Categorical::new(&logits).unwrap().sample_straight_through(&mut rng).unwrap();
        for row in z.to_vec2::<f32>().unwrap() {
            assert!(row.iter().all(|&x| x == 0.0 || x == 1.0) && row.iter().sum::<f32>() == 1.0);
        }
    }

    #[test]
    fn bad_input_is_refused() {
        let logits = Tensor::new(&[[1.0f32, f32::NAN]], &Device::Cpu).unwrap();
        let mut rng = SeedStream::new(3).stream("act", 0);
        assert!(Categorical::new(&logits).unwrap().sample(&mut rng).is_err());
        assert!(Categorical::with_unimix(&logits, 1.0).is_err());
        let none = Tensor::new(&[[0u8, 0]], &Device::Cpu).unwrap();
        assert!(Categorical::masked(&logits, &none).unwrap_err().to_string().contains("allowed"));
    }
}
