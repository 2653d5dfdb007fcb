//! The records of a clinic, and what treatment does according to them.
//!
//! Who treats decides by the size of the tumour (Lim et al. 2018, eq. 10), by the flare, which is not written down, and by habits: each
//! day another physician is on duty, with a leaning of their own for drug and radiation. Flares make tumours grow and doses likely, so treated
//! days look worse than treatment is, and no weighting by what was logged repairs it. The rota touches nothing but the dose: it is an
//! instrument (preference-based instruments: Brookhart et al. 2006).

use super::{DRUG, LETHAL, Patient, Treatment, diameter, room};
use crate::error::{Result, within};
use causal::data::Table;
use causal::estimate::{Estimate, linear_regression, two_stage_least_squares};
use rand::{Rng, RngExt};
use rl_core::env::Simulator;
use serde::{Deserialize, Serialize};

/// How the clinic works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClinicConfig {
    /// Patients on record: 1000.
    pub patients: usize,
    /// γ, how much the size decides: 2 (Lim et al. 2018 take 1 to 10).
    pub size: f64,
    /// How much a flare raises the log-odds of either dose: 3. 0 leaves nothing hidden.
    pub flare: f64,
    /// How much the leaning of the physician on duty moves the log-odds up or down: 1.
    pub leaning: f64,
}

impl Default for ClinicConfig {
    fn default() -> Self {
        Self { patients: 1000, size: 2.0, flare: 3.0, leaning: 1.0 }
    }
}

impl ClinicConfig {
    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// [`Error::Range`](crate::Error::Range) naming the value.
    pub fn validate(&self) -> Result<()> {
        within("patients", self.patients as f64, (1.0, 1e6), "from 1 to 1000000")?;
        within("size", self.size, (0.0, 20.0), "in [0, 20]")?;
        within("flare", self.flare, (0.0, 20.0), "in [0, 20]")?;
        within("leaning", self.leaning, (0.0, 20.0), "in [0, 20]")
    }
}

/// What is written down about a day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// ln(K / V) in the morning.
    pub room: f64,
    /// Drug left from the days before in mg/m³.
    pub left: f64,
    /// Whether chemotherapy was given.
    pub chemotherapy: bool,
    /// Whether radiation was given.
    pub radiotherapy: bool,
    /// The physician's leaning towards the drug.
    pub leaning_drug: bool,
    /// The physician's leaning towards radiation.
    pub leaning_radiation: bool,
    /// (V − V_morning) / V_morning.
    pub change: f64,
}

/// Records of a clinic: the days of one patient after the other.
pub fn record(treatment: &Treatment, clinic: &ClinicConfig, rng: &mut impl Rng) -> Vec<Day> {
    let mut days = Vec::new();
    for _ in 0..clinic.patients {
        let mut patient = treatment.initial_state(rng);
        for _ in 0..treatment.config().days {
            days.push(day(treatment, clinic, &mut patient, rng));
            if diameter(patient.volume) >= LETHAL {
                break;
            }
        }
    }
    days
}

fn day(treatment: &Treatment, clinic: &ClinicConfig, patient: &mut Patient, rng: &mut impl Rng) -> Day {
    let (leaning_drug, leaning_radiation) = (rng.random::<bool>(), rng.random::<bool>());
    // P = σ(γ (D − D_max / 2) / D_max + flare ± leaning).
    let by_size = clinic.size * (diameter(patient.volume) / LETHAL - 0.5);
    let by_flare = clinic.flare * (f64::from(u8::from(patient.flare)) - 0.5);
    let mut gives = |leaning: bool| {
        let by_leaning = if leaning { clinic.leaning } else { -clinic.leaning };
        rng.random::<f64>() < 1.0 / (1.0 + (-(by_size + by_flare + by_leaning)).exp())
    };
    let (chemotherapy, radiotherapy) = (gives(leaning_drug), gives(leaning_radiation));
    let (room, left) = (room(patient.volume), patient.concentration * treatment.remaining());
    treatment.advance(patient, chemotherapy, radiotherapy, rng);
    let change = patient.change;
    Day { room, left, chemotherapy, radiotherapy, leaning_drug, leaning_radiation, change }
}

/// How the effects are read from the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Least squares on everything that was logged: naive about the flare.
    Regression,
    /// Two-stage least squares with the physicians' leanings as instruments.
    Instrument,
}

/// What treatment does on average, per day and relative to the volume.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effects {
    /// Growth per unit of ln(K / V), flares included.
    pub growth: f64,
    /// Kill by a mg/m³ of drug.
    pub drug: f64,
    /// Kill by a fraction of radiation.
    pub radiation: f64,
}

/// The effects with their uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EffectEstimates {
    /// The numbers that a plan needs.
    pub effects: Effects,
    /// Effect of a dose of drug on the same day's change; negative where it kills. Standard error 0 for a regression.
    pub drug: Estimate,
    /// Effect of a fraction on the day's change.
    pub radiation: Estimate,
}

/// Reads the effects from the records: y = g ln(K/V) − b_c C − b_r d, in which the drug's part of C that is left from yesterday counts like
/// today's dose.
///
/// # Errors
/// [`Error::Causal`](crate::Error::Causal) when the records are too few or one-sided.
pub fn effects(days: &[Day], reading: Reading) -> Result<EffectEstimates> {
    let column = |of: fn(&Day) -> f64| days.iter().map(of).collect::<Vec<f64>>();
    let change = column(|d| d.change);
    let (drug, radiation) = match reading {
        Reading::Regression => {
            let columns = [
                column(|d| f64::from(u8::from(d.chemotherapy))),
                column(|d| f64::from(u8::from(d.radiotherapy))),
                column(|d| d.room),
                column(|d| d.left),
            ];
            let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
            let rows: Vec<usize> = (0..days.len()).collect();
            let fit = linear_regression(&change, &columns, &rows)?;
            let point = |k: usize| {
                let value = fit.coefficients[k];
                Estimate { value, standard_error: 0.0, interval: (value, value) }
            };
            (point(1), point(2))
        }
        Reading::Instrument => {
            let table = Table::from_columns(vec![
                column(|d| f64::from(u8::from(d.chemotherapy))),
                column(|d| f64::from(u8::from(d.radiotherapy))),
                column(|d| f64::from(u8::from(d.leaning_drug))),
                column(|d| f64::from(u8::from(d.leaning_radiation))),
                column(|d| d.room),
                change.clone(),
            ])?;
            let by = |treatment: usize, instrument: usize| {
                two_stage_least_squares(&table, treatment, 5, &[instrument], &[4]).map(|e| e.effect)
            };
            (by(0, 2)?, by(1, 3)?)
        }
    };
    let (per_unit, per_fraction) = (-drug.value / DRUG, -radiation.value);
    // What the kills leave unexplained is growth.
    let untreated = |d: &Day| {
        let concentration = d.left + if d.chemotherapy { DRUG } else { 0.0 };
        d.change + per_unit * concentration + if d.radiotherapy { per_fraction } else { 0.0 }
    };
    let growth = days.iter().map(untreated).sum::<f64>() / days.iter().map(|d| d.room).sum::<f64>();
    let effects = Effects { growth, drug: per_unit, radiation: per_fraction };
    Ok(EffectEstimates { effects, drug, radiation })
}
