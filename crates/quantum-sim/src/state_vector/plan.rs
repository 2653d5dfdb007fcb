//! A compiled circuit: fused gates, cache-sized passes, and all memory that a run needs.
//!
//! Compiling finds the structure once. A run computes the angles, multiplies the matrices of each fused block and
//! walks the steps; up to [`TILE`] qubits it allocates nothing. Runs of single-qubit gates become one 2×2 matrix;
//! dense two-qubit gates absorb their neighbours into one 4×4 matrix; CNOT, CZ and SWAP stay what they are, because
//! moving amplitudes is cheaper than multiplying them.

use super::compile::Compiler;
use super::kernel::{self, Inlined, M2, M4, Masks};
use super::tile::Pass;
use super::{MAX_STATE_QUBITS, StateVector};
use crate::circuit::Circuit;
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
pub(super) enum Factor4 {
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
    pub(super) blocks: Vec<Vec<Factor4>>,
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
pub(super) fn exchanged(m: &Matrix4) -> Matrix4 {
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
