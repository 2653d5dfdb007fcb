//! BFGS with a backtracking line search (Nocedal & Wright 2006, algorithm 6.1): for the smooth, small problems of VQE and
//! QAOA.

/// When to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Bfgs {
    /// At most so many iterations.
    pub iterations: usize,
    /// Stop when the largest gradient component is below this.
    pub tolerance: f64,
}

impl Default for Bfgs {
    fn default() -> Self {
        Self { iterations: 200, tolerance: 1e-9 }
    }
}

/// Where a minimisation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimum {
    /// The point.
    pub at: Vec<f64>,
    /// The function there.
    pub value: f64,
    /// Gradient evaluations.
    pub evaluations: usize,
}

impl Bfgs {
    /// Minimises a function that returns its value and gradient.
    ///
    /// # Errors
    /// Whatever the function returns.
    pub fn minimise<E>(
        &self,
        start: &[f64],
        mut f: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), E>,
    ) -> Result<Minimum, E> {
        let n = start.len();
        let mut x = start.to_vec();
        let (mut value, mut gradient) = f(&x)?;
        let mut evaluations = 1;
        // The inverse Hessian.
        let identity = |i: usize, j: usize| f64::from(u8::from(i == j));
        let mut h: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| identity(i, j)).collect()).collect();
        for _ in 0..self.iterations {
            if gradient.iter().all(|g| g.abs() < self.tolerance) {
                break;
            }
            let mut direction: Vec<f64> = h.iter().map(|row| -dot(row, &gradient)).collect();
            let mut slope = dot(&direction, &gradient);
            if slope >= 0.0 {
                direction = gradient.iter().map(|g| -g).collect();
                slope = -dot(&gradient, &gradient);
            }
            let mut step = 1.0;
            let (next, next_value, next_gradient) = loop {
                let trial: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
                let (v, g) = f(&trial)?;
                evaluations += 1;
                if v <= value + 1e-4 * step * slope || step < 1e-12 {
                    break (trial, v, g);
                }
                step *= 0.5;
            };
            if step < 1e-12 {
                break;
            }
            let s: Vec<f64> = next.iter().zip(&x).map(|(a, b)| a - b).collect();
            let y: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
            update(&mut h, &s, &y);
            (x, value, gradient) = (next, next_value, next_gradient);
        }
        Ok(Minimum { at: x, value, evaluations })
    }
}

/// H ← (1 − ρ s yᵀ) H (1 − ρ y sᵀ) + ρ s sᵀ with ρ = 1/(yᵀs), skipped where the curvature is not positive.
fn update(h: &mut [Vec<f64>], s: &[f64], y: &[f64]) {
    let curvature = dot(s, y);
    if curvature <= 1e-14 {
        return;
    }
    let rho = 1.0 / curvature;
    let hy: Vec<f64> = h.iter().map(|row| dot(row, y)).collect();
    let factor = rho * (1.0 + rho * dot(y, &hy));
    for (i, row) in h.iter_mut().enumerate() {
        for (j, entry) in row.iter_mut().enumerate() {
            *entry += factor * s[i] * s[j] - rho * (hy[i] * s[j] + s[i] * hy[j]);
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
