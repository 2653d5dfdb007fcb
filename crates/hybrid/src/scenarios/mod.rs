//! Scenarios: documented simulators of something real, each with a scripted expert and a difficulty.

pub mod climate;
pub mod trading;
pub mod traffic;
pub mod treatment;
