//! No environment, wrapper or vector allocates while it steps: counted by the allocator.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(
    unsafe_code,
    reason = "a global allocator is unsafe by its trait; this one counts and hands on to the system's"
)]

use rl_core::env::wrappers::{
    ClipAction, EpisodeStatistics, FrameStack, NormalizeObservation, NormalizeReward, RescaleAction,
    TimeLimit,
};
use rl_core::env::{
    self, Action, Actions, Autoreset, BatchEnv, CartPole, Env, Episode, Pendulum, Space, VectorEnv,
};
use rl_core::numpy_rng::NumpyRng;
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

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

/// Steps and resets an environment.
fn drive(env: &mut dyn Env, steps: usize) {
    let mut observation = vec![0.0; env.spec().observation.width()];
    let reals = vec![0.5; env.spec().action.width()];
    let discrete = matches!(env.spec().action, Space::Discrete(_));
    env.reset(Some(1), &mut observation).unwrap();
    let counted = allocations(|| {
        for t in 0..steps {
            let action = if discrete { Action::Discrete(t % 2) } else { Action::Continuous(&reals) };
            if env.step(action, &mut observation).unwrap().done() {
                env.reset(None, &mut observation).unwrap();
            }
        }
    });
    assert_eq!(counted, 0, "{} allocated while stepping", env.spec().id);
}

fn pendulum() -> Episode<Pendulum, NumpyRng> {
    Episode::new(Pendulum::default(), 0)
}

#[test]
fn environments_and_wrappers_do_not_allocate_while_stepping() {
    for id in env::IDS {
        drive(&mut env::make(id, 0).unwrap(), 3000);
    }
    drive(&mut TimeLimit::new(pendulum(), 20).unwrap(), 500);
    drive(&mut ClipAction::new(RescaleAction::new(pendulum()).unwrap()).unwrap(), 500);
    drive(&mut FrameStack::new(pendulum(), 4).unwrap(), 500);
    drive(&mut EpisodeStatistics::new(pendulum()), 500);
    drive(&mut NormalizeReward::new(NormalizeObservation::new(pendulum()).unwrap(), 0.99).unwrap(), 500);
}

#[test]
fn a_vector_does_not_allocate_while_stepping() {
    for mode in [Autoreset::NextStep, Autoreset::SameStep] {
        let copies = (0..256).map(|_| Episode::<_, NumpyRng>::new(CartPole, 0)).collect();
        let mut vector = VectorEnv::new(copies, mode).unwrap();
        vector.reset(Some(0)).unwrap();
        let actions: Vec<usize> = (0..256).map(|i| i % 2).collect();
        let counted =
            allocations(|| (0..200).for_each(|_| vector.step(Actions::Discrete(&actions)).unwrap()));
        assert_eq!(counted, 0, "{mode:?}");
    }
}
