//! Learning causal graphs from data.

mod causal_learn;
mod fci;
mod knowledge;
mod pc;
mod skeleton;

pub use fci::{FciConfig, FciResult, fci, pag_of, pag_of_dag};
pub use knowledge::{Knowledge, KnowledgeFile};
pub use pc::{ColliderRule, Conflict, ConflictRule, PcConfig, PcResult, pc};
pub use skeleton::Skeleton;
