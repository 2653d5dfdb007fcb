//! The multi-agent exercises, and what they have in common: recipes for learners, training and scoring, references.

mod arena;
mod communication;
mod foraging;
mod games;
mod league;
mod mpe;

pub(super) use arena::{Competitive, Cooperative, Mixed};
pub(super) use communication::Communication;
pub(super) use foraging::Foraging;
pub(super) use games::Games;
pub(super) use league::League;
pub(super) use mpe::Mpe;

use crate::run::{Context, Measure};
use anyhow::Result;
use marl::env::{
    Action, ActionSpace, AgentId, Batch, BatchActions, BatchStep, Layout, MultiAgentEnv, Outcome,
};
use marl::trainer::{Evaluation, Learner, Mode, TrainConfig, Training};
use marl::{coma, maac, maddpg, ppo, value_decomposition};
use rl_core::experiment::{Persist, Role, TrainState};
use rl_core::{SeedStream, StreamRng};
use serde::{Deserialize, Serialize};

/// Returns are undiscounted, summed over agents, averaged over episodes.
const SUM: Measure = Measure { metric: "return", unit: "sum over agents", higher_is_better: true };

/// Copies of an evaluation.
const COPIES: usize = 50;

/// A learner to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "learner", rename_all = "snake_case")]
pub(super) enum Recipe {
    Maddpg(maddpg::Config),
    Ppo(ppo::Config),
    ValueDecomposition(value_decomposition::Config),
    Maac(maac::Config),
    Coma(coma::Config),
}

/// A learner, how long it learns, and on how many copies at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Method {
    copies: usize,
    steps: u64,
    recipe: Recipe,
}

impl Method {
    pub(super) fn of(recipe: Recipe, copies: usize, steps: u64) -> Self {
        Self { copies, steps, recipe }
    }

    pub(super) fn validate(&self) -> Result<()> {
        anyhow::ensure!(self.copies > 0, "copies = 0: must be at least 1");
        match &self.recipe {
            Recipe::Maddpg(c) => c.validate()?,
            Recipe::Ppo(c) => c.validate()?,
            Recipe::ValueDecomposition(c) => c.validate()?,
            Recipe::Maac(c) => c.validate()?,
            Recipe::Coma(c) => c.validate()?,
        }
        Ok(())
    }
}

/// A learner of any kind.
pub(super) enum Any {
    Maddpg(Box<maddpg::Maddpg>),
    Ppo(Box<ppo::Ppo>),
    ValueDecomposition(Box<value_decomposition::ValueDecomposition>),
    Maac(Box<maac::Maac>),
    Coma(Box<coma::Coma>),
}

impl Any {
    fn new(recipe: &Recipe, layout: &Layout, seeds: &SeedStream) -> marl::Result<Self> {
        Ok(match recipe.clone() {
            Recipe::Maddpg(c) => Self::Maddpg(Box::new(maddpg::Maddpg::new(layout, c, seeds)?)),
            Recipe::Ppo(c) => Self::Ppo(Box::new(ppo::Ppo::new(layout, c, seeds)?)),
            Recipe::ValueDecomposition(c) => {
                let learner = value_decomposition::ValueDecomposition::new(layout, c, seeds)?;
                Self::ValueDecomposition(Box::new(learner))
            }
            Recipe::Maac(c) => Self::Maac(Box::new(maac::Maac::new(layout, c, seeds)?)),
            Recipe::Coma(c) => Self::Coma(Box::new(coma::Coma::new(layout, c, seeds)?)),
        })
    }

    fn learner(&mut self) -> &mut dyn Learner {
        match self {
            Self::Maddpg(l) => l.as_mut(),
            Self::Ppo(l) => l.as_mut(),
            Self::ValueDecomposition(l) => l.as_mut(),
            Self::Maac(l) => l.as_mut(),
            Self::Coma(l) => l.as_mut(),
        }
    }
}

impl Learner for Any {
    fn act(
        &mut self,
        now: &BatchStep,
        mode: Mode,
        rng: &mut StreamRng,
        actions: &mut BatchActions,
    ) -> marl::Result<()> {
        self.learner().act(now, mode, rng, actions)
    }

    fn learn(&mut self, before: &BatchStep, after: &BatchStep, rng: &mut StreamRng) -> marl::Result<()> {
        self.learner().learn(before, after, rng)
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        match self {
            Self::Maddpg(l) => l.metrics(),
            Self::Ppo(l) => l.metrics(),
            Self::ValueDecomposition(l) => l.metrics(),
            Self::Maac(l) => l.metrics(),
            Self::Coma(l) => l.metrics(),
        }
    }

    fn finish(&mut self) {
        self.learner().finish();
    }
}

impl Persist for Any {
    fn save(&self, prefix: &str, state: &mut TrainState) -> rl_core::Result<()> {
        match self {
            Self::Maddpg(l) => l.save(prefix, state),
            Self::Ppo(l) => l.save(prefix, state),
            Self::ValueDecomposition(l) => l.save(prefix, state),
            Self::Maac(l) => l.save(prefix, state),
            Self::Coma(l) => l.save(prefix, state),
        }
    }

    fn load(&mut self, prefix: &str, state: &TrainState) -> rl_core::Result<()> {
        match self {
            Self::Maddpg(l) => l.load(prefix, state),
            Self::Ppo(l) => l.load(prefix, state),
            Self::ValueDecomposition(l) => l.load(prefix, state),
            Self::Maac(l) => l.load(prefix, state),
            Self::Coma(l) => l.load(prefix, state),
        }
    }
}

/// Trains a method; the last evaluation, of the last policy, is what is scored.
pub(super) fn train<E: Batch + Persist>(
    ctx: &mut Context,
    task: &str,
    name: &str,
    method: &Method,
    plan: (u64, usize),
    world: impl Fn(usize) -> marl::Result<E>,
) -> Result<(Any, Evaluation)> {
    let seeds = ctx.seeds(task, name);
    let (env, test) = (world(method.copies)?, world(COPIES.min(plan.1))?);
    let learner = Any::new(&method.recipe, env.layout(), &seeds)?;
    let plan = TrainConfig { steps: method.steps, evaluations: plan.0, episodes: plan.1 };
    let mut training = Training::new(learner, env, test, plan, &seeds)?;
    ctx.session.run(&format!("{task}/{name}"), &mut training)?;
    let last = training.history().last().cloned();
    let last = last.ok_or_else(|| anyhow::anyhow!("{task}/{name} was not evaluated"))?;
    Ok((training.learner, last))
}

/// Trains a method and hands in its return.
fn train_and_score<E: Batch + Persist>(
    ctx: &mut Context,
    task: &str,
    name: &str,
    method: &Method,
    plan: (u64, usize),
    world: impl Fn(usize) -> marl::Result<E>,
) -> Result<Any> {
    let (learner, last) = train(ctx, task, name, method, plan, world)?;
    ctx.score(task, name, Role::Method, SUM, last.step, last.mean_sum())?;
    Ok(learner)
}

/// What a scripted policy does.
pub(super) enum Choice {
    Discrete(usize),
    /// The vector it was given is filled in.
    Continuous,
}

/// Plays whole episodes with a policy that may see everything; returns are per episode and agent. `look` sees the world
/// after every step.
pub(super) fn play<E: MultiAgentEnv>(
    env: &mut E,
    episodes: usize,
    seeds: &SeedStream,
    mut policy: impl FnMut(&E, AgentId, &mut StreamRng, &mut [f32]) -> Choice,
    mut look: impl FnMut(usize, &E),
) -> marl::Result<Vec<Vec<f64>>> {
    let layout = env.layout().clone();
    let mut outcome = Outcome::new(layout.n());
    let mut vectors: Vec<Vec<f32>> = layout.agents.iter().map(|a| vec![0.0; a.actions.width()]).collect();
    let mut returns = Vec::new();
    for episode in 0..episodes {
        let mut rng = seeds.stream("marl/env", episode as u64);
        let mut sums = vec![0.0; layout.n()];
        env.reset(&mut rng);
        look(episode, env);
        while env.live().contains(&true) {
            let choices: Vec<Choice> =
                (0..layout.n()).map(|i| policy(env, AgentId(i), &mut rng, &mut vectors[i])).collect();
            let action = |(i, choice): (usize, &Choice)| {
                env.live()[i].then(|| match choice {
                    Choice::Discrete(a) => Action::Discrete(*a),
                    Choice::Continuous => Action::Continuous(&vectors[i]),
                })
            };
            let actions: Vec<_> = choices.iter().enumerate().map(action).collect();
            env.step(&actions, &mut rng, &mut outcome)?;
            sums.iter_mut().zip(&outcome.rewards).for_each(|(sum, r)| *sum += r);
            look(episode, env);
        }
        returns.push(sums);
    }
    Ok(returns)
}

/// Uniform over the actions, or over those available.
fn random<E: MultiAgentEnv>(env: &E, agent: AgentId, rng: &mut StreamRng, vector: &mut [f32]) -> Choice {
    use rand::RngExt as _;
    match env.layout().agents[agent.0].actions {
        ActionSpace::Discrete(n) => Choice::Discrete(rng.random_range(0..n)),
        ActionSpace::Continuous { low, high, .. } => {
            vector.iter_mut().for_each(|x| *x = rng.random_range(low..high));
            Choice::Continuous
        }
    }
}

/// Nothing.
fn idle<E: MultiAgentEnv>(env: &E, agent: AgentId, _: &mut StreamRng, vector: &mut [f32]) -> Choice {
    match env.layout().agents[agent.0].actions {
        ActionSpace::Discrete(_) => Choice::Discrete(0),
        ActionSpace::Continuous { .. } => {
            vector.fill(0.0);
            Choice::Continuous
        }
    }
}

/// Hands in the mean return of a reference.
fn reference<E: MultiAgentEnv>(
    ctx: &mut Context,
    (task, name): (&str, &str),
    env: &mut E,
    episodes: usize,
    policy: impl FnMut(&E, AgentId, &mut StreamRng, &mut [f32]) -> Choice,
) -> Result<()> {
    let seeds = ctx.seeds(task, name);
    let mean = ctx.session.once(&format!("{task}/{name} evaluation"), |_| -> Result<f64> {
        let returns = play(env, episodes, &seeds, policy, |_, _| {})?;
        Ok(Evaluation { step: 0, returns }.mean_sum())
    })?;
    ctx.score(task, name, Role::Reference, SUM, 0, mean)
}
