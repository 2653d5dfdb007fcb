//! Clients that learn policies, each in an environment of its own.
//!
//! - [`environment`]: tasks whose dynamics differ from client to client;
//! - [`policy`]: actor, critic and environment embedding as one flat vector;
//! - [`descent`]: the local optimiser, with the corrections of FedProx and SCAFFOLD;
//! - [`ppo`], [`policy_gradient`], [`dqn`]: three ways of local learning, each a [`Client`](crate::client::Client);
//! - [`personal`]: clients that share a part of their vector only (FedPer, environment embeddings);
//! - [`gradient_rounds`]: rounds in which gradients travel instead of parameters (FedPG, FedPG-BR);
//! - [`temporal_difference`]: federated TD(0), where the linear speed-up can be read off.
//!
//! Four clients learn to balance the same pole for two rounds:
//!
//! ```
//! use federated::rl::environment::Dynamics;
//! use federated::rl::ppo::{PpoClient, PpoConfig};
//! use federated::simulation::{Simulation, SimulationConfig};
//! use federated::strategy::FedAvg;
//! use rl_core::SeedStream;
//!
//! let (config, seeds) = (PpoConfig::default(), SeedStream::new(0));
//! let clients: Result<Vec<_>, _> =
//!     (0..4).map(|i| PpoClient::new(i, &config, &Dynamics::cart_pole(), seeds)).collect();
//! let clients = clients?;
//! let global = clients[0].initial_parameters()?;
//! let mut simulation = Simulation::new(SimulationConfig::default(), clients, FedAvg, global)?;
//! for _ in 0..2 {
//!     let report = simulation.step()?;
//!     assert_eq!(report.replied.len(), 4);
//! }
//! # Ok::<(), federated::Error>(())
//! ```

pub mod descent;
pub mod dqn;
pub mod environment;
pub mod gradient_rounds;
pub mod personal;
pub mod policy;
pub mod policy_gradient;
pub mod ppo;
pub mod temporal_difference;
