//! The lasso path by least angle regression, and the point on it with the best BIC.
//!
//! Efron, Hastie, Johnstone & Tibshirani, *Least angle regression* (2004); Zou, Hastie & Tibshirani (2007) for the
//! degrees of freedom. All from second moments: nothing here touches the rows.

use nalgebra::{DMatrix, DVector};

/// The coefficients, among those at the knots of the lasso path, that minimise RSS / σ̂² + ln(n) · (non-zero
/// coefficients); σ̂² is the unbiased residual variance of least squares.
///
/// `gram` = XᵀX/n, `cross` = Xᵀy/n and `total` = yᵀy/n of centred data with `rows` rows.
pub(crate) fn lars_lasso_bic(
    gram: &DMatrix<f64>,
    cross: &DVector<f64>,
    total: f64,
    rows: usize,
) -> DVector<f64> {
    let n = rows as f64;
    let rss = |b: &DVector<f64>| n * (total - 2.0 * b.dot(cross) + b.dot(&(gram * b)));
    let path = lars_lasso_path(gram, cross);
    let least_squares = path.last().map_or(0.0, &rss);
    let noise = least_squares / (n - cross.len() as f64 - 1.0);
    let criterion = |b: &DVector<f64>| {
        let active = b.iter().filter(|v| v.abs() > f64::EPSILON).count() as f64;
        rss(b) / noise + n.ln() * active
    };
    let mut best = (f64::INFINITY, DVector::zeros(cross.len()));
    for coefficients in path {
        let value = criterion(&coefficients);
        if value < best.0 {
            best = (value, coefficients);
        }
    }
    best.1
}

/// The coefficients at every knot of the path, from the empty model to least squares.
fn lars_lasso_path(gram: &DMatrix<f64>, cross: &DVector<f64>) -> Vec<DVector<f64>> {
    let k = cross.len();
    let mut coefficients = DVector::zeros(k);
    let mut path = vec![coefficients.clone()];
    let mut active: Vec<usize> = Vec::new();
    let mut dropped = None;
    // Each step adds or drops a variable; the bound only guards against rounding cycles.
    for _ in 0..8 * k {
        let correlation = cross - gram * &coefficients;
        let free = |j: &usize| !active.contains(j) && Some(*j) != dropped;
        let level = match dropped {
            None => {
                let Some(next) = (0..k)
                    .filter(free)
                    .max_by(|&a, &b| correlation[a].abs().total_cmp(&correlation[b].abs()))
                else {
                    break;
                };
                active.push(next);
                correlation[next].abs()
            }
            Some(_) => active.iter().map(|&j| correlation[j].abs()).fold(0.0, f64::max),
        };
        if level < 1e-14 {
            break;
        }
        let signs = DVector::from_iterator(active.len(), active.iter().map(|&j| correlation[j].signum()));
        let inner = gram.select_rows(&active).select_columns(&active);
        let Some(direction) = inner.cholesky().map(|c| c.solve(&signs)) else { break };
        let slope = gram.select_columns(&active) * &direction;
        // Along the direction all active correlations shrink at rate 1; the next event ends the step.
        let mut step = level;
        for j in (0..k).filter(|j| !active.contains(j) && Some(*j) != dropped) {
            let meets =
                [(level - correlation[j]) / (1.0 - slope[j]), (level + correlation[j]) / (1.0 + slope[j])];
            step = meets.into_iter().filter(|s| *s > 1e-14).fold(step, f64::min);
        }
        let crossing = active.iter().zip(&direction).map(|(&j, d)| -coefficients[j] / d);
        let leaving =
            crossing.enumerate().filter(|(_, s)| *s > 1e-14 && *s < step).min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((_, at)) = leaving {
            step = at;
        }
        active.iter().zip(&direction).for_each(|(&j, d)| coefficients[j] += step * d);
        dropped = leaving.map(|(i, _)| active.remove(i));
        if let Some(j) = dropped {
            coefficients[j] = 0.0;
        }
        path.push(coefficients.clone());
        if dropped.is_none() && (active.len() == k || step >= level) {
            break;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_knot_fulfils_the_optimality_conditions_and_the_end_is_least_squares() {
        let x = DMatrix::from_fn(30, 4, |i, j| ((i * (j + 3) * 7 + j * 5) % 13) as f64 - 6.0);
        let y = DVector::from_fn(30, |i, _| 2.0 * x[(i, 0)] - x[(i, 2)] + ((i * 11) % 7) as f64 - 3.0);
        let (gram, cross) = (x.transpose() * &x / 30.0, x.transpose() * &y / 30.0);
        let path = lars_lasso_path(&gram, &cross);
        for knot in &path {
            let correlation = &cross - &gram * knot;
            let level = correlation.amax();
            for j in 0..4 {
                if knot[j] != 0.0 {
                    assert!((correlation[j] - level * knot[j].signum()).abs() < 1e-9, "{knot} {correlation}");
                }
            }
        }
        let least_squares = gram.cholesky().unwrap().solve(&cross);
        assert!((path.last().unwrap() - least_squares).amax() < 1e-9);
    }
}
