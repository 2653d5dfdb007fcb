//! Schedules: a hyper-parameter as a function of the step, without state.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a hyper-parameter changes over training. Being a pure function of the step, it needs no saving.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The same value throughout.
    Constant(f64),
    /// From `start` to `end` in `steps` equal steps, then `end` (DQN's ε: Mnih et al. 2015; PER's β: Schaul et al. 2016).
    Linear {
        /// Value at step 0.
        start: f64,
        /// Value at `steps` and after.
        end: f64,
        /// Length of the ramp.
        steps: u64,
    },
    /// `start · (end/start)^(t/steps)`, then `end`; both positive.
    Exponential {
        /// Value at step 0.
        start: f64,
        /// Value at `steps` and after.
        end: f64,
        /// Length of the decay.
        steps: u64,
    },
    /// A linear warm-up from `value/steps` at step 0 to `value` at step `steps − 1`, then `value`
    /// (DreamerV3 warms its learning rate up over 1,000 steps).
    WarmUp {
        /// The value after the warm-up.
        value: f64,
        /// Length of the warm-up.
        steps: u64,
    },
}

impl Schedule {
    /// The value at step `t`.
    pub fn at(&self, t: u64) -> f64 {
        let progress = |steps: u64| if t >= steps { 1.0 } else { t as f64 / steps as f64 };
        match *self {
            Self::Constant(value) => value,
            Self::Linear { start, end, steps } if t < steps => start + (end - start) * progress(steps),
            Self::Exponential { start, end, steps } if t < steps => {
                start * ((end / start).ln() * progress(steps)).exp()
            }
            Self::Linear { end, .. } | Self::Exponential { end, .. } => end,
            Self::WarmUp { value, steps } => {
                value * (t.saturating_add(1) as f64 / steps.max(1) as f64).min(1.0)
            }
        }
    }

    /// Refuses values that are not finite and exponential decays that touch zero.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let finite = |field, value: f64| {
            if value.is_finite() { Ok(()) } else { Err(Error::config("schedule", field, value, "finite")) }
        };
        match *self {
            Self::Constant(value) | Self::WarmUp { value, .. } => finite("value", value),
            Self::Linear { start, end, .. } => finite("start", start).and_then(|()| finite("end", end)),
            Self::Exponential { start, end, .. } => {
                for (field, value) in [("start", start), ("end", end)] {
                    if !(value.is_finite() && value > 0.0) {
                        return Err(Error::config("schedule", field, value, "finite and above 0"));
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_start_and_end_where_they_say() {
        let linear = Schedule::Linear { start: 1.0, end: 0.0, steps: 4 };
        assert_eq!([0, 1, 2, 4, 9].map(|t| linear.at(t)), [1.0, 0.75, 0.5, 0.0, 0.0]);
        let decay = Schedule::Exponential { start: 1.0, end: 0.01, steps: 2 };
        assert!((decay.at(1) - 0.1).abs() < 1e-15);
        assert_eq!((decay.at(0), decay.at(2), decay.at(u64::MAX)), (1.0, 0.01, 0.01));
        let warm = Schedule::WarmUp { value: 4.0, steps: 4 };
        assert_eq!([0, 1, 3, 4, u64::MAX].map(|t| warm.at(t)), [1.0, 2.0, 4.0, 4.0, 4.0]);
        assert_eq!(Schedule::Linear { start: 1.0, end: 0.5, steps: 0 }.at(0), 0.5);
    }

    #[test]
    fn a_decay_to_zero_is_refused() {
        let error = Schedule::Exponential { start: 1.0, end: 0.0, steps: 2 }.validate().unwrap_err();
        assert!(error.to_string().contains("schedule.end = 0"), "{error}");
        assert!(Schedule::Constant(f64::NAN).validate().is_err());
    }
}
