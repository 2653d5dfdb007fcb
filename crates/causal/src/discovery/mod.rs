//! Learning causal graphs from data.

mod causal_learn;
mod fci;
mod ges;
mod knowledge;
mod lasso;
mod lingam;
mod pc;
mod pcmci;
mod score;
mod skeleton;

pub use fci::{FciConfig, FciResult, fci, pag_of, pag_of_dag};
pub use ges::{GesConfig, GesResult, ges, gies};
pub use knowledge::{Knowledge, KnowledgeFile};
pub use lingam::{LingamResult, direct_lingam};
pub use pc::{ColliderRule, Conflict, ConflictRule, PcConfig, PcResult, pc};
pub use pcmci::{LaggedLink, PcmciConfig, PcmciResult, pcmci};
pub use score::{Bdeu, BdeuScratch, GaussianBic, GaussianScratch, InterventionalBic, LocalScore};
pub use skeleton::Skeleton;
