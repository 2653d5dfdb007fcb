//! A client that improves its policy by proximal policy optimisation (Schulman et al. 2017, equation 7, with generalised
//! advantage estimation) between two exchanges with the server.
//!
//! A round is a few short rollouts in a handful of environments side by side, with passes over each. Environments go on
//! where they stood from round to round, so nothing is lost at the ends of rounds.

use super::descent::{Descent, DescentConfig};
use super::environment::{Dynamics, Poisoned};
use super::policy::{Policy, PolicyConfig};
use crate::client::Client;
use crate::error::{Result, check};
use crate::strategy::{Instruction, Reply};
use rand::RngExt;
use rl_core::SeedStream;
use rl_core::baselines::Collector;
use rl_core::baselines::ppo::{
    PolicyBatch, categorical_loss, gaussian_loss, normalize_advantages, value_loss,
};
use rl_core::buffer::{RolloutBatch, RolloutBuffer, RolloutConfig, RolloutStep};
use rl_core::env::{Env, Space};
use rl_core::evaluate::action_width;
use rl_core::experiment::Metrics;
use rl_core::seed::StreamRng;
use serde::{Deserialize, Serialize};

/// Settings of a client. Unless noted they are the values of Stable-Baselines3's table for CartPole-v1, with half its
/// environments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Networks.
    pub policy: PolicyConfig,
    /// Optimiser.
    pub descent: DescentConfig,
    /// N, environments side by side: 4.
    pub envs: usize,
    /// T, steps of each in a rollout: 32.
    pub rollout_steps: usize,
    /// Rollouts between two exchanges with the server: 1.
    pub rollouts: usize,
    /// Passes over a rollout: 4.
    pub epochs: usize,
    /// Steps in a minibatch: 128.
    pub minibatch_size: usize,
    /// Discount γ: 0.98.
    pub gamma: f64,
    /// λ of generalised advantage estimation: 0.8.
    pub gae_lambda: f64,
    /// ε of the clip: 0.2.
    pub clip: f64,
    /// Weight of the entropy bonus: 0.
    pub entropy_coefficient: f64,
    /// Weight of the value loss: 0.5.
    pub value_coefficient: f64,
    /// Factor on the rewards that the critic learns from: 1.
    pub reward_scale: f64,
    /// Episodes of an evaluation: 10.
    pub evaluation_episodes: usize,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            policy: PolicyConfig::default(),
            descent: DescentConfig::default(),
            envs: 4,
            rollout_steps: 32,
            rollouts: 1,
            epochs: 4,
            minibatch_size: 128,
            gamma: 0.98,
            gae_lambda: 0.8,
            clip: 0.2,
            entropy_coefficient: 0.0,
            value_coefficient: 0.5,
            reward_scale: 1.0,
            evaluation_episodes: 10,
        }
    }
}

impl PpoConfig {
    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// Names the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("envs", self.envs),
            ("rollout_steps", self.rollout_steps),
            ("rollouts", self.rollouts),
            ("epochs", self.epochs),
            ("minibatch_size", self.minibatch_size),
            ("evaluation_episodes", self.evaluation_episodes),
        ];
        for (field, value) in counts {
            check(value > 0, "federated ppo", field, value, "at least 1")?;
        }
        for (field, value) in [("gamma", self.gamma), ("gae_lambda", self.gae_lambda)] {
            check((0.0..=1.0).contains(&value), "federated ppo", field, value, "in [0, 1]")?;
        }
        for (field, value) in [
            ("clip", self.clip),
            ("entropy_coefficient", self.entropy_coefficient),
            ("value_coefficient", self.value_coefficient),
            ("reward_scale", self.reward_scale),
        ] {
            check(value >= 0.0 && value.is_finite(), "federated ppo", field, value, "finite and ≥ 0")?;
        }
        self.descent.validate()
    }

    /// Environment steps of one client in one round.
    pub fn steps_per_round(&self) -> u64 {
        (self.envs * self.rollout_steps * self.rollouts) as u64
    }
}

/// A client with its environments, networks and optimiser.
pub struct PpoClient {
    id: u64,
    config: PpoConfig,
    policy: Policy,
    descent: Descent,
    envs: Collector,
    rollout: RolloutBuffer,
    batch: RolloutBatch,
    metrics: Metrics,
    examinations: Vec<Box<dyn Env>>,
}

impl PpoClient {
    /// Client `id` in its environment. Clients of one `seeds` draw equal initial weights; their environments differ by
    /// `id`.
    ///
    /// # Errors
    /// If the configuration does not fit.
    pub fn new(id: u64, config: &PpoConfig, dynamics: &Dynamics, seeds: SeedStream) -> Result<Self> {
        Self::in_environments(id, config, dynamics, dynamics.copies(config.envs), seeds)
    }

    /// A client that trains on rewards of the opposite sign, `−scale · r`, and does not know it.
    ///
    /// # Errors
    /// If the configuration does not fit.
    pub fn poisoned(
        id: u64,
        config: &PpoConfig,
        dynamics: &Dynamics,
        scale: f64,
        seeds: SeedStream,
    ) -> Result<Self> {
        let envs = dynamics.copies(config.envs).into_iter();
        let envs = envs.map(|env| Box::new(Poisoned::new(env, scale)) as Box<dyn Env>).collect();
        Self::in_environments(id, config, dynamics, envs, seeds)
    }

    fn in_environments(
        id: u64,
        config: &PpoConfig,
        dynamics: &Dynamics,
        envs: Vec<Box<dyn Env>>,
        seeds: SeedStream,
    ) -> Result<Self> {
        config.validate()?;
        let spec = dynamics.spec();
        let policy = Policy::new(&config.policy, &spec, &mut seeds.stream("init", 0))?;
        let sizes = RolloutConfig {
            steps: config.rollout_steps,
            envs: config.envs,
            observation: spec.observation.width(),
            action: action_width(&spec.action),
        };
        Ok(Self {
            id,
            descent: Descent::new(config.descent, policy.dimension())?,
            policy,
            envs: Collector::new(envs, seeds.derive("client environments", id))?,
            rollout: RolloutBuffer::new(sizes)?,
            batch: RolloutBatch::default(),
            metrics: Metrics::in_memory(),
            examinations: dynamics.copies(config.evaluation_episodes.min(20)),
            config: config.clone(),
        })
    }

    /// The weights it was born with, `[D]`: where the server starts.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn initial_parameters(&self) -> Result<Vec<f32>> {
        self.policy.parameters()
    }

    /// The networks, for their layout.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Plays one rollout, `[T, N]`, with its advantages.
    fn collect(&mut self, rng: &mut StreamRng) -> Result<()> {
        self.rollout.clear();
        let n = self.config.envs;
        let (mut actions, mut log_probs) = (vec![], vec![]);
        while !self.rollout.is_full() {
            let observations = self.envs.batch().observations.clone();
            let values = self.policy.values(&observations)?;
            actions.clear();
            log_probs.clear();
            self.policy.sample(&observations, rng, &mut actions, &mut log_probs)?;
            let sampled = actions.clone();
            self.policy.clip(&mut actions);
            self.envs.step(&actions, &mut self.metrics)?;
            let batch = self.envs.batch();
            let final_values = match batch.truncated.contains(&true) {
                true => self.policy.values(&batch.final_observations)?,
                false => vec![0.0; n],
            };
            let scale = self.config.reward_scale;
            let rewards: Vec<f32> = batch.rewards.iter().map(|r| (scale * r) as f32).collect();
            self.rollout.push(&RolloutStep {
                observations: &observations,
                actions: &sampled,
                log_probs: &log_probs,
                values: &values,
                rewards: &rewards,
                terminated: &batch.terminated,
                truncated: &batch.truncated,
                final_values: &final_values,
            })?;
        }
        let last = self.policy.values(&self.envs.batch().observations)?;
        Ok(self.rollout.finish(&last, self.config.gamma, self.config.gae_lambda)?)
    }

    /// Passes over the rollout in shuffled minibatches.
    fn learn(&mut self, parameters: &mut [f32], rng: &mut StreamRng) -> Result<()> {
        for _ in 0..self.config.epochs {
            self.rollout.shuffle(rng);
            let mut k = 0;
            while self.rollout.minibatch(k, self.config.minibatch_size, &mut self.batch)? {
                normalize_advantages(&mut self.batch.advantages);
                let mut gradient = self.loss_gradient()?;
                self.descent.step(parameters, &mut gradient)?;
                self.policy.set(parameters)?;
                k += 1;
            }
        }
        Ok(())
    }

    /// The gradient `[D]` of the clipped surrogate, the value loss and the entropy bonus on the minibatch.
    fn loss_gradient(&self) -> Result<Vec<f32>> {
        let batch = PolicyBatch {
            actions: &self.batch.actions,
            log_probs: &self.batch.log_probs,
            advantages: &self.batch.advantages,
            clip: self.config.clip,
            entropy_coefficient: self.config.entropy_coefficient,
        };
        let discrete = matches!(self.envs.spec().action, Space::Discrete(_));
        let weight = self.config.value_coefficient;
        let has_critic = self.config.policy.critic;
        let (_, gradient) = self.policy.gradient(&self.batch.observations, |out, d| {
            let (mut loss, _) = match discrete {
                true => categorical_loss(out.actor, &batch, d.actor),
                false => gaussian_loss(out.actor, out.log_std, &batch, d.actor, d.log_std),
            };
            if has_critic {
                loss +=
                    weight * value_loss(out.values, &self.batch.returns, &self.batch.values, None, d.values);
                d.values.iter_mut().for_each(|d| *d *= weight as f32);
            }
            loss
        })?;
        Ok(gradient)
    }
}

impl Client for PpoClient {
    fn train(&mut self, global: &[f32], instruction: &Instruction, rng: &mut StreamRng) -> Result<Reply> {
        self.descent.begin(global, instruction)?;
        self.policy.set(global)?;
        let mut parameters = global.to_vec();
        for _ in 0..self.config.rollouts {
            self.collect(rng)?;
            self.learn(&mut parameters, rng)?;
        }
        let (local_steps, control_change) = self.descent.finish();
        Ok(Reply {
            client: self.id,
            parameters,
            weight: 1.0,
            local_steps,
            staleness: 0,
            control_change,
            mean_return: finished_return(&mut self.metrics)?,
        })
    }

    fn evaluate(&mut self, global: &[f32], rng: &mut StreamRng) -> Result<Option<f64>> {
        self.policy.set(global)?;
        let starts: Vec<u64> = (0..self.config.evaluation_episodes).map(|_| rng.random()).collect();
        self.policy.evaluate(&mut self.examinations, &starts).map(Some)
    }
}

/// Mean return of the episodes that ended since the last call.
pub(super) fn finished_return(metrics: &mut Metrics) -> Result<Option<f64>> {
    metrics.record("rounds", 1.0);
    metrics.flush(0)?;
    let row = metrics.latest().iter();
    Ok(row.filter(|(key, _)| key == "charts/episodic_return").map(|(_, value)| *value).next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{Simulation, SimulationConfig};
    use crate::strategy::FedAvg;
    use crate::strategy::scaffold::Scaffold;

    fn clients(n: u64, dynamics: Dynamics, poison: u64) -> Vec<PpoClient> {
        let config = PpoConfig { evaluation_episodes: 4, ..PpoConfig::default() };
        let seeds = SeedStream::new(1);
        let client = |i| match i < poison {
            true => PpoClient::poisoned(i, &config, &dynamics, 1.0, seeds),
            false => PpoClient::new(i, &config, &dynamics, seeds),
        };
        (0..n).map(|i| client(i).unwrap()).collect()
    }

    fn run(threads: usize, dynamics: Dynamics, rounds: usize) -> (Vec<f32>, Vec<f64>) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let clients = clients(4, dynamics, 0);
            let global = clients[0].initial_parameters().unwrap();
            let config = SimulationConfig { evaluate_every: rounds as u64, ..SimulationConfig::default() };
            let mut simulation = Simulation::new(config, clients, FedAvg, global).unwrap();
            let reports: Vec<_> = (0..rounds).map(|_| simulation.step().unwrap()).collect();
            assert!(reports.iter().all(|r| r.replied.len() == 4), "{reports:?}");
            let returns = reports[rounds - 1].returns.iter().map(|r| r.unwrap()).collect();
            (simulation.global().to_vec(), returns)
        })
    }

    #[test]
    fn the_same_bits_for_every_number_of_threads_on_both_tasks() {
        for dynamics in [Dynamics::cart_pole(), Dynamics::point_control()] {
            assert_eq!(run(1, dynamics, 2), run(3, dynamics, 2));
        }
    }

    #[test]
    fn four_clients_learn_to_balance() {
        let (_, returns) = run(2, Dynamics::cart_pole(), 40);
        assert!(returns.iter().sum::<f64>() / 4.0 > 100.0, "{returns:?}");
    }

    #[test]
    fn scaffold_gets_its_control_changes_and_poison_turns_learning_around() {
        let mut clients = clients(2, Dynamics::cart_pole(), 1);
        let global = clients[0].initial_parameters().unwrap();
        let mut server = Scaffold::new(global.len(), 2, 1.0).unwrap();
        let rng = &mut SeedStream::new(0).stream("train", 0);
        let replies: Vec<Reply> = clients
            .iter_mut()
            .map(|c| c.train(&global, &crate::strategy::Strategy::instruction(&server, 0), rng).unwrap())
            .collect();
        assert!(replies.iter().all(|r| r.control_change.as_ref().unwrap().iter().any(|c| *c != 0.0)));
        assert_eq!(replies[0].local_steps, 4);
        assert!(replies[0].mean_return.unwrap() < 0.0 && replies[1].mean_return.unwrap() > 0.0);
        let mut next = global.clone();
        crate::strategy::Strategy::aggregate(&mut server, &mut next, &replies).unwrap();
        assert_ne!(next, global);
    }
}
