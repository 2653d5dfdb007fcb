//! The parameters of a module as one flat vector with named parts.
//!
//! One `Var` per module instead of two per layer: the optimiser is one loop, target networks are one copy, and a
//! checkpoint still holds every layer under its own name.

use super::kernel::{Real, with_slice};
use crate::experiment::{Persist, TrainState};
use crate::{Error, Result, StreamRng};
use candle_core::{DType, Device, Tensor, Var};

/// A named part of the flat vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Name, such as `layer0/weight`.
    pub name: String,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Position of the first element.
    pub offset: usize,
}

impl Part {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the part has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the part lies.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// Collects the parts of a module and their start values.
#[derive(Default)]
pub struct Layout {
    parts: Vec<Part>,
    values: Vec<f64>,
}

impl Layout {
    /// Adds a part; returns its offset.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f64>) -> usize {
        debug_assert_eq!(values.len(), shape.iter().product::<usize>());
        let offset = self.values.len();
        self.parts.push(Part { name: name.into(), shape: shape.to_vec(), offset });
        self.values.extend(values);
        offset
    }

    /// Adds a weight `[inputs, outputs]` and a zero bias `[outputs]` (drawn like the weight for
    /// [`Init::FanInUniform`](super::Init::FanInUniform), as PyTorch does); returns both offsets.
    pub fn add_linear(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        init: super::Init,
        rng: &mut StreamRng,
    ) -> (usize, usize) {
        let weight = self.add(format!("{name}/weight"), &[inputs, outputs], init.draw(inputs, outputs, rng));
        let bias = match init {
            super::Init::FanInUniform => init.draw(inputs, outputs, rng).into_iter().take(outputs).collect(),
            _ => vec![0.0; outputs],
        };
        (weight, self.add(format!("{name}/bias"), &[outputs], bias))
    }

    /// Makes the trainable parameters.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn build(self, dtype: DType, device: &Device) -> Result<Params> {
        let n = self.values.len();
        let tensor = Tensor::from_vec(self.values, n, device)?.to_dtype(dtype)?;
        Ok(Params { var: Var::from_tensor(&tensor)?, parts: self.parts })
    }
}

/// The trainable parameters of one module: a flat `Var` and the names of its parts.
#[derive(Clone, Debug)]
pub struct Params {
    var: Var,
    parts: Vec<Part>,
}

impl Params {
    /// The flat variable, `[n]`.
    pub fn var(&self) -> &Var {
        &self.var
    }

    /// The flat variable as a tensor that tracks gradients.
    pub fn tensor(&self) -> &Tensor {
        self.var.as_tensor()
    }

    /// The named parts, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.var.elem_count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One part as a tensor `shape`, tracking gradients: for devices without fused kernels.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn part(&self, index: usize) -> Result<Tensor> {
        let part = &self.parts[index];
        Ok(self.tensor().narrow(0, part.offset, part.len())?.reshape(part.shape.as_slice())?)
    }

    /// All values, copied to the host.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn to_vec<R: Real>(&self) -> Result<Vec<R>> {
        Ok(self.tensor().to_vec1::<R>()?)
    }

    /// Runs `f` on the values; without a copy on the CPU.
    ///
    /// # Errors
    /// If the tensor library or `f` fails.
    pub fn with<R: Real, T>(&self, f: impl FnOnce(&[R]) -> candle_core::Result<T>) -> Result<T> {
        if self.var.device().is_cpu() {
            return Ok(with_slice(self.tensor(), f)?);
        }
        Ok(f(&self.to_vec::<R>()?)?)
    }

    /// Overwrites all values.
    ///
    /// # Errors
    /// If the number of values differs.
    pub fn set<R: Real>(&self, values: &[R]) -> Result<()> {
        if values.len() != self.len() {
            return Err(Error::shape("Params::set", format!("{} values", self.len()), values.len()));
        }
        let tensor = Tensor::from_slice(values, values.len(), self.var.device())?;
        Ok(self.var.set(&tensor.to_dtype(self.var.dtype())?)?)
    }

    /// An independent copy with the same values: a target network's parameters.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn duplicate(&self) -> Result<Self> {
        Ok(Self { var: Var::from_tensor(&self.var.copy()?)?, parts: self.parts.clone() })
    }

    /// An independent copy in another precision, for gradient checks.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let tensor = self.tensor().detach().to_dtype(dtype)?.copy()?;
        Ok(Self { var: Var::from_tensor(&tensor)?, parts: self.parts.clone() })
    }
}

impl Persist for Params {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let values = self.to_vec::<f32>()?;
        for part in &self.parts {
            state.put_array(format!("{prefix}/{}", part.name), &part.shape, &values[part.range()]);
        }
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let mut values = vec![0f32; self.len()];
        for part in &self.parts {
            let array = state.array::<f32>(&format!("{prefix}/{}", part.name), &part.shape)?;
            values[part.range()].copy_from_slice(array);
        }
        self.set(&values)
    }
}
