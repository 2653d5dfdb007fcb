//! Background knowledge: tiers, forbidden and required edges. Hard constraints: no result ever violates them.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is known about the edges among `0..p` before any data are seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    forbidden: BTreeSet<(usize, usize)>,
    required: BTreeSet<(usize, usize)>,
}

/// The JSON file of the `--knowledge` flag.
///
/// `{"tiers": [["A"], ["X1", "X2"]], "closed_tiers": [0], "forbidden": [["X2", "X1"]], "required": [["A", "X1"]]}`:
/// nothing in a later tier causes anything in an earlier one; variables of a closed tier do not cause each other.
/// Besides, `exogenous` lists variables that nothing causes, `episodes` names a column that numbers the episodes of
/// sequential data, and `environments` a column that numbers environments, with the targets intervened on in each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnowledgeFile {
    /// Names by tier, earliest first. A variable may be in no tier.
    pub tiers: Vec<Vec<String>>,
    /// Indices of tiers without edges inside.
    pub closed_tiers: Vec<usize>,
    /// Edges `[from, to]` that do not exist.
    pub forbidden: Vec<[String; 2]>,
    /// Edges `[from, to]` that exist.
    pub required: Vec<[String; 2]>,
    /// Variables without causes, such as the actions of a random policy.
    pub exogenous: Vec<String>,
    /// The column that numbers episodes (PCMCI).
    pub episodes: Option<String>,
    /// Where interventions happened (GIES).
    pub environments: Option<Environments>,
}

/// Environments with known intervention targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environments {
    /// The column whose value tells the environment of a row.
    pub column: String,
    /// The variables intervened on, by value of that column; environments that are not listed are observational.
    pub targets: BTreeMap<String, Vec<String>>,
}

impl Knowledge {
    /// No knowledge.
    pub fn none() -> Self {
        Self::default()
    }

    /// Forbids `from → to`.
    pub fn forbid(&mut self, from: usize, to: usize) -> &mut Self {
        self.forbidden.insert((from, to));
        self
    }

    /// Requires `from → to`.
    pub fn require(&mut self, from: usize, to: usize) -> &mut Self {
        self.required.insert((from, to));
        self
    }

    /// Forbids every edge from a later tier to an earlier one.
    pub fn tiers(&mut self, tiers: &[Vec<usize>]) -> &mut Self {
        for (i, early) in tiers.iter().enumerate() {
            for late in tiers[i + 1..].iter().flatten() {
                early.iter().for_each(|&to| {
                    self.forbid(*late, to);
                });
            }
        }
        self
    }

    /// Forbids every edge among `nodes`.
    pub fn closed(&mut self, nodes: &[usize]) -> &mut Self {
        for &a in nodes {
            for &b in nodes.iter().filter(|&&b| b != a) {
                self.forbid(a, b);
            }
        }
        self
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.forbidden.is_empty() && self.required.is_empty()
    }

    /// Whether `from → to` is excluded: forbidden, or the reverse is required.
    pub fn forbids(&self, from: usize, to: usize) -> bool {
        !self.is_empty() && (self.forbidden.contains(&(from, to)) || self.required.contains(&(to, from)))
    }

    /// Whether `from → to` is certain.
    pub fn requires(&self, from: usize, to: usize) -> bool {
        self.required.contains(&(from, to))
    }

    /// Whether the two may be joined at all.
    pub fn allows_adjacency(&self, a: usize, b: usize) -> bool {
        !(self.forbids(a, b) && self.forbids(b, a))
    }

    /// The required edges.
    pub fn required(&self) -> impl Iterator<Item = (usize, usize)> {
        self.required.iter().copied()
    }

    /// Checks the knowledge against itself and the number of variables.
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range; [`Error::Knowledge`] for an edge that is both required and
    /// forbidden, or required edges that form a cycle.
    pub fn validate(&self, names: &[String]) -> Result<()> {
        let all = self.forbidden.iter().chain(&self.required).flat_map(|&(a, b)| [a, b]);
        if let Some(node) = all.into_iter().find(|&v| v >= names.len()) {
            return Err(Error::Node { operation: "Knowledge", node, count: names.len() });
        }
        if let Some(&(a, b)) = self.required.intersection(&self.forbidden).next() {
            let message = format!("{} -> {} is both required and forbidden", names[a], names[b]);
            return Err(Error::Knowledge(message));
        }
        let required: Vec<_> = self.required().collect();
        crate::graph::Dag::new(names.to_vec(), &required)
            .map(drop)
            .map_err(|e| Error::Knowledge(format!("the required edges do not form a DAG: {e}")))
    }
}

impl KnowledgeFile {
    /// Reads the JSON text of a knowledge file.
    ///
    /// # Errors
    /// [`Error::Parse`] with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| {
            let form = r#"expected {"tiers": [["A"], ["B"]], "closed_tiers": [0], "forbidden": [["B", "A"]], "required": [["A", "B"]]}"#;
            Error::parse("knowledge file", format!("{e}; {form}"))
        })
    }

    /// The knowledge in terms of the columns called `names`.
    ///
    /// # Errors
    /// [`Error::UnknownName`], and as [`Knowledge::validate`].
    pub fn resolve(&self, names: &[String]) -> Result<Knowledge> {
        let find = |name: &String| {
            names.iter().position(|n| n == name).ok_or_else(|| Error::UnknownName {
                operation: "knowledge file",
                name: name.clone(),
                known: names.join(", "),
            })
        };
        let mut knowledge = Knowledge::none();
        let tiers = self
            .tiers
            .iter()
            .map(|t| t.iter().map(find).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?;
        knowledge.tiers(&tiers);
        for &closed in &self.closed_tiers {
            let tier = tiers.get(closed).ok_or_else(|| {
                Error::Knowledge(format!(
                    "closed tier {closed} does not exist, there are {} tiers",
                    tiers.len()
                ))
            })?;
            knowledge.closed(tier);
        }
        for [a, b] in &self.forbidden {
            knowledge.forbid(find(a)?, find(b)?);
        }
        for [a, b] in &self.required {
            knowledge.require(find(a)?, find(b)?);
        }
        for name in &self.exogenous {
            let v = find(name)?;
            (0..names.len()).filter(|&u| u != v).for_each(|u| {
                knowledge.forbid(u, v);
            });
        }
        knowledge.validate(names)?;
        Ok(knowledge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_and_contradictions() {
        let names: Vec<String> = ["A", "B", "C"].map(String::from).to_vec();
        let file = KnowledgeFile::parse(
            r#"{"tiers": [["A"], ["B", "C"]], "closed_tiers": [1], "required": [["A", "B"]]}"#,
        )
        .unwrap();
        let knowledge = file.resolve(&names).unwrap();
        assert!(knowledge.forbids(1, 0) && knowledge.forbids(2, 0) && !knowledge.forbids(0, 2));
        assert!(!knowledge.allows_adjacency(1, 2));
        let bad = KnowledgeFile::parse(r#"{"tiers": [["A"], ["B"]], "required": [["B", "A"]]}"#).unwrap();
        assert!(bad.resolve(&names).is_err());
        assert!(KnowledgeFile::parse(r#"{"tier": []}"#).is_err());
        let unknown = KnowledgeFile::parse(r#"{"forbidden": [["A", "Z"]]}"#).unwrap();
        assert!(unknown.resolve(&names).unwrap_err().to_string().contains("`Z`"));
    }
}
