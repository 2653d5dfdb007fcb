//! Masks in the ring of integers modulo 2³²: the ChaCha20 keystream of a key, read as little-endian words. Every
//! word of the ring is equally likely, so there is nothing to reject.

use super::keys::Secret;
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use rayon::prelude::*;

/// Words of keystream at a time: 8 KiB, which leaves room in the first-level cache for the vector's tile.
const TILE: usize = 2048;
/// Words per piece of work handed to the pool.
const PIECE: usize = 32 * TILE;

/// Whether a mask is added or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `+ PRG(key)`.
    Plus,
    /// `− PRG(key)`.
    Minus,
}

/// `y ← y + Σ ± PRG(key)  (mod 2³²)` for all keys. A key must be used for one vector only.
pub fn apply(y: &mut [u32], masks: &[(Secret, Sign)]) {
    y.par_chunks_mut(PIECE).enumerate().for_each(|(piece, y)| {
        let mut buffer = [0u8; 4 * TILE];
        for (key, sign) in masks {
            let mut stream = ChaCha20::new(key.expose().into(), &[0u8; 12].into());
            // 2³² blocks of 64 bytes: no vector is as long
            if stream.try_seek((piece * PIECE * 4) as u64).is_err() {
                continue;
            }
            for tile in y.chunks_mut(TILE) {
                let bytes = &mut buffer[..4 * tile.len()];
                bytes.fill(0);
                stream.apply_keystream(bytes);
                let words = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                match sign {
                    Sign::Plus => tile.iter_mut().zip(words).for_each(|(y, w)| *y = y.wrapping_add(w)),
                    Sign::Minus => tile.iter_mut().zip(words).for_each(|(y, w)| *y = y.wrapping_sub(w)),
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_continue_the_same_stream() {
        let key = Secret::new([9; 32]);
        let length = 2 * PIECE + 777;
        let mut fast = vec![1u32; length];
        apply(&mut fast, &[(key.clone(), Sign::Plus)]);
        let mut bytes = vec![0u8; 4 * length];
        ChaCha20::new(key.expose().into(), &[0u8; 12].into()).apply_keystream(&mut bytes);
        for (got, word) in fast.iter().zip(bytes.chunks_exact(4)) {
            assert_eq!(*got, u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_add(1));
        }
        apply(&mut fast, &[(key, Sign::Minus)]);
        assert!(fast.iter().all(|y| *y == 1));
    }
}
