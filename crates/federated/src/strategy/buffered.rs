//! FedBuff (Nguyen et al. 2022, algorithm 1): clients train asynchronously; the server keeps their movements in a
//! buffer and takes a step when `K` have arrived, each scaled down by its staleness.

use super::{Reply, Strategy};
use crate::error::{Error, Result, check};
use serde::{Deserialize, Serialize};

/// Settings of [`FedBuff`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FedBuffConfig {
    /// `K`: movements per server step; the paper's default is 10.
    pub buffer_size: usize,
    /// `η_g > 0`; 1 keeps the pace of FedAvg.
    pub server_rate: f64,
    /// Movements staler than this are dropped; the paper's experiments never drop, so the default is none.
    pub max_staleness: Option<u32>,
}

impl Default for FedBuffConfig {
    fn default() -> Self {
        Self { buffer_size: 10, server_rate: 1.0, max_staleness: None }
    }
}

/// `1 / √(1 + s)`: the weight of a movement that is `s` server steps old (paper, section 5).
pub fn staleness_weight(staleness: u32) -> f64 {
    1.0 / (1.0 + f64::from(staleness)).sqrt()
}

/// The buffer and the server step `x ← x + η_g / K · Σ w(s_i) Δ_i`.
#[derive(Clone, Debug)]
pub struct FedBuff {
    config: FedBuffConfig,
    sum: Vec<f64>,
    count: usize,
}

impl FedBuff {
    /// An empty buffer for `dimension` parameters.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn new(config: FedBuffConfig, dimension: usize) -> Result<Self> {
        check(config.buffer_size > 0, "fed_buff", "buffer_size", config.buffer_size, "≥ 1")?;
        let rate = config.server_rate;
        check(rate > 0.0 && rate.is_finite(), "fed_buff", "server_rate", rate, "> 0")?;
        Ok(Self { config, sum: vec![0.0; dimension], count: 0 })
    }

    /// Adds one client's movement `Δ: [D]` from the parameters it started with. Returns whether the buffer was
    /// full and `global` moved.
    ///
    /// # Errors
    /// Wrong lengths, or a movement that is not finite; the buffer is then unchanged.
    pub fn receive(&mut self, global: &mut [f32], movement: &[f32], staleness: u32) -> Result<bool> {
        let dimension = self.sum.len();
        if movement.len() != dimension || global.len() != dimension {
            return Err(Error::shape(
                "fed_buff",
                dimension,
                format!("{} and {}", global.len(), movement.len()),
            ));
        }
        if let Some(j) = movement.iter().position(|x| !x.is_finite()) {
            return Err(Error::NotFinite {
                operation: "fed_buff",
                what: format!("movement of parameter {j}"),
            });
        }
        if self.config.max_staleness.is_some_and(|most| staleness > most) {
            return Ok(false);
        }
        let weight = staleness_weight(staleness);
        self.sum.iter_mut().zip(movement).for_each(|(s, d)| *s += weight * f64::from(*d));
        self.count += 1;
        if self.count < self.config.buffer_size {
            return Ok(false);
        }
        let scale = self.config.server_rate / self.count as f64;
        for (x, s) in global.iter_mut().zip(&mut self.sum) {
            *x += (scale * *s) as f32;
            *s = 0.0;
        }
        self.count = 0;
        Ok(true)
    }
}

impl Strategy for FedBuff {
    /// In a synchronous engine every reply starts from `global`; replies of an asynchronous one carry their own
    /// movement and go through [`FedBuff::receive`].
    fn aggregate(&mut self, global: &mut [f32], replies: &[Reply]) -> Result<()> {
        let start = global.to_vec();
        for reply in replies {
            if reply.parameters.len() != start.len() {
                return Err(Error::shape("fed_buff", start.len(), reply.parameters.len()));
            }
            if reply.parameters.iter().any(|x| !x.is_finite()) {
                return Err(Error::NotFinite {
                    operation: "fed_buff",
                    what: format!("update of client {}", reply.client),
                });
            }
        }
        for reply in replies {
            let movement: Vec<f32> = reply.parameters.iter().zip(&start).map(|(y, x)| y - x).collect();
            self.receive(global, &movement, reply.staleness)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_steps_when_the_buffer_is_full_and_discounts_stale_movements() {
        let config = FedBuffConfig { buffer_size: 2, ..FedBuffConfig::default() };
        let mut server = FedBuff::new(config, 1).unwrap();
        let mut x = [0.0f32];
        assert!(!server.receive(&mut x, &[4.0], 0).unwrap());
        assert!(server.receive(&mut x, &[4.0], 3).unwrap());
        assert_eq!(x, [3.0]); // (4 + 4/2) / 2
        assert!(!server.receive(&mut x, &[1.0], 0).unwrap(), "the buffer starts empty again");
        assert!(server.receive(&mut x, &[f32::NAN], 0).is_err());
    }

    #[test]
    fn what_is_too_old_is_dropped() {
        let config = FedBuffConfig { buffer_size: 1, max_staleness: Some(2), ..FedBuffConfig::default() };
        let mut server = FedBuff::new(config, 1).unwrap();
        let mut x = [0.0f32];
        assert!(!server.receive(&mut x, &[1.0], 3).unwrap());
        assert!(server.receive(&mut x, &[1.0], 2).unwrap());
    }
}
