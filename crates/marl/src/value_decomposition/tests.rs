use super::*;
use crate::env::matrix::{self, Matrix};
use crate::env::particle::{Config as World, ParticleBatch, Scenario};
use crate::env::{Batch, Copies};
use crate::trainer::{TrainConfig, Training};

fn run<E: Batch + Clone>(env: E, config: Config, steps: u64, seed: u64) -> (ValueDecomposition, f64) {
    let seeds = SeedStream::new(seed);
    let learner = ValueDecomposition::new(env.layout(), config, &seeds).unwrap();
    let plan = TrainConfig { steps, evaluations: 1, episodes: 10 };
    let mut training = Training::new(learner, env.clone(), env, plan, &seeds).unwrap();
    training.run(|_, _| {}).unwrap();
    let history = training.history().to_vec();
    let learner = training.learner;
    (learner, history[0].mean_sum())
}

fn weights(learner: &ValueDecomposition) -> Vec<f32> {
    let agents = learner.agents.iter().map(|a| a.online.params());
    let mixer = learner.mixer.iter().flat_map(|(_, online)| online.params());
    agents.chain(mixer).flat_map(|p| p.to_vec::<f32>().unwrap()).collect()
}

#[test]
fn the_mix_is_monotone_and_every_network_gets_a_gradient() {
    let mut rng = SeedStream::new(0).stream("mixer", 0);
    let mixer = Mixer::new(3, 5, &MixerConfig::default(), &mut rng).unwrap();
    let numbers =
        |n: usize, rng: &mut StreamRng| (0..n).map(|_| rng.random_range(-1.0f32..1.0)).collect::<Vec<_>>();
    let state = Tensor::from_vec(numbers(40, &mut rng), (8, 5), &Device::Cpu).unwrap();
    let q = candle_core::Var::from_vec(numbers(24, &mut rng), (8, 3), &Device::Cpu).unwrap();
    let grads = mixer.forward(q.as_tensor(), &state).unwrap().sum_all().unwrap().backward().unwrap();
    let slopes = grads.get(q.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(slopes.iter().all(|g| *g >= 0.0) && slopes.iter().any(|g| *g > 0.0));
    for params in mixer.params() {
        let gradient = grads.get(params.tensor()).unwrap().to_vec1::<f32>().unwrap();
        assert!(gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|g| *g != 0.0));
    }
}

#[test]
fn qmix_solves_the_two_step_game_and_vdn_does_not() {
    let env = Copies::new(Matrix::new(matrix::Config::two_step()).unwrap(), 4);
    let config = |mixing| Config {
        mixing,
        hidden: vec![32],
        rate: 2e-3,
        batch: 128,
        capacity: 5_000,
        warm_up: 200,
        update_every: 4,
        epsilon: Schedule::Constant(1.0),
        sharing: Sharing::None,
        reward_scale: 0.5,
        ..Config::default()
    };
    // Returns are sums over two agents with one reward: 16 is the optimum, 14 the safe branch.
    assert_eq!(run(env.clone(), config(Mixing::Monotone), 8_000, 1).1, 16.0);
    assert_eq!(run(env, config(Mixing::Sum), 8_000, 1).1, 14.0);
}

#[test]
fn every_option_runs_and_repeats_bit_for_bit() {
    for name in ["simple_spread", "simple_speaker_listener"] {
        let env =
            ParticleBatch::new(World { scenario: Scenario::named(name).unwrap(), ..World::default() }, 3)
                .unwrap();
        for mixing in [Mixing::Independent, Mixing::Sum, Mixing::Monotone] {
            let config =
                Config { mixing, batch: 32, warm_up: 60, sharing: Sharing::All, ..Config::default() };
            let (a, x) = run(env.clone(), config.clone(), 300, 0);
            let (b, y) = run(env.clone(), config, 300, 0);
            assert!(weights(&a) == weights(&b) && x == y && a.updates > 0);
        }
    }
}
