//! Graphs as text: one edge per line, Graphviz DOT, and the JSON file of the `identify` command.

use super::mixed::{Mark, MixedGraph};
use super::{Admg, Dag};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fmt::Write;

/// `X --> Y`, `X o-> Y`, `X <-> Y`, `X --- Y`: one edge per line, in the order of the nodes.
impl fmt::Display for MixedGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (a, at_a, at_b, b) in self.edges() {
            // The tail of a directed edge stands on the left.
            let flip = at_a == Mark::Arrow && at_b != Mark::Arrow;
            let (a, at_a, at_b, b) = if flip { (b, at_b, at_a, a) } else { (a, at_a, at_b, b) };
            writeln!(f, "{} {}-{} {}", self.name(a), left(at_a), right(at_b), self.name(b))?;
        }
        Ok(())
    }
}

fn left(mark: Mark) -> char {
    match mark {
        Mark::Tail => '-',
        Mark::Arrow => '<',
        Mark::Circle => 'o',
    }
}

fn right(mark: Mark) -> char {
    match mark {
        Mark::Tail => '-',
        Mark::Arrow => '>',
        Mark::Circle => 'o',
    }
}

fn dot_head(mark: Mark) -> &'static str {
    match mark {
        Mark::Tail => "none",
        Mark::Arrow => "normal",
        Mark::Circle => "odot",
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

impl MixedGraph {
    /// The graph in the DOT language, for `dot -Tsvg`.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph {\n");
        for name in self.names() {
            let _ = writeln!(dot, "  {};", quoted(name));
        }
        for (a, at_a, at_b, b) in self.edges() {
            let flip = at_a == Mark::Arrow && at_b != Mark::Arrow;
            let (a, at_a, at_b, b) = if flip { (b, at_b, at_a, a) } else { (a, at_a, at_b, b) };
            let (a, b) = (quoted(self.name(a)), quoted(self.name(b)));
            let _ = writeln!(
                dot,
                "  {a} -> {b} [dir=both, arrowtail={}, arrowhead={}];",
                dot_head(at_a),
                dot_head(at_b)
            );
        }
        dot + "}\n"
    }
}

impl Dag {
    /// The graph in the DOT language.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph {\n");
        for name in self.names() {
            let _ = writeln!(dot, "  {};", quoted(name));
        }
        for (a, b) in self.edges() {
            let _ = writeln!(dot, "  {} -> {};", quoted(self.name(a)), quoted(self.name(b)));
        }
        dot + "}\n"
    }
}

impl Admg {
    /// The graph in the DOT language; bidirected edges are dashed.
    pub fn to_dot(&self) -> String {
        let mut dot = self.dag().to_dot();
        dot.truncate(dot.len() - 2);
        for (a, b) in self.bidirected_edges() {
            let _ = writeln!(
                dot,
                "  {} -> {} [dir=both, style=dashed];",
                quoted(self.name(a)),
                quoted(self.name(b))
            );
        }
        dot + "}\n"
    }
}

/// A causal diagram in a JSON file:
/// `{"nodes": ["Z", "X", "Y"], "directed": [["Z", "X"], ["Z", "Y"], ["X", "Y"]], "bidirected": [], "latent": ["Z"]}`.
///
/// `nodes` may be left out (names then count in the order in which edges mention them), and so may the rest.
/// Nodes under `latent` are projected out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphFile {
    /// Names in order.
    pub nodes: Vec<String>,
    /// Edges `[from, to]`.
    pub directed: Vec<[String; 2]>,
    /// Edges `[a, b]` with arrowheads at both ends: a latent common cause.
    pub bidirected: Vec<[String; 2]>,
    /// Nodes that are never observed.
    pub latent: Vec<String>,
}

impl GraphFile {
    /// Reads the JSON text of a diagram.
    ///
    /// # Errors
    /// [`Error::Parse`] with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| {
            let form = r#"expected {"nodes": [..], "directed": [["A", "B"], ..], "bidirected": [..], "latent": [..]}"#;
            Error::parse("graph file", format!("{e}; {form}"))
        })
    }

    /// The diagram over the observed nodes.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a name outside `nodes` (when given), and as [`Admg::new`].
    pub fn to_admg(&self) -> Result<Admg> {
        let mut names = self.nodes.clone();
        if names.is_empty() {
            for name in self.directed.iter().chain(&self.bidirected).flatten() {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        let find = |name: &String| {
            names.iter().position(|n| n == name).ok_or_else(|| Error::UnknownName {
                operation: "graph file",
                name: name.clone(),
                known: names.join(", "),
            })
        };
        let pairs = |edges: &[[String; 2]]| -> Result<Vec<(usize, usize)>> {
            edges.iter().map(|[a, b]| Ok((find(a)?, find(b)?))).collect()
        };
        let latent: Vec<usize> = self.latent.iter().map(find).collect::<Result<_>>()?;
        let (directed, bidirected) = (pairs(&self.directed)?, pairs(&self.bidirected)?);
        let full = Admg::new(names.clone(), &directed, &bidirected)?;
        if latent.is_empty() { Ok(full) } else { full.latent_projection(&latent) }
    }
}

impl From<&Admg> for GraphFile {
    fn from(graph: &Admg) -> Self {
        let pair = |(a, b): (usize, usize)| [graph.name(a).to_string(), graph.name(b).to_string()];
        Self {
            nodes: graph.names().map(String::from).collect(),
            directed: graph.dag().edges().into_iter().map(pair).collect(),
            bidirected: graph.bidirected_edges().into_iter().map(pair).collect(),
            latent: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_dot_show_every_mark() {
        let mut graph = MixedGraph::from_edges(4, &[(1, 0)], &[(2, 3)]).unwrap();
        graph.set_edge(0, Mark::Arrow, Mark::Circle, 2).unwrap();
        assert_eq!(graph.to_string(), "X1 --> X0\nX2 o-> X0\nX2 --- X3\n");
        assert!(graph.to_dot().contains("\"X2\" -> \"X0\" [dir=both, arrowtail=odot, arrowhead=normal];"));
    }

    #[test]
    fn a_graph_file_survives_the_round_trip_and_names_its_faults() {
        let file = GraphFile::parse(
            r#"{"directed": [["X", "M"], ["M", "Y"], ["U", "X"], ["U", "Y"]], "latent": ["U"]}"#,
        )
        .unwrap();
        let graph = file.to_admg().unwrap();
        assert_eq!(graph.names().collect::<Vec<_>>(), ["X", "M", "Y"]);
        assert_eq!(graph.bidirected_edges(), [(0, 2)]);
        assert_eq!(GraphFile::from(&graph).to_admg().unwrap(), graph);
        let message = GraphFile {
            nodes: vec!["A".into()],
            directed: vec![["A".into(), "B".into()]],
            ..Default::default()
        }
        .to_admg()
        .unwrap_err()
        .to_string();
        assert!(message.contains("`B`"), "{message}");
        assert!(GraphFile::parse("{\"nodez\": []}").is_err());
    }
}
