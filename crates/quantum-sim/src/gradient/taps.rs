//! Kernels of the backward pass: overlaps Im⟨λ|P|ψ⟩ on one qubit, and the un-application of gates on both states.
//!
//! For a run of gates on one qubit the overlaps t = (Im⟨λ|X|ψ⟩, Im⟨λ|Y|ψ⟩, Im⟨λ|Z|ψ⟩) hold the derivatives of all its
//! angles: taking the gates off one by one rotates t like a Bloch vector, because ⟨λ|A P A†|ψ⟩ only mixes the three.
//! So a run of any length costs one pass over the two states.

use crate::state_vector::kernel::{
    LANES, M2, Masks, V, flip, insert_zeros, lane_signs, lanes, lanes_mut, low_coefficients, one_low_lanes,
    pair_lanes, parity_sign, positions, with_lane_mask, with_low_bit,
};
use crate::state_vector::observable::total;

/// Real and imaginary parts of one state.
pub(crate) type Parts<'a> = (&'a mut [f64], &'a mut [f64]);

/// Returns (Im⟨λ|X|ψ⟩, Im⟨λ|Y|ψ⟩, Im⟨λ|Z|ψ⟩) on a qubit and applies `back` to both states, in one pass.
#[inline(always)]
pub(crate) fn tap_one(psi: Parts, lambda: Parts, qubit: usize, back: &M2) -> [f64; 3] {
    if qubit < 3 {
        with_low_bit!(qubit, D => tap_low::<D>(psi, lambda, back))
    } else {
        tap_high(psi, lambda, qubit, back)
    }
}

#[inline(always)]
fn tap_low<const D: usize>((re, im): Parts, (lre, lim): Parts, back: &M2) -> [f64; 3] {
    let [a, b, c, d] = low_coefficients::<D>(back);
    let sign: V = std::array::from_fn(|w| if w & D == 0 { 1.0 } else { -1.0 });
    let [mut tx, mut ty, mut tz] = [[0.0; LANES]; 3];
    let psi = lanes_mut(re).iter_mut().zip(lanes_mut(im));
    let lambda = lanes_mut(lre).iter_mut().zip(lanes_mut(lim));
    for ((re, im), (lre, lim)) in psi.zip(lambda) {
        let (x, y, u, v) = (*re, *im, *lre, *lim);
        let (p, q) = (flip::<D>(&x), flip::<D>(&y));
        for w in 0..LANES {
            tx[w] += u[w] * q[w] - v[w] * p[w];
            ty[w] -= sign[w] * (u[w] * p[w] + v[w] * q[w]);
            tz[w] += sign[w] * (u[w] * y[w] - v[w] * x[w]);
        }
        (*re, *im) = one_low_lanes::<D>(&x, &y, &a, &b, &c, &d);
        (*lre, *lim) = one_low_lanes::<D>(&u, &v, &a, &b, &c, &d);
    }
    [total(&tx), total(&ty), total(&tz)]
}

#[inline(always)]
fn tap_high((re, im): Parts, (lre, lim): Parts, qubit: usize, back: &M2) -> [f64; 3] {
    let d = 1 << (qubit - 3);
    let [mut tx, mut ty, mut tz] = [[0.0; LANES]; 3];
    let psi = lanes_mut(re).chunks_exact_mut(2 * d).zip(lanes_mut(im).chunks_exact_mut(2 * d));
    let lambda = lanes_mut(lre).chunks_exact_mut(2 * d).zip(lanes_mut(lim).chunks_exact_mut(2 * d));
    for ((re, im), (lre, lim)) in psi.zip(lambda) {
        let ((re0, re1), (im0, im1)) = (re.split_at_mut(d), im.split_at_mut(d));
        let ((lre0, lre1), (lim0, lim1)) = (lre.split_at_mut(d), lim.split_at_mut(d));
        let psi = re0.iter_mut().zip(im0).zip(re1).zip(im1);
        let lambda = lre0.iter_mut().zip(lim0).zip(lre1).zip(lim1);
        for ((((x0, y0), x1), y1), (((u0, v0), u1), v1)) in psi.zip(lambda) {
            for w in 0..LANES {
                tx[w] += (u0[w] * y1[w] - v0[w] * x1[w]) + (u1[w] * y0[w] - v1[w] * x0[w]);
                ty[w] += (u1[w] * x0[w] + v1[w] * y0[w]) - (u0[w] * x1[w] + v0[w] * y1[w]);
                tz[w] += (u0[w] * y0[w] - v0[w] * x0[w]) - (u1[w] * y1[w] - v1[w] * x1[w]);
            }
            [*x0, *y0, *x1, *y1] = pair_lanes(back, x0, y0, x1, y1);
            [*u0, *v0, *u1, *v1] = pair_lanes(back, u0, v0, u1, v1);
        }
    }
    [total(&tx), total(&ty), total(&tz)]
}

/// Im⟨λ|Π P|ψ⟩ for P = 1, X, Y, Z on a qubit, Π projecting on all bits of `mask` being 1.
#[inline(always)]
pub(crate) fn tap_controlled(
    (re, im): (&[f64], &[f64]),
    (lre, lim): (&[f64], &[f64]),
    mask: usize,
    qubit: usize,
) -> [f64; 4] {
    let (bits, count) = positions(mask | 1 << qubit);
    let mut t = [0.0; 4];
    for k in 0..re.len() >> count {
        let i = insert_zeros(k, &bits[..count]) | mask;
        let j = i | 1 << qubit;
        let (x0, y0, x1, y1) = (re[i], im[i], re[j], im[j]);
        let (u0, v0, u1, v1) = (lre[i], lim[i], lre[j], lim[j]);
        let (first, second) = (u0 * y0 - v0 * x0, u1 * y1 - v1 * x1);
        t[0] += first + second;
        t[1] += (u0 * y1 - v0 * x1) + (u1 * y0 - v1 * x0);
        t[2] += (u1 * x0 + v1 * y0) - (u0 * x1 + v0 * y1);
        t[3] += first - second;
    }
    t
}

/// Im⟨λ|Π|ψ⟩, Π projecting on all bits of `mask` being 1.
#[inline(always)]
pub(crate) fn tap_projector((re, im): (&[f64], &[f64]), (lre, lim): (&[f64], &[f64]), mask: usize) -> f64 {
    let inside: V = std::array::from_fn(|w| if w & mask & 7 == mask & 7 { 1.0 } else { 0.0 });
    let mut sum = [0.0; LANES];
    let psi = lanes(re).iter().zip(lanes(im));
    for (j, ((x, y), (u, v))) in psi.zip(lanes(lre).iter().zip(lanes(lim))).enumerate() {
        if j & mask >> 3 == mask >> 3 {
            for w in 0..LANES {
                sum[w] += inside[w] * (u[w] * y[w] - v[w] * x[w]);
            }
        }
    }
    total(&sum)
}

/// Im⟨λ|Π P|ψ⟩ for a Pauli string that does not touch the bits of `mask`.
#[inline(always)]
pub(crate) fn tap_pauli(
    (re, im): (&[f64], &[f64]),
    (lre, lim): (&[f64], &[f64]),
    mask: usize,
    p: Masks,
) -> f64 {
    let (re, im) = (lanes(re), lanes(im));
    let inside: V = std::array::from_fn(|w| if w & mask & 7 == mask & 7 { 1.0 } else { 0.0 });
    let signs = lane_signs(p.z);
    let (ur, ui) = p.unit(0);
    let (xh, zh, mh) = (p.x >> 3, p.z >> 3, mask >> 3);
    let mut sum = [0.0; LANES];
    // (P ψ)[k] = i^power (−1)^{|j∧z|} ψ[j] with j = k ⊕ x
    with_lane_mask!(p.x & 7, X => {
        let signs = flip::<X>(&signs);
        for (k, (u, v)) in lanes(lre).iter().zip(lanes(lim)).enumerate() {
            if k & mh != mh {
                continue;
            }
            let j = k ^ xh;
            let (x, y, sign) = (flip::<X>(&re[j]), flip::<X>(&im[j]), parity_sign(j, zh));
            for w in 0..LANES {
                let real = u[w] * x[w] + v[w] * y[w];
                let imaginary = u[w] * y[w] - v[w] * x[w];
                sum[w] += inside[w] * sign * signs[w] * (ur * imaginary + ui * real);
            }
        }
    });
    total(&sum)
}
