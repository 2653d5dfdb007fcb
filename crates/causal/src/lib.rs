//! Causal graphs, discovery, identification, counterfactuals and estimation, and the bandits that use them.
//!
//! The story of one question: *what happens to Y if I set X?*
//!
//! 1. [`data`] reads a CSV file and says what is wrong with it.
//! 2. [`discovery`] learns a graph: PC, FCI, GES, GIES, DirectLiNGAM, NOTEARS, DAGMA, PCMCI, parents by score, with the tests of
//!    [`independence`]. Or you bring the graph: [`graph`] has DAGs, CPDAGs, MPDAGs, PAGs and ADMGs.
//! 3. [`identify`] says whether the graph lets observations answer, by which formula, or why not.
//! 4. [`estimate`] turns the formula into a number with an interval, or into bounds.
//! 5. [`scm`] holds whole models: see, do, and imagine.
//! 6. [`bandit`] acts: with unobserved confounders, and on structured arms; [`tabular`] acts over several steps, from
//!    confounded logs, shaped rewards and curricula; [`games`] has several agents.
//!
//! ```
//! use causal::graph::Admg;
//! use causal::identify::identify;
//! // Smoking, tar, cancer, and a hidden gene: the front door is open.
//! let names = ["smoking", "tar", "cancer"].map(String::from).to_vec();
//! let graph = Admg::new(names, &[(0, 1), (1, 2)], &[(0, 2)])?;
//! let report = identify(&graph, &["smoking"], &["cancer"])?;
//! assert!(report.identifiable);
//! assert_eq!(report.front_door_sets, Some(vec![vec!["tar".to_string()]]));
//! # Ok::<(), causal::Error>(())
//! ```
//!
//! Nothing here needs a tensor library. Agents that learn with networks come with the feature `rl`.

pub mod bandit;
pub mod conformance;
pub mod data;
pub mod discovery;
pub mod error;
pub mod estimate;
pub mod games;
pub mod graph;
pub mod identify;
pub mod independence;
mod partial;
#[cfg(feature = "rl")]
pub mod rl;
pub mod scm;
pub mod tabular;

pub use error::{Error, Result};
