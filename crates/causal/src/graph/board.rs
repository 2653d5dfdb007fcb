//! Partially directed graphs as bit rows: the fast twin of Meek's rules and consistent extensions for searches that
//! change a graph thousands of times. Every rule is a few word operations.

use super::mixed::{Mark, MixedGraph};
use super::{Dag, NodeSet};
use crate::error::Result;

/// Rows of parents, children, undirected neighbours and all adjacent nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Board {
    pub(crate) parents: Vec<NodeSet>,
    pub(crate) children: Vec<NodeSet>,
    pub(crate) neighbours: Vec<NodeSet>,
    pub(crate) adjacent: Vec<NodeSet>,
}

impl Board {
    pub(crate) fn empty(p: usize) -> Self {
        let rows = vec![NodeSet::with_capacity(p); p];
        Self { parents: rows.clone(), children: rows.clone(), neighbours: rows.clone(), adjacent: rows }
    }

    pub(crate) fn len(&self) -> usize {
        self.parents.len()
    }

    /// Becomes a copy of `other`, in the memory it has.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.parents.clone_from(&other.parents);
        self.children.clone_from(&other.children);
        self.neighbours.clone_from(&other.neighbours);
        self.adjacent.clone_from(&other.adjacent);
    }

    /// Makes a → b, whatever was there.
    pub(crate) fn direct(&mut self, a: usize, b: usize) {
        self.remove(a, b);
        self.parents[b].insert(a);
        self.children[a].insert(b);
        self.adjacent[a].insert(b);
        self.adjacent[b].insert(a);
    }

    /// Makes a — b, whatever was there.
    pub(crate) fn join(&mut self, a: usize, b: usize) {
        self.remove(a, b);
        self.neighbours[a].insert(b);
        self.neighbours[b].insert(a);
        self.adjacent[a].insert(b);
        self.adjacent[b].insert(a);
    }

    /// Removes the edge between a and b.
    pub(crate) fn remove(&mut self, a: usize, b: usize) {
        for rows in [&mut self.parents, &mut self.children, &mut self.neighbours, &mut self.adjacent] {
            rows[a].set(b, false);
            rows[b].set(a, false);
        }
    }

    /// Parents in a DAG with these adjacencies and directed edges and no further collider (Dor & Tarsi 1992);
    /// `None` when there is none.
    pub(crate) fn extension(&self) -> Option<Vec<NodeSet>> {
        let mut rest = self.clone();
        let mut parents = self.parents.clone();
        let mut waiting: Vec<usize> = (0..self.len()).rev().collect();
        let mut gone = NodeSet::with_capacity(self.len());
        while let Some(v) = waiting.pop() {
            if gone.contains(v) || !rest.is_removable_sink(v) {
                continue;
            }
            gone.insert(v);
            parents[v].union_with(&rest.neighbours[v]);
            // Only nodes that lose a neighbour can become removable.
            for u in rest.adjacent[v].ones().collect::<Vec<_>>() {
                rest.remove(u, v);
                waiting.push(u);
            }
        }
        (gone.count_ones(..) == self.len()).then_some(parents)
    }

    fn is_removable_sink(&self, v: usize) -> bool {
        self.children[v].is_clear()
            && self.neighbours[v]
                .ones()
                .all(|u| self.adjacent[v].difference(&self.adjacent[u]).all(|w| w == u))
    }

    /// The essential graph of the DAG with these parents: edges of unshielded colliders and edges cut by exactly
    /// one end of an intervention target are directed, the rest follows by Meek's rules.
    pub(crate) fn essential(dag_parents: &[NodeSet], targets: &[NodeSet]) -> Self {
        let p = dag_parents.len();
        let mut board = Self::empty(p);
        for (b, row) in dag_parents.iter().enumerate() {
            row.ones().for_each(|a| board.join(a, b));
        }
        let split = |a: usize, b: usize| targets.iter().any(|t| t.contains(a) != t.contains(b));
        let mut directed = Vec::new();
        for (c, row) in dag_parents.iter().enumerate() {
            for a in row.ones() {
                let unmarried = row.difference(&board.adjacent[a]).any(|b| b != a);
                if unmarried || split(a, c) {
                    directed.push((a, c));
                }
            }
        }
        directed.into_iter().for_each(|(a, c)| board.direct(a, c));
        board.meek(!targets.is_empty());
        board
    }

    /// Meek's rules to closure; rule 4 only when asked for.
    pub(crate) fn meek(&mut self, rule4: bool) {
        let each =
            |(a, row): (usize, &NodeSet)| row.ones().filter(|&b| a < b).map(|b| (a, b)).collect::<Vec<_>>();
        let mut open: Vec<(usize, usize)> = self.neighbours.iter().enumerate().flat_map(each).collect();
        loop {
            let before = open.len();
            open.retain(|&(a, b)| {
                let demanded = [(a, b), (b, a)].into_iter().find(|&(from, to)| self.demands(from, to, rule4));
                if let Some((from, to)) = demanded {
                    self.direct(from, to);
                }
                demanded.is_none()
            });
            if open.len() == before {
                return;
            }
        }
    }

    fn demands(&self, a: usize, b: usize, rule4: bool) -> bool {
        // 1: c → a, c not adjacent to b.
        if self.parents[a].difference(&self.adjacent[b]).any(|c| c != b) {
            return true;
        }
        // 2: a → c → b.
        if !self.children[a].is_disjoint(&self.parents[b]) {
            return true;
        }
        // 3: two unmarried parents of b that are neighbours of a.
        let mut kites = self.parents[b].clone();
        kites.intersect_with(&self.neighbours[a]);
        if kites.ones().any(|c| kites.difference(&self.adjacent[c]).any(|d| d != c)) {
            return true;
        }
        // 4: a — d → c → b, a adjacent to c, d not adjacent to b.
        rule4
            && self.parents[b].intersection(&self.adjacent[a]).any(|c| {
                self.parents[c]
                    .intersection(&self.neighbours[a])
                    .any(|d| d != b && !self.adjacent[b].contains(d))
            })
    }

    /// Whether a path of directed (forwards) and undirected edges leads from `from` to `to` outside `blocked`;
    /// the edge between the two themselves does not count.
    pub(crate) fn has_semi_directed_path(&self, from: usize, to: usize, blocked: &NodeSet) -> bool {
        let mut seen = blocked.clone();
        if seen.put(from) {
            return false;
        }
        let mut stack = vec![from];
        while let Some(v) = stack.pop() {
            for w in self.children[v].union(&self.neighbours[v]) {
                if w == to && v != from {
                    return true;
                }
                if w != to && !seen.put(w) {
                    stack.push(w);
                }
            }
        }
        false
    }

    /// Whether all members of `set` are adjacent to each other.
    pub(crate) fn is_clique(&self, set: &NodeSet) -> bool {
        set.ones().all(|v| set.difference(&self.adjacent[v]).all(|w| w == v))
    }

    pub(crate) fn to_mixed(&self, names: Vec<String>) -> Result<MixedGraph> {
        let mut graph = MixedGraph::new(names)?;
        for b in 0..self.len() {
            for a in self.parents[b].ones() {
                graph.orient(a, b)?;
            }
            for a in self.neighbours[b].ones().filter(|&a| a < b) {
                graph.set_edge(a, Mark::Tail, Mark::Tail, b)?;
            }
        }
        Ok(graph)
    }
}

/// The DAG with these parents.
pub(crate) fn dag_of(parents: &[NodeSet], names: Vec<String>) -> Result<Dag> {
    let each = |(b, row): (usize, &NodeSet)| row.ones().map(|a| (a, b)).collect::<Vec<_>>();
    Dag::new(names, &parents.iter().enumerate().flat_map(each).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::pdag::consistent_extension;
    use crate::graph::{MeekRules, meek_closure};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_its_slow_twin(bits in proptest::collection::vec(proptest::bool::weighted(0.4), 36), order in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle(), extra in proptest::collection::vec(any::<bool>(), 36)) {
            let pairs = || (0..9).flat_map(|a| (a + 1..9).map(move |b| (a, b)));
            let edges: Vec<_> = pairs().zip(bits).filter(|(_, keep)| *keep).map(|((a, b), _)| (order[a], order[b])).collect();
            let dag = Dag::from_edges(9, &edges).unwrap();
            let mut parents = vec![NodeSet::with_capacity(9); 9];
            edges.iter().for_each(|&(a, b)| parents[b].insert(a));
            let mut board = Board::essential(&parents, &[]);
            let names = crate::graph::default_names(9);
            let mut slow = dag.to_cpdag().unwrap().into_mixed();
            prop_assert_eq!(&board.to_mixed(names.clone()).unwrap(), &slow);
            // Background knowledge needs rule 4.
            for ((a, b), _) in edges.iter().zip(extra).filter(|(_, keep)| *keep) {
                if board.neighbours[*a].contains(*b) {
                    board.direct(*a, *b);
                    slow.orient(*a, *b).unwrap();
                }
            }
            board.meek(true);
            meek_closure(&mut slow, MeekRules::ALL).unwrap();
            prop_assert_eq!(&board.to_mixed(names.clone()).unwrap(), &slow);
            let fast = dag_of(&board.extension().unwrap(), names).unwrap();
            prop_assert_eq!(fast.to_cpdag().unwrap(), consistent_extension(&slow).unwrap().to_cpdag().unwrap());
        }
    }
}
