//! world models
pub mod rssm;
