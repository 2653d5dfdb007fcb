//! Error mitigation: zero-noise extrapolation and probabilistic error cancellation.
//!
//! Temme, Bravyi & Gambetta (2017); unitary folding after Giurgica-Tiron et al. (2020).

use crate::circuit::{Circuit, Instruction};
use crate::error::{Error, Result, within};
use crate::noise::pauli_gate;
use crate::pauli::PauliSum;
use crate::state_vector::StateVector;
use rand::{Rng, RngExt};

/// U (U†U)^k plus a partial fold of the last gates, so that the number of gates grows by `scale` ≥ 1 as nearly as whole
/// gates allow: (scale − 1)/2 · d gates are folded in all, d being the number of gates.
///
/// # Errors
/// When the circuit is not unitary or `scale` is below 1.
pub fn fold_global(circuit: &Circuit, scale: f64) -> Result<Circuit> {
    within("fold", "scale", scale, (1.0, 1e6), "1 or more")?;
    let operations = circuit.operations()?;
    let gates = operations.len();
    let folds = ((scale - 1.0) / 2.0 * gates as f64).round() as usize;
    let mut folded = circuit.clone();
    let inverse = circuit.inverse()?;
    for _ in 0..folds.checked_div(gates).unwrap_or(0) {
        folded.append(&inverse)?.append(circuit)?;
    }
    let partial = &operations[gates - folds.checked_rem(gates).unwrap_or(0)..];
    for operation in partial.iter().rev() {
        folded.push_instruction(Instruction::Gate(operation.inverse()));
    }
    for operation in partial {
        folded.push_instruction(Instruction::Gate((*operation).clone()));
    }
    Ok(folded)
}

/// Richardson extrapolation to scale 0: Σ_i y_i Π_{j≠i} s_j/(s_j − s_i), exact for polynomials of degree one less than
/// the number of points.
///
/// # Errors
/// When lengths differ or scales repeat.
pub fn richardson(scales: &[f64], values: &[f64]) -> Result<f64> {
    points("Richardson", scales, values, 1)?;
    let weight = |i: usize| -> f64 {
        (0..scales.len()).filter(|&j| j != i).map(|j| scales[j] / (scales[j] - scales[i])).product()
    };
    Ok(values.iter().enumerate().map(|(i, y)| y * weight(i)).sum())
}

/// The intercept of the least-squares line.
///
/// # Errors
/// When lengths differ, scales repeat, or there are fewer than two points.
pub fn linear(scales: &[f64], values: &[f64]) -> Result<f64> {
    points("linear extrapolation", scales, values, 2)?;
    let n = scales.len() as f64;
    let (x, y) = (scales.iter().sum::<f64>() / n, values.iter().sum::<f64>() / n);
    let slope = scales.iter().zip(values).map(|(s, v)| (s - x) * (v - y)).sum::<f64>()
        / scales.iter().map(|s| (s - x).powi(2)).sum::<f64>();
    Ok(y - slope * x)
}

fn points(operation: &'static str, scales: &[f64], values: &[f64], least: usize) -> Result<()> {
    if scales.len() != values.len() || scales.len() < least {
        return Err(Error::shape(
            operation,
            format!("{least} or more pairs"),
            format!("{} and {}", scales.len(), values.len()),
        ));
    }
    let repeats = (0..scales.len()).any(|i| (0..i).any(|j| scales[i] == scales[j]));
    match repeats {
        true => Err(Error::unsupported(operation, "two scales are equal")),
        false => Ok(()),
    }
}

/// The inverse of single-qubit depolarising noise as a quasi-probability over I, X, Y, Z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InverseDepolarizing {
    /// η_I = (1 + 3/f)/4 with f = 1 − 4p/3.
    pub eta_identity: f64,
    /// η_X = η_Y = η_Z = (1 − 1/f)/4, negative.
    pub eta_pauli: f64,
    /// γ = Σ|η| ≥ 1: each gate multiplies the number of shots by γ².
    pub gamma: f64,
}

impl InverseDepolarizing {
    /// The inverse of depolarising(p).
    ///
    /// # Errors
    /// When p is not in [0, 3/4): at 3/4 the channel cannot be undone.
    pub fn new(p: f64) -> Result<Self> {
        within("inverse channel", "p", p, (0.0, 0.75 - 1e-9), "in [0, 3/4)")?;
        let f = 1.0 - 4.0 * p / 3.0;
        let (eta_identity, eta_pauli) = ((1.0 + 3.0 / f) / 4.0, (1.0 - 1.0 / f) / 4.0);
        Ok(Self { eta_identity, eta_pauli, gamma: eta_identity - 3.0 * eta_pauli })
    }
}

/// Probabilistic error cancellation for circuits with depolarising(p) behind every gate on each of its qubits: an
/// unbiased estimate of the noiseless ⟨O⟩ from `samples` noisy trajectories; returns mean and standard error.
///
/// # Errors
/// When the circuit is not unitary, has unbound parameters, or p is out of range.
pub fn cancel_depolarizing(
    circuit: &Circuit,
    p: f64,
    observable: &PauliSum,
    samples: usize,
    rng: &mut impl Rng,
) -> Result<(f64, f64)> {
    let inverse = InverseDepolarizing::new(p)?;
    let operations = circuit.operations()?;
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in 0..samples {
        let mut state = StateVector::zero(circuit.qubits())?;
        let mut weight = 1.0;
        for operation in &operations {
            state.apply(operation)?;
            for qubit in operation.qubits() {
                // The device's noise, then the sampled correction.
                let u: f64 = rng.random();
                let noise = if u < p { 1 + (3.0 * u / p) as usize % 3 } else { 0 };
                let u = rng.random::<f64>() * inverse.gamma;
                let fix = if u < inverse.eta_identity {
                    0
                } else {
                    weight = -weight;
                    1 + ((u - inverse.eta_identity) / -inverse.eta_pauli) as usize % 3
                };
                weight *= inverse.gamma;
                for k in [noise, fix] {
                    if k > 0 {
                        let (targets, controls) = (vec![qubit], vec![]);
                        state.apply(&crate::Operation { gate: pauli_gate(k), targets, controls })?;
                    }
                }
            }
        }
        let value = weight * state.expectation(observable)?;
        sum += value;
        squares += value * value;
    }
    let n = samples.max(1) as f64;
    let mean = sum / n;
    Ok((mean, ((squares / n - mean * mean).max(0.0) / n).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Channel, DensityMatrix, NoiseModel, Readout, noise::project_to_simplex};
    use rand::SeedableRng;
    use rl_core::StreamRng;

    fn circuit() -> Circuit {
        let mut c = Circuit::new(2).unwrap();
        c.ry(0, 0.8).unwrap().cx(0, 1).unwrap().rx(1, -0.4).unwrap().cx(1, 0).unwrap();
        c
    }

    #[test]
    fn folding_keeps_the_unitary_and_scales_the_gates() {
        let c = circuit();
        let ideal = StateVector::from_circuit(&c, &[], &[]).unwrap();
        for (scale, gates) in [(1.0, 4), (1.5, 6), (2.0, 8), (3.0, 12), (5.0, 20)] {
            let folded = fold_global(&c, scale).unwrap();
            assert_eq!(folded.operations().unwrap().len(), gates);
            let state = StateVector::from_circuit(&folded, &[], &[]).unwrap();
            assert!((state.fidelity(&ideal).unwrap() - 1.0).abs() < 1e-12);
        }
        assert!(fold_global(&c, 0.5).is_err());
    }

    const SCALES: [f64; 3] = [1.0, 3.0, 5.0];

    fn model(p: f64, behind_two: Channel) -> NoiseModel {
        NoiseModel { one_qubit: vec![Channel::Depolarizing(p)], multi_qubit: vec![behind_two] }
    }

    fn folded(circuit: &Circuit, noise: &NoiseModel, o: &PauliSum) -> [f64; 3] {
        SCALES.map(|s| {
            let noisy = noise.apply(&fold_global(circuit, s).unwrap()).unwrap();
            DensityMatrix::from_circuit(&noisy, &[], &[]).unwrap().expectation(o).unwrap()
        })
    }

    /// Each Pauli component decays as e^{−λs} with λ ≤ x = Σ ln 1/f over the noisy places, f = 1 − 4p/3 behind one qubit and
    /// 1 − 16p/15 behind two. The quadratic through 1, 3, 5 misses such a curve at 0 by at most x³/3! · 1·3·5.
    #[test]
    fn richardson_is_of_third_order_where_the_noise_commutes_with_its_gate() {
        let (c, o): (_, PauliSum) = (circuit(), "Z0 Z1".parse().unwrap());
        let ideal = StateVector::from_circuit(&c, &[], &[]).unwrap().expectation(&o).unwrap();
        for p in [0.02, 0.01, 0.005] {
            let values = folded(&c, &model(p, Channel::Depolarizing2(p)), &o);
            let x: f64 = -2.0 * (1.0 - 4.0 * p / 3.0f64).ln() - 2.0 * (1.0 - 16.0 * p / 15.0f64).ln();
            let error = (richardson(&SCALES, &values).unwrap() - ideal).abs();
            assert!(error < 2.5 * x.powi(3), "p = {p}: {error}, bound {}", 2.5 * x.powi(3));
            assert!(error < 0.05 * (values[0] - ideal).abs());
            assert!((linear(&SCALES, &values).unwrap() - ideal).abs() < 0.5 * (values[0] - ideal).abs());
        }
        assert!(richardson(&[1.0, 1.0], &[0.0, 0.0]).is_err() && linear(&[1.0], &[0.0]).is_err());
    }

    /// Single-qubit noise behind a CNOT: folding leaves ½(E_behind − E_before) at first order, whatever the extrapolation.
    #[test]
    fn folding_leaves_half_the_difference_between_noise_behind_and_before() {
        let (c, o): (_, PauliSum) = (circuit(), "Z0 Z1".parse().unwrap());
        let ideal = StateVector::from_circuit(&c, &[], &[]).unwrap().expectation(&o).unwrap();
        let p = 0.001;
        let values = folded(&c, &model(p, Channel::Depolarizing(p)), &o);
        let mut before = c.cleared();
        for operation in c.operations().unwrap() {
            for q in operation.qubits() {
                before.noise(Channel::Depolarizing(p), &[q]).unwrap();
            }
            before.push(operation.gate.clone(), &operation.targets, &operation.controls).unwrap();
        }
        let before = DensityMatrix::from_circuit(&before, &[], &[]).unwrap().expectation(&o).unwrap();
        let (bias, expected) = (richardson(&SCALES, &values).unwrap() - ideal, 0.5 * (values[0] - before));
        // Six noisy places: the second order is x² = (6 · 4p/3)².
        let x = 6.0 * 4.0 * p / 3.0;
        assert!(expected.abs() > 4e-4 && (bias - expected).abs() < x * x, "{bias} for {expected}");
    }

    #[test]
    fn cancellation_is_unbiased() {
        let (c, o) = (circuit(), "Z0 Z1".parse().unwrap());
        let ideal = StateVector::from_circuit(&c, &[], &[]).unwrap().expectation(&o).unwrap();
        let mut rng = StreamRng::seed_from_u64(1);
        let (mean, error) = cancel_depolarizing(&c, 0.05, &o, 4000, &mut rng).unwrap();
        assert!(error < 0.05 && (mean - ideal).abs() < 4.0 * error, "{mean} ± {error} for {ideal}");
    }

    #[test]
    fn readout_mitigation_inverts_the_confusion() {
        let readout = Readout::new(vec![0.02, 0.1, 0.05], vec![0.07, 0.03, 0.2]).unwrap();
        let truth = [0.3, 0.0, 0.1, 0.05, 0.25, 0.1, 0.0, 0.2];
        let back = readout.mitigate(&readout.apply(&truth).unwrap()).unwrap();
        back.iter().zip(truth).for_each(|(a, b)| assert!((a - b).abs() < 1e-14));
        let p = project_to_simplex(&[0.6, -0.1, 0.5]);
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-14 && p[1] == 0.0 && (p[0] - 0.55).abs() < 1e-14);
        assert!(readout.apply(&[1.0]).is_err() && Readout::new(vec![1.5], vec![0.0]).is_err());
        assert!(Readout::new(vec![0.5], vec![0.5]).unwrap().mitigate(&[0.5, 0.5]).is_err());
    }
}
