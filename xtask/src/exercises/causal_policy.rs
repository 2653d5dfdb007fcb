//! `causal-policy`: a policy that does not lean on what cannot change its return.
//!
//! Two sensors see a point, two others repeat them on a larger scale and cause nothing. A causal world model of random
//! play says which variables are causes of the return; the causal policy gradient is made consistent under interventions on
//! the others. Tested as trained, and with the spurious sensors reversed, replaced by noise, dead.

use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line, exercises::Exercise};
use anyhow::Result;
use causal::rl::env::{Shift, SpuriousSensors};
use causal::rl::{
    Batch, CausalPolicyGradient, CausalWorldModel, FactoredSpace, InterventionalDataset, Kind,
    PolicyGradientConfig, Transition, Variable, WorldModelConfig,
};
use rand::{RngExt, SeedableRng};
use rl_core::env::{Action, Simulator};
use rl_core::experiment::Role;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// The exercise.
pub(crate) struct CausalPolicy;

/// Budgets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Episodes of random play from which causes are learned.
    pub random_episodes: usize,
    /// The model that learns them.
    pub model: WorldModelConfig,
    /// Updates of every policy.
    pub updates: u64,
    /// Episodes per update.
    pub episodes_per_update: usize,
    /// Discount.
    pub gamma: f32,
    /// Every policy; its columns without effect come from the model.
    pub policy: PolicyGradientConfig,
    /// Episodes of an evaluation.
    pub test_episodes: usize,
}

const STEPS: usize = 30;
const SHIFTS: [(&str, Shift); 4] = [
    ("as trained", Shift::None),
    ("reversed", Shift::Reversed),
    ("noise", Shift::Noise),
    ("dead", Shift::Dead),
];

impl Exercise for CausalPolicy {
    type Config = Config;

    const NAME: &'static str = "causal-policy";
    const DESCRIPTION: &'static str =
        "A policy gradient made consistent under interventions keeps its return when sensors shift";
    const DURATION: [&'static str; 3] = ["3 s", "2 min", "5 min"];

    fn config(preset: Preset) -> Config {
        let config = Config {
            random_episodes: 300,
            model: WorldModelConfig { hidden: vec![32, 32], updates: 20_000, ..WorldModelConfig::default() },
            updates: 400,
            episodes_per_update: 16,
            gamma: 0.95,
            policy: PolicyGradientConfig { learning_rate: 3e-3, ..PolicyGradientConfig::default() },
            test_episodes: 200,
        };
        match preset {
            Preset::Smoke => Config {
                random_episodes: 20,
                model: WorldModelConfig { hidden: vec![16], updates: 100, ..config.model.clone() },
                updates: 5,
                test_episodes: 5,
                ..config
            },
            Preset::Quick | Preset::Full => config,
        }
    }

    fn validate(config: &Config) -> Result<()> {
        config.model.validate()?;
        config.policy.validate()?;
        let gamma = config.gamma;
        anyhow::ensure!((0.0..=1.0).contains(&gamma), "gamma = {gamma}: must be in [0, 1]");
        for (field, value) in [
            ("random_episodes", config.random_episodes),
            ("updates", config.updates as usize),
            ("episodes_per_update", config.episodes_per_update),
            ("test_episodes", config.test_episodes),
        ] {
            anyhow::ensure!(value > 0, "{field} = 0: must be at least 1");
        }
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let non_causes = learn_non_causes(config, ctx)?;
        let steps = config.updates * (config.episodes_per_update * STEPS) as u64;
        let mut curves = Vec::new();
        for (method, role, columns) in [
            ("causal", Role::Method, non_causes),
            ("plain", Role::Reference, vec![]),
            ("told the causes", Role::Reference, vec![2, 3]),
        ] {
            let run = train(method, columns, config, ctx)?;
            let trained = run.returns[0];
            for ((name, _), value) in SHIFTS.iter().zip(&run.returns) {
                ctx.score(name, method, role, Measure::RETURN, steps, *value)?;
                let kept = Measure { metric: "return kept", unit: "share", higher_is_better: true };
                ctx.score(name, method, role, kept, steps, value / trained)?;
            }
            curves.push((method, run));
        }
        for (method, role, act) in [
            ("random", Role::Reference, random as fn(&[f32], &mut StreamRng) -> usize),
            ("stay", Role::Reference, |_, _| 0),
            ("push the larger coordinate back", Role::Reference, |o, _| push_back(o)),
        ] {
            for (name, shift) in SHIFTS {
                let value = evaluate(shift, config.test_episodes, ctx.streams, |rows, rng| {
                    Ok(rows.chunks_exact(4).map(|row| act(row, rng)).collect())
                })?;
                ctx.score(name, method, role, Measure::RETURN, steps, value)?;
            }
        }
        figures(&curves, config, ctx);
        ctx.note(
            "Return of an episode: Σ exp(−‖x‖²) over 30 steps, so at most 30. `return kept` is the return under the shift \
             over the return as trained. `told the causes` is the causal policy gradient with the true non-causes given, \
             `plain` the same algorithm without the consistency term.",
        );
        Ok(())
    }
}

fn random(_: &[f32], rng: &mut StreamRng) -> usize {
    rng.random_range(0..5)
}

/// One line of control that reads the causal sensors only.
fn push_back(o: &[f32]) -> usize {
    if o[0].abs() < 0.2 && o[1].abs() < 0.2 {
        0
    } else if o[0].abs() > o[1].abs() {
        if o[0] < 0.0 { 1 } else { 2 }
    } else if o[1] < 0.0 {
        3
    } else {
        4
    }
}

/// Columns of the observation whose variable is no cause of the reward, by a causal world model of random play.
fn learn_non_causes(config: &Config, ctx: &mut Context) -> Result<Vec<usize>> {
    let streams = ctx.streams;
    let columns: (Vec<usize>, f64) = ctx.session.once::<_, anyhow::Error>("causes/world-model", |stage| {
        let variable = |name: &str, width| Variable { name: name.into(), kind: Kind::Real(width) };
        let variables = vec![variable("sensors", 2), variable("spurious sensors", 2), variable("reward", 1)];
        let space = FactoredSpace::new(variables, Kind::Categorical(5))?;
        let mut data = InterventionalDataset::new(space.clone());
        let task = SpuriousSensors { shift: Shift::None };
        for episode in 0..config.random_episodes as u64 {
            let rng = &mut streams.stream("random-play", episode);
            let (mut state, mut reward) = (task.initial_state(rng), 0.0);
            for t in 0..STEPS {
                // To about unit scale, as the model wants it.
                let encode = |s: &[f64; 4], r: f64| [s[0], s[1], s[2] / 3.0, s[3] / 3.0, r].map(|v| v as f32);
                let before = encode(&state, reward);
                let action = rng.random_range(0..5usize);
                reward = task.transition(&mut state, Action::Discrete(action), rng).0;
                let one_hot: [f32; 5] = std::array::from_fn(|a| f32::from(u8::from(a == action)));
                let next = encode(&state, reward);
                let (first, reward) = (t == 0, reward as f32);
                data.push(Transition {
                    state: &before,
                    action: &one_hot,
                    reward,
                    next: &next,
                    first,
                    set: &[],
                })?;
            }
        }
        let mut model = CausalWorldModel::new(space, config.model.clone(), streams)?;
        for chunk in 0..10 {
            stage.progress(chunk, 10)?;
            let until = |c: u64| c * config.model.updates / 10;
            model.train(&data, until(chunk + 1) - until(chunk))?;
        }
        let causes = model.causes_of(2);
        let variables = (0..2).filter(|&v| !causes.contains(v));
        let columns = variables.flat_map(|v| model.space().block(v)).collect::<Vec<usize>>();
        let information = model.information().into_iter().map(|row| row[1]).fold(f64::NEG_INFINITY, f64::max);
        Ok((columns, information))
    })?;
    let (columns, information) = columns;
    let told = Measure::error("information of the spurious sensors", "nats");
    let rows = (config.random_episodes * STEPS) as u64;
    ctx.score("causes", "causal world model", Role::Method, told, rows, information)?;
    let right = Measure { metric: "non-causes of the return found", unit: "share", higher_is_better: true };
    let score = f64::from(u8::from(columns == [2, 3]));
    ctx.score(
        "causes",
        "causal world model",
        Role::Method,
        right,
        (config.random_episodes * STEPS) as u64,
        score,
    )?;
    Ok(columns)
}

/// Returns under every shift, and the history of a training.
#[derive(Clone, Serialize, Deserialize)]
struct Run {
    returns: Vec<f64>,
    history: Vec<[f64; 2]>,
}

fn train(method: &str, non_causes: Vec<usize>, config: &Config, ctx: &mut Context) -> Result<Run> {
    let streams = ctx.streams;
    ctx.session.once::<_, anyhow::Error>(&format!("spurious sensors/{method}"), |stage| {
        let policy = PolicyGradientConfig { non_causes, ..config.policy.clone() };
        let mut agent = CausalPolicyGradient::new(4, 5, policy, streams)?;
        let mut history = Vec::new();
        for update in 0..config.updates {
            stage.progress(update, config.updates)?;
            let rng = &mut streams.stream("rollout", update);
            let (batch, value) = rollout(&mut agent, config, rng)?;
            let losses = agent.update(&batch)?;
            history.push([value, losses.consistency]);
        }
        let mut returns = Vec::new();
        for (_, shift) in SHIFTS {
            let act = |rows: &[f32], _: &mut StreamRng| Ok(agent.act_greedily(rows)?);
            returns.push(evaluate(shift, config.test_episodes, streams, act)?);
        }
        Ok(Run { returns, history })
    })
}

/// Episodes of the stochastic policy in lock-step, and their mean return.
fn rollout(agent: &mut CausalPolicyGradient, config: &Config, rng: &mut StreamRng) -> Result<(Batch, f64)> {
    let n = config.episodes_per_update;
    let task = SpuriousSensors { shift: Shift::None };
    let mut states: Vec<[f64; 4]> = (0..n).map(|_| task.initial_state(rng)).collect();
    let mut batch = Batch::default();
    let mut rewards = vec![vec![0f32; n]; STEPS];
    for row in &mut rewards {
        let observations: Vec<f32> = states.iter().flatten().map(|&v| v as f32).collect();
        let actions = agent.act(&observations, rng)?;
        batch.observations.extend(observations);
        batch.actions.extend(actions.iter().map(|&a| a as u32));
        for ((state, &action), reward) in states.iter_mut().zip(&actions).zip(row) {
            *reward = task.transition(state, Action::Discrete(action), rng).0 as f32;
        }
    }
    let mean = rewards.iter().flatten().map(|&r| f64::from(r)).sum::<f64>() / n as f64;
    for t in (0..STEPS - 1).rev() {
        let (now, later) = rewards.split_at_mut(t + 1);
        now[t].iter_mut().zip(&later[0]).for_each(|(g, next)| *g += config.gamma * next);
    }
    batch.returns = rewards.concat();
    Ok((batch, mean))
}

/// Mean return over fixed starts.
fn evaluate(
    shift: Shift,
    episodes: usize,
    streams: SeedStream,
    mut act: impl FnMut(&[f32], &mut StreamRng) -> Result<Vec<usize>>,
) -> Result<f64> {
    let task = SpuriousSensors { shift };
    let mut rngs: Vec<StreamRng> = (0..episodes as u64).map(|e| streams.stream("test", e)).collect();
    let mut own = StreamRng::seed_from_u64(streams.derive("test-policy", 0));
    let mut states: Vec<[f64; 4]> = rngs.iter_mut().map(|rng| task.initial_state(rng)).collect();
    let mut total = 0.0;
    for _ in 0..STEPS {
        let observations: Vec<f32> = states.iter().flatten().map(|&v| v as f32).collect();
        let actions = act(&observations, &mut own)?;
        for ((state, action), rng) in states.iter_mut().zip(actions).zip(&mut rngs) {
            total += task.transition(state, Action::Discrete(action), rng).0;
        }
    }
    Ok(total / episodes as f64)
}

fn figures(curves: &[(&str, Run)], config: &Config, ctx: &mut Context) {
    let steps = (config.episodes_per_update * STEPS) as f64;
    for (index, name, title, y_label) in [
        (0, "return", "Return while training", "return of an episode"),
        (1, "consistency", "How much the policy depends on what is no cause", "KL under intervention [nats]"),
    ] {
        let lines =
            curves.iter().filter(|(method, _)| index == 0 || *method != "plain").map(|(method, run)| Line {
                name: (*method).into(),
                x: (1..=run.history.len()).map(|u| u as f64 * steps).collect(),
                y: run.history.iter().map(|h| h[index]).collect(),
            });
        ctx.figure(Figure {
            name: format!("policy-{name}"),
            title: title.into(),
            x_label: "environment steps".into(),
            y_label: y_label.into(),
            lines: lines.collect(),
        });
    }
}
