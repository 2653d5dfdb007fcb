//! Causal graphs, discovery, identification and counterfactuals, and the bandits that use them.

pub mod bandit;
pub mod conformance;
pub mod data;
pub mod discovery;
pub mod error;
pub mod graph;
pub mod identify;
pub mod independence;
mod partial;
pub mod scm;

pub use error::{Error, Result};
