//! A training that was saved, loaded elsewhere and gone on with is the uninterrupted one, bit for bit.

#![cfg(feature = "learning")]
#![allow(clippy::unwrap_used)]

use marl::communication;
use marl::env::particle::{Config as World, ParticleBatch, Scenario};
use marl::env::{Batch, Copies, Layout, foraging, point_arena};
use marl::trainer::{Learner, TrainConfig, Training};
use marl::{coma, maac, maddpg, ppo, value_decomposition};
use rl_core::SeedStream;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};

fn state<L: Learner + Persist, E: Batch + Persist>(training: &Training<L, E>) -> TrainState {
    let mut state = TrainState::default();
    training.save("training", &mut state).unwrap();
    state
}

fn resumes<L: Learner + Persist, E: Batch + Persist + Clone>(
    env: E,
    make: impl Fn(&Layout, &SeedStream) -> L,
) {
    let plan = TrainConfig { steps: 600, evaluations: 3, episodes: 3 };
    let seeds = SeedStream::new(7);
    let start = |learner| Training::new(learner, env.clone(), env.clone(), plan, &seeds).unwrap();
    let finish = |training: &mut Training<L, E>| {
        let mut metrics = Metrics::in_memory();
        while training.step() < training.total_steps() {
            training.advance(&mut metrics).unwrap();
        }
    };
    let mut whole = start(make(env.layout(), &seeds));
    finish(&mut whole);
    let mut first = start(make(env.layout(), &seeds));
    while first.step() < 333 {
        first.advance(&mut Metrics::in_memory()).unwrap();
    }
    // Another draw of weights: everything must come from the saved state.
    let mut second = start(make(env.layout(), &SeedStream::new(8)));
    second.load("training", &state(&first)).unwrap();
    finish(&mut second);
    assert!(state(&whole) == state(&second));
    assert_eq!(whole.history(), second.history());
}

#[test]
fn resumed_trainings_are_the_uninterrupted_ones() {
    let tag = World { scenario: Scenario::named("simple_tag").unwrap(), ..World::default() };
    let tag = ParticleBatch::new(tag, 5).unwrap();
    let arena = point_arena::Config { steps: 30, radius: 2.5, ..Default::default() };
    let arena = Copies::new(point_arena::PointArena::new(arena).unwrap(), 5);
    let grid = foraging::Config { masked: true, max_episode_steps: 20, ..Default::default() };
    let grid = Copies::new(foraging::Foraging::new(grid).unwrap(), 5);
    let small = || maddpg::Config { hidden: vec![8], batch: 16, warm_up: 60, ..maddpg::Config::matd3() };
    resumes(tag.clone(), |layout, seeds| maddpg::Maddpg::new(layout, small(), seeds).unwrap());
    resumes(grid.clone(), |layout, seeds| maddpg::Maddpg::new(layout, small(), seeds).unwrap());
    resumes(arena.clone(), |layout, seeds| {
        let critic = maddpg::CriticKind::Attention { width: 8, heads: 2 };
        maddpg::Maddpg::new(layout, maddpg::Config { critic, ..small() }, seeds).unwrap()
    });
    resumes(grid.clone(), |layout, seeds| {
        let config = value_decomposition::Config { batch: 16, warm_up: 60, ..Default::default() };
        value_decomposition::ValueDecomposition::new(layout, config, seeds).unwrap()
    });
    resumes(tag, |layout, seeds| {
        let config = maac::Config { hidden: 8, heads: 2, batch: 16, warm_up: 60, ..Default::default() };
        maac::Maac::new(layout, config, seeds).unwrap()
    });
    resumes(grid.clone(), |layout, seeds| coma::Coma::new(layout, coma::Config::default(), seeds).unwrap());
    resumes(arena, |layout, seeds| ppo::Ppo::new(layout, ppo::Config::maa2c(), seeds).unwrap());
    resumes(grid, |layout, seeds| {
        let kind = communication::Kind::Words { vocabulary: 4 };
        let communication = Some(communication::Config { kind, width: 16, ..Default::default() });
        let config = ppo::Config { communication, epochs: 2, minibatches: 2, ..Default::default() };
        ppo::Ppo::new(layout, config, seeds).unwrap()
    });
}
