//! Acyclic directed mixed graphs: DAGs whose latent confounders show as bidirected edges.
//!
//! Richardson, *Markov properties for acyclic directed mixed graphs* (2003); Verma & Pearl (1990) for the
//! latent projection; Tian & Pearl (2002) for districts (c-components).

use super::separation::{DirectedMixed, m_separated};
use super::{Dag, NodeSet, default_names, node_set};
use crate::error::{Error, Result};
use petgraph::graph::{NodeIndex, UnGraph};

/// A DAG with bidirected edges beside it; a pair may have both.
#[derive(Clone, Debug)]
pub struct Admg {
    directed: Dag,
    bidirected: UnGraph<(), ()>,
}

impl PartialEq for Admg {
    fn eq(&self, other: &Self) -> bool {
        self.directed == other.directed && self.bidirected_edges() == other.bidirected_edges()
    }
}

impl Admg {
    /// A graph with the given names, directed edges `(from, to)` and bidirected edges.
    ///
    /// # Errors
    /// As [`Dag::new`], and [`Error::InvalidGraph`] for a bidirected loop.
    pub fn new(
        names: Vec<String>,
        directed: &[(usize, usize)],
        bidirected: &[(usize, usize)],
    ) -> Result<Self> {
        let mut admg = Self::from_dag(&Dag::new(names, directed)?)?;
        for &(a, b) in bidirected {
            admg.add_bidirected(a, b)?;
        }
        Ok(admg)
    }

    /// A graph of `p` nodes called `X0, X1, …`.
    ///
    /// # Errors
    /// As [`Admg::new`].
    pub fn from_edges(p: usize, directed: &[(usize, usize)], bidirected: &[(usize, usize)]) -> Result<Self> {
        Self::new(default_names(p), directed, bidirected)
    }

    /// A DAG as a mixed graph without bidirected edges.
    ///
    /// # Errors
    /// None; the signature matches the other constructors.
    pub fn from_dag(dag: &Dag) -> Result<Self> {
        let mut bidirected = UnGraph::with_capacity(dag.len(), 0);
        for _ in 0..dag.len() {
            bidirected.add_node(());
        }
        Ok(Self { directed: dag.clone(), bidirected })
    }

    /// Adds `a ↔ b`; adding it twice changes nothing.
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range, [`Error::InvalidGraph`] for a loop.
    pub fn add_bidirected(&mut self, a: usize, b: usize) -> Result<()> {
        node_set("Admg::add_bidirected", self.len(), &[a, b])?;
        if a == b {
            let reason = format!("a bidirected loop at {}", self.name(a));
            return Err(Error::InvalidGraph { kind: "ADMG", reason });
        }
        self.bidirected.update_edge(NodeIndex::new(a), NodeIndex::new(b), ());
        Ok(())
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.directed.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.directed.is_empty()
    }

    /// The directed part.
    pub fn dag(&self) -> &Dag {
        &self.directed
    }

    /// The names in the order of the nodes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.directed.names()
    }

    /// The name of a node; empty for an index out of range.
    pub fn name(&self, v: usize) -> &str {
        self.directed.name(v)
    }

    /// The node of this name.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn index_of(&self, name: &str) -> Result<usize> {
        self.directed.index_of(name)
    }

    /// The edges `a ↔ b` with `a < b`, ascending.
    pub fn bidirected_edges(&self) -> Vec<(usize, usize)> {
        let raw = self.bidirected.raw_edges().iter();
        let ends = raw.map(|e| (e.source().index(), e.target().index()));
        let mut edges: Vec<_> = ends.map(|(a, b)| (a.min(b), a.max(b))).collect();
        edges.sort_unstable();
        edges
    }

    /// Whether `a ↔ b` is there.
    pub fn has_bidirected(&self, a: usize, b: usize) -> bool {
        self.bidirected.contains_edge(NodeIndex::new(a), NodeIndex::new(b))
    }

    /// Whether `x ⊥ y | z` by m-separation, in O(V + E).
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range, [`Error::Overlap`] for sets that share a node.
    pub fn m_separated(&self, x: &[usize], y: &[usize], z: &[usize]) -> Result<bool> {
        m_separated(self, x, y, z)
    }

    /// The ancestors of `of` (themselves included) inside the subgraph on `within`.
    pub fn ancestors_within(&self, of: &NodeSet, within: &NodeSet) -> NodeSet {
        let mut seen = NodeSet::with_capacity(self.len());
        let mut stack: Vec<usize> = of.intersection(within).collect();
        while let Some(v) = stack.pop() {
            if !seen.put(v) {
                stack.extend(DirectedMixed::parents(self, v).filter(|&u| within.contains(u)));
            }
        }
        seen
    }

    /// The districts (c-components) of the subgraph on `within`, by their least member.
    pub fn districts_within(&self, within: &NodeSet) -> Vec<NodeSet> {
        let mut left = within.clone();
        let mut districts = Vec::new();
        while let Some(start) = left.minimum() {
            let mut district = NodeSet::with_capacity(self.len());
            let mut stack = vec![start];
            while let Some(v) = stack.pop() {
                if !district.put(v) {
                    stack.extend(self.siblings(v).filter(|&u| left.contains(u)));
                }
            }
            left.difference_with(&district);
            districts.push(district);
        }
        districts
    }

    /// The graph over the other nodes once `latent` is projected out: a → b when a directed path runs through
    /// latent nodes only, a ↔ b when a collider-free path through latent nodes only ends in arrowheads at both.
    /// Nodes keep their names and their order.
    ///
    /// # Errors
    /// [`Error::Node`] for an index out of range.
    pub fn latent_projection(&self, latent: &[usize]) -> Result<Self> {
        let hidden = node_set("latent_projection", self.len(), latent)?;
        let visible: Vec<usize> = (0..self.len()).filter(|&v| !hidden.contains(v)).collect();
        let mut place = vec![usize::MAX; self.len()];
        visible.iter().enumerate().for_each(|(i, &v)| place[v] = i);
        let effects: Vec<Vec<usize>> = (0..self.len()).map(|v| self.first_visible(v, &hidden)).collect();

        let names = visible.iter().map(|&v| self.name(v).to_string()).collect();
        let mut directed = Vec::new();
        for (i, &v) in visible.iter().enumerate() {
            directed.extend(effects[v].iter().map(|&w| (i, place[w])));
        }
        let mut projected = Self::new(names, &directed, &[])?;
        let reach = |v: usize| if hidden.contains(v) { effects[v].clone() } else { vec![v] };
        let confounded = self.bidirected_edges().into_iter().map(|(a, b)| (reach(a), reach(b)));
        let from_latent = hidden.ones().map(|v| (effects[v].clone(), effects[v].clone()));
        for (left, right) in confounded.chain(from_latent) {
            for &a in &left {
                for &b in right.iter().filter(|&&b| b != a) {
                    projected.add_bidirected(place[a], place[b])?;
                }
            }
        }
        Ok(projected)
    }

    /// The visible nodes that `v` reaches by directed paths whose inner nodes are all hidden.
    fn first_visible(&self, v: usize, hidden: &NodeSet) -> Vec<usize> {
        let mut seen = NodeSet::with_capacity(self.len());
        let mut stack: Vec<usize> = DirectedMixed::children(self, v).collect();
        while let Some(w) = stack.pop() {
            if !seen.put(w) && hidden.contains(w) {
                stack.extend(DirectedMixed::children(self, w));
            }
        }
        seen.difference_with(hidden);
        super::members(&seen)
    }
}

impl DirectedMixed for Admg {
    fn node_count(&self) -> usize {
        self.len()
    }
    fn node_name(&self, v: usize) -> &str {
        self.name(v)
    }
    fn parents(&self, v: usize) -> impl Iterator<Item = usize> {
        DirectedMixed::parents(&self.directed, v)
    }
    fn children(&self, v: usize) -> impl Iterator<Item = usize> {
        DirectedMixed::children(&self.directed, v)
    }
    fn siblings(&self, v: usize) -> impl Iterator<Item = usize> {
        self.bidirected.neighbors(NodeIndex::new(v)).map(NodeIndex::index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn projecting_a_common_cause_leaves_a_bidirected_edge() {
        let dag = Dag::from_edges(4, &[(3, 0), (3, 2), (0, 1), (1, 2)]).unwrap();
        let admg = dag.latent_projection(&[3]).unwrap();
        assert_eq!(admg, Admg::from_edges(3, &[(0, 1), (1, 2)], &[(0, 2)]).unwrap());
        let through = dag.latent_projection(&[1]).unwrap();
        assert_eq!(through.dag().edges(), [(0, 1), (2, 0), (2, 1)]);
    }

    proptest! {
        /// m-separation in the projection is d-separation in the DAG.
        #[test]
        fn projection_keeps_every_separation(bits in proptest::collection::vec(proptest::bool::weighted(0.4), 21), z_bits in 0u8..32, x in 0usize..5, y in 0usize..5) {
            prop_assume!(x != y);
            // Nodes 5 and 6 are hidden; a random order makes them roots, mediators or sinks.
            let order = [5, 0, 1, 6, 2, 3, 4];
            let pairs = (0..7).flat_map(|a| (a + 1..7).map(move |b| (order[a], order[b])));
            let edges: Vec<_> = pairs.zip(bits).filter(|(_, keep)| *keep).map(|(e, _)| e).collect();
            let dag = Dag::from_edges(7, &edges).unwrap();
            let admg = dag.latent_projection(&[5, 6]).unwrap();
            let z: Vec<usize> = (0..5).filter(|v| z_bits >> v & 1 == 1 && *v != x && *v != y).collect();
            prop_assert_eq!(dag.d_separated(&[x], &[y], &z).unwrap(), admg.m_separated(&[x], &[y], &z).unwrap());
        }
    }
}
