//! Scores between two anchors, and what a training costs.

use crate::exercises::hybrid::task::{SHIFTED, Task};
use crate::run::{Context, Measure};
use anyhow::Result;
use rl_core::env::Simulator;
use rl_core::env::scripted::Policy;
use rl_core::experiment::Role;
use std::time::Instant;

/// Return relative to random play (0) and the scripted expert (1).
const NORMALISED: Measure = Measure { metric: "normalised score", unit: "", higher_is_better: true };
/// The same where the dynamics are not those of the training.
const NORMALISED_SHIFTED: Measure =
    Measure { metric: "normalised score after a shift", unit: "", higher_is_better: true };
const SECONDS: Measure = Measure::error("training time", "s");
const MEMORY: Measure = Measure::error("peak memory", "MB");

/// What a method got on a task.
pub(super) struct Outcome {
    pub(super) value: f64,
    pub(super) shifted: f64,
    pub(super) step: u64,
}

/// The two anchors of a task, in its own dynamics and after the shift.
pub(super) struct Anchors {
    pub(super) task: String,
    random: [f64; 2],
    expert: [f64; 2],
}

impl Anchors {
    pub(super) fn new<S: Simulator + Clone + 'static>(
        task: &Task<S>,
        expert: &mut dyn Policy,
        ctx: &mut Context,
    ) -> Result<Self> {
        let id = task.id();
        task.random(ctx)?;
        let random = last(ctx, &id, "random");
        task.scripted(("expert", Role::Reference), ctx, expert)?;
        let anchors = Self { expert: last(ctx, &id, "expert"), random, task: id };
        anchors.normalise("random", Role::Reference, 0, ctx)?;
        anchors.normalise("expert", Role::Reference, 0, ctx)?;
        Ok(anchors)
    }

    /// Hands in the normalised scores of a method whose returns were handed in.
    pub(super) fn normalise(&self, method: &str, role: Role, step: u64, ctx: &mut Context) -> Result<()> {
        let got = last(ctx, &self.task, method);
        for (k, measure) in [NORMALISED, NORMALISED_SHIFTED].into_iter().enumerate() {
            let range = self.expert[k] - self.random[k];
            let score = (got[k] - self.random[k]) / if range.abs() > 1e-12 { range } else { 1.0 };
            ctx.score(&self.task, method, role, measure, step, score)?;
        }
        Ok(())
    }

    /// Hands in all about a method that was trained by other means than a [`Task`]'s.
    pub(super) fn hand_in(&self, method: &str, outcome: &Outcome, ctx: &mut Context) -> Result<()> {
        let Outcome { value, shifted, step } = *outcome;
        ctx.score(&self.task, method, Role::Method, Measure::RETURN, step, value)?;
        ctx.score(&self.task, method, Role::Method, SHIFTED, step, shifted)?;
        self.normalise(method, Role::Method, step, ctx)
    }
}

/// The returns of a method that were handed in last, in the task's own and in other dynamics.
fn last(ctx: &Context, task: &str, method: &str) -> [f64; 2] {
    [Measure::RETURN, SHIFTED].map(|measure| ctx.latest(task, method, measure).unwrap_or(f64::NAN))
}

/// Times a training and hands in what it cost. Of a run that was resumed within it, it is what came after.
pub(super) fn costed(
    task: &str,
    method: &str,
    ctx: &mut Context,
    train: impl FnOnce(&mut Context) -> Result<()>,
) -> Result<()> {
    crate::machine::forget_peak_memory();
    let began = Instant::now();
    train(ctx)?;
    let cost = ctx.session.once(&format!("{task}/{method} cost"), |_| -> Result<[f64; 2]> {
        let memory = crate::machine::peak_memory().unwrap_or(0.0);
        Ok([began.elapsed().as_secs_f64(), memory / 1e6])
    })?;
    ctx.score(task, method, Role::Method, SECONDS, 0, cost[0])?;
    ctx.score(task, method, Role::Method, MEMORY, 0, cost[1])
}
