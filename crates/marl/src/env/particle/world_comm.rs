//! `simple_world_comm`: tag with food to eat and forests to hide in; the leading adversary sees everything and
//! speaks to the others.
//!
//! r_good = −5 per adversary touching it − 2 Σ_axis boundary(|p|) + 2 per food touched − 0.05 min d(food);
//! r_adv = −0.1 min d(good) + 5 per touching (good, adversary) pair.

use super::row::Row;
use super::world::{Body, Cast, World, add, boundary, least};
use rl_core::returns::Scalar;

/// How many of each there are; landmarks stand in the order obstacles, food, forests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) good: usize,
    pub(super) adversaries: usize,
    pub(super) obstacles: usize,
    pub(super) food: usize,
    pub(super) forests: usize,
}

impl Counts {
    fn food(&self, cast: &Cast) -> std::ops::Range<usize> {
        let start = cast.agents + self.obstacles;
        start..start + self.food
    }

    fn forests(&self, cast: &Cast) -> std::ops::Range<usize> {
        let start = cast.agents + self.obstacles + self.food;
        start..start + self.forests
    }
}

pub(super) fn cast(counts: Counts) -> Cast {
    let mut agents = vec![Body::agent(0.075).fast(3.0, 1.0); counts.adversaries];
    agents.iter_mut().take(1).for_each(|leader| *leader = leader.speaking());
    agents.extend(vec![Body::agent(0.045).fast(4.0, 1.3); counts.good]);
    let landmarks = [
        vec![Body::landmark(0.2).colliding(true); counts.obstacles],
        vec![Body::landmark(0.03); counts.food],
        vec![Body::landmark(0.3); counts.forests],
    ];
    Cast { landmark_range: 0.9, ..Cast::new(agents, landmarks.concat(), 4) }
}

/// `[velocity 2, position 2, landmarks, others, ...]`; adversaries go on with `[good velocities, own forests ±1,
/// leader's message 4]`, good agents with `[own forests ±1, other good velocities]`. Whoever is hidden from the
/// observer by a forest appears as zeros.
pub(super) fn observe<T: Scalar, const L: usize>(
    cast: &Cast,
    world: &World<L>,
    agent: usize,
    counts: Counts,
    row: &mut Row<'_, T, L>,
) {
    row.point(&world.vel[agent]);
    row.point(&world.pos[agent]);
    cast.landmarks().for_each(|l| row.point(&world.offset(agent, l)));
    let seen = |j: usize| visible(cast, world, agent, j, counts);
    for j in (0..cast.agents).filter(|&j| j != agent) {
        let shown = seen(j);
        row.point(
            &world.offset(agent, j).map(|x| std::array::from_fn(|l| if shown[l] { x[l] } else { 0.0 })),
        );
    }
    let velocities = |row: &mut Row<'_, T, L>| {
        for j in (counts.adversaries..cast.agents).filter(|&j| j != agent) {
            let shown = seen(j);
            row.point(&world.vel[j].map(|v| std::array::from_fn(|l| if shown[l] { v[l] } else { 0.0 })));
        }
    };
    let forests = |row: &mut Row<'_, T, L>| {
        for forest in counts.forests(cast) {
            row.push(&world.overlap(cast, agent, forest).map(|inside| 2.0 * inside - 1.0));
        }
    };
    if agent < counts.adversaries {
        velocities(row);
        forests(row);
        row.all(&world.comm[..cast.dim_c]);
    } else {
        forests(row);
        velocities(row);
    }
}

/// Two agents see each other inside one forest or when both are outside all; the leader sees everyone.
fn visible<const L: usize>(
    cast: &Cast,
    world: &World<L>,
    observer: usize,
    other: usize,
    counts: Counts,
) -> [bool; L] {
    let (mut together, mut hidden) = ([false; L], [false; L]);
    for forest in counts.forests(cast) {
        let (a, b) = (world.overlap(cast, observer, forest), world.overlap(cast, other, forest));
        for l in 0..L {
            together[l] |= a[l] * b[l] > 0.0;
            hidden[l] |= a[l] + b[l] > 0.0;
        }
    }
    std::array::from_fn(|l| together[l] || !hidden[l] || observer == 0)
}

pub(super) fn reward<const L: usize>(cast: &Cast, world: &mut World<L>, counts: Counts) {
    let (mut catches, adversaries) = ([0.0; L], counts.adversaries);
    for good in adversaries..cast.agents {
        let mut touched = [0.0; L];
        (0..adversaries).for_each(|adv| add(&mut touched, 1.0, &world.overlap(cast, good, adv)));
        add(&mut catches, 1.0, &touched);
        let [x, y] = &world.pos[good];
        let mut reward =
            std::array::from_fn(|l| -5.0 * touched[l] - 2.0 * (boundary(x[l].abs()) + boundary(y[l].abs())));
        counts.food(cast).for_each(|food| add(&mut reward, 2.0, &world.overlap(cast, good, food)));
        if counts.food > 0 {
            add(&mut reward, -0.05, &least(counts.food(cast).map(|food| world.distance(good, food))));
        }
        world.rewards[good] = reward;
    }
    for adv in 0..adversaries {
        let nearest = least((adversaries..cast.agents).map(|good| world.distance(adv, good)));
        world.rewards[adv] = std::array::from_fn(|l| 5.0 * catches[l] - 0.1 * nearest[l]);
    }
}
