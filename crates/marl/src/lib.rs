//! Multi-agent reinforcement learning: environments, games, populations, tabular learners and measures, with the
//! deep learners behind the feature `learning`.
//!
//! - [`env`]: the parallel and agent-by-agent contracts, the nine multi-particle worlds in two flavours,
//!   Level-Based Foraging, matrix and stochastic games, poker, PointArena; batches of thousands of copies.
//! - [`games`]: equilibria by linear programming and enumeration, learning dynamics, counterfactual regret.
//! - [`population`]: leagues, response oracles, meta-games, Elo, α-rank, cross-play, diversity.
//! - [`tabular`]: coordination learners and the independent learners they are compared with.
//! - [`measures`]: returns per team, dispersion, fairness, collisions, coverage, information.
//!
//! Everything is seeded by its caller, prints nothing and never panics on its input.

pub mod conformance;
pub mod env;
mod error;
pub mod games;
pub mod measures;
pub mod population;
pub mod tabular;

pub use error::{Error, Result};
