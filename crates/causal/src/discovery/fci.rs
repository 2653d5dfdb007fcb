//! FCI: what is identifiable when latent confounders may exist, without selection bias.
//!
//! Spirtes, Glymour & Scheines (2000); Zhang (2008) for the complete rules. R5–R7 concern selection bias and are
//! left out; R0–R4 and R8–R10 are complete without it. Phases: PC-stable skeleton, colliders, re-test within
//! possible d-separating sets, colliders again, rules to closure.

use super::knowledge::Knowledge;
use super::pc::check_inputs;
use super::skeleton::{Search, Skeleton, learn_skeleton, next_combination};
use crate::error::{Error, Result};
use crate::graph::{Admg, Dag, Mark, MixedGraph, NodeSet, Pag};
use crate::independence::{IndependenceTest, SeparationOracle};
use serde::{Deserialize, Serialize};

/// Settings of [`fci`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FciConfig {
    /// Level of the tests; independent means p > alpha. 0.05, the customary choice.
    pub alpha: f64,
    /// Largest conditioning set; `None` for no cap (the paper).
    pub max_depth: Option<usize>,
}

impl Default for FciConfig {
    fn default() -> Self {
        Self { alpha: 0.05, max_depth: None }
    }
}

impl FciConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        if self.alpha > 0.0 && self.alpha < 1.0 {
            Ok(())
        } else {
            Err(Error::config("fci", "alpha", self.alpha, "in (0, 1)"))
        }
    }
}

/// What [`fci`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct FciResult {
    /// Edges with tails, arrowheads and circles.
    pub graph: MixedGraph,
    /// Adjacencies, separating sets, number of tests.
    pub skeleton: Skeleton,
}

impl FciResult {
    /// The graph as a PAG, when its marks are consistent; on finite samples they may not be.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`] saying why not.
    pub fn pag(&self) -> Result<Pag> {
        Pag::try_from(self.graph.clone())
    }
}

/// Learns the partial ancestral graph of the tested data.
///
/// Knowledge enters as marks: `forbid(a, b)` says that a is no cause of b (arrowhead at a), `require(a, b)` that
/// a → b.
///
/// # Errors
/// [`Error::Config`], [`Error::Knowledge`], [`Error::Shape`] for another number of names than variables, and
/// what the tests report.
pub fn fci<T: IndependenceTest>(
    test: &T,
    names: &[String],
    config: &FciConfig,
    knowledge: &Knowledge,
) -> Result<FciResult> {
    config.validate()?;
    check_inputs("fci", test, names, knowledge)?;
    let mut skeleton = learn_skeleton(test, config.alpha, config.max_depth, Search::First, knowledge)?;
    let first = start(names, &skeleton, knowledge)?;
    remove_by_possible_d_separation(test, config, knowledge, &first, &mut skeleton)?;
    let graph = start(names, &skeleton, knowledge)?;
    let mut rules = Rules { graph, skeleton: &skeleton };
    rules.close();
    Ok(FciResult { graph: rules.graph, skeleton })
}

/// The PAG of a DAG whose nodes outside `observed` are latent, by FCI with perfect tests.
///
/// # Errors
/// [`Error::Node`] for an index out of range.
pub fn pag_of_dag(dag: &Dag, observed: &[usize]) -> Result<Pag> {
    let oracle = SeparationOracle::new(dag, observed)?;
    let names: Vec<String> = observed.iter().map(|&v| dag.name(v).to_string()).collect();
    fci(&oracle, &names, &FciConfig::default(), &Knowledge::none())?.pag()
}

/// The PAG of a maximal ancestral graph, by FCI with perfect tests.
///
/// # Errors
/// [`Error::InvalidGraph`] when the graph is not ancestral.
pub fn pag_of(mag: &Admg) -> Result<Pag> {
    let all: Vec<usize> = (0..mag.len()).collect();
    let oracle = SeparationOracle::new(mag, &all)?;
    let names: Vec<String> = mag.names().map(String::from).collect();
    fci(&oracle, &names, &FciConfig::default(), &Knowledge::none())?.pag()
}

/// Circles everywhere, then knowledge, then R0: the unshielded colliders.
fn start(names: &[String], skeleton: &Skeleton, knowledge: &Knowledge) -> Result<MixedGraph> {
    let mut graph = MixedGraph::new(names.to_vec())?;
    for (a, b) in skeleton.edges() {
        let mark = |from, to| match (knowledge.requires(from, to), knowledge.forbids(from, to)) {
            (true, _) => Mark::Tail,
            (_, true) => Mark::Arrow,
            _ => Mark::Circle,
        };
        graph.set_edge(a, mark(a, b), mark(b, a), b)?;
    }
    for y in 0..graph.len() {
        let around = graph.neighbours(y);
        for (i, &x) in around.iter().enumerate() {
            for &z in &around[i + 1..] {
                let unshielded = !graph.adjacent(x, z) && !skeleton.separators(x, z).is_empty();
                let fits = may_point(&graph, x, y) && may_point(&graph, z, y);
                if unshielded && fits && !skeleton.separates_with(x, z, y) {
                    graph.set_mark(x, y, Mark::Arrow);
                    graph.set_mark(z, y, Mark::Arrow);
                }
            }
        }
    }
    Ok(graph)
}

/// Whether the end at y of x — y is free for an arrowhead.
fn may_point(graph: &MixedGraph, x: usize, y: usize) -> bool {
    graph.edge(x, y).is_some_and(|(_, at_y)| at_y != Mark::Tail)
}

/// Re-tests every edge given subsets of the possible d-separating sets of its ends.
fn remove_by_possible_d_separation<T: IndependenceTest>(
    test: &T,
    config: &FciConfig,
    knowledge: &Knowledge,
    graph: &MixedGraph,
    skeleton: &mut Skeleton,
) -> Result<()> {
    let mut scratch = test.scratch();
    for (x, y) in skeleton.edges() {
        if knowledge.requires(x, y) || knowledge.requires(y, x) {
            continue;
        }
        let found = [(x, y), (y, x)].into_iter().try_fold(None, |found, (from, other)| match found {
            Some(set) => Ok(Some(set)),
            None => {
                let mut candidates = possible_d_separating(graph, from);
                candidates.retain(|&v| v != other);
                separating_subset(test, config, from, other, &candidates, skeleton, &mut scratch)
            }
        });
        if let Some(set) = found? {
            skeleton.adjacent[x].set(y, false);
            skeleton.adjacent[y].set(x, false);
            skeleton.separators.insert((x, y), vec![set]);
        }
    }
    Ok(())
}

fn separating_subset<T: IndependenceTest>(
    test: &T,
    config: &FciConfig,
    x: usize,
    y: usize,
    candidates: &[usize],
    skeleton: &mut Skeleton,
    scratch: &mut T::Scratch,
) -> Result<Option<Vec<usize>>> {
    let most = config.max_depth.unwrap_or(candidates.len()).min(candidates.len());
    for size in 1..=most {
        let mut choice: Vec<usize> = (0..size).collect();
        loop {
            let set: Vec<usize> = choice.iter().map(|&i| candidates[i]).collect();
            skeleton.tests += 1;
            if test.independent(x, y, &set, config.alpha, scratch)? {
                return Ok(Some(set));
            }
            if !next_combination(&mut choice, candidates.len()) {
                break;
            }
        }
    }
    Ok(None)
}

/// The nodes with a path from `x` on which every inner node is a collider or in a triangle with its neighbours.
fn possible_d_separating(graph: &MixedGraph, x: usize) -> Vec<usize> {
    let p = graph.len();
    let mut seen = vec![NodeSet::with_capacity(p); p]; // seen[b] holds a: the step a, b was taken
    let mut reached = NodeSet::with_capacity(p);
    let mut stack: Vec<(usize, usize)> = graph.neighbours(x).into_iter().map(|b| (x, b)).collect();
    while let Some((a, b)) = stack.pop() {
        if seen[b].put(a) {
            continue;
        }
        reached.insert(b);
        for c in graph.neighbours(b).into_iter().filter(|&c| c != a && c != x) {
            let collider = points(graph, a, b) && points(graph, c, b);
            if collider || graph.adjacent(a, c) {
                stack.push((b, c));
            }
        }
    }
    reached.set(x, false);
    reached.ones().collect()
}

/// a *→ b.
fn points(graph: &MixedGraph, a: usize, b: usize) -> bool {
    graph.edge(a, b).is_some_and(|(_, at_b)| at_b == Mark::Arrow)
}

/// a *—∘ b.
fn open_at(graph: &MixedGraph, a: usize, b: usize) -> bool {
    graph.edge(a, b).is_some_and(|(_, at_b)| at_b == Mark::Circle)
}

struct Rules<'a> {
    graph: MixedGraph,
    skeleton: &'a Skeleton,
}

impl Rules<'_> {
    /// Applies R1–R4 and R8–R10 until none changes a mark. Each sets circles only, so the loop ends.
    fn close(&mut self) {
        loop {
            let mut changed = false;
            for (a, _, _, b) in self.graph.edges() {
                for (from, to) in [(a, b), (b, a)] {
                    changed |= self.rule1(from, to) | self.rule2(from, to) | self.rule3(from, to);
                    changed |= self.rule4(from, to);
                    changed |= self.rule8(from, to) | self.rule9(from, to) | self.rule10(from, to);
                }
            }
            if !changed {
                return;
            }
        }
    }

    fn mark(&mut self, a: usize, b: usize, at_b: Mark) {
        self.graph.set_mark(a, b, at_b);
    }

    /// R1: a *→ b ∘—* c, a and c not adjacent: b → c.
    fn rule1(&mut self, b: usize, c: usize) -> bool {
        if !open_at(&self.graph, c, b) || !may_point(&self.graph, b, c) {
            return false;
        }
        let around = self.graph.neighbours(b);
        let applies =
            around.iter().any(|&a| a != c && points(&self.graph, a, b) && !self.graph.adjacent(a, c));
        if applies {
            self.mark(c, b, Mark::Tail);
            self.mark(b, c, Mark::Arrow);
        }
        applies
    }

    /// R2: a → b *→ c or a *→ b → c, and a *—∘ c: a *→ c.
    fn rule2(&mut self, a: usize, c: usize) -> bool {
        if !open_at(&self.graph, a, c) {
            return false;
        }
        let applies = self.graph.neighbours(a).into_iter().filter(|&b| b != c).any(|b| {
            let g = &self.graph;
            (g.has_directed(a, b) && points(g, b, c)) || (points(g, a, b) && g.has_directed(b, c))
        });
        if applies {
            self.mark(a, c, Mark::Arrow);
        }
        applies
    }

    /// R3: a *→ b ←* c, a *—∘ d ∘—* c, a and c not adjacent, d *—∘ b: d *→ b.
    fn rule3(&mut self, d: usize, b: usize) -> bool {
        if !open_at(&self.graph, d, b) {
            return false;
        }
        let sides: Vec<usize> = self
            .graph
            .neighbours(b)
            .into_iter()
            .filter(|&a| a != d && points(&self.graph, a, b) && open_at(&self.graph, a, d))
            .collect();
        let applies = sides
            .iter()
            .enumerate()
            .any(|(i, &a)| sides[i + 1..].iter().any(|&c| !self.graph.adjacent(a, c)));
        if applies {
            self.mark(d, b, Mark::Arrow);
        }
        applies
    }

    /// R4: a discriminating path d … a, b, c with b ∘—* c: b → c when b separates d and c, a ↔ b ↔ c when not.
    fn rule4(&mut self, b: usize, c: usize) -> bool {
        if !open_at(&self.graph, c, b) || !may_point(&self.graph, b, c) {
            return false;
        }
        let Some((a, d)) = self.discriminating_path(b, c) else { return false };
        if self.skeleton.separates_with(d, c, b) {
            self.mark(c, b, Mark::Tail);
        } else {
            if may_point(&self.graph, a, b) {
                self.mark(a, b, Mark::Arrow);
            }
            self.mark(c, b, Mark::Arrow);
        }
        self.mark(b, c, Mark::Arrow);
        true
    }

    /// The node next to b and the first node of a shortest discriminating path for b towards c: every node
    /// between d and b is a collider on the path and a parent of c, and d is not adjacent to c.
    fn discriminating_path(&self, b: usize, c: usize) -> Option<(usize, usize)> {
        let g = &self.graph;
        let mut seen = NodeSet::with_capacity(g.len());
        seen.extend([b, c]);
        let mut queue = std::collections::VecDeque::new();
        for a in g.neighbours(b) {
            if a != c && points(g, b, a) && g.has_directed(a, c) {
                seen.insert(a);
                queue.push_back((a, a));
            }
        }
        while let Some((v, next_to_b)) = queue.pop_front() {
            for d in g.neighbours(v) {
                if seen.contains(d) || !points(g, d, v) {
                    continue;
                }
                if !g.adjacent(d, c) {
                    return Some((next_to_b, d));
                }
                if points(g, v, d) && g.has_directed(d, c) {
                    seen.insert(d);
                    queue.push_back((d, next_to_b));
                }
            }
        }
        None
    }

    /// a ∘→ c.
    fn half_open(&self, a: usize, c: usize) -> bool {
        self.graph.edge(a, c) == Some((Mark::Circle, Mark::Arrow))
    }

    /// R8: a → b → c and a ∘→ c: a → c. (a —∘ b needs selection bias.)
    fn rule8(&mut self, a: usize, c: usize) -> bool {
        let applies =
            self.half_open(a, c) && self.graph.children(a).into_iter().any(|b| self.graph.has_directed(b, c));
        if applies {
            self.mark(c, a, Mark::Tail);
        }
        applies
    }

    /// R9: a ∘→ c and an uncovered potentially directed path a, b, …, c with b and c not adjacent: a → c.
    fn rule9(&mut self, a: usize, c: usize) -> bool {
        let applies = self.half_open(a, c)
            && self.graph.neighbours(a).into_iter().any(|b| {
                b != c && !self.graph.adjacent(b, c) && self.potentially_directed(a, b) && {
                    let mut path = vec![a, b];
                    self.uncovered_path(&mut path, c)
                }
            });
        if applies {
            self.mark(c, a, Mark::Tail);
        }
        applies
    }

    /// R10: a ∘→ c, b → c ← d, uncovered potentially directed paths from a to b and from a to d whose first
    /// nodes differ and are not adjacent: a → c.
    fn rule10(&mut self, a: usize, c: usize) -> bool {
        if !self.half_open(a, c) {
            return false;
        }
        let starts: Vec<usize> = self
            .graph
            .neighbours(a)
            .into_iter()
            .filter(|&m| m != c && self.potentially_directed(a, m))
            .collect();
        let parents: Vec<usize> = self.graph.parents(c).into_iter().filter(|&b| b != a).collect();
        let reaches = |m: usize, b: usize| m == b || self.uncovered_path(&mut vec![a, m], b);
        let applies = starts.iter().enumerate().any(|(i, &m)| {
            starts[i + 1..].iter().filter(|&&w| !self.graph.adjacent(m, w)).any(|&w| {
                parents.iter().any(|&b| reaches(m, b) && parents.iter().any(|&d| d != b && reaches(w, d)))
            })
        });
        if applies {
            self.mark(c, a, Mark::Tail);
        }
        applies
    }

    /// The edge u — v could be part of a directed path from u on: no arrowhead at u, no tail at v.
    fn potentially_directed(&self, u: usize, v: usize) -> bool {
        self.graph.edge(u, v).is_some_and(|(at_u, at_v)| at_u != Mark::Arrow && at_v != Mark::Tail)
    }

    /// Whether the path can be continued to `goal`, potentially directed and with no two steps covered.
    fn uncovered_path(&self, path: &mut Vec<usize>, goal: usize) -> bool {
        let (u, v) = (path[path.len() - 2], path[path.len() - 1]);
        for w in self.graph.neighbours(v) {
            if path.contains(&w) || self.graph.adjacent(u, w) || !self.potentially_directed(v, w) {
                continue;
            }
            if w == goal {
                return true;
            }
            path.push(w);
            if self.uncovered_path(path, goal) {
                return true;
            }
            path.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latent_confounder_shows_as_a_bidirected_edge() {
        // X0 → X1 ← L → X2 ← X3, L latent: X1 ↔ X2 is identified.
        let dag = Dag::from_edges(5, &[(0, 1), (4, 1), (4, 2), (3, 2)]).unwrap();
        let pag = pag_of_dag(&dag, &[0, 1, 2, 3]).unwrap();
        assert_eq!(pag.bidirected_edges(), [(1, 2)]);
        assert_eq!(pag.edge(0, 1), Some((Mark::Circle, Mark::Arrow)));
        assert!(pag.is_complete());
    }

    #[test]
    fn knowledge_becomes_marks() {
        let dag = Dag::from_edges(2, &[(0, 1)]).unwrap();
        let oracle = SeparationOracle::new(&dag, &[0, 1]).unwrap();
        let mut knowledge = Knowledge::none();
        knowledge.forbid(1, 0);
        let names = crate::graph::default_names(2);
        let result = fci(&oracle, &names, &FciConfig::default(), &knowledge).unwrap();
        assert_eq!(result.graph.edge(0, 1), Some((Mark::Circle, Mark::Arrow)));
    }
}
