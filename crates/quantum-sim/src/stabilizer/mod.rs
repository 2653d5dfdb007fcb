//! Clifford circuits: the stabiliser tableau, Stim-style circuit text, Pauli-frame sampling, code memories.

mod canonical;
mod codes;
mod frames;
mod program;
mod tableau;

pub use canonical::{canonical_stabilizers, pauli_text};
pub use codes::{majority_vote_failure, repetition_memory, surface_memory};
pub use frames::{Samples, error_mechanisms, sample};
pub use program::{Name, Statement, StimCircuit};
pub use tableau::{SignedPauli, Tableau};

#[cfg(test)]
mod tests;
