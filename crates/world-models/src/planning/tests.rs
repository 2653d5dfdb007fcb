use super::*;
use rl_core::env::{CartPole, PointControl, Simulator};

/// r = −Σ (a − target)², any state: the optimum of every step is the target.
struct Quadratic {
    target: Vec<f32>,
    noise: f32,
}

impl Model for Quadratic {
    type Batch = usize;
    fn batch(&self) -> usize {
        0
    }
    fn start(&self, batch: &mut usize, rows: usize) {
        *batch = rows;
    }
    fn step(
        &self,
        batch: &mut usize,
        actions: Actions<'_>,
        rng: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> Result<()> {
        for i in 0..*batch {
            let rl_core::env::Action::Continuous(a) = actions.row(i, *batch) else { unreachable!() };
            let miss: f32 = a.iter().zip(&self.target).map(|(a, t)| (a - t) * (a - t)).sum();
            let z: f32 = rand::RngExt::sample(rng, rand_distr::StandardNormal);
            (rewards[i], continues[i]) = (-miss + self.noise * z, 1.0);
        }
        Ok(())
    }
}

fn rng() -> StreamRng {
    SeedStream::new(3).stream("plan", 0)
}

fn square() -> Space {
    Space::uniform_box(2, -1.0, 1.0)
}

fn first_action(plan: &Plan) -> &[f32] {
    match &plan.action {
        PlannedAction::Continuous(a) => a,
        PlannedAction::Discrete(_) => unreachable!(),
    }
}

fn methods() -> [Method; 3] {
    [
        Method::Cem(Cem::default()),
        Method::Icem(Icem::default()),
        Method::Mppi(Mppi { temperature: 5.0, ..Mppi::default() }),
    ]
}

#[test]
fn every_method_finds_the_optimum_of_a_concave_model() {
    let model = Quadratic { target: vec![0.4, -0.7], noise: 0.0 };
    for method in methods() {
        let config =
            PlannerConfig { horizon: 4, candidates: 400, iterations: 15, method, ..PlannerConfig::default() };
        let plan = Planner::new(config, &square()).unwrap().plan(&model, &mut rng()).unwrap();
        for (a, t) in first_action(&plan).iter().zip(&model.target) {
            let tolerance = if matches!(method, Method::Mppi(_)) { 0.03 } else { 0.01 };
            assert!((a - t).abs() < tolerance, "{method:?}: {a} instead of {t}");
        }
    }
}

#[test]
fn shooting_improves_on_a_single_guess() {
    let model = Quadratic { target: vec![0.4, -0.7], noise: 0.0 };
    let config =
        PlannerConfig { horizon: 1, candidates: 2000, method: Method::Shooting, ..PlannerConfig::default() };
    let plan = Planner::new(config, &square()).unwrap().plan(&model, &mut rng()).unwrap();
    assert!(plan.predicted_return > -0.01);
}

#[test]
fn plans_do_not_depend_on_the_number_of_threads() {
    let model = Quadratic { target: vec![0.4, -0.7], noise: 0.5 };
    let run = |threads| {
        let config = PlannerConfig { block: 30, threads, particles: 2, ..PlannerConfig::default() };
        let mut planner = Planner::new(config, &square()).unwrap();
        let mut rng = rng();
        (0..3).map(|_| planner.plan(&model, &mut rng).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_warm_start_needs_fewer_iterations() {
    let model = Quadratic { target: vec![0.9, -0.9], noise: 0.0 };
    let config = |warm_start| PlannerConfig { iterations: 2, warm_start, ..PlannerConfig::default() };
    let miss = |warm_start| {
        let mut planner = Planner::new(config(warm_start), &square()).unwrap();
        let mut rng = rng();
        let mut last = f64::INFINITY;
        for _ in 0..5 {
            let plan = planner.plan(&model, &mut rng).unwrap();
            last = first_action(&plan).iter().zip(&model.target).map(|(a, t)| f64::from((a - t).abs())).sum();
        }
        last
    };
    assert!(miss(true) < 0.5 * miss(false), "{} against {}", miss(true), miss(false));
}

#[test]
fn equal_scores_near_a_bound_leave_the_proposal_where_it_was() {
    // 400 of 2000 elites at equal scores: the first 400 candidates, an unselected sample.
    let model = Quadratic { target: vec![0.0, 0.0], noise: 0.0 };
    let flat = FlatModel(model);
    let config = PlannerConfig {
        candidates: 2000,
        elites: 2000,
        iterations: 1,
        method: Method::Cem(Cem { momentum: 0.0, ..Cem::default() }),
        ..PlannerConfig::default()
    };
    let mut planner: Planner<FlatModel> = Planner::new(config, &Space::uniform_box(1, -1.0, 1.0)).unwrap();
    let proposal::Proposal::Gaussian(_) = &planner.proposal else { unreachable!() };
    planner.plan(&flat, &mut rng()).unwrap();
    let (mean, std) = planner.proposal.gaussian_statistics();
    assert!((mean - 0.0).abs() < 0.05 && (std - 0.5).abs() < 0.03, "{mean} {std}");
}

/// Ignores its actions.
struct FlatModel(Quadratic);

impl Model for FlatModel {
    type Batch = usize;
    fn batch(&self) -> usize {
        self.0.batch()
    }
    fn start(&self, batch: &mut usize, rows: usize) {
        *batch = rows;
    }
    fn step(
        &self,
        _: &mut usize,
        _: Actions<'_>,
        _: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> Result<()> {
        rewards.fill(1.0);
        continues.fill(1.0);
        Ok(())
    }
}

#[test]
fn rewards_after_termination_do_not_count_and_nan_loses() {
    /// Action > 0 ends the episode with reward 1; going on pays 0.3 a step. Action < −0.9 is not a number.
    struct Gate;
    impl Model for Gate {
        type Batch = usize;
        fn batch(&self) -> usize {
            0
        }
        fn start(&self, batch: &mut usize, rows: usize) {
            *batch = rows;
        }
        fn step(
            &self,
            batch: &mut usize,
            actions: Actions<'_>,
            _: &mut StreamRng,
            rewards: &mut [f32],
            continues: &mut [f32],
        ) -> Result<()> {
            for i in 0..*batch {
                let rl_core::env::Action::Continuous(a) = actions.row(i, *batch) else { unreachable!() };
                let ends = a[0] > 0.0;
                rewards[i] = if a[0] < -0.9 {
                    f32::NAN
                } else if ends {
                    1.0
                } else {
                    0.3
                };
                continues[i] = if ends { 0.0 } else { 1.0 };
            }
            Ok(())
        }
    }
    let space = Space::uniform_box(1, -1.0, 1.0);
    for (horizon, go_on) in [(2, false), (8, true)] {
        let config =
            PlannerConfig { horizon, discount: 1.0, execute: Execute::Best, ..PlannerConfig::default() };
        let plan = Planner::new(config, &space).unwrap().plan(&Gate, &mut rng()).unwrap();
        let a = first_action(&plan)[0];
        assert!(plan.predicted_return.is_finite() && a >= -0.9);
        assert_eq!(a <= 0.0, go_on || plan.predicted_return > 1.0, "horizon {horizon}");
        let best = (horizon - 1) as f64 * 0.3 + 1.0;
        assert!((plan.predicted_return - best).abs() < 1e-5, "{} instead of {best}", plan.predicted_return);
    }
}

#[test]
fn the_true_simulator_steers_the_point_and_balances_the_pole() {
    use rand::SeedableRng;
    let simulator = PointControl::default();
    let mut rng = rng();
    let mut state = [0.8, -0.9, 0.3, 0.1];
    let config =
        PlannerConfig { horizon: 8, candidates: 100, elites: 10, iterations: 4, ..PlannerConfig::default() };
    let mut planner = Planner::new(config, &simulator.spec().action).unwrap();
    let mut model = SimulatorModel::new(simulator, state);
    let mut noise = StreamRng::seed_from_u64(0);
    for _ in 0..40 {
        model.set_state(state);
        let plan = planner.plan(&model, &mut rng).unwrap();
        simulator.transition(&mut state, plan.action.as_action(), &mut noise);
    }
    assert!(state[0].abs() < 0.25 && state[1].abs() < 0.25, "{state:?}");

    let mut state = CartPole.initial_state(&mut noise);
    let config =
        PlannerConfig { horizon: 30, candidates: 60, elites: 6, iterations: 3, ..PlannerConfig::default() };
    let mut planner = Planner::new(config, &CartPole.spec().action).unwrap();
    let mut model = SimulatorModel::new(CartPole, state);
    for step in 0..100 {
        model.set_state(state);
        let plan = planner.plan(&model, &mut rng).unwrap();
        let (_, terminated) = CartPole.transition(&mut state, plan.action.as_action(), &mut noise);
        assert!(!terminated, "the pole fell after {step} steps");
    }
}

#[test]
fn invalid_configurations_are_named() {
    let config = PlannerConfig { elites: 300, ..PlannerConfig::default() };
    let message = config.validate().unwrap_err().to_string();
    assert!(message.contains("planner.elites = 300"), "{message}");
    let unbounded = Space::uniform_box(1, f32::NEG_INFINITY, f32::INFINITY);
    assert!(Planner::<Quadratic>::new(PlannerConfig::default(), &unbounded).is_err());
}

#[test]
fn coloured_noise_has_unit_variance_and_the_stated_correlation() {
    let mut rng = rng();
    let (n, samples) = (16, 4000);
    for exponent in [0.0, 1.0, 2.0] {
        let (mut variance, mut covariance) = (0.0, 0.0);
        for _ in 0..samples {
            let noise = coloured_noise(n, exponent, &mut rng);
            variance += noise.iter().map(|x| x * x).sum::<f64>() / (n * samples) as f64;
            covariance += noise.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / ((n - 1) * samples) as f64;
        }
        // The constant component is not counted in the theoretical variance, so β > 0 exceeds 1 a little.
        assert!(variance > 0.9 && variance < 2.5, "β = {exponent}: variance {variance}");
        let white = exponent == 0.0;
        assert_eq!(
            covariance / variance < 0.15,
            white,
            "β = {exponent}: correlation {}",
            covariance / variance
        );
    }
}
