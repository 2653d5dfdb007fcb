//! TensorBoard event files, written by hand: TFRecord framing around protocol-buffer messages.
//!
//! A record is `length: u64 | masked CRC-32C of length | payload | masked CRC-32C of payload`, all little-endian,
//! with mask(c) = rotate_right(c, 15) + 0xa282ead8. The payload is a `tensorflow.Event`; of its many fields a
//! training run needs the file version, scalars and texts. The real TensorBoard reads the result in a test.

use crate::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The file name; TensorBoard looks for `tfevents` in it.
const FILE: &str = "events.out.tfevents.quintet";

/// Appends to the event file of one folder.
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Opens the event file in `folder`, creating both if needed. Of an existing file the events up to and
    /// including `keep_until` stay; `None` starts it anew.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be written.
    pub fn open(folder: &Path, keep_until: Option<u64>) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let path = folder.join(FILE);
        let kept = match (keep_until, fs::read(&path)) {
            (Some(step), Ok(bytes)) => prefix_until(&bytes, step),
            _ => 0,
        };
        let open = OpenOptions::new().create(true).append(true).open(&path);
        let file = open.and_then(|f| f.set_len(kept as u64).map(|()| f)).map_err(Error::io("open", &path))?;
        let mut writer = Self { path, file };
        if kept == 0 {
            writer.write(&event(0, |e| e.text(3, "brain.Event:2")))?;
        }
        Ok(writer)
    }

    /// Writes one point of a curve.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        self.write(&event(step, |e| {
            e.message(5, |summary| {
                summary.message(1, |v| {
                    v.text(1, tag);
                    v.float(2, value as f32);
                });
            });
        }))
    }

    /// Writes a text, shown as Markdown.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn text(&mut self, tag: &str, step: u64, text: &str) -> Result<()> {
        const DT_STRING: u64 = 7;
        self.write(&event(step, |e| {
            e.message(5, |summary| {
                summary.message(1, |v| {
                    v.text(1, tag);
                    v.message(8, |tensor| {
                        tensor.integer(1, DT_STRING);
                        tensor.message(2, |shape| shape.message(2, |dim| dim.integer(1, 1)));
                        tensor.text(8, text);
                    });
                    v.message(9, |metadata| metadata.message(1, |plugin| plugin.text(1, "text")));
                });
            });
        }))
    }

    fn write(&mut self, payload: &[u8]) -> Result<()> {
        self.file.write_all(&record(payload)).map_err(Error::io("write", &self.path))
    }
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), payload, &masked(payload)].concat()
}

/// Length of the prefix of whole, undamaged records whose step is at most `until`.
fn prefix_until(bytes: &[u8], until: u64) -> usize {
    let mut kept = 0;
    while let Some(payload) = record_at(bytes, kept) {
        if step_of(payload) > until {
            break;
        }
        kept += payload.len() + 16;
    }
    kept
}

fn record_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = bytes.get(at..at + 8)?;
    let start = at + 12;
    let end = start.checked_add(usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?)?;
    let payload = bytes.get(start..end)?;
    let whole = bytes.get(at + 8..start)? == masked(length) && bytes.get(end..end + 4)? == masked(payload);
    whole.then_some(payload)
}

/// The step of an event as this file writes it: the wall time (tag byte and 8 bytes), then tag 0x10 and a varint.
fn step_of(event: &[u8]) -> u64 {
    let Some((&0x10, varint)) = event.get(9..).and_then(<[u8]>::split_first) else { return 0 };
    let mut step = 0;
    for (i, byte) in varint.iter().take(10).enumerate() {
        step |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            break;
        }
    }
    step
}

fn event(step: u64, what: impl FnOnce(&mut Message)) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    let mut event = Message::default();
    event.double(1, now);
    event.integer(2, step);
    what(&mut event);
    event.0
}

/// A protocol-buffer message in the making: `tag = field << 3 | wire type`.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        // RFC 3720, appendix B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(
            masked(&[0; 32]),
            0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
        );
    }

    #[test]
    fn a_scalar_event_is_encoded_as_the_format_says() {
        let bytes = event(300, |e| e.message(5, |s| s.message(1, |v| (v.text(1, "a"), v.float(2, 1.0)).1)));
        assert_eq!(bytes[0], 0x09);
        assert_eq!(
            bytes[9..],
            [0x10, 0xac, 0x02, 0x2a, 0x0a, 0x0a, 0x08, 0x0a, 1, b'a', 0x15, 0, 0, 0x80, 0x3f]
        );
        assert_eq!(step_of(&bytes), 300);
    }

    #[test]
    fn opening_again_keeps_what_is_whole_and_early_enough() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut writer = EventWriter::open(folder.path(), None).unwrap();
        for step in [1, 2, 3] {
            writer.scalar("x", step, step as f64).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        EventWriter::open(folder.path(), Some(2)).unwrap();
        let kept = fs::read(&path).unwrap();
        assert!(
            whole.starts_with(&kept) && prefix_until(&whole, 2) == kept.len() && kept.len() < whole.len()
        );
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        EventWriter::open(folder.path(), Some(9)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), kept);
    }
}
