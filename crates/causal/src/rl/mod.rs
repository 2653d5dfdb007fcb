//! Agents that use causal knowledge, with networks (feature `rl`).
//!
//! - [`InterventionalDataset`]: transitions of a [`FactoredSpace`] that know which variables were set from outside.
//! - [`CausalWorldModel`]: one mechanism per variable, reading only its parents and the action; parents learned from
//!   conditional mutual information, or given (by [`pcmci`](crate::discovery::pcmci), by an expert). Rollouts under do(·),
//!   counterfactual next states, planning ([`plan`]).
//! - [`swap_components`]: counterfactual data augmentation.
//! - [`CausalPolicyGradient`]: a policy that must not change when variables without effect on the return are set.
//! - [`CounterfactualQ`]: Q-learning that also learns from what the other actions would have led to.
//! - [`MaskedClone`] and [`MaskSearch`]: causal confusion in imitation, and its repair by acting.

mod augmentation;
mod counterfactual_q;
mod dataset;
pub mod env;
mod imitation;
mod mechanism;
mod planning;
mod policy_gradient;
mod space;
mod world_model;

pub use augmentation::swap_components;
pub use counterfactual_q::{CounterfactualQ, CounterfactualQConfig, Outcome};
pub use dataset::{InterventionalDataset, Transition};
pub use imitation::{CloneConfig, MaskSearch, MaskSearchConfig, MaskedClone};
pub use planning::{PlanConfig, plan};
pub use policy_gradient::{
    Batch, CausalPolicyGradient, Losses, PolicyGradientConfig, interventional_consistency,
    policy_gradient_loss,
};
pub use space::{FactoredSpace, Kind, Variable};
pub use world_model::{CausalWorldModel, Do, Structure, WorldModelConfig};
