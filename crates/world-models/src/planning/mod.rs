//! Planning by sampling: score many action sequences in a model, look closer where they score well.
//!
//! One loop serves four methods, which differ in how they propose sequences and how they learn from the best:
//! random shooting, the cross-entropy method (CEM; Rubinstein 1999, Chua et al. 2018), iCEM (Pinneri et al. 2020) and
//! MPPI (Williams et al. 2015, as in TD-MPC2). It takes any [`Model`]: a learned one or the true simulator. All
//! candidates advance as one batch, in blocks that threads share; the result does not depend on their number.
//!
//! The score of a sequence is Σ γᵗ (Π_{i<t} cᵢ) rₜ with cᵢ the probability that the episode goes on after step i: the
//! terminating step's reward counts once, later ones not at all. A score that is not a number counts as −∞.

mod categorical;
mod cem;
mod episodes;
mod icem;
mod mppi;
mod proposal;
mod simulator;

pub use cem::{Cem, elite_statistics, momentum};
pub use episodes::play;
pub use icem::{Icem, coloured_noise, noise_amplitudes, noise_sigma};
pub use mppi::{Mppi, elite_weights, weighted_statistics};
pub(crate) use proposal::best;
pub use simulator::{Held, SimulatorModel};

use crate::Result;
use proposal::Proposal;
use rand::Rng;
use rl_core::env::{Actions, Space};
use rl_core::experiment::{Persist, TrainState};
use rl_core::{Error, SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// A model that advances a batch of imagined states.
pub trait Model: Sync {
    /// The states of one block of candidates, with the buffers to advance them.
    type Batch: Send;

    /// Empty buffers.
    fn batch(&self) -> Self::Batch;

    /// Puts `rows` copies of the present state into the batch.
    fn start(&self, batch: &mut Self::Batch, rows: usize);

    /// Advances every row by its action; writes the reward of the step and the probability that the episode goes
    /// on after it, `[rows]` each.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    fn step(
        &self,
        batch: &mut Self::Batch,
        actions: Actions<'_>,
        rng: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> Result<()>;

    /// [`step`](Self::step) at the end of a plan, after which only [`terminal_values`](Self::terminal_values) are
    /// asked for: a model without values may leave `continues` as it is and save the work.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    fn last_step(
        &self,
        batch: &mut Self::Batch,
        actions: Actions<'_>,
        rng: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> Result<()> {
        self.step(batch, actions, rng, rewards, continues)
    }

    /// The value of the states reached at the horizon, `[rows]`: zero unless the model has learned one.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    fn terminal_values(&self, batch: &mut Self::Batch, values: &mut [f32]) -> Result<()> {
        let _ = batch;
        values.fill(0.0);
        Ok(())
    }
}

/// How sequences are proposed and improved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Uniform sequences, once.
    Shooting,
    /// The cross-entropy method.
    Cem(Cem),
    /// Improved CEM: coloured noise, shrinking populations, elites kept.
    Icem(Icem),
    /// Model-predictive path integral control.
    Mppi(Mppi),
}

/// Which action is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Execute {
    /// The first action of the mean of the final proposal: steady where the model is noisy.
    Mean,
    /// The first action of the best sequence seen: right where the mean lies between two modes.
    Best,
}

/// A planner's budget and method. The default is PETS' CEM at a small budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannerConfig {
    /// Steps looked ahead.
    pub horizon: usize,
    /// Sequences per iteration.
    pub candidates: usize,
    /// Best sequences that the proposal learns from.
    pub elites: usize,
    /// Rounds of proposing and learning.
    pub iterations: usize,
    /// Discount γ per step.
    pub discount: f64,
    /// Rollouts per sequence, averaged; more than one only helps where the model is noisy.
    pub particles: usize,
    /// Start from the previous plan, shifted by one step.
    pub warm_start: bool,
    /// Which action to take.
    pub execute: Execute,
    /// Candidates that advance together; part of the result, unlike the number of threads.
    pub block: usize,
    /// Threads that share the blocks.
    pub threads: usize,
    /// How to propose and learn.
    pub method: Method,
}

impl Default for PlannerConfig {
    fn default() -> Self {
        Self {
            horizon: 15,
            candidates: 200,
            elites: 20,
            iterations: 5,
            discount: 0.99,
            particles: 1,
            warm_start: true,
            execute: Execute::Mean,
            block: 250,
            threads: 1,
            method: Method::Cem(Cem::default()),
        }
    }
}

impl PlannerConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("horizon", self.horizon),
            ("candidates", self.candidates),
            ("elites", self.elites),
            ("iterations", self.iterations),
            ("particles", self.particles),
            ("block", self.block),
            ("threads", self.threads),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(Error::config("planner", field, value, "at least 1").into());
            }
        }
        if self.elites > self.candidates {
            return Err(Error::config("planner", "elites", self.elites, "at most candidates").into());
        }
        if !(self.discount > 0.0 && self.discount <= 1.0) {
            return Err(Error::config("planner", "discount", self.discount, "in (0, 1]").into());
        }
        match &self.method {
            Method::Shooting => Ok(()),
            Method::Cem(c) => c.validate(),
            Method::Icem(c) => c.validate(),
            Method::Mppi(c) => c.validate(),
        }
    }
}

/// What a plan consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The action to take: reals, or one index.
    pub action: PlannedAction,
    /// The score of the best sequence seen.
    pub predicted_return: f64,
    /// Model steps spent: candidates × horizon × particles over all iterations.
    pub model_steps: usize,
}

/// An owned action.
#[derive(Clone, Debug, PartialEq)]
pub enum PlannedAction {
    /// A real vector.
    Continuous(Vec<f32>),
    /// One of n.
    Discrete(usize),
}

impl PlannedAction {
    /// Borrowed, as environments take it.
    pub fn as_action(&self) -> rl_core::env::Action<'_> {
        match self {
            Self::Continuous(a) => rl_core::env::Action::Continuous(a),
            Self::Discrete(a) => rl_core::env::Action::Discrete(*a),
        }
    }
}

/// Plans with a model, and remembers the last plan for the next step.
pub struct Planner<M: Model> {
    config: PlannerConfig,
    proposal: Proposal,
    returns: Vec<f32>,
    blocks: Vec<Block<M::Batch>>,
}

/// A block's index, the scores that it writes, and its buffers.
type Job<'a, B> = (usize, (&'a mut [f32], &'a mut Block<B>));

/// One block's states and per-row numbers.
struct Block<B> {
    batch: B,
    rewards: Vec<f32>,
    continues: Vec<f32>,
    alive: Vec<f32>,
    totals: Vec<f32>,
    reals: Vec<f32>,
    indices: Vec<usize>,
}

impl<M: Model> Planner<M> {
    /// A planner for an action space.
    ///
    /// # Errors
    /// If the configuration is invalid or the space is an unbounded box.
    pub fn new(config: PlannerConfig, action: &Space) -> Result<Self> {
        config.validate()?;
        let proposal = Proposal::new(&config, action)?;
        Ok(Self { config, proposal, returns: vec![], blocks: vec![] })
    }

    /// The configuration.
    pub fn config(&self) -> &PlannerConfig {
        &self.config
    }

    /// Forgets the last plan: to be called when an episode begins.
    pub fn reset(&mut self) {
        self.proposal.reset();
    }

    /// Plans from the model's present state.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    pub fn plan(&mut self, model: &M, rng: &mut StreamRng) -> Result<Plan> {
        self.plan_with(model, &[], rng)
    }

    /// Like [`plan`](Self::plan), with sequences `[n, horizon, A]` that are candidates in every iteration: a policy's, as in
    /// TD-MPC2. Discrete actions take none.
    ///
    /// # Errors
    /// If the model cannot be evaluated, or the sequences do not fit.
    pub fn plan_with(&mut self, model: &M, sequences: &[f32], rng: &mut StreamRng) -> Result<Plan> {
        self.proposal.begin(&self.config, rng);
        self.proposal.suggest(&self.config, sequences)?;
        let mut model_steps = 0;
        for iteration in 0..self.config.iterations {
            let candidates = self.proposal.propose(&self.config, iteration, rng);
            let seeds = SeedStream::new(rng.next_u64());
            self.score(model, candidates, seeds)?;
            model_steps += candidates * self.config.horizon * self.config.particles;
            self.proposal.learn(&self.config, &self.returns[..candidates]);
            if matches!(self.config.method, Method::Shooting) {
                break;
            }
        }
        let (action, predicted_return) = self.proposal.decide(&self.config);
        self.proposal.shift(&self.config);
        Ok(Plan { action, predicted_return, model_steps })
    }

    /// Scores the first `candidates` sequences of the proposal. Blocks are fixed by the configuration and have their
    /// own generators, so the scores do not depend on the number of threads.
    fn score(&mut self, model: &M, candidates: usize, seeds: SeedStream) -> Result<()> {
        let Self { config, proposal, returns, blocks } = self;
        returns.resize(candidates, 0.0);
        let needed = candidates.div_ceil(config.block);
        while blocks.len() < needed {
            blocks.push(Block::new(model.batch()));
        }
        let mut jobs: Vec<_> = returns.chunks_mut(config.block).zip(blocks.iter_mut()).enumerate().collect();
        let share = jobs.len().div_ceil(config.threads);
        let (config, proposal) = (&*config, &*proposal);
        let run = |jobs: &mut [Job<'_, M::Batch>]| -> Result<()> {
            for (i, (returns, block)) in jobs {
                let mut rng = seeds.stream("block", *i as u64);
                block.score(model, config, proposal, *i * config.block, returns, &mut rng)?;
            }
            Ok(())
        };
        if share == jobs.len() {
            return run(&mut jobs);
        }
        std::thread::scope(|scope| {
            let handles: Vec<_> = jobs.chunks_mut(share).map(|jobs| scope.spawn(move || run(jobs))).collect();
            handles.into_iter().try_for_each(|handle| match handle.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }
}

impl<M: Model> Persist for Planner<M> {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.proposal.save(prefix, state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.proposal.load(prefix, state)
    }
}

impl<B: Send> Block<B> {
    fn new(batch: B) -> Self {
        let (rewards, continues, alive, totals) = (vec![], vec![], vec![], vec![]);
        Self { batch, rewards, continues, alive, totals, reals: vec![], indices: vec![] }
    }

    /// Writes the scores of the sequences `first..first + returns.len()`.
    fn score<M: Model<Batch = B>>(
        &mut self,
        model: &M,
        config: &PlannerConfig,
        proposal: &Proposal,
        first: usize,
        returns: &mut [f32],
        rng: &mut StreamRng,
    ) -> Result<()> {
        let rows = returns.len() * config.particles;
        for buffer in [&mut self.rewards, &mut self.continues, &mut self.alive, &mut self.totals] {
            buffer.resize(rows, 1.0);
        }
        self.alive.fill(1.0);
        self.totals.fill(0.0);
        model.start(&mut self.batch, rows);
        let mut discount = 1.0f32;
        for t in 0..config.horizon {
            let actions = proposal.actions(
                first,
                returns.len(),
                t,
                config.particles,
                &mut self.reals,
                &mut self.indices,
            );
            let (batch, rewards, continues) = (&mut self.batch, &mut self.rewards, &mut self.continues);
            if t + 1 < config.horizon {
                model.step(batch, actions, rng, rewards, continues)?;
            } else {
                model.last_step(batch, actions, rng, rewards, continues)?;
            }
            let steps = self.rewards.iter().zip(&self.continues);
            for ((total, alive), (&reward, &go_on)) in self.totals.iter_mut().zip(&mut self.alive).zip(steps)
            {
                *total += discount * *alive * reward;
                *alive *= go_on;
            }
            discount *= config.discount as f32;
        }
        model.terminal_values(&mut self.batch, &mut self.rewards)?;
        for ((total, alive), value) in self.totals.iter_mut().zip(&self.alive).zip(&self.rewards) {
            *total += discount * alive * value;
        }
        for (score, particles) in returns.iter_mut().zip(self.totals.chunks_exact(config.particles)) {
            let mean = particles.iter().sum::<f32>() / config.particles as f32;
            *score = if mean.is_nan() { f32::NEG_INFINITY } else { mean };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
