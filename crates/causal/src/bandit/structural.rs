//! Structural causal bandits: which sets of variables are worth intervening on.
//!
//! Lee & Bareinboim, *Structural causal bandits: where to intervene?* (NeurIPS 2018). An arm is do(W = w) on some set
//! W of variables, the reward is Y. A minimal intervention set has no member that could be left out; a possibly
//! optimal minimal intervention set (POMIS) is the best for some parametrisation of the graph. Playing anything else
//! wastes time, and intervening on everything at once can exclude the best arm.

use super::arms::ArmPolicy;
use crate::error::{Error, Result};
use crate::graph::{Admg, DirectedMixed, NodeSet, members, node_set};
use crate::scm::DiscreteScm;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Which arms a strategy considers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmSet {
    /// Possibly optimal minimal intervention sets.
    Pomis,
    /// Minimal intervention sets.
    Mis,
    /// All subsets of the manipulable variables.
    BruteForce,
    /// All manipulable variables together.
    AllAtOnce,
}

/// The minimal intervention sets for `reward` among `manipulable` variables, smallest first: those all of whose
/// members are ancestors of the reward once the edges into them are cut.
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::TooLarge`] with more than 20 candidates.
pub fn minimal_intervention_sets(
    graph: &Admg,
    reward: usize,
    manipulable: &[usize],
) -> Result<Vec<Vec<usize>>> {
    let candidates = candidates(graph, reward, manipulable)?;
    let mut sets = crate::identify::subsets("minimal_intervention_sets", &candidates)?;
    sets.retain(|w| {
        let cut = Cut::new(graph, w);
        let above = cut.ancestors(reward);
        w.iter().all(|&v| above.contains(v))
    });
    Ok(sets)
}

/// The possibly optimal minimal intervention sets, smallest first: the interventional borders of the graphs in which
/// some set W was intervened on (Lee & Bareinboim 2018, theorem 6). The empty set is one when observing can be best.
///
/// Variables that cannot be manipulated are projected out first (Lee & Bareinboim, *Structural causal bandits with
/// non-manipulable variables*, AAAI 2019).
///
/// # Errors
/// As [`minimal_intervention_sets`].
pub fn pomis(graph: &Admg, reward: usize, manipulable: &[usize]) -> Result<Vec<Vec<usize>>> {
    let candidates = candidates(graph, reward, manipulable)?;
    let fixed: Vec<usize> = (0..graph.len()).filter(|v| !candidates.contains(v) && *v != reward).collect();
    let kept: Vec<usize> = (0..graph.len()).filter(|v| !fixed.contains(v)).collect();
    let projected = graph.latent_projection(&fixed)?;
    let place = |v: usize| kept.iter().position(|&k| k == v).unwrap_or(0);
    let free: Vec<usize> = candidates.iter().map(|&v| place(v)).collect();
    let mut borders = BTreeSet::new();
    for set in crate::identify::subsets("pomis", &free)? {
        let border = interventional_border(&projected, place(reward), &set)?;
        borders.insert(border.into_iter().map(|v| kept[v]).collect::<Vec<usize>>());
    }
    let mut borders: Vec<Vec<usize>> = borders.into_iter().collect();
    borders.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    Ok(borders)
}

fn candidates(graph: &Admg, reward: usize, manipulable: &[usize]) -> Result<Vec<usize>> {
    node_set("structural bandit", graph.len(), manipulable)?;
    node_set("structural bandit", graph.len(), &[reward])?;
    let mut candidates: Vec<usize> = manipulable.iter().copied().filter(|&v| v != reward).collect();
    candidates.sort_unstable();
    candidates.dedup();
    Ok(candidates)
}

/// IB(G_W̄, Y): the parents outside the minimal unobserved-confounders' territory. The territory holds Y and is
/// closed under c-components and descendants among the ancestors of Y in the graph without edges into W.
///
/// # Errors
/// [`Error::Node`] for an index out of range.
pub fn interventional_border(graph: &Admg, reward: usize, intervened: &[usize]) -> Result<Vec<usize>> {
    node_set("interventional_border", graph.len(), intervened)?;
    node_set("interventional_border", graph.len(), &[reward])?;
    let cut = Cut::new(graph, intervened);
    let above = cut.ancestors(reward);
    let mut territory = NodeSet::with_capacity(graph.len());
    let mut stack = vec![reward];
    while let Some(v) = stack.pop() {
        if !territory.put(v) {
            stack.extend(cut.siblings(v).filter(|&u| above.contains(u)));
            stack.extend(cut.children(v).filter(|&u| above.contains(u)));
        }
    }
    let mut border = NodeSet::with_capacity(graph.len());
    for v in territory.ones() {
        border.extend(cut.parents(v));
    }
    border.difference_with(&territory);
    Ok(members(&border))
}

/// The graph without edges into some nodes.
struct Cut<'a> {
    graph: &'a Admg,
    into: NodeSet,
}

impl<'a> Cut<'a> {
    fn new(graph: &'a Admg, into: &[usize]) -> Self {
        let mut set = NodeSet::with_capacity(graph.len());
        set.extend(into.iter().copied());
        Self { graph, into: set }
    }

    fn parents(&self, v: usize) -> impl Iterator<Item = usize> {
        let cut = self.into.contains(v);
        DirectedMixed::parents(self.graph, v).filter(move |_| !cut)
    }

    fn children(&self, v: usize) -> impl Iterator<Item = usize> {
        DirectedMixed::children(self.graph, v).filter(|&u| !self.into.contains(u))
    }

    fn siblings(&self, v: usize) -> impl Iterator<Item = usize> {
        let cut = self.into.contains(v);
        self.graph.siblings(v).filter(move |&u| !cut && !self.into.contains(u))
    }

    fn ancestors(&self, of: usize) -> NodeSet {
        let mut seen = NodeSet::with_capacity(self.graph.len());
        let mut stack = vec![of];
        while let Some(v) = stack.pop() {
            if !seen.put(v) {
                stack.extend(self.parents(v));
            }
        }
        seen
    }
}

/// One run of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct StructuralRun {
    /// Σ over the steps so far of (best mean of all interventions − mean of the arm played).
    pub regret: Vec<f64>,
    /// Whether the arm had the best mean, per step.
    pub optimal: Vec<bool>,
}

/// A bandit on a discrete model with a binary reward.
pub struct StructuralBandit {
    scm: DiscreteScm,
    reward: usize,
    arms: Vec<Vec<(usize, usize)>>,
    means: Vec<f64>,
    best: f64,
}

impl StructuralBandit {
    /// The bandit whose arms are all values of the sets of a strategy; every variable but the reward can be set.
    ///
    /// # Errors
    /// [`Error::Node`] for a reward out of range, [`Error::Data`] for a reward that is not binary, and as
    /// [`pomis`].
    pub fn new(scm: DiscreteScm, reward: usize, strategy: ArmSet) -> Result<Self> {
        let sizes = scm.cardinalities();
        if reward >= sizes.len() {
            return Err(Error::Node { operation: "StructuralBandit", node: reward, count: sizes.len() });
        }
        if sizes[reward] != 2 {
            return Err(Error::data("reward", format!("has {} values, must be binary", sizes[reward])));
        }
        let free: Vec<usize> = (0..sizes.len()).filter(|&v| v != reward).collect();
        let everything = crate::identify::subsets("StructuralBandit", &free)?;
        let sets = match strategy {
            ArmSet::Pomis => pomis(scm.diagram(), reward, &free)?,
            ArmSet::Mis => minimal_intervention_sets(scm.diagram(), reward, &free)?,
            ArmSet::BruteForce => everything.clone(),
            ArmSet::AllAtOnce => vec![free],
        };
        let arms: Vec<_> = sets.iter().flat_map(|w| assignments(w, &sizes)).collect();
        let means = arms.iter().map(|arm| scm.mean(reward, arm)).collect::<Result<Vec<_>>>()?;
        let mut best = f64::NEG_INFINITY;
        for arm in everything.iter().flat_map(|w| assignments(w, &sizes)) {
            best = best.max(scm.mean(reward, &arm)?);
        }
        Ok(Self { scm, reward, arms, means, best })
    }

    /// The arms as lists of `(variable, value)`; the empty list observes.
    pub fn arms(&self) -> &[Vec<(usize, usize)>] {
        &self.arms
    }

    /// E[Y | do(arm)] of every arm.
    pub fn means(&self) -> &[f64] {
        &self.means
    }

    /// The best mean among all interventions, whether or not the strategy has that arm.
    pub fn best_mean(&self) -> f64 {
        self.best
    }

    /// The best mean among the arms of the strategy.
    pub fn best_arm_mean(&self) -> f64 {
        self.means.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Lets a policy play `steps` rounds.
    ///
    /// # Errors
    /// As [`DiscreteScm::sample`].
    pub fn play(&self, policy: ArmPolicy, steps: usize, rng: &mut impl Rng) -> Result<StructuralRun> {
        let mut wins = vec![0.0; self.arms.len()];
        let mut plays = vec![0.0; self.arms.len()];
        let mut run = StructuralRun { regret: Vec::with_capacity(steps), optimal: Vec::with_capacity(steps) };
        let mut total = 0.0;
        for t in 1..=steps {
            let arm = policy.choose(&wins, &plays, t, rng);
            let reward = self.scm.sample(&self.arms[arm], rng)?[self.reward];
            wins[arm] += reward as f64;
            plays[arm] += 1.0;
            total += self.best - self.means[arm];
            run.regret.push(total);
            run.optimal.push(self.best - self.means[arm] < 1e-12);
        }
        Ok(run)
    }
}

/// Every assignment of values to a set of variables.
fn assignments(set: &[usize], sizes: &[usize]) -> Vec<Vec<(usize, usize)>> {
    set.iter().fold(vec![Vec::new()], |done, &v| {
        let extend = |a: &Vec<(usize, usize)>| {
            (0..sizes[v]).map(|x| a.iter().copied().chain([(v, x)]).collect()).collect::<Vec<_>>()
        };
        done.iter().flat_map(extend).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instrument_graph() {
        // Z → X → Y, X ↔ Y.
        let graph = Admg::from_edges(3, &[(0, 1), (1, 2)], &[(1, 2)]).unwrap();
        assert_eq!(pomis(&graph, 2, &[0, 1]).unwrap(), [vec![0], vec![1]]);
        assert_eq!(minimal_intervention_sets(&graph, 2, &[0, 1]).unwrap(), [vec![], vec![0], vec![1]]);
    }

    #[test]
    fn what_cannot_be_manipulated_is_projected_out() {
        // Z → X → Y with X fixed: only Z is left to set.
        let graph = Admg::from_edges(3, &[(0, 1), (1, 2)], &[]).unwrap();
        assert_eq!(pomis(&graph, 2, &[0]).unwrap(), [vec![0]]);
    }

    #[test]
    fn without_confounders_only_the_parents_matter() {
        let graph = Admg::from_edges(5, &[(0, 2), (1, 2), (0, 3), (1, 3), (2, 4), (3, 4)], &[]).unwrap();
        assert_eq!(pomis(&graph, 4, &[0, 1, 2, 3]).unwrap(), [vec![2, 3]]);
        assert_eq!(minimal_intervention_sets(&graph, 4, &[0, 1, 2, 3]).unwrap().len(), 13);
    }
}
