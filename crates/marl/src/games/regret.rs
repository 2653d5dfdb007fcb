//! Regret: matching (Hart and Mas-Colell 2000), its floored variant RM+ (Tammelin 2014), and curves of external
//! regret.

use super::same_shape;
use crate::{Error, Result};
use nalgebra::{DMatrix, DVector};

/// The strategy proportional to positive regrets; uniform when there are none.
pub fn matching(regrets: &[f64]) -> Vec<f64> {
    let positive: f64 = regrets.iter().map(|r| r.max(0.0)).sum();
    match positive > 0.0 {
        true => regrets.iter().map(|r| r.max(0.0) / positive).collect(),
        false => vec![1.0 / regrets.len() as f64; regrets.len()],
    }
}

/// Simultaneous regret matching with full information: both see the payoff of every action against the other's
/// mixture.
///
/// With `plus`, regrets are floored at zero after each round and averages weigh round t with t. In zero-sum games
/// the *averages* approach equilibrium; in general the joint play approaches the coarse correlated equilibria.
#[derive(Clone, Debug, PartialEq)]
pub struct RegretMatching {
    a: DMatrix<f64>,
    b: DMatrix<f64>,
    plus: bool,
    t: f64,
    regrets: [DVector<f64>; 2],
    sums: [DVector<f64>; 2],
}

impl RegretMatching {
    /// Starts with the given regrets (zeros mean uniform first strategies).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn new(a: &DMatrix<f64>, b: &DMatrix<f64>, plus: bool, row: &[f64], column: &[f64]) -> Result<Self> {
        same_shape("regret matching", a, b)?;
        let (m, n) = a.shape();
        if (row.len(), column.len()) != (m, n) {
            return Err(Error::shape(
                "regret matching",
                format!("regrets for {m} and {n}"),
                format!("{} and {}", row.len(), column.len()),
            ));
        }
        Ok(Self {
            a: a.clone(),
            b: b.clone(),
            plus,
            t: 0.0,
            regrets: [DVector::from_column_slice(row), DVector::from_column_slice(column)],
            sums: [DVector::zeros(m), DVector::zeros(n)],
        })
    }

    /// The strategies of the next round.
    pub fn strategies(&self) -> [DVector<f64>; 2] {
        [0, 1].map(|p| DVector::from_vec(matching(self.regrets[p].as_slice())))
    }

    /// One round.
    pub fn step(&mut self) {
        let [x, y] = self.strategies();
        self.t += 1.0;
        let weight = if self.plus { self.t } else { 1.0 };
        let utilities = [&self.a * &y, self.b.tr_mul(&x)];
        for (p, (strategy, utility)) in [&x, &y].into_iter().zip(utilities).enumerate() {
            self.sums[p] += weight * strategy;
            let value = strategy.dot(&utility);
            self.regrets[p] += utility.add_scalar(-value);
            if self.plus {
                self.regrets[p].iter_mut().for_each(|r| *r = r.max(0.0));
            }
        }
    }

    /// The average strategies; uniform before the first round.
    pub fn averages(&self) -> [DVector<f64>; 2] {
        [0, 1].map(|p| match self.sums[p].sum() {
            s if s > 0.0 => &self.sums[p] / s,
            _ => DVector::from_element(self.sums[p].len(), 1.0 / self.sums[p].len() as f64),
        })
    }
}

/// The curve of average external regret: at t, max_k (1/t) Σ_{τ ≤ t} [u(k, bτ) − u(aτ, bτ)], where `u[own, other]`
/// are the payoffs of the player whose actions are `own`.
///
/// # Errors
/// [`Error::Shape`] when the histories differ in length or hold actions outside the matrix.
pub fn external_regret(u: &DMatrix<f64>, own: &[usize], other: &[usize]) -> Result<Vec<f64>> {
    let inside = own.iter().all(|&a| a < u.nrows()) && other.iter().all(|&b| b < u.ncols());
    if own.len() != other.len() || !inside {
        return Err(Error::shape(
            "external_regret",
            format!("equal histories inside {:?}", u.shape()),
            format!("{} and {} actions", own.len(), other.len()),
        ));
    }
    let mut sums = DVector::zeros(u.nrows());
    let mut curve = Vec::with_capacity(own.len());
    for (t, (&a, &b)) in own.iter().zip(other).enumerate() {
        sums += u.column(b).add_scalar(-u[(a, b)]);
        curve.push(sums.max() / (t + 1) as f64);
    }
    Ok(curve)
}

#[cfg(test)]
mod tests {
    use super::super::{nash_conv, payoffs};
    use super::*;

    #[test]
    fn averages_approach_equilibrium_faster_with_plus() {
        let a = payoffs(&[vec![0.0, -1.0, 2.0], vec![1.0, 0.0, -1.0], vec![-2.0, 1.0, 0.0]]).unwrap();
        let gap = |plus| {
            let mut rm = RegretMatching::new(&a, &-&a, plus, &[1.0, 0.0, 0.0], &[0.0, 0.0, 1.0]).unwrap();
            (0..1000).for_each(|_| rm.step());
            let [x, y] = rm.averages();
            nash_conv(&a, &-&a, &x, &y)
        };
        assert!(gap(true) < gap(false) && gap(false) < 0.1);
    }

    #[test]
    fn regret_of_a_constant_loser() {
        let u = payoffs(&[vec![1.0, -1.0], vec![-1.0, 1.0]]).unwrap();
        assert_eq!(external_regret(&u, &[0, 0, 0], &[1, 1, 0]).unwrap(), [2.0, 2.0, 2.0 / 3.0]);
        assert!(external_regret(&u, &[2], &[0]).is_err());
    }
}
