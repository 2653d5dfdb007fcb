//! One world model of many machines: clients whose dynamics differ train it without showing each other a single step.
//!
//! Federated averaging (McMahan et al. 2017) of the parameters of a small dynamics model, each client planning in it as PETS does
//! (Chua et al. 2018); secure aggregation and client-level privacy are the strategies of [`federated::privacy`]. A [`ModelClient`] is a
//! [`federated::client::Client`], so every strategy, failure and compression of that crate works with it. The task is PointControl
//! with thrusters turned by another angle for every client ([`TurnedPointControl`](federated::rl::environment::TurnedPointControl)).

mod client;
mod model;
#[cfg(test)]
mod tests;

pub use client::{ClientConfig, ModelClient};
pub use model::{Imagined, PointModel};
