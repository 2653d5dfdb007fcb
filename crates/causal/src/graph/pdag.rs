//! Equivalence classes of DAGs: Meek's rules, consistent extensions, validity, and the number of members.
//!
//! Meek, *Causal inference and causal explanation with background knowledge* (UAI 1995); Dor & Tarsi (1992);
//! Andersson, Madigan & Perlman (1997); He, Jia & Yu, *Counting and exploring sizes of Markov equivalence
//! classes* (JMLR 2015).

use super::mixed::{Mark, MixedGraph};
use super::{Dag, NodeSet};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::ops::Deref;

/// Which of Meek's rules to apply, and whether to refuse an orientation that closes a directed cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeekRules {
    /// Rule 4, needed only when some orientations come from background knowledge.
    pub rule4: bool,
    /// Skip an orientation that would close a directed cycle: only inconsistent input can ask for one.
    pub refuse_cycles: bool,
}

impl MeekRules {
    /// Rules 1–3: complete when all orientations come from unshielded colliders.
    pub const WITHOUT_KNOWLEDGE: Self = Self { rule4: false, refuse_cycles: false };
    /// Rules 1–4: complete with background knowledge.
    pub const ALL: Self = Self { rule4: true, refuse_cycles: false };
}

/// Orients undirected edges by Meek's rules until none applies.
///
/// With `→` directed, `—` undirected, for an edge a — b:
/// 1. c → a, c not adjacent to b: a → b (else a new collider);
/// 2. a → c → b: a → b (else a cycle);
/// 3. a — c → b, a — d → b, c and d not adjacent: a → b;
/// 4. a — d → c → b, a adjacent to c, d not adjacent to b: a → b.
///
/// # Errors
/// None for indices inside the graph; the signature carries the checks of the graph type.
pub fn meek_closure(graph: &mut MixedGraph, rules: MeekRules) -> Result<()> {
    let mut open = graph.undirected_edges();
    loop {
        let mut left = Vec::with_capacity(open.len());
        for &(a, b) in &open {
            let demanded = [(a, b), (b, a)].into_iter().find(|&(from, to)| {
                is_demanded(graph, from, to, rules)
                    && !(rules.refuse_cycles && has_directed_path(graph, to, from))
            });
            match demanded {
                Some((from, to)) => graph.orient(from, to)?,
                None => left.push((a, b)),
            }
        }
        if left.len() == open.len() {
            return Ok(());
        }
        open = left;
    }
}

/// Whether one of the rules demands `a → b` of the undirected edge a — b.
fn is_demanded(graph: &MixedGraph, a: usize, b: usize, rules: MeekRules) -> bool {
    let parents_of_b = graph.parents(b);
    let rule1 = || graph.parents(a).iter().any(|&c| c != b && !graph.adjacent(c, b));
    let rule2 = || parents_of_b.iter().any(|&c| graph.has_directed(a, c));
    let rule3 = || {
        let kites: Vec<usize> =
            parents_of_b.iter().copied().filter(|&c| graph.has_undirected(a, c)).collect();
        kites.iter().enumerate().any(|(i, &c)| kites[i + 1..].iter().any(|&d| !graph.adjacent(c, d)))
    };
    let rule4 = || {
        parents_of_b.iter().filter(|&&c| graph.adjacent(a, c)).any(|&c| {
            graph.parents(c).iter().any(|&d| d != b && graph.has_undirected(a, d) && !graph.adjacent(d, b))
        })
    };
    rule1() || rule2() || rule3() || (rules.rule4 && rule4())
}

/// Whether a path of directed edges leads from `from` to `to`.
pub(crate) fn has_directed_path(graph: &MixedGraph, from: usize, to: usize) -> bool {
    let mut seen = NodeSet::with_capacity(graph.len());
    let mut stack = vec![from];
    while let Some(v) = stack.pop() {
        if v == to {
            return true;
        }
        if !seen.put(v) {
            stack.extend(graph.children(v));
        }
    }
    false
}

/// A DAG with the same adjacencies and unshielded colliders as `graph` that keeps its directed edges.
///
/// # Errors
/// [`Error::InvalidGraph`] when the graph has other edges than `→` and `—`, or no such DAG exists.
pub(crate) fn consistent_extension(graph: &MixedGraph) -> Result<Dag> {
    only_directed_and_undirected("PDAG", graph)?;
    let p = graph.len();
    let mut rest = graph.clone();
    let mut gone = NodeSet::with_capacity(p);
    let mut edges = graph.directed_edges();
    for _ in 0..p {
        let sink = (0..p).find(|&v| !gone.contains(v) && is_removable_sink(&rest, v));
        let Some(v) = sink else {
            let reason = "no DAG has these directed edges without further colliders or cycles".into();
            return Err(Error::InvalidGraph { kind: "PDAG", reason });
        };
        gone.insert(v);
        edges.extend(rest.undirected_neighbours(v).into_iter().map(|u| (u, v)));
        for u in rest.neighbours(v) {
            rest.remove_edge(u, v);
        }
    }
    Dag::new(graph.names().map(String::from).collect(), &edges)
}

/// Dor & Tarsi: no edge leaves `v`, and each undirected neighbour is adjacent to all other neighbours.
fn is_removable_sink(graph: &MixedGraph, v: usize) -> bool {
    let around = graph.neighbours(v);
    graph.children(v).is_empty()
        && graph
            .undirected_neighbours(v)
            .iter()
            .all(|&u| around.iter().all(|&w| w == u || graph.adjacent(u, w)))
}

fn only_directed_and_undirected(kind: &'static str, graph: &MixedGraph) -> Result<()> {
    let odd = graph
        .edges()
        .into_iter()
        .find(|e| e.1 == Mark::Circle || e.2 == Mark::Circle || e.1 == e.2 && e.1 == Mark::Arrow);
    match odd {
        Some((a, _, _, b)) => {
            let reason = format!(
                "the edge between {} and {} is neither directed nor undirected",
                graph.name(a),
                graph.name(b)
            );
            Err(Error::InvalidGraph { kind, reason })
        }
        None => Ok(()),
    }
}

/// A completed partially directed acyclic graph: exactly one Markov equivalence class of DAGs.
#[derive(Clone, Debug, PartialEq)]
pub struct Cpdag(MixedGraph);

/// A maximally oriented PDAG: a Markov equivalence class restricted by background knowledge.
#[derive(Clone, Debug, PartialEq)]
pub struct Mpdag(MixedGraph);

impl Deref for Cpdag {
    type Target = MixedGraph;
    fn deref(&self) -> &MixedGraph {
        &self.0
    }
}

impl Deref for Mpdag {
    type Target = MixedGraph;
    fn deref(&self) -> &MixedGraph {
        &self.0
    }
}

impl TryFrom<MixedGraph> for Cpdag {
    type Error = Error;

    /// Checks that the graph is the CPDAG of one of its members.
    fn try_from(graph: MixedGraph) -> Result<Self> {
        let class = consistent_extension(&graph)?.to_cpdag()?;
        if class.0 == graph {
            return Ok(class);
        }
        let differing = graph.edges().into_iter().find(|e| class.edge(e.0, e.3) != Some((e.1, e.2)));
        let reason = match differing {
            Some((a, _, _, b)) => format!(
                "the edge between {} and {} is marked differently than in the class of its own members",
                graph.name(a),
                graph.name(b)
            ),
            None => "it differs from the class of its own members".into(),
        };
        Err(Error::InvalidGraph { kind: "CPDAG", reason })
    }
}

impl TryFrom<MixedGraph> for Mpdag {
    type Error = Error;

    /// Checks that a consistent DAG exists and that Meek's rules 1–4 add nothing.
    fn try_from(graph: MixedGraph) -> Result<Self> {
        consistent_extension(&graph)?;
        let mut closed = graph.clone();
        meek_closure(&mut closed, MeekRules::ALL)?;
        match graph.undirected_edges().into_iter().find(|&(a, b)| !closed.has_undirected(a, b)) {
            Some((a, b)) => {
                let reason = format!("Meek's rules orient {} — {}", graph.name(a), graph.name(b));
                Err(Error::InvalidGraph { kind: "MPDAG", reason })
            }
            None => Ok(Self(graph)),
        }
    }
}

impl From<Cpdag> for Mpdag {
    /// A class without background knowledge: rule 4 adds nothing to a CPDAG.
    fn from(class: Cpdag) -> Self {
        Self(class.0)
    }
}

impl Cpdag {
    /// For graphs that are CPDAGs by construction.
    pub(crate) fn trusted(graph: MixedGraph) -> Self {
        Self(graph)
    }

    /// The graph without its promise.
    pub fn into_mixed(self) -> MixedGraph {
        self.0
    }

    /// One member of the class.
    ///
    /// # Errors
    /// None for a valid CPDAG.
    pub fn to_dag(&self) -> Result<Dag> {
        consistent_extension(&self.0)
    }

    /// The class restricted to members with the given edges `(from, to)`.
    ///
    /// # Errors
    /// [`Error::Knowledge`] when an edge is missing or contradicts the class.
    pub fn with_required(&self, required: &[(usize, usize)]) -> Result<Mpdag> {
        let mut graph = self.0.clone();
        for &(from, to) in required {
            let (a, b) = (graph.name(from).to_string(), graph.name(to).to_string());
            match graph.edge(from, to) {
                Some((Mark::Tail, Mark::Arrow)) => {}
                Some((Mark::Tail, Mark::Tail)) => graph.orient(from, to)?,
                Some(_) => {
                    return Err(Error::Knowledge(format!(
                        "{a} -> {b} is required, but {b} -> {a} holds in every member"
                    )));
                }
                None => {
                    return Err(Error::Knowledge(format!(
                        "{a} -> {b} is required, but the two are not adjacent"
                    )));
                }
            }
            meek_closure(&mut graph, MeekRules::ALL)?;
        }
        consistent_extension(&graph)
            .map_err(|e| Error::Knowledge(format!("the required edges contradict each other: {e}")))?;
        Ok(Mpdag(graph))
    }

    /// Number of DAGs in the class: the product over the chain components of the sum over roots of the sizes
    /// of the rooted subclasses (He, Jia & Yu 2015, theorems 2–5), remembered per vertex set.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond 2¹²⁸.
    pub fn member_count(&self) -> Result<u128> {
        let p = self.0.len();
        let mut rows = vec![NodeSet::with_capacity(p); p];
        for (a, b) in self.0.undirected_edges() {
            rows[a].insert(b);
            rows[b].insert(a);
        }
        let mut everything = NodeSet::with_capacity(p);
        everything.insert_range(..);
        let mut known = HashMap::new();
        product(components(&rows, &everything).iter().map(|c| count_rooted(&rows, c, &mut known)))
    }

    /// All DAGs of the class, up to `limit`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when there are more.
    pub fn members(&self, limit: usize) -> Result<Vec<Dag>> {
        enumerate(&self.0, limit)
    }
}

impl Mpdag {
    /// The graph without its promise.
    pub fn into_mixed(self) -> MixedGraph {
        self.0
    }

    /// One member of the restricted class.
    ///
    /// # Errors
    /// None for a valid MPDAG.
    pub fn to_dag(&self) -> Result<Dag> {
        consistent_extension(&self.0)
    }

    /// Number of DAGs, by orienting one undirected edge both ways until none is left; at most `limit`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when there are more than `limit`.
    pub fn member_count(&self, limit: usize) -> Result<usize> {
        Ok(self.members(limit)?.len())
    }

    /// All DAGs of the restricted class, up to `limit`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when there are more.
    pub fn members(&self, limit: usize) -> Result<Vec<Dag>> {
        enumerate(&self.0, limit)
    }
}

/// In a graph closed under rules 1–4 both directions of an undirected edge have members.
fn enumerate(graph: &MixedGraph, limit: usize) -> Result<Vec<Dag>> {
    let mut found = Vec::new();
    let mut stack = vec![graph.clone()];
    while let Some(graph) = stack.pop() {
        match graph.undirected_edges().first() {
            None if found.len() == limit => {
                let reason = format!("the class has more than {limit} members");
                return Err(Error::TooLarge { operation: "members", reason });
            }
            None => found.push(Dag::new(graph.names().map(String::from).collect(), &graph.directed_edges())?),
            Some(&(a, b)) => {
                for (from, to) in [(b, a), (a, b)] {
                    let mut one = graph.clone();
                    one.orient(from, to)?;
                    meek_closure(&mut one, MeekRules::ALL)?;
                    stack.push(one);
                }
            }
        }
    }
    Ok(found)
}

fn product(sizes: impl Iterator<Item = Result<u128>>) -> Result<u128> {
    let too_large = || Error::TooLarge { operation: "member_count", reason: "more than 2^128 DAGs".into() };
    sizes.into_iter().try_fold(1u128, |all, one| all.checked_mul(one?).ok_or_else(too_large))
}

/// Connected components of the subgraph induced by `within`.
fn components(rows: &[NodeSet], within: &NodeSet) -> Vec<NodeSet> {
    let mut left = within.clone();
    let mut found = Vec::new();
    while let Some(start) = left.minimum() {
        let mut component = NodeSet::with_capacity(rows.len());
        let mut stack = vec![start];
        while let Some(v) = stack.pop() {
            if !component.put(v) {
                stack.extend(rows[v].intersection(&left));
            }
        }
        left.difference_with(&component);
        found.push(component);
    }
    found
}

/// Number of orientations of the connected chordal graph on `component` without cycles and colliders.
fn count_rooted(rows: &[NodeSet], component: &NodeSet, known: &mut HashMap<NodeSet, u128>) -> Result<u128> {
    let n = component.count_ones(..) as u128;
    let edges: usize = component.ones().map(|v| rows[v].intersection_count(component)).sum::<usize>() / 2;
    let edges = edges as u128;
    if edges + 1 == n {
        return Ok(n); // a tree: any node may be the root
    }
    if edges == n * (n - 1) / 2 {
        return product((1..=n).map(Ok)); // complete: any order
    }
    if let Some(&size) = known.get(component) {
        return Ok(size);
    }
    let mut total = 0u128;
    for root in component.ones() {
        let size =
            product(rooted_components(rows, component, root).iter().map(|c| count_rooted(rows, c, known)))?;
        total = total.checked_add(size).ok_or_else(|| Error::TooLarge {
            operation: "member_count",
            reason: "more than 2^128 DAGs".into(),
        })?;
    }
    known.insert(component.clone(), total);
    Ok(total)
}

/// Chain components that stay undirected once `root` is the only source (He, Jia & Yu 2015, algorithm 3).
fn rooted_components(rows: &[NodeSet], component: &NodeSet, root: usize) -> Vec<NodeSet> {
    let p = rows.len();
    let mut parents = vec![NodeSet::with_capacity(p); p];
    let mut found = Vec::new();
    let mut placed = NodeSet::with_capacity(p);
    let mut layer = NodeSet::with_capacity(p);
    layer.insert(root);
    while layer.minimum().is_some() {
        placed.union_with(&layer);
        let mut next = NodeSet::with_capacity(p);
        for v in layer.ones() {
            for w in rows[v].intersection(component).filter(|&w| !placed.contains(w)) {
                parents[w].insert(v);
                next.insert(w);
            }
        }
        // Inside the layer: x → y — z with x, z not adjacent orients y → z, until nothing changes.
        let mut open = rows.to_vec();
        open.iter_mut().enumerate().for_each(|(v, row)| {
            row.intersect_with(&next);
            if !next.contains(v) {
                row.clear();
            }
        });
        while let Some((y, z)) = next.ones().find_map(|y| {
            open[y].ones().find(|&z| parents[y].ones().any(|x| !rows[x].contains(z))).map(|z| (y, z))
        }) {
            open[y].set(z, false);
            open[z].set(y, false);
            parents[z].insert(y);
        }
        found.extend(components(&open, &next));
        layer = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_stays_undirected_and_a_collider_does_not() {
        let chain = Dag::from_edges(3, &[(0, 1), (1, 2)]).unwrap().to_cpdag().unwrap();
        assert_eq!(chain.undirected_edges(), [(0, 1), (1, 2)]);
        assert_eq!(chain.member_count().unwrap(), 3);
        let collider = Dag::from_edges(3, &[(0, 1), (2, 1)]).unwrap().to_cpdag().unwrap();
        assert_eq!(collider.directed_edges(), [(0, 1), (2, 1)]);
        assert_eq!(collider.member_count().unwrap(), 1);
    }

    #[test]
    fn counting_agrees_with_enumeration() {
        // Chordal: two triangles sharing an edge, with a tail.
        let graph = MixedGraph::from_edges(6, &[], &[(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (3, 4), (4, 5)])
            .unwrap();
        let class = Cpdag::try_from(graph).unwrap();
        assert_eq!(class.member_count().unwrap(), class.members(10_000).unwrap().len() as u128);
        let complete = MixedGraph::complete(super::super::default_names(5), Mark::Tail).unwrap();
        assert_eq!(Cpdag::try_from(complete).unwrap().member_count().unwrap(), 120);
    }

    #[test]
    fn graphs_that_are_no_class_are_refused() {
        let square = MixedGraph::from_edges(4, &[], &[(0, 1), (1, 2), (2, 3), (0, 3)]).unwrap();
        assert!(Cpdag::try_from(square).is_err(), "a chordless cycle has no member");
        let half = MixedGraph::from_edges(3, &[(0, 1)], &[(1, 2)]).unwrap();
        assert!(Cpdag::try_from(half.clone()).is_err());
        assert!(Mpdag::try_from(half).is_err(), "rule 1 applies");
    }

    #[test]
    fn knowledge_orients_further_edges_and_contradictions_are_errors() {
        let chain = Dag::from_edges(3, &[(0, 1), (1, 2)]).unwrap().to_cpdag().unwrap();
        let forward = chain.with_required(&[(0, 1)]).unwrap();
        assert_eq!(forward.directed_edges(), [(0, 1), (1, 2)]);
        assert!(chain.with_required(&[(0, 1), (2, 1)]).is_err());
        assert!(chain.with_required(&[(0, 2)]).is_err());
    }
}
