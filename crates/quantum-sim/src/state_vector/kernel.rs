//! In-place gate kernels on separate arrays of real and imaginary parts.
//!
//! Every inner loop works on arrays of eight doubles, which the compiler turns into vector instructions of the
//! instruction set that [`pulp::Arch::dispatch`] picked at run time; nothing here is `unsafe` and nothing depends
//! on the instruction set, so that all machines compute the same bits. For that, everything must be inlined into
//! the dispatched closure: hence `#[inline(always)]` throughout.
//!
//! States of one or two qubits are padded with zeros to eight amplitudes, so that no kernel needs a special case.

/// A closure for [`pulp::Arch::dispatch`] whose body really is compiled for the chosen instruction set: called through
/// `FnMut` it is inlined, whereas through `FnOnce` a shim that is not marked inline would stand in between.
pub(crate) struct Inlined<F>(pub(crate) F);

impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Inlined<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}

/// Eight doubles: one AVX-512 register, two AVX2 registers.
pub(crate) type V = [f64; LANES];
/// The width of [`V`].
pub(crate) const LANES: usize = 8;

/// A 2×2 complex matrix, row-major, real and imaginary parts in turn.
pub(crate) type M2 = [f64; 8];
/// A 4×4 complex matrix, row-major.
pub(crate) type M4 = [[f64; 2]; 16];

#[inline(always)]
pub(crate) fn lanes(x: &[f64]) -> &[V] {
    x.as_chunks().0
}

#[inline(always)]
pub(crate) fn lanes_mut(x: &mut [f64]) -> &mut [V] {
    x.as_chunks_mut().0
}

/// Lane w of the result is lane w ⊕ X. Spelt out, because the compiler turns a loop over such indices into slow gathers.
#[inline(always)]
pub(crate) fn flip<const X: usize>(x: &V) -> V {
    [x[X], x[1 ^ X], x[2 ^ X], x[3 ^ X], x[4 ^ X], x[5 ^ X], x[6 ^ X], x[7 ^ X]]
}

/// Lane w of the result is lane w ⊕ T where w has the bit C, and lane w elsewhere.
#[inline(always)]
fn flip_where<const C: usize, const T: usize>(x: &V) -> V {
    let y = flip::<T>(x);
    choose::<C>(x, &y)
}

/// Lanes of `one` where w has the bit C, of `zero` elsewhere.
#[inline(always)]
fn choose<const C: usize>(zero: &V, one: &V) -> V {
    let pick = |w: usize| if w & C != 0 { one[w] } else { zero[w] };
    [pick(0), pick(1), pick(2), pick(3), pick(4), pick(5), pick(6), pick(7)]
}

/// Runs the body with a constant for 1 << `$qubit`, `$qubit` < 3: shuffles inside eight lanes need constants.
macro_rules! with_low_bit {
    ($qubit:expr, $bit:ident => $body:expr) => {
        match $qubit {
            0 => {
                const $bit: usize = 1;
                $body
            }
            1 => {
                const $bit: usize = 2;
                $body
            }
            _ => {
                const $bit: usize = 4;
                $body
            }
        }
    };
}

/// Runs the body with a constant for a lane mask below 8.
macro_rules! with_lane_mask {
    ($mask:expr, $m:ident => $body:expr) => {
        match $mask {
            0 => {
                const $m: usize = 0;
                $body
            }
            1 => {
                const $m: usize = 1;
                $body
            }
            2 => {
                const $m: usize = 2;
                $body
            }
            3 => {
                const $m: usize = 3;
                $body
            }
            4 => {
                const $m: usize = 4;
                $body
            }
            5 => {
                const $m: usize = 5;
                $body
            }
            6 => {
                const $m: usize = 6;
                $body
            }
            _ => {
                const $m: usize = 7;
                $body
            }
        }
    };
}
pub(crate) use with_lane_mask;
pub(crate) use with_low_bit;

/// A single-qubit gate.
#[inline(always)]
pub(crate) fn one(re: &mut [f64], im: &mut [f64], qubit: usize, m: &M2) {
    if qubit < 3 {
        with_low_bit!(qubit, D => one_low::<D>(re, im, m));
    } else {
        one_high(re, im, qubit, m);
    }
}

/// The coefficients of lane w: its own amplitude's and its partner's.
#[inline(always)]
pub(crate) fn low_coefficients<const D: usize>(m: &M2) -> [V; 4] {
    let pick = |zero: usize, one: usize| std::array::from_fn(|w| m[if w & D == 0 { zero } else { one }]);
    [pick(0, 6), pick(1, 7), pick(2, 4), pick(3, 5)]
}

#[inline(always)]
fn one_low<const D: usize>(re: &mut [f64], im: &mut [f64], m: &M2) {
    let [a, b, c, d] = low_coefficients::<D>(m);
    for (re, im) in lanes_mut(re).iter_mut().zip(lanes_mut(im)) {
        (*re, *im) = one_low_lanes::<D>(re, im, &a, &b, &c, &d);
    }
}

#[inline(always)]
pub(crate) fn one_low_lanes<const D: usize>(x: &V, y: &V, a: &V, b: &V, c: &V, d: &V) -> (V, V) {
    let (mut re, mut im) = ([0.0; LANES], [0.0; LANES]);
    let (p, q) = (flip::<D>(x), flip::<D>(y));
    for w in 0..LANES {
        re[w] = a[w] * x[w] - b[w] * y[w] + c[w] * p[w] - d[w] * q[w];
        im[w] = a[w] * y[w] + b[w] * x[w] + c[w] * q[w] + d[w] * p[w];
    }
    (re, im)
}

/// `[re0, im0, re1, im1]` of eight pairs after the gate.
#[inline(always)]
pub(crate) fn pair_lanes(m: &M2, p: &V, u: &V, q: &V, v: &V) -> [V; 4] {
    let mut out = [[0.0; LANES]; 4];
    for w in 0..LANES {
        out[0][w] = m[0] * p[w] - m[1] * u[w] + m[2] * q[w] - m[3] * v[w];
        out[1][w] = m[0] * u[w] + m[1] * p[w] + m[2] * v[w] + m[3] * q[w];
        out[2][w] = m[4] * p[w] - m[5] * u[w] + m[6] * q[w] - m[7] * v[w];
        out[3][w] = m[4] * u[w] + m[5] * p[w] + m[6] * v[w] + m[7] * q[w];
    }
    out
}

#[inline(always)]
fn one_high(re: &mut [f64], im: &mut [f64], qubit: usize, m: &M2) {
    let d = 1 << (qubit - 3);
    for (re, im) in lanes_mut(re).chunks_exact_mut(2 * d).zip(lanes_mut(im).chunks_exact_mut(2 * d)) {
        let ((re0, re1), (im0, im1)) = (re.split_at_mut(d), im.split_at_mut(d));
        for (((p, u), q), v) in re0.iter_mut().zip(im0).zip(re1).zip(im1) {
            [*p, *u, *q, *v] = pair_lanes(m, p, u, q, v);
        }
    }
}

/// The t-th index that has zeros at the (ascending) positions `bits`.
#[inline(always)]
pub(crate) fn insert_zeros(t: usize, bits: &[usize]) -> usize {
    bits.iter().fold(t, |t, &bit| ((t >> bit) << (bit + 1)) | (t & ((1 << bit) - 1)))
}

/// The positions of the set bits of up to two masks, ascending.
pub(crate) fn positions(mask: usize) -> ([usize; 64], usize) {
    let (mut out, mut count) = ([0; 64], 0);
    let mut rest = mask;
    while rest != 0 {
        out[count] = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        count += 1;
    }
    (out, count)
}

/// A single-qubit gate where all bits of `mask` are 1.
#[inline(always)]
pub(crate) fn controlled_one(re: &mut [f64], im: &mut [f64], mask: usize, qubit: usize, m: &M2) {
    let (bits, count) = positions(mask | 1 << qubit);
    let bits = &bits[..count];
    if bits[0] >= 3 {
        let (re, im) = (lanes_mut(re), lanes_mut(im));
        let (mask, target) = (mask >> 3, 1 << (qubit - 3));
        let mut chunk_bits = [0; 64];
        chunk_bits.iter_mut().zip(bits).for_each(|(c, b)| *c = b - 3);
        for t in 0..re.len() >> count {
            let i = insert_zeros(t, &chunk_bits[..count]) | mask;
            let j = i | target;
            [re[i], im[i], re[j], im[j]] = pair_lanes(m, &re[i], &im[i], &re[j], &im[j]);
        }
    } else {
        for t in 0..re.len() >> count {
            let i = insert_zeros(t, bits) | mask;
            let j = i | 1 << qubit;
            let (p, u, q, v) = (re[i], im[i], re[j], im[j]);
            re[i] = m[0] * p - m[1] * u + m[2] * q - m[3] * v;
            im[i] = m[0] * u + m[1] * p + m[2] * v + m[3] * q;
            re[j] = m[4] * p - m[5] * u + m[6] * q - m[7] * v;
            im[j] = m[4] * u + m[5] * p + m[6] * v + m[7] * q;
        }
    }
}

/// CNOT: exchanges amplitudes, no arithmetic.
#[inline(always)]
pub(crate) fn cx(re: &mut [f64], im: &mut [f64], control: usize, target: usize) {
    cx_array(lanes_mut(re), control, target);
    cx_array(lanes_mut(im), control, target);
}

#[inline(always)]
fn cx_array(v: &mut [V], control: usize, target: usize) {
    match (control < 3, target < 3) {
        (false, false) => cx_runs(v, control - 3, target - 3),
        (true, false) => with_low_bit!(control, C => {
            let d = 1 << (target - 3);
            for block in v.chunks_exact_mut(2 * d) {
                let (a, b) = block.split_at_mut(d);
                for (a, b) in a.iter_mut().zip(b) {
                    let (x, y) = (*a, *b);
                    *a = choose::<C>(&x, &y);
                    *b = choose::<C>(&y, &x);
                }
            }
        }),
        (false, true) => with_low_bit!(target, T => {
            let d = 1 << (control - 3);
            for block in v.chunks_exact_mut(2 * d) {
                for a in &mut block[d..] {
                    *a = flip::<T>(a);
                }
            }
        }),
        (true, true) => with_low_bit!(control, C => with_low_bit!(target, T => {
            for a in v {
                *a = flip_where::<C, T>(a);
            }
        })),
    }
}

/// Swaps the runs where bit `control` is 1 and bit `target` differs.
#[inline(always)]
fn cx_runs<T>(v: &mut [T], control: usize, target: usize) {
    let (run, outer) = (1usize << control.min(target), 1usize << control.max(target));
    for block in v.chunks_exact_mut(2 * outer) {
        let (low, high) = block.split_at_mut(outer);
        if control > target {
            for pair in high.chunks_exact_mut(2 * run) {
                let (a, b) = pair.split_at_mut(run);
                a.swap_with_slice(b);
            }
        } else {
            for (low, high) in low.chunks_exact_mut(2 * run).zip(high.chunks_exact_mut(2 * run)) {
                low[run..].swap_with_slice(&mut high[run..]);
            }
        }
    }
}

/// X where all bits of `mask` are 1.
#[inline(always)]
pub(crate) fn multi_controlled_x(re: &mut [f64], im: &mut [f64], mask: usize, target: usize) {
    let (bits, count) = positions(mask | 1 << target);
    for t in 0..re.len() >> count {
        let i = insert_zeros(t, &bits[..count]) | mask;
        re.swap(i, i | 1 << target);
        im.swap(i, i | 1 << target);
    }
}

/// Exchanges two qubits where all bits of `mask` are 1.
#[inline(always)]
pub(crate) fn swap(re: &mut [f64], im: &mut [f64], mask: usize, a: usize, b: usize) {
    let (bits, count) = positions(mask | 1 << a | 1 << b);
    for t in 0..re.len() >> count {
        let i = insert_zeros(t, &bits[..count]) | mask;
        re.swap(i | 1 << a, i | 1 << b);
        im.swap(i | 1 << a, i | 1 << b);
    }
}

/// Multiplies by c + is where all bits of `mask` are 1.
#[inline(always)]
pub(crate) fn phase(re: &mut [f64], im: &mut [f64], mask: usize, (c, s): (f64, f64)) {
    let (low, high) = (mask & 7, mask >> 3);
    let inside = |w: usize| w & low == low;
    let a: V = std::array::from_fn(|w| if inside(w) { c } else { 1.0 });
    let b: V = std::array::from_fn(|w| if inside(w) { s } else { 0.0 });
    for (j, (re, im)) in lanes_mut(re).iter_mut().zip(lanes_mut(im)).enumerate() {
        if j & high == high {
            let (x, y) = (*re, *im);
            if s == 0.0 {
                *re = std::array::from_fn(|w| a[w] * x[w]);
                *im = std::array::from_fn(|w| a[w] * y[w]);
            } else {
                *re = std::array::from_fn(|w| a[w] * x[w] - b[w] * y[w]);
                *im = std::array::from_fn(|w| a[w] * y[w] + b[w] * x[w]);
            }
        }
    }
}

/// A two-qubit gate where all bits of `mask` are 1; qubit `a` is bit 0 of the matrix index.
#[inline(always)]
pub(crate) fn two(re: &mut [f64], im: &mut [f64], mask: usize, (a, b): (usize, usize), m: &M4) {
    let (bits, count) = positions(mask | 1 << a | 1 << b);
    let bits = &bits[..count];
    if bits[0] >= 3 {
        let (re, im) = (lanes_mut(re), lanes_mut(im));
        let (mask, a, b) = (mask >> 3, a - 3, b - 3);
        let mut chunk_bits = [0; 64];
        chunk_bits.iter_mut().zip(bits).for_each(|(c, b)| *c = b - 3);
        for t in 0..re.len() >> count {
            let i = insert_zeros(t, &chunk_bits[..count]) | mask;
            let at = [i, i | 1 << a, i | 1 << b, i | 1 << a | 1 << b];
            let (x, y) = (at.map(|k| re[k]), at.map(|k| im[k]));
            for r in 0..4 {
                let (mut p, mut q) = ([0.0; LANES], [0.0; LANES]);
                for c in 0..4 {
                    let [u, v] = m[4 * r + c];
                    for w in 0..LANES {
                        p[w] += u * x[c][w] - v * y[c][w];
                        q[w] += u * y[c][w] + v * x[c][w];
                    }
                }
                (re[at[r]], im[at[r]]) = (p, q);
            }
        }
    } else {
        for t in 0..re.len() >> count {
            let i = insert_zeros(t, bits) | mask;
            let at = [i, i | 1 << a, i | 1 << b, i | 1 << a | 1 << b];
            let (x, y) = (at.map(|k| re[k]), at.map(|k| im[k]));
            for r in 0..4 {
                let row = &m[4 * r..4 * r + 4];
                re[at[r]] = (0..4).map(|c| row[c][0] * x[c] - row[c][1] * y[c]).sum();
                im[at[r]] = (0..4).map(|c| row[c][0] * y[c] + row[c][1] * x[c]).sum();
            }
        }
    }
}

/// (−1)^{|k ∧ z|}
#[inline(always)]
pub(crate) fn parity_sign(k: usize, z: usize) -> f64 {
    1.0 - 2.0 * ((k & z).count_ones() & 1) as f64
}

/// The signs of the eight lanes for the low bits of z.
#[inline(always)]
pub(crate) fn lane_signs(z: usize) -> V {
    std::array::from_fn(|w| parity_sign(w, z & 7))
}

/// A Pauli string as masks: P|k⟩ = i^power (−1)^{|k∧z|} |k ⊕ x⟩.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Masks {
    pub(crate) x: usize,
    pub(crate) z: usize,
    pub(crate) power: u32,
}

impl Masks {
    /// i^{power + extra} as (real, imaginary), one of them zero.
    #[inline(always)]
    pub(crate) fn unit(&self, extra: u32) -> (f64, f64) {
        match (self.power + extra) & 3 {
            0 => (1.0, 0.0),
            1 => (0.0, 1.0),
            2 => (-1.0, 0.0),
            _ => (0.0, -1.0),
        }
    }
}

/// cos · ψ − i sin · Pψ: the rotation exp(−iθ/2 P) with (sin, cos) of θ/2, where all bits of `mask` are 1.
#[inline(always)]
pub(crate) fn pauli_rotation(re: &mut [f64], im: &mut [f64], mask: usize, p: Masks, (s, c): (f64, f64)) {
    if mask != 0 {
        return controlled_pauli_rotation(re, im, mask, p, (s, c));
    }
    let (ur, ui) = p.unit(3);
    let (fr, fi) = (ur * s, ui * s);
    let signs = lane_signs(p.z);
    let (re, im) = (lanes_mut(re), lanes_mut(im));
    let (xh, zh) = (p.x >> 3, p.z >> 3);
    with_lane_mask!(p.x & 7, X => {
        let signs = flip::<X>(&signs);
        let turn = |sign: f64, x: &V, y: &V, px: &V, py: &V| -> (V, V) {
            let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
            let (px, py) = (flip::<X>(px), flip::<X>(py));
            for w in 0..LANES {
                let (gr, gi) = (sign * signs[w] * fr, sign * signs[w] * fi);
                a[w] = c * x[w] + gr * px[w] - gi * py[w];
                b[w] = c * y[w] + gr * py[w] + gi * px[w];
            }
            (a, b)
        };
        if xh == 0 {
            for (j, (re, im)) in re.iter_mut().zip(im).enumerate() {
                (*re, *im) = turn(parity_sign(j, zh), re, im, re, im);
            }
        } else {
            let top = usize::BITS - 1 - xh.leading_zeros();
            for t in 0..re.len() / 2 {
                let j = insert_zeros(t, &[top as usize]);
                let k = j ^ xh;
                let (a, b) = turn(parity_sign(k, zh), &re[j], &im[j], &re[k], &im[k]);
                let (c, d) = turn(parity_sign(j, zh), &re[k], &im[k], &re[j], &im[j]);
                (re[j], im[j], re[k], im[k]) = (a, b, c, d);
            }
        }
    });
}

#[inline(always)]
fn controlled_pauli_rotation(re: &mut [f64], im: &mut [f64], mask: usize, p: Masks, (s, c): (f64, f64)) {
    let (ur, ui) = p.unit(3);
    for k in 0..re.len() {
        let j = k ^ p.x;
        if k & mask != mask || j < k {
            continue;
        }
        let (x, y, px, py) = (re[k], im[k], re[j], im[j]);
        let (gr, gi) = (parity_sign(j, p.z) * ur * s, parity_sign(j, p.z) * ui * s);
        (re[k], im[k]) = (c * x + gr * px - gi * py, c * y + gr * py + gi * px);
        if j > k {
            let (gr, gi) = (parity_sign(k, p.z) * ur * s, parity_sign(k, p.z) * ui * s);
            (re[j], im[j]) = (c * px + gr * x - gi * y, c * py + gr * y + gi * x);
        }
    }
}
