//! DreamerV3 (Hafner et al. 2023, "Mastering Diverse Domains through World Models"): a categorical state-space model, and
//! an actor and a critic that learn in its imagination.
//!
//! ```text
//! sequence model   h_t = GRU(h_{t−1}, [z_{t−1}, a_t])             a_t: the action that led to o_t
//! prior            ẑ_t ~ G categoricals of K classes from h_t       unimix, straight-through samples
//! posterior        z_t ~ the same from h_t and the encoded symlog(o_t)
//! heads            symlog(o_t), two-hot r_t, c_t from [h_t, z_t]   all belong to the state of arrival
//! model loss       ‖ô − symlog o‖² + CE(r̂, r) + CE(ĉ, c) + β_dyn max(1, KL(sg q‖p)) + β_rep max(1, KL(q‖sg p))
//! imagination      H steps from every replayed state, without a graph
//! critic           two-hot cross-entropy to the λ-returns, and to a slow copy; on replayed steps as well
//! actor            −sg((R^λ − v)/max(1, S)) ln π(a) − η H(π), S the smoothed range of returns between percentiles
//! ```
//!
//! Latents are kept in the replay buffer and refreshed by every update, so windows begin where they left off; fresh windows
//! are trained on before others (online queue); updates keep a fixed ratio of replayed to collected steps. One optimiser:
//! LaProp with adaptive clipping and warm-up.
//!
//! Deviations: a normalised GRU in one block; vector observations only; the critic's loss on replay stops at the features, so
//! that nothing but the model's own loss shapes the model; the widths of [`Widths::tiny`] are this project's.

mod agent;
mod behaviour;
mod model;
mod rollout;

pub use agent::{Dreamer, DreamerConfig};
pub use behaviour::{Behaviour, BehaviourConfig, BehaviourLosses, Dream};
pub use model::{ModelLosses, Sequences, Widths, WorldModel, WorldModelConfig};
pub use rollout::Latents;

#[cfg(test)]
mod tests;
