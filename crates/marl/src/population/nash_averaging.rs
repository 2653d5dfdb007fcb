//! Nash averaging (Balduzzi et al. 2018, "Re-evaluating Evaluation"): agents are rated against the maximum-entropy
//! Nash equilibrium of the meta-game, so that copies of an agent do not change anybody's rating.

use crate::games::linear_program::LinearProgram;
use crate::{Error, Result};
use nalgebra::{DMatrix, DVector};

/// Rating of agents by an antisymmetric table of advantages.
#[derive(Clone, Debug, PartialEq)]
pub struct NashAverage {
    /// The maximum-entropy equilibrium p.
    pub mixture: DVector<f64>,
    /// A p: each agent's advantage over the mixture; 0 inside its support, at most 0 outside.
    pub skill: DVector<f64>,
}

/// Rates agents; `advantages[i][j]` = −`advantages[j][i]` is what i scores against j (log-odds, for instance).
///
/// The equilibria are {p : pᵀA ≥ 0}. Agents that have no mass in any of them are found by linear programmes; on
/// the rest max H(p) has the dual min over λ ≥ 0 of ln Σᵢ exp((Aλ)ᵢ), which projected gradient descent solves.
///
/// # Errors
/// [`Error::Shape`] when the table is not square and antisymmetric to 1e-9.
pub fn nash_average(advantages: &DMatrix<f64>) -> Result<NashAverage> {
    let (a, n) = (advantages, advantages.nrows());
    if n == 0 || n != a.ncols() || (a + a.transpose()).abs().max() > 1e-9 {
        return Err(Error::shape("nash_average", "an antisymmetric table", format!("{:?}", a.shape())));
    }
    let possible = (0..n).map(|i| most(a, i).map(|mass| mass > 1e-9)).collect::<Result<Vec<_>>>()?;
    let mut lambda = DVector::<f64>::zeros(n);
    let mut mixture = law(a, &lambda, &possible);
    let mut rate = 1.0;
    let dual = |lambda: &DVector<f64>| {
        let scores = a * lambda;
        let inside = || (0..n).filter(|&i| possible[i]).map(|i| scores[i]);
        let top = inside().fold(f64::NEG_INFINITY, f64::max);
        top + inside().map(|s| (s - top).exp()).sum::<f64>().ln()
    };
    for _ in 0..20_000 {
        let gradient = a.tr_mul(&mixture);
        let trial = (&lambda - &gradient * rate).map(|l| l.max(0.0));
        let step = &trial - &lambda;
        if step.norm() < 1e-14 * rate {
            break;
        }
        let enough = dual(&lambda) + gradient.dot(&step) + step.norm_squared() / (2.0 * rate);
        if dual(&trial) <= enough + 1e-15 {
            lambda = trial;
            mixture = law(a, &lambda, &possible);
            rate *= 1.5;
        } else {
            rate *= 0.5;
        }
    }
    let mixture = polish(a, lambda, &possible);
    Ok(NashAverage { skill: a * &mixture, mixture })
}

/// Newton's method on the constraints that hold with equality: those of agents with mass, and those that push.
fn polish(a: &DMatrix<f64>, mut lambda: DVector<f64>, possible: &[bool]) -> DVector<f64> {
    let active: Vec<usize> = (0..a.nrows()).filter(|&j| possible[j] || lambda[j] > 1e-6).collect();
    let columns = a.select_columns(&active);
    let mut mixture = law(a, &lambda, possible);
    for _ in 0..30 {
        let gradient = columns.tr_mul(&mixture);
        if gradient.abs().max() < 1e-15 {
            break;
        }
        let covariance = DMatrix::from_diagonal(&mixture) - &mixture * mixture.transpose();
        let hessian = columns.transpose() * covariance * &columns;
        let Ok(step) = hessian.svd(true, true).solve(&gradient, 1e-12) else { break };
        let mut next = lambda.clone();
        active.iter().zip(step.iter()).for_each(|(&j, s)| next[j] -= s);
        let moved = law(a, &next, possible);
        if columns.tr_mul(&moved).norm() >= gradient.norm() || moved.iter().any(|p| !p.is_finite()) {
            break;
        }
        (lambda, mixture) = (next, moved);
    }
    mixture
}

/// The largest mass agent `i` has in any equilibrium.
fn most(a: &DMatrix<f64>, i: usize) -> Result<f64> {
    let n = a.nrows();
    let mut objective = vec![0.0; n];
    objective[i] = 1.0;
    let column = |j: usize| (a.column(j).iter().map(|x| -x).collect(), 0.0);
    let at_most = (0..n).map(column).collect();
    Ok(LinearProgram { objective, at_most, equal: vec![(vec![1.0; n], 1.0)] }.maximise()?.value)
}

fn law(a: &DMatrix<f64>, lambda: &DVector<f64>, possible: &[bool]) -> DVector<f64> {
    let scores = a * lambda;
    let top = scores.max();
    let weights =
        DVector::from_fn(scores.len(), |i, _| if possible[i] { (scores[i] - top).exp() } else { 0.0 });
    &weights / weights.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::payoffs;

    fn cyclic(copies: usize) -> DMatrix<f64> {
        // Rock, paper, scissors, with scissors several times.
        let kind = |i: usize| i.min(2);
        DMatrix::from_fn(2 + copies, 2 + copies, |i, j| match (3 + kind(i) - kind(j)) % 3 {
            0 => 0.0,
            1 => 1.0,
            _ => -1.0,
        })
    }

    #[test]
    fn copies_share_the_mass_of_one() {
        for copies in 1..4 {
            let rated = nash_average(&cyclic(copies)).unwrap();
            assert!((rated.mixture[0] - 1.0 / 3.0).abs() < 1e-8, "{rated:?}");
            assert!((rated.mixture[2] - 1.0 / (3.0 * copies as f64)).abs() < 1e-8);
            assert!(rated.skill.abs().max() < 1e-8);
        }
    }

    #[test]
    fn a_dominated_agent_has_negative_skill() {
        let a = payoffs(&[vec![0.0, 1.0], vec![-1.0, 0.0]]).unwrap();
        let rated = nash_average(&a).unwrap();
        assert_eq!(rated.mixture.as_slice(), [1.0, 0.0]);
        assert_eq!(rated.skill.as_slice(), [0.0, -1.0]);
    }
}
