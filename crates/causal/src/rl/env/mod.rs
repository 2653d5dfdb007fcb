//! Environments whose causal structure is known.

mod chemical;
mod spurious;

pub use chemical::{Chemical, ChemicalGraph, ChemicalState};
pub use spurious::{Shift, SpuriousSensors};
