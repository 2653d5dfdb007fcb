//! Returns of the zero and the random policy against recorded means.
//!
//! Criterion: the means of two independent samples differ by at most four standard errors of their difference, the
//! variance pooled from both (Student): a recorded sample of 20 may have missed a rare event and then shows no
//! variance at all. The planners' rows in these files are not checked here.

use crate::SeedStream;
use crate::conformance::{Checker, get};
use crate::env::scripted::{Policy, Random, Zero};
use crate::env::{self, Env};
use serde_json::Value;

/// Episodes played for each recorded mean.
const EPISODES: u64 = 400;
const STANDARD_ERRORS: f64 = 4.0;

/// A file `{environment: {policy: {mean, std, n}}}`.
pub(super) fn statistics(data: &Value, checker: &mut Checker) -> Result<(), String> {
    let tasks = data.as_object().ok_or("expected an object of environments")?;
    for (name, policies) in tasks.iter().filter(|(name, _)| *name != "config") {
        let (id, default_repeat) = environment(name)?;
        let repeat = match policies.get("config") {
            Some(config) => get(config, "action_repeat")?,
            None => default_repeat,
        };
        for policy in ["zero", "random"] {
            if let Some(recorded) = policies.get(policy) {
                let returns = play(id, policy, repeat).map_err(|e| e.to_string())?;
                compare(&format!("{name}, {policy}"), &returns, recorded, checker)?;
            }
        }
    }
    Ok(())
}

/// The environment's name here, and for how many steps these records hold an action where they do not say.
fn environment(name: &str) -> Result<(&'static str, u32), String> {
    match name {
        "dmc_pendulum_swingup" => return Ok(("pendulum-swingup", 4)),
        "dmc_cartpole_swingup" => return Ok(("cartpole-swingup", 8)),
        _ => {}
    }
    // Some names carry a remark: `CartPole-v1 (action=...)`.
    let id = name.split(' ').next().unwrap_or(name);
    let known = env::IDS.into_iter().find(|known| *known == id);
    known.map(|id| (id, 1)).ok_or_else(|| format!("no environment named {name}"))
}

fn play(id: &str, policy: &str, repeat: u32) -> crate::Result<Vec<f64>> {
    let mut env = env::make(id, 0)?;
    let space = env.spec().action.clone();
    let mut zero = Zero::new(&space);
    let mut random = Random::new(&space, SeedStream::new(0).stream("act", 0));
    let policy: &mut dyn Policy = if policy == "zero" { &mut zero } else { &mut random };
    (0..EPISODES).map(|seed| one_return(&mut env, policy, repeat, seed)).collect()
}

fn one_return(env: &mut dyn Env, policy: &mut dyn Policy, repeat: u32, seed: u64) -> crate::Result<f64> {
    let mut observation = vec![0.0; env.spec().observation.width()];
    env.reset(Some(seed), &mut observation)?;
    let mut total = 0.0;
    loop {
        let action = policy.act(&observation);
        for _ in 0..repeat {
            let step = env.step(action, &mut observation)?;
            total += step.reward;
            if step.done() {
                return Ok(total);
            }
        }
    }
}

fn compare(what: &str, returns: &[f64], recorded: &Value, checker: &mut Checker) -> Result<(), String> {
    let (mean, std, n): (f64, f64, f64) =
        (get(recorded, "mean")?, get(recorded, "std")?, get(recorded, "n")?);
    let count = returns.len() as f64;
    let ours = returns.iter().sum::<f64>() / count;
    let squares: f64 = returns.iter().map(|r| (r - ours) * (r - ours)).sum();
    let pooled = (n * std * std + squares) / (n + count - 2.0);
    let standard_error = (pooled * (1.0 / n + 1.0 / count)).sqrt();
    if standard_error > 0.0 {
        checker.close(
            &format!("{what}, standard errors"),
            (ours - mean) / standard_error,
            0.0,
            STANDARD_ERRORS,
        );
    } else {
        checker.close(what, ours, mean, 1e-12);
    }
    Ok(())
}
