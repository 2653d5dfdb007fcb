//! Cross-play (Hu et al. 2020, "Other-Play"): do partners that were trained apart understand each other?

use crate::Result;
use nalgebra::DMatrix;

/// Scores of pairs: row and column are the training runs the partners come from.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossPlay {
    /// `[runs, runs]`: mean return of the pair.
    pub scores: DMatrix<f64>,
}

impl CrossPlay {
    /// Plays every ordered pair once through `play(row, column)`.
    ///
    /// # Errors
    /// The first error of `play`.
    pub fn measure(runs: usize, mut play: impl FnMut(usize, usize) -> Result<f64>) -> Result<Self> {
        let mut scores = DMatrix::zeros(runs, runs);
        for i in 0..runs {
            for j in 0..runs {
                scores[(i, j)] = play(i, j)?;
            }
        }
        Ok(Self { scores })
    }

    /// Mean return of partners from the same run; NaN without runs.
    pub fn self_play(&self) -> f64 {
        self.scores.diagonal().mean()
    }

    /// Mean return of partners from different runs; NaN with fewer than two.
    pub fn cross_play(&self) -> f64 {
        let n = self.scores.nrows() as f64;
        (self.scores.sum() - self.scores.diagonal().sum()) / (n * (n - 1.0))
    }

    /// Self-play minus cross-play: 0 means that conventions do not matter, large means arbitrary ones were learnt.
    pub fn gap(&self) -> f64 {
        self.self_play() - self.cross_play()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arbitrary_conventions_show() {
        let played = CrossPlay::measure(2, |i, j| Ok(if i == j { 10.0 } else { 1.0 })).unwrap();
        assert_eq!((played.self_play(), played.cross_play(), played.gap()), (10.0, 1.0, 9.0));
    }
}
