//! Tabular learners for games in which agents share one reward: what independent learners miss and coordination
//! finds.
//!
//! - [`Rule::Independent`]: Q-learning for each agent alone (Tan 1993). Climbing and penalty games drive it to the
//!   safe equilibrium, as miscoordination while exploring makes the good actions look bad.
//! - [`Rule::Hysteretic`]: bad surprises move the estimate less (Matignon et al. 2007).
//! - [`Rule::Optimistic`]: only good surprises count, and a policy changes only when its estimate strictly improves,
//!   which also picks one of several optima (Lauer and Riedmiller 2000). Right where payoffs and transitions are
//!   deterministic.
//! - [`Rule::JointAction`]: all agents learn the value of joint actions and play their part of the best one, the
//!   first of equals (the team-Q of Littman 2001; the joint-action learner of Claus and Boutilier 1998 with a common
//!   selection rule in place of opponent models).

use crate::env::matrix::{self, Matrix};
use crate::env::{Action, MultiAgentEnv, Outcome};
use crate::games::argmax;
use crate::{Error, Result};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How estimates and policies follow experience.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Q ← Q + α δ.
    Independent,
    /// Q ← Q + α δ where δ ≥ 0, else Q ← Q + β δ.
    Hysteretic {
        /// β in `[0, α]`.
        beta: f64,
    },
    /// Q ← max(Q, target).
    Optimistic,
    /// Q over joint actions.
    JointAction,
}

/// Learning settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who learns what.
    pub rule: Rule,
    /// Learning rate α in (0, 1].
    pub alpha: f64,
    /// Discount γ in `[0, 1)`.
    pub gamma: f64,
    /// Environment steps.
    pub steps: usize,
    /// Share of random actions at the start, falling linearly ...
    pub epsilon_start: f64,
    /// ... to this at the end.
    pub epsilon_end: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rule: Rule::Optimistic,
            alpha: 0.1,
            gamma: 0.9,
            steps: 5_000,
            epsilon_start: 1.0,
            epsilon_end: 0.05,
        }
    }
}

impl Config {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let unit = |x: f64| (0.0..=1.0).contains(&x);
        let bad = |field, value: f64, allowed| Err(Error::config("tabular", field, value, allowed));
        match self {
            c if !(unit(c.alpha) && c.alpha > 0.0) => bad("alpha", c.alpha, "in (0, 1]"),
            c if !(unit(c.gamma) && c.gamma < 1.0) => bad("gamma", c.gamma, "in [0, 1)"),
            c if !unit(c.epsilon_start) => bad("epsilon_start", c.epsilon_start, "in [0, 1]"),
            c if !unit(c.epsilon_end) => bad("epsilon_end", c.epsilon_end, "in [0, 1]"),
            Self { rule: Rule::Hysteretic { beta }, alpha, .. } if !(unit(*beta) && beta <= alpha) => {
                bad("beta", *beta, "in [0, alpha]")
            }
            _ => Ok(()),
        }
    }
}

/// Tables and greedy policies of all agents.
#[derive(Clone, Debug, PartialEq)]
pub struct Learners {
    config: Config,
    actions: Vec<usize>,
    /// Independent rules: `[agent][state][action]`; joint: one table `[0][state][joint action]`.
    q: Vec<Vec<Vec<f64>>>,
    /// `[state][agent]`: greedy actions.
    policy: Vec<Vec<usize>>,
}

impl Learners {
    /// Learns a game by playing it.
    ///
    /// # Errors
    /// [`Error::Config`] from the game or the settings.
    pub fn train(game: &matrix::Config, config: Config, rng: &mut impl Rng) -> Result<Self> {
        config.validate()?;
        let mut env = Matrix::new(game.clone())?;
        let mut learners = Self::new(game, config);
        let n = game.actions.len();
        let (mut outcome, mut chosen) = (Outcome::new(n), vec![0; n]);
        env.reset(rng);
        for t in 0..config.steps {
            let progress = t as f64 / config.steps as f64;
            let epsilon = config.epsilon_start + (config.epsilon_end - config.epsilon_start) * progress;
            let s = env.current();
            for (i, a) in chosen.iter_mut().enumerate() {
                let explore = rng.random::<f64>() < epsilon;
                *a = if explore { rng.random_range(0..game.actions[i]) } else { learners.policy[s][i] };
            }
            let actions: Vec<_> = chosen.iter().map(|&a| Some(Action::Discrete(a))).collect();
            env.step(&actions, rng, &mut outcome)?;
            let next = (!outcome.terminated[0]).then(|| env.current());
            learners.update(s, &chosen, &outcome.rewards, next);
            if !env.live()[0] {
                env.reset(rng);
            }
        }
        Ok(learners)
    }

    fn new(game: &matrix::Config, config: Config) -> Self {
        let states = game.payoffs.len();
        // An optimistic table starts below every payoff, so that the first experience counts; the discounted sum
        // of the smallest payoff is such a bound.
        let least = game.payoffs.iter().flatten().flatten().copied().fold(0.0, f64::min);
        let first = if config.rule == Rule::Optimistic { least / (1.0 - config.gamma) - 1.0 } else { 0.0 };
        let widths = match config.rule {
            Rule::JointAction => vec![game.joint()],
            _ => game.actions.clone(),
        };
        let q = widths.iter().map(|&width| vec![vec![first; width]; states]).collect();
        Self { config, actions: game.actions.clone(), q, policy: vec![vec![0; game.actions.len()]; states] }
    }

    fn update(&mut self, s: usize, chosen: &[usize], rewards: &[f64], next: Option<usize>) {
        let Config { rule, alpha, gamma, .. } = self.config;
        if rule == Rule::JointAction {
            let joint = chosen.iter().zip(&self.actions).fold(0, |joint, (a, n)| joint * n + a);
            let target = mean(rewards) + gamma * next.map_or(0.0, |next| greatest(&self.q[0][next]));
            let q = &mut self.q[0][s];
            q[joint] += alpha * (target - q[joint]);
            let mut best = argmax(q.iter().copied());
            for (i, n) in self.actions.iter().enumerate().rev() {
                (self.policy[s][i], best) = (best % n, best / n);
            }
            return;
        }
        for (i, (&a, &reward)) in chosen.iter().zip(rewards).enumerate() {
            let target = reward + gamma * next.map_or(0.0, |next| greatest(&self.q[i][next]));
            let q = &mut self.q[i][s];
            let delta = target - q[a];
            match rule {
                Rule::Optimistic => {
                    let before = greatest(q);
                    q[a] = q[a].max(target);
                    // Rounding of an unchanged target must not pass for an improvement.
                    if greatest(q) > before + 1e-9 * (1.0 + before.abs()) {
                        self.policy[s][i] = a;
                    }
                    continue;
                }
                Rule::Hysteretic { beta } if delta < 0.0 => q[a] += beta * delta,
                _ => q[a] += alpha * delta,
            }
            self.policy[s][i] = argmax(q.iter().copied());
        }
    }

    /// The greedy joint action in a state; empty outside the game.
    pub fn greedy(&self, state: usize) -> &[usize] {
        self.policy.get(state).map(Vec::as_slice).unwrap_or_default()
    }

    /// The mean over agents of the return of one greedy episode (in the coordination games every agent's return).
    ///
    /// # Errors
    /// [`Error::Config`] from the game.
    pub fn evaluate(&self, game: &matrix::Config, rng: &mut impl Rng) -> Result<f64> {
        if game.actions != self.actions || game.payoffs.len() != self.policy.len() {
            return Err(Error::shape("evaluate", "the game that was learnt", format!("{:?}", game.actions)));
        }
        let mut env = Matrix::new(game.clone())?;
        let (mut outcome, mut sum) = (Outcome::new(self.actions.len()), 0.0);
        env.reset(rng);
        while env.live()[0] {
            let actions: Vec<_> =
                self.greedy(env.current()).iter().map(|&a| Some(Action::Discrete(a))).collect();
            env.step(&actions, rng, &mut outcome)?;
            sum += mean(&outcome.rewards);
        }
        Ok(sum)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_core::SeedStream;

    fn returns(game: &matrix::Config, rule: Rule) -> Vec<f64> {
        let learn = |seed| {
            let seeds = SeedStream::new(seed);
            let config = Config { rule, ..Config::default() };
            let learners = Learners::train(game, config, &mut seeds.stream("train", 0)).unwrap();
            learners.evaluate(game, &mut seeds.stream("evaluate", 0)).unwrap()
        };
        (0..10).map(learn).collect()
    }

    #[test]
    fn coordination_learners_reach_the_optima() {
        for rule in [Rule::Optimistic, Rule::JointAction] {
            assert_eq!(returns(&matrix::Config::climbing(), rule), [275.0; 10], "{rule:?}");
            for k in [0.0, -25.0, -50.0, -75.0, -100.0] {
                assert_eq!(returns(&matrix::Config::penalty(k), rule), [250.0; 10], "{rule:?} {k}");
            }
        }
        assert_eq!(returns(&matrix::Config::two_step(), Rule::JointAction), [8.0; 10]);
    }

    #[test]
    fn independent_learners_settle_for_safety() {
        let mean = |game| returns(&game, Rule::Independent).iter().sum::<f64>() / 10.0;
        assert!(mean(matrix::Config::climbing()) < 200.0);
        assert!(mean(matrix::Config::penalty(-100.0)) < 100.0);
    }
}
