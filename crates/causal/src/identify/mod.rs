//! Which causal effects the graph lets us compute from observations, and by which formula.
//!
//! - [`adjustment`](valid_adjustment_sets): covariate adjustment: all sets, minimal sets, the O-set;
//! - [`front_door_sets`] and [`instruments`];
//! - [`id`] and [`idc`]: complete identification in the presence of latent confounders. A refusal carries the
//!   [`Hedge`] that proves the effect unidentifiable;
//! - [`class_adjustment_sets`]: the same for a whole equivalence class, when discovery left edges undirected;
//! - [`transport`], [`sid`], [`gid`]: complete identification from several domains and experiments;
//! - [`transport_sets`]: by adjustment alone, carrying an effect to a domain whose mechanisms differ; [`imitation_inputs`]: what a clone must
//!   see to be as good as a confounded expert;
//! - [`identify`]: all of it at once, as the `identify` command reports it.

mod adjustment;
mod algorithm;
mod equivalence_class;
mod expression;
mod front_door;
mod general_transport;
mod instrument;
mod transport;

pub use adjustment::{
    back_door_sets, is_back_door, is_valid_adjustment, minimal_adjustment_sets, optimal_adjustment,
    valid_adjustment_sets,
};
pub use algorithm::{Hedge, Identification, id, idc};
pub use equivalence_class::{
    class_adjustment_sets, is_amenable, is_valid_class_adjustment, possible_parents,
};
pub use expression::{Expression, Factor};
pub use front_door::{front_door_sets, is_front_door};
pub use general_transport::{
    Obstacle, Obstruction, Source, SourcedFactor, Transport, TransportFormula, gid, sid, transport,
};
pub use instrument::{Instrument, instruments};
pub use transport::{imitation_inputs, transport_sets};

use crate::error::{Error, Result};
use crate::graph::Admg;
use serde::Serialize;

/// Everything that is known about one effect; what `identify --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Names of the treatments.
    pub treatment: Vec<String>,
    /// Names of the outcomes.
    pub outcome: Vec<String>,
    /// Whether P(y | do(x)) is a function of the observed distribution.
    pub identifiable: bool,
    /// The formula, when it is.
    pub formula: Option<String>,
    /// The proof that there is none, when it is not.
    pub hedge: Option<HedgeReport>,
    /// All valid adjustment sets, smallest first; absent when there are too many candidates to list.
    pub adjustment_sets: Option<Vec<Vec<String>>>,
    /// Those of which no member can be left out.
    pub minimal_adjustment_sets: Option<Vec<Vec<String>>>,
    /// The adjustment set of least asymptotic variance; only for graphs without bidirected edges.
    pub optimal_adjustment_set: Option<Vec<String>>,
    /// Sets of mediators that fulfil the front-door criterion.
    pub front_door_sets: Option<Vec<Vec<String>>>,
    /// Instruments and what to condition them on.
    pub instruments: Vec<InstrumentReport>,
}

/// A hedge with names in place of indices.
#[derive(Clone, Debug, Serialize)]
pub struct HedgeReport {
    /// The larger C-forest, which meets the treatments.
    pub forest: Vec<String>,
    /// The smaller C-forest, which does not.
    pub inner_forest: Vec<String>,
    /// Their common roots.
    pub roots: Vec<String>,
}

/// An instrument with names in place of indices.
#[derive(Clone, Debug, Serialize)]
pub struct InstrumentReport {
    /// The instrument.
    pub instrument: String,
    /// What it must be conditioned on.
    pub given: Vec<String>,
}

/// Reports all that is known about P(outcome | do(treatment)).
///
/// # Errors
/// [`Error::UnknownName`] for names outside the graph, [`Error::Overlap`] when the sets share a node.
pub fn identify(graph: &Admg, treatment: &[&str], outcome: &[&str]) -> Result<Report> {
    let find = |names: &[&str]| names.iter().map(|n| graph.index_of(n)).collect::<Result<Vec<usize>>>();
    let (x, y) = (find(treatment)?, find(outcome)?);
    let named = |nodes: &[usize]| nodes.iter().map(|&v| graph.name(v).to_string()).collect::<Vec<_>>();
    let named_sets = |sets: Result<Vec<Vec<usize>>>| match sets {
        Ok(sets) => Ok(Some(sets.iter().map(|s| named(s)).collect::<Vec<_>>())),
        Err(Error::TooLarge { .. }) => Ok(None),
        Err(other) => Err(other),
    };
    let (formula, hedge) = match id(graph, &x, &y)? {
        Identification::Identified(formula) => (Some(formula.display(graph).to_string()), None),
        Identification::Unidentifiable(h) => {
            let hedge = HedgeReport {
                forest: named(&h.forest),
                inner_forest: named(&h.inner_forest),
                roots: named(&h.roots),
            };
            (None, Some(hedge))
        }
    };
    let single = x.len() == 1 && y.len() == 1;
    let optimal = (single && graph.bidirected_edges().is_empty())
        .then(|| optimal_adjustment(graph.dag(), x[0], y[0]))
        .filter(|z| is_valid_adjustment(graph, &x, &y, z).unwrap_or(false));
    let instruments = if single { instruments(graph, x[0], y[0])? } else { Vec::new() };
    Ok(Report {
        treatment: named(&x),
        outcome: named(&y),
        identifiable: formula.is_some(),
        formula,
        hedge,
        adjustment_sets: named_sets(valid_adjustment_sets(graph, &x, &y))?,
        minimal_adjustment_sets: named_sets(minimal_adjustment_sets(graph, &x, &y))?,
        optimal_adjustment_set: optimal.map(|z| named(&z)),
        front_door_sets: if single { named_sets(front_door_sets(graph, x[0], y[0]))? } else { None },
        instruments: instruments
            .iter()
            .map(|i| InstrumentReport { instrument: graph.name(i.instrument).into(), given: named(&i.given) })
            .collect(),
    })
}

/// Most candidates whose 2ᵏ subsets are still listed.
pub(crate) const LISTED_CANDIDATES: usize = 20;

/// All subsets of `candidates`, by size and then lexicographically.
pub(crate) fn subsets(operation: &'static str, candidates: &[usize]) -> Result<Vec<Vec<usize>>> {
    let k = candidates.len();
    if k > LISTED_CANDIDATES {
        let reason =
            format!("{k} candidates have 2^{k} subsets, at most {LISTED_CANDIDATES} candidates are listed");
        return Err(Error::TooLarge { operation, reason });
    }
    let pick = |bits: u32| (0..k).filter(|i| bits >> i & 1 == 1).map(|i| candidates[i]).collect();
    let mut all: Vec<Vec<usize>> = (0..1u32 << k).map(pick).collect();
    all.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    Ok(all)
}
