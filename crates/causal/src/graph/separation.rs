//! d- and m-separation by reachability over (node, arrived at an arrowhead?) states, in O(V + E).
//!
//! Koller & Friedman (2009), algorithm 3.1, extended to bidirected edges (Richardson 2003). A walk may pass a
//! collider that has a descendant in Z, and a non-collider outside Z.

use super::NodeSet;
use crate::error::{Error, Result};

/// What separation needs to know of a graph with directed and bidirected edges.
pub trait DirectedMixed {
    /// Number of nodes.
    fn node_count(&self) -> usize;
    /// The name of a node, for messages.
    fn node_name(&self, v: usize) -> &str;
    /// Nodes with an edge `u → v`.
    fn parents(&self, v: usize) -> impl Iterator<Item = usize>;
    /// Nodes with an edge `v → u`.
    fn children(&self, v: usize) -> impl Iterator<Item = usize>;
    /// Nodes with an edge `v ↔ u`.
    fn siblings(&self, v: usize) -> impl Iterator<Item = usize>;
}

/// Whether every walk between `x` and `y` is blocked by `z`. True when `x` or `y` is empty.
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::Overlap`] for sets that share a node.
pub fn m_separated<G: DirectedMixed>(graph: &G, x: &[usize], y: &[usize], z: &[usize]) -> Result<bool> {
    let mut owner = vec![0u8; graph.node_count()];
    for (set, nodes) in [(1, x), (2, y), (3, z)] {
        for &node in nodes {
            let operation = "m_separated";
            if node >= owner.len() {
                return Err(Error::Node { operation, node, count: owner.len() });
            }
            if owner[node] != 0 && owner[node] != set {
                return Err(Error::Overlap { operation, name: graph.node_name(node).into() });
            }
            owner[node] = set;
        }
    }
    let connected = d_connected(graph, x, z);
    Ok(!y.iter().any(|&v| connected.contains(v)))
}

/// The nodes that some walk from `x` reaches unblocked by `z`: everything that is *not* separated from `x`
/// given `z`, `x` included, `z` excluded. Indices out of range are ignored.
pub fn d_connected<G: DirectedMixed>(graph: &G, x: &[usize], z: &[usize]) -> NodeSet {
    let p = graph.node_count();
    let mut in_z = NodeSet::with_capacity(p);
    in_z.extend(z.iter().copied().filter(|&v| v < p));
    let ancestors_of_z = ancestors(graph, &in_z);

    let mut reached = NodeSet::with_capacity(p);
    let mut seen = NodeSet::with_capacity(2 * p); // state 2v: arrived at a tail of v, 2v + 1: at an arrowhead
    let mut stack: Vec<usize> = Vec::with_capacity(p);
    for &v in x.iter().filter(|&&v| v < p) {
        if !seen.put(2 * v) {
            stack.push(2 * v); // as if arrived from a child: every edge may be taken
        }
    }
    while let Some(state) = stack.pop() {
        let (v, at_arrow) = (state / 2, state % 2 == 1);
        if !in_z.contains(v) {
            reached.insert(v);
        }
        // Leaving through an edge with a tail at v makes v a non-collider whatever came before.
        let through = !in_z.contains(v);
        let through_arrow = if at_arrow { ancestors_of_z.contains(v) } else { through };
        let mut push = |state: usize| {
            if !seen.put(state) {
                stack.push(state);
            }
        };
        if through {
            graph.children(v).for_each(|w| push(2 * w + 1));
        }
        if through_arrow {
            graph.parents(v).for_each(|w| push(2 * w));
            graph.siblings(v).for_each(|w| push(2 * w + 1));
        }
    }
    reached
}

fn ancestors<G: DirectedMixed>(graph: &G, of: &NodeSet) -> NodeSet {
    let mut seen = NodeSet::with_capacity(graph.node_count());
    let mut stack: Vec<usize> = of.ones().collect();
    while let Some(v) = stack.pop() {
        if !seen.put(v) {
            stack.extend(graph.parents(v));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use crate::graph::Dag;
    use proptest::prelude::*;

    /// Separation in the moral graph of the ancestral set: slow, obvious, independent of the walk rules.
    fn moralised(dag: &Dag, x: usize, y: usize, z: &[usize]) -> bool {
        let mut all = vec![x, y];
        all.extend(z);
        let keep = dag.ancestors(&all);
        let mut linked = vec![vec![false; dag.len()]; dag.len()];
        for v in keep.ones() {
            let mut family = dag.parents(v);
            family.push(v);
            for &a in &family {
                for &b in &family {
                    linked[a][b] = true;
                }
            }
        }
        let mut seen = vec![false; dag.len()];
        let mut stack = vec![x];
        while let Some(v) = stack.pop() {
            if v == y {
                return false;
            }
            if std::mem::replace(&mut seen[v], true) || z.contains(&v) {
                continue;
            }
            stack.extend((0..dag.len()).filter(|&w| linked[v][w] && !seen[w]));
        }
        true
    }

    #[test]
    fn the_textbook_triples() {
        let collider = Dag::from_edges(4, &[(0, 1), (2, 1), (1, 3)]).unwrap();
        assert!(collider.d_separated(&[0], &[2], &[]).unwrap());
        assert!(!collider.d_separated(&[0], &[2], &[1]).unwrap());
        assert!(!collider.d_separated(&[0], &[2], &[3]).unwrap(), "a descendant of a collider opens it");
        let fork = Dag::from_edges(3, &[(1, 0), (1, 2)]).unwrap();
        assert!(!fork.d_separated(&[0], &[2], &[]).unwrap());
        assert!(fork.d_separated(&[0], &[2], &[1]).unwrap());
    }

    #[test]
    fn overlapping_sets_and_missing_nodes_are_errors() {
        let dag = Dag::from_edges(3, &[(0, 1)]).unwrap();
        assert!(dag.d_separated(&[0], &[0], &[]).is_err());
        assert!(dag.d_separated(&[0], &[1], &[1]).is_err());
        assert!(dag.d_separated(&[0], &[7], &[]).is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_the_moralised_ancestral_graph(bits in proptest::collection::vec(any::<bool>(), 21), z_bits in 0u8..128, x in 0usize..7, y in 0usize..7) {
            let pairs = (0..7).flat_map(|a| (a + 1..7).map(move |b| (a, b)));
            let edges: Vec<_> = pairs.zip(bits).filter(|(_, keep)| *keep).map(|(e, _)| e).collect();
            let dag = Dag::from_edges(7, &edges).unwrap();
            let z: Vec<usize> = (0..7).filter(|v| z_bits >> v & 1 == 1 && *v != x && *v != y).collect();
            prop_assume!(x != y);
            prop_assert_eq!(dag.d_separated(&[x], &[y], &z).unwrap(), moralised(&dag, x, y, &z));
        }
    }
}
