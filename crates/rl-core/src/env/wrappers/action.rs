//! Continuous actions on another scale, and clipped ones.

use super::{load, save};
use crate::env::{Action, Env, EnvSpec, Space, Step};
use crate::{Error, Result};
use serde_json::Value;

/// The bounds of a box of actions.
fn bounds(spec: &EnvSpec, wrapper: &'static str) -> Result<(Vec<f32>, Vec<f32>)> {
    if let Space::Box { low, high } = &spec.action
        && low.iter().chain(high).all(|b| b.is_finite())
        && low.iter().zip(high).all(|(l, h)| l < h)
    {
        return Ok((low.clone(), high.clone()));
    }
    Err(Error::shape(
        wrapper,
        "a box of actions with finite bounds",
        format!("{} of {}", spec.action, spec.id),
    ))
}

/// From `[−1, 1]` to `[low, high]`; rounding never leads outside.
fn rescale(a: f32, low: f32, high: f32) -> f32 {
    let scaled = low + (a + 1.0) / 2.0 * (high - low);
    if (-1.0..=1.0).contains(&a) { scaled.clamp(low, high) } else { scaled }
}

/// Lets an agent act in `[−1, 1]`: `a' = low + (a + 1)/2 · (high − low)`, per dimension.
///
/// Nothing is clipped: an action outside `[−1, 1]` becomes one outside the bounds. Wrap in [`ClipAction`] for that.
#[derive(Clone, Debug)]
pub struct RescaleAction<E> {
    /// What is wrapped.
    pub env: E,
    spec: EnvSpec,
    low: Vec<f32>,
    high: Vec<f32>,
    action: Vec<f32>,
}

impl<E: Env> RescaleAction<E> {
    /// Around an environment with bounded continuous actions.
    ///
    /// # Errors
    /// [`Error::Shape`] if the actions are not a bounded box.
    pub fn new(env: E) -> Result<Self> {
        let (low, high) = bounds(env.spec(), "RescaleAction")?;
        let action = vec![0.0; low.len()];
        let spec = EnvSpec { action: Space::uniform_box(low.len(), -1.0, 1.0), ..env.spec().clone() };
        Ok(Self { env, spec, low, high, action })
    }
}

impl<E: Env> Env for RescaleAction<E> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
        self.env.reset(seed, observation)
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
        self.spec.action.check(&self.spec.id, action)?;
        let bounds = self.low.iter().zip(&self.high);
        for ((scaled, a), (low, high)) in self.action.iter_mut().zip(action.reals()).zip(bounds) {
            *scaled = rescale(*a, *low, *high);
        }
        self.env.step(Action::Continuous(&self.action), observation)
    }

    fn save(&self) -> Result<Value> {
        save(&self.env, ())
    }

    fn load(&mut self, saved: &Value) -> Result<()> {
        load(&mut self.env, saved)
    }
}

/// Takes any real action and clips it to the bounds, so that a Gaussian policy never acts outside them.
#[derive(Clone, Debug)]
pub struct ClipAction<E> {
    /// What is wrapped.
    pub env: E,
    spec: EnvSpec,
    low: Vec<f32>,
    high: Vec<f32>,
    action: Vec<f32>,
}

impl<E: Env> ClipAction<E> {
    /// Around an environment with bounded continuous actions.
    ///
    /// # Errors
    /// [`Error::Shape`] if the actions are not a bounded box.
    pub fn new(env: E) -> Result<Self> {
        let (low, high) = bounds(env.spec(), "ClipAction")?;
        let action = vec![0.0; low.len()];
        let space = Space::uniform_box(low.len(), f32::NEG_INFINITY, f32::INFINITY);
        let spec = EnvSpec { action: space, ..env.spec().clone() };
        Ok(Self { env, spec, low, high, action })
    }
}

impl<E: Env> Env for ClipAction<E> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
        self.env.reset(seed, observation)
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
        self.spec.action.check(&self.spec.id, action)?;
        let bounds = self.low.iter().zip(&self.high);
        for ((clipped, a), (&low, &high)) in self.action.iter_mut().zip(action.reals()).zip(bounds) {
            *clipped = a.clamp(low, high);
        }
        self.env.step(Action::Continuous(&self.action), observation)
    }

    fn save(&self) -> Result<Value> {
        save(&self.env, ())
    }

    fn load(&mut self, saved: &Value) -> Result<()> {
        load(&mut self.env, saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rescaled_actions_stay_within_their_bounds(a in -1f32..=1.0, low in -9f32..9.0, width in 1e-3f32..9.0) {
            let high = low + width;
            prop_assert!((low..=high).contains(&rescale(a, low, high)));
            prop_assert_eq!(rescale(-1.0, low, high), low);
            prop_assert!((rescale(1.0, low, high) - high).abs() <= 2.0 * f32::EPSILON * high.abs().max(low.abs()));
        }
    }
}
