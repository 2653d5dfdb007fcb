//! Circuits: instructions on qubits, with named parameters that may be shared, scaled and shifted.
//!
//! ```
//! use quantum_sim::{Circuit, PauliSum};
//! # fn main() -> quantum_sim::Result<()> {
//! let mut circuit = Circuit::new(2)?;
//! let theta = circuit.parameter("theta");
//! circuit.h(0)?.rx(1, theta)?.cx(0, 1)?.rz(0, theta * 0.5)?;
//! assert_eq!(circuit.parameter_names(), ["theta"]);
//! # Ok(()) }
//! ```

use crate::error::{Error, Result, same_length};
use crate::gate::{Activation, Angle, Gate, Matrix2, Matrix4, Parameter, Pauli};
use crate::noise::Channel;

/// The largest number of qubits of any circuit.
pub const MAX_QUBITS: usize = 1024;

/// A gate on its qubits.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The gate.
    pub gate: Gate,
    /// Its targets, as many as its arity.
    pub targets: Vec<usize>,
    /// The gate acts where all of these are 1.
    pub controls: Vec<usize>,
}

impl Operation {
    /// Controls and targets.
    pub fn qubits(&self) -> impl Iterator<Item = usize> + '_ {
        self.controls.iter().chain(&self.targets).copied()
    }

    /// The operation that undoes it.
    pub fn inverse(&self) -> Self {
        let gate = self.gate.inverse();
        Self { gate, targets: self.targets.clone(), controls: self.controls.clone() }
    }
}

/// One step of a circuit.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// A gate.
    Gate(Operation),
    /// A measurement in the Z basis into a classical bit.
    Measure {
        /// The qubit.
        qubit: usize,
        /// The classical bit.
        bit: usize,
    },
    /// Measures and flips to |0⟩.
    Reset(usize),
    /// Keeps optimisers from moving gates across these qubits.
    Barrier(Vec<usize>),
    /// A gate that is applied when the bits `first .. first + length`, read as a number, equal `value`.
    If {
        /// The lowest bit.
        first: usize,
        /// How many bits, at most 63.
        length: usize,
        /// What they must equal.
        value: u64,
        /// What is then applied.
        then: Operation,
    },
    /// A noise channel.
    Noise {
        /// The channel.
        channel: Channel,
        /// Where it acts.
        qubits: Vec<usize>,
    },
}

/// A quantum circuit: qubits, classical bits, parameters, inputs, instructions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Circuit {
    qubits: usize,
    bits: usize,
    inputs: usize,
    parameters: Vec<String>,
    instructions: Vec<Instruction>,
}

impl Circuit {
    /// An empty circuit on |0…0⟩.
    ///
    /// # Errors
    /// When `qubits` is 0 or above [`MAX_QUBITS`].
    pub fn new(qubits: usize) -> Result<Self> {
        if qubits == 0 || qubits > MAX_QUBITS {
            return Err(Error::shape("circuit", format!("1 to {MAX_QUBITS} qubits"), qubits));
        }
        Ok(Self { qubits, ..Self::default() })
    }

    /// The number of qubits.
    pub fn qubits(&self) -> usize {
        self.qubits
    }

    /// The number of classical bits.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// The number of inputs that angles encode.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The names of the parameters, in the order of the parameter vector.
    pub fn parameter_names(&self) -> &[String] {
        &self.parameters
    }

    /// The number of parameters.
    pub fn parameters(&self) -> usize {
        self.parameters.len()
    }

    /// The instructions in order.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// The gates in order.
    ///
    /// # Errors
    /// When the circuit measures, resets, branches or is noisy.
    pub fn operations(&self) -> Result<Vec<&Operation>> {
        let mut operations = Vec::with_capacity(self.instructions.len());
        for instruction in &self.instructions {
            match instruction {
                Instruction::Gate(operation) => operations.push(operation),
                Instruction::Barrier(_) => {}
                other => {
                    let reason = format!(
                        "{other:?} is not unitary; use `simulate` for shots, a density matrix for noise, or \
                         `without_final_measurements`"
                    );
                    return Err(Error::unsupported("unitary circuit", reason));
                }
            }
        }
        Ok(operations)
    }

    /// The parameter of this name: the existing one, or a new one at the end of the parameter vector.
    pub fn parameter(&mut self, name: impl Into<String>) -> Parameter {
        let name = name.into();
        let found = self.parameters.iter().position(|known| *known == name);
        Parameter(found.unwrap_or_else(|| {
            self.parameters.push(name);
            self.parameters.len() - 1
        }))
    }

    /// `count` new parameters `name[0]`, `name[1]`, …
    pub fn parameter_vector(&mut self, name: &str, count: usize) -> Vec<Parameter> {
        // The names are new unless the caller repeats one, so the search is skipped.
        let first = self.parameters.len();
        self.parameters.extend((0..count).map(|k| format!("{name}[{k}]")));
        (first..first + count).map(Parameter).collect()
    }

    /// The angle scale · a(w · x_index) with a trainable weight, or w = 1 for `None`.
    pub fn encode(&mut self, index: usize, weight: Option<Parameter>, activation: Activation) -> Angle {
        self.inputs = self.inputs.max(index + 1);
        Angle::Input { index, weight: weight.map(|w| w.0), activation, scale: 1.0 }
    }

    /// Appends a gate.
    ///
    /// # Errors
    /// When a qubit does not exist or repeats, the number of targets is wrong, the matrix is not unitary, or an
    /// angle names a parameter or input that the circuit does not have.
    pub fn push(&mut self, gate: Gate, targets: &[usize], controls: &[usize]) -> Result<&mut Self> {
        let operation = self.checked(gate, targets, controls)?;
        self.instructions.push(Instruction::Gate(operation));
        Ok(self)
    }

    /// Appends a gate under a classical condition (see [`Instruction::If`]).
    ///
    /// # Errors
    /// As [`Circuit::push`], or when the bits do not exist.
    pub fn push_if(
        &mut self,
        (first, length, value): (usize, usize, u64),
        gate: Gate,
        targets: &[usize],
        controls: &[usize],
    ) -> Result<&mut Self> {
        if length == 0 || length > 63 || first.checked_add(length).is_none_or(|end| end > self.bits) {
            return Err(Error::shape("if", format!("1 to 63 of {} bits", self.bits), length));
        }
        let then = self.checked(gate, targets, controls)?;
        self.instructions.push(Instruction::If { first, length, value, then });
        Ok(self)
    }

    fn checked(&self, gate: Gate, targets: &[usize], controls: &[usize]) -> Result<Operation> {
        same_length("gate", "targets", gate.arity(), targets.len())?;
        self.check_qubits("gate", targets.iter().chain(controls))?;
        gate.check()?;
        for angle in gate.angles() {
            self.check_angle(angle)?;
        }
        let mut operation = Operation { gate, targets: targets.to_vec(), controls: controls.to_vec() };
        // A controlled phase is a phase gate on one of its controls.
        if let (Gate::GlobalPhase(angle), Some((&last, rest))) = (&operation.gate, controls.split_last()) {
            let gate = Gate::Phase(*angle);
            operation = Operation { gate, targets: vec![last], controls: rest.to_vec() };
        }
        Ok(operation)
    }

    fn check_qubits<'a>(
        &self,
        operation: &'static str,
        qubits: impl Iterator<Item = &'a usize> + Clone,
    ) -> Result<()> {
        for (position, &qubit) in qubits.clone().enumerate() {
            if qubit >= self.qubits {
                return Err(Error::Index { operation, index: qubit, count: self.qubits });
            }
            if qubits.clone().take(position).any(|&earlier| earlier == qubit) {
                return Err(Error::Repeated { operation, qubit });
            }
        }
        Ok(())
    }

    fn check_angle(&self, angle: Angle) -> Result<()> {
        let (parameter, input) = match angle {
            Angle::Fixed(_) => (None, None),
            Angle::Parameter { index, .. } => (Some(index), None),
            Angle::Input { index, weight, .. } => (weight, Some(index)),
        };
        match (parameter, input) {
            (Some(index), _) if index >= self.parameters.len() => {
                Err(Error::Index { operation: "angle: parameter", index, count: self.parameters.len() })
            }
            (_, Some(index)) if index >= self.inputs => {
                Err(Error::Index { operation: "angle: input", index, count: self.inputs })
            }
            _ => Ok(()),
        }
    }

    /// Adds classical bits and returns the index of the first.
    ///
    /// # Errors
    /// When there would be more than 2²⁰.
    pub fn add_bits(&mut self, count: usize) -> Result<usize> {
        let first = self.bits;
        match first.checked_add(count).filter(|&bits| bits <= 1 << 20) {
            Some(bits) => self.bits = bits,
            None => return Err(Error::shape("classical bits", "at most 2^20", count)),
        }
        Ok(first)
    }

    /// Measures a qubit into a bit.
    ///
    /// # Errors
    /// When either does not exist.
    pub fn measure(&mut self, qubit: usize, bit: usize) -> Result<&mut Self> {
        self.check_qubits("measure", [qubit].iter())?;
        if bit >= self.bits {
            return Err(Error::Index { operation: "measure into bit", index: bit, count: self.bits });
        }
        self.instructions.push(Instruction::Measure { qubit, bit });
        Ok(self)
    }

    /// Resets a qubit to |0⟩.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn reset(&mut self, qubit: usize) -> Result<&mut Self> {
        self.check_qubits("reset", [qubit].iter())?;
        self.instructions.push(Instruction::Reset(qubit));
        Ok(self)
    }

    /// A barrier across the given qubits.
    ///
    /// # Errors
    /// When one does not exist or repeats.
    pub fn barrier(&mut self, qubits: &[usize]) -> Result<&mut Self> {
        self.check_qubits("barrier", qubits.iter())?;
        self.instructions.push(Instruction::Barrier(qubits.to_vec()));
        Ok(self)
    }

    /// A noise channel.
    ///
    /// # Errors
    /// When a qubit does not exist or repeats, or their number is not the channel's.
    pub fn noise(&mut self, channel: Channel, qubits: &[usize]) -> Result<&mut Self> {
        same_length("noise", "qubits", channel.arity(), qubits.len())?;
        self.check_qubits("noise", qubits.iter())?;
        self.instructions.push(Instruction::Noise { channel, qubits: qubits.to_vec() });
        Ok(self)
    }

    /// Appends another circuit on the same qubits; its parameters are matched by name, its inputs by index.
    ///
    /// # Errors
    /// When the other circuit is wider.
    pub fn append(&mut self, other: &Circuit) -> Result<&mut Self> {
        if other.qubits > self.qubits {
            return Err(Error::shape("append", format!("at most {} qubits", self.qubits), other.qubits));
        }
        let map: Vec<usize> = other.parameters.iter().map(|name| self.parameter(name.clone()).0).collect();
        self.inputs = self.inputs.max(other.inputs);
        self.bits = self.bits.max(other.bits);
        let moved = |angle: &Angle| match *angle {
            Angle::Parameter { index, scale, offset } => {
                Angle::Parameter { index: map[index], scale, offset }
            }
            Angle::Input { index, weight, activation, scale } => {
                Angle::Input { index, weight: weight.map(|w| map[w]), activation, scale }
            }
            fixed => fixed,
        };
        let rename = |operation: &Operation| {
            let angles: Vec<Angle> = operation.gate.angles().iter().map(moved).collect();
            Operation { gate: operation.gate.with_angles(&angles), ..operation.clone() }
        };
        self.instructions.extend(other.instructions.iter().map(|instruction| match instruction {
            Instruction::Gate(operation) => Instruction::Gate(rename(operation)),
            Instruction::If { first, length, value, then } => {
                Instruction::If { first: *first, length: *length, value: *value, then: rename(then) }
            }
            same => same.clone(),
        }));
        Ok(self)
    }

    /// The circuit run backwards: U†.
    ///
    /// # Errors
    /// When it is not unitary.
    pub fn inverse(&self) -> Result<Self> {
        let gates = self.operations()?.into_iter().rev().map(|o| Instruction::Gate(o.inverse()));
        Ok(Self { instructions: gates.collect(), ..self.clone() })
    }

    /// The same circuit with all angles as numbers.
    ///
    /// # Errors
    /// When the lengths are wrong.
    pub fn bind(&self, parameters: &[f64], inputs: &[f64]) -> Result<Self> {
        self.check_lengths(parameters, inputs)?;
        let fixed = |operation: &Operation| {
            let value = |angle: &Angle| Angle::Fixed(angle.value(parameters, inputs));
            let angles: Vec<Angle> = operation.gate.angles().iter().map(value).collect();
            Operation { gate: operation.gate.with_angles(&angles), ..operation.clone() }
        };
        let instructions = self.instructions.iter().map(|instruction| match instruction {
            Instruction::Gate(operation) => Instruction::Gate(fixed(operation)),
            Instruction::If { first, length, value, then } => {
                Instruction::If { first: *first, length: *length, value: *value, then: fixed(then) }
            }
            same => same.clone(),
        });
        let instructions = instructions.collect();
        Ok(Self { instructions, parameters: vec![], inputs: 0, ..self.clone() })
    }

    /// The same circuit without the measurements (and barriers) that end it.
    pub fn without_final_measurements(&self) -> Self {
        let mut busy = vec![false; self.qubits];
        let mut kept: Vec<Instruction> = Vec::with_capacity(self.instructions.len());
        let mut conditioned = false;
        for instruction in self.instructions.iter().rev() {
            match instruction {
                Instruction::Measure { qubit, .. } if !busy[*qubit] && !conditioned => continue,
                Instruction::Barrier(_) if kept.is_empty() => continue,
                Instruction::Measure { qubit, .. } | Instruction::Reset(qubit) => busy[*qubit] = true,
                Instruction::Gate(operation) => operation.qubits().for_each(|q| busy[q] = true),
                Instruction::If { then, .. } => {
                    conditioned = true;
                    then.qubits().for_each(|q| busy[q] = true);
                }
                Instruction::Noise { qubits, .. } | Instruction::Barrier(qubits) => {
                    qubits.iter().for_each(|&q| busy[q] = true);
                }
            }
            kept.push(instruction.clone());
        }
        kept.reverse();
        Self { instructions: kept, ..self.clone() }
    }

    /// The number of layers when every instruction starts as early as its qubits allow.
    pub fn depth(&self) -> usize {
        let mut level = vec![0; self.qubits];
        for instruction in &self.instructions {
            if let Instruction::Gate(operation) | Instruction::If { then: operation, .. } = instruction {
                let next = operation.qubits().map(|q| level[q]).max().unwrap_or(0) + 1;
                operation.qubits().for_each(|q| level[q] = next);
            }
        }
        level.into_iter().max().unwrap_or(0)
    }

    pub(crate) fn check_lengths(&self, parameters: &[f64], inputs: &[f64]) -> Result<()> {
        same_length("circuit", "parameters", self.parameters.len(), parameters.len())?;
        same_length("circuit", "inputs", self.inputs, inputs.len())
    }

    pub(crate) fn push_instruction(&mut self, instruction: Instruction) {
        self.instructions.push(instruction);
    }

    /// The same qubits, bits, parameters and inputs without instructions.
    pub fn cleared(&self) -> Self {
        Self { instructions: vec![], ..self.clone() }
    }
}

macro_rules! gates {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) => $gate:expr, [$($target:ident),*], [$($control:ident),*];)*) => {
        /// Appending by name; each fails as [`Circuit::push`] does.
        #[allow(missing_docs, clippy::missing_errors_doc)]
        impl Circuit {
            $($(#[$doc])* pub fn $name(&mut self, $($arg: $ty),*) -> Result<&mut Self> {
                self.push($gate, &[$($target),*], &[$($control),*])
            })*
        }
    };
}

gates! {
    x(q: usize) => Gate::X, [q], [];
    y(q: usize) => Gate::Y, [q], [];
    z(q: usize) => Gate::Z, [q], [];
    h(q: usize) => Gate::H, [q], [];
    s(q: usize) => Gate::S, [q], [];
    sdg(q: usize) => Gate::Sdg, [q], [];
    t(q: usize) => Gate::T, [q], [];
    tdg(q: usize) => Gate::Tdg, [q], [];
    sx(q: usize) => Gate::Sx, [q], [];
    rx(q: usize, theta: impl Into<Angle>) => Gate::Rx(theta.into()), [q], [];
    ry(q: usize, theta: impl Into<Angle>) => Gate::Ry(theta.into()), [q], [];
    rz(q: usize, theta: impl Into<Angle>) => Gate::Rz(theta.into()), [q], [];
    phase(q: usize, phi: impl Into<Angle>) => Gate::Phase(phi.into()), [q], [];
    u(q: usize, theta: impl Into<Angle>, phi: impl Into<Angle>, lambda: impl Into<Angle>) =>
        Gate::U(theta.into(), phi.into(), lambda.into()), [q], [];
    cx(control: usize, target: usize) => Gate::X, [target], [control];
    cy(control: usize, target: usize) => Gate::Y, [target], [control];
    cz(control: usize, target: usize) => Gate::Z, [target], [control];
    ch(control: usize, target: usize) => Gate::H, [target], [control];
    crx(control: usize, target: usize, theta: impl Into<Angle>) => Gate::Rx(theta.into()), [target], [control];
    cry(control: usize, target: usize, theta: impl Into<Angle>) => Gate::Ry(theta.into()), [target], [control];
    crz(control: usize, target: usize, theta: impl Into<Angle>) => Gate::Rz(theta.into()), [target], [control];
    cphase(control: usize, target: usize, phi: impl Into<Angle>) => Gate::Phase(phi.into()), [target], [control];
    ccx(first: usize, second: usize, target: usize) => Gate::X, [target], [first, second];
    swap(a: usize, b: usize) => Gate::Swap, [a, b], [];
    iswap(a: usize, b: usize) => Gate::ISwap, [a, b], [];
    cswap(control: usize, a: usize, b: usize) => Gate::Swap, [a, b], [control];
    rxx(a: usize, b: usize, theta: impl Into<Angle>) =>
        Gate::PauliRotation(vec![Pauli::X, Pauli::X], theta.into()), [a, b], [];
    ryy(a: usize, b: usize, theta: impl Into<Angle>) =>
        Gate::PauliRotation(vec![Pauli::Y, Pauli::Y], theta.into()), [a, b], [];
    rzz(a: usize, b: usize, theta: impl Into<Angle>) =>
        Gate::PauliRotation(vec![Pauli::Z, Pauli::Z], theta.into()), [a, b], [];
    unitary1(q: usize, matrix: Matrix2) => Gate::Unitary1(Box::new(matrix)), [q], [];
    unitary2(a: usize, b: usize, matrix: Matrix4) => Gate::Unitary2(Box::new(matrix)), [a, b], [];
}
