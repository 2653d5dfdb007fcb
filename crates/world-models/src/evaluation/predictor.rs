//! What predicts an episode's continuation without having learned it by a network: the references.

use super::trajectory::{Trajectory, as_action};
use crate::Result;
use crate::planning::Model;
use crate::rssm::encode_action;
use nalgebra::{DMatrix, DVector};
use rl_core::env::{Actions, Simulator};
use rl_core::{Error, StreamRng};

/// Predicts what follows the first `context` transitions of a trajectory from its actions alone.
pub trait Predictor {
    /// Writes the observations `[horizon, D]` and rewards `[horizon]` of the steps `context..context + horizon`.
    ///
    /// # Errors
    /// If the predictor cannot be evaluated.
    fn predict(
        &mut self,
        trajectory: &Trajectory,
        context: usize,
        horizon: usize,
        observations: &mut Vec<f32>,
        rewards: &mut Vec<f32>,
    ) -> Result<()>;
}

/// Nothing changes: the last observation and the last reward, for ever.
pub struct Persistence;

impl Predictor for Persistence {
    fn predict(
        &mut self,
        trajectory: &Trajectory,
        context: usize,
        horizon: usize,
        observations: &mut Vec<f32>,
        rewards: &mut Vec<f32>,
    ) -> Result<()> {
        let reward = if context > 0 { trajectory.rewards[context - 1] } else { 0.0 };
        for _ in 0..horizon {
            observations.extend_from_slice(trajectory.observation(context));
            rewards.push(reward);
        }
        Ok(())
    }
}

/// `[o', r] = M [o, a, 1]`, fitted by least squares.
pub struct Linear {
    /// `[D + A + 1, D + 1]`
    matrix: DMatrix<f64>,
}

impl Linear {
    /// Fits to all transitions of the trajectories.
    ///
    /// # Errors
    /// If there is no transition.
    pub fn fit(data: &[Trajectory]) -> Result<Self> {
        let Some(first) = data.iter().find(|t| t.steps() > 0) else {
            return Err(Error::shape("Linear::fit", "at least one transition", "none").into());
        };
        let (inputs, outputs) =
            (first.observation_width + first.action_width + 1, first.observation_width + 1);
        let (mut gram, mut moment) = (DMatrix::zeros(inputs, inputs), DMatrix::zeros(inputs, outputs));
        for trajectory in data {
            for t in 0..trajectory.steps() {
                let x = Self::features(trajectory.observation(t), trajectory.action(t));
                let reward = trajectory.rewards[t];
                let y = trajectory.observation(t + 1).iter().chain([&reward]).map(|&v| f64::from(v));
                let y = DVector::from_iterator(outputs, y);
                gram += &x * x.transpose();
                moment += &x * y.transpose();
            }
        }
        // A trace of regularisation: an observation that never moves must not make the system singular.
        let ridge = 1e-9 * gram.trace().max(1.0);
        gram += DMatrix::identity(inputs, inputs) * ridge;
        let solved = gram.cholesky().map(|c| c.solve(&moment));
        let matrix = solved.ok_or_else(|| Error::NotFinite {
            operation: "Linear::fit",
            what: "the data's second moment".into(),
            value: f64::NAN,
        })?;
        Ok(Self { matrix })
    }

    fn features(observation: &[f32], action: &[f32]) -> DVector<f64> {
        let all = observation.iter().chain(action).chain([&1.0]).map(|&v| f64::from(v));
        DVector::from_iterator(observation.len() + action.len() + 1, all)
    }
}

impl Predictor for Linear {
    fn predict(
        &mut self,
        trajectory: &Trajectory,
        context: usize,
        horizon: usize,
        observations: &mut Vec<f32>,
        rewards: &mut Vec<f32>,
    ) -> Result<()> {
        let d = trajectory.observation_width;
        let mut present = trajectory.observation(context).to_vec();
        for t in context..context + horizon {
            let y = self.matrix.tr_mul(&Self::features(&present, trajectory.action(t)));
            present = y.iter().take(d).map(|&v| v as f32).collect();
            observations.extend_from_slice(&present);
            rewards.push(y[d] as f32);
        }
        Ok(())
    }
}

/// The linear model, or the copy, as a model to plan in.
#[derive(Clone, Debug)]
pub struct LinearModel {
    /// `[D + 1, D + A + 1]`, row-major.
    matrix: Vec<f32>,
    inputs: usize,
    /// Where rollouts start, as observed.
    pub observation: Vec<f32>,
}

impl LinearModel {
    /// Nothing changes, nothing is paid.
    pub fn copy(observation: usize, action: usize) -> Self {
        let inputs = observation + action + 1;
        let mut matrix = vec![0.0; (observation + 1) * inputs];
        (0..observation).for_each(|i| matrix[i * inputs + i] = 1.0);
        Self { matrix, inputs, observation: vec![0.0; observation] }
    }

    /// A fitted model.
    pub fn new(linear: &Linear) -> Self {
        let (inputs, outputs) = linear.matrix.shape();
        // Column-major as [inputs, outputs] is row-major as [outputs, inputs].
        let matrix = linear.matrix.iter().map(|&m| m as f32).collect();
        Self { matrix, inputs, observation: vec![0.0; outputs - 1] }
    }
}

impl Model for LinearModel {
    /// `[rows, D]`
    type Batch = Vec<f32>;

    fn batch(&self) -> Vec<f32> {
        vec![]
    }

    fn start(&self, batch: &mut Vec<f32>, rows: usize) {
        batch.clear();
        (0..rows).for_each(|_| batch.extend_from_slice(&self.observation));
    }

    fn step(
        &self,
        batch: &mut Vec<f32>,
        actions: Actions<'_>,
        _: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> Result<()> {
        let d = self.observation.len();
        let rows = batch.len() / d;
        let mut x = vec![1.0; self.inputs];
        for (i, o) in batch.chunks_exact_mut(d).enumerate() {
            x[..d].copy_from_slice(o);
            encode_action(actions.row(i, rows), &mut x[d..self.inputs - 1]);
            let mut y = self.matrix.chunks_exact(self.inputs).map(|m| rl_core::nn::kernel::dot(m, &x));
            o.iter_mut().zip(&mut y).for_each(|(o, y)| *o = y);
            (rewards[i], continues[i]) = (y.next().unwrap_or(0.0), 1.0);
        }
        Ok(())
    }
}

/// The true dynamics, from the observed state; its noise is drawn anew, so it is not free of error either.
pub struct TrueDynamics<'a, S: Simulator> {
    /// The simulator; without noise, if it has any, it predicts the mean.
    pub simulator: &'a S,
    /// The state that an observation shows.
    pub state_of: fn(&[f32]) -> S::State,
    /// For its noise.
    pub rng: StreamRng,
}

impl<S: Simulator> Predictor for TrueDynamics<'_, S> {
    fn predict(
        &mut self,
        trajectory: &Trajectory,
        context: usize,
        horizon: usize,
        observations: &mut Vec<f32>,
        rewards: &mut Vec<f32>,
    ) -> Result<()> {
        let mut state = (self.state_of)(trajectory.observation(context));
        let mut observation = vec![0.0; trajectory.observation_width];
        let space = self.simulator.spec().action;
        for t in context..context + horizon {
            let action = as_action(&space, trajectory.action(t));
            let (reward, _) = self.simulator.transition(&mut state, action, &mut self.rng);
            self.simulator.observe(&state, &mut observation);
            observations.extend_from_slice(&observation);
            rewards.push(reward as f32);
        }
        Ok(())
    }
}
