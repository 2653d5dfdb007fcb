//! Properties that all environments share, and the known returns of simple policies.

// Helpers outside #[test] functions count as tests too.
#![allow(clippy::unwrap_used)]

use marl::env::particle::{Config, Flavor, Particle, ParticleBatch, Scenario, script};
use marl::env::{
    Action, ActionSpace, Aec, AgentId, Batch, BatchActions, BatchStep, Copies, MultiAgentEnv, Parallel,
    SimultaneousAec, foraging, matrix, point_arena,
};
use rand::RngExt;
use rl_core::{SeedStream, StreamRng};

const NAMES: [&str; 9] = [
    "simple",
    "simple_spread",
    "simple_adversary",
    "simple_tag",
    "simple_push",
    "simple_speaker_listener",
    "simple_reference",
    "simple_crypto",
    "simple_world_comm",
];

fn particle(name: &str, continuous: bool, flavor: Flavor) -> Particle {
    let scenario = Scenario::named(name).unwrap();
    Particle::new(Config { scenario, continuous, flavor, ..Config::default() }).unwrap()
}

/// Random joint actions for the live agents; vectors are kept in `buffers`.
fn act<'a>(
    env: &impl MultiAgentEnv,
    rng: &mut StreamRng,
    buffers: &'a mut [Vec<f32>],
) -> Vec<Option<Action<'a>>> {
    let layout = env.layout();
    buffers
        .iter_mut()
        .zip(&layout.agents)
        .zip(env.live())
        .map(|((buffer, spec), live)| {
            let dim = if matches!(spec.actions, ActionSpace::Discrete(_)) { 0 } else { spec.actions.width() };
            buffer.resize(dim, 0.0);
            live.then(|| spec.actions.sample(rng, buffer))
        })
        .collect()
}

/// The contract of an environment: sizes, seeds, ends, errors.
fn contract<E: MultiAgentEnv + Clone>(env: E) {
    let layout = env.layout().clone();
    let n = layout.n();
    let record = |seed| {
        let mut env = Parallel::new(env.clone());
        let mut rng = SeedStream::new(seed).stream("test/actions", 0);
        let mut buffers = vec![Vec::new(); n];
        assert!(env.step(&vec![None; n]).is_err(), "a step before the first reset must fail");
        env.reset(seed);
        let mut seen = Vec::new();
        for _ in 0..1000 {
            if env.agents().next().is_none() {
                break;
            }
            for id in layout.ids() {
                let observation = env.observation(id).unwrap();
                assert_eq!(observation.len(), layout.agents[id.0].observation);
                assert!(observation.iter().all(|x| x.is_finite()));
                assert_eq!(env.action_mask(id).unwrap().len(), layout.agents[id.0].actions.width());
                seen.extend_from_slice(observation);
            }
            assert_eq!(env.state().len(), layout.state);
            let actions = act(env.env(), &mut rng, &mut buffers);
            let outcome = env.step(&actions).unwrap();
            seen.extend(outcome.rewards.iter().map(|&r| r as f32));
        }
        assert!(env.agents().next().is_none(), "{} does not end", layout.name);
        assert!(env.step(&vec![None; n]).is_err(), "a step after the end must fail");
        seen
    };
    assert_eq!(record(1), record(1), "{}", layout.name);
}

#[test]
fn all_environments_keep_the_contract() {
    for name in NAMES {
        for flavor in [Flavor::Mpe2, Flavor::OpenAi2017] {
            contract(particle(name, false, flavor));
            contract(particle(name, true, flavor));
        }
    }
    for config in [
        foraging::Config::default(),
        foraging::Config { grid_observation: true, sight: 2, coop: false, ..Default::default() },
    ] {
        contract(foraging::Foraging::new(config).unwrap());
    }
    contract(matrix::Matrix::new(matrix::Config::climbing()).unwrap());
    contract(matrix::Matrix::new(matrix::Config::two_step()).unwrap());
    for task in [point_arena::Task::Cooperative, point_arena::Task::Competitive, point_arena::Task::Mixed] {
        contract(point_arena::PointArena::new(point_arena::Config { task, ..Default::default() }).unwrap());
    }
}

#[test]
fn wrong_actions_are_errors() {
    let mut env = Parallel::new(particle("simple_spread", false, Flavor::Mpe2));
    env.reset(0);
    let stay = Some(Action::Discrete(0));
    assert!(env.step(&[stay, stay]).is_err());
    assert!(env.step(&[stay, stay, None]).is_err());
    assert!(env.step(&[stay, stay, Some(Action::Discrete(5))]).is_err());
    assert!(env.step(&[stay, stay, Some(Action::Continuous(&[0.0; 5]))]).is_err());
    assert!(env.step(&[stay; 3]).is_ok());
    let mut env = Parallel::new(particle("simple_spread", true, Flavor::Mpe2));
    env.reset(0);
    assert!(env.step(&[Some(Action::Continuous(&[f32::NAN; 5])); 3]).is_err());
}

/// Two batches with the same seed and actions must give the same bits.
fn same_batches(mut a: impl Batch, mut b: impl Batch, steps: usize) {
    let (layout, copies) = (a.layout().clone(), a.copies());
    let (mut x, mut y) = (BatchStep::new(&layout, copies), BatchStep::new(&layout, copies));
    let seeds = SeedStream::new(11);
    let mut actions = BatchActions::new(&layout, copies);
    assert!(a.step(&actions, &mut x).is_err(), "a step before the first reset must fail");
    a.reset(&seeds, &mut x).unwrap();
    b.reset(&seeds, &mut y).unwrap();
    assert_eq!(x, y);
    let mut rng = seeds.stream("test/actions", 0);
    for _ in 0..steps {
        for (i, spec) in layout.agents.iter().enumerate() {
            let width = spec.actions.width() as u32;
            actions.discrete[i].iter_mut().for_each(|a| *a = rng.random_range(0..width));
            actions.continuous[i].iter_mut().for_each(|a| *a = rng.random_range(-0.2..1.2));
        }
        a.step(&actions, &mut x).unwrap();
        b.step(&actions, &mut y).unwrap();
        assert_eq!(x, y, "{}", layout.name);
    }
}

#[test]
fn blocks_of_lanes_do_what_single_worlds_do_bit_for_bit() {
    for name in NAMES {
        for continuous in [false, true] {
            for flavor in [Flavor::Mpe2, Flavor::OpenAi2017] {
                let env = particle(name, continuous, flavor);
                let batch = ParticleBatch::new(*env.config(), 11).unwrap();
                same_batches(batch, Copies::new(env, 11), 60);
            }
        }
    }
}

#[test]
fn a_copy_does_what_it_would_do_alone() {
    let config = foraging::Config::default();
    let env = foraging::Foraging::new(config).unwrap();
    let mut batch = Copies::new(env.clone(), 3);
    let mut step = BatchStep::new(batch.layout(), 3);
    let seeds = SeedStream::new(2);
    batch.reset(&seeds, &mut step).unwrap();
    let mut alone = env;
    let mut rng = seeds.stream("marl/env", 1);
    alone.reset(&mut rng);
    let d = alone.layout().agents[0].observation;
    let mut observation = vec![0.0; d];
    alone.observe(AgentId(0), &mut observation);
    assert_eq!(step.observations[0][d..2 * d], observation);
}

#[test]
fn agent_by_agent_is_the_same_game() {
    let mut parallel = Parallel::new(particle("simple_tag", false, Flavor::Mpe2));
    let mut cycle = SimultaneousAec::new(particle("simple_tag", false, Flavor::Mpe2));
    parallel.reset(4);
    cycle.reset(4);
    let mut rewards = [0.0; 4];
    let mut turns = 0;
    while let Some(agent) = cycle.agent_selection() {
        let last = cycle.last().unwrap();
        assert_eq!(last.reward, rewards[agent.0]);
        if last.truncated {
            assert!(cycle.step(Some(Action::Discrete(0))).is_err());
            cycle.step(None).unwrap();
            continue;
        }
        assert_eq!(last.observation, parallel.observation(agent).unwrap());
        assert!(cycle.step(None).is_err());
        cycle.step(Some(Action::Discrete(agent.0 + 1))).unwrap();
        turns += 1;
        if agent.0 == 3 {
            let actions = [1, 2, 3, 4].map(|a| Some(Action::Discrete(a)));
            rewards.copy_from_slice(&parallel.step(&actions).unwrap().rewards);
        }
    }
    assert_eq!(turns, 100);
}

/// Mean over episodes of the sum over agents of the returns.
fn mean_return(
    name: &str,
    flavor: Flavor,
    policy: impl Fn(&Particle, AgentId, &mut StreamRng) -> usize,
) -> f64 {
    let mut env = Parallel::new(particle(name, false, flavor));
    let mut rng = SeedStream::new(0).stream("test/actions", 0);
    let n = env.layout().n();
    let (episodes, mut sum) = (200, 0.0);
    for seed in 0..episodes {
        env.reset(seed);
        while env.agents().next().is_some() {
            let choose = |i| Some(Action::Discrete(policy(env.env(), AgentId(i), &mut rng)));
            let actions: Vec<_> = (0..n).map(choose).collect();
            sum += env.step(&actions).unwrap().rewards.iter().sum::<f64>();
        }
    }
    sum / episodes as f64
}

#[test]
fn simple_policies_have_their_known_returns() {
    let random = |env: &Particle, id: AgentId, rng: &mut StreamRng| {
        rng.random_range(0..env.layout().agents[id.0].actions.width())
    };
    let scripted = |env: &Particle, id: AgentId, _: &mut StreamRng| script::scripted(env, id);
    let near = |got: f64, want: f64, within: f64| assert!((got - want).abs() < within, "{got} {want}");
    near(mean_return("simple_spread", Flavor::Mpe2, random), -79.7, 6.0);
    near(mean_return("simple_spread", Flavor::Mpe2, |_, _, _| 0), -73.8, 6.0);
    near(mean_return("simple_spread", Flavor::Mpe2, scripted), -23.8, 3.5);
    // The unit of the published tables: the random policy scores −231 per agent there, the planner −113.
    near(mean_return("simple_spread", Flavor::OpenAi2017, random) / 3.0, -231.0, 15.0);
    near(mean_return("simple_spread", Flavor::OpenAi2017, scripted) / 3.0, -113.0, 10.0);
    near(mean_return("simple_speaker_listener", Flavor::Mpe2, random), -77.7, 15.0);
    near(mean_return("simple_speaker_listener", Flavor::Mpe2, scripted), -14.4, 3.5);
}

#[test]
fn foraging_is_solved_by_its_heuristic_most_of_the_time() {
    let mut env = Parallel::new(foraging::Foraging::new(foraging::Config::default()).unwrap());
    let mut rng = SeedStream::new(0).stream("test/actions", 0);
    let mut sum = 0.0;
    for seed in 0..200 {
        env.reset(seed);
        while env.agents().next().is_some() {
            let actions =
                [0, 1].map(|i| Some(Action::Discrete(foraging::scripted(env.env(), AgentId(i), &mut rng))));
            sum += env.step(&actions).unwrap().rewards.iter().sum::<f64>();
        }
    }
    assert!(sum / 200.0 > 0.6, "{}", sum / 200.0);
}
