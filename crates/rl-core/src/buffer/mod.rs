//! Experience: what agents store and learn from.
//!
//! [`ReplayBuffer`] keeps transitions in a ring and samples them uniformly, [`PrioritizedReplay`] by priority;
//! [`NStep`] turns one-step into n-step transitions on their way into either. [`SequenceBuffer`] keeps streams of
//! steps and samples windows for recurrent models. [`RolloutBuffer`] holds the `[T, N]` steps of on-policy agents.
//!
//! All of them store fields in columns, keep `terminated` and `truncated` apart, fill batches that the caller owns
//! and reuses (nothing is allocated once their sizes have settled), draw from a generator that is an argument, and
//! are saved and restored exactly.

mod column;
mod n_step;
mod prioritized;
mod replay;
mod rollout;
mod sequence;
mod sum_tree;
mod train_ratio;

pub use n_step::NStep;
pub use prioritized::{
    PrioritizedBatch, PrioritizedConfig, PrioritizedReplay, WeightReference, importance_weights,
};
pub use replay::{ReplayBuffer, ReplayConfig, Transition, TransitionBatch};
pub use rollout::{RolloutBatch, RolloutBuffer, RolloutConfig, RolloutStep};
pub use sequence::{
    Cells, Field, FieldKind, FieldRow, SequenceBatch, SequenceBuffer, SequenceConfig, StepEnds,
};
pub use sum_tree::SumTree;
pub use train_ratio::TrainRatio;
