//! Replays `secagg_vectors.json`: sharing over three fields, key agreement, masks, quantisation, a dropout.

use super::keys::{KeyPair, Secret, derive};
use super::mask::{Sign, apply};
use super::quantise::{Quantiser, QuantiserConfig};
use super::shamir::{Gf2p128, Gf256, Prime25519, Space, combine, evaluate, interpolate};
use crate::conformance::list;
use rl_core::conformance::{Checker, get};
use serde_json::Value;

fn text(error: crate::Error) -> String {
    error.to_string()
}

fn bytes<const N: usize>(hex: &str) -> Result<[u8; N], String> {
    let digits = hex.strip_prefix("0x").unwrap_or(hex);
    // numbers come without leading zeros
    let padded = format!("{digits:0>width$}", width = 2 * N);
    let byte = |i: usize| padded.get(2 * i..2 * i + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let all: Option<Vec<u8>> = (0..N).map(byte).collect();
    let fits = padded.len() == 2 * N;
    all.filter(|_| fits)
        .and_then(|v| v.try_into().ok())
        .ok_or_else(|| format!("`{hex}` is not {N} bytes in hexadecimal"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn check(data: &Value, c: &mut Checker) -> Result<(), String> {
    for case in list(data, "shamir_gf2_128")? {
        shamir::<Gf2p128>(case, c, "GF(2^128)", |hex| bytes(hex).map(u128::from_be_bytes))?;
    }
    let element = |hex: &str| {
        super::shamir::Prime25519::element(&bytes(hex)?)
            .ok_or_else(|| format!("`{hex}` is not below the prime"))
    };
    for case in list(data, "shamir_prime")? {
        shamir::<Prime25519>(case, c, "2^255 - 19", element)?;
        let coefficients: Vec<String> = get(case, "coeffs")?;
        let coefficients = coefficients.iter().map(|hex| element(hex)).collect::<Result<Vec<_>, _>>()?;
        let (secret, rest) = coefficients.split_first().ok_or("no coefficients")?;
        for (index, hex) in shares(case)? {
            c.exact(
                "split over 2^255 - 19",
                evaluate::<Prime25519>(secret, rest, index) == element(&hex)?,
                true,
            );
        }
    }
    for case in list(data, "gf256")? {
        shamir::<Gf256>(case, c, "GF(2^8)", bytes)?;
        let by_byte: Vec<Vec<u8>> = get(case, "coeffs")?;
        let degree = by_byte.iter().map(Vec::len).max().unwrap_or(0);
        let coefficient =
            |k: usize| std::array::from_fn(|i| by_byte.get(i).and_then(|c| c.get(k)).copied().unwrap_or(0));
        let coefficients: Vec<[u8; 32]> = (0..degree).map(coefficient).collect();
        let secret = bytes(&get::<String>(case, "secret")?)?;
        for (index, want) in shares(case)? {
            c.exact("split over GF(2^8)", hex(&evaluate::<Gf256>(&secret, &coefficients, index)), want);
        }
    }
    for case in list(data, "kex_prg")? {
        key_agreement(case, c)?;
    }
    for case in list(data, "quantise")? {
        quantise(case, c)?;
    }
    double_mask(data.get("double_mask").ok_or("field `double_mask` is missing")?, c)
}

fn shares(case: &Value) -> Result<Vec<(usize, String)>, String> {
    get(case, "shares")
}

/// The secret from the first and the last `t` shares, and every share from the first `t` others.
fn shamir<S: Space>(
    case: &Value,
    c: &mut Checker,
    field: &str,
    read: impl Fn(&str) -> Result<S::Value, String>,
) -> Result<(), String>
where
    S::Value: PartialEq,
{
    let t: usize = get(case, "t")?;
    let secret = read(&get::<String>(case, "secret")?)?;
    let shares =
        shares(case)?.into_iter().map(|(i, hex)| Ok((i, read(&hex)?))).collect::<Result<Vec<_>, String>>()?;
    if shares.len() < t {
        return Err(format!("{} shares for a threshold of {t}", shares.len()));
    }
    for window in [&shares[..t], &shares[shares.len() - t..]] {
        c.exact(&format!("combine over {field}"), combine::<S>(window).map_err(text)? == secret, true);
    }
    for (index, share) in &shares {
        let others: Vec<_> = shares.iter().filter(|(other, _)| other != index).take(t).cloned().collect();
        if others.len() == t {
            let value = interpolate::<S>(&others, *index).map_err(text)?;
            c.exact(&format!("share {index} over {field}"), value == *share, true);
        }
    }
    Ok(())
}

fn key_agreement(case: &Value, c: &mut Checker) -> Result<(), String> {
    let field = |key: &str| get::<String>(case, key);
    let pair = |key: &str| Ok::<_, String>(KeyPair::from_secret(Secret::new(bytes(&field(key)?)?)));
    let (a, b) = (pair("sk_a")?, pair("sk_b")?);
    c.exact("public key a", hex(&a.public()), field("pk_a")?);
    c.exact("public key b", hex(&b.public()), field("pk_b")?);
    for (mine, theirs) in [(&a, &b), (&b, &a)] {
        let shared = mine.agree(&theirs.public()).map_err(text)?;
        c.exact("agreed bytes", hex(shared.expose()), field("shared")?);
        c.exact("salt", field("hkdf_salt")?, String::new());
        let key = derive(&shared, &[field("hkdf_info")?.as_bytes()]);
        c.exact("derived key", hex(key.expose()), field("key")?);
        let mut words = [0u32; 64];
        apply(&mut words, &[(key, Sign::Plus)]);
        let stream: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        c.exact("keystream", hex(&stream), field("chacha20_keystream_first256")?);
        c.exact("mask words", words[..8].to_vec(), get(case, "mask_u32_le_first8")?);
    }
    Ok(())
}

fn quantise(case: &Value, c: &mut Checker) -> Result<(), String> {
    let (clip, levels): (f64, u32) = (get(case, "clip")?, get(case, "target_range")?);
    let quantiser =
        Quantiser::new(QuantiserConfig { clip, levels, most_clients: 1, most_weight: 1 }).map_err(text)?;
    let x: Vec<f64> = get(case, "x")?;
    let position: Vec<f64> = x.iter().map(|x| quantiser.position(*x)).collect();
    c.close_slice("position", &position, &get::<Vec<f64>>(case, "pre")?, 1e-12);
    let (floor, ceil): (Vec<u32>, Vec<u32>) = (get(case, "floor")?, get(case, "ceil")?);
    for (p, (low, high)) in position.iter().zip(floor.iter().zip(&ceil)) {
        c.exact("floor", p.floor() as u32, *low);
        c.exact("ceil", p.ceil() as u32, *high);
    }
    // rounding of f32 inputs may only reach the two neighbours of the f32's position
    let mut rng = rl_core::seed::SeedStream::new(0).stream("conformance", 0);
    let narrow: Vec<f32> = x.iter().map(|x| *x as f32).collect();
    let encoded = quantiser.encode(&narrow, 1, &mut rng).map_err(text)?;
    for (value, x) in encoded[1..].iter().zip(&narrow) {
        let position = quantiser.position(f64::from(*x));
        c.exact(
            "stochastic rounding",
            *value == position.floor() as u32 || *value == position.ceil() as u32,
            true,
        );
    }
    let sum: Vec<u32> = [1].into_iter().chain(floor).collect();
    let (decoded, _) = quantiser.decode(&sum).map_err(text)?;
    for (got, want) in decoded.iter().zip(get::<Vec<f64>>(case, "dequant_floor")?) {
        // f32 output: half a unit in its last place
        c.close("dequantised", f64::from(*got), want, 6e-8);
    }
    Ok(())
}

fn double_mask(case: &Value, c: &mut Checker) -> Result<(), String> {
    c.exact("modulus", get::<u64>(case, "modulus")?, 1 << 32);
    let n: usize = get(case, "n")?;
    let (dropped, inputs): (Vec<usize>, Vec<Vec<u32>>) = (get(case, "dropped")?, get(case, "inputs")?);
    let self_keys: Vec<String> = get(case, "self_keys")?;
    let pairs = case.get("pair_keys").ok_or("field `pair_keys` is missing")?;
    let pair = |i: usize, j: usize| -> Result<Secret, String> {
        Ok(Secret::new(bytes(&get::<String>(pairs, &format!("{}-{}", i.min(j), i.max(j)))?)?))
    };
    let masked: Vec<Vec<u32>> = get(case, "masked")?;
    let mut sum = vec![0u32; inputs.first().map_or(0, Vec::len)];
    for (i, input) in inputs.iter().enumerate() {
        let own = Secret::new(bytes(self_keys.get(i).ok_or("too few self keys")?)?);
        let mut masks = vec![(own.clone(), Sign::Plus)];
        for j in (0..n).filter(|j| *j != i) {
            masks.push((pair(i, j)?, if i < j { Sign::Plus } else { Sign::Minus }));
        }
        let mut y = input.clone();
        apply(&mut y, &masks);
        c.exact(&format!("masked input of client {i}"), Some(&y), masked.get(i));
        if !dropped.contains(&i) {
            sum.iter_mut().zip(&y).for_each(|(s, y)| *s = s.wrapping_add(*y));
            let mut lost = vec![(own, Sign::Minus)];
            for &j in &dropped {
                lost.push((pair(i, j)?, if i < j { Sign::Minus } else { Sign::Plus }));
            }
            apply(&mut sum, &lost);
        }
    }
    c.exact("sum of survivors", sum, get(case, "sum_of_survivors")?);
    Ok(())
}
