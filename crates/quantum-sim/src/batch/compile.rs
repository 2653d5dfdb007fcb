//! From a circuit to segments of the batched engine.
//!
//! Expectations do not see global phases, so every run of single-qubit gates is an element of SU(2): a unit quaternion
//! (a, b, c, d) for a − i(bX + cY + dZ). Gates on different qubits between two entanglers form one layer; CNOTs, CZs and
//! SWAPs in a row form one signed permutation.

use crate::circuit::{Circuit, Operation};
use crate::error::{Error, Result};
use crate::gate::{Angle, Gate, Matrix2, Pauli};
use crate::noise::flat4;
use crate::state_vector::compile::pauli_masks;
use crate::state_vector::kernel::{M4, Masks, parity_sign};

/// The largest circuit of the batched engine.
pub const MAX_BATCH_QUBITS: usize = 16;

/// (a, b, c, d) of a − i(bX + cY + dZ).
pub(super) type Quaternion = [f64; 4];

/// One gate of a chunk whose angles are the same for all inputs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Factor {
    Rotation(Pauli, usize),
    Constant(Quaternion),
}

/// A piece of a run.
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    /// Gates that are the same for all inputs; `id` numbers these chunks.
    Uniform { id: usize, factors: Vec<Factor> },
    /// A rotation by an encoded input; `lane` numbers the encoded angles.
    Lane { pauli: Pauli, lane: usize },
}

/// Gates on one qubit, the first first.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    pub(super) chunks: Vec<Chunk>,
    /// Whether the result depends on the input.
    pub(super) per_lane: bool,
    /// Whether any angle varies.
    pub(super) wanted: bool,
}

/// Where an angle comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Uniform,
    Lane(usize),
}

/// A step of the engine; `tape` numbers the states that the backward pass needs.
#[derive(Clone, Debug)]
pub(super) enum Segment {
    Layer { runs: Vec<(usize, usize)>, tape: usize },
    Monomial { source: Vec<usize>, sign: Vec<f64>, negated: Vec<usize>, permutes: bool },
    Controlled { mask: usize, qubit: usize, run: usize, tape: usize },
    Phase { mask: usize, slot: usize, scale: f64, tape: usize },
    ConstantPhase { mask: usize, cos: f64, sin: f64 },
    PauliRotation { mask: usize, pauli: Masks, slot: usize, tape: usize },
    Two { mask: usize, a: usize, b: usize, matrix: Box<M4> },
}

/// The compiled circuit.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) qubits: usize,
    pub(super) parameters: usize,
    pub(super) inputs: usize,
    pub(super) angles: Vec<Angle>,
    pub(super) sources: Vec<Source>,
    /// The slots of the encoded angles.
    pub(super) lanes: Vec<usize>,
    pub(super) runs: Vec<Run>,
    pub(super) uniform_chunks: usize,
    pub(super) segments: Vec<Segment>,
    pub(super) tapes: usize,
}

impl Program {
    pub(super) fn new(circuit: &Circuit) -> Result<Self> {
        if circuit.qubits() > MAX_BATCH_QUBITS {
            let reason = format!("at most {MAX_BATCH_QUBITS} qubits; use `Adjoint` for wider circuits");
            return Err(Error::unsupported("batch", reason));
        }
        let program = Self {
            qubits: circuit.qubits(),
            parameters: circuit.parameters(),
            inputs: circuit.inputs(),
            angles: vec![],
            sources: vec![],
            lanes: vec![],
            runs: vec![],
            uniform_chunks: 0,
            segments: vec![],
            tapes: 0,
        };
        let open = (0..circuit.qubits()).map(|_| vec![]).collect();
        let mut compiler = Compiler { program, open, touched: vec![None; circuit.qubits()] };
        for operation in circuit.operations()? {
            compiler.add(operation);
        }
        (0..circuit.qubits()).for_each(|q| compiler.close(q));
        Ok(compiler.program)
    }
}

struct Compiler {
    program: Program,
    /// Gates on each qubit that are not yet in a segment.
    open: Vec<Vec<Factor>>,
    /// The last segment on each qubit.
    touched: Vec<Option<usize>>,
}

impl Compiler {
    fn add(&mut self, operation: &Operation) {
        let Operation { gate, targets, controls } = operation;
        let first = self.program.angles.len();
        for angle in gate.angles() {
            let slot = self.program.angles.len();
            let source = match angle {
                Angle::Input { .. } => {
                    self.program.lanes.push(slot);
                    Source::Lane(self.program.lanes.len() - 1)
                }
                _ => Source::Uniform,
            };
            self.program.sources.push(source);
            self.program.angles.push(angle);
        }
        let mask = controls.iter().fold(0, |m, &q| m | 1usize << q);
        match (gate, targets.as_slice()) {
            (Gate::GlobalPhase(_), _) => {}
            (gate, &[target]) if controls.is_empty() => {
                let (factors, _) = su2(gate, first);
                self.open[target].extend(factors);
            }
            (Gate::X, &[target]) => {
                self.monomial(mask | 1 << target, |k| {
                    (if k & mask == mask { k ^ 1 << target } else { k }, 1.0)
                });
            }
            (Gate::Z, &[target]) => {
                let all = mask | 1 << target;
                self.monomial(all, |k| (k, if k & all == all { -1.0 } else { 1.0 }));
            }
            (Gate::Phase(_), &[target]) => self.phase(mask | 1 << target, first, 1.0),
            (gate, &[target]) => self.controlled(mask, target, gate, first),
            (Gate::Swap, &[a, b]) => self.monomial(mask | 1 << a | 1 << b, |k| {
                let differ = (k >> a ^ k >> b) & 1 == 1 && k & mask == mask;
                (if differ { k ^ 1 << a ^ 1 << b } else { k }, 1.0)
            }),
            (Gate::PauliRotation(paulis, _), targets) => {
                let pauli = pauli_masks(paulis, targets);
                let tape = self.program.tapes;
                let segment = Segment::PauliRotation { mask, pauli, slot: first, tape };
                self.program.tapes += 1;
                self.push(segment, mask | pauli.x | pauli.z);
            }
            (gate, &[a, b]) => {
                let matrix = Box::new(flat4(&gate.matrix4(&[]).unwrap_or(crate::gate::IDENTITY4)));
                self.push(Segment::Two { mask, a, b, matrix }, mask | 1 << a | 1 << b);
            }
            _ => {}
        }
    }

    /// A controlled gate is controlled SU(2) and a phase on the controls.
    fn controlled(&mut self, mask: usize, qubit: usize, gate: &Gate, first: usize) {
        let (factors, phases) = su2(gate, first);
        let run = self.run(factors);
        let tape = self.program.tapes;
        self.program.tapes += 1;
        self.push(Segment::Controlled { mask, qubit, run, tape }, mask | 1 << qubit);
        match phases {
            Phases::Known(phi) if phi.abs() < 1e-15 => {}
            Phases::Known(phi) => {
                let (sin, cos) = phi.sin_cos();
                self.push(Segment::ConstantPhase { mask, cos, sin }, mask);
            }
            Phases::Half(slots) => slots.into_iter().for_each(|slot| self.phase(mask, slot, 0.5)),
        }
    }

    fn phase(&mut self, mask: usize, slot: usize, scale: f64) {
        let tape = self.program.tapes;
        self.program.tapes += 1;
        self.push(Segment::Phase { mask, slot, scale, tape }, mask);
    }

    /// Closes the qubits of `mask` and appends a segment.
    fn push(&mut self, segment: Segment, mask: usize) {
        self.close_all(mask);
        self.touch(mask, self.program.segments.len());
        self.program.segments.push(segment);
    }

    fn close_all(&mut self, mask: usize) {
        (0..self.open.len()).filter(|q| mask >> q & 1 == 1).for_each(|q| self.close(q));
    }

    fn touch(&mut self, mask: usize, segment: usize) {
        (0..self.open.len()).filter(|q| mask >> q & 1 == 1).for_each(|q| self.touched[q] = Some(segment));
    }

    /// Puts the open gates of a qubit into the last layer that comes after everything on it.
    fn close(&mut self, qubit: usize) {
        if self.open[qubit].is_empty() {
            return;
        }
        let factors = std::mem::take(&mut self.open[qubit]);
        let run = self.run(factors);
        let after = self.touched[qubit].map_or(0, |s| s + 1);
        let segments = &mut self.program.segments;
        let place = (after..segments.len()).rev().find(|&s| matches!(segments[s], Segment::Layer { .. }));
        let at = place.unwrap_or_else(|| {
            segments.push(Segment::Layer { runs: vec![], tape: self.program.tapes });
            self.program.tapes += 1;
            segments.len() - 1
        });
        if let Segment::Layer { runs, .. } = &mut segments[at] {
            runs.push((qubit, run));
        }
        self.touched[qubit] = Some(at);
    }

    /// Appends the map |k⟩ → sign |image⟩, joined with the last segment if that is a signed permutation too.
    fn monomial(&mut self, mask: usize, map: impl Fn(usize) -> (usize, f64)) {
        self.close_all(mask);
        let dimension = 1 << self.program.qubits;
        let latest =
            (0..self.open.len()).filter(|q| mask >> q & 1 == 1).filter_map(|q| self.touched[q]).max();
        let last = self.program.segments.len().wrapping_sub(1);
        let joins = latest.is_none_or(|s| s <= last)
            && matches!(self.program.segments.last(), Some(Segment::Monomial { .. }));
        if !joins {
            self.program.segments.push(Segment::Monomial {
                source: (0..dimension).collect(),
                sign: vec![1.0; dimension],
                negated: vec![],
                permutes: false,
            });
        }
        let last = self.program.segments.len() - 1;
        if let Segment::Monomial { source, sign, negated, permutes } = &mut self.program.segments[last] {
            let (mut new_source, mut new_sign) = (source.clone(), sign.clone());
            for k in 0..dimension {
                let (image, s) = map(k);
                new_source[image] = source[k];
                new_sign[image] = s * sign[k];
            }
            *permutes = new_source.iter().enumerate().any(|(k, s)| k != *s);
            *negated = (0..dimension).filter(|&k| new_sign[k] < 0.0).collect();
            (*source, *sign) = (new_source, new_sign);
        }
        self.touch(mask, last);
    }

    /// Groups factors into chunks.
    fn run(&mut self, factors: Vec<Factor>) -> usize {
        let program = &mut self.program;
        let mut run = Run::default();
        for factor in factors {
            if let Factor::Rotation(pauli, slot) = factor {
                run.wanted |= program.angles[slot].is_variable();
                if let Source::Lane(lane) = program.sources[slot] {
                    run.per_lane = true;
                    run.chunks.push(Chunk::Lane { pauli, lane });
                    continue;
                }
            }
            if let Some(Chunk::Uniform { factors, .. }) = run.chunks.last_mut() {
                factors.push(factor);
            } else {
                run.chunks.push(Chunk::Uniform { id: program.uniform_chunks, factors: vec![factor] });
                program.uniform_chunks += 1;
            }
        }
        program.runs.push(run);
        program.runs.len() - 1
    }
}

/// The phase that separates a gate from SU(2): a number, or half the sum of some angles.
enum Phases {
    Known(f64),
    Half(Vec<usize>),
}

/// A single-qubit gate as factors in SU(2).
fn su2(gate: &Gate, first: usize) -> (Vec<Factor>, Phases) {
    match gate {
        Gate::Rx(_) => (vec![Factor::Rotation(Pauli::X, first)], Phases::Known(0.0)),
        Gate::Ry(_) => (vec![Factor::Rotation(Pauli::Y, first)], Phases::Known(0.0)),
        Gate::Rz(_) => (vec![Factor::Rotation(Pauli::Z, first)], Phases::Known(0.0)),
        Gate::PauliRotation(paulis, _) if paulis.len() == 1 => {
            (vec![Factor::Rotation(paulis[0], first)], Phases::Known(0.0))
        }
        Gate::Phase(_) => (vec![Factor::Rotation(Pauli::Z, first)], Phases::Half(vec![first])),
        // U(θ, φ, λ) = e^{i(φ+λ)/2} RZ(φ) RY(θ) RZ(λ)
        Gate::U(..) => (
            vec![
                Factor::Rotation(Pauli::Z, first + 2),
                Factor::Rotation(Pauli::Y, first),
                Factor::Rotation(Pauli::Z, first + 1),
            ],
            Phases::Half(vec![first + 1, first + 2]),
        ),
        gate => {
            let m = gate.matrix2(&[]).unwrap_or(crate::gate::IDENTITY2);
            let (quaternion, phase) = quaternion(&m);
            (vec![Factor::Constant(quaternion)], Phases::Known(phase))
        }
    }
}

/// U = e^{iφ} (a − i(bX + cY + dZ))
fn quaternion(m: &Matrix2) -> (Quaternion, f64) {
    let root = (m[0][0] * m[1][1] - m[0][1] * m[1][0]).sqrt();
    let (u, v) = (m[0][0] / root, m[1][0] / root);
    ([u.re, -v.im, v.re, -u.im], root.arg())
}

/// p · q: first q, then p.
pub(super) fn multiply(p: &Quaternion, q: &Quaternion) -> Quaternion {
    [
        p[0] * q[0] - p[1] * q[1] - p[2] * q[2] - p[3] * q[3],
        p[0] * q[1] + p[1] * q[0] + p[2] * q[3] - p[3] * q[2],
        p[0] * q[2] + p[2] * q[0] + p[3] * q[1] - p[1] * q[3],
        p[0] * q[3] + p[3] * q[0] + p[1] * q[2] - p[2] * q[1],
    ]
}

/// The rotation R of Bloch vectors, U (v·σ) U† = (R v)·σ.
pub(super) fn bloch(q: &Quaternion) -> [[f64; 3]; 3] {
    let [a, b, c, d] = *q;
    [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a - b * b + c * c - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a - b * b - c * c + d * d],
    ]
}

/// The sign pattern of a Z-type string on all basis states.
pub(super) fn signs(qubits: usize, z: usize) -> Vec<f64> {
    (0..1 << qubits).map(|k| parity_sign(k, z)).collect()
}
