//! Environments that live in a Python child process (feature `gymnasium`).
//!
//! No Python is linked: a small embedded script runs under any Python 3 that has the package, and the two
//! processes exchange length-prefixed frames over standard input and output, one frame for a whole batch of
//! copies. [`transport`] knows processes and frames only, so that bridges to other packages can use it.
//! A bridged environment cannot be saved, and runs as fast as Python does: prefer the native ones.

mod gymnasium;
pub mod transport;

pub use gymnasium::{GymnasiumEnv, GymnasiumOptions, GymnasiumVector};
