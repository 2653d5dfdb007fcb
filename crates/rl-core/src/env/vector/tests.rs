use super::*;
use crate::env::scripted::{Policy, Random};
use crate::env::wrappers::TimeLimit;
use crate::env::{CartPole, Episode};
use crate::numpy_rng::NumpyRng;

const MODES: [Autoreset; 3] = [Autoreset::NextStep, Autoreset::SameStep, Autoreset::Disabled];

type Copy = Episode<CartPole, NumpyRng>;

fn vector(n: usize, mode: Autoreset) -> VectorEnv<Copy> {
    VectorEnv::new((0..n).map(|_| Copy::new(CartPole, 0)).collect(), mode).unwrap()
}

/// The transitions `(o, a, r, o', terminated, truncated)` of one copy, whatever the mode.
type Transition = (Vec<f32>, usize, f64, Vec<f32>, bool, bool);

/// Plays until every copy has `steps` true transitions. The actions of a copy depend on its own count only.
fn transitions(env: &mut VectorEnv<Copy>, seed: u64, steps: usize) -> Vec<Vec<Transition>> {
    let n = env.envs().len();
    let mut all: Vec<Vec<Transition>> = vec![Vec::new(); n];
    let script: Vec<usize> = {
        let mut random = Random::new(&Space::Discrete(2), NumpyRng::new(5));
        (0..steps).map(|_| random.act(&[]).index()).collect()
    };
    env.reset(Some(seed)).unwrap();
    while all.iter().any(|t| t.len() < steps) {
        let before = env.batch().clone();
        let actions: Vec<usize> = all.iter().map(|t| script[t.len().min(steps - 1)]).collect();
        env.step(Actions::Discrete(&actions)).unwrap();
        let after = env.batch();
        for i in (0..n).filter(|&i| !after.ignored[i]) {
            all[i].push((
                before.observation(i).to_vec(),
                actions[i],
                after.rewards[i],
                after.successor(i).to_vec(),
                after.terminated[i],
                after.truncated[i],
            ));
        }
        if env.autoreset() == Autoreset::Disabled {
            let done: Vec<bool> = (0..n).map(|i| env.batch().done(i)).collect();
            env.reset_where(&done).unwrap();
        }
    }
    all.iter_mut().for_each(|t| t.truncate(steps));
    all
}

/// The slow twin: one environment, reset by hand.
fn one_by_one(seed: u64, steps: usize) -> Vec<Transition> {
    let mut env = Copy::new(CartPole, 0);
    let mut random = Random::new(&Space::Discrete(2), NumpyRng::new(5));
    let mut observation = vec![0.0; 4];
    env.reset(Some(seed), &mut observation).unwrap();
    let mut all = Vec::new();
    for _ in 0..steps {
        let before = observation.clone();
        let action = random.act(&before).index();
        let step = env.step(Action::Discrete(action), &mut observation).unwrap();
        all.push((before, action, step.reward, observation.clone(), step.terminated, step.truncated));
        if step.done() {
            env.reset(None, &mut observation).unwrap();
        }
    }
    all
}

#[test]
fn every_mode_gives_the_transitions_of_single_environments() {
    for mode in MODES {
        let all = transitions(&mut vector(3, mode), 40, 200);
        for (i, copy) in all.iter().enumerate() {
            assert_eq!(*copy, one_by_one(40 + i as u64, 200), "{mode:?}, copy {i}");
            assert!(copy.iter().filter(|t| t.4).count() > 3, "several episodes must have ended");
        }
    }
}

#[test]
fn the_next_step_after_the_end_is_flagged_and_pays_nothing() {
    let mut env = vector(1, Autoreset::NextStep);
    env.reset(Some(0)).unwrap();
    while !env.batch().done(0) {
        env.step(Actions::Discrete(&[1])).unwrap();
    }
    assert_eq!(env.batch().observation(0), env.batch().successor(0));
    let last = env.batch().observation(0).to_vec();
    env.step(Actions::Discrete(&[1])).unwrap();
    let batch = env.batch();
    assert!(batch.ignored[0] && !batch.done(0) && batch.rewards[0] == 0.0);
    assert_ne!(batch.observation(0), last);
}

#[test]
fn truncation_is_kept_apart_from_termination() {
    let limited = TimeLimit::new(Copy::new(CartPole, 0), 3).unwrap();
    let mut env = VectorEnv::new(vec![limited], Autoreset::SameStep).unwrap();
    env.reset(Some(0)).unwrap();
    for action in [0, 1, 0] {
        env.step(Actions::Discrete(&[action])).unwrap();
    }
    assert!(env.batch().truncated[0] && !env.batch().terminated[0]);
    assert_ne!(env.batch().observation(0), env.batch().successor(0));
}

#[test]
fn a_saved_vector_goes_on_bit_for_bit() {
    for mode in MODES {
        let mut env = vector(4, mode);
        let play = |env: &mut VectorEnv<Copy>, steps: usize| -> Vec<Batch> {
            let step = |t: usize| {
                if mode == Autoreset::Disabled {
                    let done: Vec<bool> = (0..4).map(|i| env.batch().done(i)).collect();
                    env.reset_where(&done).unwrap();
                }
                env.step(Actions::Discrete(&[t % 2, 1, 0, (t / 3) % 2])).unwrap();
                env.batch().clone()
            };
            (0..steps).map(step).collect()
        };
        env.reset(Some(3)).unwrap();
        play(&mut env, 37);
        let mut state = TrainState::default();
        env.save("env", &mut state).unwrap();
        let mut copy = vector(4, mode);
        copy.load("env", &state).unwrap();
        assert_eq!(copy.batch(), env.batch());
        assert_eq!(play(&mut copy, 100), play(&mut env, 100), "{mode:?}");
        assert!(vector(3, mode).load("env", &state).unwrap_err().to_string().contains("4 copies"));
    }
}

#[test]
fn misuse_is_refused_before_anything_moves() {
    assert!(VectorEnv::<Copy>::new(Vec::new(), Autoreset::SameStep).is_err());
    let mut env = vector(2, Autoreset::Disabled);
    assert!(env.step(Actions::Discrete(&[0, 0])).unwrap_err().to_string().contains("copy 0"));
    env.reset(Some(0)).unwrap();
    let before = env.batch().clone();
    assert!(env.step(Actions::Discrete(&[0])).is_err());
    assert!(env.step(Actions::Discrete(&[0, 2])).is_err());
    assert!(env.step(Actions::Continuous(&[0.0, 0.0])).is_err());
    assert!(env.reset_where(&[true]).is_err());
    assert_eq!(*env.batch(), before);
    while !env.batch().done(1) {
        env.reset_where(&[true, false]).unwrap();
        env.step(Actions::Discrete(&[0, 1])).unwrap();
    }
    assert!(env.step(Actions::Discrete(&[0, 0])).unwrap_err().to_string().contains("copy"));
}

#[test]
fn copies_of_different_environments_are_refused() {
    let envs = vec![make("CartPole-v1", 0).unwrap(), make("Pendulum-v1", 0).unwrap()];
    assert!(VectorEnv::new(envs, Autoreset::SameStep).err().unwrap().to_string().contains("Pendulum-v1"));
    let mut env = VectorEnv::make("Pendulum-v1", 2, Autoreset::SameStep).unwrap();
    env.reset(Some(0)).unwrap();
    env.step(Actions::Continuous(&[0.5, -0.5])).unwrap();
}
