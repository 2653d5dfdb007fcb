//! The published settings of the causal bandits, and textbook data sets for discovery.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a failure is a failed test")]

use causal::bandit::{ArmPolicy, ArmSet, ConfoundedAgent, StructuralBandit, UnobservedConfounders};
use causal::data::Table;
use causal::discovery::{Knowledge, PcConfig, pc};
use causal::graph::Cpdag;
use causal::independence::FisherZ;
use causal::scm::{DiscreteScm, DiscreteVariable, Noise, Scm};
use rl_core::SeedStream;
use std::sync::Arc;

/// Greedy casino, T = 1000 (Bareinboim, Forney & Pearl 2015).
#[test]
fn intent_beats_every_blind_agent_in_the_greedy_casino() {
    let game = UnobservedConfounders::GREEDY_CASINO;
    let seeds = SeedStream::new(2015);
    let mean = |agent| {
        let mut totals = (0.0, 0.0);
        for i in 0..200 {
            let run = game.play(agent, 1000, 200, &mut seeds.stream("casino", i)).unwrap();
            totals = (totals.0 + run.total_regret() / 200.0, totals.1 + run.optimal_share(100) / 200.0);
        }
        totals
    };
    let (regret, optimal) = mean(ConfoundedAgent::Causal);
    assert!(regret <= 9.0 && optimal >= 0.99, "{regret} {optimal}");
    let (regret, optimal) = mean(ConfoundedAgent::Blind);
    assert!((145.0..156.0).contains(&regret) && (0.48..0.52).contains(&optimal), "{regret} {optimal}");
}

/// Z → X → Y with X ↔ Y and the parameters of Lee & Bareinboim (2018).
fn instrument_model() -> DiscreteScm {
    let variable =
        |name: &str, parents: Vec<usize>, exogenous: Vec<usize>, f: fn(&[usize], &[usize]) -> usize| {
            DiscreteVariable { name: name.into(), cardinality: 2, parents, exogenous, function: Arc::new(f) }
        };
    let z = variable("Z", vec![], vec![0], |_, u| u[0]);
    let x = variable("X", vec![0], vec![1, 3], |pa, u| pa[0] ^ u[0] ^ u[1]);
    let y = variable("Y", vec![1], vec![2, 3], |pa, u| 1 ^ pa[0] ^ u[0] ^ u[1]);
    let coin = |p: f64| vec![1.0 - p, p];
    DiscreteScm::new(vec![z, x, y], vec![coin(0.6), coin(0.11), coin(0.15), coin(0.51)]).unwrap()
}

/// T = 5000: setting everything at once can never play the best arm and loses 0.266 per step.
#[test]
fn setting_everything_at_once_pays_linear_regret_and_pomis_does_not() {
    let seeds = SeedStream::new(2018);
    let regret = |strategy, policy| {
        let bandit = StructuralBandit::new(instrument_model(), 2, strategy).unwrap();
        let runs = 12;
        let one = |i| {
            *bandit.play(policy, 5000, &mut seeds.stream("instrument", i)).unwrap().regret.last().unwrap()
        };
        (0..runs).map(one).sum::<f64>() / runs as f64
    };
    for policy in [ArmPolicy::ThompsonSampling, ArmPolicy::KlUcb] {
        let (all, pomis) = (regret(ArmSet::AllAtOnce, policy), regret(ArmSet::Pomis, policy));
        // Its best arms lose 1330; the gap to its others is 0.014, too small to tell apart in 5000 steps.
        assert!((1325.0..1400.0).contains(&all), "{policy:?} {all}");
        assert!(pomis < 150.0, "{policy:?} {pomis}");
    }
}

/// X2 = 0.7 X1 + 0.5 A + e₂, X3 = 0.8 X2 + 0.3 X1 + e₃ with noise 0.5, 0.3, 0.4 and a uniform action.
#[test]
fn the_chain_with_an_action_is_learned() {
    let names = ["X1", "X2", "X3", "A"].map(String::from).to_vec();
    let weights = [(0, 1, 0.7), (3, 1, 0.5), (1, 2, 0.8), (0, 2, 0.3)];
    let mut noises = [0.5, 0.3, 0.4].map(|sd| Noise::Normal { sd }).to_vec();
    noises.push(Noise::Uniform { half_width: 1.0 });
    let scm = Scm::linear(names.clone(), &weights, &[0.0; 4], noises).unwrap();
    let table = scm.sample(1000, &mut SeedStream::new(1).stream("chain", 0)).unwrap();
    // Nothing causes an exogenous action.
    let mut knowledge = Knowledge::none();
    (0..3).for_each(|v| {
        knowledge.forbid(v, 3);
    });
    let config = PcConfig { alpha: 0.01, ..PcConfig::default() };
    let result = pc(&FisherZ::new(&table).unwrap(), &names, &config, &knowledge).unwrap();
    assert_eq!(result.skeleton.edges(), [(0, 1), (0, 2), (1, 2), (1, 3)]);
    assert!(result.graph.has_directed(3, 1));
    let collider = result.graph.has_directed(0, 1);
    assert!(collider, "A -> X2 <- X1 is an unshielded collider: {}", result.graph);
}

/// Neither the order of the columns nor their units change what PC finds.
#[test]
fn order_and_units_do_not_matter() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lin30.csv");
    let table = Table::read_csv(&path).unwrap();
    let learn = |columns: Vec<usize>, scale: f64| {
        let names: Vec<String> = columns.iter().map(|&v| table.names()[v].clone()).collect();
        let pick = |&v: &usize| table.columns()[v].iter().map(|x| x * scale.powi(v as i32 % 3)).collect();
        let data = Table::new(names.clone(), columns.iter().map(pick).collect()).unwrap();
        let result =
            pc(&FisherZ::new(&data).unwrap(), &names, &PcConfig::default(), &Knowledge::none()).unwrap();
        let mut edges: Vec<(String, String)> = Vec::new();
        for (a, b) in result.skeleton.edges() {
            let (a, b) = (names[a].clone(), names[b].clone());
            edges.push(if a < b { (a, b) } else { (b, a) });
        }
        edges.sort();
        (edges, result.conflicts.len())
    };
    let straight = learn((0..30).collect(), 1.0);
    assert_eq!(straight, learn((0..30).rev().collect(), 1.0));
    assert_eq!(straight.0, learn((0..30).map(|v| (v * 7 + 3) % 30).collect(), 100.0).0);
}

/// The class of a graph without finite-sample trouble is valid and counted.
#[test]
fn a_learned_class_can_be_asked_for_its_members() {
    let weights = [(0, 2, 0.9), (1, 2, 0.8), (2, 3, 0.7)];
    let scm =
        Scm::linear(causal::graph::default_names(4), &weights, &[0.0; 4], vec![Noise::Normal { sd: 1.0 }; 4])
            .unwrap();
    let table = scm.sample(2000, &mut SeedStream::new(8).stream("class", 0)).unwrap();
    let test = FisherZ::new(&table).unwrap();
    let config = PcConfig { alpha: 0.001, ..PcConfig::default() };
    let class: Cpdag = pc(&test, table.names(), &config, &Knowledge::none()).unwrap().cpdag().unwrap();
    assert_eq!(class.member_count().unwrap(), 1);
    assert_eq!(class.to_dag().unwrap(), *scm.dag());
}
