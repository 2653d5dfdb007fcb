//! Environments under training: copies that restart at once, and a record of their episodes.

use crate::env::wrappers::EpisodeStatistics;
use crate::env::{Actions, Autoreset, Batch, BatchEnv, Env, EnvSpec, Space, VectorEnv};
use crate::evaluate::action_width;
use crate::experiment::{Metrics, Persist, TrainState};
use crate::normalize::RunningMeanStd;
use crate::{Error, Result};

/// Copies of an environment that an agent collects experience from. Episodes restart in the step that ends them; their
/// returns and lengths go to the metrics as `charts/episodic_return` and `charts/episodic_length`.
pub struct Collector {
    envs: VectorEnv<EpisodeStatistics<Box<dyn Env>>>,
    indices: Vec<usize>,
}

impl Collector {
    /// From copies of one environment; copy `i` starts with seed `seed + i`.
    ///
    /// # Errors
    /// If there is no copy, or their spaces differ.
    pub fn new(copies: Vec<Box<dyn Env>>, seed: u64) -> Result<Self> {
        let counted = copies.into_iter().map(EpisodeStatistics::new).collect();
        let mut envs = VectorEnv::new(counted, Autoreset::SameStep)?;
        envs.reset(Some(seed))?;
        Ok(Self { envs, indices: Vec::new() })
    }

    /// Spaces, limits and name.
    pub fn spec(&self) -> &EnvSpec {
        self.envs.spec()
    }

    /// Number of copies.
    pub fn copies(&self) -> usize {
        self.batch().copies()
    }

    /// What the last step gave.
    pub fn batch(&self) -> &Batch {
        self.envs.batch()
    }

    /// Advances all copies; `actions` `[N, A]`, a discrete action is one number, its index.
    ///
    /// # Errors
    /// If an action is not in the space or a copy fails.
    pub fn step(&mut self, actions: &[f32], metrics: &mut Metrics) -> Result<()> {
        match self.spec().action {
            Space::Box { .. } => self.envs.step(Actions::Continuous(actions))?,
            Space::Discrete(_) => {
                self.indices.clear();
                self.indices.extend(actions.iter().map(|&a| a as usize));
                self.envs.step(Actions::Discrete(&self.indices))?;
            }
        }
        for episode in self.envs.envs().iter().filter_map(EpisodeStatistics::finished) {
            metrics.record("charts/episodic_return", episode.total);
            metrics.record("charts/episodic_length", f64::from(episode.length));
        }
        Ok(())
    }

    /// Widths of observations and encoded actions.
    pub(super) fn widths(&self) -> (usize, usize) {
        (self.spec().observation.width(), action_width(&self.spec().action))
    }

    /// Number of discrete actions.
    ///
    /// # Errors
    /// If the actions are continuous, saying which agent cannot act so.
    pub(super) fn discrete_actions(&self, agent: &'static str) -> Result<usize> {
        match self.spec().action {
            Space::Discrete(n) => Ok(n),
            Space::Box { .. } => Err(Error::shape(agent, "discrete actions", &self.spec().action)),
        }
    }
}

impl Persist for Collector {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        self.envs.save(prefix, state)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        self.envs.load(prefix, state)
    }
}

/// The bounds of a box of actions: a policy in (−1, 1) is stretched to them.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    centre: Vec<f32>,
    half: Vec<f32>,
}

impl Bounds {
    /// # Errors
    /// If the actions are not a bounded box, saying which agent cannot act so.
    pub(super) fn new(space: &Space, agent: &'static str) -> Result<Self> {
        match space {
            Space::Box { low, high } if low.iter().chain(high).all(|b| b.is_finite()) => Ok(Self {
                centre: low.iter().zip(high).map(|(l, h)| 0.5 * (l + h)).collect(),
                half: low.iter().zip(high).map(|(l, h)| 0.5 * (h - l)).collect(),
            }),
            _ => Err(Error::shape(agent, "continuous actions with finite bounds", space)),
        }
    }

    /// `a ← centre + half · a`, rows in place.
    pub(super) fn stretch(&self, actions: &mut [f32]) {
        for row in actions.chunks_exact_mut(self.centre.len()) {
            for ((a, &centre), &half) in row.iter_mut().zip(&self.centre).zip(&self.half) {
                *a = centre + half * *a;
            }
        }
    }
}

/// Normalises observations in place, clipped at ±10, where an agent keeps statistics of them.
pub(super) fn normalize(statistics: Option<&RunningMeanStd>, observations: &mut [f32]) {
    if let Some(statistics) = statistics {
        statistics.normalize(observations, 1e-8, 10.0);
    }
}

/// Refuses a configuration value unless `ok`.
pub(super) fn require(
    ok: bool,
    config: &'static str,
    field: &'static str,
    value: impl std::fmt::Debug,
    allowed: &'static str,
) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::config(config, field, format!("{value:?}"), allowed)) }
}
