//! Where the paradigms meet. Only glue: what a paradigm owns stays in its crate.
//!
//! [`quantum_coordination`]: agents who cannot talk share an entangled state, beside the best that shared randomness can do.
//! [`scenarios`]: simulators of something real, each with a scripted expert and a difficulty: traffic, treatment, trading, climate.
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

pub mod error;
pub mod quantum_coordination;
pub mod scenarios;

pub use error::{Error, Result};
