//! `world-model-planning`: learn a recurrent state-space model from real interaction, and plan with it.
//!
//! PointControl: the model learns from 50 episodes of random actions. Pendulum-v1: one random episode, then the agent
//! plans while it learns. Both are scored over fixed starts beside what they have to be held against: doing nothing,
//! random actions, one line of control, model-free learning from as many steps, and the same planner on the true dynamics.

use crate::run::{Context, Measure, Preset};
use crate::{Figure, Line, exercises::Exercise};
use anyhow::Result;
use rl_core::baselines::{Sac, SacConfig};
use rl_core::env::scripted::{Policy, Random, Zero, heuristic};
use rl_core::env::{Env, Episode, Pendulum, PointControl, Simulator};
use rl_core::evaluate::{Turn, evaluate, one_by_one};
use rl_core::experiment::{Metrics, Role, Trainer};
use rl_core::numpy_rng::NumpyRng;
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};
use world_models::evaluation::{self, Learned, Linear, Persistence, Predictor, TrueDynamics};
use world_models::planning::{Cem, Execute, Method, PlannedAction, Planner, PlannerConfig, SimulatorModel};
use world_models::rssm::{AgentConfig, PlanningAgent, Rollout, RssmConfig};

/// The exercise.
pub(crate) struct WorldModelPlanning;

/// Both tasks and the evaluation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// PointControl: `agent.steps` is replaced by the length of so many random episodes.
    pub random_episodes: u64,
    /// Fixed starts over which every policy is scored.
    pub starts: u64,
    /// Episodes held out for open-loop errors.
    pub held_out: u64,
    /// PointControl.
    pub point_control: AgentConfig,
    /// Pendulum-v1.
    pub pendulum: AgentConfig,
    /// The model-free reference; `total_steps` is replaced by the agent's steps.
    pub sac: SacConfig,
}

/// First of the held-out episodes' seeds.
const HELD_OUT: u64 = 20_000;
/// First of the seeds of the episodes that the linear model is fitted to.
const TRAIN: u64 = 30_000;
/// Episodes that are evaluated at a time.
const COPIES: usize = 10;
/// Look-aheads of the open-loop errors.
const HORIZONS: [usize; 6] = [1, 2, 5, 10, 15, 20];
/// Steps that are filtered before a model predicts.
const CONTEXT: usize = 5;

impl Exercise for WorldModelPlanning {
    type Config = Config;

    const NAME: &'static str = "world-model-planning";
    const DESCRIPTION: &'static str = "Learn a recurrent state-space model and plan with it by CEM";
    const DURATION: [&'static str; 3] = ["10 s", "8 min", "20 min"];

    fn config(preset: Preset) -> Config {
        let cem = |horizon, candidates, iterations| PlannerConfig {
            horizon,
            candidates,
            elites: candidates / 10,
            iterations,
            execute: Execute::Mean,
            method: Method::Cem(Cem::default()),
            ..PlannerConfig::default()
        };
        let point_control = AgentConfig {
            // All of them: the steps are counted from the random episodes.
            random_steps: 1_000_000,
            updates_per_step: 1.0,
            planner: cem(8, 200, 4),
            ..AgentConfig::default()
        };
        let pendulum = AgentConfig {
            steps: 2000,
            random_steps: 200,
            updates_per_step: 4.0,
            // PlaNet's length: with windows of 15 steps h is never trained as old as it gets in an episode, and one
            // seed in three loses its swing-up in the second half of an episode.
            batch: 8,
            length: 50,
            planner: cem(20, 200, 4),
            model: RssmConfig {
                deter: 64,
                stoch: 16,
                embedding: 64,
                encoder: vec![64],
                decoder: vec![64],
                reward: vec![64, 64],
                continuation: vec![32],
                ..RssmConfig::default()
            },
            ..AgentConfig::default()
        };
        // As in the exercise `baselines`.
        let sac = SacConfig { hidden: vec![64, 64], learning_rate: 1e-3, ..SacConfig::default() };
        let mut config =
            Config { random_episodes: 50, starts: 50, held_out: 20, point_control, pendulum, sac };
        if preset == Preset::Smoke {
            (config.random_episodes, config.starts, config.held_out, config.pendulum.steps) = (2, 2, 2, 250);
            for agent in [&mut config.point_control, &mut config.pendulum] {
                agent.updates_per_step = 0.1;
                agent.planner.candidates = 20;
                agent.planner.elites = 4;
                agent.planner.iterations = 2;
            }
        }
        config
    }

    fn validate(config: &Config) -> Result<()> {
        for (field, value) in [
            ("random_episodes", config.random_episodes),
            ("starts", config.starts),
            ("held_out", config.held_out),
        ] {
            anyhow::ensure!(value > 0, "{field} = {value}: must be at least 1");
        }
        config.point_control.validate()?;
        config.pendulum.validate()?;
        config.sac.validate()?;
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        let mut point_control = config.point_control.clone();
        point_control.steps = length_of_random_episodes(&point_control, config.random_episodes, ctx)?;
        let point_state: fn(&[f32]) -> [f64; 4] = |o| std::array::from_fn(|i| f64::from(o[i]));
        let (simulator, mean) = (PointControl::default(), PointControl { noise: 0.0 });
        Task { simulator, mean, state_of: point_state, agent: &point_control, config }.run(ctx)?;
        let simulator = Pendulum::default();
        let agent = &config.pendulum;
        Task { simulator, mean: simulator, state_of: pendulum_state, agent, config }.run(ctx)?;
        ctx.note("Scores are mean returns over fixed starts that no training episode used. The oracle plans with the true dynamics and the same budget; it knows the dynamics, not the noise to come.");
        Ok(())
    }
}

/// Steps of the first random episodes that this seed's agent will play.
fn length_of_random_episodes(config: &AgentConfig, episodes: u64, ctx: &Context) -> Result<u64> {
    let dry = AgentConfig { updates_per_step: 0.0, steps: 200 * episodes, ..config.clone() };
    let env = rl_core::env::make("PointControl", 0)?;
    let mut agent = PlanningAgent::new(dry, env, &ctx.device, ctx.streams)?;
    let mut metrics = Metrics::in_memory();
    while agent.episodes() < episodes {
        agent.advance(&mut metrics)?;
    }
    Ok(agent.step())
}

/// θ = 0 is upright; the observation is (cos θ, sin θ, θ̇).
fn pendulum_state(observation: &[f32]) -> [f64; 2] {
    [f64::from(observation[1]).atan2(f64::from(observation[0])), f64::from(observation[2])]
}

/// One task of the exercise.
struct Task<'a, S: Simulator> {
    simulator: S,
    /// Without noise: what an open-loop prediction can know at best.
    mean: S,
    /// The state that an observation shows.
    state_of: fn(&[f32]) -> S::State,
    agent: &'a AgentConfig,
    config: &'a Config,
}

impl<S: Simulator + Clone + 'static> Task<'_, S> {
    fn run(&self, ctx: &mut Context) -> Result<()> {
        let env = self.copies(1).remove(0);
        let mut learner = PlanningAgent::new(self.agent.clone(), env, &ctx.device, ctx.streams)?;
        ctx.session.run(&format!("{}/rssm-cem", self.id()), &mut learner)?;
        let seeds = ctx.streams;
        let learned = self.score(ctx, "rssm-cem", Role::Method, self.agent.steps, |starts| {
            Ok(learner.evaluate(&mut self.copies(COPIES), starts, seeds)?.returns)
        })?;
        let space = self.simulator.spec().action;
        self.score_policy(ctx, "zero", &mut Zero::new(&space))?;
        let random = self.score_policy(ctx, "random", &mut Random::new(&space, seeds.stream("random", 0)))?;
        if let Some(mut rule) = heuristic(&self.id(), &space) {
            self.score_policy(ctx, "scripted", rule.as_mut())?;
        }
        self.model_free(ctx)?;
        let oracle =
            self.score(ctx, "oracle-cem", Role::Reference, 0, |starts| self.oracle(starts, seeds))?;
        let normalised = evaluation::normalised_score(learned, random, oracle);
        let measure = Measure { metric: "normalised score", unit: "", higher_is_better: true };
        ctx.score(&self.id(), "rssm-cem", Role::Method, measure, self.agent.steps, normalised)?;
        self.open_loop(ctx, &mut learner.rollout()?)
    }

    fn id(&self) -> String {
        self.simulator.spec().id
    }

    fn copies(&self, n: usize) -> Vec<Box<dyn Env>> {
        let copy = || Box::new(Episode::<S, NumpyRng>::new(self.simulator.clone(), 0)) as Box<dyn Env>;
        (0..n).map(|_| copy()).collect()
    }

    /// Mean return over the fixed starts, handed in as a score.
    fn score(
        &self,
        ctx: &mut Context,
        method: &str,
        role: Role,
        step: u64,
        play: impl FnMut(&[u64]) -> Result<Vec<f64>>,
    ) -> Result<f64> {
        let stage = format!("{}/evaluate-{method}", self.id());
        let mean = ctx.mean_return(&stage, (self.config.starts, COPIES), play)?;
        ctx.score(&self.id(), method, role, Measure::RETURN, step, mean)?;
        Ok(mean)
    }

    fn score_policy(&self, ctx: &mut Context, method: &str, policy: &mut dyn Policy) -> Result<f64> {
        self.score(ctx, method, Role::Reference, 0, |starts| {
            Ok(evaluate(&mut self.copies(COPIES), starts, one_by_one(policy))?.returns)
        })
    }

    /// SAC with as many environment steps as the model had, one update each.
    fn model_free(&self, ctx: &mut Context) -> Result<()> {
        let config = SacConfig { total_steps: self.agent.steps, ..self.config.sac.clone() };
        let seeds = SeedStream::new(ctx.streams.derive("sac", 0));
        let mut sac = Sac::new(config, self.copies(1), seeds, &ctx.device)?;
        ctx.session.run(&format!("{}/sac", self.id()), &mut sac)?;
        let score = self.score(ctx, "sac", Role::Reference, self.agent.steps, |starts| {
            Ok(evaluate(&mut self.copies(COPIES), starts, sac.policy())?.returns)
        });
        score.map(|_| ())
    }

    /// The agent's planner on the true dynamics.
    fn oracle(&self, starts: &[u64], seeds: SeedStream) -> Result<Vec<f64>> {
        let space = self.simulator.spec().action;
        let width = self.simulator.spec().observation.width();
        let mut minds: Vec<Option<(Planner<SimulatorModel<S>>, StreamRng)>> =
            starts.iter().map(|_| None).collect();
        let evaluation =
            evaluate(&mut self.copies(COPIES), starts, |turn: &Turn<'_>, actions: &mut [f32]| {
                let a = actions.len() / turn.rows();
                for (row, &episode) in turn.episodes.iter().enumerate() {
                    let (planner, rng) = match &mut minds[episode] {
                        Some(mind) => mind,
                        empty => empty.insert((
                            Planner::new(self.agent.planner.clone(), &space)?,
                            seeds.stream("oracle", starts[episode]),
                        )),
                    };
                    let state = (self.state_of)(&turn.observations[row * width..][..width]);
                    let plan = planner.plan(&SimulatorModel::new(self.simulator.clone(), state), rng)?;
                    if let PlannedAction::Continuous(action) = plan.action {
                        actions[row * a..][..a].copy_from_slice(&action);
                    }
                }
                anyhow::Ok(())
            })?;
        Ok(evaluation.returns)
    }

    /// Open-loop errors per look-ahead, and how well predicted returns rank and match the realised ones.
    fn open_loop(&self, ctx: &mut Context, rollout: &mut Rollout) -> Result<()> {
        let (id, space) = (self.id(), self.simulator.spec().action);
        let record = |from: u64, purpose| {
            let starts: Vec<u64> = (from..from + self.config.held_out).collect();
            let mut random = Random::new(&space, ctx.streams.stream(purpose, 0));
            evaluation::record(self.copies(1)[0].as_mut(), &mut random, &starts)
        };
        let (held_out, train) = (record(HELD_OUT, "held-out")?, record(TRAIN, "train")?);
        let mut truth = TrueDynamics {
            simulator: &self.mean,
            state_of: self.state_of,
            rng: ctx.streams.stream("truth", 0),
        };
        let mut linear = Linear::fit(&train)?;
        let mut learned = Learned { rollout, space: &space, rng: ctx.streams.stream("imagine", 0) };
        let mut figures =
            [("observation", "RMSE / standard deviation"), ("reward", "RMSE")].map(|(what, unit)| Figure {
                name: format!("{id}-open-loop-{what}"),
                title: format!("{id}: open-loop error of the {what}"),
                x_label: "steps ahead".into(),
                y_label: unit.into(),
                lines: vec![],
            });
        let predictors: [(&str, Role, &mut dyn Predictor); 4] = [
            ("rssm", Role::Method, &mut learned),
            ("persistence", Role::Reference, &mut Persistence),
            ("linear", Role::Reference, &mut linear),
            ("true dynamics", Role::Reference, &mut truth),
        ];
        for (name, role, predictor) in predictors {
            let errors = evaluation::open_loop_errors(predictor, &held_out, CONTEXT, &HORIZONS, 5)?;
            let x: Vec<f64> = errors.iter().map(|e| e.horizon as f64).collect();
            let y =
                [errors.iter().map(|e| e.observation).collect(), errors.iter().map(|e| e.reward).collect()];
            for (figure, y) in figures.iter_mut().zip(y) {
                figure.lines.push(Line { name: name.into(), x: x.clone(), y });
            }
            for error in errors.iter().filter(|e| [1, 10].contains(&e.horizon)) {
                let metric = if error.horizon == 1 {
                    "reward error 1 step ahead"
                } else {
                    "reward error 10 steps ahead"
                };
                ctx.score(&id, name, role, Measure::error(metric, ""), self.agent.steps, error.reward)?;
            }
        }
        for figure in figures {
            ctx.figure(figure);
        }
        let sizes = (CONTEXT, self.agent.planner.horizon, 20);
        let mut rng = ctx.streams.stream("calibration", 0);
        let calibration = evaluation::calibration(&mut learned, &truth, &held_out, sizes, &mut rng)?;
        let correlation = Measure {
            metric: "correlation of predicted and realised return",
            unit: "",
            higher_is_better: true,
        };
        ctx.score(&id, "rssm", Role::Method, correlation, self.agent.steps, calibration.correlation)?;
        let bias = Measure::error("bias of the predicted return (absolute)", "");
        ctx.score(&id, "rssm", Role::Method, bias, self.agent.steps, calibration.bias.abs())
    }
}
