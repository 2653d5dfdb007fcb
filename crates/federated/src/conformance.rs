//! Replays reference numbers of Flower, dp-accounting, Opacus, pycryptodome and cryptography.
//!
//! `aggregation.json`: means, robust rules, server optimisers, clipping. `dp_epsilon.json`: ε of both accountants.
//! `secagg_vectors.json`: sharing, key agreement, masks. One row per file; see the README beside the data.

use crate::kernel::Real;
use crate::privacy::{Accountant, Mechanism, Sampling, clipping, epsilon, pld, rdp};
use crate::robust;
use crate::strategy::server_optimizer::{ServerOptimizer, ServerRule};
use crate::strategy::weighted_mean;
use rl_core::conformance::{Checker, Row, get, replay};
use serde_json::Value;
use std::path::Path;

const AREA: &str = "federated";

/// Replays every data file in `folder` and returns one row per file.
pub fn run(folder: &Path) -> Vec<Row> {
    vec![
        replay(AREA, folder, "aggregation.json", aggregation),
        replay(AREA, folder, "dp_epsilon.json", dp_epsilon),
        replay(AREA, folder, "secagg_vectors.json", crate::secure_aggregation::vectors::check),
    ]
}

fn text<T: std::fmt::Display>(error: T) -> String {
    error.to_string()
}

/// The array `key` of a JSON object.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    value.get(key).and_then(Value::as_array).ok_or_else(|| format!("field `{key}` is not a list"))
}

/// All numbers of nested lists, in order: a list of arrays as one flat vector.
fn flatten(value: &Value, out: &mut Vec<f64>) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| flatten(item, out)),
        Value::Number(number) => {
            number.as_f64().map(|x| out.push(x)).ok_or_else(|| "a number beyond f64".into())
        }
        other => Err(format!("{other} where a number or list is expected")),
    }
}

fn flat(value: &Value, key: &str) -> Result<Vec<f64>, String> {
    let mut out = Vec::new();
    flatten(value.get(key).ok_or_else(|| format!("field `{key}` is missing"))?, &mut out)?;
    Ok(out)
}

fn clients(case: &Value) -> Result<(Vec<Vec<f64>>, Vec<f64>), String> {
    let clients = list(case, "clients")?;
    let vectors = clients.iter().map(|c| flat(c, "w")).collect::<Result<_, _>>()?;
    let weights = clients.iter().map(|c| get(c, "n")).collect::<Result<_, _>>()?;
    Ok((vectors, weights))
}

fn aggregation(data: &Value, c: &mut Checker) -> Result<(), String> {
    const TOLERANCE: f64 = 1e-12;
    for (i, case) in list(data, "cases")?.iter().enumerate() {
        let op: String = get(case, "op")?;
        let name = format!("case {i} ({op})");
        match op.as_str() {
            "fedadam" | "fedyogi" | "fedadagrad" | "fedavgm" => server_optimizer(case, &op, &name, c)?,
            "clip_update" => {
                let (new, old) = (flat(case, "new")?, flat(case, "old")?);
                let mut update: Vec<f64> = new.iter().zip(&old).map(|(n, o)| n - o).collect();
                clipping::clip(&mut update, get(case, "clip")?).map_err(text)?;
                let got: Vec<f64> = update.iter().zip(&old).map(|(u, o)| o + u).collect();
                c.close_slice(&name, &got, &flat(case, "expect")?, TOLERANCE);
            }
            "adaptive_noise_split" => {
                let (sigma_b, z_delta) =
                    clipping::split_noise(get(case, "z")?, get(case, "n")?, get(case, "sigma_b_in")?)
                        .map_err(text)?;
                c.close(&name, sigma_b, get(case, "sigma_b")?, TOLERANCE);
                c.close(&name, z_delta, get(case, "z_delta")?, TOLERANCE);
            }
            "adaptive_clip_geometric" => {
                let mut clip = clipping::AdaptiveClip {
                    clipping_norm: get(case, "c0")?,
                    learning_rate: get(case, "eta")?,
                    target_quantile: get(case, "gamma")?,
                };
                for step in list(case, "trace")? {
                    let (below, n): (f64, f64) = (get(step, "below")?, get(step, "n")?);
                    clip.update(below / n).map_err(text)?;
                    c.close(&name, clip.clipping_norm, get(step, "clip")?, TOLERANCE);
                }
            }
            _ => {
                let got = robust_rule(case, &op)?;
                c.close_slice(&name, &got, &flat(case, "expect")?, TOLERANCE);
            }
        }
    }
    Ok(())
}

fn robust_rule(case: &Value, op: &str) -> Result<Vec<f64>, String> {
    let (vectors, weights) = clients(case)?;
    let refs: Vec<&[f64]> = vectors.iter().map(Vec::as_slice).collect();
    match op {
        "weighted_mean" => weighted_mean(&refs, &weights),
        "coordinate_median" => robust::coordinate_median(&refs),
        "trimmed_mean" => robust::trimmed_mean(&refs, get(case, "proportion")?),
        "krum" => robust::krum(&refs, get(case, "num_malicious")?).map(|best| vectors[best].clone()),
        "multi_krum" => {
            robust::multi_krum(&refs, &weights, get(case, "num_malicious")?, get(case, "to_keep")?)
        }
        "bulyan" => robust::bulyan(&refs, get(case, "num_malicious")?),
        other => return Err(format!("unknown op `{other}`")),
    }
    .map_err(text)
}

fn server_optimizer(case: &Value, op: &str, name: &str, c: &mut Checker) -> Result<(), String> {
    let params = case.get("params").ok_or("field `params` is missing")?;
    let rule = match op {
        "fedavgm" => ServerRule::Momentum {
            learning_rate: get(params, "server_learning_rate")?,
            momentum: get(params, "server_momentum")?,
        },
        "fedadagrad" => ServerRule::Adagrad { learning_rate: get(params, "eta")?, tau: get(params, "tau")? },
        _ => {
            let (learning_rate, tau) = (get(params, "eta")?, get(params, "tau")?);
            let (beta_1, beta_2) = (get(params, "beta_1")?, get(params, "beta_2")?);
            match op {
                "fedadam" => ServerRule::Adam { learning_rate, beta_1, beta_2, tau },
                _ => ServerRule::Yogi { learning_rate, beta_1, beta_2, tau },
            }
        }
    };
    let mut parameters = flat(case, "init")?;
    let mut optimizer = ServerOptimizer::<f64>::new(rule, parameters.len()).map_err(text)?;
    for (round, data) in list(case, "rounds")?.iter().enumerate() {
        let (vectors, weights) = clients(data)?;
        let refs: Vec<&[f64]> = vectors.iter().map(Vec::as_slice).collect();
        let mean = weighted_mean(&refs, &weights).map_err(text)?;
        optimizer.step(&mut parameters, &mean).map_err(text)?;
        c.close_slice(&format!("{name} round {}", round + 1), &parameters, &flat(data, "expect")?, 1e-12);
    }
    Ok(())
}

/// A value that must not exceed a limit: a failed bound counts by how much it is exceeded.
fn at_most(c: &mut Checker, what: &str, got: f64, limit: f64) {
    c.close(what, (got - limit).max(0.0), 0.0, 0.0);
}

fn dp_epsilon(data: &Value, c: &mut Checker) -> Result<(), String> {
    for row in list(data, "rows")? {
        let (z, q, steps): (f64, f64, u64) =
            (get(row, "noise_multiplier")?, get(row, "sampling_rate")?, get(row, "steps")?);
        let delta: f64 = get(row, "delta")?;
        let mechanism =
            Mechanism { noise_multiplier: z, sampling_rate: q, steps, sampling: Sampling::Poisson };
        let name = format!("z = {z}, q = {q}, T = {steps}, δ = {delta:e}");

        let orders: Vec<f64> = get(row, "rdp_orders")?;
        let one_step: Vec<Option<f64>> = get(row, "rdp_one_step")?;
        for (order, want) in orders.iter().zip(one_step) {
            if let Some(want) = want {
                let ratio = rdp::one_step(&mechanism, *order) / want;
                c.close(&format!("{name}: RDP at order {order}, relative"), ratio, 1.0, 1e-9);
            }
        }
        let eps_rdp: f64 = get(row, "eps_rdp")?;
        let ours_rdp = epsilon(&mechanism, delta, Accountant::Rdp).map_err(text)?;
        c.close(&format!("{name}: ε by RDP, relative"), ours_rdp.epsilon / eps_rdp, 1.0, 1e-6);
        let delta_rdp: f64 = get(row, "delta_rdp_at_eps2")?;
        let best = rdp::orders()
            .into_iter()
            .map(|a| rdp::delta_from(a, steps as f64 * rdp::one_step(&mechanism, a), 2.0))
            .fold(1.0, f64::min);
        c.close(&format!("{name}: δ at ε = 2 by RDP"), best.to_f64(), delta_rdp, 1e-6);

        let ours = epsilon(&mechanism, delta, Accountant::Pld).map_err(text)?.epsilon;
        let eps_pld: f64 = get(row, "eps_pld")?;
        // absolute, as the peers disagree among themselves by an absolute amount
        c.close(&format!("{name}: ε by PLD, off by"), ours - eps_pld, 0.0, 1e-3);
        at_most(c, &format!("{name}: ε by PLD above RDP by"), ours, eps_rdp);
        if row.get("eps_opacus_prv_lo_est_hi").is_some() {
            let [low, estimate, _]: [f64; 3] = get(row, "eps_opacus_prv_lo_est_hi")?;
            at_most(c, &format!("{name}: Opacus' lower bound above ours by"), low, ours);
            at_most(c, &format!("{name}: ε by PLD above Opacus' estimate + 0.01 by"), ours, estimate + 1e-2);
        }
        let delta_pld: f64 = get(row, "delta_pld_at_eps2")?;
        let ours = pld::delta(&mechanism, 2.0).map_err(text)?;
        c.close(&format!("{name}: δ at ε = 2 by PLD"), ours, delta_pld, 1e-3);
    }
    Ok(())
}
