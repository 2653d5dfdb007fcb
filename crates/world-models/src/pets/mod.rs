//! PETS (Chua et al. 2018, "Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models"): an
//! ensemble of probabilistic networks, and planning by sampling in what they disagree about.
//!
//! ```text
//! member e          Δo, r ~ N(μ_e(o, a), diag σ²_e(o, a)),   P(termination) = σ(ℓ_e(o, a))
//! bootstrap         every member learns from its own resampling of the data
//! propagation       particles of a candidate follow members: one each throughout (TS∞), or another at every step (TS1)
//! plan              the planner's score of a candidate is the mean over its particles
//! ```
//!
//! Deviations: reward and termination are learned, where the paper is given the cost function; changes and rewards are
//! normalised like the inputs; the bootstrap is online (every member takes a transition Poisson(1) times when it arrives;
//! Oza and Russell 2001), so that members keep differing while data arrive; actions may be held for several steps.

mod agent;
mod dynamics;
mod ensemble;
mod experience;
mod rollout;

pub use agent::{Pets, PetsConfig};
pub use dynamics::{Dynamics, DynamicsConfig};
pub use ensemble::{Buffers, Ensemble, EnsembleConfig, Minibatch, Network};
pub use experience::{Experience, Experienced};
pub use rollout::{EnsembleModel, Particles, Propagation, RolloutConfig};

#[cfg(test)]
mod tests;
