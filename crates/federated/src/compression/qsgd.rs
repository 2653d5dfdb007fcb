//! QSGD (Alistarh et al. 2017, section 3.1): unbiased stochastic rounding to `s` levels of the norm,
//! `Q(x_j) = ‖x‖ sign(x_j) ξ_j`, `ξ_j ∈ {⌊s|x_j|/‖x‖⌋, ⌈…⌉}/s` with `E ξ_j = |x_j|/‖x‖`, per bucket.

use super::Compressed;
use crate::error::{Error, Result, check};
use crate::kernel::norm;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Settings of [`Qsgd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QsgdConfig {
    /// `s ∈ 1..=127`; the paper's 4-bit runs have 7.
    pub levels: u8,
    /// Numbers that share a norm; paper section 5: 512 for 4 bits.
    pub bucket: usize,
}

impl Default for QsgdConfig {
    fn default() -> Self {
        Self { levels: 7, bucket: 512 }
    }
}

/// The stateless compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qsgd(QsgdConfig);

impl Qsgd {
    /// Checks the settings.
    ///
    /// # Errors
    /// Levels or bucket out of range.
    pub fn new(config: QsgdConfig) -> Result<Self> {
        check((1..=127).contains(&config.levels), "qsgd", "levels", config.levels, "in 1..=127")?;
        let bucket = config.bucket;
        check(bucket > 0 && u32::try_from(bucket).is_ok(), "qsgd", "bucket", bucket, "in 1..2^32")?;
        Ok(Self(config))
    }

    /// Quantises `update: [D]`.
    ///
    /// # Errors
    /// A number that is not finite, or a bucket norm beyond f32.
    pub fn compress(&self, update: &[f32], rng: &mut impl Rng) -> Result<Compressed> {
        let levels = f64::from(self.0.levels);
        let (mut norms, mut codes) = (Vec::new(), Vec::with_capacity(update.len()));
        for bucket in update.chunks(self.0.bucket) {
            // the rounded norm is what the receiver multiplies with, and it must not be below any |x_j|
            let length = norm(bucket);
            let rounded = length as f32;
            let rounded = if f64::from(rounded) < length { rounded.next_up() } else { rounded };
            if !rounded.is_finite() {
                return Err(Error::NotFinite { operation: "qsgd", what: "the norm of a bucket".into() });
            }
            norms.push(rounded);
            for &x in bucket {
                let exact =
                    if rounded > 0.0 { levels * f64::from(x.abs()) / f64::from(rounded) } else { 0.0 };
                let level = exact.floor() + f64::from(u8::from(rng.random::<f64>() < exact.fract()));
                let level = level.min(levels) as i8;
                codes.push(if x < 0.0 { -level } else { level });
            }
        }
        Ok(Compressed::Quantised { levels: self.0.levels, bucket: self.0.bucket as u32, norms, codes })
    }
}

/// Bits per code: the least that hold `2s + 1` values.
fn bits(levels: u8) -> u32 {
    (2 * u32::from(levels) + 1).next_power_of_two().trailing_zeros()
}

/// Bytes of `count` packed codes.
pub(super) fn packed_length(count: usize, levels: u8) -> usize {
    count.saturating_mul(bits(levels) as usize).div_ceil(8)
}

/// Appends `code + s` in fixed width, least significant bits first.
pub(super) fn pack(codes: &[i8], levels: u8, out: &mut Vec<u8>) {
    let width = bits(levels);
    let (mut word, mut filled) = (0u32, 0);
    for &code in codes {
        let value = (i32::from(code) + i32::from(levels)) as u32;
        word |= value << filled;
        filled += width;
        while filled >= 8 {
            out.push(word as u8);
            word >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(word as u8);
    }
}

/// Reverses [`pack`].
pub(super) fn unpack(bytes: &[u8], count: usize, levels: u8) -> Result<Vec<i8>> {
    let width = bits(levels);
    let mut bytes = bytes.iter();
    let (mut word, mut filled) = (0u32, 0);
    let mut codes = Vec::with_capacity(count);
    for _ in 0..count {
        while filled < width {
            let byte = bytes.next().ok_or_else(|| Error::malformed("quantised update", "too few codes"))?;
            word |= u32::from(*byte) << filled;
            filled += 8;
        }
        let value = (word & ((1 << width) - 1)) as i32 - i32::from(levels);
        if value > i32::from(levels) {
            return Err(Error::malformed("quantised update", "a level beyond the largest"));
        }
        codes.push(value as i8);
        word >>= width;
        filled -= width;
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_unbiased() {
        let mut rng = rl_core::seed::SeedStream::new(0).stream("qsgd", 0);
        let q = Qsgd::new(QsgdConfig { levels: 3, bucket: 2 }).unwrap();
        let x = [0.3f32, -0.7, 0.0, 0.05, 1.0];
        let mut sum = [0.0f64; 5];
        let draws = 20_000;
        for _ in 0..draws {
            let y = q.compress(&x, &mut rng).unwrap().decompress();
            sum.iter_mut().zip(y).for_each(|(s, y)| *s += f64::from(y));
        }
        for j in 0..5 {
            assert!(
                (sum[j] / f64::from(draws) - f64::from(x[j])).abs() < 0.006,
                "{j}: {}",
                sum[j] / f64::from(draws)
            );
        }
    }

    #[test]
    fn four_bits_cost_an_eighth() {
        let mut rng = rl_core::seed::SeedStream::new(0).stream("qsgd", 1);
        let message = Qsgd::new(QsgdConfig::default()).unwrap().compress(&[0.5; 5120], &mut rng).unwrap();
        assert_eq!(message.encode().len(), 10 + 4 * 10 + 2560);
    }

    proptest! {
        #[test]
        fn bytes_carry_the_codes(x in prop::collection::vec(-5.0f32..5.0, 0..80), levels in 1u8..=127, bucket in 1usize..40) {
            let mut rng = rl_core::seed::SeedStream::new(1).stream("qsgd", 2);
            let message = Qsgd::new(QsgdConfig { levels, bucket }).unwrap().compress(&x, &mut rng).unwrap();
            prop_assert_eq!(Compressed::decode(&message.encode(), x.len()).unwrap(), message.clone());
            for (y, (j, x)) in message.decompress().iter().zip(x.iter().enumerate()) {
                let start = j / bucket * bucket;
                let _ = start;
                prop_assert!((y - x).abs() <= 5.1 * (bucket as f32).sqrt() / f32::from(levels));
            }
        }
    }
}
