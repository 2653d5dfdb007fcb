use super::*;
use crate::env::scripted::{Policy, Random};
use crate::env::{
    Action, Actions, Autoreset, BatchEnv, CartPole, Episode, IDS, Pendulum, Space, VectorEnv, make,
};
use crate::numpy_rng::NumpyRng;
use crate::testing::env_contract;

fn cart_pole() -> Episode<CartPole, NumpyRng> {
    Episode::new(CartPole, 0)
}

fn pendulum() -> Episode<Pendulum, NumpyRng> {
    Episode::new(Pendulum::default(), 0)
}

#[test]
fn every_environment_keeps_the_contract() {
    for id in IDS {
        env_contract(|| make(id, 0).unwrap());
    }
}

#[test]
fn every_wrapper_keeps_the_contract() {
    env_contract(|| TimeLimit::new(cart_pole(), 7).unwrap());
    env_contract(|| TimeLimit::new(pendulum(), 300).unwrap());
    env_contract(|| RescaleAction::new(pendulum()).unwrap());
    env_contract(|| ClipAction::new(pendulum()).unwrap());
    env_contract(|| ClipAction::new(RescaleAction::new(pendulum()).unwrap()).unwrap());
    env_contract(|| NormalizeObservation::new(cart_pole()).unwrap());
    env_contract(|| NormalizeReward::new(pendulum(), 0.99).unwrap());
    env_contract(|| FrameStack::new(pendulum(), 3).unwrap());
    env_contract(|| EpisodeStatistics::new(cart_pole()));
    env_contract(|| {
        let counted = EpisodeStatistics::new(TimeLimit::new(pendulum(), 50).unwrap());
        let scaled = NormalizeReward::new(RescaleAction::new(counted).unwrap(), 0.9).unwrap();
        FrameStack::new(NormalizeObservation::new(scaled).unwrap(), 2).unwrap()
    });
}

#[test]
fn actions_are_rescaled_to_the_bounds_and_clipped_at_them() {
    let torque = |env: &mut dyn Env, a: f32| {
        let mut o = [0.0; 3];
        env.reset(Some(1), &mut o).unwrap();
        env.step(Action::Continuous(&[a]), &mut o).unwrap();
        o
    };
    for a in [-1.0, -0.3, 0.0, 1.0] {
        let scaled = torque(&mut RescaleAction::new(pendulum()).unwrap(), a);
        assert_eq!(scaled, torque(&mut pendulum(), 2.0 * a));
    }
    assert_eq!(torque(&mut ClipAction::new(pendulum()).unwrap(), 7.0), torque(&mut pendulum(), 2.0));
    assert!(RescaleAction::new(cart_pole()).unwrap_err().to_string().contains("Discrete(2)"));
    assert!(RescaleAction::new(ClipAction::new(pendulum()).unwrap()).is_err());
}

#[test]
fn frames_are_stacked_oldest_first() {
    let mut env = FrameStack::new(pendulum(), 3).unwrap();
    let mut plain = pendulum();
    let (mut stacked, mut o) = ([0.0; 9], [0.0; 3]);
    env.reset(Some(2), &mut stacked).unwrap();
    plain.reset(Some(2), &mut o).unwrap();
    let mut history = vec![o; 3];
    assert_eq!(stacked, *history.concat());
    for t in 0..5 {
        env.step(Action::Continuous(&[t as f32]), &mut stacked).unwrap();
        plain.step(Action::Continuous(&[t as f32]), &mut o).unwrap();
        history.push(o);
        assert_eq!(stacked, *history[history.len() - 3..].concat());
    }
}

#[test]
fn normalised_observations_have_zero_mean_and_unit_variance() {
    let mut env = NormalizeObservation::new(pendulum()).unwrap();
    let mut random = Random::new(&env.spec().action.clone(), NumpyRng::new(0));
    let mut o = [0.0; 3];
    let mut seen: Vec<[f32; 3]> = Vec::new();
    for _ in 0..30 {
        env.reset(None, &mut o).unwrap();
        while !env.step(random.act(&o), &mut o).unwrap().done() {
            seen.push(o);
        }
    }
    let late = &seen[seen.len() / 2..];
    for j in 0..3 {
        let mean = late.iter().map(|o| f64::from(o[j])).sum::<f64>() / late.len() as f64;
        let variance = late.iter().map(|o| (f64::from(o[j]) - mean).powi(2)).sum::<f64>() / late.len() as f64;
        assert!(mean.abs() < 0.2 && (variance - 1.0).abs() < 0.2, "{j}: {mean} {variance}");
    }
    env.frozen = true;
    let before = env.statistics().clone();
    env.reset(None, &mut o).unwrap();
    assert_eq!(*env.statistics(), before);
}

#[test]
fn rewards_are_divided_by_the_spread_of_the_discounted_return() {
    let (mut env, mut plain) = (NormalizeReward::new(pendulum(), 0.5).unwrap(), pendulum());
    let mut o = [0.0; 3];
    env.reset(Some(0), &mut o).unwrap();
    plain.reset(Some(0), &mut o).unwrap();
    let (mut returns, mut g) = (Vec::new(), 0.0);
    for _ in 0..20 {
        let scaled = env.step(Action::Continuous(&[1.0]), &mut o).unwrap().reward;
        let reward = plain.step(Action::Continuous(&[1.0]), &mut o).unwrap().reward;
        g = 0.5 * g + reward;
        returns.push(g);
        let mean = returns.iter().sum::<f64>() / returns.len() as f64;
        let variance = returns.iter().map(|g| (g - mean) * (g - mean)).sum::<f64>() / returns.len() as f64;
        let want = reward / (variance + 1e-8).sqrt();
        assert!((scaled - want).abs() < 1e-6 * want.abs(), "{scaled} {want}");
    }
}

#[test]
fn statistics_survive_a_reset_in_the_same_step() {
    let envs = (0..3).map(|_| EpisodeStatistics::new(cart_pole())).collect();
    let mut env = VectorEnv::new(envs, Autoreset::SameStep).unwrap();
    env.reset(Some(0)).unwrap();
    let (mut lengths, mut finished) = ([0u32; 3], 0);
    for t in 0..200 {
        env.step(Actions::Discrete(&[1, t % 2, 0])).unwrap();
        for (i, length) in lengths.iter_mut().enumerate() {
            *length += 1;
            let record = env.envs()[i].finished();
            assert_eq!(record.is_some(), env.batch().done(i));
            if let Some(record) = record {
                assert_eq!(record, FinishedEpisode { total: f64::from(*length), length: *length });
                (*length, finished) = (0, finished + 1);
            }
        }
    }
    assert!(finished > 20);
}

#[test]
fn settings_out_of_range_are_refused() {
    assert!(TimeLimit::new(cart_pole(), 0).is_err());
    assert!(FrameStack::new(cart_pole(), 0).is_err());
    assert!(NormalizeReward::new(cart_pole(), 1.5).unwrap_err().to_string().contains("gamma = 1.5"));
    assert_eq!(TimeLimit::new(pendulum(), 300).unwrap().spec().max_episode_steps, Some(200));
    assert!(matches!(RescaleAction::new(pendulum()).unwrap().spec().action, Space::Box { .. }));
}
