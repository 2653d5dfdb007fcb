//! Small dense linear programmes: max cᵀx subject to A x ≤ b, E x = e, x ≥ 0, by the two-phase simplex method.
//!
//! Equilibrium programmes are small and very degenerate (most right-hand sides are zero). The entering column is
//! the most promising one; after a run of steps without progress Bland's rule takes over until there is some, so
//! the method ends. The vertex found is recomputed from its basis by an LU factorisation, so that the answer does
//! not carry the rounding of the pivots.

use crate::{Error, Result};
use nalgebra::{DMatrix, DVector};

const TINY: f64 = 1e-10;
/// Steps without progress before Bland's rule.
const PATIENCE: usize = 30;

/// A programme; all variables are non-negative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinearProgram {
    /// c: what is maximised.
    pub objective: Vec<f64>,
    /// Rows (a, b): aᵀx ≤ b.
    pub at_most: Vec<(Vec<f64>, f64)>,
    /// Rows (e, f): eᵀx = f.
    pub equal: Vec<(Vec<f64>, f64)>,
}

/// An optimal vertex.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// cᵀx.
    pub value: f64,
    /// x.
    pub x: Vec<f64>,
}

impl LinearProgram {
    /// Solves the programme.
    ///
    /// # Errors
    /// [`Error::NoSolution`] when it is infeasible or unbounded, [`Error::Shape`] when rows have another length
    /// than the objective or an entry is not finite.
    pub fn maximise(&self) -> Result<Solution> {
        let rows = || self.at_most.iter().chain(&self.equal);
        let sound = |(row, bound): &(Vec<f64>, f64)| {
            row.len() == self.objective.len() && bound.is_finite() && row.iter().all(|a| a.is_finite())
        };
        if !rows().all(sound) || !self.objective.iter().all(|c| c.is_finite()) {
            return Err(Error::shape(
                "linear programme",
                format!("{} finite columns", self.objective.len()),
                "others",
            ));
        }
        let mut tableau = Tableau::new(self);
        tableau.find_feasible()?;
        let mut costs = self.objective.clone();
        costs.resize(tableau.columns(), 0.0);
        tableau.optimise(&costs, tableau.real)?;
        let x = tableau.vertex(self);
        let value = x.iter().zip(&self.objective).map(|(x, c)| x * c).sum();
        Ok(Solution { value, x })
    }
}

/// Rows `[coefficients | right-hand side]`, with one basic column per row.
struct Tableau {
    rows: Vec<Vec<f64>>,
    basis: Vec<usize>,
    /// The row of the programme each tableau row came from, and whether it was negated.
    source: Vec<usize>,
    /// Variables and slacks; artificial columns follow.
    real: usize,
}

impl Tableau {
    fn new(lp: &LinearProgram) -> Self {
        let (n, slacks) = (lp.objective.len(), lp.at_most.len());
        let m = slacks + lp.equal.len();
        let real = n + slacks;
        let mut tableau = Self { rows: Vec::new(), basis: Vec::new(), source: (0..m).collect(), real };
        let mut artificial = real;
        for (i, (row, bound)) in lp.at_most.iter().chain(&lp.equal).enumerate() {
            let sign = if *bound < 0.0 { -1.0 } else { 1.0 };
            let mut cells: Vec<f64> = row.iter().map(|a| sign * a).collect();
            cells.resize(real + m + 1, 0.0);
            if i < slacks {
                cells[n + i] = sign;
            }
            cells[real + m] = sign * bound;
            let basic = if i < slacks && sign > 0.0 { n + i } else { artificial };
            if basic == artificial {
                cells[artificial] = 1.0;
                artificial += 1;
            }
            tableau.rows.push(cells);
            tableau.basis.push(basic);
        }
        tableau
    }

    fn columns(&self) -> usize {
        self.rows.first().map_or(self.real, |row| row.len() - 1)
    }

    fn find_feasible(&mut self) -> Result<()> {
        let columns = self.columns();
        let costs: Vec<f64> = (0..columns).map(|j| if j < self.real { 0.0 } else { -1.0 }).collect();
        self.optimise(&costs, columns)?;
        let artificial =
            |(basic, row): (&usize, &Vec<f64>)| if *basic >= self.real { row[columns] } else { 0.0 };
        let missing: f64 = self.basis.iter().zip(&self.rows).map(artificial).sum();
        if missing > 1e-8 {
            return Err(Error::NoSolution {
                operation: "linear programme",
                reason: "no point meets the constraints",
            });
        }
        // What is still artificial is zero: swap it out, or drop the row, which the others imply.
        let mut i = 0;
        while i < self.rows.len() {
            if self.basis[i] < self.real {
                i += 1;
                continue;
            }
            let best =
                (0..self.real).max_by(|&a, &b| self.rows[i][a].abs().total_cmp(&self.rows[i][b].abs()));
            match best.filter(|&j| self.rows[i][j].abs() > 1e-9) {
                Some(j) => self.pivot(i, j),
                None => {
                    self.rows.swap_remove(i);
                    self.basis.swap_remove(i);
                    self.source.swap_remove(i);
                }
            }
        }
        Ok(())
    }

    /// Pivots among the first `allowed` columns until no reduced cost is positive.
    fn optimise(&mut self, costs: &[f64], allowed: usize) -> Result<()> {
        let (last, mut stalled, mut reduced) = (self.columns(), 0, vec![0.0; allowed]);
        for _ in 0..50_000 {
            for (j, r) in reduced.iter_mut().enumerate() {
                *r = costs[j];
            }
            for (row, &basic) in self.rows.iter().zip(&self.basis) {
                let cost = costs[basic];
                if cost != 0.0 {
                    reduced.iter_mut().zip(row).for_each(|(r, a)| *r -= cost * a);
                }
            }
            let promising = |j: &usize| reduced[*j] > TINY;
            let entering = match stalled > PATIENCE {
                true => (0..allowed).find(promising),
                false => (0..allowed).filter(promising).max_by(|&a, &b| reduced[a].total_cmp(&reduced[b])),
            };
            let Some(j) = entering else { return Ok(()) };
            let Some((i, step)) = self.leaving(j, last, stalled > PATIENCE) else {
                return Err(Error::NoSolution {
                    operation: "linear programme",
                    reason: "the objective is unbounded",
                });
            };
            stalled = if step > TINY { 0 } else { stalled + 1 };
            self.pivot(i, j);
        }
        Err(Error::NoSolution { operation: "linear programme", reason: "no optimum within 50,000 pivots" })
    }

    /// The row whose basic variable reaches zero first; of equals the one with the largest pivot, or, under
    /// Bland's rule, with the lowest column.
    fn leaving(&self, column: usize, last: usize, bland: bool) -> Option<(usize, f64)> {
        let mut best: Option<(usize, f64)> = None;
        for (i, row) in self.rows.iter().enumerate().filter(|(_, row)| row[column] > 1e-9) {
            let ratio = row[last].max(0.0) / row[column];
            let better = best.is_none_or(|(k, least)| {
                let equal = (ratio - least).abs() <= 1e-12 * (1.0 + least.abs());
                let preferred = match bland {
                    true => self.basis[i] < self.basis[k],
                    false => row[column] > self.rows[k][column],
                };
                if equal { preferred } else { ratio < least }
            });
            if better {
                best = Some((i, ratio));
            }
        }
        best
    }

    fn pivot(&mut self, i: usize, j: usize) {
        let scale = self.rows[i][j];
        self.rows[i].iter_mut().for_each(|a| *a /= scale);
        let pivot_row = std::mem::take(&mut self.rows[i]);
        for row in self.rows.iter_mut().filter(|row| !row.is_empty()) {
            let factor = row[j];
            if factor != 0.0 {
                row.iter_mut().zip(&pivot_row).for_each(|(a, p)| *a -= factor * p);
                row[j] = 0.0;
            }
        }
        self.rows[i] = pivot_row;
        self.basis[i] = j;
    }

    /// The basic variables, recomputed from the original rows where the basis allows it.
    fn vertex(&self, lp: &LinearProgram) -> Vec<f64> {
        let (n, m, slacks) = (lp.objective.len(), self.rows.len(), lp.at_most.len());
        let original = |i: usize| match self.source[i] {
            s if s < slacks => &lp.at_most[s],
            s => &lp.equal[s - slacks],
        };
        let cell = |i: usize, j: usize| match j {
            j if j < n => original(i).0[j],
            j => f64::from(u8::from(self.source[i] == j - n)),
        };
        let matrix = DMatrix::from_fn(m, m, |i, k| cell(i, self.basis[k]));
        let bounds = DVector::from_fn(m, |i, _| original(i).1);
        let last = self.columns();
        let exact = matrix.lu().solve(&bounds).filter(|x| x.iter().all(|x| x.is_finite()));
        let mut x = vec![0.0; n];
        for (k, &basic) in self.basis.iter().enumerate().filter(|(_, basic)| **basic < n) {
            let rough = self.rows[k][last];
            let fine = exact.as_ref().map_or(rough, |x| x[k]);
            x[basic] = if (fine - rough).abs() < 1e-6 { fine } else { rough }.max(0.0);
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_textbook_programme() {
        // max 3x + 5y, x ≤ 4, 2y ≤ 12, 3x + 2y ≤ 18: 36 at (2, 6).
        let lp = LinearProgram {
            objective: vec![3.0, 5.0],
            at_most: vec![(vec![1.0, 0.0], 4.0), (vec![0.0, 2.0], 12.0), (vec![3.0, 2.0], 18.0)],
            equal: vec![],
        };
        assert_eq!(lp.maximise().unwrap(), Solution { value: 36.0, x: vec![2.0, 6.0] });
    }

    #[test]
    fn infeasible_unbounded_redundant_and_negative_bounds() {
        let lp = |at_most, equal| LinearProgram { objective: vec![1.0, 0.0], at_most, equal };
        assert!(lp(vec![(vec![1.0, 0.0], -1.0)], vec![]).maximise().is_err());
        assert!(lp(vec![(vec![-1.0, 0.0], 1.0)], vec![]).maximise().is_err());
        let twice = vec![(vec![1.0, 1.0], 1.0), (vec![2.0, 2.0], 2.0)];
        assert_eq!(lp(vec![(vec![-1.0, 0.0], -0.25)], twice).maximise().unwrap().value, 1.0);
    }

    #[test]
    fn beale_s_cycling_example_ends() {
        let lp = LinearProgram {
            objective: vec![0.75, -150.0, 0.02, -6.0],
            at_most: vec![
                (vec![0.25, -60.0, -0.04, 9.0], 0.0),
                (vec![0.5, -90.0, -0.02, 3.0], 0.0),
                (vec![0.0, 0.0, 1.0, 0.0], 1.0),
            ],
            equal: vec![],
        };
        assert!((lp.maximise().unwrap().value - 0.05).abs() < 1e-12);
    }

    proptest! {
        /// Strong duality: max cᵀx, Ax ≤ b equals min bᵀy, Aᵀy ≥ c.
        #[test]
        fn strong_duality(
            a in proptest::collection::vec(0.1f64..2.0, 12),
            b in proptest::collection::vec(0.1f64..2.0, 3),
            c in proptest::collection::vec(-1.0f64..2.0, 4),
        ) {
            let primal = LinearProgram {
                objective: c.clone(),
                at_most: (0..3).map(|i| (a[4 * i..4 * i + 4].to_vec(), b[i])).collect(),
                equal: vec![],
            };
            let dual = LinearProgram {
                objective: b.iter().map(|b| -b).collect(),
                at_most: (0..4).map(|j| ((0..3).map(|i| -a[4 * i + j]).collect(), -c[j])).collect(),
                equal: vec![],
            };
            let (primal, dual) = (primal.maximise().unwrap(), dual.maximise().unwrap());
            prop_assert!((primal.value + dual.value).abs() < 1e-9);
        }
    }
}
