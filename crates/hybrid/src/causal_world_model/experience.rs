//! Steps of a task with named variables, and the units in which a model learns from them.

use crate::error::{Error, Result};
use causal::rl::{FactoredSpace, InterventionalDataset, Kind, Transition, Variable};
use rand::{Rng, RngExt};
use rl_core::env::{Action, Simulator, Space};

/// One step, in the units of the task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment<'a> {
    /// State before, `[D]`.
    pub state: &'a [f32],
    /// Action, `[A]`.
    pub action: &'a [f32],
    /// Reward.
    pub reward: f32,
    /// State after, `[D]`.
    pub next: &'a [f32],
    /// Whether the episode begins here.
    pub first: bool,
    /// Variables of `next` that were set from outside.
    pub set: &'a [usize],
}

/// Steps in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Experience {
    names: Vec<String>,
    action_width: usize,
    states: Vec<f32>,
    actions: Vec<f32>,
    rewards: Vec<f32>,
    next: Vec<f32>,
    first: Vec<bool>,
    set: Vec<Vec<usize>>,
}

impl Experience {
    /// No steps yet, of a task with these variables and so many numbers in an action.
    pub fn new(names: &[&str], action_width: usize) -> Self {
        Self {
            names: names.iter().map(|&n| n.into()).collect(),
            action_width,
            states: vec![],
            actions: vec![],
            rewards: vec![],
            next: vec![],
            first: vec![],
            set: vec![],
        }
    }

    /// Uniform actions in a simulator for `steps` steps, in episodes of its length. `set` are the variables that it holds.
    ///
    /// # Errors
    /// [`Error::Shape`] for names that do not fit the observation, or an action space that is no box.
    pub fn random<S: Simulator>(
        simulator: &S,
        names: &[&str],
        set: &[usize],
        steps: usize,
        rng: &mut impl Rng,
    ) -> Result<Self> {
        let spec = simulator.spec();
        let Space::Box { low, high } = &spec.action else {
            return Err(Error::shape("Experience::random", "a box of actions", &spec.action));
        };
        let width = spec.observation.width();
        if names.len() != width {
            return Err(Error::shape("Experience::random", format!("{width} names"), names.len()));
        }
        let mut all = Self::new(names, low.len());
        let length = spec.max_episode_steps.map_or(usize::MAX, |n| n as usize);
        let (mut state, mut elapsed) = (simulator.initial_state(rng), 0);
        let (mut before, mut after) = (vec![0.0; width], vec![0.0; width]);
        for _ in 0..steps {
            simulator.observe(&state, &mut before);
            let action: Vec<f32> = low.iter().zip(high).map(|(&l, &h)| rng.random_range(l..=h)).collect();
            let (reward, over) = simulator.transition(&mut state, Action::Continuous(&action), rng);
            simulator.observe(&state, &mut after);
            let (first, reward) = (elapsed == 0, reward as f32);
            all.push(Moment { state: &before, action: &action, reward, next: &after, first, set })?;
            elapsed += 1;
            if over || elapsed == length {
                (state, elapsed) = (simulator.initial_state(rng), 0);
            }
        }
        Ok(all)
    }

    /// Adds a step.
    ///
    /// # Errors
    /// [`Error::Shape`] for vectors of another width.
    pub fn push(&mut self, step: Moment<'_>) -> Result<()> {
        let (d, a) = (self.names.len(), self.action_width);
        let got = [step.state.len(), step.action.len(), step.next.len()];
        if got != [d, a, d] {
            return Err(Error::shape("Experience::push", format!("{:?}", [d, a, d]), format!("{got:?}")));
        }
        self.states.extend_from_slice(step.state);
        self.actions.extend_from_slice(step.action);
        self.rewards.push(step.reward);
        self.next.extend_from_slice(step.next);
        self.first.push(step.first);
        self.set.push(step.set.to_vec());
        Ok(())
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// The names of the variables.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Numbers of an action.
    pub fn action_width(&self) -> usize {
        self.action_width
    }

    /// States, `[N, D]`.
    pub fn states(&self) -> &[f32] {
        &self.states
    }

    /// Actions, `[N, A]`.
    pub fn actions(&self) -> &[f32] {
        &self.actions
    }

    /// Next states, `[N, D]`.
    pub fn next(&self) -> &[f32] {
        &self.next
    }

    /// Rewards, `[N]`.
    pub fn rewards(&self) -> &[f32] {
        &self.rewards
    }

    /// The steps from which `steps` of one episode can be followed.
    pub(super) fn starts(&self, steps: usize) -> Vec<usize> {
        let whole = |i: &usize| self.first[i + 1..i + steps].iter().all(|first| !first);
        (0..(self.len() + 1).saturating_sub(steps.max(1))).filter(whole).collect()
    }

    /// What the mechanisms learn from: standardised states and actions, standardised changes and rewards.
    pub(super) fn dataset(&self, units: &Units) -> Result<InterventionalDataset> {
        let (d, a) = (self.names.len(), self.action_width);
        let mut data = InterventionalDataset::new(units.space.clone());
        for i in 0..self.len() {
            let (state, next) = (&self.states[i * d..][..d], &self.next[i * d..][..d]);
            let mut from = Vec::with_capacity(d + 1);
            units.encode_state(state, &mut from);
            let mut action = Vec::with_capacity(a);
            units.encode_action(&self.actions[i * a..][..a], &mut action);
            let change = |j: usize| (next[j] - state[j] - units.change[j].0) / units.change[j].1;
            let reward = (self.rewards[i] - units.change[d].0) / units.change[d].1;
            let to: Vec<f32> = (0..d).map(change).chain([reward]).collect();
            data.push(Transition {
                state: &from,
                action: &action,
                reward: self.rewards[i],
                next: &to,
                first: self.first[i],
                set: &self.set[i],
            })?;
        }
        Ok(data)
    }
}

/// Means and deviations of the data, and the space of the encoded variables: those of the task, then the reward.
#[derive(Clone, Debug)]
pub(super) struct Units {
    pub(super) space: FactoredSpace,
    state: Vec<(f32, f32)>,
    action: Vec<(f32, f32)>,
    /// Of the changes of the variables, then of the reward.
    pub(super) change: Vec<(f32, f32)>,
}

impl Units {
    pub(super) fn of(data: &Experience) -> Result<Self> {
        let (d, a) = (data.names.len(), data.action_width);
        let real = |name: &String| Variable { name: name.clone(), kind: Kind::Real(1) };
        let variables = data.names.iter().chain([&"reward".to_string()]).map(real).collect();
        let space = FactoredSpace::new(variables, Kind::Real(a))?;
        let change: Vec<f32> = data.next.iter().zip(&data.states).map(|(n, s)| n - s).collect();
        let mut change = moments(&change, d);
        change.extend(moments(&data.rewards, 1));
        Ok(Self { space, state: moments(&data.states, d), action: moments(&data.actions, a), change })
    }

    /// Appends a standardised state and the empty place of the reward: no mechanism can read the last reward.
    pub(super) fn encode_state(&self, state: &[f32], out: &mut Vec<f32>) {
        out.extend(state.iter().zip(&self.state).map(|(x, (m, s))| (x - m) / s));
        out.push(0.0);
    }

    pub(super) fn encode_action(&self, action: &[f32], out: &mut Vec<f32>) {
        out.extend(action.iter().zip(&self.action).map(|(x, (m, s))| (x - m) / s));
    }
}

/// Mean and deviation of every column of `[n, width]`; a constant column has deviation 1.
fn moments(rows: &[f32], width: usize) -> Vec<(f32, f32)> {
    let n = (rows.len() / width.max(1)).max(1) as f64;
    let column = |j: usize| rows.iter().skip(j).step_by(width).map(|&x| f64::from(x));
    let one = |j: usize| {
        let mean = column(j).sum::<f64>() / n;
        let variance = column(j).map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        (mean as f32, if variance > 1e-12 { variance.sqrt() as f32 } else { 1.0 })
    };
    (0..width).map(one).collect()
}
