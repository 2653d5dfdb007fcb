use super::*;
use crate::env::particle::{Config as World, Particle, ParticleBatch, Scenario};
use crate::env::{Batch, Copies, MultiAgentEnv, point_arena};
use crate::trainer::{TrainConfig, Training, evaluate};

fn small() -> Config {
    Config { hidden: vec![16], batch: 32, capacity: 1000, warm_up: 50, update_every: 25, ..Config::default() }
}

fn run<E: Batch + Clone>(env: E, config: Config, steps: u64) -> (Maddpg, Vec<Vec<f32>>, Vec<f64>) {
    let seeds = SeedStream::new(3);
    let learner = Maddpg::new(env.layout(), config, &seeds).unwrap();
    let before = [learner.actors.weights(), learner.critics.weights()].concat();
    let config = TrainConfig { steps, evaluations: 1, episodes: 5 };
    let mut training = Training::new(learner, env.clone(), env, config, &seeds).unwrap();
    training.run(|_, _| {}).unwrap();
    let history = training.history().to_vec();
    let learner = training.learner;
    let sums = history[0].returns.iter().map(|r| r.iter().sum()).collect();
    (learner, before, sums)
}

#[test]
fn every_option_runs_changes_every_network_and_repeats_bit_for_bit() {
    let spread = ParticleBatch::new(World::default(), 4).unwrap();
    let scenario = Scenario::named("simple_speaker_listener").unwrap();
    let speaker = ParticleBatch::new(World { scenario, ..World::default() }, 4).unwrap();
    let scenario = Scenario::named("simple_tag").unwrap();
    let tag = ParticleBatch::new(World { scenario, ..World::default() }, 4).unwrap();
    let options = [
        small(),
        Config { relaxation: Relaxation::Soft, ..small() },
        Config { actors: Sharing::All, critics: Sharing::All, ..small() },
        Config { twin: true, policy_delay: 2, ..small() },
        Config { exploration: Exploration::EpsilonGreedy, noise: Schedule::Constant(0.2), ..small() },
        Config { critic: CriticKind::Attention { width: 8, heads: 2 }, ..small() },
        Config { critic: CriticKind::Attention { width: 8, heads: 1 }, critics: Sharing::All, ..small() },
    ];
    for env in [spread, speaker, tag] {
        for config in options.clone() {
            let (learner, before, sums) = run(env.clone(), config.clone(), 400);
            let after = [learner.actors.weights(), learner.critics.weights()].concat();
            assert!(before.iter().zip(&after).all(|(b, a)| b != a), "a network was not trained: {config:?}");
            assert!(learner.updates() > 0 && sums.iter().all(|s| s.is_finite()));
            let (again, _, same) = run(env.clone(), config, 400);
            assert_eq!((after, sums), ([again.actors.weights(), again.critics.weights()].concat(), same));
        }
    }
}

#[test]
fn teams_can_use_different_algorithms_and_dying_agents_are_masked() {
    let scenario = Scenario::named("simple_tag").unwrap();
    let env = ParticleBatch::new(World { scenario, ..World::default() }, 2).unwrap();
    run(env, Config { local_critics: vec![1], critics: Sharing::All, ..small() }, 200);
    let arena = point_arena::Config { steps: 30, radius: 2.0, ..Default::default() };
    let env = Copies::new(point_arena::PointArena::new(arena).unwrap(), 3);
    run(env, Config { hidden: vec![16], batch: 32, capacity: 1000, warm_up: 50, ..Config::matd3() }, 400);
}

#[test]
fn targets_bootstrap_unless_terminated() {
    assert_eq!(critic::targets(&[1.0, 1.0], &[0.0, 1.0], &[10.0, 10.0], 0.5), [6.0, 1.0]);
}

#[test]
fn updates_are_counted_in_environment_steps() {
    let updates = |copies| {
        let env = ParticleBatch::new(World::default(), copies).unwrap();
        run(env, small(), 400).0.updates()
    };
    assert_eq!(updates(1), 15);
    assert_eq!(updates(8), 15);
}

#[test]
fn saved_networks_act_alike() {
    let env = ParticleBatch::new(World::default(), 4).unwrap();
    let (mut learner, _, _) = run(env.clone(), small(), 200);
    let mut state = TrainState::default();
    learner.save("maddpg", &mut state).unwrap();
    let mut other = Maddpg::new(env.layout(), small(), &SeedStream::new(99)).unwrap();
    other.load("maddpg", &state).unwrap();

    let seeds = SeedStream::new(1);
    let play = |l: &mut Maddpg| evaluate(l, &mut env.clone(), 4, &seeds).unwrap();
    assert_eq!(play(&mut learner), play(&mut other));
}

#[test]
fn it_learns_to_go_to_a_landmark() {
    // Simple, 25 steps: staying costs about 25 · (2/3 + 2/3); a random policy does about as badly.
    let world = World { scenario: Scenario::Simple, ..World::default() };
    let config = Config { batch: 128, warm_up: 500, update_every: 10, capacity: 20_000, ..Config::default() };
    let env = ParticleBatch::new(world, 10).unwrap();
    let (_, _, sums) = run(env, config, 15_000);
    let mean = sums.iter().sum::<f64>() / sums.len() as f64;
    assert!(mean > -15.0, "{mean}");
    assert_eq!(Particle::new(world).unwrap().layout().n(), 1);
}
