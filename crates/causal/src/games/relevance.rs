//! Strategic relevance: whose rule must be known before a decision can be optimised.

use super::diagram::InfluenceDiagram;
use crate::error::{Error, Result};
use crate::graph::{Admg, node_set};
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

/// Whether the mechanism of `node` (a decision's rule, or a law of chance) can matter for the optimal rule of `decision`:
/// a new parent of `node` is d-connected to a utility of the agent below `decision`, given the decision and what it sees
/// (s-reachability: Koller & Milch 2003, definition 5.3; for chance nodes Hammond et al. 2023).
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::Shape`] when `decision` is no decision node.
pub fn is_strategically_relevant(game: &InfluenceDiagram, node: usize, decision: usize) -> Result<bool> {
    node_set("is_strategically_relevant", game.nodes().len(), &[node, decision])?;
    if game.owner(decision).is_none() {
        let got = format!("`{}`", game.dag().name(decision));
        return Err(Error::shape("is_strategically_relevant", "a decision node", got));
    }
    if node == decision {
        return Ok(false);
    }
    let stakes = game.stakes(decision);
    let mut given = game.dag().parents(decision);
    given.push(decision);
    mechanism_matters(&Admg::from_dag(game.dag())?, node, &stakes, &given)
}

/// Whether a new parent of `node` is m-connected to one of `outcomes` given `given`.
pub(crate) fn mechanism_matters(
    graph: &Admg,
    node: usize,
    outcomes: &[usize],
    given: &[usize],
) -> Result<bool> {
    let p = graph.len();
    let mut edges = graph.dag().edges();
    edges.push((p, node));
    let extended = Admg::from_edges(p + 1, &edges, &graph.bidirected_edges())?;
    let outcomes: Vec<usize> = outcomes.iter().copied().filter(|v| !given.contains(v)).collect();
    Ok(!extended.m_separated(&[p], &outcomes, given)?)
}

/// The edges `(d, d′)`: decision d relies on the rule of d′, ascending.
///
/// # Errors
/// None for a valid diagram.
pub fn relevance_graph(game: &InfluenceDiagram) -> Result<Vec<(usize, usize)>> {
    let decisions = game.decisions();
    let mut edges = Vec::new();
    for &d in &decisions {
        for &other in &decisions {
            if is_strategically_relevant(game, other, d)? {
                edges.push((d, other));
            }
        }
    }
    Ok(edges)
}

/// The strongly connected components of the relevance graph, each after those it relies on; single decisions throughout
/// mean that backward induction solves the game.
///
/// # Errors
/// None for a valid diagram.
pub fn relevance_components(game: &InfluenceDiagram) -> Result<Vec<Vec<usize>>> {
    let decisions = game.decisions();
    let mut graph: DiGraph<usize, ()> = DiGraph::new();
    for &d in &decisions {
        graph.add_node(d);
    }
    let place = |d: usize| NodeIndex::new(decisions.partition_point(|&e| e < d));
    for (d, other) in relevance_graph(game)? {
        graph.add_edge(place(d), place(other), ());
    }
    // Tarjan's order is that of finishing: what a component points at comes before it.
    let sorted = |component: Vec<NodeIndex>| {
        let mut members: Vec<usize> = component.into_iter().map(|i| graph[i]).collect();
        members.sort_unstable();
        members
    };
    Ok(tarjan_scc(&graph).into_iter().map(sorted).collect())
}

#[cfg(test)]
mod tests {
    use super::super::GameNode;
    use super::*;

    fn matrix_game(second_sees_first: bool) -> InfluenceDiagram {
        let seen: &[usize] = if second_sees_first { &[0] } else { &[] };
        InfluenceDiagram::new(vec![
            GameNode::decision("d0", &[], 0, 2),
            GameNode::decision("d1", seen, 1, 2),
            GameNode::utility("u0", &[0, 1], 0, vec![0.0; 4]),
            GameNode::utility("u1", &[0, 1], 1, vec![0.0; 4]),
        ])
        .unwrap()
    }

    #[test]
    fn simultaneous_moves_rely_on_each_other_and_a_seen_move_does_not_matter() {
        assert_eq!(relevance_graph(&matrix_game(false)).unwrap(), [(0, 1), (1, 0)]);
        assert_eq!(relevance_components(&matrix_game(false)).unwrap(), [vec![0, 1]]);
        assert_eq!(
            relevance_graph(&matrix_game(true)).unwrap(),
            [(0, 1)],
            "the leader relies on the follower"
        );
        assert_eq!(relevance_components(&matrix_game(true)).unwrap(), [vec![1], vec![0]]);
    }

    #[test]
    fn a_noisy_signal_makes_the_senders_rule_matter() {
        // The follower sees only a signal of the leader's move: what a signal means depends on the leader's rule.
        let game = InfluenceDiagram::new(vec![
            GameNode::decision("d0", &[], 0, 2),
            GameNode::chance("signal", &[0], 2, vec![0.8, 0.2, 0.2, 0.8]),
            GameNode::decision("d1", &[1], 1, 2),
            GameNode::utility("u0", &[0, 2], 0, vec![0.0; 4]),
            GameNode::utility("u1", &[0, 2], 1, vec![0.0; 4]),
        ])
        .unwrap();
        assert_eq!(relevance_graph(&game).unwrap(), [(0, 2), (2, 0)]);
        assert!(is_strategically_relevant(&game, 1, 2).unwrap(), "and so does the signal's law");
        assert!(
            is_strategically_relevant(&game, 0, 1).is_err()
                && is_strategically_relevant(&game, 9, 2).is_err()
        );
    }
}
