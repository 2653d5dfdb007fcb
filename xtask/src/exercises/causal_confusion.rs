//! `causal-confusion`: a clone that sees the expert's previous action validates better and drives worse; acting repairs it.
//!
//! De Haan, Jayaraman & Levine (NeurIPS 2019) on MountainCar: 300 recorded transitions to learn from and 300 to
//! validate on; the third input is the previous action (confounded) or a random one (original). A mask-conditioned clone
//! then finds its causes from the returns of 20 episodes.

use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line, exercises::Exercise};
use anyhow::Result;
use causal::rl::{CloneConfig, MaskSearch, MaskSearchConfig, MaskedClone};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rl_core::env::{Action, MountainCar, Simulator};
use rl_core::experiment::{Role, Stage};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// The exercise.
pub(crate) struct CausalConfusion;

/// Data, clones and search.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Recorded steps of the expert, from which samples are drawn. 100,000 in the paper.
    pub expert_steps: usize,
    /// Transitions to learn from, and as many to validate on. 300.
    pub samples: usize,
    /// Standard deviation of the noise on the recorded and seen velocity, in units of the largest one.
    pub sensor_noise: f32,
    /// Updates of every clone.
    pub updates: usize,
    /// The clones.
    pub clone: CloneConfig,
    /// Episodes in which the mask-conditioned clone looks for its causes. 20.
    pub interventions: usize,
    /// How it looks.
    pub search: MaskSearchConfig,
    /// Episodes of an evaluation.
    pub test_episodes: u64,
}

const ACCURACY: Measure = Measure { metric: "held-out accuracy", unit: "share", higher_is_better: true };
/// Position, velocity, third input.
const FEATURES: usize = 3;

impl Exercise for CausalConfusion {
    type Config = Config;

    const NAME: &'static str = "causal-confusion";
    const DESCRIPTION: &'static str =
        "Imitation with the expert's previous action in view, and its repair by intervention";
    const DURATION: [&'static str; 3] = ["3 s", "1 min", "3 min"];

    fn config(preset: Preset) -> Config {
        let config = Config {
            expert_steps: 100_000,
            samples: 300,
            sensor_noise: 0.02,
            updates: 5000,
            clone: CloneConfig::default(),
            interventions: 20,
            search: MaskSearchConfig::default(),
            test_episodes: 100,
        };
        match preset {
            Preset::Smoke => {
                Config { expert_steps: 3000, updates: 100, test_episodes: 3, interventions: 4, ..config }
            }
            Preset::Quick | Preset::Full => config,
        }
    }

    fn validate(config: &Config) -> Result<()> {
        let enough = config.samples > 0 && config.expert_steps >= 4 * config.samples;
        anyhow::ensure!(
            enough,
            "expert_steps = {}: must be at least four times samples",
            config.expert_steps
        );
        anyhow::ensure!(
            config.sensor_noise >= 0.0,
            "sensor_noise = {}: must be at least 0",
            config.sensor_noise
        );
        MaskSearch::new(FEATURES, config.search.clone())?;
        anyhow::ensure!(config.clone.batch > 0, "clone.batch = 0: must be at least 1");
        anyhow::ensure!(config.test_episodes > 0, "test_episodes = 0: must be at least 1");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let streams = ctx.streams;
        let work = Work { config, streams };
        let record = |third: Third| work.record(third);
        let plain = ctx.session.once::<_, anyhow::Error>("mountain car/original", |stage| {
            work.clone_of(&record(Third::Random), Third::Random, [true; 3], stage)
        })?;
        let confounded = ctx.session.once::<_, anyhow::Error>("mountain car/confounded", |stage| {
            work.clone_of(&record(Third::Previous), Third::Previous, [true; 3], stage)
        })?;
        let oracle = ctx.session.once::<_, anyhow::Error>("mountain car/told the causes", |stage| {
            work.clone_of(&record(Third::Previous), Third::Previous, [true, true, false], stage)
        })?;
        let repaired = ctx.session.once::<_, anyhow::Error>("mountain car/intervention", |stage| {
            work.intervene(&record(Third::Previous), stage)
        })?;
        let steps = 2 * config.samples as u64;
        for (name, role, clone) in [
            ("intervention on masks", Role::Method, &repaired),
            ("confounded clone", Role::Reference, &confounded),
            ("original clone", Role::Reference, &plain),
            ("told the causes", Role::Reference, &oracle),
        ] {
            ctx.score("mountain car", name, role, ACCURACY, steps, clone.accuracy)?;
            ctx.score("mountain car", name, role, Measure::RETURN, steps, clone.value)?;
        }
        let free =
            Measure { metric: "mask without the previous action", unit: "share", higher_is_better: true };
        let right = f64::from(u8::from(!repaired.mask[2] && repaired.mask[1]));
        ctx.score("mountain car", "intervention on masks", Role::Method, free, steps, right)?;
        for (name, policy) in
            [("expert", expert as fn(&[f64; 2], &mut StreamRng) -> usize), ("random", random)]
        {
            let value = work.play(|state, _, rng| Ok(policy(state, rng)))?;
            ctx.score("mountain car", name, Role::Reference, Measure::RETURN, steps, value)?;
        }
        ctx.figure(repaired.figure());
        ctx.note(
            "Every step costs 1 until the car is out of the valley, at most 200. The expert sees the true velocity, clones a \
             slightly noisy one: that is what makes the previous action, an effect of the expert's knowledge, so tempting.",
        );
        Ok(())
    }
}

/// Pushes in the direction of motion; the energy of the car can only grow.
fn expert(state: &[f64; 2], _: &mut StreamRng) -> usize {
    if state[1] < 0.0 { 0 } else { 2 }
}

fn random(_: &[f64; 2], rng: &mut StreamRng) -> usize {
    rng.random_range(0..3)
}

/// What the third input is.
#[derive(Clone, Copy, PartialEq)]
enum Third {
    Previous,
    Random,
}

/// Rows to learn from and rows to validate on.
struct Demonstrations {
    observations: [Vec<f32>; 2],
    actions: [Vec<u32>; 2],
}

/// A clone's scores; the masks and returns of its search, if it searched.
#[derive(Clone, Serialize, Deserialize)]
struct Cloned {
    accuracy: f64,
    value: f64,
    mask: Vec<bool>,
    search: Vec<f64>,
}

impl Cloned {
    fn figure(&self) -> Figure {
        Figure {
            name: "search".into(),
            title: "Returns while masks are tried".into(),
            x_label: "episode".into(),
            y_label: "return".into(),
            lines: vec![Line {
                name: "intervention on masks".into(),
                x: (1..=self.search.len()).map(|e| e as f64).collect(),
                y: self.search.clone(),
            }],
        }
    }
}

struct Work<'a> {
    config: &'a Config,
    streams: SeedStream,
}

impl Work<'_> {
    /// Position and velocity in units of about one, the velocity as the sensor sees it; the third input.
    fn observe(&self, state: &[f64; 2], third: usize, rng: &mut StreamRng) -> [f32; FEATURES] {
        let noise: f32 = StandardNormal.sample(rng);
        let velocity = state[1] as f32 / 0.07 + self.config.sensor_noise * noise;
        [(state[0] as f32 + 0.3) / 0.9, velocity, third as f32 - 1.0]
    }

    /// Samples of the expert's play, in random order.
    fn record(&self, third: Third) -> Demonstrations {
        let rng = &mut self.streams.stream("expert", 0);
        let (car, mut rows) = (MountainCar, Vec::with_capacity(self.config.expert_steps));
        let (mut state, mut previous, mut length) = (car.initial_state(rng), 1, 0);
        while rows.len() < self.config.expert_steps {
            let action = expert(&state, rng);
            let input = if third == Third::Previous { previous } else { rng.random_range(0..3) };
            rows.push((self.observe(&state, input, rng), action as u32));
            let done = car.transition(&mut state, Action::Discrete(action), rng).1;
            (previous, length) = (action, length + 1);
            if done || length == 200 {
                (state, previous, length) = (car.initial_state(rng), 1, 0);
            }
        }
        let mut sample = || {
            let (mut observations, mut actions) = (Vec::new(), Vec::new());
            for _ in 0..self.config.samples {
                let (observation, action) = rows.swap_remove(rng.random_range(0..rows.len()));
                observations.extend(observation);
                actions.push(action);
            }
            (observations, actions)
        };
        let (a, b) = (sample(), sample());
        Demonstrations { observations: [a.0, b.0], actions: [a.1, b.1] }
    }

    fn train(
        &self,
        data: &Demonstrations,
        mask: Option<&[bool]>,
        stage: &mut Stage<'_>,
    ) -> Result<MaskedClone> {
        let mut clone = MaskedClone::new(FEATURES, 3, &self.config.clone, self.streams)?;
        for chunk in 0..10 {
            stage.progress(chunk, 10)?;
            let until = |c: u64| c as usize * self.config.updates / 10;
            let updates = until(chunk + 1) - until(chunk);
            clone.train(&data.observations[0], &data.actions[0], mask, updates)?;
        }
        Ok(clone)
    }

    /// A clone of one mask.
    fn clone_of(
        &self,
        data: &Demonstrations,
        third: Third,
        mask: [bool; 3],
        stage: &mut Stage<'_>,
    ) -> Result<Cloned> {
        let clone = self.train(data, Some(&mask), stage)?;
        let accuracy = clone.accuracy(&data.observations[1], &data.actions[1], &mask)?;
        let value = self.play(|state, previous, rng| self.act(&clone, &mask, third, state, previous, rng))?;
        Ok(Cloned { accuracy, value, mask: mask.to_vec(), search: vec![] })
    }

    /// One clone for all masks, and the mask that acting finds.
    fn intervene(&self, data: &Demonstrations, stage: &mut Stage<'_>) -> Result<Cloned> {
        let clone = self.train(data, None, stage)?;
        let mut search = MaskSearch::new(FEATURES, self.config.search.clone())?;
        let mut returns = Vec::new();
        for episode in 0..self.config.interventions as u64 {
            let rng = &mut self.streams.stream("search", episode);
            let mask = search.propose(rng)?;
            let value = episode_return(rng, |state, previous, rng| {
                self.act(&clone, &mask, Third::Previous, state, previous, rng)
            })?;
            search.record(mask, value);
            returns.push(value);
        }
        let mask = search.best()?;
        let accuracy = clone.accuracy(&data.observations[1], &data.actions[1], &mask)?;
        let value =
            self.play(|state, previous, rng| self.act(&clone, &mask, Third::Previous, state, previous, rng))?;
        Ok(Cloned { accuracy, value, mask, search: returns })
    }

    fn act(
        &self,
        clone: &MaskedClone,
        mask: &[bool],
        third: Third,
        state: &[f64; 2],
        previous: usize,
        rng: &mut StreamRng,
    ) -> Result<usize> {
        let input = if third == Third::Previous { previous } else { rng.random_range(0..3) };
        Ok(clone.act(&self.observe(state, input, rng), mask)?[0])
    }

    /// Mean return over the test episodes.
    fn play(&self, mut policy: impl FnMut(&[f64; 2], usize, &mut StreamRng) -> Result<usize>) -> Result<f64> {
        let mut total = 0.0;
        for episode in 0..self.config.test_episodes {
            total += episode_return(&mut self.streams.stream("test", episode), &mut policy)?;
        }
        Ok(total / self.config.test_episodes as f64)
    }
}

/// −1 per step until the goal, at most 200; the policy sees the state and its own previous action.
fn episode_return(
    rng: &mut StreamRng,
    mut policy: impl FnMut(&[f64; 2], usize, &mut StreamRng) -> Result<usize>,
) -> Result<f64> {
    let (car, mut previous, mut total) = (MountainCar, 1, 0.0);
    let mut state = car.initial_state(rng);
    for _ in 0..200 {
        previous = policy(&state, previous, rng)?;
        let (reward, done) = car.transition(&mut state, Action::Discrete(previous), rng);
        total += reward;
        if done {
            break;
        }
    }
    Ok(total)
}
