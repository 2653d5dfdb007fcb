//! Agreement with reference data: one checker that records the worst deviation of a file instead of stopping
//! at the first.
//!
//! A crate's `conformance` module replays a folder of reference numbers and returns one [`Row`] per file. Its
//! tests call it on the data in the crate, `cargo xtask conformance AREA --data DIR` on any folder of the same
//! schema.

#[cfg(feature = "nn")]
pub mod rl_core;

use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The outcome for one file of reference data.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The area, such as `rl-core`.
    pub area: String,
    /// File name inside the data folder.
    pub file: String,
    /// Compared numbers.
    pub cases: usize,
    /// Largest deviation, in units of its own comparison's scale (see [`Checker::close`]).
    pub max_error: f64,
    /// The largest tolerance used in the file.
    pub tolerance: f64,
    /// Whether every comparison held and at least one was made.
    pub pass: bool,
    /// The first comparison that failed, in words; empty when all held.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failure: String,
}

/// Collects the comparisons of one file.
pub struct Checker {
    row: Row,
    /// Which part of the file is being compared, for messages.
    context: String,
}

impl Checker {
    /// Starts a file.
    pub fn new(area: &str, file: &str) -> Self {
        let row = Row {
            area: area.into(),
            file: file.into(),
            cases: 0,
            max_error: 0.0,
            tolerance: 0.0,
            pass: true,
            failure: String::new(),
        };
        Self { row, context: String::new() }
    }

    /// Compares two numbers: `|got − want| ≤ tolerance · max(1, |want|)`. Equal infinities and two NaN agree.
    pub fn close(&mut self, what: &str, got: f64, want: f64, tolerance: f64) {
        let same = got == want || (got.is_nan() && want.is_nan());
        let error = if same { 0.0 } else { (got - want).abs() / want.abs().max(1.0) };
        self.record(error, tolerance, || {
            format!("{what}: got {got:e}, want {want:e}, tolerance {tolerance:e}")
        });
    }

    /// Compares two slices element by element; a difference in length fails.
    pub fn close_slice(&mut self, what: &str, got: &[f64], want: &[f64], tolerance: f64) {
        if got.len() != want.len() {
            self.fail(format!("{what}: got {} numbers, want {}", got.len(), want.len()));
        }
        for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
            self.close(&format!("{what}[{i}]"), got, want, tolerance);
        }
    }

    /// Demands equality.
    pub fn exact<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, got: T, want: T) {
        let error = if got == want { 0.0 } else { f64::INFINITY };
        self.record(error, 0.0, || format!("{what}: got {got:?}, want {want:?}"));
    }

    /// Records a case that could not even be compared.
    pub fn fail(&mut self, message: String) {
        self.record(f64::INFINITY, 0.0, || message);
    }

    /// Compares within a named part of the file: messages and errors begin with its name.
    ///
    /// # Errors
    /// What `check` returns, after the name.
    pub fn within(
        &mut self,
        part: &str,
        check: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let outer = std::mem::replace(&mut self.context, format!("{part}: "));
        let outcome = check(self).map_err(|message| format!("{part}: {message}"));
        self.context = outer;
        outcome
    }

    fn record(&mut self, error: f64, tolerance: f64, message: impl FnOnce() -> String) {
        self.row.cases += 1;
        self.row.tolerance = self.row.tolerance.max(tolerance);
        // NaN counts as the worst error there is, so that `max` cannot hide it.
        let error = if error.is_nan() { f64::INFINITY } else { error };
        self.row.max_error = self.row.max_error.max(error);
        if error > tolerance && self.row.pass {
            self.row.pass = false;
            self.row.failure = self.context.clone() + &message();
        }
    }

    /// The row of this file. A file without a single comparison does not pass.
    pub fn finish(mut self) -> Row {
        if self.row.cases == 0 {
            self.row.pass = false;
            self.row.failure = "nothing was compared".into();
        }
        self.row
    }
}

/// Replays one JSON file: reads it, hands it to `check`, and turns an unreadable or malformed file into a row
/// that fails with the reason. `check` returns `Err` with a message where the schema does not hold.
pub fn replay(
    area: &str,
    folder: &Path,
    file: &str,
    check: impl FnOnce(&Value, &mut Checker) -> Result<(), String>,
) -> Row {
    let mut checker = Checker::new(area, file);
    let path = folder.join(file);
    let outcome = std::fs::read_to_string(&path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))
        .and_then(|text| {
            serde_json::from_str(&text).map_err(|e| format!("{} is not JSON: {e}", path.display()))
        })
        .and_then(|data: Value| check(&data, &mut checker));
    if let Err(message) = outcome {
        checker.fail(message);
    }
    checker.finish()
}

/// Typed access to a field, with the path in the message: `get::<Vec<f64>>(case, "rewards")`.
///
/// # Errors
/// A message naming the key when it is missing or of another type.
pub fn get<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> Result<T, String> {
    let field = value.get(key).ok_or_else(|| format!("field `{key}` is missing"))?;
    T::deserialize(field).map_err(|e| format!("field `{key}`: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_error_and_the_first_failure_are_kept() {
        let mut c = Checker::new("a", "f.json");
        c.close("x", 1.0, 1.0 + 1e-9, 1e-6);
        c.close("y", 2.0, 3.0, 1e-6);
        c.close("z", 2.0, 4.0, 1e-6);
        let row = c.finish();
        assert!(!row.pass && row.failure.starts_with("y: "), "{row:?}");
        assert_eq!((row.cases, row.max_error), (3, 0.5));
    }

    #[test]
    fn nan_never_passes_and_neither_does_silence() {
        let mut c = Checker::new("a", "f.json");
        c.close("x", f64::NAN, 1.0, 1e-6);
        assert!(!c.finish().pass);
        assert!(!Checker::new("a", "f.json").finish().pass);
    }

    #[test]
    fn lengths_must_agree() {
        let mut c = Checker::new("a", "f.json");
        c.close_slice("x", &[1.0], &[1.0, 2.0], 1e-6);
        assert!(!c.finish().pass);
    }
}
