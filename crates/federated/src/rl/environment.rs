//! Tasks of one kind whose dynamics differ from client to client, as in Jin et al. 2022 (section 2: the same states,
//! actions and rewards, different transitions).

use crate::error::{Result, check};
use rand::Rng;
use rl_core::StreamRng;
use rl_core::env::{Action, Env, EnvSpec, Episode, PointControl, Simulator, Step, VariedCartPole};
use serde::{Deserialize, Serialize};

/// One client's environment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Dynamics {
    /// CartPole with this cart.
    CartPole(VariedCartPole),
    /// PointControl with these thrusters.
    PointControl(TurnedPointControl),
}

impl Dynamics {
    /// CartPole-v1.
    pub fn cart_pole() -> Self {
        Self::CartPole(VariedCartPole::V1)
    }

    /// PointControl as it is.
    pub fn point_control() -> Self {
        Self::PointControl(TurnedPointControl::default())
    }

    /// `clients` variations of this task at heterogeneity `κ ∈ [0, 1]`, evenly spread, so that no seed changes how hard
    /// the federation's task is; κ = 0 gives equal clients.
    ///
    /// With `u_i` evenly spaced in [−1, 1]: carts have half a pole's length of `0.5 · 4^{κ u_i}` and a push of
    /// `10 · 2^{−κ u_i}` (long poles on weak carts, short ones on strong carts); points have their thrusters turned by
    /// `κ u_i · 90°`.
    ///
    /// # Errors
    /// κ out of range.
    pub fn spread(self, clients: usize, heterogeneity: f64) -> Result<Vec<Self>> {
        let valid = (0.0..=1.0).contains(&heterogeneity);
        check(valid, "spread", "heterogeneity", heterogeneity, "in [0, 1]")?;
        let variation = |i: usize| {
            let u = if clients > 1 { 2.0 * i as f64 / (clients - 1) as f64 - 1.0 } else { 0.0 };
            let shift = heterogeneity * u;
            match self {
                Self::CartPole(cart) => Self::CartPole(VariedCartPole {
                    half_length: cart.half_length * 4f64.powf(shift),
                    force: cart.force * 2f64.powf(-shift),
                    ..cart
                }),
                Self::PointControl(point) => Self::PointControl(TurnedPointControl {
                    angle: point.angle + shift * std::f64::consts::FRAC_PI_2,
                    ..point
                }),
            }
        };
        Ok((0..clients).map(variation).collect())
    }

    /// `n` copies, unseeded: reset them with seeds, or let a collector do it.
    pub fn copies(&self, n: usize) -> Vec<Box<dyn Env>> {
        fn episode<S: Simulator + 'static>(simulator: S, seed: u64) -> Box<dyn Env> {
            Box::new(Episode::<S, StreamRng>::new(simulator, seed))
        }
        let copy = |i| match *self {
            Self::CartPole(cart) => episode(cart, i),
            Self::PointControl(point) => episode(point, i),
        };
        (0..n as u64).map(copy).collect()
    }

    /// The environment's spaces and limits.
    pub fn spec(&self) -> EnvSpec {
        match self {
            Self::CartPole(cart) => cart.spec(),
            Self::PointControl(point) => point.spec(),
        }
    }
}

/// PointControl whose thrusters are mounted turned by an angle: the action `(a₀, a₁)` acts as
/// `(a₀ cos φ − a₁ sin φ, a₀ sin φ + a₁ cos φ)`, which is then clipped. What is right for one client is wrong for
/// another, and nothing in the observation tells which it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TurnedPointControl {
    /// φ in radians: 0.
    pub angle: f64,
    /// Factor on the noise, as in [`PointControl`]: 1.
    pub noise: f64,
}

impl Default for TurnedPointControl {
    fn default() -> Self {
        Self { angle: 0.0, noise: 1.0 }
    }
}

impl TurnedPointControl {
    fn plain(&self) -> PointControl {
        PointControl { noise: self.noise }
    }
}

impl Simulator for TurnedPointControl {
    type State = [f64; 4];

    fn spec(&self) -> EnvSpec {
        EnvSpec { id: "TurnedPointControl".into(), ..self.plain().spec() }
    }

    fn initial_state(&self, rng: &mut impl Rng) -> [f64; 4] {
        self.plain().initial_state(rng)
    }

    fn transition(&self, state: &mut [f64; 4], action: Action<'_>, rng: &mut impl Rng) -> (f64, bool) {
        let at = |i: usize| action.reals().get(i).copied().unwrap_or(0.0);
        let (sin, cos) = self.angle.sin_cos();
        let (sin, cos) = (sin as f32, cos as f32);
        let turned = [at(0) * cos - at(1) * sin, at(0) * sin + at(1) * cos];
        self.plain().transition(state, Action::Continuous(&turned), rng)
    }

    fn observe(&self, state: &[f64; 4], observation: &mut [f32]) {
        self.plain().observe(state, observation);
    }
}

/// An environment that pays `−scale · r`: what a poisoned client trains on
/// ([`Attack::RewardPoisoning`](crate::robust::attack::Attack::RewardPoisoning)).
pub struct Poisoned {
    env: Box<dyn Env>,
    scale: f64,
}

impl Poisoned {
    /// Around `env`.
    pub fn new(env: Box<dyn Env>, scale: f64) -> Self {
        Self { env, scale }
    }
}

impl Env for Poisoned {
    fn spec(&self) -> &EnvSpec {
        self.env.spec()
    }

    fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> rl_core::Result<()> {
        self.env.reset(seed, observation)
    }

    fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> rl_core::Result<Step> {
        let step = self.env.step(action, observation)?;
        Ok(Step { reward: -self.scale * step.reward, ..step })
    }

    fn save(&self) -> rl_core::Result<serde_json::Value> {
        self.env.save()
    }

    fn load(&mut self, saved: &serde_json::Value) -> rl_core::Result<()> {
        self.env.load(saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_clients_at_zero_and_opposite_ones_at_one() {
        let equal = Dynamics::cart_pole().spread(5, 0.0).unwrap();
        assert!(equal.iter().all(|d| *d == Dynamics::cart_pole()));
        let spread = Dynamics::point_control().spread(3, 1.0).unwrap();
        let angle = |d: &Dynamics| match d {
            Dynamics::PointControl(p) => p.angle.to_degrees(),
            Dynamics::CartPole(_) => f64::NAN,
        };
        assert!((angle(&spread[0]) + 90.0).abs() < 1e-9 && angle(&spread[1]) == 0.0);
        assert!(Dynamics::cart_pole().spread(2, 1.5).is_err());
    }

    #[test]
    fn a_quarter_turn_makes_the_first_thruster_the_second() {
        let (turned, plain) = (
            TurnedPointControl { angle: std::f64::consts::FRAC_PI_2, noise: 0.0 },
            PointControl { noise: 0.0 },
        );
        let rng = &mut rl_core::SeedStream::new(0).stream("point", 0);
        let (mut a, mut b) = ([0.5, -0.2, 0.1, 0.3], [0.5, -0.2, 0.1, 0.3]);
        turned.transition(&mut a, Action::Continuous(&[0.8, 0.0]), rng);
        plain.transition(&mut b, Action::Continuous(&[0.0, 0.8]), rng);
        assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-6), "{a:?} {b:?}");
    }

    #[test]
    fn poison_turns_the_reward_around() {
        let mut env = Poisoned::new(Dynamics::cart_pole().copies(1).remove(0), 2.0);
        let mut observation = [0.0; 4];
        env.reset(Some(1), &mut observation).unwrap();
        assert_eq!(env.step(Action::Discrete(0), &mut observation).unwrap().reward, -2.0);
    }
}
