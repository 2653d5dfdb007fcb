//! What every reinforcement-learning paradigm needs, once.

pub mod buffer;
pub mod conformance;
#[cfg(feature = "nn")]
pub mod dist;
pub mod env;
pub mod error;
pub mod evaluate;
pub mod experiment;
#[cfg(feature = "nn")]
pub mod nn;
pub mod normalize;
pub mod numpy_rng;
#[cfg(feature = "nn")]
pub mod optim;
pub mod returns;
pub mod schedule;
pub mod seed;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use error::{Error, Result};
pub use seed::{SeedStream, StreamRng};
