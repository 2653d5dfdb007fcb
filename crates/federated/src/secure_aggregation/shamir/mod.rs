//! Shamir's secret sharing (Shamir 1979): any `t` of `n` shares give the secret, fewer give nothing.
//!
//! The scheme is written once, over any vector space of secrets whose scalars are a finite field: bytes under
//! GF(2⁸) ([`Gf256`], what the protocol uses), GF(2¹²⁸) ([`Gf2p128`], as pycryptodome) and the integers modulo
//! 2²⁵⁵ − 19 ([`Prime25519`]). Share numbers and interpolation coefficients are public; secrets and coefficients of the
//! polynomial only pass through additions and multiplications without branches or look-ups.

mod binary;
mod prime;

pub use binary::{Gf2p128, Gf256};
pub use prime::Prime25519;

use crate::error::{Error, Result, check};
use rand::CryptoRng;
use zeroize::Zeroize;

/// A vector space over a finite field, as sharing needs it.
pub trait Space {
    /// The field: public numbers.
    type Scalar: Copy + PartialEq + std::fmt::Debug;
    /// The secrets.
    type Value: Clone + Zeroize;
    /// Most shares.
    const MOST_SHARES: usize;

    /// The non-zero scalar of share number `index`, `1 ≤ index ≤ MOST_SHARES`.
    fn scalar(index: usize) -> Self::Scalar;
    /// `a − b`.
    fn subtract(a: Self::Scalar, b: Self::Scalar) -> Self::Scalar;
    /// `a · b`.
    fn multiply(a: Self::Scalar, b: Self::Scalar) -> Self::Scalar;
    /// `1 / a`, `a ≠ 0`.
    fn invert(a: Self::Scalar) -> Self::Scalar;
    /// The zero secret.
    fn zero() -> Self::Value;
    /// A uniform secret, zero included.
    fn random(rng: &mut impl CryptoRng) -> Self::Value;
    /// `value ← value · scalar + addend`.
    fn scale_and_add(value: &mut Self::Value, scalar: Self::Scalar, addend: &Self::Value);
}

/// Splits `secret` into shares numbered 1 to `n`, any `t` of which determine it.
///
/// # Errors
/// Not `1 ≤ t ≤ n ≤ S::MOST_SHARES`.
pub fn split<S: Space>(
    secret: &S::Value,
    t: usize,
    n: usize,
    rng: &mut impl CryptoRng,
) -> Result<Vec<S::Value>> {
    check(n <= S::MOST_SHARES, "shamir", "n", n, "at most the number of non-zero field elements")?;
    check((1..=n).contains(&t), "shamir", "t", t, "between 1 and n")?;
    let mut coefficients: Vec<S::Value> = (1..t).map(|_| S::random(rng)).collect();
    let shares = (1..=n).map(|index| evaluate::<S>(secret, &coefficients, index)).collect();
    coefficients.iter_mut().for_each(Zeroize::zeroize);
    Ok(shares)
}

/// `secret + c₁ x + c₂ x² + …` at share number `index`, by Horner's rule.
pub(crate) fn evaluate<S: Space>(secret: &S::Value, coefficients: &[S::Value], index: usize) -> S::Value {
    let x = S::scalar(index);
    let mut value = S::zero();
    for coefficient in coefficients.iter().rev().chain([secret]) {
        S::scale_and_add(&mut value, x, coefficient);
    }
    value
}

/// The value at number `at` (0 is the secret) of the polynomial through `shares: [(number, value)]`.
///
/// # Errors
/// No shares, a number out of range, or the same number twice.
pub fn interpolate<S: Space>(shares: &[(usize, S::Value)], at: usize) -> Result<S::Value> {
    check(!shares.is_empty(), "shamir", "shares", 0, "at least one")?;
    for (i, (index, _)) in shares.iter().enumerate() {
        check(
            (1..=S::MOST_SHARES).contains(index),
            "shamir",
            "share number",
            index,
            "between 1 and the field's size",
        )?;
        if shares[..i].iter().any(|(other, _)| other == index) {
            return Err(Error::malformed("shares", format!("number {index} comes twice")));
        }
    }
    let zero = S::subtract(S::scalar(1), S::scalar(1));
    let target = if at == 0 { zero } else { S::scalar(at) };
    let mut result = S::zero();
    for (i, (index, value)) in shares.iter().enumerate() {
        let x = S::scalar(*index);
        let (mut numerator, mut denominator) = (S::scalar(1), S::scalar(1));
        for (j, (other, _)) in shares.iter().enumerate() {
            if i != j {
                numerator = S::multiply(numerator, S::subtract(target, S::scalar(*other)));
                denominator = S::multiply(denominator, S::subtract(x, S::scalar(*other)));
            }
        }
        let weight = S::multiply(numerator, S::invert(denominator));
        let mut term = value.clone();
        S::scale_and_add(&mut term, weight, &result);
        std::mem::swap(&mut result, &mut term);
        term.zeroize();
    }
    Ok(result)
}

/// The secret from at least `t` shares; more than `t` are used as they come.
///
/// # Errors
/// As [`interpolate`]. Wrong shares give a wrong secret without notice: compare with a commitment.
pub fn combine<S: Space>(shares: &[(usize, S::Value)]) -> Result<S::Value> {
    interpolate::<S>(shares, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip<S: Space>(t: usize, n: usize, start: usize, seed: u64) -> bool
    where
        S::Value: PartialEq,
    {
        let mut rng = rl_core::seed::SeedStream::new(seed).stream("shamir", 0);
        let secret = S::random(&mut rng);
        let shares = split::<S>(&secret, t, n, &mut rng).unwrap();
        let numbered: Vec<_> = (0..t).map(|i| (start + i) % n).map(|i| (i + 1, shares[i].clone())).collect();
        let fewer = t == 1 || combine::<S>(&numbered[..t - 1]).unwrap() != secret;
        combine::<S>(&numbered).unwrap() == secret && fewer
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_t_shares_give_the_secret_and_fewer_do_not(n in 1usize..30, t in 1usize..30, start in 0usize..30, seed in any::<u64>()) {
            let t = t.min(n);
            prop_assert!(round_trip::<Gf256>(t, n, start, seed));
            prop_assert!(round_trip::<Gf2p128>(t, n, start, seed));
            prop_assert!(round_trip::<Prime25519>(t, n, start, seed));
        }
    }

    #[test]
    fn limits() {
        let mut rng = rl_core::seed::SeedStream::new(0).stream("shamir", 1);
        let secret = [7; 32];
        assert!(split::<Gf256>(&secret, 3, 2, &mut rng).is_err());
        assert!(split::<Gf256>(&secret, 0, 2, &mut rng).is_err());
        assert!(split::<Gf256>(&secret, 2, 256, &mut rng).is_err());
        assert_eq!(split::<Gf256>(&secret, 128, 255, &mut rng).unwrap().len(), 255);
        assert!(combine::<Gf256>(&[]).is_err());
        assert!(combine::<Gf256>(&[(1, secret), (1, secret)]).is_err());
        assert!(combine::<Gf256>(&[(0, secret)]).is_err());
    }
}
