//! Steps of a task with named variables, and the units in which a model learns from them.

use crate::error::{Error, Result};
use causal::rl::{FactoredSpace, InterventionalDataset, Kind, Transition, Variable};
use rand::{Rng, RngExt};
use rl_core::env::{Action, Simulator, Space};

/// What uniform actions lead to in a simulator, in its own units: `steps` steps in episodes of its length. `names` are those of the
/// observation's numbers, `set` the variables that the simulator holds.
///
/// # Errors
/// [`Error::Shape`] for names that do not fit the observation, or an action space that is no box.
pub fn random_experience<S: Simulator>(
    simulator: &S,
    names: &[&str],
    set: &[usize],
    steps: usize,
    rng: &mut impl Rng,
) -> Result<InterventionalDataset> {
    let spec = simulator.spec();
    let Space::Box { low, high } = &spec.action else {
        return Err(Error::shape("random_experience", "a box of actions", &spec.action));
    };
    let width = spec.observation.width();
    if names.len() != width {
        return Err(Error::shape("random_experience", format!("{width} names"), names.len()));
    }
    let real = |&name: &&str| Variable { name: name.into(), kind: Kind::Real(1) };
    let space = FactoredSpace::new(names.iter().map(real).collect(), Kind::Real(low.len()))?;
    let mut all = InterventionalDataset::new(space);
    let length = spec.max_episode_steps.map_or(usize::MAX, |n| n as usize);
    let (mut state, mut elapsed) = (simulator.initial_state(rng), 0);
    let (mut before, mut after) = (vec![0.0; width], vec![0.0; width]);
    for _ in 0..steps {
        simulator.observe(&state, &mut before);
        let action: Vec<f32> = low.iter().zip(high).map(|(&l, &h)| rng.random_range(l..=h)).collect();
        let (reward, over) = simulator.transition(&mut state, Action::Continuous(&action), rng);
        simulator.observe(&state, &mut after);
        let (first, reward) = (elapsed == 0, reward as f32);
        all.push(Transition { state: &before, action: &action, reward, next: &after, first, set })?;
        elapsed += 1;
        if over || elapsed == length {
            (state, elapsed) = (simulator.initial_state(rng), 0);
        }
    }
    Ok(all)
}

/// The steps from which `steps` of one episode can be followed.
pub(super) fn starts(data: &InterventionalDataset, steps: usize) -> Vec<usize> {
    let first: Vec<bool> = data.iter().map(|t| t.first).collect();
    let whole = |i: &usize| first[i + 1..i + steps].iter().all(|first| !first);
    (0..(first.len() + 1).saturating_sub(steps.max(1))).filter(whole).collect()
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
    pub(super) fn of(data: &InterventionalDataset) -> Result<Self> {
        let (d, a) = (data.space().width(), data.space().action().width());
        let reward = Variable { name: "reward".into(), kind: Kind::Real(1) };
        let variables = data.space().variables().iter().cloned().chain([reward]).collect();
        let space = FactoredSpace::new(variables, data.space().action())?;
        let columns = |width: usize, numbers: fn(Transition<'_>) -> Vec<f32>| {
            moments(&data.iter().flat_map(numbers).collect::<Vec<f32>>(), width)
        };
        let mut change = columns(d, |t| t.next.iter().zip(t.state).map(|(n, s)| n - s).collect());
        change.extend(columns(1, |t| vec![t.reward]));
        let (state, action) = (columns(d, |t| t.state.to_vec()), columns(a, |t| t.action.to_vec()));
        Ok(Self { space, state, action, change })
    }

    /// What the mechanisms learn from: standardised states and actions, standardised changes and rewards.
    pub(super) fn encode(&self, data: &InterventionalDataset) -> Result<InterventionalDataset> {
        let mut encoded = InterventionalDataset::new(self.space.clone());
        for t in data.iter() {
            let (mut state, mut action) = (vec![], vec![]);
            self.encode_state(t.state, &mut state);
            self.encode_action(t.action, &mut action);
            let changes = t.next.iter().zip(t.state).map(|(n, s)| n - s).chain([t.reward]);
            let next: Vec<f32> = changes.zip(&self.change).map(|(x, (mean, std))| (x - mean) / std).collect();
            encoded.push(Transition { state: &state, action: &action, next: &next, ..t })?;
        }
        Ok(encoded)
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
