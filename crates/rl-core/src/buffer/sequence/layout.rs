//! What a step and a batch of windows consist of.

use crate::{Error, Result};

/// Element type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Reals.
    F32,
    /// Bytes, such as pixels.
    U8,
}

/// A field that every step has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name, such as `observation`, `reward`, `deter`.
    pub name: String,
    /// Numbers per step.
    pub width: usize,
    /// Element type.
    pub kind: FieldKind,
}

impl Field {
    /// A field of reals.
    pub fn f32(name: impl Into<String>, width: usize) -> Self {
        Self { name: name.into(), width, kind: FieldKind::F32 }
    }

    /// A field of bytes.
    pub fn u8(name: impl Into<String>, width: usize) -> Self {
        Self { name: name.into(), width, kind: FieldKind::U8 }
    }
}

/// Sizes and rules of a [`SequenceBuffer`](super::SequenceBuffer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceConfig {
    /// Steps kept per stream; the oldest gives way.
    pub capacity: usize,
    /// Environments that feed the buffer.
    pub streams: usize,
    /// T, the length of a window.
    pub length: usize,
    /// The fields of a step, in the order in which they are pushed.
    pub fields: Vec<Field>,
    /// Whether a window may run on into the next episode (Dreamer: yes, the model resets at `is_first`) or must stay
    /// within one (PlaNet; episodes shorter than a window are then never seen).
    pub cross_episodes: bool,
    /// Whether the first step of every window is marked `is_first`, so that a model starts from its initial state
    /// there. Off if the state stored with that step is used instead.
    pub restart: bool,
    /// Whether each stretch of fresh steps is handed out once before anything is drawn (DreamerV3's online queue).
    pub online: bool,
}

impl SequenceConfig {
    pub(super) fn validate(&self) -> Result<()> {
        for (field, size) in [("capacity", self.capacity), ("streams", self.streams), ("length", self.length)]
        {
            if size == 0 {
                return Err(Error::config("sequence", field, size, "at least 1"));
            }
        }
        if self.capacity < self.length {
            return Err(Error::config("sequence", "capacity", self.capacity, "at least `length`"));
        }
        for (i, field) in self.fields.iter().enumerate() {
            if field.width == 0 || self.fields[..i].iter().any(|other| other.name == field.name) {
                return Err(Error::config("sequence", "fields", &field.name, "of width > 0 and named once"));
            }
        }
        Ok(())
    }
}

/// One field of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldRow<'a> {
    /// Reals.
    F32(&'a [f32]),
    /// Bytes.
    U8(&'a [u8]),
}

/// How a step stands in its episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepEnds {
    /// The episode begins here. Set by itself after an end and at the start of a stream; set it where an episode was
    /// left without an end.
    pub is_first: bool,
    /// An end state: continuation target 0.
    pub terminated: bool,
    /// Cut off here: the future exists.
    pub truncated: bool,
}

/// One field of a batch, `[T, B, width]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Reals.
    F32(Vec<f32>),
    /// Bytes.
    U8(Vec<u8>),
}

impl Cells {
    /// The reals; empty for a field of bytes.
    pub fn f32(&self) -> &[f32] {
        if let Self::F32(v) = self { v } else { &[] }
    }

    /// The bytes; empty for a field of reals.
    pub fn u8(&self) -> &[u8] {
        if let Self::U8(v) = self { v } else { &[] }
    }
}

/// B windows of T steps, time-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceBatch {
    /// The fields in the order of the configuration, each `[T, B, width]`.
    pub fields: Vec<Cells>,
    /// `[T, B]`: the model's state is reset before these steps.
    pub is_first: Vec<bool>,
    /// `[T, B]`
    pub terminated: Vec<bool>,
    /// `[T, B]`
    pub truncated: Vec<bool>,
    /// `[B]`: the stream and the number of the first step of each window; step t of it has the number `+ t`.
    pub starts: Vec<(usize, u64)>,
}

impl Cells {
    pub(super) fn kind(&self) -> FieldKind {
        match self {
            Self::F32(_) => FieldKind::F32,
            Self::U8(_) => FieldKind::U8,
        }
    }

    pub(super) fn empty(kind: FieldKind) -> Self {
        match kind {
            FieldKind::F32 => Self::F32(Vec::new()),
            FieldKind::U8 => Self::U8(Vec::new()),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::F32(v) => v.clear(),
            Self::U8(v) => v.clear(),
        }
    }
}

pub(super) fn check_fields(specs: &[Field], rows: &[FieldRow<'_>]) -> Result<()> {
    if specs.len() != rows.len() {
        return Err(Error::shape("sequence push", format!("{} fields", specs.len()), rows.len()));
    }
    for (spec, row) in specs.iter().zip(rows) {
        let (kind, width) = match row {
            FieldRow::F32(values) => (FieldKind::F32, values.len()),
            FieldRow::U8(values) => (FieldKind::U8, values.len()),
        };
        if (kind, width) != (spec.kind, spec.width) {
            let expected = format!("{} × {:?} in field `{}`", spec.width, spec.kind, spec.name);
            return Err(Error::shape("sequence push", expected, format!("{width} × {kind:?}")));
        }
    }
    Ok(())
}
