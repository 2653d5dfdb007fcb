//! The best that can be done in speaker-listener, by optimal control: what no policy can beat.
//!
//! Free motion is linear in the forces, p_t = p₀ + Σ_k m_{t−k} u_k, so that the least Σ_t |p_t − goal|² over forces in a
//! convex set is a quadratic programme. Discrete moves are the corners of |u_x| + |u_y| ≤ 1, continuous ones fill the square
//! |u_x|, |u_y| ≤ 1: the programme's value is a bound for the one, and what can be reached for the other. The first force
//! comes before the first word is heard and is therefore the same for all goals.

use super::world::DT;
use super::{Flavor, Particle, Scenario};
use crate::env::AgentId;

/// Steps of the accelerated projected gradient (Nesterov); the value is then right to about 10⁻³.
const ITERATIONS: usize = 200;

/// One force per step, and for each goal.
type Forces = Vec<[f64; 2]>;

/// An upper bound of the expected return of an episode of speaker-listener from where the world stands, summed over agents,
/// when goals are equally likely and a word is heard one step after it is known; `None` for other scenarios.
pub fn listener_bound(env: &Particle) -> Option<f64> {
    let config = env.config();
    if config.scenario != Scenario::SpeakerListener {
        return None;
    }
    let (agents, accel) = (2, env.bodies()[1].accel);
    let response = response(config.flavor, accel, config.max_cycles);
    let (p, v) = (env.position(1)?, env.velocity(AgentId(1))?);
    let drift = drift(config.flavor, v, config.max_cycles);
    let offsets: Vec<[f64; 2]> = (agents..agents + 3)
        .map(|l| env.position(l).map(|l| [p[0] - l[0], p[1] - l[1]]))
        .collect::<Option<_>>()?;
    let costs = least_costs(&response, &drift, &offsets, config.continuous);
    // Both get −|p − goal|²; the original code gives both the sum.
    let share = if config.flavor == Flavor::Mpe2 { 2.0 } else { 4.0 };
    Some(-share * costs.iter().sum::<f64>() / costs.len() as f64)
}

/// m_j: where a unit of action moves the listener by the end of the j-th step after it began.
fn response(flavor: Flavor, accel: f64, steps: usize) -> Vec<f64> {
    let (mut p, mut v) = (0.0, 0.0);
    let step = |j: usize| {
        let force = if j == 0 { accel } else { 0.0 };
        travel(flavor, &mut p, &mut v, force);
        p
    };
    (0..steps).map(step).collect()
}

/// Where the velocity it has carries the listener, `[T]`.
fn drift(flavor: Flavor, velocity: [f64; 2], steps: usize) -> Vec<[f64; 2]> {
    let (mut p, mut v) = ([0.0; 2], velocity);
    let step = |_| {
        (0..2).for_each(|k| travel(flavor, &mut p[k], &mut v[k], 0.0));
        p
    };
    (0..steps).map(step).collect()
}

/// One step along one axis.
fn travel(flavor: Flavor, p: &mut f64, v: &mut f64, force: f64) {
    if flavor == Flavor::Mpe2 {
        *p += DT * *v;
    }
    *v = 0.75 * *v + DT * force;
    if flavor == Flavor::OpenAi2017 {
        *p += DT * *v;
    }
}

/// Σ_t |offset + drift_t + Σ_k m_{t−k} u_k|² for each goal, jointly minimised.
fn least_costs(response: &[f64], drift: &[[f64; 2]], offsets: &[[f64; 2]], square: bool) -> Vec<f64> {
    let steps = response.len();
    // The gradient is Lipschitz with 2 ‖M‖², and ‖M‖ ≤ ‖m‖₁ for a convolution.
    let rate = 0.5 / response.iter().sum::<f64>().powi(2).max(1e-12);
    let mut forces: Vec<Forces> = vec![vec![[0.0; 2]; steps]; offsets.len()];
    let (mut ahead, mut momentum) = (forces.clone(), 1f64);
    for _ in 0..ITERATIONS {
        let mut next: Vec<Forces> = Vec::with_capacity(offsets.len());
        for (u, &offset) in ahead.iter().zip(offsets) {
            let track = track(response, drift, offset, u);
            let gradient = |k: usize, axis: usize| {
                2.0 * (k..steps).map(|t| response[t - k] * track[t][axis]).sum::<f64>()
            };
            next.push((0..steps).map(|k| [0, 1].map(|axis| u[k][axis] - rate * gradient(k, axis))).collect());
        }
        let count = next.len() as f64;
        let first = [0, 1].map(|axis| next.iter().map(|u| u[0][axis]).sum::<f64>() / count);
        for u in &mut next {
            u[0] = first;
            u.iter_mut().for_each(|force| *force = project(*force, square));
        }
        let following = (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0;
        let push = (momentum - 1.0) / following;
        for ((ahead, new), old) in ahead.iter_mut().zip(&next).zip(&forces) {
            for ((a, n), o) in ahead.iter_mut().zip(new).zip(old) {
                *a = [0, 1].map(|axis| n[axis] + push * (n[axis] - o[axis]));
            }
        }
        (forces, momentum) = (next, following);
    }
    let cost = |(u, &offset): (&Forces, &[f64; 2])| {
        track(response, drift, offset, u).iter().map(|[x, y]| x * x + y * y).sum()
    };
    forces.iter().zip(offsets).map(cost).collect()
}

/// p_t − goal, `[T]`.
fn track(response: &[f64], drift: &[[f64; 2]], offset: [f64; 2], forces: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let at = |t: usize, axis: usize| {
        let pushed: f64 = (0..=t).map(|k| response[t - k] * forces[k][axis]).sum();
        offset[axis] + drift[t][axis] + pushed
    };
    (0..response.len()).map(|t| [at(t, 0), at(t, 1)]).collect()
}

/// The nearest point of the square, or of the diamond |x| + |y| ≤ 1.
fn project(u: [f64; 2], square: bool) -> [f64; 2] {
    let [x, y] = u.map(f64::abs);
    let excess = (x + y - 1.0) / 2.0;
    match square {
        true => u.map(|u| u.clamp(-1.0, 1.0)),
        false if x + y <= 1.0 => u,
        // Onto a side of the diamond, or its corner when that side's line is met outside of it.
        false if x.min(y) >= excess => u.map(|u| (u.abs() - excess).copysign(u)),
        false => [if x > y { u[0].signum() } else { 0.0 }, if x > y { 0.0 } else { u[1].signum() }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::particle::{Config, Placement};
    use crate::env::{Action, MultiAgentEnv, Outcome};
    use rl_core::SeedStream;

    fn env(continuous: bool, placement: &Placement) -> Particle {
        let config = Config { scenario: Scenario::SpeakerListener, continuous, ..Config::default() };
        let mut env = Particle::new(config).unwrap();
        env.place(placement).unwrap();
        env
    }

    /// The best of all sequences of three moves in five steps, the first one standing still, for one common goal.
    #[test]
    fn no_sequence_of_moves_beats_the_bound_and_the_best_comes_near() {
        let placement = Placement {
            agents: vec![[0.0, 0.0], [0.3, 0.0]],
            landmarks: vec![[0.0, 0.1]; 3],
            goals: vec![0],
        };
        let config = Config { scenario: Scenario::SpeakerListener, max_cycles: 5, ..Config::default() };
        let mut world = Particle::new(config).unwrap();
        world.place(&placement).unwrap();
        let bound = listener_bound(&world).unwrap();
        let (mut best, mut outcome) = (f64::NEG_INFINITY, Outcome::new(2));
        let mut rng = SeedStream::new(0).stream("", 0);
        for sequence in 0..5usize.pow(4) {
            world.place(&placement).unwrap();
            let mut sum = 0.0;
            for t in 0..5 {
                let action = sequence / 5usize.pow(t.min(3)) % 5;
                let joint = [Some(Action::Discrete(0)), Some(Action::Discrete(action))];
                world.step(&joint, &mut rng, &mut outcome).unwrap();
                sum += outcome.rewards.iter().sum::<f64>();
            }
            best = best.max(sum);
        }
        assert!(best <= bound + 1e-6 && best > bound - 0.05, "{best} {bound}");
    }

    #[test]
    fn a_square_holds_the_diamond_and_goals_apart_cost_a_blind_step() {
        let spread = Placement {
            agents: vec![[0.0, 0.0], [0.0, 0.0]],
            landmarks: vec![[0.9, 0.3], [-0.9, 0.3], [0.0, -0.8]],
            goals: vec![0],
        };
        let (moves, forces) =
            (listener_bound(&env(false, &spread)).unwrap(), listener_bound(&env(true, &spread)).unwrap());
        assert!(forces > moves && forces < 0.0, "{forces} {moves}");
        let [x, y] = project([0.5, 0.9], false);
        assert!((x - 0.3).abs() < 1e-12 && (y - 0.7).abs() < 1e-12);
        assert_eq!(project([-3.0, 0.5], false), [-1.0, 0.0]);
        assert_eq!(project([0.5, -2.0], true), [0.5, -1.0]);
        assert!(listener_bound(&Particle::new(Config::default()).unwrap()).is_none());
    }
}
