//! Discovery on stored data sets.

use super::graphs::compare;
use super::{list, pairs, told};
use crate::data::Table;
use crate::discovery::{
    Bdeu, ColliderRule, ConflictRule, GaussianBic, GesConfig, InterventionalBic, Knowledge, PcConfig,
    PcResult, PcmciConfig, direct_lingam, ges, pc,
};
use crate::independence::{Contingency, Discrepancy, FisherZ, IndependenceTest};
use rl_core::conformance::{Checker, get};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn table(folder: &Path, case: &Value) -> Result<Table, String> {
    told(Table::read_csv(&folder.join(get::<String>(case, "file")?)))
}

/// The settings under which causal-learn was run.
fn peer_settings(alpha: f64) -> PcConfig {
    PcConfig {
        alpha,
        max_depth: None,
        collider_rule: ColliderRule::NoSeparatingSet,
        conflict_rule: ConflictRule::CausalLearn,
    }
}

fn run_pc<T: IndependenceTest>(test: &T, names: &[String], config: &PcConfig) -> Result<PcResult, String> {
    told(pc(test, names, config, &Knowledge::none()))
}

/// Skeleton, separating sets and arrows of one PC run.
fn compare_pc(c: &mut Checker, what: &str, got: &PcResult, want: &Value) -> Result<(), String> {
    if want.get("timeout_s").is_some() {
        return Ok(()); // the peer gave up
    }
    c.exact(&format!("{what} skeleton"), got.skeleton.edges(), pairs(want, "skeleton")?);
    let separators = want.get("sepsets_causal_learn_union").and_then(Value::as_object);
    for (key, sets) in separators.into_iter().flatten() {
        let (a, b) = pair_of(key)?;
        // The peer keeps one union of all separating sets per side of the search.
        let theirs: Vec<Vec<usize>> = serde_json::from_value(sets.clone()).map_err(|e| e.to_string())?;
        let union = |sets: &[Vec<usize>]| sets.iter().flatten().copied().collect::<BTreeSet<usize>>();
        c.exact(
            &format!("{what} separating sets of {key}"),
            union(got.skeleton.separators(a, b)),
            union(&theirs),
        );
    }
    compare(c, what, &got.graph, want)
}

fn pair_of(key: &str) -> Result<(usize, usize), String> {
    let wrong = || format!("`{key}` is not a pair such as 0,1");
    let (a, b) = key.split_once(',').ok_or_else(wrong)?;
    Ok((a.parse().map_err(|_| wrong())?, b.parse().map_err(|_| wrong())?))
}

pub(super) fn linear_gaussian(folder: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for case in list(data, "datasets")? {
        let name: String = get(case, "name")?;
        let table = table(folder, case)?;
        let test = told(FisherZ::new(&table))?;
        for (x, y, z, p) in get::<Vec<(usize, usize, Vec<usize>, f64)>>(case, "fisherz_pvalues")? {
            c.close(&format!("{name} p({x}, {y} | {z:?})"), told(test.checked(x, y, &z))?.p_value, p, 1e-9);
        }
        for (alpha, want) in case.get("pc_fisherz_stable").and_then(Value::as_object).into_iter().flatten() {
            let config = peer_settings(alpha.parse().map_err(|_| format!("alpha `{alpha}`"))?);
            compare_pc(c, &format!("{name} pc@{alpha}"), &run_pc(&test, table.names(), &config)?, want)?;
        }
        if let Some(want) = case.get("ges_bic").filter(|w| w.get("timeout_s").is_none()) {
            let result =
                told(ges(&told(GaussianBic::new(&table, 0.5))?, table.names(), &GesConfig::default()))?;
            compare(c, &format!("{name} ges"), &result.graph, want)?;
            c.close(&format!("{name} ges score"), result.score, get(want, "score")?, 1e-6);
        }
        for (alpha, want) in
            case.get("textbook_pc_stable_skeleton").and_then(Value::as_object).into_iter().flatten()
        {
            let config = PcConfig {
                collider_rule: ColliderRule::FirstSeparatingSet,
                ..peer_settings(alpha.parse().map_err(|_| format!("alpha `{alpha}`"))?)
            };
            let got = run_pc(&test, table.names(), &config)?;
            c.exact(&format!("{name} textbook@{alpha}"), got.skeleton.edges(), pairs(want, "skeleton")?);
            c.exact(&format!("{name} depth@{alpha}"), got.skeleton.depth(), get(want, "max_depth")?);
            for (key, set) in want.get("sepsets_first").and_then(Value::as_object).into_iter().flatten() {
                let (a, b) = pair_of(key)?;
                let set: Vec<usize> = serde_json::from_value(set.clone()).map_err(|e| e.to_string())?;
                c.exact(&format!("{name} first set of {key}@{alpha}"), got.skeleton.separators(a, b), &[set]);
            }
        }
    }
    Ok(())
}

pub(super) fn discrete(folder: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for case in list(data, "datasets")? {
        let name: String = get(case, "name")?;
        let table = table(folder, case)?;
        let categories = told(table.to_categories())?;
        let chi = told(Contingency::new(categories.clone(), Discrepancy::ChiSquare))?;
        let g = told(Contingency::new(categories.clone(), Discrepancy::GSquare))?;
        for (x, y, z, p_chi, p_g) in
            get::<Vec<(usize, usize, Vec<usize>, f64, f64)>>(case, "pvalues_x_y_S_chisq_gsq")?
        {
            c.close(
                &format!("{name} chi-square p({x}, {y} | {z:?})"),
                told(chi.checked(x, y, &z))?.p_value,
                p_chi,
                1e-9,
            );
            c.close(
                &format!("{name} g-square p({x}, {y} | {z:?})"),
                told(g.checked(x, y, &z))?.p_value,
                p_g,
                1e-9,
            );
        }
        for (key, want) in case.get("pc_stable").and_then(Value::as_object).into_iter().flatten() {
            let (kind, alpha) = key.split_once('@').ok_or_else(|| format!("`{key}` is not test@alpha"))?;
            let config = peer_settings(alpha.parse().map_err(|_| format!("alpha `{alpha}`"))?);
            let test = if kind == "gsq" { &g } else { &chi };
            compare_pc(c, &format!("{name} {key}"), &run_pc(test, table.names(), &config)?, want)?;
        }
        if let Some(want) = case.get("ges_bdeu") {
            let score = told(Bdeu::new(categories.clone(), 1.0, 1.0))?;
            let result = told(ges(&score, table.names(), &GesConfig::default()))?;
            compare(c, &format!("{name} ges"), &result.graph, want)?;
            c.close(&format!("{name} ges score"), result.score, get(want, "score")?, 1e-6);
        }
    }
    Ok(())
}

pub(super) fn lingam(folder: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for case in list(data, "datasets")? {
        let file: String = get(case, "file")?;
        let result = told(direct_lingam(&table(folder, case)?))?;
        c.exact(&format!("{file} order"), result.order, get(case, "causal_order")?);
        let want: Vec<Vec<f64>> = get(case, "B_row_effect_col_cause")?;
        for (effect, (row, want)) in result.strengths.iter().zip(&want).enumerate() {
            c.close_slice(&format!("{file} strengths of {effect}"), row, want, 1e-6);
        }
    }
    Ok(())
}

/// `tau_min`, `tau_max` and the levels out of a line such as `PCMCI tau_min=1 tau_max=3 pc_alpha=0.05 alpha_level=0.01`.
fn pcmci_settings(line: &str) -> Result<PcmciConfig, String> {
    let value = |key: &str| -> Result<f64, String> {
        let found = line.split_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
        found.and_then(|v| v.parse().ok()).ok_or_else(|| format!("settings `{line}` lack {key}"))
    };
    Ok(PcmciConfig {
        tau_min: value("tau_min")? as usize,
        tau_max: value("tau_max")? as usize,
        pc_alpha: value("pc_alpha")?,
        alpha: value("alpha_level")?,
        exogenous: Vec::new(),
    })
}

pub(super) fn pcmci(folder: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for case in list(data, "datasets")? {
        let file: String = get(case, "file")?;
        let config = pcmci_settings(&get::<String>(case, "settings")?)?;
        let result = told(crate::discovery::pcmci(&[table(folder, case)?], &config))?;
        let found: Vec<_> = result.links.iter().map(|l| (l.source, l.target, l.lag)).collect();
        let mut want: Vec<(usize, usize, usize)> = get(case, "found_src_dst_lag")?;
        want.sort_unstable();
        c.exact(&format!("{file} links"), found, want);
        let p_values: Vec<Vec<Vec<f64>>> = get(case, "p_matrix_i_j_lag")?;
        let strengths: Vec<Vec<Vec<f64>>> = get(case, "val_matrix_i_j_lag")?;
        c.close_slice(&format!("{file} p"), &flat(&result.p_values), &flat(&p_values), 1e-6);
        c.close_slice(&format!("{file} value"), &flat(&result.strengths), &flat(&strengths), 1e-6);
    }
    Ok(())
}

fn flat(cube: &[Vec<Vec<f64>>]) -> Vec<f64> {
    cube.iter().flatten().flatten().copied().collect()
}

/// Environments in one file, told apart by the first column.
fn environments(folder: &Path, case: &Value) -> Result<Vec<Table>, String> {
    let table = table(folder, case)?;
    let (marker, columns) = table.columns().split_first().ok_or("an empty table")?;
    let last = marker.iter().fold(0.0f64, |a, &b| a.max(b)) as usize;
    let split = |e: usize| {
        let rows: Vec<usize> = (0..table.rows()).filter(|&r| marker[r] == e as f64).collect();
        let pick = |column: &Vec<f64>| rows.iter().map(|&r| column[r]).collect();
        told(Table::new(table.names()[1..].to_vec(), columns.iter().map(pick).collect()))
    };
    (0..=last).map(split).collect()
}

pub(super) fn gies(folder: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for case in list(data, "datasets")? {
        let file: String = get(case, "file")?;
        let targets: Vec<Vec<usize>> = get(case, "targets_by_env")?;
        let environments = environments(folder, case)?;
        let score = told(InterventionalBic::new(&environments, &targets, 0.5))?;
        let result =
            told(crate::discovery::gies(&score, environments[0].names(), &targets, &GesConfig::gies()))?;
        compare(c, &file, &result.graph, case.get("gies_icpdag").ok_or("field `gies_icpdag` is missing")?)?;
        c.close(&format!("{file} score"), result.score, get(case, "score")?, 1e-6);
    }
    Ok(())
}
