//! Squares as NumPy's scalars compute `x ** 2`: by the C library's `pow`, whose last bit differs from that of `x · x`
//! about once in a thousand. With it whole episodes equal Gymnasium's bit for bit.
//!
//! The exponent is hidden from the compiler, which would turn the call into a product.

use std::hint::black_box;

/// `x²`
pub(super) fn square(x: f64) -> f64 {
    x.powf(black_box(2.0))
}

/// `x²` in single precision.
pub(super) fn square_f32(x: f32) -> f32 {
    x.powf(black_box(2.0))
}
