//! The best path of one world rate if the sensitivity were known to be its median: what a planner with the model would do.

use super::Climate;
use crate::error::{Result, within};

/// How it is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimumConfig {
    /// Passes over all decisions: 60.
    pub sweeps: usize,
    /// First step of a rate; it is halved when a pass changes nothing: 0.1.
    pub step: f64,
}

impl Default for OptimumConfig {
    fn default() -> Self {
        Self { sweeps: 60, step: 0.1 }
    }
}

/// Rates by decision, the same in all regions, by pattern search one decision after the other (Hooke & Jeeves 1961). The welfare is concave in each
/// rate near the optimum, so what is found is a maximum in every single rate to the last step size.
///
/// # Errors
/// [`Error::Range`](crate::Error::Range) for a step that is not positive.
pub fn open_loop(climate: &Climate, config: &OptimumConfig) -> Result<Vec<f64>> {
    within("step", config.step, (1e-6, 1.0), "in (0, 1]")?;
    let decisions = climate.config().decisions as usize;
    let mut rates: Vec<f64> = (1..=decisions).map(|t| (0.15 + 0.03 * t as f64).min(1.0)).collect();
    let mut best = welfare(climate, &rates);
    let mut step = config.step;
    for _ in 0..config.sweeps {
        let mut changed = false;
        for k in 0..decisions {
            for direction in [step, -step] {
                let old = rates[k];
                rates[k] = (old + direction).clamp(0.0, 1.0);
                let value = welfare(climate, &rates);
                if value > best {
                    (best, changed) = (value, true);
                    break;
                }
                rates[k] = old;
            }
        }
        if !changed {
            step *= 0.5;
        }
    }
    Ok(rates)
}

/// The gain over the baseline at the median sensitivity.
pub(super) fn welfare(climate: &Climate, rates: &[f64]) -> f64 {
    let mut world = climate.first_world(climate.config().sensitivity);
    let mut gains = vec![0.0; climate.config().regions.len()];
    for rate in rates {
        climate.decide(&mut world, |_| *rate, &mut gains);
    }
    gains.iter().sum()
}
