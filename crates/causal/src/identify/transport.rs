//! Transportability by adjustment: carrying an effect from a domain with experiments to one that differs in some
//! mechanisms.
//!
//! Pearl & Bareinboim, *Transportability of causal and statistical relations* (AAAI 2011) and *External validity* (2014).
//! A selection node S points at every variable whose mechanism differs. A set Z is S-admissible when S ⊥ Y | X, Z once
//! edges into X are cut; then P*(y | do(x)) = Σ_z P(y | do(x), z) P*(z), with starred terms from the target domain.
//! Only sets of non-descendants of X are returned, so that P*(z) is observational. This is sufficient, not complete.

use super::subsets;
use crate::error::{Error, Result};
use crate::graph::{Admg, DirectedMixed, NodeSet, m_separated, node_set};

/// The minimal S-admissible sets for the effect of x on y, smallest first, when the mechanisms of `differing` differ
/// between the domains. The empty set means that the effect carries over as it is; no set, that adjustment cannot
/// carry it.
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::Overlap`] for x = y, [`Error::TooLarge`] with more than 20
/// candidate covariates.
pub fn transport_sets(graph: &Admg, x: usize, y: usize, differing: &[usize]) -> Result<Vec<Vec<usize>>> {
    let operation = "transport_sets";
    node_set(operation, graph.len(), &[x, y])?;
    node_set(operation, graph.len(), differing)?;
    if x == y {
        return Err(Error::Overlap { operation, name: graph.name(x).into() });
    }
    let below = graph.dag().descendants(&[x]);
    let candidates: Vec<usize> = (0..graph.len()).filter(|&v| !below.contains(v) && v != y).collect();
    // The selection node is one past the last; a difference in the mechanism of x itself is cut by do(x).
    let selection = graph.len();
    let diagram = SelectionDiagram { graph, x, differing };
    let mut found: Vec<Vec<usize>> = Vec::new();
    for set in subsets(operation, &candidates)? {
        if found.iter().any(|smaller| smaller.iter().all(|v| set.contains(v))) {
            continue;
        }
        let given: Vec<usize> = std::iter::once(x).chain(set.iter().copied()).collect();
        if m_separated(&diagram, &[selection], &[y], &given)? {
            found.push(set);
        }
    }
    Ok(found)
}

/// The graph with a selection node and without edges into x.
struct SelectionDiagram<'a> {
    graph: &'a Admg,
    x: usize,
    differing: &'a [usize],
}

impl DirectedMixed for SelectionDiagram<'_> {
    fn node_count(&self) -> usize {
        self.graph.len() + 1
    }
    fn node_name(&self, v: usize) -> &str {
        if v == self.graph.len() { "selection" } else { self.graph.name(v) }
    }
    fn parents(&self, v: usize) -> impl Iterator<Item = usize> {
        let inside = (v < self.graph.len() && v != self.x).then_some(v);
        let selected = inside.filter(|v| self.differing.contains(v)).map(|_| self.graph.len());
        inside.into_iter().flat_map(|v| DirectedMixed::parents(self.graph, v)).chain(selected)
    }
    fn children(&self, v: usize) -> impl Iterator<Item = usize> {
        let inside = (v < self.graph.len()).then_some(v);
        let selected = if inside.is_none() { self.differing } else { &[] };
        let direct = inside.into_iter().flat_map(|v| DirectedMixed::children(self.graph, v));
        direct.chain(selected.iter().copied()).filter(|&u| u != self.x)
    }
    fn siblings(&self, v: usize) -> impl Iterator<Item = usize> {
        let inside = (v < self.graph.len() && v != self.x).then_some(v);
        inside.into_iter().flat_map(|v| self.graph.siblings(v)).filter(|&u| u != self.x)
    }
}

/// A set of inputs with which behavioural cloning reaches the expert's reward although hidden causes may drive both,
/// or `None` when no subset of `inputs` does: a set Z with Y ⊥ X | Z once the edges out of the action X are cut
/// (Zhang, Kumor & Bareinboim, *Causal imitation learning with unobserved confounders*, NeurIPS 2020, theorem 2). No
/// member of the returned set can be left out. Inputs that the action influences are ignored.
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::Overlap`] when action and reward coincide.
pub fn imitation_inputs(
    graph: &Admg,
    action: usize,
    reward: usize,
    inputs: &[usize],
) -> Result<Option<Vec<usize>>> {
    let operation = "imitation_inputs";
    node_set(operation, graph.len(), &[action, reward])?;
    let allowed = node_set(operation, graph.len(), inputs)?;
    if action == reward {
        return Err(Error::Overlap { operation, name: graph.name(action).into() });
    }
    let mut treatment = NodeSet::with_capacity(graph.len());
    treatment.insert(action);
    let cut = super::front_door::WithoutOutgoing { graph, nodes: &treatment };
    let below = graph.dag().descendants(&[action]);
    // When any subset separates, so does the one that holds every allowed ancestor of either.
    let none = NodeSet::with_capacity(graph.len());
    let above = super::adjustment::closure(graph.len(), [action, reward], &none, |v| cut.parents(v));
    let mut set: Vec<usize> =
        above.ones().filter(|&v| allowed.contains(v) && !below.contains(v) && v != reward).collect();
    let separates = |z: &[usize]| m_separated(&cut, &[action], &[reward], z);
    if !separates(&set)? {
        return Ok(None);
    }
    let mut i = 0;
    while i < set.len() {
        let v = set.remove(i);
        if !separates(&set)? {
            set.insert(i, v);
            i += 1;
        }
    }
    Ok(Some(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_covariate_is_reweighted_and_a_shifted_outcome_is_hopeless() {
        // Z → X, Z → Y, X → Y.
        let graph = Admg::from_edges(3, &[(0, 1), (0, 2), (1, 2)], &[]).unwrap();
        assert_eq!(transport_sets(&graph, 1, 2, &[0]).unwrap(), [vec![0]]);
        assert_eq!(
            transport_sets(&graph, 1, 2, &[1]).unwrap(),
            [Vec::<usize>::new()],
            "do(x) replaces the mechanism of x"
        );
        assert!(transport_sets(&graph, 1, 2, &[2]).unwrap().is_empty());
    }

    #[test]
    fn the_proxy_of_the_papers_second_figure() {
        // Z is a proxy of age U: U → Z, U → Y; a differing proxy mechanism does not matter.
        let graph = Admg::from_edges(3, &[(1, 2)], &[(0, 2)]).unwrap();
        assert_eq!(transport_sets(&graph, 1, 2, &[0]).unwrap(), [Vec::<usize>::new()]);
    }

    #[test]
    fn cloning_needs_the_confounder_among_its_inputs() {
        // Z → action, Z → reward, action → reward.
        let graph = Admg::from_edges(3, &[(0, 1), (0, 2), (1, 2)], &[]).unwrap();
        assert_eq!(imitation_inputs(&graph, 1, 2, &[0]).unwrap(), Some(vec![0]));
        assert_eq!(imitation_inputs(&graph, 1, 2, &[]).unwrap(), None);
        let hidden = Admg::from_edges(2, &[(0, 1)], &[(0, 1)]).unwrap();
        assert_eq!(imitation_inputs(&hidden, 0, 1, &[]).unwrap(), None);
        let harmless = Admg::from_edges(3, &[(1, 2), (0, 1)], &[]).unwrap();
        assert_eq!(imitation_inputs(&harmless, 1, 2, &[0]).unwrap(), Some(vec![]));
    }
}
