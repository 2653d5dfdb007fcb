//! DeepMind Control cartpole: swing-up (dense and sparse) and balance, with the slider's soft limit.

use super::{gaussian_tolerance, write};
use crate::env::acrobot::runge_kutta;
use crate::env::{Action, EnvSpec, Simulator, Space, uniform};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use std::f64::consts::PI;

const DT: f64 = 0.01;
const CART_MASS: f64 = 1.0;
const POLE_MASS: f64 = 0.1;
/// Distance from the hinge to the pole's centre, and the capsule's moment of inertia about that centre.
const LC: f64 = 0.5;
const POLE_INERTIA: f64 = 0.009424592767295598;
const GRAVITY: f64 = 9.81;
const SLIDER_DAMPING: f64 = 5e-4;
const HINGE_DAMPING: f64 = 2e-6;
const GEAR: f64 = 10.0;
/// The slider's soft limit: |x| in metres.
pub const SLIDER_LIMIT: f64 = 1.8;
/// MuJoCo's inverse weight of the slider, which scales the limit's regularisation.
const SLIDER_INVERSE_WEIGHT: f64 = 0.9733520544614127;

/// Which of the suite's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmcCartPoleTask {
    /// From hanging down, dense reward.
    Swingup,
    /// From hanging down, reward 1 only in the middle and upright.
    SwingupSparse,
    /// From nearly upright, dense reward.
    Balance,
}

/// The state is `[x, θ, ẋ, θ̇]`, θ = 0 upright; the observation `[x, cos θ, sin θ, ẋ, θ̇]`.
///
/// One Runge-Kutta step of `M(q) q̈ = f(q, q̇) + [10u, 0]`, u clipped to ±1, and MuJoCo's soft constraint beyond
/// `|x| = 1.8`. The dense reward is `upright · (4 + small control)/5 · (1 + small speed)/2 · (1 + centred)/2`,
/// the control as given, not clipped; the sparse one is 1 where `|x| ≤ 0.25` and `cos θ ≥ 0.995`.
/// Start: `x ~ N(0, 0.01²)`, `θ ~ N(π, 0.01²)` to swing up; `x ~ U(−0.1, 0.1)`, `θ ~ U(−0.034, 0.034)` to
/// balance; speeds `N(0, 0.01²)`.
#[derive(Clone, Copy, Debug)]
pub struct DmcCartPole {
    /// Start states and reward.
    pub task: DmcCartPoleTask,
}

fn derivative([x, theta, v, w]: [f64; 4], control: f64) -> [f64; 4] {
    let (sin, cos) = (theta.sin(), theta.cos());
    let moment = POLE_MASS * LC;
    let (m11, m12, m22) = (CART_MASS + POLE_MASS, moment * cos, POLE_INERTIA + moment * LC);
    let f1 = GEAR * control - SLIDER_DAMPING * v + moment * sin * (w * w);
    let f2 = -HINGE_DAMPING * w + moment * GRAVITY * sin;
    let determinant = m11 * m22 - m12 * m12;
    let acceleration = (m22 * f1 - m12 * f2) / determinant;
    let push = slider_limit(x, v, acceleration, m22 / determinant);
    [
        v,
        w,
        acceleration + m22 / determinant * push,
        (m11 * f2 - m12 * f1) / determinant - m12 / determinant * push,
    ]
}

/// The force of the soft limit: MuJoCo's constraint solver for one active constraint, in closed form.
///
/// `mobility` is the entry of `M⁻¹` that belongs to the slider. Parameters: solref (0.08, 1), solimp
/// (0.9, 0.95, 0.001, 0.5, 2).
fn slider_limit(x: f64, v: f64, acceleration: f64, mobility: f64) -> f64 {
    const TIME_CONSTANT: f64 = 0.08;
    const D_MIN: f64 = 0.9;
    const D_MAX: f64 = 0.95;
    const WIDTH: f64 = 0.001;
    let depth = x.abs() - SLIDER_LIMIT;
    if depth <= 0.0 {
        return 0.0;
    }
    let inward = -x.signum();
    let ratio = (depth / WIDTH).min(1.0);
    let ramp = if ratio <= 0.5 { 2.0 * ratio * ratio } else { 1.0 - 2.0 * (1.0 - ratio) * (1.0 - ratio) };
    let impedance = D_MIN + ramp * (D_MAX - D_MIN);
    let stiffness = 1.0 / (D_MAX * D_MAX * TIME_CONSTANT * TIME_CONSTANT);
    let damping = 2.0 / (D_MAX * TIME_CONSTANT);
    let reference = -damping * inward * v + stiffness * impedance * depth;
    let regularisation = (1.0 - impedance) / impedance * SLIDER_INVERSE_WEIGHT;
    inward * ((reference - inward * acceleration) / (mobility + regularisation)).max(0.0)
}

/// A draw of `N(0, 0.01²)`.
fn small(rng: &mut impl Rng) -> f64 {
    0.01 * rng.sample::<f64, _>(StandardNormal)
}

impl DmcCartPole {
    /// One step with the control as f64; returns the reward.
    pub fn advance(&self, state: &mut [f64; 4], control: f64) -> f64 {
        let clipped = control.clamp(-1.0, 1.0);
        *state = runge_kutta(*state, DT, |y| derivative(y, clipped));
        self.reward(state, control)
    }

    fn reward(&self, &[x, theta, _, w]: &[f64; 4], control: f64) -> f64 {
        if self.task == DmcCartPoleTask::SwingupSparse {
            let inside = x.abs() <= 0.25 && theta.cos() >= 0.995;
            return f64::from(u8::from(inside));
        }
        let upright = (theta.cos() + 1.0) / 2.0;
        let centred = (1.0 + gaussian_tolerance(x, 0.0, 0.0, 2.0)) / 2.0;
        let small_control = (4.0 + (1.0 - control * control).max(0.0)) / 5.0;
        let small_speed = (1.0 + gaussian_tolerance(w, 0.0, 0.0, 5.0)) / 2.0;
        upright * small_control * small_speed * centred
    }
}

impl Simulator for DmcCartPole {
    type State = [f64; 4];

    fn spec(&self) -> EnvSpec {
        let id = match self.task {
            DmcCartPoleTask::Swingup => "cartpole-swingup",
            DmcCartPoleTask::SwingupSparse => "cartpole-swingup-sparse",
            DmcCartPoleTask::Balance => "cartpole-balance",
        };
        let inf = f32::INFINITY;
        EnvSpec {
            id: id.into(),
            observation: Space::symmetric_box([inf, 1.0, 1.0, inf, inf]),
            action: Space::uniform_box(1, -1.0, 1.0),
            max_episode_steps: Some(1000),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 4] {
        let [x, theta] = match self.task {
            DmcCartPoleTask::Balance => [uniform(rng, -0.1, 0.1), uniform(rng, -0.034, 0.034)],
            _ => [small(rng), PI + small(rng)],
        };
        [x, theta, small(rng), small(rng)]
    }

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        (self.advance(state, f64::from(action.first())), false)
    }

    fn observe(&self, &[x, theta, v, w]: &[f64; 4], observation: &mut [f32]) {
        write([x, theta.cos(), theta.sin(), v, w], observation);
    }
}
