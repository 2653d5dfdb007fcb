//! One loop for all learners: a batch of copies is stepped, the learner takes note, and every now and then the greedy
//! (or sampled, as the learner's evaluation demands) policy is measured on copies of its own.
//!
//! Steps are environment steps: one step of B copies counts B. Returns are undiscounted, per agent; how they are
//! summed is the reader's choice, so the unit must be said wherever a number is shown.

use crate::env::{Batch, BatchActions, BatchStep, Layout};
use crate::{Error, Result};
use rl_core::experiment::{Metrics, Persist, TrainState, Trainer};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

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
    /// Chooses actions for all agents of all copies.
    ///
    /// # Errors
    /// If the sizes are not those the learner was made for.
    fn act(
        &mut self,
        now: &BatchStep,
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> Result<()>;

    /// Takes note of the step from `before` to `after` that followed the last `act` with [`Mode::Explore`], and
    /// learns when it is time.
    ///
    /// # Errors
    /// If a loss is not finite or sizes do not fit.
    fn learn(&mut self, before: &BatchStep, after: &BatchStep, rng: &mut StreamRng) -> Result<()>;

    /// Losses and other numbers of the last update, for metrics.
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Training is over: experience can be forgotten, so that a checkpoint holds what acting needs.
    fn finish(&mut self) {}
}

impl<L: Learner + ?Sized> Learner for Box<L> {
    fn act(
        &mut self,
        now: &BatchStep,
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> Result<()> {
        (**self).act(now, mode, rng, actions)
    }

    fn learn(&mut self, before: &BatchStep, after: &BatchStep, rng: &mut StreamRng) -> Result<()> {
        (**self).learn(before, after, rng)
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        (**self).metrics()
    }

    fn finish(&mut self) {
        (**self).finish();
    }
}

/// Checks that observations and action buffers are those of one number of copies of a layout.
///
/// # Errors
/// [`Error::Shape`].
pub fn check_act(layout: &Layout, now: &BatchStep, actions: &BatchActions) -> Result<()> {
    now.check(layout, now.reset.len())?;
    actions.check(layout, now.reset.len())
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// A learner, its world, and how far they are. [`Trainer::advance`] is one step of all copies, so a session can stop
/// and resume it; the files of a resumed run are those of one that was never interrupted.
///
/// The generators are `("marl/act", 0)` for the learner, `("marl/env", b)` for copy b, and for evaluation k the
/// streams of the seed derived from `("marl/evaluate", k)`, so measuring more or less often changes nothing else.
/// Metrics: `charts/episodic_return`, the sum over agents of an episode of training, with exploration;
/// `charts/evaluation_return`, the same without; what the learner reports.
#[derive(Debug)]
pub struct Training<L, E> {
    /// The learner.
    pub learner: L,
    env: E,
    evaluation: E,
    config: TrainConfig,
    seeds: SeedStream,
    before: BatchStep,
    now: BatchStep,
    actions: BatchActions,
    rng: StreamRng,
    done: u64,
    /// `[B]`: sum over agents so far of the running episodes.
    sums: Vec<f64>,
    history: Vec<Evaluation>,
}

impl<L: Learner, E: Batch> Training<L, E> {
    /// Starts all copies.
    ///
    /// # Errors
    /// [`Error::Shape`] when `evaluation` has another layout than `env`.
    pub fn new(
        learner: L,
        mut env: E,
        evaluation: E,
        config: TrainConfig,
        seeds: &SeedStream,
    ) -> Result<Self> {
        if env.layout() != evaluation.layout() {
            return Err(Error::shape("training", env.layout().name, evaluation.layout().name));
        }
        let copies = env.copies();
        let mut now = BatchStep::new(env.layout(), copies);
        env.reset(seeds, &mut now)?;
        Ok(Self {
            before: now.clone(),
            now,
            actions: BatchActions::new(env.layout(), copies),
            rng: seeds.stream("marl/act", 0),
            seeds: *seeds,
            done: 0,
            sums: vec![0.0; copies],
            history: Vec::new(),
            learner,
            env,
            evaluation,
            config,
        })
    }

    /// The evaluations so far.
    pub fn history(&self) -> &[Evaluation] {
        &self.history
    }

    /// Environment steps after which evaluation k = 1, 2, .. is due.
    fn due(&self, k: u64) -> u64 {
        self.config.steps * k / self.config.evaluations.max(1)
    }

    /// One step of all copies, and the evaluations that are due.
    ///
    /// # Errors
    /// What the environment or the learner reports.
    pub fn step_all(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.learner.act(&self.now, Mode::Explore, &mut self.rng, &mut self.actions)?;
        std::mem::swap(&mut self.before, &mut self.now);
        self.env.step(&self.actions, &mut self.now)?;
        self.learner.learn(&self.before, &self.now, &mut self.rng)?;
        self.done += self.sums.len() as u64;
        for (b, sum) in self.sums.iter_mut().enumerate() {
            *sum += self.now.rewards.iter().map(|r| r[b]).sum::<f64>();
            if self.now.reset[b] {
                metrics.record("charts/episodic_return", std::mem::take(sum));
            }
        }
        while self.done >= self.due(self.history.len() as u64 + 1)
            && (self.history.len() as u64) < self.config.evaluations.max(1)
        {
            let seeds = SeedStream::new(self.seeds.derive("marl/evaluate", self.history.len() as u64 + 1));
            let returns = evaluate(&mut self.learner, &mut self.evaluation, self.config.episodes, &seeds)?;
            self.history.push(Evaluation { step: self.done, returns });
            let last = self.history.last().map_or(0.0, Evaluation::mean_sum);
            metrics.record("charts/evaluation_return", last);
            self.learner.metrics().into_iter().for_each(|(key, value)| metrics.record(key, value));
        }
        if self.done >= self.config.steps {
            self.learner.finish();
        }
        Ok(())
    }

    /// Trains to the end without a session; `watch` sees each evaluation with the learner's metrics.
    ///
    /// # Errors
    /// What the environment or the learner reports.
    pub fn run(&mut self, mut watch: impl FnMut(&Evaluation, &[(&'static str, f64)])) -> Result<()> {
        let mut metrics = Metrics::in_memory();
        while self.done < self.config.steps {
            let seen = self.history.len();
            self.step_all(&mut metrics)?;
            self.history[seen..].iter().for_each(|e| watch(e, &self.learner.metrics()));
        }
        Ok(())
    }
}

impl<L: Learner + Persist, E: Batch + Persist> Trainer for Training<L, E> {
    type Error = Error;

    fn step(&self) -> u64 {
        self.done
    }

    fn total_steps(&self) -> u64 {
        self.config.steps
    }

    fn advance(&mut self, metrics: &mut Metrics) -> Result<()> {
        self.step_all(metrics)
    }
}

impl<L: Persist, E: Persist> Persist for Training<L, E> {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.learner.save(&format!("{prefix}/learner"), state)?;
        self.env.save(&format!("{prefix}/env"), state)?;
        self.now.save(&format!("{prefix}/now"), state)?;
        state.put(format!("{prefix}/progress"), &(&self.rng, self.done, &self.sums, &self.history))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.learner.load(&format!("{prefix}/learner"), state)?;
        self.env.load(&format!("{prefix}/env"), state)?;
        self.now.load(&format!("{prefix}/now"), state)?;
        (self.rng, self.done, self.sums, self.history) = state.get(&format!("{prefix}/progress"))?;
        Ok(())
    }
}

/// Plays whole episodes without exploration: the first ones of each copy, until there are `episodes`. Returns are per
/// episode and agent.
///
/// # Errors
/// What the environment or the learner reports.
pub fn evaluate<L: Learner + ?Sized, E: Batch>(
    learner: &mut L,
    env: &mut E,
    episodes: usize,
    seeds: &SeedStream,
) -> Result<Vec<Vec<f64>>> {
    watch(learner, env, episodes, seeds, |_, _| {})
}

/// [`evaluate`] with an onlooker, who sees the copies after every step; a copy whose `reset` is set has begun anew.
///
/// # Errors
/// What the environment or the learner reports.
pub fn watch<L: Learner + ?Sized, E: Batch>(
    learner: &mut L,
    env: &mut E,
    episodes: usize,
    seeds: &SeedStream,
    mut look: impl FnMut(&E, &BatchStep),
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
        learner.act(&step, Mode::Exploit, &mut rng, &mut actions)?;
        env.step(&actions, &mut step)?;
        look(env, &step);
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
