//! Games in which one player moves at a time, as environments: Kuhn and Leduc poker, and any other
//! [`GameTree`].
//!
//! As an [`Aec`] the player to move is selected. As a [`MultiAgentEnv`] everyone acts in every step and the mask
//! leaves the others nothing but an additional last action, the no-op.

use super::{Action, ActionSpace, Aec, AgentId, AgentSpec, Last, Layout, MultiAgentEnv, Outcome};
use crate::games::extensive::{GameTree, Node};
use crate::{Error, Result};
use rand::{Rng, RngExt};
use rl_core::experiment::{Persist, TrainState};
use rl_core::{SeedStream, StreamRng};
use std::sync::Arc;

/// A turn-based game being played.
#[derive(Clone, Debug)]
pub struct TurnBased {
    tree: Arc<GameTree>,
    layout: Layout,
    node: usize,
    live: Vec<bool>,
}

impl TurnBased {
    /// A table for the game; reset it before the first move.
    pub fn new(name: &'static str, tree: Arc<GameTree>) -> Self {
        let agent = |i| AgentSpec {
            name: format!("player_{i}"),
            group: i,
            observation: tree.encoding_len(),
            actions: ActionSpace::Discrete(tree.actions() + 1),
        };
        let layout = Layout::new(name, &["player_0", "player_1"], (0..2).map(agent).collect());
        Self { tree, layout: Layout { masked: true, ..layout }, node: 0, live: vec![false; 2] }
    }

    /// Chance moves until a player must or the game is over.
    fn deal(&mut self, rng: &mut dyn Rng) {
        while let Node::Chance { outcomes } = self.tree.node(self.node) {
            let mut left = rng.random::<f64>();
            let drawn = outcomes.iter().find(|(p, _)| {
                left -= p;
                left < 0.0
            });
            match drawn.or(outcomes.last()) {
                Some(&(_, child)) => self.node = child,
                None => return,
            }
        }
    }

    fn turn(&self) -> Option<usize> {
        match self.tree.node(self.node) {
            Node::Decision { player, .. } if self.live[0] => Some(*player),
            _ => None,
        }
    }

    fn child(&self, action: usize) -> Option<usize> {
        match self.tree.node(self.node) {
            Node::Decision { children, .. } => {
                children.iter().find(|(a, _)| *a == action).map(|(_, child)| *child)
            }
            _ => None,
        }
    }

    fn play(&mut self, player: usize, action: usize, rng: &mut dyn Rng, outcome: &mut Outcome) -> Result<()> {
        let Some(child) = self.child(action) else {
            return Err(Error::Action {
                env: self.layout.name,
                agent: self.layout.agents[player].name.clone(),
                action: action.to_string(),
                space: "the legal actions of the mask".into(),
            });
        };
        self.node = child;
        self.deal(rng);
        outcome.restart(2);
        if let Node::End { returns } = self.tree.node(self.node) {
            outcome.rewards.copy_from_slice(returns);
            outcome.terminated.fill(true);
            self.live.fill(false);
        }
        Ok(())
    }
}

impl MultiAgentEnv for TurnBased {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn reset(&mut self, rng: &mut dyn Rng) {
        self.node = 0;
        self.live.fill(true);
        self.deal(rng);
    }

    fn step(
        &mut self,
        actions: &[Option<Action<'_>>],
        rng: &mut dyn Rng,
        outcome: &mut Outcome,
    ) -> Result<()> {
        self.layout.check(&self.live, actions)?;
        let Some(player) = self.turn() else {
            return Err(Error::State { operation: "step", reason: "the game is over: call reset".into() });
        };
        let noop = self.tree.actions();
        if actions[1 - player] != Some(Action::Discrete(noop)) {
            return Err(Error::Agent {
                env: self.layout.name,
                agent: self.layout.agents[1 - player].name.clone(),
                problem: "is not to move: its only action is the last one, the no-op",
            });
        }
        match actions[player] {
            Some(Action::Discrete(a)) => self.play(player, a, rng, outcome),
            _ => Ok(()),
        }
    }

    fn live(&self) -> &[bool] {
        &self.live
    }

    fn observe(&self, agent: AgentId, into: &mut [f32]) {
        let encoding = self.tree.encoding(self.node, agent.0);
        into.iter_mut().zip(encoding).for_each(|(out, x)| *out = *x);
    }

    fn mask(&self, agent: AgentId, into: &mut [bool]) {
        let turn = self.turn() == Some(agent.0);
        let noop = self.tree.actions();
        into.iter_mut()
            .enumerate()
            .for_each(|(a, m)| *m = if turn { self.child(a).is_some() } else { a == noop });
    }
}

impl Persist for TurnBased {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        state.put(format!("{prefix}/state"), &(&self.node, &self.live))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        (self.node, self.live) = state.get(&format!("{prefix}/state"))?;
        Ok(())
    }
}

/// The same game, one call per player.
#[derive(Clone, Debug)]
pub struct TurnBasedAec {
    table: TurnBased,
    rng: Option<StreamRng>,
    outcome: Outcome,
    cumulative: [f64; 2],
    observations: Vec<Vec<f32>>,
    masks: Vec<Vec<bool>>,
    /// Players who have still to take note of the end.
    leaving: usize,
}

impl TurnBasedAec {
    /// A table for the game; reset it before the first move.
    pub fn new(name: &'static str, tree: Arc<GameTree>) -> Self {
        let (d, a) = (tree.encoding_len(), tree.actions() + 1);
        Self {
            table: TurnBased::new(name, tree),
            rng: None,
            outcome: Outcome::new(2),
            cumulative: [0.0; 2],
            observations: vec![vec![0.0; d]; 2],
            masks: vec![vec![false; a]; 2],
            leaving: 0,
        }
    }

    fn look(&mut self) {
        for i in 0..2 {
            self.table.observe(AgentId(i), &mut self.observations[i]);
            self.table.mask(AgentId(i), &mut self.masks[i]);
        }
    }
}

impl Aec for TurnBasedAec {
    fn layout(&self) -> &Layout {
        &self.table.layout
    }

    fn reset(&mut self, seed: u64) {
        let mut rng = SeedStream::new(seed).stream("marl/env", 0);
        self.table.reset(&mut rng);
        self.rng = Some(rng);
        self.cumulative = [0.0; 2];
        self.leaving = 0;
        self.look();
    }

    fn agent_selection(&self) -> Option<AgentId> {
        match self.leaving {
            0 => self.table.turn().map(AgentId),
            n => Some(AgentId(2 - n)),
        }
    }

    fn last(&self) -> Result<Last<'_>> {
        let reason = || "no player is selected: call reset".to_string();
        let agent =
            self.agent_selection().ok_or_else(|| Error::State { operation: "aec", reason: reason() })?;
        Ok(Last {
            observation: &self.observations[agent.0],
            mask: &self.masks[agent.0],
            reward: self.cumulative[agent.0],
            terminated: self.leaving > 0,
            truncated: false,
        })
    }

    fn step(&mut self, action: Option<Action<'_>>) -> Result<()> {
        let (Some(agent), Some(rng)) = (self.agent_selection(), self.rng.as_mut()) else {
            return Err(Error::State {
                operation: "aec",
                reason: "no player is selected: call reset".into(),
            });
        };
        let problem = |problem| Err(Error::Agent { env: "turn_based", agent: agent.0.to_string(), problem });
        match action {
            None if self.leaving > 0 => {
                self.leaving -= 1;
                return Ok(());
            }
            Some(Action::Discrete(a)) if self.leaving == 0 => {
                self.table.play(agent.0, a, rng, &mut self.outcome)?
            }
            None => return problem("is live and needs an action"),
            Some(_) => return problem("is done, or its action is not discrete"),
        }
        self.cumulative[agent.0] = 0.0;
        self.cumulative.iter_mut().zip(&self.outcome.rewards).for_each(|(sum, r)| *sum += r);
        if self.outcome.terminated[0] {
            self.leaving = 2;
        }
        self.look();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::poker::Kuhn;

    #[test]
    fn kuhn_can_be_played_both_ways() {
        let tree = Arc::new(GameTree::build(&Kuhn).unwrap());
        let mut aec = TurnBasedAec::new("kuhn", Arc::clone(&tree));
        aec.reset(3);
        let mut moves = 0;
        let mut sum = 0.0;
        while aec.agent_selection().is_some() {
            let last = aec.last().unwrap();
            if last.terminated {
                sum += last.reward;
                aec.step(None).unwrap();
            } else {
                assert!(last.mask[0] && !last.mask[2]);
                aec.step(Some(Action::Discrete(0))).unwrap();
                moves += 1;
            }
        }
        assert_eq!((moves, sum), (2, 0.0)); // pass, pass: the higher card wins the antes
        let mut env = super::super::Parallel::new(TurnBased::new("kuhn", tree));
        env.reset(3);
        assert!(env.step(&[Some(Action::Discrete(0)); 2]).is_err());
        env.step(&[Some(Action::Discrete(0)), Some(Action::Discrete(2))]).unwrap();
        let outcome = env.step(&[Some(Action::Discrete(2)), Some(Action::Discrete(0))]).unwrap();
        assert_eq!(outcome.rewards.iter().sum::<f64>(), 0.0);
        assert_eq!(outcome.rewards[0].abs(), 1.0);
    }
}
