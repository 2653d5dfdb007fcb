//! `simple_adversary`: N good agents know which of N landmarks is the goal, agent 0, the adversary, does not.
//! r_adv = −d(adv, goal) (`OpenAi2017`: −d²), r_good = −min_good d(good, goal) + d(adv, goal).

use super::Flavor;
use super::row::Row;
use super::world::{Body, Cast, World, least, norm};
use rl_core::returns::Scalar;

pub(super) fn cast(good: usize) -> Cast {
    let agent = Body::agent(0.15).colliding(false);
    Cast::new(vec![agent; good + 1], vec![Body::landmark(0.08); good], 2)
}

/// Good: `[goal 2, landmarks 2N, others 2N]`; adversary: the same without the goal.
pub(super) fn observe<T: Scalar, const L: usize>(
    cast: &Cast,
    world: &World<L>,
    agent: usize,
    row: &mut Row<'_, T, L>,
) {
    if agent != 0 {
        row.point(&world.offset_to_goal(agent, cast, 0));
    }
    cast.landmarks().for_each(|l| row.point(&world.offset(agent, l)));
    (0..cast.agents).filter(|&j| j != agent).for_each(|j| row.point(&world.offset(agent, j)));
}

pub(super) fn reward<const L: usize>(cast: &Cast, world: &mut World<L>, flavor: Flavor) {
    let to_goal = |world: &World<L>, i| norm(&world.offset_to_goal(i, cast, 0));
    let adversary = to_goal(world, 0);
    let good = least((1..cast.agents).map(|i| to_goal(world, i)));
    world.rewards.fill(std::array::from_fn(|l| adversary[l] - good[l]));
    world.rewards[0] = adversary.map(|d| if flavor == Flavor::Mpe2 { -d } else { -d * d });
}
