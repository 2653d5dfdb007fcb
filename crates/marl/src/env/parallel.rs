//! PettingZoo's parallel interface over any [`MultiAgentEnv`]: it owns the generator and the buffers.

use super::{Action, AgentId, Layout, MultiAgentEnv, Outcome};
use crate::{Error, Result};
use rl_core::{SeedStream, StreamRng};

/// An environment with its generator, and the observations, masks and state of the present moment.
///
/// ```
/// use marl::env::{Action, MultiAgentEnv, Parallel, particle};
/// let env = particle::Particle::new(particle::Config::default())?; // spread, three agents
/// let mut env = Parallel::new(env);
/// env.reset(7);
/// let mut team_return = 0.0;
/// while env.agents().next().is_some() {
///     let outcome = env.step(&[Some(Action::Discrete(0)); 3])?;
///     team_return += outcome.rewards.iter().sum::<f64>();
/// }
/// assert!(team_return < 0.0);
/// # Ok::<(), marl::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Parallel<E> {
    env: E,
    rng: Option<StreamRng>,
    outcome: Outcome,
    observations: Vec<Vec<f32>>,
    masks: Vec<Vec<bool>>,
    state: Vec<f32>,
}

impl<E: MultiAgentEnv> Parallel<E> {
    /// Wraps an environment; call [`Self::reset`] before the first step.
    pub fn new(env: E) -> Self {
        let layout = env.layout();
        Self {
            rng: None,
            outcome: Outcome::new(layout.n()),
            observations: layout.agents.iter().map(|a| vec![0.0; a.observation]).collect(),
            masks: layout.agents.iter().map(|a| vec![true; a.actions.width()]).collect(),
            state: vec![0.0; layout.state],
            env,
        }
    }

    /// Starts an episode that depends on nothing but `seed`.
    pub fn reset(&mut self, seed: u64) {
        let mut rng = SeedStream::new(seed).stream("marl/env", 0);
        self.env.reset(&mut rng);
        self.rng = Some(rng);
        self.look();
    }

    /// All live agents act; see [`MultiAgentEnv::step`].
    ///
    /// # Errors
    /// [`Error::State`] before the first reset or after the end, and what the environment objects to.
    pub fn step(&mut self, actions: &[Option<Action<'_>>]) -> Result<&Outcome> {
        let over = !self.env.live().contains(&true);
        let Some(rng) = self.rng.as_mut().filter(|_| !over) else {
            return Err(Error::State { operation: "step", reason: "no agent is live: call reset".into() });
        };
        self.env.step(actions, rng, &mut self.outcome)?;
        self.look();
        Ok(&self.outcome)
    }

    /// The live agents; empty when the episode is over.
    pub fn agents(&self) -> impl Iterator<Item = AgentId> + '_ {
        self.env.live().iter().enumerate().filter(|(_, live)| **live).map(|(i, _)| AgentId(i))
    }

    /// The agents and their spaces.
    pub fn layout(&self) -> &Layout {
        self.env.layout()
    }

    /// The present observation; `None` for an agent that does not exist.
    pub fn observation(&self, agent: AgentId) -> Option<&[f32]> {
        self.observations.get(agent.0).map(Vec::as_slice)
    }

    /// Which discrete actions make sense now; `None` for an agent that does not exist.
    pub fn action_mask(&self, agent: AgentId) -> Option<&[bool]> {
        self.masks.get(agent.0).map(Vec::as_slice)
    }

    /// The global state.
    pub fn state(&self) -> &[f32] {
        &self.state
    }

    /// The environment inside.
    pub fn env(&self) -> &E {
        &self.env
    }

    fn look(&mut self) {
        for (i, (observation, mask)) in self.observations.iter_mut().zip(&mut self.masks).enumerate() {
            self.env.observe(AgentId(i), observation);
            self.env.mask(AgentId(i), mask);
        }
        self.env.state(&mut self.state);
    }
}
