//! What every reinforcement-learning paradigm needs, once.
//!
//! An agent acts in an [`env`](mod@env), stores what happened in a [`buffer`], turns rewards into targets with [`returns`], and
//! learns with networks (`nn`), distributions (`dist`) and optimisers (`optim`). Observations, rewards and steps are
//! brought into shape by [`normalize`] and [`schedule`]. An [`experiment`] drives it, writes metrics and checkpoints, and
//! goes on bit for bit after an interruption; [`evaluate`](mod@evaluate) says what was learned.
//!
//! Randomness is an argument everywhere: one seed, many named streams ([`seed`]), the same bits on every run.
//! [`conformance`] replays the numbers of other packages. The default feature `nn` brings the tensor library; without
//! it everything else remains.
//!
//! Random actions in CartPole, twenty episodes from fixed starts, four at a time:
//!
//! ```
//! use rl_core::env::{Env, make, scripted::Random};
//! use rl_core::evaluate::{evaluate, one_by_one};
//! use rl_core::{Result, SeedStream};
//!
//! let mut copies = (0..4).map(|_| make("CartPole-v1", 0)).collect::<Result<Vec<_>>>()?;
//! let actions = copies[0].spec().action.clone();
//! let mut policy = Random::new(&actions, SeedStream::new(7).stream("act", 0));
//! let starts: Vec<u64> = (0..20).collect();
//! let result = evaluate(&mut copies, &starts, one_by_one(&mut policy))?;
//! assert!(result.mean_return() < 100.0 && result.terminated.iter().all(|&fell| fell));
//! # Ok::<(), rl_core::Error>(())
//! ```

#[cfg(feature = "nn")]
pub mod baselines;
pub mod buffer;
pub mod conformance;
#[cfg(feature = "nn")]
pub mod dist;
pub mod env;
pub mod error;
pub mod evaluate;
pub mod experiment;
#[cfg(feature = "nn")]
pub mod nn;
pub mod normal;
pub mod normalize;
pub mod numpy_rng;
#[cfg(feature = "nn")]
pub mod optim;
pub mod returns;
pub mod schedule;
pub mod seed;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vector_unit;

pub use {
    error::{Error, Result},
    seed::{SeedStream, StreamRng},
};
