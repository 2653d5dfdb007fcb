//! The commands `discover`, `identify`, `qasm` and `epsilon` as users meet them: the right answer where the
//! reference packages know it, and one message with status 2 for whatever is wrong with the input.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod discover;
mod epsilon;
mod identify;
mod qasm;

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder with files in which the program is run.
struct Desk(TempDir);

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.path().join(name), text).unwrap());
        Self(folder)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).current_dir(self.0.path()).output().unwrap()
    }

    /// What a successful run prints.
    fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The object that a successful run prints with `--json`, on one line and alone.
    fn json(&self, args: &[&str]) -> Value {
        let text = self.text(&[args, &["--json"]].concat());
        assert_eq!(text.lines().count(), 1, "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value.is_object());
        value
    }

    /// Demands status 2, an empty stdout, and a message with all `parts` and no trace of the program's insides.
    fn refuses(&self, args: &[&str], parts: &[&str]) {
        for args in [args.to_vec(), [args, &["--json"]].concat()] {
            let output = self.run(&args);
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
            assert!(output.stdout.is_empty(), "{args:?}");
            parts.iter().for_each(|part| assert!(message.contains(part), "{args:?}: `{part}` in {message}"));
            let insides = ["panicked", "backtrace", "internal", "::"];
            assert!(!insides.iter().any(|word| message.contains(word)), "{args:?}: {message}");
        }
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A file of reference data.
fn golden(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crates").join(file);
    path.canonicalize().unwrap().to_str().unwrap().into()
}

fn golden_json(file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(golden(file)).unwrap()).unwrap()
}
