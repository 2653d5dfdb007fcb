//! The complete state of a training run in memory: named arrays and named values.
//!
//! Everything that influences the future of a run goes in here: weights, optimiser moments, buffers, normalisers,
//! generators, environment states, counters. [`checkpoint`](super::checkpoint) writes it to disk and back.

use crate::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

/// The elements of an array, by type.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// Bytes and flags.
    U8(Vec<u8>),
    /// 32-bit indices.
    U32(Vec<u32>),
    /// 64-bit counters.
    U64(Vec<u64>),
}

impl Data {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::U64(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of the element type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::U8(_) => "u8",
            Self::U32(_) => "u32",
            Self::U64(_) => "u64",
        }
    }
}

/// An array with its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Elements, last axis fastest.
    pub data: Data,
}

/// Conversion between slices of one element type and [`Data`].
pub trait Element: Copy + Sized {
    /// Wraps a vector.
    fn wrap(data: Vec<Self>) -> Data;
    /// The elements, if they are of this type.
    fn unwrap(data: &Data) -> Option<&[Self]>;
    /// Name of the type.
    const NAME: &'static str;
}

macro_rules! element {
    ($type:ty, $variant:ident, $name:literal) => {
        impl Element for $type {
            fn wrap(data: Vec<Self>) -> Data {
                Data::$variant(data)
            }
            fn unwrap(data: &Data) -> Option<&[Self]> {
                match data {
                    Data::$variant(v) => Some(v),
                    _ => None,
                }
            }
            const NAME: &'static str = $name;
        }
    };
}
element!(f32, F32, "f32");
element!(f64, F64, "f64");
element!(u8, U8, "u8");
element!(u32, U32, "u32");
element!(u64, U64, "u64");

/// Named arrays and values. Names are paths such as `actor/layer0/weight`; [`Persist::save`] of a part writes
/// below the prefix it is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainState {
    /// Arrays by name, in the order of their names.
    pub arrays: BTreeMap<String, Array>,
    /// Everything else, as JSON.
    pub values: BTreeMap<String, Value>,
}

/// What can be saved into and restored from a [`TrainState`] exactly.
pub trait Persist {
    /// Writes everything that influences the future, under `prefix`.
    ///
    /// # Errors
    /// If a part cannot be saved.
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()>;

    /// Restores what `save` wrote under the same prefix. On an error `self` must not be used further.
    ///
    /// # Errors
    /// If an entry is missing or does not fit this object.
    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()>;
}

impl TrainState {
    /// Stores an array.
    pub fn put_array<T: Element>(&mut self, name: impl Into<String>, shape: &[usize], data: &[T]) {
        let array = Array { shape: shape.to_vec(), data: T::wrap(data.to_vec()) };
        self.arrays.insert(name.into(), array);
    }

    /// The elements of an array of exactly this shape and type.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the entry, what is expected and what is there.
    pub fn array<T: Element>(&self, name: &str, shape: &[usize]) -> Result<&[T]> {
        let array = self.arrays.get(name).ok_or_else(|| missing(name))?;
        if array.shape != shape {
            return Err(misfit(name, format!("shape {shape:?}"), format!("{:?}", array.shape)));
        }
        T::unwrap(&array.data).ok_or_else(|| misfit(name, T::NAME.into(), array.data.type_name().into()))
    }

    /// The elements of an array whose length is not known beforehand.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the entry is missing or of another type.
    pub fn array_of_any_shape<T: Element>(&self, name: &str) -> Result<&[T]> {
        let array = self.arrays.get(name).ok_or_else(|| missing(name))?;
        T::unwrap(&array.data).ok_or_else(|| misfit(name, T::NAME.into(), array.data.type_name().into()))
    }

    /// Stores a value as JSON (floats survive exactly; NaN and infinities do not: put those into arrays).
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the value has no JSON form.
    pub fn put<T: Serialize>(&mut self, name: impl Into<String>, value: &T) -> Result<()> {
        let name = name.into();
        let value = serde_json::to_value(value).map_err(|e| Error::Checkpoint {
            path: name.clone(),
            reason: format!("cannot be stored: {e}"),
        })?;
        self.values.insert(name, value);
        Ok(())
    }

    /// Reads a value back.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing or of another form.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self.values.get(name).ok_or_else(|| missing(name))?;
        T::deserialize(value)
            .map_err(|e| Error::Checkpoint { path: name.into(), reason: format!("cannot be read: {e}") })
    }
}

fn missing(name: &str) -> Error {
    let reason = "this entry is missing; the checkpoint was made by another version or configuration";
    Error::Checkpoint { path: name.into(), reason: reason.into() }
}

fn misfit(name: &str, expected: String, got: String) -> Error {
    let reason = format!("expected {expected}, got {got}; use the configuration that made the checkpoint");
    Error::Checkpoint { path: name.into(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_shape_type_or_name_is_named() {
        let mut state = TrainState::default();
        state.put_array("w", &[2, 2], &[1f32, 2.0, 3.0, 4.0]);
        assert_eq!(state.array::<f32>("w", &[2, 2]).unwrap(), &[1.0, 2.0, 3.0, 4.0]);
        let shape = state.array::<f32>("w", &[4]).unwrap_err().to_string();
        assert!(shape.contains("[4]") && shape.contains("[2, 2]"), "{shape}");
        assert!(state.array::<f64>("w", &[2, 2]).unwrap_err().to_string().contains("f64"));
        assert!(state.array::<f32>("v", &[4]).unwrap_err().to_string().contains("checkpoint v"));
    }
}
