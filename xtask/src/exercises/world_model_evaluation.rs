//! `world-model-evaluation`: the same recorded episodes, four models, one protocol.
//!
//! A recurrent state-space model, an ensemble, a linear fit and a copy of the last observation learn from the same
//! episodes, half of them random and half of them a noisy rule's. Each predicts held-out episodes open loop from their
//! actions alone, is asked how sure it is, ranks action sequences beside the simulator, and is planned in by the same
//! planner.

use super::Exercise;
use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line};
use anyhow::Result;
use rl_core::env::scripted::{Policy, Random, heuristic};
use rl_core::env::{Action, CartPole, Env, EnvSpec, Episode, Pendulum, PointControl, Simulator};
use rl_core::evaluate::{evaluate, one_by_one};
use rl_core::experiment::Role;
use rl_core::numpy_rng::NumpyRng;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};
use world_models::evaluation::{
    Imagines, Learned, Linear, LinearModel, OfflineConfig, OfflineEnsemble, OfflineRssm, Persistence,
    Predictor, Trajectory, TrueDynamics, calibration, normalised_score, open_loop_errors, open_loop_spread,
    record,
};
use world_models::pets::{DynamicsConfig, EnsembleModel, RolloutConfig};
use world_models::planning::{Execute, Icem, Method, PlannerConfig, SimulatorModel, play};
use world_models::rssm::{Rollout, RssmConfig, evaluate_planner};

pub(super) struct WorldModelEvaluation;

/// The data, the models and the protocol.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Tasks: any of `Pendulum-v1`, `CartPole-v1`, `PointControl`.
    tasks: Vec<String>,
    /// Transitions that every model learns from: whole episodes until there are so many.
    transitions: usize,
    /// Held-out episodes.
    held_out: u64,
    /// Fixed starts of the planned episodes.
    starts: u64,
    /// Continuations drawn for the intervals.
    samples: usize,
    /// The recurrent state-space model.
    rssm: RssmConfig,
    /// How it learns.
    rssm_training: OfflineConfig,
    /// The ensemble; its updates are those below.
    ensemble: DynamicsConfig,
    /// Updates of the ensemble.
    ensemble_updates: u64,
    /// The planner of every model and of the true dynamics.
    planner: PlannerConfig,
}

const TASKS: [&str; 3] = ["Pendulum-v1", "CartPole-v1", "PointControl"];
const HELD_OUT: u64 = 20_000;
const TRAIN: u64 = 30_000;
/// Episodes that are evaluated at a time.
const COPIES: usize = 10;
/// Look-aheads of the open-loop errors.
const HORIZONS: [usize; 6] = [1, 2, 5, 10, 20, 40];
/// Steps that are filtered before a model predicts.
const CONTEXT: usize = 5;
/// Steps between two starting points.
const STRIDE: usize = 10;
/// Probability that the rule's action is replaced by a random one, in the data.
const NOISE: f64 = 0.3;

impl Exercise for WorldModelEvaluation {
    type Config = Config;

    const NAME: &'static str = "world-model-evaluation";
    const DESCRIPTION: &'static str =
        "Open-loop error, calibration and planning return of four models on the same episodes";
    const DURATION: [&'static str; 3] = ["10 s", "8 min", "30 min"];

    fn config(preset: Preset) -> Config {
        let mut config = Config {
            tasks: TASKS.map(String::from).to_vec(),
            transitions: 4000,
            held_out: 10,
            starts: 20,
            samples: 40,
            rssm: RssmConfig {
                deter: 64,
                stoch: 16,
                embedding: 64,
                encoder: vec![64],
                decoder: vec![64],
                reward: vec![64, 64],
                continuation: vec![32],
                ..RssmConfig::default()
            },
            rssm_training: OfflineConfig { updates: 6000, length: 25, ..OfflineConfig::default() },
            ensemble: DynamicsConfig::default(),
            ensemble_updates: 10_000,
            planner: PlannerConfig {
                horizon: 20,
                candidates: 80,
                elites: 8,
                iterations: 3,
                particles: 5,
                execute: Execute::Best,
                method: Method::Icem(Icem { noise_exponent: 2.0, ..Icem::default() }),
                ..PlannerConfig::default()
            },
        };
        match preset {
            Preset::Smoke => {
                (config.transitions, config.held_out, config.starts, config.samples) = (600, 2, 1, 10);
                (config.rssm_training.updates, config.ensemble_updates) = (20, 50);
                config.planner = PlannerConfig {
                    horizon: 4,
                    candidates: 8,
                    elites: 2,
                    iterations: 1,
                    ..config.planner.clone()
                };
            }
            Preset::Quick => {}
            Preset::Full => (config.held_out, config.starts) = (20, 50),
        }
        config
    }

    fn validate(config: &Config) -> Result<()> {
        for (field, value) in
            [("held_out", config.held_out), ("starts", config.starts), ("samples", config.samples as u64)]
        {
            anyhow::ensure!(value > 0, "{field} = {value}: must be at least 1");
        }
        for task in &config.tasks {
            anyhow::ensure!(TASKS.contains(&task.as_str()), "tasks: `{task}` is none of {TASKS:?}");
        }
        config.rssm.validate()?;
        config.rssm_training.validate()?;
        config.ensemble.validate()?;
        config.planner.validate()?;
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for task in &config.tasks {
            match task.as_str() {
                "Pendulum-v1" => {
                    let state: fn(&[f32]) -> [f64; 2] =
                        |o| [f64::from(o[1]).atan2(f64::from(o[0])), f64::from(o[2])];
                    let simulator = Pendulum::default();
                    Task { simulator, mean: simulator, state, shown: (0, "cos θ"), config }.run(ctx)?;
                }
                "CartPole-v1" => {
                    let state: fn(&[f32]) -> [f64; 4] = |o| std::array::from_fn(|i| f64::from(o[i]));
                    Task { simulator: CartPole, mean: CartPole, state, shown: (2, "θ"), config }.run(ctx)?;
                }
                _ => {
                    let state: fn(&[f32]) -> [f64; 4] = |o| std::array::from_fn(|i| f64::from(o[i]));
                    let (simulator, mean) = (PointControl::default(), PointControl { noise: 0.0 });
                    Task { simulator, mean, state, shown: (0, "s₀"), config }.run(ctx)?;
                }
            }
        }
        ctx.note(
            "All models learn from the same episodes and are scored on others. Errors of the observation are in standard \
             deviations of the held-out data. The normalised score is 0 for random actions and 1 for the same planner on \
             the true dynamics.",
        );
        Ok(())
    }
}

/// The rule of a task, with random actions in between.
struct NoisyRule {
    rule: Box<dyn Policy + Send>,
    random: Random<StreamRng>,
}

impl Policy for NoisyRule {
    fn act(&mut self, observation: &[f32]) -> Action<'_> {
        use rand::RngExt;
        if self.random.rng.random::<f64>() < NOISE {
            return self.random.act(observation);
        }
        self.rule.act(observation)
    }
}

/// One task of the exercise.
struct Task<'a, S: Simulator> {
    simulator: S,
    /// Without noise: what an open-loop prediction can know at best.
    mean: S,
    /// The state that an observation shows.
    state: fn(&[f32]) -> S::State,
    /// The dimension of the observation that the figure of a prediction shows, and its name.
    shown: (usize, &'static str),
    config: &'a Config,
}

impl<S: Simulator + Clone + 'static> Task<'_, S> {
    fn spec(&self) -> EnvSpec {
        self.simulator.spec()
    }

    fn copies(&self, n: usize) -> Vec<Box<dyn Env>> {
        let copy = || Box::new(Episode::<S, NumpyRng>::new(self.simulator.clone(), 0)) as Box<dyn Env>;
        (0..n).map(|_| copy()).collect()
    }

    /// Episodes from `from` on, random and ruled in turns, until `enough` says so.
    fn record(
        &self,
        ctx: &Context,
        from: u64,
        mut enough: impl FnMut(&[Trajectory]) -> bool,
    ) -> Result<Vec<Trajectory>> {
        let (spec, mut env) = (self.spec(), self.copies(1).remove(0));
        let random = |purpose| Random::new(&spec.action, ctx.streams.stream(purpose, from));
        let mut policies: Vec<Box<dyn Policy>> = vec![Box::new(random("random"))];
        if let Some(rule) = heuristic(&spec.id, &spec.action) {
            policies.push(Box::new(NoisyRule { rule, random: random("rule") }));
        }
        let (mut all, n) = (vec![], policies.len());
        while !enough(&all) {
            let start = from + all.len() as u64;
            all.extend(record(env.as_mut(), policies[all.len() % n].as_mut(), &[start])?);
        }
        Ok(all)
    }

    fn run(&self, ctx: &mut Context) -> Result<()> {
        let (id, spec, config) = (self.spec().id, self.spec(), self.config);
        let steps = |data: &[Trajectory]| data.iter().map(Trajectory::steps).sum::<usize>();
        let train = self.record(ctx, TRAIN, |data| steps(data) >= config.transitions)?;
        // Short episodes have nothing to predict.
        let needed = CONTEXT + HORIZONS.iter().max().unwrap_or(&1);
        let mut held_out = self.record(ctx, HELD_OUT, |data| {
            data.iter().filter(|t| t.steps() >= needed).count() as u64 >= config.held_out
        })?;
        held_out.retain(|t| t.steps() >= needed);
        let seeds = SeedStream::new(ctx.streams.derive(&id, 0));
        let training = (&config.rssm_training, &config.rssm);
        let mut rssm = OfflineRssm::new(training, &spec, &train, &ctx.device, seeds)?;
        ctx.session.run(&format!("{id}/rssm"), &mut rssm)?;
        let ends = train.iter().any(|t| t.terminated);
        let mut dynamics = config.ensemble.clone();
        dynamics.ensemble.termination_scale = if ends { 1.0 } else { 0.0 };
        let training = (&dynamics, config.ensemble_updates);
        let mut ensemble = OfflineEnsemble::new(training, &train, &ctx.device, seeds)?;
        ctx.session.run(&format!("{id}/ensemble"), &mut ensemble)?;
        let following = RolloutConfig { sample: false, ..RolloutConfig::default() };
        let mut models = Models {
            rssm: rssm.rollout()?,
            ensemble: ensemble.model(&following, config.planner.particles)?,
            linear: Linear::fit(&train)?,
            step: steps(&train) as u64,
        };
        self.open_loop(ctx, &mut models, &held_out)?;
        self.calibrate(ctx, &mut models, &held_out)?;
        self.plan(ctx, &mut models, seeds)
    }

    fn open_loop(&self, ctx: &mut Context, models: &mut Models, data: &[Trajectory]) -> Result<()> {
        let (id, space, step) = (self.spec().id, self.spec().action, models.step);
        let rng = || ctx.streams.stream("imagine", 0);
        let mut rssm = Learned { rollout: &mut models.rssm, space: &space, rng: rng() };
        let mut ensemble = Learned { rollout: &mut models.ensemble, space: &space, rng: rng() };
        let mut truth = TrueDynamics { simulator: &self.mean, state_of: self.state, rng: rng() };
        let predictors: [(&str, Role, &mut dyn Predictor); 5] = [
            ("rssm", Role::Method, &mut rssm),
            ("ensemble", Role::Method, &mut ensemble),
            ("linear", Role::Reference, &mut models.linear),
            ("copy", Role::Reference, &mut Persistence),
            ("true dynamics", Role::Reference, &mut truth),
        ];
        let labels = [("observation", "RMSE / standard deviation"), ("reward", "RMSE")];
        let mut figures = labels.map(|(what, unit)| Figure {
            name: format!("{id}-open-loop-{what}"),
            title: format!("{id}: open-loop error of the {what}"),
            x_label: "steps ahead".into(),
            y_label: unit.into(),
            lines: vec![],
        });
        let mut shown = self.shown_truth(&data[0]);
        for (name, role, predictor) in predictors {
            let errors = open_loop_errors(predictor, data, CONTEXT, &HORIZONS, STRIDE)?;
            let x: Vec<f64> = errors.iter().map(|e| e.horizon as f64).collect();
            let y =
                [errors.iter().map(|e| e.observation).collect(), errors.iter().map(|e| e.reward).collect()];
            for (figure, y) in figures.iter_mut().zip(y) {
                figure.lines.push(Line { name: name.into(), x: x.clone(), y });
            }
            for (error, metrics) in errors.iter().filter_map(|e| Some((e, metrics_at(e.horizon)?))) {
                ctx.score(&id, name, role, Measure::error(metrics[0], ""), step, error.observation)?;
                ctx.score(&id, name, role, Measure::error(metrics[1], ""), step, error.reward)?;
            }
            if name != "true dynamics" {
                shown.lines.push(self.shown_prediction(name, predictor, &data[0])?);
            }
        }
        figures.into_iter().chain([shown]).for_each(|figure| ctx.figure(figure));
        Ok(())
    }

    /// The figure of one held-out episode's beginning, with the truth in it.
    fn shown_truth(&self, trajectory: &Trajectory) -> Figure {
        let (id, (dimension, name)) = (self.spec().id, self.shown);
        let until = CONTEXT + HORIZONS[HORIZONS.len() - 1];
        let y = (0..=until).map(|t| f64::from(trajectory.observation(t)[dimension])).collect();
        let truth = Line { name: "truth".into(), x: (0..=until).map(|t| t as f64).collect(), y };
        Figure {
            name: format!("{id}-prediction"),
            title: format!("{id}: predicted from step {CONTEXT} on, from the actions alone"),
            x_label: "step of the episode".into(),
            y_label: name.into(),
            lines: vec![truth],
        }
    }

    fn shown_prediction(
        &self,
        name: &str,
        predictor: &mut dyn Predictor,
        trajectory: &Trajectory,
    ) -> Result<Line> {
        let (dimension, horizon) = (self.shown.0, HORIZONS[HORIZONS.len() - 1]);
        let (mut observations, mut rewards) = (vec![], vec![]);
        predictor.predict(trajectory, CONTEXT, horizon, &mut observations, &mut rewards)?;
        let y = observations.iter().skip(dimension).step_by(trajectory.observation_width);
        let x = (1..=horizon).map(|k| (CONTEXT + k) as f64).collect();
        Ok(Line { name: name.into(), x, y: y.map(|&y| f64::from(y)).collect() })
    }

    fn calibrate(&self, ctx: &mut Context, models: &mut Models, data: &[Trajectory]) -> Result<()> {
        let mut linear = LinearModel::new(&models.linear);
        self.calibrate_one(ctx, ("rssm", Role::Method, models.step), &mut models.rssm, data, true)?;
        self.calibrate_one(ctx, ("ensemble", Role::Method, models.step), &mut models.ensemble, data, true)?;
        self.calibrate_one(ctx, ("linear", Role::Reference, models.step), &mut linear, data, false)
    }

    /// Intervals, where a model draws, and predicted against realised returns of random action sequences.
    fn calibrate_one<M: Imagines>(
        &self,
        ctx: &mut Context,
        (name, role, step): (&str, Role, u64),
        model: &mut M,
        data: &[Trajectory],
        draws: bool,
    ) -> Result<()> {
        let (id, space) = (self.spec().id, self.spec().action);
        let rng = ctx.streams.stream("calibration", 0);
        let mut learned = Learned { rollout: model, space: &space, rng: rng.clone() };
        if draws {
            let protocol = (CONTEXT, 2 * STRIDE, self.config.samples);
            let spread = open_loop_spread(&mut learned, data, protocol, &[1, 10])?;
            let names = [
                ["CRPS of the observation, 1 ahead", "coverage of the 90 % interval (off by), 1 ahead"],
                ["CRPS of the observation, 10 ahead", "coverage of the 90 % interval (off by), 10 ahead"],
            ];
            for (spread, [score, coverage]) in spread.iter().zip(names) {
                ctx.score(&id, name, role, Measure::error(score, ""), step, spread.crps)?;
                let off = (spread.coverage - 0.9).abs();
                ctx.score(&id, name, role, Measure::error(coverage, ""), step, off)?;
            }
        }
        let mut rng = rng;
        let truth = TrueDynamics { simulator: &self.mean, state_of: self.state, rng: rng.clone() };
        let sizes = (CONTEXT, self.config.planner.horizon, 20);
        let result = calibration(&mut learned, &truth, data, sizes, &mut rng)?;
        let metric = "correlation of predicted and realised return";
        let correlation = Measure { metric, unit: "", higher_is_better: true };
        ctx.score(&id, name, role, correlation, step, result.correlation)?;
        let bias = Measure::error("bias of the predicted return (absolute)", "");
        ctx.score(&id, name, role, bias, step, result.bias.abs())
    }

    fn plan(&self, ctx: &mut Context, models: &mut Models, seeds: SeedStream) -> Result<()> {
        let (spec, planner) = (self.spec(), &self.config.planner);
        let single = PlannerConfig { particles: 1, ..planner.clone() };
        let mut random = Random::new(&spec.action, seeds.stream("random", 0));
        let chance = self.mean_return(ctx, "random", |copies, starts| {
            Ok(evaluate(copies, starts, one_by_one(&mut random))?.returns)
        })?;
        let mut truth =
            SimulatorModel::new(self.simulator.clone(), (self.state)(&vec![0.1; spec.observation.width()]));
        let oracle = self.mean_return(ctx, "oracle planner", |copies, starts| {
            let observe = |model: &mut SimulatorModel<S>, o: &[f32]| model.set_state((self.state)(o));
            Ok(play(&mut truth, observe, (&single, 1), copies, starts, seeds)?.returns)
        })?;
        ctx.score(&spec.id, "random", Role::Reference, Measure::RETURN, 0, chance)?;
        ctx.score(&spec.id, "oracle planner", Role::Reference, Measure::RETURN, 0, oracle)?;
        let rssm = self.mean_return(ctx, "rssm", |copies, starts| {
            Ok(evaluate_planner(&mut models.rssm, &single, copies, starts, seeds)?.returns)
        })?;
        let ensemble = self.mean_return(ctx, "ensemble", |copies, starts| {
            let observe = |model: &mut EnsembleModel, o: &[f32]| model.observation.copy_from_slice(o);
            Ok(play(&mut models.ensemble, observe, (planner, 1), copies, starts, seeds)?.returns)
        })?;
        let copy = LinearModel::copy(spec.observation.width(), spec.action.width());
        let mut simple = [("linear", LinearModel::new(&models.linear)), ("copy", copy)];
        let mut results = vec![("rssm", Role::Method, rssm), ("ensemble", Role::Method, ensemble)];
        for (name, model) in &mut simple {
            let result = self.mean_return(ctx, name, |copies, starts| {
                let observe = |model: &mut LinearModel, o: &[f32]| model.observation.copy_from_slice(o);
                Ok(play(model, observe, (&single, 1), copies, starts, seeds)?.returns)
            })?;
            results.push((name, Role::Reference, result));
        }
        for (name, role, result) in results {
            ctx.score(&spec.id, name, role, Measure::RETURN, models.step, result)?;
            let measure = Measure { metric: "normalised score", unit: "", higher_is_better: true };
            // Where the planner does no better than chance on the true dynamics, there is no scale.
            if oracle > chance {
                let score = normalised_score(result, chance, oracle);
                ctx.score(&spec.id, name, role, measure, models.step, score)?;
            }
        }
        Ok(())
    }

    /// Mean return over the fixed starts.
    fn mean_return(
        &self,
        ctx: &mut Context,
        method: &str,
        mut play: impl FnMut(&mut [Box<dyn Env>], &[u64]) -> Result<Vec<f64>>,
    ) -> Result<f64> {
        let stage = format!("{}/plan-{method}", self.spec().id);
        ctx.mean_return(&stage, (self.config.starts, COPIES), |some| play(&mut self.copies(COPIES), some))
    }
}

/// What has been learned from the same episodes.
struct Models {
    rssm: Rollout,
    ensemble: EnsembleModel,
    linear: Linear,
    /// Transitions learned from.
    step: u64,
}

/// What the errors at a look-ahead are called, if they are scored.
fn metrics_at(horizon: usize) -> Option<[&'static str; 2]> {
    match horizon {
        1 => Some(["observation error, 1 ahead", "reward error, 1 ahead"]),
        10 => Some(["observation error, 10 ahead", "reward error, 10 ahead"]),
        40 => Some(["observation error, 40 ahead", "reward error, 40 ahead"]),
        _ => None,
    }
}
