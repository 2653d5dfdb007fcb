//! Many copies of one environment, stepped together into flat buffers.
//!
//! The three ways of starting the next episode are Gymnasium's (1.4, `AutoresetMode`). In each of them the
//! observation that ended an episode stays readable, and a step that was no step is flagged.

use super::{Action, Env, EnvSpec, Space, make};
use crate::experiment::{Persist, TrainState};
use crate::{Error, Result};
use serde_json::Value;

/// When a copy whose episode is over starts its next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Autoreset {
    /// In the following step, which ignores its action, pays nothing and is flagged in [`Batch::ignored`].
    NextStep,
    /// At once: the observation is already the new episode's first, the final one is kept beside it.
    SameStep,
    /// When [`BatchEnv::reset_where`] says so.
    Disabled,
}

/// Actions for all copies.
#[derive(Clone, Copy, Debug)]
pub enum Actions<'a> {
    /// `[N]`
    Discrete(&'a [usize]),
    /// `[N, A]`
    Continuous(&'a [f32]),
}

impl<'a> Actions<'a> {
    /// The action of copy `i` of `n`, after [`check`](Self::check).
    pub fn row(self, i: usize, n: usize) -> Action<'a> {
        match self {
            Self::Discrete(all) => Action::Discrete(all[i]),
            Self::Continuous(all) => {
                let width = all.len() / n;
                Action::Continuous(&all[i * width..(i + 1) * width])
            }
        }
    }

    /// Whether there is one action of the right form for each of `n` copies.
    ///
    /// # Errors
    /// [`Error::Shape`] for the wrong number of them, [`Error::Action`] for the first that does not fit.
    pub fn check(self, spec: &EnvSpec, n: usize) -> Result<()> {
        let got = match self {
            Self::Discrete(all) => all.len(),
            Self::Continuous(all) => all.len(),
        };
        let width = match spec.action {
            Space::Discrete(_) => 1,
            Space::Box { ref low, .. } => low.len(),
        };
        if got != n * width {
            return Err(Error::shape("step", format!("{n} × {width} action numbers"), got));
        }
        (0..n).try_for_each(|i| spec.action.check(&spec.id, self.row(i, n)))
    }
}

/// What the last reset or step of all copies gave. The buffers are reused.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Numbers per observation.
    pub width: usize,
    /// `[N, D]`: what to act on next.
    pub observations: Vec<f32>,
    /// `[N, D]`: the observation that ended an episode, in the rows where one ended in this step.
    pub final_observations: Vec<f32>,
    /// `[N]`
    pub rewards: Vec<f64>,
    /// `[N]`: the task ended.
    pub terminated: Vec<bool>,
    /// `[N]`: the time limit was reached.
    pub truncated: Vec<bool>,
    /// `[N]`: this was no transition, the copy was only reset; it must not enter a buffer.
    pub ignored: Vec<bool>,
}

impl Batch {
    pub(crate) fn new(n: usize, width: usize) -> Self {
        Self {
            width,
            observations: vec![0.0; n * width],
            final_observations: vec![0.0; n * width],
            rewards: vec![0.0; n],
            terminated: vec![false; n],
            truncated: vec![false; n],
            ignored: vec![false; n],
        }
    }

    /// Number of copies.
    pub fn copies(&self) -> usize {
        self.rewards.len()
    }

    /// Whether an episode of copy `i` ended in this step.
    pub fn done(&self, i: usize) -> bool {
        self.terminated[i] || self.truncated[i]
    }

    /// What copy `i` acts on next, `[D]`.
    pub fn observation(&self, i: usize) -> &[f32] {
        &self.observations[i * self.width..(i + 1) * self.width]
    }

    /// What followed the last action of copy `i`, in every mode, `[D]`: the successor for a buffer.
    pub fn successor(&self, i: usize) -> &[f32] {
        let all = if self.done(i) { &self.final_observations } else { &self.observations };
        &all[i * self.width..(i + 1) * self.width]
    }

    pub(crate) fn clear(&mut self, i: usize) {
        self.rewards[i] = 0.0;
        (self.terminated[i], self.truncated[i], self.ignored[i]) = (false, false, false);
    }
}

/// Copies of one environment that advance together: here, or in another process.
pub trait BatchEnv: Send {
    /// Spaces, limits and name of one copy.
    fn spec(&self) -> &EnvSpec;

    /// Starts an episode in every copy; copy `i` is seeded with `seed + i`.
    ///
    /// # Errors
    /// If a copy fails.
    fn reset(&mut self, seed: Option<u64>) -> Result<()>;

    /// Starts an episode in the copies where `mask` is true.
    ///
    /// # Errors
    /// If the mask has another length, or a copy fails.
    fn reset_where(&mut self, mask: &[bool]) -> Result<()>;

    /// Advances every copy by one step. On an error of the first two kinds nothing has moved.
    ///
    /// # Errors
    /// If there is not one fitting action per copy; if a copy's episode is over and autoreset is disabled, or
    /// it was never reset; if a copy fails.
    fn step(&mut self, actions: Actions<'_>) -> Result<()>;

    /// What the last call gave.
    fn batch(&self) -> &Batch;
}

/// Copies in this process.
///
/// ```
/// use rl_core::env::{Actions, Autoreset, BatchEnv, CartPole, Episode, VectorEnv};
/// use rl_core::numpy_rng::NumpyRng;
/// let copies = (0..64).map(|_| Episode::<_, NumpyRng>::new(CartPole, 0)).collect();
/// let mut env = VectorEnv::new(copies, Autoreset::SameStep)?;
/// env.reset(Some(7))?;
/// for _ in 0..100 {
///     env.step(Actions::Discrete(&[1; 64]))?;
/// }
/// assert_eq!(env.batch().observations.len(), 64 * 4);
/// # Ok::<(), rl_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct VectorEnv<E> {
    envs: Vec<E>,
    mode: Autoreset,
    batch: Batch,
    /// Copies that need a reset before their next step.
    over: Vec<bool>,
}

impl<E: Env> VectorEnv<E> {
    /// From copies of one environment.
    ///
    /// # Errors
    /// If there is none, or their spaces differ.
    pub fn new(envs: Vec<E>, mode: Autoreset) -> Result<Self> {
        let first =
            envs.first().ok_or_else(|| Error::shape("VectorEnv::new", "at least one copy", "none"))?.spec();
        let (observation, action) = (&first.observation, &first.action);
        if let Some(other) =
            envs.iter().map(E::spec).find(|s| s.observation != *observation || s.action != *action)
        {
            let expected = format!("copies of {} with equal spaces", first.id);
            return Err(Error::shape("VectorEnv::new", expected, format!("one of {}", other.id)));
        }
        let batch = Batch::new(envs.len(), observation.width());
        let over = vec![true; envs.len()];
        Ok(Self { envs, mode, batch, over })
    }

    /// The copies, for instance to read their statistics.
    pub fn envs(&self) -> &[E] {
        &self.envs
    }

    /// When a copy starts its next episode.
    pub fn autoreset(&self) -> Autoreset {
        self.mode
    }

    fn reset_copy(&mut self, i: usize, seed: Option<u64>) -> Result<()> {
        let d = self.batch.width;
        self.envs[i].reset(seed, &mut self.batch.observations[i * d..(i + 1) * d])?;
        self.over[i] = false;
        Ok(())
    }

    fn step_copy(&mut self, i: usize, action: Action<'_>) -> Result<()> {
        self.batch.ignored[i] = false;
        let row = i * self.batch.width..(i + 1) * self.batch.width;
        let step = self.envs[i].step(action, &mut self.batch.observations[row.clone()])?;
        self.batch.rewards[i] = step.reward;
        (self.batch.terminated[i], self.batch.truncated[i]) = (step.terminated, step.truncated);
        if !step.done() {
            return Ok(());
        }
        self.over[i] = true;
        self.batch.final_observations[row.clone()].copy_from_slice(&self.batch.observations[row]);
        if self.mode == Autoreset::SameStep {
            self.reset_copy(i, None)?;
        }
        Ok(())
    }
}

impl VectorEnv<Box<dyn Env>> {
    /// Copies of a registered environment.
    ///
    /// # Errors
    /// If the name is unknown or `copies` is 0.
    pub fn make(id: &str, copies: usize, mode: Autoreset) -> Result<Self> {
        let envs: Result<Vec<_>> = (0..copies as u64).map(|i| make(id, i)).collect();
        Self::new(envs?, mode)
    }
}

impl<E: Env> BatchEnv for VectorEnv<E> {
    fn spec(&self) -> &EnvSpec {
        self.envs[0].spec()
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<()> {
        for i in 0..self.envs.len() {
            self.batch.clear(i);
            self.reset_copy(i, seed.map(|s| s.wrapping_add(i as u64)))?;
        }
        Ok(())
    }

    fn reset_where(&mut self, mask: &[bool]) -> Result<()> {
        if mask.len() != self.envs.len() {
            return Err(Error::shape("reset_where", format!("{} flags", self.envs.len()), mask.len()));
        }
        for (i, _) in mask.iter().enumerate().filter(|(_, reset)| **reset) {
            self.batch.clear(i);
            self.reset_copy(i, None)?;
        }
        Ok(())
    }

    fn step(&mut self, actions: Actions<'_>) -> Result<()> {
        let n = self.envs.len();
        actions.check(self.spec(), n)?;
        if self.mode != Autoreset::NextStep {
            check_running(&self.over)?;
        }
        for i in 0..n {
            if self.over[i] {
                self.batch.clear(i);
                self.batch.ignored[i] = true;
                self.reset_copy(i, None)?;
            } else {
                self.step_copy(i, actions.row(i, n))?;
            }
        }
        Ok(())
    }

    fn batch(&self) -> &Batch {
        &self.batch
    }
}

/// Refuses a step while a copy waits for its reset.
pub(crate) fn check_running(over: &[bool]) -> Result<()> {
    match over.iter().position(|&over| over) {
        None => Ok(()),
        Some(i) => {
            let reason = format!("copy {i} has no running episode: call reset, or reset_where with its flag");
            Err(Error::State { operation: "step", reason })
        }
    }
}

impl<E: Env> Persist for VectorEnv<E> {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let n = self.envs.len();
        let copies: Vec<Value> = self.envs.iter().map(E::save).collect::<Result<_>>()?;
        state.put(format!("{prefix}/autoreset"), &self.mode)?;
        state.put(format!("{prefix}/copies"), &copies)?;
        let batch = &self.batch;
        state.put_array(format!("{prefix}/observations"), &[n, batch.width], &batch.observations);
        state.put_array(format!("{prefix}/final_observations"), &[n, batch.width], &batch.final_observations);
        state.put_array(format!("{prefix}/rewards"), &[n], &batch.rewards);
        let flags = [&batch.terminated, &batch.truncated, &batch.ignored, &self.over];
        let bytes: Vec<u8> = flags.into_iter().flatten().map(|&flag| u8::from(flag)).collect();
        state.put_array(format!("{prefix}/flags"), &[4, n], &bytes);
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let (n, width) = (self.envs.len(), self.batch.width);
        let wrong = |reason: String| Error::Checkpoint { path: prefix.into(), reason };
        let copies: Vec<Value> = state.get(&format!("{prefix}/copies"))?;
        if copies.len() != n {
            return Err(wrong(format!(
                "holds {} copies, this run has {n}; use the same number",
                copies.len()
            )));
        }
        let mode: Autoreset = state.get(&format!("{prefix}/autoreset"))?;
        if mode != self.mode {
            return Err(wrong(format!("was made with autoreset {mode:?}, this run uses {:?}", self.mode)));
        }
        for (env, copy) in self.envs.iter_mut().zip(&copies) {
            env.load(copy)?;
        }
        let batch = &mut self.batch;
        batch.observations.copy_from_slice(state.array(&format!("{prefix}/observations"), &[n, width])?);
        let finals = state.array(&format!("{prefix}/final_observations"), &[n, width])?;
        batch.final_observations.copy_from_slice(finals);
        batch.rewards.copy_from_slice(state.array(&format!("{prefix}/rewards"), &[n])?);
        let bytes: &[u8] = state.array(&format!("{prefix}/flags"), &[4, n])?;
        let flags = [&mut batch.terminated, &mut batch.truncated, &mut batch.ignored, &mut self.over];
        for (flag, &byte) in flags.into_iter().flatten().zip(bytes) {
            *flag = byte != 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
