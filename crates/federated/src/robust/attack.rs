//! What malicious clients send, to test the defences with: one suite for every rule.

use crate::error::{Error, Result, check, same_length};
use crate::kernel::{Real, norm};
use crate::strategy::{Instruction, Reply, Strategy};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// An attack. Colluding attackers know the updates (movements or gradients) of the honest clients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Attack {
    /// `−scale · own update`.
    SignFlip {
        /// Factor > 0; FedPG-BR's experiments use 2.5.
        scale: f64,
    },
    /// Gaussian noise of standard deviation `scale`, whatever was learned.
    Random {
        /// Standard deviation per coordinate, > 0.
        scale: f64,
    },
    /// The honest mean plus noise of `scale` times the honest spread per coordinate: right on average, useless alone.
    Variance {
        /// Factor > 0.
        scale: f64,
    },
    /// A little is enough (Baruch, Baruch & Goldberg 2019): honest mean − `z` · honest standard deviation in
    /// every coordinate, too small a shift to be told from honest spread.
    LittleIsEnough {
        /// `z`; `None` takes the paper's largest undetected one for the numbers of clients.
        z: Option<f64>,
    },
    /// Nothing: a zero update.
    Zero,
    /// An honest computation on poisoned rewards `r → −scale · r`; the client's training applies
    /// [`poison_reward`], its update is then sent as it is.
    RewardPoisoning {
        /// Factor > 0.
        scale: f64,
    },
}

/// The reward that a poisoned client trains on: `−scale · r` under [`Attack::RewardPoisoning`], else `r`.
pub fn poison_reward(attack: Option<&Attack>, reward: f64) -> f64 {
    match attack {
        Some(Attack::RewardPoisoning { scale }) => -scale * reward,
        _ => reward,
    }
}

impl Attack {
    /// The update that the attacker sends. `own: [D]` is what honest work would give it, `honest: [H][D]` what the
    /// honest clients send, `malicious` the number of colluding attackers.
    ///
    /// # Errors
    /// Constants out of range, no honest update where one is needed, unequal lengths.
    pub fn craft<F: Real>(
        &self,
        own: &[F],
        honest: &[&[F]],
        malicious: usize,
        rng: &mut impl Rng,
    ) -> Result<Vec<F>> {
        let normal = |rng: &mut _| -> f64 { StandardNormal.sample(rng) };
        let positive = |scale: f64| check(scale > 0.0 && scale.is_finite(), "attack", "scale", scale, "> 0");
        match *self {
            Self::SignFlip { scale } => {
                positive(scale)?;
                Ok(own.iter().map(|x| F::from_f64(-scale * x.to_f64())).collect())
            }
            Self::Random { scale } => {
                positive(scale)?;
                Ok(own.iter().map(|_| F::from_f64(scale * normal(rng))).collect())
            }
            Self::Variance { scale } => {
                positive(scale)?;
                let (mean, deviation) = moments(own.len(), honest)?;
                Ok(mean
                    .iter()
                    .zip(deviation)
                    .map(|(m, s)| F::from_f64(m + scale * s * normal(rng)))
                    .collect())
            }
            Self::LittleIsEnough { z } => {
                let z = z.unwrap_or_else(|| undetected_shift(honest.len() + malicious, malicious));
                let (mean, deviation) = moments(own.len(), honest)?;
                Ok(mean.iter().zip(deviation).map(|(m, s)| F::from_f64(m - z * s)).collect())
            }
            Self::Zero => Ok(vec![F::default(); own.len()]),
            Self::RewardPoisoning { scale } => {
                positive(scale)?;
                Ok(own.to_vec())
            }
        }
    }
}

/// A federation in which some clients attack: what they send is replaced by what the attack crafts from the movements
/// (local minus global) of all, before the strategy sees it.
pub struct Attacked<S> {
    strategy: S,
    attack: Attack,
    attackers: Vec<u64>,
    seeds: rl_core::SeedStream,
    round: u64,
}

impl<S> Attacked<S> {
    /// `strategy` under `attack` by the clients of these numbers.
    pub fn new(strategy: S, attack: Attack, attackers: Vec<u64>, seeds: rl_core::SeedStream) -> Self {
        Self { strategy, attack, attackers, seeds, round: 0 }
    }
}

impl<S: Strategy> Strategy for Attacked<S> {
    fn instruction(&self, round: u64) -> Instruction {
        self.strategy.instruction(round)
    }

    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()> {
        let mut rng = self.seeds.stream("attack", self.round);
        self.round += 1;
        let movement =
            |r: &Reply| -> Vec<f32> { r.parameters.iter().zip(&*global).map(|(y, x)| y - x).collect() };
        let (bad, good): (Vec<usize>, Vec<usize>) =
            (0..replies.len()).partition(|&i| self.attackers.contains(&replies[i].client));
        let honest: Vec<Vec<f32>> = good.iter().map(|&i| movement(&replies[i])).collect();
        let honest: Vec<&[f32]> = honest.iter().map(Vec::as_slice).collect();
        let mut sent = replies.to_vec();
        for &i in &bad {
            let crafted = self.attack.craft(&movement(&replies[i]), &honest, bad.len(), &mut rng)?;
            sent[i].parameters = global.iter().zip(crafted).map(|(x, d)| x + d).collect();
        }
        self.strategy.aggregate(global, &sent)
    }
}

/// Mean and (population) standard deviation of each coordinate of the honest updates.
fn moments<F: Real>(dimension: usize, honest: &[&[F]]) -> Result<(Vec<f64>, Vec<f64>)> {
    if honest.is_empty() {
        return Err(Error::TooFew { operation: "attack", needed: 1, got: 0 });
    }
    if same_length("attack", honest)? != dimension {
        return Err(Error::shape("attack", dimension, honest[0].len()));
    }
    let n = honest.len() as f64;
    let mean: Vec<f64> =
        (0..dimension).map(|j| honest.iter().map(|x| x[j].to_f64()).sum::<f64>() / n).collect();
    let deviation = mean
        .iter()
        .enumerate()
        .map(|(j, m)| (honest.iter().map(|x| (x[j].to_f64() - m).powi(2)).sum::<f64>() / n).sqrt())
        .collect();
    Ok((mean, deviation))
}

/// `z_max` of Baruch et al. 2019 (algorithm 3): with `s = ⌊n/2 + 1⌋ − m` honest supporters needed,
/// `Φ(z) = (n − m − s) / (n − m)`.
pub fn undetected_shift(clients: usize, malicious: usize) -> f64 {
    let honest = clients.saturating_sub(malicious).max(1) as f64;
    let supporters = (clients / 2 + 1).saturating_sub(malicious) as f64;
    normal_quantile(((honest - supporters) / honest).clamp(1e-9, 1.0 - 1e-9))
}

/// `Φ⁻¹(p)` by bisection on the error function: exact enough, and short.
fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if crate::privacy::normal_cdf(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// How far an update lies from the honest mean in units of its norm, for reports: `‖u − m‖ / ‖m‖`.
pub fn relative_deviation<F: Real>(update: &[F], honest_mean: &[F]) -> f64 {
    crate::kernel::distance(update, honest_mean) / norm(honest_mean).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crafted_updates_by_hand() {
        let mut rng = rl_core::seed::SeedStream::new(0).stream("attack", 0);
        let honest: [&[f64]; 2] = [&[1.0, 0.0], &[3.0, 0.0]];
        let own = [2.0, -1.0];
        let craft = |a: Attack, rng: &mut _| a.craft(&own, &honest, 1, rng).unwrap();
        assert_eq!(craft(Attack::SignFlip { scale: 2.0 }, &mut rng), [-4.0, 2.0]);
        assert_eq!(craft(Attack::LittleIsEnough { z: Some(1.5) }, &mut rng), [0.5, 0.0]);
        assert_eq!(craft(Attack::Zero, &mut rng), [0.0, 0.0]);
        assert_eq!(craft(Attack::Variance { scale: 9.0 }, &mut rng)[1], 0.0);
        assert_eq!(craft(Attack::RewardPoisoning { scale: 1.0 }, &mut rng), own);
        assert_eq!(poison_reward(Some(&Attack::RewardPoisoning { scale: 2.0 }), 3.0), -6.0);
        assert_eq!(poison_reward(Some(&Attack::Zero), 3.0), 3.0);
        assert!(Attack::Variance { scale: 1.0 }.craft(&own, &[], 1, &mut rng).is_err());
    }

    #[test]
    fn attackers_replace_what_they_send_and_nothing_else() {
        use crate::strategy::{FedAvg, reply};
        let seeds = rl_core::SeedStream::new(0);
        let replies = [reply(4, &[2.0], 1.0), reply(7, &[2.0], 1.0), reply(9, &[2.0], 1.0)];
        let mut server = Attacked::new(FedAvg, Attack::SignFlip { scale: 2.0 }, vec![7], seeds);
        let mut global = [1.0f32];
        server.aggregate(&mut global, &replies).unwrap();
        // movements 1, −2, 1
        assert_eq!(global, [1.0]);
    }

    #[test]
    fn the_undetected_shift_of_the_papers_example() {
        // n = 50, m = 24: s = 2, Φ(z) = 24/26
        let z = undetected_shift(50, 24);
        assert!((crate::privacy::normal_cdf(z) - 24.0 / 26.0).abs() < 1e-9);
        assert!((1.42..1.44).contains(&z), "{z}");
    }
}
