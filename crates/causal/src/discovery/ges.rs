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
use rayon::prelude::*;
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
        scratches: (0..rayon::current_num_threads()).map(|_| score.scratch()).collect(),
        config,
        targets,
        board: Board::empty(p),
        pdag: Board::empty(p),
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
        total += score.local(v, &list(&search.parents[v]), &mut search.scratches[0])?;
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

/// The x of the pairs (x, y) with one y.
enum Candidates {
    All,
    Some(Vec<usize>),
}

impl Candidates {
    fn each(&self, p: usize, f: impl FnMut(usize)) {
        match self {
            Self::All => (0..p).for_each(f),
            Self::Some(list) => list.iter().copied().for_each(f),
        }
    }

    fn count(&self, p: usize) -> usize {
        match self {
            Self::All => p,
            Self::Some(list) => list.len(),
        }
    }
}

/// What threads share while they look for operators.
struct View<'a, S> {
    score: &'a S,
    config: &'a GesConfig,
    board: &'a Board,
}

impl<S: LocalScore> View<'_, S> {
    fn inserts_at(
        &self,
        y: usize,
        candidates: &Candidates,
        versions: &[u32],
        scratch: &mut S::Scratch,
        found: &mut Vec<Operator>,
    ) -> Result<()> {
        let p = self.board.len();
        let parents = list(&self.board.parents[y]);
        let alone = self.board.neighbours[y].is_clear();
        let full = self.config.max_parents.is_some_and(|most| parents.len() >= most);
        let mut outcome = Ok(());
        candidates.each(p, |x| {
            if x == y || self.board.adjacent[y].contains(x) || full || outcome.is_err() {
                return;
            }
            let version = versions[x * p + y];
            if !alone {
                outcome = self.inserts_of(x, y, version, scratch, found);
                return;
            }
            // Without neighbours T can only be empty.
            match self.score.gain(x, y, &parents, scratch) {
                Ok(gain) if gain > self.config.least_gain => {
                    found.push(Operator { gain, x, y, set: Vec::new(), version });
                }
                Ok(_) => {}
                Err(error) => outcome = Err(error),
            }
        });
        outcome
    }

    fn inserts_of(
        &self,
        x: usize,
        y: usize,
        version: u32,
        scratch: &mut S::Scratch,
        found: &mut Vec<Operator>,
    ) -> Result<()> {
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
            let gain = self.score.gain(x, y, &list(&parents), scratch)?;
            if gain > self.config.least_gain {
                found.push(Operator { gain, x, y, set: t, version });
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
}

struct Search<'a, S: LocalScore> {
    score: &'a S,
    /// Buffers, one per thread.
    scratches: Vec<S::Scratch>,
    config: &'a GesConfig,
    targets: Vec<NodeSet>,
    board: Board,
    /// Where an operator is tried.
    pdag: Board,
    /// Parents in one member of the class.
    parents: Vec<NodeSet>,
    steps: usize,
}

impl<S: LocalScore> Search<'_, S> {
    /// Inserts edges while that improves the score.
    fn forward(&mut self) -> Result<()> {
        let p = self.board.len();
        let mut versions = vec![0u32; p * p];
        let everything: Vec<(usize, Candidates)> = (0..p).map(|y| (y, Candidates::All)).collect();
        let mut heap = BinaryHeap::from(self.inserts(&everything, &versions)?);
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
            self.pdag.copy_from(&self.board);
            self.pdag.direct(best.x, best.y);
            best.set.iter().for_each(|&t| self.pdag.direct(t, best.y));
            let before = self.settle()?;
            let stale = self.surroundings_changed(&before, &best);
            for (y, candidates) in &stale {
                candidates.each(p, |x| versions[x * p + y] += 1);
            }
            heap.extend(self.inserts(&stale, &versions)?);
        }
    }

    /// The pairs whose insertions an operator may have changed.
    fn surroundings_changed(&self, before: &Board, taken: &Operator) -> Vec<(usize, Candidates)> {
        let mut stale = Vec::new();
        for y in 0..self.board.len() {
            let near = &self.board.neighbours[y];
            let around_changed = before.parents[y] != self.board.parents[y] || before.neighbours[y] != *near;
            let (sees_x, sees_y) = (near.contains(taken.x), near.contains(taken.y));
            if around_changed || (sees_x && sees_y) {
                stale.push((y, Candidates::All));
                continue;
            }
            let mut some = Vec::new();
            for (x, shared_changed) in [(taken.x, sees_y), (taken.y, sees_x)] {
                if shared_changed || self.board.adjacent[y].contains(x) {
                    some.push(x);
                }
            }
            if !some.is_empty() {
                stale.push((y, Candidates::Some(some)));
            }
        }
        stale
    }

    /// All insert operators of these pairs with sufficient gain whose NA ∪ T is a clique. Many pairs are shared among the
    /// threads, each with its own buffers; gains do not depend on who computes them.
    fn inserts(&mut self, pairs: &[(usize, Candidates)], versions: &[u32]) -> Result<Vec<Operator>> {
        let p = self.board.len();
        let work: usize = pairs.iter().map(|(_, c)| c.count(p)).sum();
        let threads = if work < 2048 { 1 } else { self.scratches.len() };
        let view = View { score: self.score, config: self.config, board: &self.board };
        let share = |(k, scratch): (usize, &mut S::Scratch)| {
            let mut found = Vec::new();
            for (y, candidates) in pairs.iter().skip(k).step_by(threads) {
                view.inserts_at(*y, candidates, versions, scratch, &mut found)?;
            }
            Ok(found)
        };
        if threads == 1 {
            return share((0, &mut self.scratches[0]));
        }
        let shares: Result<Vec<Vec<Operator>>> =
            self.scratches.par_iter_mut().enumerate().map(share).collect();
        Ok(shares?.concat())
    }

    /// As [`View::cliques`].
    fn cliques(&self, base: &NodeSet, free: &[usize]) -> Vec<Vec<usize>> {
        View { score: self.score, config: self.config, board: &self.board }.cliques(base, free)
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
            self.pdag.copy_from(&self.board);
            let shared: Vec<usize> = self.board.neighbours[y].intersection(&self.board.adjacent[x]).collect();
            self.pdag.remove(x, y);
            for h in shared.into_iter().filter(|h| !kept.contains(h)) {
                self.pdag.direct(y, h);
                if self.board.neighbours[x].contains(h) {
                    self.pdag.direct(x, h);
                }
            }
            self.settle()?;
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
            let gain = -self.score.gain(x, y, &list(&parents), &mut self.scratches[0])?;
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
            self.pdag.copy_from(&self.board);
            let pdag = &mut self.pdag;
            let in_set = |v: &usize| set.contains(v);
            for c in list(&self.board.neighbours[y]).into_iter().filter(|&c| c != x) {
                if in_set(&c) { pdag.direct(c, y) } else { pdag.direct(y, c) }
            }
            let was_undirected = self.board.neighbours[y].contains(x);
            for n in list(&self.board.neighbours[x]).into_iter().filter(|&n| n != y) {
                if was_undirected && in_set(&n) { pdag.direct(n, x) } else { pdag.direct(x, n) }
            }
            pdag.direct(x, y);
            self.settle()?;
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
        let gained = self.score.gain(x, y, &list(parents_y), &mut self.scratches[0])?;
        Ok(gained - self.score.gain(y, x, &list(parents_x), &mut self.scratches[0])?)
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

    /// Moves to the class of the PDAG's extensions; returns the class that was left.
    fn settle(&mut self) -> Result<Board> {
        self.parents = self.pdag.extension().ok_or_else(|| Error::NotConverged {
            operation: "ges",
            reason: "an operator led to a graph without consistent extension".into(),
        })?;
        self.steps += 1;
        let after = Board::essential(&self.parents, &self.targets);
        Ok(std::mem::replace(&mut self.board, after))
    }
}
