//! Whole episodes played by planning: what evaluations and oracles do.

use super::{Model, PlannedAction, Planner, PlannerConfig};
use crate::{Error as CrateError, Result};
use rl_core::env::Env;
use rl_core::evaluate::{Evaluation, Turn, evaluate};
use rl_core::{Error, SeedStream, StreamRng};

/// Plays one episode from each start by planning in `model`, holding every action for so many steps. `observe` puts an
/// observation into the model as its present state. Every episode has its own planner and generator, so its actions do
/// not depend on what is played beside it.
///
/// # Errors
/// If there is no environment, it does not fit the model, or a plan fails.
pub fn play<M: Model>(
    model: &mut M,
    mut observe: impl FnMut(&mut M, &[f32]),
    (config, action_repeat): (&PlannerConfig, u64),
    copies: &mut [Box<dyn Env>],
    starts: &[u64],
    seeds: SeedStream,
) -> Result<Evaluation> {
    let Some(space) = copies.first().map(|env| env.spec().action.clone()) else {
        return Err(Error::shape("planning::play", "at least one environment", 0).into());
    };
    let mut minds: Vec<Option<(Planner<M>, StreamRng, u64)>> = starts.iter().map(|_| None).collect();
    evaluate(copies, starts, |turn: &Turn<'_>, actions: &mut [f32]| {
        let (d, a) = (turn.observations.len() / turn.rows(), actions.len() / turn.rows());
        for (row, &episode) in turn.episodes.iter().enumerate() {
            let (planner, rng, step) = match &mut minds[episode] {
                Some(mind) => mind,
                empty => {
                    let rng = seeds.stream("plan", starts[episode]);
                    empty.insert((Planner::new(config.clone(), &space)?, rng, 0))
                }
            };
            let action = &mut actions[row * a..][..a];
            if step.is_multiple_of(action_repeat.max(1)) {
                observe(model, &turn.observations[row * d..][..d]);
                match planner.plan(model, rng)?.action {
                    PlannedAction::Continuous(plan) => action.copy_from_slice(&plan),
                    PlannedAction::Discrete(index) => action[0] = index as f32,
                }
            } else {
                action.copy_from_slice(&turn.previous_actions[row * a..][..a]);
            }
            *step += 1;
        }
        Ok::<(), CrateError>(())
    })
}
