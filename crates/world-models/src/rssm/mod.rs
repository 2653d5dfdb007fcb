//! rssm
pub mod scan;
