//! Model-free baselines: what every other method is compared with.
//!
//! [`random`] acts uniformly, [`dqn`] learns values of discrete actions, [`ppo`] a policy from its own rollouts,
//! [`sac`] a stochastic policy for continuous actions from replay. Each is one file that reads like its paper:
//! configuration, losses as pure functions, the agent with `act` and `update`, and the training loop as a
//! [`Trainer`](crate::experiment::Trainer) whose state is saved and restored exactly.
//!
//! ```
//! use rl_core::baselines::{Dqn, DqnConfig, copies};
//! use rl_core::experiment::Session;
//! use rl_core::{SeedStream, evaluate::evaluate};
//!
//! let config = DqnConfig { total_steps: 300, learning_starts: 100, ..DqnConfig::default() };
//! let mut dqn = Dqn::new(config, copies("CartPole-v1", 1)?, SeedStream::new(0), &candle_core::Device::Cpu)?;
//! Session::in_memory().run("CartPole-v1/dqn", &mut dqn)?;
//! let result = evaluate(&mut copies("CartPole-v1", 10)?, &[1, 2, 3], dqn.policy())?;
//! assert!(result.mean_return() > 5.0);
//! # Ok::<(), rl_core::Error>(())
//! ```

mod collector;
pub mod dqn;
pub mod ppo;
pub mod random;
pub mod sac;

pub use collector::Collector;
pub use dqn::{Dqn, DqnConfig};
pub use ppo::{Ppo, PpoConfig};
pub use random::random_policy;
pub use sac::{Sac, SacConfig, SoftActorCritic};

use crate::Result;
use crate::env::{Env, make};

/// Copies of a registered environment, for training or evaluation.
///
/// # Errors
/// If the name is unknown.
pub fn copies(id: &str, n: usize) -> Result<Vec<Box<dyn Env>>> {
    (0..n as u64).map(|i| make(id, i)).collect()
}

#[cfg(test)]
mod tests;
