//! DeepMind Control acrobot-swingup: bring the tip of a two-link arm to a target above, elbow torque only.

use super::{gaussian_tolerance, write};
use crate::env::acrobot::runge_kutta;
use crate::env::{Action, EnvSpec, Simulator, Space, uniform};
use rand::Rng;
use std::f64::consts::PI;

const DT: f64 = 0.01;
const GRAVITY: f64 = 9.81;
/// Mass and length of each link, and the distance from its joint to its centre.
const M: f64 = 1.0;
const L: f64 = 1.0;
const LC: f64 = 0.5;
/// Moments of inertia of the two capsules about their centres.
const INERTIA_1: f64 = 0.0955703125;
const INERTIA_2: f64 = 0.09530365719649561;
const DAMPING: f64 = 0.05;
const GEAR: f64 = 2.0;
const TARGET_RADIUS: f64 = 0.2;

/// The state is `[q₁, q₂, v₁, v₂]`, q = 0 upright, q₂ relative to the upper arm; the observation
/// `[sin q₁, sin(q₁+q₂), cos q₁, cos(q₁+q₂), v₁, v₂]`.
///
/// One Runge-Kutta step of `A(q) q̈ = b(q, q̇) + [0, 2u]` with joint damping 0.05, u clipped to ±1. The reward is
/// 1 within 0.2 of the target (the tip's upright position), falling to 0.1 at a distance of 1.2.
/// Start: both angles `U(−π, π)`, at rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcrobotSwingup;

fn derivative([q1, q2, v1, v2]: [f64; 4], control: f64) -> [f64; 4] {
    let (sin2, cos2) = (q2.sin(), q2.cos());
    let a11 = INERTIA_1 + M * LC * LC + INERTIA_2 + M * (L * L + LC * LC + 2.0 * L * LC * cos2);
    let a12 = INERTIA_2 + M * (LC * LC + L * LC * cos2);
    let a22 = INERTIA_2 + M * LC * LC;
    let coupling = M * L * LC * sin2;
    let lower_weight = M * GRAVITY * LC * (q1 + q2).sin();
    let upper_weight = M * GRAVITY * (LC + L) * q1.sin();
    let b1 = coupling * (2.0 * v1 * v2 + v2 * v2) + upper_weight + lower_weight - DAMPING * v1;
    let b2 = -coupling * v1 * v1 + lower_weight - DAMPING * v2 + GEAR * control;
    let determinant = a11 * a22 - a12 * a12;
    [v1, v2, (a22 * b1 - a12 * b2) / determinant, (a11 * b2 - a12 * b1) / determinant]
}

impl AcrobotSwingup {
    /// One step with the control as f64; returns the reward.
    pub fn advance(&self, state: &mut [f64; 4], control: f64) -> f64 {
        let control = control.clamp(-1.0, 1.0);
        *state = runge_kutta(*state, DT, |y| derivative(y, control));
        let [q1, q2, ..] = *state;
        let (dx, dz) = (q1.sin() + (q1 + q2).sin(), q1.cos() + (q1 + q2).cos() - 2.0 * L);
        gaussian_tolerance(dx.hypot(dz), 0.0, TARGET_RADIUS, 1.0)
    }
}

impl Simulator for AcrobotSwingup {
    type State = [f64; 4];

    fn spec(&self) -> EnvSpec {
        let inf = f32::INFINITY;
        EnvSpec {
            id: "acrobot-swingup".into(),
            observation: Space::symmetric_box([1.0, 1.0, 1.0, 1.0, inf, inf]),
            action: Space::uniform_box(1, -1.0, 1.0),
            max_episode_steps: Some(1000),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 4] {
        [uniform(rng, -PI, PI), uniform(rng, -PI, PI), 0.0, 0.0]
    }

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        (self.advance(state, f64::from(action.first())), false)
    }

    fn observe(&self, &[q1, q2, v1, v2]: &[f64; 4], observation: &mut [f32]) {
        let tip = q1 + q2;
        write([q1.sin(), tip.sin(), q1.cos(), tip.cos(), v1, v2], observation);
    }
}
