//! OWL-QN: limited-memory quasi-Newton minimisation of f(x) + λ ‖x‖₁.
//!
//! Andrew & Gao, *Scalable training of L1-regularized log-linear models* (ICML 2007): L-BFGS directions from the
//! pseudo-gradient, and a line search that never crosses an orthant's border.

use crate::data::dot;
use std::collections::VecDeque;

/// A smooth function.
pub(crate) trait Objective {
    /// f(point); fills the gradient.
    fn value(&self, point: &[f64], gradient: &mut [f64]) -> f64;
}

/// Remembered steps.
const MEMORY: usize = 10;

/// Minimises f + λ ‖·‖₁ from `x` in at most `iterations` steps; ends when the pseudo-gradient is below 10⁻⁶.
pub(crate) fn minimise(
    objective: &impl Objective,
    mut x: Vec<f64>,
    lambda: f64,
    iterations: usize,
) -> Vec<f64> {
    let n = x.len();
    let mut gradient = vec![0.0; n];
    let penalised = |f: f64, x: &[f64]| f + lambda * x.iter().map(|v| v.abs()).sum::<f64>();
    let mut value = penalised(objective.value(&x, &mut gradient), &x);
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    for _ in 0..iterations {
        let pseudo = pseudo_gradient(&x, &gradient, lambda);
        if pseudo.iter().all(|g| g.abs() < 1e-6) {
            break;
        }
        let mut direction = two_loop(&pseudo, &memory);
        // Components that disagree with steepest descent are dropped.
        direction.iter_mut().zip(&pseudo).for_each(|(d, g)| {
            if *d * *g >= 0.0 {
                *d = 0.0;
            }
        });
        let orthant: Vec<f64> =
            x.iter().zip(&pseudo).map(|(v, g)| if *v != 0.0 { v.signum() } else { -sign(*g) }).collect();
        let slope = dot(&direction, &pseudo);
        let mut step = if memory.is_empty() { 1.0 / dot(&pseudo, &pseudo).sqrt().max(1.0) } else { 1.0 };
        let mut new_gradient = vec![0.0; n];
        let accepted = loop {
            let trial: Vec<f64> = x
                .iter()
                .zip(&direction)
                .zip(&orthant)
                .map(|((v, d), o)| {
                    let moved = v + step * d;
                    if moved * o > 0.0 { moved } else { 0.0 }
                })
                .collect();
            let new_value = penalised(objective.value(&trial, &mut new_gradient), &trial);
            if new_value.is_finite() && new_value <= value + 1e-4 * step * slope {
                break Some((trial, new_value));
            }
            step *= 0.5;
            if step < 1e-18 {
                break None;
            }
        };
        let Some((trial, new_value)) = accepted else { break };
        let s: Vec<f64> = trial.iter().zip(&x).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = new_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        if dot(&s, &y) > 1e-14 {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((s, y));
        }
        let change = value - new_value;
        (x, gradient, value) = (trial, new_gradient, new_value);
        if change <= 1e-12 * value.abs().max(1.0) {
            break;
        }
    }
    x
}

fn sign(v: f64) -> f64 {
    if v == 0.0 { 0.0 } else { v.signum() }
}

/// The subgradient of least norm.
fn pseudo_gradient(x: &[f64], gradient: &[f64], lambda: f64) -> Vec<f64> {
    let one = |(&v, &g): (&f64, &f64)| {
        if v != 0.0 {
            g + lambda * v.signum()
        } else if g > lambda {
            g - lambda
        } else if g < -lambda {
            g + lambda
        } else {
            0.0
        }
    };
    x.iter().zip(gradient).map(one).collect()
}

/// −H g by the L-BFGS two-loop recursion.
fn two_loop(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut coefficients = Vec::with_capacity(memory.len());
    for (s, y) in memory.iter().rev() {
        let a = dot(s, &q) / dot(s, y);
        q.iter_mut().zip(y).for_each(|(q, y)| *q -= a * y);
        coefficients.push(a);
    }
    if let Some((s, y)) = memory.back() {
        let scale = dot(s, y) / dot(y, y);
        q.iter_mut().for_each(|v| *v *= scale);
    }
    for ((s, y), a) in memory.iter().zip(coefficients.into_iter().rev()) {
        let b = dot(y, &q) / dot(s, y);
        q.iter_mut().zip(s).for_each(|(q, s)| *q += (a - b) * s);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ½ (x − c)ᵀ D (x − c).
    struct Bowl([f64; 3], [f64; 3]);

    impl Objective for Bowl {
        fn value(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
            let mut total = 0.0;
            for i in 0..3 {
                gradient[i] = self.1[i] * (x[i] - self.0[i]);
                total += 0.5 * gradient[i] * (x[i] - self.0[i]);
            }
            total
        }
    }

    #[test]
    fn the_solution_is_the_soft_threshold() {
        let x = minimise(&Bowl([1.0, 0.05, -2.0], [1.0, 10.0, 100.0]), vec![0.0; 3], 0.8, 200);
        for (got, want) in x.iter().zip([0.2, 0.0, -1.992]) {
            assert!((got - want).abs() < 1e-6, "{x:?}");
        }
    }
}
