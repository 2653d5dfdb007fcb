//! Is the model any good? Open-loop errors against honest baselines, and predicted against realised returns.
//!
//! The protocol: trajectories that were never trained on; the first steps are filtered, the rest is predicted from the
//! true actions alone; errors per look-ahead beside those of persistence (nothing changes), a linear model fitted to the
//! training data, and the true simulator. A model that cannot beat persistence has learned nothing.

mod calibration;
mod errors;
mod learned;
mod offline;
mod predictor;
mod trajectory;

pub use calibration::{Calibration, calibration, normalised_score};
pub use errors::{OpenLoopError, Spread, open_loop_errors, open_loop_spread};
pub use learned::{Imagines, Learned};
pub use offline::{OfflineConfig, OfflineEnsemble, OfflineRssm};
pub use predictor::{Linear, LinearModel, Persistence, Predictor, TrueDynamics};
pub use trajectory::{Trajectory, record};

#[cfg(test)]
mod tests;
