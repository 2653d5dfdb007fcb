//! The errors of this crate.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in `world-models`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A building block of `rl-core`.
    #[error(transparent)]
    Core(#[from] rl_core::Error),
    /// The tensor library.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl From<Error> for rl_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Core(error) => error,
            Error::Tensor(error) => Self::Tensor(error),
        }
    }
}
