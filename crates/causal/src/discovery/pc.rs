//! PC-stable: from conditional independences to a Markov equivalence class, assuming no latent confounders.
//!
//! Spirtes, Glymour & Scheines (2000); Colombo & Maathuis (2014) for the order-independent skeleton; Meek (1995)
//! for the orientation rules. Three phases: skeleton with separating sets, unshielded colliders, Meek's rules.
//! On finite samples the colliders can contradict each other; every refused one is reported.

use super::causal_learn;
use super::knowledge::Knowledge;
use super::skeleton::{Search, Skeleton, learn_skeleton};
use crate::error::{Error, Result};
use crate::graph::{Cpdag, Mark, MeekRules, MixedGraph, meek_closure};
use crate::independence::IndependenceTest;
use serde::{Deserialize, Serialize};

/// When x — y — z with x, z not adjacent becomes x → y ← z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColliderRule {
    /// y is in none of the separating sets of x and z found at their depth. Independent of the column order;
    /// more cautious than the original rule, and what causal-learn does.
    #[default]
    NoSeparatingSet,
    /// y is not in the first separating set (the original PC). Depends on the column order.
    FirstSeparatingSet,
}

/// Which of two contradicting colliders is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictRule {
    /// The one whose outer nodes are more clearly independent (larger p-value). Independent of the column order.
    #[default]
    StrongestFirst,
    /// The one with the smaller collider, then the smaller outer nodes, in the order of the columns.
    FirstFirst,
    /// What causal-learn 0.1.4 does, arrow by arrow, including an incomplete check for cycles. Takes no
    /// background knowledge.
    CausalLearn,
}

/// Settings of [`pc`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PcConfig {
    /// Level of the tests; independent means p > alpha. 0.05, the customary choice.
    pub alpha: f64,
    /// Largest conditioning set; `None` for no cap (the paper).
    pub max_depth: Option<usize>,
    /// How colliders are recognised.
    pub collider_rule: ColliderRule,
    /// How contradictions are settled.
    pub conflict_rule: ConflictRule,
}

impl Default for PcConfig {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            max_depth: None,
            collider_rule: ColliderRule::default(),
            conflict_rule: ConflictRule::default(),
        }
    }
}

impl PcConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        if self.alpha > 0.0 && self.alpha < 1.0 {
            Ok(())
        } else {
            Err(Error::config("pc", "alpha", self.alpha, "in (0, 1)"))
        }
    }
}

/// A collider x → y ← z that contradicts an orientation made before it, and was therefore refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// x.
    pub left: usize,
    /// y.
    pub collider: usize,
    /// z.
    pub right: usize,
}

/// What [`pc`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct PcResult {
    /// Directed and undirected edges.
    pub graph: MixedGraph,
    /// Adjacencies, separating sets, number of tests.
    pub skeleton: Skeleton,
    /// The refused colliders; empty in the limit of infinite data.
    pub conflicts: Vec<Conflict>,
}

impl PcResult {
    /// The equivalence class, when the graph is one. On finite samples, or with background knowledge, it may
    /// not be.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`] saying why not.
    pub fn cpdag(&self) -> Result<Cpdag> {
        Cpdag::try_from(self.graph.clone())
    }
}

/// Learns the equivalence class of the graph behind the tested data.
///
/// # Errors
/// [`Error::Config`], [`Error::Knowledge`], [`Error::Shape`] for another number of names than variables, and
/// what the tests report.
pub fn pc<T: IndependenceTest>(
    test: &T,
    names: &[String],
    config: &PcConfig,
    knowledge: &Knowledge,
) -> Result<PcResult> {
    config.validate()?;
    check_inputs("pc", test, names, knowledge)?;
    let search = match config.collider_rule {
        ColliderRule::NoSeparatingSet => Search::All,
        ColliderRule::FirstSeparatingSet => Search::First,
    };
    let skeleton = learn_skeleton(test, config.alpha, config.max_depth, search, knowledge)?;
    let mut graph = undirected(names, &skeleton)?;
    if config.conflict_rule == ConflictRule::CausalLearn {
        if !knowledge.is_empty() {
            return Err(Error::Knowledge(
                "conflict_rule = causal-learn takes none; use strongest-first".into(),
            ));
        }
        let (graph, conflicts) = causal_learn::orient(graph, &skeleton)?;
        return Ok(PcResult { graph, skeleton, conflicts });
    }
    orient_knowledge(&mut graph, knowledge)?;
    let triples = colliders(test, &skeleton, config.conflict_rule)?;
    let mut conflicts = Vec::new();
    for (x, y, z) in triples {
        if graph.has_directed(y, x) || graph.has_directed(y, z) {
            conflicts.push(Conflict { left: x, collider: y, right: z });
        } else {
            graph.orient(x, y)?;
            graph.orient(z, y)?;
        }
    }
    meek_closure(&mut graph, MeekRules { rule4: !knowledge.is_empty(), refuse_cycles: true })?;
    Ok(PcResult { graph, skeleton, conflicts })
}

pub(super) fn check_inputs<T: IndependenceTest>(
    operation: &'static str,
    test: &T,
    names: &[String],
    knowledge: &Knowledge,
) -> Result<()> {
    if names.len() != test.variables() {
        return Err(Error::shape(operation, format!("{} names", test.variables()), names.len()));
    }
    knowledge.validate(names)
}

fn undirected(names: &[String], skeleton: &Skeleton) -> Result<MixedGraph> {
    let mut graph = MixedGraph::new(names.to_vec())?;
    for (a, b) in skeleton.edges() {
        graph.set_edge(a, Mark::Tail, Mark::Tail, b)?;
    }
    Ok(graph)
}

/// Orients the edges of which only one direction is allowed.
fn orient_knowledge(graph: &mut MixedGraph, knowledge: &Knowledge) -> Result<()> {
    for (a, b) in graph.undirected_edges() {
        match (knowledge.forbids(a, b), knowledge.forbids(b, a)) {
            (false, true) => graph.orient(a, b)?,
            (true, false) => graph.orient(b, a)?,
            _ => {}
        }
    }
    Ok(())
}

/// The unshielded triples x, y, z (x < z) whose separating sets leave y out, in the order in which they are to
/// be applied.
fn colliders<T: IndependenceTest>(
    test: &T,
    skeleton: &Skeleton,
    rule: ConflictRule,
) -> Result<Vec<(usize, usize, usize)>> {
    let mut found = Vec::new();
    for (y, row) in skeleton.adjacent.iter().enumerate() {
        for x in row.ones() {
            for z in row.ones().filter(|&z| x < z && !skeleton.adjacent[x].contains(z)) {
                // Pairs that knowledge keeps apart have no separating set to consult.
                if !skeleton.separators(x, z).is_empty() && !skeleton.separates_with(x, z, y) {
                    found.push((x, y, z));
                }
            }
        }
    }
    if rule == ConflictRule::StrongestFirst {
        let mut scratch = test.scratch();
        let mut keyed = Vec::with_capacity(found.len());
        for &(x, y, z) in &found {
            let mut strength = 0.0f64;
            for set in skeleton.separators(x, z) {
                strength = strength.max(test.test(x, z, set, &mut scratch)?.p_value);
            }
            keyed.push((strength, (x, y, z)));
        }
        keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
        found = keyed.into_iter().map(|(_, triple)| triple).collect();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Dag, default_names};
    use crate::independence::SeparationOracle;
    use proptest::prelude::*;

    fn learn(dag: &Dag, config: &PcConfig, knowledge: &Knowledge) -> PcResult {
        let all: Vec<usize> = (0..dag.len()).collect();
        let oracle = SeparationOracle::new(dag, &all).unwrap();
        pc(&oracle, &default_names(dag.len()), config, knowledge).unwrap()
    }

    fn random_dag(bits: &[bool], order: &[usize]) -> Dag {
        let p = order.len();
        let pairs = (0..p).flat_map(|a| (a + 1..p).map(move |b| (a, b)));
        let edges: Vec<_> =
            pairs.zip(bits).filter(|(_, keep)| **keep).map(|((a, b), _)| (order[a], order[b])).collect();
        Dag::from_edges(p, &edges).unwrap()
    }

    proptest! {
        #[test]
        fn with_perfect_tests_the_true_class_comes_back(bits in proptest::collection::vec(proptest::bool::weighted(0.35), 28), order in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle()) {
            let dag = random_dag(&bits, &order);
            for rule in [ColliderRule::NoSeparatingSet, ColliderRule::FirstSeparatingSet] {
                let result = learn(&dag, &PcConfig { collider_rule: rule, ..PcConfig::default() }, &Knowledge::none());
                prop_assert!(result.conflicts.is_empty());
                prop_assert_eq!(&result.cpdag().unwrap(), &dag.to_cpdag().unwrap());
            }
        }

        #[test]
        fn knowledge_is_never_violated_and_true_tiers_orient_more(bits in proptest::collection::vec(proptest::bool::weighted(0.35), 28), order in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle()) {
            let dag = random_dag(&bits, &order);
            let mut knowledge = Knowledge::none();
            knowledge.tiers(&[order[..4].to_vec(), order[4..].to_vec()]);
            let result = learn(&dag, &PcConfig::default(), &knowledge);
            for (from, to) in result.graph.directed_edges() {
                prop_assert!(!knowledge.forbids(from, to));
                prop_assert!(dag.has_edge(from, to));
            }
            prop_assert!(crate::graph::Mpdag::try_from(result.graph.clone()).is_ok());
        }
    }

    #[test]
    fn a_chain_of_three_loses_the_spurious_edge() {
        let chain = Dag::from_edges(3, &[(0, 1), (1, 2)]).unwrap();
        let result = learn(&chain, &PcConfig::default(), &Knowledge::none());
        assert_eq!(result.skeleton.edges(), [(0, 1), (1, 2)]);
        assert_eq!(result.skeleton.separators(0, 2), [vec![1]]);
    }

    #[test]
    fn the_depth_cap_keeps_what_it_cannot_test() {
        let chain = Dag::from_edges(3, &[(0, 1), (1, 2)]).unwrap();
        let capped = PcConfig { max_depth: Some(0), ..PcConfig::default() };
        assert_eq!(learn(&chain, &capped, &Knowledge::none()).skeleton.edges().len(), 3);
    }

    #[test]
    fn a_forbidden_pair_is_never_joined_and_a_required_edge_never_removed() {
        let chain = Dag::from_edges(3, &[(0, 1), (1, 2)]).unwrap();
        let mut knowledge = Knowledge::none();
        knowledge.closed(&[0, 1]).require(0, 2);
        let result = learn(&chain, &PcConfig::default(), &knowledge);
        assert!(!result.graph.adjacent(0, 1));
        assert!(result.graph.has_directed(0, 2));
    }

    #[test]
    fn bad_settings_name_the_field() {
        let config = PcConfig { alpha: 1.5, ..PcConfig::default() };
        assert!(config.validate().unwrap_err().to_string().contains("pc.alpha = 1.5"));
    }
}
