//! The front-door criterion: P(y | do(x)) = Σ_m P(m | x) Σ_x′ P(y | m, x′) P(x′).
//!
//! Pearl, *Causal diagrams for empirical research* (Biometrika 1995), section 3.2.

use super::adjustment::{closure, is_back_door};
use super::subsets;
use crate::error::Result;
use crate::graph::{Admg, DirectedMixed, NodeSet, m_separated, node_set};

/// Whether `m` intercepts all directed paths from x to y, no back-door path from x to m is open, and x blocks
/// all back-door paths from m to y.
///
/// # Errors
/// [`Error::Node`](crate::Error::Node) for an index out of range, [`Error::Overlap`](crate::Error::Overlap) when the sets share a node.
pub fn is_front_door(graph: &Admg, x: usize, y: usize, m: &[usize]) -> Result<bool> {
    let p = graph.len();
    let mediators = node_set("is_front_door", p, m)?;
    m_separated(graph, &[x], &[y], m)?; // checks the sets
    let reached = closure(p, [x], &mediators, |v| DirectedMixed::children(graph, v));
    if reached.contains(y) || m.is_empty() {
        return Ok(false);
    }
    for &v in m {
        if !is_back_door(graph, x, v, &[])? {
            return Ok(false);
        }
    }
    // Back-door paths from m to y: cut the edges out of m.
    let cut = WithoutOutgoing { graph, nodes: &mediators };
    m_separated(&cut, m, &[y], &[x])
}

/// All front-door sets among the nodes on directed paths from x to y, smallest first.
///
/// # Errors
/// As [`is_front_door`]; [`Error::TooLarge`](crate::Error::TooLarge) with more than 20 mediators.
pub fn front_door_sets(graph: &Admg, x: usize, y: usize) -> Result<Vec<Vec<usize>>> {
    node_set("front_door_sets", graph.len(), &[x, y])?;
    let none = NodeSet::with_capacity(graph.len());
    let mut between = closure(graph.len(), [x], &none, |v| DirectedMixed::children(graph, v));
    between.intersect_with(&closure(graph.len(), [y], &none, |v| DirectedMixed::parents(graph, v)));
    let mediators: Vec<usize> = between.ones().filter(|&v| v != x && v != y).collect();
    let mut found = Vec::new();
    for set in subsets("front_door_sets", &mediators)? {
        if is_front_door(graph, x, y, &set)? {
            found.push(set);
        }
    }
    Ok(found)
}

/// The graph without directed edges out of `nodes`.
pub(super) struct WithoutOutgoing<'a> {
    pub(super) graph: &'a Admg,
    pub(super) nodes: &'a NodeSet,
}

impl DirectedMixed for WithoutOutgoing<'_> {
    fn node_count(&self) -> usize {
        self.graph.len()
    }
    fn node_name(&self, v: usize) -> &str {
        self.graph.name(v)
    }
    fn parents(&self, v: usize) -> impl Iterator<Item = usize> {
        DirectedMixed::parents(self.graph, v).filter(|&u| !self.nodes.contains(u))
    }
    fn children(&self, v: usize) -> impl Iterator<Item = usize> {
        let cut = self.nodes.contains(v);
        DirectedMixed::children(self.graph, v).filter(move |_| !cut)
    }
    fn siblings(&self, v: usize) -> impl Iterator<Item = usize> {
        self.graph.siblings(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smoking_graph_and_a_leaky_mediator() {
        let graph = Admg::from_edges(3, &[(0, 1), (1, 2)], &[(0, 2)]).unwrap();
        assert_eq!(front_door_sets(&graph, 0, 2).unwrap(), [vec![1]]);
        let leaky = Admg::from_edges(3, &[(0, 1), (1, 2)], &[(0, 2), (1, 2)]).unwrap();
        assert!(front_door_sets(&leaky, 0, 2).unwrap().is_empty());
        let direct = Admg::from_edges(3, &[(0, 1), (1, 2), (0, 2)], &[]).unwrap();
        assert!(!is_front_door(&direct, 0, 2, &[1]).unwrap());
    }
}
