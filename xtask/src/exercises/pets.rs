//! `pets`: an ensemble of probabilistic networks learns the dynamics of classic control from a handful of episodes, and
//! plans in it.
//!
//! Pendulum-v1, CartPole-v1 and MountainCarContinuous-v0, each from the number of steps in its configuration, scored over
//! fixed starts beside doing nothing, random actions, the scripted rule, model-free learning from as many steps, and the
//! same planner on the true dynamics.

use super::Exercise;
use crate::run::{Context, Measure, Preset};
use anyhow::Result;
use rl_core::SeedStream;
use rl_core::baselines::{Dqn, DqnConfig, Sac, SacConfig, copies};
use rl_core::env::scripted::{Policy, Random, Zero, heuristic};
use rl_core::env::{CartPole, MountainCarContinuous, Pendulum, Simulator, Space};
use rl_core::evaluate::{evaluate, one_by_one};
use rl_core::experiment::Role;
use rl_core::schedule::Schedule;
use serde::{Deserialize, Serialize};
use world_models::pets::{DynamicsConfig, EnsembleConfig, Pets as Agent, PetsConfig, RolloutConfig};
use world_models::planning::{Cem, Execute, Held, Icem, Method, PlannerConfig, SimulatorModel, play};

pub(super) struct Pets;

/// The three tasks and the evaluation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Fixed starts over which every policy is scored.
    starts: u64,
    /// Tasks to run: any of `pendulum`, `cartpole`, `mountain_car`.
    tasks: Vec<String>,
    /// Whether the references are scored too, which takes longer than the agent.
    references: bool,
    /// Pendulum-v1.
    pendulum: PetsConfig,
    /// CartPole-v1.
    cartpole: PetsConfig,
    /// MountainCarContinuous-v0.
    mountain_car: PetsConfig,
    /// The model-free reference on continuous actions; its steps are the agent's.
    sac: SacConfig,
    /// The model-free reference on CartPole-v1; its steps are the agent's.
    dqn: DqnConfig,
}

/// Episodes that are evaluated at a time.
const COPIES: usize = 10;
const TASKS: [&str; 3] = ["pendulum", "cartpole", "mountain_car"];

/// Coloured noise, elites kept, the best sequence executed.
fn icem(horizon: usize, candidates: usize, iterations: usize, noise_exponent: f64) -> PlannerConfig {
    PlannerConfig {
        horizon,
        candidates,
        elites: candidates / 10,
        iterations,
        particles: 5,
        discount: 1.0,
        execute: Execute::Best,
        method: Method::Icem(Icem { noise_exponent, ..Icem::default() }),
        ..PlannerConfig::default()
    }
}

fn pendulum() -> PetsConfig {
    PetsConfig {
        steps: 1000,
        random_steps: 200,
        dynamics: DynamicsConfig {
            updates_per_step: 16.0,
            ensemble: EnsembleConfig { termination_scale: 0.0, ..EnsembleConfig::default() },
            ..DynamicsConfig::default()
        },
        rollout: RolloutConfig { sample: false, ..RolloutConfig::default() },
        planner: icem(25, 100, 3, 2.0),
        ..PetsConfig::default()
    }
}

fn cartpole() -> PetsConfig {
    PetsConfig {
        steps: 5000,
        random_steps: 200,
        // The planner sees a second ahead at the price of half of one.
        action_repeat: 2,
        // Without foresight, every sequence that survives the horizon is as good as any other.
        dynamics: DynamicsConfig { updates_per_step: 6.0, foresight: 10.0, ..DynamicsConfig::default() },
        rollout: RolloutConfig { sample: false, ..RolloutConfig::default() },
        planner: PlannerConfig { method: Method::Cem(Cem::default()), ..icem(25, 50, 3, 2.0) },
        ..PetsConfig::default()
    }
}

fn mountain_car() -> PetsConfig {
    PetsConfig {
        steps: 10_000,
        random_steps: 2000,
        random_correlation: 0.9,
        action_repeat: 5,
        dynamics: DynamicsConfig { updates_per_step: 0.5, train_every: 250, ..DynamicsConfig::default() },
        rollout: RolloutConfig { sample: false, ..RolloutConfig::default() },
        // Without a preference for the sooner, the goal would always be reached later.
        planner: PlannerConfig { discount: 0.99, ..icem(35, 100, 4, 2.0) },
        ..PetsConfig::default()
    }
}

impl Exercise for Pets {
    type Config = Config;

    const NAME: &'static str = "pets";
    const DESCRIPTION: &'static str =
        "Classic control in a handful of episodes: planning in a probabilistic ensemble";
    const DURATION: [&'static str; 3] = ["5 s", "8 min", "20 min"];

    fn config(preset: Preset) -> Config {
        // As in the exercise `baselines`.
        let sac = SacConfig { hidden: vec![64, 64], learning_rate: 1e-3, ..SacConfig::default() };
        let dqn = DqnConfig { learning_starts: 100, n_step: 3, ..DqnConfig::default() };
        let mut config = Config {
            starts: 50,
            tasks: TASKS.map(String::from).to_vec(),
            references: true,
            pendulum: pendulum(),
            cartpole: cartpole(),
            mountain_car: mountain_car(),
            sac,
            dqn,
        };
        if preset == Preset::Smoke {
            config.starts = 1;
            for agent in [&mut config.pendulum, &mut config.cartpole, &mut config.mountain_car] {
                (agent.steps, agent.random_steps) = (300, 200);
                agent.dynamics.updates_per_step = 0.1;
                agent.planner = PlannerConfig {
                    horizon: 5,
                    candidates: 10,
                    elites: 2,
                    iterations: 2,
                    ..agent.planner.clone()
                };
            }
        }
        config
    }

    fn validate(config: &Config) -> Result<()> {
        anyhow::ensure!(config.starts > 0, "starts = 0: must be at least 1");
        for task in &config.tasks {
            anyhow::ensure!(TASKS.contains(&task.as_str()), "tasks: `{task}` is none of {TASKS:?}");
        }
        for agent in [&config.pendulum, &config.cartpole, &config.mountain_car] {
            agent.validate()?;
        }
        config.sac.validate()?;
        config.dqn.validate()?;
        Ok(())
    }

    fn run(config: &Config, ctx: &mut Context) -> Result<()> {
        for task in &config.tasks {
            match task.as_str() {
                "pendulum" => {
                    let state = |o: &[f32]| [f64::from(o[1]).atan2(f64::from(o[0])), f64::from(o[2])];
                    Task { simulator: Pendulum::default(), state, agent: &config.pendulum, config }
                        .run(ctx)?;
                }
                "cartpole" => {
                    let state = |o: &[f32]| std::array::from_fn(|i| f64::from(o[i]));
                    Task { simulator: CartPole, state, agent: &config.cartpole, config }.run(ctx)?;
                }
                _ => {
                    let state = |o: &[f32]| [f64::from(o[0]), f64::from(o[1])];
                    let simulator = MountainCarContinuous;
                    Task { simulator, state, agent: &config.mountain_car, config }.run(ctx)?;
                }
            }
        }
        ctx.note(
            "Scores are mean returns over fixed starts that no training episode used. The oracle plans with the true \
             dynamics and the same budget; the model-free reference learns from as many steps, one update each.",
        );
        Ok(())
    }
}

/// One task of the exercise.
struct Task<'a, S: Simulator> {
    simulator: S,
    /// The state that an observation shows.
    state: fn(&[f32]) -> S::State,
    agent: &'a PetsConfig,
    config: &'a Config,
}

impl<S: Simulator + Clone + 'static> Task<'_, S> {
    fn run(&self, ctx: &mut Context) -> Result<()> {
        let (id, space) = (self.id(), self.simulator.spec().action);
        let seeds = ctx.seeds(&id, "pets");
        let mut agent = Agent::new(self.agent.clone(), copies(&id, 1)?, &ctx.device, seeds)?;
        ctx.session.run(&format!("{id}/pets"), &mut agent)?;
        self.score(ctx, "pets", Role::Method, self.agent.steps, |starts| {
            Ok(agent.evaluate(&mut copies(&id, COPIES)?, starts, seeds)?.returns)
        })?;
        if !self.config.references {
            return Ok(());
        }
        self.score_policy(ctx, "zero", &mut Zero::new(&space))?;
        self.score_policy(ctx, "random", &mut Random::new(&space, seeds.stream("random", 0)))?;
        if let Some(mut rule) = heuristic(&id, &space) {
            self.score_policy(ctx, "scripted", rule.as_mut())?;
        }
        self.model_free(ctx, &space)?;
        self.score(ctx, "oracle planner", Role::Reference, 0, |starts| self.oracle(starts, seeds))
    }

    fn id(&self) -> String {
        self.simulator.spec().id
    }

    /// Mean return over the fixed starts, handed in as a score.
    fn score(
        &self,
        ctx: &mut Context,
        method: &str,
        role: Role,
        step: u64,
        play: impl FnMut(&[u64]) -> Result<Vec<f64>>,
    ) -> Result<()> {
        let stage = format!("{}/evaluate-{method}", self.id());
        let mean = ctx.mean_return(&stage, (self.config.starts, COPIES), play)?;
        ctx.score(&self.id(), method, role, Measure::RETURN, step, mean)
    }

    fn score_policy(&self, ctx: &mut Context, method: &str, policy: &mut dyn Policy) -> Result<()> {
        self.score(ctx, method, Role::Reference, 0, |starts| {
            Ok(evaluate(&mut copies(&self.id(), COPIES)?, starts, one_by_one(policy))?.returns)
        })
    }

    /// SAC or DQN with as many environment steps as the model had.
    fn model_free(&self, ctx: &mut Context, space: &Space) -> Result<()> {
        let (id, total_steps) = (self.id(), self.agent.steps);
        let method = if matches!(space, Space::Discrete(_)) { "dqn" } else { "sac" };
        let seeds = ctx.seeds(&id, method);
        if matches!(space, Space::Discrete(_)) {
            let exploration = Schedule::Linear { start: 1.0, end: 0.04, steps: total_steps * 16 / 100 };
            let config = DqnConfig { total_steps, exploration, ..self.config.dqn.clone() };
            let mut dqn = Dqn::new(config, copies(&id, 1)?, seeds, &ctx.device)?;
            ctx.session.run(&format!("{id}/dqn"), &mut dqn)?;
            return self.score(ctx, method, Role::Reference, total_steps, |starts| {
                Ok(evaluate(&mut copies(&id, COPIES)?, starts, dqn.policy())?.returns)
            });
        }
        let config = SacConfig { total_steps, ..self.config.sac.clone() };
        let mut sac = Sac::new(config, copies(&id, 1)?, seeds, &ctx.device)?;
        ctx.session.run(&format!("{id}/sac"), &mut sac)?;
        self.score(ctx, method, Role::Reference, total_steps, |starts| {
            Ok(evaluate(&mut copies(&id, COPIES)?, starts, sac.policy())?.returns)
        })
    }

    /// The agent's planner on the true dynamics.
    fn oracle(&self, starts: &[u64], seeds: SeedStream) -> Result<Vec<f64>> {
        let steps = self.agent.action_repeat;
        let held = Held { simulator: self.simulator.clone(), steps };
        let anywhere = held.initial_state(&mut seeds.stream("oracle", 0));
        let mut model = SimulatorModel::new(held, anywhere);
        // One particle: the dynamics are known.
        let planner = PlannerConfig { particles: 1, ..self.agent.planner.clone() };
        let observe = |model: &mut SimulatorModel<Held<S>>, o: &[f32]| model.set_state((self.state)(o));
        let copies = &mut copies(&self.id(), COPIES)?;
        Ok(play(&mut model, observe, (&planner, steps), copies, starts, seeds)?.returns)
    }
}
