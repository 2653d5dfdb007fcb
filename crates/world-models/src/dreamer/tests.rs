use super::*;
use candle_core::{Device, Tensor};
use rl_core::baselines::copies;
use rl_core::env::Env;
use rl_core::evaluate::evaluate;
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::{SeedStream, StreamRng};

fn small(steps: u64) -> DreamerConfig {
    let widths = Widths { deter: 12, groups: 3, classes: 4, hidden: 10, units: 11, layers: 1 };
    DreamerConfig {
        steps,
        batch: 3,
        length: 5,
        train_ratio: 5.0,
        warm_up: 3,
        model: WorldModelConfig { widths, bins: 31, free_nats: 0.0, ..WorldModelConfig::default() },
        behaviour: BehaviourConfig { horizon: 4, ..BehaviourConfig::default() },
        ..DreamerConfig::default()
    }
}

fn agent(id: &str, steps: u64) -> Dreamer {
    Dreamer::new(small(steps), copies(id, 2).unwrap(), SeedStream::new(4), &Device::Cpu).unwrap()
}

fn rng(index: u64) -> StreamRng {
    SeedStream::new(8).stream("test", index)
}

fn windows(model: &WorldModel, actions: usize, observations: usize) -> Sequences {
    let (steps, batch) = (4, 3);
    let numbers = |n: usize, f: f32| (0..n).map(|i| (i as f32 * f).sin()).collect::<Vec<_>>();
    let rows = steps * batch;
    Sequences {
        steps,
        batch,
        observations: numbers(rows * observations, 0.7),
        actions: numbers(rows * actions, 1.3),
        rewards: numbers(rows, 2.1),
        terminated: (0..rows).map(|i| i == 5).collect(),
        last: (0..rows).map(|i| i == 5 || i == 7).collect(),
        first: (0..rows).map(|i| i == 8 || i == 10).collect(),
        start: model.initial(batch),
    }
}

/// A step whose weights start at zero hides what lies below: the reward and value heads are given weights first.
fn wake(params: &rl_core::nn::Params) {
    let values: Vec<f32> =
        params.to_vec::<f32>().unwrap().iter().enumerate().map(|(i, p)| p + 0.1 * (i as f32).sin()).collect();
    params.set(&values).unwrap();
}

#[test]
fn gradients_reach_every_parameter_and_behaviour_leaks_none_into_the_model() {
    for (id, actions, observations) in [("CartPole-v1", 2, 4), ("Pendulum-v1", 1, 3)] {
        let mut agent = agent(id, 100);
        let (model, behaviour) = (&agent.model().clone(), agent.behaviour_mut());
        model.modules().into_iter().chain(behaviour.modules()).for_each(wake);
        let windows = windows(model, actions, observations);
        let losses = model.loss(&windows, &mut rng(0)).unwrap();
        let dream = behaviour.dream(model, &losses.latents, &mut rng(1)).unwrap();
        let loss = behaviour.loss(model, &dream, &windows).unwrap();
        let check = |loss: &Tensor, trained: &[&rl_core::nn::Params], untouched: &[&rl_core::nn::Params]| {
            let grads = loss.backward().unwrap();
            for params in trained {
                let gradient = grads.get(params.var()).unwrap().to_vec1::<f32>().unwrap();
                for part in params.parts() {
                    let of_part = &gradient[part.range()];
                    let alive = of_part.iter().all(|g| g.is_finite()) && of_part.iter().any(|g| *g != 0.0);
                    assert!(alive, "{id}: {} of {:?}", part.name, params.parts().len());
                }
            }
            assert!(untouched.iter().all(|params| grads.get(params.var()).is_none()), "{id}");
        };
        check(&losses.total, &model.modules(), &behaviour.modules());
        check(&loss.total, &behaviour.modules(), &model.modules());
    }
}

#[test]
fn filtering_step_by_step_is_the_batched_pass() {
    let agent = agent("CartPole-v1", 100);
    let model = agent.model();
    let windows = windows(model, 2, 4);
    // Samples differ, so one class per group: the largest share of a sharp posterior decides.
    let batched = model.loss(&windows, &mut rng(0)).unwrap().latents;
    let mut latents = model.initial(3);
    model.filter(&mut latents, &windows.actions[..6], &windows.observations[..12], &mut rng(0)).unwrap();
    for (a, b) in latents.deter.iter().zip(&batched.deter[..3 * 12]) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    // From the same state, the second step is the same as well.
    let mut second = Latents { deter: batched.deter[..36].to_vec(), classes: batched.classes[..9].to_vec() };
    model.filter(&mut second, &windows.actions[6..12], &windows.observations[12..24], &mut rng(0)).unwrap();
    for (a, b) in second.deter.iter().zip(&batched.deter[36..72]) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn an_episodes_start_forgets_the_state_and_the_action() {
    let agent = agent("CartPole-v1", 100);
    let model = agent.model();
    let mut windows = windows(model, 2, 4);
    windows.first[..3].fill(true);
    let fresh = model.loss(&windows, &mut rng(0)).unwrap().latents;
    windows.start.deter.fill(3.0);
    windows.actions[..6].fill(0.5);
    assert_eq!(fresh, model.loss(&windows, &mut rng(0)).unwrap().latents);
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let state_of = |agent: &Dreamer| {
        let mut state = TrainState::default();
        agent.save("a", &mut state).unwrap();
        state
    };
    for id in ["CartPole-v1", "Pendulum-v1"] {
        let mut metrics = Metrics::in_memory();
        let mut whole = agent(id, 200);
        while whole.step() < 60 {
            whole.advance(&mut metrics).unwrap();
        }
        let mut resumed = agent(id, 200);
        resumed.load("a", &state_of(&whole)).unwrap();
        for agent in [&mut whole, &mut resumed] {
            while agent.step() < 90 {
                agent.advance(&mut metrics).unwrap();
            }
        }
        assert!(state_of(&whole) == state_of(&resumed), "{id}");
    }
}

#[test]
fn the_policy_plays_whole_episodes() {
    let agent = agent("CartPole-v1", 100);
    let mut copies: Vec<Box<dyn Env>> = copies("CartPole-v1", 3).unwrap();
    let result = evaluate(&mut copies, &[1, 2, 3, 4], agent.policy(rng(0))).unwrap();
    assert!(result.returns.iter().all(|&r| r >= 8.0));
}

#[test]
fn untrained_heads_predict_exactly_nothing() {
    let mut agent = agent("Pendulum-v1", 100);
    let (model, behaviour) = (&agent.model().clone(), agent.behaviour_mut());
    let dream = behaviour.dream(model, &model.initial(5), &mut rng(1)).unwrap();
    assert_eq!(dream.actions.len(), 4 * 5);
    let windows = windows(model, 1, 3);
    let start = model.loss(&windows, &mut rng(0)).unwrap().latents;
    let dream = behaviour.dream(model, &start, &mut rng(1)).unwrap();
    assert_eq!(behaviour.loss(model, &dream, &windows).unwrap().imagined_return, 0.0);
}
