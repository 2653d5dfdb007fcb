//! The folders of a run: `runs/<exercise>/<time>-<config hash>/seed-<n>/`.
//!
//! One [`RunDir`] is one configuration, one [`SeedDir`] inside it one seed with everything needed to read,
//! repeat or resume it. Files that belong to all seeds (`summary.json`, `report.html`) lie beside the seeds.

use super::write_atomically;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of one run of an exercise.
#[derive(Clone, Debug, PartialEq)]
pub struct RunDir {
    path: PathBuf,
}

/// The folder of one seed of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedDir {
    path: PathBuf,
    seed: u64,
}

/// `meta.json`: where a seed's numbers come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Version of the program.
    pub version: String,
    /// Git revision, where the program was built in a repository.
    pub git_revision: Option<String>,
    /// Model of the processor.
    pub cpu: String,
    /// Compute threads.
    pub threads: usize,
    /// Seed.
    pub seed: u64,
    /// When it began, in UTC.
    pub started: String,
    /// Time spent so far in seconds, over all attempts.
    pub wall_seconds: f64,
    /// Whether the seed ran to its end.
    pub complete: bool,
}

/// Eight hexadecimal digits that tell configurations apart: the CRC-32C of the resolved text.
pub fn config_hash(config: &str) -> String {
    format!("{:08x}", crc32c::crc32c(config.as_bytes()))
}

impl RunDir {
    /// Creates the folder `<out>/<exercise>/<time>-<config hash>`; a second run of the same configuration in
    /// the same second gets a number at the end. Nothing existing is touched.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be created.
    pub fn create(out: &Path, exercise: &str, time: &str, config: &str) -> Result<Self> {
        let parent = out.join(exercise);
        fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
        let name = format!("{time}-{}", config_hash(config));
        let mut path = parent.join(&name);
        for attempt in 2.. {
            match fs::create_dir(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    path = parent.join(format!("{name}-{attempt}"));
                }
                outcome => {
                    outcome.map_err(Error::io("create", &path))?;
                    break;
                }
            }
        }
        Ok(Self { path })
    }

    /// The folder of a run made earlier.
    ///
    /// # Errors
    /// [`Error::Parse`] if it is no such folder or has no seed in it.
    pub fn open(path: &Path) -> Result<Self> {
        let run = Self { path: path.into() };
        if run.seeds()?.is_empty() {
            let reason = "not a run directory: there is no seed-<n>/config.toml in it".into();
            return Err(Error::Parse { what: path.display().to_string(), reason });
        }
        Ok(run)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the folder of a seed with its resolved configuration.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be written.
    pub fn create_seed(&self, seed: u64, config: &str) -> Result<SeedDir> {
        let path = self.path.join(format!("seed-{seed}"));
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        write_atomically(&path.join("config.toml"), config.as_bytes())?;
        Ok(SeedDir { path, seed })
    }

    /// The seeds, in ascending order.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be read.
    pub fn seeds(&self) -> Result<Vec<SeedDir>> {
        let mut seeds = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(Error::io("read", &self.path))? {
            let path = entry.map_err(Error::io("read", &self.path))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let seed = name.strip_prefix("seed-").and_then(|number| number.parse().ok());
            if let Some(seed) = seed
                && path.join("config.toml").is_file()
            {
                seeds.push(SeedDir { path, seed });
            }
        }
        seeds.sort_by_key(|dir| dir.seed);
        Ok(seeds)
    }
}

impl SeedDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The resolved configuration, `config.toml`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub fn config(&self) -> Result<String> {
        let path = self.path.join("config.toml");
        fs::read_to_string(&path).map_err(Error::io("read", &path))
    }

    /// Reads `meta.json`, if it has been written.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Parse`] if it cannot be read.
    pub fn meta(&self) -> Result<Option<Meta>> {
        self.read_json("meta.json")
    }

    /// Reads a JSON file of this folder; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Parse`] if it cannot be read.
    pub fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.path.join(name);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let parsed = serde_json::from_str(&text);
        parsed.map_err(|e| Error::Parse { what: path.display().to_string(), reason: e.to_string() }).map(Some)
    }

    /// Writes a JSON file of this folder, atomically.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written, [`Error::Parse`] if the value has no JSON form.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Error::Parse { what: name.into(), reason: e.to_string() })?;
        write_atomically(&self.path.join(name), format!("{text}\n").as_bytes())
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoint")
    }

    /// The folder of the plots.
    pub fn plots(&self) -> PathBuf {
        self.path.join("plots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_second_do_not_meet_and_seeds_come_in_order() {
        let out = tempfile::tempdir().unwrap();
        let create = || RunDir::create(out.path(), "chain", "20260102-030405", "a = 1").unwrap();
        let (first, second) = (create(), create());
        assert_ne!(first, second);
        assert!(second.path().to_str().unwrap().ends_with("-2"));
        assert!(RunDir::open(first.path()).unwrap_err().to_string().contains("not a run directory"));
        for seed in [10, 2] {
            first.create_seed(seed, "a = 1").unwrap();
        }
        let seeds: Vec<u64> =
            RunDir::open(first.path()).unwrap().seeds().unwrap().iter().map(SeedDir::seed).collect();
        assert_eq!(seeds, [2, 10]);
    }

    #[test]
    fn the_hash_tells_configurations_apart() {
        assert_eq!(config_hash("a = 1"), config_hash("a = 1"));
        assert_ne!(config_hash("a = 1"), config_hash("a = 2"));
    }
}
