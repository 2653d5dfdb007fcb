//! Learned models of environments, and agents that plan or learn inside them.
//!
//! - [`rssm`]: the recurrent state-space model, trained on replayed sequences, and the agent that plans with it.
//! - [`pets`]: an ensemble of probabilistic networks, and planning in what its members disagree about.
//! - [`mbpo`]: soft actor-critic on short imagined branches of an ensemble.
//! - [`dreamer`]: DreamerV3, an actor and a critic that learn in a categorical model's imagination.
//! - [`i2a`]: agents that read what a learned model says would happen, with the paper's ablations and a puzzle.
//! - [`tdmpc`]: TD-MPC2, planning a few steps in a latent model with a learned value at the horizon.
//! - [`planning`]: random shooting, CEM, iCEM and MPPI over any model, a learned one or the true simulator.
//! - [`evaluation`]: is the model any good? Open-loop errors against baselines, predicted against realised return.

mod checks;
pub mod conformance;
pub mod dreamer;
mod error;
pub mod evaluation;
pub mod i2a;
pub mod mbpo;
pub mod pets;
pub mod planning;
pub mod rssm;
pub mod tdmpc;

pub use error::{Error, Result};
