//! Correlated and coarse-correlated equilibria of bimatrix games as linear programmes (Aumann 1974; Moulin and
//! Vial 1978), with the objectives of correlated Q-learning (Greenwald and Hall 2003).
//!
//! Correlated: for every recommended i and every k, Σ_j p_ij (A_kj − A_ij) ≤ 0, and the same for the column player.
//! Coarse: the deviation is chosen before the recommendation, Σ_ij p_ij (A_kj − A_ij) ≤ 0.

use super::linear_program::LinearProgram;
use super::same_shape;
use crate::Result;
use nalgebra::DMatrix;

/// Which deviations must not pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// After the recommendation.
    Correlated,
    /// Before it.
    Coarse,
}

/// What is looked for among the equilibria.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// The largest sum of payoffs (utilitarian).
    Welfare,
    /// The smallest sum of payoffs.
    LeastWelfare,
    /// The largest payoff of the row player (libertarian for row).
    Row,
    /// The largest payoff of the column player.
    Column,
    /// The largest payoff of whoever gets least (egalitarian).
    Fairest,
}

/// A joint distribution over outcomes.
#[derive(Clone, Debug, PartialEq)]
pub struct JointPlan {
    /// `[m, n]`: probabilities.
    pub plan: DMatrix<f64>,
    /// Expected payoffs of row and column.
    pub payoffs: (f64, f64),
}

/// The best equilibrium of a kind for an objective.
///
/// # Errors
/// [`crate::Error::Shape`]; a solution always exists otherwise.
pub fn correlated(a: &DMatrix<f64>, b: &DMatrix<f64>, kind: Kind, objective: Objective) -> Result<JointPlan> {
    same_shape("correlated", a, b)?;
    let (m, n) = a.shape();
    let flat =
        |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> { (0..m * n).map(|c| f(c / n, c % n)).collect() };
    let mut constraints = match kind {
        Kind::Correlated => obedience(m, n, a, b),
        Kind::Coarse => {
            let rows = (0..m).map(|k| flat(&|i, j| a[(k, j)] - a[(i, j)]));
            rows.chain((0..n).map(|k| flat(&|i, j| b[(i, k)] - b[(i, j)]))).collect()
        }
    };
    let mut simplex = vec![1.0; m * n];
    let mut maximand = match objective {
        Objective::Welfare => flat(&|i, j| a[(i, j)] + b[(i, j)]),
        Objective::LeastWelfare => flat(&|i, j| -a[(i, j)] - b[(i, j)]),
        Objective::Row => flat(&|i, j| a[(i, j)]),
        Objective::Column => flat(&|i, j| b[(i, j)]),
        Objective::Fairest => vec![0.0; m * n],
    };
    if objective == Objective::Fairest {
        // One more variable t ≤ both payoffs, shifted to be non-negative.
        let least = a.min().min(b.min());
        constraints.iter_mut().for_each(|row| row.push(0.0));
        for payoff in [a, b] {
            let mut row = flat(&|i, j| least - payoff[(i, j)]);
            row.push(1.0);
            constraints.push(row);
        }
        simplex.push(0.0);
        maximand.push(1.0);
    }
    let lp = LinearProgram {
        objective: maximand,
        at_most: constraints.into_iter().map(|row| (row, 0.0)).collect(),
        equal: vec![(simplex, 1.0)],
    };
    let plan = DMatrix::from_row_slice(m, n, &lp.maximise()?.x[..m * n]);
    let payoffs = (plan.dot(a), plan.dot(b));
    Ok(JointPlan { plan, payoffs })
}

fn obedience(m: usize, n: usize, a: &DMatrix<f64>, b: &DMatrix<f64>) -> Vec<Vec<f64>> {
    let mut rows = Vec::new();
    for (i, k) in (0..m).flat_map(|i| (0..m).map(move |k| (i, k))).filter(|(i, k)| i != k) {
        let mut row = vec![0.0; m * n];
        (0..n).for_each(|j| row[i * n + j] = a[(k, j)] - a[(i, j)]);
        rows.push(row);
    }
    for (j, k) in (0..n).flat_map(|j| (0..n).map(move |k| (j, k))).filter(|(j, k)| j != k) {
        let mut row = vec![0.0; m * n];
        (0..m).for_each(|i| row[i * n + j] = b[(i, k)] - b[(i, j)]);
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::payoffs;
    use super::*;

    #[test]
    fn chicken_correlates_better_than_nash_and_fairness_is_symmetric() {
        let a = payoffs(&[vec![6.0, 2.0], vec![7.0, 0.0]]).unwrap();
        let b = a.transpose();
        let best = correlated(&a, &b, Kind::Correlated, Objective::Welfare).unwrap();
        assert!((best.payoffs.0 + best.payoffs.1 - 10.5).abs() < 1e-9);
        let fair = correlated(&a, &b, Kind::Correlated, Objective::Fairest).unwrap();
        assert!((fair.payoffs.0.min(fair.payoffs.1) - 5.25).abs() < 1e-9);
        let coarse = correlated(&a, &b, Kind::Coarse, Objective::Welfare).unwrap();
        assert!(coarse.payoffs.0 + coarse.payoffs.1 >= 10.5 - 1e-9);
    }
}
