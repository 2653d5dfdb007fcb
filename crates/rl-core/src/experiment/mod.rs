//! Experiments: what a run writes, how it stops and goes on, and how runs are compared.

mod train_state;

pub use train_state::{Array, Data, Element, Persist, TrainState};
