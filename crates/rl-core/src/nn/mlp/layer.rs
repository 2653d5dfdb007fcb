//! One layer on slices: product, normalisation, activation, and their gradients.

use super::{Activation, Norm};
use crate::nn::kernel::{Mat, Real, add_column_sums, dot_inline, fill_rows, matmul};
use crate::vectorised;

/// Where a layer's parameters lie, and what it computes.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) weight: usize,
    pub(super) bias: usize,
    pub(super) scale: usize,
    pub(super) shift: usize,
    pub(super) norm: Norm,
    pub(super) activation: Activation,
    pub(super) first_part: usize,
}

/// What the backward pass needs of one layer.
pub(super) struct Cache<R> {
    pub(super) output: Vec<R>,
    /// Input of the activation, where its derivative cannot be told from the output.
    pub(super) before_activation: Vec<R>,
    /// Normalised values and 1/σ per row, where the layer normalises.
    pub(super) normalised: Vec<R>,
    pub(super) inverse_std: Vec<R>,
}

impl Layer {
    /// `y = x W + b`.
    pub(super) fn product<R: Real>(&self, params: &[R], rows: usize, x: &[R], stride: usize, y: &mut [R]) {
        fill_rows(y, self.bias(params));
        self.add_product(params, rows, x, stride, y);
    }

    pub(super) fn bias<'a, R>(&self, params: &'a [R]) -> &'a [R] {
        &params[self.bias..][..self.outputs]
    }

    /// `y += x W`.
    pub(super) fn add_product<R: Real>(
        &self,
        params: &[R],
        rows: usize,
        x: &[R],
        stride: usize,
        y: &mut [R],
    ) {
        let (k, n) = (self.inputs, self.outputs);
        matmul(y, n, true, Mat::rows(x, stride), Mat::rows(&params[self.weight..], n), (rows, n, k));
    }

    /// Replaces the rows of `y` by their normalised, scaled and shifted values.
    pub(super) fn normalise_in_place<R: Real>(&self, params: &[R], y: &mut [R]) {
        if self.norm == Norm::None {
            return;
        }
        normalise_in_place(self.norm, y, &params[self.scale..][..self.outputs]);
        self.add_shift(params, y);
    }

    pub(super) fn add_shift<R: Real>(&self, params: &[R], y: &mut [R]) {
        if let Norm::Layer { .. } = self.norm {
            add_to_rows(y, &params[self.shift..][..self.outputs]);
        }
    }

    pub(super) fn forward<R: Real>(&self, params: &[R], rows: usize, x: &[R]) -> Cache<R> {
        let mut y = self.bias(params).repeat(rows);
        self.add_product(params, rows, x, self.inputs, &mut y);
        let (mut normalised, mut inverse_std) = (vec![], vec![]);
        if self.norm != Norm::None {
            inverse_std = vec![R::real(0.0); rows];
            normalised = y.clone();
            let scale = &params[self.scale..][..self.outputs];
            normalise(self.norm, &mut normalised, &mut inverse_std, &mut y, scale);
            self.add_shift(params, &mut y);
        }
        let before_activation = if self.activation.needs_input() { y.clone() } else { vec![] };
        self.activation.apply(&mut y);
        Cache { output: y, before_activation, normalised, inverse_std }
    }

    /// Turns `dy` (gradient of the output) into the gradient of the product's result, and adds the gradients of
    /// scale and shift.
    pub(super) fn backward_to_product<R: Real>(
        &self,
        params: &[R],
        cache: &Cache<R>,
        dy: &mut [R],
        dparams: Option<&mut [R]>,
    ) {
        self.activation.backward(dy, &cache.before_activation, &cache.output);
        if self.norm == Norm::None {
            return;
        }
        let n = self.outputs;
        if let Some(dparams) = dparams {
            if let Norm::Layer { .. } = self.norm {
                add_column_sums(&mut dparams[self.shift..][..n], dy);
            }
            add_column_dots(&mut dparams[self.scale..][..n], dy, &cache.normalised);
        }
        let scale = &params[self.scale..][..n];
        let centred = matches!(self.norm, Norm::Layer { .. });
        normalise_backward(centred, dy, &cache.normalised, &cache.inverse_std, scale);
    }
}

/// 1/σ and the mean of one row.
#[inline(always)]
fn statistics<R: Real>(norm: Norm, row: &[R]) -> (R, R) {
    let n = R::real(row.len() as f64);
    match norm {
        Norm::None => (R::real(1.0), R::real(0.0)),
        Norm::Layer { eps } => {
            let mean = row.iter().copied().sum::<R>() / n;
            let variance = row.iter().map(|&v| (v - mean) * (v - mean)).sum::<R>() / n;
            ((variance + R::real(eps)).sqrt().recip(), mean)
        }
        Norm::Rms { eps } => ((dot_inline(row, row) / n + R::real(eps)).sqrt().recip(), R::real(0.0)),
    }
}

vectorised! {
    /// Replaces rows by their normalised and scaled values.
    fn normalise_in_place<R: Real>(norm: Norm, rows: &mut [R], scale: &[R]) {
        for row in rows.chunks_exact_mut(scale.len()) {
            let (inverse, mean) = statistics(norm, row);
            for (v, &g) in row.iter_mut().zip(scale) {
                *v = (*v - mean) * inverse * g;
            }
        }
    }

    /// Replaces rows by their normalised values, and writes 1/σ of each and the scaled values.
    fn normalise<R: Real>(norm: Norm, rows: &mut [R], inverse_std: &mut [R], scaled: &mut [R], scale: &[R]) {
        let n = scale.len();
        let all = rows.chunks_exact_mut(n).zip(inverse_std).zip(scaled.chunks_exact_mut(n));
        for ((row, inverse_std), out) in all {
            let (inverse, mean) = statistics(norm, row);
            *inverse_std = inverse;
            for ((v, o), &g) in row.iter_mut().zip(out).zip(scale) {
                *v = (*v - mean) * inverse;
                *o = *v * g;
            }
        }
    }

    /// Turns the gradients of scaled rows into those of the rows before normalisation.
    fn normalise_backward<R: Real>(
        centred: bool,
        dy: &mut [R],
        normalised: &[R],
        inverse_std: &[R],
        scale: &[R],
    ) {
        let n = scale.len();
        let count = R::real(n as f64);
        for ((d, v), &inverse) in dy.chunks_exact_mut(n).zip(normalised.chunks_exact(n)).zip(inverse_std) {
            d.iter_mut().zip(scale).for_each(|(d, &g)| *d *= g);
            let along = dot_inline(d, v) / count;
            let mean = if centred { d.iter().copied().sum::<R>() / count } else { R::real(0.0) };
            d.iter_mut().zip(v).for_each(|(d, &v)| *d = (*d - mean - v * along) * inverse);
        }
    }

    fn add_to_rows<R: Real>(rows: &mut [R], shift: &[R]) {
        for row in rows.chunks_exact_mut(shift.len()) {
            row.iter_mut().zip(shift).for_each(|(v, &s)| *v += s);
        }
    }

    /// `sums[j] += Σ_i a[i, j] b[i, j]`.
    fn add_column_dots<R: Real>(sums: &mut [R], a: &[R], b: &[R]) {
        for (a, b) in a.chunks_exact(sums.len()).zip(b.chunks_exact(sums.len())) {
            for ((s, &a), &b) in sums.iter_mut().zip(a).zip(b) {
                *s += a * b;
            }
        }
    }
}
