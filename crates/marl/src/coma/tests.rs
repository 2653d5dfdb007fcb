use super::policy::{counterfactual, lift};
use super::*;
use crate::env::particle::{Config as World, ParticleBatch, Scenario};
use crate::env::{Batch, Copies, foraging, matrix};
use crate::trainer::{TrainConfig, Training};

fn run<E: Batch + Clone>(env: E, config: Config, steps: u64) -> (Coma, f64) {
    let seeds = SeedStream::new(6);
    let learner = Coma::new(env.layout(), config, &seeds).unwrap();
    let plan = TrainConfig { steps, evaluations: 1, episodes: 10 };
    let mut training = Training::new(learner, env.clone(), env, plan, &seeds).unwrap();
    training.run(|_, _| {}).unwrap();
    let mean = training.history()[0].mean_sum();
    (training.learner, mean)
}

#[test]
fn it_runs_on_all_kinds_of_teams_and_repeats_bit_for_bit() {
    for name in ["simple_spread", "simple_speaker_listener"] {
        let world = World { scenario: Scenario::named(name).unwrap(), ..World::default() };
        let env = ParticleBatch::new(world, 4).unwrap();
        for sharing in [Sharing::All, Sharing::None] {
            let config = Config { sharing, hidden: vec![8], ..Config::default() };
            let weights = |c: &Coma| {
                c.teams.iter().map(|t| t.policy.params().to_vec::<f32>().unwrap()).collect::<Vec<_>>()
            };
            let ((a, x), (b, y)) = (run(env.clone(), config.clone(), 300), run(env.clone(), config, 300));
            assert!(weights(&a) == weights(&b) && x == y && x.is_finite());
        }
    }
    let grid = foraging::Config { masked: true, max_episode_steps: 20, ..Default::default() };
    let config = Config { hidden: vec![8], ..Config::default() };
    run(Copies::new(foraging::Foraging::new(grid).unwrap(), 4), config, 300);
}

#[test]
fn the_floor_and_the_advantage_by_hand() {
    let mut row = [0.0, 0.0, 5.0, 0.0];
    lift(&mut row, &[true, true, false, true], 0.3);
    let p = row.map(f32::exp);
    assert!((p[0] - 1.0 / 3.0).abs() < 1e-6 && p[2] < 1e-20);
    assert!((counterfactual(&[0.5, 0.25, 0.25], &[4.0, 0.0, 8.0], 2) - 4.0).abs() < 1e-6);
}

#[test]
fn it_learns_to_coordinate() {
    // Sum over two agents of 25 steps: 50 is the best, chance gives 50/3.
    let env = Copies::new(matrix::Matrix::new(matrix::Config::coordination(3)).unwrap(), 8);
    let config = Config {
        hidden: vec![16],
        actor_rate: 5e-3,
        critic_rate: 5e-3,
        floor: Schedule::Linear { start: 0.5, end: 0.02, steps: 10_000 },
        ..Config::default()
    };
    let (_, mean) = run(env, config, 20_000);
    assert!(mean > 45.0, "{mean}");
}
