//! Multi-agent reinforcement learning: environments, games, populations, tabular learners and measures, with the
//! deep learners behind the feature `learning`.
//!
//! - [`env`](mod@env): the parallel and agent-by-agent contracts, the nine multi-particle worlds in two flavours,
//!   Level-Based Foraging, matrix and stochastic games, poker, PointArena; batches of thousands of copies.
//! - [`games`]: equilibria by linear programming and enumeration, learning dynamics, counterfactual regret.
//! - [`population`]: leagues, response oracles, meta-games, Elo, α-rank, cross-play, diversity.
//! - [`tabular`]: coordination learners and the independent learners they are compared with.
//! - [`measures`]: returns per team, dispersion, fairness, collisions, coverage, information.
//! - [`trainer`]: the loop of all deep learners; [`sharing`], [`joint_replay`] and `gumbel` are what they have in common.
//! - `maddpg`: MADDPG and MATD3; `maac`: soft actor-critic with attention; `ppo`: IPPO, MAPPO, IA2C and MAA2C;
//!   `coma`; `value_decomposition`: IQL, VDN and QMIX; `communication`: messages, trained end to end.
//!
//! Everything is seeded by its caller, prints nothing and never panics on its input.

#[cfg(feature = "learning")]
pub mod attention;
#[cfg(feature = "learning")]
pub mod coma;
#[cfg(feature = "learning")]
pub mod communication;
pub mod conformance;
pub mod env;
mod error;
pub mod games;
#[cfg(feature = "learning")]
pub mod gumbel;
pub mod joint_replay;
#[cfg(feature = "learning")]
pub mod maac;
#[cfg(feature = "learning")]
pub mod maddpg;
pub mod measures;
pub mod population;
#[cfg(feature = "learning")]
pub mod ppo;
#[cfg(feature = "learning")]
mod rollout;
pub mod sharing;
pub mod tabular;
pub mod trainer;
#[cfg(feature = "learning")]
pub mod value_decomposition;

pub use error::{Error, Result};
