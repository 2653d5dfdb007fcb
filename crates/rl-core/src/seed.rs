//! Seeded randomness: one root seed, many named, independent, serialisable streams.
//!
//! A run has one `SeedStream`. Whoever needs random numbers asks for a stream by purpose and index
//! (`("replay", 0)`, `("env", 3)`) and owns it. Streams do not influence each other, so adding a consumer
//! never shifts the numbers that another one sees, and saving each generator is enough to resume exactly.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The generator behind every stream: portable across platforms and versions, and serialisable.
pub type StreamRng = ChaCha8Rng;

/// The root of all randomness of a run: `(seed, purpose, index) -> independent ChaCha8 stream`.
///
/// The key is built from the seed and the purpose, the index selects one of the 2⁶⁴ streams of that key.
///
/// ```
/// use rand::RngExt;
/// let seeds = rl_core::seed::SeedStream::new(7);
/// let mut a = seeds.stream("env", 0);
/// let mut b = seeds.stream("env", 0);
/// assert_eq!(a.random::<u64>(), b.random::<u64>());
/// assert_ne!(a.random::<u64>(), seeds.stream("env", 1).random::<u64>());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedStream {
    seed: u64,
}

impl SeedStream {
    /// The streams of one run.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed this was made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The generator for one purpose and index. Equal arguments give equal generators.
    pub fn stream(&self, purpose: &str, index: u64) -> StreamRng {
        let mut key = [0u8; 32];
        let purpose = fnv1a(purpose.as_bytes());
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&purpose.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(index);
        rng
    }

    /// A number to seed something that takes one, such as an environment's reset.
    pub fn derive(&self, purpose: &str, index: u64) -> u64 {
        rand::Rng::next_u64(&mut self.stream(purpose, index))
    }
}

/// FNV-1a, 64 bits: a fixed, documented hash, because std's is not stable across versions.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_differ_in_seed_purpose_and_index() {
        let first = |seed, purpose, index| SeedStream::new(seed).stream(purpose, index).random::<u64>();
        let all = [first(1, "env", 0), first(2, "env", 0), first(1, "act", 0), first(1, "env", 1)];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn a_stream_survives_serialisation_in_mid_sequence() {
        let mut rng = SeedStream::new(3).stream("replay", 5);
        for _ in 0..17 {
            rng.random::<u32>();
        }
        let text = serde_json::to_string(&rng).unwrap();
        let mut copy: StreamRng = serde_json::from_str(&text).unwrap();
        assert_eq!(rng.random::<u64>(), copy.random::<u64>());
    }

    #[test]
    fn the_numbers_stay_the_same_across_versions() {
        assert_eq!(fnv1a(b"env"), fnv1a(&[101, 110, 118]));
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
    }
}
