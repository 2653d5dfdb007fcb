//! Learners never choose what is not available: in Kuhn poker as an environment an illegal move is an error.

#![cfg(feature = "learning")]
#![allow(clippy::unwrap_used)]

use marl::env::turn_based::TurnBased;
use marl::env::{Batch, BatchActions, BatchStep, Copies, Layout};
use marl::games::extensive::GameTree;
use marl::games::poker::Kuhn;
use marl::trainer::{Learner, TrainConfig, Training};
use marl::{coma, communication, maac, maddpg, ppo, value_decomposition};
use rl_core::SeedStream;
use std::sync::Arc;

fn poker() -> Copies<TurnBased> {
    Copies::new(TurnBased::new("kuhn", Arc::new(GameTree::build(&Kuhn).unwrap())), 6)
}

fn plays<L: Learner>(make: impl Fn(&Layout, &SeedStream) -> L) {
    let (env, seeds) = (poker(), SeedStream::new(3));
    let plan = TrainConfig { steps: 600, evaluations: 2, episodes: 20 };
    let learner = make(env.layout(), &seeds);
    Training::new(learner, env.clone(), env, plan, &seeds).unwrap().run(|_, _| {}).unwrap();
}

#[test]
fn masks_are_in_the_batch_and_an_illegal_move_is_refused() {
    let mut env = poker();
    let mut step = BatchStep::new(env.layout(), 6);
    env.reset(&SeedStream::new(0), &mut step).unwrap();
    // The first player chooses between two moves, the second one has only the no-op.
    assert_eq!(step.masks[0][..3], [true, true, false]);
    assert_eq!(step.masks[1][..3], [false, false, true]);
    let actions = BatchActions::new(env.layout(), 6);
    assert!(env.step(&actions, &mut step).is_err());
}

#[test]
fn learners_keep_to_what_is_available() {
    for exploration in [maddpg::Exploration::Gumbel, maddpg::Exploration::EpsilonGreedy] {
        let config =
            maddpg::Config { hidden: vec![8], batch: 16, warm_up: 60, exploration, ..Default::default() };
        plays(|layout, seeds| maddpg::Maddpg::new(layout, config.clone(), seeds).unwrap());
    }
    plays(|layout, seeds| {
        let config = maac::Config { hidden: 8, heads: 2, batch: 16, warm_up: 60, ..Default::default() };
        maac::Maac::new(layout, config, seeds).unwrap()
    });
    plays(|layout, seeds| coma::Coma::new(layout, coma::Config::default(), seeds).unwrap());
    plays(|layout, seeds| {
        let mixing = value_decomposition::Mixing::Independent;
        let config = value_decomposition::Config { mixing, batch: 16, warm_up: 60, ..Default::default() };
        value_decomposition::ValueDecomposition::new(layout, config, seeds).unwrap()
    });
    for communication in [None, Some(communication::Config { width: 16, ..Default::default() })] {
        let config = ppo::Config {
            communication,
            sharing: marl::sharing::Sharing::All,
            epochs: 2,
            ..Default::default()
        };
        plays(|layout, seeds| ppo::Ppo::new(layout, config.clone(), seeds).unwrap());
    }
}
