//! Q-learning with a stage-game solution: minimax-Q (Littman 1994), Nash-Q (Hu and Wellman 2003), correlated-Q
//! (Greenwald and Hall 2003) and friend-Q (Littman 2001), for two players.
//!
//! Qᵢ(s, a, b) ← (1 − α) Qᵢ(s, a, b) + α [rᵢ + γ Vᵢ(s′)], where Vᵢ(s′) is what player i gets in the chosen solution
//! of the stage game (Q₁(s′, ·, ·), Q₂(s′, ·, ·)). Both players' rewards are observed.

use super::correlated::{Kind, Objective, correlated};
use super::nash::{support_enumeration, zero_sum};
use super::same_shape;
use crate::env::matrix;
use crate::{Error, Result};
use nalgebra::DMatrix;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Which solution of the stage game gives the value of the next state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concept {
    /// The security level of each player: sound in zero-sum games.
    Minimax,
    /// Of the enumerated Nash equilibria the one with the largest sum (the first of equals): both must select alike.
    Nash,
    /// The correlated equilibrium with the largest sum.
    Correlated,
    /// The joint action that is best for each player: sound where interests coincide.
    Friend,
}

/// How to learn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What a next state is worth.
    pub concept: Concept,
    /// Discount γ in `[0, 1)`.
    pub gamma: f64,
    /// Number of sampled transitions.
    pub steps: usize,
    /// α = 1 / visits(s, a, b)^decay, decay in (0.5, 1]: the conditions of the convergence proofs.
    pub decay: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { concept: Concept::Minimax, gamma: 0.9, steps: 100_000, decay: 0.8 }
    }
}

/// What was learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct StageQ {
    /// Per player `[S]`: Q as payoff matrices over (first player's action, second player's).
    pub q: [Vec<DMatrix<f64>>; 2],
    concept: Concept,
}

impl StageQ {
    /// Learns a two-player stochastic game from uniformly drawn states and actions.
    ///
    /// # Errors
    /// [`Error::Config`] when the game is not sound or has another number of players, or a field is out of range.
    pub fn learn(game: &matrix::Config, config: Config, rng: &mut impl Rng) -> Result<Self> {
        game.validate()?;
        let [m, n] = game.actions[..] else {
            return Err(Error::config("stage_q", "players", game.actions.len(), "2"));
        };
        if !(0.0..1.0).contains(&config.gamma) {
            return Err(Error::config("stage_q", "gamma", config.gamma, "in [0, 1)"));
        }
        if !(config.decay > 0.5 && config.decay <= 1.0) {
            return Err(Error::config("stage_q", "decay", config.decay, "in (0.5, 1]"));
        }
        let states = game.payoffs.len();
        let zero = || vec![DMatrix::zeros(m, n); states];
        let mut learner = Self { q: [zero(), zero()], concept: config.concept };
        let mut visits = vec![DMatrix::<f64>::zeros(m, n); states];
        let mut values = vec![(0.0, 0.0); states];
        for _ in 0..config.steps {
            let (s, i, j) = (rng.random_range(0..states), rng.random_range(0..m), rng.random_range(0..n));
            let joint = i * n + j;
            let mut left = rng.random::<f64>();
            let next = game.transitions[s][joint].iter().position(|p| {
                left -= p;
                left < 0.0
            });
            let future = next.map_or((0.0, 0.0), |next| values[next]);
            visits[s][(i, j)] += 1.0;
            let alpha = visits[s][(i, j)].powf(-config.decay);
            for (p, future) in [future.0, future.1].into_iter().enumerate() {
                let q = &mut learner.q[p][s][(i, j)];
                *q += alpha * (game.payoffs[s][joint][p] + config.gamma * future - *q);
            }
            values[s] = learner.value(s)?;
        }
        Ok(learner)
    }

    /// What both players get in the solution of state `s`.
    ///
    /// # Errors
    /// [`Error::NoSolution`] when the concept has none, [`Error::Shape`] when there is no such state.
    pub fn value(&self, s: usize) -> Result<(f64, f64)> {
        let (Some(a), Some(b)) = (self.q[0].get(s), self.q[1].get(s)) else {
            return Err(Error::shape("stage_q value", format!("a state below {}", self.q[0].len()), s));
        };
        same_shape("stage_q value", a, b)?;
        match self.concept {
            Concept::Minimax => Ok((zero_sum(a)?.value, zero_sum(&b.transpose())?.value)),
            Concept::Friend => Ok((a.max(), b.max())),
            Concept::Correlated => Ok(correlated(a, b, Kind::Correlated, Objective::Welfare)?.payoffs),
            Concept::Nash => {
                let welfare = |e: &super::nash::Equilibrium| e.payoffs.0 + e.payoffs.1;
                let better = |best: Option<super::nash::Equilibrium>, e| match best {
                    Some(b) if welfare(&b) >= welfare(&e) => Some(b),
                    _ => Some(e),
                };
                let best = support_enumeration(a, b)?.into_iter().fold(None, better);
                // A degenerate stage game may have no equilibrium with supports of equal size; any correlated one
                // is a sound stand-in then.
                match best {
                    Some(e) => Ok(e.payoffs),
                    None => Ok(correlated(a, b, Kind::Correlated, Objective::Welfare)?.payoffs),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::SeedStream;

    /// Two states; the first player's choice decides where to go next; payoffs of matching pennies, doubled in 1.
    fn pennies() -> matrix::Config {
        let pay = |k: f64| [k, -k, -k, k].map(|u| vec![u, -u]).to_vec();
        let go = vec![vec![0.5, 0.5], vec![0.5, 0.5], vec![0.5, 0.5], vec![0.5, 0.5]];
        matrix::Config {
            actions: vec![2, 2],
            payoffs: vec![pay(1.0), pay(2.0)],
            transitions: vec![go.clone(), go],
            steps: 10,
        }
    }

    #[test]
    fn minimax_and_nash_q_find_the_value_zero() {
        for concept in [Concept::Minimax, Concept::Nash, Concept::Correlated] {
            let config = Config { concept, steps: 4000, gamma: 0.5, ..Config::default() };
            let learnt = StageQ::learn(&pennies(), config, &mut SeedStream::new(1).stream("q", 0)).unwrap();
            for s in 0..2 {
                let (row, column) = learnt.value(s).unwrap();
                assert!(row.abs() < 0.05 && column.abs() < 0.05, "{concept:?} {row} {column}");
            }
        }
    }

    #[test]
    fn friend_q_finds_the_team_optimum() {
        let config = Config { concept: Concept::Friend, steps: 4000, gamma: 0.5, ..Config::default() };
        let game = matrix::Config::climbing();
        let learnt = StageQ::learn(&game, config, &mut SeedStream::new(1).stream("q", 0)).unwrap();
        assert!((learnt.value(0).unwrap().0 - 22.0).abs() < 0.5); // 11 / (1 − 0.5)
    }
}
