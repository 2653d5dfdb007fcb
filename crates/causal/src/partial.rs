//! Covariances of residuals after regression on a set, from correlations, by a Cholesky factor that is kept between
//! calls: sets that share their first members share the work. The kernel of Fisher's z and of the Gaussian score.

use crate::error::{Error, Result};

/// A residual variance below this share of the variance counts as exact linear dependence.
const DEPENDENT: f64 = 1e-11;

/// The correlation matrix of named variables.
#[derive(Clone, Debug)]
pub(crate) struct Correlations {
    names: Vec<String>,
    entries: Vec<f64>,
}

impl Correlations {
    /// From a covariance matrix, row-major `[p, p]`.
    pub(crate) fn new(operation: &'static str, names: Vec<String>, covariance: &[f64]) -> Result<Self> {
        let p = names.len();
        if covariance.len() != p * p {
            return Err(Error::shape(operation, format!("{} entries", p * p), covariance.len()));
        }
        let scale: Vec<f64> = (0..p).map(|i| covariance[i * p + i].sqrt()).collect();
        if let Some(bad) = scale.iter().position(|s| !(*s > 0.0 && s.is_finite())) {
            return Err(Error::data(format!("column `{}`", names[bad]), "has no positive, finite variance"));
        }
        let mut entries = vec![1.0; p * p];
        for i in 0..p {
            for j in (0..p).filter(|&j| j != i) {
                entries[i * p + j] = covariance[i * p + j] / (scale[i] * scale[j]);
            }
        }
        Ok(Self { names, entries })
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    #[inline]
    pub(crate) fn get(&self, i: usize, j: usize) -> f64 {
        self.entries[i * self.names.len() + j]
    }

    /// Covariance and variances `(xy, xx, yy)` of the residuals of x and y after regression on z.
    #[inline]
    pub(crate) fn residuals(
        &self,
        x: usize,
        y: usize,
        z: &[usize],
        kept: &mut Kept,
    ) -> Result<(f64, f64, f64)> {
        let shared = kept.factor(self, z)?;
        kept.left.extend_to(self, &kept.factor, x, shared);
        kept.right.extend_to(self, &kept.factor, y, shared);
        let (mut xy, mut xx, mut yy) = (self.get(x, y), 1.0, 1.0);
        for (a, b) in kept.left.entries.iter().zip(&kept.right.entries) {
            xy -= a * b;
            xx -= a * a;
            yy -= b * b;
        }
        if xx < DEPENDENT || yy < DEPENDENT {
            return Err(self.dependent(if xx < yy { x } else { y }, z));
        }
        if xy * xy >= (1.0 - DEPENDENT) * xx * yy {
            return Err(self.dependent(x, &[z, &[y]].concat()));
        }
        Ok((xy, xx, yy))
    }

    /// Share of the variance of x that regression on z leaves.
    #[inline]
    pub(crate) fn residual_variance(&self, x: usize, z: &[usize], kept: &mut Kept) -> Result<f64> {
        let shared = kept.factor(self, z)?;
        kept.right.extend_to(self, &kept.factor, x, shared);
        // The other row belongs to an older factor now.
        kept.left.variable = None;
        let rest = 1.0 - kept.right.entries.iter().map(|a| a * a).sum::<f64>();
        if rest < DEPENDENT { Err(self.dependent(x, z)) } else { Ok(rest) }
    }

    fn dependent(&self, v: usize, z: &[usize]) -> Error {
        // Name the one column it repeats when there is one, all of the set otherwise.
        let twin = z.iter().find(|&&u| self.get(u, v).abs() > 1.0 - 1e-9);
        let mut columns = vec![v];
        match twin {
            Some(&u) => columns.push(u),
            None => columns.extend(z),
        }
        let names = columns.iter().map(|&c| format!("`{}`", self.names[c])).collect::<Vec<_>>().join(", ");
        Error::Singular { operation: "regression", columns: names }
    }
}

/// The factor of the last set and the rows of the last pair.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    factor: Factor,
    left: Row,
    right: Row,
}

impl Kept {
    /// Makes the factor that of `z`; returns how many of its rows were kept.
    #[inline]
    fn factor(&mut self, correlations: &Correlations, z: &[usize]) -> Result<usize> {
        self.factor.extend_to(correlations, z).inspect_err(|_| {
            // The rows still belong to the factor before the failure.
            self.left.variable = None;
            self.right.variable = None;
        })
    }
}

/// Lower Cholesky factor of the correlations of `set`, row by row; the diagonal holds reciprocals.
#[derive(Clone, Debug, Default)]
struct Factor {
    set: Vec<usize>,
    entries: Vec<f64>,
}

/// Where row `i` of a packed lower triangle starts.
#[inline]
fn row_start(i: usize) -> usize {
    i * (i + 1) / 2
}

impl Factor {
    /// Makes this the factor of `z`; returns how many leading rows were kept.
    #[inline]
    fn extend_to(&mut self, correlations: &Correlations, z: &[usize]) -> Result<usize> {
        let shared = self.set.iter().zip(z).take_while(|(a, b)| a == b).count();
        self.set.truncate(shared);
        self.entries.truncate(row_start(shared));
        for (i, &v) in z.iter().enumerate().skip(shared) {
            let start = self.entries.len();
            let mut rest = 1.0;
            for j in 0..i {
                let (done, row) = self.entries.split_at(start);
                let other = &done[row_start(j)..row_start(j + 1)];
                let mut value = correlations.get(v, z[j]);
                for (a, b) in row.iter().zip(other) {
                    value -= a * b;
                }
                value *= other[j];
                rest -= value * value;
                self.entries.push(value);
            }
            if rest < DEPENDENT {
                self.entries.truncate(start);
                return Err(correlations.dependent(v, &z[..i]));
            }
            self.entries.push(1.0 / rest.sqrt());
            self.set.push(v);
        }
        Ok(shared)
    }
}

/// L⁻¹ times the correlations of one variable with the conditioning set.
#[derive(Clone, Debug, Default)]
struct Row {
    variable: Option<usize>,
    entries: Vec<f64>,
}

impl Row {
    #[inline]
    fn extend_to(&mut self, correlations: &Correlations, factor: &Factor, v: usize, shared: usize) {
        let keep = if self.variable == Some(v) { shared } else { 0 };
        self.variable = Some(v);
        self.entries.truncate(keep);
        for j in self.entries.len()..factor.set.len() {
            let other = &factor.entries[row_start(j)..row_start(j + 1)];
            let mut value = correlations.get(v, factor.set[j]);
            for (a, b) in self.entries.iter().zip(other) {
                value -= a * b;
            }
            self.entries.push(value * other[j]);
        }
    }
}
