//! What a multi-agent environment is: the parallel contract with PettingZoo's meaning (Terry et al. 2021,
//! "PettingZoo: Gym for multi-agent reinforcement learning"), in Rust's terms.
//!
//! All live agents act at once. An agent that is terminated or truncated is dead from the next step on: it no
//! longer acts, and the episode is over when nobody lives. Randomness is an argument of `reset` and `step`, so
//! the same generator gives the same bits. Nothing in a step allocates.
//!
//! [`Parallel`] carries the buffers and the generator for a user who wants PettingZoo's calls, [`SimultaneousAec`]
//! turns any of it into one agent per call, and [`Batch`] steps thousands of copies.

mod aec;
mod batch;
mod censored;
pub mod foraging;
pub mod matrix;
mod parallel;
pub mod particle;
#[cfg(feature = "pettingzoo")]
pub mod pettingzoo;
pub mod point_arena;
pub mod turn_based;

pub use aec::{Aec, Last, SimultaneousAec};
pub use batch::{Batch, BatchActions, BatchStep, Copies};
pub use censored::Censored;
pub use parallel::Parallel;

use crate::{Error, Result};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Index of an agent in [`Layout::agents`]; the order never changes during the life of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentId(pub usize);

/// What an agent may do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ActionSpace {
    /// One of `0..n`.
    Discrete(usize),
    /// A vector of `dim` numbers in `[low, high]`.
    Continuous {
        /// Length of the vector.
        dim: usize,
        /// Smallest value of each entry.
        low: f32,
        /// Largest value of each entry.
        high: f32,
    },
}

impl ActionSpace {
    /// Number of actions, or length of the action vector: the width of a policy's output.
    pub fn width(&self) -> usize {
        match *self {
            Self::Discrete(n) => n,
            Self::Continuous { dim, .. } => dim,
        }
    }

    /// Draws an action uniformly; a continuous one is written to `vector`, whose length must be the space's.
    pub fn sample<'a>(&self, rng: &mut dyn Rng, vector: &'a mut [f32]) -> Action<'a> {
        use rand::RngExt;
        match *self {
            Self::Discrete(n) => Action::Discrete(rng.random_range(0..n.max(1))),
            Self::Continuous { low, high, .. } => {
                vector.iter_mut().for_each(|x| *x = low + (high - low) * rng.random::<f32>());
                Action::Continuous(vector)
            }
        }
    }
}

/// An action of one agent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action<'a> {
    /// Index of a discrete action.
    Discrete(usize),
    /// A continuous action, as long as the action space says.
    Continuous(&'a [f32]),
}

/// One agent of a [`Layout`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// PettingZoo's name, such as `adversary_0`.
    pub name: String,
    /// Index into [`Layout::groups`]: team, or role for parameter sharing.
    pub group: usize,
    /// Length of the observation.
    pub observation: usize,
    /// What it may do.
    pub actions: ActionSpace,
}

/// The fixed facts of an environment: who takes part, with which spaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// Identifier for messages and tables.
    pub name: &'static str,
    /// All possible agents, in their fixed order.
    pub agents: Vec<AgentSpec>,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// Length of the global state.
    pub state: usize,
    /// Whether some discrete actions are at times unavailable, so that masks must be looked at.
    pub masked: bool,
}

impl Layout {
    /// Builds a layout whose global state is the concatenation of all observations.
    pub fn new(name: &'static str, groups: &[&str], agents: Vec<AgentSpec>) -> Self {
        let state = agents.iter().map(|a| a.observation).sum();
        Self { name, agents, groups: groups.iter().map(ToString::to_string).collect(), state, masked: false }
    }

    /// Number of possible agents.
    pub fn n(&self) -> usize {
        self.agents.len()
    }

    /// All agents.
    pub fn ids(&self) -> impl Iterator<Item = AgentId> + use<> {
        (0..self.agents.len()).map(AgentId)
    }

    /// The agent of this name.
    pub fn find(&self, name: &str) -> Option<AgentId> {
        self.agents.iter().position(|a| a.name == name).map(AgentId)
    }

    /// The members of a group.
    pub fn members(&self, group: usize) -> impl Iterator<Item = AgentId> + '_ {
        self.agents.iter().enumerate().filter(move |(_, a)| a.group == group).map(|(i, _)| AgentId(i))
    }

    /// The longest observation: what padding for shared parameters needs.
    pub fn longest_observation(&self) -> usize {
        self.agents.iter().map(|a| a.observation).max().unwrap_or(0)
    }

    /// The widest action space.
    pub fn widest_action(&self) -> usize {
        self.agents.iter().map(|a| a.actions.width()).max().unwrap_or(0)
    }

    /// Checks that a joint action has an action for every live agent, none for a dead one, each of the right
    /// kind, inside `0..n` and of the right length and finite.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Agent`] or [`Error::Action`], naming the agent.
    pub fn check(&self, live: &[bool], actions: &[Option<Action<'_>>]) -> Result<()> {
        if actions.len() != self.n() {
            return Err(Error::shape("step", format!("{} actions", self.n()), actions.len()));
        }
        for ((spec, &live), action) in self.agents.iter().zip(live).zip(actions) {
            let fits = match (action, spec.actions) {
                (None, _) if !live => continue,
                (None, _) => return Err(self.agent(spec, "is live and needs an action")),
                (Some(_), _) if !live => return Err(self.agent(spec, "is done: pass None for it")),
                (Some(Action::Discrete(a)), ActionSpace::Discrete(n)) => *a < n,
                (Some(Action::Continuous(v)), ActionSpace::Continuous { dim, .. }) => {
                    v.len() == dim && v.iter().all(|x| x.is_finite())
                }
                _ => false,
            };
            if !fits {
                return Err(Error::Action {
                    env: self.name,
                    agent: spec.name.clone(),
                    action: format!("{action:?}"),
                    space: format!("{:?}", spec.actions),
                });
            }
        }
        Ok(())
    }

    fn agent(&self, spec: &AgentSpec, problem: &'static str) -> Error {
        Error::Agent { env: self.name, agent: spec.name.clone(), problem }
    }
}

/// What a step brings each agent; the entries of agents that were dead before the step are zero and false.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Rewards.
    pub rewards: Vec<f64>,
    /// The agent reached an end of the task: its value is zero from here on.
    pub terminated: Vec<bool>,
    /// The episode was cut, by a time limit for instance: the value goes on, so bootstrap.
    pub truncated: Vec<bool>,
}

impl Outcome {
    /// Zero rewards and no end for `n` agents.
    pub fn new(n: usize) -> Self {
        Self { rewards: vec![0.0; n], terminated: vec![false; n], truncated: vec![false; n] }
    }

    /// Back to zero rewards and no end, for `n` agents; allocates only when `n` has grown.
    pub fn restart(&mut self, n: usize) {
        self.rewards.clear();
        self.rewards.resize(n, 0.0);
        for flags in [&mut self.terminated, &mut self.truncated] {
            flags.clear();
            flags.resize(n, false);
        }
    }
}

/// An environment in which all live agents act at once.
///
/// `observe`, `mask` and `state` describe the present; the buffers of `step`'s `outcome` are written over.
pub trait MultiAgentEnv {
    /// The agents and their spaces.
    fn layout(&self) -> &Layout;

    /// Starts an episode.
    fn reset(&mut self, rng: &mut dyn Rng);

    /// Moves the world on by one step; `actions[i]` is `None` exactly for dead agents.
    ///
    /// # Errors
    /// What [`Layout::check`] finds; the world is unchanged then.
    fn step(
        &mut self,
        actions: &[Option<Action<'_>>],
        rng: &mut dyn Rng,
        outcome: &mut Outcome,
    ) -> Result<()>;

    /// Which agents still act, in the layout's order; all false before the first reset and after the end.
    fn live(&self) -> &[bool];

    /// Writes the observation of an agent; `into` has the length the layout says.
    fn observe(&self, agent: AgentId, into: &mut [f32]);

    /// Writes which discrete actions make sense now, all of them unless the environment knows better.
    fn mask(&self, _agent: AgentId, into: &mut [bool]) {
        into.fill(true);
    }

    /// Writes the global state of a centralised critic: the concatenation of all observations unless the
    /// environment has a better one.
    fn state(&self, into: &mut [f32]) {
        let mut at = 0;
        for (i, spec) in self.layout().agents.iter().enumerate() {
            if let Some(row) = into.get_mut(at..at + spec.observation) {
                self.observe(AgentId(i), row);
            }
            at += spec.observation;
        }
    }
}
