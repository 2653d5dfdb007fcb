//! How a server turns the replies of its clients into the next global parameters.
//!
//! Every strategy works on flat parameter vectors. Means are pure functions generic over f32 and f64; what keeps
//! state between rounds is a struct that implements [`Strategy`]. The client's half of a method (the proximal
//! term, the control variate) is a pure function in the same file, so that a method reads in one place.

pub mod buffered;
pub mod nova;
pub mod personal;
pub mod proximal;
pub mod scaffold;
pub mod server_optimizer;
pub mod tabular;

use crate::error::{Error, Result, check, same_length};
use crate::kernel::{Real, weighted_sum};
use serde::{Deserialize, Serialize};

/// What the server sends to a client besides the global parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Instruction {
    /// Number of this round, from 0.
    pub round: u64,
    /// SCAFFOLD's server control variate `c`, `[D]`; absent for other strategies.
    pub control: Option<Vec<f32>>,
    /// FedProx's `μ ≥ 0`; 0 for other strategies.
    pub proximal_mu: f64,
}

/// What a client sends back after its local training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Number of the client.
    pub client: u64,
    /// Its parameters after local training, `[D]`.
    pub parameters: Vec<f32>,
    /// Its weight in the mean, > 0: environment steps, or 1 for every client.
    pub weight: f64,
    /// Local optimiser steps `τ ≥ 1`.
    pub local_steps: u32,
    /// Rounds between the parameters it started from and now (asynchronous strategies).
    pub staleness: u32,
    /// SCAFFOLD's `c_i⁺ − c_i`, `[D]`.
    pub control_change: Option<Vec<f32>>,
    /// Mean return of the episodes it played, for the record.
    pub mean_return: Option<f64>,
}

/// A rule that moves the global parameters, given the replies of one round.
pub trait Strategy: Send {
    /// What to tell the clients of the coming round.
    fn instruction(&self, round: u64) -> Instruction {
        Instruction { round, ..Instruction::default() }
    }

    /// Moves `global: [D]` by the replies.
    ///
    /// # Errors
    /// When there are too few replies, lengths differ, or a number is not finite. `global` is then unchanged.
    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()>;
}

/// `Σ n_i x_i / Σ n_i`: the mean of FedAvg (McMahan et al. 2017, algorithm 1). `vectors: [N][D]`, `weights: [N]`.
///
/// # Errors
/// No vectors, unequal lengths, a weight that is negative or not finite, weights that sum to zero, or a
/// parameter that is not finite (the client is named by its position).
pub fn weighted_mean<F: Real>(vectors: &[&[F]], weights: &[f64]) -> Result<Vec<F>> {
    const OPERATION: &str = "weighted_mean";
    if vectors.is_empty() {
        return Err(Error::TooFew { operation: OPERATION, needed: 1, got: 0 });
    }
    let dimension = same_length(OPERATION, vectors)?;
    if weights.len() != vectors.len() {
        return Err(Error::shape(OPERATION, format!("{} weights", vectors.len()), weights.len()));
    }
    let total: f64 = weights.iter().sum();
    let valid = total > 0.0 && total.is_finite() && weights.iter().all(|w| *w >= 0.0);
    check(valid, OPERATION, "weights", format!("{weights:?}"), "finite, ≥ 0, not all 0")?;
    let weights: Vec<f64> = weights.iter().map(|w| w / total).collect();
    let mut mean = vec![F::default(); dimension];
    weighted_sum(vectors, &weights, &mut mean);
    if mean.iter().any(|x| !x.to_f64().is_finite()) {
        return Err(not_finite(OPERATION, vectors));
    }
    Ok(mean)
}

/// Names the first vector that holds a number that is not finite.
pub(crate) fn not_finite<F: Real>(operation: &'static str, vectors: &[&[F]]) -> Error {
    for (i, vector) in vectors.iter().enumerate() {
        if let Some(j) = vector.iter().position(|x| !x.to_f64().is_finite()) {
            return Error::NotFinite { operation, what: format!("parameter {j} of update number {i}") };
        }
    }
    Error::NotFinite { operation, what: "the sum of the updates".into() }
}

/// The weighted mean of the replies' parameters, with the length checked against `global`.
pub(crate) fn mean_of(operation: &'static str, global: &[f32], replies: &[Reply]) -> Result<Vec<f32>> {
    let (vectors, weights) = vectors_and_weights(replies);
    if let Some(odd) = replies.iter().find(|r| r.parameters.len() != global.len()) {
        return Err(Error::shape(
            operation,
            format!("{} parameters", global.len()),
            format!("{} from client {}", odd.parameters.len(), odd.client),
        ));
    }
    weighted_mean(&vectors, &weights)
}

/// The replies as kernels take them.
pub(crate) fn vectors_and_weights(replies: &[Reply]) -> (Vec<&[f32]>, Vec<f64>) {
    replies.iter().map(|r| (r.parameters.as_slice(), r.weight)).unzip()
}

/// FedAvg (McMahan et al. 2017): the global parameters become the weighted mean of the clients'.
///
/// The mean is weighted by [`Reply::weight`]: environment steps as in the paper's examples, or 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FedAvg;

impl Strategy for FedAvg {
    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()> {
        let mean = mean_of("fed_avg", global, replies)?;
        global.copy_from_slice(&mean);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) fn reply(client: u64, parameters: &[f32], weight: f64) -> Reply {
    Reply { client, parameters: parameters.to_vec(), weight, local_steps: 1, ..Reply::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_weighted() {
        let mean = weighted_mean(&[&[1.0f64, 0.0], &[5.0, 4.0]], &[3.0, 1.0]).unwrap();
        assert_eq!(mean, [2.0, 1.0]);
    }

    #[test]
    fn a_nan_is_traced_to_its_client() {
        let error = weighted_mean(&[&[1.0f32, 0.0], &[5.0, f32::NAN]], &[1.0, 1.0]).unwrap_err();
        assert!(error.to_string().contains("parameter 1 of update number 1"), "{error}");
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(weighted_mean::<f32>(&[], &[]).is_err());
        assert!(weighted_mean(&[&[1.0f32], &[1.0, 2.0][..]], &[1.0, 1.0]).is_err());
        assert!(weighted_mean(&[&[1.0f32]], &[0.0]).is_err());
        assert!(weighted_mean(&[&[1.0f32]], &[f64::NAN]).is_err());
        let mut global = [0.0; 3];
        assert!(FedAvg.aggregate(&mut global, &[reply(4, &[1.0], 1.0)]).is_err());
    }
}
