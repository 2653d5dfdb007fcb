//! Checks for tests of this and other crates. They assert, so they panic where something does not hold.

mod env_contract;

pub use env_contract::{env_contract, env_contract_without_save};
