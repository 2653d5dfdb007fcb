//! What the agent imagines: one rollout for every action (Weber et al. 2017, section 3.2), and the ablations of it.
//!
//! The first action of a rollout is forced, the later ones are drawn from the rollout policy π̂. Everything imagined is data:
//! no gradient goes back through the model, into it, or into π̂.

use super::ice::IceRink;
use super::model::{GridModel, Transitions, corrupt};
use crate::Result;
use rand::RngExt;
use rl_core::StreamRng;
use rl_core::env::{Action, Simulator};
use rl_core::nn::Mlp;
use rl_core::nn::kernel::Real;
use rl_core::nn::mlp::Workspace;
use std::rc::Rc;

/// Where imagined grids and rewards come from.
#[derive(Clone)]
pub enum Imagination {
    /// None: the model-free agent.
    None,
    /// The learned model.
    Learned(Rc<GridModel>),
    /// The learned model, its rewards hidden from the agent.
    NoReward(Rc<GridModel>),
    /// The learned model, each predicted cell replaced at random with this probability.
    Noisy(Rc<GridModel>, f64),
    /// The grid stays as it is and no reward is predicted: as many parameters and as much computing as the full agent.
    Copy,
    /// The rules themselves.
    Oracle(IceRink),
}

/// Rollouts from `[N]` observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollouts {
    /// τ
    pub depth: usize,
    /// `[τ, N · A, O + 1]`: the grid and the reward of every imagined step; row n·A + a begins with action a.
    pub steps: Vec<f32>,
}

impl Rollouts {
    /// Rollouts of successive time steps as those of one batch: `[τ, T · N · A, O + 1]`.
    pub fn join(rollouts: &[Self]) -> Self {
        let depth = rollouts.first().map_or(0, |r| r.depth);
        let mut steps = Vec::with_capacity(rollouts.iter().map(|r| r.steps.len()).sum());
        for t in 0..depth {
            for r in rollouts {
                let n = r.steps.len() / depth;
                steps.extend_from_slice(&r.steps[t * n..(t + 1) * n]);
            }
        }
        Self { depth, steps }
    }
}

impl Imagination {
    /// Rolls out every action from every row of `observations` for `depth` steps, `policy` choosing after the first. A
    /// rollout that has ended stays where it is and pays nothing.
    ///
    /// # Errors
    /// If the observations do not fit the model.
    pub fn roll_out(
        &self,
        observations: &[f32],
        (width, actions): (usize, usize),
        depth: usize,
        policy: &Mlp,
        rng: &mut StreamRng,
    ) -> Result<Rollouts> {
        if matches!(self, Self::None) {
            return Ok(Rollouts::default());
        }
        let rows = observations.len() / width * actions;
        let mut grids = Vec::with_capacity(rows * width);
        for o in observations.chunks_exact(width) {
            (0..actions).for_each(|_| grids.extend_from_slice(o));
        }
        let mut chosen: Vec<usize> = (0..rows).map(|i| i % actions).collect();
        let mut over = vec![false; rows];
        let mut steps = Vec::with_capacity(depth * rows * (width + 1));
        let (mut for_model, mut for_policy) = (Workspace::default(), Workspace::default());
        for t in 0..depth {
            if t > 0 {
                let logits = policy.predict(&grids, &mut for_policy)?;
                let draws = logits.chunks_exact(actions).map(|row| draw(row, rng));
                chosen.iter_mut().zip(draws).for_each(|(c, a)| *c = a);
            }
            let next = self.next(&grids, width, &chosen, &mut for_model, rng)?;
            for (i, ended) in over.iter_mut().enumerate() {
                let mut reward = 0.0;
                if !*ended {
                    grids[i * width..][..width]
                        .copy_from_slice(&next.next_observations[i * width..][..width]);
                    (reward, *ended) = (next.rewards[i], next.terminated[i]);
                }
                steps.extend_from_slice(&grids[i * width..][..width]);
                steps.push(reward);
            }
        }
        Ok(Rollouts { depth, steps })
    }

    /// One imagined step of every row.
    fn next(
        &self,
        grids: &[f32],
        width: usize,
        actions: &[usize],
        workspace: &mut Workspace<f32>,
        rng: &mut StreamRng,
    ) -> Result<Transitions> {
        let unchanged = || Transitions {
            next_observations: grids.to_vec(),
            rewards: vec![0.0; actions.len()],
            terminated: vec![false; actions.len()],
            ..Transitions::default()
        };
        Ok(match self {
            Self::None | Self::Copy => unchanged(),
            Self::Learned(model) => model.predict(grids, actions, workspace)?,
            Self::NoReward(model) => {
                let mut next = model.predict(grids, actions, workspace)?;
                next.rewards.fill(0.0);
                next
            }
            Self::Noisy(model, noise) => {
                let mut next = model.predict(grids, actions, workspace)?;
                corrupt(&mut next.next_observations, model.grid().kinds, *noise, rng);
                next
            }
            Self::Oracle(rules) => {
                let mut next = unchanged();
                for (i, grid) in grids.chunks_exact(width).enumerate() {
                    let Some(mut state) = rules.read(grid) else { continue };
                    let (reward, over) = rules.transition(&mut state, Action::Discrete(actions[i]), rng);
                    (next.rewards[i], next.terminated[i]) = (reward as f32, over);
                    rules.observe(&state, &mut next.next_observations[i * width..][..width]);
                }
                next
            }
        })
    }
}

/// A draw from softmax(logits).
pub(super) fn draw(logits: &[f32], rng: &mut StreamRng) -> usize {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = logits.iter().map(|l| (l - max).fast_exp()).collect();
    let mut left = rng.random::<f32>() * weights.iter().sum::<f32>();
    for (i, w) in weights.iter().enumerate() {
        left -= w;
        if left < 0.0 {
            return i;
        }
    }
    weights.len() - 1
}
