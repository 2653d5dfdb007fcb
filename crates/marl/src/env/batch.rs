//! Thousands of copies stepped together, in structure-of-arrays form.
//!
//! Every quantity of an agent is one array over the copies: observations `[B, D]`, rewards `[B]`, and so on, in
//! the shape a network takes. A copy whose agents are all done starts anew within the same step; its last
//! observation is kept apart. Each copy draws from its own stream, so the copies of a batch do what they would do
//! alone.

use super::{Action, ActionSpace, AgentId, AgentSpec, Layout, MultiAgentEnv, Outcome};
use crate::{Error, Result};
use rl_core::experiment::{Persist, TrainState};
use rl_core::{SeedStream, StreamRng};

/// The joint actions of `B` copies.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchActions {
    /// Per agent `[B]`: the discrete actions (empty for agents with continuous ones).
    pub discrete: Vec<Vec<u32>>,
    /// Per agent `[B, dim]`: the continuous actions (empty for agents with discrete ones).
    pub continuous: Vec<Vec<f32>>,
}

impl BatchActions {
    /// Zero actions for `copies` copies.
    pub fn new(layout: &Layout, copies: usize) -> Self {
        let width = |space: ActionSpace| match space {
            ActionSpace::Discrete(_) => (copies, 0),
            ActionSpace::Continuous { dim, .. } => (0, copies * dim),
        };
        Self {
            discrete: layout.agents.iter().map(|a| vec![0; width(a.actions).0]).collect(),
            continuous: layout.agents.iter().map(|a| vec![0.0; width(a.actions).1]).collect(),
        }
    }

    /// The action of one agent in one copy; `None` when there is none.
    pub fn get(&self, layout: &Layout, agent: AgentId, copy: usize) -> Option<Action<'_>> {
        match layout.agents.get(agent.0)?.actions {
            ActionSpace::Discrete(_) => {
                self.discrete.get(agent.0)?.get(copy).map(|&a| Action::Discrete(a as usize))
            }
            ActionSpace::Continuous { dim, .. } => {
                self.continuous.get(agent.0)?.get(copy * dim..(copy + 1) * dim).map(Action::Continuous)
            }
        }
    }

    /// Checks the sizes and that every number is finite and every index inside its space.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Action`].
    pub fn check(&self, layout: &Layout, copies: usize) -> Result<()> {
        for (i, spec) in layout.agents.iter().enumerate() {
            let (discrete, continuous) = (self.discrete.get(i), self.continuous.get(i));
            let (len, fits) = match spec.actions {
                ActionSpace::Discrete(n) => (
                    discrete.map_or(0, Vec::len) == copies,
                    discrete.is_some_and(|a| a.iter().all(|&a| (a as usize) < n)),
                ),
                ActionSpace::Continuous { dim, .. } => (
                    continuous.map_or(0, Vec::len) == copies * dim,
                    continuous.is_some_and(|a| a.iter().all(|x| x.is_finite())),
                ),
            };
            if !len {
                return Err(Error::shape(
                    "batch step",
                    format!("{copies} actions of {}", spec.name),
                    "another number",
                ));
            }
            if !fits {
                return Err(Error::Action {
                    env: layout.name,
                    agent: spec.name.clone(),
                    action: "in the batch".into(),
                    space: format!("{:?}", spec.actions),
                });
            }
        }
        Ok(())
    }
}

/// What a batched step brings; per agent, over the copies.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStep {
    /// Per agent `[B, D]`: the observation to act on next (after an automatic reset, of the new episode).
    pub observations: Vec<Vec<f32>>,
    /// Per agent `[B, D]`: the observation that ended the episode, where `reset` is set; older numbers elsewhere.
    pub final_observations: Vec<Vec<f32>>,
    /// Per agent `[B]`.
    pub rewards: Vec<Vec<f64>>,
    /// Per agent `[B]`.
    pub terminated: Vec<Vec<bool>>,
    /// Per agent `[B]`.
    pub truncated: Vec<Vec<bool>>,
    /// Per agent `[B]`: whether it acts in the next step.
    pub live: Vec<Vec<bool>>,
    /// Per agent `[B, A]`: which discrete actions are available next; empty unless [`Layout::masked`].
    pub masks: Vec<Vec<bool>>,
    /// `[B]`: the copy's episode ended in this step and a new one began.
    pub reset: Vec<bool>,
}

impl BatchStep {
    /// Buffers for `copies` copies.
    pub fn new(layout: &Layout, copies: usize) -> Self {
        let n = layout.n();
        let rows = || layout.agents.iter().map(|a| vec![0.0; copies * a.observation]).collect::<Vec<_>>();
        let mask = |a: &AgentSpec| match a.actions {
            ActionSpace::Discrete(width) if layout.masked => vec![true; copies * width],
            _ => Vec::new(),
        };
        Self {
            masks: layout.agents.iter().map(mask).collect(),
            observations: rows(),
            final_observations: rows(),
            rewards: vec![vec![0.0; copies]; n],
            terminated: vec![vec![false; copies]; n],
            truncated: vec![vec![false; copies]; n],
            live: vec![vec![true; copies]; n],
            reset: vec![false; copies],
        }
    }

    pub(crate) fn check(&self, layout: &Layout, copies: usize) -> Result<()> {
        let sized = self.reset.len() == copies
            && self.observations.len() == layout.n()
            && self.masks.len() == layout.n()
            && self.observations.iter().zip(&layout.agents).all(|(o, a)| o.len() == copies * a.observation);
        match sized {
            true => Ok(()),
            false => {
                Err(Error::shape("batch step", format!("buffers for {copies} copies"), self.reset.len()))
            }
        }
    }
}

impl Persist for BatchStep {
    /// What the next step is made from: observations, masks, who lives, where an episode has just begun.
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        for (i, row) in self.observations.iter().enumerate() {
            state.put_array(format!("{prefix}/observations{i}"), &[row.len()], row);
        }
        state.put(format!("{prefix}/flags"), &(&self.masks, &self.live, &self.reset))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        for (i, row) in self.observations.iter_mut().enumerate() {
            let width = row.len();
            row.copy_from_slice(state.array(&format!("{prefix}/observations{i}"), &[width])?);
        }
        (self.masks, self.live, self.reset) = state.get(&format!("{prefix}/flags"))?;
        Ok(())
    }
}

/// Many copies of one environment.
pub trait Batch {
    /// The agents and their spaces, the same in every copy.
    fn layout(&self) -> &Layout;

    /// Number of copies `B`.
    fn copies(&self) -> usize;

    /// Starts all copies, copy `b` from stream `("marl/env", b)`, and writes the first observations.
    ///
    /// # Errors
    /// [`Error::Shape`] when the buffers have another size.
    fn reset(&mut self, seeds: &SeedStream, step: &mut BatchStep) -> Result<()>;

    /// Steps all copies. The actions of dead agents are ignored.
    ///
    /// # Errors
    /// What [`BatchActions::check`] finds, and [`Error::State`] before the first reset.
    fn step(&mut self, actions: &BatchActions, step: &mut BatchStep) -> Result<()>;
}

/// The generic batch: copies of any environment, stepped in a loop.
#[derive(Clone, Debug)]
pub struct Copies<E> {
    envs: Vec<E>,
    rngs: Vec<StreamRng>,
    outcome: Outcome,
}

impl<E: MultiAgentEnv + Clone> Copies<E> {
    /// `copies` copies of an environment (at least one).
    pub fn new(env: E, copies: usize) -> Self {
        let outcome = Outcome::new(env.layout().n());
        Self { envs: vec![env; copies.max(1)], rngs: Vec::new(), outcome }
    }

    /// The copies.
    pub fn envs(&self) -> &[E] {
        &self.envs
    }

    fn look(env: &E, copy: usize, rows: &mut [Vec<f32>]) {
        for (i, (rows, spec)) in rows.iter_mut().zip(&env.layout().agents).enumerate() {
            let d = spec.observation;
            env.observe(AgentId(i), &mut rows[copy * d..(copy + 1) * d]);
        }
    }

    /// What a copy's agents act on next.
    fn present(env: &E, copy: usize, step: &mut BatchStep) {
        Self::look(env, copy, &mut step.observations);
        step.live.iter_mut().zip(env.live()).for_each(|(row, &live)| row[copy] = live);
        for (i, (mask, spec)) in step.masks.iter_mut().zip(&env.layout().agents).enumerate() {
            let width = spec.actions.width();
            if let Some(mask) = mask.get_mut(copy * width..(copy + 1) * width) {
                env.mask(AgentId(i), mask);
            }
        }
    }
}

impl<E: MultiAgentEnv + Clone> Batch for Copies<E> {
    fn layout(&self) -> &Layout {
        self.envs[0].layout()
    }

    fn copies(&self) -> usize {
        self.envs.len()
    }

    fn reset(&mut self, seeds: &SeedStream, step: &mut BatchStep) -> Result<()> {
        step.check(self.layout(), self.envs.len())?;
        self.rngs = (0..self.envs.len()).map(|b| seeds.stream("marl/env", b as u64)).collect();
        for (b, (env, rng)) in self.envs.iter_mut().zip(&mut self.rngs).enumerate() {
            env.reset(rng);
            Self::present(env, b, step);
        }
        step.reset.fill(false);
        Ok(())
    }

    fn step(&mut self, actions: &BatchActions, step: &mut BatchStep) -> Result<()> {
        actions.check(self.layout(), self.envs.len())?;
        step.check(self.layout(), self.envs.len())?;
        if self.rngs.is_empty() {
            return Err(Error::State { operation: "batch step", reason: "call reset first".into() });
        }
        const MOST: usize = 64;
        let n = self.layout().n();
        if n > MOST {
            return Err(Error::shape("batch step", format!("at most {MOST} agents"), n));
        }
        let mut joint = [None; MOST];
        for (b, (env, rng)) in self.envs.iter_mut().zip(&mut self.rngs).enumerate() {
            for (i, slot) in joint[..n].iter_mut().enumerate() {
                *slot = if env.live()[i] { actions.get(env.layout(), AgentId(i), b) } else { None };
            }
            env.step(&joint[..n], rng, &mut self.outcome)?;
            for i in 0..n {
                step.rewards[i][b] = self.outcome.rewards[i];
                step.terminated[i][b] = self.outcome.terminated[i];
                step.truncated[i][b] = self.outcome.truncated[i];
            }
            step.reset[b] = !env.live().contains(&true);
            if step.reset[b] {
                Self::look(env, b, &mut step.final_observations);
                env.reset(rng);
            }
            Self::present(env, b, step);
        }
        Ok(())
    }
}

impl<E: Persist> Persist for Copies<E> {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.envs.iter().enumerate().try_for_each(|(b, env)| env.save(&format!("{prefix}/{b}"), state))?;
        state.put(format!("{prefix}/rngs"), &self.rngs)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.envs
            .iter_mut()
            .enumerate()
            .try_for_each(|(b, env)| env.load(&format!("{prefix}/{b}"), state))?;
        self.rngs = state.get(&format!("{prefix}/rngs"))?;
        Ok(())
    }
}
