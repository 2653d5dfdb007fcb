//! What every environment promises, as one test.

use crate::Error;
use crate::env::scripted::{Policy, Random};
use crate::env::{Action, Env, Space, Step};
use crate::numpy_rng::NumpyRng;
use serde_json::Value;

/// Steps played in each part of the contract.
const STEPS: usize = 2_500;

/// Plays an environment and asserts the contract of [`Env`]: spaces respected, finite numbers, the same bits from the
/// same seed, `reset(None)` going on with the stream, the time limit, refusal of wrong sizes, wrong actions and steps
/// after the end, and saved states (through JSON text) that go on bit for bit.
///
/// `make` gives equal environments that were not reset yet.
///
/// # Panics
/// Where the contract is broken, saying how.
pub fn env_contract<E: Env>(make: impl Fn() -> E) {
    env_contract_without_save(&make);
    saved_states_go_on(&make);
}

/// [`env_contract`] for an environment that cannot be saved: `save` must refuse.
///
/// # Panics
/// Where the contract is broken, saying how.
pub fn env_contract_without_save<E: Env>(make: impl Fn() -> E) {
    spaces_are_sound(&make());
    misuse_is_refused(&mut make());
    the_same_seed_gives_the_same_bits(&make);
    resets_go_on_with_the_stream(&mut make());
}

/// One step as seen by an agent, bit by bit.
#[derive(Debug, PartialEq)]
struct Seen {
    observation: Vec<u32>,
    reward: u64,
    terminated: bool,
    truncated: bool,
}

fn seen(observation: &[f32], step: Step) -> Seen {
    Seen {
        observation: observation.iter().map(|o| o.to_bits()).collect(),
        reward: step.reward.to_bits(),
        terminated: step.terminated,
        truncated: step.truncated,
    }
}

fn buffer(env: &impl Env) -> Vec<f32> {
    vec![0.0; env.spec().observation.width()]
}

/// Plays on with random actions, resetting where episodes end, and checks everything that can be seen.
fn play(
    env: &mut impl Env,
    random: &mut Random<NumpyRng>,
    mut elapsed: u32,
    steps: usize,
) -> (Vec<Seen>, u32) {
    let mut observation = buffer(env);
    let mut all = Vec::new();
    for _ in 0..steps {
        let step = env.step(random.act(&observation), &mut observation).unwrap_or_else(|e| fail(env, &e));
        elapsed += 1;
        let id = &env.spec().id;
        is_inside(&env.spec().observation, &observation, id);
        assert!(step.reward.is_finite(), "{id}: reward {}", step.reward);
        if let Some(limit) = env.spec().max_episode_steps {
            assert_eq!(
                step.truncated,
                elapsed >= limit,
                "{id}: truncated after {elapsed} steps, limit {limit}"
            );
        }
        all.push(seen(&observation, step));
        if step.done() {
            the_end_is_the_end(env, random);
            env.reset(None, &mut observation).unwrap_or_else(|e| fail(env, &e));
            is_inside(&env.spec().observation, &observation, &env.spec().id);
            all.push(seen(&observation, Step::default()));
            elapsed = 0;
        }
    }
    (all, elapsed)
}

#[expect(clippy::panic, reason = "a check for tests")]
fn fail(env: &impl Env, error: &Error) -> ! {
    panic!("{}: {error}", env.spec().id)
}

fn is_inside(space: &Space, observation: &[f32], id: &str) {
    assert!(observation.iter().all(|o| o.is_finite()), "{id}: observation {observation:?}");
    if let Space::Box { low, high } = space {
        for (j, o) in observation.iter().enumerate() {
            assert!((low[j]..=high[j]).contains(o), "{id}: {o} in dimension {j} of {space}");
        }
    }
}

/// After the end every step is refused, until a reset.
fn the_end_is_the_end(env: &mut impl Env, random: &mut Random<NumpyRng>) {
    let mut scratch = buffer(env);
    let refused = env.step(random.act(&scratch), &mut scratch);
    assert!(
        matches!(refused, Err(Error::State { .. })),
        "{}: step after the end: {refused:?}",
        env.spec().id
    );
}

fn spaces_are_sound(env: &impl Env) {
    let spec = env.spec();
    for space in [&spec.observation, &spec.action] {
        assert!(space.width() > 0, "{}: empty space {space}", spec.id);
        if let Space::Box { low, high } = space {
            let ordered = low.len() == high.len() && low.iter().zip(high).all(|(l, h)| l <= h);
            assert!(ordered, "{}: bounds of {space}", spec.id);
        }
    }
    assert!(spec.max_episode_steps != Some(0), "{}: no step allowed", spec.id);
}

fn misuse_is_refused<E: Env>(env: &mut E) {
    let id = env.spec().id.clone();
    let space = env.spec().action.clone();
    let mut random = Random::new(&space, NumpyRng::new(0));
    let mut observation = buffer(env);
    let early = env.step(random.act(&observation), &mut observation);
    assert!(matches!(early, Err(Error::State { .. })), "{id}: step before the first reset: {early:?}");

    let mut long = vec![0.0; observation.len() + 1];
    let wrong_size = |r: &crate::Result<()>| matches!(r, Err(Error::Shape { .. }));
    assert!(wrong_size(&env.reset(Some(0), &mut long)), "{id}: reset into a slice of the wrong size");
    env.reset(Some(0), &mut observation).unwrap_or_else(|e| fail(env, &e));
    let step = env.step(random.act(&observation), &mut long).map(|_| ());
    assert!(wrong_size(&step), "{id}: step into a slice of the wrong size");

    let width = space.width();
    let (short, not_a_number) = (vec![0.0; width - 1], vec![f32::NAN; width]);
    let wrong: [Action<'_>; 3] = match space {
        Space::Discrete(n) => [Action::Discrete(n), Action::Discrete(usize::MAX), Action::Continuous(&[0.0])],
        Space::Box { .. } => {
            [Action::Discrete(0), Action::Continuous(&short), Action::Continuous(&not_a_number)]
        }
    };
    for action in wrong {
        let refused = env.step(action, &mut observation);
        assert!(matches!(refused, Err(Error::Action { .. })), "{id}: {action:?}: {refused:?}");
    }
    env.step(random.act(&observation), &mut observation).unwrap_or_else(|e| fail(env, &e));
}

fn the_same_seed_gives_the_same_bits<E: Env>(make: impl Fn() -> E) {
    let whole_run = |seed: u64| {
        let mut env = make();
        let mut random = Random::new(&env.spec().action.clone(), NumpyRng::new(11));
        let mut observation = buffer(&env);
        env.reset(Some(seed), &mut observation).unwrap_or_else(|e| fail(&env, &e));
        is_inside(&env.spec().observation, &observation, &env.spec().id);
        let first = seen(&observation, Step::default());
        (first, play(&mut env, &mut random, 0, STEPS).0)
    };
    let run = whole_run(3);
    assert!(run == whole_run(3), "{}: the same seed gave two different runs", make().spec().id);
    assert!(run != whole_run(4), "{}: two seeds gave the same run", make().spec().id);
}

/// Where start states are random at all, an unseeded reset gives the next one, not the same again.
fn resets_go_on_with_the_stream(env: &mut impl Env) {
    let mut start = |seed: Option<u64>| {
        let mut observation = buffer(env);
        env.reset(seed, &mut observation).unwrap_or_else(|e| fail(env, &e));
        observation
    };
    let (third, fourth) = (start(Some(3)), start(Some(4)));
    let (again, next, after) = (start(Some(3)), start(None), start(None));
    if third != fourth {
        let id = &env.spec().id;
        assert!(next != again && after != next, "{id}: an unseeded reset repeats the start state");
    }
}

fn saved_states_go_on<E: Env>(make: impl Fn() -> E) {
    let mut env = make();
    let id = env.spec().id.clone();
    let mut random = Random::new(&env.spec().action.clone(), NumpyRng::new(12));
    let mut observation = buffer(&env);
    env.reset(Some(5), &mut observation).unwrap_or_else(|e| fail(&env, &e));
    let mut elapsed = 0;
    for steps in [0, 1, 13, 400] {
        elapsed = play(&mut env, &mut random, elapsed, steps).1;
        let text = env.save().map(|saved| saved.to_string()).unwrap_or_else(|e| fail(&env, &e));
        let saved: Value = serde_json::from_str(&text).unwrap_or_default();
        let mut copy = make();
        copy.load(&saved).unwrap_or_else(|e| fail(&copy, &e));
        let mut twin = random.clone();
        let went_on = play(&mut copy, &mut twin, elapsed, STEPS / 2).0;
        let uninterrupted;
        (uninterrupted, elapsed) = play(&mut env, &mut random, elapsed, STEPS / 2);
        assert!(went_on == uninterrupted, "{id}: a saved state went on differently");
    }
    assert!(env.load(&Value::Bool(true)).is_err(), "{id}: nonsense was loaded");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Result;
    use crate::env::{EnvSpec, make};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// A promise that an environment breaks.
    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        SeedIgnored,
        SeedKept,
        ElapsedNotSaved,
        GoesOnAfterTheEnd,
        OutsideItsSpace,
        NotANumber,
    }

    struct Faulty {
        env: Box<dyn Env>,
        fault: Fault,
        over: bool,
        seed: u64,
    }

    impl Env for Faulty {
        fn spec(&self) -> &EnvSpec {
            self.env.spec()
        }

        fn reset(&mut self, seed: Option<u64>, observation: &mut [f32]) -> Result<()> {
            self.over = false;
            match self.fault {
                Fault::SeedIgnored => self.env.reset(None, observation),
                Fault::SeedKept => {
                    self.seed = seed.unwrap_or(self.seed);
                    self.env.reset(Some(self.seed), observation)
                }
                _ => self.env.reset(seed, observation),
            }
        }

        fn step(&mut self, action: Action<'_>, observation: &mut [f32]) -> Result<Step> {
            if self.fault == Fault::GoesOnAfterTheEnd && self.over {
                return Ok(Step::default());
            }
            let step = self.env.step(action, observation)?;
            self.over = step.done();
            match self.fault {
                Fault::OutsideItsSpace => observation[0] = 1e9,
                Fault::NotANumber => return Ok(Step { reward: f64::NAN, ..step }),
                _ => {}
            }
            Ok(step)
        }

        fn save(&self) -> Result<Value> {
            let mut saved = self.env.save()?;
            if self.fault == Fault::ElapsedNotSaved {
                saved["elapsed"] = 0.into();
            }
            Ok(saved)
        }

        fn load(&mut self, saved: &Value) -> Result<()> {
            self.env.load(saved)
        }
    }

    #[test]
    fn broken_promises_are_noticed() {
        let faults = [
            (Fault::SeedIgnored, "two seeds"),
            (Fault::SeedKept, "repeats the start state"),
            (Fault::ElapsedNotSaved, "truncated"),
            (Fault::GoesOnAfterTheEnd, "after the end"),
            (Fault::OutsideItsSpace, "in dimension 0"),
            (Fault::NotANumber, "reward NaN"),
        ];
        for (fault, complaint) in faults {
            let make = || Faulty { env: make("MountainCar-v0", 0).unwrap(), fault, over: false, seed: 0 };
            let outcome = catch_unwind(AssertUnwindSafe(|| env_contract(make)));
            let message = *outcome.unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains(complaint), "{message}");
        }
    }
}
