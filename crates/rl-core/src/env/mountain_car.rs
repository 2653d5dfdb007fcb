//! MountainCar-v0: an underpowered car must rock itself out of a valley.
//!
//! Moore, "Efficient Memory-based Learning for Robot Control" (1990), with the constants of Gymnasium 1.4.

use super::{Action, EnvSpec, Simulator, Space, uniform};
use rand::Rng;

const FORCE: f64 = 0.001;
const GRAVITY: f64 = 0.0025;
const GOAL: f64 = 0.5;
pub(super) const MAX_SPEED: f64 = 0.07;
pub(super) const MIN_POSITION: f64 = -1.2;
pub(super) const MAX_POSITION: f64 = 0.6;

/// The state is `[x, ẋ]`; the observation is the state.
///
/// Actions: 0 pushes left, 1 not at all, 2 right. `ẋ ← clip(ẋ + 0.001 (a − 1) − 0.0025 cos 3x, ±0.07)`,
/// `x ← clip(x + ẋ, −1.2, 0.6)`; the left wall stops the car. Every step pays −1; terminates at
/// `x ≥ 0.5` with `ẋ ≥ 0`, truncated after 200 steps. Start: `x ~ U(−0.6, −0.4)` at rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountainCar;

impl Simulator for MountainCar {
    type State = [f64; 2];

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "MountainCar-v0".into(),
            observation: Space::Box {
                low: vec![MIN_POSITION as f32, -MAX_SPEED as f32],
                high: vec![MAX_POSITION as f32, MAX_SPEED as f32],
            },
            action: Space::Discrete(3),
            max_episode_steps: Some(200),
            reward_threshold: Some(-110.0),
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 2] {
        [uniform(rng, -0.6, -0.4), 0.0]
    }

    fn transition(&self, state: &mut [f64; 2], action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let [x, speed] = *state;
        let push = (action.index() as f64 - 1.0) * FORCE;
        let mut speed = (speed + (push + (3.0 * x).cos() * -GRAVITY)).clamp(-MAX_SPEED, MAX_SPEED);
        let x = (x + speed).clamp(MIN_POSITION, MAX_POSITION);
        if x == MIN_POSITION && speed < 0.0 {
            speed = 0.0;
        }
        *state = [x, speed];
        (-1.0, x >= GOAL && speed >= 0.0)
    }

    fn observe(&self, &[x, speed]: &[f64; 2], observation: &mut [f32]) {
        for (o, v) in observation.iter_mut().zip([x, speed]) {
            *o = v as f32;
        }
    }
}
