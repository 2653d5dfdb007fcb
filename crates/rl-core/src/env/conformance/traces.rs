//! Traces: one step at a time from the recorded states, and in closed loop where that is meaningful.

use super::OBSERVATION_TOLERANCE;
use crate::conformance::{Checker, get};
use crate::env::dmc::{self, AcrobotSwingup, DmcCartPole, DmcCartPoleTask, PendulumSwingup};
use crate::env::scripted::{Policy, Random};
use crate::env::{
    Acrobot, Action, CartPole, Env, Episode, MountainCar, MountainCarContinuous, Pendulum, Simulator, Space,
};
use crate::numpy_rng::NumpyRng;
use serde_json::Value;

/// A trace, whichever package made it.
struct Trace<const N: usize> {
    start: [f64; N],
    actions: Vec<f64>,
    states: Vec<[f64; N]>,
    observations: Vec<Vec<f64>>,
    rewards: Vec<f64>,
    terminated: Vec<bool>,
    /// Absent where the file does not record it.
    truncated: Option<Vec<bool>>,
}

impl<const N: usize> Trace<N> {
    fn check_lengths(&self) -> Result<(), String> {
        let steps = self.actions.len();
        let lengths = [
            self.states.len(),
            self.observations.len(),
            self.rewards.len(),
            self.terminated.len(),
            self.truncated.as_ref().map_or(steps, Vec::len),
        ];
        if lengths.iter().all(|&l| l == steps) {
            return Ok(());
        }
        Err(format!("an episode of {steps} actions has {lengths:?} states, observations, rewards and flags"))
    }
}

/// Replays one trace. `advance` is the simulator's step with the action as recorded, `tolerance` that of one step
/// from one recorded state to the next.
fn replay_trace<const N: usize, S: Simulator<State = [f64; N]>>(
    simulator: &S,
    advance: impl Fn(&mut [f64; N], f64) -> (f64, bool),
    trace: &Trace<N>,
    tolerance: impl Fn(&[f64; N], &[f64; N]) -> f64,
    checker: &mut Checker,
) -> Result<(), String> {
    trace.check_lengths()?;
    let spec = simulator.spec();
    let mut observation = vec![0.0f32; spec.observation.width()];
    let mut before = trace.start;
    let mut worst: f64 = 0.0;
    for (t, &action) in trace.actions.iter().enumerate() {
        let mut state = before;
        let (reward, terminated) = advance(&mut state, action);
        let tolerance = tolerance(&before, &trace.states[t]);
        worst = worst.max(distance(&state, &trace.states[t]));
        let at = |what: &str| format!("{what} after step {t}");
        checker.close_slice(&at("state"), &state, &trace.states[t], tolerance);
        checker.close(&at("reward"), reward, trace.rewards[t], tolerance);
        checker.exact(&at("terminated"), terminated, trace.terminated[t]);
        if let Some(truncated) = &trace.truncated {
            let limit = spec.max_episode_steps.is_some_and(|limit| t as u32 + 1 >= limit);
            checker.exact(&at("truncated"), limit, truncated[t]);
        }
        before = trace.states[t];
        simulator.observe(&before, &mut observation);
        let got: Vec<f64> = observation.iter().map(|&o| f64::from(o)).collect();
        checker.close_slice(&at("observation"), &got, &trace.observations[t], OBSERVATION_TOLERANCE);
    }
    closed_loop(advance, trace, worst, checker);
    Ok(())
}

/// Replays the whole episode from its start to 1e-6, where the task does not amplify rounding too much for that:
/// `error` is the largest of a single step in this trace, the growth is that of a nudge of the start state.
fn closed_loop<const N: usize>(
    advance: impl Fn(&mut [f64; N], f64) -> (f64, bool),
    trace: &Trace<N>,
    error: f64,
    checker: &mut Checker,
) {
    const ALLOWED: f64 = 1e-6;
    const NUDGE: f64 = 1e-9;
    /// Errors enter at every step, not only at the start.
    const SAFETY: f64 = 100.0;
    let play = |mut state: [f64; N]| -> Vec<[f64; N]> {
        let step = |&action: &f64| {
            advance(&mut state, action);
            state
        };
        trace.actions.iter().map(step).collect()
    };
    let states = play(trace.start);
    let nudged = play(trace.start.map(|s| s + NUDGE));
    let growth = states.iter().zip(&nudged).map(|(a, b)| distance(a, b) / NUDGE).fold(1.0, f64::max);
    if growth * error.max(f64::EPSILON) * SAFETY > ALLOWED {
        return;
    }
    for (t, (state, want)) in states.iter().zip(&trace.states).enumerate() {
        checker.close_slice(&format!("closed loop: state after step {t}"), state, want, ALLOWED);
    }
}

fn distance<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// A file of Gymnasium traces.
pub(super) fn gymnasium(data: &Value, checker: &mut Checker) -> Result<(), String> {
    match get::<String>(data, "env")?.as_str() {
        "CartPole-v1" => classic(|_| CartPole, 1e-12, data, checker),
        "Pendulum-v1" => classic(|single| Pendulum { f64_torque: !single }, 2e-8, data, checker),
        "MountainCar-v0" => classic(|_| MountainCar, 1e-12, data, checker),
        "MountainCarContinuous-v0" => classic(|_| MountainCarContinuous, 2e-7, data, checker),
        "Acrobot-v1" => classic(|_| Acrobot, 1e-12, data, checker),
        other => Err(format!("no environment named {other}")),
    }
}

/// `simulator` is made for f32 actions or for f64 ones; `tolerance` holds where f32 enters the computation.
fn classic<const N: usize, S>(
    simulator: impl Fn(bool) -> S,
    tolerance: f64,
    data: &Value,
    checker: &mut Checker,
) -> Result<(), String>
where
    S: Simulator<State = [f64; N]> + Clone,
{
    let spec = simulator(true).spec();
    checker.exact("max_episode_steps", spec.max_episode_steps, get(data, "max_episode_steps")?);
    checker.exact("reward_threshold", spec.reward_threshold, get(data, "reward_threshold")?);
    for episode in get::<Vec<Value>>(data, "episodes")? {
        let single = match episode.get("action_dtype").and_then(Value::as_str) {
            Some("float64") => false,
            Some("float32") | None => true,
            Some(other) => return Err(format!("unknown action_dtype {other}")),
        };
        // The f64 Pendulum is pure f64 arithmetic and held to its tolerance.
        let tolerance = if spec.id == "Pendulum-v1" && !single { 1e-12 } else { tolerance };
        let simulator = simulator(single);
        let trace = Trace::<N> {
            start: array(&get::<Vec<f64>>(&episode, "initial_state")?)?,
            actions: get(&episode, "actions")?,
            states: get::<Vec<Vec<f64>>>(&episode, "states")?
                .iter()
                .map(|s| array(s))
                .collect::<Result<_, _>>()?,
            observations: get(&episode, "obs")?,
            rewards: get(&episode, "rewards")?,
            terminated: get(&episode, "terminated")?,
            truncated: Some(get(&episode, "truncated")?),
        };
        let discrete = matches!(spec.action, Space::Discrete(_));
        let advance = |state: &mut [f64; N], action: f64| {
            // These tasks are deterministic: the generator is never asked.
            let mut unused = NumpyRng::new(0);
            if discrete {
                simulator.transition(state, Action::Discrete(action as usize), &mut unused)
            } else {
                simulator.transition(state, Action::Continuous(&[action as f32]), &mut unused)
            }
        };
        replay_trace(&simulator, advance, &trace, |_, _| tolerance, checker)?;
        checker.exact("length", trace.actions.len(), get(&episode, "length")?);
        let total: f64 = trace.rewards.iter().sum();
        checker.close("ret", total, get(&episode, "ret")?, 1e-12);
    }
    for seeded in get::<Vec<Value>>(data, "seeded_resets")? {
        seeded_reset(simulator(true), &seeded, checker)?;
    }
    Ok(())
}

/// Start states and action samples from the same seed, bit for bit.
fn seeded_reset<const N: usize, S: Simulator<State = [f64; N]>>(
    simulator: S,
    seeded: &Value,
    checker: &mut Checker,
) -> Result<(), String> {
    let seed: u64 = get(seeded, "seed")?;
    let mut env = Episode::<S, NumpyRng>::new(simulator, 0);
    let mut observation = vec![0.0f32; env.spec().observation.width()];
    env.reset(Some(seed), &mut observation).map_err(|e| e.to_string())?;
    let at = |what: &str| format!("{what} of seed {seed}");
    checker.exact(&at("start state"), env.state().as_slice(), &get::<Vec<f64>>(seeded, "state")?);
    let got: Vec<f64> = observation.iter().map(|&o| f64::from(o)).collect();
    checker.close_slice(
        &at("first observation"),
        &got,
        &get::<Vec<f64>>(seeded, "obs")?,
        OBSERVATION_TOLERANCE,
    );
    env.reset(None, &mut observation).map_err(|e| e.to_string())?;
    let second: Vec<f64> = get(seeded, "second_reset_state")?;
    checker.exact(&at("second start state"), env.state().as_slice(), &second);
    let mut random = Random::new(&env.spec().action, NumpyRng::new(seed));
    for sample in get::<Vec<Value>>(seeded, "action_space_samples")? {
        let want: Vec<f64> = match &sample {
            Value::Array(reals) => reals.iter().filter_map(Value::as_f64).collect(),
            index => index.as_f64().into_iter().collect(),
        };
        let got: Vec<f64> = match random.act(&observation) {
            Action::Discrete(a) => vec![a as f64],
            Action::Continuous(a) => a.iter().map(|&x| f64::from(x)).collect(),
        };
        checker.exact(&at("action sample"), got, want);
    }
    Ok(())
}

/// A file of dm_control traces.
pub(super) fn dm_control(data: &Value, checker: &mut Checker) -> Result<(), String> {
    let task: String = get(data, "task")?;
    let words: Vec<&str> = task.trim_start_matches("dmc ").split(' ').collect();
    let cart_pole = |task| DmcCartPole { task };
    match words.as_slice() {
        ["pendulum", "swingup"] => suite(PendulumSwingup, PendulumSwingup::advance, never, data, checker),
        ["acrobot", "swingup"] => suite(AcrobotSwingup, AcrobotSwingup::advance, never, data, checker),
        ["cartpole", name] => {
            let task = match *name {
                "swingup" => DmcCartPoleTask::Swingup,
                "swingup_sparse" => DmcCartPoleTask::SwingupSparse,
                "balance" => DmcCartPoleTask::Balance,
                other => return Err(format!("no cartpole task named {other}")),
            };
            suite(cart_pole(task), DmcCartPole::advance, at_the_limit, data, checker)
        }
        _ => Err(format!("no task named {task}")),
    }
}

/// Whether a step touches the cart-pole's slider limit.
fn at_the_limit(before: &[f64; 4], after: &[f64; 4]) -> bool {
    before[0].abs() > dmc::SLIDER_LIMIT || after[0].abs() > dmc::SLIDER_LIMIT
}

fn never<const N: usize>(_: &[f64; N], _: &[f64; N]) -> bool {
    false
}

/// One step in ordinary motion.
const STEP: f64 = 1e-12;
/// One step where a soft contact may open or close. There MuJoCo's iterative solver stops once its cost falls by less
/// than 1e-8 (scaled by the mean inertia), which leaves speeds undetermined to about
/// `dt √(2 · 1e-8 · 1.1 / 0.032) ≈ 1e-5` (0.032: the smallest eigenvalue of the mass matrix). The closed form here
/// solves the same equations exactly. Seen: 4e-6, in 95 of 3,900 steps.
const CONTACT_STEP: f64 = 1e-5;

/// Counts the steps in contact that agree as closely as any other: most must.
#[derive(Default)]
struct Contact {
    steps: usize,
    exact: usize,
}

impl Contact {
    fn count<const N: usize>(
        &mut self,
        trace: &Trace<N>,
        advance: impl Fn(&mut [f64; N], f64) -> (f64, bool),
        touches: fn(&[f64; N], &[f64; N]) -> bool,
    ) {
        let starts = std::iter::once(&trace.start).chain(&trace.states);
        for ((before, after), &action) in starts.zip(&trace.states).zip(&trace.actions) {
            if touches(before, after) {
                let mut state = *before;
                advance(&mut state, action);
                self.steps += 1;
                let agrees = |(got, want): (&f64, &f64)| (got - want).abs() <= STEP * want.abs().max(1.0);
                self.exact += usize::from(state.iter().zip(after).all(agrees));
            }
        }
    }

    /// Nine of ten, in a file with enough of them to tell.
    fn check(&self, checker: &mut Checker) {
        const ENOUGH: usize = 100;
        if self.steps >= ENOUGH {
            checker.exact(
                "nine of ten steps in contact agree to 1e-12",
                self.exact * 10 >= self.steps * 9,
                true,
            );
        }
    }
}

fn suite<const N: usize, S: Simulator<State = [f64; N]>>(
    simulator: S,
    advance: fn(&S, &mut [f64; N], f64) -> f64,
    touches: fn(&[f64; N], &[f64; N]) -> bool,
    data: &Value,
    checker: &mut Checker,
) -> Result<(), String> {
    let mut contact = Contact::default();
    for episode in get::<Vec<Value>>(data, "episodes")? {
        let joined = |q: &[f64], v: &[f64]| array(&[q, v].concat());
        let (qpos, qvel): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (get(&episode, "qpos")?, get(&episode, "qvel")?);
        let discount: Option<Vec<f64>> =
            episode.get("discount").map(|_| get(&episode, "discount")).transpose()?;
        let actions: Vec<f64> = get(&episode, "actions")?;
        let trace = Trace::<N> {
            start: joined(&get::<Vec<f64>>(&episode, "qpos0")?, &get::<Vec<f64>>(&episode, "qvel0")?)?,
            states: qpos.iter().zip(&qvel).map(|(q, v)| joined(q, v)).collect::<Result<_, _>>()?,
            observations: get::<Vec<Value>>(&episode, "obs")?.iter().map(flat).collect::<Result<_, _>>()?,
            rewards: get(&episode, "rewards")?,
            // A terminating task has discount 0; where it is not recorded, these tasks never terminate.
            terminated: discount
                .map_or_else(|| vec![false; actions.len()], |d| d.iter().map(|&d| d == 0.0).collect()),
            truncated: episode.get("last").map(|_| get(&episode, "last")).transpose()?,
            actions,
        };
        let step = |state: &mut [f64; N], control: f64| (advance(&simulator, state, control), false);
        let tolerance = |before: &_, after: &_| if touches(before, after) { CONTACT_STEP } else { STEP };
        replay_trace(&simulator, step, &trace, tolerance, checker)?;
        contact.count(&trace, step, touches);
        if let Some(first) = episode.get("obs0") {
            let mut observation = vec![0.0f32; simulator.spec().observation.width()];
            simulator.observe(&trace.start, &mut observation);
            let got: Vec<f64> = observation.iter().map(|&o| f64::from(o)).collect();
            checker.close_slice("first observation", &got, &flat(first)?, OBSERVATION_TOLERANCE);
        }
    }
    contact.check(checker);
    Ok(())
}

/// The suite's observation, flattened in its order: positions or orientations, then velocities.
fn flat(observation: &Value) -> Result<Vec<f64>, String> {
    let key = ["position", "orientation", "orientations"].into_iter().find(|k| observation.get(k).is_some());
    let mut all: Vec<f64> = get(observation, key.ok_or("an observation without position or orientation")?)?;
    all.extend(get::<Vec<f64>>(observation, "velocity")?);
    Ok(all)
}

fn array<const N: usize>(values: &[f64]) -> Result<[f64; N], String> {
    values.try_into().map_err(|_| format!("a state of {} numbers, expected {N}", values.len()))
}
