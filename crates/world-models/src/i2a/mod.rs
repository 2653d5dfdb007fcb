//! Imagination-augmented agents (Weber et al. 2017, "Imagination-Augmented Agents for Deep Reinforcement Learning"): a
//! model-free agent that also reads what a learned model says would happen.
//!
//! ```text
//! model            ô, r̂, end = m(o, a), trained on what a partially trained policy met, then frozen
//! imagination      one rollout per action a: a first, then actions of the rollout policy π̂
//! encoding         LSTM over (ô, r̂) in reverse order, from the last imagined step to the first; joined over actions
//! policy, value    head([encodings, model-free features of o])
//! loss             −ln π(a|o) (R − V) + ½ c_v (R − V)² − c_h H(π) + c_d CE(sg π, π̂)
//! ```
//!
//! The agent learns how far to trust the model: it may ignore what it reads. [`Imagination`] lists the ablations: copy model, no
//! reward, oracle, noisy model, none (the model-free agent of equal size). [`IceRink`] is a puzzle in which lookahead matters.
//!
//! Deviations: perceptrons in place of convolutions; synchronous actors (A2C) in place of A3C; imagined terminations end a
//! rollout; imagined grids are the likeliest kinds of every cell, one-hot, not probabilities.

mod agent;
mod ice;
mod imagination;
mod model;
mod network;

pub use agent::{I2a, I2aConfig, Losses, n_step_returns};
pub use ice::{IceRink, KINDS, REWARDS, Rink};
pub use imagination::{Imagination, Rollouts};
pub use model::{Grid, GridModel, GridModelConfig, Transitions};
pub use network::NetworkConfig;

use crate::Result;
use rand::RngExt;
use rl_core::env::{Action, Env, Space};
use rl_core::{Error, StreamRng};

/// Transitions of `steps` steps of a policy in one environment, episodes one after the other; with probability `random` an
/// action is drawn uniformly instead.
///
/// # Errors
/// If the environment has no discrete actions or a step fails.
pub fn collect(
    env: &mut dyn Env,
    steps: usize,
    (random, rng): (f64, &mut StreamRng),
    mut policy: impl FnMut(&[f32]) -> Result<usize>,
) -> Result<Transitions> {
    let Space::Discrete(actions) = env.spec().action else {
        return Err(Error::shape("i2a::collect", "discrete actions", &env.spec().action).into());
    };
    let mut transitions = Transitions::default();
    let mut observation = vec![0.0; env.spec().observation.width()];
    env.reset(None, &mut observation)?;
    for _ in 0..steps {
        let explore = rng.random::<f64>() < random;
        let action = if explore { Space::sample_discrete(actions, rng) } else { policy(&observation)? };
        transitions.observations.extend_from_slice(&observation);
        transitions.actions.push(action);
        let step = env.step(Action::Discrete(action), &mut observation)?;
        transitions.next_observations.extend_from_slice(&observation);
        transitions.rewards.push(step.reward as f32);
        transitions.terminated.push(step.terminated);
        if step.done() {
            env.reset(None, &mut observation)?;
        }
    }
    Ok(transitions)
}
