//! KL divergence between the posterior and the prior, with its two gradients weighted apart.
//!
//! KL(q‖p) = ln(σp/σq) + (σq² + (μq − μp)²) / (2 σp²) − ½, summed over the dimensions: never negative, zero only where
//! the two agree. Balancing (Hafner et al. 2021): the prior learns from the posterior faster than the other way round,
//! as with KL(sg(q)‖p) and KL(q‖sg(p)) weighted apart; the value is that of the plain divergence.

use super::scan::std_of;
use candle_core::{CpuStorage, CustomOp2, D, DType, Layout, Shape, Tensor};
use rl_core::nn::kernel::{Real, slice, with_slice};
use rl_core::{Result, vectorised};

/// Statistics `[M, 2S]` (mean, raw std) of both -> divergence `[M]`; the prior's gradient is multiplied by `dynamics`,
/// the posterior's by `representation`.
///
/// # Errors
/// If the shapes differ or the last axis is odd.
pub fn balanced_kl(
    posterior: &Tensor,
    prior: &Tensor,
    std_floor: f64,
    (dynamics, representation): (f64, f64),
) -> Result<Tensor> {
    let (rows, width) = posterior.dims2()?;
    if prior.dims2()? != (rows, width) || width % 2 != 0 {
        let got = format!("{:?} and {:?}", posterior.dims(), prior.dims());
        return Err(rl_core::Error::shape("balanced_kl", "two equal [M, 2S]", got));
    }
    if !posterior.device().is_cpu() {
        let composed = |q: &Tensor, p: &Tensor| kl_composed(q, p, std_floor);
        let (to_prior, to_posterior) =
            (composed(&posterior.detach(), prior)?, composed(posterior, &prior.detach())?);
        let weighted = ((to_prior * dynamics)? + (to_posterior * representation)?)?;
        // The value of one plain divergence with the gradients of the weighted sum.
        return Ok((&weighted + (composed(&posterior.detach(), &prior.detach())? - weighted.detach())?)?);
    }
    let (posterior, prior) = (posterior.contiguous()?, prior.contiguous()?);
    let op = BalancedKl { stoch: width / 2, std_floor, dynamics, representation };
    Ok(posterior.apply_op2(&prior, op)?)
}

/// The divergence out of plain tensor operations.
///
/// # Errors
/// If the tensor library fails.
pub fn kl_composed(posterior: &Tensor, prior: &Tensor, std_floor: f64) -> Result<Tensor> {
    let stoch = posterior.dim(D::Minus1)? / 2;
    let part = |x: &Tensor, i: usize| x.narrow(1, i * stoch, stoch);
    let std = |x: &Tensor| -> Result<Tensor> { Ok((rl_core::nn::ops::softplus(&part(x, 1)?)? + std_floor)?) };
    let (q_std, p_std) = (std(posterior)?, std(prior)?);
    let shift = (part(posterior, 0)? - part(prior, 0)?)?;
    let ratio = ((q_std.sqr()? + shift.sqr()?)? / p_std.sqr()?)?;
    let log = (p_std.log()? - q_std.log()?)?;
    Ok((log + ((ratio - 1.0)? * 0.5)?)?.sum(1)?)
}

struct BalancedKl {
    stoch: usize,
    std_floor: f64,
    dynamics: f64,
    representation: f64,
}

vectorised! {
    /// The divergence of every row of statistics `[mean, raw std]`.
    fn divergences<R: Real>(q: &[R], p: &[R], stoch: usize, floor: R, kl: &mut [R]) {
        let (s, half, one) = (stoch, R::real(0.5), R::real(1.0));
        for (kl, (q, p)) in kl.iter_mut().zip(q.chunks_exact(2 * s).zip(p.chunks_exact(2 * s))) {
            for i in 0..s {
                let (q_std, p_std) = (std_of(q[s + i], floor), std_of(p[s + i], floor));
                let (ratio, shift) = (q_std / p_std, (q[i] - p[i]) / p_std);
                *kl += half * (ratio * ratio + shift * shift - one) - ratio.ln();
            }
        }
    }

    /// Gradients of both statistics from those of the divergences, weighted `(dynamics, representation)`.
    fn divergence_gradients<R: Real>(
        statistics: (&[R], &[R]),
        d: &[R],
        stoch: usize,
        floor: R,
        weights: (R, R),
        gradients: (&mut [R], &mut [R]),
    ) {
        let (s, one) = (stoch, R::real(1.0));
        let ((q, p), (dq, dp)) = (statistics, gradients);
        let rows = q.chunks_exact(2 * s).zip(p.chunks_exact(2 * s)).zip(d);
        for (((q, p), &d), (dq, dp)) in rows.zip(dq.chunks_exact_mut(2 * s).zip(dp.chunks_exact_mut(2 * s))) {
            let (to_p, to_q) = (d * weights.0, d * weights.1);
            let ((q, q_raw), (p, p_raw)) = (q.split_at(s), p.split_at(s));
            let ((dq, dq_raw), (dp, dp_raw)) = (dq.split_at_mut(s), dp.split_at_mut(s));
            for i in 0..s {
                let (q_std, p_std) = (std_of(q_raw[i], floor), std_of(p_raw[i], floor));
                let inverse = one / (p_std * p_std);
                let shift = q[i] - p[i];
                dq[i] = to_q * shift * inverse;
                dp[i] = -to_p * shift * inverse;
                dq_raw[i] = to_q * (q_std * inverse - one / q_std) * q_raw[i].sigmoid();
                let spread = (q_std * q_std + shift * shift) * inverse;
                dp_raw[i] = to_p * (one - spread) / p_std * p_raw[i].sigmoid();
            }
        }
    }
}

impl BalancedKl {
    fn value<R: Real>(&self, q: &[R], p: &[R]) -> Vec<R> {
        let mut kl = vec![R::real(0.0); q.len() / (2 * self.stoch)];
        divergences(q, p, self.stoch, R::real(self.std_floor), &mut kl);
        kl
    }

    fn gradients<R: Real>(&self, q: &[R], p: &[R], d: &[R]) -> (Vec<R>, Vec<R>) {
        let (mut dq, mut dp) = (vec![R::real(0.0); q.len()], vec![R::real(0.0); p.len()]);
        let (floor, weights) = (self.std_floor, (R::real(self.dynamics), R::real(self.representation)));
        divergence_gradients((q, p), d, self.stoch, R::real(floor), weights, (&mut dq, &mut dp));
        (dq, dp)
    }

    fn backward<R: Real>(&self, q: &Tensor, p: &Tensor, d: &Tensor) -> candle_core::Result<(Tensor, Tensor)> {
        let (dq, dp) =
            with_slice(q, |qs| with_slice(p, |ps| with_slice(d, |ds| Ok(self.gradients::<R>(qs, ps, ds)))))?;
        Ok((Tensor::from_vec(dq, q.shape(), q.device())?, Tensor::from_vec(dp, p.shape(), p.device())?))
    }
}

impl CustomOp2 for BalancedKl {
    fn name(&self) -> &'static str {
        "balanced-kl"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        p: &CpuStorage,
        p_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let rows = q_layout.dims()[0];
        let value = match q {
            CpuStorage::F64(_) => CpuStorage::F64(self.value(slice(q, q_layout)?, slice(p, p_layout)?)),
            _ => CpuStorage::F32(self.value(slice(q, q_layout)?, slice(p, p_layout)?)),
        };
        Ok((value, rows.into()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        p: &Tensor,
        _kl: &Tensor,
        d: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (dq, dp) = match q.dtype() {
            DType::F64 => self.backward::<f64>(q, p, d)?,
            _ => self.backward::<f32>(q, p, d)?,
        };
        Ok((Some(dq), Some(dp)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    fn tensor(values: Vec<f64>, rows: usize) -> Tensor {
        let width = values.len() / rows;
        Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
    }

    fn values(t: &Tensor) -> Vec<f64> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    proptest! {
        #[test]
        fn never_negative_and_zero_only_at_equality(q in prop::collection::vec(-4.0..4.0f64, 8), p in prop::collection::vec(-4.0..4.0f64, 8)) {
            let kl = values(&balanced_kl(&tensor(q.clone(), 1), &tensor(p, 1), 0.1, (1.0, 1.0)).unwrap())[0];
            prop_assert!(kl >= 0.0);
            let same = tensor(q, 1);
            prop_assert!(values(&balanced_kl(&same, &same, 0.1, (1.0, 1.0)).unwrap())[0].abs() < 1e-12);
        }
    }

    #[test]
    fn equals_the_composed_divergence_and_weights_its_gradients() {
        let numbers = |f: f64| (0..24).map(|i| (i as f64 * f).sin() * 2.0).collect::<Vec<_>>();
        let (q, p) = (
            Var::from_tensor(&tensor(numbers(0.9), 4)).unwrap(),
            Var::from_tensor(&tensor(numbers(1.3), 4)).unwrap(),
        );
        let fast = balanced_kl(&q, &p, 0.1, (0.8, 0.2)).unwrap();
        let slow = kl_composed(&q, &p, 0.1).unwrap();
        let close = |a: &Tensor, b: &Tensor, factor: f64| {
            values(a).iter().zip(values(b)).for_each(|(a, b)| assert!((a - factor * b).abs() < 1e-11));
        };
        close(&fast, &slow, 1.0);
        let (fast, slow) = (
            fast.sqr().unwrap().sum_all().unwrap().backward().unwrap(),
            slow.sqr().unwrap().sum_all().unwrap().backward().unwrap(),
        );
        close(fast.get(&p).unwrap(), slow.get(&p).unwrap(), 0.8);
        close(fast.get(&q).unwrap(), slow.get(&q).unwrap(), 0.2);
    }
}
