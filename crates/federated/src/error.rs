//! The errors of this crate: each says what was asked, what was expected and what was got.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in `federated`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration field or argument outside its allowed range.
    #[error("{config}.{field} = {value}: must be {allowed}")]
    Config {
        /// The configuration or function, such as `fed_adam`.
        config: &'static str,
        /// The field.
        field: &'static str,
        /// Its value, printed.
        value: String,
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
    /// Fewer clients than the operation needs.
    #[error(
        "{operation}: needs at least {needed} clients, got {got}; wait for more replies or sample more clients"
    )]
    TooFew {
        /// The operation that was called.
        operation: &'static str,
        /// The least number.
        needed: usize,
        /// The number at hand.
        got: usize,
    },
    /// A number that must be finite and is not.
    #[error("{operation}: {what} is not finite; refuse that client's update or lower its learning rate")]
    NotFinite {
        /// The operation that met it.
        operation: &'static str,
        /// What is not finite.
        what: String,
    },
    /// Bytes that are not a message of the protocol.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A message that the protocol does not allow now.
    #[error("{operation}: {reason}")]
    OutOfOrder {
        /// The step that was called.
        operation: &'static str,
        /// Why it is refused now.
        reason: String,
    },
    /// Someone broke the protocol; the party is named.
    #[error("secure aggregation: {party} {misdeed}")]
    Tampering {
        /// Who did it: `the server`, or a client by its number.
        party: crate::secure_aggregation::Party,
        /// What it did.
        misdeed: String,
    },
    /// The privacy budget does not allow another round.
    #[error(
        "privacy budget: one more round would spend ε = {after:.4} of {allowed:.4} at δ = {delta:e}; stop here, or start again with more noise"
    )]
    BudgetSpent {
        /// ε after one more round.
        after: f64,
        /// The budget.
        allowed: f64,
        /// δ of both.
        delta: f64,
    },
    /// A peer that speaks another version of the wire protocol.
    #[error("{peer}: speaks version {got}, this client speaks {expected} only; {mend}")]
    Version {
        /// The peer, such as an address.
        peer: String,
        /// Its version, or what it said.
        got: String,
        /// The version this crate speaks.
        expected: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// The network, or the peer behind it.
    #[error("{operation}: {reason}")]
    Transport {
        /// The request.
        operation: String,
        /// What happened.
        reason: String,
    },
    /// An environment, a network or a buffer of a client.
    #[error(transparent)]
    Learning(#[from] rl_core::Error),
    /// An operation of the file system.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// An [`Error::Shape`] from anything printable.
    pub fn shape(operation: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Shape { operation, expected: expected.to_string(), got: got.to_string() }
    }

    /// An [`Error::Config`] from anything printable.
    pub fn config(
        config: &'static str,
        field: &'static str,
        value: impl ToString,
        allowed: &'static str,
    ) -> Self {
        Self::Config { config, field, value: value.to_string(), allowed }
    }

    /// An [`Error::Malformed`].
    pub fn malformed(what: &'static str, reason: impl ToString) -> Self {
        Self::Malformed { what, reason: reason.to_string() }
    }
}

/// Demands that all vectors have one length.
pub(crate) fn same_length<T>(operation: &'static str, vectors: &[&[T]]) -> Result<usize> {
    let length = vectors.first().map_or(0, |v| v.len());
    match vectors.iter().position(|v| v.len() != length) {
        Some(i) => Err(Error::shape(
            operation,
            format!("{length} parameters from every client"),
            format!("{} from number {i}", vectors[i].len()),
        )),
        None => Ok(length),
    }
}

/// Demands `low ≤ value ≤ high`, or `low < value` and so on as `holds` says.
pub(crate) fn check(
    holds: bool,
    config: &'static str,
    field: &'static str,
    value: impl ToString,
    allowed: &'static str,
) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::config(config, field, value, allowed)) }
}
