//! Replay of joint transitions: what all agents saw, did and got at one moment stays together, so that a batch has
//! common indices for everybody (Lowe et al. 2017).

use crate::env::{BatchStep, Layout};
use crate::{Error, Result};
use rand::{Rng, RngExt};
use rl_core::experiment::{Persist, TrainState};
use serde::{Deserialize, Serialize};

/// Where the fields of a row `[observations | actions | rewards | terminated | acted | next observations]` lie, followed
/// by `[masks | next masks]` where the layout has masks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Start of each agent's observation, in a row and in the joint observation.
    pub observation: Vec<usize>,
    /// Start of each agent's action behind the joint observation.
    pub action: Vec<usize>,
    /// Length of the joint observation.
    pub observations: usize,
    /// Length of the joint action.
    pub actions: usize,
    agents: usize,
    masked: bool,
}

impl Columns {
    /// For actions given as vectors as wide as the action space (one-hot or relaxed for discrete ones).
    pub fn new(layout: &Layout) -> Self {
        let starts = |widths: Vec<usize>| {
            let mut at = 0;
            let starts: Vec<usize> = widths
                .iter()
                .map(|w| {
                    at += w;
                    at - w
                })
                .collect();
            (starts, at)
        };
        let (observation, observations) = starts(layout.agents.iter().map(|a| a.observation).collect());
        let (action, actions) = starts(layout.agents.iter().map(|a| a.actions.width()).collect());
        Self { observation, action, observations, actions, agents: layout.n(), masked: layout.masked }
    }

    /// Length of `[observations | actions]`.
    pub fn joint(&self) -> usize {
        self.observations + self.actions
    }

    fn width(&self) -> usize {
        self.joint() + 3 * self.agents + self.observations + self.mask_columns()
    }

    /// Masks `[B, A]` of an agent in a batch; `None` where nothing is masked.
    #[cfg(feature = "learning")]
    pub(crate) fn masks(&self, batch: &JointBatch, agent: usize) -> Result<Option<candle_core::Tensor>> {
        self.masks_of(&batch.masks, batch.rows, agent)
    }

    /// The agent's columns of masks `[B, actions]`.
    #[cfg(feature = "learning")]
    pub(crate) fn masks_of(
        &self,
        masks: &[f32],
        rows: usize,
        agent: usize,
    ) -> Result<Option<candle_core::Tensor>> {
        if masks.is_empty() {
            return Ok(None);
        }
        let start = self.action[agent];
        let end = self.action.get(agent + 1).copied().unwrap_or(self.actions);
        let own: Vec<f32> = masks.chunks(self.actions).flat_map(|row| &row[start..end]).copied().collect();
        let own = candle_core::Tensor::from_vec(own, (rows, end - start), &candle_core::Device::Cpu)?;
        Ok(Some(own))
    }

    fn mask_columns(&self) -> usize {
        if self.masked { 2 * self.actions } else { 0 }
    }
}

/// When to update: every so many environment steps after a warm-up, whatever the number of copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock(usize);

impl Clock {
    /// The first update is due after so many steps.
    pub fn new(warm_up: usize) -> Self {
        Self(warm_up)
    }

    /// Lets steps pass and counts the updates that have come due.
    pub fn pass(&mut self, steps: usize, every: usize) -> usize {
        let (mut left, mut due) = (steps, 0);
        while left >= self.0 {
            left -= self.0;
            self.0 = every.max(1);
            due += 1;
        }
        self.0 -= left;
        due
    }
}

/// A sampled batch of joint transitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JointBatch {
    /// Number of rows B.
    pub rows: usize,
    /// `[B, observations + actions]`.
    pub joint: Vec<f32>,
    /// `[B, observations + actions]`: the next observations; the actions are left to be filled in.
    pub next: Vec<f32>,
    /// Per agent `[B]`.
    pub rewards: Vec<Vec<f32>>,
    /// Per agent `[B]`: 1 where the task ended for it.
    pub terminated: Vec<Vec<f32>>,
    /// Per agent `[B]`: 1 where it acted; rows of dead agents teach nothing.
    pub acted: Vec<Vec<f32>>,
    /// `[B, actions]`: 1 where an action was available; empty where nothing is masked.
    pub masks: Vec<f32>,
    /// `[B, actions]`: the same for the next actions.
    pub next_masks: Vec<f32>,
}

/// A ring of joint transitions; memory grows as it fills.
#[derive(Clone, Debug)]
pub struct JointReplay {
    columns: Columns,
    capacity: usize,
    rows: Vec<f32>,
    pushes: usize,
}

impl JointReplay {
    /// Keeps the newest `capacity` transitions.
    ///
    /// # Errors
    /// [`Error::Config`] when the capacity is zero.
    pub fn new(columns: Columns, capacity: usize) -> Result<Self> {
        match capacity {
            0 => Err(Error::config("joint_replay", "capacity", capacity, "at least 1")),
            _ => Ok(Self { columns, capacity, rows: Vec::new(), pushes: 0 }),
        }
    }

    /// Transitions held.
    pub fn len(&self) -> usize {
        self.pushes.min(self.capacity)
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.pushes == 0
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.rows, self.pushes) = (Vec::new(), 0);
    }

    /// Where the fields lie.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Stores one step of all copies, from `before` to `step`, with actions as vectors (per agent `[B, A]`).
    ///
    /// # Errors
    /// [`Error::Shape`] when a buffer has another size.
    pub fn push(&mut self, before: &BatchStep, actions: &[Vec<f32>], step: &BatchStep) -> Result<()> {
        let copies = step.reset.len();
        let total = |rows: &[Vec<f32>]| rows.iter().map(Vec::len).sum::<usize>();
        let even = |rows: &[Vec<f32>]| rows.iter().all(|r| r.len().is_multiple_of(copies.max(1)));
        let flags =
            |rows: &[Vec<bool>]| rows.len() == self.columns.agents && rows.iter().all(|r| r.len() == copies);
        let masks = |rows: &[Vec<bool>]| {
            rows.iter().map(Vec::len).sum::<usize>() == copies * self.columns.mask_columns() / 2
        };
        let seen = [&before.observations, &step.observations, &step.final_observations];
        let fits = seen.iter().all(|rows| total(rows) == copies * self.columns.observations && even(rows))
            && total(actions) == copies * self.columns.actions
            && even(actions)
            && flags(&before.live)
            && flags(&step.terminated)
            && masks(&before.masks)
            && masks(&step.masks)
            && step.rewards.len() == self.columns.agents
            && step.rewards.iter().all(|r| r.len() == copies);
        if !fits {
            return Err(Error::shape("joint replay", format!("buffers of {copies} copies"), "other sizes"));
        }
        let width = self.columns.width();
        for b in 0..step.reset.len() {
            let slot = self.pushes % self.capacity;
            if self.rows.len() < (slot + 1) * width {
                self.rows.resize((slot + 1) * width, 0.0);
            }
            let row = &mut self.rows[slot * width..(slot + 1) * width];
            let mut at = 0;
            let mut put = |values: &[f32]| {
                row[at..at + values.len()].copy_from_slice(values);
                at += values.len();
            };
            let line = |rows: &[f32]| {
                let d = rows.len() / step.reset.len();
                b * d..(b + 1) * d
            };
            before.observations.iter().chain(actions).for_each(|rows| put(&rows[line(rows)]));
            step.rewards.iter().for_each(|r| put(&[r[b] as f32]));
            step.terminated.iter().for_each(|t| put(&[f32::from(t[b])]));
            before.live.iter().for_each(|l| put(&[f32::from(l[b])]));
            let next = if step.reset[b] { &step.final_observations } else { &step.observations };
            next.iter().for_each(|rows| put(&rows[line(rows)]));
            // Where an episode ended, the next masks are those of the next one: a value that is cut there keeps the
            // maximum over what was available before.
            let after = if step.reset[b] { &before.masks } else { &step.masks };
            for rows in before.masks.iter().chain(after) {
                let d = rows.len() / step.reset.len();
                rows[b * d..(b + 1) * d].iter().for_each(|&m| put(&[f32::from(m)]));
            }
            self.pushes += 1;
        }
        Ok(())
    }

    /// Draws `rows` transitions uniformly with replacement, the same ones for all agents.
    ///
    /// # Errors
    /// [`Error::State`] when nothing is held.
    pub fn sample(&self, rows: usize, rng: &mut impl Rng, batch: &mut JointBatch) -> Result<()> {
        if self.is_empty() {
            return Err(Error::State { operation: "joint replay", reason: "nothing is stored yet".into() });
        }
        let (c, n) = (&self.columns, self.columns.agents);
        batch.rows = rows;
        batch.joint.clear();
        batch.next.clear();
        batch.masks.clear();
        batch.next_masks.clear();
        for field in [&mut batch.rewards, &mut batch.terminated, &mut batch.acted] {
            field.resize(n, Vec::new());
            field.iter_mut().for_each(Vec::clear);
        }
        for _ in 0..rows {
            let slot = rng.random_range(0..self.len());
            let row = &self.rows[slot * c.width()..(slot + 1) * c.width()];
            let (joint, rest) = row.split_at(c.joint());
            let (flags, next) = rest.split_at(3 * n);
            let (next, masks) = next.split_at(c.observations);
            let (now, then) = masks.split_at(masks.len() / 2);
            batch.masks.extend_from_slice(now);
            batch.next_masks.extend_from_slice(then);
            batch.joint.extend_from_slice(joint);
            batch.next.extend_from_slice(next);
            batch.next.resize(batch.joint.len(), 0.0);
            for i in 0..n {
                batch.rewards[i].push(flags[i]);
                batch.terminated[i].push(flags[n + i]);
                batch.acted[i].push(flags[2 * n + i]);
            }
        }
        Ok(())
    }
}

impl Persist for JointReplay {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put_array(format!("{prefix}/rows"), &[self.rows.len()], &self.rows);
        state.put(format!("{prefix}/pushes"), &self.pushes)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.rows = state.array_of_any_shape(&format!("{prefix}/rows"))?.to_vec();
        self.pushes = state.get(&format!("{prefix}/pushes"))?;
        let held = self.len() * self.columns.width();
        match self.rows.len() == held {
            true => Ok(()),
            false => Err(rl_core::Error::Checkpoint {
                path: format!("{prefix}/rows"),
                reason: format!("expected {held} numbers, got {}", self.rows.len()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Batch, BatchActions, Copies, matrix};
    use rl_core::SeedStream;

    #[test]
    fn the_last_observation_of_an_episode_is_kept_and_the_ring_forgets() {
        let env = matrix::Matrix::new(matrix::Config::two_step()).unwrap();
        let mut env = Copies::new(env, 2);
        let (mut step, actions) = (BatchStep::new(env.layout(), 2), BatchActions::new(env.layout(), 2));
        let mut replay = JointReplay::new(Columns::new(env.layout()), 3).unwrap();
        let mut rng = SeedStream::new(0).stream("replay", 0);
        assert!(replay.sample(1, &mut rng, &mut JointBatch::default()).is_err());
        env.reset(&SeedStream::new(0), &mut step).unwrap();
        for _ in 0..2 {
            let before = step.clone();
            env.step(&actions, &mut step).unwrap();
            replay.push(&before, &vec![vec![1.0, 0.0, 1.0, 0.0]; 2], &step).unwrap();
        }
        assert_eq!(replay.len(), 3);
        let mut batch = JointBatch::default();
        replay.sample(64, &mut rng, &mut batch).unwrap();
        for r in 0..64 {
            let (joint, next) = (&batch.joint[r * 10..r * 10 + 10], &batch.next[r * 10..r * 10 + 10]);
            assert_eq!(&joint[6..], [1.0, 0.0, 1.0, 0.0]);
            // From state 0 to 1, then 7 points and the end in state 1.
            let end = joint[1] == 1.0;
            assert_eq!(
                (batch.rewards[0][r], batch.terminated[1][r]),
                if end { (7.0, 1.0) } else { (0.0, 0.0) }
            );
            assert_eq!(next[..3], [0.0, 1.0, 0.0]);
        }
    }
}
