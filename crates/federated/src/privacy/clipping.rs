//! Client-level DP-FedAvg (McMahan et al. 2018, algorithm 1) with flat clipping, and the adaptive clipping norm of
//! Andrew et al. 2021.

use crate::error::{Error, Result, check};
use crate::kernel::{Real, norm};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// Scales `update: [D]` in place by `min(1, S/‖update‖)` and returns whether it was within `S` already.
///
/// # Errors
/// `S ≤ 0`, or an update that is not finite.
pub fn clip<F: Real>(update: &mut [F], clipping_norm: f64) -> Result<bool> {
    check(clipping_norm > 0.0, "clip", "clipping_norm", clipping_norm, "> 0")?;
    let length = norm(update);
    if !length.is_finite() {
        return Err(Error::NotFinite { operation: "clip", what: "the norm of the update".into() });
    }
    if length <= clipping_norm {
        return Ok(true);
    }
    let scale = clipping_norm / length;
    update.iter_mut().for_each(|x| *x = F::from_f64(scale * x.to_f64()));
    Ok(false)
}

/// The adaptive clipping norm: `C ← C · exp(−η_C (b̃ − γ))` (Andrew et al. 2021, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveClip {
    /// `C > 0`, the present norm; the paper starts at 0.1.
    pub clipping_norm: f64,
    /// `η_C ≥ 0`; paper: 0.2.
    pub learning_rate: f64,
    /// `γ ∈ [0, 1]`, the share of updates that should stay unclipped; paper: 0.5.
    pub target_quantile: f64,
}

impl Default for AdaptiveClip {
    fn default() -> Self {
        Self { clipping_norm: 0.1, learning_rate: 0.2, target_quantile: 0.5 }
    }
}

impl AdaptiveClip {
    /// Moves the norm by the (noised) share `b̃` of updates that were within it.
    ///
    /// # Errors
    /// A field out of range, or a share that is not finite.
    pub fn update(&mut self, share_within: f64) -> Result<()> {
        check(self.clipping_norm > 0.0, "adaptive_clip", "clipping_norm", self.clipping_norm, "> 0")?;
        check(
            (0.0..=1.0).contains(&self.target_quantile),
            "adaptive_clip",
            "target_quantile",
            self.target_quantile,
            "in [0, 1]",
        )?;
        check(share_within.is_finite(), "adaptive_clip", "share_within", share_within, "finite")?;
        self.clipping_norm *= (-self.learning_rate * (share_within - self.target_quantile)).exp();
        Ok(())
    }
}

/// Splits the noise multiplier `z` between the updates and the count of unclipped ones (Andrew et al. 2021,
/// theorem 1): `z_Δ = (z⁻² − (2σ_b)⁻²)^{−1/2}` for `σ_b` on the count, `m/20` by default.
///
/// Returns `(σ_b, z_Δ)`.
///
/// # Errors
/// `z ≥ 2σ_b`: the count would need less noise than the whole allows.
pub fn split_noise(z: f64, clients_per_round: f64, sigma_b: Option<f64>) -> Result<(f64, f64)> {
    check(z >= 0.0 && z.is_finite(), "split_noise", "z", z, "≥ 0")?;
    if z == 0.0 {
        return Ok((sigma_b.unwrap_or(0.0), 0.0));
    }
    let sigma_b = sigma_b.unwrap_or(clients_per_round / 20.0);
    check(
        z < 2.0 * sigma_b,
        "split_noise",
        "sigma_b",
        sigma_b,
        "above z/2: raise it or sample more clients",
    )?;
    Ok((sigma_b, (z.powi(-2) - (2.0 * sigma_b).powi(-2)).powf(-0.5)))
}

/// Settings of [`DpFedAvg`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DpFedAvgConfig {
    /// `z ≥ 0`.
    pub noise_multiplier: f64,
    /// Flat (`learning_rate = 0`) or adaptive clipping.
    pub clip: AdaptiveClip,
    /// `q W`: the expected number of clients in a round, the fixed denominator of the mean.
    pub expected_clients: f64,
}

impl DpFedAvgConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first field out of range.
    pub fn validate(&self) -> Result<()> {
        let (z, expected) = (self.noise_multiplier, self.expected_clients);
        check(z >= 0.0 && z.is_finite(), "dp_fed_avg", "noise_multiplier", z, "≥ 0")?;
        check(expected > 0.0 && expected.is_finite(), "dp_fed_avg", "expected_clients", expected, "> 0")?;
        check(
            self.clip.clipping_norm > 0.0,
            "dp_fed_avg",
            "clip.clipping_norm",
            self.clip.clipping_norm,
            "> 0",
        )
    }
}

/// The server of DP-FedAvg with central noise: clipped movements, a fixed denominator, Gaussian noise of standard
/// deviation `z S / (q W)` per coordinate. All clients weigh the same, so that one client moves the sum by at most `S`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DpFedAvg {
    config: DpFedAvgConfig,
    adaptive: bool,
}

impl DpFedAvg {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`DpFedAvgConfig::validate`], and what [`split_noise`] says when clipping adapts.
    pub fn new(config: DpFedAvgConfig) -> Result<Self> {
        config.validate()?;
        let adaptive = config.clip.learning_rate > 0.0;
        if adaptive {
            split_noise(config.noise_multiplier, config.expected_clients, None)?;
        }
        Ok(Self { config, adaptive })
    }

    /// The norm to which the next round's movements are clipped.
    pub fn clipping_norm(&self) -> f64 {
        self.config.clip.clipping_norm
    }

    /// Moves `global: [D]` by the clients' `movements: [N][D]` (local minus global). A movement that is not finite
    /// counts as zero: dropping its client would depend on its data. An empty round still adds noise.
    ///
    /// # Errors
    /// Lengths that differ.
    pub fn aggregate(&mut self, global: &mut [f32], movements: &[&[f32]], rng: &mut impl Rng) -> Result<()> {
        let clipping_norm = self.clipping_norm();
        let mut sum = vec![0.0f64; global.len()];
        let mut within = 0.0;
        for (i, movement) in movements.iter().enumerate() {
            if movement.len() != global.len() {
                return Err(Error::shape(
                    "dp_fed_avg",
                    global.len(),
                    format!("{} from number {i}", movement.len()),
                ));
            }
            let length = norm(movement);
            if !length.is_finite() {
                continue;
            }
            within += f64::from(u8::from(length <= clipping_norm));
            let scale = (clipping_norm / length).min(1.0);
            sum.iter_mut().zip(*movement).for_each(|(s, x)| *s += scale * f64::from(*x));
        }
        let expected = self.config.expected_clients;
        let mut z = self.config.noise_multiplier;
        if self.adaptive {
            let (sigma_b, z_delta) = split_noise(z, expected, None)?;
            let noise: f64 = StandardNormal.sample(rng);
            // the count is centred: one client moves it by 1/2 at most
            let share = 0.5 + (within - 0.5 * movements.len() as f64 + sigma_b * noise) / expected;
            self.config.clip.update(share)?;
            z = z_delta;
        }
        for (x, s) in global.iter_mut().zip(sum) {
            let noise: f64 = StandardNormal.sample(rng);
            *x += ((s + z * clipping_norm * noise) / expected) as f32;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_by_hand() {
        let mut x = [3.0f64, 4.0];
        assert!(clip(&mut x, 5.0).unwrap());
        assert!(!clip(&mut x, 1.0).unwrap());
        assert!((x[0] - 0.6).abs() < 1e-15 && (x[1] - 0.8).abs() < 1e-15);
        assert!(clip(&mut [f64::NAN], 1.0).is_err());
        assert!(clip(&mut x, 0.0).is_err());
    }

    #[test]
    fn one_client_moves_the_sum_by_the_clipping_norm_at_most() {
        let config = DpFedAvgConfig {
            noise_multiplier: 0.0,
            clip: AdaptiveClip { clipping_norm: 2.0, learning_rate: 0.0, target_quantile: 0.5 },
            expected_clients: 4.0,
        };
        let run = |movements: &[&[f32]]| {
            let mut x = [0.0f32; 2];
            let mut rng = rl_core::seed::SeedStream::new(0).stream("dp", 0);
            DpFedAvg::new(config).unwrap().aggregate(&mut x, movements, &mut rng).unwrap();
            x
        };
        let (without, with) = (run(&[&[0.3, 0.1]]), run(&[&[0.3, 0.1], &[1e6, 0.0]]));
        assert!((with[0] - without[0] - 0.5).abs() < 1e-6 && with[1] == without[1]);
        assert_eq!(run(&[&[0.3, 0.1], &[f32::NAN, 0.0]]), without);
    }

    #[test]
    fn noise_has_the_stated_size() {
        let config = DpFedAvgConfig {
            noise_multiplier: 2.0,
            clip: AdaptiveClip { clipping_norm: 3.0, learning_rate: 0.0, target_quantile: 0.5 },
            expected_clients: 6.0,
        };
        let mut x = vec![0.0f32; 20_000];
        let mut rng = rl_core::seed::SeedStream::new(0).stream("dp", 1);
        DpFedAvg::new(config).unwrap().aggregate(&mut x, &[], &mut rng).unwrap();
        let deviation = norm(&x) / (x.len() as f64).sqrt();
        assert!((deviation - 1.0).abs() < 0.02, "{deviation}");
    }

    #[test]
    fn the_norm_finds_the_quantile() {
        let config =
            DpFedAvgConfig { noise_multiplier: 0.5, clip: AdaptiveClip::default(), expected_clients: 100.0 };
        let mut server = DpFedAvg::new(config).unwrap();
        let mut rng = rl_core::seed::SeedStream::new(0).stream("dp", 2);
        let movements: Vec<[f32; 1]> = (1..=100).map(|i| [i as f32]).collect();
        let refs: Vec<&[f32]> = movements.iter().map(|m| m.as_slice()).collect();
        for _ in 0..200 {
            server.aggregate(&mut [0.0], &refs, &mut rng).unwrap();
        }
        assert!((40.0..60.0).contains(&server.clipping_norm()), "{}", server.clipping_norm());
    }
}
