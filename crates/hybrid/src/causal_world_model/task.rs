//! The windy pendulum: keep a pendulum upright in gusts, while sensors repeat what the state says.
//!
//! ```text
//! θ′ = θ + 0.05 ω + 0.005 ε     ω′ = clip(ω + 0.05 (15 sin θ + 3 u + 3 w), ±8) + 0.03 ε     w′ = 0.5 w + 0.8 ε
//! z₁′ = θ′ + 0.05 ε             z₂′ = 0.4 ω′ + 0.05 ε                                     z₃′ = w′ + 0.1 ε
//! ```
//!
//! with ε ~ N(0, 1) drawn anew for each. Gravity, torque and the limit of the speed are those of Gymnasium's Pendulum-v1, θ = 0 is
//! upright and θ is not wrapped. The reward is −(2 (1 − cos θ) + 0.1 ω²) + 0.1 ε of the state in which the torque u ∈ [−2, 2] is
//! applied. The sensors z cause nothing; [`Sensors`] says what they show.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::env::{Action, EnvSpec, Simulator, Space, uniform};
use serde::{Deserialize, Serialize};

/// What the sensors show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensors {
    /// The state, with a little noise.
    Calibrated,
    /// Noise of the same spread, unrelated to the state.
    Unrelated,
    /// The state with the wrong sign.
    Reversed,
}

/// The task; its observation is the state [θ, ω, w, z₁, z₂, z₃].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindyPendulum {
    /// What the sensors show.
    pub sensors: Sensors,
    /// do(w := value): somebody holds the wind.
    pub wind: Option<f64>,
    /// |θ| at the start is at most this; |ω| three times as much.
    pub start: f64,
    /// Steps of an episode.
    pub steps: u32,
}

const DT: f64 = 0.05;
const MAX_SPEED: f64 = 8.0;
const MAX_TORQUE: f64 = 2.0;
/// What a calibrated sensor multiplies θ, ω and w by: all about one in the data of random torques.
const GAINS: [f64; 3] = [1.0, 0.4, 1.0];
const SENSOR_NOISE: [f64; 3] = [0.05, 0.05, 0.1];

impl Default for WindyPendulum {
    fn default() -> Self {
        Self { sensors: Sensors::Calibrated, wind: None, start: 0.1, steps: 50 }
    }
}

impl WindyPendulum {
    /// The names of the variables.
    pub const VARIABLES: [&'static str; 6] =
        ["angle", "velocity", "wind", "angle sensor", "velocity sensor", "wind sensor"];

    /// The index of the wind among the variables.
    pub const WIND: usize = 2;

    fn read(&self, x: [f64; 3], rng: &mut impl Rng) -> [f64; 3] {
        std::array::from_fn(|i| {
            let noise: f64 = rng.sample(StandardNormal);
            match self.sensors {
                Sensors::Calibrated => GAINS[i] * x[i] + SENSOR_NOISE[i] * noise,
                Sensors::Reversed => -GAINS[i] * x[i] + SENSOR_NOISE[i] * noise,
                Sensors::Unrelated => noise,
            }
        })
    }
}

impl Simulator for WindyPendulum {
    type State = [f64; 6];

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "WindyPendulum".into(),
            observation: Space::uniform_box(6, f32::NEG_INFINITY, f32::INFINITY),
            action: Space::uniform_box(1, -MAX_TORQUE as f32, MAX_TORQUE as f32),
            max_episode_steps: Some(self.steps),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 6] {
        let (theta, omega) = (uniform(rng, -1.0, 1.0) * self.start, uniform(rng, -3.0, 3.0) * self.start);
        let gust: f64 = rng.sample(StandardNormal);
        let x = [theta, omega, self.wind.unwrap_or(gust)];
        let z = self.read(x, rng);
        [x[0], x[1], x[2], z[0], z[1], z[2]]
    }

    fn transition(&self, state: &mut [f64; 6], action: Action<'_>, rng: &mut impl Rng) -> (f64, bool) {
        let u = f64::from(action.first()).clamp(-MAX_TORQUE, MAX_TORQUE);
        let [theta, omega, wind, ..] = *state;
        let noise: [f64; 4] = std::array::from_fn(|_| rng.sample(StandardNormal));
        let push = DT * (15.0 * theta.sin() + 3.0 * u + 3.0 * wind);
        let x = [
            theta + DT * omega + 0.005 * noise[0],
            (omega + push).clamp(-MAX_SPEED, MAX_SPEED) + 0.03 * noise[1],
            self.wind.unwrap_or(0.5 * wind + 0.8 * noise[2]),
        ];
        let z = self.read(x, rng);
        *state = [x[0], x[1], x[2], z[0], z[1], z[2]];
        (-(2.0 * (1.0 - theta.cos()) + 0.1 * omega * omega) + 0.1 * noise[3], false)
    }

    fn observe(&self, state: &[f64; 6], observation: &mut [f32]) {
        observation.iter_mut().zip(state).for_each(|(o, &s)| *o = s as f32);
    }
}
