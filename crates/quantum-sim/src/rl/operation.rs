//! The batched engine as a tensor operation: ⟨O_o⟩ `[B, O]` of inputs `[B, I]` and parameters `[P]`, with gradients by
//! both (trainable input scalings are parameters of the circuit).
//!
//! Tensors are f64 or f32 on the CPU; the engine computes in f64. The gradient is the adjoint method's, exact.

use crate::batch::Batch;
use crate::circuit::Circuit;
use crate::error::{Error, Result};
use crate::pauli::PauliSum;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor};
use rl_core::nn::kernel::slice;
use std::sync::{Arc, Mutex};

/// A layer of a network that is a circuit.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use quantum_sim::{Activation, Circuit, rl::ExpectationLayer};
/// # fn main() -> quantum_sim::Result<()> {
/// let mut circuit = Circuit::new(1)?;
/// let theta = circuit.parameter("theta");
/// let x = circuit.encode(0, None, Activation::Linear);
/// circuit.rx(0, x)?.rx(0, theta)?;
/// let layer = ExpectationLayer::new(&circuit, vec!["Z0".parse()?])?;
/// let theta = Var::new(&[0.4f64], &Device::Cpu)?;
/// let x = Var::new(&[[0.3f64], [0.5]], &Device::Cpu)?;
/// let y = layer.forward(&x, &theta)?; // cos(x + θ), [2, 1]
/// let gradients = y.sum_all()?.backward()?;
/// let by_theta = gradients.get(&theta).expect("used").to_vec1::<f64>()?;
/// assert!((by_theta[0] + 0.7f64.sin() + 0.9f64.sin()).abs() < 1e-12);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ExpectationLayer {
    engine: Arc<Mutex<Batch>>,
}

impl ExpectationLayer {
    /// Compiles a circuit for the given observables.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn new(circuit: &Circuit, observables: Vec<PauliSum>) -> Result<Self> {
        Ok(Self { engine: Arc::new(Mutex::new(Batch::new(circuit, observables)?)) })
    }

    /// ⟨O_o⟩ `[B, O]` for `inputs` `[B, I]` and `parameters` `[P]` of the same type.
    ///
    /// # Errors
    /// When shapes or types do not fit.
    pub fn forward(&self, inputs: &Tensor, parameters: &Tensor) -> Result<Tensor> {
        let (_, width) = inputs.dims2()?;
        let expected = {
            let engine = lock(&self.engine)?;
            (engine.inputs(), engine.parameters())
        };
        if (width, parameters.elem_count()) != expected {
            let wanted = format!("inputs [B, {}] and {} parameters", expected.0, expected.1);
            let got = format!("{:?} and {:?}", inputs.dims(), parameters.dims());
            return Err(Error::shape("expectation layer", wanted, got));
        }
        let operation = Expectation { engine: Arc::clone(&self.engine) };
        Ok(inputs.contiguous()?.apply_op2(&parameters.contiguous()?, operation)?)
    }
}

fn lock(engine: &Mutex<Batch>) -> candle_core::Result<std::sync::MutexGuard<'_, Batch>> {
    match engine.lock() {
        Ok(engine) => Ok(engine),
        Err(_) => candle_core::bail!("the expectation layer failed in another thread; make a new one"),
    }
}

struct Expectation {
    engine: Arc<Mutex<Batch>>,
}

impl CustomOp2 for Expectation {
    fn name(&self) -> &'static str {
        "expectation"
    }

    fn cpu_fwd(
        &self,
        inputs: &CpuStorage,
        inputs_layout: &Layout,
        parameters: &CpuStorage,
        parameters_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, p) = (wide(inputs, inputs_layout)?, wide(parameters, parameters_layout)?);
        let mut engine = lock(&self.engine)?;
        let shape = (inputs_layout.dims()[0], engine.observables());
        let mut values = vec![0.0; shape.0 * shape.1];
        engine.forward(&p, &x, &mut values).map_err(candle_core::Error::wrap)?;
        let values = match inputs {
            CpuStorage::F32(_) => CpuStorage::F32(values.into_iter().map(|v| v as f32).collect()),
            _ => CpuStorage::F64(values),
        };
        Ok((values, shape.into()))
    }

    fn bwd(
        &self,
        inputs: &Tensor,
        parameters: &Tensor,
        values: &Tensor,
        by_value: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let numbers = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let (x, p, weights) = (numbers(inputs)?, numbers(parameters)?, numbers(by_value)?);
        let mut engine = lock(&self.engine)?;
        // Another forward pass may have used the engine since.
        if !engine.is_at(&p, &x) {
            engine.forward(&p, &x, &mut vec![0.0; values.elem_count()]).map_err(candle_core::Error::wrap)?;
        }
        let (mut by_parameter, mut by_input) = (vec![0.0; p.len()], vec![0.0; x.len()]);
        engine.backward(&weights, &mut by_parameter, &mut by_input).map_err(candle_core::Error::wrap)?;
        let like = |data: Vec<f64>, t: &Tensor| {
            Tensor::from_vec(data, t.shape(), t.device())?.to_dtype(t.dtype()).map(Some)
        };
        Ok((like(by_input, inputs)?, like(by_parameter, parameters)?))
    }
}

/// The elements in f64.
fn wide(storage: &CpuStorage, layout: &Layout) -> candle_core::Result<Vec<f64>> {
    match storage {
        CpuStorage::F32(_) => Ok(slice::<f32>(storage, layout)?.iter().map(|&v| f64::from(v)).collect()),
        _ => Ok(slice::<f64>(storage, layout)?.to_vec()),
    }
}
