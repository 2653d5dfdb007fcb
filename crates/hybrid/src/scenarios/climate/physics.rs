//! Carbon and heat of DICE-2016R: three boxes of carbon, two of heat, steps of five years.

use serde::{Deserialize, Serialize};

/// Carbon that leaves the atmosphere, and the upper ocean downwards, per step: b₁₂, b₂₃.
const ATMOSPHERE_TO_UPPER: f64 = 0.12;
const UPPER_TO_LOWER: f64 = 0.007;
/// Carbon in equilibrium in GtC: atmosphere, upper and lower ocean.
const EQUILIBRIUM: [f64; 3] = [588.0, 360.0, 1720.0];
/// Forcing of a doubling of CO₂ in W/m².
pub(super) const DOUBLING: f64 = 3.6813;
/// c₁ in °C per W/m² and step, c₃ in W/m² per °C, c₄ per step.
const C1: f64 = 0.1005;
const C3: f64 = 0.088;
const C4: f64 = 0.025;
/// Years of a step.
pub(super) const YEARS: f64 = 5.0;
/// t CO₂ in a t C.
pub(super) const CO2: f64 = 3.666;

/// Carbon in GtC.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carbon {
    /// M_AT.
    pub atmosphere: f64,
    /// M_UP, upper ocean and biosphere.
    pub upper: f64,
    /// M_LO, deep ocean.
    pub lower: f64,
}

impl Carbon {
    /// 2015.
    pub const FIRST: Self = Self { atmosphere: 851.0, upper: 460.0, lower: 1740.0 };

    /// All of it.
    pub fn total(&self) -> f64 {
        self.atmosphere + self.upper + self.lower
    }

    /// M ← B M + emissions, B with columns that sum to 1, emissions in GtC per step (Nordhaus 2017, eqs. 8 to 10 of the model code MMAT,
    /// MMU, MML).
    pub fn step(&self, emissions: f64) -> Self {
        let [m, u, l] = EQUILIBRIUM;
        let (down, deep) = (ATMOSPHERE_TO_UPPER * self.atmosphere, UPPER_TO_LOWER * self.upper);
        let up = ATMOSPHERE_TO_UPPER * m / u * self.upper;
        let rise = UPPER_TO_LOWER * u / l * self.lower;
        Self {
            atmosphere: self.atmosphere - down + up + emissions,
            upper: self.upper + down - up - deep + rise,
            lower: self.lower + deep - rise,
        }
    }

    /// η log₂(M_AT / 588) in W/m².
    pub fn forcing(&self) -> f64 {
        DOUBLING * (self.atmosphere / EQUILIBRIUM[0]).log2()
    }
}

/// Warming since 1900 in °C.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heat {
    /// T_AT, atmosphere and upper ocean.
    pub atmosphere: f64,
    /// T_LO, deep ocean.
    pub ocean: f64,
}

impl Heat {
    /// 2015.
    pub const FIRST: Self = Self { atmosphere: 0.85, ocean: 0.0068 };

    /// T_AT ← T_AT + c₁ (F − λ T_AT − c₃ (T_AT − T_LO)), T_LO ← T_LO + c₄ (T_AT − T_LO), λ = η / sensitivity (TATMEQ, TOCEANEQ).
    pub fn step(&self, forcing: f64, sensitivity: f64) -> Self {
        let between = self.atmosphere - self.ocean;
        let balance = forcing - DOUBLING / sensitivity * self.atmosphere - C3 * between;
        Self { atmosphere: self.atmosphere + C1 * balance, ocean: self.ocean + C4 * between }
    }

    /// Heat content in W/m² times steps: T_AT / c₁ + (c₃ / c₄) T_LO. Its change over a step is forcing minus feedback.
    pub fn content(&self) -> f64 {
        self.atmosphere / C1 + C3 / C4 * self.ocean
    }
}
