//! Graphs with at most one edge per pair and a mark at each of its ends: the common form of CPDAG, MPDAG and PAG.

use super::{check_names, default_names};
use crate::error::{Error, Result};
use petgraph::graph::{NodeIndex, UnGraph};
use petgraph::visit::EdgeRef;
use serde::{Deserialize, Serialize};

/// What stands at one end of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// `—`: this end is a cause.
    Tail,
    /// `>`: this end is not a cause of the other.
    Arrow,
    /// `∘`: the data do not tell.
    Circle,
}

/// The marks at both ends of an edge, in petgraph's order of source and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    source: Mark,
    target: Mark,
}

/// A graph over named nodes `0..p` with marked edges, stored in a petgraph graph.
#[derive(Clone, Debug)]
pub struct MixedGraph {
    graph: UnGraph<String, Ends>,
}

impl PartialEq for MixedGraph {
    fn eq(&self, other: &Self) -> bool {
        self.names().eq(other.names()) && self.edges() == other.edges()
    }
}

impl MixedGraph {
    /// A graph without edges.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`] for a repeated name.
    pub fn new(names: Vec<String>) -> Result<Self> {
        check_names("graph", &names)?;
        let mut graph = UnGraph::with_capacity(names.len(), 0);
        for name in names {
            graph.add_node(name);
        }
        Ok(Self { graph })
    }

    /// A graph of `p` nodes called `X0, X1, …` with the given directed `(from, to)` and undirected edges.
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range, [`Error::InvalidGraph`] for a self-loop.
    pub fn from_edges(p: usize, directed: &[(usize, usize)], undirected: &[(usize, usize)]) -> Result<Self> {
        let mut graph = Self::new(default_names(p))?;
        for &(a, b) in directed {
            graph.set_edge(a, Mark::Tail, Mark::Arrow, b)?;
        }
        for &(a, b) in undirected {
            graph.set_edge(a, Mark::Tail, Mark::Tail, b)?;
        }
        Ok(graph)
    }

    /// The complete graph with `mark` at every end.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`] for a repeated name.
    pub fn complete(names: Vec<String>, mark: Mark) -> Result<Self> {
        let mut graph = Self::new(names)?;
        for a in 0..graph.len() {
            for b in a + 1..graph.len() {
                graph.set_edge(a, mark, mark, b)?;
            }
        }
        Ok(graph)
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of edges.
    pub fn edge_count(&self) -> usize {
        self.graph.edge_count()
    }

    /// The names in the order of the nodes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.graph.node_weights().map(String::as_str)
    }

    /// The name of a node; empty for an index out of range.
    pub fn name(&self, v: usize) -> &str {
        self.graph.node_weight(NodeIndex::new(v)).map_or("", String::as_str)
    }

    /// The marks `(at a, at b)` of the edge between `a` and `b`, if there is one.
    pub fn edge(&self, a: usize, b: usize) -> Option<(Mark, Mark)> {
        let id = self.graph.find_edge(NodeIndex::new(a), NodeIndex::new(b))?;
        let (source, _) = self.graph.edge_endpoints(id)?;
        let ends = self.graph[id];
        Some(if source.index() == a { (ends.source, ends.target) } else { (ends.target, ends.source) })
    }

    /// Puts the edge `a (at_a)—(at_b) b`, replacing the one that was there.
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range, [`Error::InvalidGraph`] for a self-loop.
    pub fn set_edge(&mut self, a: usize, at_a: Mark, at_b: Mark, b: usize) -> Result<()> {
        let count = self.len();
        if let Some(node) = [a, b].into_iter().find(|&v| v >= count) {
            return Err(Error::Node { operation: "MixedGraph::set_edge", node, count });
        }
        if a == b {
            let reason = format!("a loop at {}", self.name(a));
            return Err(Error::InvalidGraph { kind: "graph", reason });
        }
        let (ia, ib) = (NodeIndex::new(a), NodeIndex::new(b));
        match self.graph.find_edge(ia, ib) {
            Some(id) => {
                let source_is_a = self.graph.edge_endpoints(id).is_some_and(|(s, _)| s == ia);
                let (source, target) = if source_is_a { (at_a, at_b) } else { (at_b, at_a) };
                self.graph[id] = Ends { source, target };
            }
            None => {
                self.graph.add_edge(ia, ib, Ends { source: at_a, target: at_b });
            }
        }
        Ok(())
    }

    /// Makes the edge `from → to`.
    ///
    /// # Errors
    /// As [`MixedGraph::set_edge`].
    pub fn orient(&mut self, from: usize, to: usize) -> Result<()> {
        self.set_edge(from, Mark::Tail, Mark::Arrow, to)
    }

    /// Sets the mark at `b` of the edge between `a` and `b`, if there is one.
    pub fn set_mark(&mut self, a: usize, b: usize, at_b: Mark) {
        let (ia, ib) = (NodeIndex::new(a), NodeIndex::new(b));
        if let Some(id) = self.graph.find_edge(ia, ib) {
            let source_is_a = self.graph.edge_endpoints(id).is_some_and(|(s, _)| s == ia);
            let ends = &mut self.graph[id];
            *(if source_is_a { &mut ends.target } else { &mut ends.source }) = at_b;
        }
    }

    /// Removes the edge between `a` and `b` and says whether there was one.
    pub fn remove_edge(&mut self, a: usize, b: usize) -> bool {
        let edge = self.graph.find_edge(NodeIndex::new(a), NodeIndex::new(b));
        edge.is_some_and(|e| self.graph.remove_edge(e).is_some())
    }

    /// All edges `(a, mark at a, mark at b, b)` with `a < b`, ascending.
    pub fn edges(&self) -> Vec<(usize, Mark, Mark, usize)> {
        let each = self.graph.edge_references().map(|e| {
            let (a, b, ends) = (e.source().index(), e.target().index(), e.weight());
            if a < b { (a, ends.source, ends.target, b) } else { (b, ends.target, ends.source, a) }
        });
        let mut edges: Vec<_> = each.collect();
        edges.sort_unstable_by_key(|e| (e.0, e.3));
        edges
    }

    /// The edges `from → to`, ascending.
    pub fn directed_edges(&self) -> Vec<(usize, usize)> {
        let each = self.edges().into_iter().filter_map(|(a, at_a, at_b, b)| match (at_a, at_b) {
            (Mark::Tail, Mark::Arrow) => Some((a, b)),
            (Mark::Arrow, Mark::Tail) => Some((b, a)),
            _ => None,
        });
        let mut edges: Vec<_> = each.collect();
        edges.sort_unstable();
        edges
    }

    /// The edges `a — b` with `a < b`, ascending.
    pub fn undirected_edges(&self) -> Vec<(usize, usize)> {
        self.edges_with(Mark::Tail, Mark::Tail)
    }

    /// The edges `a ↔ b` with `a < b`, ascending.
    pub fn bidirected_edges(&self) -> Vec<(usize, usize)> {
        self.edges_with(Mark::Arrow, Mark::Arrow)
    }

    fn edges_with(&self, at_a: Mark, at_b: Mark) -> Vec<(usize, usize)> {
        self.edges().into_iter().filter(|e| (e.1, e.2) == (at_a, at_b)).map(|e| (e.0, e.3)).collect()
    }

    /// Whether `from → to` is an edge.
    pub fn has_directed(&self, from: usize, to: usize) -> bool {
        self.edge(from, to) == Some((Mark::Tail, Mark::Arrow))
    }

    /// Whether `a — b` is an edge.
    pub fn has_undirected(&self, a: usize, b: usize) -> bool {
        self.edge(a, b) == Some((Mark::Tail, Mark::Tail))
    }

    /// Whether any edge joins the two.
    pub fn adjacent(&self, a: usize, b: usize) -> bool {
        self.graph.contains_edge(NodeIndex::new(a), NodeIndex::new(b))
    }

    /// The nodes joined to `v`, ascending.
    pub fn neighbours(&self, v: usize) -> Vec<usize> {
        let mut nodes: Vec<usize> = self.graph.neighbors(NodeIndex::new(v)).map(NodeIndex::index).collect();
        nodes.sort_unstable();
        nodes
    }

    /// The nodes `u` with `u → v`, ascending.
    pub fn parents(&self, v: usize) -> Vec<usize> {
        self.neighbours_with(v, Mark::Tail, Mark::Arrow)
    }

    /// The nodes `u` with `v → u`, ascending.
    pub fn children(&self, v: usize) -> Vec<usize> {
        self.neighbours_with(v, Mark::Arrow, Mark::Tail)
    }

    /// The nodes `u` with `u — v`, ascending.
    pub fn undirected_neighbours(&self, v: usize) -> Vec<usize> {
        self.neighbours_with(v, Mark::Tail, Mark::Tail)
    }

    fn neighbours_with(&self, v: usize, at_u: Mark, at_v: Mark) -> Vec<usize> {
        let each = self.graph.edges(NodeIndex::new(v)).filter_map(|e| {
            // petgraph reports the queried node as the source; the stored ends keep their order.
            let (source, _) = self.graph.edge_endpoints(e.id())?;
            let ends = *e.weight();
            let (mine, theirs) =
                if source.index() == v { (ends.source, ends.target) } else { (ends.target, ends.source) };
            ((theirs, mine) == (at_u, at_v)).then(|| e.target().index())
        });
        let mut nodes: Vec<usize> = each.collect();
        nodes.sort_unstable();
        nodes
    }

    /// The adjacencies alone, every mark replaced.
    pub fn with_all_marks(&self, mark: Mark) -> Self {
        Self { graph: self.graph.map(|_, name| name.clone(), |_, _| Ends { source: mark, target: mark }) }
    }
}
