//! Learned models under evaluation: what they predict from an episode's beginning, in the mean and as samples.

use super::predictor::{LinearModel, Predictor};
use super::trajectory::{Trajectory, as_action, with_actions};
use crate::Result;
use crate::pets::EnsembleModel;
use crate::planning::Model;
use crate::rssm::Rollout;
use rl_core::StreamRng;
use rl_core::env::Space;

/// A model to evaluate: it takes in an episode's beginning, and its imagined rows can be looked at.
pub trait Imagines: Model {
    /// Makes what is known after the first `context` transitions of an episode the present state.
    fn observe(&mut self, space: &Space, trajectory: &Trajectory, context: usize);

    /// The imagined observations, `[rows, D]`.
    fn decode(&self, batch: &Self::Batch, observations: &mut Vec<f32>);

    /// Rows whose mean is the prediction: the members that plan, or one.
    fn members(&self) -> usize {
        1
    }

    /// Whether imagined steps are drawn from what is predicted, and not its mean.
    fn sampling(&mut self, on: bool);
}

impl Imagines for Rollout {
    fn observe(&mut self, space: &Space, trajectory: &Trajectory, context: usize) {
        let mut state = self.initial();
        for t in 0..=context {
            let action = (t > 0).then(|| as_action(space, trajectory.action(t - 1)));
            state = self.filter(&state, action, trajectory.observation(t));
        }
        self.state = state;
    }

    fn decode(&self, batch: &Self::Batch, observations: &mut Vec<f32>) {
        self.decode(batch, observations);
    }

    fn sampling(&mut self, on: bool) {
        self.sample = on;
    }
}

impl Imagines for EnsembleModel {
    fn observe(&mut self, _: &Space, trajectory: &Trajectory, context: usize) {
        self.observation.copy_from_slice(trajectory.observation(context));
    }

    fn decode(&self, batch: &Self::Batch, observations: &mut Vec<f32>) {
        observations.clear();
        observations.extend_from_slice(batch.observations());
    }

    fn members(&self) -> usize {
        self.elites().len()
    }

    fn sampling(&mut self, on: bool) {
        self.set_sampling(on);
    }
}

impl Imagines for LinearModel {
    fn observe(&mut self, _: &Space, trajectory: &Trajectory, context: usize) {
        self.observation.copy_from_slice(trajectory.observation(context));
    }

    fn decode(&self, batch: &Vec<f32>, observations: &mut Vec<f32>) {
        observations.clone_from(batch);
    }

    fn sampling(&mut self, _: bool) {}
}

/// A learned model as a predictor: takes the context in, then follows the mean of its members.
pub struct Learned<'a, M = Rollout> {
    /// The trained model.
    pub rollout: &'a mut M,
    /// What actions the environment takes.
    pub space: &'a Space,
    /// For models that sample.
    pub rng: StreamRng,
}

impl<M: Imagines> Learned<'_, M> {
    pub(super) fn observe(&mut self, trajectory: &Trajectory, context: usize) {
        self.rollout.observe(self.space, trajectory, context);
    }

    /// Imagines `rows` continuations along the true actions; `see` is given every step's observations `[rows, D]` and
    /// rewards `[rows]`.
    fn imagine(
        &mut self,
        trajectory: &Trajectory,
        (context, horizon, rows): (usize, usize, usize),
        mut see: impl FnMut(&[f32], &[f32]),
    ) -> Result<()> {
        self.observe(trajectory, context);
        let mut batch = self.rollout.batch();
        self.rollout.start(&mut batch, rows);
        let (mut rewards, mut continues, mut decoded) = (vec![0.0; rows], vec![0.0; rows], vec![]);
        for t in context..context + horizon {
            with_actions(self.space, trajectory.action(t), rows, |actions| {
                self.rollout.step(&mut batch, actions, &mut self.rng, &mut rewards, &mut continues)
            })?;
            self.rollout.decode(&batch, &mut decoded);
            see(&decoded, &rewards);
        }
        Ok(())
    }

    /// Continuations drawn from the model, `[horizon, samples, D + 1]`: observations, then the reward.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    pub fn samples(
        &mut self,
        trajectory: &Trajectory,
        (context, horizon, samples): (usize, usize, usize),
    ) -> Result<Vec<f32>> {
        let (d, mut all) = (trajectory.observation_width, vec![]);
        self.rollout.sampling(true);
        let result = self.imagine(trajectory, (context, horizon, samples), |observations, rewards| {
            for (o, &reward) in observations.chunks_exact(d).zip(rewards) {
                all.extend_from_slice(o);
                all.push(reward);
            }
        });
        self.rollout.sampling(false);
        result.map(|()| all)
    }
}

impl<M: Imagines> Predictor for Learned<'_, M> {
    fn predict(
        &mut self,
        trajectory: &Trajectory,
        context: usize,
        horizon: usize,
        observations: &mut Vec<f32>,
        rewards: &mut Vec<f32>,
    ) -> Result<()> {
        let (rows, d) = (self.rollout.members(), trajectory.observation_width);
        self.imagine(trajectory, (context, horizon, rows), |o, r| {
            let mean = |j: usize| o.iter().skip(j).step_by(d).sum::<f32>() / rows as f32;
            observations.extend((0..d).map(mean));
            rewards.push(r.iter().sum::<f32>() / rows as f32);
        })
    }
}
