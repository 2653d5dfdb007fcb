//! Orientation exactly as causal-learn 0.1.4 does it (`uc_rule = 0, uc_priority = 2`), for results that agree arrow
//! by arrow with graphs published from that package.
//!
//! Where all colliders agree this equals the standard orientation. Where they contradict each other the outcome
//! depends on three habits of the package that are reproduced here: triples are visited in the order of its
//! adjacency list; a collider is skipped when an arrow opposes it; and Meek's rules 1–3 skip an orientation that
//! would close a cycle *as far as an ancestor table shows*, which is updated edge by edge without taking the full
//! transitive closure and therefore misses some cycles.

use super::pc::Conflict;
use super::skeleton::Skeleton;
use crate::error::Result;
use crate::graph::MixedGraph;

type Triple = (usize, usize, usize);

/// Directed and undirected edges with causal-learn's ancestor table.
struct Board {
    graph: MixedGraph,
    /// `known[j][i]`: i is known to be an ancestor of j.
    known: Vec<Vec<bool>>,
}

/// Orients the skeleton; `graph` holds it with undirected edges.
pub(super) fn orient(graph: MixedGraph, skeleton: &Skeleton) -> Result<(MixedGraph, Vec<Conflict>)> {
    let known = identity(graph.len());
    let mut board = Board { graph, known };
    let mut conflicts = Vec::new();
    let (unshielded, _) = board.triples();
    for (x, y, z) in unshielded.into_iter().filter(|t| t.0 < t.2) {
        if skeleton.separates_with(x, z, y) {
            continue;
        }
        if board.graph.has_directed(y, x) || board.graph.has_directed(y, z) {
            conflicts.push(Conflict { left: x, collider: y, right: z });
        } else {
            board.replace(x, y)?;
            board.replace(z, y)?;
        }
    }
    board.meek()?;
    Ok((board.graph, conflicts))
}

fn identity(p: usize) -> Vec<Vec<bool>> {
    (0..p).map(|i| (0..p).map(|j| i == j).collect()).collect()
}

impl Board {
    /// Ordered pairs of adjacent nodes: first those with a tail at the second node, then those with an arrowhead.
    fn adjacencies(&self) -> Vec<(usize, usize)> {
        let p = self.graph.len();
        let into = |b: usize| self.graph.neighbours(b).into_iter().map(move |a| (a, b));
        let (arrows, mut pairs): (Vec<_>, Vec<_>) =
            (0..p).flat_map(into).partition(|&(a, b)| self.graph.has_directed(a, b));
        pairs.extend(arrows);
        pairs
    }

    /// Unshielded triples and triangles, in the order of the adjacency list.
    fn triples(&self) -> (Vec<Triple>, Vec<Triple>) {
        let pairs = self.adjacencies();
        let mut from = vec![Vec::new(); self.graph.len()];
        pairs.iter().for_each(|&(a, b)| from[a].push(b));
        let (mut unshielded, mut triangles) = (Vec::new(), Vec::new());
        for &(a, b) in &pairs {
            for &c in from[b].iter().filter(|&&c| c != a) {
                if self.graph.adjacent(a, c) {
                    triangles.push((a, b, c));
                } else {
                    unshielded.push((a, b, c));
                }
            }
        }
        (unshielded, triangles)
    }

    /// Makes the edge from → to and enters it into the ancestor table.
    fn replace(&mut self, from: usize, to: usize) -> Result<()> {
        let was_directed = self.graph.has_directed(from, to);
        if was_directed {
            // Taking away a directed edge rebuilds the table from the others, last edge first.
            self.graph.remove_edge(from, to);
            self.known = identity(self.graph.len());
            for (a, _, _, b) in self.graph.edges().into_iter().rev() {
                if self.graph.has_directed(a, b) {
                    self.enter(a, b);
                } else if self.graph.has_directed(b, a) {
                    self.enter(b, a);
                }
            }
        }
        self.graph.orient(from, to)?;
        self.enter(from, to);
        Ok(())
    }

    /// Ancestors of `from` become ancestors of `to`, and `from` one of all descendants of `to`; the former are not
    /// passed on to the latter.
    fn enter(&mut self, from: usize, to: usize) {
        self.known[to][from] = true;
        for k in 0..self.graph.len() {
            if self.known[from][k] {
                self.known[to][k] = true;
            }
            if self.known[k][to] {
                self.known[k][from] = true;
            }
        }
    }

    /// Orients from → to unless `to` is known to be an ancestor of `from`; says whether it did.
    fn try_orient(&mut self, from: usize, to: usize) -> Result<bool> {
        if self.known[from][to] {
            return Ok(false);
        }
        self.graph.orient(from, to)?;
        self.enter(from, to);
        Ok(true)
    }

    /// Rules 1–3 in sweeps, each over the triples that were there before the first sweep.
    fn meek(&mut self) -> Result<()> {
        let (unshielded, triangles) = self.triples();
        let kites = self.kites(&triangles);
        loop {
            let mut changed = false;
            for &(i, j, k) in &unshielded {
                if self.graph.has_directed(i, j) && self.graph.has_undirected(j, k) {
                    changed |= self.try_orient(j, k)?;
                }
            }
            for &(i, j, k) in &triangles {
                let chain = self.graph.has_directed(i, j) && self.graph.has_directed(j, k);
                if chain && self.graph.has_undirected(i, k) {
                    changed |= self.try_orient(i, k)?;
                }
            }
            for &(i, j, k, l) in &kites {
                let g = &self.graph;
                let open = g.has_undirected(i, j) && g.has_undirected(i, k) && g.has_undirected(i, l);
                if open && g.has_directed(j, l) && g.has_directed(k, l) {
                    changed |= self.try_orient(i, l)?;
                }
            }
            if !changed {
                return Ok(());
            }
        }
    }

    /// Pairs of triangles i, j, l and i, k, l with j < k not adjacent.
    fn kites(&self, triangles: &[Triple]) -> Vec<(usize, usize, usize, usize)> {
        let mut kites = Vec::new();
        for &(i, j, l) in triangles {
            let partners = triangles.iter().filter(|t| t.0 == i && t.2 == l && j < t.1);
            kites.extend(partners.filter(|t| !self.graph.adjacent(j, t.1)).map(|t| (i, j, t.1, l)));
        }
        kites
    }
}
