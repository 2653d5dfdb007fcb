//! `simple_speaker_listener`: the speaker sees the goal's colour and cannot move, the listener moves and sees only
//! the message. Both get −|p_listener − goal|² (`OpenAi2017`: the sum over the two).

use super::row::Row;
use super::world::{Body, Cast, World, square};
use super::{Flavor, share};
use rl_core::returns::Scalar;

pub(super) fn cast() -> Cast {
    let speaker = Body::agent(0.075).colliding(false).fixed().speaking();
    Cast::new(vec![speaker, Body::agent(0.075).colliding(false)], vec![Body::landmark(0.04); 3], 3)
}

/// Speaker: `[goal colour 3]`; listener: `[velocity 2, landmarks 6, message 3]`, the message sent in the same step.
pub(super) fn observe<T: Scalar, const L: usize>(
    cast: &Cast,
    world: &World<L>,
    agent: usize,
    row: &mut Row<'_, T, L>,
) {
    if agent == 0 {
        (0..3).for_each(|channel| row.push(&world.goals[0].map(|g| if channel == g { 0.65 } else { 0.15 })));
        return;
    }
    row.point(&world.vel[1]);
    cast.landmarks().for_each(|l| row.point(&world.offset(1, l)));
    row.all(&world.comm[..3]);
}

pub(super) fn reward<const L: usize>(cast: &Cast, world: &mut World<L>, flavor: Flavor) {
    let gap = square(&world.offset_to_goal(1, cast, 0));
    world.rewards.fill(gap.map(|d| -d));
    if flavor == Flavor::OpenAi2017 {
        share(&mut world.rewards);
    }
}
