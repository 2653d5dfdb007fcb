//! Agents who learn one causal structure together, without showing each other what they saw.
//!
//! Fisher's z and the Gaussian scores read nothing of the data but number of rows, sums and sums of products: [`Statistics`]. These add
//! up over agents, so the protocol of [`federated::secure_aggregation`] (Bonawitz et al. 2017) can add them with nobody seeing
//! anyone's: [`secure_sum`]. What [`Statistics::discover`] finds from the sum is what it finds from the pooled rows. [`SupplyLine`] is a
//! team task in which the structure decides who should act.

mod statistics;
mod supply_line;
#[cfg(test)]
mod tests;

pub use statistics::{Statistics, Traffic, secure_sum};
pub use supply_line::{Blueprint, SupplyLine};
