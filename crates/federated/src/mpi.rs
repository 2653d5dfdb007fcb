//! Synchronous data-parallel learning over MPI: every rank plays its own environments, and gradients are averaged.
//!
//! Collectives must be called by all ranks in the same order, and one rank that dies takes the job with it: for clients that
//! come and go use Flower. Start with `mpirun -np N --mca mpi_yield_when_idle 1 …`, or waiting ranks keep cores busy.

use crate::error::{Error, Result};
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

/// All ranks of a job.
pub struct Ranks {
    universe: Universe,
}

impl std::fmt::Debug for Ranks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ranks {{ rank: {}, count: {} }}", self.rank(), self.count())
    }
}

impl Ranks {
    /// Joins the job; once per process.
    ///
    /// # Errors
    /// A second call.
    pub fn join() -> Result<Self> {
        let twice = || Error::OutOfOrder {
            operation: "mpi",
            reason: "MPI was initialised before in this process".into(),
        };
        Ok(Self { universe: mpi::initialize().ok_or_else(twice)? })
    }

    /// Number of this rank, from 0.
    pub fn rank(&self) -> usize {
        usize::try_from(self.universe.world().rank()).unwrap_or(0)
    }

    /// Ranks in the job.
    pub fn count(&self) -> usize {
        usize::try_from(self.universe.world().size()).unwrap_or(1)
    }

    /// Replaces `gradient: [D]` on every rank by the mean over ranks. Lengths must agree between ranks; that is checked
    /// first, because a mismatch would crash the job.
    ///
    /// # Errors
    /// Lengths that differ, the same error on every rank.
    pub fn mean(&self, gradient: &mut [f32]) -> Result<()> {
        let world = self.universe.world();
        let length = gradient.len() as u64;
        let (mut least, mut most) = (0u64, 0u64);
        world.all_reduce_into(&length, &mut least, SystemOperation::min());
        world.all_reduce_into(&length, &mut most, SystemOperation::max());
        if least != most {
            return Err(Error::shape(
                "mpi mean",
                format!("{least} numbers on every rank"),
                format!("{most} on some"),
            ));
        }
        let mine = gradient.to_vec();
        world.all_reduce_into(&mine[..], gradient, SystemOperation::sum());
        let scale = 1.0 / self.count() as f32;
        gradient.iter_mut().for_each(|g| *g *= scale);
        Ok(())
    }

    /// Copies rank 0's `parameters: [D]` to all ranks. Lengths must agree between ranks.
    pub fn broadcast(&self, parameters: &mut [f32]) {
        self.universe.world().process_at_rank(0).broadcast_into(parameters);
    }
}
