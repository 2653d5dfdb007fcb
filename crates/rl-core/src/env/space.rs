//! Spaces and actions.

use crate::{Error, Result};
use rand::{Rng, RngExt};
use rand_distr::{Exp1, StandardNormal};
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
    /// Lemire's method on 32-bit words (64-bit ones where `n > 2³²`), and nothing for `n = 1`. For a box, see
    /// [`sample_box`](Self::sample_box).
    pub fn sample_discrete(n: usize, rng: &mut impl Rng) -> usize {
        match n as u64 {
            0 | 1 => 0,
            n @ 2..=0xffff_ffff => lemire_u32(n, rng) as usize,
            0x1_0000_0000 => rng.next_u32() as usize,
            n => lemire_u64(n, rng) as usize,
        }
    }

    /// A sample of a box, drawn in f64 and rounded to f32 as Gymnasium does: uniform in a bounded dimension (the same
    /// bits as Gymnasium), exponential from the bound of a half-bounded one, standard normal in an unbounded one.
    pub fn sample_box(low: &[f32], high: &[f32], rng: &mut impl Rng, action: &mut [f32]) {
        for ((a, &low), &high) in action.iter_mut().zip(low).zip(high) {
            *a = match (low.is_finite(), high.is_finite()) {
                (true, true) => uniform(rng, f64::from(low), f64::from(high)) as f32,
                (true, false) => low + rng.sample::<f64, _>(Exp1) as f32,
                (false, true) => high - rng.sample::<f64, _>(Exp1) as f32,
                (false, false) => rng.sample::<f64, _>(StandardNormal) as f32,
            };
        }
    }
}

/// A number below `n < 2³²`, by multiplication and rejection (Lemire, "Fast Random Integer Generation in an Interval",
/// 2019).
fn lemire_u32(n: u64, rng: &mut impl Rng) -> u64 {
    let mut product = u64::from(rng.next_u32()) * n;
    if (product & 0xffff_ffff) < n {
        let threshold = ((1u64 << 32) - n) % n;
        while (product & 0xffff_ffff) < threshold {
            product = u64::from(rng.next_u32()) * n;
        }
    }
    product >> 32
}

/// The same on 64-bit words.
fn lemire_u64(n: u64, rng: &mut impl Rng) -> u64 {
    let mut product = u128::from(rng.next_u64()) * u128::from(n);
    if (product as u64) < n {
        let threshold = n.wrapping_neg() % n;
        while (product as u64) < threshold {
            product = u128::from(rng.next_u64()) * u128::from(n);
        }
    }
    (product >> 64) as u64
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numpy_rng::NumpyRng;

    #[test]
    fn integers_are_numpys_at_every_size() {
        // np.random.default_rng(7).integers(n, size=4)
        let draws = |n: usize| -> Vec<usize> {
            let mut rng = NumpyRng::new(7);
            (0..4).map(|_| Space::sample_discrete(n, &mut rng)).collect()
        };
        assert_eq!(draws(1), [0, 0, 0, 0]);
        assert_eq!(draws(2), [1, 1, 1, 1]);
        assert_eq!(draws(3), [2, 1, 2, 2]);
        assert_eq!(draws(1000), [944, 625, 684, 897]);
        assert_eq!(draws(2147483653), [1342382295, 1469265229, 1241873587, 483628758]);
        assert_eq!(draws(4294967295), [4058335882, 2684764584, 2938530452, 3853503931]);
        assert_eq!(draws(4294967296), [4058335883, 2684764585, 2938530453, 3853503932]);
        assert_eq!(draws(4294967297), [2684764586, 3853503933, 3331544672, 967257516]);
        assert_eq!(
            draws(4611686018427400249),
            [2882744023523094727, 4137668341471495657, 3577218852397966272, 1038584849328936108]
        );
    }

    #[test]
    fn samples_stay_inside_their_box() {
        let (low, high) =
            ([-1.0, 2.0, f32::NEG_INFINITY, f32::NEG_INFINITY], [1.0, f32::INFINITY, -3.0, f32::INFINITY]);
        let (mut rng, mut sample) = (NumpyRng::new(0), [0.0; 4]);
        for _ in 0..1000 {
            Space::sample_box(&low, &high, &mut rng, &mut sample);
            for j in 0..4 {
                assert!((low[j]..=high[j]).contains(&sample[j]) && sample[j].is_finite(), "{sample:?}");
            }
        }
    }

    #[test]
    fn only_actions_of_the_right_form_pass() {
        let (discrete, plane) = (Space::Discrete(3), Space::uniform_box(2, -1.0, 1.0));
        assert!(
            discrete.check("e", Action::Discrete(2)).is_ok()
                && discrete.check("e", Action::Discrete(3)).is_err()
        );
        assert!(
            plane.check("e", Action::Continuous(&[5.0, 0.0])).is_ok(),
            "bounds are the environment's affair"
        );
        assert!(plane.check("e", Action::Continuous(&[0.0])).is_err());
        assert!(plane.check("e", Action::Continuous(&[0.0, f32::INFINITY])).is_err());
        let message = plane.check("Pendulum-v1", Action::Discrete(1)).unwrap_err().to_string();
        assert_eq!(message, "Pendulum-v1: action Discrete(1) is outside Box([-1.0, -1.0], [1.0, 1.0])");
    }
}
