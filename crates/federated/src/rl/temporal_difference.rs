//! Federated TD(0) on a Markov reward process (Khodadadian et al. 2022): every client follows a chain of its own, takes K
//! local steps between two averages, and the mean squared error that remains falls as 1/N. It is the linear speed-up in
//! its purest form, without a policy that changes under the data.

use crate::client::Client;
use crate::error::{Error, Result, check};
use crate::strategy::{Instruction, Reply};
use rand::{Rng, RngExt};
use rl_core::seed::StreamRng;
use serde::{Deserialize, Serialize};

/// States, transition probabilities, rewards and a discount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarkovReward {
    states: usize,
    /// `P[s, s']`, row-major.
    transitions: Vec<f64>,
    rewards: Vec<f64>,
    gamma: f64,
}

impl MarkovReward {
    /// Dense random transitions and rewards in [0, 1).
    ///
    /// # Errors
    /// No states, or a discount outside [0, 1).
    pub fn random(states: usize, gamma: f64, rng: &mut impl Rng) -> Result<Self> {
        check(states > 0, "markov_reward", "states", states, "≥ 1")?;
        check((0.0..1.0).contains(&gamma), "markov_reward", "gamma", gamma, "in [0, 1)")?;
        let mut transitions: Vec<f64> = (0..states * states).map(|_| rng.random::<f64>().powi(3)).collect();
        for row in transitions.chunks_exact_mut(states) {
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= total);
        }
        let rewards = (0..states).map(|_| rng.random()).collect();
        Ok(Self { states, transitions, rewards, gamma })
    }

    /// `V = r + γ P V`, by iteration to machine precision, `[S]`.
    pub fn values(&self) -> Vec<f64> {
        let mut values = vec![0.0; self.states];
        loop {
            let next: Vec<f64> = (0..self.states)
                .map(|s| {
                    let row = &self.transitions[s * self.states..(s + 1) * self.states];
                    self.rewards[s] + self.gamma * row.iter().zip(&values).map(|(p, v)| p * v).sum::<f64>()
                })
                .collect();
            let moved = next.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            values = next;
            if moved < 1e-13 {
                return values;
            }
        }
    }

    fn next(&self, state: usize, rng: &mut impl Rng) -> usize {
        let mut left: f64 = rng.random();
        let row = &self.transitions[state * self.states..(state + 1) * self.states];
        let drawn = row.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        drawn.unwrap_or(self.states - 1)
    }
}

/// `1/S Σ_s (V(s) − V̂(s))²` of a table against the exact values, both `[S]`.
pub fn squared_error(exact: &[f64], table: &[f32]) -> f64 {
    let squares = exact.iter().zip(table).map(|(v, t)| (v - f64::from(*t)).powi(2));
    squares.sum::<f64>() / exact.len().max(1) as f64
}

/// A client with a chain of its own: one trajectory that goes on from round to round, so its samples are correlated.
#[derive(Clone, Debug)]
pub struct TdClient {
    id: u64,
    process: MarkovReward,
    local_steps: u32,
    learning_rate: f64,
    state: usize,
}

impl TdClient {
    /// K local steps `V(s) ← V(s) + α (r + γ V(s') − V(s))` between two averages.
    ///
    /// # Errors
    /// No steps, or α outside (0, 1].
    pub fn new(id: u64, process: MarkovReward, local_steps: u32, learning_rate: f64) -> Result<Self> {
        check(local_steps > 0, "td", "local_steps", local_steps, "≥ 1")?;
        let valid = learning_rate > 0.0 && learning_rate <= 1.0;
        check(valid, "td", "learning_rate", learning_rate, "in (0, 1]")?;
        let state = id as usize % process.states;
        Ok(Self { id, process, local_steps, learning_rate, state })
    }
}

impl Client for TdClient {
    fn train(&mut self, global: &[f32], _: &Instruction, rng: &mut StreamRng) -> Result<Reply> {
        if global.len() != self.process.states {
            return Err(Error::shape("td", format!("{} values", self.process.states), global.len()));
        }
        let mut table: Vec<f64> = global.iter().map(|v| f64::from(*v)).collect();
        for _ in 0..self.local_steps {
            let (s, next) = (self.state, self.process.next(self.state, rng));
            let target = self.process.rewards[s] + self.process.gamma * table[next];
            table[s] += self.learning_rate * (target - table[s]);
            self.state = next;
        }
        let parameters = table.iter().map(|v| *v as f32).collect();
        Ok(Reply {
            client: self.id,
            parameters,
            weight: 1.0,
            local_steps: self.local_steps,
            ..Reply::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{Simulation, SimulationConfig};
    use crate::strategy::FedAvg;
    use rl_core::SeedStream;

    #[test]
    fn values_by_hand() {
        // 0 → 1 → 1 …, rewards 1 and 2, γ = ½: V(1) = 4, V(0) = 3
        let process = MarkovReward {
            states: 2,
            transitions: vec![0.0, 1.0, 0.0, 1.0],
            rewards: vec![1.0, 2.0],
            gamma: 0.5,
        };
        assert!((process.values()[0] - 3.0).abs() < 1e-12 && (process.values()[1] - 4.0).abs() < 1e-12);
        assert!((squared_error(&process.values(), &[3.0, 6.0]) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_error_that_remains_falls_with_the_number_of_clients() {
        let process = MarkovReward::random(8, 0.8, &mut SeedStream::new(2).stream("process", 0)).unwrap();
        let exact = process.values();
        let error = |n: u64| {
            let clients: Vec<TdClient> =
                (0..n).map(|i| TdClient::new(i, process.clone(), 10, 0.05).unwrap()).collect();
            let config = SimulationConfig { evaluate_every: 0, ..SimulationConfig::default() };
            let start = exact.iter().map(|v| *v as f32).collect();
            let mut simulation = Simulation::new(config, clients, FedAvg, start).unwrap();
            let mut sum = 0.0;
            for round in 0..2200 {
                simulation.step().unwrap();
                sum += if round >= 200 { squared_error(&exact, simulation.global()) / 2000.0 } else { 0.0 };
            }
            sum
        };
        let ratio = error(1) / error(16);
        assert!((10.0..24.0).contains(&ratio), "{ratio}");
    }
}
