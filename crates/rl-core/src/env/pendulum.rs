//! Pendulum-v1: swing up an inverted pendulum with limited torque.
//!
//! The classic control problem with the constants of Gymnasium 1.4: g = 10, m = 1, l = 1, dt = 0.05.

use super::numpy_square::{square, square_f32};
use super::{Action, EnvSpec, Simulator, Space, uniform};
use rand::Rng;
use std::f64::consts::PI;

const DT: f64 = 0.05;
const MAX_SPEED: f64 = 8.0;
const MAX_TORQUE: f32 = 2.0;
/// 3g / 2l.
const GRAVITY: f64 = 15.0;

/// The state is `[θ, θ̇]`, θ = 0 upright and not wrapped; the observation `[cos θ, sin θ, θ̇]`.
///
/// The torque `u` is clipped to ±2. With the state before the step, the reward is
/// `−(wrap(θ)² + 0.1 θ̇² + 0.001 u²)`, wrap to `[−π, π)`; then `θ̇ ← clip(θ̇ + (15 sin θ + 3u) dt, ±8)` and
/// `θ ← θ + θ̇ dt`. Never terminates, truncated after 200 steps. Start: `θ ~ U(−π, π)`, `θ̇ ~ U(−1, 1)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pendulum {
    /// Torque terms in f64. By default they are rounded to f32 first, which is what Gymnasium computes for an
    /// action of its own (f32) action space; with `true`, what it computes for the same numbers given as f64.
    /// The two differ by about 1e-8 per step.
    pub f64_torque: bool,
}

impl Pendulum {
    /// `3u` and `0.001 u²`, in the chosen precision.
    fn torque_terms(&self, u: f32) -> (f64, f64) {
        if self.f64_torque {
            let u = f64::from(u);
            return (3.0 * u, 0.001 * square(u));
        }
        (f64::from(3.0 * u), f64::from(0.001 * square_f32(u)))
    }
}

/// `θ` modulo 2π in `[−π, π)`.
fn wrap(theta: f64) -> f64 {
    (theta + PI).rem_euclid(2.0 * PI) - PI
}

impl Simulator for Pendulum {
    type State = [f64; 2];

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "Pendulum-v1".into(),
            observation: Space::symmetric_box([1.0, 1.0, MAX_SPEED as f32]),
            action: Space::uniform_box(1, -MAX_TORQUE, MAX_TORQUE),
            max_episode_steps: Some(200),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 2] {
        [uniform(rng, -PI, PI), uniform(rng, -1.0, 1.0)]
    }

    fn transition(&self, state: &mut [f64; 2], action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let [theta, speed] = *state;
        let u = action.first().clamp(-MAX_TORQUE, MAX_TORQUE);
        let (push, effort) = self.torque_terms(u);
        let cost = square(wrap(theta)) + 0.1 * square(speed) + effort;
        let speed = (speed + (GRAVITY * theta.sin() + push) * DT).clamp(-MAX_SPEED, MAX_SPEED);
        *state = [theta + speed * DT, speed];
        (-cost, false)
    }

    fn observe(&self, &[theta, speed]: &[f64; 2], observation: &mut [f32]) {
        let values = [theta.cos(), theta.sin(), speed];
        for (o, v) in observation.iter_mut().zip(values) {
            *o = v as f32;
        }
    }
}
