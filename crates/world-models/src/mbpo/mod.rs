//! MBPO (Janner et al. 2019, "When to Trust Your Model: Model-Based Policy Optimization"): soft actor-critic learns from
//! short branches that start in states the environment has shown and go on in an ensemble.
//!
//! ```text
//! model             the ensemble of PETS, elites by held-out error, another one at every imagined step, noise drawn
//! branches          M per environment step, from states of D_env, k steps of the policy in the model, into D_model
//! policy            G updates of SAC per environment step on D_model, a small share of every minibatch from D_env
//! ```
//!
//! A model's error grows with every imagined step, so branches are short, and they begin everywhere the environment has
//! been: the policy sees many more transitions than were played, all of them close to what is known.
//!
//! Deviations: the model learns from actions in (−1, 1); rewards stay within the range of those seen; imagined transitions
//! that are not finite are left out. The authors are given the terminations, here they are learned.

mod agent;

pub use agent::{Mbpo, MbpoConfig};

#[cfg(test)]
mod tests;
