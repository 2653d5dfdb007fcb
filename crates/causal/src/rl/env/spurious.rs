//! A point to be brought to the origin, seen by two pairs of sensors of which one is an effect of the other's cause.
//!
//! x′ = 0.9 x + 0.4 push(a) + 0.15 noise, reward exp(−‖x′‖²), 30 steps. The second pair z = 3 x + 0.3 noise says the same as
//! x while it is calibrated, on a scale that a network finds more convenient, and causes nothing. After a [`Shift`] it
//! says something else; x and the task stay as they were.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use rl_core::env::{Action, EnvSpec, Simulator, Space, uniform};
use serde::{Deserialize, Serialize};

/// What the second sensors show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shift {
    /// z = 3 x + 0.3 noise: as in training.
    None,
    /// z = −3 x + 0.3 noise.
    Reversed,
    /// z = 3 noise: nothing.
    Noise,
    /// z = 0: dead.
    Dead,
}

/// The task; observations are (x₁, x₂, z₁, z₂), actions: stay, right, left, up, down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpuriousSensors {
    /// What the second sensors show.
    pub shift: Shift,
}

impl SpuriousSensors {
    fn read(&self, x: [f64; 2], rng: &mut impl Rng) -> [f64; 2] {
        let mut normal = || -> f64 { StandardNormal.sample(rng) };
        match self.shift {
            Shift::None => x.map(|v| 3.0 * v + 0.3 * normal()),
            Shift::Reversed => x.map(|v| -3.0 * v + 0.3 * normal()),
            Shift::Noise => [3.0 * normal(), 3.0 * normal()],
            Shift::Dead => [0.0; 2],
        }
    }
}

impl Simulator for SpuriousSensors {
    /// x, then z.
    type State = [f64; 4];

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            id: "SpuriousSensors".into(),
            observation: Space::Box { low: vec![f32::NEG_INFINITY; 4], high: vec![f32::INFINITY; 4] },
            action: Space::Discrete(5),
            max_episode_steps: Some(30),
            reward_threshold: None,
        }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 4] {
        let x = [uniform(rng, -2.0, 2.0), uniform(rng, -2.0, 2.0)];
        let z = self.read(x, rng);
        [x[0], x[1], z[0], z[1]]
    }

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, rng: &mut impl Rng) -> (f64, bool) {
        const PUSH: [[f64; 2]; 5] = [[0.0, 0.0], [0.4, 0.0], [-0.4, 0.0], [0.0, 0.4], [0.0, -0.4]];
        let push = PUSH[action.index().min(4)];
        let noise: [f64; 2] = [StandardNormal.sample(rng), StandardNormal.sample(rng)];
        let x: [f64; 2] = std::array::from_fn(|i| 0.9 * state[i] + push[i] + 0.15 * noise[i]);
        let z = self.read(x, rng);
        *state = [x[0], x[1], z[0], z[1]];
        ((-x[0] * x[0] - x[1] * x[1]).exp(), false)
    }

    fn observe(&self, state: &[f64; 4], observation: &mut [f32]) {
        observation.iter_mut().zip(state).for_each(|(o, v)| *o = *v as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::SeedStream;

    #[test]
    fn a_shift_moves_the_spurious_sensors_only() {
        let (calm, shifted) =
            (SpuriousSensors { shift: Shift::None }, SpuriousSensors { shift: Shift::Reversed });
        let play = |task: SpuriousSensors| {
            let rng = &mut SeedStream::new(1).stream("spurious", 0);
            let mut state = task.initial_state(rng);
            let rewards: f64 =
                (0..10).map(|a| task.transition(&mut state, Action::Discrete(a % 5), rng).0).sum();
            (rewards, state)
        };
        let ((a, s), (b, t)) = (play(calm), play(shifted));
        assert_eq!((a, s[0], s[1]), (b, t[0], t[1]));
        assert!((s[2] - 3.0 * s[0]).abs() < 1.5 && (t[2] + 3.0 * t[0]).abs() < 1.5 && s[2] != t[2]);
    }
}
