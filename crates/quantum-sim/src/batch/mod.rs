//! Many inputs through one small circuit at once: the inner loop of reinforcement learning.
//!
//! Eight inputs form a block whose innermost index is the input, so that every gate is a vector operation and no
//! qubit is special. Each run of single-qubit gates, encoded inputs included, is one unit quaternion per input; each
//! layer stores its outcome, so that the backward pass only has to take gates off λ; and the overlaps
//! (Im⟨λ|X|ψ⟩, Im⟨λ|Y|ψ⟩, Im⟨λ|Z|ψ⟩) of a qubit hold the derivatives of all angles of its run. All observables share
//! one backward pass (a vector–Jacobian product).
//!
//! ```
//! use quantum_sim::{Activation, Batch, Circuit};
//! # fn main() -> quantum_sim::Result<()> {
//! let mut circuit = Circuit::new(2)?;
//! let (theta, weight) = (circuit.parameter("theta"), circuit.parameter("weight"));
//! let x = circuit.encode(0, Some(weight), Activation::Tanh);
//! circuit.ry(0, x)?.ry(1, theta)?.cx(0, 1)?;
//! let mut batch = Batch::new(&circuit, vec!["Z0".parse()?, "Z1".parse()?])?;
//! let (parameters, inputs) = ([0.3, 1.0], [0.1, -0.4, 2.0]); // three inputs of length 1
//! let mut values = [0.0; 6]; // [3, 2]
//! batch.forward(&parameters, &inputs, &mut values)?;
//! let (mut by_parameter, mut by_input) = ([0.0; 2], [0.0; 3]);
//! batch.backward(&[1.0; 6], &mut by_parameter, &mut by_input)?;
//! # Ok(()) }
//! ```

mod compile;
mod engine;
mod kernel;
mod lane_math;
mod observables;
mod uniform;

pub use compile::MAX_BATCH_QUBITS;

use crate::circuit::Circuit;
use crate::error::{Result, same_length};
use crate::pauli::PauliSum;
use crate::state_vector::StateVector;
use crate::state_vector::kernel::{Inlined, LANES};
use compile::Program;
use engine::Workspace;
use observables::Observables;
use rayon::prelude::*;
use uniform::Uniform;

/// Blocks that one task works through; a fixed division, so that the sums do not depend on the number of threads.
const BLOCKS_PER_TASK: usize = 8;
/// Tasks are shared out to threads from this many amplitudes on, summed over all inputs.
const PARALLEL: usize = 1 << 14;
/// States are kept for the backward pass up to this many doubles in total, and recomputed beyond.
const KEPT: usize = 1 << 23;

/// The batched engine of one circuit: ⟨O_o⟩ for many inputs, and the vector–Jacobian product.
#[derive(Clone, Debug)]
pub struct Batch {
    program: Program,
    observables: Observables,
    uniform: Uniform,
    tasks: Vec<Workspace>,
    parameters: Vec<f64>,
    inputs: Vec<f64>,
    batch: usize,
    arch: pulp::Arch,
}

impl Batch {
    /// Compiles a circuit for the given observables.
    ///
    /// # Errors
    /// When the circuit is not unitary, has more than [`MAX_BATCH_QUBITS`] qubits, or an observable acts outside it.
    pub fn new(circuit: &Circuit, observables: Vec<PauliSum>) -> Result<Self> {
        let program = Program::new(circuit)?;
        let state = StateVector::zero(circuit.qubits())?;
        observables.iter().try_for_each(|o| state.check_observable(o))?;
        Ok(Self {
            observables: Observables::new(&observables, program.qubits),
            uniform: Uniform::new(&program),
            program,
            tasks: vec![],
            parameters: vec![],
            inputs: vec![],
            batch: 0,
            arch: pulp::Arch::new(),
        })
    }

    /// The number of observables.
    pub fn observables(&self) -> usize {
        self.observables.len()
    }

    /// The number of inputs per sample.
    pub fn inputs(&self) -> usize {
        self.program.inputs
    }

    /// The number of parameters.
    pub fn parameters(&self) -> usize {
        self.program.parameters
    }

    /// values `[B, O]` ← ⟨O_o⟩ for `inputs` `[B, I]`. B follows from the length of `values`.
    ///
    /// # Errors
    /// When a length does not fit.
    pub fn forward(&mut self, parameters: &[f64], inputs: &[f64], values: &mut [f64]) -> Result<()> {
        let width = self.observables.len();
        let batch = values.len() / width.max(1);
        same_length("batch forward", "parameters", self.program.parameters, parameters.len())?;
        same_length("batch forward", "values, a multiple of the observables", batch * width, values.len())?;
        same_length("batch forward", "inputs [B, I]", batch * self.program.inputs, inputs.len())?;
        self.batch = batch;
        self.parameters.clear();
        self.parameters.extend_from_slice(parameters);
        self.inputs.clear();
        self.inputs.extend_from_slice(inputs);
        self.uniform.bind(&self.program, parameters);
        let blocks = batch.div_ceil(LANES);
        let tasks = blocks.div_ceil(BLOCKS_PER_TASK);
        let kept = blocks * Workspace::block_size(&self.program) <= KEPT;
        self.tasks.truncate(tasks);
        self.tasks.resize_with(tasks, Workspace::default);
        let Self { program, observables, uniform, tasks, inputs, arch, .. } = self;
        let chunk = BLOCKS_PER_TASK * LANES;
        let work = |task: usize, workspace: &mut Workspace, values: &mut [f64]| {
            let samples = values.len() / width.max(1);
            let inputs = &inputs[task * chunk * program.inputs..][..samples * program.inputs];
            workspace.prepare(program, samples.div_ceil(LANES), kept);
            arch.dispatch(Inlined(
                #[inline(always)]
                || workspace.forward(program, uniform, observables, parameters, inputs, values),
            ));
        };
        if tasks.len() > 1 && batch << program.qubits >= PARALLEL {
            let pieces = tasks.par_iter_mut().zip(values.par_chunks_mut(chunk * width.max(1)));
            pieces.enumerate().for_each(|(k, (workspace, values))| work(k, workspace, values));
        } else {
            let pieces = tasks.iter_mut().zip(values.chunks_mut(chunk * width.max(1)));
            pieces.enumerate().for_each(|(k, (workspace, values))| work(k, workspace, values));
        }
        Ok(())
    }

    /// Whether the last [`Batch::forward`] was at these parameters and inputs, so that a backward pass may follow.
    pub fn is_at(&self, parameters: &[f64], inputs: &[f64]) -> bool {
        self.parameters == parameters && self.inputs == inputs
    }

    /// The gradient of Σ_{b,o} `weights[b, o]` ⟨O_o⟩_b at the last [`Batch::forward`]: overwrites `by_parameter` `[P]` and
    /// `by_input` `[B, I]`.
    ///
    /// # Errors
    /// When a length does not fit.
    pub fn backward(
        &mut self,
        weights: &[f64],
        by_parameter: &mut [f64],
        by_input: &mut [f64],
    ) -> Result<()> {
        let (width, i) = (self.observables.len(), self.program.inputs);
        same_length("batch backward", "weights [B, O]", self.batch * width, weights.len())?;
        same_length("batch backward", "parameter gradients", self.program.parameters, by_parameter.len())?;
        same_length("batch backward", "input gradients [B, I]", self.batch * i, by_input.len())?;
        by_parameter.fill(0.0);
        by_input.fill(0.0);
        let Self { program, observables, uniform, tasks, inputs, parameters, arch, .. } = self;
        let chunk = BLOCKS_PER_TASK * LANES;
        let work = |task: usize, workspace: &mut Workspace, by_input: &mut [f64]| {
            let first = task * chunk;
            let samples = (weights.len() / width.max(1) - first).min(chunk);
            let inputs = &inputs[first * i..][..samples * i];
            let weights = &weights[first * width..][..samples * width];
            arch.dispatch(Inlined(
                #[inline(always)]
                || workspace.backward(program, uniform, observables, parameters, inputs, weights, by_input),
            ));
        };
        if i == 0 {
            tasks.iter_mut().enumerate().for_each(|(k, workspace)| work(k, workspace, &mut []));
        } else if tasks.len() > 1 && self.batch << program.qubits >= PARALLEL {
            let pieces = tasks.par_iter_mut().zip(by_input.par_chunks_mut(chunk * i));
            pieces.enumerate().for_each(|(k, (workspace, by_input))| work(k, workspace, by_input));
        } else {
            let pieces = tasks.iter_mut().zip(by_input.chunks_mut(chunk * i));
            pieces.enumerate().for_each(|(k, (workspace, by_input))| work(k, workspace, by_input));
        }
        uniform.gradient(program, tasks, by_parameter);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
