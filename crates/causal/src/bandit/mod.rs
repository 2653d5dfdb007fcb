//! Bandits whose rewards come from a causal model.
//!
//! - [`mabuc`](UnobservedConfounders): an unobserved confounder drives both the agent's natural choice and the reward;
//!   an agent that listens to its own intent beats every agent that does not.
//! - [`structural`](StructuralBandit): arms are interventions on sets of variables; the graph says which sets can be
//!   optimal at all.
//! - [`transfer`](play_with_bounds): arms with bounds from the log of an agent who saw more.

mod arms;
mod mabuc;
mod structural;
mod transfer;

pub use arms::{ArmPolicy, kl_ucb_index};
pub use mabuc::{ConfoundedAgent, ConfoundedRun, UnobservedConfounders};
pub use structural::{
    ArmSet, StructuralBandit, StructuralRun, interventional_border, minimal_intervention_sets, pomis,
};
pub use transfer::{causal_arm_bounds, play_with_bounds};
