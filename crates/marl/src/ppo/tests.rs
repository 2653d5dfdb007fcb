use super::*;
use crate::env::particle::{Config as World, ParticleBatch, Scenario};
use crate::env::{Batch, Copies, point_arena};
use crate::trainer::{TrainConfig, Training};

fn run<E: Batch + Clone>(env: E, config: Config, steps: u64) -> (Ppo, Vec<f32>, f64) {
    let seeds = SeedStream::new(5);
    let learner = Ppo::new(env.layout(), config, &seeds).unwrap();
    let first = weights(&learner);
    let plan = TrainConfig { steps, evaluations: 1, episodes: 20 };
    let mut training = Training::new(learner, env.clone(), env, plan, &seeds).unwrap();
    training.run(|_, _| {}).unwrap();
    let history = training.history().to_vec();
    let learner = training.learner;
    (learner, first, history[0].mean_sum())
}

fn weights(learner: &Ppo) -> Vec<f32> {
    let params = learner.teams.iter().flat_map(Team::params);
    params.flat_map(|p| p.to_vec::<f32>().unwrap()).collect()
}

#[test]
fn every_option_runs_and_repeats_bit_for_bit() {
    let scenario = |name| World { scenario: Scenario::named(name).unwrap(), ..World::default() };
    for name in ["simple_spread", "simple_speaker_listener", "simple_tag"] {
        let env = ParticleBatch::new(scenario(name), 4).unwrap();
        for (central, sharing) in [(true, Sharing::All), (false, Sharing::Group), (true, Sharing::None)] {
            let config = Config { central, sharing, epochs: 2, minibatches: 2, ..Config::default() };
            let (a, first, x) = run(env.clone(), config.clone(), 200);
            let (b, _, y) = run(env.clone(), config, 200);
            assert!(weights(&a) == weights(&b) && x == y && weights(&a) != first);
        }
    }
    let arena = point_arena::Config { steps: 30, radius: 2.0, ..Default::default() };
    let env = Copies::new(point_arena::PointArena::new(arena).unwrap(), 3);
    let (a, first, _) = run(env, Config { epochs: 2, sharing: Sharing::All, ..Config::default() }, 300);
    assert!(weights(&a).iter().all(|w| w.is_finite()) && weights(&a) != first);
}

#[test]
fn it_learns_to_go_to_a_landmark() {
    let world = World { scenario: Scenario::Simple, ..World::default() };
    let env = ParticleBatch::new(world, 32).unwrap();
    let (_, _, mean) = run(env, Config { rate: 3e-3, ..Config::default() }, 40_000);
    assert!(mean > -15.0, "{mean}");
}
