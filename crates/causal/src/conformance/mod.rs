//! Agreement with the reference packages: replays a folder of their numbers, one row per file.
//!
//! The schemas and the peers' versions are in `tests/golden/README.md`. Nothing here knows the present data:
//! any folder of the same schema can be replayed.

mod bandits;
mod discovery;
mod graphs;
mod identification;

use rl_core::conformance::{Checker, Row, replay};
use serde_json::Value;
use std::path::Path;

type Check = fn(&Path, &Value, &mut Checker) -> Result<(), String>;

/// The files of the schema and what checks them.
const FILES: [(&str, Check); 14] = [
    ("dsep.json", graphs::separation),
    ("cpdag_meek.json", graphs::equivalence_classes),
    ("shd_sid.json", graphs::distances),
    ("pag_exact.json", graphs::ancestral_graphs),
    ("adjustment_linear.json", identification::adjustment),
    ("identification.json", identification::effects),
    ("counterfactual.json", identification::counterfactuals),
    ("linear_gaussian.json", discovery::linear_gaussian),
    ("discrete.json", discovery::discrete),
    ("lingam.json", discovery::lingam),
    ("pcmci.json", discovery::pcmci),
    ("gies.json", discovery::gies),
    ("mabuc_reference.json", bandits::unobserved_confounders),
    ("scmmab_reference.json", bandits::structural),
];

/// Replays every file of the schema that lies in `folder`. A folder without any gives one failing row.
pub fn run(folder: &Path) -> Vec<Row> {
    let present = FILES.iter().filter(|(file, _)| folder.join(file).is_file());
    let rows: Vec<Row> = present
        .map(|(file, check)| replay("causal", folder, file, |data, c| check(folder, data, c)))
        .collect();
    if !rows.is_empty() {
        return rows;
    }
    let mut checker = Checker::new("causal", "*");
    checker.fail(format!("{} holds no file of the schema, such as dsep.json", folder.display()));
    vec![checker.finish()]
}

/// The cases under `key`.
fn list<'a>(data: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    data.get(key).and_then(Value::as_array).ok_or_else(|| format!("field `{key}` must be a list"))
}

/// Any error of this crate as a message.
fn told<T>(result: crate::Result<T>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}

/// Edge lists `[[a, b], …]` as sorted pairs.
fn pairs(data: &Value, key: &str) -> Result<Vec<(usize, usize)>, String> {
    let mut edges: Vec<(usize, usize)> = rl_core::conformance::get(data, key)?;
    edges.sort_unstable();
    Ok(edges)
}
