//! Running statistics of returns (Yu et al. 2022, "value normalization"): exponential means with β = 0.99999, corrected
//! for their start at zero; the variance is at least 0.01.

use serde::{Deserialize, Serialize};

const BETA: f64 = 0.99999;

/// Mean and mean square of the returns seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueNorm {
    mean: f64,
    square: f64,
    /// 1 − βᵗ.
    weight: f64,
}

impl ValueNorm {
    /// Takes in a batch of returns; an empty one changes nothing.
    pub fn update(&mut self, returns: impl Iterator<Item = f64>) {
        let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
        returns.for_each(|r| (n, sum, squares) = (n + 1.0, sum + r, squares + r * r));
        if n > 0.0 {
            self.mean = BETA * self.mean + (1.0 - BETA) * sum / n;
            self.square = BETA * self.square + (1.0 - BETA) * squares / n;
            self.weight = BETA * self.weight + (1.0 - BETA);
        }
    }

    /// Mean and standard deviation, (0, 1) before the first batch.
    fn moments(&self) -> (f64, f64) {
        if self.weight == 0.0 {
            return (0.0, 1.0);
        }
        let mean = self.mean / self.weight;
        (mean, (self.square / self.weight - mean * mean).max(1e-2).sqrt())
    }

    /// (x − mean) / sd.
    pub fn normalise(&self, x: f64) -> f64 {
        let (mean, sd) = self.moments();
        (x - mean) / sd
    }

    /// x · sd + mean.
    pub fn denormalise(&self, x: f64) -> f64 {
        let (mean, sd) = self.moments();
        x * sd + mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_batch_counts_fully_and_inverses_agree() {
        let mut norm = ValueNorm::default();
        assert_eq!(norm.denormalise(0.3), 0.3);
        norm.update([1.0, 3.0].into_iter());
        assert!((norm.normalise(2.0)).abs() < 1e-9 && (norm.normalise(3.0) - 1.0).abs() < 1e-9);
        assert!((norm.denormalise(norm.normalise(7.0)) - 7.0).abs() < 1e-12);
    }
}
