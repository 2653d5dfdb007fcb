//! Confounded and structural bandits. Regrets are statistical: means are compared within three standard errors of
//! the reference.

use super::told;
use crate::bandit::{
    ArmSet, ConfoundedAgent, StructuralBandit, UnobservedConfounders, minimal_intervention_sets, pomis,
};
use crate::scm::{DiscreteScm, DiscreteVariable};
use rayon::prelude::*;
use rl_core::SeedStream;
use rl_core::conformance::{Checker, get};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Own repeats; enough for our error to be small beside the reference's.
const REPEATS: u64 = 2000;

pub(super) fn unobserved_confounders(_: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    let (steps, passive): (usize, usize) = (get(data, "T")?, get(data, "N_obs")?);
    let reference_repeats: f64 = get(data, "N")?;
    let games: BTreeMap<String, [[f64; 4]; 2]> = get(data, "theta_rows_M1_M2_cols_(B+2D)")?;
    let results = data.get("results").ok_or("field `results` is missing")?;
    for (game, payout) in games {
        let want = results.get(&game).ok_or_else(|| format!("no results of {game}"))?;
        for (key, agent) in [
            ("TS", ConfoundedAgent::Blind),
            ("TSZ", ConfoundedAgent::Intent),
            ("TSC", ConfoundedAgent::Causal),
        ] {
            let want = want.get(key).ok_or_else(|| format!("no results of {key}"))?;
            let bandit = UnobservedConfounders { payout };
            let seeds = SeedStream::new(2015);
            let one = |i| {
                bandit
                    .play(agent, steps, passive, &mut seeds.stream(key, i))
                    .map(|r| (r.total_regret(), r.optimal_share(100)))
            };
            let runs: Vec<(f64, f64)> = told((0..REPEATS).into_par_iter().map(one).collect())?;
            let (regret, _) = mean_and_deviation(runs.iter().map(|r| r.0));
            let (optimal, spread) = mean_and_deviation(runs.iter().map(|r| r.1));
            let error = get::<f64>(want, "regret_sd")? / reference_repeats.sqrt();
            let target: f64 = get(want, "regret_mean")?;
            c.close(&format!("{game} {key} regret"), regret, target, 3.0 * error / target.abs().max(1.0));
            // The reference does not state this deviation; ours stands in.
            let error = spread / reference_repeats.sqrt();
            c.close(&format!("{game} {key} optimal"), optimal, get(want, "p_opt_last100")?, 3.0 * error);
        }
    }
    Ok(())
}

fn mean_and_deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    (mean, (values.map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

pub(super) fn structural(_: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    let cases = data.as_object().ok_or("not an object")?;
    for (name, case) in cases.iter().filter(|(_, v)| v.is_object()) {
        let (scm, names) = model(case)?;
        let reward = names.iter().position(|n| n == "Y").ok_or("no variable Y")?;
        let free: Vec<usize> = (0..names.len()).filter(|&v| v != reward).collect();
        let sets = told(pomis(scm.diagram(), reward, &free))?;
        let mut named: Vec<Vec<String>> =
            sets.iter().map(|s| s.iter().map(|&v| names[v].clone()).collect()).collect();
        named.iter_mut().for_each(|s| s.sort());
        named.sort();
        let mut want: Vec<Vec<String>> = get(case, "POMIS")?;
        want.sort();
        c.exact(&format!("{name} POMIS"), named, want);
        let minimal = told(minimal_intervention_sets(scm.diagram(), reward, &free))?;
        c.exact(&format!("{name} MIS"), minimal.len(), get(case, "n_MIS")?);
        let counts = case.get("n_arms").ok_or("field `n_arms` is missing")?;
        let best = case.get("best_mu_by_strategy").ok_or("field `best_mu_by_strategy` is missing")?;
        for (key, strategy) in [
            ("POMIS", ArmSet::Pomis),
            ("MIS", ArmSet::Mis),
            ("Brute-force", ArmSet::BruteForce),
            ("All-at-once", ArmSet::AllAtOnce),
        ] {
            let bandit = told(StructuralBandit::new(scm.clone(), reward, strategy))?;
            c.exact(&format!("{name} {key} arms"), bandit.arms().len(), get(counts, key)?);
            c.close(&format!("{name} {key} best"), bandit.best_arm_mean(), get(best, key)?, 5e-4);
            c.close(&format!("{name} best of all"), bandit.best_mean(), get(case, "mu_star")?, 5e-4);
        }
    }
    Ok(())
}

/// The model of `p_u` and the formulas `F`, with the names of its variables.
fn model(case: &Value) -> Result<(DiscreteScm, Vec<String>), String> {
    let law: BTreeMap<String, f64> = get(case, "p_u")?;
    let formulas: BTreeMap<String, String> = get(case, "F")?;
    let (hidden, names): (Vec<String>, Vec<String>) =
        (law.keys().cloned().collect(), formulas.keys().cloned().collect());
    let mut variables = Vec::new();
    for (name, text) in &formulas {
        let formula = Formula::parse(text)?;
        let mut used = Vec::new();
        formula.names(&mut used);
        let index = |pool: &[String]| -> Vec<usize> {
            (0..pool.len()).filter(|&i| used.contains(&pool[i])).collect()
        };
        let (parents, exogenous) = (index(&names), index(&hidden));
        let order: Vec<String> = parents
            .iter()
            .map(|&i| names[i].clone())
            .chain(exogenous.iter().map(|&i| hidden[i].clone()))
            .collect();
        if let Some(unknown) = used.iter().find(|u| !order.contains(u)) {
            return Err(format!("`{unknown}` in the formula of {name} is neither a variable nor in p_u"));
        }
        let function = move |pa: &[usize], u: &[usize]| {
            let value = |n: &str| {
                let place = order.iter().position(|o| o == n).unwrap_or(0);
                if place < pa.len() { pa[place] } else { u[place - pa.len()] }
            };
            formula.value(&value)
        };
        variables.push(DiscreteVariable {
            name: name.clone(),
            cardinality: 2,
            parents,
            exogenous,
            function: Arc::new(function),
        });
    }
    let exogenous = law.values().map(|p| vec![1.0 - p, *p]).collect();
    Ok((told(DiscreteScm::new(variables, exogenous))?, names))
}

/// A formula of bits: names, 0, 1, parentheses and `&` before `^` before `|`.
enum Formula {
    Constant(usize),
    Name(String),
    Operation(char, Vec<Formula>),
}

impl Formula {
    fn parse(text: &str) -> Result<Self, String> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        Self::level(&compact, &['|', '^', '&']).ok_or_else(|| format!("formula `{text}` cannot be read"))
    }

    /// Splits at the loosest operator outside parentheses, then at the tighter ones.
    fn level(text: &str, operators: &[char]) -> Option<Self> {
        let Some((&operator, tighter)) = operators.split_first() else { return Self::atom(text) };
        let (mut depth, mut parts, mut start) = (0usize, Vec::new(), 0);
        for (i, ch) in text.char_indices() {
            match ch {
                '(' => depth += 1,
                ')' => depth = depth.checked_sub(1)?,
                _ if ch == operator && depth == 0 => {
                    parts.push(&text[start..i]);
                    start = i + 1;
                }
                _ => {}
            }
        }
        parts.push(&text[start..]);
        if parts.len() == 1 {
            return Self::level(text, tighter);
        }
        parts
            .into_iter()
            .map(|p| Self::level(p, tighter))
            .collect::<Option<Vec<_>>>()
            .map(|p| Self::Operation(operator, p))
    }

    fn atom(text: &str) -> Option<Self> {
        match text {
            "0" | "1" => Some(Self::Constant(usize::from(text == "1"))),
            _ if text.starts_with('(') && text.ends_with(')') => Self::parse(&text[1..text.len() - 1]).ok(),
            _ if !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                Some(Self::Name(text.into()))
            }
            _ => None,
        }
    }

    fn names(&self, found: &mut Vec<String>) {
        match self {
            Self::Constant(_) => {}
            Self::Name(name) => found.push(name.clone()),
            Self::Operation(_, parts) => parts.iter().for_each(|p| p.names(found)),
        }
    }

    fn value(&self, of: &dyn Fn(&str) -> usize) -> usize {
        match self {
            Self::Constant(value) => *value,
            Self::Name(name) => of(name),
            Self::Operation(operator, parts) => {
                let values = parts.iter().map(|p| p.value(of));
                match operator {
                    '&' => values.fold(1, |a, b| a & b),
                    '^' => values.fold(0, |a, b| a ^ b),
                    _ => values.fold(0, |a, b| a | b),
                }
            }
        }
    }
}
