//! Where the paradigms meet. Only glue: what a paradigm owns stays in its crate.
//!
//! [`causal_world_model`]: a world model whose transition respects a discovered graph, and planning in it under do(·).
//! [`counterfactual_credit`]: what each agent's action was worth, asked of a causal model.
//! [`federated_world_model`]: clients with different machines train one dynamics model, in secret if they wish.
//! [`quantum_world_model`]: a circuit that learns to act inside a learned model.
//! [`multi_agent_causal`]: agents who learn one causal structure from statistics that are summed in secret.
//! [`quantum_coordination`]: agents who cannot talk share an entangled state, beside the best that shared randomness can do.
//! [`scenarios`]: simulators of something real, each with a scripted expert and a difficulty: traffic, treatment, trading, climate.
//! [`selection`]: a bandit that chooses among learners while they train.
//!
//! ```
//! use hybrid::quantum_coordination::{Noise, chsh};
//! # fn main() -> hybrid::Result<()> {
//! let task = chsh()?;
//! let classical = task.game.classical()?.value;
//! let entangled = task.team.behaviour(&task.game, Noise::None)?.value(&task.game);
//! assert_eq!(classical, 0.75);
//! assert!((entangled - (2.0 + 2.0f64.sqrt()) / 4.0).abs() < 1e-12);
//! # Ok(()) }
//! ```

pub mod causal_world_model;
pub mod change_model;
pub mod counterfactual_credit;
pub mod error;
pub mod federated_world_model;
pub mod multi_agent_causal;
pub mod quantum_coordination;
pub mod quantum_world_model;
pub mod scenarios;
pub mod selection;

pub use error::{Error, Result};
