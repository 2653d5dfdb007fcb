//! Separation, equivalence classes, ancestral graphs and graph distances.

use super::{list, pairs, told};
use crate::discovery::pag_of_dag;
use crate::graph::{Cpdag, Dag, Mark, MixedGraph, ancestor_aid, oset_aid, parent_aid, shd, sid};
use rl_core::conformance::{Checker, get};
use serde_json::Value;
use std::path::Path;

pub(super) fn separation(_: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    let mut graphs = Vec::new();
    for graph in list(data, "graphs")? {
        graphs.push(told(Dag::from_edges(get(graph, "p")?, &pairs(graph, "edges")?))?);
    }
    let graph_of = |case: &Value| -> Result<&Dag, String> {
        let index: usize = get(case, "graph")?;
        graphs.get(index).ok_or_else(|| format!("graph {index} does not exist"))
    };
    for (i, case) in list(data, "queries")?.iter().enumerate() {
        let (x, y, z): (Vec<usize>, Vec<usize>, Vec<usize>) =
            (get(case, "x")?, get(case, "y")?, get(case, "z")?);
        let separated = told(graph_of(case)?.d_separated(&x, &y, &z))?;
        c.exact(&format!("query {i}"), separated, get(case, "d_separated")?);
    }
    for (i, case) in list(data, "minimal_separators")?.iter().enumerate() {
        let (graph, x, y) = (graph_of(case)?, get(case, "x")?, get(case, "y")?);
        let found = told(graph.minimal_separator(x, y))?;
        c.exact(&format!("separator {i} exists"), found.is_some(), get(case, "separable")?);
        // Any minimal separator is right: it separates, and no subset of it with one member less does.
        let Some(set) = found else { continue };
        c.exact(&format!("separator {i} separates"), told(graph.d_separated(&[x], &[y], &set))?, true);
        for &out in &set {
            let less: Vec<usize> = set.iter().copied().filter(|&v| v != out).collect();
            let still = told(graph.d_separated(&[x], &[y], &less))?;
            c.exact(&format!("separator {i} without {out}"), still, false);
        }
    }
    Ok(())
}

pub(super) fn equivalence_classes(_: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for (i, case) in list(data, "dag_to_cpdag")?.iter().enumerate() {
        let dag = told(Dag::from_edges(get(case, "p")?, &pairs(case, "dag")?))?;
        let class = told(dag.to_cpdag())?;
        let want = case.get("cpdag").ok_or("field `cpdag` is missing")?;
        compare(c, &format!("class {i}"), &class, want)?;
        c.exact(&format!("class {i} is valid"), Cpdag::try_from(class.clone().into_mixed()).is_ok(), true);
        let member = told(class.to_dag())?;
        c.exact(&format!("class {i} of its member"), told(member.to_cpdag())? == class, true);
        if let Some(size) = case.get("mec_size").and_then(Value::as_u64) {
            c.exact(&format!("class {i} size"), told(class.member_count())?, u128::from(size));
            let listed = told(class.members(1_000_000))?.len() as u64;
            c.exact(&format!("class {i} listed"), listed, size);
        }
    }
    for (i, case) in list(data, "background_knowledge_mpdag")?.iter().enumerate() {
        let dag = told(Dag::from_edges(get(case, "p")?, &pairs(case, "dag")?))?;
        let class = told(dag.to_cpdag())?;
        let restricted = told(class.with_required(&pairs(case, "required")?))?;
        compare(c, &format!("mpdag {i}"), &restricted, case.get("mpdag").ok_or("field `mpdag` is missing")?)?;
        c.exact(
            &format!("mpdag {i} size before"),
            told(class.member_count())?,
            get(case, "mec_size_before")?,
        );
        c.exact(
            &format!("mpdag {i} size"),
            told(restricted.member_count(1_000_000))?,
            get(case, "mec_size_after")?,
        );
    }
    Ok(())
}

/// Compares directed and undirected edges with `{directed, undirected}`.
pub(super) fn compare(c: &mut Checker, what: &str, got: &MixedGraph, want: &Value) -> Result<(), String> {
    c.exact(&format!("{what} directed"), got.directed_edges(), pairs(want, "directed")?);
    c.exact(&format!("{what} undirected"), got.undirected_edges(), pairs(want, "undirected")?);
    let both = if want.get("bidirected").is_some() { pairs(want, "bidirected")? } else { Vec::new() };
    c.exact(&format!("{what} bidirected"), got.bidirected_edges(), both);
    Ok(())
}

pub(super) fn distances(_: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for (i, case) in list(data, "cases")?.iter().enumerate() {
        let p = get(case, "p")?;
        let truth = told(Dag::from_edges(p, &pairs(case, "true")?))?;
        let guess = told(Dag::from_edges(p, &pairs(case, "guess")?))?;
        c.exact(&format!("{i} sid"), told(sid(&truth, &guess))?, get(case, "sid")?);
        c.exact(&format!("{i} parent aid"), told(parent_aid(&truth, &guess))?, get(case, "parent_aid")?);
        c.exact(
            &format!("{i} ancestor aid"),
            told(ancestor_aid(&truth, &guess))?,
            get(case, "ancestor_aid")?,
        );
        c.exact(&format!("{i} oset aid"), told(oset_aid(&truth, &guess))?, get(case, "oset_aid")?);
        let hamming = told(shd(&told(truth.to_mixed())?, &told(guess.to_mixed())?))?;
        c.exact(&format!("{i} shd"), hamming, get(case, "shd_gadjid")?);
    }
    Ok(())
}

pub(super) fn ancestral_graphs(_: &Path, data: &Value, c: &mut Checker) -> Result<(), String> {
    for (i, case) in list(data, "cases")?.iter().enumerate() {
        let full = told(Dag::from_edges(get(case, "p_full")?, &pairs(case, "dag_full")?))?;
        let observed: Vec<usize> = get(case, "observed_order")?;
        let pag = told(pag_of_dag(&full, &observed))?;
        let mut want: Vec<(usize, usize, i64, i64)> = get(case, "pag_i_j_endpointAtI_endpointAtJ")?;
        want.sort_unstable();
        let code = |mark| match mark {
            Mark::Tail => -1,
            Mark::Arrow => 1,
            Mark::Circle => 2,
        };
        let got: Vec<_> = pag.edges().into_iter().map(|(a, x, y, b)| (a, b, code(x), code(y))).collect();
        c.exact(&format!("pag {i}"), got, want);
        c.exact(&format!("pag {i} is complete"), pag.is_complete(), true);
    }
    Ok(())
}
