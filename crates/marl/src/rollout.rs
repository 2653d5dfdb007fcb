//! What all agents lived through since the last update, time-major `[T, B]`: the experience of the on-policy learners.

use crate::env::{BatchStep, Layout};
use crate::gumbel;
use crate::trainer::Mode;
use rl_core::StreamRng;
use rl_core::experiment::{Persist, TrainState};
use rl_core::returns::Steps;
use serde::{Deserialize, Serialize};

/// What an agent decided in the last `act`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decision {
    /// `[B]` indices, or `[B, A]` vectors before clipping.
    pub(crate) actions: Vec<f32>,
    /// `[B]`: their log-probabilities.
    pub(crate) log_probs: Vec<f32>,
    /// `[B, noise]`: random numbers that the policy took as inputs.
    pub(crate) noise: Vec<f32>,
}

/// The steps of one agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Own {
    pub(crate) decided: Decision,
    /// `[T · B, D]`: observations acted on.
    pub(crate) before: Vec<f32>,
    /// `[T · B, D]`: true successors, the final observation where an episode ended.
    pub(crate) after: Vec<f32>,
    /// `[T · B, A]`: what was available; empty where nothing is masked.
    pub(crate) masks: Vec<bool>,
    pub(crate) rewards: Vec<f64>,
    pub(crate) terminated: Vec<bool>,
    pub(crate) truncated: Vec<bool>,
    pub(crate) acted: Vec<f32>,
}

impl Own {
    /// For the estimators of returns; a dead agent's chain ends where it died, and what follows are zeros until the copy
    /// starts anew.
    pub(crate) fn steps<'a>(&'a self, copies: usize, next_values: &'a [f64]) -> Steps<'a, f64> {
        Steps {
            batch: copies,
            rewards: &self.rewards,
            next_values,
            terminated: &self.terminated,
            truncated: &self.truncated,
        }
    }
}

/// The steps of all agents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rollout {
    pub(crate) agents: Vec<Own>,
    pub(crate) now: Vec<Decision>,
    pub(crate) copies: usize,
    pub(crate) steps: usize,
}

impl Rollout {
    pub(crate) fn new(layout: &Layout) -> Self {
        let (agents, now) = (vec![Own::default(); layout.n()], vec![Decision::default(); layout.n()]);
        Self { agents, now, copies: 0, steps: 0 }
    }

    /// Appends the step that followed the decisions in `now`.
    pub(crate) fn push(&mut self, before: &BatchStep, after: &BatchStep) {
        self.copies = after.reset.len();
        self.steps += 1;
        for (i, (own, now)) in self.agents.iter_mut().zip(&self.now).enumerate() {
            own.before.extend_from_slice(&before.observations[i]);
            let d = before.observations[i].len() / self.copies;
            for (b, reset) in after.reset.iter().enumerate() {
                let next = if *reset { &after.final_observations } else { &after.observations };
                own.after.extend_from_slice(&next[i][b * d..(b + 1) * d]);
            }
            own.decided.actions.extend_from_slice(&now.actions);
            own.decided.log_probs.extend_from_slice(&now.log_probs);
            own.decided.noise.extend_from_slice(&now.noise);
            own.masks.extend_from_slice(&before.masks[i]);
            own.rewards.extend_from_slice(&after.rewards[i]);
            own.acted.extend(before.live[i].iter().map(|&l| f32::from(l)));
            own.truncated.extend_from_slice(&after.truncated[i]);
            // A row in which the agent did not act is an end of its own, so that no chain crosses it.
            own.terminated.extend(after.terminated[i].iter().zip(&before.live[i]).map(|(t, l)| *t || !l));
        }
    }

    /// Forgets the steps.
    pub(crate) fn clear(&mut self) {
        self.agents.iter_mut().for_each(|own| *own = Own::default());
        self.steps = 0;
    }

    /// Rows `[R, Σ D]` of what all agents observe, from per-agent rows.
    pub(crate) fn join<'a>(rows: impl Fn(usize) -> &'a [f32], widths: &[usize]) -> Vec<f32> {
        let count = widths.first().map_or(0, |&d| rows(0).len() / d.max(1));
        let mut joint = Vec::with_capacity(count * widths.iter().sum::<usize>());
        for r in 0..count {
            for (i, &d) in widths.iter().enumerate() {
                joint.extend_from_slice(&rows(i)[r * d..(r + 1) * d]);
            }
        }
        joint
    }
}

/// Draws discrete actions, or takes the most likely ones, from rows of `stride` logits of which `n` are the agent's.
pub(crate) fn choose(
    out: &mut [f32],
    (n, stride): (usize, usize),
    masks: &[bool],
    mode: Mode,
    rng: &mut StreamRng,
    decision: &mut Decision,
) {
    decision.actions.clear();
    decision.log_probs.clear();
    let mut noisy = vec![0.0; n];
    for (b, row) in out.chunks_mut(stride).enumerate() {
        let row = &mut row[..n];
        gumbel::hide(row, masks.get(b * n..(b + 1) * n).unwrap_or_default());
        let a = match mode {
            Mode::Exploit => gumbel::argmax(row),
            Mode::Explore => {
                gumbel::fill_noise(&mut noisy, rng);
                noisy.iter_mut().zip(&*row).for_each(|(g, x)| *g += x);
                gumbel::argmax(&noisy)
            }
        };
        gumbel::softmax_row(row);
        decision.actions.push(a as f32);
        decision.log_probs.push(row[a].max(1e-30).ln());
    }
}

impl Persist for Rollout {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put(format!("{prefix}/rollout"), self)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        *self = state.get(&format!("{prefix}/rollout"))?;
        Ok(())
    }
}
