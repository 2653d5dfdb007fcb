//! A world model whose transition respects a discovered graph, and planning in it under do(·).
//!
//! Where the parts come from: one mechanism per variable from [`causal::rl`], the discovery of its parents by score (Friedman,
//! Murphy & Russell, UAI 1998) from [`causal::discovery`] or by conditional mutual information (Wang, Xiao, Xu, Zhu & Stone, ICML 2022) from
//! [`causal::rl`], the planner from [`world_models::planning`]. Here they meet:
//! [`FactoredModel`] learns changes and rewards of continuous tasks, answers [`predict_intervention`](FactoredModel::predict_intervention),
//! and [`Imagination`] is what a planner sees of it while some variables are held from outside. [`WindyPendulum`] is a task in
//! which sensors copy the state while they are calibrated and cause nothing.

mod experience;
mod imagination;
mod model;
mod task;
#[cfg(test)]
mod tests;

pub use experience::random_experience;
pub use imagination::{Dream, Imagination};
pub use model::{Discovery, FactoredModel, FactoredModelConfig, Prediction, Set};
pub use task::{Sensors, WindyPendulum};
