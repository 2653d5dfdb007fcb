//! FrozenLake 4×4 without slipping, as the shortest-path task of Chen et al. 2020 (arXiv:1907.00397).
//!
//! S F F F / F H F H / F F F H / H F F G: a step costs 0.01, a hole 0.2, the goal pays 1; holes and the goal end the episode.
//! The best return is 1 − 5 · 0.01 = 0.95. Places are numbered by rows; the observation is the place's four bits, the lowest
//! first, for basis encoding.

use rand::Rng;
use rl_core::env::{Action, EnvSpec, Simulator, Space};

/// The map, row by row.
const MAP: &[u8; 16] = b"SFFFFHFHFFFHHFFG";

/// The lake. Actions: 0 left, 1 down, 2 right, 3 up (Gymnasium's order).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrozenLake {
    /// Reward of a step: −0.01.
    pub step: f64,
    /// Reward of a hole: −0.2.
    pub hole: f64,
    /// Reward of the goal: 1.
    pub goal: f64,
    /// Steps per episode: 2500.
    pub max_steps: u32,
}

impl Default for FrozenLake {
    fn default() -> Self {
        Self { step: -0.01, hole: -0.2, goal: 1.0, max_steps: 2500 }
    }
}

impl FrozenLake {
    /// The best return with the default rewards: five steps and the goal.
    pub const OPTIMUM: f64 = 0.95;
}

impl Simulator for FrozenLake {
    /// The place, 0..16.
    type State = usize;

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "FrozenLake-shortest-path".into(),
            observation: Space::uniform_box(4, 0.0, 1.0),
            action: Space::Discrete(4),
            max_episode_steps: Some(self.max_steps),
            reward_threshold: Some(Self::OPTIMUM),
        }
    }

    fn initial_state(&self, _: &mut impl Rng) -> usize {
        0
    }

    fn transition(&self, place: &mut usize, action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let (row, column) = (*place / 4 % 4, *place % 4);
        let (row, column) = match action {
            Action::Discrete(0) => (row, column.saturating_sub(1)),
            Action::Discrete(1) => ((row + 1).min(3), column),
            Action::Discrete(2) => (row, (column + 1).min(3)),
            Action::Discrete(3) => (row.saturating_sub(1), column),
            _ => (row, column),
        };
        *place = 4 * row + column;
        match MAP[*place] {
            b'H' => (self.hole, true),
            b'G' => (self.goal, true),
            _ => (self.step, false),
        }
    }

    fn observe(&self, place: &usize, observation: &mut [f32]) {
        for (q, o) in observation.iter_mut().enumerate() {
            *o = (place >> q & 1) as f32;
        }
    }
}
