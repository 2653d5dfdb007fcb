//! The adjoint method (Jones & Gacon 2020, arXiv:2009.02823) as a vector–Jacobian product.
//!
//! With λ = Σ_o v_o O_o ψ and gates taken off both states from the end, ∂E/∂θ_j = Im⟨λ|G_j|ψ⟩ where
//! ∂U_j/∂θ = (−i/2) G_j U_j. One backward pass serves all observables and all angles, and costs about three forward
//! passes; a run of rotations on one qubit is taken off as one matrix (see `taps`).

use super::taps;
use crate::circuit::Circuit;
use crate::error::{Result, same_length};
use crate::gate::{Matrix2, Pauli, adjoint2, conjugate2};
use crate::pauli::PauliSum;
use crate::state_vector::StateVector;
use crate::state_vector::kernel::{self, Inlined, M2, M4, Masks};
use crate::state_vector::observable;
use crate::state_vector::plan::{Bound, Factor, Fusion, Phase, Plan, Step};
use crate::state_vector::tile::{Part, Task};

/// Expectations of several observables of one circuit, and their gradients.
#[derive(Clone, Debug)]
pub struct Adjoint {
    pub(crate) plan: Plan,
    observables: Vec<PauliSum>,
    wanted: Wanted,
    parameters: Vec<f64>,
    inputs: Vec<f64>,
    values: Vec<f64>,
    psi: StateVector,
    back: StateVector,
    lambda: StateVector,
    sums: Vec<f64>,
    by_slot: Vec<f64>,
    by_parameter: Vec<f64>,
    by_input: Vec<f64>,
}

/// Which steps have an angle that varies, and where their overlaps are summed up.
#[derive(Clone, Debug)]
struct Wanted {
    runs: Vec<bool>,
    phases: Vec<bool>,
    slots: Vec<bool>,
}

impl Wanted {
    fn phase_at(&self, phase: usize) -> usize {
        4 * self.runs.len() + phase
    }

    fn slot_at(&self, slot: usize) -> usize {
        4 * self.runs.len() + self.phases.len() + slot
    }

    fn len(&self) -> usize {
        self.slot_at(self.slots.len())
    }
}

/// The gradient of Σ_o v_o ⟨O_o⟩.
#[derive(Clone, Copy, Debug)]
pub struct Gradient<'a> {
    /// By the circuit's parameters, shared ones summed over their uses.
    pub parameters: &'a [f64],
    /// By the inputs that angles encode.
    pub inputs: &'a [f64],
}

/// Values and derivatives of all observables.
#[derive(Clone, Debug, PartialEq)]
pub struct Jacobian {
    /// ⟨O_o⟩
    pub values: Vec<f64>,
    /// `[o][p]`
    pub parameters: Vec<Vec<f64>>,
    /// `[o][i]`
    pub inputs: Vec<Vec<f64>>,
}

impl Adjoint {
    /// Compiles a circuit for the given observables.
    ///
    /// # Errors
    /// When the circuit is not unitary or too large, or an observable acts outside it.
    pub fn new(circuit: &Circuit, observables: Vec<PauliSum>) -> Result<Self> {
        let plan = Plan::with_fusion(circuit, Fusion::Runs)?;
        let psi = StateVector::zero(circuit.qubits())?;
        observables.iter().try_for_each(|o| psi.check_observable(o))?;
        let slots: Vec<bool> = plan.angles.iter().map(|a| a.is_variable()).collect();
        let varies = |factor: &Factor| match factor {
            Factor::Rotation(_, slot) => slots[*slot],
            Factor::Other { first_slot, angles, .. } => slots[*first_slot..][..*angles].contains(&true),
            Factor::Constant(_) => false,
        };
        let runs = plan.runs.iter().map(|run| run.iter().any(varies)).collect();
        let phases = plan.phases.iter().map(|p| matches!(p, Phase::Slot(slot) if slots[*slot])).collect();
        let wanted = Wanted { runs, phases, slots };
        Ok(Self {
            parameters: vec![0.0; plan.parameters],
            inputs: vec![0.0; plan.inputs],
            values: vec![0.0; observables.len()],
            back: psi.clone(),
            lambda: psi.clone(),
            psi,
            sums: vec![0.0; wanted.len()],
            by_slot: vec![0.0; plan.angles.len()],
            by_parameter: vec![0.0; plan.parameters],
            by_input: vec![0.0; plan.inputs],
            plan,
            observables,
            wanted,
        })
    }

    /// Runs the circuit and returns ⟨O_o⟩ of every observable.
    ///
    /// # Errors
    /// When the numbers of parameters or inputs differ from the circuit's.
    pub fn forward(&mut self, parameters: &[f64], inputs: &[f64]) -> Result<&[f64]> {
        self.plan.run(parameters, inputs, &mut self.psi)?;
        self.parameters.copy_from_slice(parameters);
        self.inputs.copy_from_slice(inputs);
        let (re, im) = self.psi.padded();
        let (observables, values) = (&self.observables, &mut self.values);
        self.plan.arch.dispatch(Inlined(
            #[inline(always)]
            || {
                for (value, observable) in values.iter_mut().zip(observables) {
                    *value = observable::sum_expectation(re, im, observable);
                }
            },
        ));
        Ok(&self.values)
    }

    /// The state of the last [`Adjoint::forward`].
    pub fn state(&self) -> &StateVector {
        &self.psi
    }

    /// The gradient of Σ_o v_o ⟨O_o⟩ at the point of the last [`Adjoint::forward`].
    ///
    /// # Errors
    /// When there are not as many weights as observables.
    pub fn backward(&mut self, weights: &[f64]) -> Result<Gradient<'_>> {
        same_length("backward", "weights", self.observables.len(), weights.len())?;
        let (re, im) = self.psi.padded();
        let (out_re, out_im) = self.lambda.parts_mut();
        out_re.fill(0.0);
        out_im.fill(0.0);
        let observables = &self.observables;
        self.plan.arch.dispatch(Inlined(
            #[inline(always)]
            || {
                for (observable, v) in observables.iter().zip(weights).filter(|(_, v)| **v != 0.0) {
                    for (coefficient, p) in observable.terms() {
                        let out = (&mut *out_re, &mut *out_im);
                        observable::accumulate((re, im), Masks::from(p), v * coefficient, out);
                    }
                }
            },
        ));
        Ok(self.pull_back())
    }

    /// F = |⟨target|ψ⟩|² and its gradient at the point of the last [`Adjoint::forward`]: λ = |target⟩⟨target|ψ⟩.
    ///
    /// # Errors
    /// When the target has another number of qubits.
    pub fn backward_fidelity(&mut self, target: &StateVector) -> Result<(f64, Gradient<'_>)> {
        let overlap = target.inner(&self.psi)?;
        let (tre, tim) = target.padded();
        let (re, im) = self.lambda.parts_mut();
        for k in 0..re.len() {
            re[k] = overlap.re * tre[k] - overlap.im * tim[k];
            im[k] = overlap.re * tim[k] + overlap.im * tre[k];
        }
        Ok((overlap.norm_sqr(), self.pull_back()))
    }

    /// All values and derivatives: one backward pass per observable.
    ///
    /// # Errors
    /// As [`Adjoint::forward`].
    pub fn jacobian(&mut self, parameters: &[f64], inputs: &[f64]) -> Result<Jacobian> {
        let values = self.forward(parameters, inputs)?.to_vec();
        let mut jacobian = Jacobian { values, parameters: vec![], inputs: vec![] };
        for o in 0..self.observables.len() {
            let weights: Vec<f64> =
                (0..self.observables.len()).map(|k| f64::from(u8::from(k == o))).collect();
            let gradient = self.backward(&weights)?;
            jacobian.parameters.push(gradient.parameters.to_vec());
            jacobian.inputs.push(gradient.inputs.to_vec());
        }
        Ok(jacobian)
    }

    /// ∂E/∂angle of every angle of the circuit, in order, at the last backward pass.
    pub(crate) fn by_slot(&self) -> &[f64] {
        &self.by_slot
    }

    /// Takes the gates off ψ and λ, then applies the chain rule.
    fn pull_back(&mut self) -> Gradient<'_> {
        self.back.clone_from(&self.psi);
        self.sums.fill(0.0);
        let (re, im) = self.back.parts_mut();
        let (lre, lim) = self.lambda.parts_mut();
        let plan = &mut self.plan;
        let (arch, bound, wanted, sums) = (plan.arch, &plan.bound, &self.wanted, &mut self.sums);
        if plan.passes.is_empty() {
            let steps = &plan.steps;
            arch.dispatch(Inlined(
                #[inline(always)]
                || take_off(steps, bound, wanted, (&mut *re, &mut *im), (&mut *lre, &mut *lim), sums),
            ));
        } else {
            for pass in plan.passes.iter().rev() {
                if pass.is_whole() {
                    let steps = &pass.steps;
                    arch.dispatch(Inlined(
                        #[inline(always)]
                        || take_off(steps, bound, wanted, (&mut *re, &mut *im), (&mut *lre, &mut *lim), sums),
                    ));
                    continue;
                }
                plan.scratch.prepare(2, sums.len());
                let states = [Part::new(re, im), Part::new(lre, lim)];
                let leaf = |parts: &mut [Vec<Part>; 2], top: usize, task: &mut Task| {
                    arch.dispatch(Inlined(
                        #[inline(always)]
                        || {
                            pass.tiles(
                                parts,
                                top,
                                task,
                                #[inline(always)]
                                |[psi, lambda]: [(&mut [f64], &mut [f64]); 2], sums: &mut [f64]| {
                                    take_off(&pass.steps, bound, wanted, psi, lambda, sums);
                                },
                            );
                        },
                    ));
                };
                pass.share(states, &mut plan.scratch, &leaf);
                plan.scratch.total(sums);
            }
        }
        self.chain_rule();
        Gradient { parameters: &self.by_parameter, inputs: &self.by_input }
    }

    /// From overlaps to angles, from angles to parameters and inputs.
    fn chain_rule(&mut self) {
        let Self { plan, wanted, sums, by_slot, by_parameter, by_input, .. } = self;
        by_slot.fill(0.0);
        for (matrix, run) in plan.runs.iter().enumerate().filter(|(m, _)| wanted.runs[*m]) {
            let t = [sums[4 * matrix], sums[4 * matrix + 1], sums[4 * matrix + 2], sums[4 * matrix + 3]];
            run_gradient(run, t, &plan.bound, by_slot);
        }
        for (phase, source) in plan.phases.iter().enumerate() {
            if let Phase::Slot(slot) = source {
                // ∂U/∂φ = i Π U
                by_slot[*slot] -= 2.0 * sums[wanted.phase_at(phase)];
            }
        }
        for (slot, gradient) in by_slot.iter_mut().enumerate() {
            *gradient += sums[wanted.slot_at(slot)];
        }
        by_parameter.fill(0.0);
        by_input.fill(0.0);
        let point = (&self.parameters[..], &self.inputs[..]);
        for (angle, gradient) in plan.angles.iter().zip(by_slot.iter()) {
            angle.pull_back(*gradient, point, (by_parameter, by_input));
        }
    }
}

/// U†, flat.
#[inline(always)]
fn inverse2(m: &M2) -> M2 {
    [m[0], -m[1], m[4], -m[5], m[2], -m[3], m[6], -m[7]]
}

#[inline(always)]
fn inverse4(m: &M4) -> M4 {
    std::array::from_fn(|k| {
        let [re, im] = m[4 * (k % 4) + k / 4];
        [re, -im]
    })
}

/// Walks the steps backwards over both states (or tiles of them) and adds the overlaps to `sums`.
#[inline(always)]
fn take_off(
    steps: &[Step],
    bound: &Bound,
    wanted: &Wanted,
    (re, im): taps::Parts,
    (lre, lim): taps::Parts,
    sums: &mut [f64],
) {
    for step in steps.iter().rev() {
        match *step {
            Step::One { qubit, matrix } => {
                let back = inverse2(&bound.m2[matrix]);
                if wanted.runs[matrix] {
                    let t = taps::tap_one((re, im), (lre, lim), qubit, &back);
                    for (sum, t) in sums[4 * matrix + 1..].iter_mut().zip(t) {
                        *sum += t;
                    }
                } else {
                    kernel::one(re, im, qubit, &back);
                    kernel::one(lre, lim, qubit, &back);
                }
            }
            Step::ControlledOne { mask, qubit, matrix } => {
                let back = inverse2(&bound.m2[matrix]);
                if wanted.runs[matrix] {
                    let t = taps::tap_controlled((re, im), (lre, lim), mask, qubit);
                    for (sum, t) in sums[4 * matrix..].iter_mut().zip(t) {
                        *sum += t;
                    }
                }
                kernel::controlled_one(re, im, mask, qubit, &back);
                kernel::controlled_one(lre, lim, mask, qubit, &back);
            }
            Step::Cx { control, target } => {
                kernel::cx(re, im, control, target);
                kernel::cx(lre, lim, control, target);
            }
            Step::MultiControlledX { mask, target } => {
                kernel::multi_controlled_x(re, im, mask, target);
                kernel::multi_controlled_x(lre, lim, mask, target);
            }
            Step::Phase { mask, phase } => {
                if wanted.phases[phase] {
                    sums[wanted.phase_at(phase)] += taps::tap_projector((re, im), (lre, lim), mask);
                }
                let (c, s) = bound.phases[phase];
                kernel::phase(re, im, mask, (c, -s));
                kernel::phase(lre, lim, mask, (c, -s));
            }
            Step::Swap { mask, a, b } => {
                kernel::swap(re, im, mask, a, b);
                kernel::swap(lre, lim, mask, a, b);
            }
            Step::Two { mask, a, b, matrix } => {
                let back = inverse4(&bound.m4[matrix]);
                kernel::two(re, im, mask, (a, b), &back);
                kernel::two(lre, lim, mask, (a, b), &back);
            }
            Step::PauliRotation { mask, pauli, slot } => {
                if wanted.slots[slot] {
                    sums[wanted.slot_at(slot)] += taps::tap_pauli((re, im), (lre, lim), mask, pauli);
                }
                let (s, c) = bound.trig[slot];
                kernel::pauli_rotation(re, im, mask, pauli, (-s, c));
                kernel::pauli_rotation(lre, lim, mask, pauli, (-s, c));
            }
        }
    }
}

/// Adds the derivatives of a run's angles; t = Im⟨λ|P|ψ⟩ for P = 1, X, Y, Z behind the last gate.
fn run_gradient(run: &[Factor], mut t: [f64; 4], bound: &Bound, by_slot: &mut [f64]) {
    for factor in run.iter().rev() {
        match factor {
            Factor::Rotation(pauli, slot) => {
                let (s, c) = bound.trig[*slot];
                let (sin, cos) = (2.0 * s * c, c * c - s * s);
                // Taking off RZ turns (X, Y), RX turns (Y, Z), RY turns (Z, X).
                let (axis, i, j) = match pauli {
                    Pauli::X => (1, 2, 3),
                    Pauli::Y => (2, 3, 1),
                    Pauli::Z => (3, 1, 2),
                };
                by_slot[*slot] += t[axis];
                (t[i], t[j]) = (cos * t[i] + sin * t[j], cos * t[j] - sin * t[i]);
            }
            Factor::Other { gate, first_slot, angles } => {
                let values = &bound.values[*first_slot..][..*angles];
                for (j, generator) in gate.generators2(values).iter().enumerate() {
                    by_slot[first_slot + j] += (0..4).map(|p| component(generator, p) * t[p]).sum::<f64>();
                }
                t = taken_off(&factor.matrix(&bound.values, &bound.trig), t);
            }
            Factor::Constant(m) => t = taken_off(m, t),
        }
    }
}

/// ½ Tr(P G) of a Hermitian G, P = 1, X, Y, Z.
fn component(g: &Matrix2, p: usize) -> f64 {
    0.5 * match p {
        0 => g[0][0].re + g[1][1].re,
        1 => g[0][1].re + g[1][0].re,
        2 => g[1][0].im - g[0][1].im,
        _ => g[0][0].re - g[1][1].re,
    }
}

/// t before the gate A: t'_P = Σ_Q ½Tr(Q A P A†) t_Q.
fn taken_off(a: &Matrix2, t: [f64; 4]) -> [f64; 4] {
    let mut before = [t[0], 0.0, 0.0, 0.0];
    for (p, pauli) in [Pauli::X, Pauli::Y, Pauli::Z].into_iter().enumerate() {
        let moved = conjugate2(a, &pauli.matrix());
        before[p + 1] = (1..4).map(|q| component(&moved, q) * t[q]).sum();
    }
    debug_assert!(adjoint2(&adjoint2(a)) == *a);
    before
}
