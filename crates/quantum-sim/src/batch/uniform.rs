//! What all inputs of a batch share: quaternions of the gates without inputs, and the gradient by the parameters.

use super::compile::{Chunk, Factor, Program, Quaternion, Source, bloch, multiply};
use super::engine::Workspace;
use super::kernel::Turn;
use crate::gate::{Angle, Pauli};
use crate::state_vector::kernel::{LANES, V};
use crate::state_vector::observable::total;

const ZERO: V = [0.0; LANES];

/// What is the same for all inputs, computed once per call.
#[derive(Clone, Debug)]
pub(super) struct Uniform {
    values: Vec<f64>,
    pub(super) trig: Vec<(f64, f64)>,
    pub(super) chunks: Vec<Quaternion>,
    pub(super) blochs: Vec<[[f64; 3]; 3]>,
    /// The quaternions of runs that are the same for all inputs.
    pub(super) turns: Vec<Turn>,
}

impl Uniform {
    pub(super) fn new(program: &Program) -> Self {
        Self {
            values: vec![0.0; program.angles.len()],
            trig: vec![(0.0, 1.0); program.angles.len()],
            chunks: vec![[1.0, 0.0, 0.0, 0.0]; program.uniform_chunks],
            blochs: vec![[[0.0; 3]; 3]; program.uniform_chunks],
            turns: vec![[ZERO; 4]; program.runs.len()],
        }
    }

    pub(super) fn bind(&mut self, program: &Program, parameters: &[f64]) {
        for (slot, (angle, source)) in program.angles.iter().zip(&program.sources).enumerate() {
            if matches!(source, Source::Uniform) {
                self.values[slot] = angle.value(parameters, &[]);
                self.trig[slot] = (0.5 * self.values[slot]).sin_cos();
            }
        }
        for (run, turn) in program.runs.iter().zip(&mut self.turns) {
            let mut whole = [1.0, 0.0, 0.0, 0.0];
            for chunk in &run.chunks {
                let Chunk::Uniform { id, factors } = chunk else { continue };
                let product = factors
                    .iter()
                    .fold([1.0, 0.0, 0.0, 0.0], |q, factor| multiply(&quaternion_of(factor, &self.trig), &q));
                self.chunks[*id] = product;
                self.blochs[*id] = bloch(&product);
                whole = multiply(&product, &whole);
            }
            *turn = whole.map(|x| [x; LANES]);
        }
    }

    /// Sums the tasks' overlaps and resolves them into parameter gradients.
    pub(super) fn gradient(&self, program: &Program, tasks: &[Workspace], by_parameter: &mut [f64]) {
        let mut by_slot = vec![0.0; program.angles.len()];
        for task in tasks {
            by_parameter.iter_mut().zip(&task.by_parameter).for_each(|(g, t)| *g += t);
            by_slot.iter_mut().zip(&task.by_slot).for_each(|(g, t)| *g += total(t));
        }
        for chunk in program.runs.iter().flat_map(|run| &run.chunks) {
            let Chunk::Uniform { id, factors } = chunk else { continue };
            let mut t = [0.0; 3];
            for task in tasks {
                (0..3).for_each(|axis| t[axis] += total(&task.overlaps[*id][axis]));
            }
            for factor in factors.iter().rev() {
                if let Factor::Rotation(pauli, slot) = factor {
                    by_slot[*slot] += t[axis_of(*pauli)];
                }
                t = taken_off(&bloch(&quaternion_of(factor, &self.trig)), t);
            }
        }
        for (angle, gradient) in program.angles.iter().zip(by_slot) {
            if let Angle::Parameter { index, scale, .. } = angle {
                by_parameter[*index] += scale * gradient;
            }
        }
    }
}

pub(super) fn axis_of(pauli: Pauli) -> usize {
    match pauli {
        Pauli::X => 0,
        Pauli::Y => 1,
        Pauli::Z => 2,
    }
}

fn quaternion_of(factor: &Factor, trig: &[(f64, f64)]) -> Quaternion {
    match factor {
        Factor::Constant(q) => *q,
        Factor::Rotation(pauli, slot) => {
            let (s, c) = trig[*slot];
            let mut q = [c, 0.0, 0.0, 0.0];
            q[1 + axis_of(*pauli)] = s;
            q
        }
    }
}

/// t before the gate with Bloch rotation R: Rᵀ t.
fn taken_off(r: &[[f64; 3]; 3], t: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|p| (0..3).map(|q| r[q][p] * t[q]).sum())
}
