//! The errors of this crate: each says what was asked, what was expected and what was got.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in `rl-core`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration field outside its allowed range.
    #[error("{config}.{field} = {value}: must be {allowed}")]
    Config {
        /// The configuration, such as `dqn`.
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
    /// An action outside the action space.
    #[error("{env}: action {action} is outside {space}")]
    Action {
        /// The environment's identifier.
        env: String,
        /// The action, printed.
        action: String,
        /// The action space, printed.
        space: String,
    },
    /// A name that is not in a list.
    #[error("unknown {what} `{name}`{hint}; known: {known}")]
    Unknown {
        /// What was looked up, such as `environment`.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The nearest known name as a question, or nothing.
        hint: String,
        /// The known names.
        known: String,
    },
    /// An operation that does not make sense in the present state.
    #[error("{operation}: {reason}")]
    State {
        /// The operation that was called.
        operation: &'static str,
        /// Why it cannot be done now, and the mend.
        reason: String,
    },
    /// A number that must be finite and is not.
    #[error("{operation}: {what} is {value}; lower the learning rate or inspect the data")]
    NotFinite {
        /// The operation that met it.
        operation: &'static str,
        /// What is not finite.
        what: String,
        /// The value.
        value: f64,
    },
    /// A checkpoint that cannot be used.
    #[error("checkpoint {path}: {reason}")]
    Checkpoint {
        /// The file or folder.
        path: String,
        /// What is wrong with it, and the mend.
        reason: String,
    },
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
    /// Text that is not of the expected form.
    #[error("{what}: {reason}")]
    Parse {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A child process in another language.
    #[cfg(feature = "gymnasium")]
    #[error("{peer}: {reason}")]
    Bridge {
        /// What was to run there.
        peer: String,
        /// What went wrong, and the mend.
        reason: String,
    },
    /// A run that was asked to stop and did so after writing a checkpoint: not a failure, but the way out.
    #[error("{stage}: stopped at step {step} of {total}; the checkpoint is written, resume the run to go on")]
    Stopped {
        /// The part of the run that was being worked on.
        stage: String,
        /// Where it stopped.
        step: u64,
        /// Where it would have ended.
        total: u64,
    },
    /// The tensor library.
    #[cfg(feature = "nn")]
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// A [`Error::Shape`] from anything printable.
    pub fn shape(operation: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Shape { operation, expected: expected.to_string(), got: got.to_string() }
    }

    /// A [`Error::Config`] from anything printable.
    pub fn config(
        config: &'static str,
        field: &'static str,
        value: impl ToString,
        allowed: &'static str,
    ) -> Self {
        Self::Config { config, field, value: value.to_string(), allowed }
    }

    /// An [`Error::Unknown`] with the nearest of the known names, if one is near.
    pub fn unknown(what: &'static str, name: &str, known: &[&str]) -> Self {
        let distance = |k: &&str| edit_distance(&name.to_lowercase(), &k.to_lowercase());
        let nearest = known.iter().copied().min_by_key(distance);
        let near = nearest.filter(|k| distance(k) <= k.len().max(name.len()) / 3);
        let hint = near.map(|k| format!(", did you mean `{k}`?")).unwrap_or_default();
        Self::Unknown { what, name: name.into(), hint, known: known.join(", ") }
    }

    /// For `map_err` on file operations: `fs::read(p).map_err(Error::io("read", p))`.
    pub fn io(operation: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { operation, path, source }
    }
}

/// Levenshtein's distance: insertions, deletions and replacements from one word to the other.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_words() {
        let cases = [("", "", 0), ("kitten", "sitting", 3), ("abc", "", 3), ("ab", "ba", 2)];
        for (a, b, distance) in cases {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }
}
