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

/// Rows that go through a layer together: what they leave stays in the second-level cache until it is used again.
const BLOCK: usize = 192;

/// What the backward pass needs of one layer.
#[derive(Clone, Debug)]
pub(super) struct Cache<R> {
    pub(super) output: Vec<R>,
    /// Input of the activation, where its derivative cannot be told from the output.
    pub(super) before_activation: Vec<R>,
    /// Normalised values and 1/σ per row, where the layer normalises.
    pub(super) normalised: Vec<R>,
    pub(super) inverse_std: Vec<R>,
}

impl<R> Default for Cache<R> {
    fn default() -> Self {
        Self { output: vec![], before_activation: vec![], normalised: vec![], inverse_std: vec![] }
    }
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

    /// Rows per block. A layer of one or a few outputs is one block: products of few rows by few columns are made by
    /// another kernel, whose sums have another order.
    fn block(&self, rows: usize) -> usize {
        if self.outputs >= 16 && self.inputs.max(self.outputs) <= 512 { BLOCK } else { rows.max(1) }
    }

    /// Fills the cache; what it held before does not matter.
    pub(super) fn forward<R: Real>(&self, params: &[R], rows: usize, x: &[R], cache: &mut Cache<R>) {
        let (k, n, zero) = (self.inputs, self.outputs, R::real(0.0));
        let Cache { output, before_activation, normalised, inverse_std } = cache;
        let (norm, input) = (self.norm != Norm::None, self.activation.needs_input());
        output.clear();
        output.reserve(rows * n);
        normalised.resize(if norm { rows * n } else { 0 }, zero);
        inverse_std.resize(if norm { rows } else { 0 }, zero);
        before_activation.resize(if input { rows * n } else { 0 }, zero);
        for first in (0..rows).step_by(self.block(rows)) {
            let count = self.block(rows).min(rows - first);
            let part = first * n..(first + count) * n;
            (0..count).for_each(|_| output.extend_from_slice(self.bias(params)));
            let y = &mut output[part.clone()];
            self.add_product(params, count, &x[first * k..], k, y);
            if norm {
                let scale = &params[self.scale..][..n];
                let shift = match self.norm {
                    Norm::Layer { .. } => &params[self.shift..][..n],
                    _ => &[],
                };
                let inverse_std = &mut inverse_std[first..first + count];
                normalise(self.norm, &mut normalised[part.clone()], inverse_std, y, scale, shift);
            }
            if input {
                before_activation[part].copy_from_slice(y);
            }
            self.activation.apply(y);
        }
    }

    /// Turns `dy` (gradient of the output) into the gradient of the product's result, writes the gradient of the input
    /// into `dx` unless that is empty, and adds the gradients of all parameters but the weight.
    pub(super) fn backward<R: Real>(
        &self,
        params: &[R],
        cache: &Cache<R>,
        dy: &mut [R],
        dx: &mut [R],
        mut dparams: Option<&mut [R]>,
    ) {
        let (k, n) = (self.inputs, self.outputs);
        let rows = dy.len() / n;
        let weight = Mat::rows(&params[self.weight..][..k * n], n).t();
        let turned = if dx.is_empty() { vec![] } else { weight.turned((rows, k, n)) };
        let weight = if turned.is_empty() { weight } else { Mat::rows(&turned, k) };
        let part = |of: &'_ [R], range: std::ops::Range<usize>| -> std::ops::Range<usize> {
            if of.is_empty() { 0..0 } else { range }
        };
        for first in (0..rows).step_by(self.block(rows)) {
            let count = self.block(rows).min(rows - first);
            let range = first * n..(first + count) * n;
            let dy = &mut dy[range.clone()];
            let input = &cache.before_activation[part(&cache.before_activation, range.clone())];
            self.activation.backward(dy, input, &cache.output[range.clone()]);
            if self.norm != Norm::None {
                let normalised = &cache.normalised[range];
                if let Some(dparams) = dparams.as_deref_mut() {
                    if let Norm::Layer { .. } = self.norm {
                        add_column_sums(&mut dparams[self.shift..][..n], dy);
                    }
                    add_column_dots(&mut dparams[self.scale..][..n], dy, normalised);
                }
                let centred = matches!(self.norm, Norm::Layer { .. });
                let inverse_std = &cache.inverse_std[first..first + count];
                normalise_backward(centred, dy, normalised, inverse_std, &params[self.scale..][..n]);
            }
            if let Some(dparams) = dparams.as_deref_mut() {
                add_column_sums(&mut dparams[self.bias..][..n], dy);
            }
            if !dx.is_empty() {
                let dx = &mut dx[first * k..(first + count) * k];
                matmul(dx, k, false, Mat::rows(dy, n), weight, (count, k, n));
            }
        }
    }
}

/// Σ term(aᵢ, bᵢ) of two rows in sixteen partial sums, added pairwise: vectorises, and has one order on every machine.
#[inline(always)]
fn row_sum<R: Real>(a: &[R], b: &[R], term: impl Fn(R, R) -> R) -> R {
    let mut partial = [R::real(0.0); 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let mut tail = R::real(0.0);
    a_chunks.remainder().iter().zip(b_chunks.remainder()).for_each(|(&x, &y)| tail += term(x, y));
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..16 {
            partial[i] += term(x[i], y[i]);
        }
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            partial[i] += partial[i + half];
        }
    }
    partial[0] + tail
}

/// 1/σ and the mean of one row.
#[inline(always)]
fn statistics<R: Real>(norm: Norm, row: &[R]) -> (R, R) {
    let n = R::real(row.len() as f64);
    match norm {
        Norm::None => (R::real(1.0), R::real(0.0)),
        Norm::Layer { eps } => {
            let mean = row_sum(row, row, |v, _| v) / n;
            let variance = row_sum(row, row, |v, _| (v - mean) * (v - mean)) / n;
            ((variance + R::real(eps)).sqrt().recip(), mean)
        }
        Norm::Rms { eps } => ((dot_inline(row, row) / n + R::real(eps)).sqrt().recip(), R::real(0.0)),
    }
}

/// (v − mean) / σ · g.
#[inline(always)]
fn rescale<R: Real>((inverse, mean): (R, R), row: &mut [R], scale: &[R]) {
    for (v, &g) in row.iter_mut().zip(scale) {
        *v = (*v - mean) * inverse * g;
    }
}

/// Writes the normalised row, and replaces `row` by its scaled and shifted values.
#[inline(always)]
fn spread<R: Real>((inverse, mean): (R, R), row: &mut [R], normalised: &mut [R], scale: &[R], shift: &[R]) {
    for ((v, o), &g) in row.iter_mut().zip(&mut *normalised).zip(scale) {
        *o = (*v - mean) * inverse;
        *v = *o * g;
    }
    row.iter_mut().zip(shift).for_each(|(v, &s)| *v += s);
}

vectorised! {
    /// Replaces rows by their normalised and scaled values.
    fn normalise_in_place<R: Real>(norm: Norm, rows: &mut [R], scale: &[R]) {
        for row in rows.chunks_exact_mut(scale.len()) {
            rescale(statistics(norm, row), row, scale);
        }
    }

    /// Writes normalised rows and 1/σ of each, and replaces the rows by scaled and, unless `shift` is empty, shifted values.
    fn normalise<R: Real>(
        norm: Norm,
        normalised: &mut [R],
        inverse_std: &mut [R],
        rows: &mut [R],
        scale: &[R],
        shift: &[R],
    ) {
        let n = scale.len();
        let each = rows.chunks_exact_mut(n).zip(normalised.chunks_exact_mut(n));
        for ((row, out), inverse) in each.zip(inverse_std) {
            let moments = statistics(norm, row);
            *inverse = moments.0;
            spread(moments, row, out, scale, shift);
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
        let each = dy.chunks_exact_mut(n).zip(normalised.chunks_exact(n));
        for ((d, v), &inverse) in each.zip(inverse_std) {
            d.iter_mut().zip(scale).for_each(|(d, &g)| *d *= g);
            let mean = if centred { row_sum(d, d, |d, _| d) / count } else { R::real(0.0) };
            let along = dot_inline(d, v) / count;
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
