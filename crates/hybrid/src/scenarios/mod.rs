//! Scenarios: documented simulators of something real, each with a scripted expert and a difficulty.

pub mod traffic;
