//! Wrappers: an environment in, an environment out. They stack, and each is saved with what it wraps.

mod action;
mod frame_stack;
mod normalize;
mod statistics;
mod time_limit;

pub use action::{ClipAction, RescaleAction};
pub use frame_stack::FrameStack;
pub use normalize::{NormalizeObservation, NormalizeReward};
pub use statistics::{EpisodeStatistics, FinishedEpisode};
pub use time_limit::TimeLimit;

use super::{Env, EnvSpec};
use crate::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A wrapper's own state beside that of what it wraps.
#[derive(Serialize, Deserialize)]
struct Nested<T> {
    wrapper: T,
    env: Value,
}

fn save<T: Serialize>(env: &impl Env, wrapper: T) -> Result<Value> {
    let nested = Nested { wrapper, env: env.save()? };
    serde_json::to_value(nested).map_err(|e| unusable("save", env.spec(), &e))
}

/// Restores the wrapped environment and returns the wrapper's own state.
fn load<T: DeserializeOwned>(env: &mut impl Env, saved: &Value) -> Result<T> {
    let nested = Nested::<T>::deserialize(saved).map_err(|e| unusable("load", env.spec(), &e))?;
    env.load(&nested.env)?;
    Ok(nested.wrapper)
}

fn unusable(operation: &'static str, spec: &EnvSpec, error: &serde_json::Error) -> Error {
    Error::State { operation, reason: format!("state of a wrapped {}: {error}", spec.id) }
}

/// Whether a slice can take an observation.
fn check_size(operation: &'static str, spec: &EnvSpec, observation: &[f32]) -> Result<()> {
    let expected = spec.observation.width();
    if observation.len() == expected {
        return Ok(());
    }
    Err(Error::shape(operation, format!("{expected} observed numbers"), observation.len()))
}

#[cfg(test)]
mod tests;
