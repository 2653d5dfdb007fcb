//! The quantum approximate optimisation algorithm for MaxCut (Farhi, Goldstone & Gutmann 2014, arXiv:1411.4028).
//!
//! |γ, β⟩ = Π_l e^{−iβ_l ΣX} e^{−iγ_l C} |+⟩ⁿ with C = Σ w [z_a ≠ z_b]; ⟨C⟩ is maximised. C is diagonal, so its phase comes
//! from one table of cut values, and the gradient from the adjoint method on the same table.

use super::bfgs::Bfgs;
use crate::error::{Error, Result, same_length};
use crate::state_vector::{StateVector, kernel};

/// A MaxCut problem.
#[derive(Clone, Debug)]
pub struct Qaoa {
    qubits: usize,
    cuts: Vec<f64>,
}

impl Qaoa {
    /// From weighted edges (a, b, w).
    ///
    /// # Errors
    /// When there are no or more than 24 nodes, or an edge leaves the graph.
    pub fn max_cut(nodes: usize, edges: &[(usize, usize, f64)]) -> Result<Self> {
        if nodes == 0 || nodes > 24 {
            return Err(Error::shape("QAOA", "1 to 24 nodes", nodes));
        }
        if let Some(&(a, b, _)) = edges.iter().find(|(a, b, _)| *a.max(b) >= nodes) {
            return Err(Error::Index { operation: "QAOA edge", index: a.max(b), count: nodes });
        }
        let cut = |k: usize| edges.iter().map(|(a, b, w)| w * ((k >> a ^ k >> b) & 1) as f64).sum();
        Ok(Self { qubits: nodes, cuts: (0..1 << nodes).map(cut).collect() })
    }

    /// The value of the best cut, by looking at all.
    pub fn best_cut(&self) -> f64 {
        self.cuts.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The state |γ, β⟩.
    ///
    /// # Errors
    /// When γ and β differ in length.
    pub fn state(&self, gamma: &[f64], beta: &[f64]) -> Result<StateVector> {
        same_length("QAOA", "β", gamma.len(), beta.len())?;
        let mut state = StateVector::zero(self.qubits)?;
        let amplitude = (1.0 / self.cuts.len() as f64).sqrt();
        let (re, _) = state.parts_mut();
        re[..self.cuts.len()].fill(amplitude);
        for (gamma, beta) in gamma.iter().zip(beta) {
            self.phase(&mut state, *gamma);
            self.mix(&mut state, *beta);
        }
        Ok(state)
    }

    /// ⟨C⟩
    ///
    /// # Errors
    /// As [`Qaoa::state`].
    pub fn energy(&self, gamma: &[f64], beta: &[f64]) -> Result<f64> {
        Ok(self.expectation(&self.state(gamma, beta)?))
    }

    fn expectation(&self, state: &StateVector) -> f64 {
        let (re, im) = state.parts();
        self.cuts.iter().zip(re.iter().zip(im)).map(|(c, (x, y))| c * (x * x + y * y)).sum()
    }

    /// ⟨C⟩ and its derivatives by γ and β.
    ///
    /// # Errors
    /// As [`Qaoa::state`].
    pub fn gradient(&self, gamma: &[f64], beta: &[f64]) -> Result<(f64, Vec<f64>, Vec<f64>)> {
        let mut psi = self.state(gamma, beta)?;
        let value = self.expectation(&psi);
        let mut lambda = psi.clone();
        let (re, im) = lambda.parts_mut();
        for (k, c) in self.cuts.iter().enumerate() {
            (re[k], im[k]) = (c * re[k], c * im[k]);
        }
        let (mut by_gamma, mut by_beta) = (vec![0.0; gamma.len()], vec![0.0; beta.len()]);
        for l in (0..gamma.len()).rev() {
            // ∂U/∂β = −i ΣX U, ∂U/∂γ = −i C U: twice Im⟨λ|generator|ψ⟩.
            by_beta[l] = (0..self.qubits).map(|q| 2.0 * overlap(&lambda, &psi, |k| (k ^ 1 << q, 1.0))).sum();
            self.mix(&mut psi, -beta[l]);
            self.mix(&mut lambda, -beta[l]);
            by_gamma[l] = 2.0 * overlap(&lambda, &psi, |k| (k, self.cuts[k]));
            self.phase(&mut psi, -gamma[l]);
            self.phase(&mut lambda, -gamma[l]);
        }
        Ok((value, by_gamma, by_beta))
    }

    /// Maximises ⟨C⟩ from a start (γ, β).
    ///
    /// # Errors
    /// As [`Qaoa::state`].
    pub fn optimise(&self, gamma: &[f64], beta: &[f64], bfgs: &Bfgs) -> Result<(f64, Vec<f64>, Vec<f64>)> {
        same_length("QAOA", "β", gamma.len(), beta.len())?;
        let p = gamma.len();
        let found = bfgs.minimise(&[gamma, beta].concat(), |x| -> Result<_> {
            let (value, by_gamma, by_beta) = self.gradient(&x[..p], &x[p..])?;
            Ok((-value, by_gamma.iter().chain(&by_beta).map(|g| -g).collect()))
        })?;
        Ok((-found.value, found.at[..p].to_vec(), found.at[p..].to_vec()))
    }

    fn phase(&self, state: &mut StateVector, gamma: f64) {
        let (re, im) = state.parts_mut();
        for (k, cut) in self.cuts.iter().enumerate() {
            let (s, c) = (gamma * cut).sin_cos();
            (re[k], im[k]) = (c * re[k] + s * im[k], c * im[k] - s * re[k]);
        }
    }

    fn mix(&self, state: &mut StateVector, beta: f64) {
        let (s, c) = beta.sin_cos();
        let m = [c, 0.0, 0.0, -s, 0.0, -s, c, 0.0];
        let (re, im) = state.parts_mut();
        pulp::Arch::new().dispatch(kernel::Inlined(
            #[inline(always)]
            || (0..self.qubits).for_each(|q| kernel::one(re, im, q, &m)),
        ));
    }
}

/// Im Σ_k conj(λ_k) w ψ_j with (j, w) = map(k).
fn overlap(lambda: &StateVector, psi: &StateVector, map: impl Fn(usize) -> (usize, f64)) -> f64 {
    let ((u, v), (x, y)) = (lambda.parts(), psi.parts());
    (0..u.len())
        .map(|k| {
            let (j, w) = map(k);
            w * (u[k] * y[j] - v[k] * x[j])
        })
        .sum()
}
