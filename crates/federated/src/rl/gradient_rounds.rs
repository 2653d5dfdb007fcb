//! Rounds in which gradients travel: FedPG (Fan et al. 2021) and its Byzantine-resilient FedPG-BR (algorithm 1), with
//! gradients measured on episodes that were really played.
//!
//! A round: every client measures the policy gradient over B episodes at θ₀; attackers send what they like; the server
//! aggregates to μ and steps. Under FedPG-BR it then plays `N_t ~ Geometric` inner steps of b episodes of its own along
//! `g(θ_n) − ω g(θ₀) + μ`, or along its own gradient alone where the filter found no agreement (published code).
//! Deviation from that code, as in the paper: an importance weight ω per episode, not one for all b episodes together.

use super::environment::Dynamics;
use super::policy_gradient::{Measured, PolicyGradientClient, PolicyGradientConfig};
use crate::client::Client;
use crate::error::{Error, Result, check};
use crate::robust::RobustRule;
use crate::robust::attack::Attack;
use crate::robust::fed_pg_br::{FedPgBrConfig, filter, inner_steps, reduce_variance};
use crate::strategy::{Reply, Strategy, weighted_mean};
use rayon::prelude::*;
use rl_core::SeedStream;
use rl_core::optim::Method;
use serde::{Deserialize, Serialize};

/// How the server turns gradients into one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientRule {
    /// The mean: FedPG without filter, FedAvg of gradients.
    Mean,
    /// A robust rule that knows nothing of policy gradients.
    Robust(RobustRule),
    /// The filter and the inner loop of FedPG-BR.
    FedPgBr(FedPgBrConfig),
}

/// Settings of a federation that exchanges gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradientRoundsConfig {
    /// K, clients: 10.
    pub clients: usize,
    /// How many of them attack: none.
    pub attackers: usize,
    /// What they do: a flipped sign, 2.5 times as large.
    pub attack: Attack,
    /// The server's rule.
    pub rule: GradientRule,
    /// Networks, episodes and discount of every client, and of the server.
    pub client: PolicyGradientConfig,
    /// Learning rate of the server's Adam: 2e-3.
    pub learning_rate: f64,
}

impl Default for GradientRoundsConfig {
    fn default() -> Self {
        Self {
            clients: 10,
            attackers: 0,
            attack: Attack::SignFlip { scale: 2.5 },
            rule: GradientRule::FedPgBr(FedPgBrConfig::default()),
            client: PolicyGradientConfig::default(),
            learning_rate: 2e-3,
        }
    }
}

/// What happened in a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GradientReport {
    /// Mean return of the honest clients' episodes.
    pub mean_return: f64,
    /// Episodes of one client so far, the server's included: the x axis of the paper's figures.
    pub episodes: u64,
    /// Environment steps of the honest clients and the server in this round.
    pub steps: u64,
    /// Attackers whose gradient passed the filter.
    pub attackers_accepted: usize,
    /// Honest clients whose gradient passed the filter.
    pub honest_accepted: usize,
    /// The server's own steps in this round.
    pub inner_steps: u64,
}

/// Clients, a server with an environment of its own, and the policy they train.
pub struct GradientRounds {
    config: GradientRoundsConfig,
    seeds: SeedStream,
    clients: Vec<PolicyGradientClient>,
    server: PolicyGradientClient,
    parameters: Vec<f32>,
    moments: [Vec<f32>; 3],
    updates: u64,
    round: u64,
    episodes: u64,
}

impl GradientRounds {
    /// The first `attackers` clients attack; all have the same dynamics.
    ///
    /// # Errors
    /// If the configuration does not fit.
    pub fn new(config: GradientRoundsConfig, dynamics: &Dynamics, seeds: SeedStream) -> Result<Self> {
        const NAME: &str = "gradient_rounds";
        check(config.clients > config.attackers, NAME, "attackers", config.attackers, "fewer than clients")?;
        let rate = config.learning_rate;
        check(rate > 0.0 && rate.is_finite(), NAME, "learning_rate", rate, "> 0")?;
        if let GradientRule::FedPgBr(filter) = config.rule {
            filter.validate()?;
            let fits = filter.mini_batch <= config.client.episodes;
            check(fits, NAME, "mini_batch", filter.mini_batch, "at most the clients' episodes")?;
        }
        let client = |i: usize| {
            let poison = match config.attack {
                Attack::RewardPoisoning { scale } if i < config.attackers => Some(scale),
                _ => None,
            };
            PolicyGradientClient::new(i as u64, &config.client, dynamics, poison, seeds)
        };
        let clients = (0..config.clients).map(client).collect::<Result<Vec<_>>>()?;
        let server = PolicyGradientClient::new(u64::MAX, &config.client, dynamics, None, seeds)?;
        let parameters = server.initial_parameters()?;
        let moments = std::array::from_fn(|_| vec![0.0; parameters.len()]);
        Ok(Self { config, seeds, clients, server, parameters, moments, updates: 0, round: 0, episodes: 0 })
    }

    /// θ, `[D]`.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// Mean return of the deterministic policy in the server's environment.
    ///
    /// # Errors
    /// As an evaluation.
    pub fn evaluate(&mut self) -> Result<f64> {
        let mut rng = self.seeds.stream("gradient evaluation", self.round);
        Ok(self.server.evaluate(&self.parameters, &mut rng)?.unwrap_or(f64::NAN))
    }

    /// One round.
    ///
    /// # Errors
    /// A rule that refuses its gradients; a gradient that is not finite.
    pub fn step(&mut self) -> Result<GradientReport> {
        let (k, attackers) = (self.clients.len(), self.config.attackers);
        let (seeds, round, at) = (self.seeds, self.round, &self.parameters);
        let measure = |(i, client): (usize, &mut PolicyGradientClient)| {
            client.measure(at, &mut seeds.stream("measure", round * k as u64 + i as u64))
        };
        let measured: Vec<Measured> =
            self.clients.par_iter_mut().enumerate().map(measure).collect::<Result<_>>()?;
        let honest = &measured[attackers..];
        let mut report = GradientReport {
            mean_return: honest.iter().map(|m| m.mean_return).sum::<f64>() / honest.len() as f64,
            steps: honest.iter().map(|m| m.steps).sum(),
            ..GradientReport::default()
        };
        let gradients = self.attacked(&measured)?;
        let sent: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
        self.episodes += self.config.client.episodes as u64;
        let mut accepted: Vec<usize> = (0..k).collect();
        match self.config.rule {
            GradientRule::Mean => {
                let mean = weighted_mean(&sent, &vec![1.0; k])?;
                self.descend(&mean)?;
            }
            GradientRule::Robust(mut rule) => {
                let mut mean = vec![0.0f32; self.parameters.len()];
                rule.aggregate(&mut mean, &replies(&gradients))?;
                self.descend(&mean)?;
            }
            GradientRule::FedPgBr(config) => {
                let filtered = filter(&config, &sent, self.config.client.episodes)?;
                let mu = filtered.as_ref().map(|f| &f.mean[..]);
                report.inner_steps = self.inner_loop(&config, mu, &mut report.steps)?;
                accepted = filtered.map_or(vec![], |f| f.accepted);
            }
        }
        report.attackers_accepted = accepted.iter().filter(|i| **i < attackers).count();
        report.honest_accepted = accepted.len() - report.attackers_accepted;
        report.episodes = self.episodes;
        self.round += 1;
        Ok(report)
    }

    /// The gradients as they are sent, `[K][D]`.
    fn attacked(&self, measured: &[Measured]) -> Result<Vec<Vec<f32>>> {
        let attackers = self.config.attackers;
        let honest: Vec<&[f32]> = measured[attackers..].iter().map(|m| &m.gradient[..]).collect();
        let mut rng = self.seeds.stream("attack", self.round);
        let send = |(i, m): (usize, &Measured)| match i < attackers {
            true => self.config.attack.craft(&m.gradient, &honest, attackers, &mut rng),
            false => Ok(m.gradient.clone()),
        };
        measured.iter().enumerate().map(send).collect()
    }

    /// The server's variance-reduced steps (SVRPG) from θ₀; returns how many there were.
    fn inner_loop(&mut self, config: &FedPgBrConfig, mu: Option<&[f32]>, steps: &mut u64) -> Result<u64> {
        let mut rng = self.seeds.stream("inner loop", self.round);
        let snapshot = self.parameters.clone();
        let count = inner_steps(config, self.config.client.episodes, &mut rng)?;
        for _ in 0..count {
            let (mut direction, there, played) =
                self.server.measure_both(&self.parameters, &snapshot, config.mini_batch, &mut rng)?;
            *steps += played;
            self.episodes += config.mini_batch as u64;
            if let Some(mu) = mu {
                reduce_variance(&mut direction, &there, mu)?;
            }
            self.descend(&direction)?;
        }
        Ok(count)
    }

    /// One step of Adam.
    fn descend(&mut self, gradient: &[f32]) -> Result<()> {
        if gradient.iter().any(|g| !g.is_finite()) {
            return Err(Error::NotFinite {
                operation: "gradient_rounds",
                what: "the server's gradient".into(),
            });
        }
        self.updates += 1;
        let (adam, rate) = (Method::adam(1e-8), self.config.learning_rate);
        adam.update(self.updates, rate, 1.0, &mut self.parameters, gradient, &mut self.moments);
        Ok(())
    }
}

fn replies(gradients: &[Vec<f32>]) -> Vec<Reply> {
    let reply = |(i, g): (usize, &Vec<f32>)| Reply {
        client: i as u64,
        parameters: g.clone(),
        weight: 1.0,
        local_steps: 1,
        ..Reply::default()
    };
    gradients.iter().enumerate().map(reply).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn federation(rule: GradientRule, attackers: usize) -> GradientRounds {
        let attack = Attack::Random { scale: 1.0 };
        let config =
            GradientRoundsConfig { rule, attackers, attack, clients: 7, ..GradientRoundsConfig::default() };
        GradientRounds::new(config, &Dynamics::cart_pole(), SeedStream::new(0)).unwrap()
    }

    #[test]
    fn the_filter_keeps_the_honest_and_the_mean_keeps_everyone() {
        let filter = FedPgBrConfig { sigma: 0.2, ..FedPgBrConfig::default() };
        let mut br = federation(GradientRule::FedPgBr(filter), 2);
        let mut mean = federation(GradientRule::Mean, 2);
        for _ in 0..3 {
            let report = br.step().unwrap();
            assert_eq!((report.attackers_accepted, report.honest_accepted), (0, 5), "{report:?}");
            assert_eq!(mean.step().unwrap().attackers_accepted, 2);
        }
        assert!(br.evaluate().unwrap() > 5.0);
    }

    #[test]
    fn every_rule_steps_and_nonsense_is_refused() {
        for rule in [RobustRule::Krum { malicious: 2 }, RobustRule::TrimmedMean { proportion: 0.3 }] {
            let mut f = federation(GradientRule::Robust(rule), 2);
            let before = f.parameters().to_vec();
            f.step().unwrap();
            assert_ne!(before, f.parameters());
        }
        let config = GradientRoundsConfig { attackers: 10, ..GradientRoundsConfig::default() };
        assert!(GradientRounds::new(config, &Dynamics::cart_pole(), SeedStream::new(0)).is_err());
    }
}
