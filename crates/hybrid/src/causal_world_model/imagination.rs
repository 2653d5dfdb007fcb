//! What a planner sees of a factored model: a batch of imagined states, some of whose variables are held from outside.

use super::model::{FactoredModel, Set};
use rand::RngExt;
use rand_distr::StandardNormal;
use rl_core::StreamRng;
use rl_core::env::Actions;
use world_models::planning::Model;

/// A factored model in a known present state, under do(·). Only the mechanisms are asked that the reward hangs on.
pub struct Imagination<'a> {
    model: &'a FactoredModel,
    set: Vec<Set>,
    present: Vec<f32>,
    /// Draw from the mechanisms, or follow their means.
    pub sample: bool,
}

/// Imagined states `[rows, D]`, and the actions as numbers.
#[derive(Debug, Default)]
pub struct Dream {
    rows: usize,
    states: Vec<f32>,
    actions: Vec<f32>,
}

impl<'a> Imagination<'a> {
    pub(super) fn new(model: &'a FactoredModel, set: &[Set]) -> Self {
        Self { model, set: set.to_vec(), present: vec![0.0; model.width()], sample: false }
    }

    /// Moves the present state on.
    pub fn observe(&mut self, state: &[f32]) {
        self.present.clear();
        self.present.extend_from_slice(state);
    }

    fn advance(
        &self,
        dream: &mut Dream,
        actions: Actions<'_>,
        rng: &mut StreamRng,
        rewards: &mut [f32],
    ) -> crate::Result<()> {
        let (d, rows) = (self.model.width(), dream.rows);
        dream.actions.clear();
        (0..rows).for_each(|i| dream.actions.extend_from_slice(actions.row(i, rows).reals()));
        let (x, a) = self.model.encode(&dream.states, &dream.actions)?;
        let mut draw = |law: &[f32]| match self.sample {
            true => law[0] + law[1] * rng.sample::<f32, _>(StandardNormal),
            false => law[0],
        };
        let (shift, scale) = self.model.units.change[d];
        let law = self.model.law(d, &x, &a)?;
        rewards.iter_mut().zip(law.chunks_exact(2)).for_each(|(r, law)| *r = shift + scale * draw(law));
        for &v in self.model.relevant() {
            if self.set.iter().any(|s| s.variable == v) {
                continue;
            }
            let (shift, scale) = self.model.units.change[v];
            let law = self.model.law(v, &x, &a)?;
            for (state, law) in dream.states.chunks_exact_mut(d).zip(law.chunks_exact(2)) {
                state[v] += shift + scale * draw(law);
            }
        }
        for s in &self.set {
            dream.states.chunks_exact_mut(d).for_each(|state| state[s.variable] = s.value);
        }
        Ok(())
    }
}

impl Model for Imagination<'_> {
    type Batch = Dream;

    fn batch(&self) -> Dream {
        Dream::default()
    }

    fn start(&self, dream: &mut Dream, rows: usize) {
        dream.rows = rows;
        dream.states.clear();
        (0..rows).for_each(|_| dream.states.extend_from_slice(&self.present));
    }

    fn step(
        &self,
        dream: &mut Dream,
        actions: Actions<'_>,
        rng: &mut StreamRng,
        rewards: &mut [f32],
        continues: &mut [f32],
    ) -> world_models::Result<()> {
        continues.fill(1.0);
        self.advance(dream, actions, rng, rewards).map_err(|error| {
            rl_core::Error::State { operation: "imagination", reason: error.to_string() }.into()
        })
    }
}
