use super::experience::starts;
use super::*;
use causal::rl::{InterventionalDataset, Structure, WorldModelConfig};
use rl_core::SeedStream;
use rl_core::env::{Action, Actions, Simulator, Space};
use world_models::planning::{Model, Planner, PlannerConfig};

const FAMILIAR: WindyPendulum =
    WindyPendulum { sensors: Sensors::Calibrated, wind: None, start: 0.6, steps: 10 };

fn experience(task: &WindyPendulum, steps: usize, seed: u64) -> InterventionalDataset {
    let set: &[usize] = if task.wind.is_some() { &[WindyPendulum::WIND] } else { &[] };
    let rng = &mut SeedStream::new(seed).stream("data", 0);
    random_experience(task, &WindyPendulum::VARIABLES, set, steps, rng).unwrap()
}

fn learn(structure: Structure, updates: u64) -> FactoredModel {
    let mechanisms = WorldModelConfig {
        structure,
        hidden: vec![16, 16],
        updates,
        ..FactoredModelConfig::default().mechanisms
    };
    let data = experience(&FAMILIAR, 1500, 1);
    let config = FactoredModelConfig { mechanisms, ..FactoredModelConfig::default() };
    FactoredModel::learn(&data, &config, SeedStream::new(2)).unwrap()
}

/// θ ← ω; ω ← θ, w, u; w ← w; a sensor follows what moves its variable and its own past; reward ← θ, ω.
fn truth() -> Structure {
    let sensors = [vec![0, 1, 3], vec![0, 1, 2, 4, 7], vec![2, 5]];
    let mut all = vec![vec![1], vec![0, 2, 7], vec![2]];
    all.extend(sensors);
    all.push(vec![0, 1]);
    Structure::Given(all)
}

#[test]
fn the_wind_is_held_and_sensors_cause_nothing() {
    let rng = &mut SeedStream::new(1).stream("task", 0);
    let held = WindyPendulum { wind: Some(1.5), ..FAMILIAR };
    let mut state = held.initial_state(rng);
    for _ in 0..100 {
        held.transition(&mut state, Action::Continuous(&[2.0]), rng);
        assert!(state[1].abs() < 8.3 && state[2] == 1.5);
    }
    let (mut a, mut b) = ([0.1, 0.2, 0.3, 0.0, 0.0, 0.0], [0.1, 0.2, 0.3, 9.0, -9.0, 9.0]);
    let run = |s: &mut [f64; 6]| {
        let rng = &mut SeedStream::new(3).stream("task", 0);
        FAMILIAR.transition(s, Action::Continuous(&[0.5]), rng).0
    };
    assert_eq!((run(&mut a), a), (run(&mut b), b));
    // Hand-worked, to the noise: the reward is of the state that is acted in.
    let (mut mean, n) = (0.0, 4000);
    for _ in 0..n {
        let mut state = [0.1, 0.2, 0.0, 0.0, 0.0, 0.0];
        mean += FAMILIAR.transition(&mut state, Action::Continuous(&[0.5]), rng).0 / f64::from(n);
    }
    assert!((mean + 2.0 * (1.0 - 0.1f64.cos()) + 0.004).abs() < 0.01, "{mean}");
}

#[test]
fn with_the_true_parents_sensors_change_nothing_and_a_held_wind_is_understood() {
    let model = learn(truth(), 600);
    assert_eq!(model.relevant(), [0, 1, 2]);
    let (calm, odd) = ([0.1, 0.2, 0.3, 0.2, 0.1, 0.3], [0.1, 0.2, 0.3, -5.0, 5.0, -5.0]);
    let (a, b) = (
        model.predict_intervention(&calm, &[0.4], &[]).unwrap(),
        model.predict_intervention(&odd, &[0.4], &[]).unwrap(),
    );
    assert_eq!((&a.mean[..3], &a.reward), (&b.mean[..3], &b.reward));
    assert!(a.deviation.iter().all(|s| *s > 0.0));
    let set = [Set { variable: WindyPendulum::WIND, value: 1.5 }];
    let held = model.predict_intervention(&calm, &[0.4], &set).unwrap();
    assert_eq!((held.mean[2], held.deviation[2]), (1.5, 0.0));
    assert_eq!((held.mean[0], held.mean[1]), (a.mean[0], a.mean[1]));
    let strange = experience(&WindyPendulum { sensors: Sensors::Reversed, ..FAMILIAR }, 400, 9);
    let error = model.error(&strange, &[0, 1], 1, &[]).unwrap();
    assert!(error < 0.15, "{error}");
    let windy = experience(&WindyPendulum { wind: Some(1.5), ..FAMILIAR }, 400, 9);
    let (knows, ignores) =
        (model.error(&windy, &[0, 1], 5, &set).unwrap(), model.error(&windy, &[0, 1], 5, &[]).unwrap());
    assert!(knows < ignores, "{knows} {ignores}");
    assert!(model.predict_intervention(&calm, &[0.4], &[Set { variable: 6, value: 0.0 }]).is_err());
    assert!(model.predict_intervention(&calm, &[], &[]).is_err());
    a_plan_is_deterministic_and_imagination_follows_the_means(&model);
}

fn a_plan_is_deterministic_and_imagination_follows_the_means(model: &FactoredModel) {
    let mut imagination = model.imagine(&[Set { variable: 2, value: 0.7 }]).unwrap();
    let state = [0.1f32, 0.2, 0.3, 0.2, 0.1, 0.3];
    imagination.observe(&state);
    let rng = &mut SeedStream::new(1).stream("plan", 0);
    let (mut dream, mut rewards, mut continues) = (imagination.batch(), [0.0; 2], [0.0; 2]);
    imagination.start(&mut dream, 2);
    imagination
        .step(&mut dream, Actions::Continuous(&[0.4, -0.4]), rng, &mut rewards, &mut continues)
        .unwrap();
    let want = model.predict_intervention(&state, &[0.4], &[]).unwrap();
    assert!((rewards[0] - want.reward[0]).abs() < 1e-5 && continues == [1.0; 2]);
    let config =
        PlannerConfig { horizon: 4, candidates: 20, elites: 4, iterations: 2, ..PlannerConfig::default() };
    let space = Space::uniform_box(1, -2.0, 2.0);
    let plan = || {
        let rng = &mut SeedStream::new(5).stream("plan", 0);
        Planner::new(config.clone(), &space).unwrap().plan(&imagination, rng).unwrap()
    };
    assert_eq!(plan(), plan());
}

#[test]
fn the_score_finds_the_parents_behind_the_sensors() {
    let parents = learn(Structure::Learned, 1).parents();
    assert_eq!([&parents[0], &parents[1], &parents[6]], [&vec![1], &vec![0, 2, 7], &vec![0, 1]]);
    // What moves the wind is either the wind or its sensor: 1500 steps can take one for the other, never need both.
    assert_eq!(parents[2].len(), 1, "{parents:?}");
}

#[test]
fn the_dense_model_reads_everything_and_episodes_are_not_crossed() {
    let model = learn(Structure::Dense, 20);
    assert_eq!(model.parents()[0].len(), 8);
    assert_eq!(model.relevant().len(), 6);
    let data = experience(&FAMILIAR, 40, 3);
    let starts = starts(&data, 5);
    assert!(starts.iter().all(|i| i % 10 <= 5) && starts.len() == 24, "{starts:?}");
    assert!(random_experience(&FAMILIAR, &["x"], &[], 5, &mut SeedStream::new(1).stream("data", 0)).is_err());
}
