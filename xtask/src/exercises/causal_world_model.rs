//! `causal-world-model`: learn which object's colour follows from which, predict and plan where the rest is noise.
//!
//! The chemical environment with a chain, a collider and a full graph. The causal model finds its parents from random
//! transitions; the dense model reads everything. Both are scored on states like those seen, on states whose
//! meaningless variables are shifted, and by planning towards goal colours in both.

use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line, exercises::Exercise};
use anyhow::Result;
use causal::rl::env::{Chemical, ChemicalGraph, ChemicalState};
use causal::rl::{
    CausalWorldModel, InterventionalDataset, PlanConfig, Structure, Transition, WorldModelConfig, plan,
};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rl_core::StreamRng;
use rl_core::experiment::{Role, Stage};
use serde::{Deserialize, Serialize};

/// The exercise.
pub(crate) struct CausalWorldModelExercise;

/// Sizes and both models.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Objects, 5.
    pub objects: usize,
    /// Colours, 5.
    pub colours: usize,
    /// Random transitions to learn from, in episodes of 50.
    pub transitions: usize,
    /// Transitions of every test.
    pub test_transitions: usize,
    /// Standard deviation of the noise that replaces meaningless variables; 1 in training.
    pub shift: f32,
    /// Planned episodes per goal and model.
    pub episodes: u64,
    /// Steps of each.
    pub episode_steps: usize,
    /// The models; the dense one differs in its structure only.
    pub model: WorldModelConfig,
    /// The planner.
    pub plan: PlanConfig,
}

const GRAPHS: [(&str, ChemicalGraph); 3] =
    [("chain", ChemicalGraph::Chain), ("collider", ChemicalGraph::Collider), ("full", ChemicalGraph::Full)];
const ACCURACY: &str = "colours predicted";
const MATCHED: Measure = Measure { metric: "goal colours per step", unit: "share", higher_is_better: true };
const MATCHED_SHIFTED: Measure =
    Measure { metric: "goal colours per step, positions shifted", unit: "share", higher_is_better: true };
/// Chunks of a training, between which it can be stopped.
const CHUNKS: u64 = 20;

impl Exercise for CausalWorldModelExercise {
    type Config = Config;

    const NAME: &'static str = "causal-world-model";
    const DESCRIPTION: &'static str =
        "One mechanism per variable against a dense model, in the chemical environment";
    const DURATION: [&'static str; 3] = ["10 s", "4 min", "20 min"];

    fn config(preset: Preset) -> Config {
        let model = WorldModelConfig { updates: 6000, ..WorldModelConfig::default() };
        let config = Config {
            objects: 5,
            colours: 5,
            transitions: 20_000,
            test_transitions: 2000,
            shift: 10.0,
            episodes: 10,
            episode_steps: 30,
            model,
            plan: PlanConfig::default(),
        };
        match preset {
            Preset::Smoke => Config {
                objects: 3,
                colours: 3,
                transitions: 1000,
                test_transitions: 100,
                episodes: 1,
                episode_steps: 5,
                model: WorldModelConfig { updates: 100, hidden: vec![16], ..config.model.clone() },
                ..config
            },
            Preset::Quick => config,
            Preset::Full => Config {
                episodes: 30,
                model: WorldModelConfig { updates: 15_000, ..config.model.clone() },
                transitions: 50_000,
                ..config
            },
        }
    }

    fn validate(config: &Config) -> Result<()> {
        config.model.validate()?;
        config.plan.validate()?;
        Chemical::new(ChemicalGraph::Chain, config.objects, config.colours, rl_core::SeedStream::new(0))?;
        anyhow::ensure!(
            config.transitions >= 100,
            "transitions = {}: must be at least 100",
            config.transitions
        );
        for (field, value) in [
            ("test_transitions", config.test_transitions),
            ("episodes", config.episodes as usize),
            ("episode_steps", config.episode_steps),
        ] {
            anyhow::ensure!(value > 0, "{field} = 0: must be at least 1");
        }
        let dense = config.model.structure == Structure::Learned;
        anyhow::ensure!(dense, "model.structure: the exercise chooses it; leave it at learned");
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for (name, graph) in GRAPHS {
            let seeds = rl_core::SeedStream::new(ctx.streams.derive(name, 0));
            let chemical = Chemical::new(graph, config.objects, config.colours, seeds)?;
            Task { name, chemical, config }.run(ctx)?;
        }
        ctx.note(
            "Distance: wrong entries of the transition graph, over every pair of a target and a possible cause, own past and \
             action included. Shifted predictions: every variable that is no parent of the predicted one is replaced by \
             noise.",
        );
        Ok(())
    }
}

struct Task<'a> {
    name: &'static str,
    chemical: Chemical,
    config: &'a Config,
}

/// What a trained model scores.
#[derive(Clone, Serialize, Deserialize)]
struct Scores {
    distance: usize,
    information: Vec<Vec<f64>>,
    accuracy: f64,
    shifted_accuracy: f64,
    matched: f64,
    matched_shifted: f64,
}

impl Task<'_> {
    fn run(&self, ctx: &mut Context) -> Result<()> {
        let (config, steps) = (self.config, self.config.transitions as u64);
        for (method, role, structure) in [
            ("causal", Role::Method, Structure::Learned),
            ("true graph given", Role::Reference, Structure::Given(self.chemical.transition_graph())),
            ("dense", Role::Reference, Structure::Dense),
        ] {
            let streams = ctx.streams;
            let scores: Scores =
                ctx.session.once::<_, anyhow::Error>(&format!("{}/{method}", self.name), |stage| {
                    let data = self.transitions(config.transitions, 1.0, &mut streams.stream("train", 0))?;
                    let model = WorldModelConfig { structure, ..config.model.clone() };
                    let mut model = CausalWorldModel::new(data.space().clone(), model, streams)?;
                    for chunk in 0..CHUNKS {
                        stage.progress(chunk, CHUNKS + 1)?;
                        let until = |c: u64| c * config.model.updates / CHUNKS;
                        model.train(&data, until(chunk + 1) - until(chunk))?;
                    }
                    self.score(&model, stage, streams)
                })?;
            if method != "dense" {
                let distance = Measure::error("distance from the true graph", "entries");
                ctx.score(self.name, method, role, distance, steps, scores.distance as f64)?;
            }
            if method == "causal" {
                ctx.figure(self.information(&scores));
            }
            self.hand_in(ctx, method, role, [scores.accuracy, scores.shifted_accuracy])?;
            ctx.score(self.name, method, role, MATCHED, steps, scores.matched)?;
            ctx.score(self.name, method, role, MATCHED_SHIFTED, steps, scores.matched_shifted)?;
        }
        self.references(ctx)
    }

    fn hand_in(&self, ctx: &mut Context, method: &str, role: Role, accuracy: [f64; 2]) -> Result<()> {
        let shares = [ACCURACY, "colours predicted, the rest shifted"].map(|metric| Measure {
            metric,
            unit: "share",
            higher_is_better: true,
        });
        for (measure, value) in shares.into_iter().zip(accuracy) {
            ctx.score(self.name, method, role, measure, self.config.transitions as u64, value)?;
        }
        Ok(())
    }

    /// The true mechanisms as predictor and in the planner's place a random agent: ceiling and floor.
    fn references(&self, ctx: &mut Context) -> Result<()> {
        let data = self.transitions(self.config.test_transitions, 1.0, &mut ctx.streams.stream("test", 0))?;
        let (mut hits, mut count) = (0.0, 0.0);
        for t in data.iter() {
            let colours = self.colours_of(t.state);
            let action = t.action.iter().position(|&a| a > 0.5).unwrap_or(0);
            for (v, &seen) in self.colours_of(t.next).iter().enumerate() {
                let law = self.chemical.law(v, &colours);
                let acted = (action / self.config.colours == v).then_some(action % self.config.colours);
                let best = acted.unwrap_or_else(|| largest(law.iter().copied()));
                hits += f64::from(u8::from(best == seen));
                count += 1.0;
            }
        }
        self.hand_in(ctx, "true mechanisms", Role::Reference, [hits / count; 2])?;
        let random =
            self.play(1.0, ctx.streams, |_, _, rng| Ok(rng.random_range(0..self.chemical.actions())))?;
        let steps = self.config.transitions as u64;
        ctx.score(self.name, "random actions", Role::Reference, MATCHED, steps, random)?;
        ctx.score(self.name, "random actions", Role::Reference, MATCHED_SHIFTED, steps, random)?;
        let greedy = self.play(1.0, ctx.streams, |state, goal, _| {
            // Paint the first object that is wrong; nothing is known of reactions.
            let wrong = (0..goal.len()).find(|&v| state.colours[v] != goal[v]).unwrap_or(0);
            Ok(wrong * self.config.colours + goal[wrong])
        })?;
        ctx.score(self.name, "paint what is wrong", Role::Reference, MATCHED, steps, greedy)?;
        ctx.score(self.name, "paint what is wrong", Role::Reference, MATCHED_SHIFTED, steps, greedy)
    }

    fn colours_of(&self, encoded: &[f32]) -> Vec<usize> {
        let k = self.config.colours;
        (0..self.config.objects)
            .map(|v| largest(encoded[v * k..(v + 1) * k].iter().map(|&x| f64::from(x))))
            .collect()
    }

    /// Transitions of random actions; positions have the given scale.
    fn transitions(&self, count: usize, scale: f32, rng: &mut StreamRng) -> Result<InterventionalDataset> {
        let mut chemical = self.chemical.clone();
        chemical.position_scale = scale;
        let mut data = InterventionalDataset::new(chemical.space()?);
        let mut state = chemical.initial(rng);
        for i in 0..count {
            let first = i % 50 == 0;
            if first {
                state = chemical.initial(rng);
            }
            let action = rng.random_range(0..chemical.actions());
            let next = chemical.step(&state, action, rng);
            data.push(Transition {
                state: &chemical.encode(&state),
                action: &chemical.encode_action(action),
                reward: 0.0,
                next: &chemical.encode(&next),
                first,
                set: &[],
            })?;
            state = next;
        }
        Ok(data)
    }

    fn score(
        &self,
        model: &CausalWorldModel,
        stage: &mut Stage<'_>,
        streams: rl_core::SeedStream,
    ) -> Result<Scores> {
        let truth = self.chemical.transition_graph();
        let inputs = 0..=model.space().len();
        let wrong = |v: usize| {
            let found = model.parents(v);
            inputs.clone().filter(|i| found.contains(i) != truth[v].contains(i)).count()
        };
        let distance = (0..model.space().len()).map(wrong).sum();
        let test = self.transitions(self.config.test_transitions, 1.0, &mut streams.stream("test", 0))?;
        let noise = &mut streams.stream("noise", 0);
        let accuracy = self.accuracy(model, &test, None)?;
        let shifted_accuracy = self.accuracy(model, &test, Some(noise))?;
        stage.progress(CHUNKS, CHUNKS + 1)?;
        let actions: Vec<Vec<f32>> =
            (0..self.chemical.actions()).map(|a| self.chemical.encode_action(a)).collect();
        let planned = |scale: f32| {
            self.play(scale, streams, |state, goal, rng| {
                let encoded = self.chemical.encode(state);
                let reward = |next: &[f32]| self.chemical.matched(next, goal);
                Ok(plan(model, &encoded, &actions, reward, &self.config.plan, rng)?)
            })
        };
        let (matched, matched_shifted) = (planned(1.0)?, planned(self.config.shift)?);
        let colours = self.config.objects;
        let information = if model.information()[0][0].is_finite() {
            model.information()[..colours].to_vec()
        } else {
            vec![]
        };
        Ok(Scores { distance, information, accuracy, shifted_accuracy, matched, matched_shifted })
    }

    /// Share of colours whose most likely value is right; with noise in place of all that is no true parent.
    fn accuracy(
        &self,
        model: &CausalWorldModel,
        test: &InterventionalDataset,
        mut noise: Option<&mut StreamRng>,
    ) -> Result<f64> {
        let (space, k) = (model.space(), self.config.colours);
        let truth = self.chemical.transition_graph();
        let mut hits = 0;
        for (v, parents) in truth.iter().enumerate().take(self.config.objects) {
            let (mut states, mut actions) = (Vec::new(), Vec::new());
            for t in test.iter() {
                let mut state = t.state.to_vec();
                if let Some(rng) = &mut noise {
                    for u in (0..space.len()).filter(|u| !parents.contains(u)) {
                        for x in &mut state[space.block(u)] {
                            let z: f32 = StandardNormal.sample(*rng);
                            *x = self.config.shift * z;
                        }
                    }
                }
                states.extend(state);
                actions.extend_from_slice(t.action);
            }
            let law = model.law(v, &states, &actions)?;
            let right = law
                .chunks_exact(k)
                .zip(test.iter())
                .filter(|(p, t)| largest(p.iter().map(|&x| f64::from(x))) == self.colours_of(t.next)[v]);
            hits += right.count();
        }
        Ok(hits as f64 / (test.len() * self.config.objects) as f64)
    }

    /// Mean share of goal colours per step, over episodes of a policy. The goal is where 10 random actions lead.
    fn play(
        &self,
        scale: f32,
        streams: rl_core::SeedStream,
        mut policy: impl FnMut(&ChemicalState, &[usize], &mut StreamRng) -> Result<usize>,
    ) -> Result<f64> {
        let mut chemical = self.chemical.clone();
        chemical.position_scale = scale;
        let mut total = 0.0;
        for episode in 0..self.config.episodes {
            let rng = &mut streams.stream("play", episode);
            let mut imagined = chemical.initial(rng);
            for _ in 0..10 {
                let action = rng.random_range(0..chemical.actions());
                imagined = chemical.step(&imagined, action, rng);
            }
            let goal = imagined.colours;
            let mut state = chemical.initial(rng);
            for _ in 0..self.config.episode_steps {
                let action = policy(&state, &goal, rng)?;
                state = chemical.step(&state, action, rng);
                total += chemical.matched(&chemical.encode(&state), &goal);
            }
        }
        Ok(total / (self.config.episodes * self.config.episode_steps as u64) as f64)
    }

    /// Estimated information of every possible cause, one line per object.
    fn information(&self, scores: &Scores) -> Figure {
        let line = |(v, row): (usize, &Vec<f64>)| Line {
            name: format!("colour {v}"),
            x: (0..row.len()).map(|i| i as f64).collect(),
            y: row.clone(),
        };
        Figure {
            name: format!("{}-information", self.name),
            title: format!("{}: what each input tells about each colour", self.name),
            x_label: "input: colours, positions, action".into(),
            y_label: "conditional mutual information [nats]".into(),
            lines: scores.information.iter().enumerate().map(line).collect(),
        }
    }
}

fn largest(values: impl Iterator<Item = f64>) -> usize {
    let better = |best: (usize, f64), new: (usize, f64)| if new.1 > best.1 { new } else { best };
    values.enumerate().fold((0, f64::NEG_INFINITY), better).0
}
