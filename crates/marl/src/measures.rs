//! Measures of behaviour besides the return. The direction stands in each name or first sentence.

use crate::env::particle::{Particle, Scenario};
use crate::env::{Layout, Outcome};

/// Undiscounted returns of one episode, per agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EpisodeReturns {
    /// Per agent.
    pub agents: Vec<f64>,
    /// Steps so far.
    pub length: usize,
}

impl EpisodeReturns {
    /// For `n` agents.
    pub fn new(n: usize) -> Self {
        Self { agents: vec![0.0; n], length: 0 }
    }

    /// Adds a step.
    pub fn record(&mut self, outcome: &Outcome) {
        self.agents.iter_mut().zip(&outcome.rewards).for_each(|(sum, r)| *sum += r);
        self.length += 1;
    }

    /// Sum over all agents.
    pub fn sum(&self) -> f64 {
        self.agents.iter().sum()
    }

    /// Sum per group of the layout.
    pub fn groups(&self, layout: &Layout) -> Vec<f64> {
        (0..layout.groups.len())
            .map(|g| layout.members(g).map(|id| self.agents.get(id.0).copied().unwrap_or(0.0)).sum())
            .collect()
    }
}

/// Dispersion: mean distance to the centroid. Lower is tighter; a ring is as wide as its radius.
pub fn dispersion_lower_is_tighter(positions: &[[f64; 2]]) -> f64 {
    let n = positions.len() as f64;
    if positions.is_empty() {
        return 0.0;
    }
    let centre = [0, 1].map(|k| positions.iter().map(|p| p[k]).sum::<f64>() / n);
    positions.iter().map(|p| (p[0] - centre[0]).hypot(p[1] - centre[1])).sum::<f64>() / n
}

/// Gini coefficient of non-negative amounts. 0 is perfectly equal, 1 − 1/N everything with one.
///
/// Negative returns have no Gini coefficient: shift them by a stated reference first. NaN when all are zero.
pub fn gini_lower_is_fairer(amounts: &[f64]) -> f64 {
    let n = amounts.len() as f64;
    let total: f64 = amounts.iter().sum();
    let gaps: f64 = amounts.iter().flat_map(|a| amounts.iter().map(move |b| (a - b).abs())).sum();
    gaps / (2.0 * n * total)
}

/// Jain's index (Σx)² / (N Σx²) of non-negative amounts. 1 is perfectly equal, 1/N everything with one.
pub fn jain_higher_is_fairer(amounts: &[f64]) -> f64 {
    let total: f64 = amounts.iter().sum();
    total * total / (amounts.len() as f64 * amounts.iter().map(|x| x * x).sum::<f64>())
}

/// Success: all agents within `radius` of `target` in each of the last `last` steps of a path `[T][N]`.
pub fn all_within(path: &[Vec<[f64; 2]>], target: [f64; 2], radius: f64, last: usize) -> bool {
    let near = |p: &[f64; 2]| (p[0] - target[0]).hypot(p[1] - target[1]) <= radius;
    last > 0 && path.len() >= last && path[path.len() - last..].iter().all(|step| step.iter().all(near))
}

/// What happens in a particle world at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ParticleMoment {
    /// Pairs of agents that overlap (fewer is better where agents should keep apart).
    pub collisions: usize,
    /// Landmarks with an agent within `radius` (more is better).
    pub covered: usize,
    /// Σ over landmarks of the distance of the nearest agent (lower is better).
    pub distance: f64,
    /// Spread only: every landmark is covered.
    pub success: bool,
}

/// Looks at a particle world; a landmark counts as covered with an agent within `radius` (0.1 in the original's
/// statistics).
pub fn particle_moment(env: &Particle, radius: f64) -> ParticleMoment {
    let (bodies, agents) = (env.bodies(), crate::env::MultiAgentEnv::layout(env).n());
    let gap = |a: usize, b: usize| {
        let (a, b) = (env.position(a).unwrap_or_default(), env.position(b).unwrap_or_default());
        (a[0] - b[0]).hypot(a[1] - b[1])
    };
    let pairs = (0..agents).flat_map(|a| (a + 1..agents).map(move |b| (a, b)));
    let collisions = pairs.filter(|&(a, b)| gap(a, b) < bodies[a].size + bodies[b].size).count();
    let nearest = |l: usize| (0..agents).map(|a| gap(a, l)).fold(f64::INFINITY, f64::min);
    let distances: Vec<f64> = (agents..bodies.len()).map(nearest).collect();
    let covered = distances.iter().filter(|&&d| d < radius).count();
    let success = matches!(env.config().scenario, Scenario::Spread { .. }) && covered == distances.len();
    ParticleMoment { collisions, covered, distance: distances.iter().sum(), success }
}

/// Entropy of a sample of symbols below `n`, in nats: 0 when always the same one is sent.
pub fn entropy(symbols: &[usize], n: usize) -> f64 {
    let total = symbols.len() as f64;
    let count = |s: usize| symbols.iter().filter(|&&x| x == s).count() as f64;
    (0..n).map(|s| count(s) / total).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

/// Mutual information of paired samples, in nats: H(X) + H(Y) − H(X, Y). Between goals and messages it is positive
/// signalling (Lowe et al. 2019); between the actions of two agents, coupling.
pub fn mutual_information(x: &[usize], y: &[usize], n_x: usize, n_y: usize) -> f64 {
    let joint: Vec<usize> = x.iter().zip(y).map(|(a, b)| a * n_y + b).collect();
    entropy(x, n_x) + entropy(y, n_y) - entropy(&joint, n_x * n_y)
}

/// The VDN part of a payoff matrix: the best additive fit rᵢ + cⱼ under uniform play, in least squares, which is
/// mean(row i) + mean(column j) − mean.
pub fn additive_fit(payoff: &nalgebra::DMatrix<f64>) -> nalgebra::DMatrix<f64> {
    let (rows, columns, mean) = (payoff.column_mean(), payoff.row_mean(), payoff.mean());
    nalgebra::DMatrix::from_fn(payoff.nrows(), payoff.ncols(), |i, j| rows[i] + columns[j] - mean)
}

/// Counterfactual advantages (Foerster et al. 2018): A(a) = q(a) − Σ_b π(b) q(b); Σ π A = 0.
pub fn counterfactual_advantages(policy: &[f64], q: &[f64]) -> Vec<f64> {
    let baseline: f64 = policy.iter().zip(q).map(|(p, q)| p * q).sum();
    q.iter().map(|q| q - baseline).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_tighter_than_a_ring() {
        let ring = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
        let cluster = ring.map(|p| p.map(|x| x * 0.1));
        assert!(dispersion_lower_is_tighter(&cluster) < dispersion_lower_is_tighter(&ring));
        assert_eq!(dispersion_lower_is_tighter(&ring), 1.0);
        assert_eq!(dispersion_lower_is_tighter(&[]), 0.0);
    }

    #[test]
    fn fairness_at_both_ends() {
        assert_eq!((gini_lower_is_fairer(&[1.0; 4]), jain_higher_is_fairer(&[1.0; 4])), (0.0, 1.0));
        assert_eq!(
            (gini_lower_is_fairer(&[4.0, 0.0, 0.0, 0.0]), jain_higher_is_fairer(&[4.0, 0.0, 0.0, 0.0])),
            (0.75, 0.25)
        );
    }

    #[test]
    fn information() {
        let x = [0, 0, 1, 1];
        assert!((mutual_information(&x, &[1, 1, 0, 0], 2, 2) - std::f64::consts::LN_2).abs() < 1e-12);
        assert!(mutual_information(&x, &[0, 1, 0, 1], 2, 2).abs() < 1e-12);
    }

    #[test]
    fn success_needs_everyone_for_long_enough() {
        let path = vec![vec![[9.0, 0.0]], vec![[0.1, 0.0]], vec![[0.0, 0.2]]];
        assert!(all_within(&path, [0.0; 2], 0.3, 2) && !all_within(&path, [0.0; 2], 0.3, 3));
        assert!(!all_within(&path, [0.0; 2], 0.3, 4));
    }
}
