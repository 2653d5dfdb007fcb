//! Networks: flat parameters, initialisers, and layers whose forward and backward passes are fused.
//!
//! Candle provides tensors, devices and the graph. What it does slowly at reinforcement learning's sizes, or not
//! at all, stands here: a multi-layer perceptron is one graph node with its own backward pass instead of a dozen,
//! and reads its weights from one flat vector, so that an optimiser step is a single loop. On the CPU the fused
//! kernels run; on other devices the same functions are composed of tensor operations, which are also the slow
//! twins that the tests compare with.

mod fused_loss;
pub mod gradients;
pub mod gru;
pub mod init;
pub mod kernel;
pub mod lstm;
pub mod mlp;
pub mod norm_gru;
pub mod ops;
pub mod params;

pub use fused_loss::fused_loss;
pub use gru::Gru;
pub use init::Init;
pub use lstm::Lstm;
pub use mlp::{Activation, Mlp, MlpConfig, Norm};
pub use norm_gru::NormGru;
pub use params::Params;
