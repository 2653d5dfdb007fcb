//! Greedy equivalence search: GES on observational data, GIES when environments intervene on known targets.
//!
//! Chickering, *Optimal structure identification with greedy search* (JMLR 2002); Hauser & Bühlmann,
//! *Characterization and greedy learning of interventional Markov equivalence classes* (JMLR 2012). Forward
//! (insert), backward (delete) and, in GIES, turning steps move between equivalence classes; each step takes the
//! valid operator of largest gain.
//!
//! Speed: gains wait in a heap and are computed again only for pairs whose surroundings changed; validity is
//! tested only for the operator that is next in line. The operator taken is the one a full scan would take.

use super::score::LocalScore;
use crate::error::{Error, Result};
use crate::graph::board::{Board, dag_of};
use crate::graph::{Dag, MixedGraph, NodeSet};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Settings of [`ges`] and [`gies`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GesConfig {
    /// A step is taken when its gain exceeds this. 0 in GES; the gies package uses 0.001 against rounding loops.
    pub least_gain: f64,
    /// Largest number of parents; `None` for no cap (the paper).
    pub max_parents: Option<usize>,
    /// Whether turning steps follow, and the phases repeat until nothing improves. Off in GES, on in GIES.
    pub turning: bool,
}

impl Default for GesConfig {
    fn default() -> Self {
        Self { least_gain: 0.0, max_parents: None, turning: false }
    }
}

impl GesConfig {
    /// The settings of the GIES paper: turning steps, phases repeated.
    pub fn gies() -> Self {
        Self { least_gain: 1e-3, max_parents: None, turning: true }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        if self.least_gain >= 0.0 && self.least_gain.is_finite() {
            Ok(())
        } else {
            Err(Error::config("ges", "least_gain", self.least_gain, "at least 0"))
        }
    }
}

/// What the search ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct GesResult {
    /// The equivalence class: a CPDAG, or an interventional essential graph.
    pub graph: MixedGraph,
    /// One member of it.
    pub dag: Dag,
    /// The score of every member.
    pub score: f64,
    /// Number of steps taken.
    pub steps: usize,
}

/// Greedy equivalence search on observational data.
///
/// # Errors
/// [`Error::Config`], [`Error::Shape`] for another number of names than variables, and what the score reports.
pub fn ges<S: LocalScore>(score: &S, names: &[String], config: &GesConfig) -> Result<GesResult> {
    gies(score, names, &[], config)
}

/// Greedy interventional equivalence search; `targets` lists the distinct intervention targets of the data, and
/// the score is an [`InterventionalBic`](super::InterventionalBic). Without targets this is [`ges`].
///
/// # Errors
/// As [`ges`], and [`Error::Node`] for a target out of range.
pub fn gies<S: LocalScore>(
    score: &S,
    names: &[String],
    targets: &[Vec<usize>],
    config: &GesConfig,
) -> Result<GesResult> {
    config.validate()?;
    let p = score.variables();
    if names.len() != p {
        return Err(Error::shape("ges", format!("{p} names"), names.len()));
    }
    let targets: Vec<NodeSet> =
        targets.iter().map(|t| crate::graph::node_set("gies", p, t)).collect::<Result<_>>()?;
    let mut search = Search {
        score,
        scratch: score.scratch(),
        config,
        targets,
        board: Board::empty(p),
        parents: vec![NodeSet::with_capacity(p); p],
        steps: 0,
    };
    loop {
        let before = search.steps;
        search.forward()?;
        search.backward()?;
        if !config.turning {
            break;
        }
        search.turning()?;
        if search.steps == before {
            break;
        }
    }
    let mut total = 0.0;
    for v in 0..p {
        total += score.local(v, &list(&search.parents[v]), &mut search.scratch)?;
    }
    Ok(GesResult {
        graph: search.board.to_mixed(names.to_vec())?,
        dag: dag_of(&search.parents, names.to_vec())?,
        score: total,
        steps: search.steps,
    })
}

fn list(set: &NodeSet) -> Vec<usize> {
    set.ones().collect()
}

/// One way to insert, delete or turn x → y; `set` is T, NA ∖ H or C.
#[derive(Clone, Debug, PartialEq)]
struct Operator {
    gain: f64,
    x: usize,
    y: usize,
    set: Vec<usize>,
    version: u32,
}

impl Eq for Operator {}

impl Ord for Operator {
    /// By gain; among equals the first pair and the smallest set come first.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |o: &Self| (o.x, o.y, o.set.len(), o.set.clone());
        self.gain.total_cmp(&other.gain).then_with(|| key(other).cmp(&key(self)))
    }
}

impl PartialOrd for Operator {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Search<'a, S: LocalScore> {
    score: &'a S,
    scratch: S::Scratch,
    config: &'a GesConfig,
    targets: Vec<NodeSet>,
    board: Board,
    /// Parents in one member of the class.
    parents: Vec<NodeSet>,
    steps: usize,
}

impl<S: LocalScore> Search<'_, S> {
    /// Inserts edges while that improves the score.
    fn forward(&mut self) -> Result<()> {
        let p = self.board.len();
        let mut heap = BinaryHeap::new();
        let mut versions = vec![0u32; p * p];
        for y in 0..p {
            for x in 0..p {
                self.push_inserts(x, y, 0, &mut heap)?;
            }
        }
        loop {
            let mut aside = Vec::new();
            let best = loop {
                let Some(operator) = heap.pop() else { break None };
                if operator.version != versions[operator.x * p + operator.y] {
                    continue;
                }
                if self.insert_is_valid(&operator) {
                    break Some(operator);
                }
                aside.push(operator);
            };
            let Some(best) = best else { return Ok(()) };
            heap.extend(aside);
            let before = self.board.clone();
            let mut pdag = self.board.clone();
            pdag.direct(best.x, best.y);
            best.set.iter().for_each(|&t| pdag.direct(t, best.y));
            self.settle(&pdag)?;
            for y in 0..p {
                let around_changed = before.parents[y] != self.board.parents[y]
                    || before.neighbours[y] != self.board.neighbours[y];
                let near = self.board.neighbours[y].clone();
                let clique_changed = near.contains(best.x) && near.contains(best.y);
                for x in 0..p {
                    let shared_changed =
                        (x == best.x && near.contains(best.y)) || (x == best.y && near.contains(best.x));
                    let now_adjacent = self.board.adjacent[y].contains(x);
                    if around_changed || clique_changed || shared_changed || now_adjacent {
                        let version = &mut versions[x * p + y];
                        *version += 1;
                        let version = *version;
                        self.push_inserts(x, y, version, &mut heap)?;
                    }
                }
            }
        }
    }

    /// All insert operators of the pair with sufficient gain whose NA ∪ T is a clique.
    fn push_inserts(
        &mut self,
        x: usize,
        y: usize,
        version: u32,
        heap: &mut BinaryHeap<Operator>,
    ) -> Result<()> {
        if x == y || self.board.adjacent[y].contains(x) {
            return Ok(());
        }
        let mut shared = self.board.neighbours[y].clone();
        shared.intersect_with(&self.board.adjacent[x]);
        if !self.board.is_clique(&shared) {
            return Ok(());
        }
        let free: Vec<usize> = self.board.neighbours[y].difference(&self.board.adjacent[x]).collect();
        let mut base = shared.clone();
        base.union_with(&self.board.parents[y]);
        for t in self.cliques(&shared, &free) {
            let mut parents = base.clone();
            parents.extend(t.iter().copied());
            if self.config.max_parents.is_some_and(|most| parents.count_ones(..) >= most) {
                continue;
            }
            let gain = self.score.gain(x, y, &list(&parents), &mut self.scratch)?;
            if gain > self.config.least_gain {
                heap.push(Operator { gain, x, y, set: t, version });
            }
        }
        Ok(())
    }

    /// The subsets of `free` that form a clique together with the clique `base`.
    fn cliques(&self, base: &NodeSet, free: &[usize]) -> Vec<Vec<usize>> {
        let mut found: Vec<Vec<usize>> = vec![Vec::new()];
        let fitting: Vec<usize> =
            free.iter().copied().filter(|&v| base.is_subset(&self.board.adjacent[v])).collect();
        for &v in &fitting {
            for i in 0..found.len() {
                if found[i].iter().all(|&u| self.board.adjacent[v].contains(u)) {
                    let mut larger = found[i].clone();
                    larger.push(v);
                    found.push(larger);
                }
            }
        }
        found
    }

    /// Every semi-directed path from y to x meets NA ∪ T.
    fn insert_is_valid(&self, operator: &Operator) -> bool {
        let (x, y) = (operator.x, operator.y);
        let mut blocked = self.board.neighbours[y].clone();
        blocked.intersect_with(&self.board.adjacent[x]);
        blocked.extend(operator.set.iter().copied());
        !self.board.has_semi_directed_path(y, x, &blocked)
    }

    /// Deletes edges while that improves the score.
    fn backward(&mut self) -> Result<()> {
        loop {
            let mut best: Option<Operator> = None;
            for y in 0..self.board.len() {
                for x in self.board.parents[y].union(&self.board.neighbours[y]).collect::<Vec<_>>() {
                    self.best_delete(x, y, &mut best)?;
                }
            }
            let Some(Operator { x, y, set: kept, .. }) = best else { return Ok(()) };
            let mut pdag = self.board.clone();
            let shared: Vec<usize> = self.board.neighbours[y].intersection(&self.board.adjacent[x]).collect();
            pdag.remove(x, y);
            for h in shared.into_iter().filter(|h| !kept.contains(h)) {
                pdag.direct(y, h);
                if self.board.neighbours[x].contains(h) {
                    pdag.direct(x, h);
                }
            }
            self.settle(&pdag)?;
        }
    }

    /// Improves `best` by deletions of x → y or x — y; every clique inside NA may be what is kept of it.
    fn best_delete(&mut self, x: usize, y: usize, best: &mut Option<Operator>) -> Result<()> {
        let shared: Vec<usize> = self.board.neighbours[y].intersection(&self.board.adjacent[x]).collect();
        let mut base = self.board.parents[y].clone();
        base.set(x, false);
        for kept in self.cliques(&NodeSet::with_capacity(self.board.len()), &shared) {
            let mut parents = base.clone();
            parents.extend(kept.iter().copied());
            let gain = -self.score.gain(x, y, &list(&parents), &mut self.scratch)?;
            self.offer(best, Operator { gain, x, y, set: kept, version: 0 });
        }
        Ok(())
    }

    fn offer(&self, best: &mut Option<Operator>, operator: Operator) {
        if operator.gain > self.config.least_gain && best.as_ref().is_none_or(|b| operator > *b) {
            *best = Some(operator);
        }
    }

    /// Turns edges while that improves the score.
    fn turning(&mut self) -> Result<()> {
        loop {
            let mut best: Option<Operator> = None;
            for y in 0..self.board.len() {
                for x in list(&self.board.children[y]) {
                    self.best_reversal(x, y, &mut best)?;
                }
                for x in list(&self.board.neighbours[y]) {
                    self.best_commitment(x, y, &mut best)?;
                }
            }
            let Some(Operator { x, y, set, .. }) = best else { return Ok(()) };
            let mut pdag = self.board.clone();
            let in_set = |v: &usize| set.contains(v);
            for c in list(&self.board.neighbours[y]).into_iter().filter(|&c| c != x) {
                if in_set(&c) { pdag.direct(c, y) } else { pdag.direct(y, c) }
            }
            let was_undirected = self.board.neighbours[y].contains(x);
            for n in list(&self.board.neighbours[x]).into_iter().filter(|&n| n != y) {
                if was_undirected && in_set(&n) { pdag.direct(n, x) } else { pdag.direct(x, n) }
            }
            pdag.direct(x, y);
            self.settle(&pdag)?;
        }
    }

    /// y → x becomes x → y: C = NA ∪ T is a clique, and every other semi-directed path from y to x meets C or a
    /// neighbour of x (Hauser & Bühlmann 2012, proposition 34).
    fn best_reversal(&mut self, x: usize, y: usize, best: &mut Option<Operator>) -> Result<()> {
        let mut shared = self.board.neighbours[y].clone();
        shared.intersect_with(&self.board.adjacent[x]);
        if !self.board.is_clique(&shared) {
            return Ok(());
        }
        let free: Vec<usize> =
            self.board.neighbours[y].difference(&self.board.adjacent[x]).filter(|&v| v != x).collect();
        for t in self.cliques(&shared, &free) {
            let mut c = shared.clone();
            c.extend(t.iter().copied());
            let mut parents_y = self.board.parents[y].clone();
            parents_y.union_with(&c);
            let mut parents_x = self.board.parents[x].clone();
            parents_x.set(y, false);
            let gain = self.turn_gain(x, y, &parents_x, &parents_y)?;
            let mut blocked = c.clone();
            blocked.union_with(&self.board.neighbours[x]);
            if gain > self.config.least_gain && !self.board.has_semi_directed_path(y, x, &blocked) {
                self.offer(best, Operator { gain, x, y, set: list(&c), version: 0 });
            }
        }
        Ok(())
    }

    /// x — y becomes x → y: C ⊆ ne(y) is a clique with a member not adjacent to x, and {x, y} separates C from
    /// NA ∖ C in the chain component of y (Hauser & Bühlmann 2012, proposition 31 and algorithm 5).
    fn best_commitment(&mut self, x: usize, y: usize, best: &mut Option<Operator>) -> Result<()> {
        let free: Vec<usize> = self.board.neighbours[y].ones().filter(|&v| v != x).collect();
        let mut shared = self.board.neighbours[y].clone();
        shared.intersect_with(&self.board.adjacent[x]);
        for c in self.cliques(&NodeSet::with_capacity(self.board.len()), &free) {
            if c.iter().all(|&v| self.board.adjacent[x].contains(v)) {
                continue;
            }
            let mut parents_y = self.board.parents[y].clone();
            parents_y.extend(c.iter().copied());
            let mut parents_x = self.board.parents[x].clone();
            parents_x.extend(c.iter().copied().filter(|&v| shared.contains(v)));
            let gain = self.turn_gain(x, y, &parents_x, &parents_y)?;
            if gain > self.config.least_gain && self.separates(x, y, &c, &shared) {
                self.offer(best, Operator { gain, x, y, set: c, version: 0 });
            }
        }
        Ok(())
    }

    /// Gain of x in the parents of y, minus that of y in the parents of x.
    fn turn_gain(&mut self, x: usize, y: usize, parents_x: &NodeSet, parents_y: &NodeSet) -> Result<f64> {
        let gained = self.score.gain(x, y, &list(parents_y), &mut self.scratch)?;
        Ok(gained - self.score.gain(y, x, &list(parents_x), &mut self.scratch)?)
    }

    /// Whether no undirected path outside {x, y} joins `c` and `shared` ∖ `c`.
    fn separates(&self, x: usize, y: usize, c: &[usize], shared: &NodeSet) -> bool {
        let mut seen = NodeSet::with_capacity(self.board.len());
        seen.extend([x, y]);
        let mut stack = c.to_vec();
        while let Some(v) = stack.pop() {
            if !seen.put(v) {
                if shared.contains(v) && !c.contains(&v) {
                    return false;
                }
                stack.extend(self.board.neighbours[v].difference(&seen));
            }
        }
        true
    }

    /// Moves to the class of the PDAG's extensions.
    fn settle(&mut self, pdag: &Board) -> Result<()> {
        self.parents = pdag.extension().ok_or_else(|| Error::NotConverged {
            operation: "ges",
            reason: "an operator led to a graph without consistent extension".into(),
        })?;
        self.board = Board::essential(&self.parents, &self.targets);
        self.steps += 1;
        Ok(())
    }
}
