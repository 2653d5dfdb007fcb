//! Nash equilibria: minimax by linear programming (von Neumann 1928) and all equilibria of a nondegenerate bimatrix
//! game by support enumeration (Nisan et al. 2007, "Algorithmic Game Theory", algorithm 3.4).

use super::linear_program::LinearProgram;
use super::{expected, same_shape};
use crate::{Error, Result};
use nalgebra::{DMatrix, DVector};

/// A solution of a zero-sum game.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimax {
    /// What the row player can secure.
    pub value: f64,
    /// A maximin strategy of the row player; the best one need not be unique.
    pub row: DVector<f64>,
    /// A minimax strategy of the column player.
    pub column: DVector<f64>,
}

/// Solves max_x min_y xᵀAy: max v subject to Aᵀx ≥ v·1, Σx = 1, x ≥ 0, and the same for the column player.
///
/// # Errors
/// [`Error::Shape`] when there are no payoffs or they are not finite.
pub fn zero_sum(a: &DMatrix<f64>) -> Result<Minimax> {
    if a.is_empty() || a.iter().any(|x| !x.is_finite()) {
        return Err(Error::shape("zero_sum", "finite payoffs", format!("{:?}", a.shape())));
    }
    let (value, row) = secure(a)?;
    let (_, column) = secure(&-a.transpose())?;
    Ok(Minimax { value, row, column })
}

/// The row player's security level and strategy.
fn secure(a: &DMatrix<f64>) -> Result<(f64, DVector<f64>)> {
    let (m, n) = a.shape();
    // Payoffs are shifted so that the value is positive, as a variable of the programme must be.
    let shift = 1.0 - a.min();
    let mut objective = vec![0.0; m + 1];
    objective[m] = 1.0;
    let against = |j: usize| {
        let mut row: Vec<f64> = (0..m).map(|i| -(a[(i, j)] + shift)).collect();
        row.push(1.0);
        (row, 0.0)
    };
    let mut simplex = vec![1.0; m + 1];
    simplex[m] = 0.0;
    let lp = LinearProgram { objective, at_most: (0..n).map(against).collect(), equal: vec![(simplex, 1.0)] };
    let solution = lp.maximise()?;
    let x = DVector::from_column_slice(&solution.x[..m]);
    let x = &x / x.sum();
    Ok((a.tr_mul(&x).min(), x))
}

/// A strategy profile with its payoffs.
#[derive(Clone, Debug, PartialEq)]
pub struct Equilibrium {
    /// The row player's strategy.
    pub row: DVector<f64>,
    /// The column player's strategy.
    pub column: DVector<f64>,
    /// Expected payoffs of row and column.
    pub payoffs: (f64, f64),
}

/// The pure equilibria (i, j), row by row.
///
/// # Errors
/// [`Error::Shape`].
pub fn pure(a: &DMatrix<f64>, b: &DMatrix<f64>) -> Result<Vec<(usize, usize)>> {
    same_shape("pure equilibria", a, b)?;
    let cells = (0..a.nrows()).flat_map(|i| (0..a.ncols()).map(move |j| (i, j)));
    Ok(cells.filter(|&(i, j)| a[(i, j)] >= a.column(j).max() && b[(i, j)] >= b.row(i).max()).collect())
}

/// All equilibria with supports of equal size, by size and then lexicographically: in a nondegenerate game, all
/// there are. The work grows like 4ⁿ.
///
/// # Errors
/// [`Error::Shape`] when shapes differ or a side has more than 12 actions.
pub fn support_enumeration(a: &DMatrix<f64>, b: &DMatrix<f64>) -> Result<Vec<Equilibrium>> {
    same_shape("support_enumeration", a, b)?;
    let (m, n) = a.shape();
    if m.max(n) > 12 {
        return Err(Error::shape("support_enumeration", "at most 12 actions a side", format!("{m} × {n}")));
    }
    let mut found = Vec::new();
    let transposed = b.transpose();
    for k in 1..=m.min(n) {
        let (rows, columns) = (combinations(m, k), combinations(n, k));
        for (i, j) in rows.iter().flat_map(|i| columns.iter().map(move |j| (i, j))) {
            let Some((column, row_payoff)) = indifference(a, i, j) else { continue };
            let Some((row, column_payoff)) = indifference(&transposed, j, i) else { continue };
            let best =
                (a * &column).max() <= row_payoff + 1e-9 && b.tr_mul(&row).max() <= column_payoff + 1e-9;
            if best {
                let payoffs = expected(a, b, &row, &column);
                found.push(Equilibrium { row, column, payoffs });
            }
        }
    }
    Ok(found)
}

/// The mixture over `columns` that makes all `rows` equally good, and how good; `None` when it is not unique or
/// not strictly positive.
fn indifference(payoff: &DMatrix<f64>, rows: &[usize], columns: &[usize]) -> Option<(DVector<f64>, f64)> {
    let k = rows.len();
    let matrix = DMatrix::from_fn(k + 1, k + 1, |r, c| match (r == k, c == k) {
        (false, false) => payoff[(rows[r], columns[c])],
        (false, true) => -1.0,
        (true, false) => 1.0,
        (true, true) => 0.0,
    });
    let mut right = DVector::zeros(k + 1);
    right[k] = 1.0;
    let lu = matrix.lu();
    if lu.determinant().abs() < 1e-12 {
        return None;
    }
    let solution = lu.solve(&right)?;
    let mut mixture = DVector::zeros(payoff.ncols());
    for (&c, &p) in columns.iter().zip(solution.iter()) {
        if p <= 1e-9 {
            return None;
        }
        mixture[c] = p;
    }
    Some((mixture, solution[k]))
}

/// All k-subsets of `0..n` in lexicographic order.
fn combinations(n: usize, k: usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    let mut current: Vec<usize> = (0..k).collect();
    loop {
        all.push(current.clone());
        let Some(i) = (0..k).rfind(|&i| current[i] < n - k + i) else { return all };
        current[i] += 1;
        for j in i + 1..k {
            current[j] = current[j - 1] + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{nash_conv, payoffs};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn battle_of_the_sexes_has_three_equilibria() {
        let a = payoffs(&[vec![2.0, 0.0], vec![0.0, 1.0]]).unwrap();
        let b = payoffs(&[vec![1.0, 0.0], vec![0.0, 2.0]]).unwrap();
        let all = support_enumeration(&a, &b).unwrap();
        assert_eq!(all.len(), 3);
        assert!((all[2].row[0] - 2.0 / 3.0).abs() < 1e-12 && (all[2].payoffs.0 - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(pure(&a, &b).unwrap(), [(0, 0), (1, 1)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn minimax_cannot_be_exploited(entries in proptest::collection::vec(-5.0f64..5.0, 35)) {
            let a = DMatrix::from_row_slice(5, 7, &entries);
            let solution = zero_sum(&a).unwrap();
            prop_assert!(nash_conv(&a, &-&a, &solution.row, &solution.column).abs() < 1e-9);
            prop_assert!((solution.row.dot(&(&a * &solution.column)) - solution.value).abs() < 1e-9);
        }

        #[test]
        fn enumerated_profiles_are_equilibria(entries in proptest::collection::vec(-5.0f64..5.0, 18)) {
            let (a, b) = (DMatrix::from_row_slice(3, 3, &entries[..9]), DMatrix::from_row_slice(3, 3, &entries[9..]));
            let all = support_enumeration(&a, &b).unwrap();
            prop_assert!(!all.is_empty());
            for e in all {
                prop_assert!(nash_conv(&a, &b, &e.row, &e.column) < 1e-7);
            }
        }
    }
}
