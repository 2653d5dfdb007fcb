//! Adjustment in a whole equivalence class: sets that are valid in every member of a CPDAG or MPDAG, and the parent sets
//! that a treatment can have.
//!
//! Perković, Textor, Kalisch & Maathuis, *Complete graphical characterization and construction of adjustment sets*
//! (JMLR 2018) for CPDAGs; Perković, Kalisch & Maathuis, *Interpreting and using CPDAGs with background knowledge*
//! (UAI 2017) for MPDAGs; Maathuis, Kalisch & Bühlmann (Annals of Statistics 2009) for the parent sets of IDA.
//!
//! Possibly causal paths are searched among unshielded ones: a shortest directed path of a member is unshielded, and an
//! unshielded path without an edge against it is directed in some member, because orienting its first edge forces the
//! rest by Meek's rule 1.

use super::adjustment::is_valid_adjustment;
use super::subsets;
use crate::error::{Error, Result};
use crate::graph::{
    Dag, MeekRules, MixedGraph, Mpdag, NodeSet, consistent_extension, meek_closure, node_set,
};

/// Whether every proper possibly causal path from x to y starts with a directed edge. When one does not, members of the
/// class disagree about the effect, and no adjustment set serves all of them.
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::Overlap`] when the sets share a node.
pub fn is_amenable(graph: &Mpdag, x: &[usize], y: &[usize]) -> Result<bool> {
    let (xs, ys) = checked("is_amenable", graph, x, y)?;
    for v in xs.ones() {
        for w in graph.undirected_neighbours(v).into_iter().filter(|&w| !xs.contains(w)) {
            // The members in which v → w: does a causal path lead on to y?
            let mut oriented: MixedGraph = (**graph).clone();
            oriented.orient(v, w)?;
            meek_closure(&mut oriented, MeekRules::ALL)?;
            if !possible_descendants(&oriented, w, &xs).is_disjoint(&ys) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether adjusting for z gives P(y | do(x)) in every member of the class: the graph is amenable, z holds no possible
/// descendant of a node on a proper possibly causal path, and z blocks the other paths.
///
/// The last condition is checked in one member: given the first two it holds there if and only if it holds in all.
///
/// # Errors
/// As [`is_amenable`].
pub fn is_valid_class_adjustment(graph: &Mpdag, x: &[usize], y: &[usize], z: &[usize]) -> Result<bool> {
    let (xs, ys) = checked("is_valid_class_adjustment", graph, x, y)?;
    let zs = node_set("is_valid_class_adjustment", graph.len(), z)?;
    if !is_amenable(graph, x, y)? || !zs.is_disjoint(&forbidden(graph, &xs, &ys)) {
        return Ok(false);
    }
    is_valid_adjustment(&graph.to_dag()?, x, y, z)
}

/// All sets that are valid in every member, smallest first; none when the graph is not amenable.
///
/// # Errors
/// As [`is_amenable`]; [`Error::TooLarge`] with more than 20 candidates.
pub fn class_adjustment_sets(graph: &Mpdag, x: &[usize], y: &[usize]) -> Result<Vec<Vec<usize>>> {
    let operation = "class_adjustment_sets";
    let (xs, ys) = checked(operation, graph, x, y)?;
    if !is_amenable(graph, x, y)? {
        return Ok(Vec::new());
    }
    let mut excluded = forbidden(graph, &xs, &ys);
    excluded.union_with(&xs);
    excluded.union_with(&ys);
    let candidates: Vec<usize> = (0..graph.len()).filter(|&v| !excluded.contains(v)).collect();
    let member = graph.to_dag()?;
    let mut found = Vec::new();
    for set in subsets(operation, &candidates)? {
        if is_valid_adjustment(&member, x, y, &set)? {
            found.push(set);
        }
    }
    Ok(found)
}

/// The parent sets that `x` has in the members of the class, each once, smallest first: its sure parents and any set of
/// undirected neighbours that can be made parents, the others becoming children, without a new collider or a cycle.
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::TooLarge`] with more than 20 undirected neighbours.
pub fn possible_parents(graph: &Mpdag, x: usize) -> Result<Vec<Vec<usize>>> {
    let operation = "possible_parents";
    node_set(operation, graph.len(), &[x])?;
    let colliders = graph.to_dag()?.v_structures();
    let neighbours = graph.undirected_neighbours(x);
    let mut found = Vec::new();
    for chosen in subsets(operation, &neighbours)? {
        let mut oriented: MixedGraph = (**graph).clone();
        for &v in &neighbours {
            let (from, to) = if chosen.contains(&v) { (v, x) } else { (x, v) };
            oriented.orient(from, to)?;
        }
        let is_member = |dag: Dag| dag.v_structures() == colliders;
        if consistent_extension(&oriented).is_ok_and(is_member) {
            let mut parents = graph.parents(x);
            parents.extend(chosen);
            parents.sort_unstable();
            found.push(parents);
        }
    }
    found.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    Ok(found)
}

fn checked(operation: &'static str, graph: &Mpdag, x: &[usize], y: &[usize]) -> Result<(NodeSet, NodeSet)> {
    let (xs, ys) = (node_set(operation, graph.len(), x)?, node_set(operation, graph.len(), y)?);
    match xs.intersection(&ys).next() {
        Some(shared) => Err(Error::Overlap { operation, name: graph.name(shared).into() }),
        None => Ok((xs, ys)),
    }
}

/// Possible descendants of the nodes on proper possibly causal paths from x to y, x themselves excluded from the paths.
/// The graph is amenable, so every such path has a directed first edge.
fn forbidden(graph: &MixedGraph, x: &NodeSet, y: &NodeSet) -> NodeSet {
    let mut all = NodeSet::with_capacity(graph.len());
    let none = NodeSet::with_capacity(graph.len());
    for v in x.ones() {
        for first in graph.children(v).into_iter().filter(|&w| !x.contains(w)) {
            for on_path in possible_descendants(graph, first, x).ones() {
                if !possible_descendants(graph, on_path, x).is_disjoint(y) {
                    all.union_with(&possible_descendants(graph, on_path, &none));
                }
            }
        }
    }
    all
}

/// The nodes that some member reaches from `from` by a directed path around `avoided`; `from` included. The state of the
/// search is an edge: the next one must not be shielded.
fn possible_descendants(graph: &MixedGraph, from: usize, avoided: &NodeSet) -> NodeSet {
    let p = graph.len();
    let mut reached = NodeSet::with_capacity(p);
    reached.insert(from);
    let onward = |v: usize| {
        let mut next = graph.children(v);
        next.extend(graph.undirected_neighbours(v));
        next.retain(|&w| !avoided.contains(w));
        next
    };
    let mut seen = NodeSet::with_capacity(p * p);
    let mut stack: Vec<(usize, usize)> = onward(from).into_iter().map(|w| (from, w)).collect();
    while let Some((u, v)) = stack.pop() {
        if !seen.put(u * p + v) {
            reached.insert(v);
            stack.extend(onward(v).into_iter().filter(|&w| w != u && !graph.adjacent(u, w)).map(|w| (v, w)));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn class(p: usize, edges: &[(usize, usize)]) -> Mpdag {
        Mpdag::from(Dag::from_edges(p, edges).unwrap().to_cpdag().unwrap())
    }

    #[test]
    fn an_undirected_first_edge_refuses_and_a_directed_one_does_not() {
        // A chain is wholly undirected: x may cause y or the reverse.
        let chain = class(3, &[(0, 1), (1, 2)]);
        assert!(!is_amenable(&chain, &[0], &[2]).unwrap());
        assert!(class_adjustment_sets(&chain, &[0], &[2]).unwrap().is_empty());
        assert_eq!(
            possible_parents(&chain, 1).unwrap(),
            [vec![], vec![0], vec![2]],
            "two parents would collide"
        );
        // A collider x → y ← w: the effect of x on y needs no adjustment, and w may be adjusted for.
        let collider = class(3, &[(0, 1), (2, 1)]);
        assert_eq!(class_adjustment_sets(&collider, &[0], &[1]).unwrap(), [vec![], vec![2]]);
        assert_eq!(possible_parents(&collider, 1).unwrap(), [vec![0, 2]]);
    }

    #[test]
    fn knowledge_makes_a_class_amenable() {
        let chain = Dag::from_edges(3, &[(0, 1), (1, 2)]).unwrap().to_cpdag().unwrap();
        let forward = chain.with_required(&[(0, 1)]).unwrap();
        assert_eq!(class_adjustment_sets(&forward, &[0], &[2]).unwrap(), [Vec::<usize>::new()]);
        assert!(is_amenable(&forward, &[0], &[0]).is_err());
        assert!(possible_parents(&forward, 9).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// The slow twin: valid in the class means valid in each of its enumerated members, and the parent sets are
        /// those of the members. Half of the classes are restricted by an edge of background knowledge.
        #[test]
        fn agrees_with_every_member(
            bits in proptest::collection::vec(proptest::bool::weighted(0.55), 10),
            (order, know, x, y) in (0usize..120, 0usize..20, 1u8..31, 0usize..5),
        ) {
            let mut nodes: Vec<usize> = (0..5).collect();
            let shuffled: Vec<usize> = (1..=5).rev().scan(order, |code, n| {
                let pick = *code % n;
                *code /= n;
                Some(nodes.remove(pick))
            }).collect();
            let pairs = (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b)));
            let edges: Vec<_> =
                pairs.zip(bits).filter(|(_, keep)| *keep).map(|((a, b), _)| (shuffled[a], shuffled[b])).collect();
            let dag = Dag::from_edges(5, &edges).unwrap();
            let cpdag = dag.to_cpdag().unwrap();
            let graph = match edges.get(know) {
                Some(&edge) => cpdag.with_required(&[edge]).unwrap(),
                None => Mpdag::from(cpdag),
            };
            let members = graph.members(1000).unwrap();
            let x: Vec<usize> = (0..5).filter(|&v| x >> v & 1 == 1 && v != y).take(2).collect();
            prop_assume!(!x.is_empty());
            let rest: Vec<usize> = (0..5).filter(|v| !x.contains(v) && *v != y).collect();
            let listed = class_adjustment_sets(&graph, &x, &[y]).unwrap();
            for z in subsets("test", &rest).unwrap() {
                let everywhere = members.iter().all(|m| is_valid_adjustment(m, &x, &[y], &z).unwrap());
                prop_assert_eq!(is_valid_class_adjustment(&graph, &x, &[y], &z).unwrap(), everywhere, "{:?}", z);
                prop_assert_eq!(listed.contains(&z), everywhere);
            }
            let mut parents: Vec<Vec<usize>> = members.iter().map(|m| m.parents(x[0])).collect();
            parents.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            parents.dedup();
            prop_assert_eq!(possible_parents(&graph, x[0]).unwrap(), parents);
        }
    }
}
