//! Learning and evolutionary dynamics in matrix games: replicator equations and fictitious play.

use super::{argmax, same_shape};
use crate::Result;
use nalgebra::{DMatrix, DVector};

/// Single-population replicator dynamics ẋᵢ = xᵢ((Ax)ᵢ − xᵀAx) (Taylor and Jonker 1978): the state after `steps`
/// Runge-Kutta steps of length `dt`.
///
/// # Errors
/// [`crate::Error::Shape`] when `A` is not square or `x` has another length.
pub fn replicator(a: &DMatrix<f64>, x: &DVector<f64>, dt: f64, steps: usize) -> Result<DVector<f64>> {
    if a.nrows() != a.ncols() || a.nrows() != x.len() {
        return Err(crate::Error::shape(
            "replicator",
            format!("a square matrix of side {}", x.len()),
            format!("{:?}", a.shape()),
        ));
    }
    let flow = |x: &DVector<f64>| {
        let fitness = a * x;
        let mean = x.dot(&fitness);
        x.component_mul(&fitness.add_scalar(-mean))
    };
    Ok((0..steps).fold(x.clone(), |x, _| runge_kutta(&x, dt, flow)))
}

/// Two-population replicator dynamics ẋᵢ = xᵢ((Ay)ᵢ − xᵀAy), ẏ_j = y_j((xᵀB)_j − xᵀBy).
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn replicator_two(
    a: &DMatrix<f64>,
    b: &DMatrix<f64>,
    x: &DVector<f64>,
    y: &DVector<f64>,
    dt: f64,
    steps: usize,
) -> Result<(DVector<f64>, DVector<f64>)> {
    same_shape("replicator_two", a, b)?;
    let (m, n) = a.shape();
    if (x.len(), y.len()) != (m, n) {
        return Err(crate::Error::shape(
            "replicator_two",
            format!("{m} and {n}"),
            format!("{} and {}", x.len(), y.len()),
        ));
    }
    let join =
        |x: &DVector<f64>, y: &DVector<f64>| DVector::from_iterator(m + n, x.iter().chain(y.iter()).copied());
    let split = |z: &DVector<f64>| (z.rows(0, m).into_owned(), z.rows(m, n).into_owned());
    let flow = |z: &DVector<f64>| {
        let (x, y) = split(z);
        let (row, column) = (a * &y, b.tr_mul(&x));
        let (row_mean, column_mean) = (x.dot(&row), y.dot(&column));
        join(&x.component_mul(&row.add_scalar(-row_mean)), &y.component_mul(&column.add_scalar(-column_mean)))
    };
    Ok(split(&(0..steps).fold(join(x, y), |z, _| runge_kutta(&z, dt, flow))))
}

fn runge_kutta(x: &DVector<f64>, dt: f64, flow: impl Fn(&DVector<f64>) -> DVector<f64>) -> DVector<f64> {
    let k1 = flow(x);
    let k2 = flow(&(x + &k1 * (dt / 2.0)));
    let k3 = flow(&(x + &k2 * (dt / 2.0)));
    let k4 = flow(&(x + &k3 * dt));
    x + (k1 + (k2 + k3) * 2.0 + k4) * (dt / 6.0)
}

/// Simultaneous fictitious play (Brown 1951): each plays a best response to the other's empirical mixture. Ties go
/// to the lowest index, and both begin with action 0.
///
/// The *averages* approach equilibrium in zero-sum games; in others play may cycle for ever (Shapley 1964).
#[derive(Clone, Debug, PartialEq)]
pub struct FictitiousPlay {
    a: DMatrix<f64>,
    b: DMatrix<f64>,
    row: DVector<f64>,
    column: DVector<f64>,
}

impl FictitiousPlay {
    /// Both have played action 0 once.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn new(a: &DMatrix<f64>, b: &DMatrix<f64>) -> Result<Self> {
        same_shape("fictitious play", a, b)?;
        let first = |n| DVector::from_fn(n, |i, _| f64::from(u8::from(i == 0)));
        Ok(Self { a: a.clone(), b: b.clone(), row: first(a.nrows()), column: first(a.ncols()) })
    }

    /// One round; returns the actions played.
    pub fn step(&mut self) -> (usize, usize) {
        let i = argmax((&self.a * &self.column).iter().copied());
        let j = argmax(self.b.tr_mul(&self.row).iter().copied());
        self.row[i] += 1.0;
        self.column[j] += 1.0;
        (i, j)
    }

    /// The empirical mixtures of row and column.
    pub fn averages(&self) -> (DVector<f64>, DVector<f64>) {
        (&self.row / self.row.sum(), &self.column / self.column.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{nash_conv, payoffs};
    use super::*;

    #[test]
    fn rock_paper_scissors_orbits_on_its_invariant() {
        let a = payoffs(&[vec![0.0, -1.0, 1.0], vec![1.0, 0.0, -1.0], vec![-1.0, 1.0, 0.0]]).unwrap();
        let x = DVector::from_vec(vec![0.6, 0.3, 0.1]);
        let after = replicator(&a, &x, 0.01, 1000).unwrap();
        assert!((after.product() - 0.018).abs() < 1e-8 && (after.sum() - 1.0).abs() < 1e-12);
        let (p, q) = replicator_two(&a, &-&a, &x, &x, 0.01, 100).unwrap();
        assert!((p.sum() - 1.0).abs() < 1e-12 && (q.sum() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn fictitious_play_approaches_equilibrium_but_not_in_shapley_s_game() {
        let pennies = payoffs(&[vec![1.0, -1.0], vec![-1.0, 1.0]]).unwrap();
        let mut play = FictitiousPlay::new(&pennies, &-&pennies).unwrap();
        (0..5000).for_each(|_| _ = play.step());
        let (x, y) = play.averages();
        assert!(nash_conv(&pennies, &-&pennies, &x, &y) < 0.05);
        let a = DMatrix::<f64>::identity(3, 3);
        let b = payoffs(&[vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0], vec![1.0, 0.0, 0.0]]).unwrap();
        let mut play = FictitiousPlay::new(&a, &b).unwrap();
        (0..5000).for_each(|_| _ = play.step());
        let (x, y) = play.averages();
        assert!(nash_conv(&a, &b, &x, &y) > 0.1);
    }
}
