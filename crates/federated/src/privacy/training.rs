//! Private training as a strategy: what a simulation needs to train under a budget, with noise added by the server, or
//! by the clients inside secure aggregation.
//!
//! The unit is the client: whatever one client does in a round is one clipped movement. Clients must be sampled as the
//! budget's mechanism says; the simulation's settings are the place for that.

use super::clipping::{DpFedAvg, DpFedAvgConfig};
use super::distributed::{DistributedConfig, DistributedNoise};
use super::{Budget, Report, Sampling};
use crate::error::{Error, Result, check};
use crate::secure_aggregation::session::{Member, play, simulated_identities};
use crate::secure_aggregation::{ClientId, SessionConfig};
use crate::strategy::{Reply, Strategy};
use ed25519_dalek::SigningKey;
use rand::RngExt;
use rl_core::SeedStream;

/// DP-FedAvg under a budget: a round that the budget does not allow is refused, and the parameters stay.
pub struct PrivateTraining {
    server: DpFedAvg,
    budget: Budget,
    seeds: SeedStream,
    spent: Vec<Report>,
}

impl PrivateTraining {
    /// With noise from `seeds`.
    ///
    /// # Errors
    /// Settings out of range, or a noise multiplier that is not the budget's.
    pub fn new(config: DpFedAvgConfig, budget: Budget, seeds: SeedStream) -> Result<Self> {
        let (noise, accounted) = (config.noise_multiplier, budget.mechanism.noise_multiplier);
        check(
            noise >= accounted,
            "private_training",
            "noise_multiplier",
            noise,
            "that of the budget at least",
        )?;
        Ok(Self { server: DpFedAvg::new(config)?, budget, seeds, spent: vec![] })
    }

    /// The guarantee after every round so far.
    pub fn spent(&self) -> &[Report] {
        &self.spent
    }
}

fn movements(global: &[f32], replies: &[Reply]) -> Result<Vec<Vec<f32>>> {
    let movement = |r: &Reply| {
        if r.parameters.len() != global.len() {
            let got = format!("{} from client {}", r.parameters.len(), r.client);
            return Err(Error::shape("private training", global.len(), got));
        }
        Ok(r.parameters.iter().zip(global).map(|(y, x)| y - x).collect())
    };
    replies.iter().map(movement).collect()
}

impl Strategy for PrivateTraining {
    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()> {
        let moved = movements(global, replies)?;
        let moved: Vec<&[f32]> = moved.iter().map(Vec::as_slice).collect();
        self.spent.push(self.budget.spend_round()?);
        let mut rng = self.seeds.stream("noise", self.budget.rounds());
        self.server.aggregate(global, &moved, &mut rng)
    }
}

/// Settings of [`SecureTraining`].
#[derive(Clone, Debug, PartialEq)]
pub struct SecureTrainingConfig {
    /// Clipping, integer noise and its scale; `fewest_survivors` and `most_clients` follow from the clients.
    pub noise: DistributedConfig,
    /// Clients of the federation.
    pub clients: usize,
    /// Clients drop out of a session with this probability, in a random round of it.
    pub dropout: f64,
    /// δ of the guarantee that is logged.
    pub delta: f64,
}

/// Training in which every round is a session of secure aggregation among all clients, and the noise is made by the
/// clients: the server sees a noisy sum, nothing else. Noise is sized for the fewest survivors the session allows.
pub struct SecureTraining {
    config: SecureTrainingConfig,
    session: SessionConfig,
    identities: Vec<SigningKey>,
    dimension: usize,
    seeds: SeedStream,
    rounds: u64,
    log: Vec<SecureRound>,
}

/// What a round of [`SecureTraining`] came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecureRound {
    /// ε of all rounds so far, at the configured δ, per client.
    pub epsilon: f64,
    /// Clients whose input is in the sum.
    pub survivors: usize,
    /// Bytes of the session, up and down.
    pub bytes: u64,
}

impl SecureTraining {
    /// For movements of `dimension` numbers.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn new(mut config: SecureTrainingConfig, dimension: usize, seeds: SeedStream) -> Result<Self> {
        let dropout = config.dropout;
        check((0.0..1.0).contains(&dropout), "secure_training", "dropout", dropout, "in [0, 1)")?;
        let probe = SessionConfig::complete(config.clients, 1);
        (config.noise.fewest_survivors, config.noise.most_clients) = (probe.threshold, config.clients);
        let encoded = DistributedNoise::new(config.noise.clone(), dimension)?.encoded_length();
        let session = SessionConfig::complete(config.clients, encoded);
        session.validate()?;
        let identities = simulated_identities(config.clients, seeds);
        Ok(Self { config, session, identities, dimension, seeds, rounds: 0, log: vec![] })
    }

    /// What happened so far.
    pub fn log(&self) -> &[SecureRound] {
        &self.log
    }

    fn noise(&self) -> Result<DistributedNoise> {
        let config = DistributedConfig {
            rotation_seed: self.seeds.derive("rotation", self.rounds),
            ..self.config.noise.clone()
        };
        DistributedNoise::new(config, self.dimension)
    }
}

impl Strategy for SecureTraining {
    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()> {
        let (noise, round) = (self.noise()?, self.rounds);
        let seeds = SeedStream::new(self.seeds.derive("session", round));
        let moved = movements(global, replies)?;
        let mut members = Vec::with_capacity(replies.len());
        for (reply, movement) in replies.iter().zip(&moved) {
            let id = reply.client as ClientId;
            let identity = self.identities.get(id as usize).cloned().ok_or_else(|| {
                Error::shape("secure training", format!("clients below {}", self.identities.len()), id)
            })?;
            let mut fate = seeds.stream("fate", reply.client);
            let silent_from = (fate.random::<f64>() < self.config.dropout).then(|| fate.random_range(0..5));
            let integers = noise.encode(movement, 32, &mut seeds.stream("encode", reply.client))?;
            let input = integers.iter().map(|v| *v as u32).collect(); // two's complement: the ring is ℤ/2³²
            members.push(Member { id, identity, input, silent_from });
        }
        let mut session = [0u8; 32];
        rand::Rng::fill_bytes(&mut seeds.stream("name", 0), &mut session);
        // the sum is out once the session has begun: it counts whether or not it succeeds
        self.rounds += 1;
        let played = play(self.session, session, members, seeds)?;
        let signed: Vec<i64> = played.aggregate.sum.iter().map(|v| i64::from(*v as i32)).collect();
        let survivors = played.aggregate.survivors.len();
        for (x, s) in global.iter_mut().zip(noise.decode(&signed)?) {
            *x += s / survivors as f32;
        }
        let epsilon = noise.epsilon(Sampling::Poisson, 1.0, self.rounds, self.config.delta)?;
        self.log.push(SecureRound { epsilon, survivors, bytes: played.bytes_up + played.bytes_down });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::{Accountant, Mechanism, clipping::AdaptiveClip};
    use crate::strategy::reply;

    #[test]
    fn the_budget_stops_training_and_every_round_is_logged() {
        let mechanism =
            Mechanism { noise_multiplier: 1.0, sampling_rate: 0.5, steps: 0, sampling: Sampling::Poisson };
        let budget = Budget::new(mechanism, 5.0, 1e-4, Accountant::Pld).unwrap();
        let allowed = budget.rounds_allowed().unwrap();
        let clip = AdaptiveClip { clipping_norm: 1.0, learning_rate: 0.0, target_quantile: 0.5 };
        let config = DpFedAvgConfig { noise_multiplier: 1.0, clip, expected_clients: 2.0 };
        let weaker = DpFedAvgConfig { noise_multiplier: 0.5, ..config };
        assert!(PrivateTraining::new(weaker, budget.clone(), SeedStream::new(0)).is_err());
        let mut training = PrivateTraining::new(config, budget, SeedStream::new(0)).unwrap();
        let mut global = [0.0f32; 3];
        for _ in 0..allowed {
            training.aggregate(&mut global, &[reply(0, &[1.0; 3], 1.0)]).unwrap();
        }
        let before = global;
        let refused = training.aggregate(&mut global, &[reply(0, &[1.0; 3], 1.0)]);
        assert!(matches!(refused, Err(Error::BudgetSpent { .. })));
        assert_eq!((before, training.spent().len() as u64), (global, allowed));
        assert!(training.spent().windows(2).all(|w| w[0].epsilon < w[1].epsilon && w[1].epsilon <= 5.0));
    }

    #[test]
    fn a_noisy_sum_through_secure_aggregation_is_near_the_mean() {
        let config = SecureTrainingConfig {
            noise: DistributedConfig {
                noise_multiplier: 0.01,
                clipping_norm: 10.0,
                ..DistributedConfig::default()
            },
            clients: 12,
            dropout: 0.15,
            delta: 1e-4,
        };
        let mut training = SecureTraining::new(config, 5, SeedStream::new(3)).unwrap();
        let replies: Vec<Reply> = (0..12).map(|i| reply(i, &[1.0, 2.0, 3.0, 0.0, -1.0], 1.0)).collect();
        let mut global = [0.0f32; 5];
        for _ in 0..4 {
            training.aggregate(&mut global, &replies).unwrap();
            for (x, want) in global.iter().zip([1.0, 2.0, 3.0, 0.0, -1.0]) {
                assert!((x - want).abs() < 0.2, "{global:?}");
            }
        }
        assert!(training.log().iter().any(|r| r.survivors < 12));
        assert!(training.log().windows(2).all(|w| w[0].epsilon < w[1].epsilon));
    }
}
