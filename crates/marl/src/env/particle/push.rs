//! `simple_push`: agent 1 wants to be at its goal, agent 0, the adversary, wants to be there instead and is told
//! nothing. r_good = −d(good, goal), r_adv = d(good, goal) − d(adv, goal).

use super::row::Row;
use super::world::{Body, Cast, World, norm};
use rl_core::returns::Scalar;

pub(super) fn cast() -> Cast {
    Cast::new(vec![Body::agent(0.05); 2], vec![Body::landmark(0.05); 2], 2)
}

/// Good: `[velocity 2, goal 2, own colour 3, landmarks 4, landmark colours 6, other 2]`; adversary: `[velocity 2,
/// landmarks 4, other 2]`. The own colour tells which landmark is the goal.
pub(super) fn observe<T: Scalar, const L: usize>(
    cast: &Cast,
    world: &World<L>,
    agent: usize,
    row: &mut Row<'_, T, L>,
) {
    row.point(&world.vel[agent]);
    if agent == 1 {
        row.point(&world.offset_to_goal(agent, cast, 0));
        for channel in 0..3 {
            row.push(&world.goals[0].map(|g| if channel == g + 1 { 0.75 } else { 0.25 }));
        }
    }
    cast.landmarks().for_each(|l| row.point(&world.offset(agent, l)));
    if agent == 1 {
        for landmark in 0..2 {
            (0..3).for_each(|channel| row.constant(if channel == landmark + 1 { 0.9 } else { 0.1 }));
        }
    }
    row.point(&world.offset(agent, 1 - agent));
}

pub(super) fn reward<const L: usize>(cast: &Cast, world: &mut World<L>) {
    let [adversary, good] = [0, 1].map(|i| norm(&world.offset_to_goal(i, cast, 0)));
    world.rewards[0] = std::array::from_fn(|l| good[l] - adversary[l]);
    world.rewards[1] = good.map(|d| -d);
}
