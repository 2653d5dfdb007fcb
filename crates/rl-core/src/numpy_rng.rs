//! NumPy's default generator, bit for bit: `Generator(PCG64(SeedSequence(seed)))`.
//!
//! SeedSequence hashes the seed into four 64-bit words (Melissa O'Neill's `seed_seq_fe`), PCG64 is
//! `pcg_setseq_128_xsl_rr_64`. With it, seeded resets and action samples equal Gymnasium's.

use rand::{SeedableRng, TryRng};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// PCG64 with NumPy's seeding and its buffered 32-bit words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Saved", from = "Saved")]
pub struct NumpyRng {
    state: u128,
    increment: u128,
    buffered: Option<u32>,
}

/// JSON has no 128-bit integers: upper and lower halves.
#[derive(Serialize, Deserialize)]
struct Saved {
    state: [u64; 2],
    increment: [u64; 2],
    buffered: Option<u32>,
}

fn split(wide: u128) -> [u64; 2] {
    [(wide >> 64) as u64, wide as u64]
}

fn join([high, low]: [u64; 2]) -> u128 {
    (u128::from(high) << 64) | u128::from(low)
}

impl From<NumpyRng> for Saved {
    fn from(rng: NumpyRng) -> Self {
        Self { state: split(rng.state), increment: split(rng.increment), buffered: rng.buffered }
    }
}

impl From<Saved> for NumpyRng {
    fn from(saved: Saved) -> Self {
        Self { state: join(saved.state), increment: join(saved.increment), buffered: saved.buffered }
    }
}

const MULTIPLIER: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;

impl NumpyRng {
    /// The generator that `numpy.random.default_rng(seed)` makes.
    pub fn new(seed: u64) -> Self {
        let words = seed_sequence(seed);
        let increment = (join([words[2], words[3]]) << 1) | 1;
        let mut rng = Self { state: 0, increment, buffered: None };
        rng.advance();
        rng.state = rng.state.wrapping_add(join([words[0], words[1]]));
        rng.advance();
        rng
    }

    /// State and increment of the underlying congruential generator, as NumPy reports them.
    pub fn state(&self) -> (u128, u128) {
        (self.state, self.increment)
    }

    fn advance(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    fn word(&mut self) -> u64 {
        self.advance();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }
}

impl TryRng for NumpyRng {
    type Error = Infallible;

    /// The lower half of a fresh word first, then its upper half.
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        if let Some(upper) = self.buffered.take() {
            return Ok(upper);
        }
        let word = self.word();
        self.buffered = Some((word >> 32) as u32);
        Ok(word as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.word())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.word().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl SeedableRng for NumpyRng {
    type Seed = [u8; 8];

    fn from_seed(seed: [u8; 8]) -> Self {
        Self::new(u64::from_le_bytes(seed))
    }

    fn seed_from_u64(seed: u64) -> Self {
        Self::new(seed)
    }
}

/// `SeedSequence(seed).generate_state(4, uint64)`.
pub fn seed_sequence(seed: u64) -> [u64; 4] {
    let mut hash = 0x43b0_d7e5u32;
    let mut hash_mix = |value: u32| {
        let value = value ^ hash;
        hash = hash.wrapping_mul(0x931e_8875);
        let value = value.wrapping_mul(hash);
        value ^ (value >> 16)
    };
    let mix = |x: u32, y: u32| {
        let r = x.wrapping_mul(0xca01_f9dd).wrapping_sub(y.wrapping_mul(0x4973_f715));
        r ^ (r >> 16)
    };
    // A seed below 2³² is one word; the pool is padded with zeros either way.
    let mut pool = [seed as u32, (seed >> 32) as u32, 0, 0].map(&mut hash_mix);
    for source in 0..4 {
        for target in 0..4 {
            if source != target {
                pool[target] = mix(pool[target], hash_mix(pool[source]));
            }
        }
    }
    let mut hash = 0x8b51_f9ddu32;
    let mut words = [0u32; 8];
    for (i, word) in words.iter_mut().enumerate() {
        let value = pool[i % 4] ^ hash;
        hash = hash.wrapping_mul(0x58f3_8ded);
        let value = value.wrapping_mul(hash);
        *word = value ^ (value >> 16);
    }
    std::array::from_fn(|i| u64::from(words[2 * i]) | (u64::from(words[2 * i + 1]) << 32))
}
