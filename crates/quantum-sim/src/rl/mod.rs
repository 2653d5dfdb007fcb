//! Agents that learn with variational circuits, and what a fair comparison needs.
//!
//! A [`Model`] maps observations to one number per action: [`Pqc`] by a circuit through the batched engine, [`Network`]
//! by a small classical network with as many parameters. The agents take either: [`QLearning`] (a deep Q-network;
//! with a memory of one transition, plain online Q-learning), [`Reinforce`] with a softmax or a Born policy, and
//! [`ActorCritic`]. Circuits are in [`ansatz`], observations become angles by an [`Encoding`], expectations become
//! outputs by a [`Head`]. [`ExpectationLayer`] puts the engine into a graph of tensors.
//!
//! ```
//! use quantum_sim::rl::{Entangler, Encoding, Head, Model, Pqc, ansatz};
//! use rand::SeedableRng;
//! # fn main() -> quantum_sim::Result<()> {
//! // Two actions, valued by Z₀Z₁ and Z₂Z₃ of a circuit that reads the observation five times.
//! let ansatz = ansatz::skolik(4, 5, Entangler::CzRing)?;
//! let observables = vec!["Z0 Z1".parse()?, "Z2 Z3".parse()?];
//! let mut model = Pqc::new(&ansatz, observables, Encoding::angles(4), Head::values(&[0, 1]))?;
//! let parameters = model.initial(&mut rl_core::StreamRng::seed_from_u64(0));
//! assert_eq!(parameters.len(), 62);
//! let mut values = [0.0; 2];
//! model.forward(&parameters, &[0.1, -0.3, 0.02, 0.4], &mut values)?;
//! assert!(values.iter().all(|q| (0.0..=1.0).contains(q)));
//! # Ok(()) }
//! ```

mod actor_critic;
pub mod ansatz;
mod descent;
mod encoding;
mod episodes;
mod model;
mod network;
mod operation;
mod policy;
mod pqc;
mod q_learning;
mod reinforce;

pub use actor_critic::{ActorCritic, ActorCriticConfig};
pub use ansatz::{Ansatz, Entangler};
pub use descent::{Descent, DescentConfig, Rates};
pub use encoding::Encoding;
pub use episodes::{Record, Solved};
pub use model::{Group, Model, greedy};
pub use network::Network;
pub use operation::ExpectationLayer;
pub use policy::Policy;
pub use pqc::{Head, Pqc};
pub use q_learning::{Exploration, Loss, QLearning, QLearningConfig};
pub use reinforce::{Reinforce, ReinforceConfig};

#[cfg(test)]
mod tests;
