use super::networks::{Networks, NetworksConfig, Windows};
use super::*;
use crate::planning::{Model, PlannerConfig};
use candle_core::{Device, Tensor};
use rl_core::SeedStream;
use rl_core::env::{Actions, make};
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::nn::Params;

fn small() -> NetworksConfig {
    NetworksConfig { latent: 16, hidden: 12, members: 3, bins: 21, entropy: 0.1, ..NetworksConfig::default() }
}

/// Heads that start at zero hide what lies below: they are given weights first.
fn networks() -> Networks {
    let mut rng = SeedStream::new(2).stream("init", 0);
    let networks = Networks::new(&small(), (3, 2), &Device::Cpu, &mut rng).unwrap();
    for params in networks.model_modules() {
        let moved = |(i, p): (usize, &f32)| p + 0.1 * (i as f32).sin();
        let values: Vec<f32> = params.to_vec::<f32>().unwrap().iter().enumerate().map(moved).collect();
        params.set(&values).unwrap();
    }
    networks.follow(1.0).unwrap();
    networks
}

fn windows() -> Windows {
    let numbers = |n: usize, f: f32| (0..n).map(|i| (i as f32 * f).sin()).collect::<Vec<_>>();
    Windows {
        steps: 2,
        batch: 4,
        observations: numbers(3 * 4 * 3, 0.7),
        actions: numbers(2 * 4 * 2, 1.3),
        rewards: numbers(8, 2.1),
        terminated: (0..8).map(|i| i == 5).collect(),
    }
}

fn all_alive(loss: &Tensor, trained: &[&Params], untouched: &[&Params]) {
    let grads = loss.backward().unwrap();
    for params in trained {
        let gradient = grads.get(params.var()).unwrap().to_vec1::<f32>().unwrap();
        for part in params.parts() {
            let of_part = &gradient[part.range()];
            assert!(
                of_part.iter().all(|g| g.is_finite()) && of_part.iter().any(|g| *g != 0.0),
                "{}",
                part.name
            );
        }
    }
    assert!(untouched.iter().all(|params| grads.get(params.var()).is_none()));
}

#[test]
fn the_models_loss_trains_the_model_and_the_policys_the_policy() {
    let (networks, windows) = (networks(), windows());
    let mut rng = SeedStream::new(3).stream("learn", 0);
    let targets = networks.targets(&windows, 0.9, [0, 2], &mut rng).unwrap();
    // A step that ended the task has no future.
    assert_eq!(targets[5], windows.rewards[5]);
    assert_ne!(targets[4], windows.rewards[4]);
    let losses = networks.loss(&windows, &targets).unwrap();
    all_alive(&losses.total, &networks.model_modules(), &networks.policy_modules());
    let (policy, q) = networks.policy_loss(&losses.latents, 4, 1.0, [1, 2], &mut rng).unwrap();
    assert_eq!(q.len(), 4);
    all_alive(&policy, &networks.policy_modules(), &networks.model_modules());
}

#[test]
fn the_planner_sees_the_networks_of_the_loss() {
    let (networks, windows) = (networks(), windows());
    let mut model = LatentModel::new(&networks, &[-2.0, 0.0], &[2.0, 1.0]).unwrap();
    let latents = networks.loss(&windows, &[0.0; 8]).unwrap().latents.to_vec2::<f32>().unwrap();
    model.observe(&windows.observations[..3]);
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&model.latent, &latents[0]));
    let mut batch = model.batch();
    model.start(&mut batch, 1);
    let mut rng = SeedStream::new(3).stream("imagine", 0);
    let (mut reward, mut continues, mut value) = ([0.0], [0.0], [0.0]);
    // Actions of the environment: ±2 and 0 … 1 stand for ±1.
    let action = [2.0 * windows.actions[0], 0.5 * (windows.actions[1] + 1.0)];
    model.step(&mut batch, Actions::Continuous(&action), &mut rng, &mut reward, &mut continues).unwrap();
    model.terminal_values(&mut batch, &mut value).unwrap();
    assert!(reward[0].is_finite() && value[0].is_finite() && continues == [1.0]);
    let za =
        Tensor::from_vec([&latents[0][..], &windows.actions[..2]].concat(), (1, 18), &Device::Cpu).unwrap();
    let logits = networks.reward.forward(&za).unwrap();
    let want = networks.code.predict(&logits).unwrap().to_vec1::<f32>().unwrap()[0];
    assert!((reward[0] - want).abs() < 1e-3 * want.abs().max(1.0), "{} {want}", reward[0]);
    let proposals = model.proposals(5, 3, &mut rng);
    assert!(
        proposals.len() == 30
            && proposals.chunks(2).all(|a| a[0].abs() <= 2.0 && (0.0..=1.0).contains(&a[1]))
    );
}

fn agent() -> TdMpc {
    let config = TdMpcConfig {
        steps: 120,
        random_steps: 30,
        action_repeat: 2,
        updates_per_action: 0.5,
        batch: 8,
        proposals: 3,
        networks: small(),
        planner: PlannerConfig { candidates: 12, elites: 4, iterations: 2, ..TdMpcConfig::default().planner },
        ..TdMpcConfig::default()
    };
    TdMpc::new(config, make("Pendulum-v1", 0).unwrap(), &Device::Cpu, SeedStream::new(6)).unwrap()
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let state_of = |agent: &TdMpc| {
        let mut state = TrainState::default();
        agent.save("a", &mut state).unwrap();
        state
    };
    for stop in [20, 70] {
        let mut metrics = Metrics::in_memory();
        let mut whole = agent();
        while whole.step() < stop {
            whole.advance(&mut metrics).unwrap();
        }
        let mut resumed = agent();
        resumed.load("a", &state_of(&whole)).unwrap();
        for agent in [&mut whole, &mut resumed] {
            while agent.step() < 100 {
                agent.advance(&mut metrics).unwrap();
            }
        }
        assert!(state_of(&whole) == state_of(&resumed), "stopped at {stop}");
    }
    let result = agent().evaluate(&mut [make("Pendulum-v1", 0).unwrap()], &[4], SeedStream::new(1)).unwrap();
    assert_eq!(result.lengths, [200]);
}

#[test]
fn the_discount_is_the_papers() {
    assert_eq!(TdMpcConfig::discount_for(500), 0.99);
    assert_eq!((TdMpcConfig::discount_for(50), TdMpcConfig::discount_for(100_000)), (0.95, 0.995));
}
