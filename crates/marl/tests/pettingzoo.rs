//! The bridge against the native world: the same placement and actions must give the same numbers.
//!
//! Needs a Python with mpe2: `MARL_PYTHON=/path/to/python cargo test -p marl --features pettingzoo --test pettingzoo`.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use marl::env::particle::{Config, Particle, Placement};
use marl::env::pettingzoo::{PettingZoo, PettingZooOptions};
use marl::env::{Action, AgentId, MultiAgentEnv, Outcome};
use rl_core::SeedStream;

fn bridge(module: &str) -> Option<PettingZoo> {
    let interpreter = std::env::var_os("MARL_PYTHON").unwrap_or("python3".into());
    match PettingZoo::new(
        module,
        &PettingZooOptions { interpreter: interpreter.into(), ..Default::default() },
    ) {
        Ok(env) => Some(env),
        Err(error) => {
            eprintln!("SKIPPED: no PettingZoo environment here ({error})");
            None
        }
    }
}

#[test]
fn a_bridged_world_does_what_the_native_one_does() {
    let Some(mut python) = bridge("mpe2.simple_spread_v3") else { return };
    let mut native = Particle::new(Config::default()).unwrap();
    assert_eq!(python.layout().agents, native.layout().agents);
    let mut rng = SeedStream::new(0).stream("test", 0);
    python.reset(&mut rng);
    // Where everybody stands can be read from the first observations: own position, landmarks, others.
    let mut seen = vec![0f32; 18];
    let look = |python: &PettingZoo, i: usize, seen: &mut Vec<f32>| python.observe(AgentId(i), seen);
    let mut placement = Placement::default();
    for i in 0..3 {
        look(&python, i, &mut seen);
        placement.agents.push([f64::from(seen[2]), f64::from(seen[3])]);
    }
    for l in 0..3 {
        let at = |k: usize| f64::from(seen[4 + 2 * l + k]) + f64::from(seen[2 + k]);
        placement.landmarks.push([at(0), at(1)]);
    }
    native.place(&placement).unwrap();
    let (mut ours, mut theirs) = (Outcome::new(3), Outcome::new(3));
    let mut own = vec![0f32; 18];
    for t in 0..25 {
        let actions = [t % 5, (t + 2) % 5, (3 * t) % 5].map(|a| Some(Action::Discrete(a)));
        native.step(&actions, &mut rng, &mut ours).unwrap();
        python.step(&actions, &mut rng, &mut theirs).unwrap();
        assert_eq!((&ours.terminated, &ours.truncated), (&theirs.terminated, &theirs.truncated));
        for i in 0..3 {
            assert!((ours.rewards[i] - theirs.rewards[i]).abs() < 1e-4);
            look(&python, i, &mut seen);
            native.observe(AgentId(i), &mut own);
            assert!(own.iter().zip(&seen).all(|(a, b)| (a - b).abs() < 1e-4), "step {t} agent {i}");
        }
    }
    assert!(!python.live().contains(&true));
}

#[test]
fn a_missing_package_is_named() {
    if bridge("mpe2.simple_spread_v3").is_none() {
        return;
    }
    let interpreter = std::env::var_os("MARL_PYTHON").unwrap_or("python3".into());
    let options = PettingZooOptions { interpreter: interpreter.into(), ..Default::default() };
    let error = PettingZoo::new("no_such_package", &options).err().unwrap().to_string();
    assert!(error.contains("no_such_package"), "{error}");
}
