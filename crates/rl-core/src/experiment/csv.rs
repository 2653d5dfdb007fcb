//! `progress.csv`: the table that `metrics.jsonl` spells out, kept valid while columns appear over time.
//!
//! The table is a pure function of the JSON lines: columns `step`, `stage`, then every key in alphabetical order.
//! Rows are appended; a row with a new key rewrites the table from the lines.

use super::write_atomically;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The table, open for appending.
pub(super) struct Table {
    path: PathBuf,
    columns: BTreeSet<String>,
    file: File,
}

impl Table {
    /// Writes the table of the JSON lines at `lines` and opens it.
    pub(super) fn rebuild(path: &Path, lines: &Path) -> Result<Self> {
        let text = fs::read_to_string(lines).map_err(Error::io("read", lines))?;
        let rows = text.lines().map(|line| parse(lines, line)).collect::<Result<Vec<_>>>()?;
        let columns: BTreeSet<String> = rows.iter().flat_map(|row| keys(row).cloned()).collect();
        let mut table = header(&columns);
        rows.iter().for_each(|row| table.push_str(&line(&columns, row)));
        write_atomically(path, table.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io("open", path))?;
        Ok(Self { path: path.into(), columns, file })
    }

    /// Adds the line that was just added to the JSON lines at `lines`.
    pub(super) fn append(&mut self, added: &str, lines: &Path) -> Result<()> {
        let row = parse(lines, added)?;
        if keys(&row).any(|key| !self.columns.contains(key)) {
            *self = Self::rebuild(&self.path, lines)?;
            return Ok(());
        }
        let line = line(&self.columns, &row);
        self.file.write_all(line.as_bytes()).map_err(Error::io("write", &self.path))
    }
}

fn parse(path: &Path, line: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(line).map_err(|e| Error::Parse {
        what: path.display().to_string(),
        reason: format!("not a JSON object: {e}"),
    })
}

fn keys(row: &Map<String, Value>) -> impl Iterator<Item = &String> {
    row.keys().filter(|key| !matches!(key.as_str(), "step" | "stage"))
}

fn header(columns: &BTreeSet<String>) -> String {
    let names = columns.iter().map(|name| format!(",{}", quoted(name)));
    format!("step,stage{}\n", names.collect::<String>())
}

fn line(columns: &BTreeSet<String>, row: &Map<String, Value>) -> String {
    let cell = |key: &str| match row.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => quoted(text),
        Some(value) => value.to_string(),
    };
    let values = columns.iter().map(|key| format!(",{}", cell(key)));
    format!("{},{}{}\n", cell("step"), cell("stage"), values.collect::<String>())
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}
