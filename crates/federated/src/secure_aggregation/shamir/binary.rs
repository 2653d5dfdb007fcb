//! Binary fields: GF(2⁸) over vectors of 32 bytes, and GF(2¹²⁸).

use super::Space;
use rand::CryptoRng;

/// GF(2⁸) with `x⁸ + x⁴ + x³ + x + 1`, acting on secrets of 32 bytes at once.
#[derive(Clone, Copy, Debug)]
pub struct Gf256;

/// Doubles every byte: eight at a time, the polynomial where a top bit falls out, no branch on the data.
#[inline(always)]
fn double(words: &mut [u64; 4]) {
    for word in words {
        let overflow = (*word & 0x8080_8080_8080_8080) >> 7;
        *word = ((*word & 0x7f7f_7f7f_7f7f_7f7f) << 1) ^ (overflow * 0x1b);
    }
}

fn to_words(bytes: &[u8; 32]) -> [u64; 4] {
    std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|j| bytes[8 * i + j])))
}

impl Space for Gf256 {
    type Scalar = u8;
    type Value = [u8; 32];
    const MOST_SHARES: usize = 255;

    fn scalar(index: usize) -> u8 {
        index as u8
    }

    fn subtract(a: u8, b: u8) -> u8 {
        a ^ b
    }

    fn multiply(a: u8, b: u8) -> u8 {
        (0..8).rev().fold(0u8, |product, bit| {
            let doubled = (product << 1) ^ ((product >> 7) * 0x1b);
            doubled ^ (a * (b >> bit & 1))
        })
    }

    fn invert(a: u8) -> u8 {
        // a^254 = a^(2 + 4 + … + 128)
        let (mut power, mut result) = (a, 1);
        for _ in 1..8 {
            power = Self::multiply(power, power);
            result = Self::multiply(result, power);
        }
        result
    }

    fn zero() -> [u8; 32] {
        [0; 32]
    }

    fn random(rng: &mut impl CryptoRng) -> [u8; 32] {
        let mut value = [0; 32];
        rng.fill_bytes(&mut value);
        value
    }

    fn scale_and_add(value: &mut [u8; 32], scalar: u8, addend: &[u8; 32]) {
        let (words, addend) = (to_words(value), to_words(addend));
        let mut product = [0u64; 4];
        // the scalar is public: its zero bits may be skipped
        for bit in (0..8).rev() {
            double(&mut product);
            if scalar >> bit & 1 == 1 {
                product.iter_mut().zip(words).for_each(|(p, w)| *p ^= w);
            }
        }
        for (i, (p, a)) in product.iter().zip(addend).enumerate() {
            value[8 * i..8 * i + 8].copy_from_slice(&(p ^ a).to_le_bytes());
        }
    }
}

/// GF(2¹²⁸) with `x¹²⁸ + x⁷ + x² + x + 1`; a secret is a big-endian block of 16 bytes as u128.
#[derive(Clone, Copy, Debug)]
pub struct Gf2p128;

impl Space for Gf2p128 {
    type Scalar = u128;
    type Value = u128;
    const MOST_SHARES: usize = 1 << 20;

    fn scalar(index: usize) -> u128 {
        index as u128
    }

    fn subtract(a: u128, b: u128) -> u128 {
        a ^ b
    }

    fn multiply(a: u128, b: u128) -> u128 {
        (0..128).rev().fold(0u128, |product, bit| {
            let doubled = (product << 1) ^ ((product >> 127) * 0x87);
            doubled ^ (a * (b >> bit & 1))
        })
    }

    fn invert(a: u128) -> u128 {
        let (mut power, mut result) = (a, 1);
        for _ in 1..128 {
            power = Self::multiply(power, power);
            result = Self::multiply(result, power);
        }
        result
    }

    fn zero() -> u128 {
        0
    }

    fn random(rng: &mut impl CryptoRng) -> u128 {
        (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64())
    }

    fn scale_and_add(value: &mut u128, scalar: u128, addend: &u128) {
        *value = Self::multiply(*value, scalar) ^ addend;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_inverse() {
        for a in 1..=255u8 {
            assert_eq!(Gf256::multiply(a, Gf256::invert(a)), 1);
        }
        assert_eq!(Gf256::multiply(0x57, 0x83), 0xc1); // the example of FIPS 197
    }

    #[test]
    fn vectors_are_scaled_byte_by_byte() {
        let bytes: [u8; 32] = std::array::from_fn(|i| (i * 37 + 11) as u8);
        for scalar in [0, 1, 2, 0x1b, 0xff] {
            let mut value = bytes;
            Gf256::scale_and_add(&mut value, scalar, &[3; 32]);
            for (got, byte) in value.iter().zip(bytes) {
                assert_eq!(*got, Gf256::multiply(byte, scalar) ^ 3);
            }
        }
    }
}
