use super::*;
use causal::data::Table;
use causal::discovery::{Knowledge, PcConfig, pc};
use causal::graph::shd;
use causal::independence::FisherZ;
use proptest::prelude::*;
use rl_core::SeedStream;

fn tables(agents: usize, rows: usize, seed: u64) -> (Blueprint, Vec<Table>) {
    let seeds = SeedStream::new(seed);
    let line = Blueprint::random(7, 0.35, &mut seeds.stream("line", 0)).unwrap();
    let scm = line.scm().unwrap();
    let draw = |i| scm.sample(rows, &mut seeds.stream("rows", i)).unwrap();
    (line, (0..agents as u64).map(draw).collect())
}

fn pooled(tables: &[Table]) -> Table {
    let columns =
        (0..tables[0].len()).map(|c| tables.iter().flat_map(|t| t.columns()[c].clone()).collect()).collect();
    Table::new(tables[0].names().to_vec(), columns).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn the_secure_sum_is_the_pooled_data(seed in 0u64..1000, agents in 2usize..5) {
        let (_, tables) = tables(agents, 60, seed);
        let own: Vec<Statistics> = tables.iter().map(Statistics::of).collect();
        let (sum, traffic) = secure_sum(&own, SeedStream::new(seed)).unwrap();
        let (open, raw) = (Statistics::sum(&own).unwrap(), pooled(&tables));
        prop_assert_eq!(sum.rows(), raw.rows() as u64);
        prop_assert!(traffic.bytes_up > 0 && traffic.bytes_down > 0);
        for (a, b) in sum.covariance().iter().zip(open.covariance()) {
            prop_assert!((a - b).abs() < 1e-5);
        }
        let found = sum.discover(&PcConfig::default(), &Knowledge::none()).unwrap();
        let test = FisherZ::new(&raw).unwrap();
        let want = pc(&test, raw.names(), &PcConfig::default(), &Knowledge::none()).unwrap().graph;
        prop_assert_eq!(shd(&want, &found).unwrap(), 0);
    }
}

#[test]
fn covariances_are_those_of_the_rows() {
    let table = Table::from_columns(vec![vec![1.0, 2.0, 4.0], vec![-1.0, 0.5, 1.0]]).unwrap();
    let all = Statistics::of(&table).covariance();
    // Means 7/3 and 1/6; by hand: Σx²/3 − (7/3)² = 7 − 49/9, Σxy/3 − 7/18 = 4/3 − 7/18.
    assert!((all[0] - 14.0 / 9.0).abs() < 1e-12 && (all[1] - 17.0 / 18.0).abs() < 1e-12, "{all:?}");
    assert_eq!(all[1], all[2]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let small = Statistics::of(&Table::from_columns(vec![vec![1.0, 2.0]]).unwrap());
    assert!(secure_sum(std::slice::from_ref(&small), SeedStream::new(0)).is_err());
    let large = Statistics::of(&Table::from_columns(vec![vec![1e8, 2e8]]).unwrap());
    assert!(secure_sum(&[small, large], SeedStream::new(0)).unwrap_err().to_string().contains("standardise"));
    assert!(Statistics::sum(&[]).is_err());
    assert!(Blueprint::random(1, 0.5, &mut SeedStream::new(0).stream("line", 0)).is_err());
}

/// X₀ → X₁ → Y with weights 2 and 3, and X₂, an effect of X₁.
fn by_hand() -> SupplyLine {
    let parents = vec![vec![], vec![(0, 2.0)], vec![(1, 1.0)], vec![(1, 3.0)]];
    let blueprint = Blueprint { parents, intercepts: vec![0.0; 4] };
    SupplyLine { blueprint, owned: vec![vec![0], vec![1, 2]], price: 0.5 }
}

#[test]
fn downstream_actions_cut_off_upstream_ones_and_the_plan_knows() {
    let task = by_hand();
    let truth = &task.blueprint;
    assert_eq!(truth.outcome(&[(0, 1.0)]), 6.0);
    assert_eq!(truth.outcome(&[(0, 1.0), (1, 1.0)]), 3.0);
    assert_eq!(truth.outcome(&[(2, 1.0)]), 0.0);
    // Agent 0 acts, agent 1 leaves it alone.
    assert_eq!(task.plan(truth), [1, 0]);
    assert_eq!(task.play(&[truth.clone(), truth.clone()]), 5.5);
    let game = task.game();
    assert_eq!((game.actions.clone(), game.joint()), (vec![3, 5], 15));
    assert_eq!(game.payoffs[0][5], [5.5, 5.5]);
    assert!(game.validate().is_ok());
}

#[test]
fn a_blueprint_is_learned_from_statistics_alone() {
    let task = by_hand();
    let scm = task.blueprint.scm().unwrap();
    let table = scm.sample(2000, &mut SeedStream::new(4).stream("rows", 0)).unwrap();
    let statistics = Statistics::of(&table);
    let config = PcConfig { alpha: 0.001, ..PcConfig::default() };
    let learned = Blueprint::learn(&statistics, &config).unwrap();
    for (found, truth) in learned.parents.iter().zip(&task.blueprint.parents) {
        assert_eq!(found.len(), truth.len());
        found.iter().zip(truth).for_each(|(f, t)| assert!(f.0 == t.0 && (f.1 - t.1).abs() < 0.15));
    }
    assert_eq!(task.plan(&learned), [1, 0]);
    // Without structure X₂ looks as good as a cause: both agents act, and pay.
    let blind = Blueprint::correlations(&statistics).unwrap();
    assert!(task.play(&[blind.clone(), blind]) < 5.5);
}
