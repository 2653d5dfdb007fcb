//! A circuit as text.

use crate::circuit::{Circuit, Instruction, Operation};
use crate::error::{Error, Result};
use crate::gate::{Angle, C64, Gate, Matrix2, Pauli};
use std::f64::consts::FRAC_PI_2;
use std::fmt::Write;

/// Writes OpenQASM 2.0; a circuit with named parameters or more controls than `qelib1.inc` knows is written as 3.0.
///
/// Angles keep all their digits, so that reading the text gives the same circuit. Single-qubit matrices become `u3` and
/// a global phase, longer Pauli rotations become CNOT ladders.
///
/// # Errors
/// When the circuit has noise, encoded inputs, or two-qubit matrices: bind inputs first, decompose matrices.
pub fn write(circuit: &Circuit) -> Result<String> {
    let operations = circuit.instructions().iter().filter_map(|i| match i {
        Instruction::Gate(o) | Instruction::If { then: o, .. } => Some(o),
        _ => None,
    });
    let beyond = |o: &Operation| {
        let plain = o.controls.is_empty() || name2(o).is_some();
        !plain || matches!(o.gate, Gate::GlobalPhase(_) | Gate::Unitary1(_) | Gate::ISwap)
    };
    let version3 = circuit.parameters() > 0 || operations.clone().any(beyond);
    let mut writer = Writer { text: String::new(), names: circuit.parameter_names(), version3 };
    writer.head(circuit);
    for instruction in circuit.instructions() {
        writer.instruction(instruction, circuit)?;
    }
    Ok(writer.text)
}

/// The name of a controlled gate in OpenQASM 2.
fn name2(o: &Operation) -> Option<&'static str> {
    Some(match (&o.gate, o.controls.len()) {
        (Gate::X, 1) => "cx",
        (Gate::Y, 1) => "cy",
        (Gate::Z, 1) => "cz",
        (Gate::H, 1) => "ch",
        (Gate::Rx(_), 1) => "crx",
        (Gate::Ry(_), 1) => "cry",
        (Gate::Rz(_), 1) => "crz",
        (Gate::Phase(_), 1) => "cu1",
        (Gate::U(..), 1) => "cu3",
        (Gate::Swap, 1) => "cswap",
        (Gate::X, 2) => "ccx",
        _ => return None,
    })
}

struct Writer<'a> {
    text: String,
    names: &'a [String],
    version3: bool,
}

impl Writer<'_> {
    // Writing to a String cannot fail.
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    fn head(&mut self, circuit: &Circuit) {
        let (q, c) = (circuit.qubits(), circuit.bits());
        if self.version3 {
            self.line("OPENQASM 3.0;");
            self.line("include \"stdgates.inc\";");
            for index in 0..self.names.len() {
                let name = self.name(index);
                self.line(format!("input float[64] {name};"));
            }
            self.line(format!("qubit[{q}] q;"));
            if c > 0 {
                self.line(format!("bit[{c}] c;"));
            }
        } else {
            self.line("OPENQASM 2.0;");
            self.line("include \"qelib1.inc\";");
            self.line(format!("qreg q[{q}];"));
            if c > 0 {
                self.line(format!("creg c[{c}];"));
            }
        }
    }

    /// A parameter's name as an identifier: `theta[3]` becomes `theta_3`.
    fn name(&self, index: usize) -> String {
        let plain = self.names[index].replace('[', "_").replace(']', "");
        let cleaned: String = plain.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
        let clash = (0..index).any(|k| self.names[k].replace('[', "_").replace(']', "") == plain);
        match cleaned.starts_with(|c: char| c.is_alphabetic() || c == '_') && !clash {
            true => cleaned,
            false => format!("p{index}_{cleaned}"),
        }
    }

    fn angle(&self, angle: Angle) -> Result<String> {
        Ok(match angle {
            Angle::Fixed(value) => format!("{value:?}"),
            Angle::Parameter { index, scale, offset } => {
                let name = self.name(index);
                match (scale, offset) {
                    (1.0, 0.0) => name,
                    (_, 0.0) => format!("{scale:?}*{name}"),
                    _ => format!("{scale:?}*{name}+{offset:?}"),
                }
            }
            Angle::Input { .. } => {
                return Err(Error::unsupported(
                    "write QASM",
                    "an angle encodes an input; bind the circuit first",
                ));
            }
        })
    }

    fn instruction(&mut self, instruction: &Instruction, circuit: &Circuit) -> Result<()> {
        match instruction {
            Instruction::Gate(operation) => self.gate("", operation)?,
            Instruction::Measure { qubit, bit } if self.version3 => {
                self.line(format!("c[{bit}] = measure q[{qubit}];"));
            }
            Instruction::Measure { qubit, bit } => self.line(format!("measure q[{qubit}] -> c[{bit}];")),
            Instruction::Reset(qubit) => self.line(format!("reset q[{qubit}];")),
            Instruction::Barrier(qubits) => self.line(format!("barrier {};", list(qubits))),
            Instruction::If { first, length, value, then } => {
                let prefix = if *first == 0 && *length == circuit.bits() {
                    format!("if (c == {value}) ")
                } else if self.version3 && *length == 1 {
                    format!("if (c[{first}] == {value}) ")
                } else {
                    let reason = "conditions must cover the whole register, or one bit in version 3";
                    return Err(Error::unsupported("write QASM", reason));
                };
                self.gate(&prefix, then)?;
            }
            Instruction::Noise { .. } => {
                return Err(Error::unsupported("write QASM", "the format has no noise channels"));
            }
        }
        Ok(())
    }

    fn gate(&mut self, prefix: &str, operation: &Operation) -> Result<()> {
        let Operation { gate, targets, controls } = operation;
        match gate {
            Gate::PauliRotation(paulis, angle) if !named(paulis) => {
                return self.ladder(prefix, paulis, *angle, targets, controls);
            }
            Gate::Unitary1(m) => {
                let (u, phase) = as_u(m);
                let phase = Operation {
                    gate: Gate::GlobalPhase(phase.into()),
                    targets: vec![],
                    controls: controls.clone(),
                };
                self.gate(prefix, &Operation { gate: u, ..operation.clone() })?;
                return self.gate(prefix, &phase);
            }
            Gate::Unitary2(_) => {
                return Err(Error::unsupported(
                    "write QASM",
                    "decompose two-qubit matrices into gates first",
                ));
            }
            Gate::ISwap => {
                // iSWAP = SWAP · CZ · (S ⊗ S)
                for (gate, targets, more) in [
                    (Gate::S, vec![targets[0]], vec![]),
                    (Gate::S, vec![targets[1]], vec![]),
                    (Gate::Z, vec![targets[1]], vec![targets[0]]),
                    (Gate::Swap, targets.clone(), vec![]),
                ] {
                    let controls = controls.iter().copied().chain(more).collect();
                    self.gate(prefix, &Operation { gate, targets, controls })?;
                }
                return Ok(());
            }
            _ => {}
        }
        let angles = gate.angles().into_iter().map(|a| self.angle(a)).collect::<Result<Vec<_>>>()?;
        let arguments = if angles.is_empty() { String::new() } else { format!("({})", angles.join(",")) };
        let qubits: Vec<usize> = operation.qubits().collect();
        let mut line = prefix.to_string();
        match (name2(operation), controls.len()) {
            (Some(name), _) => _ = write!(line, "{name}{arguments} {};", list(&qubits)),
            (None, 0) if qubits.is_empty() => _ = write!(line, "{}{arguments};", gate.name()),
            (None, 0) => {
                let name = if matches!(gate, Gate::Phase(_)) && !self.version3 { "u1" } else { gate.name() };
                _ = write!(line, "{name}{arguments} {};", list(&qubits));
            }
            (None, n) => _ = write!(line, "ctrl({n}) @ {}{arguments} {};", gate.name(), list(&qubits)),
        }
        self.line(line);
        Ok(())
    }

    /// exp(−iθ/2 P) = V† RZ(θ) V with V a basis change and a ladder of CNOTs onto the last target.
    fn ladder(
        &mut self,
        prefix: &str,
        paulis: &[Pauli],
        angle: Angle,
        targets: &[usize],
        controls: &[usize],
    ) -> Result<()> {
        let Some((&last, others)) = targets.split_last() else {
            // exp(−iθ/2) without a qubit is a phase.
            let half = match angle {
                Angle::Fixed(v) => Angle::Fixed(-v / 2.0),
                Angle::Parameter { index, scale, offset } => {
                    Angle::Parameter { index, scale: -scale / 2.0, offset: -offset / 2.0 }
                }
                input => input,
            };
            let operation =
                Operation { gate: Gate::GlobalPhase(half), targets: vec![], controls: controls.to_vec() };
            return self.gate(prefix, &operation);
        };
        let mut change = vec![];
        for (pauli, &q) in paulis.iter().zip(targets) {
            match pauli {
                Pauli::X => change.push(Operation { gate: Gate::H, targets: vec![q], controls: vec![] }),
                Pauli::Y => {
                    let gate = Gate::Rx(FRAC_PI_2.into());
                    change.push(Operation { gate, targets: vec![q], controls: vec![] });
                }
                Pauli::Z => {}
            }
        }
        for &q in others {
            change.push(Operation { gate: Gate::X, targets: vec![last], controls: vec![q] });
        }
        change.iter().try_for_each(|o| self.gate(prefix, o))?;
        let turn = Operation { gate: Gate::Rz(angle), targets: vec![last], controls: controls.to_vec() };
        self.gate(prefix, &turn)?;
        change.iter().rev().try_for_each(|o| self.gate(prefix, &o.inverse()))
    }
}

fn named(paulis: &[Pauli]) -> bool {
    paulis.len() == 2 && paulis[0] == paulis[1]
}

fn list(qubits: &[usize]) -> String {
    qubits.iter().map(|q| format!("q[{q}]")).collect::<Vec<_>>().join(",")
}

/// A matrix as e^{iγ} U(θ, φ, λ).
fn as_u(m: &Matrix2) -> (Gate, f64) {
    let theta = 2.0 * m[1][0].norm().atan2(m[0][0].norm());
    // The larger of the diagonal and the off-diagonal carries the phases.
    let small = |z: C64| z.norm() < 1e-12;
    let gamma = if small(m[0][0]) { 0.0 } else { m[0][0].arg() };
    let phi = if small(m[1][0]) { 0.0 } else { m[1][0].arg() - gamma };
    let lambda = if small(m[1][1]) { (-m[0][1]).arg() - gamma } else { m[1][1].arg() - gamma - phi };
    (Gate::U(theta.into(), phi.into(), lambda.into()), gamma)
}
