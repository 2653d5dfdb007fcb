//! One loop for all learners: a batch of copies is stepped, the learner takes note, and every now and then the greedy
//! (or sampled, as the learner's evaluation demands) policy is measured on copies of its own.
//!
//! Steps are environment steps: one step of B copies counts B. Returns are undiscounted, per agent; how they are
//! summed is the reader's choice, so the unit must be said wherever a number is shown.

use crate::env::{Batch, BatchActions, BatchStep, Layout};
use crate::{Error, Result};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Whether actions are for gathering experience or for being measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With exploration.
    Explore,
    /// As the learner would be used.
    Exploit,
}

/// A multi-agent learner over a batch of copies.
pub trait Learner {
    /// Chooses actions for all agents of all copies from their observations, per agent `[B, D]`.
    ///
    /// # Errors
    /// If the sizes are not those the learner was made for.
    fn act(
        &mut self,
        observations: &[Vec<f32>],
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> Result<()>;

    /// Takes note of the step that followed the last `act` with [`Mode::Explore`], and learns when it is time.
    /// `before` are the observations acted on and `live` the agents that acted, per agent `[B]`.
    ///
    /// # Errors
    /// If a loss is not finite or sizes do not fit.
    fn learn(
        &mut self,
        before: &[Vec<f32>],
        live: &[Vec<bool>],
        step: &BatchStep,
        rng: &mut StreamRng,
    ) -> Result<()>;

    /// Losses and other numbers of the last update, for metrics.
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

/// Checks that observations and action buffers are those of one number of copies of a layout.
///
/// # Errors
/// [`Error::Shape`].
pub fn check_act(layout: &Layout, observations: &[Vec<f32>], actions: &BatchActions) -> Result<()> {
    let first = layout.agents.first().map_or(1, |a| a.observation.max(1));
    let copies = observations.first().map_or(0, Vec::len) / first;
    let sized = observations.len() == layout.n()
        && observations.iter().zip(&layout.agents).all(|(o, a)| o.len() == copies * a.observation);
    match sized {
        true => actions.check(layout, copies),
        false => Err(Error::shape("act", format!("observations of {} agents", layout.n()), "other sizes")),
    }
}

/// How long to train and how to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Environment steps.
    pub steps: u64,
    /// Number of evaluations, evenly spaced, the last one at the end.
    pub evaluations: u64,
    /// Episodes per evaluation (100 in Papoudakis et al. 2021).
    pub episodes: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self { steps: 2_000_000, evaluations: 41, episodes: 100 }
    }
}

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Environment steps of training so far.
    pub step: u64,
    /// Per episode and agent: undiscounted returns.
    pub returns: Vec<Vec<f64>>,
}

impl Evaluation {
    /// Mean over episodes of the sum over agents.
    pub fn mean_sum(&self) -> f64 {
        self.returns.iter().flatten().sum::<f64>() / self.returns.len().max(1) as f64
    }

    /// Mean over episodes, per agent.
    pub fn mean_per_agent(&self) -> Vec<f64> {
        let n = self.returns.first().map_or(0, Vec::len);
        let mean = |i| self.returns.iter().map(|r| r[i]).sum::<f64>() / self.returns.len() as f64;
        (0..n).map(mean).collect()
    }
}

/// Trains and measures; `watch` sees each evaluation with the learner's metrics and may stop the run.
///
/// The generators are `("marl/act", 0)` for the learner, `("marl/env", b)` for copy b, and for evaluation k the
/// streams of the seed derived from `("marl/evaluate", k)`, so measuring more or less often changes nothing else.
///
/// # Errors
/// What the environment or the learner reports; [`Error::Shape`] when `evaluation` has another layout than `env`.
pub fn train<L: Learner, E: Batch>(
    learner: &mut L,
    env: &mut E,
    evaluation: &mut E,
    config: TrainConfig,
    seeds: &SeedStream,
    mut watch: impl FnMut(&Evaluation, &[(&'static str, f64)]) -> ControlFlow<()>,
) -> Result<Vec<Evaluation>> {
    if env.layout() != evaluation.layout() {
        return Err(Error::shape("train", env.layout().name, evaluation.layout().name));
    }
    let copies = env.copies();
    let mut step = BatchStep::new(env.layout(), copies);
    let mut actions = BatchActions::new(env.layout(), copies);
    let mut rng = seeds.stream("marl/act", 0);
    env.reset(seeds, &mut step)?;
    let (mut before, mut live) = (step.observations.clone(), step.live.clone());
    let (mut done, mut history) = (0, Vec::new());
    for k in 1..=config.evaluations.max(1) {
        let until = config.steps * k / config.evaluations.max(1);
        while done < until {
            learner.act(&step.observations, Mode::Explore, &mut rng, &mut actions)?;
            copy_rows(&mut before, &step.observations);
            copy_rows(&mut live, &step.live);
            env.step(&actions, &mut step)?;
            learner.learn(&before, &live, &step, &mut rng)?;
            done += copies as u64;
        }
        let returns = evaluate(
            learner,
            evaluation,
            config.episodes,
            &SeedStream::new(seeds.derive("marl/evaluate", k)),
        )?;
        history.push(Evaluation { step: done, returns });
        if let Some(last) = history.last()
            && watch(last, &learner.metrics()).is_break()
        {
            break;
        }
    }
    Ok(history)
}

fn copy_rows<T: Copy>(to: &mut [Vec<T>], from: &[Vec<T>]) {
    to.iter_mut().zip(from).for_each(|(to, from)| to.copy_from_slice(from));
}

/// Plays whole episodes without exploration: the first ones of each copy, until there are `episodes`.
///
/// # Errors
/// What the environment or the learner reports.
pub fn evaluate<L: Learner, E: Batch>(
    learner: &mut L,
    env: &mut E,
    episodes: usize,
    seeds: &SeedStream,
) -> Result<Vec<Vec<f64>>> {
    let (copies, n) = (env.copies(), env.layout().n());
    let mut step = BatchStep::new(env.layout(), copies);
    let mut actions = BatchActions::new(env.layout(), copies);
    let mut rng = seeds.stream("marl/act", 0);
    env.reset(seeds, &mut step)?;
    // Every copy plays its share, so that short episodes do not count more often than long ones.
    let share = |b: usize| episodes / copies + usize::from(b < episodes % copies);
    let mut left: Vec<usize> = (0..copies).map(share).collect();
    let mut sums = vec![vec![0.0; n]; copies];
    let mut returns = Vec::with_capacity(episodes);
    while left.iter().any(|&k| k > 0) {
        learner.act(&step.observations, Mode::Exploit, &mut rng, &mut actions)?;
        env.step(&actions, &mut step)?;
        for (b, sum) in sums.iter_mut().enumerate() {
            (0..n).for_each(|i| sum[i] += step.rewards[i][b]);
            if step.reset[b] {
                let finished = std::mem::replace(sum, vec![0.0; n]);
                if left[b] > 0 {
                    left[b] -= 1;
                    returns.push(finished);
                }
            }
        }
    }
    Ok(returns)
}
