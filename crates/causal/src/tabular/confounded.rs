//! Logs of a behaviour that saw a hidden variable.
//!
//! Zhang & Bareinboim, *Markov decision processes with unobserved confounders: a causal approach* (2016): a hidden variable,
//! drawn anew at each step, drives action, reward and next state. Acting and watching then meet different laws.

use super::mdp::{Mdp, check_len, check_rows, draw};
use crate::error::{Error, Result};
use crate::estimate::TabularTransition;
use rand::Rng;

/// A decision process whose transitions, rewards and behaviour share a hidden variable U, drawn anew at each step.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfoundedMdp {
    /// Number of states S.
    pub states: usize,
    /// Number of actions A.
    pub actions: usize,
    /// P(u), `[U]`.
    pub hidden: Vec<f64>,
    /// P(a | s, u) of the behaviour, `[S, U, A]` row-major.
    pub behaviour: Vec<f64>,
    /// P(s′ | s, u, a), `[S, U, A, S]` row-major.
    pub transition: Vec<f64>,
    /// r(s, u, a), `[S, U, A]` row-major.
    pub reward: Vec<f64>,
    /// States that end an episode, `[S]`.
    pub terminal: Vec<bool>,
}

impl ConfoundedMdp {
    /// Checks the tables.
    ///
    /// # Errors
    /// [`Error::Shape`] for a table of another size, [`Error::Data`] for a row that is no distribution.
    pub fn validate(&self) -> Result<()> {
        let (s, u, a) = (self.states, self.hidden.len(), self.actions);
        if s == 0 || u == 0 || a == 0 {
            let got = format!("{s}, {u} and {a}");
            return Err(Error::shape("ConfoundedMdp", "at least one state, hidden value and action", got));
        }
        check_len("ConfoundedMdp.behaviour", s * u * a, self.behaviour.len())?;
        check_len("ConfoundedMdp.transition", s * u * a * s, self.transition.len())?;
        check_len("ConfoundedMdp.reward", s * u * a, self.reward.len())?;
        check_len("ConfoundedMdp.terminal", s, self.terminal.len())?;
        check_rows("ConfoundedMdp.hidden", &self.hidden, u)?;
        check_rows("ConfoundedMdp.behaviour", &self.behaviour, a)?;
        check_rows("ConfoundedMdp.transition", &self.transition, s)
    }

    fn cell(&self, s: usize, u: usize, a: usize) -> usize {
        (s * self.hidden.len() + u) * self.actions + a
    }

    fn next(&self, cell: usize) -> &[f64] {
        &self.transition[cell * self.states..][..self.states]
    }

    /// What a learner that acts itself meets: P(s′ | s, do(a)) = Σᵤ P(u) P(s′ | s, u, a), the rewards likewise.
    ///
    /// # Errors
    /// As [`ConfoundedMdp::validate`]; [`Error::Config`] for a discount outside [0, 1).
    pub fn interventional(&self, discount: f64) -> Result<Mdp> {
        let log = self.averaged(|_, _, _| 1.0)?;
        let (states, actions, terminal) = (self.states, self.actions, self.terminal.clone());
        let mdp = Mdp { states, actions, transition: log.next, reward: log.reward, terminal, discount };
        mdp.validate()?;
        Ok(mdp)
    }

    /// What the behaviour's log converges to: P(a | s), E\[r | s, a\] and P(s′ | s, a), confounded by U.
    ///
    /// # Errors
    /// As [`ConfoundedMdp::validate`].
    pub fn observed(&self) -> Result<ObservedLog> {
        self.averaged(|s, u, a| self.behaviour[self.cell(s, u, a)])
    }

    /// Averages over U with weights P(u) w(s, u, a).
    fn averaged(&self, weight: impl Fn(usize, usize, usize) -> f64) -> Result<ObservedLog> {
        self.validate()?;
        let mut log = ObservedLog::empty(self.states, self.actions);
        for s in 0..self.states {
            for a in 0..self.actions {
                let row = s * self.actions + a;
                for (u, p) in self.hidden.iter().enumerate() {
                    let (w, cell) = (p * weight(s, u, a), self.cell(s, u, a));
                    log.share[row] += w;
                    log.reward[row] += w * self.reward[cell];
                    let into = log.next[row * self.states..].iter_mut();
                    into.zip(self.next(cell)).for_each(|(to, q)| *to += w * q);
                }
                log.normalise(row);
            }
        }
        Ok(log)
    }

    /// The states with positive probability after each state under some action and hidden value: knowledge of a map.
    pub fn reachable(&self) -> Vec<Vec<usize>> {
        let from = |s: usize| {
            let cells = self.cell(s, 0, 0)..self.cell(s, 0, 0) + self.hidden.len() * self.actions;
            (0..self.states).filter(|&to| cells.clone().any(|c| self.next(c)[to] > 0.0)).collect()
        };
        (0..self.states).map(from).collect()
    }

    /// `steps` transitions of the behaviour, which sees U; episodes begin at `start`.
    ///
    /// # Errors
    /// As [`ConfoundedMdp::validate`]; [`Error::Node`] for a start out of range.
    pub fn log(&self, start: usize, steps: usize, rng: &mut impl Rng) -> Result<Vec<TabularTransition>> {
        self.validate()?;
        if start >= self.states {
            return Err(Error::Node { operation: "ConfoundedMdp::log", node: start, count: self.states });
        }
        let mut state = start;
        let mut log = Vec::with_capacity(steps);
        for _ in 0..steps {
            let u = draw(&self.hidden, rng);
            let action = draw(&self.behaviour[self.cell(state, u, 0)..][..self.actions], rng);
            let cell = self.cell(state, u, action);
            let next = draw(self.next(cell), rng);
            log.push(TabularTransition { state, action, reward: self.reward[cell], next: Some(next) });
            state = if self.terminal[next] { start } else { next };
        }
        Ok(log)
    }
}

/// Frequencies and averages of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedLog {
    /// Number of states S.
    pub states: usize,
    /// Number of actions A.
    pub actions: usize,
    /// P(a | s), `[S, A]` row-major; zero in states without data.
    pub share: Vec<f64>,
    /// E\[r | s, a\], `[S, A]`; zero without data.
    pub reward: Vec<f64>,
    /// P(s′ | s, a), `[S, A, S]`; a row of an episode's end lacks mass, and of a pair without data all of it.
    pub next: Vec<f64>,
}

impl ObservedLog {
    fn empty(states: usize, actions: usize) -> Self {
        let (share, reward) = (vec![0.0; states * actions], vec![0.0; states * actions]);
        Self { states, actions, share, reward, next: vec![0.0; states * actions * states] }
    }

    /// Sums to averages.
    fn normalise(&mut self, row: usize) {
        let total = self.share[row];
        if total > 0.0 {
            self.reward[row] /= total;
            self.next[row * self.states..][..self.states].iter_mut().for_each(|p| *p /= total);
        }
    }

    /// The frequencies of transitions. An end without a next state has value 0.
    ///
    /// # Errors
    /// [`Error::Node`] for a state or action out of range, [`Error::Data`] for a reward that is not finite.
    pub fn from_transitions(data: &[TabularTransition], states: usize, actions: usize) -> Result<Self> {
        let mut log = Self::empty(states, actions);
        let operation = "ObservedLog::from_transitions";
        for step in data {
            let places = [Some(step.state), step.next];
            if let Some(node) = places.into_iter().flatten().find(|&s| s >= states) {
                return Err(Error::Node { operation, node, count: states });
            }
            if step.action >= actions {
                return Err(Error::Node { operation, node: step.action, count: actions });
            }
            if !step.reward.is_finite() {
                return Err(Error::data(
                    "log",
                    format!("the reward {} in state {}", step.reward, step.state),
                ));
            }
            let row = step.state * actions + step.action;
            log.share[row] += 1.0;
            log.reward[row] += step.reward;
            if let Some(next) = step.next {
                log.next[row * states + next] += 1.0;
            }
        }
        (0..states * actions).for_each(|row| log.normalise(row));
        for shares in log.share.chunks_mut(actions.max(1)) {
            let visits: f64 = shares.iter().sum();
            shares.iter_mut().filter(|_| visits > 0.0).for_each(|n| *n /= visits);
        }
        Ok(log)
    }
}
