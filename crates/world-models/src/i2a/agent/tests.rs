use super::super::ice::{IceRink, KINDS, REWARDS};
use super::super::model::{Grid, GridModel, GridModelConfig};
use super::super::{Imagination, collect};
use super::*;
use rl_core::env::Episode;
use rl_core::experiment::Session;
use std::rc::Rc;

fn rink() -> IceRink {
    IceRink { size: 3, walls: 1, holes: 1, limit: 8 }
}

fn envs(n: usize) -> Vec<Box<dyn Env>> {
    (0..n).map(|i| Box::new(Episode::<IceRink, StreamRng>::new(rink(), i as u64)) as Box<dyn Env>).collect()
}

fn grid() -> Grid {
    Grid { cells: 9, kinds: KINDS, actions: 4, rewards: REWARDS.to_vec() }
}

fn model(updates: u64) -> GridModel {
    let mut rng = SeedStream::new(1).stream("data", 0);
    let data = collect(envs(1)[0].as_mut(), 3000, (1.0, &mut rng), |_| Ok(0)).unwrap();
    let config = GridModelConfig { hidden: vec![64], updates, batch: 64, learning_rate: 3e-3 };
    let mut model = GridModel::new(config, grid(), data, &Device::Cpu, SeedStream::new(2)).unwrap();
    Session::in_memory().run("model", &mut model).unwrap();
    model
}

fn agent(imagination: Imagination) -> I2a {
    let config = I2aConfig { steps: 400, depth: 2, ..I2aConfig::default() };
    I2a::new(config, imagination, envs(4), SeedStream::new(3), &Device::Cpu).unwrap()
}

#[test]
fn returns_are_those_worked_by_hand() {
    // Two environments, three steps; the first ends after its second.
    let rewards = [1.0, 10.0, 2.0, 20.0, 4.0, 40.0];
    let done = [false, false, true, false, false, false];
    let returns = n_step_returns(&rewards, &done, &[8.0, 80.0], 0.5);
    assert_eq!(returns, [2.0, 10.0 + 0.5 * (20.0 + 0.5 * (40.0 + 40.0)), 2.0, 60.0, 8.0, 80.0]);
}

#[test]
fn the_grid_model_learns_the_rules() {
    let model = model(1500);
    let mut rng = SeedStream::new(9).stream("data", 0);
    let mut env = Episode::<IceRink, StreamRng>::new(rink(), 77);
    let held_out = collect(&mut env, 500, (1.0, &mut rng), |_| Ok(0)).unwrap();
    let accuracy = model.accuracy(&held_out).unwrap();
    assert!(accuracy > 0.75, "{accuracy}");
}

#[test]
fn gradients_reach_every_parameter_and_none_the_model() {
    let model = Rc::new(model(5));
    let mut agent = agent(Imagination::Learned(model.clone()));
    let mut stretch = Stretch::default();
    let mut metrics = Metrics::in_memory();
    for _ in 0..3 {
        agent.collect(&mut stretch, &mut metrics).unwrap();
    }
    let rollouts = Rollouts::join(&stretch.rollouts);
    let losses = agent.loss(&stretch.observations, &rollouts, &stretch.actions, vec![0.5; 12]).unwrap();
    let grads = losses.total.backward().unwrap();
    for (name, params) in agent.network.names().iter().zip(agent.network.modules()) {
        let gradient = grads.get(params.var()).unwrap().to_vec1::<f32>().unwrap();
        for part in params.parts() {
            let part_gradient = &gradient[part.range()];
            assert!(part_gradient.iter().all(|g| g.is_finite()), "{name}/{}", part.name);
            assert!(part_gradient.iter().any(|g| *g != 0.0), "{name}/{}", part.name);
        }
    }
    let before = model.parameters();
    assert!(before > 0 && model.loss(&[0]).unwrap().backward().is_ok());
    // The rollout policy learns from the distillation alone.
    let grads =
        (losses.total - (losses.distill * agent.config.distill).unwrap()).unwrap().backward().unwrap();
    let rollout_policy = grads.get(agent.network.rollout_policy.params().var());
    let silent = |g: &Tensor| g.to_vec1::<f32>().unwrap().iter().all(|g| g.abs() < 1e-9);
    assert!(rollout_policy.is_none_or(silent));
}

#[test]
fn imagination_is_what_the_rules_say_and_its_ablations_differ() {
    let model = Rc::new(model(5));
    let agent = agent(Imagination::Oracle(rink()));
    let o = agent.envs.batch().observations.clone();
    let roll = |imagination: &Imagination| {
        let mut rng = SeedStream::new(4).stream("imagine", 0);
        imagination.roll_out(&o, (45, 4), 2, &agent.network.rollout_policy, &mut rng).unwrap()
    };
    let truth = roll(&Imagination::Oracle(rink()));
    assert_eq!(truth.steps.len(), 2 * 4 * 4 * 46);
    let mut state = rink().read(&o[..45]).unwrap();
    let mut rng = SeedStream::new(0).stream("none", 0);
    let (reward, _) =
        rl_core::env::Simulator::transition(&rink(), &mut state, rl_core::env::Action::Discrete(2), &mut rng);
    let mut seen = vec![0.0; 45];
    rl_core::env::Simulator::observe(&rink(), &state, &mut seen);
    assert_eq!(&truth.steps[2 * 46..][..45], seen);
    assert_eq!(truth.steps[2 * 46 + 45], reward as f32);
    let copy = roll(&Imagination::Copy);
    assert_eq!((&copy.steps[..45], copy.steps[45]), (&o[..45], 0.0));
    let silent = roll(&Imagination::NoReward(model.clone()));
    assert!(silent.steps.iter().skip(45).step_by(46).all(|&r| r == 0.0));
    assert_ne!(roll(&Imagination::Noisy(model.clone(), 0.5)), roll(&Imagination::Learned(model)));
    assert_eq!(roll(&Imagination::None), Rollouts::default());
}

#[test]
fn the_model_free_twin_has_as_many_parameters() {
    let (full, free) = (agent(Imagination::Copy).parameters(), agent(Imagination::None).parameters());
    assert!(free >= full && free < full + full / 20, "{free} against {full}");
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let state_of = |agent: &I2a| {
        let mut state = TrainState::default();
        agent.save("a", &mut state).unwrap();
        state
    };
    for imagination in [Imagination::Oracle(rink()), Imagination::None] {
        let mut metrics = Metrics::in_memory();
        let mut whole = agent(imagination.clone());
        (0..4).for_each(|_| whole.advance(&mut metrics).unwrap());
        let mut resumed = agent(imagination);
        resumed.load("a", &state_of(&whole)).unwrap();
        for agent in [&mut whole, &mut resumed] {
            (0..4).for_each(|_| agent.advance(&mut metrics).unwrap());
        }
        assert!(state_of(&whole) == state_of(&resumed));
    }
}
