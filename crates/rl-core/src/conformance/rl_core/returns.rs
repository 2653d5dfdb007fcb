//! Sections on returns and advantages.

use super::{Checker, TOLERANCE, flags, numbers, text};
use crate::conformance::get;
use crate::returns;
use serde_json::Value;

/// Rewards, successor values and ends of a section, for one environment.
struct Columns {
    rewards: Vec<f64>,
    next_values: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
}

impl Columns {
    fn read(section: &Value) -> Result<Self, String> {
        Ok(Self {
            rewards: numbers(section, "rewards")?,
            next_values: numbers(section, "succ_values")?,
            terminated: flags(section, "terminated")?,
            truncated: flags(section, "truncated")?,
        })
    }

    fn steps(&self) -> returns::Steps<'_, f64> {
        returns::Steps {
            batch: 1,
            rewards: &self.rewards,
            next_values: &self.next_values,
            terminated: &self.terminated,
            truncated: &self.truncated,
        }
    }
}

pub(super) fn gae(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let mut columns = Columns::read(section)?;
    let values = numbers(section, "values")?;
    let (gamma, lambda) = (get(section, "gamma")?, get(section, "lam")?);
    let advantages = returns::gae(&columns.steps(), &values, gamma, lambda).map_err(text)?;
    checker.close_slice("advantages", &advantages, &numbers(section, "advantages")?, TOLERANCE);
    let sums: Vec<f64> = advantages.iter().zip(&values).map(|(a, v)| a + v).collect();
    checker.close_slice("returns", &sums, &numbers(section, "returns")?, TOLERANCE);
    let ends = columns.terminated.iter().zip(&columns.truncated).map(|(a, b)| a | b);
    columns.terminated = ends.collect();
    let wrong = returns::gae(&columns.steps(), &values, gamma, lambda).map_err(text)?;
    let want = numbers(section, "WRONG_if_truncation_treated_as_termination")?;
    checker.close_slice("with truncations as terminations", &wrong, &want, TOLERANCE);
    Ok(())
}

pub(super) fn n_step(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let columns = Columns::read(section)?;
    let (n, gamma) = (get(section, "n")?, get(section, "gamma")?);
    let got = returns::n_step(&columns.steps(), n, gamma).map_err(text)?;
    checker.close_slice("returns", &got, &numbers(section, "returns")?, TOLERANCE);
    Ok(())
}

pub(super) fn dreamer_v3_imagination(
    section: &Value,
    _: &Value,
    checker: &mut Checker,
) -> Result<(), String> {
    let (rewards, values, last) =
        (numbers(section, "rew")?, numbers(section, "value")?, flags(section, "last")?);
    let (discount, lambda): (f64, f64) = (get(section, "disc")?, get(section, "lam")?);
    let discounts: Vec<f64> = numbers(section, "con")?.iter().map(|con| discount * con).collect();
    let got = returns::lambda_return(&rewards, &values, &discounts, &last, lambda, 1).map_err(text)?;
    checker.close_slice("returns", &got, &numbers(section, "returns")?, TOLERANCE);
    let weights = returns::imagination_weights(&discounts, discount, 1).map_err(text)?;
    checker.close_slice("weights", &weights, &numbers(section, "weights")?, TOLERANCE);
    Ok(())
}

pub(super) fn dreamer_v3_replay(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let (rewards, bootstrap, last) =
        (numbers(section, "rew")?, numbers(section, "boot")?, flags(section, "last")?);
    let (discount, lambda): (f64, f64) = (get(section, "disc")?, get(section, "lam")?);
    let terminal = numbers(section, "term")?;
    let discounts: Vec<f64> = terminal.iter().map(|term| discount * (1.0 - term)).collect();
    let got = returns::lambda_return(&rewards, &bootstrap, &discounts, &last, lambda, 1).map_err(text)?;
    checker.close_slice("returns", &got, &numbers(section, "returns")?, TOLERANCE);
    Ok(())
}

pub(super) fn dreamer_v2(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let got = returns::lambda_return_v2(
        &numbers(section, "reward")?,
        &numbers(section, "value")?,
        &numbers(section, "pcont")?,
        &[get::<f64>(section, "bootstrap")?],
        get(section, "lam")?,
    );
    checker.close_slice("returns", &got.map_err(text)?, &numbers(section, "returns")?, TOLERANCE);
    Ok(())
}

pub(super) fn vtrace(section: &Value, _: &Value, checker: &mut Checker) -> Result<(), String> {
    let rewards = numbers(section, "rewards")?;
    let discounts = vec![get::<f64>(section, "discount")?; rewards.len()];
    let levels = returns::VTraceLevels {
        rho_bar: get(section, "rho_bar")?,
        c_bar: get(section, "c_bar")?,
        ..returns::VTraceLevels::default()
    };
    let (ratios, values) = (numbers(section, "rho")?, numbers(section, "values")?);
    let got = returns::vtrace(&ratios, &rewards, &discounts, &values, levels, 1).map_err(text)?;
    checker.close_slice("vs", &got.values, &numbers(section, "vs")?, TOLERANCE);
    checker.close_slice("pg_advantage", &got.advantages, &numbers(section, "pg_advantage")?, TOLERANCE);
    Ok(())
}
