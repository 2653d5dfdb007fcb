//! Policy-space response oracles (Lanctot et al. 2017) for two-player zero-sum games; with exact oracles and the
//! Nash meta-solver, the double oracle algorithm (McMahan et al. 2003).
//!
//! Each round solves the meta-game among the policies so far, asks an oracle for a best response of each player to
//! the other's mixture, and adds both. An [`Oracle`] may be exact, as the two here, or a learner.

use crate::games::extensive::{GameTree, Node, Policy};
use crate::games::regret::RegretMatching;
use crate::games::{argmax, nash};
use crate::{Error, Result};
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

/// Best responses and payoffs of a zero-sum game.
pub trait Oracle {
    /// A policy of one player.
    type Policy: Clone + PartialEq;

    /// The policy player 0 or 1 starts with.
    fn first(&mut self, player: usize) -> Self::Policy;

    /// A best response of `player` to the other player's policies, mixed with these weights.
    ///
    /// # Errors
    /// What computing or learning it may bring.
    fn respond(&mut self, player: usize, others: &[Self::Policy], weights: &[f64]) -> Result<Self::Policy>;

    /// What player 0 gets.
    ///
    /// # Errors
    /// What playing may bring.
    fn payoff(&mut self, row: &Self::Policy, column: &Self::Policy) -> Result<f64>;
}

/// How the mixtures over the policies so far are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetaSolver {
    /// Equilibrium of the meta-game.
    #[default]
    Nash,
    /// All policies alike, copies counted: fictitious play.
    Uniform,
    /// Averages of 1,000 rounds of RM+.
    RegretMatching,
    /// The newest policy only: iterated best response.
    Last,
}

/// The state of a run, after each round.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// The row player's mixture over its policies.
    pub row: DVector<f64>,
    /// The column player's.
    pub column: DVector<f64>,
    /// Value of the meta-game under these mixtures, to the row player.
    pub value: f64,
    /// Sum of both players' gains from their best responses: the NashConv of the mixtures when oracles are exact.
    pub nash_conv: f64,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Psro<O: Oracle> {
    oracle: O,
    solver: MetaSolver,
    rows: Vec<O::Policy>,
    columns: Vec<O::Policy>,
    payoffs: DMatrix<f64>,
}

impl<O: Oracle> Psro<O> {
    /// Starts with one policy each.
    ///
    /// # Errors
    /// The oracle's.
    pub fn new(mut oracle: O, solver: MetaSolver) -> Result<Self> {
        let (row, column) = (oracle.first(0), oracle.first(1));
        let payoffs = DMatrix::from_element(1, 1, oracle.payoff(&row, &column)?);
        Ok(Self { oracle, solver, rows: vec![row], columns: vec![column], payoffs })
    }

    /// The policies of player 0 and 1.
    pub fn policies(&self) -> (&[O::Policy], &[O::Policy]) {
        (&self.rows, &self.columns)
    }

    /// The meta-game so far.
    pub fn payoffs(&self) -> &DMatrix<f64> {
        &self.payoffs
    }

    /// One round: solve, respond, extend (with the Nash and regret solvers only by policies that are new).
    ///
    /// # Errors
    /// The oracle's or the solver's.
    pub fn round(&mut self) -> Result<Round> {
        let (row, column) = self.mixtures()?;
        let value = row.dot(&(&self.payoffs * &column));
        let best_row = self.oracle.respond(0, &self.columns, column.as_slice())?;
        let best_column = self.oracle.respond(1, &self.rows, row.as_slice())?;
        let (mut gain_row, mut gain_column) = (-value, value);
        for (policy, &weight) in self.columns.iter().zip(column.iter()).filter(|(_, w)| **w > 0.0) {
            gain_row += weight * self.oracle.payoff(&best_row, policy)?;
        }
        for (policy, &weight) in self.rows.iter().zip(row.iter()).filter(|(_, w)| **w > 0.0) {
            gain_column -= weight * self.oracle.payoff(policy, &best_column)?;
        }
        let nash_conv = gain_row + gain_column;
        if nash_conv >= 1e-9 {
            self.extend(best_row, best_column)?;
        }
        Ok(Round { row, column, value, nash_conv })
    }

    fn extend(&mut self, row: O::Policy, column: O::Policy) -> Result<()> {
        // A copy changes nothing for an equilibrium and everything for an average.
        let copies = matches!(self.solver, MetaSolver::Uniform | MetaSolver::Last);
        if copies || !self.rows.contains(&row) {
            let mut payoffs = Vec::with_capacity(self.columns.len());
            for column in &self.columns {
                payoffs.push(self.oracle.payoff(&row, column)?);
            }
            self.payoffs = self.payoffs.clone().insert_row(self.rows.len(), 0.0);
            payoffs.iter().enumerate().for_each(|(j, &u)| self.payoffs[(self.rows.len(), j)] = u);
            self.rows.push(row);
        }
        if copies || !self.columns.contains(&column) {
            let mut payoffs = Vec::with_capacity(self.rows.len());
            for row in &self.rows {
                payoffs.push(self.oracle.payoff(row, &column)?);
            }
            self.payoffs = self.payoffs.clone().insert_column(self.columns.len(), 0.0);
            payoffs.iter().enumerate().for_each(|(i, &u)| self.payoffs[(i, self.columns.len())] = u);
            self.columns.push(column);
        }
        Ok(())
    }

    fn mixtures(&self) -> Result<(DVector<f64>, DVector<f64>)> {
        let (m, n) = self.payoffs.shape();
        Ok(match self.solver {
            MetaSolver::Nash => {
                let solution = nash::zero_sum(&self.payoffs)?;
                (solution.row, solution.column)
            }
            MetaSolver::Uniform => {
                (DVector::from_element(m, 1.0 / m as f64), DVector::from_element(n, 1.0 / n as f64))
            }
            MetaSolver::RegretMatching => {
                let (a, zeros) = (&self.payoffs, vec![0.0; m.max(n)]);
                let mut learner = RegretMatching::new(a, &-a, true, &zeros[..m], &zeros[..n])?;
                (0..1000).for_each(|_| learner.step());
                let [row, column] = learner.averages();
                (row, column)
            }
            MetaSolver::Last => {
                let last = |n: usize| DVector::from_fn(n, |i, _| f64::from(u8::from(i + 1 == n)));
                (last(m), last(n))
            }
        })
    }
}

/// Exact best responses in a zero-sum matrix game: policies are actions, the lowest index among equals.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixOracle(pub DMatrix<f64>);

impl Oracle for MatrixOracle {
    type Policy = usize;

    fn first(&mut self, _player: usize) -> usize {
        0
    }

    fn respond(&mut self, player: usize, others: &[usize], weights: &[f64]) -> Result<usize> {
        let mixed = |payoff: &dyn Fn(usize) -> f64| {
            others.iter().zip(weights).map(|(&o, w)| w * payoff(o)).sum::<f64>()
        };
        Ok(match player {
            0 => argmax((0..self.0.nrows()).map(|i| mixed(&|j| self.0[(i, j)]))),
            _ => argmax((0..self.0.ncols()).map(|j| mixed(&|i| -self.0[(i, j)]))),
        })
    }

    fn payoff(&mut self, row: &usize, column: &usize) -> Result<f64> {
        let outside = || {
            Error::shape(
                "matrix oracle",
                format!("actions inside {:?}", self.0.shape()),
                format!("({row}, {column})"),
            )
        };
        self.0.get((*row, *column)).copied().ok_or_else(outside)
    }
}

/// Exact best responses in a zero-sum game tree; policies are behaviour strategies of which the player's own half
/// counts.
#[derive(Clone, Debug)]
pub struct TreeOracle<'a>(pub &'a GameTree);

impl TreeOracle<'_> {
    /// The behaviour strategy that does what a mixture of policies does (Kuhn 1953): each policy counts at an
    /// information set with its weight times the probability that its own moves lead there.
    pub fn blend(&self, player: usize, policies: &[Policy], weights: &[f64]) -> Policy {
        let mut sums: Policy = self.0.sets().iter().map(|s| vec![0.0; s.actions.len()]).collect();
        for (policy, &weight) in policies.iter().zip(weights) {
            let mut reach = vec![f64::NAN; self.0.sets().len()];
            self.spread(0, player, policy, weight, &mut reach);
            for (set, sums) in sums.iter_mut().enumerate().filter(|(set, _)| !reach[*set].is_nan()) {
                sums.iter_mut().zip(&policy[set]).for_each(|(sum, p)| *sum += reach[set] * p);
            }
        }
        let mut blended = self.0.uniform();
        for (mixed, sums) in blended.iter_mut().zip(&sums) {
            let total: f64 = sums.iter().sum();
            if total > 0.0 {
                mixed.iter_mut().zip(sums).for_each(|(p, s)| *p = s / total);
            }
        }
        blended
    }

    /// The policy of both players: the first one's half of `row`, the second one's of `column`.
    pub fn profile(&self, row: &Policy, column: &Policy) -> Policy {
        let halves = self.0.sets().iter().zip(row.iter().zip(column));
        halves.map(|(set, (row, column))| if set.player == 0 { row } else { column }.clone()).collect()
    }

    fn spread(&self, node: usize, player: usize, policy: &Policy, own: f64, reach: &mut [f64]) {
        match self.0.node(node) {
            Node::End { .. } => {}
            Node::Chance { outcomes } => {
                outcomes.iter().for_each(|o| self.spread(o.1, player, policy, own, reach))
            }
            Node::Decision { player: mover, information, children } => {
                let mine = *mover == player;
                if mine {
                    reach[*information] = own;
                }
                for (k, &(_, child)) in children.iter().enumerate() {
                    self.spread(
                        child,
                        player,
                        policy,
                        if mine { own * policy[*information][k] } else { own },
                        reach,
                    );
                }
            }
        }
    }
}

impl Oracle for TreeOracle<'_> {
    type Policy = Policy;

    fn first(&mut self, _player: usize) -> Policy {
        self.0.uniform()
    }

    fn respond(&mut self, player: usize, others: &[Policy], weights: &[f64]) -> Result<Policy> {
        let blended = self.blend(1 - player, others, weights);
        let mut response = self.0.best_response(&blended, player)?;
        // The other half does not count; a fixed one makes equal policies compare equal.
        for (set, p) in self.0.sets().iter().zip(&mut response).filter(|(set, _)| set.player != player) {
            p.fill(1.0 / set.actions.len() as f64);
        }
        Ok(response)
    }

    fn payoff(&mut self, row: &Policy, column: &Policy) -> Result<f64> {
        Ok(self.0.value(&self.profile(row, column))?[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::payoffs;
    use crate::games::poker::Kuhn;

    #[test]
    fn double_oracle_solves_rock_paper_scissors_and_kuhn() {
        let rps = payoffs(&[vec![0.0, -1.0, 1.0], vec![1.0, 0.0, -1.0], vec![-1.0, 1.0, 0.0]]).unwrap();
        let mut run = Psro::new(MatrixOracle(rps), MetaSolver::Nash).unwrap();
        assert_eq!(run.round().unwrap().nash_conv, 2.0);
        run.round().unwrap();
        assert!(run.round().unwrap().nash_conv < 1e-9);
        let tree = GameTree::build(&Kuhn).unwrap();
        let mut run = Psro::new(TreeOracle(&tree), MetaSolver::Nash).unwrap();
        let last = (0..20).map(|_| run.round().unwrap()).last().unwrap();
        assert!(last.nash_conv < 1e-9 && (last.value + 1.0 / 18.0).abs() < 1e-9, "{last:?}");
    }

    #[test]
    fn other_meta_solvers_make_progress() {
        let a = payoffs(&[vec![0.0, -1.0, 2.0], vec![1.0, 0.0, -1.0], vec![-2.0, 1.0, 0.0]]).unwrap();
        for solver in [MetaSolver::Uniform, MetaSolver::RegretMatching, MetaSolver::Last] {
            let mut run = Psro::new(MatrixOracle(a.clone()), solver).unwrap();
            (0..30).for_each(|_| _ = run.round().unwrap());
            assert!((0..3).all(|policy| run.policies().0.contains(&policy)), "{solver:?}");
        }
    }
}
