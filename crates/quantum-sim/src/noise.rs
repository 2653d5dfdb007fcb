//! Noise: channels as data, a model that puts them behind gates, quantum trajectories, readout error.
//!
//! Conventions are PennyLane's: depolarising(p) is (1−p)ρ + p/3 Σ PρP (Qiskit's λ = 4p/3), on two qubits
//! (1−p)ρ + p/15 Σ PρP over the 15 others (λ = 16p/15).

use crate::circuit::{Circuit, Instruction};
use crate::error::{Error, Result, same_length, within};
use crate::gate::{C64, Gate, IDENTITY2, Matrix2, Matrix4, Pauli, kronecker, matmul2};
use crate::state_vector::{StateVector, kernel};
use rand::{Rng, RngExt};

/// A completely positive, trace-preserving map on one or two qubits: ρ ↦ Σ K ρ K†.
#[derive(Clone, Debug, PartialEq)]
pub enum Channel {
    /// (1−p)ρ + p/3 (XρX + YρY + ZρZ), p in [0, 1].
    Depolarizing(f64),
    /// (1−p)ρ + p/15 Σ PρP over the fifteen non-trivial two-qubit Paulis.
    Depolarizing2(f64),
    /// (1−p)ρ + p XρX
    BitFlip(f64),
    /// (1−p)ρ + p ZρZ
    PhaseFlip(f64),
    /// K₀ = diag(1, √(1−γ)), K₁ = √γ |0⟩⟨1|
    AmplitudeDamping(f64),
    /// K₀ = diag(1, √(1−λ)), K₁ = diag(0, √λ); a phase flip with p = (1 − √(1−λ))/2.
    PhaseDamping(f64),
    /// Relaxation for a time t at zero temperature: populations decay as e^{−t/T₁}, coherences as e^{−t/T₂}.
    ThermalRelaxation {
        /// T₁ > 0
        t1: f64,
        /// 0 < T₂ ≤ 2 T₁
        t2: f64,
        /// t ≥ 0, in the unit of T₁ and T₂.
        time: f64,
    },
    /// Any single-qubit channel by its Kraus operators.
    Kraus1(Vec<Matrix2>),
    /// Any two-qubit channel; bit 0 of a matrix index is the first qubit.
    Kraus2(Vec<Matrix4>),
}

/// Kraus operators of a channel.
pub(crate) enum Kraus {
    One(Vec<Matrix2>),
    Two(Vec<Matrix4>),
}

const PAULIS: [Option<Pauli>; 4] = [None, Some(Pauli::X), Some(Pauli::Y), Some(Pauli::Z)];

fn pauli_matrix(p: Option<Pauli>) -> Matrix2 {
    p.map_or(IDENTITY2, Pauli::matrix)
}

fn scaled<const D: usize>(m: [[C64; D]; D], factor: f64) -> [[C64; D]; D] {
    m.map(|row| row.map(|z| z * factor))
}

fn diagonal(a: f64, b: f64) -> Matrix2 {
    let o = C64::new(0.0, 0.0);
    [[a.into(), o], [o, b.into()]]
}

impl Channel {
    /// The number of qubits it acts on.
    pub fn arity(&self) -> usize {
        match self {
            Self::Depolarizing2(_) | Self::Kraus2(_) => 2,
            _ => 1,
        }
    }

    /// `Ok` when all numbers are in range and Σ K†K = 1 to 1e-9.
    ///
    /// # Errors
    /// Naming the number or the deviation.
    pub fn check(&self) -> Result<()> {
        let unit = |what, p| within("channel", what, p, (0.0, 1.0), "in [0, 1]");
        match self {
            Self::Depolarizing(p) | Self::Depolarizing2(p) => unit("probability", *p),
            Self::BitFlip(p) | Self::PhaseFlip(p) => unit("probability", *p),
            Self::AmplitudeDamping(g) => unit("γ", *g),
            Self::PhaseDamping(l) => unit("λ", *l),
            Self::ThermalRelaxation { t1, t2, time } => {
                within("relaxation", "T₁", *t1, (f64::MIN_POSITIVE, f64::MAX), "positive")?;
                within("relaxation", "T₂", *t2, (f64::MIN_POSITIVE, 2.0 * t1), "in (0, 2 T₁]")?;
                within("relaxation", "time", *time, (0.0, f64::MAX), "0 or more")
            }
            Self::Kraus1(operators) => complete(operators),
            Self::Kraus2(operators) => complete(operators),
        }
    }

    /// Its Kraus operators; the probabilities have been checked.
    pub(crate) fn kraus(&self) -> Kraus {
        let o = C64::new(0.0, 0.0);
        let flip = |p: f64, pauli: Pauli| {
            Kraus::One(vec![scaled(IDENTITY2, (1.0 - p).sqrt()), scaled(pauli.matrix(), p.sqrt())])
        };
        match self {
            Self::Depolarizing(p) => {
                let weight = |k: usize| if k == 0 { 1.0 - p } else { p / 3.0 };
                let operators = PAULIS.iter().enumerate();
                Kraus::One(operators.map(|(k, q)| scaled(pauli_matrix(*q), weight(k).sqrt())).collect())
            }
            Self::Depolarizing2(p) => {
                let weight = |k: usize| if k == 0 { 1.0 - p } else { p / 15.0 };
                let pair = |k: usize| kronecker(&pauli_matrix(PAULIS[k % 4]), &pauli_matrix(PAULIS[k / 4]));
                Kraus::Two((0..16).map(|k| scaled(pair(k), weight(k).sqrt())).collect())
            }
            Self::BitFlip(p) => flip(*p, Pauli::X),
            Self::PhaseFlip(p) => flip(*p, Pauli::Z),
            Self::AmplitudeDamping(g) => {
                Kraus::One(vec![diagonal(1.0, (1.0 - g).sqrt()), [[o, g.sqrt().into()], [o, o]]])
            }
            Self::PhaseDamping(l) => {
                Kraus::One(vec![diagonal(1.0, (1.0 - l).sqrt()), diagonal(0.0, l.sqrt())])
            }
            Self::ThermalRelaxation { t1, t2, time } => {
                let damping = Self::AmplitudeDamping(1.0 - (-time / t1).exp());
                // Amplitude damping leaves the coherence e^{−t/2T₁}; the rest comes from dephasing.
                let lambda = (1.0 - (-2.0 * time / t2 + time / t1).exp()).max(0.0);
                let (Kraus::One(first), Kraus::One(second)) =
                    (damping.kraus(), Self::PhaseDamping(lambda).kraus())
                else {
                    return Kraus::One(vec![IDENTITY2]);
                };
                let products = second.iter().flat_map(|b| first.iter().map(move |a| matmul2(b, a)));
                Kraus::One(products.collect())
            }
            Self::Kraus1(operators) => Kraus::One(operators.clone()),
            Self::Kraus2(operators) => Kraus::Two(operators.clone()),
        }
    }
}

/// Σ K†K = 1
fn complete<const D: usize>(operators: &[[[C64; D]; D]]) -> Result<()> {
    let mut deviation: f64 = 0.0;
    for i in 0..D {
        for j in 0..D {
            let sum: C64 = operators.iter().flat_map(|k| (0..D).map(move |r| k[r][i].conj() * k[r][j])).sum();
            let error = (sum - if i == j { 1.0 } else { 0.0 }).norm();
            deviation = if error.is_nan() { f64::INFINITY } else { deviation.max(error) };
        }
    }
    crate::error::at_most("channel", "Σ K†K = 1", deviation, 1e-9)
}

pub(crate) fn flat2(m: &Matrix2) -> kernel::M2 {
    crate::state_vector::plan::flat2(m)
}

pub(crate) fn flat4(m: &Matrix4) -> kernel::M4 {
    std::array::from_fn(|k| [m[k / 4][k % 4].re, m[k / 4][k % 4].im])
}

/// One quantum trajectory (Dalibard, Castin & Mølmer 1992): Kraus operator i with probability ‖Kᵢψ‖², renormalised.
///
/// # Errors
/// When the channel is invalid or a qubit does not exist.
pub fn apply_trajectory(
    state: &mut StateVector,
    channel: &Channel,
    qubits: &[usize],
    rng: &mut impl Rng,
) -> Result<()> {
    channel.check()?;
    same_length("trajectory", "qubits", channel.arity(), qubits.len())?;
    if let Some(&index) = qubits.iter().find(|&&q| q >= state.qubits()) {
        return Err(Error::Index { operation: "trajectory", index, count: state.qubits() });
    }
    let mut u = rng.random::<f64>() * state.norm_squared();
    let kraus = channel.kraus();
    let count = match &kraus {
        Kraus::One(list) => list.len(),
        Kraus::Two(list) => list.len(),
    };
    for k in 0..count {
        let mut next = state.clone();
        let (re, im) = next.parts_mut();
        match &kraus {
            Kraus::One(list) => kernel::one(re, im, qubits[0], &flat2(&list[k])),
            Kraus::Two(list) => kernel::two(re, im, 0, (qubits[0], qubits[1]), &flat4(&list[k])),
        }
        let probability = next.norm_squared();
        u -= probability;
        if u < 0.0 || k + 1 == count {
            let scale = if probability > 0.0 { probability.sqrt().recip() } else { 0.0 };
            let (re, im) = next.parts_mut();
            re.iter_mut().chain(im).for_each(|a| *a *= scale);
            *state = next;
            break;
        }
    }
    Ok(())
}

/// Which channels follow which gates, and how measurements are misread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NoiseModel {
    /// After each gate on one qubit, on that qubit.
    pub one_qubit: Vec<Channel>,
    /// After each gate on two or more qubits: single-qubit channels on each of them, two-qubit channels on the first
    /// two.
    pub multi_qubit: Vec<Channel>,
}

impl NoiseModel {
    /// The circuit with the channels put in.
    ///
    /// # Errors
    /// When a channel is invalid.
    pub fn apply(&self, circuit: &Circuit) -> Result<Circuit> {
        self.one_qubit.iter().chain(&self.multi_qubit).try_for_each(Channel::check)?;
        let mut noisy = circuit.cleared();
        for instruction in circuit.instructions() {
            noisy.push_instruction(instruction.clone());
            let Instruction::Gate(operation) = instruction else { continue };
            let qubits: Vec<usize> = operation.qubits().collect();
            let channels = if qubits.len() < 2 { &self.one_qubit } else { &self.multi_qubit };
            for channel in channels {
                match channel.arity() {
                    1 => {
                        for &q in &qubits {
                            noisy.noise(channel.clone(), &[q])?;
                        }
                    }
                    _ if qubits.len() >= 2 => drop(noisy.noise(channel.clone(), &qubits[..2])?),
                    _ => {
                        let reason = "a two-qubit channel cannot follow a single-qubit gate";
                        return Err(Error::unsupported("noise model", reason));
                    }
                }
            }
        }
        Ok(noisy)
    }
}

/// Independent misreading of each qubit: `p01[q]` = P(read 1 | was 0), `p10[q]` = P(read 0 | was 1).
#[derive(Clone, Debug, PartialEq)]
pub struct Readout {
    p01: Vec<f64>,
    p10: Vec<f64>,
}

impl Readout {
    /// One pair of probabilities per qubit.
    ///
    /// # Errors
    /// When the lengths differ or a probability is outside [0, 1].
    pub fn new(p01: Vec<f64>, p10: Vec<f64>) -> Result<Self> {
        same_length("readout", "probabilities", p01.len(), p10.len())?;
        for &p in p01.iter().chain(&p10) {
            within("readout", "probability", p, (0.0, 1.0), "in [0, 1]")?;
        }
        Ok(Self { p01, p10 })
    }

    /// What is read when the true distribution over 2ⁿ outcomes is `probabilities`.
    ///
    /// # Errors
    /// When the length is not 2ⁿ.
    pub fn apply(&self, probabilities: &[f64]) -> Result<Vec<f64>> {
        self.transform(probabilities, |p01, p10| [[1.0 - p01, p10], [p01, 1.0 - p10]])
    }

    /// Readout mitigation: undoes [`Readout::apply`] by inverting each qubit's 2×2 matrix, never the 2ⁿ one. The
    /// result sums to 1 but can have negative entries; [`project_to_simplex`] gives the nearest distribution.
    ///
    /// # Errors
    /// When the length is not 2ⁿ, or some p01 + p10 = 1 makes reading uninformative.
    pub fn mitigate(&self, read: &[f64]) -> Result<Vec<f64>> {
        for (p01, p10) in self.p01.iter().zip(&self.p10) {
            let determinant = 1.0 - p01 - p10;
            if determinant.abs() < 1e-9 {
                let what = "1 − p01 − p10";
                let allowed = "different from 0, or the reading says nothing";
                return Err(Error::Range { operation: "mitigate", what, value: determinant, allowed });
            }
        }
        self.transform(read, |p01, p10| {
            let d = 1.0 - p01 - p10;
            [[(1.0 - p10) / d, -p10 / d], [-p01 / d, (1.0 - p01) / d]]
        })
    }

    fn transform(&self, p: &[f64], matrix: impl Fn(f64, f64) -> [[f64; 2]; 2]) -> Result<Vec<f64>> {
        if self.p01.len() >= usize::BITS as usize || p.len() != 1 << self.p01.len() {
            return Err(Error::shape("readout", format!("2^{} probabilities", self.p01.len()), p.len()));
        }
        let mut p = p.to_vec();
        for (q, (&p01, &p10)) in self.p01.iter().zip(&self.p10).enumerate() {
            let m = matrix(p01, p10);
            for block in p.chunks_exact_mut(2 << q) {
                let (low, high) = block.split_at_mut(1 << q);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (m[0][0] * *a + m[0][1] * *b, m[1][0] * *a + m[1][1] * *b);
                }
            }
        }
        Ok(p)
    }
}

/// The distribution nearest to `p` in the Euclidean norm (sorting algorithm of Held, Wolfe & Crowder 1974).
pub fn project_to_simplex(p: &[f64]) -> Vec<f64> {
    let mut sorted = p.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let (mut sum, mut shift) = (0.0, 0.0);
    for (k, value) in sorted.iter().enumerate() {
        sum += value;
        let candidate = (sum - 1.0) / (k + 1) as f64;
        if value - candidate > 0.0 {
            shift = candidate;
        }
    }
    p.iter().map(|value| (value - shift).max(0.0)).collect()
}

/// The gates that an inverse-channel sampler inserts: I, X, Y, Z.
pub(crate) fn pauli_gate(k: usize) -> Gate {
    [Gate::I, Gate::X, Gate::Y, Gate::Z][k % 4].clone()
}
