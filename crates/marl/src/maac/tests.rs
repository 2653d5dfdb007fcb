use super::*;
use crate::env::particle::{Config as World, ParticleBatch, Scenario};
use crate::env::{Batch, Copies, foraging};
use crate::trainer::{TrainConfig, Training};

fn small() -> Config {
    Config { hidden: 8, heads: 2, batch: 16, warm_up: 40, capacity: 1000, ..Config::default() }
}

fn run<E: Batch + Clone>(env: E, config: Config, steps: u64) -> (Maac, Vec<f32>, f64) {
    let seeds = SeedStream::new(4);
    let learner = Maac::new(env.layout(), config, &seeds).unwrap();
    let first = weights(&learner);
    let plan = TrainConfig { steps, evaluations: 1, episodes: 10 };
    let mut training = Training::new(learner, env.clone(), env, plan, &seeds).unwrap();
    training.run(|_, _| {}).unwrap();
    let mean = training.history()[0].mean_sum();
    (training.learner, first, mean)
}

fn weights(learner: &Maac) -> Vec<f32> {
    let actors = learner.actors.iter().map(|a| a.online.params());
    actors.chain(learner.online.params()).flat_map(|p| p.to_vec::<f32>().unwrap()).collect()
}

#[test]
fn it_runs_on_all_kinds_of_teams_and_repeats_bit_for_bit() {
    for name in ["simple_spread", "simple_speaker_listener", "simple_tag"] {
        let world = World { scenario: Scenario::named(name).unwrap(), ..World::default() };
        let env = ParticleBatch::new(world, 4).unwrap();
        for sharing in [Sharing::None, Sharing::All] {
            let config = Config { sharing, ..small() };
            let (a, first, x) = run(env.clone(), config.clone(), 200);
            let (b, _, y) = run(env.clone(), config, 200);
            assert!(weights(&a) == weights(&b) && x == y && weights(&a) != first);
        }
    }
    let grid = foraging::Config { masked: true, max_episode_steps: 20, ..Default::default() };
    run(Copies::new(foraging::Foraging::new(grid).unwrap(), 4), small(), 200);
}

#[test]
fn an_own_action_does_not_enter_the_own_values_and_everything_is_trained() {
    let sizes = [(3, 2), (4, 5), (2, 3)];
    let mut rng = SeedStream::new(1).stream("critic", 0);
    let critic = Critic::new(&sizes, 8, 2, &mut rng).unwrap();
    let rows = |width: usize, scale: f64| {
        let x = Tensor::arange(0f32, (6 * width) as f32, &Device::Cpu).unwrap().reshape((6, width)).unwrap();
        (x * scale).unwrap().sin().unwrap()
    };
    let seen: Vec<Tensor> = sizes.iter().map(|s| rows(s.0, 0.7)).collect();
    let acts = |scale| -> Vec<Tensor> {
        sizes.iter().enumerate().map(|(i, s)| rows(s.1, if i == 1 { scale } else { 0.3 })).collect()
    };
    let (q, logits) = critic.forward(&seen, &acts(0.5), true).unwrap();
    let (other, _) = critic.forward(&seen, &acts(0.9), true).unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(flat(&q[1]), flat(&other[1]));
    assert_ne!(flat(&q[0]), flat(&other[0]));
    let sum = q.iter().map(|q| q.sin().unwrap().sum_all().unwrap()).reduce(|a, b| (a + b).unwrap()).unwrap();
    let grads = (sum + logits.sqr().unwrap().mean_all().unwrap()).unwrap().backward().unwrap();
    for params in critic.params() {
        let gradient = grads.get(params.tensor()).unwrap().to_vec1::<f32>().unwrap();
        assert!(gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|g| *g != 0.0));
    }
}

#[test]
fn attention_can_be_looked_at() {
    let env = ParticleBatch::new(World::default(), 5).unwrap();
    let (mut learner, _, _) = run(env.clone(), small(), 100);
    let mut env = env;
    let mut now = BatchStep::new(env.layout(), 5);
    env.reset(&SeedStream::new(0), &mut now).unwrap();
    let weights = learner.attention(&now).unwrap();
    assert_eq!(weights.len(), 3 * 5 * 2 * 3);
    for (i, row) in weights.chunks(3).enumerate() {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5 && row[i / 10] == 0.0);
    }
}

#[test]
fn it_learns_to_go_to_a_landmark() {
    let world = World { scenario: Scenario::Simple, ..World::default() };
    let env = ParticleBatch::new(world, 10).unwrap();
    let config = Config {
        hidden: 32,
        batch: 128,
        warm_up: 500,
        update_every: 10,
        gamma: 0.9,
        capacity: 20_000,
        ..Config::default()
    };
    let (_, _, mean) = run(env, config, 15_000);
    assert!(mean > -15.0, "{mean}");
}
