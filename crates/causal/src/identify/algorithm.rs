//! ID and IDC: P(y | do(x)) and P(y | do(x), z) from the observed distribution, whenever that is possible.
//!
//! Shpitser & Pearl, *Identification of joint interventional distributions in recursive semi-Markovian causal
//! models* (AAAI 2006) and *Identification of conditional interventional distributions* (UAI 2006). Sound and
//! complete: when it fails, the returned hedge is a proof that two models agree on the observations and differ
//! in the effect. The comments count the lines of the paper's figure 3.

use super::expression::Expression;
use crate::error::{Error, Result};
use crate::graph::{Admg, DirectedMixed, NodeSet, m_separated, members, node_set};
use std::collections::BTreeSet;

/// What identification ends with.
#[derive(Clone, Debug, PartialEq)]
pub enum Identification {
    /// The effect as a formula over the observed distribution.
    Identified(Expression),
    /// The reason why no formula exists.
    Unidentifiable(Hedge),
}

/// Two nested C-forests with the same roots, of which only the larger meets the treatments: its existence
/// makes P(y | do(x)) unidentifiable (Shpitser & Pearl 2006, theorem 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hedge {
    /// F: the nodes of the larger forest; it meets the treatments.
    pub forest: Vec<usize>,
    /// F′ ⊂ F: the nodes of the smaller forest, free of treatments.
    pub inner_forest: Vec<usize>,
    /// R: the nodes of F′ without children in F′.
    pub roots: Vec<usize>,
}

/// P(y | do(x)) in terms of the observed distribution.
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::Overlap`] when the sets share a node,
/// [`Error::Shape`] for an empty `y`.
pub fn id(graph: &Admg, x: &[usize], y: &[usize]) -> Result<Identification> {
    let (x, y) = checked_sets("id", graph, x, y)?;
    let mut everything = NodeSet::with_capacity(graph.len());
    everything.insert_range(..);
    let solver = Solver { graph, order: graph.dag().topological_order() };
    Ok(match solver.solve(&y, &x, Distribution::Observed, everything) {
        Ok(expression) => Identification::Identified(expression),
        Err(hedge) => Identification::Unidentifiable(hedge),
    })
}

/// P(y | do(x), z): conditions that act like interventions are moved into do(·) by rule 2, the rest follows
/// from [`id`] of the joint P(y, z | do(x)).
///
/// # Errors
/// As [`id`].
pub fn idc(graph: &Admg, x: &[usize], y: &[usize], z: &[usize]) -> Result<Identification> {
    checked_sets("idc", graph, x, y)?;
    let both: Vec<usize> = y.iter().chain(z).copied().collect();
    checked_sets("idc", graph, x, &both)?;
    let (mut x, mut z) = (x.to_vec(), z.to_vec());
    while let Some(i) = (0..z.len()).find(|&i| acts_like_intervention(graph, &x, y, &z, i)) {
        x.push(z.swap_remove(i));
    }
    let both: Vec<usize> = y.iter().chain(&z).copied().collect();
    Ok(match id(graph, &x, &both)? {
        Identification::Identified(joint) if !z.is_empty() => {
            let over = y.iter().copied().collect();
            let marginal = Expression::sum(over, joint.clone());
            Identification::Identified(Expression::Quotient(Box::new(joint), Box::new(marginal)))
        }
        other => other,
    })
}

fn checked_sets(
    operation: &'static str,
    graph: &Admg,
    x: &[usize],
    y: &[usize],
) -> Result<(NodeSet, NodeSet)> {
    let (xs, ys) = (node_set(operation, graph.len(), x)?, node_set(operation, graph.len(), y)?);
    if let Some(shared) = xs.intersection(&ys).next() {
        return Err(Error::Overlap { operation, name: graph.name(shared).into() });
    }
    if y.is_empty() {
        return Err(Error::shape(operation, "at least one outcome", "none"));
    }
    Ok((xs, ys))
}

/// Rule 2 of do-calculus: y ⊥ zᵢ | x, z∖zᵢ once edges into x and out of zᵢ are cut.
fn acts_like_intervention(graph: &Admg, x: &[usize], y: &[usize], z: &[usize], i: usize) -> bool {
    let mut into = NodeSet::with_capacity(graph.len());
    into.extend(x.iter().copied());
    let mut given = x.to_vec();
    given.extend(z.iter().enumerate().filter(|&(j, _)| j != i).map(|(_, &v)| v));
    m_separated(&Mutilated { graph, into: &into, out_of: z[i] }, y, &[z[i]], &given).unwrap_or(false)
}

/// The graph without edges into `into` and directed edges out of `out_of`.
struct Mutilated<'a> {
    graph: &'a Admg,
    into: &'a NodeSet,
    out_of: usize,
}

impl DirectedMixed for Mutilated<'_> {
    fn node_count(&self) -> usize {
        self.graph.len()
    }
    fn node_name(&self, v: usize) -> &str {
        self.graph.name(v)
    }
    fn parents(&self, v: usize) -> impl Iterator<Item = usize> {
        let cut = self.into.contains(v);
        DirectedMixed::parents(self.graph, v).filter(move |&u| !cut && u != self.out_of)
    }
    fn children(&self, v: usize) -> impl Iterator<Item = usize> {
        let cut = v == self.out_of;
        DirectedMixed::children(self.graph, v).filter(move |&u| !cut && !self.into.contains(u))
    }
    fn siblings(&self, v: usize) -> impl Iterator<Item = usize> {
        let cut = self.into.contains(v);
        self.graph.siblings(v).filter(move |&u| !cut && !self.into.contains(u))
    }
}

/// The distribution P of the recursion, over the nodes of the current subgraph.
#[derive(Clone)]
enum Distribution {
    /// The observed one (or a marginal of it), which has plain conditionals.
    Observed,
    /// A formula made by line 7.
    Derived(Expression),
}

impl Distribution {
    /// The marginal over `keep` of the distribution over `all`.
    fn marginal(self, all: &NodeSet, keep: &NodeSet) -> Self {
        match self {
            Self::Observed => Self::Observed,
            Self::Derived(formula) => Self::Derived(Expression::sum(difference(all, keep), formula)),
        }
    }

    /// P(v | before) of the distribution over `all`.
    fn conditional(&self, v: usize, before: &NodeSet, all: &NodeSet) -> Expression {
        match self {
            Self::Observed => {
                Expression::Probability { of: BTreeSet::from([v]), given: before.ones().collect() }
            }
            Self::Derived(formula) => {
                let mut with_v = before.clone();
                with_v.insert(v);
                let top = Expression::sum(difference(all, &with_v), formula.clone());
                let bottom = Expression::sum(difference(all, before), formula.clone());
                Expression::Quotient(Box::new(top), Box::new(bottom))
            }
        }
    }
}

fn difference(all: &NodeSet, without: &NodeSet) -> BTreeSet<usize> {
    all.difference(without).collect()
}

struct Solver<'a> {
    graph: &'a Admg,
    order: Vec<usize>,
}

impl Solver<'_> {
    fn solve(&self, y: &NodeSet, x: &NodeSet, p: Distribution, v: NodeSet) -> Result<Expression, Hedge> {
        // Line 1: nothing is intervened on.
        if x.is_clear() {
            return Ok(match p {
                Distribution::Observed => {
                    Expression::Probability { of: y.ones().collect(), given: BTreeSet::new() }
                }
                Distribution::Derived(formula) => Expression::sum(difference(&v, y), formula),
            });
        }
        // Line 2: only ancestors of y matter.
        let ancestral = self.graph.ancestors_within(y, &v);
        if ancestral != v {
            let x = intersect(x, &ancestral);
            return self.solve(y, &x, p.marginal(&v, &ancestral), ancestral);
        }
        // Line 3: interventions without effect on y once x is set may be added.
        let relevant = self.ancestors_avoiding(y, x, &v);
        let mut harmless = v.clone();
        harmless.difference_with(x);
        harmless.difference_with(&relevant);
        if !harmless.is_clear() {
            harmless.union_with(x);
            return self.solve(y, &harmless, p, v);
        }
        // Line 4: the effect factorises over the districts of the graph without x.
        let mut rest = v.clone();
        rest.difference_with(x);
        let districts = self.graph.districts_within(&rest);
        if districts.len() > 1 {
            let factor = |s: &NodeSet| {
                let mut others = v.clone();
                others.difference_with(s);
                self.solve(s, &others, p.clone(), v.clone())
            };
            let factors = districts.iter().map(factor).collect::<Result<Vec<_>, _>>()?;
            return Ok(Expression::sum(difference(&rest, y), Expression::product(factors)));
        }
        let Some(s) = districts.into_iter().next() else {
            return Ok(Expression::Product(Vec::new()));
        };
        // Line 5: one district spans everything: a hedge.
        let whole = self.graph.districts_within(&v);
        let Some(around) = whole.into_iter().find(|d| s.is_subset(d)) else {
            return Ok(Expression::Product(Vec::new()));
        };
        if around == v {
            let is_root = |&u: &usize| !DirectedMixed::children(self.graph, u).any(|w| s.contains(w));
            let roots = s.ones().filter(is_root).collect();
            return Err(Hedge { forest: members(&v), inner_forest: members(&s), roots });
        }
        // The factors P(vᵢ | its predecessors) of the district.
        let factors = self.factors(&around, &p, &v);
        if around == s {
            // Line 6: s is a district of the whole graph.
            return Ok(Expression::sum(difference(&s, y), Expression::product(factors)));
        }
        // Line 7: the problem lives inside the district that contains s.
        let x = intersect(x, &around);
        self.solve(y, &x, Distribution::Derived(Expression::product(factors)), around)
    }

    fn factors(&self, district: &NodeSet, p: &Distribution, v: &NodeSet) -> Vec<Expression> {
        let mut before = NodeSet::with_capacity(self.graph.len());
        let mut factors = Vec::new();
        for &u in self.order.iter().filter(|&&u| v.contains(u)) {
            if district.contains(u) {
                factors.push(p.conditional(u, &before, v));
            }
            before.insert(u);
        }
        factors
    }

    /// Ancestors of y inside v once the edges into x are cut.
    fn ancestors_avoiding(&self, y: &NodeSet, x: &NodeSet, v: &NodeSet) -> NodeSet {
        let mut seen = NodeSet::with_capacity(self.graph.len());
        let mut stack: Vec<usize> = y.ones().collect();
        while let Some(u) = stack.pop() {
            if !seen.put(u) && !x.contains(u) {
                stack.extend(DirectedMixed::parents(self.graph, u).filter(|&w| v.contains(w)));
            }
        }
        seen
    }
}

fn intersect(a: &NodeSet, b: &NodeSet) -> NodeSet {
    let mut both = a.clone();
    both.intersect_with(b);
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formula(graph: &Admg, x: usize, y: usize) -> Option<String> {
        match id(graph, &[x], &[y]).unwrap() {
            Identification::Identified(e) => Some(e.display(graph).to_string()),
            Identification::Unidentifiable(_) => None,
        }
    }

    #[test]
    fn the_front_door_formula_and_the_bow() {
        let front_door = Admg::from_edges(3, &[(0, 1), (1, 2)], &[(0, 2)]).unwrap();
        assert_eq!(formula(&front_door, 0, 2).unwrap(), "Σ_{X1} P(X1 | X0) [Σ_{X0} P(X0) P(X2 | X0, X1)]",);
        let bow = Admg::from_edges(2, &[(0, 1)], &[(0, 1)]).unwrap();
        let Identification::Unidentifiable(hedge) = id(&bow, &[0], &[1]).unwrap() else {
            panic!("the bow has a hedge")
        };
        assert_eq!(hedge, Hedge { forest: vec![0, 1], inner_forest: vec![1], roots: vec![1] });
    }

    #[test]
    fn a_condition_can_make_the_difference() {
        // z ↔ y, x → z → y ... conditioning on z, which acts like an intervention on nothing.
        let graph = Admg::from_edges(3, &[(0, 1), (1, 2)], &[]).unwrap();
        let Identification::Identified(e) = idc(&graph, &[0], &[2], &[1]).unwrap() else {
            panic!("identifiable")
        };
        assert_eq!(e.display(&graph).to_string(), "P(X2 | X0, X1)");
    }

    #[test]
    fn bad_sets_are_errors() {
        let graph = Admg::from_edges(2, &[(0, 1)], &[]).unwrap();
        assert!(id(&graph, &[0], &[0]).is_err());
        assert!(id(&graph, &[0], &[]).is_err());
        assert!(id(&graph, &[0], &[5]).is_err());
    }
}
