//! SpectralControl-k: an exact test of what a re-uploading policy can express.
//!
//! s ~ U[−π, π), two actions, r = (2a − 1) cos(ks), one step. The Born policy of a circuit that encodes s L times with fixed
//! scaling is a Fourier series of degree at most L in s (Schuld, Sweke & Meyer 2021, arXiv:2008.08605), so its return is
//! exactly 0 for L < k. The best of all policies, a = [cos(ks) > 0], gets 2/π.

use crate::circuit::Circuit;
use crate::error::{Error, Result};
use crate::pauli::PauliSum;
use crate::{Plan, StateVector};
use rand::Rng;
use rl_core::env::{Action, EnvSpec, Simulator, Space};
use std::f64::consts::{FRAC_2_PI, PI, TAU};

/// The task for one frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpectralControl {
    /// k ≥ 1
    pub frequency: u32,
}

impl SpectralControl {
    /// 2/π, the return of a = [cos(ks) > 0].
    pub const CEILING: f64 = FRAC_2_PI;

    /// The exact expected return of the Born policy π(1|s) = (1 − ⟨O⟩(s))/2 with ‖O‖ ≤ 1: −E[⟨O⟩(s) cos(ks)], by a sum over
    /// equidistant points that integrates Fourier series up to the given degree exactly.
    ///
    /// # Errors
    /// When the circuit has not exactly one input, or a length is wrong.
    pub fn born_return(
        &self,
        circuit: &Circuit,
        observable: &PauliSum,
        parameters: &[f64],
        degree: u32,
    ) -> Result<f64> {
        if circuit.inputs() > 1 {
            return Err(Error::shape(
                "SpectralControl",
                "a circuit with at most one input",
                circuit.inputs(),
            ));
        }
        let points = 2 * (degree + self.frequency) + 2;
        let (mut plan, mut state) = (Plan::new(circuit)?, StateVector::zero(circuit.qubits())?);
        let mut sum = 0.0;
        for j in 0..points {
            let s = -PI + TAU * (f64::from(j) + 0.5) / f64::from(points);
            plan.run(parameters, &[s][..circuit.inputs()], &mut state)?;
            sum -= state.expectation(observable)? * (f64::from(self.frequency) * s).cos();
        }
        Ok(sum / f64::from(points))
    }
}

impl Simulator for SpectralControl {
    /// s
    type State = f64;

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: format!("SpectralControl-{}", self.frequency),
            observation: Space::uniform_box(1, -PI as f32, PI as f32),
            action: Space::Discrete(2),
            max_episode_steps: Some(1),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> f64 {
        rl_core::env::uniform(rng, -PI, PI)
    }

    fn transition(&self, state: &mut f64, action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let sign = if matches!(action, Action::Discrete(1)) { 1.0 } else { -1.0 };
        (sign * (f64::from(self.frequency) * *state).cos(), true)
    }

    fn observe(&self, state: &f64, observation: &mut [f32]) {
        if let Some(o) = observation.first_mut() {
            *o = *state as f32;
        }
    }
}
