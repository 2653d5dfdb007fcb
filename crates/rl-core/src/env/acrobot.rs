//! Acrobot-v1: swing the tip of a two-link arm above a line, with torque on the middle joint only.
//!
//! Sutton, "Generalization in Reinforcement Learning: Successful Examples Using Sparse Coarse Coding" (1996); the
//! equations are those of Sutton & Barto's book (section 11.3, first edition), the constants Gymnasium 1.4's.

use super::numpy_square::square;
use super::{Action, EnvSpec, Simulator, Space, uniform};
use rand::Rng;
use std::f64::consts::PI;

const DT: f64 = 0.2;
const GRAVITY: f64 = 9.8;
/// Mass and length of each link.
const M: f64 = 1.0;
const L: f64 = 1.0;
/// Distance from a joint to its link's centre of mass.
const LC: f64 = 0.5;
const INERTIA: f64 = 1.0;
const MAX_SPEED_1: f64 = 4.0 * PI;
const MAX_SPEED_2: f64 = 9.0 * PI;

/// The state is `[θ₁, θ₂, θ̇₁, θ̇₂]`, θ = 0 hanging down, θ₂ relative to the first link; the observation
/// `[cos θ₁, sin θ₁, cos θ₂, sin θ₂, θ̇₁, θ̇₂]`.
///
/// Actions 0, 1, 2 are torques −1, 0, 1. One Runge-Kutta step of 0.2 s, then angles are wrapped to `[−π, π]` and
/// speeds clipped to ±4π, ±9π. Every step pays −1, the last 0; terminates when
/// `−cos θ₁ − cos(θ₁ + θ₂) > 1`, truncated after 500 steps. Start: `U(−0.1, 0.1)⁴`, rounded to f32.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acrobot;

/// `d/dt [θ₁, θ₂, θ̇₁, θ̇₂]` under a torque.
fn derivative([theta1, theta2, speed1, speed2]: [f64; 4], torque: f64) -> [f64; 4] {
    let (sin2, cos2) = (theta2.sin(), theta2.cos());
    let d1 = M * (LC * LC) + M * (L * L + LC * LC + 2.0 * L * LC * cos2) + INERTIA + INERTIA;
    let d2 = M * (LC * LC + L * LC * cos2) + INERTIA;
    let phi2 = M * LC * GRAVITY * (theta1 + theta2 - PI / 2.0).cos();
    let phi1 = -M * L * LC * square(speed2) * sin2 - 2.0 * M * L * LC * speed2 * speed1 * sin2
        + (M * LC + M * L) * GRAVITY * (theta1 - PI / 2.0).cos()
        + phi2;
    let acc2 = (torque + d2 / d1 * phi1 - M * L * LC * square(speed1) * sin2 - phi2)
        / (M * (LC * LC) + INERTIA - square(d2) / d1);
    let acc1 = -(d2 * acc2 + phi1) / d1;
    [speed1, speed2, acc1, acc2]
}

/// One step of the classic fourth-order Runge-Kutta method for an autonomous system.
pub(super) fn runge_kutta<const N: usize>(
    y: [f64; N],
    dt: f64,
    derivative: impl Fn([f64; N]) -> [f64; N],
) -> [f64; N] {
    let along = |k: [f64; N], h: f64| std::array::from_fn(|i| y[i] + h * k[i]);
    let half = dt / 2.0;
    let k1 = derivative(y);
    let k2 = derivative(along(k1, half));
    let k3 = derivative(along(k2, half));
    let k4 = derivative(along(k3, dt));
    std::array::from_fn(|i| y[i] + dt / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
}

/// An angle brought to `[−π, π]` by whole turns. Speeds are clipped, so two turns suffice in an episode; any
/// finite angle is handled.
fn wrap(mut angle: f64) -> f64 {
    if angle.abs() > 16.0 * PI {
        angle %= 2.0 * PI;
    }
    while angle > PI {
        angle -= 2.0 * PI;
    }
    while angle < -PI {
        angle += 2.0 * PI;
    }
    angle
}

impl Simulator for Acrobot {
    type State = [f64; 4];

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "Acrobot-v1".into(),
            observation: Space::symmetric_box([1.0, 1.0, 1.0, 1.0, MAX_SPEED_1 as f32, MAX_SPEED_2 as f32]),
            action: Space::Discrete(3),
            max_episode_steps: Some(500),
            reward_threshold: Some(-100.0),
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 4] {
        std::array::from_fn(|_| f64::from(uniform(rng, -0.1, 0.1) as f32))
    }

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let torque = action.index() as f64 - 1.0;
        let [theta1, theta2, speed1, speed2] = runge_kutta(*state, DT, |y| derivative(y, torque));
        let (theta1, theta2) = (wrap(theta1), wrap(theta2));
        let speed1 = speed1.clamp(-MAX_SPEED_1, MAX_SPEED_1);
        let speed2 = speed2.clamp(-MAX_SPEED_2, MAX_SPEED_2);
        *state = [theta1, theta2, speed1, speed2];
        let terminated = -theta1.cos() - (theta2 + theta1).cos() > 1.0;
        (if terminated { 0.0 } else { -1.0 }, terminated)
    }

    fn observe(&self, &[theta1, theta2, speed1, speed2]: &[f64; 4], observation: &mut [f32]) {
        let values = [theta1.cos(), theta1.sin(), theta2.cos(), theta2.sin(), speed1, speed2];
        for (o, v) in observation.iter_mut().zip(values) {
            *o = v as f32;
        }
    }
}
