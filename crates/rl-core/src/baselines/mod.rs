//! Model-free baselines.
