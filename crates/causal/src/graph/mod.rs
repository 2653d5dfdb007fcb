//! Graphs of causal models, typed by what their edges mean.
//!
//! | type | edges | a member of it |
//! |---|---|---|
//! | [`Dag`] | `→` | one causal model without latent confounders |
//! | [`Admg`] | `→`, `↔` | a DAG whose latent variables were projected out |
//! | [`Cpdag`] | `→`, `—` | a Markov equivalence class of DAGs |
//! | [`Mpdag`] | `→`, `—` | such a class restricted by background knowledge, closed under Meek's rules |
//! | [`Pag`] | `→`, `↔`, `∘→`, `∘—∘` … | an equivalence class of models with latent confounders |
//!
//! Nodes are the indices `0..p` of the data's columns; each has a name. Edges live in petgraph graphs.

mod admg;
pub(crate) mod board;
mod dag;
mod distance;
mod drawing;
mod markup;
mod mixed;
mod pag;
mod pdag;
mod separation;

pub use admg::Admg;
pub use dag::Dag;
pub use distance::{
    Accuracy, Confusion, accuracy, ancestor_aid, oset_aid, parent_aid, shd, sid, structural_hamming_distance,
};
pub use markup::GraphFile;
pub use mixed::{Mark, MixedGraph};
pub use pag::Pag;
pub(crate) use pdag::consistent_extension;
pub use pdag::{Cpdag, MeekRules, Mpdag, meek_closure};
pub use separation::{DirectedMixed, d_connected, m_separated};

use crate::error::{Error, Result};
pub use fixedbitset::FixedBitSet as NodeSet;

/// Names `X0, X1, …` for graphs that were given none.
pub fn default_names(p: usize) -> Vec<String> {
    (0..p).map(|i| format!("X{i}")).collect()
}

/// The set of `nodes` among `0..p`.
///
/// # Errors
/// [`Error::Node`] when an index is not below `p`.
pub fn node_set(operation: &'static str, p: usize, nodes: &[usize]) -> Result<NodeSet> {
    let mut set = NodeSet::with_capacity(p);
    for &node in nodes {
        if node >= p {
            return Err(Error::Node { operation, node, count: p });
        }
        set.insert(node);
    }
    Ok(set)
}

/// The elements of a set, ascending.
pub(crate) fn members(set: &NodeSet) -> Vec<usize> {
    set.ones().collect()
}

pub(crate) fn check_names(kind: &'static str, names: &[String]) -> Result<()> {
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    match sorted.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => Err(Error::InvalidGraph { kind, reason: format!("two nodes are called `{}`", w[0]) }),
        None => Ok(()),
    }
}
