//! Kernels on slices: matrix products by `gemm`, and element-wise loops compiled for the machine's vector unit.
//!
//! Everything here is deterministic for a given machine: sums have a fixed order, the approximations of `exp`,
//! `tanh` and `ln_1p` use fused multiply-adds whose result does not depend on the instruction set, and products run on one
//! thread (threads work on different blocks, see the planners). Only `gemm` chooses among kernels that may differ
//! in the last bits between machines.

use crate::vectorised;
use candle_core::{CpuStorage, Layout, Storage, Tensor, WithDType};
use std::ops::{AddAssign, SubAssign};
use std::sync::Once;

/// The two element types of networks: `f32` to train, `f64` to check gradients.
pub trait Real:
    WithDType + num_traits::Float + AddAssign + SubAssign + std::iter::Sum + Send + Sync + 'static
{
    /// eˣ; for `f32` a polynomial that vectorises, about 1e-7 relative.
    fn fast_exp(self) -> Self;
    /// tanh x, likewise.
    fn fast_tanh(self) -> Self;
    /// ln(1 + e) for 0 ≤ e ≤ 1, likewise.
    fn fast_ln_1p(self) -> Self;
    /// From an `f64` constant.
    fn real(x: f64) -> Self;

    /// 1 / (1 + e⁻ˣ).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::real(1.0) / (Self::real(1.0) + (-self).fast_exp())
    }

    /// ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|).
    #[inline(always)]
    fn softplus(self) -> Self {
        let positive = if self > Self::real(0.0) { self } else { Self::real(0.0) };
        positive + (-self.abs()).fast_exp().fast_ln_1p()
    }
}

impl Real for f32 {
    /// Cody–Waite reduction to |r| ≤ ln2/2 and a polynomial of degree 5; no branch, no call, and none of the
    /// saturating conversions that keep a loop from being vectorised.
    #[inline(always)]
    fn fast_exp(self) -> f32 {
        // At this size the spacing of f32 is 1: adding it rounds to the nearest integer, in the lowest bits.
        const ROUNDS: f32 = 12_582_912.0;
        let x = if -87.0 > self { -87.0 } else { self };
        let x = if 88.0 < x { 88.0 } else { x };
        let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUNDS);
        let n = rounded - ROUNDS;
        let r = n.mul_add(2.121_944_4e-4, n.mul_add(-355.0 / 512.0, x));
        let mut p = 1.987_569_1e-4f32;
        for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = p.mul_add(r, c);
        }
        let y = (p * r).mul_add(r, r) + 1.0;
        f32::from_bits(y.to_bits().wrapping_add(rounded.to_bits() << 23))
    }

    #[inline(always)]
    fn fast_tanh(self) -> f32 {
        1.0 - 2.0 / (1.0 + (2.0 * self).fast_exp())
    }

    /// 2 artanh(s) with s = e / (2 + e) ≤ ⅓: seven terms of its series, as exact for small e as for large.
    #[inline(always)]
    fn fast_ln_1p(self) -> f32 {
        let s = self / (2.0 + self);
        let square = s * s;
        let mut p = 1.0 / 13.0f32;
        for c in [1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0] {
            p = p.mul_add(square, c);
        }
        (2.0 * s * square).mul_add(p, 2.0 * s)
    }

    #[inline(always)]
    fn real(x: f64) -> f32 {
        x as f32
    }
}

impl Real for f64 {
    #[inline(always)]
    fn fast_exp(self) -> f64 {
        self.exp()
    }

    #[inline(always)]
    fn fast_tanh(self) -> f64 {
        self.tanh()
    }

    #[inline(always)]
    fn fast_ln_1p(self) -> f64 {
        self.ln_1p()
    }

    #[inline(always)]
    fn real(x: f64) -> f64 {
        x
    }
}

/// A strided view of a matrix.
#[derive(Clone, Copy)]
pub struct Mat<'a, R> {
    data: &'a [R],
    row_stride: usize,
    col_stride: usize,
}

impl<'a, R> Mat<'a, R> {
    /// Row-major rows that start `stride` elements apart.
    pub fn rows(data: &'a [R], stride: usize) -> Self {
        Self { data, row_stride: stride, col_stride: 1 }
    }

    /// The transposed view; nothing moves.
    pub fn t(self) -> Self {
        Self { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    /// A copy `[k, n]` of a transposed right operand in rows, for a product `(m, n, k)`; empty where the view is in rows
    /// already or where copying does not pay. `gemm` packs such an operand one number at a time, at every call; the bits
    /// of the product are the same, because the same kernel reads both.
    pub fn turned(self, (m, n, k): (usize, usize, usize)) -> Vec<R>
    where
        R: Real,
    {
        let pays = self.row_stride == 1 && self.col_stride > 1 && m >= 16 && n >= 16 && m * n > 256 && k > 2;
        if !pays || !self.covers(k, n) {
            return vec![];
        }
        let mut out = vec![R::real(0.0); k * n];
        transpose(self.data, self.col_stride, k, &mut out);
        out
    }

    fn covers(&self, rows: usize, cols: usize) -> bool {
        (rows - 1) * self.row_stride + (cols - 1) * self.col_stride < self.data.len()
    }
}

/// `c[m, n] = a[m, k] b[k, n]`, or `+=` with `add`; rows of `c` start `ldc` elements apart. One thread.
///
/// # Panics
/// If a slice is too short for its shape: the callers of this module derive both from one layout.
pub fn matmul<R: Real>(
    c: &mut [R],
    ldc: usize,
    add: bool,
    a: Mat<R>,
    b: Mat<R>,
    (m, n, k): (usize, usize, usize),
) {
    let turned = b.turned((m, n, k));
    let b = if turned.is_empty() { b } else { Mat::rows(&turned, n) };
    product(c, ldc, add, [a, b], (m, n, k));
}

/// Up to how many multiples of the kernel's height (64 numbers in f32) an operand that lies in rows is read where it is;
/// `gemm` would copy it from two on. At the widths of these networks that costs 5 % more; the bits are the same.
const ROWS_READ_IN_PLACE: usize = 8;
static READ_IN_PLACE: Once = Once::new();

/// [`matmul`] with both operands as they are.
#[allow(unsafe_code)]
fn product<R: Real>(c: &mut [R], ldc: usize, add: bool, [a, b]: [Mat<R>; 2], shape: (usize, usize, usize)) {
    let (m, n, k) = shape;
    if m == 0 || n == 0 {
        return;
    }
    assert!(k > 0 && ldc >= n, "matmul: empty inner dimension or overlapping rows");
    assert!(a.covers(m, k) && b.covers(k, n) && (m - 1) * ldc + n <= c.len(), "matmul: slice too short");
    let (one, keep) = (R::real(1.0), R::real(1.0));
    READ_IN_PLACE.call_once(|| gemm::set_rhs_packing_threshold(ROWS_READ_IN_PLACE));
    // SAFETY: the asserts keep every access inside the three slices, rows of `c` do not overlap (`ldc ≥ n`), and
    // `c` is borrowed mutably, so it aliases neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            ldc as isize,
            add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            keep,
            one,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Copies `row` into every row of `y`.
pub fn fill_rows<R: Copy>(y: &mut [R], row: &[R]) {
    for r in y.chunks_exact_mut(row.len()) {
        r.copy_from_slice(row);
    }
}

vectorised! {
    /// `to[j, i] = from[i, j]` for `n` rows of `k` numbers that start `stride` apart: squares of sixteen, read in rows.
    fn transpose<R: Real>(from: &[R], stride: usize, k: usize, to: &mut [R]) {
        const SIDE: usize = 16;
        let n = to.len() / k;
        for i in (0..n).step_by(SIDE) {
            for j in (0..k).step_by(SIDE) {
                if i + SIDE <= n && j + SIDE <= k {
                    let mut square = [[R::real(0.0); SIDE]; SIDE];
                    for a in 0..SIDE {
                        let row = &from[(i + a) * stride + j..][..SIDE];
                        for b in 0..SIDE {
                            square[b][a] = row[b];
                        }
                    }
                    for b in 0..SIDE {
                        to[(j + b) * n + i..][..SIDE].copy_from_slice(&square[b]);
                    }
                } else {
                    for a in i..(i + SIDE).min(n) {
                        for b in j..(j + SIDE).min(k) {
                            to[b * n + a] = from[a * stride + b];
                        }
                    }
                }
            }
        }
    }

    /// `sums[j] += Σ_i rows[i, j]`.
    pub fn add_column_sums<R: Real>(sums: &mut [R], rows: &[R]) {
        for row in rows.chunks_exact(sums.len()) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }

    /// Σ aᵢ bᵢ in sixteen partial sums: vectorises, and has the same order on every machine.
    pub fn dot<R: Real>(a: &[R], b: &[R]) -> R {
        dot_inline(a, b)
    }
}

/// [`dot`] for use inside a vectorised loop.
#[inline(always)]
pub fn dot_inline<R: Real>(a: &[R], b: &[R]) -> R {
    let mut partial = [R::real(0.0); 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: R = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(&x, &y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..16 {
            partial[i] = x[i].mul_add(y[i], partial[i]);
        }
    }
    partial.into_iter().sum::<R>() + tail
}

/// The elements of a contiguous tensor inside a custom operation.
///
/// # Errors
/// If the type differs or the layout is not contiguous.
pub fn slice<'a, R: Real>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [R]> {
    let all = storage.as_slice::<R>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => candle_core::bail!("this operation needs a contiguous tensor: call contiguous() first"),
    }
}

/// Runs `f` on the elements of a CPU tensor, without a copy where it is contiguous.
///
/// # Errors
/// If the tensor is not on the CPU, has another type, or `f` fails.
pub fn with_slice<R: Real, T>(
    tensor: &Tensor,
    f: impl FnOnce(&[R]) -> candle_core::Result<T>,
) -> candle_core::Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => f(slice(cpu, layout)?),
        _ => candle_core::bail!("this operation runs on the CPU only"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_tanh_and_ln_1p_are_close_to_the_library_functions() {
        for i in -8000..8000 {
            let x = i as f32 * 0.01;
            let (fast, exact) = (x.fast_exp(), x.exp());
            assert!((fast - exact).abs() <= 3e-7 * exact, "exp({x}) = {fast}, want {exact}");
            assert!((x.fast_tanh() - x.tanh()).abs() <= 3e-7, "tanh({x})");
        }
        for e in (0..=1000).map(|i| i as f32 * 1e-3).chain((1..30).map(|i| 10f32.powi(-i))) {
            let (fast, exact) = (e.fast_ln_1p(), e.ln_1p());
            assert!((fast - exact).abs() <= 3e-7 * exact, "ln_1p({e}) = {fast}, want {exact}");
        }
        assert!(1e3f32.fast_exp().is_finite() && (-1e3f32).fast_exp() >= 0.0);
    }

    vectorised! {
        fn transcendental<R: Real>(x: &[R], y: &mut [R]) {
            x.iter().zip(y).for_each(|(&x, y)| *y = x.sigmoid() + x.fast_tanh() * x.softplus());
        }
    }

    #[test]
    fn vector_units_give_the_bits_of_one_number_at_a_time() {
        let x: Vec<f32> = (-500..500).map(|i| i as f32 * 0.0371).collect();
        let mut y = vec![0.0; x.len()];
        transcendental(&x, &mut y);
        for (&x, &y) in x.iter().zip(&y) {
            assert_eq!(y.to_bits(), (x.sigmoid() + x.fast_tanh() * x.softplus()).to_bits(), "{x}");
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let nan = f32::NAN;
        assert!(nan.fast_exp().is_nan() && nan.fast_tanh().is_nan() && nan.softplus().is_nan());
    }

    #[test]
    fn matmul_equals_the_triple_loop_for_strided_and_transposed_views() {
        let (m, n, k) = (5, 7, 3);
        let a: Vec<f64> = (0..m * k).map(|i| (i as f64 * 0.7).sin()).collect();
        let bt: Vec<f64> = (0..n * k).map(|i| (i as f64 * 1.3).cos()).collect();
        let mut c = vec![1.0; m * (n + 2)];
        matmul(&mut c, n + 2, true, Mat::rows(&a, k), Mat::rows(&bt, k).t(), (m, n, k));
        for i in 0..m {
            for j in 0..n {
                let want: f64 = 1.0 + (0..k).map(|l| a[i * k + l] * bt[j * k + l]).sum::<f64>();
                assert!((c[i * (n + 2) + j] - want).abs() < 1e-12);
            }
            assert_eq!(&c[i * (n + 2) + n..][..2], &[1.0, 1.0], "padding stays untouched");
        }
    }

    #[test]
    fn a_transposed_operand_gives_the_bits_of_its_copy_in_rows() {
        for (m, n, k) in [(16, 17, 3), (64, 33, 70), (40, 256, 19), (300, 64, 64), (20, 20, 600)] {
            let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.7).sin()).collect();
            let bt: Vec<f32> = (0..n * k).map(|i| (i as f32 * 1.3).cos()).collect();
            let b: Vec<f32> = (0..k * n).map(|i| bt[i % n * k + i / n]).collect();
            let view = Mat::rows(&bt, k).t();
            assert_eq!(view.turned((m, n, k)), b);
            let (mut fast, mut plain, mut packed) = (vec![0.5; m * n], vec![0.5; m * n], vec![0.5; m * n]);
            matmul(&mut fast, n, true, Mat::rows(&a, k), view, (m, n, k));
            matmul(&mut plain, n, true, Mat::rows(&a, k), Mat::rows(&b, n), (m, n, k));
            product(&mut packed, n, true, [Mat::rows(&a, k), view], (m, n, k));
            let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&fast), bits(&plain));
            assert_eq!(bits(&fast), bits(&packed));
        }
    }

    #[test]
    fn dot_equals_the_plain_sum() {
        let x: Vec<f64> = (0..37).map(|i| i as f64 * 0.1).collect();
        let want: f64 = x.iter().map(|v| v * v).sum();
        assert!((dot(&x, &x) - want).abs() < 1e-12);
    }
}
