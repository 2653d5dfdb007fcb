//! Uniform replay (Lin 1992; Mnih et al. 2015): a ring of transitions, one column per field.
//!
//! The successor of a step is usually the next observation of the same environment, which is stored anyway. With
//! `share_next` it is stored once: a step points to the slot of its successor, and only the last step of an
//! episode, and the newest step of each stream, keep an observation of their own. Pointers always lead to a slot
//! written later, which the ring overwrites later: no pointer outlives its target.

use super::column::Column;
use crate::experiment::{Element, Persist, TrainState};
use crate::{Error, Result};
use rand::{Rng, RngExt};

/// Sizes of a [`ReplayBuffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayConfig {
    /// Transitions kept; the oldest gives way.
    pub capacity: usize,
    /// Environments that feed the buffer.
    pub streams: usize,
    /// Numbers in an observation.
    pub observation: usize,
    /// Numbers in an action; a discrete action is one number, its index.
    pub action: usize,
    /// Store the observation that a step shares with its successor once.
    pub share_next: bool,
}

impl ReplayConfig {
    fn validate(&self) -> Result<()> {
        // Slots and own successors share one 32-bit index space.
        if self.capacity == 0 || self.capacity > (u32::MAX / 2) as usize {
            return Err(Error::config("replay", "capacity", self.capacity, "between 1 and 2³¹ − 1"));
        }
        for (field, size) in
            [("streams", self.streams), ("observation", self.observation), ("action", self.action)]
        {
            if size == 0 {
                return Err(Error::config("replay", field, size, "at least 1"));
            }
        }
        Ok(())
    }
}

/// A step of an environment, or n steps seen as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition<'a, O> {
    /// s
    pub observation: &'a [O],
    /// a
    pub action: &'a [f32],
    /// r, or the discounted sum of n rewards.
    pub reward: f32,
    /// s': at the end of an episode its final observation, never that of the next episode.
    pub next_observation: &'a [O],
    /// Whether s' is an end state.
    pub terminated: bool,
    /// Whether the episode was cut off at s'.
    pub truncated: bool,
    /// What V(s') is multiplied by unless terminated: γ, or γᵐ over m steps.
    pub discount: f32,
}

/// A batch of transitions in columns. The learning target is `r + discount · (1 − terminated) · V(s')`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransitionBatch<O> {
    /// Slots in the buffer, `[B]`.
    pub indices: Vec<usize>,
    /// `[B, observation]`
    pub observations: Vec<O>,
    /// `[B, action]`
    pub actions: Vec<f32>,
    /// `[B]`
    pub rewards: Vec<f32>,
    /// `[B, observation]`
    pub next_observations: Vec<O>,
    /// `[B]`
    pub terminated: Vec<bool>,
    /// `[B]`
    pub truncated: Vec<bool>,
    /// `[B]`
    pub discounts: Vec<f32>,
}

impl<O> TransitionBatch<O> {
    /// discount · (1 − terminated), `[B]`: what V(s') is multiplied by in the target.
    pub fn bootstrap_discounts(&self) -> impl Iterator<Item = f32> {
        self.discounts.iter().zip(&self.terminated).map(|(&discount, &end)| if end { 0.0 } else { discount })
    }

    fn clear(&mut self) {
        self.observations.clear();
        self.actions.clear();
        self.rewards.clear();
        self.next_observations.clear();
        self.terminated.clear();
        self.truncated.clear();
        self.discounts.clear();
    }
}

/// A ring of transitions with observations of type `O`: `f32`, or `u8` for images.
#[derive(Clone, Debug)]
pub struct ReplayBuffer<O = f32> {
    config: ReplayConfig,
    observations: Column<O>,
    actions: Column<f32>,
    rewards: Vec<f32>,
    discounts: Vec<f32>,
    /// Bit 0: terminated, bit 1: truncated.
    ends: Vec<u8>,
    /// Where the successor's observation lies: a slot, or `capacity +` a row of `own_next`.
    next: Vec<u32>,
    own_next: Column<O>,
    free_rows: Vec<u32>,
    /// Serial number of each stream's newest transition, `u64::MAX` before the first.
    newest: Vec<u64>,
    pushes: u64,
}

impl<O: Element + Default + PartialEq> ReplayBuffer<O> {
    /// An empty buffer; the memory for `capacity` transitions is taken at once.
    ///
    /// # Errors
    /// [`Error::Config`] if a size is zero or too large.
    pub fn new(config: ReplayConfig) -> Result<Self> {
        config.validate()?;
        let capacity = config.capacity;
        Ok(Self {
            config,
            observations: Column::new(capacity, config.observation),
            actions: Column::new(capacity, config.action),
            rewards: vec![0.0; capacity],
            discounts: vec![0.0; capacity],
            ends: vec![0; capacity],
            next: vec![0; capacity],
            own_next: Column::new(0, config.observation),
            free_rows: Vec::new(),
            newest: vec![u64::MAX; config.streams],
            pushes: 0,
        })
    }

    /// Sizes.
    pub fn config(&self) -> &ReplayConfig {
        &self.config
    }

    /// Transitions that can be sampled.
    pub fn len(&self) -> usize {
        self.pushes.min(self.config.capacity as u64) as usize
    }

    /// Whether nothing has been stored.
    pub fn is_empty(&self) -> bool {
        self.pushes == 0
    }

    /// Observations held besides those of the steps themselves: one per stream and per episode end when shared.
    pub fn own_successors(&self) -> usize {
        self.own_next.rows() - self.free_rows.len()
    }

    /// Stores a transition of one stream and returns its slot.
    ///
    /// # Errors
    /// [`Error::Shape`] if a slice has not the configured width or the stream does not exist.
    pub fn push(&mut self, stream: usize, transition: &Transition<'_, O>) -> Result<usize> {
        self.check(stream, transition)?;
        let capacity = self.config.capacity as u64;
        let slot = (self.pushes % capacity) as usize;
        if self.pushes >= capacity {
            self.release_own_next(slot);
        }
        self.link_predecessor(stream, slot, transition.observation);
        self.observations.set(slot, transition.observation);
        self.actions.set(slot, transition.action);
        self.rewards[slot] = transition.reward;
        self.discounts[slot] = transition.discount;
        self.ends[slot] = u8::from(transition.terminated) | (u8::from(transition.truncated) << 1);
        self.next[slot] = self.store_own_next(transition.next_observation);
        self.newest[stream] = self.pushes;
        self.pushes += 1;
        Ok(slot)
    }

    fn check(&self, stream: usize, transition: &Transition<'_, O>) -> Result<()> {
        let config = &self.config;
        let widths = [
            ("observation", transition.observation.len(), config.observation),
            ("action", transition.action.len(), config.action),
            ("next observation", transition.next_observation.len(), config.observation),
        ];
        for (what, got, want) in widths {
            if got != want {
                return Err(Error::shape("replay push", format!("{want} numbers in the {what}"), got));
            }
        }
        if stream >= config.streams {
            let expected = format!("a stream below {}", config.streams);
            return Err(Error::shape("replay push", expected, stream));
        }
        Ok(())
    }

    /// Lets the stream's previous step point to `slot`, if that really is its successor: the episode went on and
    /// its successor's observation is the one that now arrives.
    fn link_predecessor(&mut self, stream: usize, slot: usize, observation: &[O]) {
        let serial = self.newest[stream];
        let capacity = self.config.capacity as u64;
        let alive = serial != u64::MAX && serial + capacity > self.pushes;
        if !self.config.share_next || !alive {
            return;
        }
        let previous = (serial % capacity) as usize;
        if self.ends[previous] == 0 && self.next_row(previous) == observation {
            self.release_own_next(previous);
            self.next[previous] = slot as u32;
        }
    }

    fn release_own_next(&mut self, slot: usize) {
        if let Some(row) = (self.next[slot] as usize).checked_sub(self.config.capacity) {
            self.free_rows.push(row as u32);
        }
    }

    fn store_own_next(&mut self, observation: &[O]) -> u32 {
        let row = self.free_rows.pop().unwrap_or_else(|| {
            self.own_next.grow();
            self.own_next.rows() as u32 - 1
        });
        self.own_next.set(row as usize, observation);
        self.config.capacity as u32 + row
    }

    fn next_row(&self, slot: usize) -> &[O] {
        let next = self.next[slot] as usize;
        match next.checked_sub(self.config.capacity) {
            Some(row) => self.own_next.row(row),
            None => self.observations.row(next),
        }
    }

    /// The transition in a slot, or `None` if the slot has not been filled.
    pub fn get(&self, slot: usize) -> Option<Transition<'_, O>> {
        (slot < self.len()).then(|| Transition {
            observation: self.observations.row(slot),
            action: self.actions.row(slot),
            reward: self.rewards[slot],
            next_observation: self.next_row(slot),
            terminated: self.ends[slot] & 1 != 0,
            truncated: self.ends[slot] & 2 != 0,
            discount: self.discounts[slot],
        })
    }

    /// Draws `size` transitions uniformly, with replacement, into a batch that is reused.
    ///
    /// # Errors
    /// [`Error::State`] if the buffer is empty.
    pub fn sample(&self, size: usize, rng: &mut impl Rng, batch: &mut TransitionBatch<O>) -> Result<()> {
        if self.is_empty() {
            let reason = "the buffer is empty: push transitions first".into();
            return Err(Error::State { operation: "replay sample", reason });
        }
        batch.indices.clear();
        batch.indices.extend((0..size).map(|_| rng.random_range(0..self.len() as u64) as usize));
        self.gather(batch)
    }

    /// Fills the columns of a batch from its `indices`.
    ///
    /// # Errors
    /// [`Error::Shape`] if an index is not a filled slot.
    pub fn gather(&self, batch: &mut TransitionBatch<O>) -> Result<()> {
        batch.clear();
        for i in 0..batch.indices.len() {
            let Some(transition) = self.get(batch.indices[i]) else {
                let expected = format!("indices below {}", self.len());
                return Err(Error::shape("replay gather", expected, batch.indices[i]));
            };
            batch.observations.extend_from_slice(transition.observation);
            batch.actions.extend_from_slice(transition.action);
            batch.rewards.push(transition.reward);
            batch.next_observations.extend_from_slice(transition.next_observation);
            batch.terminated.push(transition.terminated);
            batch.truncated.push(transition.truncated);
            batch.discounts.push(transition.discount);
        }
        Ok(())
    }
}

impl<O: Element + Default + PartialEq> Persist for ReplayBuffer<O> {
    fn save(&self, prefix: &str, state: &mut TrainState) -> Result<()> {
        let name = |field: &str| format!("{prefix}/{field}");
        let len = self.len();
        self.observations.save(name("observations"), len, state);
        self.actions.save(name("actions"), len, state);
        state.put_array(name("rewards"), &[len], &self.rewards[..len]);
        state.put_array(name("discounts"), &[len], &self.discounts[..len]);
        state.put_array(name("ends"), &[len], &self.ends[..len]);
        state.put_array(name("next"), &[len], &self.next[..len]);
        self.own_next.save(name("own_next"), self.own_next.rows(), state);
        state.put_array(name("free_rows"), &[self.free_rows.len()], &self.free_rows);
        state.put_array(name("newest"), &[self.newest.len()], &self.newest);
        state.put(name("capacity"), &self.config.capacity)?;
        state.put(name("pushes"), &self.pushes)
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> Result<()> {
        let name = |field: &str| format!("{prefix}/{field}");
        let refuse = |field: &str, reason: String| Error::Checkpoint { path: name(field), reason };
        let capacity: usize = state.get(&name("capacity"))?;
        if capacity != self.config.capacity {
            let reason = format!("saved with capacity {capacity}, this buffer has {}", self.config.capacity);
            return Err(refuse("capacity", reason));
        }
        self.pushes = state.get(&name("pushes"))?;
        let len = self.len();
        self.observations.load(&name("observations"), len, state)?;
        self.actions.load(&name("actions"), len, state)?;
        self.rewards[..len].copy_from_slice(state.array(&name("rewards"), &[len])?);
        self.discounts[..len].copy_from_slice(state.array(&name("discounts"), &[len])?);
        self.ends[..len].copy_from_slice(state.array(&name("ends"), &[len])?);
        self.next[..len].copy_from_slice(state.array(&name("next"), &[len])?);
        let width = self.config.observation;
        let rows = state.array_of_any_shape::<O>(&name("own_next"))?.len() / width;
        self.own_next = Column::new(0, width);
        self.own_next.load(&name("own_next"), rows, state)?;
        self.free_rows = state.array_of_any_shape(&name("free_rows"))?.to_vec();
        self.newest.copy_from_slice(state.array(&name("newest"), &[self.config.streams])?);
        let leads_somewhere = |&next: &u32| {
            let next = next as usize;
            next < len || (capacity..capacity + rows).contains(&next)
        };
        if !self.next[..len].iter().all(leads_somewhere) || self.free_rows.iter().any(|&r| r as usize >= rows)
        {
            return Err(refuse("next", "points outside the buffer: the file is damaged".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;
    use proptest::prelude::*;

    /// What a stream of observations 100·stream + 0, 1, 2, .. gives; the reset jumps by 50.
    fn play(buffers: &mut [&mut ReplayBuffer<f32>], script: &[(usize, bool, bool)]) -> Vec<[f32; 2]> {
        let mut present = [0.0f32, 1000.0, 2000.0];
        let mut pairs = Vec::new();
        for &(stream, terminated, truncated) in script {
            let (from, to) = (present[stream], present[stream] + 1.0);
            for buffer in buffers.iter_mut() {
                let transition = Transition {
                    observation: &[from],
                    action: &[-from],
                    reward: from,
                    next_observation: &[to],
                    terminated,
                    truncated,
                    discount: 0.9,
                };
                buffer.push(stream, &transition).unwrap();
            }
            pairs.push([from, to]);
            present[stream] = if terminated || truncated { to + 50.0 } else { to };
        }
        pairs
    }

    fn buffer(capacity: usize, share_next: bool) -> ReplayBuffer<f32> {
        ReplayBuffer::new(ReplayConfig { capacity, streams: 3, observation: 1, action: 1, share_next })
            .unwrap()
    }

    proptest! {
        #[test]
        fn shared_successors_are_those_that_were_pushed(
            script in prop::collection::vec((0usize..3, prop::bool::weighted(0.2), prop::bool::weighted(0.2)), 1..80),
            capacity in 1usize..20,
        ) {
            let (mut shared, mut stored) = (buffer(capacity, true), buffer(capacity, false));
            let pairs = play(&mut [&mut shared, &mut stored], &script);
            let oldest = pairs.len().saturating_sub(capacity);
            for (serial, [from, to]) in pairs.iter().enumerate().skip(oldest) {
                let slot = serial % capacity;
                prop_assert_eq!(shared.get(slot), stored.get(slot));
                let got = shared.get(slot).unwrap();
                prop_assert_eq!((got.observation[0], got.next_observation[0]), (*from, *to));
                prop_assert_eq!((got.terminated, got.truncated), (script[serial].1, script[serial].2));
            }
            let ends = script[oldest..].iter().filter(|s| s.1 || s.2).count();
            prop_assert!(shared.own_successors() <= ends + 3);
        }
    }

    #[test]
    fn an_interrupted_episode_keeps_its_own_successor() {
        let mut buffer = buffer(4, true);
        for from in [0.0, 7.0] {
            let next = [from + 1.0];
            let transition = Transition {
                observation: &[from],
                action: &[0.0],
                reward: 0.0,
                next_observation: &next,
                terminated: false,
                truncated: false,
                discount: 1.0,
            };
            buffer.push(0, &transition).unwrap();
        }
        assert_eq!(buffer.get(0).unwrap().next_observation, &[1.0]);
    }

    #[test]
    fn saved_and_loaded_the_next_hundred_samples_are_equal() {
        let script: Vec<_> = (0..57).map(|i| (i % 3, i % 11 == 4, i % 13 == 5)).collect();
        let mut original = buffer(20, true);
        play(&mut [&mut original], &script);
        let mut state = TrainState::default();
        original.save("replay", &mut state).unwrap();
        let mut copy = buffer(20, true);
        copy.load("replay", &state).unwrap();
        play(&mut [&mut original, &mut copy], &script[..9]);
        let mut rngs = [SeedStream::new(1).stream("replay", 0), SeedStream::new(1).stream("replay", 0)];
        let mut batches = [TransitionBatch::default(), TransitionBatch::default()];
        for _ in 0..100 {
            original.sample(32, &mut rngs[0], &mut batches[0]).unwrap();
            copy.sample(32, &mut rngs[1], &mut batches[1]).unwrap();
            assert_eq!(batches[0], batches[1]);
        }
        let mut again = [TrainState::default(), TrainState::default()];
        original.save("replay", &mut again[0]).unwrap();
        copy.save("replay", &mut again[1]).unwrap();
        assert_eq!(again[0], again[1]);
        assert!(buffer(21, true).load("replay", &state).unwrap_err().to_string().contains("capacity 20"));
    }

    #[test]
    fn every_slot_is_drawn_and_bad_input_is_refused() {
        let mut buffer = buffer(10, true);
        let mut batch = TransitionBatch::default();
        let mut rng = SeedStream::new(2).stream("replay", 0);
        assert!(buffer.sample(1, &mut rng, &mut batch).unwrap_err().to_string().contains("empty"));
        play(&mut [&mut buffer], &[(0, false, false); 25]);
        buffer.sample(1000, &mut rng, &mut batch).unwrap();
        for slot in 0..10 {
            let count = batch.indices.iter().filter(|&&i| i == slot).count();
            assert!((60..140).contains(&count), "slot {slot}: {count} of 1000");
        }
        batch.indices = vec![10];
        assert!(buffer.gather(&mut batch).is_err());
        let wide = Transition {
            observation: &[0.0, 1.0],
            action: &[0.0],
            reward: 0.0,
            next_observation: &[0.0],
            terminated: false,
            truncated: false,
            discount: 1.0,
        };
        assert!(buffer.push(0, &wide).unwrap_err().to_string().contains("observation"));
        let config = ReplayConfig { capacity: 0, streams: 1, observation: 1, action: 1, share_next: true };
        assert!(ReplayBuffer::<u8>::new(config).is_err());
    }
}
