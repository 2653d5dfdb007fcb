use super::*;
use crate::planning::{Planner, PlannerConfig};
use candle_core::DType;
use rl_core::env::{Action, Actions, make};
use rl_core::experiment::{Metrics, Trainer};
use rl_core::optim::backward;

fn small() -> RssmConfig {
    RssmConfig {
        deter: 16,
        stoch: 6,
        embedding: 16,
        encoder: vec![24],
        decoder: vec![24],
        reward: vec![24],
        continuation: vec![16],
        ..RssmConfig::default()
    }
}

fn windows(steps: usize, batch: usize) -> Windows {
    let rows = steps * batch;
    let numbers = |n: usize, f: f32| (0..n).map(|i| (i as f32 * f).sin()).collect::<Vec<f32>>();
    Windows {
        steps,
        batch,
        observations: numbers(rows * 4, 0.7),
        actions: numbers(rows * 2, 1.3),
        rewards: numbers(rows, 0.4),
        terminated: (0..rows).map(|i| i % 11 == 10).collect(),
        first: (0..rows).map(|i| i < batch || i % 17 == 5).collect(),
    }
}

fn model(config: &RssmConfig) -> Rssm {
    let env = make("PointControl", 0).unwrap();
    Rssm::new(config, env.spec(), &Device::Cpu, SeedStream::new(1)).unwrap()
}

#[test]
fn the_default_model_has_the_exercise_s_size() {
    // 601,830 of the exercise, in which nothing is counted twice.
    assert_eq!(model(&RssmConfig::default()).parameters(), 601_830);
}

#[test]
fn every_parameter_gets_a_finite_gradient() {
    let model = model(&small());
    let losses = model.loss(&windows(7, 5), &mut SeedStream::new(2).stream("noise", 0)).unwrap();
    let (_, grads) = backward(&losses.total).unwrap();
    for (name, params) in NAMES.iter().zip(model.modules()) {
        let gradient = grads.get(params.var()).unwrap().to_vec1::<f32>().unwrap();
        assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
        for part in params.parts() {
            assert!(
                gradient[part.range()].iter().any(|g| *g != 0.0),
                "{name}/{} gets no gradient",
                part.name
            );
        }
    }
}

#[test]
fn extreme_outputs_give_finite_losses_and_gradients() {
    let model = model(&small());
    for params in model.modules() {
        let scaled: Vec<f32> = params.to_vec::<f32>().unwrap().iter().map(|p| p * 1e3).collect();
        params.set(&scaled).unwrap();
    }
    let losses = model.loss(&windows(4, 3), &mut SeedStream::new(2).stream("noise", 0)).unwrap();
    let (_, grads) = backward(&losses.total).unwrap();
    for params in model.modules() {
        let gradient = grads.get(params.var()).unwrap().to_vec1::<f32>().unwrap();
        assert!(gradient.iter().all(|g| g.is_finite()));
    }
}

#[test]
fn filtering_step_by_step_gives_the_states_of_the_batched_pass() {
    let config = RssmConfig { open_loop: 0.0, ..small() };
    let model = model(&config);
    let data = windows(9, 1);
    let mut inputs = model.inputs(&data, &mut SeedStream::new(2).stream("noise", 0));
    inputs.noise.fill(0.0); // the filter follows the posterior's mean
    let observation = model.normalised_observations(&data).unwrap();
    let embedded = model.embedding.forward(&model.encoder.forward(&observation).unwrap()).unwrap();
    let states = model.scan(&embedded, &Arc::new(inputs)).unwrap().to_vec2::<f32>().unwrap();
    let rollout = Rollout::new(&model).unwrap();
    let mut state = rollout.initial();
    for (t, want) in states.iter().enumerate() {
        let action = (!data.first[t]).then_some(Action::Continuous(&data.actions[t * 2..][..2]));
        state = rollout.filter(&state, action, &data.observations[t * 4..][..4]);
        let got = state.stoch.iter().chain(&state.deter);
        assert!(got.zip(want).all(|(g, w)| (g - w).abs() < 1e-5), "step {t}");
    }
}

#[test]
fn imagination_equals_the_scan_on_missing_observations() {
    let model = model(&small());
    let (steps, rows) = (6, 3);
    let data = Windows { first: vec![false; steps * rows], ..windows(steps, rows) };
    let mut inputs = model.inputs(&data, &mut SeedStream::new(2).stream("noise", 0));
    inputs.noise.fill(0.0);
    inputs.observed.fill(0.0);
    let mut rollout = Rollout::new(&model).unwrap();
    let state = rollout.filter(&rollout.initial(), None, &[0.3, -0.2, 0.5, 0.1]);
    inputs.start = (state.deter.repeat(rows), state.stoch.repeat(rows));
    let zeros = Tensor::zeros((steps * rows, 2 * model.sizes.stoch), DType::F32, &Device::Cpu).unwrap();
    let states = model.scan(&zeros, &Arc::new(inputs)).unwrap();
    let feature = states.narrow(1, 0, model.sizes.feature()).unwrap().contiguous().unwrap();
    let want = model.reward.forward(&feature).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let want: Vec<f32> = want.into_iter().map(symexp).collect();
    rollout.state = state;
    use crate::planning::Model as _;
    let mut batch = rollout.batch();
    rollout.start(&mut batch, rows);
    let (mut rewards, mut continues) = (vec![0.0; rows], vec![0.0; rows]);
    for t in 0..steps {
        let actions = Actions::Continuous(&data.actions[t * rows * 2..][..rows * 2]);
        let mut rng = SeedStream::new(0).stream("plan", 0);
        rollout.step(&mut batch, actions, &mut rng, &mut rewards, &mut continues).unwrap();
        let close = rewards.iter().zip(&want[t * rows..]).all(|(r, w)| (r - w).abs() < 1e-5);
        assert!(close, "step {t}: {rewards:?} {:?}", &want[t * rows..][..rows]);
    }
}

/// The reward is the last action alone: a model one step off cannot know it.
#[test]
fn the_reward_belongs_to_the_state_of_arrival() {
    let mut model = model(&RssmConfig { continuation_scale: 0.0, ..small() });
    let mut rng = SeedStream::new(3).stream("data", 0);
    let (steps, batch) = (8, 16);
    let mut optimizer = rl_core::optim::Optimizer::new(
        rl_core::optim::OptimizerConfig::adam(3e-3, 1e-8, rl_core::optim::Clip::GlobalNorm(10.0)),
        &model.modules(),
    )
    .unwrap();
    let mut noise = SeedStream::new(3).stream("noise", 0);
    model.set_scales(&RunningMeanStd::new(4), &RunningMeanStd::new(1));
    for _ in 0..400 {
        let rows = steps * batch;
        let actions: Vec<f32> = (0..rows * 2).map(|_| rng.random_range(-1.0..1.0)).collect();
        let data = Windows {
            rewards: actions.chunks(2).map(|a| a[0] - 0.5 * a[1]).collect(),
            observations: (0..rows * 4).map(|_| rng.random_range(-1.0..1.0)).collect(),
            terminated: vec![false; rows],
            first: (0..rows).map(|i| i < batch).collect(),
            steps,
            batch,
            actions,
        };
        let (_, grads) = backward(&model.loss(&data, &mut noise).unwrap().total).unwrap();
        optimizer.step(&grads).unwrap();
    }
    let mut rollout = Rollout::new(&model).unwrap();
    rollout.state = rollout.filter(&rollout.initial(), None, &[0.0; 4]);
    use crate::planning::Model as _;
    let mut batch = rollout.batch();
    rollout.start(&mut batch, 3);
    let (mut rewards, mut continues) = (vec![0.0; 3], vec![0.0; 3]);
    let actions = [0.8, -0.4, -0.8, 0.4, 0.0, 0.9];
    let mut plan_rng = SeedStream::new(0).stream("plan", 0);
    rollout
        .step(&mut batch, Actions::Continuous(&actions), &mut plan_rng, &mut rewards, &mut continues)
        .unwrap();
    for (r, a) in rewards.iter().zip(actions.chunks(2)) {
        assert!((r - (a[0] - 0.5 * a[1])).abs() < 0.2, "reward {r} after action {a:?}");
    }
}

fn agent(id: &str, updates_per_step: f64) -> PlanningAgent {
    let config = AgentConfig {
        steps: 120,
        random_steps: 60,
        updates_per_step,
        learning_rate: 3e-3,
        train_every: 10,
        batch: 4,
        length: 6,
        model: small(),
        planner: PlannerConfig {
            horizon: 4,
            candidates: 20,
            elites: 4,
            iterations: 2,
            ..PlannerConfig::default()
        },
        ..AgentConfig::default()
    };
    let env = make(id, 0).unwrap();
    PlanningAgent::new(config, env, &Device::Cpu, SeedStream::new(4)).unwrap()
}

#[test]
fn resuming_gives_the_bytes_of_the_uninterrupted_run() {
    let mut metrics = Metrics::in_memory();
    let mut whole = agent("PointControl", 0.5);
    let mut half = agent("PointControl", 0.5);
    for step in 0..120 {
        whole.advance(&mut metrics).unwrap();
        if step == 73 {
            let mut state = TrainState::default();
            half.save("a", &mut state).unwrap();
            half = agent("PointControl", 0.5);
            half.load("a", &state).unwrap();
        }
        half.advance(&mut metrics).unwrap();
    }
    let bytes = |agent: &PlanningAgent| {
        let mut state = TrainState::default();
        agent.save("a", &mut state).unwrap();
        state
    };
    assert_eq!(bytes(&whole), bytes(&half));
}

#[test]
fn a_model_that_never_ends_expects_to_go_on() {
    let mut agent = agent("Pendulum-v1", 4.0);
    let mut metrics = Metrics::in_memory();
    while agent.step() < agent.total_steps() {
        agent.advance(&mut metrics).unwrap();
    }
    let rollout = agent.rollout().unwrap();
    use crate::planning::Model as _;
    let mut batch = rollout.batch();
    rollout.start(&mut batch, 1);
    let (mut rewards, mut continues, mut product) = (vec![0.0], vec![0.0], 1.0);
    let mut rng = SeedStream::new(0).stream("plan", 0);
    for _ in 0..8 {
        rollout
            .step(&mut batch, Actions::Continuous(&[0.1]), &mut rng, &mut rewards, &mut continues)
            .unwrap();
        product *= continues[0];
    }
    assert!(product > 0.95, "{product}");
    let config = PlannerConfig { horizon: 4, candidates: 20, elites: 4, ..PlannerConfig::default() };
    let mut planner = Planner::new(config, &make("Pendulum-v1", 0).unwrap().spec().action).unwrap();
    assert!(planner.plan(&rollout, &mut rng).unwrap().predicted_return.is_finite());
}
