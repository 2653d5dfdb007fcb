//! One layer on slices: product, normalisation, activation, and their gradients.

use super::{Activation, Norm};
use crate::nn::kernel::{Mat, Real, add_column_sums, fill_rows, matmul};
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

    /// Length of the bias and, where the layer normalises, scale and shift: they lie one behind the other.
    fn vectors(&self) -> usize {
        let parts = match self.norm {
            Norm::None => 1,
            Norm::Rms { .. } => 2,
            Norm::Layer { .. } => 3,
        };
        parts * self.outputs
    }

    /// Replaces the rows of `y` by their normalised, scaled and shifted values.
    pub(super) fn normalise_in_place<R: Real>(&self, params: &[R], y: &mut [R]) {
        if self.norm != Norm::None {
            normalise_in_place(self.norm, y, &params[self.scale..][..self.outputs], self.shift(params));
        }
    }

    /// What a normalising layer adds at last; empty if it adds nothing.
    fn shift<'a, R>(&self, params: &'a [R]) -> &'a [R] {
        match self.norm {
            Norm::Layer { .. } => &params[self.shift..][..self.outputs],
            _ => &[],
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
                let kept = (&mut normalised[part.clone()], &mut inverse_std[first..first + count]);
                normalise(self.norm, kept.0, kept.1, y, scale, self.shift(params));
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
        // Where nobody wants them, gradients go here.
        let mut unwanted = vec![R::real(0.0); if dparams.is_none() { 3 * n } else { 0 }];
        for first in (0..rows).step_by(self.block(rows)) {
            let count = self.block(rows).min(rows - first);
            let range = first * n..(first + count) * n;
            let dy = &mut dy[range.clone()];
            let input = &cache.before_activation[part(&cache.before_activation, range.clone())];
            self.activation.backward(dy, input, &cache.output[range.clone()]);
            let gradients = match dparams.as_deref_mut() {
                Some(all) => &mut all[self.bias..][..self.vectors()],
                None => &mut unwanted[..self.vectors()],
            };
            if self.norm == Norm::None {
                add_column_sums(gradients, dy);
            } else {
                let centred = matches!(self.norm, Norm::Layer { .. });
                let kept = (&cache.normalised[range], &cache.inverse_std[first..first + count]);
                normalise_backward(centred, dy, kept.0, kept.1, &params[self.scale..][..n], gradients);
            }
            if !dx.is_empty() {
                let dx = &mut dx[first * k..(first + count) * k];
                matmul(dx, k, false, Mat::rows(dy, n), weight, (count, k, n));
            }
        }
    }
}

/// Numbers that loops over rows take at a time: one register of the widest unit in f32.
const LANES: usize = 16;

/// `to[i] = f(to[i], a[i], b[i])` up to the shortest.
#[inline(always)]
fn each<R: Real>(to: &mut [R], a: &[R], b: &[R], f: impl Fn(R, R, R) -> R) {
    to.iter_mut().zip(a).zip(b).for_each(|((to, &a), &b)| *to = f(*to, a, b));
}

/// Σ term(aᵢ, bᵢ) of two rows in sixteen partial sums, added pairwise: vectorises, and has one order on every machine.
#[inline(always)]
fn row_sum<R: Real>(a: &[R], b: &[R], term: impl Fn(R, R) -> R) -> R {
    let mut partial = [R::real(0.0); LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut rest = R::real(0.0);
    a_chunks.remainder().iter().zip(b_chunks.remainder()).for_each(|(&x, &y)| rest += term(x, y));
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            partial[i] += term(x[i], y[i]);
        }
    }
    let eight: [R; 8] = std::array::from_fn(|i| partial[i] + partial[i + 8]);
    let four: [R; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3]) + rest
}

/// 1/σ and the mean of one row.
#[inline(always)]
fn statistics<R: Real>(norm: Norm, row: &[R]) -> (R, R) {
    let share = R::real(1.0 / row.len() as f64);
    match norm {
        Norm::None => (R::real(1.0), R::real(0.0)),
        Norm::Layer { eps } => {
            let mean = row_sum(row, row, |v, _| v) * share;
            let variance = row_sum(row, row, |v, _| (v - mean) * (v - mean)) * share;
            ((variance + R::real(eps)).sqrt().recip(), mean)
        }
        Norm::Rms { eps } => {
            let square = row_sum(row, row, |v, _| v * v) * share;
            ((square + R::real(eps)).sqrt().recip(), R::real(0.0))
        }
    }
}

/// (v − mean) / σ · g + s; without s where that is empty.
#[inline(always)]
fn rescale<R: Real>((inverse, mean): (R, R), row: &mut [R], scale: &[R], shift: &[R]) {
    match shift.is_empty() {
        true => each(row, scale, scale, |v, g, _| (v - mean) * inverse * g),
        false => each(row, scale, shift, |v, g, s| (v - mean) * inverse * g + s),
    }
}

vectorised! {
    /// Replaces rows by their normalised, scaled and, unless `shift` is empty, shifted values.
    fn normalise_in_place<R: Real>(norm: Norm, rows: &mut [R], scale: &[R], shift: &[R]) {
        for row in rows.chunks_exact_mut(scale.len()) {
            rescale(statistics(norm, row), row, scale, shift);
        }
    }

    /// The same, and keeps the normalised rows and 1/σ of each.
    fn normalise<R: Real>(
        norm: Norm,
        normalised: &mut [R],
        inverse_std: &mut [R],
        rows: &mut [R],
        scale: &[R],
        shift: &[R],
    ) {
        let n = scale.len();
        let pairs = rows.chunks_exact_mut(n).zip(normalised.chunks_exact_mut(n));
        for ((row, out), kept) in pairs.zip(inverse_std) {
            let (inverse, mean) = statistics(norm, row);
            *kept = inverse;
            each(out, row, row, |_, v, _| (v - mean) * inverse);
            rescale((inverse, mean), row, scale, shift);
        }
    }

    /// Turns the gradients of scaled rows into those of the rows before normalisation, and adds those of bias, scale and,
    /// where rows were centred, shift to `gradients`.
    fn normalise_backward<R: Real>(
        centred: bool,
        dy: &mut [R],
        normalised: &[R],
        inverse_std: &[R],
        scale: &[R],
        gradients: &mut [R],
    ) {
        let n = scale.len();
        let share = R::real(1.0 / n as f64);
        let (dbias, rest) = gradients.split_at_mut(n);
        let (dscale, dshift) = rest.split_at_mut(n);
        let pairs = dy.chunks_exact_mut(n).zip(normalised.chunks_exact(n));
        for ((d, v), &inverse) in pairs.zip(inverse_std) {
            each(dscale, d, v, |sum, d, v| sum + d * v);
            let mut mean = R::real(0.0);
            if centred {
                each(dshift, d, d, |sum, d, _| sum + d);
                mean = row_sum(d, scale, |d, g| d * g) * share;
            }
            each(d, scale, scale, |d, g, _| d * g);
            let along = row_sum(d, v, |d, v| d * v) * share;
            each(d, v, v, |d, v, _| (d - mean - v * along) * inverse);
            each(dbias, d, d, |sum, d, _| sum + d);
        }
    }
}
