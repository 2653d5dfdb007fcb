//! The integers modulo `p = 2²⁵⁵ − 19`.

use super::Space;
use rand::CryptoRng;
use zeroize::Zeroize;

/// The prime field of Curve25519, for secrets below `p`.
#[derive(Clone, Copy, Debug)]
pub struct Prime25519;

/// A number below `p`, little-endian limbs. Its text form hides it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Element([u64; 4]);

impl std::fmt::Debug for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Element(..)")
    }
}

impl Zeroize for Element {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

const P: [u64; 4] = [0xffff_ffff_ffff_ffed, u64::MAX, u64::MAX, 0x7fff_ffff_ffff_ffff];

/// `a − b` and whether it borrowed.
fn subtract_limbs(a: [u64; 4], b: [u64; 4]) -> ([u64; 4], bool) {
    let (mut out, mut borrow) = ([0; 4], false);
    for i in 0..4 {
        let (d, first) = a[i].overflowing_sub(b[i]);
        let (d, second) = d.overflowing_sub(u64::from(borrow));
        (out[i], borrow) = (d, first | second);
    }
    (out, borrow)
}

/// One conditional subtraction of `p`, without a branch.
fn reduce_once(a: [u64; 4]) -> [u64; 4] {
    let (less, borrow) = subtract_limbs(a, P);
    let keep = u64::from(borrow).wrapping_neg();
    std::array::from_fn(|i| (a[i] & keep) | (less[i] & !keep))
}

/// Adds `carry · 38 ≡ carry · 2²⁵⁶` and reduces fully.
fn fold(mut limbs: [u64; 4], carry: u64) -> [u64; 4] {
    let mut carry = u128::from(carry) * 38;
    for _ in 0..2 {
        for limb in &mut limbs {
            carry += u128::from(*limb);
            *limb = carry as u64;
            carry >>= 64;
        }
        carry *= 38;
    }
    reduce_once(reduce_once(limbs))
}

impl Element {
    /// From a big-endian number.
    ///
    /// `None` when it is not below `p`.
    pub fn from_be_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let limbs =
            std::array::from_fn(|i| u64::from_be_bytes(std::array::from_fn(|j| bytes[24 - 8 * i + j])));
        subtract_limbs(limbs, P).1.then_some(Self(limbs))
    }

    /// As a big-endian number.
    pub fn to_be_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (i, limb) in self.0.iter().rev().enumerate() {
            bytes[8 * i..8 * i + 8].copy_from_slice(&limb.to_be_bytes());
        }
        bytes
    }
}

impl Prime25519 {
    /// The element of a big-endian number; `None` when it is not below `p`.
    pub fn element(bytes: &[u8; 32]) -> Option<Element> {
        Element::from_be_bytes(bytes)
    }
}

impl Space for Prime25519 {
    type Scalar = Element;
    type Value = Element;
    const MOST_SHARES: usize = 1 << 20;

    fn scalar(index: usize) -> Element {
        Element([index as u64, 0, 0, 0])
    }

    fn subtract(a: Element, b: Element) -> Element {
        // a + p − b < 2²⁵⁶
        let (negated, _) = subtract_limbs(P, b.0);
        let mut carry = 0u128;
        let sum = std::array::from_fn(|i| {
            carry += u128::from(a.0[i]) + u128::from(negated[i]);
            let limb = carry as u64;
            carry >>= 64;
            limb
        });
        Element(fold(sum, carry as u64))
    }

    fn multiply(a: Element, b: Element) -> Element {
        let mut wide = [0u64; 8];
        for i in 0..4 {
            let mut carry = 0u128;
            for j in 0..4 {
                carry += u128::from(a.0[i]) * u128::from(b.0[j]) + u128::from(wide[i + j]);
                wide[i + j] = carry as u64;
                carry >>= 64;
            }
            wide[i + 4] = carry as u64;
        }
        let mut carry = 0u128;
        let low = std::array::from_fn(|i| {
            carry += u128::from(wide[i]) + 38 * u128::from(wide[i + 4]);
            let limb = carry as u64;
            carry >>= 64;
            limb
        });
        Element(fold(low, carry as u64))
    }

    fn invert(a: Element) -> Element {
        // a^(p−2); the exponent is public
        let mut exponent = P;
        exponent[0] -= 2;
        let mut result = Self::scalar(1);
        for bit in (0..255).rev() {
            result = Self::multiply(result, result);
            if exponent[bit / 64] >> (bit % 64) & 1 == 1 {
                result = Self::multiply(result, a);
            }
        }
        result
    }

    fn zero() -> Element {
        Element([0; 4])
    }

    fn random(rng: &mut impl CryptoRng) -> Element {
        loop {
            let mut bytes = [0u8; 32];
            rng.fill_bytes(&mut bytes);
            bytes[0] &= 0x7f;
            if let Some(element) = Element::from_be_bytes(&bytes) {
                bytes.zeroize();
                return element;
            }
        }
    }

    fn scale_and_add(value: &mut Element, scalar: Element, addend: &Element) {
        let negated = Self::subtract(Self::zero(), *addend);
        *value = Self::subtract(Self::multiply(*value, scalar), negated);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_at_the_edges() {
        let minus_one = Prime25519::subtract(Prime25519::zero(), Prime25519::scalar(1));
        assert_eq!(Prime25519::multiply(minus_one, minus_one), Prime25519::scalar(1));
        assert_eq!(Prime25519::multiply(minus_one, Prime25519::invert(minus_one)), Prime25519::scalar(1));
        assert_eq!(Prime25519::subtract(minus_one, minus_one), Prime25519::zero());
        let third = Prime25519::invert(Prime25519::scalar(3));
        assert_eq!(Prime25519::multiply(third, Prime25519::scalar(3)), Prime25519::scalar(1));
        let mut bytes = minus_one.to_be_bytes();
        assert_eq!(Element::from_be_bytes(&bytes), Some(minus_one));
        bytes[31] += 1; // p itself
        assert_eq!(Element::from_be_bytes(&bytes), None);
        assert_eq!(format!("{minus_one:?}"), "Element(..)");
    }
}
