//! Batches of Gymnasium's vector environments in their three autoreset modes.

use crate::conformance::{Checker, get};
use crate::env::{Actions, Autoreset, Batch, BatchEnv, VectorEnv};
use serde_json::Value;

/// A file `{env, seed, copies, modes: {NAME: {first, steps}}}` of an environment with discrete actions.
pub(super) fn batches(data: &Value, checker: &mut Checker) -> Result<(), String> {
    let (id, copies): (String, usize) = (get(data, "env")?, get(data, "copies")?);
    let modes = [
        ("NEXT_STEP", Autoreset::NextStep),
        ("SAME_STEP", Autoreset::SameStep),
        ("DISABLED", Autoreset::Disabled),
    ];
    for (name, mode) in modes {
        let recorded: Value = get(&get(data, "modes")?, name)?;
        let mut env = VectorEnv::make(&id, copies, mode).map_err(|e| e.to_string())?;
        env.reset(Some(get(data, "seed")?)).map_err(|e| e.to_string())?;
        checker.exact(&format!("{name}: first observations"), rows(env.batch()), get(&recorded, "first")?);
        for (t, step) in get::<Vec<Value>>(&recorded, "steps")?.iter().enumerate() {
            advance(&mut env, mode, &get::<Vec<usize>>(step, "actions")?).map_err(|e| e.to_string())?;
            let (at, batch) = (|what: &str| format!("{name}: {what} of step {t}"), env.batch());
            checker.exact(&at("observations"), rows(batch), get(step, "obs")?);
            checker.exact(&at("rewards"), batch.rewards.as_slice(), &get::<Vec<f64>>(step, "rewards")?);
            checker.exact(
                &at("terminated"),
                batch.terminated.as_slice(),
                &get::<Vec<bool>>(step, "terminated")?,
            );
            checker.exact(
                &at("truncated"),
                batch.truncated.as_slice(),
                &get::<Vec<bool>>(step, "truncated")?,
            );
            for (i, last) in get::<Vec<Option<Vec<f64>>>>(step, "final_obs")?.iter().enumerate() {
                if let Some(last) = last {
                    checker.exact(&at("final observation"), &wide(batch.successor(i)), last);
                }
            }
        }
    }
    Ok(())
}

fn advance(
    env: &mut VectorEnv<Box<dyn crate::env::Env>>,
    mode: Autoreset,
    actions: &[usize],
) -> crate::Result<()> {
    if mode == Autoreset::Disabled {
        let over: Vec<bool> = (0..actions.len()).map(|i| env.batch().done(i)).collect();
        env.reset_where(&over)?;
    }
    env.step(Actions::Discrete(actions))
}

fn wide(observation: &[f32]) -> Vec<f64> {
    observation.iter().map(|&o| f64::from(o)).collect()
}

fn rows(batch: &Batch) -> Vec<Vec<f64>> {
    (0..batch.copies()).map(|i| wide(batch.observation(i))).collect()
}
