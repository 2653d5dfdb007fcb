//! What every reinforcement-learning paradigm needs, once.

pub mod conformance;
pub mod error;
pub mod seed;

pub use error::{Error, Result};
pub use seed::{SeedStream, StreamRng};
