use super::*;
use crate::planning::{Model, PlannerConfig};
use candle_core::Device;
use rl_core::SeedStream;
use rl_core::env::{Actions, Env, make};
use rl_core::experiment::{Metrics, Persist, Session, TrainState, Trainer};
use rl_core::normalize::RunningMeanStd;

fn small(steps: u64) -> PetsConfig {
    PetsConfig {
        steps,
        random_steps: 60,
        dynamics: DynamicsConfig {
            train_every: 20,
            updates_per_step: 1.0,
            holdout: 0.1,
            ensemble: EnsembleConfig { members: 3, elites: 2, hidden: vec![16], ..EnsembleConfig::default() },
            ..DynamicsConfig::default()
        },
        planner: PlannerConfig {
            horizon: 4,
            candidates: 8,
            elites: 2,
            iterations: 2,
            particles: 2,
            ..PlannerConfig::default()
        },
        ..PetsConfig::default()
    }
}

fn agent(id: &str, config: PetsConfig) -> Pets {
    seated(id, config, 1)
}

fn seated(id: &str, config: PetsConfig, copies: usize) -> Pets {
    let copies = (0..copies).map(|_| make(id, 0).unwrap()).collect();
    Pets::new(config, copies, &Device::Cpu, SeedStream::new(5)).unwrap()
}

fn state_of(agent: &Pets) -> TrainState {
    let mut state = TrainState::default();
    agent.save("a", &mut state).unwrap();
    state
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let runs = [("Pendulum-v1", 1, 1), ("CartPole-v1", 1, 3), ("MountainCarContinuous-v0", 3, 2)];
    for (id, repeat, copies) in runs {
        let mut config =
            PetsConfig { action_repeat: repeat, random_correlation: 0.5, action_noise: 0.1, ..small(100) };
        config.dynamics.foresight = 4.0;
        let mut metrics = Metrics::in_memory();
        let mut whole = seated(id, config.clone(), copies);
        while whole.step() < 75 {
            whole.advance(&mut metrics).unwrap();
        }
        let mut resumed = seated(id, config, copies);
        resumed.load("a", &state_of(&whole)).unwrap();
        for agent in [&mut whole, &mut resumed] {
            while agent.step() < 100 {
                agent.advance(&mut metrics).unwrap();
            }
        }
        assert!(state_of(&whole) == state_of(&resumed), "{id}");
    }
}

#[test]
fn the_ensemble_learns_a_linear_system_and_plans_in_it() {
    let mut config = PetsConfig { random_steps: 400, ..small(400) };
    config.dynamics.updates_per_step = 3.0;
    let mut agent = agent("PointControl", config);
    Session::in_memory().run("PointControl/pets", &mut agent).unwrap();
    let mut model = agent.model().unwrap();
    let mut env = make("PointControl", 3).unwrap();
    let mut o = vec![0.0; 4];
    env.reset(Some(3), &mut o).unwrap();
    model.observation.copy_from_slice(&o);
    let mut batch = model.batch();
    model.start(&mut batch, 4);
    let mut rng = SeedStream::new(0).stream("imagine", 0);
    let (mut rewards, mut continues) = ([0.0; 4], [0.0; 4]);
    let actions = [0.8, -0.5].repeat(4);
    model.step(&mut batch, Actions::Continuous(&actions), &mut rng, &mut rewards, &mut continues).unwrap();
    env.step(rl_core::env::Action::Continuous(&[0.8, -0.5]), &mut o).unwrap();
    for imagined in batch.observations().chunks(4) {
        let error = imagined.iter().zip(&o).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        assert!(error < 0.35, "{imagined:?} against {o:?}");
    }
    assert!(continues.iter().all(|&c| c > 0.8));
}

/// TS∞ without noise: rows of the same member coincide, rows of others do not. TS1 mixes them.
#[test]
fn particles_follow_their_members() {
    let mut rng = SeedStream::new(1).stream("init", 0);
    let config = EnsembleConfig { members: 3, elites: 3, hidden: vec![8], ..EnsembleConfig::default() };
    let ensemble = Ensemble::new(&config, 3, 3, &Device::Cpu, &mut rng).unwrap();
    let units = (RunningMeanStd::new(3), RunningMeanStd::new(3));
    let imagine = |propagation, steps: usize| {
        let rollout = RolloutConfig { propagation, sample: false, disagreement: 0.0 };
        let mut model =
            EnsembleModel::new(&ensemble, &[0, 2], (&units.0, &units.1), [-9.0, 9.0], &rollout, 2).unwrap();
        model.observation = vec![0.3, -0.2];
        let (mut batch, mut rng) = (model.batch(), SeedStream::new(2).stream("imagine", 0));
        model.start(&mut batch, 6);
        let (mut rewards, mut continues) = ([0.0; 6], [0.0; 6]);
        for _ in 0..steps {
            model
                .step(&mut batch, Actions::Continuous(&[0.5; 6]), &mut rng, &mut rewards, &mut continues)
                .unwrap();
        }
        batch.observations().chunks(2).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let rows = imagine(Propagation::Infinite, 3);
    assert!(rows[0] == rows[2] && rows[1] == rows[3] && rows[0] != rows[1]);
    let rows = imagine(Propagation::Each, 1);
    assert!(rows.iter().all(|r| r == &imagine(Propagation::Infinite, 1)[0] || r == &imagine(Propagation::Infinite, 1)[1]));
    let rows = imagine(Propagation::Each, 3);
    assert!(rows.iter().any(|r| r != &rows[0]));
}

/// With a bonus, particles that disagree pay more than the same model without it; one particle alone never does.
#[test]
fn disagreement_pays_where_members_differ() {
    let mut rng = SeedStream::new(1).stream("init", 0);
    let config = EnsembleConfig { members: 2, elites: 2, hidden: vec![8], ..EnsembleConfig::default() };
    let ensemble = Ensemble::new(&config, 3, 3, &Device::Cpu, &mut rng).unwrap();
    let units = (RunningMeanStd::new(3), RunningMeanStd::new(3));
    let reward = |disagreement, particles| {
        let rollout = RolloutConfig { propagation: Propagation::Infinite, sample: false, disagreement };
        let mut model =
            EnsembleModel::new(&ensemble, &[0, 1], (&units.0, &units.1), [-9.0, 9.0], &rollout, particles)
                .unwrap();
        model.observation = vec![0.3, -0.2];
        let (mut batch, mut rng) = (model.batch(), SeedStream::new(2).stream("imagine", 0));
        model.start(&mut batch, 2);
        let (mut rewards, mut continues) = ([0.0; 2], [0.0; 2]);
        model
            .step(&mut batch, Actions::Continuous(&[0.5; 2]), &mut rng, &mut rewards, &mut continues)
            .unwrap();
        rewards[0]
    };
    assert!(reward(1.0, 2) > reward(0.0, 2));
    assert_eq!(reward(1.0, 1), reward(0.0, 1));
}

#[test]
fn held_actions_are_held_in_evaluation_too() {
    let config = PetsConfig { action_repeat: 4, ..small(80) };
    let mut agent = agent("MountainCarContinuous-v0", config);
    let mut metrics = Metrics::in_memory();
    while agent.step() < 80 {
        agent.advance(&mut metrics).unwrap();
    }
    let mut copies: Vec<Box<dyn Env>> = vec![make("MountainCarContinuous-v0", 0).unwrap()];
    let result = agent.evaluate(&mut copies, &[1], SeedStream::new(1)).unwrap();
    assert_eq!(result.lengths.len(), 1);
    assert!(result.returns[0].is_finite());
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let message = |config: PetsConfig| config.validate().unwrap_err().to_string();
    assert!(message(PetsConfig { action_repeat: 0, ..small(9) }).contains("pets.action_repeat = 0"));
    let mut config = small(9);
    config.dynamics.holdout = 0.0;
    assert!(message(config).contains("dynamics.holdout"));
    assert!(message(PetsConfig { random_correlation: 1.0, ..small(9) }).contains("random_correlation"));
}
