//! What every reinforcement-learning paradigm needs, once.

pub mod buffer;
pub mod conformance;
pub mod env;
pub mod error;
pub mod experiment;
pub mod normalize;
pub mod numpy_rng;
pub mod returns;
pub mod schedule;
pub mod seed;

pub use error::{Error, Result};
pub use seed::{SeedStream, StreamRng};
