//! The transitions that the ensemble learns from, with an online bootstrap: when a transition arrives, every member takes
//! it Poisson(1) times (Oza and Russell 2001), which is resampling with replacement in the limit of much data.

use super::ensemble::Minibatch;
use super::rollout::Units;
use rand::{Rng, RngExt};
use rl_core::experiment::{Persist, TrainState};
use rl_core::normalize::RunningMeanStd;
use rl_core::{Error, Result};

/// All transitions seen, each member's sample of them, and the units of the data.
#[derive(Debug)]
pub struct Experience {
    observation: usize,
    action: usize,
    /// `[N, D]` and `[N, A]`
    observations: Vec<f32>,
    actions: Vec<f32>,
    next_observations: Vec<f32>,
    rewards: Vec<f32>,
    terminated: Vec<u8>,
    /// What the termination's logit learns: 1 where the episode terminated, less before it.
    endings: Vec<f32>,
    /// The transitions of every environment's present episode.
    episodes: Vec<Vec<u32>>,
    /// Indices of each member's sample, repeated as often as they were taken.
    members: Vec<Vec<u32>>,
    /// Indices that no member learns from.
    held_out: Vec<u32>,
    pub(super) inputs: RunningMeanStd,
    pub(super) targets: RunningMeanStd,
}

/// One transition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experienced<'a> {
    /// o, `[D]`
    pub observation: &'a [f32],
    /// a, encoded, `[A]`
    pub action: &'a [f32],
    /// r
    pub reward: f32,
    /// o', `[D]`
    pub next_observation: &'a [f32],
    /// Whether the episode ended in o'.
    pub terminated: bool,
}

impl Experience {
    pub(super) fn new(observation: usize, action: usize, members: usize) -> Self {
        Self {
            observation,
            action,
            observations: vec![],
            actions: vec![],
            next_observations: vec![],
            rewards: vec![],
            terminated: vec![],
            endings: vec![],
            episodes: vec![],
            members: vec![vec![]; members],
            held_out: vec![],
            inputs: RunningMeanStd::new(observation + action),
            targets: RunningMeanStd::new(observation + 1),
        }
    }

    /// Transitions.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// A transition, in the order of arrival; `None` beyond the last.
    pub fn get(&self, index: usize) -> Option<Experienced<'_>> {
        (index < self.len()).then(|| Experienced {
            observation: &self.observations[index * self.observation..][..self.observation],
            action: &self.actions[index * self.action..][..self.action],
            reward: self.rewards[index],
            next_observation: &self.next_observations[index * self.observation..][..self.observation],
            terminated: self.terminated[index] != 0,
        })
    }

    /// Transitions held out from all members.
    pub(super) fn held_out(&self) -> usize {
        self.held_out.len()
    }

    /// Smallest and largest reward seen.
    pub(super) fn reward_range(&self) -> [f32; 2] {
        let low = self.rewards.iter().copied().fold(f32::INFINITY, f32::min);
        let high = self.rewards.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if low <= high { [low, high] } else { [0.0, 0.0] }
    }

    /// Takes a transition of environment `stream` in; with probability `holdout` no member learns from it.
    pub(super) fn push(
        &mut self,
        stream: usize,
        (observation, action): (&[f32], &[f32]),
        reward: f32,
        next_observation: &[f32],
        terminated: bool,
        holdout: f64,
        rng: &mut impl Rng,
    ) -> Result<()> {
        let index = self.len() as u32;
        if self.episodes.len() <= stream {
            self.episodes.resize_with(stream + 1, Vec::new);
        }
        self.episodes[stream].push(index);
        self.observations.extend_from_slice(observation);
        self.actions.extend_from_slice(action);
        self.next_observations.extend_from_slice(next_observation);
        self.rewards.push(reward);
        self.terminated.push(u8::from(terminated));
        self.endings.push(f32::from(u8::from(terminated)));
        if rng.random::<f64>() < holdout {
            self.held_out.push(index);
            return Ok(());
        }
        for member in &mut self.members {
            let times = poisson_one(rng).max(usize::from(member.is_empty()));
            member.extend(std::iter::repeat_n(index, times));
        }
        let mut row = observation.to_vec();
        row.extend_from_slice(action);
        self.inputs.update(&row)?;
        row.clear();
        row.extend(next_observation.iter().zip(observation).map(|(next, o)| next - o));
        row.push(reward);
        self.targets.update(&row)
    }

    /// The present episode of environment `stream` is over. If it terminated, the transitions before its end are told so:
    /// e^(−k/h) for the one k steps before it, with `foresight` h.
    pub(super) fn end_episode(&mut self, stream: usize, foresight: f64) {
        let Some(episode) = self.episodes.get_mut(stream) else { return };
        let episode = std::mem::take(episode);
        let terminated = episode.last().is_some_and(|&i| self.terminated[i as usize] != 0);
        if terminated && foresight > 0.0 {
            for (k, &i) in episode.iter().rev().enumerate() {
                self.endings[i as usize] = (-(k as f64) / foresight).exp() as f32;
            }
        }
    }

    /// `rows` transitions for every member from its own sample, in units of the data.
    pub(super) fn sample(&self, rows: usize, rng: &mut impl Rng, batch: &mut Minibatch<f32>) {
        self.begin(rows, batch);
        let (inputs, targets) = (Units::of(&self.inputs), Units::of(&self.targets));
        for member in &self.members {
            for _ in 0..rows {
                let index = member[rng.random_range(0..member.len())];
                self.append(index as usize, (&inputs, &targets), batch);
            }
        }
    }

    /// The last `limit` held-out transitions, once.
    pub(super) fn held_out_batch(&self, limit: usize, batch: &mut Minibatch<f32>) {
        let from = self.held_out.len().saturating_sub(limit);
        self.begin(self.held_out.len() - from, batch);
        let (inputs, targets) = (Units::of(&self.inputs), Units::of(&self.targets));
        for &index in &self.held_out[from..] {
            self.append(index as usize, (&inputs, &targets), batch);
        }
    }

    fn begin(&self, rows: usize, batch: &mut Minibatch<f32>) {
        batch.rows = rows;
        batch.inputs.clear();
        batch.targets.clear();
        batch.terminated.clear();
    }

    fn append(&self, index: usize, (inputs, targets): (&Units, &Units), batch: &mut Minibatch<f32>) {
        let Some(Experienced { observation, action, reward, next_observation, .. }) = self.get(index) else {
            return;
        };
        let at = batch.inputs.len();
        batch.inputs.extend_from_slice(observation);
        batch.inputs.extend_from_slice(action);
        inputs.normalise(&mut batch.inputs[at..]);
        let at = batch.targets.len();
        batch.targets.extend(next_observation.iter().zip(observation).map(|(next, o)| next - o));
        batch.targets.push(reward);
        targets.normalise(&mut batch.targets[at..]);
        batch.terminated.push(self.endings[index]);
    }
}

/// A draw of the Poisson distribution with mean 1, by inversion.
fn poisson_one(rng: &mut impl Rng) -> usize {
    let (mut left, mut probability, mut k) = (rng.random::<f64>(), (-1.0f64).exp(), 0);
    while left > probability && k < 20 {
        left -= probability;
        k += 1;
        probability /= k as f64;
    }
    k
}

impl Persist for Experience {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        let floats = [
            ("observations", &self.observations),
            ("actions", &self.actions),
            ("next_observations", &self.next_observations),
            ("rewards", &self.rewards),
            ("endings", &self.endings),
        ];
        state.put(at("episodes"), &self.episodes)?;
        for (name, values) in floats {
            state.put_array(at(name), &[values.len()], values);
        }
        state.put_array(at("terminated"), &[self.terminated.len()], &self.terminated);
        for (i, member) in self.members.iter().enumerate() {
            state.put_array(at(&format!("member{i}")), &[member.len()], member);
        }
        state.put_array(at("held_out"), &[self.held_out.len()], &self.held_out);
        self.inputs.save(&at("inputs"), state)?;
        self.targets.save(&at("targets"), state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        let floats = |name: &str| state.array_of_any_shape::<f32>(&at(name)).map(<[f32]>::to_vec);
        self.observations = floats("observations")?;
        self.actions = floats("actions")?;
        self.next_observations = floats("next_observations")?;
        self.rewards = floats("rewards")?;
        self.endings = floats("endings")?;
        self.episodes = state.get(&at("episodes"))?;
        self.terminated = state.array_of_any_shape(&at("terminated"))?.to_vec();
        for (i, member) in self.members.iter_mut().enumerate() {
            *member = state.array_of_any_shape(&at(&format!("member{i}")))?.to_vec();
        }
        self.held_out = state.array_of_any_shape(&at("held_out"))?.to_vec();
        let n = self.rewards.len();
        let fits = self.observations.len() == n * self.observation
            && self.next_observations.len() == n * self.observation
            && self.actions.len() == n * self.action
            && self.terminated.len() == n
            && self.endings.len() == n
            && self.episodes.iter().flatten().all(|&i| (i as usize) < n)
            && self.members.iter().chain([&self.held_out]).flatten().all(|&i| (i as usize) < n);
        if !fits {
            let reason = "the arrays of the transitions do not fit each other".into();
            return Err(Error::Checkpoint { path: prefix.into(), reason });
        }
        self.inputs.load(&at("inputs"), state)?;
        self.targets.load(&at("targets"), state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::SeedStream;

    #[test]
    fn members_take_every_transition_once_on_average_and_differ() {
        let mut rng = SeedStream::new(1).stream("bootstrap", 0);
        let mut all = Experience::new(1, 1, 3);
        for i in 0..4000 {
            let x = i as f32;
            all.push(0, (&[x], &[0.0]), x, &[x + 1.0], false, 0.1, &mut rng).unwrap();
        }
        let kept = (4000 - all.held_out()) as f64;
        assert!((kept / 4000.0 - 0.9).abs() < 0.02);
        for member in &all.members {
            assert!((member.len() as f64 / kept - 1.0).abs() < 0.06, "{}", member.len());
            let mut distinct = member.clone();
            distinct.dedup();
            // 1 − 1/e of them are taken at all.
            assert!((distinct.len() as f64 / kept - 0.632).abs() < 0.03, "{}", distinct.len());
        }
        assert_ne!(all.members[0], all.members[1]);
        assert_eq!(all.reward_range(), [0.0, 3999.0]);
    }

    #[test]
    fn a_termination_is_announced_and_a_truncation_is_not() {
        let mut rng = SeedStream::new(1).stream("bootstrap", 0);
        let mut all = Experience::new(1, 1, 1);
        for i in 0..6 {
            all.push(0, (&[0.0], &[0.0]), 0.0, &[0.0], i == 5, 0.0, &mut rng).unwrap();
            // Another environment in between, whose episode goes on.
            all.push(1, (&[0.0], &[0.0]), 0.0, &[0.0], false, 0.0, &mut rng).unwrap();
            if i == 2 || i == 5 {
                all.end_episode(0, 2.0);
            }
        }
        let half = (-0.5f32).exp();
        let expected = [0.0, 0.0, 0.0, half * half, half, 1.0];
        let own = all.endings.iter().step_by(2);
        assert!(own.zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", all.endings);
        assert!(all.endings.iter().skip(1).step_by(2).all(|&e| e == 0.0));
    }

    #[test]
    fn samples_are_in_units_of_the_data() {
        let mut rng = SeedStream::new(1).stream("bootstrap", 0);
        let mut all = Experience::new(1, 1, 2);
        for i in 0..100 {
            let x = i as f32;
            all.push(0, (&[x], &[-x]), 2.0 * x, &[3.0 * x], i % 2 == 0, 0.0, &mut rng).unwrap();
        }
        let mut batch = Minibatch::default();
        all.sample(50, &mut rng, &mut batch);
        assert_eq!((batch.inputs.len(), batch.targets.len(), batch.terminated.len()), (200, 200, 100));
        let expected = |o: f32, y: f32| (o + y).abs() < 1e-4; // input (o, −o), target (2o, 2o) on one scale
        assert!(batch.inputs.chunks(2).all(|x| expected(x[0], x[1])));
        assert!(batch.targets.chunks(2).all(|y| expected(y[0], -y[1])));
    }
}
