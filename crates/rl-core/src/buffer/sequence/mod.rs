//! Sequence replay for recurrent models (Hafner et al. 2019, 2023; Kapturowski et al. 2019): windows of consecutive
//! steps of one stream.
//!
//! A step is whatever the model needs at one moment: named fields of fixed width, and three flags. Dreamer's
//! convention: the observation o_t, the reward *on arrival* at o_t, the action that led to it (zero at a first step)
//! or is taken from it, as the model wants it. The last observation of an episode is a step of its own with
//! `terminated` or `truncated` set; the next step of that stream is then a first one.
//!
//! Windows never mix streams. Every window that lies wholly in the buffer is equally likely, whatever the lengths of
//! streams and episodes. The starts of valid windows are listed per stream: one is added when the step that
//! completes it arrives, and dropped when the ring overwrites its first step.

mod layout;

pub use layout::{Cells, Field, FieldKind, FieldRow, SequenceBatch, SequenceConfig, StepEnds};

use super::column::Column;
use crate::experiment::{Persist, TrainState};
use crate::{Error, Result};
use layout::check_fields;
use rand::{Rng, RngExt};
use std::collections::VecDeque;

#[derive(Clone, Debug)]
enum Store {
    F32(Column<f32>),
    U8(Column<u8>),
}

const FIRST: u8 = 1;
const TERMINATED: u8 = 2;
const TRUNCATED: u8 = 4;

/// The ring of one stream.
#[derive(Clone, Debug)]
struct Stream {
    stores: Vec<Store>,
    flags: Vec<u8>,
    /// Steps ever pushed; step i lies in row i mod capacity.
    pushed: u64,
    /// Steps of the present episode so far.
    run: u64,
    /// First steps of all windows that can be drawn, ascending.
    starts: VecDeque<u64>,
    /// First step that no window of the online queue has covered.
    fresh: u64,
}

/// Streams of steps from which windows are drawn.
#[derive(Clone, Debug)]
pub struct SequenceBuffer {
    config: SequenceConfig,
    streams: Vec<Stream>,
    online: VecDeque<(usize, u64)>,
}

impl SequenceBuffer {
    /// An empty buffer; the memory for `streams × capacity` steps is taken at once.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that is outside its range.
    pub fn new(config: SequenceConfig) -> Result<Self> {
        config.validate()?;
        let stores = config.fields.iter().map(|field| match field.kind {
            FieldKind::F32 => Store::F32(Column::new(config.capacity, field.width)),
            FieldKind::U8 => Store::U8(Column::new(config.capacity, field.width)),
        });
        let stream = Stream {
            stores: stores.collect(),
            flags: vec![0; config.capacity],
            pushed: 0,
            run: 0,
            starts: VecDeque::new(),
            fresh: 0,
        };
        let streams = vec![stream; config.streams];
        Ok(Self { config, streams, online: VecDeque::new() })
    }

    /// Sizes and rules.
    pub fn config(&self) -> &SequenceConfig {
        &self.config
    }

    /// Steps held.
    pub fn len(&self) -> usize {
        self.streams.iter().map(|stream| stream.pushed.min(self.config.capacity as u64) as usize).sum()
    }

    /// Whether no step has been stored.
    pub fn is_empty(&self) -> bool {
        self.streams.iter().all(|stream| stream.pushed == 0)
    }

    /// Windows that can be drawn.
    pub fn windows(&self) -> usize {
        self.streams.iter().map(|stream| stream.starts.len()).sum()
    }

    /// The position of a field in a step.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.config.fields.iter().position(|field| field.name == name)
    }

    /// Stores a step of one stream, its fields in the order of the configuration, and returns its number.
    ///
    /// # Errors
    /// [`Error::Shape`] if the stream does not exist or a field has another width or type.
    pub fn push(&mut self, stream: usize, ends: StepEnds, fields: &[FieldRow<'_>]) -> Result<u64> {
        check_fields(&self.config.fields, fields)?;
        let (capacity, length) = (self.config.capacity as u64, self.config.length as u64);
        let streams = self.config.streams;
        let Some(ring) = self.streams.get_mut(stream) else {
            return Err(Error::shape("sequence push", format!("a stream below {streams}"), stream));
        };
        let number = ring.pushed;
        let oldest = (number + 1).saturating_sub(capacity);
        while ring.starts.front().is_some_and(|&start| start < oldest) {
            ring.starts.pop_front();
        }
        let is_first = ends.is_first || number == 0 || ring.ended();
        let row = (number % capacity) as usize;
        for (store, field) in ring.stores.iter_mut().zip(fields) {
            match (store, field) {
                (Store::F32(column), FieldRow::F32(values)) => column.set(row, values),
                (Store::U8(column), FieldRow::U8(values)) => column.set(row, values),
                _ => {} // excluded by check_fields
            }
        }
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        ring.flags[row] =
            flag(is_first, FIRST) | flag(ends.terminated, TERMINATED) | flag(ends.truncated, TRUNCATED);
        ring.run = if is_first { 1 } else { ring.run + 1 };
        ring.pushed += 1;
        let reach = if self.config.cross_episodes { ring.pushed } else { ring.run };
        if reach >= length {
            let start = ring.pushed - length;
            ring.starts.push_back(start);
            if self.config.online && start >= ring.fresh {
                ring.fresh = start + length;
                self.online.push_back((stream, start));
            }
        }
        self.forget_overwritten();
        Ok(number)
    }

    /// Drops windows of the online queue that the ring has overwritten, at the latest when they are so many that the
    /// rings could not hold them all.
    fn forget_overwritten(&mut self) {
        let held = self.config.streams * (self.config.capacity / self.config.length);
        if self.online.len() > held {
            let streams = &self.streams;
            self.online.retain(|&(stream, start)| start >= streams[stream].oldest());
        }
    }

    /// Draws `size` windows into a batch that is reused: with `online` the fresh ones first, oldest first, then
    /// uniformly over all valid windows of all streams, with replacement.
    ///
    /// # Errors
    /// [`Error::State`] if no window can be drawn yet.
    pub fn sample(&mut self, size: usize, rng: &mut impl Rng, batch: &mut SequenceBatch) -> Result<()> {
        let windows = self.windows() as u64;
        if windows == 0 {
            let reason = format!(
                "no {} consecutive steps in one stream{} yet: collect more steps or shorten the windows",
                self.config.length,
                if self.config.cross_episodes { "" } else { " and episode" },
            );
            return Err(Error::State { operation: "sequence sample", reason });
        }
        batch.starts.clear();
        for _ in 0..size {
            let start = match self.next_online() {
                Some(start) => start,
                None => self.nth_window(rng.random_range(0..windows)),
            };
            batch.starts.push(start);
        }
        self.gather(batch)
    }

    fn next_online(&mut self) -> Option<(usize, u64)> {
        loop {
            let (stream, start) = self.online.pop_front()?;
            if start >= self.streams[stream].oldest() {
                return Some((stream, start));
            }
        }
    }

    fn nth_window(&self, n: u64) -> (usize, u64) {
        let mut n = n as usize;
        for (stream, ring) in self.streams.iter().enumerate() {
            match ring.starts.get(n) {
                Some(&start) => return (stream, start),
                None => n -= ring.starts.len(),
            }
        }
        (0, self.streams[0].oldest()) // n is below the number of windows
    }

    /// Fills a batch from its `starts`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a window is not in the buffer.
    pub fn gather(&self, batch: &mut SequenceBatch) -> Result<()> {
        for &(stream, start) in &batch.starts {
            let held = self.streams.get(stream).is_some_and(|ring| {
                start >= ring.oldest() && start.saturating_add(self.config.length as u64) <= ring.pushed
            });
            if !held {
                let got = format!("start {start} of stream {stream}");
                return Err(Error::shape("sequence gather", "windows in the buffer", got));
            }
        }
        self.gather_flags(batch);
        let kinds = self.config.fields.iter().map(|field| field.kind);
        if !kinds.clone().eq(batch.fields.iter().map(Cells::kind)) {
            batch.fields = kinds.map(Cells::empty).collect();
        }
        let capacity = self.config.capacity as u64;
        for (f, cells) in batch.fields.iter_mut().enumerate() {
            cells.clear();
            for t in 0..self.config.length as u64 {
                for &(stream, start) in &batch.starts {
                    let row = ((start + t) % capacity) as usize;
                    match (&self.streams[stream].stores[f], &mut *cells) {
                        (Store::F32(column), Cells::F32(out)) => out.extend_from_slice(column.row(row)),
                        (Store::U8(column), Cells::U8(out)) => out.extend_from_slice(column.row(row)),
                        _ => {} // kinds are equal
                    }
                }
            }
        }
        Ok(())
    }

    fn gather_flags(&self, batch: &mut SequenceBatch) {
        batch.is_first.clear();
        batch.terminated.clear();
        batch.truncated.clear();
        let capacity = self.config.capacity as u64;
        for t in 0..self.config.length as u64 {
            for &(stream, start) in &batch.starts {
                let flags = self.streams[stream].flags[((start + t) % capacity) as usize];
                batch.is_first.push(flags & FIRST != 0 || (t == 0 && self.config.restart));
                batch.terminated.push(flags & TERMINATED != 0);
                batch.truncated.push(flags & TRUNCATED != 0);
            }
        }
    }

    /// Writes values back into one field of the steps of a batch, `[T, B, width]`: latent states that a newer model
    /// has recomputed. Steps that have been overwritten since are left out; returns how many were written.
    ///
    /// # Errors
    /// [`Error::Shape`] if the field does not exist, is not of reals, or the sizes do not fit.
    pub fn write_back(&mut self, field: usize, batch: &SequenceBatch, values: &[f32]) -> Result<usize> {
        let spec = self.config.fields.get(field).filter(|spec| spec.kind == FieldKind::F32);
        let Some(width) = spec.map(|spec| spec.width) else {
            return Err(Error::shape("sequence write_back", "the index of a field of reals", field));
        };
        let steps = self.config.length * batch.starts.len();
        if values.len() != steps * width {
            return Err(Error::shape("sequence write_back", steps * width, values.len()));
        }
        let mut written = 0;
        let numbers = (0..self.config.length as u64)
            .flat_map(|t| batch.starts.iter().map(move |&(stream, start)| (stream, start.saturating_add(t))));
        for ((stream, number), row) in numbers.zip(values.chunks(width)) {
            written += usize::from(self.write(field, stream, number, row));
        }
        Ok(written)
    }

    /// Writes one row of a field of reals; whether that step is still held.
    fn write(&mut self, field: usize, stream: usize, number: u64, values: &[f32]) -> bool {
        let row = (number % self.config.capacity as u64) as usize;
        let Some(ring) = self.streams.get_mut(stream) else { return false };
        let held = number >= ring.oldest() && number < ring.pushed;
        match &mut ring.stores[field] {
            Store::F32(column) if held => column.set(row, values),
            _ => return false,
        }
        true
    }
}

impl Stream {
    fn oldest(&self) -> u64 {
        self.pushed.saturating_sub(self.flags.len() as u64)
    }

    /// Whether the newest step was the end of an episode.
    fn ended(&self) -> bool {
        let newest = self.pushed.checked_sub(1).map(|number| number % self.flags.len() as u64);
        newest.is_some_and(|row| self.flags[row as usize] & (TERMINATED | TRUNCATED) != 0)
    }
}

impl Persist for SequenceBuffer {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let rules = [self.config.capacity as u64, self.config.length as u64];
        state.put_array(format!("{prefix}/rules"), &[2], &rules);
        state.put(format!("{prefix}/online"), &self.online)?;
        for (s, ring) in self.streams.iter().enumerate() {
            let name = |field: &str| format!("{prefix}/{s}/{field}");
            let len = (ring.pushed - ring.oldest()) as usize;
            for (spec, store) in self.config.fields.iter().zip(&ring.stores) {
                match store {
                    Store::F32(column) => column.save(name(&spec.name), len, state),
                    Store::U8(column) => column.save(name(&spec.name), len, state),
                }
            }
            state.put_array(name("#flags"), &[len], &ring.flags[..len]);
            state.put_array(name("#counts"), &[3], &[ring.pushed, ring.run, ring.fresh]);
            let starts: Vec<u64> = ring.starts.iter().copied().collect();
            state.put_array(name("#starts"), &[starts.len()], &starts);
        }
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let rules = state.array::<u64>(&format!("{prefix}/rules"), &[2])?;
        let own = [self.config.capacity as u64, self.config.length as u64];
        if rules != own {
            let reason = format!("saved with [capacity, length] = {rules:?}, this buffer has {own:?}");
            return Err(Error::Checkpoint { path: format!("{prefix}/rules"), reason });
        }
        let length = own[1];
        for (s, ring) in self.streams.iter_mut().enumerate() {
            let name = |field: &str| format!("{prefix}/{s}/{field}");
            let counts = state.array::<u64>(&name("#counts"), &[3])?;
            (ring.pushed, ring.run, ring.fresh) = (counts[0], counts[1], counts[2]);
            let len = (ring.pushed - ring.oldest()) as usize;
            for (spec, store) in self.config.fields.iter().zip(&mut ring.stores) {
                match store {
                    Store::F32(column) => column.load(&name(&spec.name), len, state)?,
                    Store::U8(column) => column.load(&name(&spec.name), len, state)?,
                }
            }
            ring.flags[..len].copy_from_slice(state.array(&name("#flags"), &[len])?);
            ring.starts = state.array_of_any_shape::<u64>(&name("#starts"))?.iter().copied().collect();
            let (oldest, pushed) = (ring.oldest(), ring.pushed);
            if ring.starts.iter().any(|&start| start < oldest || start.saturating_add(length) > pushed) {
                let reason = "windows outside the stream: the file is damaged".into();
                return Err(Error::Checkpoint { path: name("#starts"), reason });
            }
        }
        self.online = state.get(&format!("{prefix}/online"))?;
        if self.online.iter().any(|&(stream, _)| stream >= self.config.streams) {
            let reason = "a stream that does not exist: the file is damaged".into();
            return Err(Error::Checkpoint { path: format!("{prefix}/online"), reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
