//! The skeleton phase of PC-stable, shared by PC and FCI.
//!
//! Colombo & Maathuis, *Order-independent constraint-based causal structure learning* (JMLR 2014): at depth
//! ℓ = 0, 1, … the adjacencies are frozen; an edge x — y goes when x ⊥ y | S for some S ⊆ adj(x) \ {y} or
//! S ⊆ adj(y) \ {x} of size ℓ. Frozen adjacencies make the pairs of a level independent of each other, so a level
//! runs in parallel and gives the same result on any number of threads and for any order of the columns.

use super::knowledge::Knowledge;
use crate::error::Result;
use crate::graph::NodeSet;
use crate::independence::IndependenceTest;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// How far the search for one pair goes within a depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// Stop at the first separating set, in lexicographic order, x's side first.
    First,
    /// Collect every separating set of the depth.
    All,
}

/// Adjacencies and separating sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skeleton {
    pub(crate) adjacent: Vec<NodeSet>,
    pub(crate) separators: BTreeMap<(usize, usize), Vec<Vec<usize>>>,
    pub(crate) tests: u64,
    pub(crate) depth: usize,
}

impl Skeleton {
    /// The edges `(a, b)` with `a < b`, ascending.
    pub fn edges(&self) -> Vec<(usize, usize)> {
        let row =
            |(a, row): (usize, &NodeSet)| row.ones().filter(|&b| a < b).map(|b| (a, b)).collect::<Vec<_>>();
        self.adjacent.iter().enumerate().flat_map(row).collect()
    }

    /// The separating sets found for a removed pair, in the order of the search; empty for an edge.
    pub fn separators(&self, a: usize, b: usize) -> &[Vec<usize>] {
        self.separators.get(&(a.min(b), a.max(b))).map_or(&[], Vec::as_slice)
    }

    /// Number of independence tests that were made.
    pub fn tests(&self) -> u64 {
        self.tests
    }

    /// The largest size of conditioning set that was tried.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Whether some separating set of the pair holds `v`.
    pub(crate) fn separates_with(&self, a: usize, b: usize, v: usize) -> bool {
        self.separators(a, b).iter().any(|s| s.contains(&v))
    }

    fn lists(&self) -> Vec<Vec<usize>> {
        self.adjacent.iter().map(|row| row.ones().collect()).collect()
    }
}

/// What the search of one pair at one depth gave.
#[derive(Default)]
struct Found {
    sets: Vec<Vec<usize>>,
    tests: u64,
}

/// Removes edges level by level until no node has neighbours enough for the next one.
pub(crate) fn learn_skeleton<T: IndependenceTest>(
    test: &T,
    alpha: f64,
    max_depth: Option<usize>,
    search: Search,
    knowledge: &Knowledge,
) -> Result<Skeleton> {
    let p = test.variables();
    let mut adjacent = vec![NodeSet::with_capacity(p); p];
    for (a, row) in adjacent.iter_mut().enumerate() {
        row.extend((0..p).filter(|&b| b != a && knowledge.allows_adjacency(a, b)));
    }
    let mut skeleton = Skeleton { adjacent, separators: BTreeMap::new(), tests: 0, depth: 0 };
    for depth in 0..=max_depth.unwrap_or(p) {
        let frozen = skeleton.lists();
        if !frozen.iter().any(|list| list.len() > depth) {
            break;
        }
        skeleton.depth = depth;
        let level = Level { test, alpha, search, knowledge, frozen: &frozen, depth };
        let edges: Vec<(usize, usize)> = skeleton
            .edges()
            .into_iter()
            .filter(|&(a, b)| !knowledge.requires(a, b) && !knowledge.requires(b, a))
            .collect();
        for ((a, b), found) in edges.iter().zip(level.run(&edges)?) {
            skeleton.tests += found.tests;
            if !found.sets.is_empty() {
                skeleton.adjacent[*a].set(*b, false);
                skeleton.adjacent[*b].set(*a, false);
                skeleton.separators.insert((*a, *b), found.sets);
            }
        }
    }
    Ok(skeleton)
}

struct Level<'a, T> {
    test: &'a T,
    alpha: f64,
    search: Search,
    knowledge: &'a Knowledge,
    frozen: &'a [Vec<usize>],
    depth: usize,
}

impl<T: IndependenceTest> Level<'_, T> {
    fn run(&self, edges: &[(usize, usize)]) -> Result<Vec<Found>> {
        if rayon::current_num_threads() == 1 || edges.len() < 2 {
            let mut buffers = Buffers::new(self.test);
            return edges.iter().map(|&(x, y)| self.pair(x, y, &mut buffers)).collect();
        }
        let work = edges.par_iter().with_min_len(8);
        work.map_init(|| Buffers::new(self.test), |buffers, &(x, y)| self.pair(x, y, buffers)).collect()
    }

    /// Looks for separating sets of this depth among the neighbours of x, then among those of y.
    fn pair(&self, x: usize, y: usize, b: &mut Buffers<T::Scratch>) -> Result<Found> {
        let mut found = Found::default();
        if self.depth == 0 {
            found.tests = 1;
            if self.test.independent(x, y, &[], self.alpha, &mut b.scratch)? {
                found.sets.push(Vec::new());
            }
            return Ok(found);
        }
        b.left.clear();
        b.left.extend(self.candidates(x, y));
        if self.side(x, y, false, b, &mut found)? {
            return Ok(found);
        }
        b.right.clear();
        b.right.extend(self.candidates(y, x));
        self.side(x, y, true, b, &mut found)?;
        Ok(found)
    }

    /// Neighbours of `x` that may be among its causes: a separating set can always be found there.
    fn candidates(&self, x: usize, y: usize) -> impl Iterator<Item = usize> {
        self.frozen[x].iter().copied().filter(move |&v| v != y && !self.knowledge.forbids(v, x))
    }

    /// Goes through the sets of one side; true when the search is over.
    fn side(
        &self,
        x: usize,
        y: usize,
        right: bool,
        b: &mut Buffers<T::Scratch>,
        found: &mut Found,
    ) -> Result<bool> {
        let Buffers { left, right: right_list, choice, set, scratch } = b;
        let candidates = if right { &*right_list } else { &*left };
        if candidates.len() < self.depth {
            return Ok(false);
        }
        choice.clear();
        choice.extend(0..self.depth);
        loop {
            set.clear();
            set.extend(choice.iter().map(|&i| candidates[i]));
            // Sets inside both neighbourhoods were tried on the left.
            if !right || set.iter().any(|v| left.binary_search(v).is_err()) {
                found.tests += 1;
                if self.test.independent(x, y, set, self.alpha, scratch)? {
                    found.sets.push(set.clone());
                    if self.search == Search::First {
                        return Ok(true);
                    }
                }
            }
            if !next_combination(choice, candidates.len()) {
                return Ok(false);
            }
        }
    }
}

/// Buffers of one thread.
struct Buffers<S> {
    left: Vec<usize>,
    right: Vec<usize>,
    choice: Vec<usize>,
    set: Vec<usize>,
    scratch: S,
}

impl<S> Buffers<S> {
    fn new<T: IndependenceTest<Scratch = S>>(test: &T) -> Self {
        Self {
            left: Vec::new(),
            right: Vec::new(),
            choice: Vec::new(),
            set: Vec::new(),
            scratch: test.scratch(),
        }
    }
}

/// Advances to the next combination out of `0..n` in lexicographic order; false after the last.
pub(crate) fn next_combination(choice: &mut [usize], n: usize) -> bool {
    let k = choice.len();
    let Some(i) = (0..k).rev().find(|&i| choice[i] < n - k + i) else { return false };
    choice[i] += 1;
    for j in i + 1..k {
        choice[j] = choice[j - 1] + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_come_in_lexicographic_order() {
        let mut choice = vec![0, 1];
        let mut all = vec![choice.clone()];
        while next_combination(&mut choice, 4) {
            all.push(choice.clone());
        }
        assert_eq!(all, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        assert!(!next_combination(&mut [], 3));
    }
}
