//! A [`TrainState`] on disk: one safetensors file, checked by content, replaced atomically.
//!
//! Arrays are the file's tensors, so any safetensors reader sees the weights. Everything else is JSON in the
//! header's metadata under the key `quintet`, with the CRC-32C of the whole content. One file means one rename:
//! a process killed at any moment leaves the previous checkpoint or the new one, and the reader tells a damaged
//! file from a valid one.

use super::{Array, Data, TrainState, write_atomically};
use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// The metadata key of this project's part of the header.
const KEY: &str = "quintet";
/// Raised when the layout changes.
const FORMAT: u32 = 1;

/// What stands under [`KEY`].
#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    crc32c: u32,
    values: BTreeMap<String, Value>,
}

/// Writes a checkpoint in place of the one at `path`, creating the folder if needed. The old file stays until
/// the new one is complete and on the disk.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be written; [`Error::Checkpoint`] if the state has no such form.
pub fn write(path: &Path, state: &TrainState) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let header = Header { format: FORMAT, crc32c: checksum(state)?, values: state.values.clone() };
    let header = serde_json::to_string(&header).map_err(|e| unusable(path, e))?;
    // One key only: the library keeps metadata in a hash map, whose order would differ from run to run.
    let metadata = HashMap::from([(KEY.to_owned(), header)]);
    let bytes = safetensors::serialize(&state.arrays, Some(metadata)).map_err(|e| unusable(path, e))?;
    write_atomically(path, &bytes)
}

/// Reads a checkpoint and verifies its checksum.
///
/// # Errors
/// [`Error::Io`] if there is no such file; [`Error::Checkpoint`] if it is truncated, damaged, of another
/// program or of another version.
pub fn read(path: &Path) -> Result<TrainState> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let damaged = |e: &dyn std::fmt::Display| unusable(path, format!("truncated or damaged ({e})"));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&e))?;
    let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let text =
        text.ok_or_else(|| unusable(path, "a safetensors file, but not a checkpoint of this project"))?;
    let header: Header = serde_json::from_str(text).map_err(|e| damaged(&e))?;
    if header.format != FORMAT {
        let reason =
            format!("format {}, this version reads {FORMAT}: use the version that wrote it", header.format);
        return Err(unusable(path, reason));
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&e))?;
    let mut arrays = BTreeMap::new();
    for (name, view) in tensors.iter() {
        arrays.insert(name.to_owned(), array(&view).ok_or_else(|| damaged(&format!("type of `{name}`")))?);
    }
    let state = TrainState { arrays, values: header.values };
    if checksum(&state)? != header.crc32c {
        return Err(damaged(&"checksum does not match"));
    }
    Ok(state)
}

fn unusable(path: &Path, reason: impl ToString) -> Error {
    Error::Checkpoint { path: path.display().to_string(), reason: reason.to_string() }
}

/// CRC-32C over names, types, shapes, elements and values, in the order of the names.
fn checksum(state: &TrainState) -> Result<u32> {
    let mut crc = 0;
    for (name, array) in &state.arrays {
        let label = format!("{name}\0{}{:?}\0", array.data.type_name(), array.shape);
        crc = crc32c::crc32c_append(crc, label.as_bytes());
        crc = crc32c::crc32c_append(crc, &array.data());
    }
    let values = serde_json::to_vec(&state.values).map_err(|e| unusable(Path::new("values"), e))?;
    Ok(crc32c::crc32c_append(crc, &values))
}

impl View for &Array {
    fn dtype(&self) -> Dtype {
        match self.data {
            Data::F32(_) => Dtype::F32,
            Data::F64(_) => Dtype::F64,
            Data::U8(_) => Dtype::U8,
            Data::U32(_) => Dtype::U32,
            Data::U64(_) => Dtype::U64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match &self.data {
            Data::F32(v) => bytes(v, |x| x.to_le_bytes()),
            Data::F64(v) => bytes(v, |x| x.to_le_bytes()),
            Data::U8(v) => Cow::Borrowed(v),
            Data::U32(v) => bytes(v, |x| x.to_le_bytes()),
            Data::U64(v) => bytes(v, |x| x.to_le_bytes()),
        }
    }

    fn data_len(&self) -> usize {
        self.data.len() * self.dtype().bitsize() / 8
    }
}

/// The little-endian bytes of a slice, without a copy where the machine has them so already.
fn bytes<T: bytemuck::Pod, const N: usize>(v: &[T], le: impl Fn(&T) -> [u8; N]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(v))
    } else {
        Cow::Owned(v.iter().flat_map(le).collect())
    }
}

/// A tensor of the file as an array; `None` for an element type that no checkpoint has.
fn array(view: &TensorView<'_>) -> Option<Array> {
    fn elements<T, const N: usize>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&chunk| from(chunk)).collect()
    }
    let bytes = view.data();
    let data = match view.dtype() {
        Dtype::F32 => Data::F32(elements(bytes, f32::from_le_bytes)),
        Dtype::F64 => Data::F64(elements(bytes, f64::from_le_bytes)),
        Dtype::U8 => Data::U8(bytes.to_vec()),
        Dtype::U32 => Data::U32(elements(bytes, u32::from_le_bytes)),
        Dtype::U64 => Data::U64(elements(bytes, u64::from_le_bytes)),
        _ => return None,
    };
    Some(Array { shape: view.shape().to_vec(), data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> TrainState {
        let mut state = TrainState::default();
        state.put_array("actor/weight", &[2, 2], &[1f32, f32::NAN, f32::INFINITY, -0.0]);
        state.put_array("returns", &[3], &[1e-310f64, 0.1, f64::MIN]);
        state.put_array("flags", &[0], &[] as &[u8]);
        state.put_array("count", &[1], &[u64::MAX]);
        state.put("rate", &0.1f64).unwrap();
        state
    }

    fn bits(state: &TrainState) -> Vec<u8> {
        state.arrays.values().flat_map(|a| (&a).data().into_owned()).collect()
    }

    #[test]
    fn comes_back_bit_for_bit_and_equal_states_give_equal_files() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("x/a.safetensors"), folder.path().join("b.safetensors"));
        write(&a, &example()).unwrap();
        write(&b, &example()).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
        let back = read(&a).unwrap();
        assert_eq!(bits(&back), bits(&example()));
        assert_eq!(back.values, example().values);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        write(&path, &example()).unwrap();
        let good = fs::read(&path).unwrap();
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains("truncated or damaged"), "{length}: {message}");
        }
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x04;
            fs::write(&path, &bad).unwrap();
            // A flip in the padding or in the key's own name changes no content; anything else is an error.
            if let Ok(state) = read(&path) {
                assert_eq!((bits(&state), state.values), (bits(&example()), example().values), "{position}");
            }
        }
    }

    #[test]
    fn a_write_that_died_at_any_byte_leaves_the_previous_checkpoint_and_does_not_hinder_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (path, unfinished) =
            (folder.path().join("c.safetensors"), folder.path().join(".c.safetensors.tmp"));
        write(&path, &example()).unwrap();
        let good = fs::read(&path).unwrap();
        for length in (0..=good.len()).step_by(7) {
            fs::write(&unfinished, &good[..length]).unwrap();
            assert_eq!(read(&path).unwrap().values, example().values);
        }
        write(&path, &TrainState::default()).unwrap();
        assert_eq!(read(&path).unwrap(), TrainState::default());
        assert!(!unfinished.exists());
    }

    #[test]
    fn foreign_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("foreign.safetensors");
        safetensors::serialize_to_file(&example().arrays, None, &path).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("not a checkpoint of this project"));
        assert!(read(&folder.path().join("none")).unwrap_err().to_string().starts_with("read "));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("c");
            fs::write(&path, bytes).unwrap();
            prop_assert!(read(&path).is_err());
        }
    }
}
