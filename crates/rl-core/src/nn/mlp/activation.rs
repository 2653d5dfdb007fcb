//! Element-wise functions after a layer, forward and backward, on slices and as tensor operations.

use crate::nn::kernel::Real;
use crate::vectorised;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Element-wise function after a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x
    Identity,
    /// max(x, 0); derivative 0 at 0.
    Relu,
    /// tanh x
    Tanh,
    /// x σ(x)
    Silu,
    /// x for x > 0, else eˣ − 1
    Elu,
    /// x tanh(ln(1 + eˣ))
    Mish,
}

impl Activation {
    pub(super) fn needs_input(self) -> bool {
        matches!(self, Self::Silu | Self::Mish)
    }

    /// In place, on slices.
    pub fn apply<R: Real>(self, y: &mut [R]) {
        apply(self, y);
    }

    pub(super) fn backward<R: Real>(self, dy: &mut [R], x: &[R], y: &[R]) {
        apply_backward(self, dy, x, y);
    }

    pub(super) fn composed(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Relu => x.relu(),
            Self::Tanh => x.tanh(),
            Self::Silu => x.silu(),
            Self::Elu => x.elu(1.0),
            // ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|)
            Self::Mish => {
                let softplus = (x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
                x * softplus.tanh()?
            }
        }
    }
}

vectorised! {
    fn apply<R: Real>(activation: Activation, y: &mut [R]) {
        let (zero, one) = (R::real(0.0), R::real(1.0));
        match activation {
            Activation::Identity => {}
            Activation::Relu => y.iter_mut().for_each(|v| *v = if *v > zero { *v } else { zero }),
            Activation::Tanh => y.iter_mut().for_each(|v| *v = v.fast_tanh()),
            Activation::Silu => y.iter_mut().for_each(|v| *v *= v.sigmoid()),
            Activation::Elu => y.iter_mut().for_each(|v| *v = if *v > zero { *v } else { v.fast_exp() - one }),
            Activation::Mish => y.iter_mut().for_each(|v| *v = *v * mish_gate(*v)),
        }
    }

    /// `dy *= f'(x)`, from the input or the output.
    fn apply_backward<R: Real>(activation: Activation, dy: &mut [R], x: &[R], y: &[R]) {
        let (zero, one) = (R::real(0.0), R::real(1.0));
        match activation {
            Activation::Identity => {}
            Activation::Relu => dy.iter_mut().zip(y).for_each(|(d, &y)| *d = if y > zero { *d } else { zero }),
            Activation::Tanh => dy.iter_mut().zip(y).for_each(|(d, &y)| *d *= one - y * y),
            Activation::Elu => dy.iter_mut().zip(y).for_each(|(d, &y)| *d *= if y > zero { one } else { y + one }),
            Activation::Silu => dy.iter_mut().zip(x).for_each(|(d, &x)| {
                let s = x.sigmoid();
                *d *= s + x * s * (one - s);
            }),
            Activation::Mish => dy.iter_mut().zip(x).for_each(|(d, &x)| {
                let gate = mish_gate(x);
                *d *= gate + x * x.sigmoid() * (one - gate * gate);
            }),
        }
    }
}

/// tanh(ln(1 + eˣ)) = (e²ˣ + 2eˣ) / (e²ˣ + 2eˣ + 2), written with e^−|x| so that nothing overflows.
#[inline(always)]
fn mish_gate<R: Real>(x: R) -> R {
    let (one, two) = (R::real(1.0), R::real(2.0));
    let e = (-x.abs()).fast_exp();
    if x > R::real(0.0) {
        (one + two * e) / (one + two * e + two * e * e)
    } else {
        (e * e + two * e) / (e * e + two * e + two)
    }
}
