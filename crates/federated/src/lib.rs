//! Federated reinforcement learning: many clients learn one policy and keep their experience to themselves.
//!
//! The unit everywhere is a flat parameter vector; which agent it belongs to matters to [`rl`] alone.
//!
//! - [`rl`]: clients that train policies in environments of their own (policy gradient, PPO, DQN), and FedPG-BR;
//! - [`strategy`]: how replies become the next global parameters (FedAvg, FedProx, SCAFFOLD, FedNova, server
//!   optimisers, FedBuff, QAvg/PAvg, personalisation);
//! - [`robust`]: the same when some clients lie (Krum, Bulyan, trimmed mean, medians, FedPG-BR), and the lies;
//! - [`compression`]: fewer bytes (top-k, QSGD, PowerSGD);
//! - [`secure_aggregation`]: the server learns the sum and nothing else (Bonawitz et al. 2017, Bell et al. 2020);
//! - [`privacy`]: what the sum still tells, bounded (DP-FedAvg, RDP and PLD accountants, integer noise);
//! - [`simulation`]: hundreds of clients in one process, deterministic, with failures and stragglers.
//!
//! ```
//! use federated::strategy::weighted_mean;
//! let mean = weighted_mean(&[&[1.0f32, 2.0], &[3.0, 6.0]], &[1.0, 1.0])?;
//! assert_eq!(mean, [2.0, 4.0]);
//! # Ok::<(), federated::Error>(())
//! ```

pub mod client;
pub mod compression;
pub mod conformance;
mod error;
#[cfg(feature = "flower")]
pub mod flower;
mod kernel;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod privacy;
#[cfg(feature = "rl")]
pub mod rl;
pub mod robust;
pub mod secure_aggregation;
pub mod simulation;
pub mod strategy;
pub mod transport;

pub use error::{Error, Result};
pub use kernel::{Real, norm};
