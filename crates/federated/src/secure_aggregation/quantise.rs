//! Updates as integers whose sum cannot leave the ring.
//!
//! Each number is clipped to `[−c, c]` and rounded stochastically to `q ∈ 0..=L`, `E q = (x + c) L / 2c`; it travels as
//! `w q` behind the client's integer weight `w ≤ W`. With at most `N` clients the sum is at most `N W L`, and a
//! [`Quantiser`] with `N W L ≥ 2³²` does not exist.

use crate::error::{Error, Result, check};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// What all clients of a session agree on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantiserConfig {
    /// `c > 0`: numbers beyond it are clipped.
    pub clip: f64,
    /// `L ≥ 1`: steps between `−c` and `c`. Flower's default is 2²².
    pub levels: u32,
    /// `N ≥ 1`.
    pub most_clients: u32,
    /// `W ≥ 1`: 1 weighs all clients alike.
    pub most_weight: u32,
}

impl Default for QuantiserConfig {
    fn default() -> Self {
        Self { clip: 8.0, levels: 1 << 22, most_clients: 1000, most_weight: 1 }
    }
}

/// The checked settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiser(QuantiserConfig);

impl Quantiser {
    /// Checks that no sum can wrap.
    ///
    /// # Errors
    /// A field out of range, or `N W L ≥ 2³²`.
    pub fn new(config: QuantiserConfig) -> Result<Self> {
        const NAME: &str = "quantiser";
        check(config.clip > 0.0 && config.clip.is_finite(), NAME, "clip", config.clip, "> 0 and finite")?;
        for (field, value) in [
            ("levels", config.levels),
            ("most_clients", config.most_clients),
            ("most_weight", config.most_weight),
        ] {
            check(value >= 1, NAME, field, value, "≥ 1")?;
        }
        let largest =
            u128::from(config.levels) * u128::from(config.most_clients) * u128::from(config.most_weight);
        let fits = largest <= u128::from(u32::MAX);
        check(fits, NAME, "levels · most_clients · most_weight", largest, "below 2^32, or sums could wrap")?;
        Ok(Self(config))
    }

    /// `(clip(x) + c) L / 2c ∈ [0, L]`; a NaN counts as 0.
    pub fn position(&self, x: f64) -> f64 {
        let c = self.0.clip;
        let x = if x.is_nan() { 0.0 } else { x.clamp(-c, c) };
        (x + c) * (f64::from(self.0.levels) / (2.0 * c))
    }

    /// The vector `[w, w q_1, …, w q_D]` to be masked.
    ///
    /// # Errors
    /// A weight of 0 or above `W`.
    pub fn encode(&self, update: &[f32], weight: u32, rng: &mut impl Rng) -> Result<Vec<u32>> {
        check(
            (1..=self.0.most_weight).contains(&weight),
            "quantiser",
            "weight",
            weight,
            "in 1..=most_weight",
        )?;
        let mut out = Vec::with_capacity(update.len() + 1);
        out.push(weight);
        // 32 random bits per number, two from each draw; the bias of 2⁻³² is far below the step
        let mut bits = 0u64;
        for (i, &x) in update.iter().enumerate() {
            bits = if i % 2 == 0 { rng.random::<u64>() } else { bits >> 32 };
            let position = self.position(f64::from(x));
            let whole = position as u32;
            let up = (bits as u32 as f64) * (1.0 / 4294967296.0) < position - f64::from(whole);
            out.push(weight * (whole + u32::from(up)).min(self.0.levels));
        }
        Ok(out)
    }

    /// The weighted mean of the updates and the sum of the weights, from the sum of encoded vectors.
    ///
    /// # Errors
    /// A sum that no set of clients can have: its weight is 0 or too large, or a number exceeds weight · `L`.
    pub fn decode(&self, sum: &[u32]) -> Result<(Vec<f32>, u32)> {
        let most = self.0.most_weight.saturating_mul(self.0.most_clients);
        let Some((&weight, numbers)) = sum.split_first().filter(|(w, _)| (1..=most).contains(*w)) else {
            return Err(Error::malformed("aggregated sum", "its total weight is impossible"));
        };
        if let Some(j) =
            numbers.iter().position(|v| u64::from(*v) > u64::from(weight) * u64::from(self.0.levels))
        {
            return Err(Error::malformed(
                "aggregated sum",
                format!("number {j} is larger than any sum of updates"),
            ));
        }
        let step = 2.0 * self.0.clip / f64::from(self.0.levels);
        let mean = |v: &u32| (f64::from(*v) / f64::from(weight) * step - self.0.clip) as f32;
        Ok((numbers.iter().map(mean).collect(), weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rng() -> rl_core::seed::StreamRng {
        rl_core::seed::SeedStream::new(0).stream("quantise", 0)
    }

    #[test]
    fn a_ring_that_could_overflow_does_not_exist() {
        let config = QuantiserConfig { most_clients: 1024, ..QuantiserConfig::default() };
        assert!(Quantiser::new(config).unwrap_err().to_string().contains("wrap"));
        assert!(Quantiser::new(QuantiserConfig { most_clients: 1023, ..config }).is_ok());
        assert!(Quantiser::new(QuantiserConfig { clip: f64::NAN, ..config }).is_err());
    }

    #[test]
    fn the_largest_sum_does_not_wrap() {
        let q = Quantiser::new(QuantiserConfig {
            clip: 1.0,
            levels: 65_537,
            most_clients: 255,
            most_weight: 257,
        })
        .unwrap();
        let one = q.encode(&[f32::INFINITY, 1.0], 257, &mut rng()).unwrap();
        let sum: Option<Vec<u32>> = one.iter().map(|v| v.checked_mul(255)).collect();
        assert_eq!(q.decode(&sum.unwrap()).unwrap(), (vec![1.0, 1.0], 257 * 255));
        assert!(q.decode(&[0, 1]).is_err() && q.decode(&[1, 65_538]).is_err() && q.decode(&[]).is_err());
    }

    proptest! {
        #[test]
        fn means_come_back_within_a_step(x in prop::collection::vec(-3.0f32..3.0, 1..20), w in 1u32..5) {
            let q = Quantiser::new(QuantiserConfig { clip: 2.0, levels: 1000, most_clients: 10, most_weight: 5 }).unwrap();
            let (mean, weight) = q.decode(&q.encode(&x, w, &mut rng()).unwrap()).unwrap();
            prop_assert_eq!(weight, w);
            for (m, x) in mean.iter().zip(&x) {
                prop_assert!((m - x.clamp(-2.0, 2.0)).abs() <= 0.004 + 1e-6);
            }
        }
    }

    #[test]
    fn rounding_is_unbiased() {
        let q = Quantiser::new(QuantiserConfig { clip: 1.0, levels: 4, most_clients: 1, most_weight: 1 })
            .unwrap();
        let encoded = q.encode(&vec![0.15f32; 40_000], 1, &mut rng()).unwrap();
        let mean = encoded[1..].iter().map(|v| f64::from(*v)).sum::<f64>() / 40_000.0;
        assert!((mean - 2.3).abs() < 0.01, "{mean}");
    }
}
