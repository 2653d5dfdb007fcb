//! What every learner on a classic task stands beside: doing nothing, random actions and, where there is one, a scripted rule.

use crate::run::Context;
use anyhow::Result;
use rl_core::baselines::copies;
use rl_core::env::scripted::{Policy, Random, Zero, heuristic};

/// Hands each of them to `score`, with its name.
pub(super) fn untrained(
    task: &str,
    ctx: &mut Context,
    mut score: impl FnMut(&str, &mut dyn Policy, &mut Context) -> Result<()>,
) -> Result<()> {
    let space = copies(task, 1)?.remove(0).spec().action.clone();
    score("zero", &mut Zero::new(&space), ctx)?;
    let rng = ctx.seeds(task, "random").stream("act", 0);
    score("random", &mut Random::new(&space, rng), ctx)?;
    match heuristic(task, &space) {
        Some(mut rule) => score("scripted", rule.as_mut(), ctx),
        None => Ok(()),
    }
}
