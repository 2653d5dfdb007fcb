//! Recorded episodes.

use crate::Result;
use crate::rssm::encode_action;
use rl_core::env::scripted::Policy;
use rl_core::env::{Action, Actions, Env, Space};

/// One episode: T actions, T rewards, T + 1 observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trajectory {
    /// `[T + 1, D]`
    pub observations: Vec<f32>,
    /// `[T, A]`, one-hot where actions are discrete.
    pub actions: Vec<f32>,
    /// `[T]`
    pub rewards: Vec<f32>,
    /// Whether the last step terminated the episode, and did not only cut it off.
    pub terminated: bool,
    /// D
    pub observation_width: usize,
    /// A
    pub action_width: usize,
}

impl Trajectory {
    /// T
    pub fn steps(&self) -> usize {
        self.rewards.len()
    }

    /// Observation t, 0..=T.
    pub fn observation(&self, t: usize) -> &[f32] {
        &self.observations[t * self.observation_width..][..self.observation_width]
    }

    /// Action t, 0..T, encoded.
    pub fn action(&self, t: usize) -> &[f32] {
        &self.actions[t * self.action_width..][..self.action_width]
    }
}

/// Plays one episode per start and records it.
///
/// # Errors
/// If the environment refuses an action.
pub fn record(env: &mut dyn Env, policy: &mut dyn Policy, starts: &[u64]) -> Result<Vec<Trajectory>> {
    let (d, a) = (env.spec().observation.width(), env.spec().action.width());
    let (mut observation, mut encoded) = (vec![0.0; d], vec![0.0; a]);
    let mut all = vec![];
    for &start in starts {
        env.reset(Some(start), &mut observation)?;
        let mut trajectory = Trajectory { observation_width: d, action_width: a, ..Trajectory::default() };
        trajectory.observations.extend_from_slice(&observation);
        loop {
            let action = policy.act(&observation);
            encode_action(action, &mut encoded);
            let step = env.step(action, &mut observation)?;
            trajectory.actions.extend_from_slice(&encoded);
            trajectory.observations.extend_from_slice(&observation);
            trajectory.rewards.push(step.reward as f32);
            if step.done() {
                trajectory.terminated = step.terminated;
                break;
            }
        }
        all.push(trajectory);
    }
    Ok(all)
}

pub(super) fn as_action<'a>(space: &Space, encoded: &'a [f32]) -> Action<'a> {
    match space {
        Space::Discrete(_) => Action::Discrete(encoded.iter().position(|&x| x > 0.5).unwrap_or(0)),
        Space::Box { .. } => Action::Continuous(encoded),
    }
}

/// The same action for every row.
pub(super) fn with_actions<R>(
    space: &Space,
    encoded: &[f32],
    rows: usize,
    f: impl FnOnce(Actions<'_>) -> R,
) -> R {
    match as_action(space, encoded) {
        Action::Discrete(index) => f(Actions::Discrete(&vec![index; rows])),
        Action::Continuous(reals) => f(Actions::Continuous(&reals.repeat(rows))),
    }
}
