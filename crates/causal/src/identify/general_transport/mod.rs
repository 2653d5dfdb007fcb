//! Effects from several domains and experiments: complete transportability (sID, mz, gTR) and general
//! identifiability (gID).
//!
//! Bareinboim & Pearl, *Transportability of causal effects: completeness results* (AAAI 2012) for one source with every
//! experiment; Lee, Correa & Bareinboim, *General identifiability with arbitrary surrogate experiments* (UAI 2019) and
//! *General transportability: synthesizing observations and experiments from heterogeneous domains* (AAAI 2020) for any
//! collection of them. With D = An(Y) in the graph without X, and D₁, D₂, … its districts,
//!
//! P*(y | do(x)) = Σ_{d∖y} ∏ᵢ Q*\[Dᵢ\],  Q*\[Dᵢ\] = P*(dᵢ | do(v∖dᵢ)),
//!
//! and the effect is transportable if and only if every Q*\[Dᵢ\] is identifiable from one single source: one whose
//! mechanisms of Dᵢ are the target's, whose experiment sets no member of Dᵢ, and in whose graph (edges into the set
//! variables cut) [`id`] finds a formula. A randomised experiment is a joint distribution like any other, so each factor
//! is evaluated by the same [`Expression::evaluate`] as an ordinary effect.

use super::algorithm::{Hedge, Identification, id};
use super::expression::{Expression, Factor};
use crate::error::{Error, Result};
use crate::graph::{Admg, NodeSet, members, node_set};
use std::collections::BTreeSet;
use std::fmt;

/// A distribution that is at hand: observations or an experiment, in the target domain or in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What formulas call it.
    pub name: String,
    /// Variables whose mechanism or noise differs from the target's (those with a selection node); none in the target.
    pub differing: Vec<usize>,
    /// Variables that the experiment randomised, jointly and over all their values; none for observations.
    pub randomized: Vec<usize>,
}

impl Source {
    /// Observations of the target domain itself.
    pub fn target() -> Self {
        Self { name: "target".into(), differing: Vec::new(), randomized: Vec::new() }
    }
}

/// What transport ends with.
#[derive(Clone, Debug, PartialEq)]
pub enum Transport {
    /// The effect as a formula over the sources.
    Transported(TransportFormula),
    /// The reason why no formula exists.
    Untransportable(Obstruction),
}

/// A district whose factor no source determines: an s-thicket, which for one source is an s-hedge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstruction {
    /// Dᵢ, ascending.
    pub district: Vec<usize>,
    /// For every source, in the given order, what stands in the way.
    pub obstacles: Vec<Obstacle>,
}

/// Why one source does not determine Q*\[Dᵢ\].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// These members of the district have other mechanisms there.
    Differing(Vec<usize>),
    /// The experiment replaced the mechanisms of these members.
    Randomized(Vec<usize>),
    /// The graph of the source has this hedge.
    Hedge(Hedge),
}

/// Σ over `over` of ∏ factors.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportFormula {
    /// The variables summed out.
    pub over: BTreeSet<usize>,
    /// One factor per district.
    pub factors: Vec<SourcedFactor>,
}

/// A formula over the distribution of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourcedFactor {
    /// Index among the sources.
    pub source: usize,
    /// Its name.
    pub name: String,
    /// The variables it randomised, for display.
    pub randomized: Vec<usize>,
    /// Q*\[Dᵢ\] in terms of its joint distribution.
    pub expression: Expression,
}

impl TransportFormula {
    /// The value as a table over the free variables, from one joint distribution per source. The joint of an experiment
    /// is that of all variables, the randomised ones drawn by any law that gives every combination positive weight (as
    /// [`plug_in`](crate::estimate::plug_in) does with the data of a trial); it need not be normalised.
    ///
    /// # Errors
    /// [`Error::Shape`] when a source's joint is missing or lacks a variable.
    pub fn evaluate(&self, joints: &[Factor]) -> Result<Factor> {
        let mut product = Factor::one();
        for factor in &self.factors {
            let joint = joints.get(factor.source).ok_or_else(|| {
                let expected = format!("a joint distribution of source {} ({})", factor.source, factor.name);
                Error::shape("TransportFormula::evaluate", expected, format!("{} joints", joints.len()))
            })?;
            product = product.multiply(&factor.expression.evaluate(&joint.normalized())?)?;
        }
        let keep = product.variables().iter().copied().filter(|v| !self.over.contains(v)).collect();
        product.marginal(&keep)
    }

    /// The formula with the graph's names: each factor in brackets, followed by its source.
    pub fn display<'a>(&'a self, graph: &'a Admg) -> impl fmt::Display + 'a {
        Named { formula: self, graph }
    }
}

struct Named<'a> {
    formula: &'a TransportFormula,
    graph: &'a Admg,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |nodes: &mut dyn Iterator<Item = usize>| {
            nodes.map(|v| self.graph.name(v)).collect::<Vec<_>>().join(", ")
        };
        if !self.formula.over.is_empty() {
            write!(f, "Σ_{{{}}} ", names(&mut self.formula.over.iter().copied()))?;
        }
        for (i, factor) in self.formula.factors.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            write!(f, "{space}[{}]_{{{}", factor.expression.display(self.graph), factor.name)?;
            match factor.randomized.is_empty() {
                true => write!(f, "}}")?,
                false => write!(f, "; do({})}}", names(&mut factor.randomized.iter().copied()))?,
            }
        }
        Ok(())
    }
}

/// P*(y | do(x)) of the target domain in terms of the sources, of which each district takes the first that serves.
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::Overlap`] when x and y share a node, [`Error::Shape`] for an
/// empty `y`.
pub fn transport(graph: &Admg, sources: &[Source], x: &[usize], y: &[usize]) -> Result<Transport> {
    let (relevant, districts) = effect_districts("transport", graph, x, y)?;
    let graphs = sources.iter().map(|s| experimental_graph(graph, s)).collect::<Result<Vec<_>>>()?;
    let mut factors = Vec::with_capacity(districts.len());
    for district in &districts {
        let mut obstacles = Vec::new();
        for (i, (source, its_graph)) in sources.iter().zip(&graphs).enumerate() {
            match district_factor(its_graph, source, district)? {
                Ok(expression) => {
                    let (name, randomized) = (source.name.clone(), source.randomized.clone());
                    factors.push(SourcedFactor { source: i, name, randomized, expression });
                    break;
                }
                Err(obstacle) => obstacles.push(obstacle),
            }
        }
        if obstacles.len() == sources.len() {
            return Ok(Transport::Untransportable(Obstruction { district: members(district), obstacles }));
        }
    }
    let over = relevant.ones().filter(|v| !y.contains(v)).collect();
    Ok(Transport::Transported(TransportFormula { over, factors }))
}

/// sID: P*(y | do(x)) from observations of the target and *every* experiment of one source that differs in the
/// mechanisms of `differing`; also returns the sources that the formula refers to, first the target.
///
/// Of the source's experiments only do(v∖dᵢ) for the districts without a selection node are listed: no other helps. A
/// refusal is an s-hedge: a hedge of the target whose inner forest contains a variable that differs.
///
/// # Errors
/// As [`transport`].
pub fn sid(graph: &Admg, differing: &[usize], x: &[usize], y: &[usize]) -> Result<(Transport, Vec<Source>)> {
    let differs = node_set("sid", graph.len(), differing)?;
    let (_, districts) = effect_districts("sid", graph, x, y)?;
    let mut sources = vec![Source::target()];
    for district in &districts {
        // Setting the parents of the district from outside leaves nothing else that could reach it.
        let mut parents = NodeSet::with_capacity(graph.len());
        district.ones().for_each(|v| parents.extend(graph.dag().parents(v)));
        parents.difference_with(district);
        let (name, differing) = ("source".to_string(), members(&differs));
        sources.push(Source { name, differing, randomized: members(&parents) });
    }
    Ok((transport(graph, &sources, x, y)?, sources))
}

/// gID: P(y | do(x)) from any collection of experiments in one domain, each given by the variables it randomised; an
/// empty list among them stands for observations.
///
/// # Errors
/// As [`transport`].
pub fn gid(graph: &Admg, experiments: &[Vec<usize>], x: &[usize], y: &[usize]) -> Result<Transport> {
    let source = |z: &Vec<usize>| Source { randomized: z.clone(), ..Source::target() };
    transport(graph, &experiments.iter().map(source).collect::<Vec<_>>(), x, y)
}

/// D = An(Y) in the graph without X, and its districts.
fn effect_districts(
    operation: &'static str,
    graph: &Admg,
    x: &[usize],
    y: &[usize],
) -> Result<(NodeSet, Vec<NodeSet>)> {
    let (xs, ys) = (node_set(operation, graph.len(), x)?, node_set(operation, graph.len(), y)?);
    if let Some(shared) = xs.intersection(&ys).next() {
        return Err(Error::Overlap { operation, name: graph.name(shared).into() });
    }
    if y.is_empty() {
        return Err(Error::shape(operation, "at least one outcome", "none"));
    }
    let mut rest = NodeSet::with_capacity(graph.len());
    rest.insert_range(..);
    rest.difference_with(&xs);
    let relevant = graph.ancestors_within(&ys, &rest);
    let districts = graph.districts_within(&relevant);
    Ok((relevant, districts))
}

/// The graph without edges into what the source randomised.
fn experimental_graph(graph: &Admg, source: &Source) -> Result<Admg> {
    let cut = node_set("transport", graph.len(), &source.randomized)?;
    node_set("transport", graph.len(), &source.differing)?;
    let names = graph.names().map(String::from).collect();
    let directed: Vec<_> = graph.dag().edges().into_iter().filter(|e| !cut.contains(e.1)).collect();
    let confounded = |e: &(usize, usize)| !cut.contains(e.0) && !cut.contains(e.1);
    let bidirected: Vec<_> = graph.bidirected_edges().into_iter().filter(confounded).collect();
    Admg::new(names, &directed, &bidirected)
}

fn district_factor(
    graph: &Admg,
    source: &Source,
    district: &NodeSet,
) -> Result<Result<Expression, Obstacle>> {
    let shared = |list: &[usize]| list.iter().copied().filter(|&v| district.contains(v)).collect::<Vec<_>>();
    let (differing, randomized) = (shared(&source.differing), shared(&source.randomized));
    if !differing.is_empty() {
        return Ok(Err(Obstacle::Differing(differing)));
    }
    if !randomized.is_empty() {
        return Ok(Err(Obstacle::Randomized(randomized)));
    }
    let others: Vec<usize> = (0..graph.len()).filter(|&v| !district.contains(v)).collect();
    Ok(match id(graph, &others, &members(district))? {
        Identification::Identified(expression) => Ok(expression),
        Identification::Unidentifiable(hedge) => Err(Obstacle::Hedge(hedge)),
    })
}

#[cfg(test)]
mod tests;
