//! Environments by name.

use super::dmc::{AcrobotSwingup, DmcCartPole, DmcCartPoleTask, PendulumSwingup};
use super::{
    Acrobot, CartPole, Env, Episode, MountainCar, MountainCarContinuous, Pendulum, PointControl, Simulator,
};
use crate::numpy_rng::NumpyRng;
use crate::{Error, Result};

/// The names that [`make`] knows.
pub const IDS: [&str; 11] = [
    "CartPole-v1",
    "Pendulum-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Acrobot-v1",
    "pendulum-swingup",
    "cartpole-swingup",
    "cartpole-swingup-sparse",
    "cartpole-balance",
    "acrobot-swingup",
    "PointControl",
];

/// Makes an environment by name, seeded as Gymnasium seeds: `reset(None)` starts the first episode of `seed`.
///
/// # Errors
/// [`Error::Unknown`] for a name not in [`IDS`], with the nearest one.
pub fn make(id: &str, seed: u64) -> Result<Box<dyn Env>> {
    fn episodes<S: Simulator + 'static>(simulator: S, seed: u64) -> Result<Box<dyn Env>> {
        Ok(Box::new(Episode::<S, NumpyRng>::new(simulator, seed)))
    }
    match id {
        "CartPole-v1" => episodes(CartPole, seed),
        "Pendulum-v1" => episodes(Pendulum::default(), seed),
        "MountainCar-v0" => episodes(MountainCar, seed),
        "MountainCarContinuous-v0" => episodes(MountainCarContinuous, seed),
        "Acrobot-v1" => episodes(Acrobot, seed),
        "pendulum-swingup" => episodes(PendulumSwingup, seed),
        "cartpole-swingup" => episodes(DmcCartPole { task: DmcCartPoleTask::Swingup }, seed),
        "cartpole-swingup-sparse" => episodes(DmcCartPole { task: DmcCartPoleTask::SwingupSparse }, seed),
        "cartpole-balance" => episodes(DmcCartPole { task: DmcCartPoleTask::Balance }, seed),
        "acrobot-swingup" => episodes(AcrobotSwingup, seed),
        "PointControl" => episodes(PointControl::default(), seed),
        _ => Err(Error::unknown("environment", id, &IDS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_makes_the_environment_of_that_name() {
        for id in IDS {
            assert_eq!(make(id, 0).unwrap().spec().id, id);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_the_list() {
        let message = make("cartpole-v1", 0).err().unwrap().to_string();
        assert!(
            message.contains("did you mean `CartPole-v1`?") && message.contains("Acrobot-v1"),
            "{message}"
        );
        let message = make("zzz", 0).err().unwrap().to_string();
        assert!(!message.contains("did you mean") && message.contains("PointControl"), "{message}");
    }
}
