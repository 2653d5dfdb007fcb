//! Measurement: shots, partial measurement, reduced states, entropy.

use super::StateVector;
use crate::circuit::{Circuit, Instruction};
use crate::error::{Error, Result};
use crate::gate::C64;
use crate::pauli::{PauliString, PauliSum};
use crate::{Plan, noise};
use nalgebra::DMatrix;
use rand::{Rng, RngExt};
use std::collections::BTreeMap;

/// How often each outcome was seen; an outcome is a number with bit q for qubit (or classical bit) q.
pub type Counts = BTreeMap<usize, u64>;

/// The outcome as text, the highest bit on the left: `bit_string(2, 3)` is `010`.
pub fn bit_string(outcome: usize, width: usize) -> String {
    (0..width).rev().map(|q| if outcome >> q & 1 == 1 { '1' } else { '0' }).collect()
}

impl StateVector {
    /// Measures all qubits `shots` times on copies of the state.
    ///
    /// Inverts the cumulative distribution at sorted uniforms: O(2ⁿ + s log s).
    pub fn sample(&self, shots: u64, rng: &mut impl Rng) -> Counts {
        sample_distribution(&self.probabilities(), shots, rng)
    }

    /// P(qubit = 1)
    ///
    /// # Errors
    /// When the qubit does not exist.
    pub fn probability_one(&self, qubit: usize) -> Result<f64> {
        self.check_qubit("probability", qubit)?;
        let (re, im) = self.parts();
        let ones = (0..self.dimension()).filter(|k| k >> qubit & 1 == 1);
        Ok(ones.map(|k| re[k] * re[k] + im[k] * im[k]).sum())
    }

    /// Measures one qubit and collapses the state.
    ///
    /// # Errors
    /// When the qubit does not exist.
    pub fn measure(&mut self, qubit: usize, rng: &mut impl Rng) -> Result<bool> {
        let one = self.probability_one(qubit)?;
        let outcome = rng.random::<f64>() < one;
        self.project(qubit, outcome)?;
        Ok(outcome)
    }

    /// Projects a qubit onto an outcome, renormalises, and returns the outcome's probability.
    ///
    /// # Errors
    /// When the qubit does not exist or the outcome has probability 0.
    pub fn project(&mut self, qubit: usize, outcome: bool) -> Result<f64> {
        let one = self.probability_one(qubit)?;
        let probability = if outcome { one } else { self.norm_squared() - one };
        if probability <= 0.0 || probability.is_nan() {
            let what = "probability of the outcome";
            return Err(Error::Range { operation: "project", what, value: probability, allowed: "> 0" });
        }
        let scale = probability.sqrt().recip();
        let (re, im) = self.parts_mut();
        for (k, (re, im)) in re.iter_mut().zip(im).enumerate() {
            let factor = if (k >> qubit & 1 == 1) == outcome { scale } else { 0.0 };
            (*re, *im) = (*re * factor, *im * factor);
        }
        Ok(probability)
    }

    /// Measures one qubit and flips it to |0⟩.
    ///
    /// # Errors
    /// When the qubit does not exist.
    pub fn reset_qubit(&mut self, qubit: usize, rng: &mut impl Rng) -> Result<()> {
        if self.measure(qubit, rng)? {
            let (re, im) = self.parts_mut();
            super::kernel::multi_controlled_x(re, im, 0, qubit);
        }
        Ok(())
    }

    /// The reduced density matrix Tr_rest |ψ⟩⟨ψ|; `qubits[0]` is bit 0 of its index.
    ///
    /// # Errors
    /// When a qubit does not exist or repeats, or there are more than 12.
    pub fn reduced(&self, qubits: &[usize]) -> Result<DMatrix<C64>> {
        for (i, &qubit) in qubits.iter().enumerate() {
            self.check_qubit("reduced state", qubit)?;
            if qubits[..i].contains(&qubit) {
                return Err(Error::Repeated { operation: "reduced state", qubit });
            }
        }
        if qubits.len() > 12 {
            return Err(Error::shape("reduced state", "at most 12 qubits", qubits.len()));
        }
        let mut ascending = qubits.to_vec();
        ascending.sort_unstable();
        let dimension = 1 << qubits.len();
        let spread: Vec<usize> = (0..dimension)
            .map(|k| qubits.iter().enumerate().fold(0, |m, (j, &q)| m | (k >> j & 1) << q))
            .collect();
        let mut rho = DMatrix::zeros(dimension, dimension);
        for rest in 0..self.dimension() >> qubits.len() {
            let base = super::kernel::insert_zeros(rest, &ascending);
            let part: Vec<C64> = spread.iter().map(|&k| self.amplitude(base | k)).collect();
            for (i, a) in part.iter().enumerate() {
                for (j, b) in part.iter().enumerate() {
                    rho[(i, j)] += a * b.conj();
                }
            }
        }
        Ok(rho)
    }

    /// The entanglement entropy S = −Tr ρ log₂ ρ of a subset with the rest, in bits.
    ///
    /// # Errors
    /// As [`StateVector::reduced`].
    pub fn entanglement_entropy(&self, qubits: &[usize]) -> Result<f64> {
        // Both sides have the same spectrum: diagonalise the smaller one.
        let others: Vec<usize> = (0..self.qubits()).filter(|q| !qubits.contains(q)).collect();
        let smaller = if others.len() < qubits.len() { &others } else { qubits };
        if smaller.is_empty() {
            return Ok(0.0);
        }
        let rho = self.reduced(smaller)?;
        let spectrum = rho.symmetric_eigenvalues();
        Ok(spectrum.iter().filter(|&&p| p > 1e-15).map(|p| -p * p.log2()).sum())
    }

    /// Estimates ⟨O⟩ from `shots` shots per group of qubit-wise commuting terms; returns mean and standard error.
    ///
    /// Each group rotates X to Z by H and Y to Z by H S†. The error of a single string is √((1 − ⟨P⟩²)/s).
    ///
    /// # Errors
    /// When O acts on more qubits than there are, or `shots` is 0.
    pub fn estimate(&self, observable: &PauliSum, shots: u64, rng: &mut impl Rng) -> Result<(f64, f64)> {
        self.check_observable(observable)?;
        if shots == 0 {
            return Err(Error::shape("estimate", "at least 1 shot", shots));
        }
        let (mut mean, mut variance) = (0.0, 0.0);
        for group in observable.qubit_wise_commuting_groups() {
            let counts = self.rotated(&group)?.sample(shots, rng);
            let value = |outcome: usize| -> f64 {
                let sign = |p: &PauliString| super::kernel::parity_sign(outcome, (p.x | p.z) as usize);
                group.iter().map(|(c, p)| c * sign(p)).sum()
            };
            let s = shots as f64;
            let first: f64 = counts.iter().map(|(&k, &c)| value(k) * c as f64).sum::<f64>() / s;
            let second: f64 = counts.iter().map(|(&k, &c)| value(k).powi(2) * c as f64).sum::<f64>() / s;
            mean += first;
            variance += (second - first * first).max(0.0) / s;
        }
        Ok((mean, variance.sqrt()))
    }

    /// A copy in the basis where every string of the group is diagonal.
    fn rotated(&self, group: &[(f64, PauliString)]) -> Result<Self> {
        let mut circuit = Circuit::new(self.qubits())?;
        for qubit in 0..self.qubits() {
            match group.iter().find_map(|(_, p)| p.get(qubit)) {
                Some(crate::Pauli::X) => drop(circuit.h(qubit)?),
                Some(crate::Pauli::Y) => drop(circuit.sdg(qubit)?.h(qubit)?),
                _ => {}
            }
        }
        let mut state = self.clone();
        Plan::new(&circuit)?.apply(&[], &[], &mut state)?;
        Ok(state)
    }

    fn check_qubit(&self, operation: &'static str, qubit: usize) -> Result<()> {
        match qubit < self.qubits() {
            true => Ok(()),
            false => Err(Error::Index { operation, index: qubit, count: self.qubits() }),
        }
    }
}

/// Draws `shots` outcomes from (possibly slightly unnormalised) probabilities.
pub(crate) fn sample_distribution(probabilities: &[f64], shots: u64, rng: &mut impl Rng) -> Counts {
    let total: f64 = probabilities.iter().sum();
    let mut uniforms: Vec<f64> = (0..shots).map(|_| rng.random::<f64>() * total).collect();
    uniforms.sort_unstable_by(f64::total_cmp);
    let mut counts = Counts::new();
    // Rounding can leave the last cumulative sum below the largest uniform: the last possible outcome takes it.
    let last = probabilities.iter().rposition(|&p| p > 0.0).unwrap_or(0);
    let (mut outcome, mut cumulative) = (0, probabilities.first().copied().unwrap_or(0.0));
    for u in uniforms {
        while outcome < last && u >= cumulative {
            outcome += 1;
            cumulative += probabilities[outcome];
        }
        *counts.entry(outcome).or_default() += 1;
    }
    counts
}

impl Circuit {
    /// Runs a circuit with measurements, resets, conditions and noise (as quantum trajectories), once per shot, and
    /// counts the classical bits. A circuit without classical bits counts all its qubits at the end.
    ///
    /// # Errors
    /// When the lengths are wrong, or there are more than 63 classical bits or more qubits than a state can hold.
    pub fn simulate(
        &self,
        parameters: &[f64],
        inputs: &[f64],
        shots: u64,
        rng: &mut impl Rng,
    ) -> Result<Counts> {
        let bound = self.bind(parameters, inputs)?;
        if self.bits() > 63 {
            return Err(Error::shape("simulate", "at most 63 classical bits", self.bits()));
        }
        let unitary = bound.without_final_measurements();
        if unitary.operations().is_ok() {
            return bound.sample_once(&unitary, shots, rng);
        }
        let mut counts = Counts::new();
        for _ in 0..shots {
            let (state, bits) = bound.trajectory(rng)?;
            let outcome = if self.bits() > 0 {
                bits as usize
            } else {
                state.sample(1, rng).into_keys().next().unwrap_or(0)
            };
            *counts.entry(outcome).or_default() += 1;
        }
        Ok(counts)
    }

    /// All measurements come last: one run and many samples.
    fn sample_once(&self, unitary: &Circuit, shots: u64, rng: &mut impl Rng) -> Result<Counts> {
        let counts = StateVector::from_circuit(unitary, &[], &[])?.sample(shots, rng);
        if self.bits() == 0 {
            return Ok(counts);
        }
        let mut by_bits = Counts::new();
        for (outcome, count) in counts {
            let mut bits = 0;
            for instruction in self.instructions() {
                if let Instruction::Measure { qubit, bit } = *instruction {
                    bits = bits & !(1 << bit) | (outcome >> qubit & 1) << bit;
                }
            }
            *by_bits.entry(bits).or_default() += count;
        }
        Ok(by_bits)
    }

    /// One run of a circuit whose angles are numbers: the final state and the classical bits.
    pub(crate) fn trajectory(&self, rng: &mut impl Rng) -> Result<(StateVector, u64)> {
        let mut state = StateVector::zero(self.qubits())?;
        let mut bits = 0u64;
        for instruction in self.instructions() {
            match instruction {
                Instruction::Gate(operation) => state.apply(operation)?,
                Instruction::Measure { qubit, bit } => {
                    let one = u64::from(state.measure(*qubit, rng)?);
                    bits = bits & !(1 << bit) | one << bit;
                }
                Instruction::Reset(qubit) => state.reset_qubit(*qubit, rng)?,
                Instruction::If { first, length, value, then } => {
                    if bits >> first & ((1 << length) - 1) == *value {
                        state.apply(then)?;
                    }
                }
                Instruction::Noise { channel, qubits } => {
                    noise::apply_trajectory(&mut state, channel, qubits, rng)?;
                }
                Instruction::Barrier(_) => {}
            }
        }
        Ok((state, bits))
    }
}
