//! How far a learned graph is from the true one: structural Hamming distance, structural intervention distance,
//! adjustment identification distances, precision and recall of adjacencies and arrowheads.
//!
//! Peters & Bühlmann, *Structural intervention distance* (2015); Henckel, Würtzen & Weichwald, *Adjustment
//! identification distance* (UAI 2024).

use super::mixed::{Mark, MixedGraph};
use super::{Dag, NodeSet, members};
use crate::error::{Error, Result};
use crate::identify::{is_valid_adjustment, optimal_adjustment};
use serde::Serialize;

/// Number of node pairs whose edge differs (missing, extra or differently marked). A reversed edge counts 1.
///
/// # Errors
/// [`Error::Shape`] for graphs of different size.
pub fn shd(truth: &MixedGraph, guess: &MixedGraph) -> Result<usize> {
    structural_hamming_distance(truth, guess, 1)
}

/// As [`shd`], with a free price for an edge that is present in both but marked differently (1 or 2 in use).
///
/// # Errors
/// [`Error::Shape`] for graphs of different size.
pub fn structural_hamming_distance(truth: &MixedGraph, guess: &MixedGraph, reversal: usize) -> Result<usize> {
    same_size("shd", truth.len(), guess.len())?;
    let in_truth: usize = truth
        .edges()
        .into_iter()
        .map(|(a, at_a, at_b, b)| match guess.edge(a, b) {
            None => 1,
            Some(marks) if marks != (at_a, at_b) => reversal,
            Some(_) => 0,
        })
        .sum();
    let extra = guess.edges().iter().filter(|e| !truth.adjacent(e.0, e.3)).count();
    Ok(in_truth + extra)
}

/// True and false positives and false negatives of one kind of statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Stated and true.
    pub true_positives: usize,
    /// Stated and false.
    pub false_positives: usize,
    /// True and not stated.
    pub false_negatives: usize,
}

impl Confusion {
    /// tp / (tp + fp); 1 when nothing is stated.
    pub fn precision(&self) -> f64 {
        ratio(self.true_positives, self.false_positives)
    }

    /// tp / (tp + fn); 1 when nothing is to be found.
    pub fn recall(&self) -> f64 {
        ratio(self.true_positives, self.false_negatives)
    }

    /// Harmonic mean of precision and recall.
    pub fn f1(&self) -> f64 {
        let (p, r) = (self.precision(), self.recall());
        if p + r == 0.0 { 0.0 } else { 2.0 * p * r / (p + r) }
    }
}

fn ratio(right: usize, wrong: usize) -> f64 {
    if right + wrong == 0 { 1.0 } else { right as f64 / (right + wrong) as f64 }
}

/// Precision and recall of a learned graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Accuracy {
    /// Pairs of nodes joined by any edge.
    pub adjacency: Confusion,
    /// Arrowheads: `x *→ y`, at each end of each edge.
    pub arrow: Confusion,
}

/// Compares adjacencies and arrowheads.
///
/// # Errors
/// [`Error::Shape`] for graphs of different size.
pub fn accuracy(truth: &MixedGraph, guess: &MixedGraph) -> Result<Accuracy> {
    same_size("accuracy", truth.len(), guess.len())?;
    let mut result = Accuracy::default();
    let heads =
        |marks: Option<(Mark, Mark)>| marks.map_or([false; 2], |(a, b)| [a == Mark::Arrow, b == Mark::Arrow]);
    for a in 0..truth.len() {
        for b in a + 1..truth.len() {
            let (t, g) = (truth.edge(a, b), guess.edge(a, b));
            tally(&mut result.adjacency, t.is_some(), g.is_some());
            for (t, g) in heads(t).into_iter().zip(heads(g)) {
                tally(&mut result.arrow, t, g);
            }
        }
    }
    Ok(result)
}

fn tally(confusion: &mut Confusion, truth: bool, guess: bool) {
    match (truth, guess) {
        (true, true) => confusion.true_positives += 1,
        (false, true) => confusion.false_positives += 1,
        (true, false) => confusion.false_negatives += 1,
        (false, false) => {}
    }
}

/// Structural intervention distance: the number of ordered pairs (t, y) whose effect of do(t) on y comes out
/// wrong when the guessed parents of t are used as adjustment set; 0 ≤ SID ≤ p (p − 1).
///
/// # Errors
/// [`Error::Shape`] for graphs of different size.
pub fn sid(truth: &Dag, guess: &Dag) -> Result<usize> {
    mistakes("sid", truth, guess, |t, y| {
        let parents = guess.parents(t);
        if parents.contains(&y) { None } else { Some(parents) }
    })
}

/// Parent-adjustment identification distance; for DAGs it is the [`sid`].
///
/// # Errors
/// [`Error::Shape`] for graphs of different size.
pub fn parent_aid(truth: &Dag, guess: &Dag) -> Result<usize> {
    sid(truth, guess)
}

/// Ancestor-adjustment identification distance: adjusts for all guessed ancestors of t.
///
/// # Errors
/// [`Error::Shape`] for graphs of different size.
pub fn ancestor_aid(truth: &Dag, guess: &Dag) -> Result<usize> {
    let adjust = |t, _| {
        let mut ancestors = guess.ancestors(&[t]);
        ancestors.set(t, false);
        members(&ancestors)
    };
    mistakes("ancestor_aid", truth, guess, claim(guess, adjust))
}

/// Optimal-adjustment identification distance: adjusts for the guessed O-set of (t, y).
///
/// # Errors
/// [`Error::Shape`] for graphs of different size.
pub fn oset_aid(truth: &Dag, guess: &Dag) -> Result<usize> {
    mistakes("oset_aid", truth, guess, claim(guess, |t, y| optimal_adjustment(guess, t, y)))
}

fn claim(
    guess: &Dag,
    adjust: impl Fn(usize, usize) -> Vec<usize>,
) -> impl Fn(usize, usize) -> Option<Vec<usize>> {
    let descendants: Vec<NodeSet> = (0..guess.len()).map(|t| guess.descendants(&[t])).collect();
    move |t, y| descendants[t].contains(y).then(|| adjust(t, y))
}

/// Counts pairs (t, y) whose claim is wrong in `truth`: `None` claims no effect, `Some(z)` that z is a valid
/// adjustment set.
fn mistakes(
    operation: &'static str,
    truth: &Dag,
    guess: &Dag,
    claim: impl Fn(usize, usize) -> Option<Vec<usize>>,
) -> Result<usize> {
    same_size(operation, truth.len(), guess.len())?;
    let mut wrong = 0;
    for t in 0..truth.len() {
        let affected = truth.descendants(&[t]);
        for y in (0..truth.len()).filter(|&y| y != t) {
            let right = match claim(t, y) {
                None => !affected.contains(y),
                Some(z) => is_valid_adjustment(truth, &[t], &[y], &z)?,
            };
            wrong += usize::from(!right);
        }
    }
    Ok(wrong)
}

fn same_size(operation: &'static str, truth: usize, guess: usize) -> Result<()> {
    if truth == guess { Ok(()) } else { Err(Error::shape(operation, format!("{truth} nodes"), guess)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reversed_edge_costs_what_it_is_said_to_cost() {
        let a = MixedGraph::from_edges(3, &[(0, 1), (1, 2)], &[]).unwrap();
        let b = MixedGraph::from_edges(3, &[(1, 0), (0, 2)], &[]).unwrap();
        assert_eq!(shd(&a, &b).unwrap(), 3);
        assert_eq!(structural_hamming_distance(&a, &b, 2).unwrap(), 4);
        assert_eq!(shd(&a, &a).unwrap(), 0);
        let acc = accuracy(&a, &b).unwrap();
        assert_eq!(
            (acc.adjacency.true_positives, acc.adjacency.false_positives, acc.adjacency.false_negatives),
            (1, 1, 1)
        );
        assert_eq!(acc.arrow.precision(), 0.0);
    }

    #[test]
    fn sid_of_a_reversed_pair() {
        let truth = Dag::from_edges(2, &[(0, 1)]).unwrap();
        let guess = Dag::from_edges(2, &[(1, 0)]).unwrap();
        assert_eq!(sid(&truth, &guess).unwrap(), 2);
        assert_eq!(sid(&truth, &truth).unwrap(), 0);
        let empty = Dag::from_edges(2, &[]).unwrap();
        assert_eq!(sid(&truth, &empty).unwrap(), 1);
    }
}
