//! Quantum-inspired experience replay (after Wei, Ma & Dong 2021, arXiv:2101.02034), simulated with one angle per transition.
//!
//! Each stored transition is a qubit cos φ |skip⟩ + sin φ |take⟩. A new one starts in the uniform superposition φ = π/4; the
//! preparation turns it towards |take⟩ the larger its TD error is, and each replay turns it back a little
//! (depreciation), so that no transition crowds out the others. Transitions are drawn with probability ∝ sin² φ.
//! Deviation: both turns are written here as one rotation by a fraction of π/2, not as products of the paper's unit rotation.

use crate::error::{Error, Result};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::f64::consts::FRAC_PI_4;

/// How the angles move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayConfig {
    /// Exponent of the TD error, as in prioritised replay (0 is uniform).
    pub exponent: f64,
    /// The fraction of its angle that each replay takes away, in [0, 1].
    pub depreciation: f64,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { exponent: 0.6, depreciation: 0.05 }
    }
}

/// Angles of stored transitions; the transitions themselves are kept by the caller under the same index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantumReplay {
    config: ReplayConfig,
    angles: Vec<f64>,
    replays: Vec<u32>,
    largest: f64,
}

impl QuantumReplay {
    /// An empty memory.
    ///
    /// # Errors
    /// When a number of the configuration is out of range.
    pub fn new(config: ReplayConfig) -> Result<Self> {
        crate::error::within("replay", "exponent", config.exponent, (0.0, 10.0), "in [0, 10]")?;
        crate::error::within("replay", "depreciation", config.depreciation, (0.0, 1.0), "in [0, 1]")?;
        Ok(Self { config, ..Self::default() })
    }

    /// Makes room at `index` (or at the end) for a new transition in the uniform superposition.
    pub fn insert(&mut self, index: usize) {
        if index < self.angles.len() {
            (self.angles[index], self.replays[index]) = (FRAC_PI_4, 0);
        } else {
            self.angles.push(FRAC_PI_4);
            self.replays.push(0);
        }
    }

    /// The number of stored transitions.
    pub fn len(&self) -> usize {
        self.angles.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.angles.is_empty()
    }

    /// sin² φ
    pub fn acceptance(&self, index: usize) -> f64 {
        self.angles.get(index).map_or(0.0, |phi| phi.sin().powi(2))
    }

    /// Draws `count` indices with probability ∝ sin² φ.
    ///
    /// # Errors
    /// When nothing is stored.
    pub fn sample(&self, count: usize, rng: &mut impl Rng) -> Result<Vec<usize>> {
        if self.is_empty() {
            return Err(Error::shape("replay", "at least one transition", 0));
        }
        let mut cumulative = Vec::with_capacity(self.len());
        let mut sum = 0.0;
        for k in 0..self.len() {
            sum += self.acceptance(k);
            cumulative.push(sum);
        }
        let draw = |u: f64| cumulative.partition_point(|c| *c <= u).min(self.len() - 1);
        Ok((0..count).map(|_| draw(rng.random::<f64>() * sum)).collect())
    }

    /// After a replay with TD error δ: φ = π/2 (|δ|/δ_max)^ζ (1 − depreciation)^replays, at least π/64.
    pub fn update(&mut self, index: usize, td_error: f64) {
        let Some(phi) = self.angles.get_mut(index) else { return };
        self.largest = self.largest.max(td_error.abs()).max(1e-12);
        let priority = (td_error.abs() / self.largest).powf(self.config.exponent);
        self.replays[index] += 1;
        let kept = (1.0 - self.config.depreciation).powi(self.replays[index].min(10_000) as i32);
        *phi = (2.0 * FRAC_PI_4 * priority * kept).max(FRAC_PI_4 / 16.0);
    }
}
