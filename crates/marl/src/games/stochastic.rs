//! Zero-sum stochastic games with known rules: Shapley's iteration (Shapley 1953).

use super::nash::{Minimax, zero_sum};
use crate::{Error, Result};
use nalgebra::DMatrix;

/// A two-player zero-sum stochastic game.
#[derive(Clone, Debug, PartialEq)]
pub struct ZeroSumStochastic {
    /// Discount γ in `[0, 1)`.
    pub gamma: f64,
    /// `[S]` payoff matrices of the row player.
    pub rewards: Vec<DMatrix<f64>>,
    /// `[S][i][j][S′]`: transition probabilities.
    pub transitions: Vec<Vec<Vec<Vec<f64>>>>,
}

/// The solution of a stochastic game.
#[derive(Clone, Debug, PartialEq)]
pub struct StochasticSolution {
    /// `[S]`: values to the row player.
    pub values: Vec<f64>,
    /// `[S]`: the stage games' solutions.
    pub stages: Vec<Minimax>,
}

impl ZeroSumStochastic {
    fn validate(&self) -> Result<()> {
        let states = self.rewards.len();
        let law = |row: &Vec<f64>| {
            row.len() == states && row.iter().all(|&p| p >= 0.0) && row.iter().sum::<f64>() <= 1.0 + 1e-9
        };
        let fits = self.transitions.len() == states
            && self.rewards.iter().zip(&self.transitions).all(|(r, p)| {
                p.len() == r.nrows() && p.iter().all(|p| p.len() == r.ncols() && p.iter().all(law))
            });
        match fits && states > 0 && (0.0..1.0).contains(&self.gamma) {
            true => Ok(()),
            false => Err(Error::shape(
                "stochastic game",
                "γ in [0, 1) and transitions [S][i][j][S′]",
                format!("{states} states, γ = {}", self.gamma),
            )),
        }
    }

    /// The stage game Q(s, i, j) = R(s, i, j) + γ Σ_s′ P(s′ | s, i, j) V(s′).
    fn stage(&self, s: usize, values: &[f64]) -> DMatrix<f64> {
        let next = |i: usize, j: usize| {
            self.transitions[s][i][j].iter().zip(values).map(|(p, v)| p * v).sum::<f64>()
        };
        let reward = &self.rewards[s];
        DMatrix::from_fn(reward.nrows(), reward.ncols(), |i, j| reward[(i, j)] + self.gamma * next(i, j))
    }

    /// Values and equilibrium strategies, to `tolerance` in the values' last change.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn solve(&self, tolerance: f64) -> Result<StochasticSolution> {
        self.validate()?;
        let states = self.rewards.len();
        let mut values = vec![0.0; states];
        for _ in 0..100_000 {
            let stages =
                (0..states).map(|s| zero_sum(&self.stage(s, &values))).collect::<Result<Vec<_>>>()?;
            let change = stages.iter().zip(&values).map(|(n, v)| (n.value - v).abs()).fold(0.0, f64::max);
            values = stages.iter().map(|stage| stage.value).collect();
            if change <= tolerance {
                return Ok(StochasticSolution { values, stages });
            }
        }
        Err(Error::NoSolution {
            operation: "stochastic game",
            reason: "no convergence within 100,000 sweeps",
        })
    }

    /// Values when both players share the row player's payoffs: V(s) = max_ij Q(s, i, j).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn team_values(&self, tolerance: f64) -> Result<Vec<f64>> {
        self.validate()?;
        let mut values = vec![0.0; self.rewards.len()];
        for _ in 0..1_000_000 {
            let next: Vec<f64> = (0..values.len()).map(|s| self.stage(s, &values).max()).collect();
            let change = next.iter().zip(&values).map(|(n, v)| (n - v).abs()).fold(0.0, f64::max);
            values = next;
            if change <= tolerance {
                return Ok(values);
            }
        }
        Err(Error::NoSolution {
            operation: "stochastic game",
            reason: "no convergence within 1,000,000 sweeps",
        })
    }
}
