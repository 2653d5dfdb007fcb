//! Elementary functions on eight doubles at once, branch-free, so that they vectorise and give the same bits everywhere.
//!
//! sin and cos: reduction by multiples of π/2 in three parts, then the minimax polynomials of fdlibm on [−π/4, π/4].
//! exp and tanh: the rational approximations of Moshier's Cephes library. Errors are a few units in the last place.

// The coefficients keep their published digits.
#![allow(clippy::excessive_precision)]

use crate::gate::Activation;
use crate::state_vector::kernel::{LANES, V};
use std::f64::consts::{FRAC_2_PI, LOG2_E};

/// 1.5 · 2⁵²: adding it rounds to an integer, which then stands in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// π/2 in parts of 33 bits, so that n times a part is exact for |n| < 2²⁰.
const HALF_PI: [f64; 3] = [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21];
const REDUCIBLE: f64 = 1.0e6;

/// (sin x, cos x)
#[inline(always)]
pub(super) fn sin_cos(x: &V) -> (V, V) {
    let mut reducible = true;
    for v in x {
        // NaN and infinities count as not reducible.
        reducible &= v.abs() < REDUCIBLE;
    }
    if !reducible {
        return (x.map(f64::sin), x.map(f64::cos));
    }
    let (mut sin, mut cos) = ([0.0; LANES], [0.0; LANES]);
    for w in 0..LANES {
        let rounded = x[w] * FRAC_2_PI + ROUND;
        let quadrant = rounded.to_bits();
        let n = rounded - ROUND;
        let r = ((x[w] - n * HALF_PI[0]) - n * HALF_PI[1]) - n * HALF_PI[2];
        let z = r * r;
        let s = 1.589_690_995_211_550_1e-10;
        let s = s * z - 2.505_076_025_340_686_4e-8;
        let s = s * z + 2.755_731_370_707_007e-6;
        let s = s * z - 1.984_126_982_985_795e-4;
        let s = s * z + 8.333_333_333_322_49e-3;
        let s = s * z - 1.666_666_666_666_663_2e-1;
        let s = r + r * (z * s);
        let c = -1.135_964_755_778_819_5e-11;
        let c = c * z + 2.087_572_321_298_175e-9;
        let c = c * z - 2.755_731_435_139_066e-7;
        let c = c * z + 2.480_158_728_947_673e-5;
        let c = c * z - 1.388_888_888_887_411e-3;
        let c = c * z + 4.166_666_666_666_66e-2;
        let c = 1.0 - (0.5 * z - (z * z) * c);
        // Odd quadrants exchange sine and cosine; the signs follow bit 1 of the quadrant and of its successor.
        let exchange = 0u64.wrapping_sub(quadrant & 1);
        let (sb, cb) = (s.to_bits(), c.to_bits());
        let (sb, cb) = ((sb & !exchange) | (cb & exchange), (cb & !exchange) | (sb & exchange));
        sin[w] = f64::from_bits(sb ^ (quadrant & 2) << 62);
        cos[w] = f64::from_bits(cb ^ (quadrant.wrapping_add(1) & 2) << 62);
    }
    (sin, cos)
}

/// tanh x
#[inline(always)]
pub(super) fn tanh(x: &V) -> V {
    let mut out = [0.0; LANES];
    for w in 0..LANES {
        let a = x[w].abs();
        // Small arguments: x + x³ P(x²)/Q(x²).
        let z = x[w] * x[w];
        let p = (-9.643_991_794_250_523e-1 * z - 9.928_772_310_019_186e1) * z - 1.614_687_684_417_084_5e3;
        let q =
            ((z + 1.128_116_784_916_329_3e2) * z + 2.235_488_390_601_004_5e3) * z + 4.844_063_053_251_255e3;
        let small = x[w] + x[w] * z * (p / q);
        // Large ones: 1 − 2/(e^{2|x|} + 1); beyond 20 it is 1.
        let y = 2.0 * if a < 20.0 { a } else { 20.0 };
        let rounded = y * LOG2_E + ROUND;
        let n = rounded - ROUND;
        let r = (y - n * 6.931_457_519_531_25e-1) - n * 1.428_606_820_309_417_3e-6;
        let z = r * r;
        let p = r * ((1.261_771_930_748_105_8e-4 * z + 3.029_944_077_074_419_5e-2) * z + 1.0);
        let q = (3.001_985_051_386_644_7e-6 * z + 2.524_483_403_496_841e-3) * z + 2.272_655_482_081_550_3e-1;
        let e = 1.0 + 2.0 * p / ((q * z + 2.0) - p);
        let power = f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52);
        let large = (1.0 - 2.0 / (e * power + 1.0)).copysign(x[w]);
        out[w] = if a < 0.625 { small } else { large };
        out[w] = if x[w].is_nan() { x[w] } else { out[w] };
    }
    out
}

/// a(z)
#[inline(always)]
pub(super) fn activation(a: Activation, z: &V) -> V {
    match a {
        Activation::Linear => *z,
        Activation::Tanh => tanh(z),
        Activation::Atan => z.map(f64::atan),
    }
}

/// a'(z), given z and a(z).
#[inline(always)]
pub(super) fn derivative(a: Activation, z: &V, value: &V) -> V {
    let mut out = [1.0; LANES];
    match a {
        Activation::Linear => {}
        Activation::Tanh => (0..LANES).for_each(|w| out[w] = 1.0 - value[w] * value[w]),
        Activation::Atan => (0..LANES).for_each(|w| out[w] = 1.0 / (1.0 + z[w] * z[w])),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_agree_with_the_standard_library() {
        let mut worst = [0.0f64; 3];
        for k in 0..400_000 {
            let scale = [0.1, 1.0, 10.0, 1000.0, 500_000.0][k % 5];
            let x = (k as f64 * 0.618_033_988_749_895).fract() * 2.0 * scale - scale;
            let (s, c) = sin_cos(&[x; LANES]);
            worst[0] = worst[0].max((s[0] - x.sin()).abs());
            worst[1] = worst[1].max((c[3] - x.cos()).abs());
            worst[2] = worst[2].max((tanh(&[x; LANES])[5] - x.tanh()).abs());
        }
        assert!(worst.iter().all(|e| *e < 4e-16), "{worst:?}");
    }

    #[test]
    fn special_values_are_kept() {
        let (s, c) = sin_cos(&[0.0; LANES]);
        assert_eq!((s[0], c[0]), (0.0, 1.0));
        assert_eq!(tanh(&[f64::INFINITY; LANES])[0], 1.0);
        assert_eq!(tanh(&[f64::NEG_INFINITY; LANES])[0], -1.0);
        assert!(tanh(&[f64::NAN; LANES])[0].is_nan() && sin_cos(&[f64::NAN; LANES]).0[0].is_nan());
        let (s, c) = sin_cos(&[1e22; LANES]);
        assert_eq!((s[1], c[1]), (1e22f64.sin(), 1e22f64.cos()));
        assert_eq!(tanh(&[1e-300; LANES])[0], 1e-300);
    }
}
