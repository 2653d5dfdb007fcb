//! `simple_spread`: N agents cover N landmarks and avoid each other.
//!
//! `Mpe2`: rᵢ = −(1 − ρ) Σ_l min_j |p_j − l| − ρ · #{j ≠ i touching i}, ρ = `local_ratio`.
//! `OpenAi2017`: everyone gets Σᵢ (−Σ_l min_j |p_j − l| − #{j touching i}), where j = i counts: a constant −N² per
//! step that published tables carry along.

use super::row::Row;
use super::world::{Body, Cast, World, add, least};
use super::{Flavor, share};
use rl_core::returns::Scalar;

pub(super) fn cast(n: usize) -> Cast {
    Cast::new(vec![Body::agent(0.15); n], vec![Body::landmark(0.05); n], 2)
}

/// `[velocity 2, position 2, landmarks 2N, others 2(N−1), others' messages 2(N−1)]`; the agents are silent, so the
/// messages are zero.
pub(super) fn observe<T: Scalar, const L: usize>(
    cast: &Cast,
    world: &World<L>,
    agent: usize,
    row: &mut Row<'_, T, L>,
) {
    row.point(&world.vel[agent]);
    row.point(&world.pos[agent]);
    cast.landmarks().for_each(|l| row.point(&world.offset(agent, l)));
    let others = || (0..cast.agents).filter(move |&j| j != agent);
    others().for_each(|j| row.point(&world.offset(agent, j)));
    others().for_each(|j| row.all(&world.comm[j * cast.dim_c..(j + 1) * cast.dim_c]));
}

pub(super) fn reward<const L: usize>(cast: &Cast, world: &mut World<L>, local_ratio: f64, flavor: Flavor) {
    let mut global = [0.0; L];
    for l in cast.landmarks() {
        add(&mut global, -1.0, &least((0..cast.agents).map(|a| world.distance(a, l))));
    }
    let (global_weight, local_weight, own) = match flavor {
        Flavor::Mpe2 => (1.0 - local_ratio, local_ratio, 0.0),
        Flavor::OpenAi2017 => (1.0, 1.0, 1.0),
    };
    world.rewards.fill(global.map(|g| global_weight * g - local_weight * own));
    for i in 0..cast.agents {
        for j in i + 1..cast.agents {
            let touching = world.overlap(cast, i, j);
            add(&mut world.rewards[i], -local_weight, &touching);
            add(&mut world.rewards[j], -local_weight, &touching);
        }
    }
    if flavor == Flavor::OpenAi2017 {
        share(&mut world.rewards);
    }
}
