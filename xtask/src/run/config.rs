//! The resolved configuration of a run: presets, `--set key.path=value`, `config.toml`.

use crate::exercises::Entry;
use crate::input::{bad, nearest};
use anyhow::{Context as _, Result};
use rl_core::experiment::SeedDir;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much of an exercise is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Seconds: does everything once.
    Smoke,
    /// Minutes: shows the effect.
    Quick,
    /// The published protocol.
    Full,
}

impl Preset {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// `config.toml`: all that decides what a run computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunConfig {
    pub(crate) exercise: String,
    pub(crate) preset: Preset,
    /// The seed of this folder; absent in the text that the folder's name is a hash of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    pub(crate) seeds: Vec<u64>,
    pub(crate) threads: usize,
    pub(crate) device: String,
    /// The exercise's own fields.
    pub(crate) config: Value,
}

impl RunConfig {
    /// The text of `config.toml`.
    pub(crate) fn to_toml(&self) -> Result<String> {
        let mut known = self.clone();
        remove_nulls(&mut known.config);
        Ok(toml::to_string(&known)?)
    }

    /// Reads a seed's `config.toml`.
    pub(crate) fn read(folder: &SeedDir) -> Result<Self> {
        let what = || format!("{} cannot be used", folder.path().join("config.toml").display());
        toml::from_str(&folder.config()?).map_err(|e| bad(format!("{}: {}", what(), e.message())))
    }
}

/// The configuration of a preset with the `--set` assignments made, validated.
pub(crate) fn resolve(exercise: &Entry, preset: Preset, assignments: &[String]) -> Result<Value> {
    let mut config = (exercise.config)(preset)?;
    for assignment in assignments {
        assign(&mut config, assignment)?;
        // One at a time, so that the message names the assignment that does not fit.
        (exercise.validate)(&config).map_err(|e| bad(format!("--set {assignment}: {e:#}")))?;
    }
    (exercise.validate)(&config)
        .with_context(|| format!("the {} preset of {}", preset.name(), exercise.name))?;
    Ok(config)
}

/// Makes one assignment `key.path=value`; the value is written as in TOML, a bare word is a string.
fn assign(config: &mut Value, assignment: &str) -> Result<()> {
    let malformed =
        || bad(format!("--set {assignment}: write it as key.path=value, such as --set sac.gamma=0.98"));
    let (key, text) = assignment.split_once('=').ok_or_else(malformed)?;
    let (key, text) = (key.trim(), text.trim());
    if key.split('.').any(str::is_empty) || text.is_empty() {
        return Err(malformed());
    }
    let known = paths(config, "");
    let pointer = format!("/{}", key.replace('.', "/"));
    let Some(field) = config.pointer_mut(&pointer) else {
        let hint = match nearest(key, known.iter().map(String::as_str)) {
            Some(alike) => format!("did you mean `{alike}`?"),
            None => format!("there are: {}", known.join(", ")),
        };
        return Err(bad(format!("--set {assignment}: no field `{key}`; {hint}")));
    };
    *field = parse(text);
    Ok(())
}

fn parse(text: &str) -> Value {
    let table: Option<toml::Table> = toml::from_str(&format!("value = {text}")).ok();
    let value = table.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    value.and_then(|value| serde_json::to_value(value).ok()).unwrap_or_else(|| text.into())
}

/// The paths of all fields below `config`.
fn paths(config: &Value, prefix: &str) -> Vec<String> {
    let Value::Object(fields) = config else { return Vec::new() };
    let below = |(key, value): (&String, &Value)| {
        let path = format!("{prefix}{key}");
        let inner = paths(value, &format!("{path}."));
        if inner.is_empty() { vec![path] } else { inner }
    };
    fields.iter().flat_map(below).collect()
}

/// TOML has no null: an absent field means the same.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn assignments_reach_nested_fields_and_nulls() {
        let mut config = json!({"sac": {"gamma": 0.99, "target": null}, "task": "a"});
        for assignment in ["sac.gamma = 1e-1", "sac.target=-3", "task=b c", "task=Pendulum-v1"] {
            assign(&mut config, assignment).unwrap();
        }
        assert_eq!(config, json!({"sac": {"gamma": 0.1, "target": -3}, "task": "Pendulum-v1"}));
    }

    #[test]
    fn what_is_wrong_with_an_assignment_is_said() {
        let config = json!({"sac": {"gamma": 0.99}, "steps": 1});
        let message = |assignment| assign(&mut config.clone(), assignment).unwrap_err().to_string();
        assert!(message("gama=1").contains("did you mean `sac.gamma`?"));
        assert!(message("sac.zzz=1").contains("no field `sac.zzz`"));
        assert!(message("qq=1").contains("there are: sac.gamma, steps"));
        for malformed in ["steps", "=1", "steps=", "sac..gamma=1"] {
            assert!(message(malformed).contains("key.path=value"), "{malformed}");
        }
    }

    #[test]
    fn the_file_gives_back_the_configuration() {
        let config = RunConfig {
            exercise: "chain".into(),
            preset: Preset::Quick,
            seed: Some(3),
            seeds: vec![3, 4],
            threads: 1,
            device: "cpu".into(),
            config: json!({"steps": 10, "rate": 1e-5, "inner": {"a": [1, 2]}}),
        };
        let text = config.to_toml().unwrap();
        assert_eq!(toml::from_str::<RunConfig>(&text).unwrap(), config);
    }
}
