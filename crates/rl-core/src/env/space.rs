//! Spaces and actions.

use crate::{Error, Result};
use rand::{Rng, RngExt};
use std::fmt;

/// The set of possible actions or observations.
#[derive(Clone, Debug, PartialEq)]
pub enum Space {
    /// The numbers `0..n`.
    Discrete(usize),
    /// A box of real vectors; bounds may be infinite.
    Box {
        /// Lower bounds, one per dimension.
        low: Vec<f32>,
        /// Upper bounds, one per dimension.
        high: Vec<f32>,
    },
}

impl Space {
    /// A box with the same bounds in every dimension.
    pub fn uniform_box(dimensions: usize, low: f32, high: f32) -> Self {
        Self::Box { low: vec![low; dimensions], high: vec![high; dimensions] }
    }

    /// A box symmetric about the origin, with one bound per dimension.
    pub fn symmetric_box(high: impl Into<Vec<f32>>) -> Self {
        let high = high.into();
        Self::Box { low: high.iter().map(|h| -h).collect(), high }
    }

    /// Numbers needed to encode an element for a network: `n` (one-hot) or the box's dimensions.
    pub fn width(&self) -> usize {
        match self {
            Self::Discrete(n) => *n,
            Self::Box { low, .. } => low.len(),
        }
    }

    /// Whether an action has the form of this space: an index below `n`, or the right number of finite reals.
    /// Reals outside the bounds have the right form: each environment says how it clips.
    ///
    /// # Errors
    /// [`Error::Action`] naming environment, action and space.
    pub fn check(&self, env: &str, action: Action<'_>) -> Result<()> {
        let fits = match (self, action) {
            (Self::Discrete(n), Action::Discrete(a)) => a < *n,
            (Self::Box { low, .. }, Action::Continuous(a)) => {
                a.len() == low.len() && a.iter().all(|x| x.is_finite())
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(Error::Action { env: env.into(), action: format!("{action:?}"), space: self.to_string() })
    }

    /// A uniform sample of a discrete space. Draws what NumPy's `Generator.integers` draws from the same generator:
    /// Lemire's method on 32-bit words, and nothing for `n = 1`. For a box, see [`sample_box`](Self::sample_box).
    pub fn sample_discrete(n: usize, rng: &mut impl Rng) -> usize {
        let n = n as u64;
        if n <= 1 {
            return 0;
        }
        let mut product = u64::from(rng.next_u32()) * n;
        if (product & 0xffff_ffff) < n {
            let threshold = ((1u64 << 32) - n) % n;
            while (product & 0xffff_ffff) < threshold {
                product = u64::from(rng.next_u32()) * n;
            }
        }
        (product >> 32) as usize
    }

    /// A uniform sample of a bounded box, drawn in f64 and rounded to f32 as Gymnasium does; an unbounded
    /// dimension is drawn from the standard normal.
    pub fn sample_box(low: &[f32], high: &[f32], rng: &mut impl Rng, action: &mut [f32]) {
        for ((a, &low), &high) in action.iter_mut().zip(low).zip(high) {
            *a = if low.is_finite() && high.is_finite() {
                uniform(rng, f64::from(low), f64::from(high)) as f32
            } else {
                rng.sample::<f64, _>(rand_distr::StandardNormal) as f32
            };
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discrete(n) => write!(f, "Discrete({n})"),
            Self::Box { low, high } => write!(f, "Box({low:?}, {high:?})"),
        }
    }
}

/// An action, borrowed: nothing is copied on the way to the environment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action<'a> {
    /// One of `0..n`.
    Discrete(usize),
    /// A real vector.
    Continuous(&'a [f32]),
}

impl<'a> Action<'a> {
    /// The index; zero for a continuous action, which an environment's check has excluded before.
    pub fn index(self) -> usize {
        match self {
            Self::Discrete(a) => a,
            Self::Continuous(_) => 0,
        }
    }

    /// The reals; empty for a discrete action, which an environment's check has excluded before.
    pub fn reals(self) -> &'a [f32] {
        match self {
            Self::Discrete(_) => &[],
            Self::Continuous(a) => a,
        }
    }

    /// The first of the reals; zero if there is none.
    pub fn first(self) -> f32 {
        self.reals().first().copied().unwrap_or(0.0)
    }
}

/// `low + (high − low) · u` with `u` the upper 53 bits of one 64-bit word: NumPy's `Generator.uniform`.
pub fn uniform(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
    low + (high - low) * ((rng.next_u64() >> 11) as f64 * SCALE)
}
