//! Finding a plan's structure: which gates fuse, and what kernel each of the rest needs.

use super::kernel::Masks;
use super::plan::{Bound, Factor, Factor4, Fusion, Phase, Plan, Step, TILE, exchanged};
use crate::circuit::{Circuit, Operation};
use crate::gate::{Gate, IDENTITY4, Pauli};

/// Blocks that may still grow while the circuit is read.
pub(super) struct Compiler {
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
    pub(super) fn new(circuit: &Circuit, fusion: Fusion) -> Self {
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

    pub(super) fn add(&mut self, operation: &Operation) {
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

    pub(super) fn finish(mut self) -> Plan {
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
