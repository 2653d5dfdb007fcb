//! Populations of policies: who plays whom, who is how good, and how different they are.

pub mod alpha_rank;
pub mod cross_play;
pub mod diversity;
pub mod elo;
pub mod league;
#[cfg(feature = "learning")]
pub mod learned_oracle;
pub mod meta_game;
pub mod nash_averaging;
pub mod psro;
