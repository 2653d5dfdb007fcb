//! From observations to the inputs of a circuit: angles, bits, or the amplitudes of a state.

use crate::circuit::Circuit;
use crate::error::{Result, same_length};
use crate::gate::{Activation, Gate};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How an observation becomes angles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Encoding {
    /// Angle encoding: observation i divided by `scale[i]`.
    Angle {
        /// Divisors, one per number of the observation.
        scale: Vec<f64>,
    },
    /// Basis encoding: bit b becomes the angle πb.
    Basis {
        /// Bits per observation.
        bits: usize,
    },
    /// Amplitude encoding: the observation is all real, then all imaginary parts of a state, and the angles are those that
    /// make [`Encoding::prepare_amplitudes`] prepare it, up to a global phase.
    Amplitude {
        /// n; the observation has 2ⁿ⁺¹ numbers and the angles are 2(2ⁿ − 1).
        qubits: usize,
    },
}

impl Encoding {
    /// Angle encoding without scaling.
    pub fn angles(count: usize) -> Self {
        Self::Angle { scale: vec![1.0; count] }
    }

    /// Numbers per observation.
    pub fn observation(&self) -> usize {
        match self {
            Self::Angle { scale } => scale.len(),
            Self::Basis { bits } => *bits,
            Self::Amplitude { qubits } => 2 << qubits,
        }
    }

    /// Angles per observation.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Amplitude { qubits } => 2 * ((1 << qubits) - 1),
            _ => self.observation(),
        }
    }

    /// Appends the angles of `observations` `[B, D]` to `out`.
    ///
    /// # Errors
    /// When the length is no multiple of D.
    pub fn encode(&self, observations: &[f32], out: &mut Vec<f64>) -> Result<()> {
        let width = self.observation();
        let rows = observations.len() / width.max(1);
        same_length("encoding", "observed numbers, a multiple of D", rows * width, observations.len())?;
        match self {
            Self::Angle { scale } => {
                for row in observations.chunks_exact(width) {
                    out.extend(row.iter().zip(scale).map(|(&x, s)| f64::from(x) / s));
                }
            }
            Self::Basis { .. } => out.extend(observations.iter().map(|&b| PI * f64::from(b))),
            Self::Amplitude { qubits } => {
                observations.chunks_exact(width).for_each(|row| amplitude_angles(row, *qubits, out));
            }
        }
        Ok(())
    }

    /// Appends to a circuit the gates that turn |0…0⟩ into the encoded state, inputs 0, 1, … being the angles: uniformly
    /// controlled RY from the highest qubit down, then phases (Möttönen et al. 2005). Rotations about one axis add up, so
    /// each uniformly controlled RY is a product over subsets of controls, each controlled on ones.
    ///
    /// # Errors
    /// When the circuit has fewer qubits.
    pub fn prepare_amplitudes(circuit: &mut Circuit, qubits: usize) -> Result<()> {
        let mut input = 0;
        for q in (0..qubits).rev() {
            for subset in 0..1usize << (qubits - 1 - q) {
                let controls: Vec<usize> =
                    (q + 1..qubits).filter(|c| subset >> (c - q - 1) & 1 == 1).collect();
                let angle = circuit.encode(input, None, Activation::Linear);
                circuit.push(Gate::Ry(angle), &[q], &controls)?;
                input += 1;
            }
        }
        for subset in 1..1usize << qubits {
            let mut on = (0..qubits).filter(|q| subset >> q & 1 == 1);
            let Some(target) = on.next() else { continue };
            let angle = circuit.encode(input, None, Activation::Linear);
            circuit.push(Gate::Phase(angle), &[target], &on.collect::<Vec<_>>())?;
            input += 1;
        }
        Ok(())
    }
}

/// The angles of [`Encoding::prepare_amplitudes`] for one state `[re, im]`.
fn amplitude_angles(row: &[f32], qubits: usize, out: &mut Vec<f64>) {
    let (re, im) = row.split_at(1 << qubits);
    let (re, im) = (re.iter().map(|&x| f64::from(x)), im.iter().map(|&x| f64::from(x)));
    let state: Vec<(f64, f64)> = re.zip(im).collect();
    for q in (0..qubits).rev() {
        // P(qubits q.. read `prefix`)
        let weight = |prefix: usize| -> f64 {
            state[prefix << q..(prefix + 1) << q].iter().map(|(x, y)| x * x + y * y).sum()
        };
        let angle = |prefix: usize| 2.0 * weight(prefix << 1 | 1).sqrt().atan2(weight(prefix << 1).sqrt());
        let mut angles: Vec<f64> = (0..1usize << (qubits - 1 - q)).map(angle).collect();
        differences(&mut angles);
        out.extend(angles);
    }
    // An amplitude of 0 has no phase: any will do.
    let mut phases: Vec<f64> =
        state.iter().map(|(x, y)| if x.hypot(*y) < 1e-12 { 0.0 } else { y.atan2(*x) }).collect();
    differences(&mut phases);
    out.extend(&phases[1..]);
}

/// f(S) ← Σ_{T ⊆ S} (−1)^{|S| − |T|} f(T), so that sums over subsets give the old values (Möbius inversion).
fn differences(f: &mut [f64]) {
    let mut bit = 1;
    while bit < f.len() {
        for s in 0..f.len() {
            if s & bit != 0 {
                f[s] -= f[s ^ bit];
            }
        }
        bit <<= 1;
    }
}
