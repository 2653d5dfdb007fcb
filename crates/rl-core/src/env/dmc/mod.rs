//! Five tasks of the DeepMind Control suite in closed form, without MuJoCo.
//!
//! Tassa et al., "DeepMind Control Suite" (arXiv 1801.00690). The equations of motion reproduce dm_control 1.0.50 on
//! MuJoCo 3.17 to rounding, so published learning curves can be compared with. Start states come from the same
//! distributions but not from the same generator (dm_control draws from MT19937). Rewards lie in `[0, 1]`,
//! episodes are 1000 steps of the control period and never terminate. Observations are the suite's, flattened
//! in its order and rounded to f32.

mod acrobot;
mod cart_pole;
mod pendulum;

pub use acrobot::AcrobotSwingup;
pub use cart_pole::{DmcCartPole, DmcCartPoleTask, SLIDER_LIMIT};
pub use pendulum::PendulumSwingup;

/// The suite's Gaussian tolerance: 1 within `[low, high]`, falling to 0.1 at a distance of `margin`.
fn gaussian_tolerance(x: f64, low: f64, high: f64, margin: f64) -> f64 {
    if (low..=high).contains(&x) {
        return 1.0;
    }
    let distance = if x < low { low - x } else { x - high } / margin;
    let scaled = distance * (-2.0 * 0.1f64.ln()).sqrt();
    (-0.5 * (scaled * scaled)).exp()
}

/// Writes numbers as an observation.
fn write<const N: usize>(values: [f64; N], observation: &mut [f32]) {
    for (o, v) in observation.iter_mut().zip(values) {
        *o = v as f32;
    }
}
