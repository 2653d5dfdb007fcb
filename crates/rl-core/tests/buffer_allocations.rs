//! No buffer allocates while it stores and samples, once sizes have settled: counted by the allocator.
#![expect(
    unsafe_code,
    reason = "a global allocator is unsafe by its trait; this one counts and hands on to the system's"
)]

use rl_core::SeedStream;
use rl_core::buffer::{
    Field, FieldRow, NStep, PrioritizedBatch, PrioritizedConfig, PrioritizedReplay, ReplayBuffer,
    ReplayConfig, RolloutBatch, RolloutBuffer, RolloutConfig, RolloutStep, SequenceBatch, SequenceBuffer,
    SequenceConfig, StepEnds, Transition, TransitionBatch,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain thread-local number.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of `work(t)` for t in 1,000 … 2,000, after the same for the first 1,000.
fn allocations(mut work: impl FnMut(usize)) -> usize {
    (0..1000).for_each(&mut work);
    let before = ALLOCATIONS.with(Cell::get);
    (1000..2000).for_each(&mut work);
    ALLOCATIONS.with(Cell::get) - before
}

/// Episodes of 10 steps, alternately terminated and truncated.
fn with_step(t: usize, work: impl FnOnce(&Transition<'_, f32>)) {
    let at = (t + 100 * (t / 10)) as f32;
    work(&Transition {
        observation: &[at, 0.0],
        action: &[0.5],
        reward: 1.0,
        next_observation: &[at + 1.0, 0.0],
        terminated: t % 20 == 9,
        truncated: t % 20 == 19,
        discount: 0.99,
    });
}

const SIZES: ReplayConfig =
    ReplayConfig { capacity: 100, streams: 1, observation: 2, action: 1, share_next: true };

#[test]
fn uniform_and_n_step_replay() {
    let mut buffer = ReplayBuffer::new(SIZES).unwrap();
    let mut n_step = NStep::new(3, 1, 2, 1).unwrap();
    let mut batch = TransitionBatch::default();
    let mut rng = SeedStream::new(1).stream("replay", 0);
    let counted = allocations(|t| {
        with_step(t, |step| n_step.push(0, step, |step| buffer.push(0, step).map(|_| ())).unwrap());
        if t > 10 {
            buffer.sample(32, &mut rng, &mut batch).unwrap();
        }
    });
    assert_eq!(counted, 0);
}

#[test]
fn prioritised_replay() {
    let mut buffer = PrioritizedReplay::new(SIZES, PrioritizedConfig::default()).unwrap();
    let mut batch = PrioritizedBatch::default();
    let mut rng = SeedStream::new(1).stream("replay", 0);
    let counted = allocations(|t| {
        with_step(t, |step| _ = buffer.push(0, step).unwrap());
        buffer.sample(32, t as u64, &mut rng, &mut batch).unwrap();
        buffer.update(&batch.transitions.indices, &batch.weights).unwrap();
    });
    assert_eq!(counted, 0);
}

#[test]
fn sequence_replay() {
    let config = SequenceConfig {
        capacity: 100,
        streams: 2,
        length: 8,
        fields: vec![Field::f32("observation", 3), Field::u8("image", 12)],
        cross_episodes: true,
        restart: true,
        online: true,
    };
    let mut buffer = SequenceBuffer::new(config).unwrap();
    let mut batch = SequenceBatch::default();
    let mut rng = SeedStream::new(1).stream("replay", 0);
    let counted = allocations(|t| {
        let ends = StepEnds { terminated: t % 10 == 9, ..StepEnds::default() };
        for stream in 0..2 {
            buffer.push(stream, ends, &[FieldRow::F32(&[t as f32; 3]), FieldRow::U8(&[7; 12])]).unwrap();
        }
        if t > 10 {
            buffer.sample(16, &mut rng, &mut batch).unwrap();
        }
    });
    assert_eq!(counted, 0);
}

#[test]
fn rollouts_allocate_only_their_advantages() {
    let config = RolloutConfig { steps: 10, envs: 2, observation: 1, action: 1 };
    let mut buffer = RolloutBuffer::new(config).unwrap();
    let mut batch = RolloutBatch::default();
    let mut rng = SeedStream::new(1).stream("minibatch", 0);
    let counted = allocations(|t| {
        let step = RolloutStep {
            observations: &[0.0; 2],
            actions: &[0.0; 2],
            log_probs: &[0.0; 2],
            values: &[0.0; 2],
            rewards: &[0.0; 2],
            terminated: &[false; 2],
            truncated: &[t % 7 == 6; 2],
            final_values: &[0.0; 2],
        };
        buffer.push(&step).unwrap();
        if buffer.is_full() {
            buffer.finish(&[0.0; 2], 0.99, 0.95).unwrap();
            buffer.shuffle(&mut rng);
            (0..4).for_each(|k| _ = buffer.minibatch(k, 5, &mut batch).unwrap());
            buffer.clear();
        }
    });
    // The result of the recursion and what it carries, once per rollout.
    assert_eq!(counted, 2 * 100);
}
