//! What the scenarios have in common: agents that learn in a simulator, and policies scored from fixed starts.

use crate::run::{Context, Measure, starts};
use anyhow::Result;
use rl_core::SeedStream;
use rl_core::StreamRng;
use rl_core::baselines::{Dqn, DqnConfig, Ppo, PpoConfig, Sac, SacConfig, random_policy};
use rl_core::env::scripted::Policy;
use rl_core::env::{Env, Episode, Simulator};
use rl_core::evaluate::{Evaluation, evaluate, one_by_one};
use rl_core::experiment::Role;
use world_models::pets::{Pets, PetsConfig};

/// Episodes that are evaluated at a time.
const COPIES: usize = 100;

/// A simulator to learn in.
pub(super) struct Task<S> {
    pub(super) simulator: S,
    /// Episodes of an evaluation.
    pub(super) starts: u64,
    /// What the length of an episode means, where episodes can end early.
    pub(super) length: Option<Measure>,
    /// The same task with other dynamics: every policy is scored there too, without learning anew.
    pub(super) shifted: Option<S>,
}

impl<S: Simulator + Clone + 'static> Task<S> {
    pub(super) fn new(simulator: S, starts: u64) -> Self {
        Self { simulator, starts, length: None, shifted: None }
    }

    pub(super) fn id(&self) -> String {
        self.simulator.spec().id
    }

    pub(super) fn copies(simulator: &S, n: usize) -> Vec<Box<dyn Env>> {
        let copy = |k| Box::new(Episode::<S, StreamRng>::new(simulator.clone(), k)) as Box<dyn Env>;
        (0..n as u64).map(copy).collect()
    }

    /// The randomness of a method.
    pub(super) fn seeds(&self, method: &str, ctx: &Context) -> SeedStream {
        ctx.seeds(&self.id(), method)
    }

    /// Plays the fixed starts and hands in what came of them; returns the mean return.
    pub(super) fn score(
        &self,
        (method, role, step): (&str, Role, u64),
        ctx: &mut Context,
        mut play: impl FnMut(&mut [Box<dyn Env>], &[u64]) -> Result<Evaluation>,
    ) -> Result<f64> {
        let id = self.id();
        let stage = format!("{id}/{method} evaluation");
        let measured = ctx.session.once(&stage, |stage| -> Result<Vec<f64>> {
            let mut means = Vec::new();
            for simulator in std::iter::once(&self.simulator).chain(&self.shifted) {
                let starts = starts(self.starts);
                let (mut returns, mut lengths, mut done) = (0.0, 0.0, 0);
                for some in starts.chunks(COPIES) {
                    let played = play(&mut Self::copies(simulator, some.len()), some)?;
                    returns += played.returns.iter().sum::<f64>();
                    lengths += played.lengths.iter().map(|&l| f64::from(l)).sum::<f64>();
                    done += some.len() as u64;
                    stage.progress(done, self.starts)?;
                }
                means.extend([returns / self.starts as f64, lengths / self.starts as f64]);
            }
            Ok(means)
        })?;
        ctx.score(&id, method, role, Measure::RETURN, step, measured[0])?;
        if let Some(length) = self.length {
            ctx.score(&id, method, role, length, step, measured[1])?;
        }
        if let Some(shifted) = measured.get(2) {
            ctx.score(&id, method, role, SHIFTED, step, *shifted)?;
        }
        Ok(measured[0])
    }

    pub(super) fn random(&self, ctx: &mut Context) -> Result<f64> {
        let rng = self.seeds("random", ctx).stream("act", 0);
        let mut policy = random_policy(&self.simulator.spec().action, rng);
        self.score(("random", Role::Reference, 0), ctx, |copies, starts| {
            Ok(evaluate(copies, starts, &mut policy)?)
        })
    }

    pub(super) fn scripted(
        &self,
        (method, role): (&str, Role),
        ctx: &mut Context,
        policy: &mut dyn Policy,
    ) -> Result<f64> {
        self.score((method, role, 0), ctx, |copies, starts| Ok(evaluate(copies, starts, one_by_one(policy))?))
    }

    /// With `n` environments side by side.
    pub(super) fn ppo(
        &self,
        (method, role): (&str, Role),
        n: usize,
        config: &PpoConfig,
        ctx: &mut Context,
    ) -> Result<f64> {
        let (envs, seeds) = (Self::copies(&self.simulator, n), self.seeds(method, ctx));
        let mut ppo = Ppo::new(config.clone(), envs, seeds, &ctx.device)?;
        ctx.session.run(&format!("{}/{method}", self.id()), &mut ppo)?;
        self.score((method, role, config.total_steps), ctx, |copies, starts| {
            Ok(evaluate(copies, starts, ppo.policy())?)
        })
    }

    pub(super) fn sac(
        &self,
        (method, role): (&str, Role),
        config: &SacConfig,
        ctx: &mut Context,
    ) -> Result<f64> {
        let (envs, seeds) = (Self::copies(&self.simulator, 1), self.seeds(method, ctx));
        let mut sac = Sac::new(config.clone(), envs, seeds, &ctx.device)?;
        ctx.session.run(&format!("{}/{method}", self.id()), &mut sac)?;
        self.score((method, role, config.total_steps), ctx, |copies, starts| {
            Ok(evaluate(copies, starts, sac.policy())?)
        })
    }

    pub(super) fn dqn(
        &self,
        (method, role): (&str, Role),
        config: &DqnConfig,
        ctx: &mut Context,
    ) -> Result<f64> {
        let (envs, seeds) = (Self::copies(&self.simulator, 1), self.seeds(method, ctx));
        let mut dqn = Dqn::new(config.clone(), envs, seeds, &ctx.device)?;
        ctx.session.run(&format!("{}/{method}", self.id()), &mut dqn)?;
        self.score((method, role, config.total_steps), ctx, |copies, starts| {
            Ok(evaluate(copies, starts, dqn.policy())?)
        })
    }

    pub(super) fn pets(
        &self,
        (method, role): (&str, Role),
        config: &PetsConfig,
        ctx: &mut Context,
    ) -> Result<f64> {
        let seeds = self.seeds(method, ctx);
        let envs = Self::copies(&self.simulator, 1);
        let mut pets = Pets::new(config.clone(), envs, &ctx.device, seeds)?;
        ctx.session.run(&format!("{}/{method}", self.id()), &mut pets)?;
        self.score((method, role, config.steps), ctx, |copies, starts| {
            Ok(pets.evaluate(copies, starts, seeds)?)
        })
    }
}

/// The return in a task whose dynamics differ from those of the training.
pub(super) const SHIFTED: Measure =
    Measure { metric: "return after a shift", unit: "", higher_is_better: true };
