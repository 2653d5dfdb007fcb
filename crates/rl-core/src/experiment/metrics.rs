//! Metrics: one `record(key, value)` and one `flush(step)`, written as JSON lines, CSV and TensorBoard events.
//!
//! `metrics.jsonl` is the source of truth and holds nothing but what the run computed: equal runs give equal
//! bytes. Wall time and throughput go to `timing.jsonl` and TensorBoard. `step` counts environment steps. Keys
//! are paths: `charts/episodic_return`, `losses/value`.

use super::csv::Table;
use super::tensorboard::EventWriter;
use super::{Persist, TrainState};
use crate::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Collects values between two flushes and writes their means.
pub struct Metrics {
    pending: Vec<(String, Mean)>,
    latest: Vec<(String, f64)>,
    stage: String,
    sink: Option<Sink>,
}

#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Metrics {
    /// Metrics that are kept in memory only (see [`latest`](Self::latest)): for training without a run folder.
    pub fn in_memory() -> Self {
        Self { pending: Vec::new(), latest: Vec::new(), stage: String::new(), sink: None }
    }

    /// Metrics of a run folder, going on after the first `length` bytes of its `metrics.jsonl` (0: from the
    /// start). Files are touched at the first flush, not before.
    pub fn in_folder(folder: &Path, length: u64) -> Self {
        let sink = Sink { folder: folder.into(), length, files: None, events: None, keep_events_until: None };
        Self { sink: Some(sink), ..Self::in_memory() }
    }

    /// Notes a value. Several values of one key between two flushes are averaged, so losses may be recorded at
    /// every update and returns at every episode.
    pub fn record(&mut self, key: &str, value: f64) {
        let mean = match self.pending.iter().position(|(known, _)| known == key) {
            Some(i) => &mut self.pending[i].1,
            None => &mut self.pending.push_mut((key.to_owned(), Mean::default())).1,
        };
        mean.sum += value;
        mean.count += 1;
    }

    /// Writes what was recorded since the last flush as one row at `step`; nothing recorded, nothing written.
    ///
    /// # Errors
    /// [`Error::Io`] if the run folder cannot be written.
    pub fn flush(&mut self, step: u64) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let row: Vec<(String, f64)> =
            self.pending.drain(..).map(|(key, mean)| (key, mean.sum / mean.count as f64)).collect();
        if let Some(sink) = &mut self.sink {
            sink.write(step, &self.stage, &row)?;
        }
        self.latest = row;
        Ok(())
    }

    /// The row of the last flush.
    pub fn latest(&self) -> &[(String, f64)] {
        &self.latest
    }

    /// Begins a part of a run with several: its rows carry `"stage"`, its TensorBoard curves get their own
    /// name. Events of an interrupted attempt are kept up to `resumed_at`.
    pub(super) fn begin(&mut self, stage: &str, resumed_at: Option<u64>) {
        stage.clone_into(&mut self.stage);
        self.pending.clear();
        self.latest.clear();
        if let Some(sink) = &mut self.sink {
            sink.events = None;
            sink.keep_events_until = resumed_at;
        }
    }

    /// Notes throughput where bytes need not repeat.
    pub(super) fn timing(&mut self, step: u64, wall_seconds: f64, steps_per_second: f64) -> Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        sink.events(&self.stage)?.scalar("charts/steps_per_second", step, steps_per_second)?;
        let line = serde_json::json!({
            "step": step, "stage": self.stage, "wall_seconds": wall_seconds, "steps_per_second": steps_per_second,
        });
        let path = sink.folder.join("timing.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut f| f.write_all(format!("{line}\n").as_bytes())).map_err(Error::io("write", &path))
    }

    /// Bytes of `metrics.jsonl` so far, on the disk when this returns.
    pub(super) fn length(&mut self) -> Result<u64> {
        let Some(sink) = &mut self.sink else { return Ok(0) };
        if let Some(files) = &sink.files {
            files.lines.sync_data().map_err(Error::io("synchronise", &sink.lines_path()))?;
        }
        Ok(sink.length)
    }
}

/// What was recorded and not flushed belongs to the state of a run.
impl Persist for Metrics {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let keys: Vec<&str> = self.pending.iter().map(|(key, _)| key.as_str()).collect();
        let sums: Vec<f64> = self.pending.iter().map(|(_, mean)| mean.sum).collect();
        let counts: Vec<u64> = self.pending.iter().map(|(_, mean)| mean.count).collect();
        state.put(format!("{prefix}/keys"), &keys)?;
        state.put_array(format!("{prefix}/sums"), &[keys.len()], &sums);
        state.put_array(format!("{prefix}/counts"), &[keys.len()], &counts);
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let keys: Vec<String> = state.get(&format!("{prefix}/keys"))?;
        let sums = state.array::<f64>(&format!("{prefix}/sums"), &[keys.len()])?;
        let counts = state.array::<u64>(&format!("{prefix}/counts"), &[keys.len()])?;
        let means = sums.iter().zip(counts).map(|(&sum, &count)| Mean { sum, count });
        self.pending = keys.into_iter().zip(means).collect();
        Ok(())
    }
}

/// The files of one run folder.
struct Sink {
    folder: PathBuf,
    length: u64,
    files: Option<Files>,
    events: Option<EventWriter>,
    keep_events_until: Option<u64>,
}

struct Files {
    lines: File,
    table: Table,
}

impl Sink {
    fn lines_path(&self) -> PathBuf {
        self.folder.join("metrics.jsonl")
    }

    fn write(&mut self, step: u64, stage: &str, row: &[(String, f64)]) -> Result<()> {
        let path = self.lines_path();
        let line = json_line(step, stage, row);
        if self.files.is_none() {
            self.files = Some(open(&self.folder, &path, self.length)?);
        }
        if let Some(files) = &mut self.files {
            files.lines.write_all(line.as_bytes()).map_err(Error::io("write", &path))?;
            files.table.append(&line, &path)?;
        }
        self.length += line.len() as u64;
        let events = self.events(stage)?;
        row.iter().try_for_each(|(key, value)| events.scalar(key, step, *value))
    }

    fn events(&mut self, stage: &str) -> Result<&mut EventWriter> {
        let events = match self.events.take() {
            Some(events) => events,
            None => EventWriter::open(&self.folder.join("tensorboard").join(stage), self.keep_events_until)?,
        };
        Ok(self.events.insert(events))
    }
}

/// Cuts the JSON lines back to `length` bytes and opens them, with the table that belongs to them.
fn open(folder: &Path, path: &Path, length: u64) -> Result<Files> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let lines = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("open", path))?;
    let present = lines.metadata().map_err(Error::io("read", path))?.len();
    if present < length {
        let reason =
            format!("{present} bytes long, but the checkpoint was made at {length}; the file was changed");
        return Err(Error::Checkpoint { path: path.display().to_string(), reason });
    }
    lines.set_len(length).map_err(Error::io("cut", path))?;
    Ok(Files { lines, table: Table::rebuild(&folder.join("progress.csv"), path)? })
}

/// One row: `step` first, then `stage` if there is one, then the keys in the order they were recorded.
fn json_line(step: u64, stage: &str, row: &[(String, f64)]) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut line = format!("{{\"step\":{step}");
    if !stage.is_empty() {
        line.push_str(&format!(",\"stage\":{}", text(stage)));
    }
    for (key, value) in row {
        // JSON knows no NaN and no infinity: they become null.
        line.push_str(&format!(",{}:{}", text(key), serde_json::Value::from(*value)));
    }
    line.push_str("}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path, file: &str) -> String {
        fs::read_to_string(folder.join(file)).unwrap()
    }

    #[test]
    fn values_are_averaged_between_flushes_and_columns_may_appear_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::in_folder(folder.path(), 0);
        metrics.flush(0).unwrap();
        metrics.record("charts/episodic_return", 1.0);
        metrics.record("charts/episodic_return", 2.0);
        metrics.flush(10).unwrap();
        metrics.record("a,\"b\"", f64::NAN);
        metrics.record("losses/value", 0.1);
        metrics.flush(20).unwrap();
        assert_eq!(
            read(folder.path(), "metrics.jsonl"),
            "{\"step\":10,\"charts/episodic_return\":1.5}\n{\"step\":20,\"a,\\\"b\\\"\":null,\"losses/value\":0.1}\n"
        );
        let table = "step,stage,\"a,\"\"b\"\"\",charts/episodic_return,losses/value\n10,,,1.5,\n20,,,,0.1\n";
        assert_eq!(read(folder.path(), "progress.csv"), table);
    }

    #[test]
    fn going_on_after_a_cut_gives_the_same_files() {
        let write = |metrics: &mut Metrics, steps: std::ops::Range<u64>| {
            for step in steps {
                metrics.record("x", step as f64);
                if step == 7 {
                    metrics.record("late", 1.0);
                }
                metrics.flush(step).unwrap();
            }
            metrics.length().unwrap()
        };
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(&mut Metrics::in_folder(whole.path(), 0), 0..12);
        let mut metrics = Metrics::in_folder(parts.path(), 0);
        let length = write(&mut metrics, 0..5);
        write(&mut metrics, 5..9);
        write(&mut Metrics::in_folder(parts.path(), length), 5..12);
        for file in ["metrics.jsonl", "progress.csv"] {
            assert_eq!(read(whole.path(), file), read(parts.path(), file));
        }
        fs::write(parts.path().join("metrics.jsonl"), "").unwrap();
        let mut shortened = Metrics::in_folder(parts.path(), length);
        shortened.record("x", 1.0);
        assert!(shortened.flush(1).unwrap_err().to_string().contains("the file was changed"));
    }
}
