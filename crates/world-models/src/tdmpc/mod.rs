//! TD-MPC2 (Hansen et al. 2024, "TD-MPC2: Scalable, Robust World Models for Continuous Control"): plan a few steps in a latent
//! model without a decoder, and let a learned value see the rest.
//!
//! ```text
//! z = e(o), z' = d(z, a)       latents are simplices: softmax within groups of 8 (SimNorm)
//! r̂ = R(z, a), q = Q_k(z, a)    distributions over two-hot bins in symlog space; an ensemble of Q
//! loss       Σ_t ρ^t (20 ‖z_{t+1} − sg e(o_{t+1})‖² + 0.1 CE(r̂_t, r_t) + 0.1 CE(q_t, y_t))
//! target     y = r + γ (1 − terminated) min of two random members of the slow Q at (e(o'), π(e(o')))
//! policy     −Σ_t ρ^t (mean of two random Q / S + η H(π))       S: the range of Q between percentiles
//! plan       MPPI over Σ γ^t r̂_t + γ^H Q(z_H, π(z_H)), some of the candidates proposed by π
//! ```
//!
//! Deviations: no dropout in Q, no embedding of tasks, latents of 64 instead of 512 by default; the planner's terminal value is the
//! mean of the two Q drawn for this plan; policy proposals come from the policy's samples at the present latent.

mod agent;
mod networks;
mod rollout;

pub use agent::{TdMpc, TdMpcConfig};
pub use networks::{Losses, Networks, NetworksConfig, Windows};
pub use rollout::LatentModel;

#[cfg(test)]
mod tests;
