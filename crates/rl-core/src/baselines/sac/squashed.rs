//! The squashed Gaussian of SAC: samples and their log-probabilities in one pass, on slices and as a graph node.

use crate::nn::kernel::{Real, slice, with_slice};
use crate::{Result, vectorised};
use candle_core::{CpuStorage, CustomOp1, Shape, Tensor};

/// ln σ is limited to this interval; outside of it no gradient reaches it.
const LOG_STD: (f64, f64) = (-20.0, 2.0);
/// ½ ln 2π
const HALF_LOG_2PI: f64 = 0.918_938_533_204_672_8;

/// One dimension of the squashed Gaussian: a = tanh(μ + σ ε) and ln p(a), from μ, ln σ and ε.
///
/// ln p = ln N(ε; 0, 1) − ln σ − ln(1 − a²) with ln(1 − a²) = 2 (ln 2 − u − ln(1 + e^−2u)), exact however far out u
/// is (appendix C).
#[inline(always)]
fn squash<R: Real>(mean: R, log_std: R, noise: R) -> (R, R) {
    let std = num_traits::clamp(log_std, R::real(LOG_STD.0), R::real(LOG_STD.1));
    let u = mean + std.fast_exp() * noise;
    let two = R::real(2.0);
    let log_slope = two * (R::real(std::f64::consts::LN_2) - u - (-two * u).softplus());
    let log_normal = -R::real(0.5) * noise * noise - std - R::real(HALF_LOG_2PI);
    (u.fast_tanh(), log_normal - log_slope)
}

/// Samples of a squashed Gaussian: from the actor's outputs `[B, 2A]`, means and ln σ, and noise `[B, A]`, rows
/// `[a, ln p(a)]`, `[B, A + 1]`.
pub fn sample_squashed<R: Real>(outputs: &[R], noise: &[R], actions: usize) -> Vec<R> {
    let mut samples = vec![R::real(0.0); noise.len() / actions * (actions + 1)];
    squash_rows(outputs, noise, actions, &mut samples);
    samples
}

vectorised! {
    fn squash_rows<R: Real>(outputs: &[R], noise: &[R], actions: usize, samples: &mut [R]) {
        let rows = outputs.chunks_exact(2 * actions).zip(noise.chunks_exact(actions));
        for ((row, noise), sample) in rows.zip(samples.chunks_exact_mut(actions + 1)) {
            for j in 0..actions {
                let (action, log_prob) = squash(row[j], row[actions + j], noise[j]);
                sample[j] = action;
                sample[actions] += log_prob;
            }
        }
    }
}

/// [`sample_squashed`] as a graph node: ∂a/∂u = 1 − a², ∂ln p/∂μ = 2a, ∂ln p/∂ln σ = 2aσε − 1.
struct SampleSquashed<R> {
    noise: Vec<R>,
    actions: usize,
}

impl<R: Real> SampleSquashed<R> {
    fn backward(&self, outputs: &[R], samples: &[R], dsamples: &[R]) -> Vec<R> {
        let (a, (one, two)) = (self.actions, (R::real(1.0), R::real(2.0)));
        let mut gradient = vec![R::real(0.0); outputs.len()];
        let rows = outputs.chunks_exact(2 * a).zip(self.noise.chunks_exact(a));
        let given = samples.chunks_exact(a + 1).zip(dsamples.chunks_exact(a + 1));
        for (((row, noise), (sample, d)), out) in rows.zip(given).zip(gradient.chunks_exact_mut(2 * a)) {
            for j in 0..a {
                let (action, log_std) = (sample[j], row[a + j]);
                let du = d[j] * (one - action * action) + d[a] * two * action;
                out[j] = du;
                if log_std >= R::real(LOG_STD.0) && log_std <= R::real(LOG_STD.1) {
                    out[a + j] = du * log_std.fast_exp() * noise[j] - d[a];
                }
            }
        }
        gradient
    }
}

impl<R: Real> CustomOp1 for SampleSquashed<R> {
    fn name(&self) -> &'static str {
        "sample-squashed"
    }

    fn cpu_fwd(
        &self,
        outputs: &CpuStorage,
        layout: &candle_core::Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let samples = sample_squashed(slice::<R>(outputs, layout)?, &self.noise, self.actions);
        let shape = (self.noise.len() / self.actions, self.actions + 1);
        Ok((R::to_cpu_storage_owned(samples), shape.into()))
    }

    fn bwd(&self, outputs: &Tensor, samples: &Tensor, d: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let gradient = with_slice(outputs, |outputs| {
            with_slice(samples, |samples| with_slice(d, |d| Ok(self.backward(outputs, samples, d))))
        })?;
        Ok(Some(Tensor::from_vec(gradient, outputs.shape(), outputs.device())?))
    }
}

/// The same out of tensor operations, for devices without fused kernels.
fn sample_squashed_composed(outputs: &Tensor, noise: &Tensor, actions: usize) -> Result<Tensor> {
    let mean = outputs.narrow(1, 0, actions)?;
    let log_std = outputs.narrow(1, actions, actions)?.clamp(LOG_STD.0, LOG_STD.1)?;
    let u = (mean + (log_std.exp()? * noise)?)?;
    // ln(1 + e^−2u) = max(−2u, 0) + ln(1 + e^−2|u|)
    let softplus = ((&u * -2.0)?.relu()? + ((u.abs()? * -2.0)?.exp()? + 1.0)?.log()?)?;
    let log_slope = (((&u + softplus)? * -2.0)? + 2.0 * std::f64::consts::LN_2)?;
    let log_normal = (((noise.sqr()? * -0.5)? - log_std)? - HALF_LOG_2PI)?;
    let log_prob = (log_normal - log_slope)?.sum_keepdim(1)?;
    Ok(Tensor::cat(&[u.tanh()?, log_prob], 1)?)
}

/// Samples with gradients to the actor's outputs `[B, 2A]`; noise `[B, A]`, result `[B, A + 1]`.
pub(super) fn sample_with_gradient(outputs: &Tensor, noise: Vec<f32>, actions: usize) -> Result<Tensor> {
    if outputs.device().is_cpu() {
        return Ok(outputs.contiguous()?.apply_op1(SampleSquashed { noise, actions })?);
    }
    let noise = Tensor::from_vec(noise, (outputs.dim(0)?, actions), outputs.device())?;
    sample_squashed_composed(outputs, &noise, actions)
}

#[cfg(test)]
mod tests;
