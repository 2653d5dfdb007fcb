//! Game theory: equilibria, learning dynamics and the distance from equilibrium.
//!
//! A bimatrix game is two payoff matrices `A` (row player) and `B` (column player) of one shape; a zero-sum game is
//! `A` alone with B = −A. Everything is for maximising players.
//!
//! Units: **NashConv** is the sum of both players' gains from deviating, **exploitability** is half of it.

pub mod cfr;
pub mod correlated;
pub mod dynamics;
pub mod extensive;
pub mod linear_program;
pub mod nash;
pub mod poker;
pub mod regret;
pub mod stackelberg;
pub mod stage_q;
pub mod stochastic;

use crate::{Error, Result};
use nalgebra::{DMatrix, DVector};

/// Builds a payoff matrix from rows.
///
/// # Errors
/// [`Error::Shape`] when there is no entry, rows differ in length or an entry is not finite.
pub fn payoffs(rows: &[Vec<f64>]) -> Result<DMatrix<f64>> {
    let columns = rows.first().map_or(0, Vec::len);
    let sound = |row: &Vec<f64>| row.len() == columns && row.iter().all(|x| x.is_finite());
    match columns > 0 && rows.iter().all(sound) {
        true => Ok(DMatrix::from_row_iterator(rows.len(), columns, rows.iter().flatten().copied())),
        false => Err(Error::shape("payoffs", "finite rows of equal length", format!("{} rows", rows.len()))),
    }
}

/// Checks that two payoff matrices have one shape.
pub(crate) fn same_shape(operation: &'static str, a: &DMatrix<f64>, b: &DMatrix<f64>) -> Result<()> {
    match a.shape() == b.shape() && !a.is_empty() {
        true => Ok(()),
        false => {
            Err(Error::shape(operation, format!("{:?}, not empty", a.shape()), format!("{:?}", b.shape())))
        }
    }
}

/// Expected payoffs (xᵀAy, xᵀBy).
pub fn expected(a: &DMatrix<f64>, b: &DMatrix<f64>, x: &DVector<f64>, y: &DVector<f64>) -> (f64, f64) {
    (x.dot(&(a * y)), x.dot(&(b * y)))
}

/// NashConv = [max_i (Ay)ᵢ − xᵀAy] + [max_j (xᵀB)_j − xᵀBy]: 0 exactly in equilibrium.
pub fn nash_conv(a: &DMatrix<f64>, b: &DMatrix<f64>, x: &DVector<f64>, y: &DVector<f64>) -> f64 {
    let (row, column) = expected(a, b, x, y);
    (a * y).max() - row + b.tr_mul(x).max() - column
}

/// Index of the largest entry, the first of equals.
pub(crate) fn argmax(values: impl IntoIterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, v) in values.into_iter().enumerate() {
        if v > best.1 {
            best = (i, v);
        }
    }
    best.0
}

/// The outcomes (i, j) that no other outcome weakly dominates for both players, row by row.
///
/// # Errors
/// [`Error::Shape`].
pub fn pareto_set(a: &DMatrix<f64>, b: &DMatrix<f64>) -> Result<Vec<(usize, usize)>> {
    same_shape("pareto_set", a, b)?;
    let cells = || (0..a.nrows()).flat_map(|i| (0..a.ncols()).map(move |j| (i, j)));
    let dominates =
        |k: (usize, usize), i: (usize, usize)| a[k] >= a[i] && b[k] >= b[i] && (a[k] > a[i] || b[k] > b[i]);
    Ok(cells().filter(|&i| !cells().any(|k| dominates(k, i))).collect())
}
