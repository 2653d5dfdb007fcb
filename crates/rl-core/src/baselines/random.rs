//! The random policy: uniform actions, whatever is observed. Every results table needs it.

use crate::env::Space;
use crate::env::scripted::Random;
use crate::evaluate::{Turn, one_by_one};
use crate::{Result, StreamRng};

/// A policy for [`evaluate`](crate::evaluate::evaluate()) that draws every action uniformly from the space (an unbounded
/// dimension from the standard normal).
pub fn random_policy(
    space: &Space,
    rng: StreamRng,
) -> impl FnMut(&Turn<'_>, &mut [f32]) -> Result<()> + use<> {
    let mut random = Random::new(space, rng);
    move |turn, actions| one_by_one(&mut random)(turn, actions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;
    use crate::baselines::copies;
    use crate::evaluate::evaluate;

    /// Random play of the classic tasks is known well: CartPole about 22, Pendulum about −1,200, Acrobot near −499.
    #[test]
    fn random_play_pays_what_it_is_known_to_pay() {
        for (id, low, high) in
            [("CartPole-v1", 18.0, 27.0), ("Pendulum-v1", -1350.0, -1080.0), ("Acrobot-v1", -500.0, -485.0)]
        {
            let mut envs = copies(id, 20).unwrap();
            let policy =
                random_policy(&envs[0].spec().action.clone(), SeedStream::new(3).stream("random", 0));
            let starts: Vec<u64> = (0..100).collect();
            let mean = evaluate(&mut envs, &starts, policy).unwrap().mean_return();
            assert!((low..high).contains(&mean), "{id}: {mean}");
        }
    }
}
