//! `simple_reference`: two agents move and speak; each knows the landmark the *other* must reach.
//!
//! `Mpe2`: localᵢ = −|p_other − goalᵢ|, rᵢ = ρ·localᵢ + (1 − ρ)·mean(local). `OpenAi2017`: the sum of the squared
//! distances, negative, for both.

use super::row::Row;
use super::world::{Body, Cast, World, difference, norm, square};
use super::{Flavor, share};
use rl_core::returns::Scalar;

pub(super) fn cast() -> Cast {
    Cast::new(vec![Body::agent(0.05).colliding(false).speaking(); 2], vec![Body::landmark(0.05); 3], 10)
}

/// `[velocity 2, landmarks 6, colour of the other's goal 3, the other's message 10]`.
pub(super) fn observe<T: Scalar, const L: usize>(
    cast: &Cast,
    world: &World<L>,
    agent: usize,
    row: &mut Row<'_, T, L>,
) {
    row.point(&world.vel[agent]);
    cast.landmarks().for_each(|l| row.point(&world.offset(agent, l)));
    (0..3).for_each(|channel| row.push(&world.goals[agent].map(|g| if channel == g { 0.75 } else { 0.25 })));
    let other = 1 - agent;
    row.all(&world.comm[other * cast.dim_c..(other + 1) * cast.dim_c]);
}

pub(super) fn reward<const L: usize>(cast: &Cast, world: &mut World<L>, local_ratio: f64, flavor: Flavor) {
    let gap = |i: usize| difference(&world.pos[1 - i], &world.goal_position(cast, i));
    let gaps = [gap(0), gap(1)];
    if flavor == Flavor::OpenAi2017 {
        gaps.iter().zip(&mut world.rewards).for_each(|(gap, r)| *r = square(gap).map(|d| -d));
        return share(&mut world.rewards);
    }
    let local = gaps.map(|gap| norm(&gap).map(|d| -d));
    for i in 0..2 {
        world.rewards[i] = std::array::from_fn(|l| {
            (1.0 - local_ratio) * ((local[0][l] + local[1][l]) / 2.0) + local_ratio * local[i][l]
        });
    }
}
