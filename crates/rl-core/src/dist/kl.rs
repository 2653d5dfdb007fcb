//! How world models weigh the KL divergence between posterior and prior: free nats and balancing.

use super::{Categorical, Gaussian};
use crate::Result;
use crate::nn::ops::clamp;
use candle_core::{D, Tensor};

/// A latent distribution: what PlaNet and Dreamer put behind their posterior and prior.
pub trait KlDivergence: Sized {
    /// KL(self ‖ other) of the whole latent vector: `[.., D]` Gaussian or `[.., G, K]` categorical groups to `[..]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the shapes differ.
    fn kl_of_latent(&self, other: &Self) -> Result<Tensor>;

    /// The same numbers without their history: sg(·).
    fn stop_gradient(&self) -> Self;
}

impl KlDivergence for Gaussian {
    fn kl_of_latent(&self, other: &Self) -> Result<Tensor> {
        self.kl(other)
    }
    fn stop_gradient(&self) -> Self {
        self.detach()
    }
}

impl KlDivergence for Categorical {
    fn kl_of_latent(&self, other: &Self) -> Result<Tensor> {
        Ok(self.kl(other)?.sum(D::Minus1)?)
    }
    fn stop_gradient(&self) -> Self {
        self.detach()
    }
}

/// max(nats, kl) elementwise: below the limit there is no gradient (DreamerV3; Hafner et al. 2023).
///
/// # Errors
/// From the tensor library.
pub fn free_nats(kl: &Tensor, nats: f64) -> Result<Tensor> {
    Ok(clamp(kl, nats, f64::INFINITY)?)
}

/// max(nats, mean kl), a scalar: the limit is on the average (PlaNet, Dreamer; Hafner et al. 2019, 2020).
///
/// # Errors
/// From the tensor library.
pub fn free_nats_of_mean(kl: &Tensor, nats: f64) -> Result<Tensor> {
    free_nats(&kl.mean_all()?, nats)
}

/// The two directions of gradient of one KL divergence, elementwise `[..]`, and their weighted sum.
#[derive(Clone, Debug)]
pub struct KlLoss {
    /// KL(sg(posterior) ‖ prior) with free nats: trains the prior.
    pub dynamics: Tensor,
    /// KL(posterior ‖ sg(prior)) with free nats: regularises the posterior.
    pub representation: Tensor,
    /// The weighted sum.
    pub total: Tensor,
}

fn weighted<P: KlDivergence>(posterior: &P, prior: &P, weights: [f64; 2], nats: f64) -> Result<KlLoss> {
    let dynamics = free_nats(&posterior.stop_gradient().kl_of_latent(prior)?, nats)?;
    let representation = free_nats(&posterior.kl_of_latent(&prior.stop_gradient())?, nats)?;
    let total = ((&dynamics * weights[0])? + (&representation * weights[1])?)?;
    Ok(KlLoss { dynamics, representation, total })
}

/// DreamerV2's balancing: α max(nats, KL(sg(q) ‖ p)) + (1 − α) max(nats, KL(q ‖ sg(p))), elementwise.
///
/// The value is the plain KL divergence; the prior gets α of the gradient and the posterior 1 − α. Hafner et al. 2021,
/// eq. 3: α = 0.8. (Its code can limit the mean over the batch instead of each element.)
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ.
pub fn kl_loss_v2<P: KlDivergence>(posterior: &P, prior: &P, alpha: f64, nats: f64) -> Result<KlLoss> {
    weighted(posterior, prior, [alpha, 1.0 - alpha], nats)
}

/// DreamerV3's: β_dyn max(nats, KL(sg(q) ‖ p)) + β_rep max(nats, KL(q ‖ sg(p))), elementwise.
///
/// `weights` are [β_dyn, β_rep]. Hafner et al. 2023, eq. 5: one nat, 0.5 and 0.1; its later code: 1 and 0.1.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ.
pub fn kl_loss_v3<P: KlDivergence>(posterior: &P, prior: &P, weights: [f64; 2], nats: f64) -> Result<KlLoss> {
    weighted(posterior, prior, weights, nats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn below_the_free_nats_there_is_no_gradient_and_groups_add_up() {
        let logits = Var::new(&[[[0.1f64, 0.2], [0.0, 0.3]]], &Device::Cpu).unwrap();
        let flat = Tensor::zeros((1, 2, 2), candle_core::DType::F64, &Device::Cpu).unwrap();
        let (posterior, prior) = (Categorical::new(&logits).unwrap(), Categorical::new(&flat).unwrap());
        let per_group = posterior.kl(&prior).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        let kl = posterior.kl_of_latent(&prior).unwrap();
        assert_eq!(kl.dims(), [1]);
        assert!((kl.to_vec1::<f64>().unwrap()[0] - per_group).abs() < 1e-15);
        let loss = kl_loss_v3(&posterior, &prior, [1.0, 0.1], 1.0).unwrap();
        assert_eq!(loss.total.to_vec1::<f64>().unwrap(), [1.1]);
        let gradient = loss.total.backward().unwrap().get(&logits).unwrap().abs().unwrap().sum_all().unwrap();
        assert_eq!(gradient.to_scalar::<f64>().unwrap(), 0.0);
        let mean = free_nats_of_mean(&kl, 3.0).unwrap().to_scalar::<f64>().unwrap();
        assert_eq!(mean, 3.0);
    }
}
