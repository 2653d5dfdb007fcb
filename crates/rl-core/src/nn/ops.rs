//! Tensor functions that the tensor library lacks, or whose gradient there is missing, unstable or different from
//! PyTorch's at ties.
//!
//! Every function is differentiable in the arguments that its documentation names. On the CPU, pointwise functions
//! are one pass over the data with their own derivative; on other devices, and for other types than f32 and f64, they
//! are composed from tensor operations. Tests hold the two against each other and against finite differences.

use candle_core::{
    CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor, bail, cpu_backend::unary_map,
};
use num_traits::Float;
use std::f64::consts::LN_2;

/// A real function of one variable with its derivative.
trait Pointwise: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    fn value<F: Float>(&self, x: F) -> F;
    fn slope<F: Float>(&self, x: F) -> F;
    /// The same from tensor operations.
    fn portable(&self, x: &Tensor) -> Result<Tensor>;
}

fn apply<P: Pointwise>(x: &Tensor, function: P) -> Result<Tensor> {
    if x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64) {
        x.apply_op1(Value(function))
    } else {
        function.portable(x)
    }
}

struct Value<P>(P);
struct Slope<P>(P);

impl<P: Pointwise> CustomOp1 for Value<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mapped = match storage {
            CpuStorage::F32(x) => CpuStorage::F32(unary_map(x, layout, |x| self.0.value(x))),
            CpuStorage::F64(x) => CpuStorage::F64(unary_map(x, layout, |x| self.0.value(x))),
            _ => bail!("{} takes f32 and f64", P::NAME),
        };
        Ok((mapped, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _value: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some((x.apply_op1_no_bwd(&Slope(self.0.clone()))? * gradient)?))
    }
}

impl<P: Pointwise> CustomOp1 for Slope<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mapped = match storage {
            CpuStorage::F32(x) => CpuStorage::F32(unary_map(x, layout, |x| self.0.slope(x))),
            CpuStorage::F64(x) => CpuStorage::F64(unary_map(x, layout, |x| self.0.slope(x))),
            _ => bail!("{} takes f32 and f64", P::NAME),
        };
        Ok((mapped, layout.shape().clone()))
    }
}

fn real<F: Float>(x: f64) -> F {
    F::from(x).unwrap_or_else(F::nan)
}

fn logistic<F: Float>(x: F) -> F {
    (F::one() + (-x).exp()).recip()
}

/// −1, 0 or 1: unlike `signum`, zero at zero.
fn sign<F: Float>(x: F) -> F {
    if x == F::zero() { x } else { x.signum() }
}

#[derive(Clone)]
struct Softplus;

impl Pointwise for Softplus {
    const NAME: &'static str = "softplus";
    fn value<F: Float>(&self, x: F) -> F {
        x.max(F::zero()) + (-x.abs()).exp().ln_1p()
    }
    fn slope<F: Float>(&self, x: F) -> F {
        logistic(x)
    }
    fn portable(&self, x: &Tensor) -> Result<Tensor> {
        // ½(x + |x|) and −|x| have slopes that add up to ½ at 0, whatever slope |x| is given there.
        let magnitude = x.abs()?;
        (((x + &magnitude)? * 0.5)? + (magnitude.neg()?.exp()? + 1.0)?.log()?)?.contiguous()
    }
}

#[derive(Clone)]
struct Symlog;

impl Pointwise for Symlog {
    const NAME: &'static str = "symlog";
    fn value<F: Float>(&self, x: F) -> F {
        sign(x) * x.abs().ln_1p()
    }
    fn slope<F: Float>(&self, x: F) -> F {
        (F::one() + x.abs()).recip()
    }
    fn portable(&self, x: &Tensor) -> Result<Tensor> {
        let positive = x.ge(0.0)?;
        let zeros = x.zeros_like()?;
        // Each side is computed where it is wanted and at 0 elsewhere, so that no NaN reaches the gradient.
        let right = (positive.where_cond(x, &zeros)? + 1.0)?.log()?;
        let left = (1.0 - positive.where_cond(&zeros, x)?)?.log()?.neg()?;
        positive.where_cond(&right, &left)
    }
}

#[derive(Clone)]
struct Symexp;

impl Pointwise for Symexp {
    const NAME: &'static str = "symexp";
    fn value<F: Float>(&self, x: F) -> F {
        sign(x) * x.abs().exp_m1()
    }
    fn slope<F: Float>(&self, x: F) -> F {
        x.abs().exp()
    }
    fn portable(&self, x: &Tensor) -> Result<Tensor> {
        let positive = x.ge(0.0)?;
        let zeros = x.zeros_like()?;
        let right = (positive.where_cond(x, &zeros)?.exp()? - 1.0)?;
        let left = (1.0 - positive.where_cond(&zeros, x)?.neg()?.exp()?)?;
        positive.where_cond(&right, &left)
    }
}

#[derive(Clone)]
struct ExpMinusTangent;

impl Pointwise for ExpMinusTangent {
    const NAME: &'static str = "exp_minus_tangent";
    fn value<F: Float>(&self, x: F) -> F {
        (x.exp_m1() - x).max(F::zero())
    }
    fn slope<F: Float>(&self, x: F) -> F {
        x.exp_m1()
    }
    fn portable(&self, x: &Tensor) -> Result<Tensor> {
        (x.exp()? - 1.0)? - x
    }
}

#[derive(Clone)]
struct Clamp {
    low: f64,
    high: f64,
}

impl Pointwise for Clamp {
    const NAME: &'static str = "clamp";
    fn value<F: Float>(&self, x: F) -> F {
        if x < real(self.low) {
            real(self.low)
        } else if x > real(self.high) {
            real(self.high)
        } else {
            x
        }
    }
    fn slope<F: Float>(&self, x: F) -> F {
        if x < real(self.low) || x > real(self.high) { F::zero() } else { F::one() }
    }
    fn portable(&self, x: &Tensor) -> Result<Tensor> {
        let inside = (x.ge(self.low)? * x.le(self.high)?)?;
        inside.where_cond(x, &x.detach().clamp(self.low, self.high)?)
    }
}

#[derive(Clone)]
struct Huber {
    delta: f64,
}

impl Pointwise for Huber {
    const NAME: &'static str = "huber";
    fn value<F: Float>(&self, x: F) -> F {
        let (magnitude, delta) = (x.abs(), real::<F>(self.delta));
        let half = real::<F>(0.5);
        if magnitude <= delta { half * x * x } else { delta * (magnitude - half * delta) }
    }
    fn slope<F: Float>(&self, x: F) -> F {
        let delta = real::<F>(self.delta);
        if x.abs() <= delta { x } else { delta * x.signum() }
    }
    fn portable(&self, x: &Tensor) -> Result<Tensor> {
        let inner = clamp(x, -self.delta, self.delta)?;
        (inner.sqr()? * 0.5)? + ((x - &inner)?.abs()? * self.delta)?
    }
}

/// ln(1 + eˣ), computed as max(x, 0) + ln(1 + e^−|x|): finite for every finite x.
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    apply(x, Softplus)
}

/// ln σ(x) = −softplus(−x).
pub fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    softplus(&x.neg()?)?.neg()
}

/// σ(x) = 1/(1 + e⁻ˣ).
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::sigmoid(x)
}

/// sign(x) ln(1 + |x|), with slope 1/(1 + |x|) also at 0 (Hafner et al. 2023, eq. 9).
pub fn symlog(x: &Tensor) -> Result<Tensor> {
    apply(x, Symlog)
}

/// sign(x)(e^|x| − 1), the inverse of [`symlog`] (Hafner et al. 2023, eq. 9).
pub fn symexp(x: &Tensor) -> Result<Tensor> {
    apply(x, Symexp)
}

/// eˣ − 1 − x, never negative: what a Gaussian KL divergence is made of, without cancellation near 0.
pub fn exp_minus_tangent(x: &Tensor) -> Result<Tensor> {
    apply(x, ExpMinusTangent)
}

/// x limited to [low, high], with slope 1 inside *and at* the bounds, as in PyTorch (the tensor library gives ½ there).
pub fn clamp(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    apply(x, Clamp { low, high })
}

/// ½x² up to |x| = δ, δ(|x| − ½δ) beyond: Huber's loss of an error x, elementwise.
pub fn huber(x: &Tensor, delta: f64) -> Result<Tensor> {
    apply(x, Huber { delta })
}

/// PPO's clipped surrogate min(ρA, clip(ρ, 1 − ε, 1 + ε)A), elementwise, to be maximised (Schulman et al. 2017, eq. 7).
///
/// Where both are equal, which is everywhere in the first update after a rollout (ρ = 1), the gradient is that of the
/// unclipped term, in full. Differentiable in `ratio`.
pub fn clipped_surrogate(ratio: &Tensor, advantage: &Tensor, epsilon: f64) -> Result<Tensor> {
    let plain = (ratio * advantage)?;
    let clipped = (ratio.detach().clamp(1.0 - epsilon, 1.0 + epsilon)? * advantage)?;
    // Where the clipped term is the smaller one, the ratio lies outside the interval: it is constant there.
    plain.le(&clipped)?.where_cond(&plain, &clipped)
}

/// ln Σ_k e^{x_k} over the last dimension, which is dropped; −∞ if all entries are −∞.
pub fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let max = x.detach().max_keepdim(D::Minus1)?;
    // Shifting by an infinite maximum would give NaN.
    let shift = max.abs()?.lt(f64::INFINITY)?.where_cond(&max, &max.zeros_like()?)?;
    let sum = x.broadcast_sub(&shift)?.exp()?.sum_keepdim(D::Minus1)?;
    (sum.log()? + shift)?.squeeze(D::Minus1)
}

/// x − ln Σ e^x over the last dimension.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// e^x / Σ e^x over the last dimension.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// Binary cross-entropy −t ln σ(x) − (1 − t) ln(1 − σ(x)) = softplus(x) − t·x, elementwise and stable.
pub fn bce_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    softplus(logits)? - (logits * targets)?
}

/// Indices `[..]` as unit vectors `[.., classes]`.
pub fn one_hot(indices: &Tensor, classes: usize, dtype: DType) -> Result<Tensor> {
    let all = Tensor::arange(0, classes as u32, indices.device())?.to_dtype(indices.dtype())?;
    indices.unsqueeze(D::Minus1)?.broadcast_eq(&all)?.to_dtype(dtype)
}

/// x_k for k = `indices`: from `[.., K]` and `[..]` to `[..]`.
pub fn select_last(x: &Tensor, indices: &Tensor) -> Result<Tensor> {
    x.gather(&indices.unsqueeze(D::Minus1)?.contiguous()?, D::Minus1)?.squeeze(D::Minus1)
}

/// The value of `hard` with the gradient of `soft` (Bengio et al. 2013).
pub fn straight_through(hard: &Tensor, soft: &Tensor) -> Result<Tensor> {
    // soft − soft is exactly 0, so that the value is exactly `hard`.
    (soft - soft.detach())? + hard.detach()
}

/// (x − mean)/√(var + ε) · weight + bias over the last dimension, biased variance (Ba et al. 2016). Differentiable in all,
/// which the tensor library's fused version is not.
pub fn layer_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    epsilon: f64,
) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let mut y = centred.broadcast_div(&(var + epsilon)?.sqrt()?)?;
    if let Some(weight) = weight {
        y = y.broadcast_mul(weight)?;
    }
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// x/√(mean x² + ε) · weight over the last dimension (Zhang & Sennrich 2019). Differentiable in all.
pub fn rms_norm(x: &Tensor, weight: Option<&Tensor>, epsilon: f64) -> Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?;
    let y = x.broadcast_div(&scale)?;
    match weight {
        Some(weight) => y.broadcast_mul(weight),
        None => Ok(y),
    }
}

/// Simplicial normalisation: softmax within consecutive groups of the last dimension (Lavoie et al. 2023; TD-MPC2 uses
/// groups of 8).
pub fn simnorm(x: &Tensor, group: usize) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if group == 0 || !width.is_multiple_of(group) {
        bail!("simnorm: {width} numbers do not divide into groups of {group}");
    }
    let mut grouped = x.dims().to_vec();
    grouped.pop();
    grouped.extend([width / group, group]);
    softmax(&x.reshape(grouped)?)?.reshape(x.shape())
}

/// ln 2 − x − softplus(−2x) twice: ln(1 − tanh²x), without cancellation for large |x|.
pub fn log_tanh_slope(x: &Tensor) -> Result<Tensor> {
    ((LN_2 - x)? - softplus(&(x * -2.0)?)?)? * 2.0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// Compares gradients of `Σ w·f(x)`, with uneven weights w, to central differences.
    pub(crate) fn check_gradient(x: &[f64], shape: &[usize], f: impl Fn(&Tensor) -> crate::Result<Tensor>) {
        let total = |x: &Tensor| -> f64 {
            let y = f(x).unwrap().flatten_all().unwrap();
            let w: Vec<f64> = (0..y.dim(0).unwrap()).map(|i| 1.0 + 0.3 * i as f64).collect();
            let w = Tensor::from_vec(w, y.shape(), &Device::Cpu).unwrap();
            (y * w).unwrap().sum_all().unwrap().to_scalar().unwrap()
        };
        let var = Var::from_tensor(&Tensor::from_slice(x, shape, &Device::Cpu).unwrap()).unwrap();
        let y = f(&var).unwrap().flatten_all().unwrap();
        let w: Vec<f64> = (0..y.dim(0).unwrap()).map(|i| 1.0 + 0.3 * i as f64).collect();
        let w = Tensor::from_vec(w, y.shape(), &Device::Cpu).unwrap();
        let grads = (y * w).unwrap().backward().unwrap();
        let got = grads.get(&var).expect("no gradient").flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for i in 0..x.len() {
            let h = 1e-5 * x[i].abs().max(1.0);
            let moved = |d: f64| {
                let mut x = x.to_vec();
                x[i] += d;
                total(&Tensor::from_vec(x, shape, &Device::Cpu).unwrap())
            };
            let want = (moved(h) - moved(-h)) / (2.0 * h);
            assert!((got[i] - want).abs() < 1e-6 * want.abs().max(1.0), "{i}: got {}, want {want}", got[i]);
        }
    }

    fn vector(x: &[f64]) -> Tensor {
        Tensor::from_slice(x, x.len(), &Device::Cpu).unwrap()
    }

    fn gradient_of(x: &[f64], f: impl Fn(&Tensor) -> Result<Tensor>) -> Vec<f64> {
        let var = Var::from_tensor(&vector(x)).unwrap();
        let grads = f(&var).unwrap().sum_all().unwrap().backward().unwrap();
        grads.get(&var).unwrap().to_vec1().unwrap()
    }

    fn twins_agree<P: Pointwise>(function: P) {
        let x = [-30.0, -2.5, -1.0, -1e-3, 0.0, 1e-3, 0.7, 1.0, 2.5, 30.0];
        let close = |got: Vec<f64>, want: Vec<f64>, what: &str| {
            for ((g, w), x) in got.iter().zip(&want).zip(&x) {
                assert!((g - w).abs() <= 1e-12 * w.abs().max(1.0), "{} {what} at {x}: {g} {w}", P::NAME);
            }
        };
        let portable = function.portable(&vector(&x)).unwrap().to_vec1().unwrap();
        close(portable, apply(&vector(&x), function.clone()).unwrap().to_vec1().unwrap(), "value");
        let portable = gradient_of(&x, |x| function.portable(x));
        close(portable, gradient_of(&x, |x| apply(x, function.clone())), "slope");
    }

    #[test]
    fn one_pass_and_composed_functions_agree() {
        twins_agree(Softplus);
        twins_agree(Symlog);
        twins_agree(Symexp);
        twins_agree(ExpMinusTangent);
        twins_agree(Clamp { low: -1.0, high: 2.5 });
        twins_agree(Huber { delta: 1.0 });
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = [-2.3, -0.4, 0.3, 0.9, 1.7, 4.2];
        check_gradient(&x, &[6], |x| Ok(softplus(x)?));
        check_gradient(&x, &[6], |x| Ok(log_sigmoid(x)?));
        check_gradient(&x, &[6], |x| Ok(symlog(x)?));
        check_gradient(&x, &[6], |x| Ok(symexp(x)?));
        check_gradient(&x, &[6], |x| Ok(exp_minus_tangent(x)?));
        check_gradient(&x, &[6], |x| Ok(clamp(x, -1.0, 1.0)?));
        check_gradient(&x, &[6], |x| Ok(huber(x, 0.8)?));
        check_gradient(&x, &[6], |x| Ok(log_tanh_slope(x)?));
        check_gradient(&x, &[2, 3], |x| Ok(log_sum_exp(x)?));
        check_gradient(&x, &[2, 3], |x| Ok(log_softmax(x)?));
        check_gradient(&x, &[2, 3], |x| Ok(softmax(x)?));
        check_gradient(&x, &[2, 3], |x| Ok(simnorm(x, 3)?));
        check_gradient(&x, &[2, 3], |x| Ok(layer_norm(x, None, None, 1e-3)?));
        check_gradient(&x, &[2, 3], |x| Ok(rms_norm(x, None, 1e-3)?));
        let targets = vector(&[0.0, 1.0, 0.3, 1.0, 0.0, 0.5]);
        check_gradient(&x, &[6], |x| Ok(bce_with_logits(x, &targets)?));
        let advantage = vector(&[1.0, 1.0, 1.0, -1.0, -1.0, -1.0]);
        let ratio = [0.5, 1.05, 1.5, 0.5, 1.05, 1.5];
        check_gradient(&ratio, &[6], |x| Ok(clipped_surrogate(x, &advantage, 0.2)?));
    }

    #[test]
    fn weights_of_norms_receive_gradients() {
        let x = Tensor::new(&[[1.0f64, -2.0, 0.5], [0.1, 0.2, 0.7]], &Device::Cpu).unwrap();
        let bias = vector(&[0.1, 0.2, 0.3]);
        let weight = [1.0, 0.5, -1.0];
        check_gradient(&weight, &[3], |w| Ok(layer_norm(&x, Some(w), Some(&bias), 1e-5)?));
        check_gradient(&weight, &[3], |b| Ok(layer_norm(&x, None, Some(b), 1e-5)?));
        check_gradient(&weight, &[3], |w| Ok(rms_norm(&x, Some(w), 1e-5)?));
    }

    #[test]
    fn slopes_at_ties_are_those_of_pytorch() {
        assert_eq!(gradient_of(&[-1.0, 0.0, 2.0, 3.0], |x| clamp(x, -1.0, 2.0)), [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(gradient_of(&[0.0, -0.0], symlog), [1.0, 1.0]);
        let advantage = vector(&[3.0, -3.0]);
        assert_eq!(gradient_of(&[1.0, 1.0], |r| clipped_surrogate(r, &advantage, 0.2)), [3.0, -3.0]);
    }

    #[test]
    fn extremes_stay_finite() {
        let x = vector(&[-1e4, 1e4]);
        assert_eq!(softplus(&x).unwrap().to_vec1::<f64>().unwrap(), [0.0, 1e4]);
        assert_eq!(gradient_of(&[-1e4, 1e4], softplus), [0.0, 1.0]);
        assert_eq!(gradient_of(&[-1e4, 1e4], |x| Softplus.portable(x)), [0.0, 1.0]);
        let impossible = vector(&[f64::NEG_INFINITY; 3]).reshape((1, 3)).unwrap();
        assert_eq!(log_sum_exp(&impossible).unwrap().to_vec1::<f64>().unwrap(), [f64::NEG_INFINITY]);
        assert!(log_tanh_slope(&x).unwrap().to_vec1::<f64>().unwrap().iter().all(|y| y.is_finite()));
        assert!(simnorm(&vector(&[0.0; 5]), 2).is_err());
    }

    #[test]
    fn picking_and_encoding() {
        let indices = Tensor::new(&[2u32, 0], &Device::Cpu).unwrap();
        let hot = one_hot(&indices, 3, DType::F64).unwrap();
        assert_eq!(hot.to_vec2::<f64>().unwrap(), [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
        check_gradient(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], &[2, 3], |x| Ok(select_last(x, &indices)?));
        let soft = vector(&[0.1, 0.9]);
        let through = straight_through(&vector(&[0.0, 1.0]), &soft).unwrap();
        assert_eq!(through.to_vec1::<f64>().unwrap(), [0.0, 1.0]);
    }
}
