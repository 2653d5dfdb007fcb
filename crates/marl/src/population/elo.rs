//! Elo ratings (Elo 1978): P(i beats j) = 1 / (1 + 10^{−(Rᵢ − R_j)/400}).
//!
//! Ratings are one number per player: in a cycle (rock, paper, scissors) all come out equal and predict nothing.

use crate::{Error, Result};
use nalgebra::DMatrix;

/// The expected score of `a` against `b`.
pub fn expected_score(a: f64, b: f64) -> f64 {
    1.0 / (1.0 + 10f64.powf((b - a) / 400.0))
}

/// Ratings that follow games one by one.
#[derive(Clone, Debug, PartialEq)]
pub struct Elo {
    /// Present ratings.
    pub ratings: Vec<f64>,
    /// K: how far one game moves a rating.
    pub k: f64,
}

impl Elo {
    /// `players` ratings of 1200 with K = 32.
    pub fn new(players: usize) -> Self {
        Self { ratings: vec![1200.0; players], k: 32.0 }
    }

    /// A game between two players; `score` is 1 when the first won, 0.5 for a draw, 0 when it lost.
    ///
    /// # Errors
    /// [`Error::Shape`] when a player does not exist.
    pub fn record(&mut self, first: usize, second: usize, score: f64) -> Result<()> {
        let n = self.ratings.len();
        if first.max(second) >= n {
            return Err(Error::shape("elo", format!("players below {n}"), first.max(second)));
        }
        let change = self.k * (score - expected_score(self.ratings[first], self.ratings[second]));
        self.ratings[first] += change;
        self.ratings[second] -= change;
        Ok(())
    }
}

/// The maximum-likelihood ratings of a table (Bradley and Terry 1952; minorisation as in Hunter 2004), with mean
/// 1200: `wins[i][j]` games that i won against j, draws counting half for both.
///
/// # Errors
/// [`Error::Shape`] when the table is not square or has negative entries, [`Error::NoSolution`] when a player has
/// won nothing or lost nothing, as its rating is infinite then.
pub fn fit(wins: &DMatrix<f64>) -> Result<Vec<f64>> {
    let n = wins.nrows();
    if n == 0 || n != wins.ncols() || wins.iter().any(|w| w.is_nan() || *w < 0.0) {
        return Err(Error::shape("elo fit", "a square table of counts", format!("{:?}", wins.shape())));
    }
    let off = |sum: f64, i: usize| sum - wins[(i, i)];
    if (0..n).any(|i| off(wins.row(i).sum(), i) <= 0.0 || off(wins.column(i).sum(), i) <= 0.0) {
        let reason = "every player needs a win and a loss: add half a win each way";
        return Err(Error::NoSolution { operation: "elo fit", reason });
    }
    let mut strength = vec![1.0; n];
    for _ in 0..100_000 {
        let update = |i: usize| {
            let games = (0..n)
                .filter(|&j| j != i)
                .map(|j| (wins[(i, j)] + wins[(j, i)]) / (strength[i] + strength[j]));
            off(wins.row(i).sum(), i) / games.sum::<f64>()
        };
        let mut next: Vec<f64> = (0..n).map(update).collect();
        let mean = next.iter().map(|s: &f64| s.ln()).sum::<f64>() / n as f64;
        next.iter_mut().for_each(|s| *s /= mean.exp());
        let change = next.iter().zip(&strength).map(|(a, b)| (a / b).ln().abs()).fold(0.0, f64::max);
        strength = next;
        if change < 1e-13 {
            break;
        }
    }
    Ok(strength.iter().map(|s| 1200.0 + 400.0 * s.log10()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fit_reproduces_the_odds() {
        let ratings = fit(&DMatrix::from_row_slice(2, 2, &[0.0, 3.0, 1.0, 0.0])).unwrap();
        assert!((expected_score(ratings[0], ratings[1]) - 0.75).abs() < 1e-10);
        assert!(fit(&DMatrix::from_row_slice(2, 2, &[0.0, 3.0, 0.0, 0.0])).is_err());
        let cycle = DMatrix::from_row_slice(3, 3, &[0.0, 1.0, 9.0, 9.0, 0.0, 1.0, 1.0, 9.0, 0.0]);
        assert!(fit(&cycle).unwrap().iter().all(|r| (r - 1200.0).abs() < 1e-6));
    }

    #[test]
    fn games_move_ratings_and_keep_their_sum() {
        let mut elo = Elo::new(2);
        elo.record(0, 1, 1.0).unwrap();
        assert_eq!(elo.ratings, [1216.0, 1184.0]);
        assert!(elo.record(0, 2, 1.0).is_err());
    }
}
