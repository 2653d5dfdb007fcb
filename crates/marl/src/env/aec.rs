//! PettingZoo's agent-environment cycle: one agent per call (Terry et al. 2021, section 3).
//!
//! Rewards pile up for an agent between its turns. A dead agent has one last turn, in which it sees its final
//! reward and passes `None`; dead agents come before the living.

use super::{Action, AgentId, Layout, MultiAgentEnv, Parallel};
use crate::{Error, Result};
use std::collections::VecDeque;

/// What the selected agent is told before it acts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Last<'a> {
    /// Its observation.
    pub observation: &'a [f32],
    /// Which discrete actions make sense.
    pub mask: &'a [bool],
    /// The rewards since its previous turn, summed.
    pub reward: f64,
    /// It reached an end: it must pass `None`.
    pub terminated: bool,
    /// The episode was cut: it must pass `None`.
    pub truncated: bool,
}

/// An environment in which one agent acts at a time.
pub trait Aec {
    /// The agents and their spaces.
    fn layout(&self) -> &Layout;

    /// Starts an episode that depends on nothing but `seed`.
    fn reset(&mut self, seed: u64);

    /// Whose turn it is; `None` when the episode is over.
    fn agent_selection(&self) -> Option<AgentId>;

    /// What the selected agent sees.
    ///
    /// # Errors
    /// [`Error::State`] when no agent is selected.
    fn last(&self) -> Result<Last<'_>>;

    /// The selected agent acts; `None` exactly when it is done.
    ///
    /// # Errors
    /// [`Error::State`], [`Error::Agent`] or [`Error::Action`].
    fn step(&mut self, action: Option<Action<'_>>) -> Result<()>;
}

/// A simultaneous game played one agent at a time: actions are collected until all live agents have chosen.
#[derive(Clone, Debug)]
pub struct SimultaneousAec<E> {
    parallel: Parallel<E>,
    /// Who has a turn before the next step of the world.
    queue: VecDeque<AgentId>,
    cumulative: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    discrete: Vec<usize>,
    continuous: Vec<Vec<f32>>,
}

impl<E: MultiAgentEnv> SimultaneousAec<E> {
    /// Wraps an environment; call `reset` before the first step.
    pub fn new(env: E) -> Self {
        let n = env.layout().n();
        Self {
            parallel: Parallel::new(env),
            queue: VecDeque::with_capacity(2 * n),
            cumulative: vec![0.0; n],
            terminated: vec![false; n],
            truncated: vec![false; n],
            discrete: vec![0; n],
            continuous: vec![Vec::new(); n],
        }
    }

    fn selected(&self) -> Result<AgentId> {
        let reason = || "no agent is selected: call reset".to_string();
        self.agent_selection().ok_or_else(|| Error::State { operation: "aec", reason: reason() })
    }

    fn done(&self, agent: AgentId) -> bool {
        self.terminated[agent.0] || self.truncated[agent.0]
    }

    /// All live agents have chosen: the world moves on.
    fn advance(&mut self) -> Result<()> {
        let was_live: Vec<AgentId> = self.parallel.agents().collect();
        let mut actions = vec![None; self.parallel.layout().n()];
        for id in &was_live {
            let discrete =
                matches!(self.parallel.layout().agents[id.0].actions, super::ActionSpace::Discrete(_));
            actions[id.0] = Some(match discrete {
                true => Action::Discrete(self.discrete[id.0]),
                false => Action::Continuous(&self.continuous[id.0]),
            });
        }
        let outcome = self.parallel.step(&actions)?;
        for id in was_live {
            self.cumulative[id.0] += outcome.rewards[id.0];
            self.terminated[id.0] = outcome.terminated[id.0];
            self.truncated[id.0] = outcome.truncated[id.0];
            if self.terminated[id.0] || self.truncated[id.0] {
                self.queue.push_back(id);
            }
        }
        self.queue.extend(self.parallel.agents());
        Ok(())
    }
}

impl<E: MultiAgentEnv> Aec for SimultaneousAec<E> {
    fn layout(&self) -> &Layout {
        self.parallel.layout()
    }

    fn reset(&mut self, seed: u64) {
        self.parallel.reset(seed);
        self.cumulative.fill(0.0);
        self.terminated.fill(false);
        self.truncated.fill(false);
        self.queue.clear();
        self.queue.extend(self.parallel.agents());
    }

    fn agent_selection(&self) -> Option<AgentId> {
        self.queue.front().copied()
    }

    fn last(&self) -> Result<Last<'_>> {
        let agent = self.selected()?;
        Ok(Last {
            observation: self.parallel.observation(agent).unwrap_or_default(),
            mask: self.parallel.action_mask(agent).unwrap_or_default(),
            reward: self.cumulative[agent.0],
            terminated: self.terminated[agent.0],
            truncated: self.truncated[agent.0],
        })
    }

    fn step(&mut self, action: Option<Action<'_>>) -> Result<()> {
        let agent = self.selected()?;
        let done = self.done(agent);
        // One agent is checked against the layout as if it were the only live one.
        let mut live = vec![false; self.layout().n()];
        let mut actions = vec![None; live.len()];
        (live[agent.0], actions[agent.0]) = (!done, action);
        self.layout().check(&live, &actions)?;
        self.queue.pop_front();
        self.cumulative[agent.0] = 0.0;
        match action {
            Some(Action::Discrete(a)) => self.discrete[agent.0] = a,
            Some(Action::Continuous(v)) => {
                self.continuous[agent.0].clear();
                self.continuous[agent.0].extend_from_slice(v);
            }
            None => {}
        }
        match self.queue.is_empty() && !done {
            true => self.advance(),
            false => Ok(()),
        }
    }
}
