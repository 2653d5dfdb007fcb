//! IDA: the effects that a Markov equivalence class leaves possible in linear models.
//!
//! Maathuis, Kalisch & Bühlmann, *Estimating high-dimensional intervention effects from observational data* (Annals of
//! Statistics 2009). In each member of the class the total effect of x on y is the coefficient of x in the regression of y
//! on x and its parents in that member, and 0 when y is one of them. Only the parent sets matter, so members need not be
//! enumerated ([`ida`]); enumeration adds how many members share each value ([`ida_by_members`]). Deviation: a parent set is
//! accepted when a whole member has it, which for CPDAGs is the paper's local rule and also holds with background knowledge.

use super::linear_regression;
use crate::data::Table;
use crate::error::{Error, Result};
use crate::graph::Mpdag;
use crate::identify::possible_parents;
use serde::Serialize;
use std::collections::BTreeMap;

/// One possible effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PossibleEffect {
    /// The parents of the treatment in the members of which this holds.
    pub parents: Vec<usize>,
    /// Change of E\[y | do(x)\] per unit of x.
    pub effect: f64,
    /// Number of members with these parents, when they were enumerated.
    pub members: Option<usize>,
}

/// The possible effects of `x` on `y`, one per possible parent set of x, smallest sets first.
///
/// # Errors
/// [`Error::Shape`] when data and graph have different numbers of variables; [`Error::Node`] for an index out of range,
/// [`Error::Overlap`] for x = y; as [`possible_parents`] and [`linear_regression`].
pub fn ida(data: &Table, graph: &Mpdag, x: usize, y: usize) -> Result<Vec<PossibleEffect>> {
    check(data, graph, x, y)?;
    let effect = |parents: Vec<usize>| {
        Ok(PossibleEffect { effect: effect_given(data, x, y, &parents)?, parents, members: None })
    };
    possible_parents(graph, x)?.into_iter().map(effect).collect()
}

/// The same with the number of members behind each value, by enumerating up to `limit` members.
///
/// # Errors
/// As [`ida`]; [`Error::TooLarge`] when the class has more members.
pub fn ida_by_members(
    data: &Table,
    graph: &Mpdag,
    x: usize,
    y: usize,
    limit: usize,
) -> Result<Vec<PossibleEffect>> {
    check(data, graph, x, y)?;
    let mut counts: BTreeMap<(usize, Vec<usize>), usize> = BTreeMap::new();
    for member in graph.members(limit)? {
        let parents = member.parents(x);
        *counts.entry((parents.len(), parents)).or_default() += 1;
    }
    let effect = |((_, parents), count): ((usize, Vec<usize>), usize)| {
        Ok(PossibleEffect { effect: effect_given(data, x, y, &parents)?, parents, members: Some(count) })
    };
    counts.into_iter().map(effect).collect()
}

fn check(data: &Table, graph: &Mpdag, x: usize, y: usize) -> Result<()> {
    let count = graph.len();
    if data.len() != count {
        let expected = format!("{count} columns, one per node of the graph");
        return Err(Error::shape("ida", expected, data.len()));
    }
    if let Some(node) = [x, y].into_iter().find(|&v| v >= count) {
        return Err(Error::Node { operation: "ida", node, count });
    }
    if x == y {
        return Err(Error::Overlap { operation: "ida", name: graph.name(x).into() });
    }
    Ok(())
}

fn effect_given(data: &Table, x: usize, y: usize, parents: &[usize]) -> Result<f64> {
    if parents.contains(&y) {
        return Ok(0.0);
    }
    let columns = data.columns();
    let regressors: Vec<&[f64]> =
        std::iter::once(x).chain(parents.iter().copied()).map(|v| &columns[v][..]).collect();
    let rows: Vec<usize> = (0..data.rows()).collect();
    Ok(linear_regression(&columns[y], &regressors, &rows)?.coefficients[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Dag;
    use rand_distr::{Distribution, StandardNormal};

    /// x0 → x1 → x2 with x0 → x2: 0.8, 0.5, 0.3, and x3 → x2 with 1.
    fn sample() -> (Table, Mpdag, Dag) {
        let dag = Dag::from_edges(4, &[(0, 1), (1, 2), (0, 2), (3, 2)]).unwrap();
        let mut rng = rl_core::SeedStream::new(4).stream("ida", 0);
        let mut columns = vec![Vec::new(); 4];
        for _ in 0..20_000 {
            let noise: [f64; 4] = std::array::from_fn(|_| StandardNormal.sample(&mut rng));
            let x1 = 0.8 * noise[0] + noise[1];
            let x2 = 0.5 * x1 + 0.3 * noise[0] + noise[3] + noise[2];
            [noise[0], x1, x2, noise[3]].into_iter().zip(&mut columns).for_each(|(v, c)| c.push(v));
        }
        (Table::from_columns(columns).unwrap(), Mpdag::from(dag.to_cpdag().unwrap()), dag)
    }

    #[test]
    fn the_true_effect_is_among_the_possible_ones() {
        // In the class x0 — x1 is open, the edges into x2 are not. do(x0): 0.3 + 0.8 · 0.5 = 0.7 if x0 → x1, else 0.3.
        let (data, graph, _) = sample();
        let effects = ida(&data, &graph, 0, 2).unwrap();
        assert_eq!(effects.iter().map(|e| e.parents.clone()).collect::<Vec<_>>(), [vec![], vec![1]]);
        assert!(
            (effects[0].effect - 0.7).abs() < 0.05 && (effects[1].effect - 0.3).abs() < 0.05,
            "{effects:?}"
        );
        let reverse = ida(&data, &graph, 2, 0).unwrap();
        assert_eq!(
            reverse.iter().map(|e| e.effect).collect::<Vec<_>>(),
            [0.0],
            "x0 is a parent of x2 in all"
        );
    }

    #[test]
    fn enumeration_finds_the_same_values_and_how_often() {
        let (data, graph, _) = sample();
        let (local, global) =
            (ida(&data, &graph, 0, 2).unwrap(), ida_by_members(&data, &graph, 0, 2, 100).unwrap());
        assert_eq!(global.iter().map(|e| e.members).collect::<Vec<_>>(), [Some(1), Some(1)]);
        for (a, b) in local.iter().zip(&global) {
            assert_eq!((&a.parents, a.effect), (&b.parents, b.effect));
        }
        assert!(ida_by_members(&data, &graph, 0, 2, 1).is_err());
        assert!(ida(&data, &graph, 0, 0).is_err() && ida(&data, &graph, 0, 7).is_err());
    }
}
