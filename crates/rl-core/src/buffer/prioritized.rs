//! Prioritised replay, proportional variant (Schaul et al. 2016).
//!
//! P(i) = p_i^α / Σ p^α with p = |δ| + ε; a new transition gets the largest priority so far, so that it is seen at
//! least once with good odds. The bias is undone by importance weights w_i = (N P(i))^−β / max w.

use super::replay::{ReplayBuffer, ReplayConfig, Transition, TransitionBatch};
use super::sum_tree::SumTree;
use crate::experiment::{Element, Persist, TrainState};
use crate::schedule::Schedule;
use crate::{Error, Result};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// What importance weights are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightReference {
    /// The largest weight that any transition in the buffer would get (the paper).
    Buffer,
    /// The largest weight in the batch (several implementations): the scale of the loss stays the same.
    Batch,
}

/// Settings of [`PrioritizedReplay`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrioritizedConfig {
    /// α, how much priorities count; 0 is uniform. Schaul et al. 2016, proportional variant: 0.6.
    pub alpha: f64,
    /// β, how much of the bias is corrected, by learning step. Schaul et al. 2016: 0.4 to 1 by the end of training.
    pub beta: Schedule,
    /// ε, added to |δ| so that no transition is lost for ever: 1e-6.
    pub epsilon: f64,
    /// What the weights are divided by.
    pub reference: WeightReference,
}

impl Default for PrioritizedConfig {
    fn default() -> Self {
        let beta = Schedule::Linear { start: 0.4, end: 1.0, steps: 100_000 };
        Self { alpha: 0.6, beta, epsilon: 1e-6, reference: WeightReference::Buffer }
    }
}

impl PrioritizedConfig {
    /// Refuses values outside their ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("alpha", self.alpha), ("epsilon", self.epsilon)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::config("prioritized", field, value, "finite and at least 0"));
            }
        }
        self.beta.validate()
    }
}

/// w_i = (N P(i))^−β, divided by `reference` if given and by their maximum otherwise.
///
/// Schaul et al. 2016, section 3.4. `probabilities` are P(i) of the sampled transitions, `len` is N.
pub fn importance_weights(
    probabilities: &[f64],
    len: usize,
    beta: f64,
    reference: Option<f64>,
) -> impl Iterator<Item = f64> {
    let weight = move |p: &f64| (len as f64 * p).powf(-beta);
    let scale = reference.unwrap_or_else(|| probabilities.iter().map(weight).fold(0.0, f64::max));
    probabilities.iter().map(move |p| weight(p) / scale)
}

/// A batch with its importance weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrioritizedBatch<O> {
    /// The transitions.
    pub transitions: TransitionBatch<O>,
    /// w, `[B]`: multiply each transition's loss by it.
    pub weights: Vec<f32>,
    probabilities: Vec<f64>,
}

/// A replay buffer that prefers surprising transitions.
#[derive(Clone, Debug)]
pub struct PrioritizedReplay<O = f32> {
    replay: ReplayBuffer<O>,
    config: PrioritizedConfig,
    tree: SumTree,
    max_priority: f64,
}

impl<O: Element + Default + PartialEq> PrioritizedReplay<O> {
    /// An empty buffer.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is outside its range.
    pub fn new(sizes: ReplayConfig, config: PrioritizedConfig) -> Result<Self> {
        config.validate()?;
        let replay = ReplayBuffer::new(sizes)?;
        Ok(Self { replay, config, tree: SumTree::new(sizes.capacity), max_priority: 1.0 })
    }

    /// The transitions.
    pub fn replay(&self) -> &ReplayBuffer<O> {
        &self.replay
    }

    /// P(i) of a slot.
    pub fn probability(&self, slot: usize) -> f64 {
        self.tree.get(slot) / self.tree.total()
    }

    /// Stores a transition with the largest priority so far and returns its slot.
    ///
    /// # Errors
    /// As [`ReplayBuffer::push`].
    pub fn push(&mut self, stream: usize, transition: &Transition<'_, O>) -> Result<usize> {
        let slot = self.replay.push(stream, transition)?;
        self.tree.set(slot, self.max_priority.powf(self.config.alpha))?;
        Ok(slot)
    }

    /// Draws `size` transitions by stratified sampling: one from each of `size` equal parts of the priority mass.
    /// `step` is the learning step that β is taken at.
    ///
    /// # Errors
    /// [`Error::State`] if the buffer is empty.
    pub fn sample(
        &self,
        size: usize,
        step: u64,
        rng: &mut impl Rng,
        batch: &mut PrioritizedBatch<O>,
    ) -> Result<()> {
        let total = self.tree.total();
        let indices = &mut batch.transitions.indices;
        indices.clear();
        batch.probabilities.clear();
        for stratum in 0..size {
            let mass = total * (stratum as f64 + rng.random::<f64>()) / size as f64;
            let slot = self.tree.prefix(mass).ok_or_else(|| Error::State {
                operation: "prioritized sample",
                reason: "the buffer is empty: push transitions first".into(),
            })?;
            indices.push(slot);
            batch.probabilities.push(self.tree.get(slot) / total);
        }
        let (len, beta) = (self.replay.len(), self.config.beta.at(step));
        let reference = match self.config.reference {
            WeightReference::Batch => None,
            WeightReference::Buffer => Some((len as f64 * self.tree.min_positive() / total).powf(-beta)),
        };
        batch.weights.clear();
        batch
            .weights
            .extend(importance_weights(&batch.probabilities, len, beta, reference).map(|w| w as f32));
        self.replay.gather(&mut batch.transitions)
    }

    /// Sets the priorities of sampled transitions to |δ| + ε.
    ///
    /// # Errors
    /// [`Error::Shape`] if the lengths differ or an index is outside, [`Error::NotFinite`] for an error that is not
    /// finite.
    pub fn update(&mut self, indices: &[usize], td_errors: &[f32]) -> Result<()> {
        if indices.len() != td_errors.len() {
            return Err(Error::shape("prioritized update", indices.len(), td_errors.len()));
        }
        for (&slot, &error) in indices.iter().zip(td_errors) {
            if slot >= self.replay.len() {
                let expected = format!("indices below {}", self.replay.len());
                return Err(Error::shape("prioritized update", expected, slot));
            }
            let priority = f64::from(error).abs() + self.config.epsilon;
            self.tree.set(slot, priority.powf(self.config.alpha))?;
            self.max_priority = self.max_priority.max(priority);
        }
        Ok(())
    }
}

impl<O: Element + Default + PartialEq> Persist for PrioritizedReplay<O> {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        self.replay.save(prefix, state)?;
        let weights = &self.tree.weights()[..self.replay.len()];
        state.put_array(format!("{prefix}/priorities"), &[weights.len()], weights);
        state.put_array(format!("{prefix}/max_priority"), &[1], &[self.max_priority]);
        Ok(())
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        self.replay.load(prefix, state)?;
        let weights = state.array::<f64>(&format!("{prefix}/priorities"), &[self.replay.len()])?;
        self.tree = SumTree::new(self.tree.len());
        for (slot, &weight) in weights.iter().enumerate() {
            self.tree.set(slot, weight)?;
        }
        self.max_priority = state.array(&format!("{prefix}/max_priority"), &[1])?[0];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;

    fn filled(reference: WeightReference) -> PrioritizedReplay {
        let sizes = ReplayConfig { capacity: 8, streams: 1, observation: 1, action: 1, share_next: true };
        let config = PrioritizedConfig { reference, ..PrioritizedConfig::default() };
        let mut buffer = PrioritizedReplay::new(sizes, config).unwrap();
        for t in 0..11 {
            push(&mut buffer, t);
        }
        buffer.update(&[0, 1, 2, 3], &[0.5, -2.0, 0.0, 4.0]).unwrap();
        buffer
    }

    fn push(buffer: &mut PrioritizedReplay, t: u32) {
        let (now, next) = ([t as f32], [t as f32 + 1.0]);
        let transition = Transition {
            observation: &now,
            action: &[0.0],
            reward: 1.0,
            next_observation: &next,
            terminated: false,
            truncated: false,
            discount: 0.99,
        };
        buffer.push(0, &transition).unwrap();
    }

    #[test]
    fn slots_are_drawn_by_probability_and_weighted_by_its_inverse() {
        for reference in [WeightReference::Buffer, WeightReference::Batch] {
            let buffer = filled(reference);
            let mut rng = SeedStream::new(4).stream("replay", 0);
            let mut batch = PrioritizedBatch::default();
            let mut counts = [0.0; 8];
            for _ in 0..2000 {
                buffer.sample(8, 0, &mut rng, &mut batch).unwrap();
                batch.transitions.indices.iter().for_each(|&slot| counts[slot] += 1.0);
                let largest = batch.weights.iter().copied().fold(0.0, f32::max);
                match reference {
                    WeightReference::Batch => assert_eq!(largest, 1.0),
                    WeightReference::Buffer => assert!(largest <= 1.0),
                }
            }
            for (slot, count) in counts.iter().enumerate() {
                let expected = 16_000.0 * buffer.probability(slot);
                assert!((count - expected).abs() < 5.0 * expected.sqrt() + 1.0, "{slot}: {count} {expected}");
            }
        }
    }

    #[test]
    fn new_transitions_get_the_largest_priority() {
        let mut buffer = filled(WeightReference::Buffer);
        push(&mut buffer, 11);
        let largest = (0..8).map(|slot| buffer.probability(slot)).fold(0.0, f64::max);
        assert_eq!(buffer.probability(3), largest);
        assert!(buffer.update(&[0], &[f32::NAN]).is_err() && buffer.update(&[8], &[1.0]).is_err());
    }

    #[test]
    fn saved_and_loaded_the_next_hundred_samples_are_equal() {
        let mut original = filled(WeightReference::Buffer);
        let mut state = TrainState::default();
        original.save("per", &mut state).unwrap();
        let sizes = *original.replay().config();
        let mut copy = PrioritizedReplay::new(sizes, PrioritizedConfig::default()).unwrap();
        copy.load("per", &state).unwrap();
        let mut rngs = [SeedStream::new(1).stream("replay", 0), SeedStream::new(1).stream("replay", 0)];
        let mut batches = [PrioritizedBatch::default(), PrioritizedBatch::default()];
        for step in 0..100 {
            let pair = [&mut original, &mut copy];
            for ((buffer, rng), batch) in pair.into_iter().zip(&mut rngs).zip(&mut batches) {
                push(buffer, 20 + step);
                buffer.sample(5, u64::from(step), rng, batch).unwrap();
                let errors: Vec<f32> = batch.weights.iter().map(|w| w * 3.0).collect();
                buffer.update(&batch.transitions.indices, &errors).unwrap();
            }
            assert_eq!(batches[0], batches[1]);
        }
    }
}
