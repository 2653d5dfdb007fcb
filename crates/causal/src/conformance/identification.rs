//! Adjustment sets, identification and counterfactuals.

use super::{list, pairs, told};
use crate::graph::{Admg, Dag};
use crate::identify::{
    Factor, Identification, back_door_sets, id, optimal_adjustment, valid_adjustment_sets,
};
use nalgebra::DMatrix;
use rl_core::conformance::{Checker, get};
use serde_json::Value;
use std::path::Path;

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
pub(super) fn counterfactuals(_: &Path, _: &Value, _: &mut Checker) -> Result<(), String> {
    Err("x".into())
}
