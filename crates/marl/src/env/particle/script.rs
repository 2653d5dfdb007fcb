//! Scripted policies for the particle worlds: what the learners are compared with.

use super::world::DT;
use super::{Flavor, Particle, Scenario};
use crate::env::AgentId;

/// How many steps the planner looks ahead.
const DEPTH: usize = 4;

/// Index of the discrete movement that leads toward a point: all sequences of four moves are tried on the agent's
/// own motion, contacts left out, and the first move of the one with the smallest Σ distance is taken.
pub fn toward(env: &Particle, agent: AgentId, target: [f64; 2]) -> usize {
    let (Some(p), Some(v)) = (env.position(agent.0), env.velocity(agent)) else { return 0 };
    let body = env.bodies()[agent.0];
    let plan = Plan { flavor: env.config().flavor, accel: body.accel, max_speed: body.max_speed, target };
    plan.best(p, v, DEPTH).1
}

struct Plan {
    flavor: Flavor,
    accel: f64,
    max_speed: Option<f64>,
    target: [f64; 2],
}

impl Plan {
    /// Cost of the best sequence from here, and its first move.
    fn best(&self, p: [f64; 2], v: [f64; 2], depth: usize) -> (f64, usize) {
        if depth == 0 {
            return (0.0, 0);
        }
        let mut best = (f64::INFINITY, 0);
        for action in 0..5 {
            let (p, v) = self.glide(p, v, action);
            let distance = (p[0] - self.target[0]).hypot(p[1] - self.target[1]);
            let cost = distance + self.best(p, v, depth - 1).0;
            if cost < best.0 - 1e-12 {
                best = (cost, action);
            }
        }
        best
    }

    /// One step of free motion.
    fn glide(&self, mut p: [f64; 2], mut v: [f64; 2], action: usize) -> ([f64; 2], [f64; 2]) {
        let sign = if self.flavor == Flavor::Mpe2 { -1.0 } else { 1.0 };
        let u = match action {
            1 => [sign, 0.0],
            2 => [-sign, 0.0],
            3 => [0.0, sign],
            4 => [0.0, -sign],
            _ => [0.0, 0.0],
        };
        let travel = |p: &mut [f64; 2], v: &[f64; 2]| (0..2).for_each(|k| p[k] += v[k] * DT);
        if self.flavor == Flavor::Mpe2 {
            travel(&mut p, &v);
        }
        (0..2).for_each(|k| v[k] = 0.75 * v[k] + u[k] * self.accel * DT);
        let speed = v[0].hypot(v[1]);
        if let Some(limit) = self.max_speed.filter(|&limit| speed > limit) {
            v = v.map(|x| x / speed * limit);
        }
        if self.flavor == Flavor::OpenAi2017 {
            travel(&mut p, &v);
        }
        (p, v)
    }
}

/// Spread: each agent plans toward its landmark in the assignment of least total distance, found anew each step.
/// Speaker-listener: the speaker names the goal, the listener, who is told it, goes there. Tag: adversaries chase
/// the nearest good agent, good agents flee from the nearest adversary. Elsewhere: stay.
pub fn scripted(env: &Particle, agent: AgentId) -> usize {
    let at = |i| env.position(i).unwrap_or_default();
    let gap = |a: usize, b: usize| (at(a)[0] - at(b)[0]).hypot(at(a)[1] - at(b)[1]);
    match env.config().scenario {
        Scenario::Spread { agents, .. } => {
            let cost: Vec<Vec<f64>> =
                (0..agents).map(|i| (0..agents).map(|l| gap(i, agents + l)).collect()).collect();
            let landmark = assign(&cost).get(agent.0).copied().unwrap_or(0);
            toward(env, agent, at(agents + landmark))
        }
        Scenario::SpeakerListener => {
            let goal = env.goals().first().copied().unwrap_or(0);
            if agent.0 == 0 { goal } else { toward(env, agent, at(2 + goal)) }
        }
        Scenario::Tag { good, adversaries, .. } => {
            let chaser = agent.0 < adversaries;
            let mut others = if chaser { adversaries..adversaries + good } else { 0..adversaries };
            let nearest = others.by_ref().min_by(|&a, &b| gap(agent.0, a).total_cmp(&gap(agent.0, b)));
            let Some(other) = nearest.map(at) else { return 0 };
            let own = at(agent.0);
            // A fleeing agent heads for the mirror image of its pursuer, kept inside the arena.
            let target =
                if chaser { other } else { [0, 1].map(|k| (2.0 * own[k] - other[k]).clamp(-0.85, 0.85)) };
            toward(env, agent, target)
        }
        _ => 0,
    }
}

/// The assignment of rows to columns with the least total cost (exhaustive up to seven rows, then row by row); in order
/// when the table is not square.
pub fn assign(cost: &[Vec<f64>]) -> Vec<usize> {
    let n = cost.len();
    if cost.iter().any(|row| row.len() != n) {
        return (0..n).collect();
    }
    let mut used = vec![false; n];
    if n > 7 {
        let greedy = |row: &Vec<f64>| {
            let free = (0..n).filter(|&c| !used[c]);
            let best = free.min_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
            used[best] = true;
            best
        };
        return cost.iter().map(greedy).collect();
    }
    let mut best = (f64::INFINITY, (0..n).collect());
    search(cost, &mut used, &mut Vec::with_capacity(n), 0.0, &mut best);
    best.1
}

fn search(
    cost: &[Vec<f64>],
    used: &mut [bool],
    taken: &mut Vec<usize>,
    sum: f64,
    best: &mut (f64, Vec<usize>),
) {
    let Some(row) = cost.get(taken.len()) else {
        if sum < best.0 {
            *best = (sum, taken.clone());
        }
        return;
    };
    for (c, &x) in row.iter().enumerate() {
        if !used[c] && sum + x < best.0 {
            used[c] = true;
            taken.push(c);
            search(cost, used, taken, sum + x, best);
            taken.pop();
            used[c] = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignment_beats_the_greedy_choice() {
        assert_eq!(assign(&[vec![1.0, 2.0], vec![0.5, 9.0]]), [1, 0]);
    }
}
