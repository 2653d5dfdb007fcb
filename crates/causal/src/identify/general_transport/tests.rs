//! Hand-worked diagrams, the published recursion as a slow twin, and exact effects of random models.

use super::*;
use crate::graph::DirectedMixed;
use crate::scm::{DiscreteScm, DiscreteVariable};
use proptest::prelude::*;
use rand::RngExt;
use rl_core::SeedStream;
use std::sync::Arc;

fn shown(graph: &Admg, transport: Transport) -> String {
    match transport {
        Transport::Transported(formula) => formula.display(graph).to_string(),
        Transport::Untransportable(obstruction) => panic!("{obstruction:?}"),
    }
}

#[test]
fn age_differs_between_the_cities() {
    // Pearl & Bareinboim 2011, figure 1a: Z → X, Z → Y, X → Y, X ↔ Y; the age distribution Z differs. The answer is
    // Σ_z P(y | do(x), z) P*(z), with the factor of Y from the experiment.
    let names = ["Z", "X", "Y"].map(String::from).to_vec();
    let graph = Admg::new(names, &[(0, 1), (0, 2), (1, 2)], &[(1, 2)]).unwrap();
    let (transported, sources) = sid(&graph, &[0], &[1], &[2]).unwrap();
    assert_eq!(sources.len(), 3);
    assert_eq!(shown(&graph, transported), "Σ_{Z} [P(Z)]_{target} [P(Y | Z, X)]_{source; do(Z, X)}");
}

#[test]
fn a_bow_whose_outcome_differs_is_an_s_hedge() {
    let graph = Admg::from_edges(2, &[(0, 1)], &[(0, 1)]).unwrap();
    assert!(matches!(sid(&graph, &[], &[0], &[1]).unwrap().0, Transport::Transported(_)));
    assert!(
        matches!(sid(&graph, &[0], &[0], &[1]).unwrap().0, Transport::Transported(_)),
        "do(x) replaces it"
    );
    let Transport::Untransportable(reason) = sid(&graph, &[1], &[0], &[1]).unwrap().0 else {
        panic!("the outcome's mechanism is unknown in the target")
    };
    assert_eq!(reason.district, [1]);
    let Obstacle::Hedge(hedge) = &reason.obstacles[0] else { panic!("the target has a hedge") };
    assert_eq!((&hedge.forest[..], &hedge.inner_forest[..]), (&[0, 1][..], &[1][..]));
    assert_eq!(reason.obstacles[1], Obstacle::Differing(vec![1]));
}

#[test]
fn two_experiments_are_stitched_where_neither_suffices() {
    // X1 → W → Y ← X2 with X1 ↔ W and X2 ↔ Y: W needs do(X1), Y needs do(X2).
    let names = ["X1", "W", "X2", "Y"].map(String::from).to_vec();
    let graph = Admg::new(names, &[(0, 1), (1, 3), (2, 3)], &[(0, 1), (2, 3)]).unwrap();
    let refused = |list: &[Vec<usize>]| {
        matches!(gid(&graph, list, &[0, 2], &[3]).unwrap(), Transport::Untransportable(_))
    };
    assert!(refused(&[vec![]]) && refused(&[vec![0], vec![]]) && refused(&[vec![2]]));
    let both = gid(&graph, &[vec![0], vec![2]], &[0, 2], &[3]).unwrap();
    let text = shown(&graph, both);
    assert!(text.contains("target; do(X1)") && text.contains("target; do(X2)"), "{text}");
}

#[test]
fn bad_sources_are_errors() {
    let graph = Admg::from_edges(2, &[(0, 1)], &[]).unwrap();
    assert!(gid(&graph, &[vec![7]], &[0], &[1]).is_err());
    assert!(sid(&graph, &[2], &[0], &[1]).is_err());
    assert!(sid(&graph, &[], &[0], &[0]).is_err());
    assert!(transport(&graph, &[], &[0], &[]).is_err());
    let Transport::Untransportable(nothing) = transport(&graph, &[], &[0], &[1]).unwrap() else {
        panic!("there is no source")
    };
    assert!(nothing.obstacles.is_empty());
}

/// Binary variables: a random table of parents and shared noise, flipped by noise of its own. The mechanisms of
/// `differing` are drawn anew.
fn random_model(graph: &Admg, seed: u64, differing: &[usize]) -> DiscreteScm {
    let p = graph.len();
    let shared = graph.bidirected_edges();
    let mut laws = Vec::new();
    let mut variables = Vec::new();
    for v in 0..p {
        let domain = if differing.contains(&v) { 1000 } else { 0 };
        let mut rng = SeedStream::new(seed).stream("mechanism", domain + v as u64);
        let flip = rng.random_range(0.1..0.4);
        laws.push(vec![1.0 - flip, flip]);
        let mut exogenous = vec![v];
        exogenous.extend((0..shared.len()).filter(|&e| shared[e].0 == v || shared[e].1 == v).map(|e| p + e));
        let parents = graph.dag().parents(v);
        let table: Vec<usize> =
            (0..1 << (parents.len() + exogenous.len())).map(|_| rng.random_range(0..2)).collect();
        let function = move |pa: &[usize], u: &[usize]| {
            table[pa.iter().chain(&u[1..]).fold(0, |i, bit| 2 * i + bit)] ^ u[0]
        };
        let name = graph.name(v).to_string();
        variables.push(DiscreteVariable {
            name,
            cardinality: 2,
            parents,
            exogenous,
            function: Arc::new(function),
        });
    }
    laws.extend(shared.iter().map(|_| vec![0.4, 0.6]));
    DiscreteScm::new(variables, laws).unwrap()
}

fn assignments(variables: &[usize]) -> Vec<Vec<(usize, usize)>> {
    let value = |bits: usize| variables.iter().enumerate().map(|(i, &v)| (v, bits >> i & 1)).collect();
    (0..1 << variables.len()).map(value).collect()
}

/// The joint of the experiment, every setting of weight one.
fn experiment(model: &DiscreteScm, randomized: &[usize]) -> Factor {
    let mut total: Option<Factor> = None;
    for setting in assignments(randomized) {
        let one = model.joint(&setting).unwrap();
        total = Some(match total {
            None => one,
            Some(sum) => {
                let values = sum.values().iter().zip(one.values()).map(|(a, b)| a + b).collect();
                Factor::new(one.variables().to_vec(), one.cardinalities().to_vec(), values).unwrap()
            }
        });
    }
    total.unwrap()
}

/// Largest difference between the formula and the effect in the target's model.
fn worst(
    graph: &Admg,
    seed: u64,
    formula: &TransportFormula,
    sources: &[Source],
    x: &[usize],
    y: usize,
) -> f64 {
    let joint = |s: &Source| experiment(&random_model(graph, seed, &s.differing), &s.randomized);
    let table = formula.evaluate(&sources.iter().map(joint).collect::<Vec<_>>()).unwrap();
    let target = random_model(graph, seed, &[]);
    let mut worst = 0.0f64;
    for mut at in assignments(x) {
        let truth = target.mean(y, &at).unwrap();
        at.push((y, 1));
        worst = worst.max((table.at(&at).unwrap() - truth).abs());
    }
    worst
}

/// The decision of sID as published (2012, figure 5): ID, but a hedge is harmless when no selection node points at the
/// district in question.
fn published_sid(graph: &Admg, differing: &NodeSet, y: &NodeSet, x: &NodeSet, v: &NodeSet) -> bool {
    if x.is_clear() {
        return true;
    }
    let above = graph.ancestors_within(y, v);
    if &above != v {
        return published_sid(graph, differing, y, &(x & &above), &above);
    }
    let mut relevant = NodeSet::with_capacity(graph.len());
    let mut stack: Vec<usize> = y.ones().collect();
    while let Some(u) = stack.pop() {
        if !relevant.put(u) && !x.contains(u) {
            stack.extend(DirectedMixed::parents(graph, u).filter(|&w| v.contains(w)));
        }
    }
    let mut harmless = v.clone();
    harmless.difference_with(x);
    harmless.difference_with(&relevant);
    if !harmless.is_clear() {
        return published_sid(graph, differing, y, &(x | &harmless), v);
    }
    let mut rest = v.clone();
    rest.difference_with(x);
    let districts = graph.districts_within(&rest);
    if districts.len() > 1 {
        return districts.iter().all(|c| {
            let mut others = v.clone();
            others.difference_with(c);
            published_sid(graph, differing, c, &others, v)
        });
    }
    let whole = graph.districts_within(v);
    let around = whole.iter().find(|d| districts[0].is_subset(d)).unwrap();
    if around == v {
        return districts[0].is_disjoint(differing);
    }
    around == &districts[0] || published_sid(graph, differing, y, &(x & around), around)
}

fn random_graph(p: usize, directed: &[bool], bidirected: &[bool]) -> Admg {
    let pairs: Vec<(usize, usize)> = (0..p).flat_map(|a| (a + 1..p).map(move |b| (a, b))).collect();
    let chosen = |bits: &[bool]| {
        pairs.iter().copied().zip(bits).filter(|(_, keep)| **keep).map(|(e, _)| e).collect::<Vec<_>>()
    };
    Admg::from_edges(p, &chosen(directed), &chosen(bidirected)).unwrap()
}

fn bits(set: u8, p: usize) -> Vec<usize> {
    (0..p).filter(|v| set >> v & 1 == 1).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Random selection diagrams: what sID transports is the exact effect in the target, and it refuses exactly where
    /// the published recursion fails.
    #[test]
    fn sid_is_exact_and_decides_as_published(
        directed in proptest::collection::vec(proptest::bool::weighted(0.6), 10),
        bidirected in proptest::collection::vec(proptest::bool::weighted(0.35), 10),
        (differing, x, seed) in (0u8..32, 1u8..16, 0u64..1000),
    ) {
        let graph = random_graph(5, &directed, &bidirected);
        let (differing, x) = (bits(differing, 5), bits(x, 5));
        let (answer, sources) = sid(&graph, &differing, &x, &[4]).unwrap();
        let set = |nodes: &[usize]| node_set("test", 5, nodes).unwrap();
        let expected = published_sid(&graph, &set(&differing), &set(&[4]), &set(&x), &set(&[0, 1, 2, 3, 4]));
        match answer {
            Transport::Transported(formula) => {
                prop_assert!(expected);
                if graph.bidirected_edges().len() <= 4 {
                    let error = worst(&graph, seed, &formula, &sources, &x, 4);
                    prop_assert!(error < 1e-9, "{error} in {}", formula.display(&graph));
                }
            }
            Transport::Untransportable(reason) => {
                prop_assert!(!expected);
                prop_assert!(matches!(reason.obstacles[0], Obstacle::Hedge(_)), "an s-hedge begins with a hedge");
                prop_assert!(reason.district.iter().any(|v| differing.contains(v)));
            }
        }
    }

    /// Two domains and arbitrary experiments: every formula is exact, and observations alone decide as ID does.
    #[test]
    fn heterogeneous_sources_are_exact(
        directed in proptest::collection::vec(proptest::bool::weighted(0.6), 6),
        bidirected in proptest::collection::vec(proptest::bool::weighted(0.4), 6),
        (differing, first, second, x, seed) in (0u8..16, 0u8..16, 0u8..16, 1u8..8, 0u64..1000),
    ) {
        let graph = random_graph(4, &directed, &bidirected);
        let x = bits(x, 4);
        let sources = [
            Source { name: "here".into(), differing: vec![], randomized: bits(first, 4) },
            Source { name: "there".into(), differing: bits(differing, 4), randomized: bits(second, 4) },
        ];
        if let Transport::Transported(formula) = transport(&graph, &sources, &x, &[3]).unwrap() {
            let error = worst(&graph, seed, &formula, &sources, &x, 3);
            prop_assert!(error < 1e-9, "{error} in {}", formula.display(&graph));
        }
        let observed = matches!(gid(&graph, &[vec![]], &x, &[3]).unwrap(), Transport::Transported(_));
        let plain = matches!(id(&graph, &x, &[3]).unwrap(), Identification::Identified(_));
        prop_assert_eq!(observed, plain);
    }
}
