//! The density matrix: exact noisy evolution, as a state vector of twice as many qubits.
//!
//! ρ_ij is stored at index i + j 2ⁿ, so that ρ ↦ UρU† is U on the row qubits and conj(U) on the column qubits n higher:
//! every state-vector kernel serves here too. A single-qubit channel is one 4×4 matrix Σ K ⊗ conj(K) on a row and its
//! column qubit.

use crate::Plan;
use crate::circuit::{Circuit, Instruction, Operation};
use crate::error::{Error, Result, same_length};
use crate::gate::{Angle, C64, Gate, Matrix2, Matrix4, Pauli};
use crate::noise::{Channel, Kraus, flat4};
use crate::pauli::PauliSum;
use crate::state_vector::{StateVector, kernel};

/// The largest density matrix: 4¹³ elements take 1 GiB.
pub const MAX_DENSITY_QUBITS: usize = 13;

/// A mixed state of n qubits.
///
/// ```
/// use quantum_sim::{Channel, Circuit, DensityMatrix};
/// # fn main() -> quantum_sim::Result<()> {
/// let mut circuit = Circuit::new(1)?;
/// circuit.x(0)?.noise(Channel::AmplitudeDamping(0.25), &[0])?;
/// let rho = DensityMatrix::from_circuit(&circuit, &[], &[])?;
/// assert!((rho.expectation(&"Z0".parse()?)? + 0.5).abs() < 1e-12);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DensityMatrix {
    qubits: usize,
    vector: StateVector,
}

impl DensityMatrix {
    /// |0…0⟩⟨0…0|
    ///
    /// # Errors
    /// When `qubits` is 0 or above [`MAX_DENSITY_QUBITS`].
    pub fn zero(qubits: usize) -> Result<Self> {
        if qubits == 0 || qubits > MAX_DENSITY_QUBITS {
            return Err(Error::shape("density matrix", format!("1 to {MAX_DENSITY_QUBITS} qubits"), qubits));
        }
        Ok(Self { qubits, vector: StateVector::zero(2 * qubits)? })
    }

    /// |ψ⟩⟨ψ|
    ///
    /// # Errors
    /// When ψ has more than [`MAX_DENSITY_QUBITS`] qubits.
    pub fn pure(psi: &StateVector) -> Result<Self> {
        let mut rho = Self::zero(psi.qubits())?;
        let (d, n) = (psi.dimension(), psi.qubits());
        let (re, im) = rho.vector.parts_mut();
        for j in 0..d {
            for i in 0..d {
                let z = psi.amplitude(i) * psi.amplitude(j).conj();
                (re[i | j << n], im[i | j << n]) = (z.re, z.im);
            }
        }
        Ok(rho)
    }

    /// Evolves |0…0⟩ through a circuit with or without noise; measurements and resets in it act without being read,
    /// that is as dephasing and as reset channels.
    ///
    /// # Errors
    /// When the lengths are wrong, the circuit is too wide, or it has classical conditions.
    pub fn from_circuit(circuit: &Circuit, parameters: &[f64], inputs: &[f64]) -> Result<Self> {
        let bound = circuit.bind(parameters, inputs)?;
        let mut rho = Self::zero(circuit.qubits())?;
        for instruction in bound.instructions() {
            match instruction {
                Instruction::Gate(operation) => rho.apply(operation)?,
                Instruction::Noise { channel, qubits } => rho.apply_channel(channel, qubits)?,
                Instruction::Measure { qubit, .. } => {
                    rho.apply_channel(&Channel::PhaseFlip(0.5), &[*qubit])?
                }
                Instruction::Reset(qubit) => rho.apply_channel(&Channel::AmplitudeDamping(1.0), &[*qubit])?,
                Instruction::Barrier(_) => {}
                Instruction::If { .. } => {
                    let reason = "a density matrix has no classical bits; use `simulate`";
                    return Err(Error::unsupported("density matrix", reason));
                }
            }
        }
        Ok(rho)
    }

    /// The number of qubits.
    pub fn qubits(&self) -> usize {
        self.qubits
    }

    /// ρ_ij, or 0 outside.
    pub fn element(&self, i: usize, j: usize) -> C64 {
        let d = 1usize << self.qubits;
        if i < d && j < d { self.vector.amplitude(i | j << self.qubits) } else { C64::new(0.0, 0.0) }
    }

    /// ρ ← U ρ U†; angles must be numbers.
    ///
    /// # Errors
    /// As [`Circuit::push`].
    pub fn apply(&mut self, operation: &Operation) -> Result<()> {
        let Operation { gate, targets, controls } = operation;
        let n = self.qubits;
        if let Some(&index) = targets.iter().chain(controls).find(|&&q| q >= n) {
            return Err(Error::Index { operation: "density matrix", index, count: n });
        }
        let up = |list: &[usize]| list.iter().map(|q| q + n).collect::<Vec<_>>();
        let mut circuit = Circuit::new(2 * n)?;
        circuit.push(gate.clone(), targets, controls)?;
        circuit.push(conjugate(gate), &up(targets), &up(controls))?;
        Plan::new(&circuit)?.apply(&[], &[], &mut self.vector)
    }

    /// ρ ← Σ K ρ K†
    ///
    /// # Errors
    /// When the channel is invalid, or a qubit does not exist or repeats.
    pub fn apply_channel(&mut self, channel: &Channel, qubits: &[usize]) -> Result<()> {
        channel.check()?;
        same_length("channel", "qubits", channel.arity(), qubits.len())?;
        let n = self.qubits;
        if let Some(&index) = qubits.iter().find(|&&q| q >= n) {
            return Err(Error::Index { operation: "channel", index, count: n });
        }
        if qubits.len() == 2 && qubits[0] == qubits[1] {
            return Err(Error::Repeated { operation: "channel", qubit: qubits[0] });
        }
        match channel.kraus() {
            Kraus::One(operators) => {
                let mut whole: Matrix4 = [[C64::new(0.0, 0.0); 4]; 4];
                for k in &operators {
                    let term = crate::gate::kronecker(k, &conjugate2(k));
                    for (row, add) in whole.iter_mut().zip(term) {
                        row.iter_mut().zip(add).for_each(|(a, b)| *a += b);
                    }
                }
                let (re, im) = self.vector.parts_mut();
                kernel::two(re, im, 0, (qubits[0], qubits[0] + n), &flat4(&whole));
            }
            Kraus::Two(operators) => {
                let before = self.vector.clone();
                let (re, im) = self.vector.parts_mut();
                re.fill(0.0);
                im.fill(0.0);
                for k in &operators {
                    let mut term = before.clone();
                    let (x, y) = term.parts_mut();
                    let conjugated = k.map(|row| row.map(|z| z.conj()));
                    kernel::two(x, y, 0, (qubits[0], qubits[1]), &flat4(k));
                    kernel::two(x, y, 0, (qubits[0] + n, qubits[1] + n), &flat4(&conjugated));
                    re.iter_mut().zip(x).for_each(|(a, b)| *a += *b);
                    im.iter_mut().zip(y).for_each(|(a, b)| *a += *b);
                }
            }
        }
        Ok(())
    }

    /// Tr(O ρ)
    ///
    /// # Errors
    /// When O acts on more qubits than there are.
    pub fn expectation(&self, observable: &PauliSum) -> Result<f64> {
        if observable.width() > self.qubits {
            return Err(Error::shape(
                "observable",
                format!("at most {} qubits", self.qubits),
                observable.width(),
            ));
        }
        let mut sum = 0.0;
        for (coefficient, p) in observable.terms() {
            let unit = C64::new(0.0, 1.0).powu(p.i_power());
            // Tr(Pρ) = Σ_k ⟨k|ρP|k⟩
            let trace: C64 = (0..1usize << self.qubits)
                .map(|k| unit * kernel::parity_sign(k, p.z as usize) * self.element(k, k ^ p.x as usize))
                .sum();
            sum += coefficient * trace.re;
        }
        Ok(sum)
    }

    /// Tr ρ
    pub fn trace(&self) -> f64 {
        self.probabilities().iter().sum()
    }

    /// Tr ρ², 1 for pure states and 2⁻ⁿ for the maximally mixed one.
    pub fn purity(&self) -> f64 {
        self.vector.norm_squared()
    }

    /// ρ_kk
    pub fn probabilities(&self) -> Vec<f64> {
        (0..1usize << self.qubits).map(|k| self.element(k, k).re).collect()
    }

    /// ⟨ψ|ρ|ψ⟩
    ///
    /// # Errors
    /// When the numbers of qubits differ.
    pub fn fidelity(&self, psi: &StateVector) -> Result<f64> {
        same_length("fidelity", "qubits", self.qubits, psi.qubits())?;
        let d = psi.dimension();
        let mut sum = C64::new(0.0, 0.0);
        for j in 0..d {
            for i in 0..d {
                sum += psi.amplitude(i).conj() * self.element(i, j) * psi.amplitude(j);
            }
        }
        Ok(sum.re)
    }
}

fn conjugate2(m: &Matrix2) -> Matrix2 {
    m.map(|row| row.map(|z| z.conj()))
}

/// The gate whose matrix is the complex conjugate.
fn conjugate(gate: &Gate) -> Gate {
    match gate {
        Gate::Y | Gate::I | Gate::X | Gate::Z | Gate::H | Gate::Swap | Gate::Ry(_) => match gate {
            // conj(Y) = −Y, which matters once controlled.
            Gate::Y => Gate::Unitary1(Box::new(conjugate2(&Pauli::Y.matrix()))),
            same => same.clone(),
        },
        Gate::U(theta, phi, lambda) => Gate::U(*theta, -*phi, -*lambda),
        Gate::PauliRotation(paulis, angle) => {
            // conj(exp(−iθP/2)) = exp(iθ conj(P)/2), conj(P) = (−1)^{#Y} P
            let odd = paulis.iter().filter(|p| **p == Pauli::Y).count() % 2 == 1;
            let angle: Angle = if odd { *angle } else { -*angle };
            Gate::PauliRotation(paulis.clone(), angle)
        }
        Gate::Unitary1(m) => Gate::Unitary1(Box::new(conjugate2(m))),
        Gate::Unitary2(m) => Gate::Unitary2(Box::new(m.map(|row| row.map(|z| z.conj())))),
        // Symmetric matrices: the conjugate is the inverse.
        other => other.inverse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoiseModel;
    use crate::state_vector::tests::{random_circuit, random_operation, random_state};
    use rand::SeedableRng;
    use rl_core::StreamRng;

    #[test]
    fn pure_evolution_agrees_with_the_state_vector() {
        let mut rng = StreamRng::seed_from_u64(1);
        for case in 0..80 {
            let qubits = 1 + case % 4;
            let mut psi = random_state(qubits, &mut rng);
            let mut rho = DensityMatrix::pure(&psi).unwrap();
            for _ in 0..6 {
                let operation = random_operation(qubits, &mut rng);
                psi.apply(&operation).unwrap();
                rho.apply(&operation).unwrap();
            }
            assert!((rho.fidelity(&psi).unwrap() - 1.0).abs() < 1e-12);
            assert!((rho.purity() - 1.0).abs() < 1e-12 && (rho.trace() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn relaxation_has_its_two_times() {
        let mut circuit = Circuit::new(1).unwrap();
        let channel = Channel::ThermalRelaxation { t1: 50.0, t2: 70.0, time: 12.0 };
        circuit.ry(0, 1.1).unwrap().noise(channel, &[0]).unwrap();
        let rho = DensityMatrix::from_circuit(&circuit, &[], &[]).unwrap();
        let (p1, coherence) = ((1.1f64 / 2.0).sin().powi(2), 0.5 * 1.1f64.sin());
        assert!((rho.element(1, 1).re - p1 * (-12.0f64 / 50.0).exp()).abs() < 1e-14);
        assert!((rho.element(0, 1).re - coherence * (-12.0f64 / 70.0).exp()).abs() < 1e-14);
        assert!(Channel::ThermalRelaxation { t1: 1.0, t2: 2.1, time: 1.0 }.check().is_err());
        assert!(Channel::Depolarizing(1.2).check().is_err() && Channel::BitFlip(f64::NAN).check().is_err());
        assert!(Channel::Kraus1(vec![Pauli::X.matrix(), Pauli::Z.matrix()]).check().is_err());
    }

    #[test]
    fn trajectories_average_to_the_density_matrix() {
        let mut rng = StreamRng::seed_from_u64(2);
        let model = NoiseModel {
            one_qubit: vec![Channel::AmplitudeDamping(0.2), Channel::Depolarizing(0.1)],
            multi_qubit: vec![Channel::Depolarizing2(0.15), Channel::PhaseDamping(0.3)],
        };
        let circuit = model.apply(&random_circuit(3, 10, &mut rng)).unwrap();
        let rho = DensityMatrix::from_circuit(&circuit, &[], &[]).unwrap();
        assert!((rho.trace() - 1.0).abs() < 1e-12);
        let shots = 20_000;
        let counts = circuit.simulate(&[], &[], shots, &mut rng).unwrap();
        for (k, p) in rho.probabilities().into_iter().enumerate() {
            let seen = *counts.get(&k).unwrap_or(&0) as f64 / shots as f64;
            assert!((seen - p).abs() < 5.0 * (p / shots as f64).sqrt() + 1e-9, "{k}: {seen} for {p}");
        }
    }

    #[test]
    fn kraus_operators_of_every_channel_are_complete() {
        for channel in [
            Channel::Depolarizing(0.3),
            Channel::AmplitudeDamping(0.4),
            Channel::PhaseDamping(0.2),
            Channel::ThermalRelaxation { t1: 3.0, t2: 2.0, time: 1.0 },
        ] {
            let Kraus::One(operators) = channel.kraus() else { panic!() };
            let mut rng = StreamRng::seed_from_u64(3);
            let psi = random_state(2, &mut rng);
            let norm: f64 = operators
                .iter()
                .map(|k| {
                    let mut state = psi.clone();
                    let (re, im) = state.parts_mut();
                    kernel::one(re, im, 1, &crate::noise::flat2(k));
                    state.norm_squared()
                })
                .sum();
            assert!((norm - 1.0).abs() < 1e-12, "{channel:?}");
        }
    }
}
