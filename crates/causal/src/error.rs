//! The errors of this crate: each says what was asked, what is wrong, and the mend.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in `causal`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration field outside its allowed range.
    #[error("{config}.{field} = {value}: must be {allowed}")]
    Config {
        /// The configuration, such as `pc`.
        config: &'static str,
        /// The field.
        field: &'static str,
        /// Its value, printed.
        value: String,
        /// The allowed range, in words.
        allowed: &'static str,
    },
    /// A node index that the graph does not have.
    #[error("{operation}: node {node} does not exist, the graph has {count} nodes (indices start at 0)")]
    Node {
        /// The operation that was called.
        operation: &'static str,
        /// The index.
        node: usize,
        /// Number of nodes.
        count: usize,
    },
    /// A name that no variable has.
    #[error("{operation}: no variable is called `{name}`; known names: {known}")]
    UnknownName {
        /// The operation that was called.
        operation: &'static str,
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Directed edges that form a cycle.
    #[error("{operation}: {from} -> {to} closes a directed cycle")]
    Cycle {
        /// The operation that was called.
        operation: &'static str,
        /// Tail of the offending edge.
        from: String,
        /// Head of the offending edge.
        to: String,
    },
    /// Node sets that must be disjoint and are not.
    #[error("{operation}: `{name}` occurs in more than one of the sets, which must be disjoint")]
    Overlap {
        /// The operation that was called.
        operation: &'static str,
        /// The shared node.
        name: String,
    },
    /// A graph that is not of the kind that was asked for.
    #[error("not a valid {kind}: {reason}")]
    InvalidGraph {
        /// The kind of graph, such as `CPDAG`.
        kind: &'static str,
        /// What violates it.
        reason: String,
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
    /// Data that cannot be used as they are.
    #[error("{what}: {reason}")]
    Data {
        /// Which data.
        what: String,
        /// What is wrong, and the mend.
        reason: String,
    },
    /// Columns that determine each other, so that a regression or partial correlation does not exist.
    #[error(
        "{operation}: the columns {columns} are linearly dependent (one repeats or is a combination of others); drop one of them"
    )]
    Singular {
        /// The operation that met them.
        operation: &'static str,
        /// Their names or indices.
        columns: String,
    },
    /// Background knowledge that contradicts itself or the data's graph.
    #[error("background knowledge: {0}")]
    Knowledge(String),
    /// A number that grew beyond what can be represented.
    #[error("{operation}: the result is too large: {reason}")]
    TooLarge {
        /// The operation that was called.
        operation: &'static str,
        /// What grew.
        reason: String,
    },
    /// A numerical method that did not converge.
    #[error("{operation}: {reason}")]
    NotConverged {
        /// The operation.
        operation: &'static str,
        /// What happened, and the mend.
        reason: String,
    },
    /// Text that is not of the expected form.
    #[error("{what}: {reason}")]
    Parse {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What `rl-core` reports: tensors, networks, optimisers.
    #[error(transparent)]
    Core(#[from] rl_core::Error),
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
    /// An [`Error::Config`] from anything printable.
    pub fn config(
        config: &'static str,
        field: &'static str,
        value: impl ToString,
        allowed: &'static str,
    ) -> Self {
        Self::Config { config, field, value: value.to_string(), allowed }
    }

    /// An [`Error::Shape`] from anything printable.
    pub fn shape(operation: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Shape { operation, expected: expected.to_string(), got: got.to_string() }
    }

    /// An [`Error::Data`] from anything printable.
    pub fn data(what: impl ToString, reason: impl ToString) -> Self {
        Self::Data { what: what.to_string(), reason: reason.to_string() }
    }

    /// An [`Error::Parse`] from anything printable.
    pub fn parse(what: impl ToString, reason: impl ToString) -> Self {
        Self::Parse { what: what.to_string(), reason: reason.to_string() }
    }
}
