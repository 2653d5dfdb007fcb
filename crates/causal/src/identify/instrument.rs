//! Conditional instruments: z moves x, and reaches y through x only.
//!
//! Brito & Pearl, *Generalized instrumental variables* (UAI 2002); van der Zander, Textor & Liśkiewicz,
//! *Efficiently finding conditional instruments* (IJCAI 2015).

use super::front_door::WithoutOutgoing;
use crate::error::{Error, Result};
use crate::graph::{Admg, DirectedMixed, NodeSet, m_separated, node_set};
use serde::Serialize;

/// An instrument for the effect of a treatment on an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instrument {
    /// The instrumental variable.
    pub instrument: usize,
    /// What to condition on; holds no descendant of x.
    pub given: Vec<usize>,
}

/// All variables that are instruments for x → y, each with a conditioning set of which no member can be left
/// out: given it, z ⊥ y once the edges out of x are cut, but not z ⊥ x.
///
/// The sets tried are the separators inside the ancestors of z and y ("ancestral instruments"): when any
/// conditional instrument exists, one with such a set does.
///
/// # Errors
/// [`Error::Node`] for an index out of range, [`Error::Overlap`] for x = y.
pub fn instruments(graph: &Admg, x: usize, y: usize) -> Result<Vec<Instrument>> {
    node_set("instruments", graph.len(), &[x, y])?;
    if x == y {
        return Err(Error::Overlap { operation: "instruments", name: graph.name(x).into() });
    }
    if !graph.dag().descendants(&[x]).contains(y) {
        return Ok(Vec::new());
    }
    let below_x = graph.dag().descendants(&[x]);
    let mut found = Vec::new();
    for z in (0..graph.len()).filter(|&z| z != y && !below_x.contains(z)) {
        if let Some(given) = conditioning_set(graph, x, y, z, &below_x)? {
            found.push(Instrument { instrument: z, given });
        }
    }
    Ok(found)
}

fn conditioning_set(
    graph: &Admg,
    x: usize,
    y: usize,
    z: usize,
    below_x: &NodeSet,
) -> Result<Option<Vec<usize>>> {
    let mut treatment = NodeSet::with_capacity(graph.len());
    treatment.insert(x);
    let cut = WithoutOutgoing { graph, nodes: &treatment };
    let separates = |w: &[usize]| m_separated(&cut, &[z], &[y], w);
    let relevant = |w: &[usize]| m_separated(graph, &[z], &[x], w).map(|separated| !separated);
    if separates(&[])? {
        return Ok(if relevant(&[])? { Some(Vec::new()) } else { None });
    }
    // Ancestors of z and y in the cut graph, without what x can influence.
    let mut set: Vec<usize> = ancestors(&cut, &[z, y]);
    set.retain(|&v| v != z && v != y && !below_x.contains(v));
    if !separates(&set)? {
        return Ok(None);
    }
    let mut i = 0;
    while i < set.len() {
        let v = set.remove(i);
        if !separates(&set)? {
            set.insert(i, v);
            i += 1;
        }
    }
    Ok(if relevant(&set)? { Some(set) } else { None })
}

fn ancestors<G: DirectedMixed>(graph: &G, of: &[usize]) -> Vec<usize> {
    let none = NodeSet::with_capacity(graph.node_count());
    super::adjustment::closure(graph.node_count(), of.iter().copied(), &none, |v| graph.parents(v))
        .ones()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_conditional_instruments() {
        let iv = Admg::from_edges(3, &[(0, 1), (1, 2)], &[(1, 2)]).unwrap();
        assert_eq!(instruments(&iv, 1, 2).unwrap(), [Instrument { instrument: 0, given: vec![] }]);
        // w → z, w → y: z is an instrument given w.
        let conditional = Admg::from_edges(4, &[(0, 1), (1, 2), (3, 0), (3, 2)], &[(1, 2)]).unwrap();
        assert_eq!(instruments(&conditional, 1, 2).unwrap(), [Instrument { instrument: 0, given: vec![3] }]);
        let violated = Admg::from_edges(3, &[(0, 1), (1, 2), (0, 2)], &[(1, 2)]).unwrap();
        assert!(instruments(&violated, 1, 2).unwrap().is_empty());
    }
}
