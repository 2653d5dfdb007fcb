//! Rollouts for on-policy agents (Schulman et al. 2017): T steps of N environments, advantages by GAE, minibatches.

use crate::experiment::{Persist, TrainState};
use crate::returns::{Steps, gae};
use crate::{Error, Result};
use rand::{Rng, seq::SliceRandom};

/// Sizes of a [`RolloutBuffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutConfig {
    /// T, steps per environment.
    pub steps: usize,
    /// N, environments side by side.
    pub envs: usize,
    /// Numbers in an observation.
    pub observation: usize,
    /// Numbers in an action; a discrete action is one number, its index.
    pub action: usize,
}

/// One step of all N environments.
#[derive(Clone, Copy, Debug)]
pub struct RolloutStep<'a> {
    /// What was acted on, `[N, observation]`.
    pub observations: &'a [f32],
    /// `[N, action]`
    pub actions: &'a [f32],
    /// log π(a|s) at that time, `[N]`.
    pub log_probs: &'a [f32],
    /// V(s) at that time, `[N]`.
    pub values: &'a [f32],
    /// `[N]`
    pub rewards: &'a [f32],
    /// `[N]`
    pub terminated: &'a [bool],
    /// `[N]`
    pub truncated: &'a [bool],
    /// V(final observation) where `truncated`, `[N]`; ignored elsewhere. The observation after the reset belongs to
    /// another episode and must not be used.
    pub final_values: &'a [f32],
}

/// Part of a rollout, in columns of B steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutBatch {
    /// Positions in the rollout, `t · N + n`, `[B]`.
    pub indices: Vec<usize>,
    /// `[B, observation]`
    pub observations: Vec<f32>,
    /// `[B, action]`
    pub actions: Vec<f32>,
    /// `[B]`
    pub log_probs: Vec<f32>,
    /// `[B]`
    pub values: Vec<f32>,
    /// A, `[B]`, not normalised.
    pub advantages: Vec<f32>,
    /// A + V, `[B]`.
    pub returns: Vec<f32>,
}

/// The `[T, N]` steps between two updates.
#[derive(Clone, Debug)]
pub struct RolloutBuffer {
    config: RolloutConfig,
    observations: Vec<f32>,
    actions: Vec<f32>,
    log_probs: Vec<f32>,
    values: Vec<f32>,
    rewards: Vec<f32>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    next_values: Vec<f32>,
    advantages: Vec<f32>,
    returns: Vec<f32>,
    order: Vec<usize>,
}

impl RolloutBuffer {
    /// An empty rollout.
    ///
    /// # Errors
    /// [`Error::Config`] if a size is zero.
    pub fn new(config: RolloutConfig) -> Result<Self> {
        let sizes = [
            ("steps", config.steps),
            ("envs", config.envs),
            ("observation", config.observation),
            ("action", config.action),
        ];
        for (field, size) in sizes {
            if size == 0 {
                return Err(Error::config("rollout", field, size, "at least 1"));
            }
        }
        let len = config.steps * config.envs;
        Ok(Self {
            config,
            observations: Vec::with_capacity(len * config.observation),
            actions: Vec::with_capacity(len * config.action),
            log_probs: Vec::with_capacity(len),
            values: Vec::with_capacity(len),
            rewards: Vec::with_capacity(len),
            terminated: Vec::with_capacity(len),
            truncated: Vec::with_capacity(len),
            next_values: Vec::with_capacity(len),
            advantages: Vec::new(),
            returns: Vec::new(),
            order: Vec::new(),
        })
    }

    /// Steps held, T · N when full.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Whether no step is held.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// Whether T steps are held and [`finish`](Self::finish) is due.
    pub fn is_full(&self) -> bool {
        self.len() == self.config.steps * self.config.envs
    }

    /// A_t of all steps, `[T, N]`; empty before [`finish`](Self::finish).
    pub fn advantages(&self) -> &[f32] {
        &self.advantages
    }

    /// A_t + V(s_t) of all steps, `[T, N]`; empty before [`finish`](Self::finish).
    pub fn returns(&self) -> &[f32] {
        &self.returns
    }

    /// Adds a step.
    ///
    /// # Errors
    /// [`Error::State`] if the rollout is full, [`Error::Shape`] if a slice does not fit.
    pub fn push(&mut self, step: &RolloutStep<'_>) -> Result<()> {
        if self.is_full() {
            let reason = format!("{} steps are held: finish, train and clear first", self.config.steps);
            return Err(Error::State { operation: "rollout push", reason });
        }
        let n = self.config.envs;
        let widths = [
            ("observations", step.observations.len(), n * self.config.observation),
            ("actions", step.actions.len(), n * self.config.action),
            ("log_probs", step.log_probs.len(), n),
            ("values", step.values.len(), n),
            ("rewards", step.rewards.len(), n),
            ("terminated", step.terminated.len(), n),
            ("truncated", step.truncated.len(), n),
            ("final_values", step.final_values.len(), n),
        ];
        for (what, got, want) in widths {
            if got != want {
                return Err(Error::shape("rollout push", format!("{want} entries in {what}"), got));
            }
        }
        // The values that now arrive are those of the previous step's successors, unless its episode ended there.
        if let Some(previous) = self.len().checked_sub(n) {
            for (i, &value) in step.values.iter().enumerate() {
                if !self.truncated[previous + i] {
                    self.next_values[previous + i] = value;
                }
            }
        }
        self.observations.extend_from_slice(step.observations);
        self.actions.extend_from_slice(step.actions);
        self.log_probs.extend_from_slice(step.log_probs);
        self.values.extend_from_slice(step.values);
        self.rewards.extend_from_slice(step.rewards);
        self.terminated.extend_from_slice(step.terminated);
        self.truncated.extend_from_slice(step.truncated);
        self.next_values.extend_from_slice(step.final_values);
        Ok(())
    }

    /// Computes advantages and returns; `last_values [N]` are V of the observations that follow the last step.
    ///
    /// # Errors
    /// [`Error::State`] if the rollout is not full, [`Error::Shape`] if `last_values` does not fit.
    pub fn finish(&mut self, last_values: &[f32], gamma: f64, lambda: f64) -> Result<()> {
        if !self.is_full() {
            let reason = format!("{} of {} steps are held", self.len() / self.config.envs, self.config.steps);
            return Err(Error::State { operation: "rollout finish", reason });
        }
        if last_values.len() != self.config.envs {
            return Err(Error::shape("rollout finish", self.config.envs, last_values.len()));
        }
        let last = self.len() - self.config.envs;
        for (i, &value) in last_values.iter().enumerate() {
            if !self.truncated[last + i] {
                self.next_values[last + i] = value;
            }
        }
        let steps = Steps {
            batch: self.config.envs,
            rewards: &self.rewards,
            next_values: &self.next_values,
            terminated: &self.terminated,
            truncated: &self.truncated,
        };
        self.advantages = gae(&steps, &self.values, gamma, lambda)?;
        self.returns.clear();
        self.returns.extend(self.advantages.iter().zip(&self.values).map(|(a, v)| a + v));
        Ok(())
    }

    /// Draws a new order for [`minibatch`](Self::minibatch): every step once per epoch.
    pub fn shuffle(&mut self, rng: &mut impl Rng) {
        // Always from the same start, so that one shuffle depends on the generator alone.
        self.order.clear();
        self.order.extend(0..self.len());
        self.order.shuffle(rng);
    }

    /// Fills a batch with steps `k · size .. (k + 1) · size` of the drawn order; `false` if there are none left. The
    /// last batch of an epoch may be smaller.
    ///
    /// # Errors
    /// [`Error::State`] before [`finish`](Self::finish) and [`shuffle`](Self::shuffle).
    pub fn minibatch(&self, k: usize, size: usize, batch: &mut RolloutBatch) -> Result<bool> {
        if self.advantages.len() != self.len() || self.order.len() != self.len() {
            let reason = "call finish and shuffle first".into();
            return Err(Error::State { operation: "rollout minibatch", reason });
        }
        let from = k.saturating_mul(size).min(self.len());
        let to = from.saturating_add(size).min(self.len());
        batch.indices.clear();
        batch.indices.extend_from_slice(&self.order[from..to]);
        let (o, a) = (self.config.observation, self.config.action);
        let rows = |out: &mut Vec<f32>, data: &[f32], width: usize| {
            out.clear();
            batch.indices.iter().for_each(|i| out.extend_from_slice(&data[i * width..(i + 1) * width]));
        };
        rows(&mut batch.observations, &self.observations, o);
        rows(&mut batch.actions, &self.actions, a);
        rows(&mut batch.log_probs, &self.log_probs, 1);
        rows(&mut batch.values, &self.values, 1);
        rows(&mut batch.advantages, &self.advantages, 1);
        rows(&mut batch.returns, &self.returns, 1);
        Ok(from < to)
    }

    /// Forgets all steps.
    pub fn clear(&mut self) {
        let columns = [
            &mut self.observations,
            &mut self.actions,
            &mut self.log_probs,
            &mut self.values,
            &mut self.rewards,
            &mut self.next_values,
            &mut self.advantages,
            &mut self.returns,
        ];
        columns.into_iter().for_each(Vec::clear);
        self.terminated.clear();
        self.truncated.clear();
        self.order.clear();
    }
}

impl Persist for RolloutBuffer {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let mut put = |field: &str, data: &[f32]| {
            state.put_array(format!("{prefix}/{field}"), &[data.len()], data);
        };
        put("observations", &self.observations);
        put("actions", &self.actions);
        put("log_probs", &self.log_probs);
        put("values", &self.values);
        put("rewards", &self.rewards);
        put("next_values", &self.next_values);
        put("advantages", &self.advantages);
        put("returns", &self.returns);
        let ends: Vec<u8> = self
            .terminated
            .iter()
            .zip(&self.truncated)
            .map(|(&terminated, &truncated)| u8::from(terminated) | (u8::from(truncated) << 1))
            .collect();
        state.put_array(format!("{prefix}/ends"), &[ends.len()], &ends);
        let order: Vec<u64> = self.order.iter().map(|&i| i as u64).collect();
        state.put_array(format!("{prefix}/order"), &[order.len()], &order);
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let name = |field: &str| format!("{prefix}/{field}");
        let (envs, limit) = (self.config.envs, self.config.envs * self.config.steps);
        let ends = state.array_of_any_shape::<u8>(&name("ends"))?;
        let len = ends.len();
        if len > limit || !len.is_multiple_of(envs) {
            let reason = format!("{len} steps do not fit {} × {envs}", self.config.steps);
            return Err(Error::Checkpoint { path: name("ends"), reason });
        }
        self.terminated = ends.iter().map(|end| end & 1 != 0).collect();
        self.truncated = ends.iter().map(|end| end & 2 != 0).collect();
        let fixed = [
            ("observations", &mut self.observations, self.config.observation),
            ("actions", &mut self.actions, self.config.action),
            ("log_probs", &mut self.log_probs, 1),
            ("values", &mut self.values, 1),
            ("rewards", &mut self.rewards, 1),
            ("next_values", &mut self.next_values, 1),
        ];
        for (field, data, width) in fixed {
            *data = state.array(&name(field), &[len * width])?.to_vec();
        }
        let order = state.array_of_any_shape::<u64>(&name("order"))?;
        self.order = order.iter().map(|&i| i as usize).collect();
        self.advantages = state.array_of_any_shape(&name("advantages"))?.to_vec();
        self.returns = state.array(&name("returns"), &[self.advantages.len()])?.to_vec();
        if self.order.iter().any(|&i| i >= len) || ![0, len].contains(&self.advantages.len()) {
            let reason = "does not fit the steps: the file is damaged".into();
            return Err(Error::Checkpoint { path: name("order"), reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;

    const CONFIG: RolloutConfig = RolloutConfig { steps: 3, envs: 2, observation: 1, action: 1 };

    fn push(buffer: &mut RolloutBuffer, t: usize) {
        let t = t as f32;
        buffer
            .push(&RolloutStep {
                observations: &[t, 10.0 + t],
                actions: &[-t, t],
                log_probs: &[0.1 * t, 0.2],
                values: &[t, 2.0 * t],
                rewards: &[1.0, 2.0],
                terminated: &[t == 1.0, false],
                truncated: &[false, t == 1.0],
                final_values: &[f32::NAN, 5.0],
            })
            .unwrap();
    }

    fn full() -> RolloutBuffer {
        let mut buffer = RolloutBuffer::new(CONFIG).unwrap();
        (0..3).for_each(|t| push(&mut buffer, t));
        buffer.finish(&[7.0, 8.0], 0.5, 0.0).unwrap();
        buffer
    }

    #[test]
    fn a_truncation_bootstraps_from_the_final_observation() {
        // λ = 0: r + γ V(s') − V(s), by hand; env 0 terminates at t = 1, env 1 is truncated there with V = 5.
        let want =
            [1.0 + 0.5, 2.0 + 0.5 * 2.0, 1.0 - 1.0, 2.0 + 0.5 * 5.0 - 2.0, 1.0 + 3.5 - 2.0, 2.0 + 4.0 - 4.0];
        assert_eq!(full().advantages(), want);
        let mut buffer = full();
        assert!(
            buffer
                .push(&RolloutStep {
                    observations: &[],
                    actions: &[],
                    log_probs: &[],
                    values: &[],
                    rewards: &[],
                    terminated: &[],
                    truncated: &[],
                    final_values: &[],
                })
                .unwrap_err()
                .to_string()
                .contains("clear first")
        );
        buffer.clear();
        assert!(buffer.is_empty() && buffer.finish(&[0.0; 2], 0.9, 0.9).is_err());
    }

    #[test]
    fn an_epoch_visits_every_step_once() {
        let mut buffer = full();
        let mut batch = RolloutBatch::default();
        assert!(buffer.minibatch(0, 4, &mut batch).is_err());
        buffer.shuffle(&mut SeedStream::new(1).stream("minibatch", 0));
        let mut seen = Vec::new();
        let mut k = 0;
        while buffer.minibatch(k, 4, &mut batch).unwrap() {
            for (row, &i) in batch.indices.iter().enumerate() {
                let (t, n) = (i / 2, i % 2);
                assert_eq!(batch.observations[row], (10 * n + t) as f32);
                assert_eq!(batch.returns[row], batch.advantages[row] + batch.values[row]);
            }
            seen.extend_from_slice(&batch.indices);
            k += 1;
        }
        seen.sort_unstable();
        assert_eq!((k, seen), (2, (0..6).collect()));
    }

    #[test]
    fn saved_and_loaded_it_goes_on_equally() {
        let mut rngs = [SeedStream::new(1).stream("minibatch", 0), SeedStream::new(1).stream("minibatch", 0)];
        let mut half = RolloutBuffer::new(CONFIG).unwrap();
        push(&mut half, 0);
        push(&mut half, 1);
        let mut state = TrainState::default();
        half.save("rollout", &mut state).unwrap();
        let mut copy = RolloutBuffer::new(CONFIG).unwrap();
        copy.load("rollout", &state).unwrap();
        let mut states = [TrainState::default(), TrainState::default()];
        for ((buffer, rng), state) in [&mut half, &mut copy].into_iter().zip(&mut rngs).zip(&mut states) {
            push(buffer, 2);
            buffer.finish(&[7.0, 8.0], 0.9, 0.8).unwrap();
            for _ in 0..100 {
                buffer.shuffle(rng);
            }
            // NaN stands where final values are ignored: compare without them.
            buffer.next_values.iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = 0.0);
            buffer.save("rollout", state).unwrap();
        }
        assert_eq!(states[0], states[1]);
        let small = RolloutConfig { steps: 1, ..CONFIG };
        assert!(RolloutBuffer::new(small).unwrap().load("rollout", &state).is_err());
    }
}
