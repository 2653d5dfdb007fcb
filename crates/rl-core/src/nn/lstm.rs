//! The long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000) in PyTorch's
//! convention: gates i, f, g, o and two biases.
//!
//! (i, f, g, o) = W x + b + U h + c, c' = σ(f) ∘ c + σ(i) ∘ tanh(g), h' = σ(o) ∘ tanh(c'). Composed of tensor
//! operations on every device; differentiable in the input, both states and the parameters.

use super::init::Init;
use super::ops::sigmoid;
use super::params::{Layout, Params};
use crate::experiment::{Persist, TrainState};
use crate::{Error, Result, StreamRng};
use candle_core::{DType, Device, Tensor};

/// An LSTM cell with its parameters.
#[derive(Clone, Debug)]
pub struct Lstm {
    inputs: usize,
    hidden: usize,
    params: Params,
}

impl Lstm {
    /// Draws all parameters from U(−1/√hidden, 1/√hidden), as PyTorch does.
    ///
    /// # Errors
    /// If a size is zero or the device cannot hold the parameters.
    pub fn new(inputs: usize, hidden: usize, device: &Device, rng: &mut StreamRng) -> Result<Self> {
        if inputs == 0 || hidden == 0 {
            return Err(Error::config("lstm", "inputs, hidden", format!("{inputs}, {hidden}"), "positive"));
        }
        let mut layout = Layout::default();
        for (name, rows) in [("input", inputs), ("hidden", hidden)] {
            let weight = Init::FanInUniform.draw(hidden, 4 * rows, rng);
            layout.add(format!("{name}/weight"), &[rows, 4 * hidden], weight);
            let bias = Init::FanInUniform.draw(hidden, 4, rng);
            layout.add(format!("{name}/bias"), &[4 * hidden], bias);
        }
        Ok(Self { inputs, hidden, params: layout.build(DType::F32, device)? })
    }

    /// The parameters: `input/weight [inputs, 4 hidden]`, `input/bias`, `hidden/weight`, `hidden/bias`.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Width of the hidden state and of the cell state.
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

    /// `(x [B, inputs], h [B, hidden], c [B, hidden]) -> (h', c')`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn step(&self, x: &Tensor, h: &Tensor, c: &Tensor) -> Result<(Tensor, Tensor)> {
        let (rows, inputs) = x.dims2()?;
        let state = (rows, self.hidden);
        if inputs != self.inputs || h.dims2()? != state || c.dims2()? != state {
            let expected = format!("x [B, {}], h and c [B, {}]", self.inputs, self.hidden);
            let found = format!("{:?}, {:?} and {:?}", x.dims(), h.dims(), c.dims());
            return Err(Error::shape("Lstm::step", expected, found));
        }
        let from_input = x.matmul(&self.params.part(0)?)?.broadcast_add(&self.params.part(1)?)?;
        let from_hidden = h.matmul(&self.params.part(2)?)?.broadcast_add(&self.params.part(3)?)?;
        let all = (from_input + from_hidden)?;
        let gate = |index: usize| all.narrow(1, index * self.hidden, self.hidden)?.contiguous();
        let (i, f, o) = (sigmoid(&gate(0)?)?, sigmoid(&gate(1)?)?, sigmoid(&gate(3)?)?);
        let c = ((f * c)? + (i * gate(2)?.tanh()?)?)?;
        Ok(((o * c.tanh()?)?, c))
    }
}

impl Persist for Lstm {
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

    fn cell() -> Lstm {
        let mut rng = SeedStream::new(3).stream("init", 0);
        Lstm::new(3, 4, &Device::Cpu, &mut rng).unwrap().to_dtype(DType::F64).unwrap()
    }

    /// Two steps, so that gradients also flow through both states.
    fn twice(cell: &Lstm, x: &Tensor, h: &Tensor, c: &Tensor) -> Result<Tensor> {
        let (h, c) = cell.step(x, h, c)?;
        let (h, c) = cell.step(x, &h, &c)?;
        Ok(Tensor::cat(&[h, c], 1)?)
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let cell = cell();
        let (x, h, c) = (rows(3, 0.9), rows(4, 1.7), rows(4, 0.4));
        check_gradient(&numbers(6, 0.9), &[2, 3], |x| twice(&cell, x, &h, &c));
        check_gradient(&numbers(8, 1.7), &[2, 4], |h| twice(&cell, &x, h, &c));
        check_gradient(&numbers(8, 0.4), &[2, 4], |c| twice(&cell, &x, &h, c));
        let values = cell.params().to_vec::<f64>().unwrap();
        let loss = |values: &[f64]| -> Tensor {
            cell.params().set(values).unwrap();
            twice(&cell, &x, &h, &c).unwrap().sqr().unwrap().sum_all().unwrap()
        };
        let grads = loss(&values).backward().unwrap();
        let got = grads.get(cell.params().var()).unwrap().to_vec1::<f64>().unwrap();
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
        assert!(cell.step(&rows(2, 1.0), &rows(4, 1.0), &rows(4, 1.0)).is_err());
        assert!(cell.step(&rows(3, 1.0), &rows(4, 1.0), &rows(3, 1.0)).is_err());
        let mut rng = SeedStream::new(0).stream("init", 0);
        assert!(Lstm::new(0, 4, &Device::Cpu, &mut rng).is_err());
    }
}
