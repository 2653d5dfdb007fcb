//! The errors of this crate: each says what was asked, what was expected and what was got.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in `quantum-sim`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A qubit or classical bit that does not exist.
    #[error("{operation}: index {index} is outside 0..{count}")]
    Index {
        /// The operation that was called.
        operation: &'static str,
        /// The index that was given.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A qubit that appears twice where distinct ones are needed.
    #[error("{operation}: qubit {qubit} is used twice; targets and controls must be distinct")]
    Repeated {
        /// The operation that was called.
        operation: &'static str,
        /// The qubit.
        qubit: usize,
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
    /// A number outside its range.
    #[error("{operation}: {what} = {value} must be {allowed}")]
    Range {
        /// The operation that was called.
        operation: &'static str,
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The allowed range, in words.
        allowed: &'static str,
    },
    /// A matrix that is not unitary, or Kraus operators that do not sum to the identity.
    #[error("{operation}: deviates from {property} by {deviation:.3e}; normalise the matrix first")]
    NotValid {
        /// The operation that was called.
        operation: &'static str,
        /// The property it lacks, such as `unitarity`.
        property: &'static str,
        /// By how much.
        deviation: f64,
    },
    /// Something this method cannot do, and what can.
    #[error("{operation}: {reason}")]
    Unsupported {
        /// The operation that was called.
        operation: &'static str,
        /// Why not, and the mend.
        reason: String,
    },
    /// Program text that cannot be read.
    #[error("line {line}, column {column}: {message}")]
    Parse {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong, and the mend.
        message: String,
    },
    /// An error of the shared crate.
    #[error(transparent)]
    Core(#[from] rl_core::Error),
}

#[cfg(feature = "rl")]
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Core(error.into())
    }
}

impl Error {
    /// A [`Error::Shape`] from anything printable.
    pub fn shape(operation: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Shape { operation, expected: expected.to_string(), got: got.to_string() }
    }

    /// A [`Error::Unsupported`] from anything printable.
    pub fn unsupported(operation: &'static str, reason: impl ToString) -> Self {
        Self::Unsupported { operation, reason: reason.to_string() }
    }
}

/// `Ok` when `value` lies in `[low, high]`.
pub(crate) fn within(
    operation: &'static str,
    what: &'static str,
    value: f64,
    (low, high): (f64, f64),
    allowed: &'static str,
) -> Result<()> {
    match (low..=high).contains(&value) {
        true => Ok(()),
        false => Err(Error::Range { operation, what, value, allowed }),
    }
}

/// `Ok` when two lengths agree.
pub(crate) fn same_length(
    operation: &'static str,
    what: &'static str,
    expected: usize,
    got: usize,
) -> Result<()> {
    match expected == got {
        true => Ok(()),
        false => Err(Error::shape(operation, format!("{expected} {what}"), got)),
    }
}

/// `Ok` when a deviation is at most `limit`; NaN is not.
pub(crate) fn at_most(
    operation: &'static str,
    property: &'static str,
    deviation: f64,
    limit: f64,
) -> Result<()> {
    match deviation <= limit {
        true => Ok(()),
        false => Err(Error::NotValid { operation, property, deviation }),
    }
}
