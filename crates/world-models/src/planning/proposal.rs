//! The distribution that sequences are drawn from, for boxes (Gaussian) and discrete actions (categorical).

use super::categorical::Categorical;
use super::{Cem, Execute, Icem, Method, Mppi, PlannedAction, PlannerConfig, cem, icem, mppi};
use crate::Result;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rl_core::Error;
use rl_core::env::{Actions, Space};
use rl_core::experiment::{Persist, TrainState};

/// Sequences on trial and what was learned from them.
pub(super) enum Proposal {
    /// Reals between bounds.
    Gaussian(Gaussian),
    /// One of n at every step.
    Categorical(Categorical),
}

impl Proposal {
    pub(super) fn new(config: &PlannerConfig, action: &Space) -> Result<Self> {
        Ok(match action {
            Space::Discrete(n) => Self::Categorical(Categorical::new(*n, config.horizon)),
            Space::Box { low, high } => Self::Gaussian(Gaussian::new(config, low, high)?),
        })
    }

    pub(super) fn reset(&mut self) {
        match self {
            Self::Gaussian(g) => g.reset(),
            Self::Categorical(c) => c.reset(),
        }
    }

    pub(super) fn begin(&mut self, config: &PlannerConfig, rng: &mut impl Rng) {
        match self {
            Self::Gaussian(g) => g.begin(config, rng),
            Self::Categorical(c) => c.begin(config),
        }
    }

    /// Sequences that are candidates in every iteration of this plan.
    pub(super) fn suggest(&mut self, config: &PlannerConfig, sequences: &[f32]) -> Result<()> {
        let fits = match self {
            Self::Gaussian(g) => {
                sequences.len().is_multiple_of(g.mean.len())
                    && sequences.len() / g.mean.len() <= config.candidates
            }
            Self::Categorical(_) => sequences.is_empty(),
        };
        if !fits {
            let want = "whole sequences of reals, at most as many as candidates";
            return Err(Error::shape("Planner::plan_with", want, sequences.len()).into());
        }
        if let Self::Gaussian(g) = self {
            g.suggested.clear();
            g.suggested.extend_from_slice(sequences);
        }
        Ok(())
    }

    /// Fills the sequences of this iteration; returns how many.
    pub(super) fn propose(&mut self, config: &PlannerConfig, iteration: usize, rng: &mut impl Rng) -> usize {
        match self {
            Self::Gaussian(g) => g.propose(config, iteration, rng),
            Self::Categorical(c) => c.propose(config, rng),
        }
    }

    /// The actions of candidates `first..first + count` at step `t`, each repeated for its particles.
    pub(super) fn actions<'a>(
        &self,
        first: usize,
        count: usize,
        t: usize,
        particles: usize,
        reals: &'a mut Vec<f32>,
        indices: &'a mut Vec<usize>,
    ) -> Actions<'a> {
        match self {
            Self::Gaussian(g) => {
                reals.clear();
                for candidate in first..first + count {
                    let row = &g.sequences[candidate * g.mean.len()..][t * g.width()..][..g.width()];
                    for _ in 0..particles {
                        let bounds = g.low.iter().zip(&g.high);
                        reals.extend(row.iter().zip(bounds).map(|(a, (low, high))| a.clamp(*low, *high)));
                    }
                }
                Actions::Continuous(reals)
            }
            Self::Categorical(c) => {
                indices.clear();
                for candidate in first..first + count {
                    let action = c.sequences[candidate * c.horizon + t];
                    indices.extend(std::iter::repeat_n(action, particles));
                }
                Actions::Discrete(indices)
            }
        }
    }

    pub(super) fn learn(&mut self, config: &PlannerConfig, returns: &[f32]) {
        match self {
            Self::Gaussian(g) => g.learn(config, returns),
            Self::Categorical(c) => c.learn(config, returns),
        }
    }

    pub(super) fn decide(&self, config: &PlannerConfig) -> (PlannedAction, f64) {
        match self {
            Self::Gaussian(g) => g.decide(config),
            Self::Categorical(c) => c.decide(config),
        }
    }

    pub(super) fn shift(&mut self, config: &PlannerConfig) {
        match self {
            Self::Gaussian(g) => g.shift(config),
            Self::Categorical(c) => c.shift(config),
        }
    }
}

/// What a warm start needs.
impl Persist for Proposal {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        match self {
            Self::Gaussian(g) => {
                for (name, values) in [("mean", &g.mean), ("elites", &g.elites), ("best", &g.best)] {
                    state.put_array(at(name), &[values.len()], values);
                }
                state.put(at("planned"), &g.planned)
            }
            Self::Categorical(c) => {
                state.put_array(at("probabilities"), &[c.probabilities.len()], &c.probabilities);
                state.put(at("best"), &c.best)?;
                state.put(at("planned"), &c.planned)
            }
        }
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        let at = |name: &str| format!("{prefix}/{name}");
        match self {
            Self::Gaussian(g) => {
                for (name, values) in [("mean", &mut g.mean), ("best", &mut g.best)] {
                    *values = state.array(&at(name), &[values.len()])?.to_vec();
                }
                g.elites = state.array_of_any_shape(&at("elites"))?.to_vec();
                g.planned = state.get(&at("planned"))?;
            }
            Self::Categorical(c) => {
                c.probabilities = state.array(&at("probabilities"), &[c.probabilities.len()])?.to_vec();
                c.best = state.get(&at("best"))?;
                c.planned = state.get(&at("planned"))?;
            }
        }
        Ok(())
    }
}

/// The indices of the `count` best scores, best first; ties keep the order of the candidates.
pub(crate) fn best(returns: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..returns.len()).collect();
    let descending = |&i: &usize, &j: &usize| returns[j].total_cmp(&returns[i]).then(i.cmp(&j));
    let count = count.min(order.len());
    if count > 0 && count < order.len() {
        order.select_nth_unstable_by(count - 1, descending);
        order.truncate(count);
    }
    order.sort_unstable_by(descending);
    order
}

/// Independent normals per step and dimension; sequences are kept unclipped, only the model sees them clipped, so
/// that the spread does not shrink near the bounds.
pub(super) struct Gaussian {
    low: Vec<f32>,
    high: Vec<f32>,
    /// `[H, A]`
    mean: Vec<f32>,
    std: Vec<f32>,
    /// `[candidates, H, A]`
    sequences: Vec<f32>,
    elites: Vec<f32>,
    /// What a policy suggested for this plan.
    suggested: Vec<f32>,
    kept: usize,
    best: Vec<f32>,
    best_return: f32,
    planned: bool,
}

impl Gaussian {
    fn new(config: &PlannerConfig, low: &[f32], high: &[f32]) -> Result<Self> {
        if low.iter().chain(high).any(|b| !b.is_finite()) {
            return Err(Error::config(
                "planner",
                "action space",
                "an unbounded box",
                "a box with finite bounds",
            )
            .into());
        }
        let n = config.horizon * low.len();
        let zeros = || vec![0.0; n];
        let mut gaussian = Self {
            low: low.to_vec(),
            high: high.to_vec(),
            mean: zeros(),
            std: zeros(),
            sequences: vec![],
            elites: vec![],
            suggested: vec![],
            kept: 0,
            best: zeros(),
            best_return: f32::NEG_INFINITY,
            planned: false,
        };
        gaussian.reset();
        Ok(gaussian)
    }

    fn width(&self) -> usize {
        self.low.len()
    }

    fn reset(&mut self) {
        let width = self.width();
        for (j, m) in self.mean.iter_mut().enumerate() {
            *m = 0.5 * (self.low[j % width] + self.high[j % width]);
        }
        self.elites.clear();
        self.planned = false;
    }

    /// Initial spread: a fraction of half the range, per dimension.
    fn begin(&mut self, config: &PlannerConfig, _rng: &mut impl Rng) {
        if !(config.warm_start && self.planned) {
            self.reset();
        }
        let width = self.width();
        let fraction = match &config.method {
            Method::Shooting => 1.0,
            Method::Cem(Cem { initial_std, .. })
            | Method::Icem(Icem { initial_std, .. })
            | Method::Mppi(Mppi { initial_std, .. }) => *initial_std,
        };
        for (j, s) in self.std.iter_mut().enumerate() {
            *s = fraction as f32 * 0.5 * (self.high[j % width] - self.low[j % width]);
        }
        self.best_return = f32::NEG_INFINITY;
    }

    fn propose(&mut self, config: &PlannerConfig, iteration: usize, rng: &mut impl Rng) -> usize {
        let n = self.mean.len();
        let width = self.width();
        let mut candidates = config.candidates;
        if let Method::Icem(icem) = &config.method {
            candidates = icem.population(config.candidates, config.elites, iteration);
        }
        self.sequences.resize(candidates * n, 0.0);
        let gaussian = |row: &mut [f32], mean: &[f32], std: &[f32], rng: &mut _| {
            for ((x, m), s) in row.iter_mut().zip(mean).zip(std) {
                *x = m + s * rand::RngExt::sample::<f32, _>(rng, StandardNormal);
            }
        };
        match &config.method {
            Method::Shooting => {
                for (j, x) in self.sequences.iter_mut().enumerate() {
                    let (low, high) = (self.low[j % width], self.high[j % width]);
                    *x = low + (high - low) * rng.random::<f32>();
                }
            }
            Method::Cem(_) | Method::Mppi(_) => {
                for row in self.sequences.chunks_exact_mut(n) {
                    gaussian(row, &self.mean, &self.std, rng);
                }
            }
            Method::Icem(icem) => {
                icem.sample(&self.mean, &self.std, width, &mut self.sequences, rng);
                for (j, x) in self.sequences.iter_mut().enumerate() {
                    *x = x.clamp(self.low[j % width], self.high[j % width]);
                }
            }
        }
        let known = self.suggested.len().min(self.sequences.len());
        self.sequences[..known].copy_from_slice(&self.suggested[..known]);
        self.insert_known(config, iteration);
        candidates
    }

    /// Elites that survive, and at last the mean itself, take the place of the last candidates.
    fn insert_known(&mut self, config: &PlannerConfig, iteration: usize) {
        let n = self.mean.len();
        self.kept = 0;
        let keep = match &config.method {
            Method::Icem(icem) => (icem.keep_fraction * config.elites as f64) as usize,
            Method::Cem(cem) if cem.keep_elites && (iteration > 0 || self.planned) => config.elites / 2,
            _ => 0,
        };
        let keep = keep.min(self.elites.len() / n);
        let end = self.sequences.len();
        self.sequences[end - keep * n..].copy_from_slice(&self.elites[..keep * n]);
        self.kept = keep;
        let last = iteration + 1 == config.iterations;
        if last && matches!(config.method, Method::Icem(_)) {
            let at = end - (keep + 1) * n;
            self.sequences[at..at + n].copy_from_slice(&self.mean);
        }
    }

    fn learn(&mut self, config: &PlannerConfig, returns: &[f32]) {
        let n = self.mean.len();
        let order = best(returns, config.elites);
        self.elites.clear();
        for &i in &order {
            self.elites.extend_from_slice(&self.sequences[i * n..][..n]);
        }
        if let Some(&first) = order.first()
            && returns[first] >= self.best_return
        {
            self.best_return = returns[first];
            self.best.copy_from_slice(&self.elites[..n]);
        }
        match &config.method {
            Method::Shooting => self.mean.copy_from_slice(&self.best),
            Method::Cem(cem) => cem::learn(cem, &self.elites, &mut self.mean, &mut self.std),
            Method::Icem(icem) => icem::learn(icem, &self.elites, &mut self.mean, &mut self.std),
            Method::Mppi(mppi) => {
                let scores: Vec<f64> = order.iter().map(|&i| f64::from(returns[i])).collect();
                mppi::learn(mppi, &self.elites, &scores, &mut self.mean, &mut self.std);
            }
        }
        let width = self.width();
        for (j, m) in self.mean.iter_mut().enumerate() {
            *m = m.clamp(self.low[j % width], self.high[j % width]);
        }
        self.planned = true;
    }

    fn decide(&self, config: &PlannerConfig) -> (PlannedAction, f64) {
        let sequence = match config.execute {
            Execute::Mean => &self.mean,
            Execute::Best => &self.best,
        };
        let bounds = self.low.iter().zip(&self.high);
        let action = sequence.iter().zip(bounds).map(|(a, (low, high))| a.clamp(*low, *high)).collect();
        (PlannedAction::Continuous(action), f64::from(self.best_return))
    }

    /// Moves everything that the next plan may start from by one step; the last step starts from the middle.
    fn shift(&mut self, config: &PlannerConfig) {
        let (n, width) = (self.mean.len(), self.width());
        if !config.warm_start {
            return;
        }
        let middle: Vec<f32> = self.low.iter().zip(&self.high).map(|(l, h)| 0.5 * (l + h)).collect();
        self.mean.copy_within(width.., 0);
        self.mean[n - width..].copy_from_slice(&middle);
        for elite in self.elites.chunks_exact_mut(n) {
            elite.copy_within(width.., 0);
            elite[n - width..].copy_from_slice(&middle);
        }
    }
}

#[cfg(test)]
impl Proposal {
    /// Mean and spread of the first number of a sequence before the shift.
    pub(super) fn gaussian_statistics(&self) -> (f32, f32) {
        match self {
            Self::Gaussian(g) => (g.mean[0], g.std[1]),
            Self::Categorical(_) => (f32::NAN, f32::NAN),
        }
    }
}
