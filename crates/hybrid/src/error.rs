//! The errors of this crate: each says what was asked, what was expected and what was got.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in `hybrid`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number outside its range.
    #[error("{what} = {value} must be {allowed}")]
    Range {
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The allowed range, in words.
        allowed: &'static str,
    },
    /// Sizes that do not fit together.
    #[error("{operation}: expected {expected}, got {got}")]
    Shape {
        /// The operation that was called.
        operation: &'static str,
        /// What it takes.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// An error of the causal crate.
    #[error(transparent)]
    Causal(#[from] causal::Error),
    /// An error of federated learning.
    #[error(transparent)]
    Federated(#[from] federated::Error),
    /// An error of the multi-agent crate.
    #[error(transparent)]
    Marl(#[from] marl::Error),
    /// An error of the world models.
    #[error(transparent)]
    WorldModel(#[from] world_models::Error),
    /// An error of the simulator.
    #[error(transparent)]
    Quantum(#[from] quantum_sim::Error),
    /// An error of the shared crate.
    #[error(transparent)]
    Core(#[from] rl_core::Error),
}

impl Error {
    /// A [`Error::Shape`] from anything printable.
    pub(crate) fn shape(operation: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Shape { operation, expected: expected.to_string(), got: got.to_string() }
    }
}

/// `Ok` when `value` lies in `[low, high]`; NaN does not.
pub(crate) fn within(
    what: &'static str,
    value: f64,
    (low, high): (f64, f64),
    allowed: &'static str,
) -> Result<()> {
    match (low..=high).contains(&value) {
        true => Ok(()),
        false => Err(Error::Range { what, value, allowed }),
    }
}
