//! Learning causal graphs from data.
//!
//! | method | assumes | gives |
//! |---|---|---|
//! | [`pc`] | no latent confounders | equivalence class, by independence tests |
//! | [`fci`] | latent confounders allowed | partial ancestral graph |
//! | [`ges`] | no latent confounders | equivalence class, by score |
//! | [`gies`](gies()) | as GES, known interventions | interventional equivalence class |
//! | [`direct_lingam`] | linear, non-Gaussian noise | one DAG with strengths |
//! | [`notears`], [`dagma`] | linear, comparable noise variances | one DAG with weights |
//! | [`pcmci`](pcmci()) | stationary time series | lagged links; for Markov decision processes the transition graph |
//! | [`score_parents`] | causes come first in time | the inputs with the best score of a curved regression |
//!
//! [`run`] is all of them behind one serialisable [`Request`], on a CSV file.

mod causal_learn;
mod continuous;
mod dynamic;
mod fci;
mod ges;
mod knowledge;
mod lasso;
mod lingam;
mod owlqn;
mod pc;
mod pcmci;
mod request;
mod score;
mod skeleton;

pub use continuous::{DagmaConfig, NotearsConfig, WeightedDag, dagma, notears};
pub use dynamic::{ScoreParentsConfig, ScoredParents, score_parents};
pub use fci::{FciConfig, FciResult, fci, pag_of, pag_of_dag};
pub use ges::{GesConfig, GesResult, ges, gies};
pub use knowledge::{Environments, Knowledge, KnowledgeFile};
pub use lingam::{LingamResult, direct_lingam};
pub use pc::{ColliderRule, Conflict, ConflictRule, PcConfig, PcResult, pc};
pub use pcmci::{LaggedLink, PcmciConfig, PcmciResult, pcmci};
pub use request::{DiscoveryReport, EdgeReport, LinkReport, Method, Request, TestKind, run};
pub use score::{Bdeu, BdeuScratch, GaussianBic, GaussianScratch, InterventionalBic, LocalScore};
pub use skeleton::Skeleton;
