//! Thousands of particle worlds in blocks of eight lanes: structure of arrays inside a block, so that the
//! arithmetic vectorises and a block stays in the first-level cache.

use super::row::Row;
use super::world::World;
use super::{Config, Rules};
use crate::env::{ActionSpace, Batch, BatchActions, BatchStep, Layout};
use crate::{Error, Result};
use rl_core::experiment::{Persist, TrainState};
use rl_core::{SeedStream, StreamRng};

/// Lanes of a block.
const LANES: usize = 8;

/// A batch of particle worlds. Copy `b` does, bit for bit, what a [`super::Particle`] with the same generator does.
#[derive(Clone, Debug)]
pub struct ParticleBatch {
    rules: Rules,
    copies: usize,
    blocks: Vec<World<LANES>>,
    t: usize,
    rngs: Vec<StreamRng>,
}

impl ParticleBatch {
    /// `copies` worlds (at least one).
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: Config, copies: usize) -> Result<Self> {
        let rules = Rules::new(config)?;
        let copies = copies.max(1);
        let blocks = vec![World::new(&rules.cast); copies.div_ceil(LANES)];
        Ok(Self { rules, copies, blocks, t: 0, rngs: Vec::new() })
    }

    /// Position of a body in one copy, agents first; `None` outside.
    pub fn position(&self, copy: usize, body: usize) -> Option<[f64; 2]> {
        let world = self.blocks.get(copy / LANES)?;
        world.pos.get(body).map(|[x, y]| [x[copy % LANES], y[copy % LANES]])
    }

    fn draw(&mut self) {
        for (b, rng) in self.rngs.iter_mut().enumerate() {
            self.rules.reset(&mut self.blocks[b / LANES], b % LANES, rng);
        }
    }

    fn act(&mut self, actions: &BatchActions) {
        for (i, spec) in self.rules.layout.agents.iter().enumerate() {
            match spec.actions {
                ActionSpace::Discrete(_) => {
                    for (b, &a) in actions.discrete[i].iter().enumerate() {
                        self.rules.choose(&mut self.blocks[b / LANES], b % LANES, i, a as usize);
                    }
                }
                ActionSpace::Continuous { dim, .. } => {
                    for (b, a) in actions.continuous[i].chunks_exact(dim.max(1)).enumerate() {
                        self.rules.steer(&mut self.blocks[b / LANES], b % LANES, i, a);
                    }
                }
            }
        }
    }

    fn look(&self, rows: &mut [Vec<f32>]) {
        for (i, (rows, spec)) in rows.iter_mut().zip(&self.rules.layout.agents).enumerate() {
            for (world, block) in self.blocks.iter().zip(rows.chunks_mut(LANES * spec.observation)) {
                self.rules.observe(world, i, &mut Row::<f32, LANES>::new(block, spec.observation));
            }
        }
    }
}

impl Batch for ParticleBatch {
    fn layout(&self) -> &Layout {
        &self.rules.layout
    }

    fn copies(&self) -> usize {
        self.copies
    }

    fn reset(&mut self, seeds: &SeedStream, step: &mut BatchStep) -> Result<()> {
        step.check(&self.rules.layout, self.copies)?;
        self.rngs = (0..self.copies).map(|b| seeds.stream("marl/env", b as u64)).collect();
        self.t = 0;
        self.draw();
        self.look(&mut step.observations);
        step.live.iter_mut().for_each(|row| row.fill(true));
        step.reset.fill(false);
        Ok(())
    }

    fn step(&mut self, actions: &BatchActions, step: &mut BatchStep) -> Result<()> {
        actions.check(&self.rules.layout, self.copies)?;
        step.check(&self.rules.layout, self.copies)?;
        if self.rngs.is_empty() {
            return Err(Error::State { operation: "batch step", reason: "call reset first".into() });
        }
        self.act(actions);
        for (block, world) in self.blocks.iter_mut().enumerate() {
            self.rules.advance(world);
            for (rewards, row) in world.rewards.iter().zip(&mut step.rewards) {
                let row = &mut row[block * LANES..];
                row.iter_mut().zip(rewards).for_each(|(out, &r)| *out = r);
            }
        }
        // All copies started together and last equally long: they end together.
        self.t += 1;
        let over = self.t >= self.rules.config.max_cycles;
        step.truncated.iter_mut().for_each(|row| row.fill(over));
        step.terminated.iter_mut().for_each(|row| row.fill(false));
        step.live.iter_mut().for_each(|row| row.fill(true));
        step.reset.fill(over);
        if over {
            self.look(&mut step.final_observations);
            self.t = 0;
            self.draw();
        }
        self.look(&mut step.observations);
        Ok(())
    }
}

impl Persist for ParticleBatch {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        self.blocks.iter().enumerate().try_for_each(|(k, w)| w.save(&format!("{prefix}/{k}"), state))?;
        state.put(format!("{prefix}/clock"), &(self.t, &self.rngs))
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        self.blocks.iter_mut().enumerate().try_for_each(|(k, w)| w.load(&format!("{prefix}/{k}"), state))?;
        (self.t, self.rngs) = state.get(&format!("{prefix}/clock"))?;
        Ok(())
    }
}
