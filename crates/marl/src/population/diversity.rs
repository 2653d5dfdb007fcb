//! How different the behaviours of a population are, by three measures; for all, more is more diverse.

use crate::{Error, Result};
use nalgebra::{DMatrix, DVector};

/// Mean Jensen-Shannon divergence between pairs of policies, in nats, in `[0, ln 2]`: `policies[k]` holds the action
/// distributions of policy k on common states, `[states, actions]`.
///
/// # Errors
/// [`Error::Shape`] when shapes differ or there are fewer than two policies.
pub fn jensen_shannon(policies: &[DMatrix<f64>]) -> Result<f64> {
    let shape = policies.first().map(DMatrix::shape);
    if policies.len() < 2 || policies.iter().any(|p| Some(p.shape()) != shape) || shape == Some((0, 0)) {
        return Err(Error::shape("jensen_shannon", "at least two policies of one shape", policies.len()));
    }
    let term = |p: f64, q: f64| if p > 0.0 { p * (2.0 * p / (p + q)).ln() } else { 0.0 };
    let (mut sum, mut pairs) = (0.0, 0.0);
    for (i, p) in policies.iter().enumerate() {
        for q in &policies[i + 1..] {
            let all: f64 = p.iter().zip(q.iter()).map(|(&p, &q)| (term(p, q) + term(q, p)) / 2.0).sum();
            sum += all / p.nrows() as f64;
            pairs += 1.0;
        }
    }
    Ok(sum / pairs)
}

/// Population diversity (Parker-Holder et al. 2020): det K with Kᵢⱼ = exp(−|φᵢ − φⱼ|² / (2 l²)) of behaviour
/// vectors φ (`[members, features]`, such as actions on common states), in `[0, 1]`.
///
/// # Errors
/// [`Error::Config`] when the length scale is not positive.
pub fn kernel_determinant(behaviours: &DMatrix<f64>, length_scale: f64) -> Result<f64> {
    if length_scale.is_nan() || length_scale <= 0.0 {
        return Err(Error::config("kernel_determinant", "length_scale", length_scale, "above 0"));
    }
    let n = behaviours.nrows();
    let square = |i: usize, j: usize| (behaviours.row(i) - behaviours.row(j)).norm_squared();
    Ok(DMatrix::from_fn(n, n, |i, j| (-square(i, j) / (2.0 * length_scale * length_scale)).exp())
        .determinant()
        .max(0.0))
}

/// Effective diversity (Balduzzi et al. 2019): pᵀ max(A, 0) p for the Nash mixture p of the antisymmetric meta-game A.
///
/// # Errors
/// [`Error::Shape`].
pub fn effective(payoffs: &DMatrix<f64>, mixture: &DVector<f64>) -> Result<f64> {
    if payoffs.nrows() != payoffs.ncols() || payoffs.nrows() != mixture.len() {
        return Err(Error::shape(
            "effective diversity",
            format!("a square table of side {}", mixture.len()),
            format!("{:?}", payoffs.shape()),
        ));
    }
    Ok(mixture.dot(&(payoffs.map(|x| x.max(0.0)) * mixture)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_have_no_diversity() {
        let p = DMatrix::from_row_slice(1, 2, &[1.0, 0.0]);
        let q = DMatrix::from_row_slice(1, 2, &[0.0, 1.0]);
        assert_eq!(jensen_shannon(&[p.clone(), p.clone()]).unwrap(), 0.0);
        assert!((jensen_shannon(&[p, q]).unwrap() - std::f64::consts::LN_2).abs() < 1e-12);
        assert!(kernel_determinant(&DMatrix::from_row_slice(2, 1, &[1.0, 1.0]), 1.0).unwrap() < 1e-12);
        assert!(kernel_determinant(&DMatrix::from_row_slice(2, 1, &[0.0, 10.0]), 1.0).unwrap() > 0.99);
        let rps = DMatrix::from_row_slice(3, 3, &[0.0, -1.0, 1.0, 1.0, 0.0, -1.0, -1.0, 1.0, 0.0]);
        assert!((effective(&rps, &DVector::from_element(3, 1.0 / 3.0)).unwrap() - 1.0 / 3.0).abs() < 1e-12);
    }
}
