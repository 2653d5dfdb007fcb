//! Policies of a few lines: the references that every learned policy must beat.
//!
//! A results table without them cannot be read: doing nothing, acting at random, and the obvious rule.

mod dmc;

pub use dmc::{DmcCartPoleEnergy, DmcPendulumEnergy};

use super::{Action, Env, Space, Step};
use crate::Result;
use rand::Rng;

/// Maps observations to actions.
pub trait Policy {
    /// The action for an observation, valid until the next call.
    fn act(&mut self, observation: &[f32]) -> Action<'_>;
}

/// Does nothing: the zero vector, or action 0 of a discrete space.
#[derive(Clone, Debug)]
pub struct Zero {
    action: Option<Vec<f32>>,
}

impl Zero {
    /// For an action space.
    pub fn new(space: &Space) -> Self {
        let action = match space {
            Space::Discrete(_) => None,
            Space::Box { low, .. } => Some(vec![0.0; low.len()]),
        };
        Self { action }
    }
}

impl Policy for Zero {
    fn act(&mut self, _: &[f32]) -> Action<'_> {
        self.action.as_deref().map_or(Action::Discrete(0), Action::Continuous)
    }
}

/// Acts uniformly at random. With a [`NumpyRng`](crate::numpy_rng::NumpyRng) of the same seed it draws what
/// `action_space.sample()` draws in Gymnasium, bit for bit.
#[derive(Clone, Debug)]
pub struct Random<R> {
    space: Space,
    /// The generator, to be saved with a run.
    pub rng: R,
    action: Vec<f32>,
}

impl<R: Rng> Random<R> {
    /// For an action space.
    pub fn new(space: &Space, rng: R) -> Self {
        let action = match space {
            Space::Discrete(_) => Vec::new(),
            Space::Box { low, .. } => vec![0.0; low.len()],
        };
        Self { space: space.clone(), rng, action }
    }
}

impl<R: Rng> Policy for Random<R> {
    fn act(&mut self, _: &[f32]) -> Action<'_> {
        match &self.space {
            Space::Discrete(n) => Action::Discrete(Space::sample_discrete(*n, &mut self.rng)),
            Space::Box { low, high } => {
                Space::sample_box(low, high, &mut self.rng, &mut self.action);
                Action::Continuous(&self.action)
            }
        }
    }
}

/// Proportional control of [`PointControl`](super::PointControl): `a = clip(−gain · s[0..2], ±1)`.
///
/// Mean return about −9.9 at gain 5 and −10.5 at gain 2, where random gets −307 and zero −333.
#[derive(Clone, Debug)]
pub struct PointController {
    /// Gain; 5 by default.
    pub gain: f32,
    action: [f32; 2],
}

impl Default for PointController {
    fn default() -> Self {
        Self::new(5.0)
    }
}

impl PointController {
    /// With a gain.
    pub fn new(gain: f32) -> Self {
        Self { gain, action: [0.0; 2] }
    }
}

impl Policy for PointController {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        for (a, s) in self.action.iter_mut().zip(observation) {
            *a = (-self.gain * s).clamp(-1.0, 1.0);
        }
        Action::Continuous(&self.action)
    }
}

/// Linear rule for CartPole-v1: push right where `θ + 0.3 θ̇ + 0.05 x + 0.1 ẋ > 0`. Balances 500 steps from every
/// regular start.
#[derive(Clone, Copy, Debug, Default)]
pub struct CartPoleRule;

impl Policy for CartPoleRule {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        let &[x, x_dot, theta, theta_dot] = observation else { return Action::Discrete(0) };
        Action::Discrete(usize::from(theta + 0.3 * theta_dot + 0.05 * x + 0.1 * x_dot > 0.0))
    }
}

/// Energy pumping and a linear catch for Pendulum-v1 (Åström & Furuta, "Swinging up a pendulum by energy control",
/// 2000): away from the top `u = −3 E θ̇` with the energy `E = θ̇²/6 + 5 (cos θ − 1)`, near it
/// `u = −(12 θ + 3 θ̇)`. Mean return about −153.
#[derive(Clone, Copy, Debug, Default)]
pub struct PendulumEnergy {
    action: [f32; 1],
}

impl Policy for PendulumEnergy {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        if let &[cos, sin, speed] = observation {
            let theta = sin.atan2(cos);
            let energy = speed * speed / 6.0 + 5.0 * (cos - 1.0);
            let torque = match (theta.abs() < 0.6, speed.abs() > 0.05) {
                (true, _) => -(12.0 * theta + 3.0 * speed),
                (false, true) => -3.0 * energy * speed,
                (false, false) => 2.0,
            };
            self.action = [torque.clamp(-2.0, 2.0)];
        }
        Action::Continuous(&self.action)
    }
}

/// For both mountain cars: push the way the car moves, so that every swing gains energy. Mean return about −120, and 89
/// in the continuous one.
#[derive(Clone, Copy, Debug)]
pub struct MountainCarEnergy {
    continuous: bool,
    action: [f32; 1],
}

impl MountainCarEnergy {
    /// For the action space of one of the two.
    pub fn new(space: &Space) -> Self {
        Self { continuous: matches!(space, Space::Box { .. }), action: [0.0] }
    }
}

impl Policy for MountainCarEnergy {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        let forward = observation.get(1).is_none_or(|&speed| speed >= 0.0);
        if !self.continuous {
            return Action::Discrete(if forward { 2 } else { 0 });
        }
        self.action = [if forward { 1.0 } else { -1.0 }];
        Action::Continuous(&self.action)
    }
}

/// For Acrobot-v1: torque the way the elbow turns, which pumps energy into the arm. Mean return about −86.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcrobotEnergy;

impl Policy for AcrobotEnergy {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        let elbow = observation.get(5).copied().unwrap_or(0.0);
        Action::Discrete(if elbow > 0.0 { 2 } else { 0 })
    }
}

/// The obvious rule for an environment of [`make`](super::make), where there is one.
pub fn heuristic(id: &str, space: &Space) -> Option<Box<dyn Policy + Send>> {
    match id {
        "CartPole-v1" => Some(Box::new(CartPoleRule)),
        "Pendulum-v1" => Some(Box::new(PendulumEnergy::default())),
        "MountainCar-v0" | "MountainCarContinuous-v0" => Some(Box::new(MountainCarEnergy::new(space))),
        "Acrobot-v1" => Some(Box::new(AcrobotEnergy)),
        "pendulum-swingup" => Some(Box::new(DmcPendulumEnergy::default())),
        "cartpole-swingup" | "cartpole-swingup-sparse" | "cartpole-balance" => {
            Some(Box::new(DmcCartPoleEnergy::default()))
        }
        "PointControl" => Some(Box::new(PointController::default())),
        _ => None,
    }
}

/// Plays one episode and returns its return and length. The seed is that of the reset.
///
/// # Errors
/// If the environment refuses an action of this policy, or has no end and no time limit: after a million steps.
pub fn play<E, P>(env: &mut E, policy: &mut P, seed: Option<u64>) -> Result<(f64, u32)>
where
    E: Env + ?Sized,
    P: Policy + ?Sized,
{
    const ENDLESS: u32 = 1_000_000;
    let mut observation = vec![0.0; env.spec().observation.width()];
    env.reset(seed, &mut observation)?;
    let mut total = 0.0;
    for length in 1..=ENDLESS {
        let step: Step = env.step(policy.act(&observation), &mut observation)?;
        total += step.reward;
        if step.done() {
            return Ok((total, length));
        }
    }
    let reason = format!("{} did not end within {ENDLESS} steps; give it a time limit", env.spec().id);
    Err(crate::Error::State { operation: "play", reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::make;

    fn mean_return(id: &str, policy: &mut (dyn Policy + Send), episodes: u64) -> f64 {
        let mut env = make(id, 0).unwrap();
        let sum: f64 = (0..episodes).map(|seed| play(&mut env, policy, Some(seed)).unwrap().0).sum();
        sum / episodes as f64
    }

    #[test]
    fn heuristics_solve_their_tasks() {
        let floors = [
            ("CartPole-v1", 499.9),
            ("Pendulum-v1", -185.0),
            ("MountainCar-v0", -130.0),
            ("MountainCarContinuous-v0", 88.0),
            ("Acrobot-v1", -95.0),
            ("pendulum-swingup", 780.0),
            ("cartpole-swingup", 780.0),
            ("cartpole-swingup-sparse", 550.0),
            ("cartpole-balance", 998.0),
            ("PointControl", -11.5),
        ];
        for (id, floor) in floors {
            let space = make(id, 0).unwrap().spec().action.clone();
            let mean = mean_return(id, heuristic(id, &space).unwrap().as_mut(), 100);
            assert!(mean >= floor, "{id}: {mean}");
        }
    }

    #[test]
    fn point_control_pays_its_references_what_was_measured() {
        // Means and standard deviations of 200 to 500 episodes, measured with an independent implementation.
        let space = make("PointControl", 0).unwrap().spec().action.clone();
        let rng = crate::SeedStream::new(1).stream("act", 0);
        let mut cases: [(Box<dyn Policy + Send>, f64, f64, f64); 4] = [
            (Box::new(Zero::new(&space)), -332.7, 162.4, 500.0),
            (Box::new(Random::new(&space, rng)), -306.7, 154.3, 500.0),
            (Box::new(PointController::new(2.0)), -10.5, 4.7, 200.0),
            (Box::new(PointController::new(5.0)), -9.9, 4.5, 200.0),
        ];
        for (policy, mean, std, episodes) in &mut cases {
            let ours = mean_return("PointControl", policy.as_mut(), 500);
            let standard_error = *std * (1.0 / *episodes + 1.0 / 500.0).sqrt();
            assert!((ours - *mean).abs() < 4.0 * standard_error, "{ours} for {mean}");
        }
    }
}
