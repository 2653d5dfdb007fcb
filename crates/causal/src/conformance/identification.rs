//! Adjustment sets, identification and counterfactuals.

use super::{list, pairs, told};
use crate::graph::{Admg, Dag, default_names};
use crate::identify::{
    Factor, Identification, back_door_sets, id, optimal_adjustment, valid_adjustment_sets,
};
use crate::scm::{DiscreteScm, DiscreteVariable, Intervention, Noise, Scm, causation_bounds};
use nalgebra::DMatrix;
use rl_core::conformance::{Checker, get};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

pub(super) fn adjustment(_: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for (i, case) in list(data, "cases")?.iter().enumerate() {
        let (p, x, y): (usize, usize, usize) = (get(case, "p")?, get(case, "x")?, get(case, "y")?);
        let dag = told(Dag::from_edges(p, &pairs(case, "dag")?))?;
        let sorted = |key| -> Result<Vec<Vec<usize>>, String> {
            let mut sets: Vec<Vec<usize>> = get(case, key)?;
            sets.iter_mut().for_each(|s| s.sort_unstable());
            sets.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            Ok(sets)
        };
        let valid = told(valid_adjustment_sets(&dag, &[x], &[y]))?;
        c.exact(&format!("{i} back-door sets"), told(back_door_sets(&dag, x, y))?, sorted("backdoor_sets")?);
        c.exact(
            &format!("{i} O-set"),
            optimal_adjustment(&dag, x, y),
            get(case, "optimal_adjustment_set_O")?,
        );
        let covariance = implied_covariance(
            p,
            &get::<Vec<(usize, usize, f64)>>(case, "W")?,
            &get::<Vec<f64>>(case, "noise_sd")?,
        )?;
        let effect = get(case, "total_effect")?;
        for set in &valid {
            let slope = population_slope(&covariance, x, y, set)?;
            c.close(&format!("{i} effect adjusted for {set:?}"), slope, effect, 1e-9);
        }
        c.exact(&format!("{i} valid sets"), valid, sorted("valid_adjustment_sets")?);
    }
    Ok(())
}

/// Σ = (I − Wᵀ)⁻¹ diag(σ²) (I − W)⁻¹ of the linear model x = Wᵀ x + noise.
fn implied_covariance(
    p: usize,
    weights: &[(usize, usize, f64)],
    noise: &[f64],
) -> Result<DMatrix<f64>, String> {
    let mut system = DMatrix::<f64>::identity(p, p);
    for &(from, to, weight) in weights {
        *system.get_mut((to, from)).ok_or("a weight outside the graph")? = -weight;
    }
    let total = system.try_inverse().ok_or("the weights do not form a DAG")?;
    if noise.len() != p {
        return Err(format!("noise_sd has {} entries, expected {p}", noise.len()));
    }
    let variances = DMatrix::from_diagonal(&nalgebra::DVector::from_iterator(p, noise.iter().map(|s| s * s)));
    Ok(&total * variances * total.transpose())
}

/// The coefficient of x in the population regression of y on x and z.
fn population_slope(covariance: &DMatrix<f64>, x: usize, y: usize, z: &[usize]) -> Result<f64, String> {
    let regressors: Vec<usize> = std::iter::once(x).chain(z.iter().copied()).collect();
    let left = covariance.select_rows(&regressors).select_columns(&regressors);
    let right = covariance.select_rows(&regressors).column(y).clone_owned();
    let solution = left.lu().solve(&right).ok_or("singular covariance")?;
    Ok(solution[0])
}

pub(super) fn effects(_: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for case in list(data, "cases")? {
        let name: String = get(case, "name")?;
        let observed: Vec<String> = get(case, "observed")?;
        let find =
            |n: &String| observed.iter().position(|o| o == n).ok_or_else(|| format!("no variable {n}"));
        let edges = |key| -> Result<Vec<(usize, usize)>, String> {
            let named: Vec<(String, String)> = get(case, key)?;
            named.iter().map(|(a, b)| Ok((find(a)?, find(b)?))).collect()
        };
        let graph = told(Admg::new(observed.clone(), &edges("directed")?, &edges("bidirected")?))?;
        let (x, y) = (find(&get(case, "x")?)?, find(&get(case, "y")?)?);
        let outcome = told(id(&graph, &[x], &[y]))?;
        let identified = matches!(outcome, Identification::Identified(_));
        c.exact(&format!("{name} identifiable"), identified, get(case, "identifiable")?);
        let Identification::Identified(formula) = outcome else { continue };
        let sizes = vec![2; observed.len()];
        let joint = told(Factor::new((0..observed.len()).collect(), sizes, get(case, "joint")?))?;
        let table = told(formula.evaluate(&joint))?;
        let truth: Vec<f64> = get(case, "true_P_y1_do_x")?;
        for (value, want) in truth.into_iter().enumerate() {
            let got = told(table.at(&[(x, value), (y, 1)]))?;
            c.close(&format!("{name} P({} = 1 | do({value}))", observed[y]), got, want, 1e-9);
        }
    }
    Ok(())
}
pub(super) fn counterfactuals(_: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for (i, case) in list(data, "linear_additive")?.iter().enumerate() {
        let p: usize = get(case, "p")?;
        let weights: Vec<(usize, usize, f64)> = get(case, "W")?;
        let noises = vec![Noise::Normal { sd: 1.0 }; p];
        let scm =
            told(Scm::linear(default_names(p), &weights, &get::<Vec<f64>>(case, "intercept")?, noises))?;
        let observed: Vec<f64> = get(case, "observed")?;
        let noise: Vec<f64> = get(case, "noise_abducted")?;
        c.close_slice(&format!("linear {i} noise"), &told(scm.abduct(&observed))?, &noise, 1e-9);
        let (node, value): (usize, f64) = get(case, "do")?;
        let got = told(scm.counterfactual(&observed, &[Intervention::Hard { node, value }]))?;
        c.close_slice(
            &format!("linear {i} counterfactual"),
            &got,
            &get::<Vec<f64>>(case, "counterfactual")?,
            1e-9,
        );
    }
    for (i, case) in list(data, "response_function_models")?.iter().enumerate() {
        response_types(i, case, c)?;
    }
    Ok(())
}

/// X and Y share an exogenous variable with eight states: response type of Y, and value of X.
fn response_types(i: usize, case: &Value, c: &mut Checker) -> Result<(), String> {
    let types: [f64; 4] = get(case, "p_response_never_comply_defy_always")?;
    let x_given_type: [f64; 4] = get(case, "p_x1_given_type")?;
    let law = (0..8)
        .map(|s| types[s / 2] * if s % 2 == 1 { x_given_type[s / 2] } else { 1.0 - x_given_type[s / 2] });
    let variable =
        |name: &str, parents: Vec<usize>, function: fn(&[usize], &[usize]) -> usize| DiscreteVariable {
            name: name.into(),
            cardinality: 2,
            parents,
            exogenous: vec![0],
            function: Arc::new(function),
        };
    let x = variable("X", vec![], |_, u| u[0] % 2);
    let y = variable("Y", vec![0], |pa, u| [0, pa[0], 1 - pa[0], 1][u[0] / 2]);
    let scm = told(DiscreteScm::new(vec![x, y], vec![law.collect()]))?;
    let joint: [[f64; 2]; 2] = get(case, "joint_xy")?;
    let observed = told(scm.joint(&[]))?;
    c.close_slice(&format!("types {i} joint"), observed.values(), &joint.concat(), 1e-9);
    let doing: [f64; 2] = get(case, "P_y1_do_x")?;
    let done = [told(scm.mean(1, &[(0, 0)]))?, told(scm.mean(1, &[(0, 1)]))?];
    c.close_slice(&format!("types {i} do"), &done, &doing, 1e-9);
    c.close(&format!("types {i} ATE"), done[1] - done[0], get(case, "ATE")?, 1e-9);
    let would =
        |x: usize, evidence: &[(usize, usize)]| told(scm.counterfactual(&[(&[(1, 1)], &[(0, x)])], evidence));
    let treated = [(0, 1)];
    c.close(&format!("types {i} ETT"), would(1, &treated)? - would(0, &treated)?, get(case, "ETT")?, 1e-9);
    let exact = [
        ("PN", 1.0 - would(0, &[(0, 1), (1, 1)])?),
        ("PS", would(1, &[(0, 0), (1, 0)])?),
        ("PNS", told(scm.counterfactual(&[(&[(1, 1)], &[(0, 1)]), (&[(1, 0)], &[(0, 0)])], &[]))?),
    ];
    let bounds = told(causation_bounds(joint, Some(doing), false))?;
    let answers = [bounds.necessity, bounds.sufficiency, bounds.necessity_and_sufficiency];
    for ((name, value), answer) in exact.into_iter().zip(answers) {
        let want: f64 = get(case, name)?;
        c.close(&format!("types {i} {name}"), value, want, 1e-9);
        let (lower, upper) = answer.interval();
        c.exact(
            &format!("types {i} {name} lies in its bounds"),
            lower <= want + 1e-9 && want <= upper + 1e-9,
            true,
        );
    }
    Ok(())
}
