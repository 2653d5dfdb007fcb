//! The gated recurrent unit of DreamerV2 and V3 (Hafner et al. 2021, 2023): one projection of input and state together,
//! layer-normalised, with the update gate biased towards keeping the state.
//!
//! [r, n, u] = LN(W [x; h]), n = tanh(σ(r) ∘ n), u = σ(u − 1), h' = u ∘ n + (1 − u) ∘ h. The gates' order and the meaning
//! of u differ from [`Gru`](super::Gru), where z keeps the old state. Composed of tensor operations on every device;
//! differentiable in the input, the state and the parameters.

use super::init::Init;
use super::ops::{layer_norm, sigmoid};
use super::params::{Layout, Params};
use crate::experiment::{Persist, TrainState};
use crate::{Error, Result, StreamRng};
use candle_core::{DType, Device, Tensor};

/// Added to the variance in the layer norm (DreamerV2 and V3: 1e-3).
const EPSILON: f64 = 1e-3;
/// Added to the update gate before its sigmoid.
const UPDATE_BIAS: f64 = -1.0;

/// A layer-normalised GRU cell with its parameters.
#[derive(Clone, Debug)]
pub struct NormGru {
    inputs: usize,
    hidden: usize,
    params: Params,
}

impl NormGru {
    /// W from Glorot's uniform distribution, as in DreamerV2; the norm starts with scale 1 and offset 0.
    ///
    /// # Errors
    /// If a size is zero or the device cannot hold the parameters.
    pub fn new(inputs: usize, hidden: usize, device: &Device, rng: &mut StreamRng) -> Result<Self> {
        if inputs == 0 || hidden == 0 {
            return Err(Error::config(
                "norm_gru",
                "inputs, hidden",
                format!("{inputs}, {hidden}"),
                "positive",
            ));
        }
        let mut layout = Layout::default();
        let weight = Init::XavierUniform { gain: 1.0 }.draw(inputs + hidden, 3 * hidden, rng);
        layout.add("weight", &[inputs + hidden, 3 * hidden], weight);
        layout.add("norm/scale", &[3 * hidden], vec![1.0; 3 * hidden]);
        layout.add("norm/offset", &[3 * hidden], vec![0.0; 3 * hidden]);
        Ok(Self { inputs, hidden, params: layout.build(DType::F32, device)? })
    }

    /// The parameters: `weight [inputs + hidden, 3 hidden]`, `norm/scale`, `norm/offset`.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Width of the hidden state.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// The same cell in another precision, for gradient checks.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self { params: self.params.to_dtype(dtype)?, ..self.clone() })
    }

    /// `(x [B, inputs], h [B, hidden]) -> h' [B, hidden]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn step(&self, x: &Tensor, h: &Tensor) -> Result<Tensor> {
        let (rows, inputs) = x.dims2()?;
        if inputs != self.inputs || h.dims2()? != (rows, self.hidden) {
            let expected = format!("x [B, {}] and h [B, {}]", self.inputs, self.hidden);
            return Err(Error::shape(
                "NormGru::step",
                expected,
                format!("{:?} and {:?}", x.dims(), h.dims()),
            ));
        }
        let projected = Tensor::cat(&[x, h], 1)?.matmul(&self.params.part(0)?)?;
        let (scale, offset) = (self.params.part(1)?, self.params.part(2)?);
        let all = layer_norm(&projected, Some(&scale), Some(&offset), EPSILON)?;
        let gate = |index: usize| all.narrow(1, index * self.hidden, self.hidden)?.contiguous();
        let r = sigmoid(&gate(0)?)?;
        let n = (r * gate(1)?)?.tanh()?;
        let u = sigmoid(&(gate(2)? + UPDATE_BIAS)?)?;
        Ok((h + (u * (n - h)?)?)?)
    }
}

impl Persist for NormGru {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        self.params.save(prefix, state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        self.params.load(prefix, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;
    use crate::nn::ops::tests::check_gradient;

    fn numbers(n: usize, f: f64) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * f).sin()).collect()
    }

    fn rows(n: usize, f: f64) -> Tensor {
        Tensor::from_vec(numbers(2 * n, f), (2, n), &Device::Cpu).unwrap()
    }

    fn cell() -> NormGru {
        let mut rng = SeedStream::new(4).stream("init", 0);
        NormGru::new(3, 4, &Device::Cpu, &mut rng).unwrap().to_dtype(DType::F64).unwrap()
    }

    /// Two steps, so that gradients also flow through the state.
    fn twice(cell: &NormGru, x: &Tensor, h: &Tensor) -> Result<Tensor> {
        cell.step(x, &cell.step(x, h)?)
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let cell = cell();
        let (x, h) = (rows(3, 0.9), rows(4, 1.7));
        check_gradient(&numbers(6, 0.9), &[2, 3], |x| twice(&cell, x, &h));
        check_gradient(&numbers(8, 1.7), &[2, 4], |h| twice(&cell, &x, h));
        let values = cell.params().to_vec::<f64>().unwrap();
        let loss = |values: &[f64]| -> Tensor {
            cell.params().set(values).unwrap();
            twice(&cell, &x, &h).unwrap().sqr().unwrap().sum_all().unwrap()
        };
        let grads = loss(&values).backward().unwrap();
        let got = grads.get(cell.params().var()).unwrap().to_vec1::<f64>().unwrap();
        assert!(cell.params().parts().iter().all(|part| got[part.range()].iter().any(|g| *g != 0.0)));
        for (i, got) in got.iter().enumerate() {
            let moved = |d: f64| {
                let mut values = values.clone();
                values[i] += d;
                loss(&values).to_scalar::<f64>().unwrap()
            };
            let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((got - want).abs() < 1e-7, "parameter {i}: got {got}, want {want}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let cell = cell();
        assert!(cell.step(&rows(2, 1.0), &rows(4, 1.0)).is_err());
        assert!(cell.step(&rows(3, 1.0), &rows(3, 1.0)).is_err());
        let mut rng = SeedStream::new(0).stream("init", 0);
        assert!(NormGru::new(3, 0, &Device::Cpu, &mut rng).is_err());
    }
}
