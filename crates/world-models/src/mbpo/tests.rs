use super::*;
use crate::pets::{DynamicsConfig, EnsembleConfig};
use candle_core::Device;
use rl_core::SeedStream;
use rl_core::baselines::{SacConfig, copies};
use rl_core::env::make;
use rl_core::evaluate::evaluate;
use rl_core::experiment::{Metrics, Persist, Session, TrainState, Trainer};
use rl_core::schedule::Schedule;

fn small(steps: u64) -> MbpoConfig {
    MbpoConfig {
        steps,
        random_steps: 30,
        branches: 8,
        branch_length: Schedule::Linear { start: 1.0, end: 3.0, steps: 60 },
        updates_per_step: 1.0,
        imagined: 300,
        dynamics: DynamicsConfig {
            ensemble: EnsembleConfig { members: 3, elites: 2, hidden: vec![16], ..EnsembleConfig::default() },
            train_every: 10,
            holdout: 0.2,
            ..DynamicsConfig::default()
        },
        sac: SacConfig { hidden: vec![16, 16], batch_size: 16, ..SacConfig::default() },
        ..MbpoConfig::default()
    }
}

fn agent(id: &str, config: MbpoConfig) -> Mbpo {
    Mbpo::new(config, make(id, 0).unwrap(), &Device::Cpu, SeedStream::new(5)).unwrap()
}

fn state_of(agent: &Mbpo) -> TrainState {
    let mut state = TrainState::default();
    agent.save("a", &mut state).unwrap();
    state
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    for (id, broken_at) in [("Pendulum-v1", 15), ("Pendulum-v1", 47), ("MountainCarContinuous-v0", 63)] {
        let mut metrics = Metrics::in_memory();
        let mut whole = agent(id, small(80));
        while whole.step() < broken_at {
            whole.advance(&mut metrics).unwrap();
        }
        let mut resumed = agent(id, small(80));
        resumed.load("a", &state_of(&whole)).unwrap();
        for agent in [&mut whole, &mut resumed] {
            while agent.step() < 80 {
                agent.advance(&mut metrics).unwrap();
            }
        }
        assert!(state_of(&whole) == state_of(&resumed), "{id}");
    }
}

/// On a point mass that is steered to a goal, a policy that learned from imagination beats random actions by far.
#[test]
fn a_policy_learns_in_branches() {
    let mut config = small(400);
    config.random_steps = 200;
    config.branches = 20;
    config.updates_per_step = 3.0;
    config.imagined = 4000;
    config.dynamics.updates_per_step = 3.0;
    config.sac = SacConfig { learning_rate: 3e-3, batch_size: 64, gamma: 0.95, ..config.sac };
    let untrained = agent("PointControl", config.clone());
    let mut trained = agent("PointControl", config);
    Session::in_memory().run("PointControl/mbpo", &mut trained).unwrap();
    let score = |agent: &Mbpo| {
        let starts: Vec<u64> = (0..20).collect();
        evaluate(&mut copies("PointControl", 10).unwrap(), &starts, agent.policy()).unwrap().mean_return()
    };
    assert!(score(&trained) > score(&untrained) + 1.0, "{} {}", score(&trained), score(&untrained));
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let message = |config: MbpoConfig| config.validate().unwrap_err().to_string();
    assert!(message(MbpoConfig { branches: 0, ..small(9) }).contains("mbpo.branches = 0"));
    assert!(message(MbpoConfig { real_share: 1.5, ..small(9) }).contains("mbpo.real_share"));
    let short = Schedule::Constant(f64::NAN);
    assert!(message(MbpoConfig { branch_length: short, ..small(9) }).contains("schedule.value"));
    assert!(
        Mbpo::new(small(9), make("CartPole-v1", 0).unwrap(), &Device::Cpu, SeedStream::new(0)).is_err(),
        "discrete actions"
    );
}
