//! Finite decision problems with hidden confounders: bounds from logs, shaping, optimistic learning, curricula.
//!
//! - [`Mdp`]: a finite Markov decision process, value iteration, [`q_learning`];
//! - [`ConfoundedMdp`], [`ObservedLog`]: what a behaviour that sees a hidden variable leaves in its log, and
//!   [`optimal_value_bounds`], [`horizon_bounds`]: what the log nevertheless says about optimal values;
//! - [`shaped`]: potential-based rewards, which keep optimal policies; the upper bounds are a potential;
//! - [`OptimisticLearner`]: from the log to acting: upper confidence values clipped by the bounds;
//! - [`editable_variables`], [`prerequisite_order`]: which source tasks are aligned with a target, and in which order
//!   skills are learned.

mod bounds;
mod confounded;
mod curriculum;
mod mdp;
mod optimistic;
mod shaping;

pub use bounds::{BoundsConfig, CausalBounds, horizon_bounds, optimal_value_bounds};
pub use confounded::{ConfoundedMdp, ObservedLog};
pub use curriculum::{Stages, aligned_actions, editable_variables, learn_in_stages, prerequisite_order};
pub use mdp::{Learning, Mdp, QLearningConfig, Values, greedy_policy, q_learning};
pub use optimistic::{OptimisticConfig, OptimisticLearner};
pub use shaping::{shaped, shaping_reward};
