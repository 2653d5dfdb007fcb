//! Coordination without communication: agents who cannot talk measure their parts of one entangled state.
//!
//! Bell 1964; Clauser, Horne, Shimony & Holt 1969; Cleve, Høyer, Toner & Watrous 2004. A [`Game`] is who is told what and
//! which joint answers win; [`Game::classical`] is the best that shared randomness can do, by trying every strategy; a [`Team`] is
//! a circuit and what each agent measures; its [`Behaviour`] p(answers | questions) is exact under [`Noise`], can be played, and
//! never signals. A [`Task`] holds game and team with their theory: CHSH, GHZ, the magic square and the rendezvous.

mod game;
mod tasks;
mod team;
#[cfg(test)]
mod tests;

pub use game::{Classical, Game, MAX_STRATEGIES, Round};
pub use tasks::{Task, Theory, chsh, ghz, magic_square, rendezvous_grid, rendezvous_ring};
pub use team::{Behaviour, Critical, Measurement, Noise, Team};
