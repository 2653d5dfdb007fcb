//! Simultaneous perturbation stochastic approximation (Spall 1992, 1998): two evaluations per step, whatever the
//! number of parameters.

use rand::{Rng, RngExt};
use rl_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Gains a_k = a/(A + k + 1)^α and c_k = c/(k + 1)^γ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spsa {
    /// Numerator of the step size.
    pub a: f64,
    /// Numerator of the perturbation.
    pub c: f64,
    /// Stability constant A, about a tenth of the number of steps.
    pub stability: f64,
    /// α = 0.602 (Spall 1998).
    pub alpha: f64,
    /// γ = 0.101 (Spall 1998).
    pub gamma: f64,
}

impl Default for Spsa {
    fn default() -> Self {
        Self { a: 0.2, c: 0.1, stability: 10.0, alpha: 0.602, gamma: 0.101 }
    }
}

/// Where the optimisation stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpsaState {
    /// Steps taken.
    pub step: u64,
}

impl Spsa {
    /// `Ok` when all numbers make sense.
    ///
    /// # Errors
    /// Naming the field.
    pub fn validate(&self) -> Result<()> {
        let positive = [("a", self.a), ("c", self.c), ("alpha", self.alpha), ("gamma", self.gamma)];
        for (field, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::config("spsa", field, value, "positive"));
            }
        }
        match self.stability >= 0.0 {
            true => Ok(()),
            false => Err(Error::config("spsa", "stability", self.stability, "0 or more")),
        }
    }

    /// g = (f(x + cΔ) − f(x − cΔ)) / (2c) · Δ with Δ uniform in {±1}ᵖ.
    pub fn gradient(
        &self,
        x: &[f64],
        c: f64,
        f: &mut impl FnMut(&[f64]) -> f64,
        rng: &mut impl Rng,
    ) -> Vec<f64> {
        let delta: Vec<f64> = x.iter().map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect();
        let mut at = |sign: f64| -> f64 {
            let moved: Vec<f64> = x.iter().zip(&delta).map(|(x, d)| x + sign * c * d).collect();
            f(&moved)
        };
        let slope = (at(1.0) - at(-1.0)) / (2.0 * c);
        delta.into_iter().map(|d| slope * d).collect()
    }

    /// One descent step x ← x − a_k g.
    pub fn step(
        &self,
        state: &mut SpsaState,
        x: &mut [f64],
        f: &mut impl FnMut(&[f64]) -> f64,
        rng: &mut impl Rng,
    ) {
        let k = state.step as f64 + 1.0;
        let c = self.c / k.powf(self.gamma);
        let gradient = self.gradient(x, c, f, rng);
        let rate = self.a / (self.stability + k).powf(self.alpha);
        x.iter_mut().zip(gradient).for_each(|(x, g)| *x -= rate * g);
        state.step += 1;
    }

    /// QN-SPSA (Gacon et al. 2021): an estimate of the Fubini–Study metric from four fidelities
    /// F(θ, θ') = |⟨ψ(θ)|ψ(θ')⟩|², g ≈ −¼ δF/c² · (Δ₁Δ₂ᵀ + Δ₂Δ₁ᵀ)/2.
    pub fn metric(
        &self,
        x: &[f64],
        c: f64,
        fidelity: &mut impl FnMut(&[f64], &[f64]) -> f64,
        rng: &mut impl Rng,
    ) -> Vec<Vec<f64>> {
        let mut draw =
            || -> Vec<f64> { x.iter().map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect() };
        let (first, second) = (draw(), draw());
        let mut at = |s: f64, t: f64| {
            let moved: Vec<f64> = (0..x.len()).map(|k| x[k] + c * (s * first[k] + t * second[k])).collect();
            fidelity(x, &moved)
        };
        let difference = at(1.0, 1.0) - at(1.0, 0.0) - at(-1.0, 1.0) + at(-1.0, 0.0);
        let factor = -difference / (4.0 * c * c);
        let entry = |i: usize, j: usize| 0.5 * factor * (first[i] * second[j] + second[i] * first[j]);
        (0..x.len()).map(|i| (0..x.len()).map(|j| entry(i, j)).collect()).collect()
    }
}
