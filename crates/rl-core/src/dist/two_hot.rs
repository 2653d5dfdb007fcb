//! Two-hot regression: a real number as a distribution over fixed bins (Bellemare et al. 2017; Schrittwieser et al.
//! 2020; Hafner et al. 2023; Hansen et al. 2024).
//!
//! A target between two bins puts its weight on both, in inverse proportion to the distances, so that the mean over
//! bins is the target. A network's prediction is the mean under its softmax. Three variants are in use:
//!
//! | | bins | interpolates in | prediction |
//! |---|---|---|---|
//! | DreamerV3, current code | symexp(−20 … 20), 255 | raw space | Σ p b |
//! | DreamerV3, 2023 paper | −20 … 20, 255 | symlog space | symexp(Σ p b) |
//! | TD-MPC2 | −10 … 10, 101 | symlog space, clamped | symexp(Σ p b) |

use super::noise::host;
use crate::nn::ops::{log_softmax, softmax, symexp};
use crate::{Error, Result};
use candle_core::{D, Device, Tensor};

/// Bins, and whether they lie in symlog space.
#[derive(Clone, Debug, PartialEq)]
pub struct TwoHot {
    bins: Vec<f64>,
    symlog: bool,
}

impl TwoHot {
    /// Arbitrary ascending bins in raw space, or in symlog space.
    ///
    /// # Errors
    /// [`Error::Config`] if there are fewer than two bins or they do not ascend.
    pub fn new(bins: Vec<f64>, symlog: bool) -> Result<Self> {
        if bins.len() < 2
            || bins.iter().any(|b| !b.is_finite())
            || bins.windows(2).any(|pair| pair[0] >= pair[1])
        {
            return Err(Error::config(
                "two_hot",
                "bins",
                format!("{bins:?}"),
                "two or more, ascending and finite",
            ));
        }
        Ok(Self { bins, symlog })
    }

    /// DreamerV3's current variant: bins symexp(−20 … 20), mirrored exactly about 0 (255 in the reference).
    ///
    /// # Errors
    /// [`Error::Config`] if there are fewer than two bins.
    pub fn dreamer_v3(bins: usize) -> Result<Self> {
        let half = linspace(-20.0, 20.0, bins).into_iter().take(bins / 2);
        let lower: Vec<f64> = half.map(|x| -(-x).exp_m1()).collect();
        let upper = lower.iter().rev().map(|b| -b);
        let middle = (bins % 2 == 1).then_some(0.0);
        Self::new(lower.iter().copied().chain(middle).chain(upper).collect(), false)
    }

    /// DreamerV3's variant of 2023: bins −20 … 20 in symlog space (255 in the paper).
    ///
    /// # Errors
    /// [`Error::Config`] if there are fewer than two bins.
    pub fn dreamer_v3_2023(bins: usize) -> Result<Self> {
        Self::new(linspace(-20.0, 20.0, bins), true)
    }

    /// TD-MPC2's variant: bins `low … high` in symlog space (101 from −10 to 10).
    ///
    /// # Errors
    /// [`Error::Config`] if there are fewer than two bins or `low ≥ high`.
    pub fn td_mpc2(low: f64, high: f64, bins: usize) -> Result<Self> {
        Self::new(linspace(low, high, bins), true)
    }

    /// The bins, in the space they interpolate in.
    pub fn bins(&self) -> &[f64] {
        &self.bins
    }

    /// The lower bin and the weight of the upper one. Outside the range all weight is on the end bin.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for NaN.
    pub fn place(&self, value: f64) -> Result<(usize, f64)> {
        if value.is_nan() {
            return Err(Error::NotFinite { operation: "TwoHot", what: "a target".into(), value });
        }
        let x = if self.symlog { value.signum() * value.abs().ln_1p() } else { value };
        let above = self.bins.partition_point(|&bin| bin <= x);
        if above == 0 {
            return Ok((0, 0.0));
        }
        if above == self.bins.len() {
            return Ok((above - 2, 1.0));
        }
        let (below_by, above_by) = (x - self.bins[above - 1], self.bins[above] - x);
        Ok((above - 1, below_by / (below_by + above_by)))
    }

    /// Targets `[..]` as distributions `[.., K]`; a constant, without gradient.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a target is NaN.
    pub fn encode(&self, targets: &Tensor) -> Result<Tensor> {
        let k = self.bins.len();
        let values = host(targets)?;
        let mut weights = vec![0.0f64; values.len() * k];
        for (&value, row) in values.iter().zip(weights.chunks_mut(k)) {
            let (low, upper) = self.place(value)?;
            row[low] = 1.0 - upper;
            row[low + 1] = upper;
        }
        let mut shape = targets.dims().to_vec();
        shape.push(k);
        Ok(Tensor::from_vec(weights, shape, targets.device())?.to_dtype(targets.dtype())?)
    }

    /// The mean of the distribution softmax(logits) in raw space: `[.., K]` to `[..]`.
    ///
    /// Summed from both ends towards the middle, so that symmetric bins and equal logits give exactly 0 although the
    /// outer bins are huge.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not K logits.
    pub fn predict(&self, logits: &Tensor) -> Result<Tensor> {
        self.check(logits)?;
        let k = self.bins.len();
        let weighted = softmax(logits)?.broadcast_mul(&self.tensor(logits)?)?;
        let low = weighted.narrow(D::Minus1, 0, k / 2)?;
        let high = weighted.narrow(D::Minus1, k - k / 2, k / 2)?;
        let dim = high.rank() - 1;
        let mut mean = (low + high.contiguous()?.flip(&[dim])?)?.sum(D::Minus1)?;
        if k % 2 == 1 {
            mean = (mean + weighted.narrow(D::Minus1, k / 2, 1)?.squeeze(D::Minus1)?)?;
        }
        Ok(if self.symlog { symexp(&mean)? } else { mean })
    }

    /// Cross-entropy −Σ t_k ln softmax(logits)_k to the two-hot targets: logits `[.., K]`, targets `[..]`, result `[..]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not K logits, [`Error::NotFinite`] if a target is NaN.
    pub fn loss(&self, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.check(logits)?;
        cross_entropy(logits, &self.encode(targets)?)
    }

    fn check(&self, logits: &Tensor) -> Result<()> {
        let got = logits.dims().last().copied().unwrap_or(0);
        if got == self.bins.len() {
            return Ok(());
        }
        Err(Error::shape("TwoHot", format!("{} logits", self.bins.len()), got))
    }

    fn tensor(&self, like: &Tensor) -> Result<Tensor> {
        let bins = Tensor::from_slice(&self.bins, self.bins.len(), &Device::Cpu)?;
        Ok(bins.to_dtype(like.dtype())?.to_device(like.device())?)
    }
}

/// −Σ t ln softmax(logits) over the last dimension: `[.., K]` to `[..]`; t may be soft.
///
/// # Errors
/// From the tensor library, if the shapes differ.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    Ok((log_softmax(logits)? * targets)?.sum(D::Minus1)?.neg()?)
}

/// Mirrored exactly about 0 if the ends are.
fn linspace(low: f64, high: f64, n: usize) -> Vec<f64> {
    let last = n.saturating_sub(1).max(1) as f64;
    (0..n).map(|i| i as f64).map(|i| (low * (last - i) + high * i) / last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::tests::check_gradient;

    #[test]
    fn the_mean_over_bins_is_the_target() {
        for code in [TwoHot::dreamer_v3(255), TwoHot::dreamer_v3_2023(255), TwoHot::td_mpc2(-10.0, 10.0, 101)]
        {
            let code = code.unwrap();
            for value in [0.0, 0.05, 1.0, -1.0, 3.7, -250.5, 1e4] {
                let (low, upper) = code.place(value).unwrap();
                let mean = (1.0 - upper) * code.bins()[low] + upper * code.bins()[low + 1];
                let decoded = if code.symlog { mean.signum() * mean.abs().exp_m1() } else { mean };
                assert!((decoded - value).abs() <= 1e-9 * value.abs().max(1.0), "{value} {decoded}");
            }
        }
    }

    #[test]
    fn equal_logits_predict_exactly_zero_in_single_precision() {
        for (bins, code) in [
            (255, TwoHot::dreamer_v3(255)),
            (254, TwoHot::dreamer_v3(254)),
            (101, TwoHot::td_mpc2(-10.0, 10.0, 101)),
        ] {
            let logits = Tensor::zeros((2, bins), candle_core::DType::F32, &Device::Cpu).unwrap();
            let predicted = code.unwrap().predict(&logits).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(predicted, [0.0, 0.0]);
        }
    }

    #[test]
    fn gradients_of_loss_and_prediction() {
        let logits = [0.2, -1.0, 0.5, 1.5, 0.0, 0.3, 0.1, -0.2, 0.4, 0.9];
        let targets = Tensor::new(&[0.4f64, -7.0], &Device::Cpu).unwrap();
        for symlog in [false, true] {
            let code = TwoHot::new(vec![-2.0, -1.0, 0.0, 1.0, 2.0], symlog).unwrap();
            check_gradient(&logits, &[2, 5], |l| code.loss(l, &targets));
            check_gradient(&logits, &[2, 5], |l| code.predict(l));
        }
    }

    #[test]
    fn bad_input_is_refused() {
        let code = TwoHot::dreamer_v3(5).unwrap();
        assert!(code.place(f64::NAN).is_err());
        assert_eq!(code.place(f64::INFINITY).unwrap(), (3, 1.0));
        assert_eq!(code.place(f64::NEG_INFINITY).unwrap(), (0, 0.0));
        assert!(TwoHot::new(vec![0.0, 0.0], false).is_err() && TwoHot::dreamer_v3(1).is_err());
        let logits = Tensor::new(&[[0.0f64, 1.0]], &Device::Cpu).unwrap();
        assert!(code.predict(&logits).unwrap_err().to_string().contains("5 logits"));
    }
}
