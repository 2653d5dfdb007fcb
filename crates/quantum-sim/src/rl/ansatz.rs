//! The variational circuits of the papers.
//!
//! In each, entangling gates come before the last rotations or the measurement, so that every parameter can matter; the
//! entangler is an argument, because a circuit without one belongs into every comparison (Hsiao et al. 2022).

use super::encoding::Encoding;
use super::model::Group;
use crate::circuit::Circuit;
use crate::error::Result;
use crate::gate::{Activation, Parameter};
use serde::{Deserialize, Serialize};

/// Which qubits a layer entangles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entangler {
    /// None: a product state, simulated by classical means at once.
    None,
    /// CNOT from each qubit to the next.
    CnotChain,
    /// The chain and its closing CNOT; for two qubits the chain.
    CnotRing,
    /// CZ on neighbours in a ring; for two qubits once, because two would cancel.
    CzRing,
    /// CZ on all pairs.
    CzAll,
}

impl Entangler {
    fn append(self, circuit: &mut Circuit) -> Result<()> {
        let n = circuit.qubits();
        let ring = |close: bool| (0..if close && n > 2 { n } else { n - 1 }).map(move |q| (q, (q + 1) % n));
        match self {
            Self::None => {}
            Self::CnotChain => ring(false).try_for_each(|(a, b)| circuit.cx(a, b).map(|_| ()))?,
            Self::CnotRing => ring(true).try_for_each(|(a, b)| circuit.cx(a, b).map(|_| ()))?,
            Self::CzRing => ring(true).try_for_each(|(a, b)| circuit.cz(a, b).map(|_| ()))?,
            Self::CzAll => (0..n)
                .flat_map(|a| (a + 1..n).map(move |b| (a, b)))
                .try_for_each(|(a, b)| circuit.cz(a, b).map(|_| ()))?,
        }
        Ok(())
    }
}

/// How the angles start; input scalings start at 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Uniform in [0, b).
    Uniform(f64),
    /// Normal with this standard deviation.
    Normal(f64),
}

/// A circuit with what its parameters are and how they start.
#[derive(Clone, Debug)]
pub struct Ansatz {
    /// The circuit.
    pub circuit: Circuit,
    /// What each parameter is.
    pub groups: Vec<Group>,
    /// How the angles start.
    pub start: Start,
}

impl Ansatz {
    fn new(qubits: usize, start: Start) -> Result<Self> {
        Ok(Self { circuit: Circuit::new(qubits)?, groups: vec![], start })
    }

    fn angles(&mut self, count: usize) -> Vec<Parameter> {
        self.groups.extend(std::iter::repeat_n(Group::Angle, count));
        let name = format!("theta{}", self.circuit.parameters());
        self.circuit.parameter_vector(&name, count)
    }

    /// RX, RY, RZ on every qubit.
    fn rotations(&mut self) -> Result<()> {
        let n = self.circuit.qubits();
        let p = self.angles(3 * n);
        for q in 0..n {
            self.circuit.rx(q, p[3 * q])?.ry(q, p[3 * q + 1])?.rz(q, p[3 * q + 2])?;
        }
        Ok(())
    }

    /// RX(a(λ x_q)) on every qubit, λ trainable.
    fn reading(&mut self, activation: Activation) -> Result<()> {
        let n = self.circuit.qubits();
        self.groups.extend(std::iter::repeat_n(Group::Scaling, n));
        let name = format!("lambda{}", self.circuit.parameters());
        for (q, scaling) in self.circuit.parameter_vector(&name, n).into_iter().enumerate() {
            let x = self.circuit.encode(q, Some(scaling), activation);
            self.circuit.rx(q, x)?;
        }
        Ok(())
    }
}

/// The circuit of the TensorFlow Quantum tutorial: `layers` times RX RY RZ, the entangler (there a ring of CZs) and
/// RX(a(λx)); then RX RY RZ. 3n(L + 1) angles from U[0, π), nL scalings from 1.
///
/// # Errors
/// When `qubits` is 0.
pub fn reuploading(
    qubits: usize,
    layers: usize,
    activation: Activation,
    entangler: Entangler,
) -> Result<Ansatz> {
    let mut ansatz = Ansatz::new(qubits, Start::Uniform(std::f64::consts::PI))?;
    for _ in 0..layers {
        ansatz.rotations()?;
        entangler.append(&mut ansatz.circuit)?;
        ansatz.reading(activation)?;
    }
    ansatz.rotations()?;
    Ok(ansatz)
}

/// Skolik, Jerbi & Dunjko 2022 (arXiv:2103.15084): `layers` times RX(tanh(λx)), RY, RZ and the entangler (there a ring of
/// CZs). 2nL angles from U[0, π), nL scalings from 1.
///
/// # Errors
/// When `qubits` is 0.
pub fn skolik(qubits: usize, layers: usize, entangler: Entangler) -> Result<Ansatz> {
    let mut ansatz = Ansatz::new(qubits, Start::Uniform(std::f64::consts::PI))?;
    for _ in 0..layers {
        ansatz.reading(Activation::Tanh)?;
        let p = ansatz.angles(2 * qubits);
        for q in 0..qubits {
            ansatz.circuit.ry(q, p[2 * q])?.rz(q, p[2 * q + 1])?;
        }
        entangler.append(&mut ansatz.circuit)?;
    }
    Ok(ansatz)
}

/// Chen et al. 2020 (arXiv:1907.00397): basis encoding by RX(πb) RZ(πb), then `layers` times the entangler (there a chain of
/// CNOTs) and RZ RY RZ. 3nL angles from N(0, 0.01²).
///
/// # Errors
/// When `qubits` is 0.
pub fn chen(qubits: usize, layers: usize, entangler: Entangler) -> Result<Ansatz> {
    let mut ansatz = Ansatz::new(qubits, Start::Normal(0.01))?;
    for q in 0..qubits {
        let x = ansatz.circuit.encode(q, None, Activation::Linear);
        ansatz.circuit.rx(q, x)?.rz(q, x)?;
    }
    for _ in 0..layers {
        entangler.append(&mut ansatz.circuit)?;
        let p = ansatz.angles(3 * qubits);
        for q in 0..qubits {
            ansatz.circuit.rz(q, p[3 * q])?.ry(q, p[3 * q + 1])?.rz(q, p[3 * q + 2])?;
        }
    }
    Ok(ansatz)
}

/// The layers of the quantum-control exercise on an amplitude-encoded state: `layers` times RX RY RZ on every qubit and the
/// entangler (there a ring of CNOTs), one behind the last layer too. On two qubits that is one CNOT, and the last RZ on its
/// target has a gradient only with an observable such as X₁. 3nL angles from U[0, 2π).
///
/// # Errors
/// When `qubits` is 0.
pub fn on_amplitudes(qubits: usize, layers: usize, entangler: Entangler) -> Result<Ansatz> {
    let mut ansatz = Ansatz::new(qubits, Start::Uniform(std::f64::consts::TAU))?;
    Encoding::prepare_amplitudes(&mut ansatz.circuit, qubits)?;
    for _ in 0..layers {
        ansatz.rotations()?;
        entangler.append(&mut ansatz.circuit)?;
    }
    Ok(ansatz)
}
