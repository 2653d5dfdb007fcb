//! The smallest complete exercise: tabular Q-learning on a chain, beside a random walk.
//!
//! The chain has n states; action 1 goes right, action 0 left; reaching the right end gives 1 and ends the
//! episode. The tests of the frame run this program, and it shows how an exercise is written.

use anyhow::Result;
use rand::RngExt;
use rl_core::experiment::{Metrics, Persist, Role, TrainState, Trainer};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use xtask::exercises::{Entry, Exercise};
use xtask::{Context, Figure, Line, Measure, Preset};

fn main() -> ExitCode {
    xtask::main(&[Entry::of::<Chain>()])
}

struct Chain;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    states: usize,
    steps: u64,
    log_every: Option<u64>,
    /// Milliseconds to wait per step, so that tests can interrupt.
    pause: u64,
    q_learning: QLearning,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QLearning {
    learning_rate: f64,
    gamma: f64,
    epsilon: f64,
}

impl Exercise for Chain {
    type Config = Config;

    const NAME: &'static str = "chain";
    const DESCRIPTION: &'static str = "Tabular Q-learning walks to the right end of a chain";
    const DURATION: [&'static str; 3] = ["1 s", "1 s", "1 s"];

    fn config(preset: Preset) -> Config {
        let steps = if preset == Preset::Smoke { 2_000 } else { 20_000 };
        let q_learning = QLearning { learning_rate: 0.1, gamma: 0.95, epsilon: 0.1 };
        Config { states: 8, steps, log_every: None, pause: 0, q_learning }
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.states >= 2, "states = {}: must be at least 2", config.states);
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        ctx.session.pace.log_every = config.log_every;
        for (method, role, greed) in [("q-learning", Role::Method, 1.0), ("random", Role::Reference, 0.0)] {
            let mut learner = Learner::new(config.clone(), greed, ctx.streams);
            ctx.session.run(&format!("chain/{method}"), &mut learner)?;
            let mean = learner.lengths.iter().sum::<f64>() / learner.lengths.len().max(1) as f64;
            ctx.score("chain", method, role, Measure::error("episode length", "steps"), config.steps, mean)?;
            if role == Role::Method {
                let value = |s: usize| learner.q[2 * s].max(learner.q[2 * s + 1]);
                ctx.figure(Figure {
                    name: "value".into(),
                    title: "Value of the states".into(),
                    x_label: "state".into(),
                    y_label: "max Q".into(),
                    lines: vec![Line {
                        name: "learned".into(),
                        x: (0..config.states).map(|s| s as f64).collect(),
                        y: (0..config.states).map(value).collect(),
                    }],
                });
            }
        }
        ctx.note("The random walk needs about n² steps per episode, the learned policy n − 1.");
        Ok(())
    }
}

/// Q-learning and its chain.
struct Learner {
    config: Config,
    greed: f64,
    q: Vec<f64>,
    state: usize,
    length: u64,
    lengths: Vec<f64>,
    step: u64,
    rng: StreamRng,
}

impl Learner {
    fn new(config: Config, greed: f64, streams: SeedStream) -> Self {
        let (q, rng) = (vec![0.0; 2 * config.states], streams.stream("chain", u64::from(greed > 0.0)));
        Self { config, greed, q, state: 0, length: 0, lengths: Vec::new(), step: 0, rng }
    }

    fn act(&mut self) -> usize {
        let (left, right) = (self.q[2 * self.state], self.q[2 * self.state + 1]);
        let explore = self.rng.random::<f64>() >= self.greed * (1.0 - self.config.q_learning.epsilon);
        if explore || left == right { self.rng.random_range(0..2) } else { usize::from(right > left) }
    }
}

impl Trainer for Learner {
    type Error = rl_core::Error;

    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.config.steps
    }

    fn advance(&mut self, metrics: &mut Metrics) -> rl_core::Result<()> {
        std::thread::sleep(std::time::Duration::from_millis(self.config.pause));
        let (action, from) = (self.act(), self.state);
        self.state = if action == 1 { from + 1 } else { from.saturating_sub(1) };
        self.length += 1;
        self.step += 1;
        let done = self.state == self.config.states - 1;
        let QLearning { learning_rate, gamma, .. } = self.config.q_learning;
        let next = self.q[2 * self.state].max(self.q[2 * self.state + 1]);
        let error =
            f64::from(u8::from(done)) + if done { 0.0 } else { gamma * next } - self.q[2 * from + action];
        self.q[2 * from + action] += learning_rate * error;
        metrics.record("losses/td_error", error.abs());
        if done {
            metrics.record("charts/episodic_return", -(self.length as f64));
            self.lengths.push(self.length as f64);
            (self.state, self.length) = (0, 0);
        }
        Ok(())
    }
}

impl Persist for Learner {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put_array(format!("{prefix}/q"), &[self.config.states, 2], &self.q);
        state.put_array(format!("{prefix}/lengths"), &[self.lengths.len()], &self.lengths);
        state.put(format!("{prefix}/counters"), &(self.state, self.length, self.step))?;
        state.put(format!("{prefix}/rng"), &self.rng)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.q = state.array(&format!("{prefix}/q"), &[self.config.states, 2])?.to_vec();
        self.lengths = state.array_of_any_shape(&format!("{prefix}/lengths"))?.to_vec();
        (self.state, self.length, self.step) = state.get(&format!("{prefix}/counters"))?;
        self.rng = state.get(&format!("{prefix}/rng"))?;
        Ok(())
    }
}
