//! DeepMind Control pendulum-swingup: swing up and balance, too weak to lift directly.

use super::write;
use crate::env::{Action, EnvSpec, Simulator, Space, uniform};
use rand::Rng;
use std::f64::consts::PI;

const DT: f64 = 0.02;
/// A point mass of 1 at 0.5 m, drawn as a sphere of radius 0.05: `m l² + 2/5 m r²`.
const INERTIA: f64 = 0.4 * 1.0 * 0.05 * 0.05 + 0.25;
const DAMPING: f64 = 0.1;
/// m g l.
const GRAVITY: f64 = 9.81 * 0.5;
const REWARD_ANGLE: f64 = 8.0 * PI / 180.0;

/// The state is `[q, v]`, q = 0 upright; the observation `[cos q, sin q, v]`.
///
/// Semi-implicit Euler with implicit damping, the torque clipped to ±1:
/// `v ← v + h (−0.1 v + 9.81·0.5 sin q + u) / (I + 0.1 h)`, `q ← q + h v`. The reward is 1 where
/// `cos q ≥ cos 8°`, else 0. Start: `q ~ U(−π, π)` at rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct PendulumSwingup;

impl PendulumSwingup {
    /// One step with the control as f64; returns the reward.
    pub fn advance(&self, state: &mut [f64; 2], control: f64) -> f64 {
        let [q, v] = *state;
        let torque = control.clamp(-1.0, 1.0);
        let v = v + DT * (-DAMPING * v + GRAVITY * q.sin() + torque) / (INERTIA + DT * DAMPING);
        *state = [q + DT * v, v];
        f64::from(u8::from(state[0].cos() >= REWARD_ANGLE.cos()))
    }
}

impl Simulator for PendulumSwingup {
    type State = [f64; 2];

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "pendulum-swingup".into(),
            observation: Space::symmetric_box([1.0, 1.0, f32::INFINITY]),
            action: Space::uniform_box(1, -1.0, 1.0),
            max_episode_steps: Some(1000),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 2] {
        [uniform(rng, -PI, PI), 0.0]
    }

    fn transition(&self, state: &mut [f64; 2], action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        (self.advance(state, f64::from(action.first())), false)
    }

    fn observe(&self, &[q, v]: &[f64; 2], observation: &mut [f32]) {
        write([q.cos(), q.sin(), v], observation);
    }
}
