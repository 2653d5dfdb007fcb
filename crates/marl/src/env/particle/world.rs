//! The physics of the particle worlds (Lowe et al. 2017, after Mordatch and Abbeel 2018), for `L` copies at once.
//!
//! Every quantity is an array over `L` lanes, one lane per copy, so the same code is the scalar environment
//! (`L = 1`) and a vectorised block of a batch. A lane does exactly the same arithmetic whatever `L` is.
//!
//! Per step, with Δt = 0.1, damping 0.25 and mass 1:
//! Fᵢ = uᵢ·sᵢ + Σⱼ contact, contact = 100 · (pᵢ − pⱼ)/d · k·ln(1 + exp((rᵢ + rⱼ − d)/k)), k = 0.001.
//! `Mpe2` moves before it accelerates: p += Δt·v, v ← 0.75 v + Δt·F, capped; `OpenAi2017` the other way round.

use super::Flavor;
use rand::{Rng, RngExt};
use rl_core::experiment::{Persist, TrainState};

/// One number per lane.
pub(crate) type Lanes<const L: usize> = [f64; L];
/// x and y per lane.
pub(crate) type Point<const L: usize> = [Lanes<L>; 2];

/// Length of a time step.
pub const DT: f64 = 0.1;
const DAMPING: f64 = 0.25;
const CONTACT_FORCE: f64 = 100.0;
const CONTACT_MARGIN: f64 = 1e-3;
/// Beyond this many margins the contact force is below 1e-42 and left out.
const FAR: f64 = 100.0;

/// The fixed properties of an agent or a landmark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Body {
    /// Radius.
    pub size: f64,
    /// Force per unit of action; 5 unless the scenario says otherwise.
    pub accel: f64,
    /// Speed limit.
    pub max_speed: Option<f64>,
    /// Whether it moves.
    pub movable: bool,
    /// Whether it pushes and is pushed.
    pub collide: bool,
    /// Whether it sends no messages.
    pub silent: bool,
}

impl Body {
    /// A silent, moving agent that collides.
    pub(crate) fn agent(size: f64) -> Self {
        Self { size, accel: 5.0, max_speed: None, movable: true, collide: true, silent: true }
    }

    /// A landmark that nothing collides with.
    pub(crate) fn landmark(size: f64) -> Self {
        Self { size, accel: 5.0, max_speed: None, movable: false, collide: false, silent: true }
    }

    pub(crate) fn fast(self, accel: f64, max_speed: f64) -> Self {
        Self { accel, max_speed: Some(max_speed), ..self }
    }

    pub(crate) fn colliding(self, collide: bool) -> Self {
        Self { collide, ..self }
    }

    pub(crate) fn speaking(self) -> Self {
        Self { silent: false, ..self }
    }

    pub(crate) fn fixed(self) -> Self {
        Self { movable: false, ..self }
    }
}

/// All bodies, agents first, with what follows from them.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) bodies: Vec<Body>,
    pub(crate) agents: usize,
    pub(crate) dim_c: usize,
    /// Landmarks start in ±this.
    pub(crate) landmark_range: f64,
    /// Pairs that can touch, and the sum of their radii.
    pub(crate) contacts: Vec<(usize, usize, f64)>,
}

impl Cast {
    pub(crate) fn new(agents: Vec<Body>, landmarks: Vec<Body>, dim_c: usize) -> Self {
        let n = agents.len();
        let bodies = [agents, landmarks].concat();
        let mut contacts = Vec::new();
        for (a, one) in bodies.iter().enumerate() {
            for (b, other) in bodies.iter().enumerate().skip(a + 1) {
                if one.collide && other.collide && (one.movable || other.movable) {
                    contacts.push((a, b, one.size + other.size));
                }
            }
        }
        Self { bodies, agents: n, dim_c, landmark_range: 1.0, contacts }
    }

    pub(crate) fn landmarks(&self) -> std::ops::Range<usize> {
        self.agents..self.bodies.len()
    }
}

/// The changing part of `L` copies.
#[derive(Clone, Debug)]
pub(crate) struct World<const L: usize> {
    /// Per body.
    pub(crate) pos: Vec<Point<L>>,
    /// Per agent.
    pub(crate) vel: Vec<Point<L>>,
    /// Per agent: set by the actions, then used up by [`World::advance`].
    pub(crate) force: Vec<Point<L>>,
    /// `[agent, dim_c]`.
    pub(crate) comm: Vec<Lanes<L>>,
    /// What the scenario hides: indices of landmarks.
    pub(crate) goals: [[usize; L]; 2],
    /// Per agent, filled by the scenario.
    pub(crate) rewards: Vec<Lanes<L>>,
}

impl<const L: usize> Persist for World<L> {
    /// Positions, velocities, messages and goals; forces and rewards are made anew in every step.
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        for (name, points) in [("pos", &self.pos), ("vel", &self.vel)] {
            let flat = points.as_flattened().as_flattened();
            state.put_array(format!("{prefix}/{name}"), &[points.len(), 2, L], flat);
        }
        state.put_array(format!("{prefix}/comm"), &[self.comm.len(), L], self.comm.as_flattened());
        let goals: Vec<u32> = self.goals.as_flattened().iter().map(|&g| g as u32).collect();
        state.put_array(format!("{prefix}/goals"), &[2, L], &goals);
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        for (name, points) in [("pos", &mut self.pos), ("vel", &mut self.vel)] {
            let saved = state.array(&format!("{prefix}/{name}"), &[points.len(), 2, L])?;
            points.as_flattened_mut().as_flattened_mut().copy_from_slice(saved);
        }
        let saved = state.array(&format!("{prefix}/comm"), &[self.comm.len(), L])?;
        self.comm.as_flattened_mut().copy_from_slice(saved);
        let goals = state.array::<u32>(&format!("{prefix}/goals"), &[2, L])?;
        self.goals.as_flattened_mut().iter_mut().zip(goals).for_each(|(to, &g)| *to = g as usize);
        Ok(())
    }
}

impl<const L: usize> World<L> {
    pub(crate) fn new(cast: &Cast) -> Self {
        let zero = [[0.0; L]; 2];
        Self {
            pos: vec![zero; cast.bodies.len()],
            vel: vec![zero; cast.agents],
            force: vec![zero; cast.agents],
            comm: vec![[0.0; L]; cast.agents * cast.dim_c],
            goals: [[0; L]; 2],
            rewards: vec![[0.0; L]; cast.agents],
        }
    }

    /// Agents in U(−1, 1)², then landmarks in theirs, at rest and silent.
    pub(crate) fn scatter(&mut self, cast: &Cast, lane: usize, rng: &mut dyn Rng) {
        for (i, pos) in self.pos.iter_mut().enumerate() {
            let range = if i < cast.agents { 1.0 } else { cast.landmark_range };
            pos.iter_mut().for_each(|p| p[lane] = rng.random_range(-range..range));
        }
        self.rest(lane);
    }

    /// No velocity, no message.
    pub(crate) fn rest(&mut self, lane: usize) {
        self.vel.iter_mut().flatten().for_each(|v| v[lane] = 0.0);
        self.force.iter_mut().flatten().for_each(|f| f[lane] = 0.0);
        self.comm.iter_mut().for_each(|c| c[lane] = 0.0);
    }

    /// Adds contact forces, then integrates.
    pub(crate) fn advance(&mut self, cast: &Cast, flavor: Flavor) {
        for &(a, b, reach) in &cast.contacts {
            self.push_apart(cast, a, b, reach);
        }
        for (i, body) in cast.bodies[..cast.agents].iter().enumerate() {
            if !body.movable {
                continue;
            }
            let (pos, vel, force) = (&mut self.pos[i], &mut self.vel[i], &self.force[i]);
            if flavor == Flavor::Mpe2 {
                travel(pos, vel);
            }
            for (v, f) in vel.iter_mut().zip(force) {
                v.iter_mut().zip(f).for_each(|(v, f)| *v = *v * (1.0 - DAMPING) + f * DT);
            }
            if let Some(limit) = body.max_speed {
                cap(vel, limit);
            }
            if flavor == Flavor::OpenAi2017 {
                travel(pos, vel);
            }
        }
    }

    fn push_apart(&mut self, cast: &Cast, a: usize, b: usize, reach: f64) {
        let [dx, dy] = self.offset(b, a);
        let distance = norm(&[dx, dy]);
        if distance.iter().all(|&d| d - reach > FAR * CONTACT_MARGIN) {
            return;
        }
        for l in 0..L {
            let d = distance[l];
            // Two bodies on one point have no direction to part in: no force, where the original has NaN.
            if d - reach > FAR * CONTACT_MARGIN || d == 0.0 {
                continue;
            }
            let penetration = softplus(-(d - reach) / CONTACT_MARGIN) * CONTACT_MARGIN;
            let force = [CONTACT_FORCE * dx[l] / d * penetration, CONTACT_FORCE * dy[l] / d * penetration];
            for (axis, f) in force.into_iter().enumerate() {
                if cast.bodies[a].movable {
                    self.force[a][axis][l] += f;
                }
                if cast.bodies[b].movable {
                    self.force[b][axis][l] -= f;
                }
            }
        }
    }

    /// p_to − p_from.
    #[inline]
    pub(crate) fn offset(&self, from: usize, to: usize) -> Point<L> {
        difference(&self.pos[to], &self.pos[from])
    }

    /// p_target − p_from, where the target differs between lanes.
    pub(crate) fn offset_to_goal(&self, from: usize, cast: &Cast, goal: usize) -> Point<L> {
        difference(&self.goal_position(cast, goal), &self.pos[from])
    }

    pub(crate) fn goal_position(&self, cast: &Cast, goal: usize) -> Point<L> {
        let mut target = [[0.0; L]; 2];
        for l in 0..L {
            let landmark = &self.pos[cast.agents + self.goals[goal][l]];
            (target[0][l], target[1][l]) = (landmark[0][l], landmark[1][l]);
        }
        target
    }

    /// |p_a − p_b|.
    #[inline]
    pub(crate) fn distance(&self, a: usize, b: usize) -> Lanes<L> {
        norm(&self.offset(a, b))
    }

    /// 1 in lanes where two bodies overlap, 0 elsewhere.
    #[inline]
    pub(crate) fn overlap(&self, cast: &Cast, a: usize, b: usize) -> Lanes<L> {
        let reach = cast.bodies[a].size + cast.bodies[b].size;
        self.distance(a, b).map(|d| f64::from(d < reach))
    }
}

/// a − b.
#[inline]
pub(crate) fn difference<const L: usize>([ax, ay]: &Point<L>, [bx, by]: &Point<L>) -> Point<L> {
    [std::array::from_fn(|l| ax[l] - bx[l]), std::array::from_fn(|l| ay[l] - by[l])]
}

/// Squared length.
#[inline]
pub(crate) fn square<const L: usize>([x, y]: &Point<L>) -> Lanes<L> {
    std::array::from_fn(|l| x[l] * x[l] + y[l] * y[l])
}

/// Length.
#[inline]
pub(crate) fn norm<const L: usize>(point: &Point<L>) -> Lanes<L> {
    square(point).map(f64::sqrt)
}

/// The lane-wise smallest; +∞ when there is none.
pub(crate) fn least<const L: usize>(values: impl Iterator<Item = Lanes<L>>) -> Lanes<L> {
    values.fold([f64::INFINITY; L], |best, v| std::array::from_fn(|l| best[l].min(v[l])))
}

/// a += scale · b.
#[inline]
pub(crate) fn add<const L: usize>(a: &mut Lanes<L>, scale: f64, b: &Lanes<L>) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += scale * b);
}

/// The penalty for leaving the arena: 0 below 0.9, 10(x − 0.9) below 1, then min(exp(2x − 2), 10).
pub(crate) fn boundary(x: f64) -> f64 {
    match x {
        x if x < 0.9 => 0.0,
        x if x < 1.0 => (x - 0.9) * 10.0,
        x => (2.0 * x - 2.0).exp().min(10.0),
    }
}

#[inline]
fn travel<const L: usize>(pos: &mut Point<L>, vel: &Point<L>) {
    for (p, v) in pos.iter_mut().zip(vel) {
        p.iter_mut().zip(v).for_each(|(p, v)| *p += v * DT);
    }
}

#[inline]
fn cap<const L: usize>(vel: &mut Point<L>, limit: f64) {
    let speed = norm(vel);
    for l in 0..L {
        if speed[l] > limit {
            vel.iter_mut().for_each(|v| v[l] = v[l] / speed[l] * limit);
        }
    }
}

/// ln(1 + eˣ) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softplus_is_stable_at_both_ends() {
        assert_eq!(softplus(0.0), std::f64::consts::LN_2);
        assert_eq!(softplus(1e4), 1e4);
        assert_eq!(softplus(-1e4), 0.0);
    }

    #[test]
    fn contact_is_equal_and_opposite_and_coincidence_is_no_contact() {
        let cast = Cast::new(vec![Body::agent(0.1); 2], vec![], 0);
        let mut world = World::<1>::new(&cast);
        world.pos[1] = [[0.05], [0.02]];
        world.push_apart(&cast, 0, 1, 0.2);
        assert!(world.force[0][0][0] < 0.0);
        assert_eq!(world.force[0][0][0], -world.force[1][0][0]);
        world.pos[1] = world.pos[0];
        world.rest(0);
        world.push_apart(&cast, 0, 1, 0.2);
        assert_eq!(world.force[0], [[0.0], [0.0]]);
    }
}
