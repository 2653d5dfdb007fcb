//! CartPole-v1: balance a pole on a cart by pushing left or right.
//!
//! Barto, Sutton & Anderson, "Neuronlike adaptive elements that can solve difficult learning control problems"
//! (1983), with the constants and the Euler integration of Gymnasium 1.4.

use super::{Action, EnvSpec, Simulator, Space, uniform};
use rand::Rng;

const GRAVITY: f64 = 9.8;
const POLE_MASS: f64 = 0.1;
const TOTAL_MASS: f64 = 1.0 + POLE_MASS;
/// Half the pole's length.
const LENGTH: f64 = 0.5;
const POLE_MOMENT: f64 = POLE_MASS * LENGTH;
const FORCE: f64 = 10.0;
const DT: f64 = 0.02;
const POSITION_LIMIT: f64 = 2.4;
/// 12 degrees.
const ANGLE_LIMIT: f64 = 12.0 * 2.0 * std::f64::consts::PI / 360.0;

/// The state is `[x, ẋ, θ, θ̇]`, θ = 0 upright; the observation is the state.
///
/// Actions: 0 pushes left, 1 right, with 10 N. Every step pays 1, the failing one included; the episode
/// terminates when `|x| > 2.4` or `|θ| > 12°` and is truncated after 500 steps. Start: `U(−0.05, 0.05)⁴`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CartPole;

impl Simulator for CartPole {
    type State = [f64; 4];

    fn spec(&self) -> EnvSpec {
        let (x, angle) = (2.0 * POSITION_LIMIT as f32, (2.0 * ANGLE_LIMIT) as f32);
        EnvSpec {
            id: "CartPole-v1".into(),
            observation: Space::symmetric_box([x, f32::INFINITY, angle, f32::INFINITY]),
            action: Space::Discrete(2),
            max_episode_steps: Some(500),
            reward_threshold: Some(475.0),
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 4] {
        std::array::from_fn(|_| uniform(rng, -0.05, 0.05))
    }

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let [x, x_dot, theta, theta_dot] = *state;
        let force = if action.index() == 1 { FORCE } else { -FORCE };
        let (sin, cos) = (theta.sin(), theta.cos());
        // ẍ without the pole's pull, then Barto et al., equations of motion (frictionless).
        let thrust = (force + POLE_MOMENT * (theta_dot * theta_dot) * sin) / TOTAL_MASS;
        let theta_acc =
            (GRAVITY * sin - cos * thrust) / (LENGTH * (4.0 / 3.0 - POLE_MASS * (cos * cos) / TOTAL_MASS));
        let x_acc = thrust - POLE_MOMENT * theta_acc * cos / TOTAL_MASS;
        // Explicit Euler: positions move with the old velocities.
        *state = [x + DT * x_dot, x_dot + DT * x_acc, theta + DT * theta_dot, theta_dot + DT * theta_acc];
        (1.0, state[0].abs() > POSITION_LIMIT || state[2].abs() > ANGLE_LIMIT)
    }

    fn observe(&self, state: &[f64; 4], observation: &mut [f32]) {
        for (o, &s) in observation.iter_mut().zip(state) {
            *o = s as f32;
        }
    }
}
