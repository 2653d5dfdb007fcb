//! One training round of the agents that learn more than a model: Dreamer, TD-MPC2 and I2A, on random data.

use super::{Outcome, time};
use candle_core::Device;
use rand::RngExt;
use rl_core::env::{Env, Episode, make};
use rl_core::optim::{Clip, Method, Optimizer, OptimizerConfig, backward};
use rl_core::{SeedStream, StreamRng};
use std::rc::Rc;
use world_models::dreamer::{Behaviour, BehaviourConfig, Sequences, WorldModel, WorldModelConfig};
use world_models::i2a::{
    Grid, GridModel, GridModelConfig, I2a, I2aConfig, IceRink, Imagination, KINDS, REWARDS, Rollouts,
    Transitions,
};
use world_models::tdmpc::{Networks, NetworksConfig, Windows};

/// Parameters and milliseconds of every round.
type Timed = Outcome<(usize, Vec<f64>)>;

fn uniform(n: usize, rng: &mut StreamRng) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// 4 updates on 8 × 32 steps, each with a dream of 15 steps from all of them; observations of 3, actions of 1.
pub(super) fn dreamer(rounds: usize, seeds: SeedStream) -> Timed {
    const STEPS: usize = 32;
    const BATCH: usize = 8;
    let spec = make("Pendulum-v1", 0)?.spec().clone();
    let model = WorldModel::new(&WorldModelConfig::default(), &spec, &Device::Cpu, seeds)?;
    let mut behaviour =
        Behaviour::new(&BehaviourConfig::default(), &model, &spec.action, &Device::Cpu, seeds)?;
    let modules: Vec<_> = model.modules().into_iter().chain(behaviour.modules()).collect();
    let parameters = modules.iter().map(|p| p.len()).sum();
    let config = OptimizerConfig {
        method: Method::laprop(),
        learning_rate: 4e-4,
        clip: Clip::Adaptive { clip: 0.3, floor: 1e-3 },
        warm_up: 100,
    };
    let mut optimizer = Optimizer::new(config, &modules)?;
    let (mut data, mut rng) = (seeds.stream("data", 0), seeds.stream("learn", 0));
    let rows = STEPS * BATCH;
    let mut windows = || Sequences {
        steps: STEPS,
        batch: BATCH,
        observations: uniform(rows * 3, &mut data),
        actions: uniform(rows, &mut data),
        rewards: uniform(rows, &mut data),
        terminated: vec![false; rows],
        last: vec![false; rows],
        first: vec![false; rows],
        start: model.initial(BATCH),
    };
    let batches: Vec<Sequences> = (0..4).map(|_| windows()).collect();
    let milliseconds = time(rounds, || {
        for windows in &batches {
            let losses = model.loss(windows, &mut rng)?;
            let dream = behaviour.dream(&model, &losses.latents, &mut rng)?;
            let imagined = behaviour.loss(&model, &dream, windows)?;
            let (value, gradients) = backward(&(losses.total + imagined.total)?)?;
            optimizer.step(&gradients)?;
            behaviour.follow()?;
            std::hint::black_box(value);
        }
        Ok(())
    })?;
    Ok((parameters, milliseconds))
}

/// 20 updates on 128 windows of 3 steps; observations of 3, actions of 1.
pub(super) fn tdmpc(rounds: usize, seeds: SeedStream) -> Timed {
    const STEPS: usize = 3;
    const BATCH: usize = 128;
    let networks =
        Networks::new(&NetworksConfig::default(), (3, 1), &Device::Cpu, &mut seeds.stream("init", 0))?;
    let adam = |rate| OptimizerConfig::adam(rate, 1e-8, Clip::GlobalNorm(20.0));
    let (modules, policy) = (networks.model_modules(), networks.policy_modules());
    let parameters = modules.iter().chain(&policy).map(|p| p.len()).sum();
    let mut optimizers = [
        Optimizer::new(adam(3e-4), &modules[..1])?,
        Optimizer::new(adam(1e-3), &modules[1..])?,
        Optimizer::new(adam(1e-3), &policy)?,
    ];
    let (mut data, mut rng) = (seeds.stream("data", 0), seeds.stream("learn", 0));
    let mut windows = || Windows {
        steps: STEPS,
        batch: BATCH,
        observations: uniform((STEPS + 1) * BATCH * 3, &mut data),
        actions: uniform(STEPS * BATCH, &mut data),
        rewards: uniform(STEPS * BATCH, &mut data),
        terminated: vec![false; STEPS * BATCH],
    };
    let batches: Vec<Windows> = (0..20).map(|_| windows()).collect();
    let milliseconds = time(rounds, || {
        for windows in &batches {
            let targets = networks.targets(windows, 0.99, [0, 3], &mut rng)?;
            let losses = networks.loss(windows, &targets)?;
            let (value, gradients) = backward(&losses.total)?;
            optimizers[0].step(&gradients)?;
            optimizers[1].step(&gradients)?;
            let (loss, _) = networks.policy_loss(&losses.latents, BATCH, 1.0, [1, 4], &mut rng)?;
            let (policy_value, gradients) = backward(&loss)?;
            optimizers[2].step(&gradients)?;
            networks.follow(0.01)?;
            std::hint::black_box((value, policy_value));
        }
        Ok(())
    })?;
    Ok((parameters, milliseconds))
}

/// 10 updates of 16 environments × 5 steps on grids of 4 × 4: at every step the rollouts of all four actions, 3 deep, and
/// then the update. The environments themselves play no part.
pub(super) fn i2a(rounds: usize, seeds: SeedStream) -> Timed {
    const ENVS: usize = 16;
    const STEPS: usize = 5;
    let rink = IceRink { size: 4, walls: 2, holes: 2, ..IceRink::default() };
    let grid = Grid { cells: rink.cells(), kinds: KINDS, actions: 4, rewards: REWARDS.to_vec() };
    let width = grid.width();
    let mut rng = seeds.stream("data", 0);
    let mut grids = |rows: usize| -> Vec<f32> {
        let mut all = vec![0.0; rows * width];
        all.chunks_exact_mut(KINDS).for_each(|cell| cell[rng.random_range(0..KINDS)] = 1.0);
        all
    };
    let data = Transitions {
        observations: grids(1),
        actions: vec![0],
        next_observations: grids(1),
        rewards: vec![REWARDS[1]],
        terminated: vec![false],
    };
    let model = GridModel::new(GridModelConfig::default(), grid, data, &Device::Cpu, seeds)?;
    let parameters = model.parameters();
    let imagination = Imagination::Learned(Rc::new(model));
    let copies =
        (0..1).map(|i| Box::new(Episode::<IceRink, StreamRng>::new(rink, i)) as Box<dyn Env>).collect();
    let mut agent = I2a::new(I2aConfig::default(), imagination, copies, seeds, &Device::Cpu)?;
    let parameters = parameters + agent.parameters();
    let batches: Vec<Vec<Vec<f32>>> = (0..10).map(|_| (0..STEPS).map(|_| grids(ENVS)).collect()).collect();
    let actions: Vec<u32> = (0..ENVS * STEPS).map(|i| (i % 4) as u32).collect();
    let mut rng = seeds.stream("imagine", 0);
    let milliseconds = time(rounds, || {
        for steps in &batches {
            let imagined = steps.iter().map(|o| agent.imagine(o, &mut rng));
            let rollouts = Rollouts::join(&imagined.collect::<Result<Vec<_>, _>>()?);
            let losses = agent.update(&steps.concat(), &rollouts, &actions, vec![0.5; actions.len()])?;
            std::hint::black_box(losses.total.to_scalar::<f32>()?);
        }
        Ok(())
    })?;
    Ok((parameters, milliseconds))
}
