//! Matrix games and finite stochastic games as environments.
//!
//! A stochastic game (Shapley 1953) has states s, payoffs uᵢ(s, a) of a joint action a and transitions P(s′ | s, a);
//! a repeated matrix game is one with a single state. Everyone observes the state one-hot.
//! Joint actions are numbered row-major, the first agent being the most significant.

use super::{Action, ActionSpace, AgentId, AgentSpec, Layout, MultiAgentEnv, Outcome};
use crate::{Error, Result};
use rand::{Rng, RngExt};
use rl_core::experiment::{Persist, TrainState};
use serde::{Deserialize, Serialize};

/// A finite stochastic game.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of actions of each agent.
    pub actions: Vec<usize>,
    /// `[S][joint action][agent]`.
    pub payoffs: Vec<Vec<Vec<f64>>>,
    /// `[S][joint action][S′]`: probabilities; what is missing to 1 is the probability that the game ends.
    pub transitions: Vec<Vec<Vec<f64>>>,
    /// Steps until everyone is truncated.
    pub steps: usize,
}

impl Config {
    /// A matrix game repeated `steps` times: `payoffs[joint action][agent]`.
    pub fn repeated(actions: Vec<usize>, payoffs: Vec<Vec<f64>>, steps: usize) -> Self {
        let stay = vec![vec![1.0]; payoffs.len()];
        Self { actions, payoffs: vec![payoffs], transitions: vec![stay], steps }
    }

    /// A two-player game with one common payoff matrix, repeated for the 25 steps of Papoudakis et al. 2021.
    pub fn common(matrix: &[&[f64]]) -> Self {
        let columns = matrix.first().map_or(0, |row| row.len());
        let payoffs = matrix.iter().flat_map(|row| row.iter().map(|&u| vec![u, u])).collect();
        Self::repeated(vec![matrix.len(), columns], payoffs, 25)
    }

    /// A two-player game of payoff matrices `A` (row) and `B` (column), repeated for 25 steps.
    pub fn bimatrix(a: &[&[f64]], b: &[&[f64]]) -> Self {
        let columns = a.first().map_or(0, |row| row.len());
        let payoffs =
            a.iter().zip(b).flat_map(|(a, b)| a.iter().zip(*b).map(|(&a, &b)| vec![a, b])).collect();
        Self::repeated(vec![a.len(), columns], payoffs, 25)
    }

    /// Climbing (Claus and Boutilier 1998): optimum 11 per step (275 in 25), surrounded by −30; the second
    /// equilibrium gives 7 (175).
    pub fn climbing() -> Self {
        Self::common(&[&[11.0, -30.0, 0.0], &[-30.0, 7.0, 0.0], &[0.0, 6.0, 5.0]])
    }

    /// Penalty (Claus and Boutilier 1998) with k ≤ 0: two optima of 10 per step (250 in 25) that punish
    /// miscoordination, one safe equilibrium of 2 (50).
    pub fn penalty(k: f64) -> Self {
        Self::common(&[&[k, 0.0, 10.0], &[0.0, 2.0, 0.0], &[10.0, 0.0, k]])
    }

    /// Pure coordination: 1 where both choose the same of `n` actions, else 0.
    pub fn coordination(n: usize) -> Self {
        let payoffs = (0..n * n).map(|joint| vec![f64::from(u8::from(joint / n == joint % n)); 2]).collect();
        Self::repeated(vec![n, n], payoffs, 25)
    }

    /// The two-step game of Rashid et al. 2018: the first agent's action leads to a state worth 7 whatever both
    /// do, or to one that pays `[[0, 1], [1, 8]]`.
    pub fn two_step() -> Self {
        let pay = |u: [f64; 4]| u.iter().map(|&u| vec![u, u]).collect::<Vec<_>>();
        let go = |first: Vec<f64>, second: Vec<f64>| vec![first.clone(), first, second.clone(), second];
        let end = || vec![vec![0.0; 3]; 4];
        Self {
            actions: vec![2, 2],
            payoffs: vec![pay([0.0; 4]), pay([7.0; 4]), pay([0.0, 1.0, 1.0, 8.0])],
            transitions: vec![go(vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]), end(), end()],
            steps: 2,
        }
    }

    /// Number of joint actions.
    pub fn joint(&self) -> usize {
        self.actions.iter().product()
    }

    /// Checks shapes and probabilities.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let bad = |field, value: String, allowed| Err(Error::config("matrix", field, value, allowed));
        let (agents, joint, states) = (self.actions.len(), self.joint(), self.payoffs.len());
        if agents == 0 || joint == 0 || joint > 1 << 20 {
            return bad(
                "actions",
                format!("{:?}", self.actions),
                "at least one action each, at most 2²⁰ joint actions",
            );
        }
        let finite = |row: &Vec<f64>| row.len() == agents && row.iter().all(|u| u.is_finite());
        if states == 0 || !self.payoffs.iter().all(|s| s.len() == joint && s.iter().all(finite)) {
            return bad("payoffs", format!("{states} states"), "[S][joint action][agent], finite");
        }
        let law = |row: &Vec<f64>| {
            row.len() == states && row.iter().all(|&p| p >= 0.0) && row.iter().sum::<f64>() <= 1.0 + 1e-9
        };
        let transitions = self.transitions.iter().all(|s| s.len() == joint && s.iter().all(law));
        if self.transitions.len() != states || !transitions {
            return bad(
                "transitions",
                format!("{} states", self.transitions.len()),
                "[S][joint action][S], rows ≤ 1",
            );
        }
        match self.steps {
            0 => bad("steps", "0".into(), "at least 1"),
            _ => Ok(()),
        }
    }
}

/// A finite stochastic game being played.
#[derive(Clone, Debug)]
pub struct Matrix {
    config: Config,
    layout: Layout,
    state: usize,
    live: Vec<bool>,
    t: usize,
}

impl Matrix {
    /// Builds a game; it starts in state 0.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: Config) -> Result<Self> {
        config.validate()?;
        let states = config.payoffs.len();
        let agent = |(i, &n): (usize, &usize)| AgentSpec {
            name: format!("agent_{i}"),
            group: 0,
            observation: states,
            actions: ActionSpace::Discrete(n),
        };
        let agents: Vec<_> = config.actions.iter().enumerate().map(agent).collect();
        let live = vec![false; agents.len()];
        let layout = Layout { state: states, ..Layout::new("matrix", &["agent"], agents) };
        Ok(Self { config, layout, state: 0, live, t: 0 })
    }

    /// The game.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The present state.
    pub fn current(&self) -> usize {
        self.state
    }

    fn write(&self, into: &mut [f32]) {
        into.iter_mut().enumerate().for_each(|(s, x)| *x = f32::from(s == self.state));
    }
}

impl MultiAgentEnv for Matrix {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn reset(&mut self, _rng: &mut dyn Rng) {
        (self.state, self.t) = (0, 0);
        self.live.fill(true);
    }

    fn step(
        &mut self,
        actions: &[Option<Action<'_>>],
        rng: &mut dyn Rng,
        outcome: &mut Outcome,
    ) -> Result<()> {
        self.layout.check(&self.live, actions)?;
        if !self.live[0] {
            return Err(Error::State { operation: "step", reason: "the game is over: call reset".into() });
        }
        let index = |a: &Option<Action<'_>>| if let Some(Action::Discrete(a)) = a { *a } else { 0 };
        let joint = actions.iter().zip(&self.config.actions).fold(0, |joint, (a, &n)| joint * n + index(a));
        outcome.restart(self.layout.n());
        outcome.rewards.copy_from_slice(&self.config.payoffs[self.state][joint]);
        let mut left = rng.random::<f64>();
        let next = self.config.transitions[self.state][joint].iter().position(|&p| {
            left -= p;
            left < 0.0
        });
        self.t += 1;
        let over = next.is_none();
        self.state = next.unwrap_or(self.state);
        outcome.terminated.fill(over);
        outcome.truncated.fill(!over && self.t >= self.config.steps);
        self.live.fill(!over && self.t < self.config.steps);
        Ok(())
    }

    fn live(&self) -> &[bool] {
        &self.live
    }

    fn observe(&self, _agent: AgentId, into: &mut [f32]) {
        self.write(into);
    }

    fn state(&self, into: &mut [f32]) {
        self.write(into);
    }
}

impl Persist for Matrix {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put(format!("{prefix}/state"), &(&self.state, &self.live, &self.t))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        (self.state, self.live, self.t) = state.get(&format!("{prefix}/state"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Parallel;

    #[test]
    fn two_step_pays_eight_on_the_second_branch() {
        let mut env = Parallel::new(Matrix::new(Config::two_step()).unwrap());
        env.reset(0);
        let both = |a, b| [Some(Action::Discrete(a)), Some(Action::Discrete(b))];
        assert_eq!(env.step(&both(1, 0)).unwrap().rewards, [0.0, 0.0]);
        let end = env.step(&both(1, 1)).unwrap();
        assert_eq!(
            (end.rewards.as_slice(), end.terminated.as_slice()),
            ([8.0; 2].as_slice(), [true; 2].as_slice())
        );
        assert!(env.step(&both(0, 0)).is_err());
    }

    #[test]
    fn bad_games_are_refused() {
        let mut game = Config::coordination(2);
        game.transitions[0][1][0] = 1.5;
        assert!(Matrix::new(game).is_err());
        assert!(Matrix::new(Config::repeated(vec![], vec![], 1)).is_err());
    }
}
