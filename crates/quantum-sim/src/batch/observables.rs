//! Expectations of a block, and λ = Σ v O ψ.

use super::compile::signs;
use super::kernel;
use crate::pauli::PauliSum;
use crate::state_vector::kernel::{LANES, Masks, V, parity_sign};

const ZERO: V = [0.0; LANES];

/// The observables: all diagonal terms of one are a single table of weights.
#[derive(Clone, Debug)]
pub(super) struct Observables {
    pub(super) list: Vec<Observable>,
}

#[derive(Clone, Debug)]
pub(super) struct Observable {
    /// Σ c (−1)^{|k∧z|} over the Z-type terms, or empty.
    diagonal: Vec<f64>,
    others: Vec<(f64, Masks)>,
}

impl Observables {
    pub(super) fn new(sums: &[PauliSum], qubits: usize) -> Self {
        let build = |sum: &PauliSum| {
            let mut observable = Observable { diagonal: vec![], others: vec![] };
            for (c, p) in sum.terms() {
                if p.x != 0 {
                    observable.others.push((*c, Masks::from(p)));
                    continue;
                }
                observable.diagonal.resize(1 << qubits, 0.0);
                let signs = signs(qubits, p.z as usize);
                observable.diagonal.iter_mut().zip(signs).for_each(|(d, s)| *d += c * s);
            }
            observable
        };
        Self { list: sums.iter().map(build).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }
}

impl Observable {
    #[inline(always)]
    pub(super) fn expectation(&self, re: &[V], im: &[V]) -> V {
        let mut sum = ZERO;
        for (d, (x, y)) in self.diagonal.iter().zip(re.iter().zip(im)) {
            for w in 0..LANES {
                sum[w] += d * (x[w] * x[w] + y[w] * y[w]);
            }
        }
        for (c, p) in &self.others {
            let (ur, ui) = p.unit(0);
            for (k, (x, y)) in re.iter().zip(im).enumerate() {
                let (a, b) = (&re[k ^ p.x], &im[k ^ p.x]);
                let (sr, si) = (c * parity_sign(k, p.z) * ur, c * parity_sign(k, p.z) * ui);
                for w in 0..LANES {
                    sum[w] += sr * (a[w] * x[w] + b[w] * y[w]) - si * (a[w] * y[w] - b[w] * x[w]);
                }
            }
        }
        sum
    }

    /// out += v · O ψ
    #[inline(always)]
    pub(super) fn accumulate(&self, (re, im): (&[V], &[V]), v: &V, (out_re, out_im): kernel::Parts) {
        let out = out_re.iter_mut().zip(out_im.iter_mut());
        for (d, ((x, y), (p, q))) in self.diagonal.iter().zip(re.iter().zip(im).zip(out)) {
            for w in 0..LANES {
                let factor = d * v[w];
                p[w] += factor * x[w];
                q[w] += factor * y[w];
            }
        }
        for (c, p) in &self.others {
            let (ur, ui) = p.unit(0);
            for k in 0..re.len() {
                let j = k ^ p.x;
                let (sr, si) = (c * parity_sign(j, p.z) * ur, c * parity_sign(j, p.z) * ui);
                for w in 0..LANES {
                    out_re[k][w] += v[w] * (sr * re[j][w] - si * im[j][w]);
                    out_im[k][w] += v[w] * (sr * im[j][w] + si * re[j][w]);
                }
            }
        }
    }
}
