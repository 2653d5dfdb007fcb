//! A client that learns action values (DQN, Mnih et al. 2015, with double targets) between two exchanges: averaging
//! the clients' networks is QAvg with function approximation (DQNAvg, Jin et al. 2022, section 6).
//!
//! Replay and environments stay with the client. The target network starts every round from what the server sent and
//! follows the online one every so many local updates.

use super::descent::{Descent, DescentConfig};
use super::environment::Dynamics;
use super::ppo::finished_return;
use crate::client::Client;
use crate::error::{Error, Result, check};
use crate::strategy::{Instruction, Reply};
use candle_core::{Device, Tensor};
use rand::RngExt;
use rl_core::SeedStream;
use rl_core::baselines::Collector;
use rl_core::baselines::dqn::{huber_loss, td_targets};
use rl_core::buffer::{ReplayBuffer, ReplayConfig, Transition, TransitionBatch};
use rl_core::env::{Env, Space};
use rl_core::evaluate::{Turn, evaluate};
use rl_core::experiment::Metrics;
use rl_core::nn::mlp::Workspace;
use rl_core::nn::{Mlp, MlpConfig, fused_loss};
use rl_core::optim::backward;
use rl_core::schedule::Schedule;
use rl_core::seed::StreamRng;
use serde::{Deserialize, Serialize};

/// Settings of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DqnConfig {
    /// Widths of the hidden layers, ReLU between them: 64, 64.
    pub hidden: Vec<usize>,
    /// Optimiser; gradients are clipped at 10.
    pub descent: DescentConfig,
    /// Environments side by side: 4.
    pub envs: usize,
    /// Steps of each between two exchanges: 32.
    pub steps: usize,
    /// Gradient steps between two exchanges: 64.
    pub updates: usize,
    /// Transitions in a minibatch: 64.
    pub batch_size: usize,
    /// Transitions kept: 20,000.
    pub capacity: usize,
    /// Gradient steps between two copies to the target network: 32.
    pub target_every: usize,
    /// Discount γ: 0.99.
    pub gamma: f64,
    /// ε of ε-greedy by round: from 1 to 0.04 over 20 rounds.
    pub exploration: Schedule,
    /// Episodes of an evaluation: 10.
    pub evaluation_episodes: usize,
}

impl Default for DqnConfig {
    fn default() -> Self {
        Self {
            hidden: vec![64, 64],
            descent: DescentConfig { max_grad_norm: 10.0, ..DescentConfig::default() },
            envs: 4,
            steps: 32,
            updates: 64,
            batch_size: 64,
            capacity: 20_000,
            target_every: 32,
            gamma: 0.99,
            exploration: Schedule::Linear { start: 1.0, end: 0.04, steps: 20 },
            evaluation_episodes: 10,
        }
    }
}

impl DqnConfig {
    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// Names the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("envs", self.envs),
            ("steps", self.steps),
            ("batch_size", self.batch_size),
            ("target_every", self.target_every),
            ("evaluation_episodes", self.evaluation_episodes),
        ];
        for (field, value) in counts {
            check(value > 0, "federated dqn", field, value, "at least 1")?;
        }
        check((0.0..=1.0).contains(&self.gamma), "federated dqn", "gamma", self.gamma, "in [0, 1]")?;
        self.exploration.validate()?;
        self.descent.validate()
    }
}

/// A client with its environments, replay, networks and optimiser.
pub struct DqnClient {
    id: u64,
    config: DqnConfig,
    actions: usize,
    online: Mlp,
    target: Mlp,
    descent: Descent,
    envs: Collector,
    replay: ReplayBuffer,
    batch: TransitionBatch<f32>,
    metrics: Metrics,
    examinations: Vec<Box<dyn Env>>,
    workspaces: [Workspace<f32>; 2],
}

/// The first largest entry.
fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

impl DqnClient {
    /// Client `id` in its environment, which must have discrete actions. Clients of one `seeds` draw equal initial
    /// weights.
    ///
    /// # Errors
    /// If the configuration or the action space does not fit.
    pub fn new(id: u64, config: &DqnConfig, dynamics: &Dynamics, seeds: SeedStream) -> Result<Self> {
        config.validate()?;
        let spec = dynamics.spec();
        let Space::Discrete(actions) = spec.action else {
            return Err(Error::shape("federated dqn", "discrete actions", format!("{:?}", spec.action)));
        };
        let observation = spec.observation.width();
        let shape = MlpConfig::relu(observation, &config.hidden, actions);
        let online = Mlp::new(&shape, &Device::Cpu, &mut seeds.stream("init", 0))?;
        let sizes = ReplayConfig {
            capacity: config.capacity,
            streams: config.envs,
            observation,
            action: 1,
            share_next: true,
        };
        Ok(Self {
            id,
            actions,
            target: online.duplicate()?,
            descent: Descent::new(config.descent, online.params().len())?,
            online,
            envs: Collector::new(dynamics.copies(config.envs), seeds.derive("client environments", id))?,
            replay: ReplayBuffer::new(sizes)?,
            batch: TransitionBatch::default(),
            metrics: Metrics::in_memory(),
            examinations: dynamics.copies(config.evaluation_episodes.min(20)),
            workspaces: Default::default(),
            config: config.clone(),
        })
    }

    /// The weights it was born with, `[D]`: where the server starts.
    ///
    /// # Errors
    /// If the tensor library fails.
    pub fn initial_parameters(&self) -> Result<Vec<f32>> {
        Ok(self.online.params().to_vec()?)
    }

    /// ε-greedy steps of all environments, stored.
    fn collect(&mut self, epsilon: f64, rng: &mut StreamRng) -> Result<()> {
        let mut actions = vec![0.0f32; self.config.envs];
        for _ in 0..self.config.steps {
            let observations = self.envs.batch().observations.clone();
            let q = self.online.predict(&observations, &mut self.workspaces[0])?;
            for (action, row) in actions.iter_mut().zip(q.chunks_exact(self.actions)) {
                let explore = rng.random::<f64>() < epsilon;
                *action = if explore { rng.random_range(0..self.actions) } else { argmax(row) } as f32;
            }
            self.envs.step(&actions, &mut self.metrics)?;
            let batch = self.envs.batch();
            for i in 0..batch.copies() {
                let transition = Transition {
                    observation: &observations[i * batch.width..(i + 1) * batch.width],
                    action: &actions[i..=i],
                    reward: batch.rewards[i] as f32,
                    next_observation: batch.successor(i),
                    terminated: batch.terminated[i],
                    truncated: batch.truncated[i],
                    discount: self.config.gamma as f32,
                };
                self.replay.push(i, &transition)?;
            }
        }
        Ok(())
    }

    /// The gradient `[D]` of the Huber loss on a fresh minibatch, with double targets.
    fn loss_gradient(&mut self, rng: &mut StreamRng) -> Result<Vec<f32>> {
        self.replay.sample(self.config.batch_size, rng, &mut self.batch)?;
        let [of_target, of_online] = &mut self.workspaces;
        let next_q = self.target.predict(&self.batch.next_observations, of_target)?;
        let selector = self.online.predict(&self.batch.next_observations, of_online)?;
        let targets = td_targets(&self.batch, next_q, Some(selector));
        let shape = (self.config.batch_size, self.online.inputs());
        let tensor = |e: candle_core::Error| Error::Learning(e.into());
        let observations =
            Tensor::from_slice(&self.batch.observations, shape, &Device::Cpu).map_err(tensor)?;
        let q = self.online.forward(&observations)?; // [B, A]
        let mut errors = vec![];
        let loss = fused_loss([&q], |[q]: [&[f32]; 1], [dq]| {
            huber_loss(q, &self.batch.actions, &targets, None, dq, &mut errors)
        })?;
        let (_, grads) = backward(&loss)?;
        let params = self.online.params();
        match grads.get(params.var()) {
            Some(gradient) => gradient.to_vec1::<f32>().map_err(tensor),
            None => Ok(vec![0.0; params.len()]),
        }
    }
}

impl Client for DqnClient {
    fn train(&mut self, global: &[f32], instruction: &Instruction, rng: &mut StreamRng) -> Result<Reply> {
        self.descent.begin(global, instruction)?;
        self.online.params().set(global)?;
        self.target.params().set(global)?;
        self.collect(self.config.exploration.at(instruction.round), rng)?;
        let mut parameters = global.to_vec();
        for update in 1..=self.config.updates {
            let mut gradient = self.loss_gradient(rng)?;
            self.descent.step(&mut parameters, &mut gradient)?;
            self.online.params().set(&parameters)?;
            if update % self.config.target_every == 0 {
                self.target.params().set(&parameters)?;
            }
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
        self.online.params().set(global)?;
        let starts: Vec<u64> = (0..self.config.evaluation_episodes).map(|_| rng.random()).collect();
        let (online, workspace, width) = (&self.online, &mut self.workspaces[0], self.actions);
        let greedy = |turn: &Turn<'_>, actions: &mut [f32]| -> rl_core::Result<()> {
            let q = online.predict(turn.observations, workspace)?;
            actions.iter_mut().zip(q.chunks_exact(width)).for_each(|(a, row)| *a = argmax(row) as f32);
            Ok(())
        };
        Ok(Some(evaluate(&mut self.examinations, &starts, greedy)?.mean_return()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{Simulation, SimulationConfig};
    use crate::strategy::FedAvg;

    #[test]
    fn averaged_value_networks_learn_and_continuous_actions_are_refused() {
        let (config, seeds) =
            (DqnConfig { evaluation_episodes: 5, ..DqnConfig::default() }, SeedStream::new(4));
        assert!(DqnClient::new(0, &config, &Dynamics::point_control(), seeds).is_err());
        let clients: Vec<DqnClient> =
            (0..2).map(|i| DqnClient::new(i, &config, &Dynamics::cart_pole(), seeds).unwrap()).collect();
        let global = clients[0].initial_parameters().unwrap();
        let config = SimulationConfig { evaluate_every: 40, ..SimulationConfig::default() };
        let mut simulation = Simulation::new(config, clients, FedAvg, global).unwrap();
        let reports: Vec<_> = (0..40).map(|_| simulation.step().unwrap()).collect();
        let last = &reports[39];
        let mean = last.returns.iter().flatten().sum::<f64>() / 2.0;
        assert!(last.replied.len() == 2 && mean > 60.0, "{last:?}");
    }
}
