//! The table of a population: mean scores and numbers of games between its members.

use crate::{Error, Result};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

/// Scores between players that may grow in number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetaGame {
    sums: Vec<Vec<f64>>,
    games: Vec<Vec<u64>>,
}

impl MetaGame {
    /// A table of `players` players without games.
    pub fn new(players: usize) -> Self {
        let mut table = Self::default();
        (0..players).for_each(|_| _ = table.add());
        table
    }

    /// Number of players.
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether there are no players.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// A new player; returns its index.
    pub fn add(&mut self) -> usize {
        let n = self.len() + 1;
        self.sums.push(Vec::new());
        self.games.push(Vec::new());
        self.sums.iter_mut().for_each(|row| row.resize(n, 0.0));
        self.games.iter_mut().for_each(|row| row.resize(n, 0));
        n - 1
    }

    /// A game: `score` for the first (1 win, 0.5 draw, 0 loss), 1 − `score` for the second.
    ///
    /// # Errors
    /// [`Error::Shape`] when a player does not exist or the score is outside `[0, 1]`.
    pub fn record(&mut self, first: usize, second: usize, score: f64) -> Result<()> {
        if first.max(second) >= self.len() || !(0.0..=1.0).contains(&score) {
            let want = format!("players below {} and a score in [0, 1]", self.len());
            return Err(Error::shape("meta-game", want, format!("{first}, {second}, {score}")));
        }
        self.sums[first][second] += score;
        self.games[first][second] += 1;
        if first != second {
            self.sums[second][first] += 1.0 - score;
            self.games[second][first] += 1;
        }
        Ok(())
    }

    /// Games between two players.
    pub fn games(&self, first: usize, second: usize) -> u64 {
        self.games.get(first).and_then(|row| row.get(second)).copied().unwrap_or(0)
    }

    /// Mean score of the first against the second; 0.5 while nothing is known.
    pub fn score(&self, first: usize, second: usize) -> f64 {
        match self.games(first, second) {
            0 => 0.5,
            games => self.sums[first][second] / games as f64,
        }
    }

    /// The table as an antisymmetric zero-sum game: 2·score − 1.
    pub fn payoffs(&self) -> DMatrix<f64> {
        DMatrix::from_fn(
            self.len(),
            self.len(),
            |i, j| if i == j { 0.0 } else { 2.0 * self.score(i, j) - 1.0 },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_means_and_antisymmetric() {
        let mut table = MetaGame::new(2);
        table.record(0, 1, 1.0).unwrap();
        table.record(1, 0, 0.5).unwrap();
        assert_eq!((table.score(0, 1), table.score(1, 0)), (0.75, 0.25));
        assert_eq!(table.payoffs()[(0, 1)], -table.payoffs()[(1, 0)]);
        assert_eq!(table.add(), 2);
        assert_eq!(table.score(2, 0), 0.5);
        assert!(table.record(0, 3, 0.0).is_err());
    }
}
