//! What the agents lived through since the last update, time-major `[T, B]`.

use super::Config;
use super::loss::Sample;
use crate::Result;
use crate::env::BatchStep;
use rl_core::returns::{Steps, gae};

/// The steps of one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// Actions of the last `act`: indices, or vectors before clipping.
    pub(super) chosen: Vec<f32>,
    /// Their log-probabilities.
    pub(super) log_probs_now: Vec<f32>,
    actions: Vec<f32>,
    log_probs: Vec<f32>,
    rewards: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    acted: Vec<f32>,
}

impl Own {
    /// Appends this agent's rows to a sample; V(s) and V(s′) in units of returns.
    pub(super) fn collect(
        &self,
        copies: usize,
        values: &[f64],
        next_values: &[f64],
        config: &Config,
        sample: &mut Sample,
    ) -> Result<()> {
        // A dead agent's chain ends where it died; what follows are zeros until the copy starts anew.
        let steps = Steps {
            batch: copies,
            rewards: &self.rewards,
            next_values,
            terminated: &self.terminated,
            truncated: &self.truncated,
        };
        let advantages = gae(&steps, values, config.gamma, config.lambda)?;
        sample.returns.extend(advantages.iter().zip(values).map(|(a, v)| a + v));
        sample.advantages.extend(&advantages);
        sample.values.extend_from_slice(values);
        sample.actions.extend_from_slice(&self.actions);
        sample.log_probs.extend_from_slice(&self.log_probs);
        sample.acted.extend_from_slice(&self.acted);
        Ok(())
    }
}

/// The steps of all agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Rollout {
    pub(super) agents: Vec<Own>,
    /// Per agent `[T · B, D]`: observations acted on.
    pub(super) before: Vec<Vec<f32>>,
    /// Per agent `[T · B, D]`: true successors, the final observation where an episode ended.
    pub(super) after: Vec<Vec<f32>>,
    pub(super) copies: usize,
    pub(super) steps: usize,
}

impl Rollout {
    pub(super) fn new(agents: usize) -> Self {
        let rows = vec![Vec::new(); agents];
        Self { agents: vec![Own::default(); agents], before: rows.clone(), after: rows, copies: 0, steps: 0 }
    }

    pub(super) fn push(&mut self, before: &[Vec<f32>], live: &[Vec<bool>], step: &BatchStep) {
        self.copies = step.reset.len();
        self.steps += 1;
        for (i, own) in self.agents.iter_mut().enumerate() {
            self.before[i].extend_from_slice(&before[i]);
            let d = before[i].len() / self.copies;
            for (b, reset) in step.reset.iter().enumerate() {
                let next = if *reset { &step.final_observations } else { &step.observations };
                self.after[i].extend_from_slice(&next[i][b * d..(b + 1) * d]);
            }
            own.actions.extend_from_slice(&own.chosen);
            own.log_probs.extend_from_slice(&own.log_probs_now);
            own.rewards.extend_from_slice(&step.rewards[i]);
            own.acted.extend(live[i].iter().map(|&l| f32::from(l)));
            own.truncated.extend_from_slice(&step.truncated[i]);
            // A row in which the agent did not act is an end of its own, so that no chain crosses it.
            own.terminated.extend(step.terminated[i].iter().zip(&live[i]).map(|(t, l)| *t || !l));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.agents.len());
    }
}
