//! Files that are either the old or the new one, never something between.

use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Replaces a file: writes beside it, waits for the disk, renames. A process that dies at any point leaves
/// either the old file or the new one, complete.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be written or is full; the old file is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, |temporary| {
        let mut file = File::create(temporary)?;
        file.write_all(bytes)
    })
}

fn replace(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let temporary = beside(path);
    let steps = write(&temporary)
        .and_then(|()| File::open(&temporary)?.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if steps.is_err() {
        // The failure is what matters; a leftover is overwritten by the next attempt.
        let _ = fs::remove_file(&temporary);
    }
    steps.map_err(Error::io("write", path))?;
    sync_folder(path)
}

/// The temporary neighbour of a file.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

/// Makes the rename itself durable, where the system lets a folder be opened.
fn sync_folder(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) && !folder.as_os_str().is_empty() => {
            File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("synchronise", folder))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_atomically(&path, b"old").unwrap();
        let failed = replace(&path, |temporary| {
            fs::write(temporary, b"ne")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("disk full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
