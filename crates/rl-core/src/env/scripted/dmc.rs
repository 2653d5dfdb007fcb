//! Energy control and a linear catch for the DeepMind Control pendulum and cart-pole.
//!
//! Åström & Furuta, "Swinging up a pendulum by energy control" (2000): push so that the pendulum's energy, zero when
//! upright at rest, rises to zero; near the top switch to linear feedback. The gains were tuned by hand, coarsely.

use super::Policy;
use crate::env::Action;

/// For pendulum-swingup: within 0.3 rad of the top `u = −(20 q + 2 v)`, elsewhere `u = −5 E v` with
/// `E = I v²/2 + 4.905 (cos q − 1)`, clipped to ±1. Mean return about 820 of 1000.
#[derive(Clone, Copy, Debug, Default)]
pub struct DmcPendulumEnergy {
    action: [f32; 1],
}

impl Policy for DmcPendulumEnergy {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        if let &[cos, sin, v] = observation {
            let q = sin.atan2(cos);
            let energy = 0.251 * v * v / 2.0 + 4.905 * (cos - 1.0);
            let control = match (q.abs() < 0.3, v.abs() < 0.01) {
                (true, _) => -(20.0 * q + 2.0 * v),
                (false, true) => 1.0,
                (false, false) => -5.0 * energy * v,
            };
            self.action = [control.clamp(-1.0, 1.0)];
        }
        Action::Continuous(&self.action)
    }
}

/// For the cart-pole tasks: within 0.3 rad of the top `u = 0.3 x + 0.4 ẋ + 4 θ + 0.8 θ̇`, elsewhere
/// `u = E θ̇ cos θ − 0.1 x − 0.1 ẋ` with `E = 0.0344 θ̇²/2 + 0.4905 (cos θ − 1)`, clipped to ±1. Mean return about 1000
/// for balance and 810 for swing-up.
#[derive(Clone, Copy, Debug, Default)]
pub struct DmcCartPoleEnergy {
    action: [f32; 1],
}

impl Policy for DmcCartPoleEnergy {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        if let &[x, cos, sin, v, w] = observation {
            let theta = sin.atan2(cos);
            let energy = 0.0344 * w * w / 2.0 + 0.4905 * (cos - 1.0);
            let control = if theta.abs() < 0.3 {
                0.3 * x + 0.4 * v + 4.0 * theta + 0.8 * w
            } else {
                energy * w * cos - 0.1 * x - 0.1 * v
            };
            self.action = [control.clamp(-1.0, 1.0)];
        }
        Action::Continuous(&self.action)
    }
}
