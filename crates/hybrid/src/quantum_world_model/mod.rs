//! A circuit that learns to act inside a learned model: the policy of Jerbi et al. 2021 in the imagination of a dynamics model, as
//! Dyna (Sutton 1990) and its successors train classical ones (Janner et al. 2019).
//!
//! Real interaction is what a quantum computer's client would pay for; imagined steps are not. A round plays real steps with the
//! present policy, teaches every member of a small ensemble, and lets [`Reinforce`](quantum_sim::rl::Reinforce) play
//! episodes in which each copy imagines with one member, so that a policy cannot live on the errors of a single model.

mod dream;
#[cfg(test)]
mod tests;

pub use dream::{DreamConfig, DreamTraining, ImaginedCartPole};
