//! Directed acyclic graphs: ancestors, Markov blankets, moral graphs, separators and equivalence classes.
//!
//! Pearl, *Causality* (2009), chapter 1; Koller & Friedman, *Probabilistic Graphical Models* (2009), chapter 3.

use super::mixed::{Mark, MixedGraph};
use super::pdag::{Cpdag, MeekRules, meek_closure};
use super::separation::{DirectedMixed, m_separated};
use super::{Admg, NodeSet, check_names, default_names, node_set};
use crate::error::{Error, Result};
use petgraph::graph::{DiGraph, NodeIndex, UnGraph};
use petgraph::{Direction, algo};

/// A directed acyclic graph over named nodes `0..p`; acyclic from construction on.
///
/// ```
/// use causal::graph::Dag;
/// let chain = Dag::from_edges(3, &[(0, 1), (1, 2)])?;
/// assert!(!chain.d_separated(&[0], &[2], &[])?);
/// assert!(chain.d_separated(&[0], &[2], &[1])?);
/// # Ok::<(), causal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dag {
    graph: DiGraph<String, ()>,
}

impl PartialEq for Dag {
    fn eq(&self, other: &Self) -> bool {
        self.names().eq(other.names()) && self.edges() == other.edges()
    }
}

impl Dag {
    /// A graph with the given names and edges `(from, to)`.
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range, [`Error::InvalidGraph`] for a repeated name, a self-loop or
    /// a repeated edge, [`Error::Cycle`] for an edge that closes a cycle.
    pub fn new(names: Vec<String>, edges: &[(usize, usize)]) -> Result<Self> {
        check_names("DAG", &names)?;
        let mut dag = Self { graph: DiGraph::with_capacity(names.len(), edges.len()) };
        for name in names {
            dag.graph.add_node(name);
        }
        for &(from, to) in edges {
            dag.check_pair("Dag::new", from, to)?;
            dag.graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
        }
        dag.check_acyclic(edges)?;
        Ok(dag)
    }

    /// A graph of `p` nodes called `X0, X1, …`.
    ///
    /// # Errors
    /// As [`Dag::new`].
    pub fn from_edges(p: usize, edges: &[(usize, usize)]) -> Result<Self> {
        Self::new(default_names(p), edges)
    }

    fn check_pair(&self, operation: &'static str, from: usize, to: usize) -> Result<()> {
        let count = self.len();
        for node in [from, to] {
            if node >= count {
                return Err(Error::Node { operation, node, count });
            }
        }
        if from == to || self.adjacent(from, to) {
            let (a, b) = (self.name(from), self.name(to));
            return Err(Error::InvalidGraph {
                kind: "DAG",
                reason: format!("a second or looping edge {a} -> {b}"),
            });
        }
        Ok(())
    }

    /// One pass over all edges; on failure the first edge whose removal of later ones leaves a cycle is named.
    fn check_acyclic(&self, edges: &[(usize, usize)]) -> Result<()> {
        match algo::toposort(&self.graph, None) {
            Ok(_) => Ok(()),
            Err(cycle) => {
                let v = cycle.node_id().index();
                let back = edges.iter().find(|&&(from, to)| to == v && self.descendants(&[v]).contains(from));
                let (from, to) = back.copied().unwrap_or((v, v));
                let (from, to) = (self.name(from).to_string(), self.name(to).to_string());
                Err(Error::Cycle { operation: "Dag::new", from, to })
            }
        }
    }

    /// Adds `from → to`.
    ///
    /// # Errors
    /// As [`Dag::new`]; the graph is unchanged then.
    pub fn add_edge(&mut self, from: usize, to: usize) -> Result<()> {
        self.check_pair("Dag::add_edge", from, to)?;
        if self.descendants(&[to]).contains(from) {
            let (from, to) = (self.name(from).to_string(), self.name(to).to_string());
            return Err(Error::Cycle { operation: "Dag::add_edge", from, to });
        }
        self.graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
        Ok(())
    }

    /// Removes `from → to` and says whether it was there.
    pub fn remove_edge(&mut self, from: usize, to: usize) -> bool {
        if from.max(to) >= self.len() {
            return false;
        }
        let edge = self.graph.find_edge(NodeIndex::new(from), NodeIndex::new(to));
        edge.is_some_and(|e| self.graph.remove_edge(e).is_some())
    }

    /// Number of nodes `p`.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The petgraph graph beneath, for its algorithms.
    pub fn as_petgraph(&self) -> &DiGraph<String, ()> {
        &self.graph
    }

    /// The names in the order of the nodes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.graph.node_weights().map(String::as_str)
    }

    /// The name of a node; empty for an index out of range.
    pub fn name(&self, v: usize) -> &str {
        self.graph.node_weight(NodeIndex::new(v)).map_or("", String::as_str)
    }

    /// The node of this name.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn index_of(&self, name: &str) -> Result<usize> {
        self.names().position(|n| n == name).ok_or_else(|| Error::UnknownName {
            operation: "Dag::index_of",
            name: name.into(),
            known: self.names().collect::<Vec<_>>().join(", "),
        })
    }

    /// All edges `(from, to)`, ascending.
    pub fn edges(&self) -> Vec<(usize, usize)> {
        let raw = self.graph.raw_edges().iter();
        let mut edges: Vec<_> = raw.map(|e| (e.source().index(), e.target().index())).collect();
        edges.sort_unstable();
        edges
    }

    /// Whether `from → to` is there.
    pub fn has_edge(&self, from: usize, to: usize) -> bool {
        self.graph.contains_edge(NodeIndex::new(from), NodeIndex::new(to))
    }

    /// Whether an edge joins the two, in either direction.
    pub fn adjacent(&self, a: usize, b: usize) -> bool {
        self.has_edge(a, b) || self.has_edge(b, a)
    }

    /// Direct causes of `v`, ascending.
    pub fn parents(&self, v: usize) -> Vec<usize> {
        sorted(self.graph.neighbors_directed(NodeIndex::new(v), Direction::Incoming))
    }

    /// Direct effects of `v`, ascending.
    pub fn children(&self, v: usize) -> Vec<usize> {
        sorted(self.graph.neighbors_directed(NodeIndex::new(v), Direction::Outgoing))
    }

    /// The nodes in an order in which causes precede effects; ties by index, so it is unique.
    pub fn topological_order(&self) -> Vec<usize> {
        let mut waiting: Vec<usize> = (0..self.len())
            .map(|v| self.graph.neighbors_directed(NodeIndex::new(v), Direction::Incoming).count())
            .collect();
        let mut ready: std::collections::BinaryHeap<_> =
            (0..self.len()).filter(|&v| waiting[v] == 0).map(std::cmp::Reverse).collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(std::cmp::Reverse(v)) = ready.pop() {
            order.push(v);
            for child in DirectedMixed::children(self, v) {
                waiting[child] -= 1;
                if waiting[child] == 0 {
                    ready.push(std::cmp::Reverse(child));
                }
            }
        }
        order
    }

    /// An(S): the nodes of `of` and all their ancestors. Indices out of range are ignored.
    pub fn ancestors(&self, of: &[usize]) -> NodeSet {
        self.closure(of, Direction::Incoming)
    }

    /// De(S): the nodes of `of` and all their descendants. Indices out of range are ignored.
    pub fn descendants(&self, of: &[usize]) -> NodeSet {
        self.closure(of, Direction::Outgoing)
    }

    fn closure(&self, of: &[usize], direction: Direction) -> NodeSet {
        let mut seen = NodeSet::with_capacity(self.len());
        let mut stack: Vec<usize> = of.iter().copied().filter(|&v| v < self.len()).collect();
        while let Some(v) = stack.pop() {
            if !seen.put(v) {
                stack.extend(
                    self.graph.neighbors_directed(NodeIndex::new(v), direction).map(NodeIndex::index),
                );
            }
        }
        seen
    }

    /// Whether `x ⊥ y | z` by d-separation, in O(V + E).
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range, [`Error::Overlap`] for sets that share a node.
    pub fn d_separated(&self, x: &[usize], y: &[usize], z: &[usize]) -> Result<bool> {
        m_separated(self, x, y, z)
    }

    /// A separating set of `x` and `y` of which no proper subset separates them, or `None` when none exists.
    ///
    /// All separators inside An(x, y) are vertex cuts of the moral graph of An(x, y); taking first the nodes of
    /// the largest cut that `x` can reach, then those of them that `y` can reach, leaves a minimal cut
    /// (van der Zander, Liśkiewicz & Textor 2019, algorithm 3).
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range, [`Error::Overlap`] for x = y.
    pub fn minimal_separator(&self, x: usize, y: usize) -> Result<Option<Vec<usize>>> {
        let operation = "Dag::minimal_separator";
        node_set(operation, self.len(), &[x, y])?;
        if x == y {
            return Err(Error::Overlap { operation, name: self.name(x).into() });
        }
        if self.adjacent(x, y) {
            return Ok(None);
        }
        let mut cut = self.ancestors(&[x, y]);
        let moral = self.moral_rows(&cut);
        cut.set(x, false);
        cut.set(y, false);
        for from in [x, y] {
            cut = first_hits(&moral, from, &cut);
        }
        Ok(Some(super::members(&cut)))
    }

    /// Parents, children and the children's other parents of `v`: given them, `v` is independent of the rest.
    pub fn markov_blanket(&self, v: usize) -> Vec<usize> {
        let mut blanket = NodeSet::with_capacity(self.len());
        blanket.extend(DirectedMixed::parents(self, v));
        for child in DirectedMixed::children(self, v) {
            blanket.insert(child);
            blanket.extend(DirectedMixed::parents(self, child));
        }
        blanket.set(v, false);
        super::members(&blanket)
    }

    /// The moral graph: parents of a common child are married and all directions dropped.
    pub fn moral_graph(&self) -> UnGraph<String, ()> {
        let mut all = NodeSet::with_capacity(self.len());
        all.insert_range(..);
        let rows = self.moral_rows(&all);
        let mut moral = UnGraph::with_capacity(self.len(), self.graph.edge_count());
        for name in self.names() {
            moral.add_node(name.to_string());
        }
        for (a, row) in rows.iter().enumerate() {
            for b in row.ones().filter(|&b| a < b) {
                moral.add_edge(NodeIndex::new(a), NodeIndex::new(b), ());
            }
        }
        moral
    }

    /// Adjacency rows of the moral graph of the ancestral set `within`.
    fn moral_rows(&self, within: &NodeSet) -> Vec<NodeSet> {
        let mut rows = vec![NodeSet::with_capacity(self.len()); self.len()];
        for v in within.ones() {
            let parents: Vec<usize> = self.parents(v).into_iter().filter(|&u| within.contains(u)).collect();
            for (i, &a) in parents.iter().enumerate() {
                for &b in parents[i + 1..].iter().chain([&v]) {
                    rows[a].insert(b);
                    rows[b].insert(a);
                }
            }
        }
        rows
    }

    /// The unshielded colliders `a → c ← b` with `a < b`, as `(a, c, b)`.
    pub fn v_structures(&self) -> Vec<(usize, usize, usize)> {
        let mut found = Vec::new();
        for c in 0..self.len() {
            let parents = self.parents(c);
            for (i, &a) in parents.iter().enumerate() {
                found.extend(parents[i + 1..].iter().filter(|&&b| !self.adjacent(a, b)).map(|&b| (a, c, b)));
            }
        }
        found
    }

    /// The Markov equivalence class: the edges of unshielded colliders stay directed, then Meek's rules 1–3.
    ///
    /// # Errors
    /// None for a valid DAG; the signature carries the checks of the graph type.
    pub fn to_cpdag(&self) -> Result<Cpdag> {
        let mut graph = MixedGraph::new(self.names().map(String::from).collect())?;
        for (a, b) in self.edges() {
            graph.set_edge(a, Mark::Tail, Mark::Tail, b)?;
        }
        for (a, c, b) in self.v_structures() {
            graph.orient(a, c)?;
            graph.orient(b, c)?;
        }
        meek_closure(&mut graph, MeekRules::WITHOUT_KNOWLEDGE)?;
        Ok(Cpdag::trusted(graph))
    }

    /// The same edges as a [`MixedGraph`].
    ///
    /// # Errors
    /// None for a valid DAG.
    pub fn to_mixed(&self) -> Result<MixedGraph> {
        let mut graph = MixedGraph::new(self.names().map(String::from).collect())?;
        for (a, b) in self.edges() {
            graph.set_edge(a, Mark::Tail, Mark::Arrow, b)?;
        }
        Ok(graph)
    }

    /// The acyclic directed mixed graph over the other nodes after `latent` has been projected out
    /// (Verma & Pearl 1990). Nodes keep their names and their order.
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range.
    pub fn latent_projection(&self, latent: &[usize]) -> Result<Admg> {
        Admg::from_dag(self)?.latent_projection(latent)
    }
}

impl DirectedMixed for Dag {
    fn node_count(&self) -> usize {
        self.len()
    }
    fn node_name(&self, v: usize) -> &str {
        self.name(v)
    }
    fn parents(&self, v: usize) -> impl Iterator<Item = usize> {
        self.graph.neighbors_directed(NodeIndex::new(v), Direction::Incoming).map(NodeIndex::index)
    }
    fn children(&self, v: usize) -> impl Iterator<Item = usize> {
        self.graph.neighbors_directed(NodeIndex::new(v), Direction::Outgoing).map(NodeIndex::index)
    }
    fn siblings(&self, _: usize) -> impl Iterator<Item = usize> {
        std::iter::empty()
    }
}

fn sorted(nodes: impl Iterator<Item = NodeIndex>) -> Vec<usize> {
    let mut nodes: Vec<usize> = nodes.map(NodeIndex::index).collect();
    nodes.sort_unstable();
    nodes
}

/// The members of `cut` that a walk from `from` meets first, not passing through any of them.
fn first_hits(rows: &[NodeSet], from: usize, cut: &NodeSet) -> NodeSet {
    let mut seen = NodeSet::with_capacity(rows.len());
    let mut hits = NodeSet::with_capacity(rows.len());
    let mut stack = vec![from];
    seen.insert(from);
    while let Some(v) = stack.pop() {
        for w in rows[v].ones() {
            if cut.contains(w) {
                hits.insert(w);
            } else if !seen.put(w) {
                stack.push(w);
            }
        }
    }
    hits
}
