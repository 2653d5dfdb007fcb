//! Commitment: strong Stackelberg equilibria (von Stackelberg 1934; one linear programme per response of the
//! follower, Conitzer and Sandholm 2006). The row player leads; ties of the follower break in the leader's favour.

use super::linear_program::LinearProgram;
use super::same_shape;
use crate::{Error, Result};
use nalgebra::{DMatrix, DVector};

/// What the leader commits to and what follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Commitment {
    /// The leader's expected payoff.
    pub leader: f64,
    /// The follower's.
    pub follower: f64,
    /// The leader's strategy.
    pub strategy: DVector<f64>,
    /// The follower's response.
    pub response: usize,
}

/// The best mixed commitment.
///
/// # Errors
/// [`Error::Shape`].
pub fn mixed(a: &DMatrix<f64>, b: &DMatrix<f64>) -> Result<Commitment> {
    same_shape("stackelberg", a, b)?;
    let (m, n) = a.shape();
    let mut best: Option<Commitment> = None;
    for response in 0..n {
        let worse = |k: usize| ((0..m).map(|i| b[(i, k)] - b[(i, response)]).collect(), 0.0);
        let lp = LinearProgram {
            objective: a.column(response).iter().copied().collect(),
            at_most: (0..n).filter(|&k| k != response).map(worse).collect(),
            equal: vec![(vec![1.0; m], 1.0)],
        };
        // A response that is never optimal has an infeasible programme.
        let Ok(solution) = lp.maximise() else { continue };
        if best.as_ref().is_none_or(|b| solution.value > b.leader + 1e-12) {
            let strategy = DVector::from_vec(solution.x);
            let follower = b.column(response).dot(&strategy);
            best = Some(Commitment { leader: solution.value, follower, strategy, response });
        }
    }
    best.ok_or(Error::NoSolution {
        operation: "stackelberg",
        reason: "no response of the follower is ever optimal",
    })
}

/// The best pure commitment; of equals the one with the largest payoff of the follower.
///
/// # Errors
/// [`Error::Shape`].
pub fn pure(a: &DMatrix<f64>, b: &DMatrix<f64>) -> Result<Commitment> {
    same_shape("stackelberg", a, b)?;
    let (m, n) = a.shape();
    let respond = |i: usize| {
        let best = b.row(i).max();
        let responses = (0..n).filter(|&j| b[(i, j)] == best);
        responses.max_by(|&j, &k| a[(i, j)].total_cmp(&a[(i, k)])).map(|j| (i, j))
    };
    let better =
        |x: &(usize, usize), y: &(usize, usize)| a[*x].total_cmp(&a[*y]).then(b[*x].total_cmp(&b[*y]));
    let (i, j) = (0..m).filter_map(respond).max_by(better).unwrap_or((0, 0));
    let mut strategy = DVector::zeros(m);
    strategy[i] = 1.0;
    Ok(Commitment { leader: a[(i, j)], follower: b[(i, j)], strategy, response: j })
}

#[cfg(test)]
mod tests {
    use super::super::payoffs;
    use super::*;

    #[test]
    fn commitment_beats_nash() {
        let a = payoffs(&[vec![2.0, 4.0], vec![1.0, 3.0]]).unwrap();
        let b = payoffs(&[vec![1.0, 0.0], vec![0.0, 1.0]]).unwrap();
        let best = mixed(&a, &b).unwrap();
        assert!((best.leader - 3.5).abs() < 1e-12, "{best:?}");
        assert_eq!(pure(&a, &b).unwrap().leader, 3.0);
    }
}
