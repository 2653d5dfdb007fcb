//! `simple_tag`: slow adversaries chase fast good agents among obstacles.
//! r_good = −10 per adversary touching it − Σ_axis boundary(|p|); r_adv = +10 per touching (good, adversary) pair,
//! the same for every adversary.

use super::row::Row;
use super::world::{Body, Cast, World, add, boundary};
use rl_core::returns::Scalar;

pub(super) fn cast(good: usize, adversaries: usize, obstacles: usize) -> Cast {
    let chasers = vec![Body::agent(0.075).fast(3.0, 1.0); adversaries];
    let agents = [chasers, vec![Body::agent(0.05).fast(4.0, 1.3); good]].concat();
    let obstacles = vec![Body::landmark(0.2).colliding(true); obstacles];
    Cast { landmark_range: 0.9, ..Cast::new(agents, obstacles, 2) }
}

/// `[velocity 2, position 2, obstacles, others, velocities of the other good agents]`.
pub(super) fn observe<T: Scalar, const L: usize>(
    cast: &Cast,
    world: &World<L>,
    agent: usize,
    adversaries: usize,
    row: &mut Row<'_, T, L>,
) {
    row.point(&world.vel[agent]);
    row.point(&world.pos[agent]);
    cast.landmarks().for_each(|l| row.point(&world.offset(agent, l)));
    (0..cast.agents).filter(|&j| j != agent).for_each(|j| row.point(&world.offset(agent, j)));
    (adversaries..cast.agents).filter(|&j| j != agent).for_each(|j| row.point(&world.vel[j]));
}

pub(super) fn reward<const L: usize>(cast: &Cast, world: &mut World<L>, adversaries: usize) {
    let mut catches = [0.0; L];
    for good in adversaries..cast.agents {
        let mut touched = [0.0; L];
        (0..adversaries).for_each(|adv| add(&mut touched, 1.0, &world.overlap(cast, good, adv)));
        add(&mut catches, 1.0, &touched);
        let [x, y] = &world.pos[good];
        world.rewards[good] =
            std::array::from_fn(|l| -10.0 * touched[l] - boundary(x[l].abs()) - boundary(y[l].abs()));
    }
    world.rewards[..adversaries].fill(catches.map(|c| 10.0 * c));
}
