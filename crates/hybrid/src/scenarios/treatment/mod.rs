//! Treatment: a lung tumour under chemotherapy and radiotherapy, day by day.
//!
//! The model of Geng, Paganetti & Grassberger (2017) in the discrete form in which the literature on counterfactual outcomes uses it
//! (Lim, Alaa & van der Schaar 2018): Gompertz growth, a log-cell kill of the drug, the linear-quadratic kill of radiation, patients
//! whose growth and radiosensitivity are drawn together. No volume appears or vanishes unaccounted for, and all of the drug that was given
//! is either in the body or eliminated. [`log`] makes the data set of a clinic in which the dose depends on an unlogged flare, and
//! [`plan`] the policy that follows from an estimate of the effects.

pub mod log;
pub mod plan;
mod rules;
#[cfg(test)]
mod tests;

pub use rules::{Rule, Scripted};

use crate::error::{Result, within};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::env::{Action, EnvSpec, Simulator, Space};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Tumour cells in a cm³ (Lim et al. 2018).
const CELLS: f64 = 5.8e8;
/// Diameter in cm at which the patient dies.
pub const LETHAL: f64 = 13.0;
/// Diameter in cm of the carrying capacity K.
const CAPACITY: f64 = 30.0;
/// Dose of a chemotherapy in mg/m³ of blood.
pub const DRUG: f64 = 5.0;
/// Dose of a radiotherapy fraction in Gy.
pub const FRACTION: f64 = 2.0;
/// α/β of the linear-quadratic model in Gy.
const ALPHA_BETA: f64 = 10.0;
/// Smallest volume that is kept, in cm³: about one cell.
const ONE_CELL: f64 = 1.0 / CELLS;

/// Volume in cm³ of a ball with this diameter in cm.
pub fn volume(diameter: f64) -> f64 {
    PI / 6.0 * diameter.powi(3)
}

/// Diameter in cm of a ball with this volume in cm³.
pub fn diameter(volume: f64) -> f64 {
    (6.0 / PI * volume).cbrt()
}

/// ln(K / V), which drives the growth.
pub fn room(volume: f64) -> f64 {
    (self::volume(CAPACITY) / volume).ln()
}

/// Which patients come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difficulty {
    /// Stage I.
    Easy,
    /// The stages as they were counted (Detterbeck & Gibson 2008).
    Medium,
    /// Stages IIIB and IV, and flares twice as strong.
    Hard,
}

/// Stage: patients counted, μ and σ of ln diameter, least and largest diameter in cm (Lim et al. 2018, after Detterbeck & Gibson 2008).
const STAGES: [(f64, f64, f64, f64, f64); 5] = [
    (1432.0, 1.72, 4.70, 0.3, 5.0),
    (128.0, 1.96, 1.63, 0.3, 13.0),
    (1306.0, 1.91, 9.40, 0.3, 13.0),
    (7248.0, 2.76, 6.87, 0.3, 13.0),
    (12840.0, 3.86, 8.82, 0.3, 13.0),
];

/// The disease and what treating it costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TreatmentConfig {
    /// Which patients come.
    pub difficulty: Difficulty,
    /// Days of an episode: 60 (Lim et al. 2018).
    pub days: u32,
    /// Mean and deviation of the growth rate ρ per day before truncation at 0: 7.00e-5, 7.23e-3 (Geng et al. 2017).
    pub growth: (f64, f64),
    /// Mean and deviation of the radiosensitivity α in 1/Gy before truncation at 0: 0.0398, 0.168 (the same); β = α / 10.
    pub radiosensitivity: (f64, f64),
    /// Correlation of ρ and α: 0.87 (the same).
    pub correlation: f64,
    /// Mean and deviation of the drug's kill β_c per mg/m³ and day: 0.028, 0.0007 (the same).
    pub drug_kill: (f64, f64),
    /// Half-life of the drug in days: 1 (Lim et al. 2018).
    pub half_life: f64,
    /// Deviation of the daily relative change: 0.01 (the same).
    pub noise: f64,
    /// Relative growth per day that a flare adds: 0.15. Ours; the published model has none.
    pub flare_growth: f64,
    /// Probabilities per day that a flare begins and ends: 0.1, 0.2. Ours.
    pub flare: (f64, f64),
    /// Cost of a chemotherapy and of a fraction of radiotherapy in units of the reward: 0.3, 0.3. Ours; the published model has none.
    pub toxicity: (f64, f64),
}

impl Default for TreatmentConfig {
    fn default() -> Self {
        Self {
            difficulty: Difficulty::Medium,
            days: 60,
            growth: (7.00e-5, 7.23e-3),
            radiosensitivity: (0.0398, 0.168),
            correlation: 0.87,
            drug_kill: (0.028, 0.0007),
            half_life: 1.0,
            noise: 0.01,
            flare_growth: 0.15,
            flare: (0.1, 0.2),
            toxicity: (0.3, 0.3),
        }
    }
}

impl TreatmentConfig {
    /// The published patients at a difficulty.
    pub fn of(difficulty: Difficulty) -> Self {
        Self { difficulty, ..Self::default() }
    }

    /// Relative growth per day during a flare at this difficulty.
    pub fn flare_growth(&self) -> f64 {
        self.flare_growth * if self.difficulty == Difficulty::Hard { 2.0 } else { 1.0 }
    }

    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// [`Error::Range`](crate::Error::Range) naming the value.
    pub fn validate(&self) -> Result<()> {
        let unit = |what, value| within(what, value, (0.0, 1.0), "in [0, 1]");
        within("days", f64::from(self.days), (1.0, 1e5), "at least 1")?;
        for (what, (mean, deviation)) in [
            ("growth", self.growth),
            ("radiosensitivity", self.radiosensitivity),
            ("drug_kill", self.drug_kill),
        ] {
            // A mean far below zero would make draws above zero too rare to wait for.
            within(what, mean, (0.0, 1.0), "a mean in [0, 1]")?;
            within(what, deviation, (1e-9, 1.0), "a deviation in (0, 1]")?;
        }
        within("correlation", self.correlation, (-0.95, 0.95), "in [-0.95, 0.95]")?;
        within("half_life", self.half_life, (1e-2, 1e3), "from 0.01 to 1000 days")?;
        within("noise", self.noise, (0.0, 0.2), "in [0, 0.2]")?;
        within("flare_growth", self.flare_growth, (0.0, 0.5), "in [0, 0.5]")?;
        unit("flare: begins", self.flare.0)?;
        unit("flare: ends", self.flare.1)?;
        within("toxicity of chemotherapy", self.toxicity.0, (0.0, 100.0), "in [0, 100]")?;
        within("toxicity of radiotherapy", self.toxicity.1, (0.0, 100.0), "in [0, 100]")
    }
}

/// What has become of volume and drug since the episode began: sums that must balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Volume at the beginning in cm³.
    pub initial: f64,
    /// Net growth with flares and noise in cm³.
    pub grown: f64,
    /// Killed by the drug in cm³.
    pub drug_killed: f64,
    /// Killed by radiation in cm³.
    pub radiation_killed: f64,
    /// Drug given in mg/m³.
    pub given: f64,
    /// Drug eliminated in mg/m³.
    pub eliminated: f64,
}

/// A patient on the morning of a day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patient {
    /// V in cm³.
    pub volume: f64,
    /// C in mg/m³, after yesterday's dose.
    pub concentration: f64,
    /// Whether there is a flare; neither observed nor logged.
    pub flare: bool,
    /// Days since the beginning.
    pub day: u32,
    /// Whether radiation was given yesterday.
    pub irradiated: bool,
    /// (V − V_yesterday) / V_yesterday.
    pub change: f64,
    /// ρ per day; not observed.
    pub growth: f64,
    /// α in 1/Gy; not observed.
    pub radiosensitivity: f64,
    /// β_c per mg/m³ and day; not observed.
    pub drug_kill: f64,
    /// The balance.
    pub ledger: Ledger,
}

/// A tumour under treatment.
///
/// Actions, one a day: 0 nothing, 1 chemotherapy, 2 a fraction of radiotherapy, 3 both. The observation is `[D / 13 cm, relative change of the
/// volume since yesterday, C / 10 mg/m³, radiation yesterday, days left / days]`. The reward of a day is −D / 13 cm, with the diameter after
/// the day, minus the toxicity of what was given. A patient who dies loses 2 for each day that was left; one who recovers loses nothing any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Treatment {
    config: TreatmentConfig,
}

impl Treatment {
    /// The simulator of a configuration.
    ///
    /// # Errors
    /// As [`TreatmentConfig::validate`].
    pub fn new(config: TreatmentConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { config })
    }

    /// Its configuration.
    pub fn config(&self) -> &TreatmentConfig {
        &self.config
    }

    /// The share of yesterday's drug that is left: 2^(−1 / half-life).
    pub fn remaining(&self) -> f64 {
        0.5f64.powf(1.0 / self.config.half_life)
    }

    /// One day: C ← C 2^(−1/τ) + dose, V ← V (1 + ρ ln(K/V) + f + ε − β_c C − (α d + β d²)) with the growth f of a flare (Geng et al.
    /// 2017; Lim et al. 2018, eq. 9). No more than 99 % of the tumour dies in a day, and not its last cell.
    pub fn advance(&self, patient: &mut Patient, chemotherapy: bool, radiotherapy: bool, rng: &mut impl Rng) {
        let before = patient.concentration;
        let dose = if chemotherapy { DRUG } else { 0.0 };
        patient.concentration = before * self.remaining() + dose;
        patient.ledger.given += dose;
        patient.ledger.eliminated += before * (1.0 - self.remaining());

        let v = patient.volume;
        let d = if radiotherapy { FRACTION } else { 0.0 };
        let noise: f64 = rng.sample(StandardNormal);
        let flare = if patient.flare { self.config.flare_growth() } else { 0.0 };
        let grown = v * (patient.growth * room(v) + flare + self.config.noise * noise);
        let by_drug = v * patient.drug_kill * patient.concentration;
        let by_radiation = v * patient.radiosensitivity * (d + d * d / ALPHA_BETA);
        // More than there is cannot die: both kills are scaled alike.
        let most = (v + grown - (0.01 * v).max(ONE_CELL)).max(0.0);
        let scale = (most / (by_drug + by_radiation).max(f64::MIN_POSITIVE)).min(1.0);
        let after = v + grown - scale * (by_drug + by_radiation);
        patient.ledger.grown += grown;
        patient.ledger.drug_killed += scale * by_drug;
        patient.ledger.radiation_killed += scale * by_radiation;
        patient.volume = after;
        patient.change = after / v - 1.0;
        patient.irradiated = radiotherapy;
        patient.day += 1;
        let (begins, ends) = self.config.flare;
        let turn = rng.random::<f64>();
        patient.flare = if patient.flare { turn >= ends } else { turn < begins };
    }

    /// A first diameter in cm: the stage by its count, then a log-normal within the stage's bounds.
    fn first_diameter(&self, rng: &mut impl Rng) -> f64 {
        let stages = match self.config.difficulty {
            Difficulty::Easy => &STAGES[..1],
            Difficulty::Medium => &STAGES[..],
            Difficulty::Hard => &STAGES[3..],
        };
        let mut left = rng.random::<f64>() * stages.iter().map(|s| s.0).sum::<f64>();
        let stage = stages.iter().find(|s| {
            left -= s.0;
            left < 0.0
        });
        let (_, mu, sigma, least, most) = *stage.unwrap_or(&stages[stages.len() - 1]);
        loop {
            let d = (mu + sigma * rng.sample::<f64, _>(StandardNormal)).exp();
            if (least..most).contains(&d) {
                return d;
            }
        }
    }

    /// ρ and α, drawn together until both are positive.
    fn growth_and_radiosensitivity(&self, rng: &mut impl Rng) -> (f64, f64) {
        let ((rho, rho_deviation), (alpha, alpha_deviation)) =
            (self.config.growth, self.config.radiosensitivity);
        let r = self.config.correlation;
        loop {
            let (x, y): (f64, f64) = (rng.sample(StandardNormal), rng.sample(StandardNormal));
            let growth = rho + rho_deviation * x;
            let radiosensitivity = alpha + alpha_deviation * (r * x + (1.0 - r * r).sqrt() * y);
            if growth > 0.0 && radiosensitivity > 0.0 {
                return (growth, radiosensitivity);
            }
        }
    }
}

impl Simulator for Treatment {
    type State = Patient;

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: format!("Treatment-{}", format!("{:?}", self.config.difficulty).to_lowercase()),
            observation: Space::uniform_box(5, f32::NEG_INFINITY, f32::INFINITY),
            action: Space::Discrete(4),
            max_episode_steps: Some(self.config.days),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> Patient {
        let initial = volume(self.first_diameter(rng));
        let (growth, radiosensitivity) = self.growth_and_radiosensitivity(rng);
        let (mean, deviation) = self.config.drug_kill;
        let drug_kill = (mean + deviation * rng.sample::<f64, _>(StandardNormal)).max(0.0);
        let (begins, ends) = self.config.flare;
        Patient {
            volume: initial,
            concentration: 0.0,
            flare: rng.random::<f64>() < begins / (begins + ends).max(f64::MIN_POSITIVE),
            day: 0,
            irradiated: false,
            change: 0.0,
            growth,
            radiosensitivity,
            drug_kill,
            ledger: Ledger { initial, ..Ledger::default() },
        }
    }

    fn transition(&self, patient: &mut Patient, action: Action<'_>, rng: &mut impl Rng) -> (f64, bool) {
        let choice = match action {
            Action::Discrete(choice) => choice,
            Action::Continuous(_) => 0,
        };
        let (chemotherapy, radiotherapy) = (choice & 1 == 1, choice & 2 == 2);
        self.advance(patient, chemotherapy, radiotherapy, rng);
        let (drug, radiation) = self.config.toxicity;
        let size = diameter(patient.volume) / LETHAL;
        let toxicity =
            f64::from(u8::from(chemotherapy)) * drug + f64::from(u8::from(radiotherapy)) * radiation;
        let reward = -size.min(1.0) - toxicity;
        if size >= 1.0 {
            return (reward - 2.0 * f64::from(self.config.days.saturating_sub(patient.day)), true);
        }
        let recovered = rng.random::<f64>() < (-patient.volume * CELLS).exp();
        (reward, recovered)
    }

    fn observe(&self, patient: &Patient, observation: &mut [f32]) {
        let days = f64::from(self.config.days);
        let values = [
            diameter(patient.volume) / LETHAL,
            patient.change,
            patient.concentration / 10.0,
            f64::from(u8::from(patient.irradiated)),
            1.0 - f64::from(patient.day) / days,
        ];
        for (o, v) in observation.iter_mut().zip(values) {
            *o = v as f32;
        }
    }
}
