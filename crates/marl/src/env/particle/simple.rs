//! `simple`: one agent, one landmark. Reward −|p − landmark|².

use super::row::Row;
use super::world::{Body, Cast, World, square};
use rl_core::returns::Scalar;

pub(super) fn cast() -> Cast {
    Cast::new(vec![Body::agent(0.05).colliding(false)], vec![Body::landmark(0.05)], 0)
}

/// `[velocity 2, landmark 2]`, positions relative to the agent.
pub(super) fn observe<T: Scalar, const L: usize>(world: &World<L>, row: &mut Row<'_, T, L>) {
    row.point(&world.vel[0]);
    row.point(&world.offset(0, 1));
}

pub(super) fn reward<const L: usize>(world: &mut World<L>) {
    world.rewards[0] = square(&world.offset(0, 1)).map(|d| -d);
}
