//! How many updates are due for the steps played so far.

use crate::experiment::{Persist, TrainState};
use crate::{Error, Result};

/// Keeps training at a fixed replay ratio: replayed steps per environment step (DreamerV3's `train_ratio`).
///
/// After E environment steps, ⌊E · ratio / (B · T)⌋ updates are due in all. Counted in whole numbers: nothing drifts,
/// however irregularly it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainRatio {
    ratio: f64,
    steps_per_update: f64,
    env_steps: u64,
    updates: u64,
}

impl TrainRatio {
    /// `ratio` replayed steps per environment step, `steps_per_update` = B · T of them in one update.
    ///
    /// # Errors
    /// [`Error::Config`] if the ratio is negative or not finite, or an update has no step.
    pub fn new(ratio: f64, steps_per_update: usize) -> Result<Self> {
        if !(ratio.is_finite() && ratio >= 0.0) {
            return Err(Error::config("train_ratio", "ratio", ratio, "finite and at least 0"));
        }
        if steps_per_update == 0 {
            return Err(Error::config("train_ratio", "steps_per_update", steps_per_update, "at least 1"));
        }
        Ok(Self { ratio, steps_per_update: steps_per_update as f64, env_steps: 0, updates: 0 })
    }

    /// Counts environment steps and returns how many updates to do now.
    pub fn updates_after(&mut self, env_steps: u64) -> u64 {
        self.env_steps += env_steps;
        let due = (self.env_steps as f64 * self.ratio / self.steps_per_update) as u64;
        let now = due.saturating_sub(self.updates);
        self.updates += now;
        now
    }
}

impl Persist for TrainRatio {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        state.put_array(format!("{prefix}/counts"), &[2], &[self.env_steps, self.updates]);
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let counts = state.array::<u64>(&format!("{prefix}/counts"), &[2])?;
        (self.env_steps, self.updates) = (counts[0], counts[1]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_kept_to_the_last_update() {
        let mut ratio = TrainRatio::new(0.3, 1).unwrap();
        assert_eq!((0..10).map(|_| ratio.updates_after(1)).sum::<u64>(), 3);
        let mut state = TrainState::default();
        ratio.save("ratio", &mut state).unwrap();
        let mut copy = TrainRatio::new(0.3, 1).unwrap();
        copy.load("ratio", &state).unwrap();
        assert_eq!(ratio.updates_after(7), copy.updates_after(7));
        assert_eq!(TrainRatio::new(512.0, 1024).unwrap().updates_after(5), 2);
        assert!(TrainRatio::new(f64::NAN, 1).is_err() && TrainRatio::new(1.0, 0).is_err());
    }
}
