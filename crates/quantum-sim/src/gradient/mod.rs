//! Gradients: adjoint with many observables in one pass, parameter-shift rules, SPSA, quantum natural gradient.

mod adjoint;
mod natural;
pub mod shift;
mod spsa;
mod taps;

pub use adjoint::{Adjoint, Gradient, Jacobian};
pub use natural::{Blocks, fubini_study, natural_step};
pub use shift::{ParameterShift, general_shift_rule};
pub use spsa::{Spsa, SpsaState};

#[cfg(test)]
mod tests;
