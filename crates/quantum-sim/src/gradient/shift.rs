//! Parameter-shift rules: exact derivatives from evaluations at shifted angles, as a quantum computer has to do it.
//!
//! A rotation with generator eigenvalues ±½ takes two terms, f' = ½[f(θ+π/2) − f(θ−π/2)] (Mitarai et al. 2018; Schuld
//! et al. 2019); a controlled rotation has frequencies ½ and 1 and takes four (Anselmetti et al. 2021); any known set
//! of frequencies is served by [`general_shift_rule`] (Wierichs et al. 2022). Shared parameters sum over their uses.

use crate::circuit::Circuit;
use crate::error::{Error, Result};
use crate::gate::{Angle, Gate};
use crate::pauli::PauliSum;
use crate::{Adjoint, Plan, StateVector};
use nalgebra::{DMatrix, DVector};
use std::f64::consts::{FRAC_PI_2, PI, SQRT_2};

/// f'(0) = Σ c [f(s) − f(−s)] over pairs (s, c).
pub(crate) type Rule = Vec<(f64, f64)>;

/// The rule for one angle of a gate.
pub(crate) fn rule(gate: &Gate, which: usize, controlled: bool) -> Rule {
    let phase_like = match gate {
        Gate::Phase(_) | Gate::GlobalPhase(_) => true,
        Gate::U(..) => which > 0,
        _ => false,
    };
    if !controlled || phase_like {
        return vec![(FRAC_PI_2, 0.5)];
    }
    let scale = 4.0 * SQRT_2;
    vec![(FRAC_PI_2, (SQRT_2 + 1.0) / scale), (3.0 * FRAC_PI_2, -(SQRT_2 - 1.0) / scale)]
}

/// The rule of every angle of a circuit, in order.
pub(crate) fn rules(circuit: &Circuit) -> Result<Vec<Rule>> {
    let mut rules = vec![];
    for operation in circuit.operations()? {
        let controlled = !operation.controls.is_empty();
        let angles = operation.gate.angles().len();
        rules.extend((0..angles).map(|which| rule(&operation.gate, which, controlled)));
    }
    Ok(rules)
}

/// The shift rule for a function with the given positive frequencies: pairs (s, c) with f'(0) = Σ c [f(s) − f(−s)].
///
/// R equidistant frequencies Ω, 2Ω, …, RΩ get the closed form of Wierichs et al. (2022, eq. 24) with
/// s = (2m−1)π/(2RΩ); other sets the solution of Σ_m 2 c_m sin(Ω_l s_m) = Ω_l.
///
/// # Errors
/// When there are no frequencies, one is not positive, or two coincide.
pub fn general_shift_rule(frequencies: &[f64]) -> Result<Vec<(f64, f64)>> {
    let mut sorted = frequencies.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let distinct = sorted.windows(2).all(|w| w[1] - w[0] > 1e-9);
    if sorted.first().is_none_or(|&f| f <= 0.0) || !distinct || !sorted.iter().all(|f| f.is_finite()) {
        return Err(Error::unsupported("shift rule", "the frequencies must be positive and distinct"));
    }
    let r = sorted.len();
    let spacing = sorted[0];
    let equidistant =
        sorted.iter().enumerate().all(|(k, f)| (f - spacing * (k + 1) as f64).abs() < 1e-12 * f);
    let unit = sorted[r - 1] / r as f64;
    let shifts: Vec<f64> = (1..=r).map(|m| (2 * m - 1) as f64 * PI / (2.0 * r as f64 * unit)).collect();
    if equidistant {
        // The closed form runs over 2R points on the circle; f(x_{2R+1−m}) = f(−x_m) by periodicity.
        let coefficient = |m: usize, s: f64| {
            let sign = if m.is_multiple_of(2) { 1.0 } else { -1.0 };
            spacing * sign / (4.0 * r as f64 * (spacing * s / 2.0).sin().powi(2))
        };
        return Ok(shifts.iter().enumerate().map(|(m, &s)| (s, coefficient(m, s))).collect());
    }
    let sines = DMatrix::from_fn(r, r, |l, m| 2.0 * (sorted[l] * shifts[m]).sin());
    let target = DVector::from_vec(sorted);
    let Some(coefficients) = sines.lu().solve(&target) else {
        return Err(Error::unsupported("shift rule", "these frequencies give a singular system"));
    };
    Ok(shifts.into_iter().zip(coefficients.iter().copied()).collect())
}

/// Gradients of one observable by parameter shifts.
#[derive(Clone, Debug)]
pub struct ParameterShift {
    plan: Plan,
    rules: Vec<Rule>,
    state: StateVector,
    observable: PauliSum,
}

impl ParameterShift {
    /// Compiles a circuit.
    ///
    /// # Errors
    /// When the circuit is not unitary or the observable acts outside it.
    pub fn new(circuit: &Circuit, observable: PauliSum) -> Result<Self> {
        let state = StateVector::zero(circuit.qubits())?;
        state.check_observable(&observable)?;
        Ok(Self { plan: Plan::new(circuit)?, rules: rules(circuit)?, state, observable })
    }

    /// ⟨O⟩
    ///
    /// # Errors
    /// When the numbers of parameters or inputs differ from the circuit's.
    pub fn value(&mut self, parameters: &[f64], inputs: &[f64]) -> Result<f64> {
        self.plan.run(parameters, inputs, &mut self.state)?;
        self.state.expectation(&self.observable)
    }

    /// The gradients by parameters and inputs.
    ///
    /// # Errors
    /// As [`ParameterShift::value`].
    pub fn gradient(&mut self, parameters: &[f64], inputs: &[f64]) -> Result<(Vec<f64>, Vec<f64>)> {
        let angles = self.plan.angles.clone();
        let mut by = (vec![0.0; parameters.len()], vec![0.0; inputs.len()]);
        self.value(parameters, inputs)?;
        for (slot, angle) in angles.iter().enumerate().filter(|(_, a)| a.is_variable()) {
            let mut derivative = 0.0;
            for (s, c) in self.rules[slot].clone() {
                derivative += c
                    * (self.shifted(slot, s, parameters, inputs)?
                        - self.shifted(slot, -s, parameters, inputs)?);
            }
            angle.pull_back(derivative, (parameters, inputs), (&mut by.0, &mut by.1));
        }
        Ok(by)
    }

    fn shifted(&mut self, slot: usize, shift: f64, parameters: &[f64], inputs: &[f64]) -> Result<f64> {
        let angle = self.plan.angles[slot];
        // A constant angle for this slot alone, so that shared parameters shift one use at a time.
        self.plan.angles[slot] = Angle::Fixed(angle.value(parameters, inputs) + shift);
        let value = self.value(parameters, inputs);
        self.plan.angles[slot] = angle;
        value
    }

    /// Diagonal second derivatives of rotations: f'' = ½[f(θ+π) − f(θ)], per use of a two-term angle that is exactly
    /// one parameter.
    ///
    /// # Errors
    /// When a parameter is used more than once or by a gate without a two-term rule.
    pub fn hessian_diagonal(&mut self, parameters: &[f64], inputs: &[f64]) -> Result<Vec<f64>> {
        let mut diagonal = vec![None; parameters.len()];
        let centre = self.value(parameters, inputs)?;
        for (slot, angle) in self.plan.angles.clone().into_iter().enumerate() {
            let Angle::Parameter { index, scale, .. } = angle else { continue };
            if diagonal[index].is_some() || self.rules[slot].len() != 1 {
                let reason = format!("parameter {index} is shared or controlled; use `hessian`");
                return Err(Error::unsupported("Hessian diagonal", reason));
            }
            let far = self.shifted(slot, PI, parameters, inputs)?;
            diagonal[index] = Some(scale * scale * (far - centre) / 2.0);
        }
        Ok(diagonal.into_iter().map(|d| d.unwrap_or(0.0)).collect())
    }
}

/// The Hessian ∂²⟨O⟩/∂p∂q: shift rules on adjoint gradients, two or four gradients per angle.
///
/// # Errors
/// As [`Adjoint::new`] and [`Adjoint::forward`], and when angles encode inputs.
pub fn hessian(circuit: &Circuit, observable: &PauliSum, parameters: &[f64]) -> Result<Vec<Vec<f64>>> {
    let mut adjoint = Adjoint::new(circuit, vec![observable.clone()])?;
    let rules = rules(circuit)?;
    let mut hessian = vec![vec![0.0; parameters.len()]; parameters.len()];
    for (slot, angle) in adjoint.plan.angles.clone().into_iter().enumerate() {
        let Angle::Parameter { index, scale, .. } = angle else { continue };
        for &(s, c) in &rules[slot] {
            for (shift, sign) in [(s, c), (-s, -c)] {
                adjoint.plan.angles[slot] = Angle::Fixed(angle.value(parameters, &[]) + shift);
                adjoint.forward(parameters, &[])?;
                adjoint.backward(&[1.0])?;
                // The chain rule through every slot, this one included.
                adjoint.plan.angles[slot] = angle;
                for (other, gradient) in adjoint.plan.angles.iter().zip(adjoint.by_slot()) {
                    if let Angle::Parameter { index: column, scale: factor, .. } = *other {
                        hessian[index][column] += sign * scale * factor * gradient;
                    }
                }
            }
        }
    }
    Ok(hessian)
}
