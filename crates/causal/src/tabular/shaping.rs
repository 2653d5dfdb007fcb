//! Potential-based reward shaping.
//!
//! Ng, Harada & Russell, *Policy invariance under reward transformations* (ICML 1999): F(s, s′) = γ Φ(s′) − Φ(s) keeps every
//! optimal policy, with Q′ = Q* − Φ. Li, Zhang & Bareinboim, *Automatic reward shaping from confounded offline data*
//! (ICML 2025) take for Φ an upper bound on the optimal interventional value, computed from logs of a behaviour that saw
//! what the learner does not: [`optimal_value_bounds`](super::optimal_value_bounds). Deviation: their bound is used as it
//! stands in any learner here, theirs comes with a model-free learner of its own.

use super::mdp::{Mdp, check_len};
use crate::error::Result;

/// F = γ Φ(s′) − Φ(s), with Φ = 0 at terminal states (Ng et al. need it there for episodes that end).
pub fn shaping_reward(mdp: &Mdp, potential: &[f64], s: usize, next: usize) -> f64 {
    let at = |v: usize| if mdp.terminal[v] { 0.0 } else { potential[v] };
    mdp.discount * at(next) - at(s)
}

/// The process with shaped rewards r(s, a) + Σ P(s′ | s, a) F(s, s′).
///
/// # Errors
/// As [`Mdp::validate`]; [`Error::Shape`](crate::Error::Shape) for a potential of another length.
pub fn shaped(mdp: &Mdp, potential: &[f64]) -> Result<Mdp> {
    mdp.validate()?;
    check_len("shaped", mdp.states, potential.len())?;
    let mut changed = mdp.clone();
    for s in 0..mdp.states {
        for a in 0..mdp.actions {
            let law = mdp.next(s, a).iter().enumerate();
            let bonus: f64 = law.map(|(next, p)| p * shaping_reward(mdp, potential, s, next)).sum();
            changed.reward[s * mdp.actions + a] += bonus;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::super::bounds::{BoundsConfig, optimal_value_bounds, tests::windy_grid};
    use super::super::mdp::{QLearningConfig, greedy_policy, q_learning};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Random processes and potentials: optimal values move by Φ, so every optimal action stays optimal.
        #[test]
        fn optimal_policies_are_invariant(
            weights in proptest::collection::vec(0.01f64..1.0, 4 * 3 * 4),
            reward in proptest::collection::vec(-1.0f64..1.0, 12),
            potential in proptest::collection::vec(-5.0f64..5.0, 4),
        ) {
            let transition: Vec<f64> = weights.chunks(4).flat_map(|row| {
                let total: f64 = row.iter().sum();
                row.iter().map(move |w| w / total).collect::<Vec<_>>()
            }).collect();
            let terminal = vec![false, false, false, true];
            let mdp = Mdp { states: 4, actions: 3, transition, reward, terminal, discount: 0.9 };
            let (plain, moved) = (mdp.solve(1e-12).unwrap(), shaped(&mdp, &potential).unwrap().solve(1e-12).unwrap());
            for (i, (moved, plain)) in moved.q.iter().zip(&plain.q).take(9).enumerate() {
                prop_assert!((moved - (plain - potential[i / 3])).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn the_bound_of_a_confounded_log_saves_episodes() {
        let grid = windy_grid();
        let mdp = grid.interventional(0.95).unwrap();
        let log = grid.observed().unwrap();
        let config = BoundsConfig {
            discount: 0.95,
            lowest_reward: -1.0,
            highest_reward: -1.0,
            terminal: grid.terminal.clone(),
            reachable: Some(grid.reachable()),
            ..Default::default()
        };
        let bounds = optimal_value_bounds(&log, &config).unwrap();
        let optimum = mdp.solve(1e-9).unwrap().v;
        assert!(bounds.v.iter().zip(&optimum).all(|(bound, v)| *bound >= v - 1e-9));
        let config = QLearningConfig { episodes: 5, max_steps: 300, learning_rate: 0.2, exploration: 0.1 };
        // Episodes, in fives, until the greedy policy is within 20% of the optimal value at the start.
        let episodes = |potential: &[f64], seed: u64| {
            let mut rng = rl_core::SeedStream::new(seed).stream("shaping", 0);
            let mut q = vec![0.0; mdp.states * mdp.actions];
            let learned = (0..30).position(|_| {
                let start = std::mem::take(&mut q);
                q = q_learning(&mdp, 0, start, potential, &config, &mut rng).unwrap().q;
                mdp.evaluate(&greedy_policy(&q, mdp.actions), 1e-4).unwrap()[0] >= 1.2 * optimum[0]
            });
            5 * learned.unwrap_or(30)
        };
        let (mut plain, mut with_bound) = (0, 0);
        for seed in 0..10 {
            plain += episodes(&vec![0.0; mdp.states], seed);
            with_bound += episodes(&bounds.v, seed);
        }
        assert!(2 * with_bound < plain, "{with_bound} episodes with the bound, {plain} without (10 seeds)");
    }
}
