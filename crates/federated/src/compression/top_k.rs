//! Top-k sparsification with error feedback (Stich, Cordonnier & Jaggi 2018, algorithm 1): what is not sent is
//! kept and added to the next update, so nothing is lost, only late.

use super::Compressed;
use crate::error::{Error, Result, check};
use serde::{Deserialize, Serialize};

/// The compressor of one client with its memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopK {
    k: usize,
    memory: Vec<f32>,
}

impl TopK {
    /// Sends `k` of `dimension` numbers per update.
    ///
    /// # Errors
    /// `k` not in `1..=dimension`, or more than 2³² parameters.
    pub fn new(k: usize, dimension: usize) -> Result<Self> {
        check((1..=dimension).contains(&k), "top_k", "k", k, "between 1 and the dimension")?;
        check(u32::try_from(dimension).is_ok(), "top_k", "dimension", dimension, "below 2^32")?;
        Ok(Self { k, memory: vec![0.0; dimension] })
    }

    /// What was held back so far, `[D]`.
    pub fn memory(&self) -> &[f32] {
        &self.memory
    }

    /// `m ← m + u`, sends the `k` entries of largest magnitude of `m` and clears them. Ties go to the lower
    /// position.
    ///
    /// # Errors
    /// Another length, or a number that is not finite; the memory is then unchanged.
    pub fn compress(&mut self, update: &[f32]) -> Result<Compressed> {
        if update.len() != self.memory.len() {
            return Err(Error::shape("top_k", self.memory.len(), update.len()));
        }
        if let Some(j) = update.iter().position(|x| !x.is_finite()) {
            return Err(Error::NotFinite { operation: "top_k", what: format!("update of parameter {j}") });
        }
        self.memory.iter_mut().zip(update).for_each(|(m, u)| *m += u);
        let mut order: Vec<u32> = (0..update.len() as u32).collect();
        let rank = |a: &u32, b: &u32| {
            let size = |j: &u32| self.memory[*j as usize].abs();
            size(b).total_cmp(&size(a)).then(a.cmp(b))
        };
        if self.k < order.len() {
            order.select_nth_unstable_by(self.k - 1, rank);
            order.truncate(self.k);
        }
        order.sort_unstable();
        let values = order.iter().map(|&j| std::mem::take(&mut self.memory[j as usize])).collect();
        Ok(Compressed::Sparse { dimension: update.len() as u32, positions: order, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_largest_go_first_and_the_rest_later() {
        let mut c = TopK::new(1, 3).unwrap();
        assert_eq!(c.compress(&[1.0, -3.0, 2.0]).unwrap().decompress(), [0.0, -3.0, 0.0]);
        assert_eq!(c.compress(&[1.5, 0.0, 0.0]).unwrap().decompress(), [2.5, 0.0, 0.0]);
        assert_eq!(c.memory(), [0.0, 0.0, 2.0]);
        assert!(c.compress(&[1.0]).is_err());
        assert!(TopK::new(0, 3).is_err());
    }

    proptest! {
        #[test]
        fn sent_and_held_back_add_up(updates in prop::collection::vec(prop::collection::vec(-4i8..4, 8), 1..6), k in 1usize..9) {
            let mut c = TopK::new(k, 8).unwrap();
            let (mut sent, mut total) = (vec![0.0f32; 8], vec![0.0f32; 8]);
            for u in &updates {
                let u: Vec<f32> = u.iter().map(|x| f32::from(*x)).collect();
                total.iter_mut().zip(&u).for_each(|(t, x)| *t += x);
                let message = c.compress(&u).unwrap();
                prop_assert_eq!(message.encode().len(), 9 + 8 * k);
                sent.iter_mut().zip(message.decompress()).for_each(|(s, x)| *s += x);
            }
            for j in 0..8 {
                prop_assert_eq!(sent[j] + c.memory()[j], total[j]);
            }
        }
    }
}
