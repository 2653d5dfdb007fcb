//! A compiled circuit: fused gates, cache-sized passes, and all memory that a run needs.
//!
//! Compiling finds the structure once. A run computes the angles, multiplies the matrices of each fused block and
//! walks the steps; up to [`TILE`] qubits it allocates nothing. Runs of single-qubit gates become one 2×2 matrix;
//! dense two-qubit gates absorb their neighbours into one 4×4 matrix; CNOT, CZ and SWAP stay what they are, because
//! moving amplitudes is cheaper than multiplying them.

use super::kernel::{self, Inlined, M2, M4, Masks};
use super::tile::Pass;
use super::{MAX_STATE_QUBITS, StateVector};
use crate::circuit::{Circuit, Operation};
use crate::error::{Error, Result, same_length};
use crate::gate::{Angle, Gate, IDENTITY4, Matrix2, Matrix4, Pauli, kronecker, matmul2, matmul4};

/// States of up to this many qubits are worked on as a whole, larger ones in tiles of this size that stay in cache.
pub(crate) const TILE: usize = 14;

/// What a plan may fuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fusion {
    /// Single-qubit runs and two-qubit blocks: fastest forward.
    Full,
    /// Single-qubit runs only: every angle stays differentiable.
    Runs,
    /// Nothing, for tests.
    None,
}

/// One kernel call. Qubits are positions in the state that the kernel sees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    One { qubit: usize, matrix: usize },
    ControlledOne { mask: usize, qubit: usize, matrix: usize },
    Cx { control: usize, target: usize },
    MultiControlledX { mask: usize, target: usize },
    Phase { mask: usize, phase: usize },
    Swap { mask: usize, a: usize, b: usize },
    Two { mask: usize, a: usize, b: usize, matrix: usize },
    PauliRotation { mask: usize, pauli: Masks, slot: usize },
}

impl Step {
    /// The qubits it touches, as a mask.
    pub(crate) fn qubits(&self) -> usize {
        match *self {
            Self::One { qubit, .. } => 1 << qubit,
            Self::ControlledOne { mask, qubit, .. } => mask | 1 << qubit,
            Self::Cx { control, target } => 1 << control | 1 << target,
            Self::MultiControlledX { mask, target } => mask | 1 << target,
            Self::Phase { mask, .. } => mask,
            Self::Swap { mask, a, b } | Self::Two { mask, a, b, .. } => mask | 1 << a | 1 << b,
            Self::PauliRotation { mask, pauli, .. } => mask | pauli.x | pauli.z,
        }
    }

    /// The same step with qubit q at position `place(q)`.
    pub(crate) fn relabel(&self, place: impl Fn(usize) -> usize) -> Self {
        let moved = |mask: usize| {
            let (bits, count) = kernel::positions(mask);
            bits[..count].iter().fold(0, |m, &q| m | 1 << place(q))
        };
        match *self {
            Self::One { qubit, matrix } => Self::One { qubit: place(qubit), matrix },
            Self::ControlledOne { mask, qubit, matrix } => {
                Self::ControlledOne { mask: moved(mask), qubit: place(qubit), matrix }
            }
            Self::Cx { control, target } => Self::Cx { control: place(control), target: place(target) },
            Self::MultiControlledX { mask, target } => {
                Self::MultiControlledX { mask: moved(mask), target: place(target) }
            }
            Self::Phase { mask, phase } => Self::Phase { mask: moved(mask), phase },
            Self::Swap { mask, a, b } => Self::Swap { mask: moved(mask), a: place(a), b: place(b) },
            Self::Two { mask, a, b, matrix } => {
                Self::Two { mask: moved(mask), a: place(a), b: place(b), matrix }
            }
            Self::PauliRotation { mask, pauli, slot } => {
                let pauli = Masks { x: moved(pauli.x), z: moved(pauli.z), power: pauli.power };
                Self::PauliRotation { mask: moved(mask), pauli, slot }
            }
        }
    }
}

/// One gate of a run: a rotation by a slot's angle, another gate with angles, or a constant matrix.
#[derive(Clone, Debug)]
pub(crate) enum Factor {
    Rotation(Pauli, usize),
    Other { gate: Gate, first_slot: usize, angles: usize },
    Constant(Matrix2),
}

/// One gate of a two-qubit block.
#[derive(Clone, Debug)]
enum Factor4 {
    Low(Factor),
    High(Factor),
    Rotation { gate: Gate, slot: usize, reversed: bool },
    Controlled { factor: Factor, control_is_low: bool },
    Constant(Box<Matrix4>),
}

/// The numbers of one run: angles, their half-angle sines, matrices.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bound {
    pub(crate) values: Vec<f64>,
    /// (sin, cos) of half of each slot's angle.
    pub(crate) trig: Vec<(f64, f64)>,
    pub(crate) m2: Vec<M2>,
    pub(crate) m4: Vec<M4>,
    /// (cos φ, sin φ)
    pub(crate) phases: Vec<(f64, f64)>,
}

/// The compiled form of a unitary circuit; reuse it for every call.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) qubits: usize,
    pub(crate) parameters: usize,
    pub(crate) inputs: usize,
    /// One per angle of the circuit, in order.
    pub(crate) angles: Vec<Angle>,
    pub(crate) runs: Vec<Vec<Factor>>,
    blocks: Vec<Vec<Factor4>>,
    /// The slot whose angle each phase is, or a constant phase.
    pub(crate) phases: Vec<Phase>,
    pub(crate) steps: Vec<Step>,
    pub(crate) passes: Vec<Pass>,
    pub(crate) bound: Bound,
    pub(crate) arch: pulp::Arch,
    pub(crate) scratch: super::tile::Scratch,
}

/// A phase: of a slot, or known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    Slot(usize),
    Fixed(f64, f64),
}

impl Plan {
    /// Compiles a circuit without measurements or noise.
    ///
    /// # Errors
    /// When the circuit is not unitary or has more qubits than a state vector can hold.
    pub fn new(circuit: &Circuit) -> Result<Self> {
        Self::with_fusion(circuit, Fusion::Full)
    }

    pub(crate) fn with_fusion(circuit: &Circuit, fusion: Fusion) -> Result<Self> {
        if circuit.qubits() > MAX_STATE_QUBITS {
            let reason = format!("a state vector of {} qubits is too large", circuit.qubits());
            return Err(Error::unsupported("compile", reason));
        }
        let mut compiler = Compiler::new(circuit, fusion);
        for operation in circuit.operations()? {
            compiler.add(operation);
        }
        Ok(compiler.finish())
    }

    /// The number of qubits.
    pub fn qubits(&self) -> usize {
        self.qubits
    }

    /// The number of kernel calls that a run makes per pass over the state.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// ψ ← U(p, x)|0…0⟩
    ///
    /// # Errors
    /// When the numbers of parameters, inputs or qubits differ from the circuit's.
    pub fn run(&mut self, parameters: &[f64], inputs: &[f64], state: &mut StateVector) -> Result<()> {
        state.reset();
        self.apply(parameters, inputs, state)
    }

    /// ψ ← U(p, x) ψ
    ///
    /// # Errors
    /// As [`Plan::run`].
    pub fn apply(&mut self, parameters: &[f64], inputs: &[f64], state: &mut StateVector) -> Result<()> {
        same_length("run", "qubits", self.qubits, state.qubits())?;
        self.bind(parameters, inputs)?;
        let (re, im) = state.parts_mut();
        self.apply_bound(re, im);
        Ok(())
    }

    /// Computes all numbers that depend on parameters and inputs.
    pub(crate) fn bind(&mut self, parameters: &[f64], inputs: &[f64]) -> Result<()> {
        same_length("run", "parameters", self.parameters, parameters.len())?;
        same_length("run", "inputs", self.inputs, inputs.len())?;
        for (slot, angle) in self.angles.iter().enumerate() {
            let value = angle.value(parameters, inputs);
            self.bound.values[slot] = value;
            self.bound.trig[slot] = (0.5 * value).sin_cos();
        }
        for (matrix, run) in self.bound.m2.iter_mut().zip(&self.runs) {
            *matrix = flat2(&product(run, &self.bound.values, &self.bound.trig));
        }
        for (matrix, block) in self.bound.m4.iter_mut().zip(&self.blocks) {
            *matrix = flat4(&product4(block, &self.bound.values, &self.bound.trig));
        }
        for (bound, phase) in self.bound.phases.iter_mut().zip(&self.phases) {
            *bound = match *phase {
                Phase::Fixed(c, s) => (c, s),
                Phase::Slot(slot) => {
                    let (s, c) = self.bound.values[slot].sin_cos();
                    (c, s)
                }
            };
        }
        Ok(())
    }

    pub(crate) fn apply_bound(&mut self, re: &mut [f64], im: &mut [f64]) {
        let (arch, bound) = (self.arch, &self.bound);
        if self.passes.is_empty() {
            let steps = &self.steps;
            return arch.dispatch(Inlined(
                #[inline(always)]
                || apply_steps(steps, bound, re, im),
            ));
        }
        for pass in &self.passes {
            pass.forward(arch, bound, re, im, &mut self.scratch);
        }
    }
}

/// Walks the steps over a state or tile.
#[inline(always)]
pub(crate) fn apply_steps(steps: &[Step], bound: &Bound, re: &mut [f64], im: &mut [f64]) {
    for step in steps {
        match *step {
            Step::One { qubit, matrix } => kernel::one(re, im, qubit, &bound.m2[matrix]),
            Step::Cx { control, target } => kernel::cx(re, im, control, target),
            Step::Phase { mask, phase } => kernel::phase(re, im, mask, bound.phases[phase]),
            Step::ControlledOne { mask, qubit, matrix } => {
                kernel::controlled_one(re, im, mask, qubit, &bound.m2[matrix]);
            }
            Step::MultiControlledX { mask, target } => kernel::multi_controlled_x(re, im, mask, target),
            Step::Swap { mask, a, b } => kernel::swap(re, im, mask, a, b),
            Step::Two { mask, a, b, matrix } => {
                kernel::two(re, im, mask, (a, b), &bound.m4[matrix]);
            }
            Step::PauliRotation { mask, pauli, slot } => {
                kernel::pauli_rotation(re, im, mask, pauli, bound.trig[slot]);
            }
        }
    }
}

pub(crate) fn flat2(m: &Matrix2) -> M2 {
    let [[a, b], [c, d]] = *m;
    [a.re, a.im, b.re, b.im, c.re, c.im, d.re, d.im]
}

fn flat4(m: &Matrix4) -> M4 {
    std::array::from_fn(|k| [m[k / 4][k % 4].re, m[k / 4][k % 4].im])
}

/// The matrix of a run of gates on one qubit, the first gate first.
fn product(run: &[Factor], values: &[f64], trig: &[(f64, f64)]) -> Matrix2 {
    let mut factors = run.iter();
    let Some(first) = factors.next() else { return crate::gate::IDENTITY2 };
    factors.fold(first.matrix(values, trig), |m, factor| factor.times(&m, values, trig))
}

impl Factor {
    pub(crate) fn matrix(&self, values: &[f64], trig: &[(f64, f64)]) -> Matrix2 {
        match self {
            Self::Constant(m) => *m,
            Self::Rotation(..) => self.times(&crate::gate::IDENTITY2, values, trig),
            Self::Other { gate, first_slot, angles } => {
                let angles = &values[*first_slot..*first_slot + *angles];
                gate.matrix2(angles).unwrap_or(crate::gate::IDENTITY2)
            }
        }
    }

    /// This factor times `m`; the rotations need half of a full product's multiplications.
    #[inline]
    fn times(&self, m: &Matrix2, values: &[f64], trig: &[(f64, f64)]) -> Matrix2 {
        let Self::Rotation(pauli, slot) = self else { return matmul2(&self.matrix(values, trig), m) };
        let (s, c) = trig[*slot];
        // −i s z
        let minus_i = |z: crate::gate::C64| crate::gate::C64::new(s * z.im, -s * z.re);
        let [top, bottom] = m;
        match pauli {
            Pauli::X => [
                std::array::from_fn(|j| top[j] * c + minus_i(bottom[j])),
                std::array::from_fn(|j| bottom[j] * c + minus_i(top[j])),
            ],
            Pauli::Y => [
                std::array::from_fn(|j| top[j] * c - bottom[j] * s),
                std::array::from_fn(|j| bottom[j] * c + top[j] * s),
            ],
            Pauli::Z => [
                std::array::from_fn(|j| top[j] * c + minus_i(top[j])),
                std::array::from_fn(|j| bottom[j] * c - minus_i(bottom[j])),
            ],
        }
    }
}

fn product4(block: &[Factor4], values: &[f64], trig: &[(f64, f64)]) -> Matrix4 {
    let identity = crate::gate::IDENTITY2;
    block.iter().fold(IDENTITY4, |m, factor| {
        let next = match factor {
            Factor4::Low(f) => kronecker(&f.matrix(values, trig), &identity),
            Factor4::High(f) => kronecker(&identity, &f.matrix(values, trig)),
            Factor4::Constant(m) => **m,
            Factor4::Rotation { gate, slot, reversed } => {
                let m = gate.matrix4(&[values[*slot]]).unwrap_or(IDENTITY4);
                if *reversed { exchanged(&m) } else { m }
            }
            Factor4::Controlled { factor, control_is_low } => {
                controlled4(&factor.matrix(values, trig), *control_is_low)
            }
        };
        matmul4(&next, &m)
    })
}

/// The matrix with its two qubits exchanged.
fn exchanged(m: &Matrix4) -> Matrix4 {
    let other = |k: usize| (k & 1) << 1 | k >> 1;
    std::array::from_fn(|i| std::array::from_fn(|j| m[other(i)][other(j)]))
}

fn controlled4(m: &Matrix2, control_is_low: bool) -> Matrix4 {
    let mut out = IDENTITY4;
    for i in 0..2 {
        for j in 0..2 {
            out[2 * i + 1][2 * j + 1] = m[i][j];
        }
    }
    if control_is_low { out } else { exchanged(&out) }
}

/// Blocks that may still grow while the circuit is read.
struct Compiler {
    plan: Plan,
    fusion: Fusion,
    /// The open block on each qubit.
    open: Vec<Option<usize>>,
    blocks: Vec<Option<Block>>,
}

enum Block {
    One { qubit: usize, run: Vec<Factor> },
    Two { a: usize, b: usize, factors: Vec<Factor4> },
}

impl Compiler {
    fn new(circuit: &Circuit, fusion: Fusion) -> Self {
        let plan = Plan {
            qubits: circuit.qubits(),
            parameters: circuit.parameters(),
            inputs: circuit.inputs(),
            angles: vec![],
            runs: vec![],
            blocks: vec![],
            phases: vec![],
            steps: vec![],
            passes: vec![],
            bound: Bound::default(),
            arch: pulp::Arch::new(),
            scratch: Default::default(),
        };
        Self { plan, fusion, open: vec![None; circuit.qubits()], blocks: vec![] }
    }

    fn add(&mut self, operation: &Operation) {
        let Operation { gate, targets, controls } = operation;
        let first_slot = self.plan.angles.len();
        self.plan.angles.extend(gate.angles());
        match (targets.as_slice(), controls.as_slice()) {
            (&[qubit], []) => self.add_one(qubit, factor(gate, first_slot)),
            (&[target], &[control]) if self.fusion == Fusion::Full => {
                let dense = !matches!(gate, Gate::X | Gate::Z | Gate::Phase(_) | Gate::S | Gate::T);
                let factor = Factor4::Controlled { factor: factor(gate, first_slot), control_is_low: true };
                if !self.add_two(control, target, factor, dense) {
                    self.emit(operation, first_slot);
                }
            }
            (&[a, b], []) if self.fusion == Fusion::Full => {
                let factor = match gate {
                    Gate::PauliRotation(..) => {
                        Factor4::Rotation { gate: gate.clone(), slot: first_slot, reversed: false }
                    }
                    _ => Factor4::Constant(Box::new(gate.matrix4(&[]).unwrap_or(IDENTITY4))),
                };
                if !self.add_two(a, b, factor, is_dense(gate)) {
                    self.emit(operation, first_slot);
                }
            }
            _ => self.emit(operation, first_slot),
        }
    }

    fn add_one(&mut self, qubit: usize, factor: Factor) {
        if self.fusion == Fusion::None {
            self.close(qubit);
        }
        let open = self.open[qubit].and_then(|id| self.blocks[id].as_mut());
        match open {
            Some(Block::One { run, .. }) => run.push(factor),
            Some(Block::Two { a, factors, .. }) => {
                factors.push(if *a == qubit { Factor4::Low(factor) } else { Factor4::High(factor) });
            }
            None => {
                self.open[qubit] = Some(self.blocks.len());
                self.blocks.push(Some(Block::One { qubit, run: vec![factor] }));
            }
        }
    }

    /// Joins the open block on exactly this pair, or, if `start`, opens one that takes in both qubits' runs.
    fn add_two(&mut self, a: usize, b: usize, factor: Factor4, start: bool) -> bool {
        let same = self.open[a].filter(|_| self.open[a] == self.open[b]);
        if let Some(Block::Two { a: low, factors, .. }) = same.and_then(|id| self.blocks[id].as_mut()) {
            factors.push(if *low == a { factor } else { mirrored(factor) });
            return true;
        }
        if !start {
            return false;
        }
        let mut factors = vec![];
        for (qubit, low) in [(a, true), (b, false)] {
            if let Some(id) = self.open[qubit] {
                match self.blocks[id].take() {
                    Some(Block::One { run, .. }) => factors.extend(
                        run.into_iter().map(|f| if low { Factor4::Low(f) } else { Factor4::High(f) }),
                    ),
                    two => {
                        self.blocks[id] = two;
                        self.close(qubit);
                    }
                }
            }
        }
        factors.push(factor);
        (self.open[a], self.open[b]) = (Some(self.blocks.len()), Some(self.blocks.len()));
        self.blocks.push(Some(Block::Two { a, b, factors }));
        true
    }

    /// Emits the open block on a qubit.
    fn close(&mut self, qubit: usize) {
        let Some(block) = self.open[qubit].take().and_then(|id| self.blocks[id].take()) else { return };
        match block {
            Block::One { qubit, run } => {
                self.plan.steps.push(Step::One { qubit, matrix: self.plan.runs.len() });
                self.plan.runs.push(run);
            }
            Block::Two { a, b, factors } => {
                (self.open[a], self.open[b]) = (None, None);
                self.plan.steps.push(Step::Two { mask: 0, a, b, matrix: self.plan.blocks.len() });
                self.plan.blocks.push(factors);
            }
        }
    }

    /// Emits a gate of its own.
    fn emit(&mut self, operation: &Operation, first_slot: usize) {
        operation.qubits().for_each(|q| self.close(q));
        let Operation { gate, targets, controls } = operation;
        let mask = controls.iter().fold(0, |m, &q| m | 1usize << q);
        let plan = &mut self.plan;
        let step = match (gate, targets.as_slice()) {
            (Gate::I, _) => return,
            (Gate::X, &[target]) => match controls.as_slice() {
                &[control] => Step::Cx { control, target },
                _ => Step::MultiControlledX { mask, target },
            },
            (Gate::Swap, &[a, b]) => Step::Swap { mask, a, b },
            (Gate::GlobalPhase(_), _) => {
                plan.phases.push(Phase::Slot(first_slot));
                Step::Phase { mask, phase: plan.phases.len() - 1 }
            }
            (Gate::PauliRotation(paulis, _), _) => {
                let masks = pauli_masks(paulis, targets);
                Step::PauliRotation { mask, pauli: masks, slot: first_slot }
            }
            (gate, &[target]) => match phase_of(gate, first_slot) {
                Some(phase) => {
                    plan.phases.push(phase);
                    Step::Phase { mask: mask | 1 << target, phase: plan.phases.len() - 1 }
                }
                None => {
                    plan.runs.push(vec![factor(gate, first_slot)]);
                    Step::ControlledOne { mask, qubit: target, matrix: plan.runs.len() - 1 }
                }
            },
            (gate, targets) => {
                let (a, b) = (targets[0], targets[1]);
                let m = gate.matrix4(&[]).unwrap_or(IDENTITY4);
                plan.blocks.push(vec![Factor4::Constant(Box::new(m))]);
                Step::Two { mask, a, b, matrix: plan.blocks.len() - 1 }
            }
        };
        plan.steps.push(step);
    }

    fn finish(mut self) -> Plan {
        for qubit in 0..self.open.len() {
            self.close(qubit);
        }
        let mut plan = self.plan;
        plan.bound = Bound {
            values: vec![0.0; plan.angles.len()],
            trig: vec![(0.0, 1.0); plan.angles.len()],
            m2: vec![[0.0; 8]; plan.runs.len()],
            m4: vec![[[0.0; 2]; 16]; plan.blocks.len()],
            phases: vec![(1.0, 0.0); plan.phases.len()],
        };
        if plan.qubits > TILE {
            plan.passes = super::tile::passes(&plan.steps, plan.qubits);
        }
        plan
    }
}

/// Whether a gate on two targets mixes amplitudes rather than moving them or turning their phases.
fn is_dense(gate: &Gate) -> bool {
    match gate {
        Gate::PauliRotation(paulis, _) => paulis.iter().any(|p| *p != Pauli::Z),
        gate => *gate != Gate::Swap,
    }
}

fn factor(gate: &Gate, first_slot: usize) -> Factor {
    match gate {
        Gate::Rx(_) => Factor::Rotation(Pauli::X, first_slot),
        Gate::Ry(_) => Factor::Rotation(Pauli::Y, first_slot),
        Gate::Rz(_) => Factor::Rotation(Pauli::Z, first_slot),
        Gate::PauliRotation(paulis, _) if paulis.len() == 1 => Factor::Rotation(paulis[0], first_slot),
        gate => match gate.matrix2(&[]) {
            Some(constant) => Factor::Constant(constant),
            None => Factor::Other { gate: gate.clone(), first_slot, angles: gate.angles().len() },
        },
    }
}

fn mirrored(factor: Factor4) -> Factor4 {
    match factor {
        Factor4::Low(f) => Factor4::High(f),
        Factor4::High(f) => Factor4::Low(f),
        Factor4::Constant(m) => Factor4::Constant(Box::new(exchanged(&m))),
        Factor4::Rotation { gate, slot, reversed } => Factor4::Rotation { gate, slot, reversed: !reversed },
        Factor4::Controlled { factor, control_is_low } => {
            Factor4::Controlled { factor, control_is_low: !control_is_low }
        }
    }
}

/// The phase that a diagonal gate diag(1, e^{iφ}) puts on |1⟩.
fn phase_of(gate: &Gate, first_slot: usize) -> Option<Phase> {
    let r = std::f64::consts::FRAC_1_SQRT_2;
    Some(match gate {
        Gate::Z => Phase::Fixed(-1.0, 0.0),
        Gate::S => Phase::Fixed(0.0, 1.0),
        Gate::Sdg => Phase::Fixed(0.0, -1.0),
        Gate::T => Phase::Fixed(r, r),
        Gate::Tdg => Phase::Fixed(r, -r),
        Gate::Phase(_) => Phase::Slot(first_slot),
        _ => return None,
    })
}

pub(crate) fn pauli_masks(paulis: &[Pauli], targets: &[usize]) -> Masks {
    let mut masks = Masks { x: 0, z: 0, power: 0 };
    for (pauli, &q) in paulis.iter().zip(targets) {
        if *pauli != Pauli::Z {
            masks.x |= 1 << q;
        }
        if *pauli != Pauli::X {
            masks.z |= 1 << q;
        }
        masks.power += u32::from(*pauli == Pauli::Y);
    }
    masks.power &= 3;
    masks
}
