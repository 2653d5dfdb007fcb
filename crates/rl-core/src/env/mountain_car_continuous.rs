//! MountainCarContinuous-v0: the mountain car with a continuous throttle and a price on effort.
//!
//! Moore (1990) as posed by Lillicrap et al. (2015), with the constants and the mixed precision of Gymnasium 1.4.

use super::mountain_car::{MAX_POSITION, MAX_SPEED, MIN_POSITION};
use super::{Action, EnvSpec, Simulator, Space, uniform};
use rand::Rng;

const POWER: f64 = 0.0015;
const GRAVITY: f64 = 0.0025;
const GOAL: f64 = 0.45;

/// The state is `[x, ẋ]`; the observation is the state.
///
/// `ẋ ← clip(ẋ + 0.0015 clip(a, ±1) − 0.0025 cos 3x, ±0.07)`, `x ← clip(x + ẋ, −1.2, 0.6)`; the left wall stops
/// the car. The reward is `100 · [goal reached] − 0.1 a²` with the action *before* clipping; terminates at
/// `x ≥ 0.45` with `ẋ ≥ 0`, truncated after 999 steps. Start: `x ~ U(−0.6, −0.4)` at rest.
///
/// Gymnasium keeps this state in f32 from the first step on and computes in f32 from there; so does this, bit
/// for bit for f32 actions. A start state is f64: a state counts as f32 when both its numbers are.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountainCarContinuous;

/// The change of speed, `angle` = 3x; rounded to f32 where NumPy's promotion rules round it (a throttle within
/// its bounds).
fn acceleration(throttle: f32, angle: f64) -> f64 {
    let pull = GRAVITY * angle.cos();
    if (-1.0..=1.0).contains(&throttle) {
        f64::from(throttle * POWER as f32 - pull as f32)
    } else {
        f64::from(throttle.clamp(-1.0, 1.0)) * POWER - pull
    }
}

/// The first step of an episode: a f64 state, rounded at the end.
fn advance_f64([x, speed]: [f64; 2], throttle: f32) -> [f32; 2] {
    let speed = (speed + acceleration(throttle, 3.0 * x)).clamp(-MAX_SPEED, MAX_SPEED);
    let x = (x + speed).clamp(MIN_POSITION, MAX_POSITION);
    [x as f32, speed as f32]
}

/// Every later step.
fn advance_f32([x, speed]: [f32; 2], throttle: f32) -> [f32; 2] {
    let limit = MAX_SPEED as f32;
    let speed = speed + acceleration(throttle, f64::from(3.0 * x)) as f32;
    let speed = speed.clamp(-limit, limit);
    [(x + speed).clamp(MIN_POSITION as f32, MAX_POSITION as f32), speed]
}

impl Simulator for MountainCarContinuous {
    type State = [f64; 2];

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "MountainCarContinuous-v0".into(),
            observation: Space::Box {
                low: vec![MIN_POSITION as f32, -MAX_SPEED as f32],
                high: vec![MAX_POSITION as f32, MAX_SPEED as f32],
            },
            action: Space::uniform_box(1, -1.0, 1.0),
            max_episode_steps: Some(999),
            reward_threshold: Some(90.0),
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 2] {
        [uniform(rng, -0.6, -0.4), 0.0]
    }

    fn transition(&self, state: &mut [f64; 2], action: Action<'_>, _: &mut impl Rng) -> (f64, bool) {
        let throttle = action.first();
        let single = state.map(|s| s as f32);
        let is_single = single.map(f64::from) == *state;
        let [x, mut speed] =
            if is_single { advance_f32(single, throttle) } else { advance_f64(*state, throttle) };
        if x <= MIN_POSITION as f32 && speed < 0.0 {
            speed = 0.0;
        }
        *state = [f64::from(x), f64::from(speed)];
        let reached = x >= GOAL as f32 && speed >= 0.0;
        let bonus = if reached { 100.0 } else { 0.0 };
        let throttle = f64::from(throttle);
        (bonus - throttle * throttle * 0.1, reached)
    }

    fn observe(&self, &[x, speed]: &[f64; 2], observation: &mut [f32]) {
        for (o, v) in observation.iter_mut().zip([x, speed]) {
            *o = v as f32;
        }
    }
}
