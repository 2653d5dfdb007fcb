//! `simple_crypto`: Alice sends Bob the goal under a key they share, Eve listens. Nobody moves.
//!
//! With m the message an agent last sent (its guess) and |·|² the squared distance to the goal's code:
//! r_eve = −|m_eve|², r_bob = r_alice = |m_eve|² − |m_bob|², each term only once that agent has said something.

use super::row::Row;
use super::world::{Body, Cast, Lanes, World};
use rl_core::returns::Scalar;

const EVE: usize = 0;
const BOB: usize = 1;
const ALICE: usize = 2;
const DIM_C: usize = 4;

pub(super) fn cast() -> Cast {
    let agent = Body::agent(0.05).colliding(false).fixed().speaking();
    Cast::new(vec![agent; 3], vec![Body::landmark(0.05); 2], DIM_C)
}

/// Eve: `[Alice's message 4]`; Bob: `[key 4, Alice's message 4]`; Alice: `[goal 4, key 4]`; goal and key one-hot.
pub(super) fn observe<T: Scalar, const L: usize>(world: &World<L>, agent: usize, row: &mut Row<'_, T, L>) {
    let [goal, key] = &world.goals;
    let message = &world.comm[ALICE * DIM_C..(ALICE + 1) * DIM_C];
    let code = |index: &[usize; L], row: &mut Row<'_, T, L>| {
        (0..DIM_C).for_each(|c| row.push(&index.map(|i| f64::from(i == c))));
    };
    match agent {
        ALICE => {
            code(goal, row);
            code(key, row);
        }
        BOB => {
            code(key, row);
            row.all(message);
        }
        _ => row.all(message),
    }
}

pub(super) fn reward<const L: usize>(world: &mut World<L>) {
    let error = |agent: usize| -> Lanes<L> {
        let said = &world.comm[agent * DIM_C..(agent + 1) * DIM_C];
        std::array::from_fn(|l| match said.iter().all(|c| c[l] == 0.0) {
            true => 0.0,
            false => (0..DIM_C).map(|c| (said[c][l] - f64::from(world.goals[0][l] == c)).powi(2)).sum(),
        })
    };
    let (eve, bob) = (error(EVE), error(BOB));
    world.rewards.fill(std::array::from_fn(|l| eve[l] - bob[l]));
    world.rewards[EVE] = eve.map(|e| -e);
}
