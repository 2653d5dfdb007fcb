//! Pauli observables on a state without matrices: ⟨P⟩ = Σ_k conj(ψ[k⊕x]) i^{|x∧z|} (−1)^{|k∧z|} ψ[k].

use super::kernel::{LANES, Masks, V, flip, lane_signs, lanes, lanes_mut, parity_sign, with_lane_mask};
use crate::pauli::{PauliString, PauliSum};

impl From<&PauliString> for Masks {
    fn from(p: &PauliString) -> Self {
        Self { x: p.x as usize, z: p.z as usize, power: p.i_power() }
    }
}

/// ⟨ψ|P|ψ⟩
#[inline(always)]
pub(crate) fn expectation(re: &[f64], im: &[f64], p: Masks) -> f64 {
    let (re, im) = (lanes(re), lanes(im));
    let (xh, zh) = (p.x >> 3, p.z >> 3);
    let signs = lane_signs(p.z);
    let mut sum = [0.0; LANES];
    if p.x == 0 {
        for (j, (re, im)) in re.iter().zip(im).enumerate() {
            let sign = parity_sign(j, zh);
            for w in 0..LANES {
                sum[w] += sign * signs[w] * (re[w] * re[w] + im[w] * im[w]);
            }
        }
        return total(&sum);
    }
    // Re(u · conj(a) b) = u_r Re(conj(a) b) − u_i Im(conj(a) b) with u = i^power: one of the two.
    let (ur, ui) = p.unit(0);
    with_lane_mask!(p.x & 7, X => {
        for (j, (re_k, im_k)) in re.iter().zip(im).enumerate() {
            let (a, b) = (&re[j ^ xh], &im[j ^ xh]);
            let (a, b) = (flip::<X>(a), flip::<X>(b));
            let sign = parity_sign(j, zh);
            for w in 0..LANES {
                let real = a[w] * re_k[w] + b[w] * im_k[w];
                let imaginary = a[w] * im_k[w] - b[w] * re_k[w];
                sum[w] += sign * signs[w] * (ur * real - ui * imaginary);
            }
        }
    });
    total(&sum)
}

/// out += coefficient · P ψ
#[inline(always)]
pub(crate) fn accumulate(
    (re, im): (&[f64], &[f64]),
    p: Masks,
    coefficient: f64,
    (out_re, out_im): (&mut [f64], &mut [f64]),
) {
    let (re, im) = (lanes(re), lanes(im));
    let (xh, zh) = (p.x >> 3, p.z >> 3);
    let signs = lane_signs(p.z);
    let (ur, ui) = p.unit(0);
    let (ur, ui) = (coefficient * ur, coefficient * ui);
    with_lane_mask!(p.x & 7, X => {
        let signs = flip::<X>(&signs);
        for (j, (out_re, out_im)) in lanes_mut(out_re).iter_mut().zip(lanes_mut(out_im)).enumerate() {
            let k = j ^ xh;
            let (x, y) = (flip::<X>(&re[k]), flip::<X>(&im[k]));
            let sign = parity_sign(k, zh);
            for w in 0..LANES {
                let (gr, gi) = (sign * signs[w] * ur, sign * signs[w] * ui);
                out_re[w] += gr * x[w] - gi * y[w];
                out_im[w] += gr * y[w] + gi * x[w];
            }
        }
    });
}

/// Σ cᵢ ⟨Pᵢ⟩; the Z-type terms of wide sums share one array of probabilities.
#[inline(always)]
pub(crate) fn sum_expectation(re: &[f64], im: &[f64], observable: &PauliSum) -> f64 {
    let one = |(c, p): &(f64, PauliString)| c * expectation(re, im, Masks::from(p));
    let diagonal = observable.terms().iter().filter(|(_, p)| p.x == 0).count();
    if diagonal < 4 {
        return observable.terms().iter().map(one).sum();
    }
    let probabilities: Vec<f64> = re.iter().zip(im).map(|(a, b)| a * a + b * b).collect();
    let value = |(c, p): &(f64, PauliString)| match p.x {
        0 => c * signed_sum(&probabilities, p.z as usize),
        _ => c * expectation(re, im, Masks::from(p)),
    };
    observable.terms().iter().map(value).sum()
}

/// Σ_k (−1)^{|k∧z|} p[k]
#[inline(always)]
fn signed_sum(p: &[f64], z: usize) -> f64 {
    let (signs, mut sum) = (lane_signs(z), [0.0; LANES]);
    for (j, p) in lanes(p).iter().enumerate() {
        let sign = parity_sign(j, z >> 3);
        for w in 0..LANES {
            sum[w] += sign * signs[w] * p[w];
        }
    }
    total(&sum)
}

/// The sum of eight lanes in a fixed order, the same on every machine.
#[inline(always)]
pub(crate) fn total(v: &V) -> f64 {
    (v[0] + v[4]) + (v[1] + v[5]) + ((v[2] + v[6]) + (v[3] + v[7]))
}
