//! The errors of this crate: each says what was asked, what was expected and what was got.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in `marl`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration field outside its allowed range.
    #[error("{config}.{field} = {value}: must be {allowed}")]
    Config {
        /// The configuration, such as `particle`.
        config: &'static str,
        /// The field.
        field: &'static str,
        /// Its value, printed.
        value: String,
        /// The allowed range, in words.
        allowed: &'static str,
    },
    /// An action outside the agent's action space.
    #[error("{env}: action {action} of agent {agent} is outside {space}")]
    Action {
        /// The environment.
        env: &'static str,
        /// The agent's name.
        agent: String,
        /// The action, printed.
        action: String,
        /// The action space, printed.
        space: String,
    },
    /// A joint action that does not cover exactly the live agents.
    #[error("{env}: agent {agent} {problem}")]
    Agent {
        /// The environment.
        env: &'static str,
        /// The agent's name or index.
        agent: String,
        /// What is wrong, and the mend.
        problem: &'static str,
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
    /// An operation that does not make sense in the present state.
    #[error("{operation}: {reason}")]
    State {
        /// The operation that was called.
        operation: &'static str,
        /// Why it cannot be done now, and the mend.
        reason: String,
    },
    /// A linear programme or equilibrium without the wanted solution.
    #[error("{operation}: {reason}")]
    NoSolution {
        /// The computation.
        operation: &'static str,
        /// Why there is none.
        reason: &'static str,
    },
    /// An error of `rl-core`.
    #[error(transparent)]
    Core(#[from] rl_core::Error),
    /// The tensor library.
    #[cfg(feature = "learning")]
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
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
}
