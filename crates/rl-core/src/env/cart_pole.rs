//! CartPole-v1: balance a pole on a cart by pushing left or right.
//!
//! Barto, Sutton & Anderson, "Neuronlike adaptive elements that can solve difficult learning control problems"
//! (1983), with the constants and the Euler integration of Gymnasium 1.4.

use super::{Action, EnvSpec, Simulator, Space, uniform};
use rand::Rng;
use serde::{Deserialize, Serialize};

const CART_MASS: f64 = 1.0;
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

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, rng: &mut impl Rng) -> (f64, bool) {
        VariedCartPole::V1.transition(state, action, rng)
    }

    fn observe(&self, state: &[f64; 4], observation: &mut [f32]) {
        VariedCartPole::V1.observe(state, observation);
    }
}

/// CartPole with constants of its own: for agents that must cope with carts that differ. Spaces, limits and reward are
/// those of [`CartPole`], and with the default constants the dynamics are too, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VariedCartPole {
    /// Gravity in m/s²: 9.8.
    pub gravity: f64,
    /// Mass of the pole in kg, beside the cart's 1: 0.1.
    pub pole_mass: f64,
    /// Half the pole's length in m: 0.5.
    pub half_length: f64,
    /// Push in N; a negative one swaps left and right: 10.
    pub force: f64,
}

impl VariedCartPole {
    /// The constants of CartPole-v1.
    pub const V1: Self = Self { gravity: 9.8, pole_mass: 0.1, half_length: 0.5, force: 10.0 };
}

impl Default for VariedCartPole {
    fn default() -> Self {
        Self::V1
    }
}

impl Simulator for VariedCartPole {
    type State = [f64; 4];

    fn spec(&self) -> EnvSpec {
        EnvSpec { id: "VariedCartPole".into(), reward_threshold: None, ..CartPole.spec() }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 4] {
        CartPole.initial_state(rng)
    }

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let Self { gravity, pole_mass, half_length, force } = *self;
        let (total_mass, pole_moment) = (CART_MASS + pole_mass, pole_mass * half_length);
        let [x, x_dot, theta, theta_dot] = *state;
        let force = if action.index() == 1 { force } else { -force };
        let (sin, cos) = (theta.sin(), theta.cos());
        // ẍ without the pole's pull, then Barto et al., equations of motion (frictionless).
        let thrust = (force + pole_moment * (theta_dot * theta_dot) * sin) / total_mass;
        let theta_acc = (gravity * sin - cos * thrust)
            / (half_length * (4.0 / 3.0 - pole_mass * (cos * cos) / total_mass));
        let x_acc = thrust - pole_moment * theta_acc * cos / total_mass;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_pole_falls_more_slowly_and_a_negative_push_swaps_the_actions() {
        let rng = &mut crate::SeedStream::new(0).stream("cart", 0);
        let mut after = |cart: VariedCartPole, action| {
            let mut state = [0.0, 0.0, 0.1, 0.0];
            cart.transition(&mut state, Action::Discrete(action), rng);
            state
        };
        let (v1, long) = (VariedCartPole::V1, VariedCartPole { half_length: 1.5, ..VariedCartPole::V1 });
        assert!(after(long, 0)[3] < after(v1, 0)[3]);
        assert_eq!(after(VariedCartPole { force: -10.0, ..v1 }, 0), after(v1, 1));
    }
}
