//! Gates on a block: amplitude k of eight inputs is `re[k]`, `im[k]`.

use crate::state_vector::kernel::{LANES, Masks, V, insert_zeros, parity_sign, positions};

/// The quaternion of eight inputs.
pub(super) type Turn = [V; 4];

/// Real and imaginary parts of a block.
pub(super) type Parts<'a> = (&'a mut [V], &'a mut [V]);

/// `[re0, im0, re1, im1]` of a pair of amplitudes after the gate a − i(bX + cY + dZ).
#[inline(always)]
fn turned([a, b, c, d]: &Turn, p: &V, u: &V, q: &V, v: &V) -> [V; 4] {
    let mut out = [[0.0; LANES]; 4];
    for w in 0..LANES {
        out[0][w] = a[w] * p[w] + d[w] * u[w] - c[w] * q[w] + b[w] * v[w];
        out[1][w] = a[w] * u[w] - d[w] * p[w] - c[w] * v[w] - b[w] * q[w];
        out[2][w] = c[w] * p[w] + b[w] * u[w] + a[w] * q[w] - d[w] * v[w];
        out[3][w] = c[w] * u[w] - b[w] * p[w] + a[w] * v[w] + d[w] * q[w];
    }
    out
}

/// The gate that undoes it.
#[inline(always)]
pub(super) fn inverse([a, b, c, d]: &Turn) -> Turn {
    let minus = |v: &V| v.map(|x| -x);
    [*a, minus(b), minus(c), minus(d)]
}

/// A gate on one qubit.
#[inline(always)]
pub(super) fn one((re, im): Parts, qubit: usize, turn: &Turn) {
    let d = 1 << qubit;
    for (re, im) in re.chunks_exact_mut(2 * d).zip(im.chunks_exact_mut(2 * d)) {
        let ((re0, re1), (im0, im1)) = (re.split_at_mut(d), im.split_at_mut(d));
        for (((p, u), q), v) in re0.iter_mut().zip(im0).zip(re1).zip(im1) {
            [*p, *u, *q, *v] = turned(turn, p, u, q, v);
        }
    }
}

/// Gates on two qubits, `low` < `high`, in one pass over memory.
#[inline(always)]
pub(super) fn both((re, im): Parts, (low, first): (usize, &Turn), (high, second): (usize, &Turn)) {
    let (d, e) = (1usize << low, 1usize << high);
    for (re, im) in re.chunks_exact_mut(2 * e).zip(im.chunks_exact_mut(2 * e)) {
        let ((re_low, re_high), (im_low, im_high)) = (re.split_at_mut(e), im.split_at_mut(e));
        let lows = re_low.chunks_exact_mut(2 * d).zip(im_low.chunks_exact_mut(2 * d));
        let highs = re_high.chunks_exact_mut(2 * d).zip(im_high.chunks_exact_mut(2 * d));
        for ((re_low, im_low), (re_high, im_high)) in lows.zip(highs) {
            let ((r0, r1), (i0, i1)) = (re_low.split_at_mut(d), im_low.split_at_mut(d));
            let ((r2, r3), (i2, i3)) = (re_high.split_at_mut(d), im_high.split_at_mut(d));
            let lows = r0.iter_mut().zip(i0).zip(r1).zip(i1);
            let highs = r2.iter_mut().zip(i2).zip(r3).zip(i3);
            for ((((r0, i0), r1), i1), (((r2, i2), r3), i3)) in lows.zip(highs) {
                let [a0, b0, a1, b1] = turned(first, r0, i0, r1, i1);
                let [a2, b2, a3, b3] = turned(first, r2, i2, r3, i3);
                [*r0, *i0, *r2, *i2] = turned(second, &a0, &b0, &a2, &b2);
                [*r1, *i1, *r3, *i3] = turned(second, &a1, &b1, &a3, &b3);
            }
        }
    }
}

/// A gate where all bits of `mask` are 1.
#[inline(always)]
pub(super) fn controlled((re, im): Parts, mask: usize, qubit: usize, turn: &Turn) {
    let (bits, count) = positions(mask | 1 << qubit);
    for t in 0..re.len() >> count {
        let i = insert_zeros(t, &bits[..count]) | mask;
        let j = i | 1 << qubit;
        [re[i], im[i], re[j], im[j]] = turned(turn, &re[i], &im[i], &re[j], &im[j]);
    }
}

/// Multiplies by cos + i sin where all bits of `mask` are 1.
#[inline(always)]
pub(super) fn phase((re, im): Parts, mask: usize, cos: &V, sin: &V) {
    for (k, (re, im)) in re.iter_mut().zip(im).enumerate() {
        if k & mask == mask {
            let (x, y) = (*re, *im);
            *re = std::array::from_fn(|w| cos[w] * x[w] - sin[w] * y[w]);
            *im = std::array::from_fn(|w| cos[w] * y[w] + sin[w] * x[w]);
        }
    }
}

/// cos · ψ − i sin · Pψ where all bits of `mask` are 1.
#[inline(always)]
pub(super) fn pauli_rotation((re, im): Parts, mask: usize, p: Masks, sin: &V, cos: &V) {
    let (ur, ui) = p.unit(3);
    let turn = |sign: f64, x: &V, y: &V, px: &V, py: &V| -> (V, V) {
        let (fr, fi) = (sign * ur, sign * ui);
        let a = std::array::from_fn(|w| cos[w] * x[w] + sin[w] * (fr * px[w] - fi * py[w]));
        let b = std::array::from_fn(|w| cos[w] * y[w] + sin[w] * (fr * py[w] + fi * px[w]));
        (a, b)
    };
    for k in 0..re.len() {
        let j = k ^ p.x;
        if k & mask != mask || j < k {
            continue;
        }
        let (a, b) = turn(parity_sign(j, p.z), &re[k], &im[k], &re[j], &im[j]);
        if j != k {
            let (c, d) = turn(parity_sign(k, p.z), &re[j], &im[j], &re[k], &im[k]);
            (re[j], im[j]) = (c, d);
        }
        (re[k], im[k]) = (a, b);
    }
}

/// Im(conj(l) p)
#[inline(always)]
fn imaginary(x: &V, y: &V, u: &V, v: &V) -> V {
    let mut out = [0.0; LANES];
    for w in 0..LANES {
        out[w] = u[w] * y[w] - v[w] * x[w];
    }
    out
}

#[inline(always)]
pub(super) fn add(to: &mut V, v: &V) {
    for w in 0..LANES {
        to[w] += v[w];
    }
}

/// Im⟨λ|Z_q|ψ⟩ of all qubits: the imaginary parts of conj(λ_k) ψ_k, folded in half from the highest qubit down.
#[inline(always)]
pub(super) fn tap_z(psi: (&[V], &[V]), lambda: (&[V], &[V]), fold: &mut [V], out: &mut [V]) {
    let amplitudes = psi.0.iter().zip(psi.1).zip(lambda.0.iter().zip(lambda.1));
    for (f, ((x, y), (u, v))) in fold.iter_mut().zip(amplitudes) {
        *f = imaginary(x, y, u, v);
    }
    for (qubit, out) in out.iter_mut().enumerate().rev() {
        let (low, high) = fold[..2 << qubit].split_at_mut(1 << qubit);
        let mut sum = [0.0; LANES];
        for (low, high) in low.iter_mut().zip(high) {
            for w in 0..LANES {
                sum[w] += low[w] - high[w];
                low[w] += high[w];
            }
        }
        *out = sum;
    }
}

/// (Im⟨λ|X|ψ⟩, Im⟨λ|Y|ψ⟩) of one qubit.
#[inline(always)]
pub(super) fn tap_xy(psi: (&[V], &[V]), lambda: (&[V], &[V]), qubit: usize) -> (V, V) {
    let d = 1 << qubit;
    let (mut tx, mut ty) = ([0.0; LANES], [0.0; LANES]);
    let psi = psi.0.chunks_exact(2 * d).zip(psi.1.chunks_exact(2 * d));
    let lambda = lambda.0.chunks_exact(2 * d).zip(lambda.1.chunks_exact(2 * d));
    for ((re, im), (lre, lim)) in psi.zip(lambda) {
        let ((x0, x1), (y0, y1)) = (re.split_at(d), im.split_at(d));
        let ((u0, u1), (v0, v1)) = (lre.split_at(d), lim.split_at(d));
        let first = x0.iter().zip(y0).zip(x1).zip(y1);
        let second = u0.iter().zip(v0).zip(u1).zip(v1);
        for ((((x0, y0), x1), y1), (((u0, v0), u1), v1)) in first.zip(second) {
            for w in 0..LANES {
                tx[w] += (u0[w] * y1[w] - v0[w] * x1[w]) + (u1[w] * y0[w] - v1[w] * x0[w]);
                ty[w] += (u1[w] * x0[w] + v1[w] * y0[w]) - (u0[w] * x1[w] + v0[w] * y1[w]);
            }
        }
    }
    (tx, ty)
}

/// (Im⟨λ|ΠX|ψ⟩, Im⟨λ|ΠY|ψ⟩, Im⟨λ|ΠZ|ψ⟩), Π projecting on all bits of `mask` being 1.
#[inline(always)]
pub(super) fn tap_controlled(psi: (&[V], &[V]), lambda: (&[V], &[V]), mask: usize, qubit: usize) -> [V; 3] {
    let (bits, count) = positions(mask | 1 << qubit);
    let [mut tx, mut ty, mut tz] = [[0.0; LANES]; 3];
    for t in 0..psi.0.len() >> count {
        let i = insert_zeros(t, &bits[..count]) | mask;
        let j = i | 1 << qubit;
        let (x0, y0, x1, y1) = (&psi.0[i], &psi.1[i], &psi.0[j], &psi.1[j]);
        let (u0, v0, u1, v1) = (&lambda.0[i], &lambda.1[i], &lambda.0[j], &lambda.1[j]);
        for w in 0..LANES {
            tx[w] += (u0[w] * y1[w] - v0[w] * x1[w]) + (u1[w] * y0[w] - v1[w] * x0[w]);
            ty[w] += (u1[w] * x0[w] + v1[w] * y0[w]) - (u0[w] * x1[w] + v0[w] * y1[w]);
            tz[w] += (u0[w] * y0[w] - v0[w] * x0[w]) - (u1[w] * y1[w] - v1[w] * x1[w]);
        }
    }
    [tx, ty, tz]
}

/// Im⟨λ|ΠP|ψ⟩ for a Pauli string; the identity string gives Im⟨λ|Π|ψ⟩.
#[inline(always)]
pub(super) fn tap_pauli(psi: (&[V], &[V]), lambda: (&[V], &[V]), mask: usize, p: Masks) -> V {
    let (ur, ui) = p.unit(0);
    let mut sum = [0.0; LANES];
    for (k, (u, v)) in lambda.0.iter().zip(lambda.1).enumerate() {
        if k & mask == mask {
            let j = k ^ p.x;
            let (x, y, sign) = (&psi.0[j], &psi.1[j], parity_sign(j, p.z));
            let (sr, si) = (sign * ur, sign * ui);
            for w in 0..LANES {
                sum[w] += sr * (u[w] * y[w] - v[w] * x[w]) + si * (u[w] * x[w] + v[w] * y[w]);
            }
        }
    }
    sum
}
