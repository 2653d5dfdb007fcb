//! Covariate adjustment: P(y | do(x)) = Σ_z P(y | x, z) P(z).
//!
//! Perković, Textor, Kalisch & Maathuis, *Complete graphical characterization and construction of adjustment sets*
//! (JMLR 2018); Pearl's back-door criterion (1993); Henckel, Perković & Maathuis, *Graphical criteria for
//! efficient total effect estimation* (JRSS-B 2022) for the O-set.

use super::subsets;
use crate::error::Result;
use crate::graph::{Dag, DirectedMixed, NodeSet, d_connected, m_separated, node_set};

/// The graph without the first edges of proper causal paths from `x` to `y`.
struct ProperBackDoor<'a, G> {
    graph: &'a G,
    x: &'a NodeSet,
    on_causal_paths: &'a NodeSet,
}

impl<G: DirectedMixed> DirectedMixed for ProperBackDoor<'_, G> {
    fn node_count(&self) -> usize {
        self.graph.node_count()
    }
    fn node_name(&self, v: usize) -> &str {
        self.graph.node_name(v)
    }
    fn parents(&self, v: usize) -> impl Iterator<Item = usize> {
        let cut = self.on_causal_paths.contains(v);
        self.graph.parents(v).filter(move |&u| !(cut && self.x.contains(u)))
    }
    fn children(&self, v: usize) -> impl Iterator<Item = usize> {
        let cut = self.x.contains(v);
        self.graph.children(v).filter(move |&u| !(cut && self.on_causal_paths.contains(u)))
    }
    fn siblings(&self, v: usize) -> impl Iterator<Item = usize> {
        self.graph.siblings(v)
    }
}

/// Nodes reachable from `from` along `next`, `from` included, not passing through `blocked`.
pub(super) fn closure<I: Iterator<Item = usize>>(
    p: usize,
    from: impl IntoIterator<Item = usize>,
    blocked: &NodeSet,
    next: impl Fn(usize) -> I,
) -> NodeSet {
    let mut seen = NodeSet::with_capacity(p);
    let mut stack: Vec<usize> = from.into_iter().collect();
    while let Some(v) = stack.pop() {
        if !seen.put(v) {
            stack.extend(next(v).filter(|&w| !blocked.contains(w)));
        }
    }
    seen
}

/// Cn(x, y): the nodes other than x on directed paths from x to y that meet x only at their start.
fn causal_nodes<G: DirectedMixed>(graph: &G, x: &NodeSet, y: &[usize]) -> NodeSet {
    let p = graph.node_count();
    let mut below = closure(p, x.ones(), x, |v| graph.children(v));
    let above = closure(p, y.iter().copied().filter(|&v| !x.contains(v)), x, |v| graph.parents(v));
    below.intersect_with(&above);
    below.difference_with(x);
    below
}

/// Whether adjusting for `z` gives the effect of `x` on `y` in every model of the graph: z holds no descendant
/// of a node on a proper causal path, and blocks all other paths between x and y.
///
/// # Errors
/// [`Error::Node`](crate::Error::Node) for an index out of range, [`Error::Overlap`](crate::Error::Overlap) when x and y share a node.
pub fn is_valid_adjustment<G: DirectedMixed>(
    graph: &G,
    x: &[usize],
    y: &[usize],
    z: &[usize],
) -> Result<bool> {
    let p = graph.node_count();
    let x_set = node_set("is_valid_adjustment", p, x)?;
    let on_causal_paths = causal_nodes(graph, &x_set, y);
    let forbidden = closure(p, on_causal_paths.ones(), &NodeSet::with_capacity(p), |v| graph.children(v));
    if z.iter().any(|v| forbidden.contains(*v) || x.contains(v) || y.contains(v)) {
        m_separated(graph, x, y, &[])?; // the sets are checked all the same
        return Ok(false);
    }
    m_separated(&ProperBackDoor { graph, x: &x_set, on_causal_paths: &on_causal_paths }, x, y, z)
}

/// All valid adjustment sets, smallest first.
///
/// # Errors
/// As [`is_valid_adjustment`]; [`Error::TooLarge`](crate::Error::TooLarge) with more than 20 candidate covariates.
pub fn valid_adjustment_sets<G: DirectedMixed>(
    graph: &G,
    x: &[usize],
    y: &[usize],
) -> Result<Vec<Vec<usize>>> {
    let p = graph.node_count();
    let x_set = node_set("valid_adjustment_sets", p, x)?;
    m_separated(graph, x, y, &[])?;
    let on_causal_paths = causal_nodes(graph, &x_set, y);
    let forbidden = closure(p, on_causal_paths.ones(), &NodeSet::with_capacity(p), |v| graph.children(v));
    let free = |v: &usize| !forbidden.contains(*v) && !x.contains(v) && !y.contains(v);
    let candidates: Vec<usize> = (0..p).filter(free).collect();
    let pruned = ProperBackDoor { graph, x: &x_set, on_causal_paths: &on_causal_paths };
    let mut sets = subsets("valid_adjustment_sets", &candidates)?;
    sets.retain(|z| {
        let reached = d_connected(&pruned, x, z);
        !y.iter().any(|&v| reached.contains(v))
    });
    Ok(sets)
}

/// The valid adjustment sets of which no member can be left out (one at a time), smallest first.
///
/// # Errors
/// As [`valid_adjustment_sets`].
pub fn minimal_adjustment_sets<G: DirectedMixed>(
    graph: &G,
    x: &[usize],
    y: &[usize],
) -> Result<Vec<Vec<usize>>> {
    let all = valid_adjustment_sets(graph, x, y)?;
    let known: std::collections::HashSet<&Vec<usize>> = all.iter().collect();
    let without = |set: &[usize], skip: usize| -> Vec<usize> {
        set.iter().enumerate().filter(|&(i, _)| i != skip).map(|(_, &v)| v).collect()
    };
    Ok(all.iter().filter(|s| (0..s.len()).all(|i| !known.contains(&without(s, i)))).cloned().collect())
}

/// Pearl's back-door criterion: z holds no descendant of x and blocks every path into x.
///
/// # Errors
/// As [`is_valid_adjustment`].
pub fn is_back_door<G: DirectedMixed>(graph: &G, x: usize, y: usize, z: &[usize]) -> Result<bool> {
    let p = graph.node_count();
    let below =
        closure(p, [x].into_iter().filter(|&v| v < p), &NodeSet::with_capacity(p), |v| graph.children(v));
    Ok(!z.iter().any(|&v| below.contains(v)) && is_valid_adjustment(graph, &[x], &[y], z)?)
}

/// All sets that fulfil the back-door criterion, smallest first.
///
/// # Errors
/// As [`valid_adjustment_sets`].
pub fn back_door_sets<G: DirectedMixed>(graph: &G, x: usize, y: usize) -> Result<Vec<Vec<usize>>> {
    let mut sets = valid_adjustment_sets(graph, &[x], &[y])?;
    let below =
        closure(graph.node_count(), [x], &NodeSet::with_capacity(graph.node_count()), |v| graph.children(v));
    sets.retain(|z| !z.iter().any(|&v| below.contains(v)));
    Ok(sets)
}

/// The O-set pa(Cn(x, y)) \ (De(Cn(x, y)) ∪ {x}): among all valid adjustment sets of a DAG it gives the least
/// asymptotic variance of the estimated effect (Henckel et al. 2022, theorem 3.13). Empty when x is no cause of y.
pub fn optimal_adjustment(dag: &Dag, x: usize, y: usize) -> Vec<usize> {
    let p = dag.len();
    if x.max(y) >= p {
        return Vec::new();
    }
    let mut x_set = NodeSet::with_capacity(p);
    x_set.insert(x);
    let on_causal_paths = causal_nodes(dag, &x_set, &[y]);
    let below =
        closure(p, on_causal_paths.ones(), &NodeSet::with_capacity(p), |v| DirectedMixed::children(dag, v));
    let mut optimal = NodeSet::with_capacity(p);
    for v in on_causal_paths.ones() {
        optimal.extend(DirectedMixed::parents(dag, v));
    }
    optimal.difference_with(&below);
    optimal.set(x, false);
    optimal.ones().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_door_and_m_bias() {
        let confounded = Dag::from_edges(3, &[(0, 1), (0, 2), (1, 2)]).unwrap();
        assert_eq!(valid_adjustment_sets(&confounded, &[1], &[2]).unwrap(), [vec![0]]);
        // M-bias: 0 → 2 ← 1, 0 → 3, 1 → 4, 3 → 4: nothing must be adjusted for, and 2 alone must not be.
        let m = Dag::from_edges(5, &[(0, 2), (1, 2), (0, 3), (1, 4), (3, 4)]).unwrap();
        assert!(is_valid_adjustment(&m, &[3], &[4], &[]).unwrap());
        assert!(!is_valid_adjustment(&m, &[3], &[4], &[2]).unwrap());
        assert!(is_valid_adjustment(&m, &[3], &[4], &[0, 2]).unwrap());
        assert_eq!(minimal_adjustment_sets(&m, &[3], &[4]).unwrap(), [Vec::<usize>::new()]);
        assert_eq!(optimal_adjustment(&m, 3, 4), [1]);
    }

    #[test]
    fn joint_treatments_need_no_adjustment_between_themselves() {
        // x1 → m → x2 → y, x1 → y, m confounds nothing else.
        let dag = Dag::from_edges(4, &[(0, 1), (1, 2), (2, 3), (0, 3)]).unwrap();
        assert!(is_valid_adjustment(&dag, &[0, 2], &[3], &[]).unwrap());
    }
}
