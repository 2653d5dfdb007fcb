//! The state vector: 2ⁿ amplitudes in separate arrays of real and imaginary parts.
//!
//! Qubit q is bit q of the index: amplitude k belongs to |…b₂b₁b₀⟩ with b_q = (k >> q) & 1.

pub(crate) mod compile;
pub(crate) mod kernel;
mod measure;
pub(crate) mod observable;
pub(crate) mod plan;
pub(crate) mod tile;

pub use measure::{Counts, bit_string};
pub use plan::Plan;

use crate::circuit::{Circuit, Operation};
use crate::error::{Error, Result, same_length};
use crate::gate::C64;
use crate::pauli::PauliSum;
use kernel::Inlined;

/// The largest state: 2³⁰ amplitudes take 16 GiB.
pub const MAX_STATE_QUBITS: usize = 30;

/// A pure state of n qubits.
///
/// ```
/// # fn main() -> quantum_sim::Result<()> {
/// let mut circuit = quantum_sim::Circuit::new(2)?;
/// circuit.h(0)?.cx(0, 1)?;
/// let state = quantum_sim::StateVector::from_circuit(&circuit, &[], &[])?;
/// assert!((state.expectation(&"X0 X1".parse()?)? - 1.0).abs() < 1e-12);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StateVector {
    qubits: usize,
    /// Padded with zeros to at least eight numbers, see `kernel`.
    re: Vec<f64>,
    im: Vec<f64>,
}

impl StateVector {
    /// |0…0⟩
    ///
    /// # Errors
    /// When `qubits` is 0 or above [`MAX_STATE_QUBITS`].
    pub fn zero(qubits: usize) -> Result<Self> {
        if qubits == 0 || qubits > MAX_STATE_QUBITS {
            return Err(Error::shape("state vector", format!("1 to {MAX_STATE_QUBITS} qubits"), qubits));
        }
        let length = (1usize << qubits).max(kernel::LANES);
        let mut state = Self { qubits, re: vec![0.0; length], im: vec![0.0; length] };
        state.re[0] = 1.0;
        Ok(state)
    }

    /// The computational basis state |k⟩ (basis encoding).
    ///
    /// # Errors
    /// When k is not below 2ⁿ, or as [`StateVector::zero`].
    pub fn basis(qubits: usize, k: usize) -> Result<Self> {
        let mut state = Self::zero(qubits)?;
        if k >= state.dimension() {
            return Err(Error::Index { operation: "basis state", index: k, count: state.dimension() });
        }
        state.re[0] = 0.0;
        state.re[k] = 1.0;
        Ok(state)
    }

    /// Amplitude encoding: the given 2ⁿ amplitudes, which must have norm 1.
    ///
    /// # Errors
    /// When the length is no power of two above 1, or | ‖ψ‖² − 1 | > 1e-9.
    pub fn from_amplitudes(amplitudes: &[C64]) -> Result<Self> {
        if amplitudes.len() < 2 || !amplitudes.len().is_power_of_two() {
            return Err(Error::shape("amplitudes", "a power of two, 2 or more", amplitudes.len()));
        }
        let mut state = Self::zero(amplitudes.len().trailing_zeros() as usize)?;
        for (k, z) in amplitudes.iter().enumerate() {
            (state.re[k], state.im[k]) = (z.re, z.im);
        }
        let deviation = (state.norm_squared() - 1.0).abs();
        crate::error::at_most("amplitudes", "norm 1", deviation, 1e-9)?;
        Ok(state)
    }

    /// The state a circuit prepares from |0…0⟩; compile a [`Plan`] when it runs more than once.
    ///
    /// # Errors
    /// As [`Plan::new`] and [`Plan::run`].
    pub fn from_circuit(circuit: &Circuit, parameters: &[f64], inputs: &[f64]) -> Result<Self> {
        let mut state = Self::zero(circuit.qubits())?;
        Plan::new(circuit)?.run(parameters, inputs, &mut state)?;
        Ok(state)
    }

    /// Back to |0…0⟩.
    pub fn reset(&mut self) {
        self.re.fill(0.0);
        self.im.fill(0.0);
        self.re[0] = 1.0;
    }

    /// The number of qubits.
    pub fn qubits(&self) -> usize {
        self.qubits
    }

    /// 2ⁿ
    pub fn dimension(&self) -> usize {
        1 << self.qubits
    }

    /// Real and imaginary parts, 2ⁿ each.
    pub fn parts(&self) -> (&[f64], &[f64]) {
        (&self.re[..self.dimension()], &self.im[..self.dimension()])
    }

    pub(crate) fn padded(&self) -> (&[f64], &[f64]) {
        (&self.re, &self.im)
    }

    pub(crate) fn parts_mut(&mut self) -> (&mut [f64], &mut [f64]) {
        (&mut self.re, &mut self.im)
    }

    /// Amplitude k, or 0 beyond the end.
    pub fn amplitude(&self, k: usize) -> C64 {
        match (self.re.get(k), self.im.get(k)) {
            (Some(&re), Some(&im)) => C64::new(re, im),
            _ => C64::new(0.0, 0.0),
        }
    }

    /// All amplitudes.
    pub fn amplitudes(&self) -> Vec<C64> {
        let (re, im) = self.parts();
        re.iter().zip(im).map(|(&re, &im)| C64::new(re, im)).collect()
    }

    /// |ψ_k|²
    pub fn probabilities(&self) -> Vec<f64> {
        let (re, im) = self.parts();
        re.iter().zip(im).map(|(a, b)| a * a + b * b).collect()
    }

    /// ‖ψ‖²
    pub fn norm_squared(&self) -> f64 {
        self.re.iter().chain(&self.im).map(|a| a * a).sum()
    }

    /// Applies one gate; its angles must be numbers.
    ///
    /// # Errors
    /// As [`Circuit::push`].
    pub fn apply(&mut self, operation: &Operation) -> Result<()> {
        let mut circuit = Circuit::new(self.qubits)?;
        circuit.push(operation.gate.clone(), &operation.targets, &operation.controls)?;
        Plan::new(&circuit)?.apply(&[], &[], self)
    }

    /// ⟨self|other⟩
    ///
    /// # Errors
    /// When the numbers of qubits differ.
    pub fn inner(&self, other: &Self) -> Result<C64> {
        same_length("inner product", "qubits", self.qubits, other.qubits)?;
        let (mut re, mut im) = (0.0, 0.0);
        for k in 0..self.re.len() {
            let (a, b, c, d) = (self.re[k], self.im[k], other.re[k], other.im[k]);
            re += a * c + b * d;
            im += a * d - b * c;
        }
        Ok(C64::new(re, im))
    }

    /// |⟨self|other⟩|²
    ///
    /// # Errors
    /// When the numbers of qubits differ.
    pub fn fidelity(&self, other: &Self) -> Result<f64> {
        Ok(self.inner(other)?.norm_sqr())
    }

    /// ⟨ψ|O|ψ⟩ without building O.
    ///
    /// # Errors
    /// When O acts on more qubits than there are.
    pub fn expectation(&self, observable: &PauliSum) -> Result<f64> {
        self.check_observable(observable)?;
        let (re, im) = self.padded();
        Ok(pulp::Arch::new().dispatch(Inlined(
            #[inline(always)]
            || observable::sum_expectation(re, im, observable),
        )))
    }

    /// ⟨Z-string⟩ for all 2ⁿ masks z at once, by the Walsh–Hadamard transform of the probabilities (n 2ⁿ steps).
    pub fn z_expectations(&self) -> Vec<f64> {
        let mut p = self.probabilities();
        for q in 0..self.qubits {
            for block in p.chunks_exact_mut(2 << q) {
                let (low, high) = block.split_at_mut(1 << q);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
        }
        p
    }

    pub(crate) fn check_observable(&self, observable: &PauliSum) -> Result<()> {
        match observable.width() <= self.qubits {
            true => Ok(()),
            false => {
                Err(Error::shape("observable", format!("at most {} qubits", self.qubits), observable.width()))
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
