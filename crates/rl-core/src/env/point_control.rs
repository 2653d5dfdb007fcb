//! PointControl: steer a noisy, weakly coupled point to the origin; the task of the planning exercise.
//!
//! Small enough to learn from 50 random episodes, and one line of proportional control solves it: a planner that
//! loses to that line has learned nothing.

use super::{Action, EnvSpec, Simulator, Space, uniform};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

/// The state is `s ∈ R⁴`; the observation is the state. The action `a ∈ [−1, 1]²` is clipped first.
///
/// ```text
/// s₀' = s₀ + 0.1 a₀ + 0.05 sin s₁        s₂' = 0.9 s₂ + 0.1 tanh(a₀ + a₁)
/// s₁' = s₁ + 0.1 a₁ + 0.02 s₀ s₂         s₃' = 0.95 s₃ + 0.1 N(0, 0.1²)
/// ```
///
/// then `N(0, 0.02²)` on each. The reward is `−‖s'‖² − 0.01 ‖a‖²` with the clipped action; terminates when
/// `‖s'‖ > 3`, truncated after 200 steps. Start: `U(−1, 1)⁴`.
#[derive(Clone, Copy, Debug)]
pub struct PointControl {
    /// Factor on both noise terms: 1 is the task; 0 gives the mean dynamics, and draws nothing.
    pub noise: f64,
}

impl Default for PointControl {
    fn default() -> Self {
        Self { noise: 1.0 }
    }
}

const DRIFT_NOISE: f64 = 0.1;
const STATE_NOISE: f64 = 0.02;
const ARENA_RADIUS: f64 = 3.0;

impl PointControl {
    fn normal(&self, rng: &mut impl Rng, std: f64) -> f64 {
        if self.noise == 0.0 {
            return 0.0;
        }
        self.noise * std * rng.sample::<f64, _>(StandardNormal)
    }
}

impl Simulator for PointControl {
    type State = [f64; 4];

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "PointControl".into(),
            observation: Space::uniform_box(4, f32::NEG_INFINITY, f32::INFINITY),
            action: Space::uniform_box(2, -1.0, 1.0),
            max_episode_steps: Some(200),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 4] {
        std::array::from_fn(|_| uniform(rng, -1.0, 1.0))
    }

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, rng: &mut impl Rng) -> (f64, bool) {
        let at = |i: usize| f64::from(action.reals().get(i).map_or(0.0, |a| a.clamp(-1.0, 1.0)));
        let [a0, a1] = [at(0), at(1)];
        let [s0, s1, s2, s3] = *state;
        *state = [
            s0 + 0.1 * a0 + 0.05 * s1.sin(),
            s1 + 0.1 * a1 + 0.02 * s0 * s2,
            0.9 * s2 + 0.1 * (a0 + a1).tanh(),
            0.95 * s3 + 0.1 * self.normal(rng, DRIFT_NOISE),
        ];
        for s in state.iter_mut() {
            *s += self.normal(rng, STATE_NOISE);
        }
        let squared_norm: f64 = state.iter().map(|s| s * s).sum();
        let reward = -squared_norm - 0.01 * (a0 * a0 + a1 * a1);
        (reward, squared_norm > ARENA_RADIUS * ARENA_RADIUS)
    }

    fn observe(&self, state: &[f64; 4], observation: &mut [f32]) {
        for (o, &s) in observation.iter_mut().zip(state) {
            *o = s as f32;
        }
    }
}
