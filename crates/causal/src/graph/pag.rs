//! Partial ancestral graphs: what the independences among the observed variables tell about causal relations
//! when confounders may be latent.
//!
//! Zhang, *On the completeness of orientation rules for causal discovery in the presence of latent confounders
//! and selection bias* (Artificial Intelligence 2008). Selection bias is excluded, so there are no `—` edges.

use super::mixed::{Mark, MixedGraph};
use super::pdag::{consistent_extension, has_directed_path};
use super::{Admg, NodeSet};
use crate::error::{Error, Result};
use std::ops::Deref;

/// A partial ancestral graph without selection bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Pag(MixedGraph);

impl Deref for Pag {
    type Target = MixedGraph;
    fn deref(&self) -> &MixedGraph {
        &self.0
    }
}

impl TryFrom<MixedGraph> for Pag {
    type Error = Error;

    /// Checks the marks: no undirected edge, no directed cycle, and no a ↔ b with a an ancestor of b.
    /// [`Pag::is_complete`] checks the rest.
    fn try_from(graph: MixedGraph) -> Result<Self> {
        for (a, at_a, at_b, b) in graph.edges() {
            let (x, y) = (graph.name(a), graph.name(b));
            let wrong = match (at_a, at_b) {
                (Mark::Tail, Mark::Tail) => Some("is undirected, which only selection bias can produce"),
                (Mark::Tail, Mark::Circle) | (Mark::Circle, Mark::Tail) => {
                    Some("has a tail and a circle, which only selection bias can produce")
                }
                (Mark::Tail, Mark::Arrow) if has_directed_path(&graph, b, a) => {
                    Some("lies on a directed cycle")
                }
                (Mark::Arrow, Mark::Tail) if has_directed_path(&graph, a, b) => {
                    Some("lies on a directed cycle")
                }
                (Mark::Arrow, Mark::Arrow)
                    if has_directed_path(&graph, a, b) || has_directed_path(&graph, b, a) =>
                {
                    Some("is bidirected, but one of them is an ancestor of the other")
                }
                _ => None,
            };
            if let Some(wrong) = wrong {
                let reason = format!("the edge between {x} and {y} {wrong}");
                return Err(Error::InvalidGraph { kind: "PAG", reason });
            }
        }
        Ok(Self(graph))
    }
}

impl Pag {
    /// The graph without its promise.
    pub fn into_mixed(self) -> MixedGraph {
        self.0
    }

    /// A maximal ancestral graph of the class: `∘→` becomes `→`, and the `∘—∘` edges become a DAG without
    /// unshielded colliders (Zhang 2008, lemma 4.3).
    ///
    /// # Errors
    /// [`Error::InvalidGraph`] when the graph is not the PAG of any model.
    pub fn to_mag(&self) -> Result<Admg> {
        let names: Vec<String> = self.0.names().map(String::from).collect();
        let mut circles = MixedGraph::new(names.clone())?;
        let (mut directed, mut bidirected) = (Vec::new(), Vec::new());
        for (a, at_a, at_b, b) in self.0.edges() {
            match (at_a, at_b) {
                (Mark::Circle, Mark::Circle) => circles.set_edge(a, Mark::Tail, Mark::Tail, b)?,
                (Mark::Arrow, Mark::Arrow) => bidirected.push((a, b)),
                (_, Mark::Arrow) => directed.push((a, b)),
                _ => directed.push((b, a)),
            }
        }
        directed.extend(consistent_extension(&circles)?.edges());
        Admg::new(names, &directed, &bidirected)
    }

    /// Whether the graph is the complete PAG of one of its own members: rebuilding it from the separations of
    /// [`Pag::to_mag`] gives the same marks.
    pub fn is_complete(&self) -> bool {
        self.to_mag().and_then(|mag| crate::discovery::pag_of(&mag)).is_ok_and(|pag| pag == *self)
    }

    /// Nodes that are an ancestor of `v` in some member: those with a path of edges without arrowheads towards
    /// the origin.
    pub fn possible_ancestors(&self, v: usize) -> NodeSet {
        let mut seen = NodeSet::with_capacity(self.0.len());
        let mut stack = vec![v];
        while let Some(w) = stack.pop() {
            if !seen.put(w) {
                let origins = self.0.neighbours(w).into_iter().filter(|&u| {
                    self.0.edge(u, w).is_some_and(|(at_u, at_w)| at_u != Mark::Arrow && at_w != Mark::Tail)
                });
                stack.extend(origins);
            }
        }
        seen
    }
}
